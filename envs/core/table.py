"""The table of all environments, as docs/environments.md shows it."""

from typing import NamedTuple

import gymnasium
from gymnasium.spaces import Box, Discrete

from morl.envs.core.registry import VECTOR_ENTRY_POINTS, problem, specs
from morl.envs.core.spaces import SPACES


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
    """Return a row for every environment in `specs` whose id contains a text; builds only those not in `SPACES`."""
    return [row(env_id) for env_id in specs if containing in env_id]


def markdown() -> str:
    """Return the table in Markdown."""
    titles = [name.replace("_", " ").replace("backend", "back end") for name in Row._fields]
    lines = [titles, ["---"] * len(titles), *rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row(env_id: str) -> Row:
    """Return the row of one environment."""
    spec = specs[env_id]
    observation, action = SPACES.get(env_id) or spaces(env_id)
    reference = "-" if spec.reference_point is None else "(" + ", ".join(f"{v:g}" for v in spec.reference_point) + ")"
    front = "exact" if spec.known_front else "lower bound" if spec.best_known_front else "-"
    needs = f" (needs {spec.requires})" if spec.requires else ""
    names = ", ".join(spec.objectives)
    return Row(env_id, observation, action, names, reference, f"{spec.discount:g}", backend(env_id) + needs, front)


def spaces(env_id: str) -> tuple[str, str]:
    """Return the spaces of an environment, which is built to see them; dashes if that fails."""
    try:
        stated = problem(env_id)
    except Exception:  # a list of what there is must not fail because of one environment
        return "-", "-"
    return _words(stated.observation_space), _words(stated.action_space)


def backend(env_id: str) -> str:
    """Return the back end that `make_vec` picks for an id without options."""
    entry = VECTOR_ENTRY_POINTS.get(env_id)
    if entry is not None:
        return "mujoco-batch" if "mujoco" in entry else "kernel"
    spec = gymnasium.registry.get(env_id)
    return "registered" if spec is not None and spec.vector_entry_point is not None else "synchronous"


def _words(space: gymnasium.Space[object]) -> str:
    if isinstance(space, Discrete):
        return f"Discrete {space.n}"
    if isinstance(space, Box):
        return f"Box {tuple(space.shape)} {space.dtype}"
    return type(space).__name__


if __name__ == "__main__":  # the lines of morl/envs/core/spaces.py
    for name in specs:
        print(f'    "{name}": {spaces(name)!r},'.replace("'", '"'))  # noqa: T201
