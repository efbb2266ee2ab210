"""TOML: whatever settings hold, config.toml is read back equal, by `tomllib` and by the product."""

import json
import math
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import toys

from _reliability.cases import Case, Scratch
from _reliability.children import in_child
from _reliability.runs import SUBJECTS

BATCH = 500
WHOLE_RUNS = 0.002
"""Share of the cases that are whole runs: trained with the options, loaded, resumed."""
ENV = "reliability-anything-v0"
WORDS = ("", "007", "true", "nan", "1e5", "-0.0", "a b", "'", '"', '"""', "\\", "\\u0041", "#", "=", "[x]", "a.b", "\n")
FLOATS = (0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e16, 0.1, 1 / 3, -1e-7, 123456789.123456789)
INTEGERS = (0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))


class Anything(toys.Walk):
    """The walk of the tests, which takes options of any name and value."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options


if ENV not in gymnasium.registry:
    import morl.envs

    morl.envs.register(ENV, Anything, objectives=("place", "rest"))


def text(random: np.random.Generator) -> str:
    """Return a text: a hard word, or any characters of Unicode."""
    if random.random() < 0.4:
        return str(random.choice(WORDS))
    points = random.integers(0, random.choice([0x80, 0x300, 0xD800, 0x110000]), size=int(random.integers(0, 12)))
    return "".join(chr(point) for point in points.tolist() if not 0xD800 <= point < 0xE000)


def value(random: np.random.Generator) -> bool | int | float | str:
    """Return what a table of options may hold."""
    kind = int(random.integers(4))
    if kind == 0:
        return bool(random.integers(2))
    if kind == 1:
        return INTEGERS[random.integers(len(INTEGERS))] if random.random() < 0.5 else int(random.integers(-999, 999))
    if kind == 2:
        drawn = float(np.frombuffer(random.bytes(8), dtype=np.float64)[0])
        return drawn if math.isfinite(drawn) and random.random() < 0.5 else FLOATS[random.integers(len(FLOATS))]
    return text(random)


def options(random: np.random.Generator) -> dict[str, Any]:
    """Return a table with keys of any text."""
    return {text(random): value(random) for _ in range(int(random.integers(0, 5)))}


def settings(random: np.random.Generator, plain: Any) -> Any:
    """Return settings of a run that hold what is hard to write."""
    floats = [float(value) for value in random.choice(FLOATS, size=2)]
    changes: dict[str, Any] = {
        "env_options": options(random),
        "reference_point": tuple(floats),
        "checkpoint_minutes": abs(floats[0]) or 1.0,
        "seed": int(random.integers(2**62)),
    }
    agent = plain.agent
    if hasattr(agent, "constraints"):
        # Settings are checked where they are made; here only what is written counts.
        agent = replace(agent)
        object.__setattr__(agent, "constraints", {text(random): text(random) for _ in range(3)})
    return replace(plain, agent=agent, **changes)


def expected(given: Any, agent: str, env: str) -> tuple[dict[str, Any], list[str]]:
    """Return what must be read back: all settings that are not None, tuples as lists; and the names of the run."""
    spelled = json.loads(json.dumps(asdict(given)))
    return without_none(spelled), [agent, env]


def without_none(table: Any) -> Any:
    """Return nested tables without the entries that are None."""
    if not isinstance(table, dict):
        return table
    return {key: without_none(entry) for key, entry in table.items() if entry is not None}


def batch(seeds: list[int], plain: dict[str, Any]) -> list[str]:
    """Return for every seed what is wrong with the settings that it draws; an empty text for nothing."""
    return [written_and_read(np.random.default_rng(seed), plain) for seed in seeds]


def written_and_read(random: np.random.Generator, plain: dict[str, Any]) -> str:
    """Draw settings, write them as TOML, read that back; return what is wrong."""
    from morl.experiment.settings import to_toml

    name = str(random.choice(sorted(plain)))
    drawn = settings(random, plain[name])
    agent = f"own:{text(random)}"
    env = f"own:{text(random)}-v0"
    table, names = expected(drawn, agent, env)
    try:
        found = tomllib.loads(to_toml(drawn, agent, env))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    read_names = sorted(str(entry) for key, entry in found.items() if key not in table)
    wrong = different(filled(table), filled({key: entry for key, entry in found.items() if key in table}))
    return wrong or ("" if read_names == sorted(names) else f"the names {names} were written, {read_names} read")


def filled(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table without entries that are empty: whether those are written is not promised."""
    return {key: entry for key, entry in table.items() if entry not in ({}, [])}


def different(one: object, other: object, path: str = "") -> str:
    """Return where two nested values differ in type or value, signs of zeros included."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return next((found for key in keys if (found := different(one.get(key), other.get(key), f"{path}/{key}"))), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        places = range(len(one))
        return next(
            (found for place in places if (found := different(one[place], other[place], f"{path}/{place}"))), ""
        )
    return "" if repr(one) == repr(other) else f"{path}: {one!r} was written, {other!r} read"


def whole_run(folder: Path, seed: int) -> str:
    """Train with options, load, resume; return what became of the options."""
    import morl

    given = options(np.random.default_rng(seed))
    usable = {key: entry for key, entry in given.items() if key.isidentifier()} | {
        "digits": "007",
        "whole": 1.0,
        "on": True,
    }
    shutil.rmtree(folder, ignore_errors=True)
    subject = SUBJECTS["pd-morl"]
    run = morl.train(
        subject.agent, ENV, total_steps=20, run_dir=folder, config=subject.config, env_options=usable, **toys.SCHEDULE
    )
    for what in ("trained", "loaded", "resumed"):
        if what == "loaded":
            run = morl.load(folder)
        if what == "resumed":
            run = morl.resume(folder, 30)
        wrong = different(dict(run.settings.env_options), usable)
        if wrong:
            return f"{what}: {wrong}"
    return different(tomllib.loads((folder / "config.toml").read_text())["env_options"], usable)


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Draw settings without end; write and read them in batches, and now and then in a whole run."""
    import morl
    from morl.experiment.settings import Settings

    child = scratch.folder / "child"
    plain = {}
    for name, subject in SUBJECTS.items():
        agent_class = morl.agents.find_agent(subject.agent, morl.envs.core.registry.problem(subject.env).action_space)
        plain[name] = Settings(agent=agent_class.config_class(**subject.config))
    while True:
        seeds = scratch.random.integers(2**40, size=BATCH).tolist()
        runs = [seed for seed in seeds if seed % round(1 / WHOLE_RUNS) == 0] or seeds[:1]
        for seed in runs:
            outcome = in_child(lambda seed=seed: whole_run(scratch.folder / "run", seed), child, 120.0)
            wrong = str(outcome.answer or "") if outcome.code == 0 else outcome.last_words()
            yield Case(f"run with the options of seed {seed}", not wrong, wrong)
        outcome = in_child(lambda seeds=seeds: batch(seeds, plain), child, 120.0)
        if outcome.code != 0:
            yield Case(f"batch that begins with seed {seeds[0]}", False, outcome.last_words())
            continue
        for seed, wrong in zip(seeds, outcome.answer, strict=True):
            yield Case(f"settings of seed {seed}", not wrong, wrong)
