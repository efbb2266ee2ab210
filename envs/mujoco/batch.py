"""MuJoCo tasks in batch: one physics call steps all environments on all cores, bit for bit as the single ones.

`mujoco.batch.Batch` keeps the complete integration state of each environment (solver warm start included) in a row and
steps rows on a thread pool; results do not depend on the number of threads. Around it, a `Task` computes observations,
rewards and terminations of all environments at once: `morl.envs.mujoco.tasks` holds mo-gymnasium's,
`morl.envs.mujoco.pgmorl` PG-MORL's.
Constants are read off one single environment, the template, so every option of its constructor works.

MuJoCo integrates last: after a step, derived fields (`xpos`, `cinert`, ...) belong to the state before the final
integration. The single environments read them like that, and so do we.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv
from morl.envs.backends.streams import RandomStreams
from morl.envs.core.quiet import quiet
from morl.envs.core.types import Array, EnvOption
from morl.envs.mujoco.forces import ForceBatch

Fields: TypeAlias = Mapping[str, Array]
"""Fields of `MjData` under MuJoCo's own names, with a leading axis for environments: `fields["qpos"]` is [env, nq]."""
Template: TypeAlias = Any
"""A single environment of a task: the source of the model and, by the names of its class, of every constant."""


def never(env: Template) -> bool:  # noqa: ARG001 - the signature of `Task.forces`
    """Return False: a task that has no use for contact forces."""
    return False


class Task(NamedTuple):
    """What differs between robots, as functions of the template `env` and of `Fields`."""

    start: Callable[[Template, np.random.Generator], tuple[Array, Array]]
    """(env, generator) -> positions [nq] and velocities [nv] at the start of an episode, as `env.reset` draws them."""
    observe: Callable[[Template, Fields], Array]
    """(env, fields) -> observations [env, entry]."""
    track: Callable[[Template, Fields], Array]
    """(env, fields) -> what the reward compares before and after a step, [env, entry]: a position, most often."""
    outcome: Callable[[Template, Fields, Array, Array, Array], tuple[NDArray[np.float32], Array]]
    """(env, fields, tracked before, tracked after, actions) -> rewards [env, objective] and terminations [env]."""
    fields: tuple[str, ...] = ()
    """Derived fields that these functions read, beyond qpos, qvel and ctrl."""
    forces: Callable[[Template], bool] = never
    """env -> whether observations or rewards hold contact forces (`cfrc_ext`), which take another batch."""
    controls: Callable[[Template, Array], Array] = lambda env, actions: actions  # noqa: ARG005
    """(env, actions) -> what the motors get, [env, nu]."""


def processors() -> int:
    """Return how many processors this process may use; MuJoCo's own default is all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MujocoVectorEnv(KernelVectorEnv):
    """A batch of one task. `template` is a single environment: the source of the model and of every constant."""

    def __init__(self, template: Template, task: Task, num_envs: int, max_episode_steps: int | None) -> None:
        super().__init__(
            num_envs,
            observation_space=template.observation_space,
            action_space=template.action_space,
            reward_space=template.reward_space,
            max_episode_steps=max_episode_steps,
            streams=RandomStreams("random", reserve=0, num_envs=num_envs),  # generators only: resets draw many at once
        )
        self.metadata["backend"] = "mujoco-batch"
        self.task = task
        self.template = template
        self.batch: Batch | ForceBatch = (ForceBatch if task.forces(template) else Batch)(
            template.model, num_envs, processors()
        )
        self.fields = {name: self.batch.bind(name) for name in ("qpos", "qvel", "ctrl", *task.fields)}
        self.default = self.batch.state[0].copy()  # a row as `mj_resetData` leaves it
        self.tracked = np.array(task.track(template, self.fields))
        self.arrays = {"physics": self.batch.state, "tracked": self.tracked}

    def _start(self, mask: Array, observations: Array) -> None:
        """Draw the starts of `mask`, each from its own generator, in the order of the single environment."""
        assert self.streams is not None
        envs = np.flatnonzero(mask)
        self.batch.state[envs] = self.default  # what `batch.reset` does, without waking its threads
        for env in envs:
            generator = self.streams.generators[env]
            assert generator is not None
            positions, velocities = self.task.start(self.template, generator)
            self.fields["qpos"][env] = positions
            self.fields["qvel"][env] = velocities
        self.batch.forward(envs)
        self.tracked[mask] = self.task.track(self.template, self.fields)[mask]
        observations[mask] = self.task.observe(self.template, self.fields)[mask]

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        env = self.template
        task = self.task
        self.fields["ctrl"][:] = task.controls(env, actions)
        self.batch.step(nstep=env.frame_skip)
        observations[...] = task.observe(env, self.fields)
        tracked = task.track(env, self.fields)
        rewards[...], terminated[:] = task.outcome(env, self.fields, self.tracked, tracked, actions)
        self.tracked[...] = tracked


def batch_form(entry_point: str, task: Task) -> Callable[..., MujocoVectorEnv]:
    """Return what Gymnasium calls a vector entry point: `(num_envs, max_episode_steps, **options)` -> the batch form.

    Args:
        entry_point: "module:Class" of the single environment, which gets the options.
        task: its rewards and observations in batch form.

    The function it returns raises ValueError for options that the single environment does not take.
    """

    def build(num_envs: int = 1, max_episode_steps: int | None = None, **options: EnvOption) -> MujocoVectorEnv:
        module, _, name = entry_point.partition(":")
        single = getattr(importlib.import_module(module), name)
        try:
            with quiet(warns_of_total_mass=True):
                template = single(**options)
        except TypeError as error:
            raise ValueError(f"{name} cannot be built with {options}: {error}") from error
        return MujocoVectorEnv(template, task, num_envs, max_episode_steps)

    return build
