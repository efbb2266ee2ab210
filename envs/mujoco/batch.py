"""MuJoCo tasks in batch: one physics call steps all lanes on all cores, bit for bit as the single environments.

`mujoco.batch.Batch` keeps each lane's complete integration state (solver warm start included) in a row and steps rows
on a thread pool; results do not depend on the number of threads. Around it, a `Task` computes observations, rewards and
terminations for all lanes at once: `morl.envs.mujoco.tasks` holds mo-gymnasium's, `morl.envs.mujoco.pgmorl` PG-MORL's.
Constants are read off one single environment, the template, so every option of its constructor works.

MuJoCo integrates last: after a step, derived fields (`xpos`, `cinert`, ...) belong to the state before the final
integration. The single environments read them like that, and so do we.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from morl.envs.backends.kernels import KernelVectorEnv, LaneStreams
from morl.envs.classic import mo_gymnasium_patches
from morl.envs.mujoco.forces import ForceBatch

Array = NDArray[Any]

Fields = Mapping[str, Array]
"""Fields of `MjData` under MuJoCo's own names, with a leading axis for lanes: `fields["qpos"]` is [lane, nq]."""


def never(env: Any) -> bool:  # noqa: ARG001 - the signature of `Task.forces`
    """Return False: a task that has no use for contact forces."""
    return False


class Task(NamedTuple):
    """What tells one robot from another, as functions of the template `env` and of `Fields`."""

    start: Callable[[Any, np.random.Generator], tuple[Array, Array]]
    """(env, generator) -> positions [nq] and velocities [nv] at the start of an episode, as `env.reset` draws them."""
    observe: Callable[[Any, Fields], Array]
    """(env, fields) -> observations [lane, entry]."""
    track: Callable[[Any, Fields], Array]
    """(env, fields) -> what the reward compares before and after a step, [lane, entry]: a position, most often."""
    outcome: Callable[[Any, Fields, Array, Array, Array], tuple[NDArray[np.float32], Array]]
    """(env, fields, tracked before, tracked after, actions) -> rewards [lane, objective] and terminations [lane]."""
    fields: tuple[str, ...] = ()
    """Derived fields that these functions read, beyond qpos, qvel and ctrl."""
    forces: Callable[[Any], bool] = never
    """env -> whether observations or rewards hold contact forces (`cfrc_ext`), which take another batch."""
    controls: Callable[[Any, Array], Array] = lambda env, actions: actions  # noqa: ARG005
    """(env, actions) -> what the motors get, [lane, nu]."""


def processors() -> int:
    """Return how many processors this process may use; left to itself, MuJoCo counts all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MujocoVectorEnv(KernelVectorEnv):
    """A batch of one task. `template` is a single environment: the source of the model and of every constant."""

    def __init__(self, template: Any, task: Task, num_envs: int, max_episode_steps: int | None) -> None:
        super().__init__(
            num_envs,
            observation_space=template.observation_space,
            action_space=template.action_space,
            reward_space=template.reward_space,
            max_episode_steps=max_episode_steps,
            streams=LaneStreams("random", reserve=0, num_envs=num_envs),  # generators only: resets draw many at once
        )
        self.metadata["backend"] = "mujoco-batch"
        self.task = task
        self.template = template
        self.batch: Any = (ForceBatch if task.forces(template) else Batch)(template.model, num_envs, processors())
        self.fields = {name: self.batch.bind(name) for name in ("qpos", "qvel", "ctrl", *task.fields)}
        self.default = self.batch.state[0].copy()  # a row as `mj_resetData` leaves it
        self.tracked = np.array(task.track(template, self.fields))
        self.lanes_state = {"physics": self.batch.state, "tracked": self.tracked}

    def _start(self, mask: Array, observations: Array) -> None:
        """Draw the lanes of `mask` anew, each from its own generator, in the order of the single environment."""
        assert self.streams is not None
        lanes = np.flatnonzero(mask)
        self.batch.state[lanes] = self.default  # what `batch.reset` does, without waking its threads
        for lane in lanes:
            generator = self.streams.generators[lane]
            assert generator is not None
            self.fields["qpos"][lane], self.fields["qvel"][lane] = self.task.start(self.template, generator)
        self.batch.forward(lanes)
        self.tracked[mask] = self.task.track(self.template, self.fields)[mask]
        observations[mask] = self.task.observe(self.template, self.fields)[mask]

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        env, task = self.template, self.task
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

    def build(num_envs: int = 1, max_episode_steps: int | None = None, **options: Any) -> MujocoVectorEnv:
        module, _, name = entry_point.partition(":")
        single = getattr(importlib.import_module(module), name)
        try:
            with mo_gymnasium_patches.quiet(module):
                template = single(**options)
        except TypeError as error:
            raise ValueError(f"{name} cannot be built with {options}: {error}") from error
        return MujocoVectorEnv(template, task, num_envs, max_episode_steps)

    return build
