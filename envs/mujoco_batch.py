"""MuJoCo tasks in batch: one physics call steps all lanes on all cores, bit for bit as the single environments.

`mujoco.batch.Batch` keeps each lane's complete integration state (solver warm start included) in a row and steps rows
on a thread pool; results do not depend on the number of threads. Around it, this file computes rewards, termination and
resets for all lanes at once. Constants are read off one single environment, so every option of mo-gymnasium's
constructors works. Rewards pass through float32, as they do there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from morl.envs.kernels import KernelVectorEnv, LaneStreams

Array = NDArray[Any]


class Task(NamedTuple):
    """What tells one robot from another; arrays have a row per lane."""

    skipped: int
    """Leading positions that the observation leaves out."""
    clipped: bool
    """Whether velocities are cut to [-10, 10] in the observation."""
    normal_velocities: bool
    """Whether a reset draws velocities from a normal distribution instead of a uniform one."""
    healthy: Callable[[Any, Array, Array], Array] | None
    """(single environment, positions, velocities) -> [env] whether the robot stands; None: it cannot fall."""
    height: bool = False
    """Whether the second objective is the height gained (hopper)."""


def _hopper_stands(env: Any, positions: Array, velocities: Array) -> Array:
    low, high = env._healthy_state_range
    state = np.concatenate((positions, velocities), axis=1)[:, 2:]
    within = ((low < state) & (state < high)).all(axis=1)
    return np.asarray(within & _walker_stands(env, positions, velocities))


def _walker_stands(env: Any, positions: Array, velocities: Array) -> Array:  # noqa: ARG001 - one shape for all tasks
    (low, high), (left, right) = env._healthy_z_range, env._healthy_angle_range
    z, angle = positions[:, 1], positions[:, 2]
    return np.asarray((low < z) & (z < high) & (left < angle) & (angle < right))


HOPPER = Task(1, clipped=True, normal_velocities=False, healthy=_hopper_stands, height=True)
HALF_CHEETAH = Task(1, clipped=False, normal_velocities=True, healthy=None)
WALKER = Task(1, clipped=True, normal_velocities=False, healthy=_walker_stands)
SWIMMER = Task(2, clipped=False, normal_velocities=False, healthy=None)


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
        self.skipped = task.skipped if template._exclude_current_positions_from_observation else 0
        self.batch = Batch(template.model, num_envs)
        self.positions, self.velocities = self.batch.bind("qpos"), self.batch.bind("qvel")
        self.controls = self.batch.bind("ctrl")
        self.lanes_state = {"physics": self.batch.state}

    def _start(self, mask: Array, observations: Array) -> None:
        """Draw the lanes of `mask` anew, each from its own generator, in the order of the single environment."""
        assert self.streams is not None
        lanes, env = np.flatnonzero(mask), self.template
        noise = env._reset_noise_scale
        self.batch.reset(lanes, stage=mujoco.mjtStage.mjSTAGE_NONE)
        for lane in lanes:
            generator = self.streams.generators[lane]
            assert generator is not None
            self.positions[lane] = env.init_qpos + generator.uniform(low=-noise, high=noise, size=env.model.nq)
            if self.task.normal_velocities:
                self.velocities[lane] = env.init_qvel + noise * generator.standard_normal(env.model.nv)
            else:
                self.velocities[lane] = env.init_qvel + generator.uniform(low=-noise, high=noise, size=env.model.nv)
        self.batch.forward(lanes)
        observations[mask] = self._observe()[mask]

    def _observe(self) -> Array:
        velocities = np.clip(self.velocities, -10, 10) if self.task.clipped else self.velocities
        return np.concatenate((self.positions[:, self.skipped :], velocities), axis=1)

    def _advance(self, actions: Array, observations: Array, rewards: Array, terminated: Array) -> None:
        env = self.template
        before = self.positions[:, 0].copy()
        self.controls[:] = actions
        self.batch.step(nstep=env.frame_skip)
        observations[...] = self._observe()
        speed = (self.positions[:, 0] - before) / env.dt
        paid = self._rewards(speed, actions)
        terminated[:] = False
        if self.task.healthy is not None:
            stands = self.task.healthy(env, self.positions, self.velocities)
            paid += (stands * env._healthy_reward).astype(np.float32)[:, None]
            terminated[:] = ~stands & env._terminate_when_unhealthy
        rewards[...] = paid
        if not np.isfinite(rewards).all():
            lane = int(np.flatnonzero(~np.isfinite(rewards).all(axis=1))[0])
            raise ValueError(f"the reward of lane {lane} must be finite, got {rewards[lane].tolist()}")

    def _rewards(self, speed: Array, actions: Array) -> NDArray[np.float32]:
        """Return [env, objective] without the bonus for standing: speed, height (hopper), energy; all in float32."""
        weight = self.template._ctrl_cost_weight
        cost: NDArray[np.float32] = -(weight * np.sum(np.square(actions), axis=1))
        columns = [speed]
        if self.task.height:
            columns.append(10 * (self.positions[:, 1] - self.template.init_qpos[1]))
        if not getattr(self.template, "_cost_objective", True):
            paid: NDArray[np.float32] = np.stack(columns, axis=1).astype(np.float32) + cost[:, None]
            return paid
        return np.stack([*(column.astype(np.float32) for column in columns), cost / weight], axis=1)


def _build(
    module: str, name: str, task: Task, num_envs: int, limit: int | None, options: dict[str, Any]
) -> MujocoVectorEnv:
    from importlib import import_module

    template: gymnasium.Env[Any, Any] = getattr(import_module(f"mo_gymnasium.envs.mujoco.{module}"), name)(**options)
    return MujocoVectorEnv(template, task, num_envs, limit)


def hopper(num_envs: int = 1, max_episode_steps: int | None = 1000, **env_options: Any) -> MujocoVectorEnv:
    """Return the batch form of mo-hopper-v5 and mo-hopper-2obj-v5."""
    return _build("hopper_v5", "MOHopperEnv", HOPPER, num_envs, max_episode_steps, env_options)


def half_cheetah(num_envs: int = 1, max_episode_steps: int | None = 1000, **env_options: Any) -> MujocoVectorEnv:
    """Return the batch form of mo-halfcheetah-v5."""
    return _build("half_cheetah_v5", "MOHalfCheehtahEnv", HALF_CHEETAH, num_envs, max_episode_steps, env_options)


def walker2d(num_envs: int = 1, max_episode_steps: int | None = 1000, **env_options: Any) -> MujocoVectorEnv:
    """Return the batch form of mo-walker2d-v5."""
    return _build("walker2d_v5", "MOWalker2dEnv", WALKER, num_envs, max_episode_steps, env_options)


def swimmer(num_envs: int = 1, max_episode_steps: int | None = 1000, **env_options: Any) -> MujocoVectorEnv:
    """Return the batch form of mo-swimmer-v5."""
    return _build("swimmer_v5", "MOSwimmerEnv", SWIMMER, num_envs, max_episode_steps, env_options)
