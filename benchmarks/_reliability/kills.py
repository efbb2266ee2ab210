"""Kills: a run that is killed at any file operation, or at any moment, and resumed, ends as if nothing had happened."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _reliability.cases import Case, Scratch, judged
from _reliability.children import Outcome, in_child
from _reliability.runs import STEPS, SUBJECTS, Contents, Subject, contents_of, differences

SEEDS = [1, 2]
STEPS_BEFORE_RESUMING = 60
RANDOM_MOMENTS = 0.25
"""Share of the kills that come at a random moment instead of at a file operation."""
AUDITED = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Guillotine:
    """Counts the file operations of this process inside a folder, and kills the process at one of them.

    Two sources report operations before they happen: Python's audit events, which see every file that is opened for
    writing, renamed or removed, wherever in the code; and `morl.experiment.files.observe`, the product's own
    choke point, which also sees what is appended to an open file.

    Args:
        folder: only what happens inside it counts.
        at: the operation, counted from 1, at which the process is killed; 0 never kills.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self.folder = str(folder)
        self.at = at
        self.count = 0
        self._announced = ""

    def observing(self) -> AbstractContextManager[object]:
        """Install it for the rest of the process; what is returned must be entered."""
        from morl.experiment import files

        sys.addaudithook(self._audit)
        observe = getattr(files, "observe", None)
        return nullcontext() if observe is None else observe(self._observe)

    def _observe(self, operation: str, path: Path) -> None:
        del operation
        self._announced = str(path)
        self._fall(str(path))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            mode = arguments[1] or ""
            flags = arguments[2] or 0
            written = flags & WRITING or set("wax+") & set(mode)
            path = os.fspath(arguments[0]) if written else ""
        elif event in AUDITED:
            path = os.fspath(arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0])
        else:
            return
        if path and path != self._announced:  # what `observe` has announced is not counted twice
            self._fall(path)
        self._announced = ""

    def _fall(self, path: object) -> None:
        text = os.fsdecode(path) if isinstance(path, bytes) else str(path)
        if os.path.isabs(text) and not text.startswith(self.folder):
            return
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Scenario:
    """Something that is killed: training, resuming, or training several seeds together.

    Attributes:
        subject: what is trained.
        kind: "train", "resume" or "seeds".
    """

    subject: Subject
    kind: str
    operations: int = 0
    seconds: float = 0.0

    def runs(self, folder: Path) -> list[Path]:
        """Return the run folders that it makes."""
        return [folder / f"seed-{seed}" for seed in SEEDS] if self.kind == "seeds" else [folder / "run"]

    def act(self, folder: Path, overwrite: bool = False) -> None:
        """Do it, from the beginning."""
        import morl

        if self.kind == "seeds":
            self.subject.train_seeds(folder, SEEDS, overwrite=overwrite)
        elif self.kind == "train":
            self.subject.train(folder / "run", seed=SEEDS[0], overwrite=overwrite)
        else:
            morl.resume(folder / "run", STEPS)

    def finish(self, folder: Path) -> None:
        """Do what a user does after a kill: resume what has a checkpoint, begin what has none anew."""
        import morl

        with_checkpoint = [run for run in self.runs(folder) if list(run.glob("checkpoints/*step-*"))]
        if len(with_checkpoint) < len(self.runs(folder)):
            self.act(folder, overwrite=True)
            return
        for run in with_checkpoint:
            try:
                morl.resume(run, STEPS)
            except ValueError as error:
                if "already has" not in str(error):
                    raise

    def prepare(self, folder: Path) -> None:
        """Make the folder in which it is done."""
        folder.mkdir(parents=True)
        if self.kind == "resume":
            self.subject.train(folder / "run", STEPS_BEFORE_RESUMING, seed=SEEDS[0])


def watched(act: Callable[[Path], None], folder: Path, at: int) -> Callable[[], int]:
    """Return a function that acts in a folder, is killed at an operation, and else returns how many there were."""

    def function() -> int:
        guillotine = Guillotine(folder, at)
        with guillotine.observing():
            act(folder)
        return guillotine.count

    return function


def reference_of(scenario: Scenario, folder: Path) -> list[Contents]:
    """Do a scenario without a kill, note its operations and seconds, and return what its runs hold.

    Raises:
        RuntimeError: it fails without any kill.
    """
    _required(in_child(lambda: scenario.prepare(folder / "start"), folder / "child", 300.0), "preparing")
    shutil.copytree(folder / "start", folder / "whole")
    start = time.monotonic()
    outcome = in_child(watched(scenario.act, folder / "whole", 0), folder / "child", 300.0)
    scenario.seconds = time.monotonic() - start
    _required(outcome, "running without a kill")
    scenario.operations = int(outcome.answer)
    return [contents_of(run) for run in scenario.runs(folder / "whole")]


def _required(outcome: Outcome, what: str) -> None:
    if outcome.code != 0:
        raise RuntimeError(f"{what} failed: {outcome.last_words()}")


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Kill every scenario at one of its operations in turn, until every operation was the last one once."""
    kinds = [(name, kind) for kind in ("train", "resume", "seeds") for name in SUBJECTS]
    scenarios = {f"{name}, {kind}": Scenario(SUBJECTS[name], kind) for name, kind in kinds}
    references: dict[str, list[Contents]] = {}
    waiting: dict[str, list[int]] = {}
    while scenarios:
        for name in list(scenarios):
            scenario = scenarios[name]
            base = scratch.folder / name.replace(", ", "-")
            if name not in references:
                try:
                    references[name] = reference_of(scenario, base)
                except RuntimeError as error:
                    del scenarios[name]
                    yield Case(f"{name}, not killed", False, str(error))
                    continue
                waiting[name] = (1 + scratch.random.permutation(scenario.operations)).tolist()
            if not waiting[name]:
                del scenarios[name]
                continue
            moment = scratch.random.random() < RANDOM_MOMENTS
            kill = Kill(
                operation=0 if moment else waiting[name].pop(),
                after=float(scratch.random.uniform(0.0, scenario.seconds)) if moment else None,
                again=int(scratch.random.integers(1, scenario.operations)) if scratch.random.random() < 0.5 else None,
            )
            yield judged(f"{name}, {kill}", killed(scenario, kill, base, references[name]))


@dataclass(frozen=True)
class Kill:
    """When a scenario is killed: at an operation, or after some seconds; and whether its resuming is killed too."""

    operation: int
    after: float | None
    again: int | None

    def __str__(self) -> str:
        """Return it in words."""
        first = f"at operation {self.operation}" if self.after is None else f"after {self.after:.3f} s"
        return first if self.again is None else f"{first} and again at {self.again}"


def killed(scenario: Scenario, kill: Kill, base: Path, references: list[Contents]) -> list[str]:
    """Kill a scenario, finish it, and return what is wrong with the end."""
    folder = base / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base / "start", folder)
    in_child(watched(scenario.act, folder, kill.operation), base / "child", 300.0, kill.after)
    if kill.again is not None:
        in_child(watched(scenario.finish, folder, kill.again), base / "child", 300.0)
    outcome = in_child(lambda: scenario.finish(folder), base / "child", 300.0)
    if outcome.code != 0:
        return [f"finishing: {outcome.last_words()}"]
    pairs = zip(scenario.runs(folder), references, strict=True)
    return [complaint for run, reference in pairs for complaint in differences(reference, run)]
