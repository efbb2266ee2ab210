"""The task families of the papers that need no physics engine: what Gymnasium and the table are told of each id.

docs/task_families.md explains them.
"""

import gymnasium

from morl.envs.core.spec import Spec

_QUEUES = tuple(f"queue_{number}" for number in range(6))

_GROUPS = ("comfort", "energy", "ramping")
_FLOORS = tuple(f"{group}_{floor}" for group in _GROUPS for floor in ("bottom", "middle", "top"))
_MEC = "morl: a little worse than sending everything to the cloud"

ROWS = {
    row.id: row
    for row in (
        Spec("building-3d-v0", ("comfort", "price", "ramping"), 1.0, (0.0,) * 3, None, "C-MORL"),
        Spec("building-9d-v0", _FLOORS, 1.0, (0.0,) * 9, None, "C-MORL"),
        Spec("mec-offloading-v0", ("delay", "energy"), 1.0, (-14000.0, -13.0), None, _MEC),
        Spec("server-queues-v0", _QUEUES, 0.9999, (0.0,) * 6, None, "MO-TSIVR-PG; reference point morl: none served"),
    )
}
LIMITS = {"building-3d-v0": 480, "building-9d-v0": 480, "mec-offloading-v0": 100, "server-queues-v0": 500}
"""Steps an episode, by id; running out of them truncates."""

SINGLE = {
    "building-3d-v0": "morl.envs.families.building:building",
    "building-9d-v0": "morl.envs.families.building:building",
    "mec-offloading-v0": "morl.envs.families.mec_offloading:mec_offloading",
    "server-queues-v0": "morl.envs.families.server_queues:server_queues",
}
VECTOR_ENTRY_POINTS = {
    "building-3d-v0": "morl.envs.families.building:BuildingKernel",
    "building-9d-v0": "morl.envs.families.building:BuildingKernel",
    "mec-offloading-v0": "morl.envs.families.mec_offloading:MecOffloadingKernel",
    "server-queues-v0": "morl.envs.families.server_queues:ServerQueuesKernel",
}
OPTIONS = {"building-9d-v0": {"per_floor": True}}


def register_all() -> None:
    """Tell Gymnasium of every id."""
    for name in ROWS:
        gymnasium.register(
            name,
            entry_point=SINGLE[name],
            vector_entry_point=VECTOR_ENTRY_POINTS[name],
            max_episode_steps=LIMITS[name],
            disable_env_checker=True,  # Gymnasium's passive checker knows scalar rewards only
            kwargs=dict(OPTIONS.get(name, {})),
        )
