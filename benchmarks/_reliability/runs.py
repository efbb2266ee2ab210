"""The runs that the campaigns work on: a small one of every agent, and what makes two run folders equal."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toys

STEPS = 120
"""Training steps of every run: past the first update of every agent, with an evaluation half-way and at the end."""
SCHEDULE: dict[str, Any] = toys.SCHEDULE | {"evaluate_every": 60, "log_every": 30}
EVERY_STEP = 1e-9
"""Minutes between two checkpoints: one at every moment at which the agent's state is consistent."""
LEFTOVERS = ("partial", "replaced", ".tmp")
"""Words in the names of files that only a killed write leaves behind."""


@dataclass(frozen=True)
class Subject:
    """An agent, an environment of the tests, and settings that make it small."""

    agent: str
    env: str
    config: dict[str, Any]

    def train(self, folder: Path, steps: int = STEPS, **changes: object) -> None:
        """Train it in a run folder."""
        import morl

        settings = SCHEDULE | {"checkpoint_minutes": EVERY_STEP} | changes
        morl.train(self.agent, self.env, total_steps=steps, run_dir=folder, config=self.config, **settings)

    def train_seeds(self, folder: Path, seeds: list[int], **changes: object) -> None:
        """Train it with several seeds together, in the folders seed-<seed> of a folder."""
        import morl

        settings = SCHEDULE | {"checkpoint_minutes": EVERY_STEP, "total_steps": STEPS} | changes
        morl.train_seeds(self.agent, self.env, seeds, run_dir=folder, config=self.config, **settings)

    def flags(self, folder: Path, steps: int = STEPS, **changes: object) -> list[str]:
        """Return the words after `morl` that train it; `changes` are settings of the run."""
        settings = SCHEDULE | {"checkpoint_minutes": EVERY_STEP} | changes
        words = ["train", self.agent, self.env, "--run-dir", str(folder), "--total-steps", str(steps)]
        words += [word for name, value in settings.items() for word in flag(name, value)]
        return words + [word for name, value in self.config.items() for word in flag(f"agent.{name}", value)]


def flag(name: str, value: object) -> list[str]:
    """Return a setting as words of a command line."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        table, dot, last = option.rpartition(".")
        return [f"--{option}" if value else f"--{table}{dot}no-{last}"]
    if isinstance(value, dict):
        return [f"--{option}", *(str(part) for entry in value.items() for part in entry)]
    values = value if isinstance(value, tuple | list) else (value,)
    return [f"--{option}", *map(str, values)]


SUBJECTS = {
    "pd-morl": Subject("pd-morl", "toy-walk-v0", toys.TINY),
    "pd-morl, continuous": Subject("pd-morl", "toy-continuous-walk-v0", toys.TINY_CONTINUOUS),
    "c-morl": Subject("c-morl", "toy-walk-v0", toys.TINY_CMORL),
    "morl-d": Subject("morl-d", "toy-walk-v0", toys.TINY_MORLD),
}
"""The agents of the contract test, by name."""


@dataclass(frozen=True)
class Contents:
    """What a finished run leaves behind, clocks left out."""

    front: dict[str, Any]
    config: str
    fronts: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    scalars: dict[str, list[tuple[int, float]]]
    policies: dict[str, bytes]


def contents_of(folder: Path) -> Contents:
    """Return what a run folder holds."""
    return Contents(
        front=toys.front(folder),
        config=(folder / "config.toml").read_text(),
        fronts=toys.lines(folder / "fronts.jsonl"),
        metrics=toys.lines(folder / "metrics.jsonl"),
        scalars=toys.scalars(folder),
        policies={file.name: file.read_bytes() for file in sorted((folder / "policies").iterdir())},
    )


def differences(reference: Contents, folder: Path) -> list[str]:
    """Return in what a run folder differs from what it should hold, and what killed writes left in it."""
    try:
        found = contents_of(folder)
    except Exception as error:  # a folder that the comparison cannot read is not equal, whatever is wrong with it
        return [f"{folder.name} cannot be read: {type(error).__name__}: {error}"]
    complaints = []
    for field in dataclasses.fields(Contents):
        where = toys.difference(getattr(reference, field.name), getattr(found, field.name))
        if where:
            complaints.append(f"{field.name} differs at {where[:200]}")
    left = [file.name for file in folder.rglob("*") if any(word in file.name for word in LEFTOVERS)]
    return complaints + ([f"left behind: {', '.join(sorted(left))}"] if left else [])
