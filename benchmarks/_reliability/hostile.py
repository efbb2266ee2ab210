"""Hostile run folders: made by somebody who wants code run, files read or cut, machines filled, or terminals fooled."""

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _reliability.cases import Case, Scratch, judged, shuffled
from _reliability.children import Said, in_child
from _reliability.damage import Base, base_of
from _reliability.looking import GOOD, LOOKING, look, paired

CANARY = "reliability_canary"
"""A module that leaves a file where it is imported."""
MARKUP = "</script><script>canary()</script><img src=x onerror=canary()>"
CONTROLS = "\x1b[31m\x1b]0;canary\x07\x9b2J\r\x00\x08"
MOST_MEMORY = 2 * 2**30
"""Bytes that looking at a small hostile folder may take at its peak, libraries included."""
BOMB = 3 * 2**30
"""Bytes that a bomb becomes where somebody unpacks or reads all of it."""


@dataclass(frozen=True)
class Place:
    """Where a hostile folder is made: the run folder, and a folder of others that must stay as it is."""

    run: Path
    outside: Path


Hostility = Callable[[Place], None]
HOSTILITIES: dict[str, Hostility] = {}
"""What is hostile -> what makes a run folder so."""


def hostility(name: str) -> Callable[[Hostility], Hostility]:
    """Return what puts a function into the table."""

    def add(function: Hostility) -> Hostility:
        HOSTILITIES[name] = function
        return function

    return add


def change_front(run: Path, **entries: object) -> None:
    """Change entries of front.json."""
    record = json.loads((run / "front.json").read_text())
    (run / "front.json").write_text(json.dumps(record | entries))


def change_config(run: Path, key: str, value: str) -> None:
    """Change a setting at the top of config.toml, whatever it is called there."""
    names = {"agent": ("algorithm", "agent"), "env": ("environment", "env")}[key]
    lines = (run / "config.toml").read_text().splitlines()
    spelled = json.dumps(value)
    changed = [f"{line.split(' = ')[0]} = {spelled}" if line.split(" = ")[0] in names else line for line in lines]
    (run / "config.toml").write_text("\n".join(changed) + "\n")


@hostility("env names a module")
def _(place: Place) -> None:
    change_config(place.run, "env", f"{CANARY}:toy-walk-v0")
    change_front(place.run, env=f"{CANARY}:toy-walk-v0")


@hostility("env names a module that is not in front.json")
def _(place: Place) -> None:
    change_config(place.run, "env", f"{CANARY}:toy-walk-v0")


@hostility("agent names a module")
def _(place: Place) -> None:
    change_config(place.run, "agent", f"{CANARY}:Agent")
    change_front(place.run, agent=f"{CANARY}:Agent")


@hostility("markup in names")
def _(place: Place) -> None:
    change_config(place.run, "env", MARKUP)
    change_front(place.run, env=MARKUP, agent=MARKUP, objectives=[MARKUP, f"<b>{MARKUP}"])


@hostility("markup in objectives")
def _(place: Place) -> None:
    change_front(place.run, objectives=[MARKUP, "[bold red]x[/bold red] [link=http://canary]"])


@hostility("control characters in objectives")
def _(place: Place) -> None:
    change_front(place.run, objectives=[f"one{CONTROLS}", f"two{CONTROLS}"])


@hostility("control characters in names")
def _(place: Place) -> None:
    change_front(place.run, env=CONTROLS, agent=CONTROLS)
    change_config(place.run, "agent", CONTROLS)


@hostility("mathematics in objectives")
def _(place: Place) -> None:
    change_front(place.run, objectives=["costs $5", r"$\frac{"])


@hostility("objectives without end")
def _(place: Place) -> None:
    change_front(place.run, objectives=["x" * 1_000_000, "y" * 1_000_000])


def _linked(file: str) -> Hostility:
    def link(place: Place) -> None:
        target = place.run / file
        if target.is_dir():
            shutil.move(target, place.outside / "linked")
        else:
            shutil.move(target, place.outside / target.name)
        target.symlink_to(place.outside / ("linked" if (place.outside / "linked").exists() else target.name))

    return link


def _special(file: str, make: Callable[[Path], None]) -> Hostility:
    def replace(place: Place) -> None:
        target = place.run / file
        target.unlink()
        make(target)

    return replace


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, BOMB)


FILES = ("front.json", "config.toml", "metrics.jsonl", "fronts.jsonl", "policies/0.pt", "EVENTS", "MANIFEST", "STATE")
"""Files of a run folder; the last three stand for an event file and for two files of the newest checkpoint."""
SPECIAL = {"a pipe": _pipe, "a link to /dev/zero": _endless, "a device": _device, "a sparse file of 3 GB": _sparse}
for _file in FILES:
    for _name, _make in SPECIAL.items():
        HOSTILITIES[f"{_file} is {_name}"] = _special(_file, _make)
for _file in (*FILES, "policies", "checkpoints", "tensorboard"):
    HOSTILITIES[f"{_file} is a link to the outside"] = _linked(_file)


@hostility("a link in a circle")
def _(place: Place) -> None:
    (place.run / "tensorboard" / "circle").symlink_to(place.run)
    (place.run / "policies" / "9.pt").symlink_to("9.pt")


@hostility("a policy that unpacks to 3 GB")
def _(place: Place) -> None:
    for file in (place.run / "policies").glob("*.pt"):
        _inflate(file)


@hostility("a checkpoint that unpacks to 3 GB")
def _(place: Place) -> None:
    for file in place.run.glob("checkpoints/*/agent*"):
        if file.is_file():
            _inflate(file)


def _inflate(file: Path) -> None:
    """Replace the data of a .pt archive by compressed zeros, most of them in its largest part."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    largest = max((name for name in parts if "/data/" in name), key=lambda name: len(parts[name]), default=None)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            with archive.open(name, "w", force_zip64=True) as stream:
                if name != largest:
                    stream.write(content)
                    continue
                for _ in range(BOMB // 2**26):
                    stream.write(bytes(2**26))


@hostility("a policy that is larger than it says")
def _(place: Place) -> None:
    import torch

    for file in (place.run / "policies").glob("*.pt"):
        torch.save({"weights": torch.zeros(1).expand(10**11)}, file)


@hostility("a pickle that runs code")
def _(place: Place) -> None:
    import pickle

    class Runs:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return __import__, (CANARY,)

    for file in [*(place.run / "policies").glob("*.pt"), *place.run.glob("checkpoints/*/*.pt")]:
        file.write_bytes(pickle.dumps(Runs()))


@hostility("millions of points")
def _(place: Place) -> None:
    record = json.loads((place.run / "front.json").read_text())
    many = 300_000
    rows = {name: record[name][:1] * many for name in ("points", "preferences", "policy_ids", "undiscounted_points")}
    change_front(place.run, **rows)


def named(run: Path, file: str) -> str:
    """Return which file of a run stands behind a name of `FILES`."""
    patterns = {"EVENTS": "tensorboard/*tfevents*", "MANIFEST": "checkpoints/*/manifest.json"}
    if file in patterns:
        return max(run.glob(patterns[file])).relative_to(run).as_posix()
    if file == "STATE":
        newest = max(run.glob("checkpoints/step-*"))
        return max(newest.glob("*.*"), key=lambda each: each.stat().st_size).relative_to(run).as_posix()
    return file


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Make a run folder hostile in every way, and look at it."""
    (scratch.folder / f"{CANARY}.py").write_text(
        "import os, pathlib, toys\n"
        "pathlib.Path(os.environ['RELIABILITY_CANARY']).write_text('imported')\n"
        "class Agent(toys.Coins):\n    pass\n"
    )
    base = base_of("pd-morl", scratch)
    for name in shuffled(scratch, list(HOSTILITIES)):
        yield tried(str(name), scratch, base)


def tried(name: str, scratch: Scratch, base: Base) -> Case:
    """Make a copy of a run hostile in one way, look at it, and judge."""
    pair = scratch.folder / "pair"
    outside = scratch.folder / "outside"
    canary = scratch.folder / "canary"
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir()
    canary.unlink(missing_ok=True)
    run = paired(base.run, pair)
    make = HOSTILITIES[name]
    first = name.split(" is ")[0]
    if first in FILES and named(run, first) != first:
        kind = name.split(" is ")[1]
        make = _linked(named(run, first)) if kind not in SPECIAL else _special(named(run, first), SPECIAL[kind])
    try:
        make(Place(run, outside))
    except PermissionError as error:
        return Case(name, None, f"needs root: {error}")
    before = fingerprint(outside)

    def function() -> list[str]:
        import sys

        sys.path.insert(0, str(scratch.folder))
        os.environ["RELIABILITY_CANARY"] = str(canary)
        return look(pair, base.views, extra=fooled)

    outcome = in_child(function, scratch.folder / "child", LOOKING)
    complaints = list(outcome.answer or [])
    if outcome.hung or outcome.code != 0:
        tried_last = [line for line in outcome.err.splitlines() if line.startswith("trying ")][-1:]
        complaints.append(f"{outcome.last_words()} after {tried_last}")
    if canary.exists():
        complaints.append("code that the run folder names was run")
    if fingerprint(outside) != before:
        complaints.append("files outside the run folder were changed")
    if outcome.peak > MOST_MEMORY:
        complaints.append(f"took {outcome.peak / 2**30:.1f} GB of memory")
    page = pair / "page.html"
    if page.exists() and any(mark in page.read_text(errors="replace") for mark in ("<script>canary", "<img src=x")):
        complaints.append("the page holds markup of the run folder")
    assert (pair / GOOD).exists()
    return judged(name, complaints)


def fooled(answer: Said) -> list[str]:
    """Return what an answer lets through that a terminal obeys."""
    text = answer.out + answer.err
    return ["control characters reach the terminal"] if set(text) & set("\x1b\x07\x9b\x00\x08") else []


def fingerprint(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return size and content (of small regular files) of all that is in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            size = path.stat().st_size
            found[path.relative_to(folder).as_posix()] = (size, path.read_bytes() if size < 2**24 else b"")
    return found
