"""The MuJoCo ids that are ours: what Gymnasium and the table of environments are told of each.

Two families, one scheme: the paper, the robot, the number of objectives where there is more than one version.
`cmorl-*-v0` are C-MORL's tasks (`morl.envs.mujoco.cmorl`), `pgmorl-*-v0` those of PG-MORL and PD-MORL
(`morl.envs.mujoco.pgmorl`). docs/mujoco.md explains them.
"""

from typing import Any, NamedTuple

import gymnasium

from morl.envs.core.spec import Spec

LIMIT = 500
"""Steps an episode, in all three papers; running out of them truncates."""


class Entry(NamedTuple):
    """One id: its row in the table, where its single and its batch form are built, and the options of both."""

    spec: Spec
    entry_point: str
    vector_entry_point: str
    options: dict[str, Any]


def _cmorl(name: str, robot: str, objectives: tuple[str, ...], options: dict[str, Any]) -> Entry:
    """Return an entry with C-MORL's reference point, -100 in every objective, and its discount for evaluation."""
    spec = Spec(f"cmorl-{name}-v0", objectives, 0.99, (-100.0,) * len(objectives), None, "C-MORL's scripts")
    return Entry(spec, f"morl.envs.mujoco.cmorl:{robot.capitalize()}", f"morl.envs.mujoco.tasks:cmorl_{robot}", options)


def _pgmorl(robot: str, objectives: tuple[str, ...]) -> Entry:
    """Return an entry with the papers' reference point, the origin; they report undiscounted returns."""
    spec = Spec(f"pgmorl-{robot}-v0", objectives, 1.0, (0.0,) * len(objectives), None, "PG-MORL, PD-MORL")
    return Entry(spec, "morl.envs.mujoco.pgmorl:PgMorlEnv", "morl.envs.mujoco.pgmorl:batch", {"robot": robot})


SPEED_ENERGY = ("speed", "energy")
WITHOUT_FORCES = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}

ENTRIES = [
    _cmorl("hopper-2d", "hopper", ("speed", "height"), {"cost_objective": False}),
    _cmorl("hopper-3d", "hopper", ("speed", "height", "energy"), {}),
    _cmorl("ant-2d", "ant", ("x_speed", "y_speed"), {"cost_objective": False, **WITHOUT_FORCES}),
    _cmorl("ant-3d", "ant", ("x_speed", "y_speed", "energy"), WITHOUT_FORCES),
    _cmorl("humanoid-2d", "humanoid", SPEED_ENERGY, {"contact_cost_weight": 0.0}),
    _pgmorl("swimmer", SPEED_ENERGY),
    _pgmorl("halfcheetah", SPEED_ENERGY),
    _pgmorl("walker2d", SPEED_ENERGY),
    _pgmorl("hopper", ("speed", "height")),
    _pgmorl("hopper3", ("speed", "height", "energy")),
    _pgmorl("ant", ("x_speed", "y_speed")),
    _pgmorl("humanoid", SPEED_ENERGY),
]
ROWS = {entry.spec.id: entry.spec for entry in ENTRIES}
VECTOR_ENTRY_POINTS = {entry.spec.id: entry.vector_entry_point for entry in ENTRIES}


def register_all() -> None:
    """Tell Gymnasium of every id."""
    for entry in ENTRIES:
        gymnasium.register(
            entry.spec.id,
            entry_point=entry.entry_point,
            vector_entry_point=entry.vector_entry_point,
            max_episode_steps=LIMIT,
            disable_env_checker=True,  # Gymnasium's passive checker knows scalar rewards only
            kwargs=dict(entry.options),
        )
