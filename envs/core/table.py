"""The table of all environments, as docs/environments/index.md shows it."""

from typing import NamedTuple

import gymnasium
from gymnasium.spaces import Box, Discrete

from morl.envs.core.entry import EnvEntry
from morl.envs.core.registry import problem, specs


class Row(NamedTuple):
    """One environment in words; a dash for what is not there or not known."""

    id: str
    observation: str
    action: str
    objectives: str
    reference_point: str
    discount: str
    backend: str
    known_front: str


def rows(containing: str = "") -> list[Row]:
    """Return a row for every environment in `specs` whose id contains a text; builds those whose spaces are unknown."""
    return [row(entry) for env_id, entry in specs.items() if containing in env_id]


def markdown() -> str:
    """Return the table in Markdown."""
    titles = [name.replace("_", " ") for name in Row._fields]
    lines = [titles, ["---"] * len(titles), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(entry: EnvEntry) -> Row:
    """Return the row of one environment."""
    observation, action = entry.spaces or spaces(entry.id)
    reference = "-" if entry.reference_point is None else "(" + ", ".join(f"{v:g}" for v in entry.reference_point) + ")"
    if entry.known_front is not None:
        front = "exact, convex part" if entry.known_front_is_convex else "exact"
    else:
        front = "-" if entry.best_known_front is None else "lower bound"
    needs = f" (needs {entry.requires})" if entry.requires else ""
    return Row(
        id=entry.id,
        observation=observation,
        action=action,
        objectives=", ".join(entry.objectives),
        reference_point=reference,
        discount=f"{entry.discount:g}",
        backend=backend(entry) + needs,
        known_front=front,
    )


def spaces(env_id: str) -> tuple[str, str]:
    """Return observation and action space of an environment, which is built to see them; dashes if that fails."""
    try:
        stated = problem(env_id)
    except Exception:  # a list of all environments must not fail because of one
        return "-", "-"
    return _words(stated.observation_space), _words(stated.action_space)


def backend(entry: EnvEntry) -> str:
    """Return the backend that `make_vec` chooses for an id without options."""
    batch_form = entry.vector_entry_point
    if batch_form is None:
        return "synchronous"
    if isinstance(batch_form, str) and batch_form.startswith("morl.envs."):
        return "mujoco-batch" if batch_form.startswith("morl.envs.mujoco.") else "kernel"
    return "registered"


def _words(space: gymnasium.Space[object]) -> str:
    if isinstance(space, Discrete):
        return f"Discrete {space.n}"
    if isinstance(space, Box):
        return f"Box {tuple(space.shape)} {space.dtype}"
    return type(space).__name__
