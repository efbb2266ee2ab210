"""The table of all environments, as docs/environments.md shows it."""

from typing import NamedTuple

import gymnasium
from gymnasium.spaces import Box, Discrete

from morl.envs.registry import VECTOR_ENTRY_POINTS, problem, specs


class Row(NamedTuple):
    """One environment in words; a dash where an extra package is missing."""

    id: str
    observation: str
    action: str
    objectives: str
    reference_point: str
    discount: str
    backend: str
    known_front: str


def rows() -> list[Row]:
    """Return a row for every environment in `specs` (builds each of them once, a few seconds in all)."""
    return [_row(env_id) for env_id in specs]


def markdown() -> str:
    """Return the table in Markdown."""
    titles = [name.replace("_", " ").replace("backend", "back end") for name in Row._fields]
    lines = [titles, ["---"] * len(titles), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(env_id: str) -> Row:
    spec = specs[env_id]
    try:
        stated = problem(env_id)
        spaces = _words(stated.observation_space), _words(stated.action_space)
    except ValueError:  # an extra package is missing
        spaces = f"needs {spec.requires}", "-"
    reference = "-" if spec.reference_point is None else "(" + ", ".join(f"{v:g}" for v in spec.reference_point) + ")"
    exact = "exact" if spec.known_front else "-"
    return Row(env_id, *spaces, ", ".join(spec.objectives), reference, f"{spec.discount:g}", backend(env_id), exact)


def backend(env_id: str) -> str:
    """Return the back end that `make_vec` picks for an id without options."""
    entry = VECTOR_ENTRY_POINTS.get(env_id)
    if entry is not None:
        return "mujoco-batch" if "mujoco_batch" in entry else "kernel"
    spec = gymnasium.registry.get(env_id)
    return "registered" if spec is not None and spec.vector_entry_point is not None else "synchronous"


def _words(space: gymnasium.Space[object]) -> str:
    if isinstance(space, Discrete):
        return f"Discrete {space.n}"
    if isinstance(space, Box):
        return f"Box {tuple(space.shape)} {space.dtype}"
    return type(space).__name__
