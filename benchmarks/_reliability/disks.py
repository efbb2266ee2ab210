"""Full disks: a run on a file system of any size; one sentence names the file, and the run goes on with space."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from _reliability.cases import Case, Scratch, judged
from _reliability.children import command, complaints_of, in_child
from _reliability.looking import said
from _reliability.runs import STEPS, SUBJECTS, Contents, contents_of, differences

SPACE = "200m"
"""Size of the file system once space is made."""
SMALLEST = 8
"""Kilobytes: two pages of memory."""


def mount(folder: Path, options: str) -> str:
    """Mount (or remount) a file system of memory; return why that is impossible, or nothing."""
    folder.mkdir(exist_ok=True)
    asked = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def sizes(largest: int, scratch: Scratch) -> list[int]:
    """Return sizes in kilobytes, from next to nothing to just enough, in a random order."""
    every = sorted({SMALLEST + 4 * step for step in range((largest - SMALLEST) // 4 + 1)})
    return [every[place] for place in scratch.random.permutation(len(every))]


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Train on disks of every size that is too small for the run."""
    disk = scratch.folder / "disk"
    child = scratch.folder / "child"
    refusal = mount(disk, f"size={SPACE}") if sys.platform == "linux" else "only Linux has tmpfs"
    if refusal:
        yield Case("mounting", None, f"a small file system cannot be mounted here: {refusal}")
        return
    subprocess.run(["umount", str(disk)], check=True)
    references: dict[str, Contents] = {}
    waiting: dict[str, list[int]] = {}
    names = ["pd-morl", "morl-d"]
    while names:
        for name in list(names):
            if name not in references:
                references[name], taken = reference_of(name, scratch)
                waiting[name] = sizes(taken, scratch)
            if waiting[name]:
                kilobytes = waiting[name].pop()
                yield judged(f"{name}, {kilobytes} kB", on_a_disk(disk, child, name, kilobytes, references[name]))
            else:
                names.remove(name)


def reference_of(name: str, scratch: Scratch) -> tuple[Contents, int]:
    """Train with enough space; return what the run holds, and how many kilobytes it takes.

    Raises:
        RuntimeError: that fails.
    """
    folder = scratch.folder / name
    trained = in_child(lambda: SUBJECTS[name].train(folder, seed=1), scratch.folder / "child", 300.0)
    if trained.code != 0:
        raise RuntimeError(f"training {name} with enough space failed: {trained.last_words()}")
    taken = sum(4 * (1 + file.stat().st_size // 4096) for file in folder.rglob("*"))
    return contents_of(folder), taken


def on_a_disk(disk: Path, child: Path, name: str, kilobytes: int, reference: Contents) -> list[str]:
    """Train on a small disk, make space, go on; return what is wrong."""
    refusal = mount(disk, f"size={kilobytes}k")
    if refusal:
        return [refusal]
    try:
        run = disk / "run"
        outcome = command(child, SUBJECTS[name].flags(run, seed=1), timeout=300.0)
        complaints = complaints_of(outcome, "train")
        if outcome.code == 2 and str(disk) not in outcome.err:
            complaints.append(f"train: the sentence names no file: {outcome.last_words()}")
        mount(disk, f"remount,size={SPACE}")
        if outcome.code == 0:
            return complaints + differences(reference, run)
        goes_on = in_child(lambda: went_on(name, run), child, 300.0)
        if goes_on.code != 0:
            return [*complaints, f"going on with space: {goes_on.last_words()}"]
        return complaints + differences(reference, run)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def went_on(name: str, run: Path) -> None:
    """Resume a run that has a checkpoint; begin it anew where it has none."""
    if not list(run.glob("checkpoints/*step-*")):
        SUBJECTS[name].train(run, seed=1, overwrite=run.exists())
        return
    answer = said("resume", run, "--total-steps", STEPS)
    if answer.code != 0 and "already has" not in answer.err:
        raise RuntimeError(answer.err)
