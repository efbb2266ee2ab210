"""Configurations: random settings of every agent through the command line; it trains, or one sentence says why not."""

import shutil
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from _reliability.cases import Case, Scratch, judged
from _reliability.children import command, complaints_of, in_child
from _reliability.runs import SUBJECTS, Subject, flag

LIMIT = 0.3
"""Minutes that a run may train: settings that are right but slow end by the product's own limit."""
PATIENCE = 120.0
"""Seconds after which a run hangs; far more than `LIMIT`, because one update may be slow."""
MOST_CHANGES = 4
PLAUSIBLE = 0.8
"""Share of the settings that are drawn from values that may be right."""
SIZES = ("size", "sizes", "envs", "population", "samples", "capacity")
"""Endings of the names of settings that no machine can hold if they are large enough."""
WRONG_WORDS = ("", "x", "-", "None", "nan", "1e999", "0x10", "True", "\x00", "ä", "--seed", "[1]", "1,2")


def integers(name: str) -> list[object]:
    """Return integers to try, right and wrong ones."""
    beyond = [10**12] if name.endswith(SIZES) else []
    return [-1, 0, 1, 2, 3, 7, 16, 50, 10**30, *beyond]


NUMBERS: list[object] = [-1.0, 0.0, 1e-300, 1e-8, 0.1, 0.5, 0.99, 1.0, 1.5, 10.0, 1e30, "inf", "-inf", "nan"]


def values_for(hint: Any, name: str) -> list[object]:
    """Return values to try for a setting, from its annotation; lists of words where it takes several."""
    origin = typing.get_origin(hint)
    parts = typing.get_args(hint)
    if origin is typing.Annotated:
        return values_for(parts[0], name)
    if origin is Literal:
        return list(parts)
    if origin in (typing.Union, types.UnionType):
        return [value for part in parts for value in values_for(part, name)]
    if origin is tuple:
        several = values_for(parts[0], name)
        return [(), *[(value,) for value in several], (several[1], several[2]), (several[2],) * 3]
    if hint is bool:
        return [True, False]
    if hint is int:
        return integers(name)
    if hint is float:
        return list(NUMBERS)
    return ["None"] if hint is type(None) else list(WRONG_WORDS)


def settings_of(subject: Subject) -> dict[str, list[object]]:
    """Return every setting of a run with this agent, and the values to try for it."""
    from morl.agents import find_agent
    from morl.envs.core.registry import problem
    from morl.experiment.settings import Settings

    config = find_agent(subject.agent, problem(subject.env).action_space).config_class
    ours = ("agent", "total_steps", "device", "time_limit_minutes", "checkpoint_minutes", "env_options")
    found = {name: hint for name, hint in typing.get_type_hints(Settings).items() if name not in ours}
    found |= {f"agent.{name}": hint for name, hint in typing.get_type_hints(config).items()}
    tried = {
        name: values_for(hint, name) for name, hint in found.items() if typing.get_origin(hint) is not typing.ClassVar
    }
    presets = getattr(config, "PRESETS", None)
    return tried | ({"agent.preset": [*presets, "x"]} if presets else {})


def drawn(values: list[object], random: np.random.Generator) -> object:
    """Return one of the values, most of the time one that may well be right: otherwise nearly all would be refused."""
    likely = [value for value in values if plausible(value)]
    if likely and random.random() < PLAUSIBLE:
        values = likely
    return values[int(random.integers(len(values)))]


def plausible(value: object) -> bool:
    """Return whether a value could be meant."""
    if isinstance(value, tuple):
        return bool(value) and all(map(plausible, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value not in (*WRONG_WORDS, "inf", "-inf")
    return 0.01 < value <= 50


def spelled(name: str, value: object, random: np.random.Generator) -> list[str]:
    """Return a setting on the command line; now and then with a word that is wrong for its type."""
    if random.random() < 0.07:
        return flag(name, str(random.choice(WRONG_WORDS)))
    return flag(name, value)


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Train with random changes of small configurations, without end."""
    tables = {name: settings_of(subject) for name, subject in SUBJECTS.items()}
    folder = scratch.folder / "run"
    number = 0
    while True:
        number += 1
        name = str(scratch.random.choice(list(tables)))
        count = int(scratch.random.integers(1, MOST_CHANGES + 1))
        chosen = scratch.random.choice(sorted(tables[name]), size=count, replace=False)
        words: list[str] = []
        for setting in map(str, chosen):
            words += spelled(setting, drawn(tables[name][setting], scratch.random), scratch.random)
        yield judged(
            f"{number}: {name}, {' '.join(map(repr, words))}", tried(scratch.folder, folder, SUBJECTS[name], words)
        )


def tried(base: Path, folder: Path, subject: Subject, words: list[str]) -> list[str]:
    """Train with further flags; return what is wrong with what happened."""
    shutil.rmtree(folder, ignore_errors=True)
    flags = subject.flags(folder, 60, time_limit_minutes=LIMIT, checkpoint_minutes=5.0)
    outcome = command(base / "child", [*flags, *words], timeout=PATIENCE)
    complaints = complaints_of(outcome, "train")
    if outcome.code == 2 and folder.exists() and not list(folder.glob("checkpoints/step-*")):
        complaints.append("refused, but a run folder is left behind")
    if outcome.code == 0:
        loaded = in_child(lambda: load(folder), base / "child")
        complaints += [] if loaded.code == 0 else [f"what was trained cannot be loaded: {loaded.last_words()}"]
    return complaints


def load(folder: Path) -> None:
    """Load the run that was trained; runs of several seeds lie one level deeper."""
    import morl

    runs = [folder] if (folder / "config.toml").exists() else sorted(folder.iterdir())
    for run in runs:
        front = morl.load(run).front
        if not np.isfinite(front.points).all() or not len(front.points):
            raise ValueError(f"the front is {front.points.tolist()}")
