"""PG-MORL's MuJoCo tasks, which PD-MORL trains on: their robots, rewards, terminations and reset noise.

Every objective is shifted so that it is positive for a robot that does well, and the hypervolume's reference point is
the origin. With v the displacement of the robot's root in a step over the time it took, u = sum of the squared actions
(cut to their range first, but for the humanoid), z the root's height, and z0 = 1.25 the height it starts at:

| task | objectives | ends when |
|---|---|---|
| swimmer | v, 0.3 - 0.15 u | never |
| halfcheetah | min(v, 4) + 1, 5 - u | pitch beyond 50 degrees |
| walker2d | v + 1, 5 - u | z outside (0.8, 2) or pitch outside (-1, 1) |
| hopper | 1.5 v + 1 - 0.0002 u, 12 (z - z0) + 1 - 0.0002 u | z <= 0.4, or pitch or a joint at 90 degrees or more |
| hopper3 | 1.5 v + 1, 12 (z - z0) + 1, 5 - u | as hopper |
| ant | v_x + 1 - 0.5 u, v_y + 1 - 0.5 u | the state is not finite |
| humanoid | 1.25 v + 3, 6 - 4 u, with v of the center of mass | z outside [1, 2] |

Source: PG-MORL's code (github mit-gfx/PGMORL at 1232c27, folder `environments`) and PD-MORL's copy of it (35aa1bc),
which adds the noise at resets. Models: `morl.envs.mujoco.models`. Each formula is written once, for a batch; the
single environment is a batch of one.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle

from morl.envs.core.types import Action, Array, EnvOption, Step
from morl.envs.mujoco import models as mujoco_models
from morl.envs.mujoco.batch import Fields, MujocoVectorEnv, Task, Template, batch_form
from morl.envs.mujoco.loops import inside, squared_sums
from morl.envs.mujoco.tasks import (
    Outcome,
    columns,
    finite,
    mass_center,
    normal_start,
    root_x,
    state_after,
    uniform_start,
)


def effort(env: Template, actions: Array) -> Array:
    """Return u = |action|^2 with actions clipped to their range [env]."""
    clipped = np.clip(actions, env.action_space.low, env.action_space.high)
    return np.asarray(squared_sums(clipped.astype(np.float64)))


def speed(env: Template, before: Array, after: Array) -> Array:
    """Return v = displacement over time [env, entry]."""
    return np.asarray((after - before) / env.dt)


def swimmer_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:  # noqa: ARG001
    """Return (v, 0.3 - 0.15 u); never over."""
    paid = columns(speed(env, before, after)[:, 0], 0.3 - 0.15 * effort(env, actions))
    return paid, np.zeros(len(paid), dtype=np.bool_)


def halfcheetah_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return (min(v, 4) + 1, 5 - u); over at a pitch of 50 degrees."""
    paid = columns(np.minimum(speed(env, before, after)[:, 0], 4) + 1, 5 - effort(env, actions))
    return paid, ~(np.abs(fields["qpos"][:, 2]) < np.deg2rad(50))


def walker2d_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return (v + 1, 5 - u); over when the torso is too low, too high or too steep."""
    z = fields["qpos"][:, 1]
    pitch = fields["qpos"][:, 2]
    paid = columns(speed(env, before, after)[:, 0] + 1, 5 - effort(env, actions))
    return paid, ~((z > 0.8) & (z < 2) & (np.abs(pitch) < 1))


def hopper_fallen(fields: Fields) -> Array:
    """Return whether the torso is at 0.4 or lower, or its pitch or a joint at 90 degrees or more [env]."""
    upright = inside(fields["qpos"][:, :6], 2, -np.deg2rad(90), np.deg2rad(90))
    return np.asarray(~((fields["qpos"][:, 1] > 0.4) & upright))


def hopper_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return (1.5 v + 1 - 0.0002 u, 12 (z - z0) + 1 - 0.0002 u)."""
    others = 1 - 2e-4 * effort(env, actions)
    jump = 12 * (fields["qpos"][:, 1] - env.init_qpos[1])
    return columns(1.5 * speed(env, before, after)[:, 0] + others, jump + others), hopper_fallen(fields)


def hopper3_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return (1.5 v + 1, 12 (z - z0) + 1, 5 - u)."""
    jump = 12 * (fields["qpos"][:, 1] - env.init_qpos[1])
    paid = columns(1.5 * speed(env, before, after)[:, 0] + 1, jump + 1, 5 - effort(env, actions))
    return paid, hopper_fallen(fields)


def ant_place(env: Template, fields: Fields) -> Array:
    """Return the torso's place on the ground [env, 2]."""
    return fields["xpos"][:, env.model.body("torso").id, :2]


def ant_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return (v_x + 1 - 0.5 u, v_y + 1 - 0.5 u); over when the state is not finite."""
    forward, sideways = speed(env, before, after).T
    others = 1 - 0.5 * effort(env, actions)
    return columns(forward + others, sideways + others), ~finite(fields)


def humanoid_observation(env: Template, fields: Fields) -> Array:
    """Return positions, velocities, inertias, body velocities, motor forces, and zeros for contact forces [env, 376].

    PG-MORL's MuJoCo (2.x) left contact forces at zero unless a sensor asked for them.
    """
    derived = [fields[name].reshape(len(fields["qpos"]), -1) for name in ("cinert", "cvel", "qfrc_actuator")]
    contacts = np.zeros((len(fields["qpos"]), 6 * env.model.nbody))
    return np.concatenate((state_after(2)(env, fields), *derived, contacts), axis=1)


def humanoid_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return (1.25 v + 3, 6 - 4 u), u of the actions as they come; over when the torso is too low or too high."""
    z = fields["qpos"][:, 2]
    effort_uncut = squared_sums(actions.astype(np.float64))
    paid = columns(1.25 * speed(env, before, after)[:, 0] + 3, 6 - 4 * effort_uncut)
    return paid, np.asarray((z < 1) | (z > 2))


class Robot(NamedTuple):
    """One row of the table of tasks."""

    model: str
    frame_skip: int
    """Physics steps per environment step."""
    noise: dict[str, float]
    """Scale of the noise at resets, by the paper whose code draws it."""
    task: Task


def _noise(pdmorl: float, pgmorl: float = 0.0) -> dict[str, float]:
    return {"pdmorl": pdmorl, "pgmorl": pgmorl}


def _hopper(outcome: Callable[..., Outcome]) -> Robot:
    return Robot("hopper", 5, _noise(0.005), Task(uniform_start, state_after(1, clipped=True), root_x, outcome))


_HUMANOID_FIELDS = ("xipos", "cinert", "cvel", "qfrc_actuator")
ROBOTS = {
    "swimmer": Robot("swimmer", 4, _noise(0.1), Task(uniform_start, state_after(2), root_x, swimmer_outcome)),
    "halfcheetah": Robot(
        "halfcheetah", 5, _noise(0.1), Task(normal_start, state_after(1), root_x, halfcheetah_outcome)
    ),
    "walker2d": Robot(
        "walker2d", 4, _noise(0.005), Task(uniform_start, state_after(1, clipped=True), root_x, walker2d_outcome)
    ),
    "hopper": _hopper(hopper_outcome),
    "hopper3": _hopper(hopper3_outcome),
    "ant": Robot("ant", 5, _noise(0.1), Task(normal_start, state_after(2), ant_place, ant_outcome, ("xpos",))),
    "humanoid": Robot(
        "humanoid",
        5,
        _noise(0.01, 0.01),
        Task(uniform_start, humanoid_observation, mass_center, humanoid_outcome, _HUMANOID_FIELDS),
    ),
}


def find(robot: str) -> Robot:
    """Return the row of a robot.

    Raises:
        ValueError: there is none of that name.
    """
    if robot not in ROBOTS:
        raise ValueError(f"robot must be one of {', '.join(ROBOTS)}, got {robot!r}")
    return ROBOTS[robot]


class PgMorlEnv(MujocoEnv, EzPickle):
    """One of PG-MORL's robots.

    Args:
        robot: a key of `ROBOTS`.
        reset_noise: whose resets: "pdmorl" draws noise around the model's initial state, "pgmorl" starts every episode
            in it (but for the humanoid, where both draw).
        options: passed to Gymnasium's MujocoEnv, such as `render_mode`.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]}  # noqa: RUF012

    def __init__(self, robot: str, reset_noise: Literal["pdmorl", "pgmorl"] = "pdmorl", **options: EnvOption) -> None:
        EzPickle.__init__(self, robot, reset_noise, **options)
        self._robot = find(robot)
        if reset_noise not in self._robot.noise:
            raise ValueError(f"reset_noise must be 'pdmorl' or 'pgmorl', got {reset_noise!r}")
        self._reset_noise_scale = self._robot.noise[reset_noise]
        self._exclude_current_positions_from_observation = True
        MujocoEnv.__init__(
            self,
            str(mujoco_models.path(self._robot.model)),
            self._robot.frame_skip,
            observation_space=None,  # its size follows from the model
            **options,
        )
        self.metadata = {**self.metadata, "render_fps": round(1 / self.dt)}
        size = self._robot.task.observe(self, self._fields()).shape[1]
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float64)
        place = self._robot.task.track(self, self._fields())
        still = np.zeros((1, self.model.nu), dtype=np.float32)
        self.reward_dim = len(self._robot.task.outcome(self, self._fields(), place, place, still)[0][0])
        self.reward_space = Box(-np.inf, np.inf, (self.reward_dim,), np.float32)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return the model with PG-MORL's constants, and its state."""
        model = mujoco_models.load(self._robot.model)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        return model, mujoco.MjData(model)

    def _fields(self) -> Fields:
        """Return the fields that the task reads, as a batch of one environment."""
        return {name: getattr(self.data, name)[None] for name in ("qpos", "qvel", "ctrl", *self._robot.task.fields)}

    def step(self, action: Action) -> Step:  # type: ignore[override] # Gymnasium's has a scalar reward
        """Apply the action for `frame_skip` physics steps."""
        task = self._robot.task
        fields = self._fields()
        actions = np.asarray(action)
        before = task.track(self, fields).copy()
        self.do_simulation(actions, self.frame_skip)
        paid, over = task.outcome(self, fields, before, task.track(self, fields), actions[None])
        return task.observe(self, fields)[0], paid[0], bool(over[0]), False, {}

    def reset_model(self) -> Array:
        """Start an episode."""
        positions, velocities = self._robot.task.start(self, self.np_random)
        self.set_state(positions, velocities)  # type: ignore[no-untyped-call]
        first: Array = self._robot.task.observe(self, self._fields())[0]
        return first


def batch(
    num_envs: int = 1, max_episode_steps: int | None = None, *, robot: str, **options: EnvOption
) -> MujocoVectorEnv:
    """Return the batch form of a robot's task."""
    build = batch_form("morl.envs.mujoco.pgmorl:PgMorlEnv", find(robot).task)
    return build(num_envs, max_episode_steps, robot=robot, **options)
