"""`morl study` and `morl tune`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morl.experiment.commands import Study, Tune
from morl.experiment.parsing import parse
from morl.experiment.report import say, show
from morl.output_files import PICTURE_SUFFIXES, check_output_file, check_output_folder
from morl.studies.plan import STUDY, read_study
from morl.studies.status import counted, study_status
from morl.studies.study import executor_of, find_executor, study

if TYPE_CHECKING:
    from morl.studies import plan

OTHERS = ("status", "table")
"""What `morl study` does that trains nothing."""
OF_TRAINING = ("workers", "dry_run", "ray", "slurm")
OF_TABLES = ("latex", "csv", "markdown", "plot", "fronts")
"""Options of `morl study` that have an effect with one of its commands only."""


def run_study(args: Sequence[str]) -> None:
    """Run `morl study`.

    Raises:
        ValueError: the words or the study are wrong, or runs have failed.
    """
    chosen = parse(Study, args, "morl study")
    what, file = _what_and_file(chosen.words)
    useless = {"train": OF_TABLES, "status": (*OF_TRAINING, *OF_TABLES), "table": OF_TRAINING}[what]
    for name in useless:
        if getattr(chosen, name) not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            belongs = "morl study table FILE" if name in OF_TABLES else "morl study FILE"
            raise ValueError(f"{flag} has no effect here: it belongs to {belongs}")
    for name in ("plot", "fronts"):
        picture: Path | None = getattr(chosen, name)
        if picture is not None:
            check_output_file(f"--{name}", picture, PICTURE_SUFFIXES)
    planned = read_study(file, chosen.folder, refuse_others=what == "train")
    if what == "status":
        show(study_status(planned))
    elif what == "table":
        from morl.studies import tables

        tables.show(
            planned.folder / STUDY,
            latex=chosen.latex,
            csv=chosen.csv,
            markdown=chosen.markdown,
            plot=chosen.plot,
            fronts=chosen.fronts,
            planned=planned,
        )
    elif chosen.slurm is not None:
        from morl.studies.slurm import write_script

        check_output_file("--slurm", chosen.slurm)
        check_output_folder("--folder", planned.folder)
        write_script(planned, chosen.folder, chosen.slurm)
        say(f"{len(planned.runs)} runs, one element each: sbatch {shlex.quote(str(chosen.slurm))}")
    elif chosen.dry_run:
        from morl.studies.probe import show_plan

        show_plan(planned, find_executor("processes", planned, chosen.workers).workers)
    else:
        _train(chosen, planned)


def run_tune(args: Sequence[str]) -> None:
    """Run `morl tune`."""
    chosen = parse(Tune, args, "morl tune")
    from morl.studies import tuning

    executor = executor_of(chosen.ray)
    show(tuning.tune(chosen.file, folder=chosen.folder, workers=chosen.workers, executor=executor))


def _what_and_file(words: Sequence[str]) -> tuple[str, Path]:
    """Return what to do, "train", "status" or "table", and the file of the study."""
    what = words[0] if len(words) == 2 and words[0] in OTHERS else "train"
    files = words[1:] if what != "train" else words
    if len(files) != 1 or (files[0] in OTHERS and not Path(files[0]).exists()):
        raise ValueError(
            "morl study needs one file: morl study FILE.toml, morl study status FILE.toml or morl study table"
            f" FILE.toml, not {shlex.join(words) or 'nothing'}"
        )
    return what, Path(files[0])


def _train(chosen: Study, planned: "plan.Study") -> None:
    """Train the runs of a study, and print how it ended.

    Args:
        chosen: the options.
        planned: the study, which a file has.

    Raises:
        ValueError: runs have failed.
    """
    training = study(planned, executor=executor_of(chosen.ray), workers=chosen.workers)
    training.wait(progress=True)
    status = training.status()
    folder = training.planned.folder
    say(f"study {training.planned.name}: {counted(status.counts)}")
    say(f"runs         {folder}")
    say(f"look at it   morl board {shlex.quote(str(folder))}; morl study table {shlex.quote(str(planned.file))}")
    failed = status.counts["failed"]
    if failed:
        again = "the sentences above and in morl study status say why; start the study again when that is mended"
        raise ValueError(f"{failed} of {len(status.runs)} runs failed: {again}")
    if not training.is_complete:
        raise ValueError(f"the study is not complete: {status.counts['waiting']} of {len(status.runs)} runs wait")
