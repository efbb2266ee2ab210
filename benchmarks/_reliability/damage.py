"""Damage: every file of a finished run, damaged in many ways; then every answer is right, or one sentence."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from _reliability.cases import Case, Scratch, judged
from _reliability.children import in_child
from _reliability.looking import BAD, LOOKING, Views, look, paired, views_of
from _reliability.runs import SUBJECTS

Damage = Callable[[Path, np.random.Generator], None]

WRONG_VALUES = (
    "NaN",
    "1e999",
    "-1e999",
    "1" + "0" * 400,
    "-1",
    "null",
    "true",
    '"text"',
    '"\\u0000\\u001b[31m"',
    "[]",
    "{}",
    "[[[[1]]]]",
    "[" * 5_000 + "]" * 5_000,
)
"""What stands where JSON held another value."""


def truncate(file: Path, random: np.random.Generator) -> None:
    """Cut the file somewhere."""
    os.truncate(file, int(random.integers(0, max(1, file.stat().st_size))))


def flip(file: Path, random: np.random.Generator) -> None:
    """Turn one bit of the file around."""
    content = bytearray(file.read_bytes())
    if content:
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
    file.write_bytes(content)


def garbage(file: Path, random: np.random.Generator) -> None:
    """Replace the file by random bytes."""
    file.write_bytes(random.bytes(500))


def rewritten(content: bytes) -> Damage:
    """Return a damage that replaces a file by a content."""

    def write(file: Path, random: np.random.Generator) -> None:
        del random
        file.write_bytes(content)

    return write


def remove(file: Path, random: np.random.Generator) -> None:
    """Remove the file."""
    del random
    file.unlink()


def folder_instead(file: Path, random: np.random.Generator) -> None:
    """Put a folder where the file was."""
    del random
    file.unlink()
    file.mkdir()


def append(file: Path, random: np.random.Generator) -> None:
    """Append half a line."""
    del random
    with file.open("ab") as stream:
        stream.write(b'{"training_steps": 1')


DAMAGES: dict[str, Damage] = {
    "truncated": truncate,
    "truncated again": truncate,
    "bit flipped": flip,
    "bit flipped again": flip,
    "emptied": rewritten(b""),
    "garbage": garbage,
    "a huge list": rewritten(b"[" + b"1," * 2_000_000 + b"1]"),
    "deeply nested": rewritten(b"[" * 200_000),
    "a number": rewritten(b"NaN\n"),
    "an empty object": rewritten(b"{}\n"),
    "a number of 5000 digits": rewritten(b"1" * 5_000),
    "not UTF-8": rewritten(b"\xff\xfe\x00"),
    "removed": remove,
    "a folder instead": folder_instead,
    "half a line more": append,
}
"""Ways to damage any file."""


def wrong_value(file: Path, place: int, value: str) -> str:
    """Replace one value inside a JSON file, or one line of JSON lines; return which."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    row = place % len(lines)
    record = json.loads(lines[row])
    paths = list(paths_in(record))
    path = paths[place % len(paths)]
    parent = record
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = "@@@"
    lines[row] = json.dumps(record).replace('"@@@"', value)
    file.write_text("\n".join(lines) + "\n")
    return "/".join(map(str, path))


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every value inside nested JSON is, the nested ones included."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*path, key)
        yield from paths_in(entry, (*path, key))


NAMES = ("pd-morl", "c-morl", "morl-d")


@dataclass(frozen=True)
class Base:
    """A finished run, the same for every case, and what looking at it undamaged answers."""

    run: Path
    views: Views


def base_of(name: str, scratch: Scratch) -> Base:
    """Train an agent, and look at what it left behind.

    Raises:
        RuntimeError: that fails, without any damage.
    """
    base = scratch.folder / name
    pair = scratch.folder / "pair"
    child = scratch.folder / "child"
    trained = in_child(lambda: SUBJECTS[name].train(base), child, 300.0)
    if trained.code != 0:
        raise RuntimeError(f"training {name} failed: {trained.last_words()}")
    paired(base, pair)
    viewed = in_child(lambda: views_of(pair), child, 300.0)
    if viewed.code != 0:
        raise RuntimeError(f"looking at an undamaged run of {name} failed: {viewed.last_words()}")
    return Base(base, Views(**viewed.answer))


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Damage every file of every agent's run in every way, and JSON by wrong values, each agent in its random order."""
    bases: dict[str, Base] = {}
    waiting: dict[str, list[tuple[str, str]]] = {}
    names = list(NAMES)
    while names:
        for name in list(names):
            if name not in bases:
                bases[name] = base_of(name, scratch)
                waiting[name] = cases_of(bases[name].run, scratch)
            if waiting[name]:
                file, way = waiting[name].pop()
                yield damaged(scratch, name, bases[name], file, way)
            else:
                names.remove(name)


def cases_of(run: Path, scratch: Scratch) -> list[tuple[str, str]]:
    """Return files of a run and ways to damage them, in a random order."""
    files = regular_files(run)
    cases = [(file, way) for file in files for way in DAMAGES]
    json_files = [file for file in files if file.endswith((".json", ".jsonl"))]
    cases += [(file, f"value {way}") for file in json_files for way in range(3 * len(WRONG_VALUES))]
    return [cases[place] for place in scratch.random.permutation(len(cases))]


def regular_files(base: Path) -> list[str]:
    """Return the files of a run folder, relative to it."""
    return sorted(file.relative_to(base).as_posix() for file in base.rglob("*") if file.is_file())


def damaged(scratch: Scratch, name: str, base: Base, file: str, way: str) -> Case:
    """Damage a file of a copy of a run in a way, and look at it."""
    pair = scratch.folder / "pair"
    target = paired(base.run, pair) / file
    label = f"{name}, {file}, {way}"
    if way in DAMAGES:
        DAMAGES[way](target, scratch.random)
    else:
        value = WRONG_VALUES[int(way.split()[1]) % len(WRONG_VALUES)]
        where = wrong_value(target, int(scratch.random.integers(2**30)), value)
        label = f"{name}, {file}, {value[:20]} at {where}"
    outcome = in_child(lambda: look(pair, base.views, file), scratch.folder / "child", LOOKING)
    if outcome.hung:
        return Case(label, False, f"hung: {outcome.last_words()}; {outcome.err[-100:]!r}")
    if outcome.code != 0:
        return Case(label, False, outcome.last_words())
    shutil.rmtree(pair / BAD, ignore_errors=True)
    return judged(label, outcome.answer)
