"""MuJoCo environments: everything that is known about each id.

Three families: `mo-*` are mo-gymnasium's, `cmorl-*-v0` C-MORL's tasks (`morl.envs.mujoco.cmorl`), `pgmorl-*-v0` those
of PG-MORL and PD-MORL (`morl.envs.mujoco.pgmorl`). The ids of the last two are the paper, the robot, and the number of
objectives where there is more than one version. docs/environments/mujoco.md explains them.
"""

from collections.abc import Mapping

from morl.envs.core.entry import EnvEntry
from morl.envs.core.types import EnvOption

LIMIT = 500
"""Steps an episode of C-MORL's, PG-MORL's and PD-MORL's tasks."""

MO_GYMNASIUM_SOURCE = "morl-baselines and C-MORL: -100 in every objective"
REACHER_SOURCE = "morl: a bound on the worst discounted return"
TASKS = "morl.envs.mujoco.tasks"

HOPPER_2 = ("speed", "height")
HOPPER_3 = ("speed", "height", "energy")
SPEED_ENERGY = ("speed", "energy")
ANT_2 = ("x_speed", "y_speed")
ANT_3 = ("x_speed", "y_speed", "energy")
REACHER = ("first_target", "second_target", "third_target", "fourth_target")

WITHOUT_FORCES = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}

CONTROLS = {
    "hopper": "Box (3,) float32",
    "halfcheetah": "Box (6,) float32",
    "walker2d": "Box (6,) float32",
    "ant": "Box (8,) float32",
    "swimmer": "Box (2,) float32",
    "humanoid": "Box (17,) float32",
}
"""Action space of each robot."""


def _mo_gymnasium(
    name: str, robot: str, objectives: tuple[str, ...], inputs: int, batch_form: str | None = None
) -> EnvEntry:
    """Return an entry of a locomotion task of mo-gymnasium, whose observation has `inputs` entries."""
    return EnvEntry(
        id=name,
        objectives=objectives,
        discount=0.99,
        reference_point=(-100.0,) * len(objectives),
        source=MO_GYMNASIUM_SOURCE,
        vector_entry_point=None if batch_form is None else f"{TASKS}:{batch_form}",
        spaces=(f"Box ({inputs},) float64", CONTROLS[robot]),
        max_episode_steps=1000,
        warns_of_total_mass=robot == "halfcheetah",
    )


def _reacher(name: str, batch_form: str | None = None) -> EnvEntry:
    """Return an entry of mo-gymnasium's reacher."""
    return EnvEntry(
        id=name,
        objectives=REACHER,
        discount=0.99,
        reference_point=(-50.0,) * 4,
        source=REACHER_SOURCE,
        vector_entry_point=None if batch_form is None else f"{TASKS}:{batch_form}",
        spaces=("Box (6,) float64", "Discrete 9"),
        max_episode_steps=50,
    )


def _cmorl(
    name: str, robot: str, objectives: tuple[str, ...], inputs: int, kwargs: Mapping[str, EnvOption]
) -> EnvEntry:
    """Return an entry with C-MORL's reference point, -100 in every objective, and its discount for evaluation."""
    return EnvEntry(
        id=f"cmorl-{name}-v0",
        objectives=objectives,
        discount=0.99,
        reference_point=(-100.0,) * len(objectives),
        source="C-MORL's scripts",
        entry_point=f"morl.envs.mujoco.cmorl:{robot.capitalize()}",
        vector_entry_point=f"{TASKS}:cmorl_{robot}",
        spaces=(f"Box ({inputs},) float64", CONTROLS[robot]),
        max_episode_steps=LIMIT,
        kwargs=kwargs,
    )


def _pgmorl(task: str, robot: str, objectives: tuple[str, ...], inputs: int) -> EnvEntry:
    """Return an entry with the papers' reference point, the origin; they report undiscounted returns."""
    return EnvEntry(
        id=f"pgmorl-{task}-v0",
        objectives=objectives,
        discount=1.0,
        reference_point=(0.0,) * len(objectives),
        source="PG-MORL, PD-MORL",
        entry_point="morl.envs.mujoco.pgmorl:PgMorlEnv",
        vector_entry_point="morl.envs.mujoco.pgmorl:batch",
        spaces=(f"Box ({inputs},) float64", CONTROLS[robot]),
        max_episode_steps=LIMIT,
        kwargs={"robot": task},
    )


ENTRIES = (
    _mo_gymnasium("mo-hopper-v4", "hopper", HOPPER_3, 11),
    _mo_gymnasium("mo-hopper-v5", "hopper", HOPPER_3, 11, "hopper"),
    _mo_gymnasium("mo-hopper-2d-v4", "hopper", HOPPER_2, 11),
    _mo_gymnasium("mo-hopper-2obj-v5", "hopper", HOPPER_2, 11, "hopper"),
    _mo_gymnasium("mo-halfcheetah-v4", "halfcheetah", SPEED_ENERGY, 17, "half_cheetah_4"),
    _mo_gymnasium("mo-halfcheetah-v5", "halfcheetah", SPEED_ENERGY, 17, "half_cheetah"),
    _mo_gymnasium("mo-walker2d-v4", "walker2d", SPEED_ENERGY, 17),
    _mo_gymnasium("mo-walker2d-v5", "walker2d", SPEED_ENERGY, 17, "walker2d"),
    _mo_gymnasium("mo-ant-v4", "ant", ANT_3, 27),
    _mo_gymnasium("mo-ant-v5", "ant", ANT_3, 105, "ant"),
    _mo_gymnasium("mo-ant-2d-v4", "ant", ANT_2, 27),
    _mo_gymnasium("mo-ant-2obj-v5", "ant", ANT_2, 105, "ant"),
    _mo_gymnasium("mo-swimmer-v4", "swimmer", SPEED_ENERGY, 8),
    _mo_gymnasium("mo-swimmer-v5", "swimmer", SPEED_ENERGY, 8, "swimmer"),
    _mo_gymnasium("mo-humanoid-v4", "humanoid", SPEED_ENERGY, 376),
    _mo_gymnasium("mo-humanoid-v5", "humanoid", SPEED_ENERGY, 348, "humanoid"),
    _reacher("mo-reacher-v4"),
    _reacher("mo-reacher-v5", "reacher"),
    _cmorl("hopper-2d", "hopper", HOPPER_2, 11, {"cost_objective": False}),
    _cmorl("hopper-3d", "hopper", HOPPER_3, 11, {}),
    _cmorl("ant-2d", "ant", ANT_2, 27, {"cost_objective": False, **WITHOUT_FORCES}),
    _cmorl("ant-3d", "ant", ANT_3, 27, WITHOUT_FORCES),
    _cmorl("humanoid-2d", "humanoid", SPEED_ENERGY, 348, {"contact_cost_weight": 0.0}),
    _pgmorl("swimmer", "swimmer", SPEED_ENERGY, 8),
    _pgmorl("halfcheetah", "halfcheetah", SPEED_ENERGY, 17),
    _pgmorl("walker2d", "walker2d", SPEED_ENERGY, 17),
    _pgmorl("hopper", "hopper", HOPPER_2, 11),
    _pgmorl("hopper3", "hopper", HOPPER_3, 11),
    _pgmorl("ant", "ant", ANT_2, 27),
    _pgmorl("humanoid", "humanoid", SPEED_ENERGY, 376),
)
