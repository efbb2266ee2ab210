"""Registering, finding and building single environments, and the table `specs` of what is known about each id.

Other users of Gymnasium in the same process see nothing of this but new ids: those that are morl's own, and "morl/ID"
for each id of another package that has a batch form or repairs here. Registrations of others are never changed.
"""

import copy
import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import TypedDict, Unpack

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from morl.envs.core.entry import EntryPoint, EntryTable, EnvEntry, FrontFunction, VectorEntryPoint, nearest
from morl.envs.core.quiet import quiet
from morl.envs.core.types import Env, EnvOption
from morl.envs.core.types import EnvBuilder as EnvBuilder  # part of the public names of this module
from morl.plugins import Plugin, find_plugins, warn_of_plugin
from morl.protocols import Problem, VectorEnvironment

DEFAULT_DISCOUNT = 0.99
NAMESPACE = "morl/"
"""Gymnasium knows our repaired and batched forms of the environments of other packages as "morl/ID"."""

GROUP = "morl.envs"
"""Entry points of other packages: a module that registers environments when it is imported, or "module:function"."""

_ENTRIES: dict[str, EnvEntry] = {}
_LOADED: set[Plugin] = set()
specs = EntryTable(_ENTRIES)


class Registration(TypedDict, total=False):
    """Further arguments of `gymnasium.register` that `register` passes on."""

    vector_entry_point: VectorEntryPoint | None
    kwargs: dict[str, EnvOption] | None
    nondeterministic: bool
    order_enforce: bool
    additional_wrappers: tuple[gymnasium.envs.registration.WrapperSpec, ...]


def register(
    id: str,  # noqa: A002 - Gymnasium's name for it
    entry_point: EntryPoint | None = None,
    *,
    objectives: Sequence[str],
    reference_point: Sequence[float] | None = None,
    discount: float = DEFAULT_DISCOUNT,
    scales: Sequence[float] | None = None,
    known_front: FrontFunction | None = None,
    max_episode_steps: int | None = None,
    **registration: Unpack[Registration],
) -> None:
    """Register an environment with Gymnasium and add its entry to `specs`.

    Args:
        id: Gymnasium id such as "my-env-v0".
        entry_point: "module:Class" or a callable that returns a `gymnasium.Env` whose `step` returns a reward vector.
        objectives: a name for each entry of the reward vector; all of them are maximized.
        reference_point: the worst return that counts in the hypervolume, one number per objective.
        discount: the discount of reported returns, in (0, 1].
        scales: equally valuable amounts of the objectives, in discounted returns, such as (10 euros, 500 grams), in
            which preferences weigh returns; default: the range of the front.
        known_front: `(discount, **env_options)` -> the true front [point, objective], if known.
        max_episode_steps: time limit in steps; reaching it truncates the episode.
        registration: further arguments of `gymnasium.register`: `vector_entry_point`, "module:Class" or a callable that
            builds the batch form (docs/environments/contract.md), and `kwargs`, options for both entry points.

    Raises:
        ValueError: a malformed argument; nothing is registered then.
    """
    if not isinstance(id, str) or not id:
        raise ValueError(f"id must be a Gymnasium id such as 'my-env-v0', got {id!r}")
    vector_entry_point = registration.get("vector_entry_point")
    if entry_point is None and vector_entry_point is None:
        raise ValueError(f"{id}: entry_point must be 'module:Class' or a callable, got None")
    _check_rewards(id, objectives, reference_point, discount)
    if known_front is not None and not callable(known_front):
        raise ValueError(f"{id}: known_front must be a function of the discount, got {known_front!r}")
    if scales is not None and (len(scales) != len(objectives) or not all(_is_positive(scale) for scale in scales)):
        raise ValueError(f"{id}: scales must be {len(objectives)} finite numbers greater than 0, got {scales!r}")
    if max_episode_steps is not None and (not isinstance(max_episode_steps, int) or max_episode_steps < 1):
        raise ValueError(f"{id}: max_episode_steps must be a positive integer or None, got {max_episode_steps!r}")
    entry = EnvEntry(
        id=id,
        objectives=tuple(objectives),
        discount=float(discount),
        reference_point=None if reference_point is None else tuple(float(value) for value in reference_point),
        scales=None if scales is None else tuple(float(value) for value in scales),
        source="registered by the user",
        known_front=known_front,
        vector_entry_point=vector_entry_point,
        max_episode_steps=max_episode_steps,
        entry_point=entry_point,
        kwargs=dict(registration.get("kwargs") or {}),
    )
    registration["kwargs"] = dict(entry.kwargs)
    gymnasium.register(
        id,
        entry_point=entry_point,
        max_episode_steps=max_episode_steps,
        disable_env_checker=True,  # Gymnasium's passive checker knows scalar rewards only; `check_env` is ours
        **registration,
    )
    _ENTRIES[id] = entry


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value) and float(value) > 0.0


def _check_rewards(
    env_id: str, objectives: Sequence[str], reference_point: Sequence[float] | None, discount: float
) -> None:
    """Raise ValueError for malformed objective names, reference point or discount."""
    if isinstance(objectives, str) or not all(isinstance(name, str) and name for name in objectives):
        raise ValueError(f"{env_id}: objectives must be names such as ('speed', 'energy'), got {objectives!r}")
    if not objectives or len(set(objectives)) != len(objectives):
        raise ValueError(f"{env_id}: objectives must be at least one name, all different, got {tuple(objectives)!r}")
    if not isinstance(discount, Real) or not 0 < discount <= 1:
        raise ValueError(f"{env_id}: discount must lie in (0, 1], got {discount!r}")
    if reference_point is None:
        return
    try:
        finite = all(math.isfinite(value) for value in reference_point)
        length = len(reference_point)
    except TypeError:
        finite = False
        length = -1
    if not finite or length != len(objectives):
        raise ValueError(
            f"{env_id}: reference_point must be {len(objectives)} finite numbers (one per objective), "
            f"got {reference_point!r}"
        )


def add_entries(entries: Iterable[EnvEntry]) -> None:
    """Add entries of `morl.envs` itself to `specs` and register the ids that are morl's own with Gymnasium.

    The own id of an environment of another package is "morl/ID": the repaired single form and, where there is one, the
    batch form.
    """
    for entry in entries:
        _ENTRIES[entry.id] = entry
        if entry.entry_point is not None:
            gymnasium.register(
                entry.id,
                entry_point=entry.entry_point,
                vector_entry_point=entry.vector_entry_point,
                max_episode_steps=entry.max_episode_steps,
                disable_env_checker=True,
                kwargs=dict(entry.kwargs),
            )
        elif entry.vector_entry_point is not None or entry.repairs:
            batched = entry.vector_entry_point is not None
            gymnasium.register(
                NAMESPACE + entry.id,
                entry_point=partial(make, entry.id, max_episode_steps=-1),
                vector_entry_point=partial(make_batch_form, entry.id) if batched else None,
                max_episode_steps=entry.max_episode_steps,
                disable_env_checker=True,
            )


def load_plugins() -> None:
    """Register the environments of other packages (entry points `morl.envs`), once.

    One that cannot be loaded is left out with a warning.
    """
    for plugin in find_plugins(GROUP):
        if plugin in _LOADED:
            continue
        _LOADED.add(plugin)
        before = set(_ENTRIES)
        try:
            registers = plugin.load()
            if callable(registers):
                registers()
        except (Exception, SystemExit) as error:
            warn_of_plugin(plugin, f"{type(error).__name__}: {error}")
        for env_id in _ENTRIES.keys() - before:
            _ENTRIES[env_id] = replace(_ENTRIES[env_id], source=f"registered by the package {plugin.package}")


def find(env: str) -> EnvSpec:
    """Return Gymnasium's registration of an id, with our batch form where there is one.

    Imports the module of "module:Name-v0"; mo-gymnasium, then other packages, when the id is not known without them.

    Raises:
        ValueError: no such id (with the nearest names) or no such module.
    """
    module = env.rpartition(":")[0]
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(f"environment {env!r}: there is no module {error.name!r}") from error
    name = env_name(env)
    if name not in gymnasium.registry:
        with quiet():
            importlib.import_module("mo_gymnasium")
    if name not in gymnasium.registry:
        load_plugins()
    if name not in gymnasium.registry:
        known = [one for one in gymnasium.registry if not one.startswith(NAMESPACE)]
        hint = nearest(name, specs) or nearest(name, known)
        raise ValueError(f"there is no environment {name!r}{hint or '; morl list envs shows all'}")
    spec = gymnasium.registry[name]
    if name not in _ENTRIES or _ENTRIES[name].vector_entry_point is None:
        return spec
    with_batch_form = copy.copy(spec)  # the registration itself belongs to everybody in this process
    with_batch_form.vector_entry_point = _ENTRIES[name].vector_entry_point
    return with_batch_form


def env_name(env: EnvBuilder) -> str:
    """Return the id of an environment, without its module; for a callable, the callable's name."""
    if isinstance(env, str):
        name = env.rpartition(":")[2]
        inner = name.removeprefix(NAMESPACE)
        return inner if inner in _ENTRIES else name
    if not callable(env):
        raise TypeError(f"env must be an environment id or a callable that builds one, got {env!r}")
    return getattr(env, "__name__", type(env).__name__)


def make(env: EnvBuilder, **env_options: EnvOption) -> Env:
    """Return one environment, with fixes for known faults of its package (`EnvEntry.repairs`).

    Args:
        env: Gymnasium id, "module:Name-v0", or a callable that builds a `gymnasium.Env`.
        env_options: passed to the environment's constructor.

    Raises:
        ValueError: unknown id (with the nearest names), a missing extra package, or options it does not take.
    """
    return build_single(env_name(env), find(env) if isinstance(env, str) else env, env_options)


def build_single(name: str, source: EnvSpec | Callable[..., object], env_options: dict[str, EnvOption]) -> Env:
    """Return one environment of a registration or of a user's callable, repaired.

    Args:
        name: id, for messages and for what is known about it.
        source: Gymnasium's registration, or a callable that takes the options.
        env_options: passed to the environment's constructor.
    """
    if isinstance(source, EnvSpec):
        builder: Callable[..., object] = partial(gymnasium.make, source, disable_env_checker=True)
        if "max_episode_steps" in env_options:
            limit = checked_limit(name, env_options["max_episode_steps"])
            env_options = {**env_options, "max_episode_steps": -1 if limit is None else limit}
    else:
        builder = source
    built = construct(name, builder, env_options)
    if not isinstance(built, gymnasium.Env):
        raise TypeError(f"{name} must build a gymnasium.Env, got {type(built).__name__}")
    for repair in _ENTRIES[name].repairs if name in _ENTRIES else ():
        module, _, wrapper = repair.partition(":")
        with quiet():
            repaired: Env = getattr(importlib.import_module(module), wrapper)(built)
            built = repaired
    return built


def checked_limit(name: str, max_episode_steps: object) -> int | None:
    """Return a user's time limit in steps; None and -1 both mean that there is none.

    Raises:
        ValueError: it is neither a positive integer nor one of these.
    """
    if max_episode_steps is None:
        return None
    if isinstance(max_episode_steps, int | np.integer) and not isinstance(max_episode_steps, bool):
        if max_episode_steps == -1:
            return None
        if max_episode_steps > 0:
            return int(max_episode_steps)
    wanted = "a positive integer, or None or -1 for no limit"
    raise ValueError(f"{name}: max_episode_steps must be {wanted}, got {max_episode_steps!r}")


def episode_limit(env: EnvBuilder, **env_options: EnvOption) -> int | None:
    """Return after how many steps episodes are truncated: the user's option, or the registered time limit.

    None: no limit, one that the environment keeps itself, or a callable, whose limit is not known.

    Raises:
        ValueError: unknown id, or a malformed limit.
    """
    if not isinstance(env, str):
        return None
    if "max_episode_steps" in env_options:
        return checked_limit(env_name(env), env_options["max_episode_steps"])
    return find(env).max_episode_steps


def construct(name: str, builder: Callable[..., object], options: dict[str, EnvOption]) -> object:
    """Return `builder(**options)`, quietly; whatever the constructor raises is a ValueError with the name."""
    entry = _ENTRIES.get(name)
    extra = "" if entry is None else entry.requires
    try:
        with quiet(warns_of_total_mass=entry is not None and entry.warns_of_total_mass):
            return builder(**options)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"{name} needs {extra or 'a package'}, which is not installed: {error}") from error
    except ModuleNotFoundError as error:
        raise ValueError(f"{name} needs {extra or 'a module'}, which is not installed: {error}") from error
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        given = f" with {options}" if options else ""
        raise ValueError(f"{name} cannot be built{given}: {type(error).__name__}: {error}") from error


def make_batch_form(env_id: str, num_envs: int = 1, **env_options: EnvOption) -> VectorEnvironment:
    """Return the batch form of an id that has one: a vector environment with rewards [env, objective]."""
    spec = copy.copy(find(env_id))
    if "max_episode_steps" in env_options:
        spec.max_episode_steps = checked_limit(env_name(env_id), env_options["max_episode_steps"])
        env_options = {**env_options, "max_episode_steps": spec.max_episode_steps}
    return gymnasium.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **env_options)


def reward_length(name: str, env: Env) -> int:
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


def vector_reward_length(name: str, envs: VectorEnvironment) -> int:
    """Return the number of objectives of a vector environment, read off its `reward_space`.

    Raises:
        ValueError: it has no reward space of shape (objectives,).
    """
    shape = getattr(getattr(envs, "reward_space", None), "shape", None)
    if shape is None or len(shape) != 1:
        raise ValueError(f"{name}: its batch form must have a reward_space of shape (objectives,), got {shape}")
    return int(shape[0])


def objective_names(name: str, num_objectives: int) -> tuple[str, ...]:
    """Return the names in `specs`, or objective_0, ... for an unknown id or options that change the reward's length."""
    entry = _ENTRIES.get(name)
    if entry is not None and len(entry.objectives) == num_objectives:
        return entry.objectives
    return tuple(f"objective_{index}" for index in range(num_objectives))


def problem(env: EnvBuilder, **env_options: EnvOption) -> Problem:
    """Return an environment as agents see it; its `known_front` has the options bound.

    Raises:
        ValueError: unknown id, wrong options, a missing package, or a scalar reward.
    """
    name = env_name(env)
    built = make(env, **env_options) if isinstance(env, str) else call_builder(name, env, 1, env_options)
    try:
        if isinstance(built, VectorEnv):
            num_objectives = vector_reward_length(name, built)
            gives_masks = _gives_masks(built)
            observation_space = built.single_observation_space
            action_space = built.single_action_space
        else:
            num_objectives = reward_length(name, built)
            gives_masks = _gives_masks(built)
            observation_space = built.observation_space
            action_space = built.action_space
    finally:
        built.close()
    entry = _ENTRIES.get(name)
    if entry is not None and len(entry.objectives) != num_objectives:
        entry = None  # an option changed the reward vector: the entry does not describe this environment
    known_front = None
    if entry is not None and entry.known_front is not None:
        known_front = partial(entry.known_front, **env_options)
    return Problem(
        id=name,
        observation_space=observation_space,
        action_space=action_space,
        objectives=objective_names(name, num_objectives),
        discount=DEFAULT_DISCOUNT if entry is None else entry.discount,
        reference_point=None if entry is None else entry.reference_point,
        known_front=known_front,
        action_masks=gives_masks,
        scales=None if entry is None else entry.scales,
    )


def _gives_masks(env: Env | VectorEnvironment) -> bool:
    """Return whether the infos of a reset hold an action mask; a reset that fails is left to training to report."""
    try:
        _, info = env.reset(seed=0)
        return "action_mask" in info
    except Exception:
        return False


def call_builder(
    name: str, builder: Callable[..., object], num_envs: int, env_options: dict[str, EnvOption]
) -> Env | VectorEnvironment:
    """Return what a user's callable builds: a single environment, or a vector environment.

    Args:
        name: of the callable, for messages.
        builder: called with the options, and with `num_envs` where it has a parameter of that name.
        num_envs: number of environments.
        env_options: passed to the callable.

    Raises:
        TypeError: it builds something else.
    """
    if _takes_num_envs(builder):
        built = construct(name, builder, {"num_envs": num_envs, **env_options})
    else:
        built = construct(name, builder, env_options)
    if not isinstance(built, gymnasium.Env | VectorEnv):
        raise TypeError(
            f"{name} must build a gymnasium.Env or a gymnasium.vector.VectorEnv, got {type(built).__name__}"
        )
    return built


def _takes_num_envs(builder: Callable[..., object]) -> bool:
    try:
        return "num_envs" in inspect.signature(builder).parameters
    except (TypeError, ValueError):  # a callable without a signature, written in C for example
        return False
