"""All runs under one folder, kept up to date: found, read, and put into problems and settings."""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morl.board.folder import RunFolder
from morl.board.known_fronts import agreed_front, registered_front
from morl.run_folder import thinned_front

if TYPE_CHECKING:
    from morl.board.records import ReportedFront

DEEPEST = 12
"""Folders below the root that are searched."""
FOLDERS_SEARCHED = 20_000
MOST_RUNS = 1_000
KNOWN_POINTS_SHOWN = 2_000
_OWN_FOLDERS = {"tensorboard", "checkpoints", "policies", "videos"}
_NEVER = {".git", "__pycache__", "node_modules"}


@dataclass(frozen=True)
class Found:
    """The result of a search: run folders by name, and notes by the name of the folder that they concern."""

    runs: dict[str, Path] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def find_runs(root: Path) -> Found:
    """Return the run folders under `root`, itself included; links are not followed, so all of them lie inside it.

    A run folder holds front.json, fronts.jsonl, or config.toml and system.json (before its first evaluation). A folder
    with event files that is no run, nor inside one, is noted: another tool wrote it.
    """
    found = Found()
    searched = 0
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        searched += 1
        if searched > FOLDERS_SEARCHED or len(found.runs) >= MOST_RUNS:
            found.notes["."] = f"only {len(found.runs)} runs in {searched - 1:,} folders are shown; narrow --logdir"
            break
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            found.notes[_name(folder, root)] = f"cannot be read: {error.strerror}"
            continue
        files = {entry.name for entry in listed if entry.is_file(follow_symlinks=False)}
        if {"front.json", "fronts.jsonl"} & files or {"config.toml", "system.json"} <= files:
            found.runs[_name(folder, root)] = folder
            skipped = _OWN_FOLDERS
        else:
            skipped = _NEVER
            if any(".tfevents." in name for name in files):
                found.notes[_name(folder, root)] = "event files of another tool, without fronts"
        if depth < DEEPEST:
            inside = [entry for entry in listed if entry.name not in skipped and entry.is_dir(follow_symlinks=False)]
            waiting += [(Path(entry.path), depth + 1) for entry in inside]
        links = [entry for entry in listed if entry.is_symlink() and _leads_to_folder(entry)]
        found.notes.update({_name(Path(link.path), root): "a link: links are not followed" for link in links})
    return found


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # it leads in a circle, or where we may not look
        return False


def _name(folder: Path, root: Path) -> str:
    name = folder.relative_to(root).as_posix()
    return (root.resolve().name or "run") if name == "." else name


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return a sorting key that puts seed-9 before seed-10."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def key_of(value: object) -> str:
    """Return a short name that only equal values share."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def problem_of(reported: "ReportedFront") -> tuple[object, ...]:
    """Return the problem of a run, (environment, its options, objectives, discount): comparable runs share it."""
    options = tuple(sorted((name, str(value)) for name, value in reported.env_options.items()))
    return reported.env, options, reported.objectives, reported.discount


class Library:
    """The runs under `root`, or those that were named. One thread at a time: hold `lock`.

    Args:
        root: the folder to search, again at every refresh.
        runs: name -> run folder, instead of searching.
    """

    def __init__(self, root: Path | None = None, runs: dict[str, Path] | None = None) -> None:
        self.root = root
        self.lock = threading.RLock()
        self.notes: dict[str, str] = {}
        self.folders = {name: RunFolder(name, path) for name, path in (runs or {}).items()}
        self._registered_fronts: dict[tuple[object, ...], NDArray[np.float64] | None] = {}
        self._searched = -float("inf")

    def refresh(self, least_seconds: float = 0.5) -> None:
        """Search and read again, unless that was done less than `least_seconds` ago."""
        if time.monotonic() - self._searched < least_seconds:
            return
        if self.root is not None:
            found = find_runs(self.root)
            self.notes = found.notes
            self.folders = {
                name: self.folders[name] if name in self.folders else RunFolder(name, path)
                for name, path in sorted(found.runs.items(), key=lambda run: _natural(run[0]))
            }
        for folder in self.folders.values():
            try:
                folder.refresh()
            except Exception as error:
                folder.blame(error)
        self._searched = time.monotonic()

    def with_fronts(self, names: Sequence[str] | None = None) -> "Iterator[tuple[RunFolder, ReportedFront]]":
        """Yield the runs that have a front, of those named; unknown names are passed over."""
        for name in self.folders if names is None else names:
            folder = self.folders.get(name)
            if folder is not None and folder.reported is not None:
                yield folder, folder.reported

    def known_front(self, group: "Sequence[ReportedFront]") -> NDArray[np.float64] | None:
        """Return the true front [n, objective] of a problem: of `morl.envs.specs`, or else what its runs hold.

        Args:
            group: the runs of one problem, at least one.
        """
        first = group[0]
        problem = problem_of(first)
        if problem not in self._registered_fronts:
            found = registered_front(first.env, first.env_options, first.discount, len(first.objectives))
            shown = None if found is None else thinned_front(found, KNOWN_POINTS_SHOWN)
            self._registered_fronts[problem] = shown
        registered = self._registered_fronts[problem]
        return agreed_front(reported.known_front for reported in group) if registered is None else registered
