"""Registering and building single environments, and the table `specs` of what their rewards mean."""

import importlib
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from morl.envs.classic import mo_gymnasium_patches
from morl.envs.core.catalogue import ROWS
from morl.envs.core.spec import FrontFunction, Spec, SpecTable, nearest
from morl.envs.families import family_ids
from morl.envs.mujoco import ids as mujoco_ids
from morl.protocols import Problem

EnvBuilder = str | Callable[..., gymnasium.Env[Any, Any]]

DEFAULT_DISCOUNT = 0.99

_DEEP_SEA_TREASURE = "morl.envs.classic.deep_sea_treasure:DeepSeaTreasureKernel"
_MINECART = "morl.envs.classic.minecart:MinecartKernel"
_MOUNTAIN_CAR = "morl.envs.classic.mountain_car:MountainCarKernel"

VECTOR_ENTRY_POINTS = {
    "deep-sea-treasure-v0": _DEEP_SEA_TREASURE,
    "deep-sea-treasure-concave-v0": _DEEP_SEA_TREASURE,
    "deep-sea-treasure-mirrored-v0": _DEEP_SEA_TREASURE,
    "fruit-tree-v0": "morl.envs.classic.fruit_tree:FruitTreeKernel",
    "minecart-v0": _MINECART,
    "minecart-deterministic-v0": _MINECART,
    "breakable-bottles-v0": "morl.envs.classic.bottles:BreakableBottlesKernel",
    "resource-gathering-v0": "morl.envs.classic.tabular:ResourceGatheringKernel",
    "four-room-v0": "morl.envs.classic.tabular:FourRoomKernel",
    "fishwood-v0": "morl.envs.classic.tabular:FishWoodKernel",
    "water-reservoir-v0": "morl.envs.classic.water_reservoir:WaterReservoirKernel",
    "mo-mountaincar-v0": _MOUNTAIN_CAR,
    "mo-mountaincar-3d-v0": _MOUNTAIN_CAR,
    "mo-mountaincar-timemove-v0": _MOUNTAIN_CAR,
    "mo-mountaincar-timespeed-v0": _MOUNTAIN_CAR,
    "mo-mountaincarcontinuous-v0": "morl.envs.classic.mountain_car:ContinuousMountainCarKernel",
    "mo-hopper-v5": "morl.envs.mujoco.tasks:hopper",
    "mo-hopper-2obj-v5": "morl.envs.mujoco.tasks:hopper",
    "mo-halfcheetah-v4": "morl.envs.mujoco.tasks:half_cheetah_4",
    "mo-halfcheetah-v5": "morl.envs.mujoco.tasks:half_cheetah",
    "mo-walker2d-v5": "morl.envs.mujoco.tasks:walker2d",
    "mo-swimmer-v5": "morl.envs.mujoco.tasks:swimmer",
    "mo-ant-v5": "morl.envs.mujoco.tasks:ant",
    "mo-ant-2obj-v5": "morl.envs.mujoco.tasks:ant",
    "mo-humanoid-v5": "morl.envs.mujoco.tasks:humanoid",
    "mo-reacher-v5": "morl.envs.mujoco.tasks:reacher",
    **mujoco_ids.VECTOR_ENTRY_POINTS,
    **family_ids.VECTOR_ENTRY_POINTS,
}
"""Our batch form of each environment that has one; mo-gymnasium's are hung into Gymnasium's own registry."""

for _ids in (mujoco_ids, family_ids):
    ROWS.update(_ids.ROWS)
    _ids.register_all()

specs = SpecTable(ROWS)


def register(
    id: str,  # noqa: A002 - Gymnasium's name for it
    entry_point: str | Callable[..., gymnasium.Env[Any, Any]] | None = None,
    *,
    objectives: Sequence[str],
    reference_point: Sequence[float] | None = None,
    discount: float = DEFAULT_DISCOUNT,
    known_front: FrontFunction | None = None,
    max_episode_steps: int | None = None,
    vector_entry_point: str | Callable[..., Any] | None = None,
    kwargs: dict[str, Any] | None = None,
) -> None:
    """Register an environment with Gymnasium and add its row to `specs`.

    Args:
        id: Gymnasium id such as "my-env-v0".
        entry_point: "module:Class" or a callable that returns a `gymnasium.Env` whose `step` returns a reward vector.
        objectives: a name for each entry of the reward vector; all of them are maximized.
        reference_point: the worst return that counts in the hypervolume, one number per objective.
        discount: the discount of reported returns, in (0, 1].
        known_front: `(discount, **env_options)` -> the true front [n, objective], if known.
        max_episode_steps: time limit in steps; reaching it truncates the episode.
        vector_entry_point: "module:Class" or a callable that builds the batch form (docs/environments.md).
        kwargs: options for the entry points.

    Raises:
        ValueError: a malformed argument; nothing is registered then.
    """
    if not isinstance(id, str) or not id:
        raise ValueError(f"id must be a Gymnasium id such as 'my-env-v0', got {id!r}")
    if entry_point is None and vector_entry_point is None:
        raise ValueError(f"{id}: entry_point must be 'module:Class' or a callable, got None")
    if isinstance(objectives, str) or not all(isinstance(name, str) and name for name in objectives):
        raise ValueError(f"{id}: objectives must be names such as ('speed', 'energy'), got {objectives!r}")
    if not objectives or len(set(objectives)) != len(objectives):
        raise ValueError(f"{id}: objectives must be at least one name, all different, got {tuple(objectives)!r}")
    if not isinstance(discount, Real) or not 0 < discount <= 1:
        raise ValueError(f"{id}: discount must lie in (0, 1], got {discount!r}")
    if reference_point is not None:
        _check_reference(id, reference_point, len(objectives))
    if known_front is not None and not callable(known_front):
        raise ValueError(f"{id}: known_front must be a function of the discount, got {known_front!r}")
    if max_episode_steps is not None and (not isinstance(max_episode_steps, int) or max_episode_steps < 1):
        raise ValueError(f"{id}: max_episode_steps must be a positive integer or None, got {max_episode_steps!r}")
    reference = None if reference_point is None else tuple(float(value) for value in reference_point)
    row = Spec(id, tuple(objectives), float(discount), reference, known_front, "registered by the user")
    gymnasium.register(
        id,
        entry_point=entry_point,
        max_episode_steps=max_episode_steps,
        disable_env_checker=True,  # Gymnasium's passive checker knows scalar rewards only; `check_env` is ours
        vector_entry_point=vector_entry_point,
        kwargs=dict(kwargs or {}),
    )
    ROWS[id] = row


def _check_reference(env_id: str, reference_point: Sequence[float], num_objectives: int) -> None:
    try:
        finite = all(math.isfinite(value) for value in reference_point)
        length = len(reference_point)
    except TypeError:
        finite, length = False, -1
    if not finite or length != num_objectives:
        raise ValueError(
            f"{env_id}: reference_point must be {num_objectives} finite numbers (one per objective), "
            f"got {reference_point!r}"
        )


def _load_mo_gymnasium() -> None:
    """Import mo-gymnasium, so that its ids exist, and hang our batch kernels into Gymnasium's registry."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")  # no environment makes a sound; a missing card makes noise
    importlib.import_module("mo_gymnasium")
    for env_id, entry_point in VECTOR_ENTRY_POINTS.items():
        gymnasium.registry[env_id].vector_entry_point = entry_point


_load_mo_gymnasium()


def find(env: str) -> EnvSpec:
    """Return Gymnasium's registration of an id, importing the module of "module:Name-v0".

    Raises:
        ValueError: no such id (with the nearest names) or no such module.
    """
    module, _, name = env.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"environment {env!r}: there is no module {error.name!r}") from error
    if name not in gymnasium.registry:
        raise ValueError(f"there is no environment {name!r}{nearest(name, [*gymnasium.registry, *specs])}")
    return gymnasium.registry[name]


def env_name(env: EnvBuilder) -> str:
    """Return the id of an environment, without its module; for a callable, the callable's name."""
    if isinstance(env, str):
        return env.rpartition(":")[2]
    if not callable(env):
        raise TypeError(f"env must be an environment id or a callable that builds one, got {env!r}")
    return getattr(env, "__name__", type(env).__name__)


def make(env: EnvBuilder, **env_options: Any) -> gymnasium.Env[Any, Any]:
    """Return one environment, with the known faults of mo-gymnasium's repaired (`morl.envs.classic.mo_gymnasium_patches`).

    Args:
        env: Gymnasium id, "module:Name-v0", or a callable that builds a `gymnasium.Env`.
        env_options: passed to the environment's constructor.

    Raises:
        ValueError: unknown id (with the nearest names), a missing extra package, or options it does not take.
    """
    name = env_name(env)
    builder = partial(gymnasium.make, find(env), disable_env_checker=True) if isinstance(env, str) else env
    try:
        with mo_gymnasium_patches.quiet(name):
            built = builder(**env_options)
    except gymnasium.error.DependencyNotInstalled as error:
        extra = ROWS[name].requires if name in ROWS else ""
        raise ValueError(f"{name} needs {extra or 'a package'}, which is not installed: {error}") from error
    except ModuleNotFoundError as error:
        extra = ROWS[name].requires if name in ROWS else ""
        raise ValueError(f"{name} needs {extra or 'a module'}, which is not installed: {error}") from error
    except (TypeError, AttributeError, AssertionError) as error:
        if not env_options:
            raise  # the environment's own fault, not the options'
        raise ValueError(f"{name} cannot be built with {env_options}: {error}") from error
    if not isinstance(built, gymnasium.Env):
        raise TypeError(f"{name} must build a gymnasium.Env, got {type(built).__name__}")
    return mo_gymnasium_patches.repair(name, built)


def reward_length(name: str, env: gymnasium.Env[Any, Any]) -> int:
    """Return the number of objectives: read off `reward_space`, or failing that the first reward (steps the env).

    Raises:
        ValueError: the reward is a scalar.
    """
    space = env.get_wrapper_attr("reward_space") if env.has_wrapper_attr("reward_space") else None
    if space is not None:
        shape = space.shape
    else:
        env.reset(seed=0)
        env.action_space.seed(0)
        shape = np.asarray(env.step(env.action_space.sample())[1]).shape
    if shape is None or len(shape) != 1:
        raise ValueError(
            f"{name}: its reward is a scalar and morl needs a vector reward [objective]"
            if not shape
            else f"{name}: its reward has shape {shape} and morl needs a vector reward [objective]"
        )
    return int(shape[0])


def objective_names(name: str, num_objectives: int) -> tuple[str, ...]:
    """Return the names in `specs`, or objective_0, ... for an unknown id or options that change the reward's length."""
    row = ROWS.get(name)
    if row is not None and len(row.objectives) == num_objectives:
        return row.objectives
    return tuple(f"objective_{index}" for index in range(num_objectives))


def problem(env: EnvBuilder, **env_options: Any) -> Problem:
    """Return all that an agent is told about an environment; its `known_front` has the options bound.

    Raises:
        ValueError: as `make`, or a scalar reward.
    """
    name = env_name(env)
    built = make(env, **env_options)
    try:
        num_objectives = reward_length(name, built)
    finally:
        built.close()
    row = ROWS.get(name)
    if row is not None and len(row.objectives) != num_objectives:
        row = None  # an option changed the reward vector: the row does not speak of this environment
    known_front = None
    if row is not None and row.known_front is not None:
        known_front = partial(row.known_front, **env_options)
    return Problem(
        id=name,
        observation_space=built.observation_space,
        action_space=built.action_space,
        objectives=objective_names(name, num_objectives),
        discount=DEFAULT_DISCOUNT if row is None else row.discount,
        reference_point=None if row is None else row.reference_point,
        known_front=known_front,
    )
