"""Task families of the papers that need no physics engine: everything that is known about each id.

docs/environments/task_families.md explains them.
"""

from functools import partial

from morl.envs.core.entry import EnvEntry
from morl.envs.families import hyper_grid, recall

FLOORS = ("bottom", "middle", "top")

ENTRIES = (
    EnvEntry(
        id="building-3d-v0",
        objectives=("comfort", "price", "ramping"),
        discount=1.0,
        reference_point=(0.0,) * 3,
        source="C-MORL",
        entry_point="morl.envs.families.building:building",
        vector_entry_point="morl.envs.families.building:BuildingKernel",
        spaces=("Box (29,) float32", "Box (23,) float32"),
        max_episode_steps=480,
    ),
    EnvEntry(
        id="building-9d-v0",
        objectives=tuple(f"{group}_{floor}" for group in ("comfort", "energy", "ramping") for floor in FLOORS),
        discount=1.0,
        reference_point=(0.0,) * 9,
        source="C-MORL",
        entry_point="morl.envs.families.building:building",
        vector_entry_point="morl.envs.families.building:BuildingKernel",
        spaces=("Box (29,) float32", "Box (23,) float32"),
        max_episode_steps=480,
        kwargs={"per_floor": True},
    ),
    EnvEntry(
        id="mec-offloading-v0",
        objectives=("delay", "energy"),
        discount=1.0,
        reference_point=(-14000.0, -13.0),
        source="morl: a little worse than sending everything to the cloud",
        entry_point="morl.envs.families.mec_offloading:mec_offloading",
        vector_entry_point="morl.envs.families.mec_offloading:MecOffloadingKernel",
        spaces=("Box (7, 67) float32", "Discrete 7"),
        max_episode_steps=100,
    ),
    EnvEntry(
        id="server-queues-v0",
        objectives=tuple(f"queue_{number}" for number in range(6)),
        discount=0.9999,
        reference_point=(0.0,) * 6,
        source="MO-TSIVR-PG; reference point morl: none served",
        entry_point="morl.envs.families.server_queues:server_queues",
        vector_entry_point="morl.envs.families.server_queues:ServerQueuesKernel",
        spaces=("Box (6,) float32", "Discrete 6"),
        max_episode_steps=500,
    ),
    EnvEntry(
        id="hyper-grid-v0",
        objectives=("branin", "currin"),
        discount=1.0,
        reference_point=(0.0, 0.0),
        source="Jain et al. 2023",
        known_front=hyper_grid.front,
        entry_point="morl.envs.families.hyper_grid:hyper_grid",
        vector_entry_point="morl.envs.families.hyper_grid:HyperGridKernel",
        spaces=("Box (2,) int32", "Discrete 3"),
    ),
    EnvEntry(
        id="hyper-grid-3d-v0",
        objectives=("branin", "currin", "shubert", "beale"),
        discount=1.0,
        reference_point=(0.0,) * 4,
        source="Jain et al. 2023; three dimensions: morl",
        known_front=partial(hyper_grid.front, dimensions=3, objectives=4),
        entry_point="morl.envs.families.hyper_grid:hyper_grid",
        vector_entry_point="morl.envs.families.hyper_grid:HyperGridKernel",
        spaces=("Box (3,) int32", "Discrete 4"),
        kwargs={"dimensions": 3, "objectives": 4},
    ),
    EnvEntry(
        id="recall-v0",
        objectives=("prize", "time"),
        discount=1.0,
        reference_point=(0.0, -10.0),
        source="morl: nothing won, and a step more than to the last doors",
        known_front=recall.front,
        known_front_is_convex=True,
        entry_point="morl.envs.families.recall:recall",
        vector_entry_point="morl.envs.families.recall:RecallKernel",
        spaces=("Box (3,) float32", "Discrete 3"),
        max_episode_steps=recall.HORIZON,
    ),
)
