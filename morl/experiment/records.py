"""Cutting a run's records back to a checkpoint: metrics.jsonl, fronts.jsonl and TensorBoard's event files.

A checkpoint remembers how far each file had been written, with a hash of its content (`RecordMarks`). Resuming cuts the
files there, so that what came later is recorded once. A file that is no longer what it was is cut by the steps in it,
and said to be altered.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from morl.experiment.events import cut_events, event_files
from morl.experiment.files import (
    FileMark,
    cut,
    prefix_hash,
    refuse_link,
    refuse_special,
    remove,
    remove_tree,
    unshare,
    write_whole,
)
from morl.run_folder import EVALUATIONS, EVENTS, METRICS

LARGEST_REST = 2**28
"""Bytes beyond a checkpoint that are read of a record."""


FileMarks: TypeAlias = dict[str, FileMark]
"""Path inside the run folder -> how far the file has been written."""


@dataclass(frozen=True)
class RecordMarks:
    """How far the records of a run had been written.

    Attributes:
        step: training step of the last record that stays.
        files: path inside the run folder -> mark.
        pretraining_steps: steps of pre-training at the last record that stays.
    """

    step: int
    files: Mapping[str, FileMark] = field(default_factory=dict)
    pretraining_steps: int = 0

    @property
    def event_step(self) -> int:
        """Return the largest step that TensorBoard's events may have: those of pre-training count its own steps."""
        return max(self.step, self.pretraining_steps)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the marks of the files as a checkpoint's manifest spells them."""
        return {name: asdict(mark) for name, mark in self.files.items()}

    @staticmethod
    def of_json(step: int, record: object, pretraining_steps: int = 0) -> "RecordMarks":
        """Return the marks that `to_json` spelled.

        Args:
            step: training step of the checkpoint.
            record: the entry of its manifest.
            pretraining_steps: steps of pre-training of the checkpoint.

        Raises:
            ValueError: they are malformed.
        """
        try:
            entries = dict(record) if isinstance(record, Mapping) else {}
            files = {name: FileMark(int(at["size"]), str(at["sha256"])) for name, at in entries.items()}
            return RecordMarks(step, files, pretraining_steps)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"its manifest.json has malformed records: {error}") from None


def cut_back(run_dir: Path, marks: RecordMarks) -> list[str]:
    """Cut all records of a run back, and return what was found to be altered, one sentence each.

    Args:
        run_dir: the run folder.
        marks: of the checkpoint.

    Raises:
        OSError: naming the file, if one cannot be rewritten or is a link.
        ValueError: a file was altered into something that holds no records.
    """
    notes = []
    for name in (METRICS, EVALUATIONS):
        notes += _cut_file(run_dir, name, marks, cut_lines)
    folder = run_dir / EVENTS
    refuse_link(folder)
    for partial in folder.glob("*.tmp"):
        remove(partial)
    for file in event_files(folder):
        if f"{EVENTS}/{file.name}" not in marks.files:
            remove_tree(file)  # of a process that ended after the checkpoint
    for name in marks.files:
        if name.startswith(f"{EVENTS}/"):
            notes += _cut_file(run_dir, name, marks, cut_events)
    return notes


def remove_records(run_dir: Path) -> None:
    """Remove all records of a run, before a new one begins in its folder.

    Raises:
        OSError: naming the file, if one cannot be removed.
    """
    remove(run_dir / METRICS)
    remove(run_dir / EVALUATIONS)
    if (run_dir / EVENTS).is_dir():
        remove_tree(run_dir / EVENTS)


def steps_beyond(path: Path, mark: FileMark | None) -> list[int]:
    """Return the training step of each whole line of a JSON-lines file that was written after a mark.

    Args:
        path: the file.
        mark: how far it had been written; None: not at all.

    Raises:
        OSError: the file is a link, a folder, a pipe or a device.
    """
    refuse_special(path)
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(0 if mark is None else mark.size)
        lines = stream.read(LARGEST_REST).split(b"\n")[:-1]
    try:
        return [int(json.loads(line)["training_steps"]) for line in lines]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # no record of ours


def cut_lines(path: Path, last_step: int) -> None:
    """Remove the lines of a JSON-lines file after `last_step`, and a last line that was only half written.

    Raises:
        ValueError: if a line that is not the last one is no record.
        OSError: naming the file, if it cannot be rewritten.
    """
    refuse_special(path)
    if not path.exists():
        return
    content = path.read_bytes()
    kept = b""
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):  # what follows the last line end is half a line
        try:
            keep = json.loads(line)["training_steps"] <= last_step
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f'{path}, line {number} must be a JSON object with "training_steps"') from None
        if keep:
            kept += line + b"\n"
    if kept != content:
        write_whole(path, kept)


def _cut_file(run_dir: Path, name: str, marks: RecordMarks, by_step: Callable[[Path, int], None]) -> list[str]:
    """Cut one file back; return a sentence if it was altered."""
    path = run_dir / name
    mark = marks.files.get(name, FileMark(0, hashlib.sha256().hexdigest()))
    unshare(path)
    if not path.exists():
        return [f"{name} was deleted after the checkpoint was saved: its records up to step {marks.step:,} are lost"]
    size = path.stat().st_size
    if size >= mark.size and prefix_hash(path, mark.size).hexdigest() == mark.sha256:
        cut(path, mark.size)
        return []
    change = "altered" if size >= mark.size else "shortened"
    cut(path, mark.size)  # what is beyond was written later in any case, and may be of any size
    by_step(path, marks.event_step if by_step is cut_events else marks.step)
    return [f"{name} was {change} after the checkpoint was saved: what is left up to step {marks.step:,} is kept"]
