"""mo-gymnasium's MuJoCo tasks in batch form: what each robot observes, is paid, and when it has fallen (v5; one of v4).

Every function here is its single environment's formula with a leading axis for environments, down to the order in which
numbers are added and rounded: a reward vector is float32 there, so it is here, and the tests ask for equal bits.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from morl.envs.core.types import Array
from morl.envs.mujoco import loops
from morl.envs.mujoco.batch import Fields, Task, Template, batch_form

Rewards: TypeAlias = NDArray[np.float32]
Outcome: TypeAlias = tuple[Rewards, Array]
"""Rewards [env, objective] and terminations [env]."""


def uniform_start(env: Template, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return positions and velocities with uniform noise around the model's own."""
    noise = env._reset_noise_scale
    positions = env.init_qpos + generator.uniform(low=-noise, high=noise, size=env.model.nq)
    return positions, env.init_qvel + generator.uniform(low=-noise, high=noise, size=env.model.nv)


def normal_start(env: Template, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return positions with uniform noise and velocities with normal noise."""
    noise = env._reset_noise_scale
    positions = env.init_qpos + generator.uniform(low=-noise, high=noise, size=env.model.nq)
    return positions, env.init_qvel + noise * generator.standard_normal(env.model.nv)


def state_after(first: int, clipped: bool = False) -> Callable[[Template, Fields], Array]:
    """Return an observation of positions from number `first` on, and velocities, `clipped` to [-10, 10] or not."""
    bound = 10.0 if clipped else np.inf

    def observe(env: Template, fields: Fields) -> Array:
        skipped = first if env._exclude_current_positions_from_observation else 0
        return np.asarray(loops.state(fields["qpos"], fields["qvel"], skipped, bound))

    return observe


def root_x(env: Template, fields: Fields) -> Array:  # noqa: ARG001 - the signature of `Task.track`
    """Return the robot's place along the track [env, 1]."""
    return fields["qpos"][:, :1]


def energy(env: Template, actions: Array) -> Array:
    """Return the weighted control cost, as a reward: -weight |action|^2 [env], in the dtype of the actions."""
    return np.asarray(-(env._ctrl_cost_weight * loops.squared_sums(actions)))


def columns(*objectives: Array) -> Rewards:
    """Return arrays [env] as the columns of a float32 array [env, objective]."""
    paid = np.empty((len(objectives[0]), len(objectives)), dtype=np.float32)
    for index, objective in enumerate(objectives):
        paid[:, index] = objective
    return paid


def settle(env: Template, paid: Rewards, stands: Array) -> Outcome:
    """Return rewards with the bonus for standing, and terminations; C-MORL's tasks pay it on a fall too."""
    fall_paid = getattr(env, "bonus_on_fall", False)
    terminated = loops.settle(paid, stands, env._healthy_reward, fall_paid, env._terminate_when_unhealthy)
    return paid, np.asarray(terminated)


ANYWHERE = (-np.inf, np.inf)


def hopper_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return rewards (speed, 10 times the height gained, energy) and terminations."""
    ground = env.init_qpos[1]
    paid = loops.hop(before, after, fields["qpos"], actions, env.dt, env._ctrl_cost_weight, ground, env._cost_objective)
    stands = loops.upright(
        fields["qpos"],
        fields["qvel"],
        env._healthy_z_range,
        env._healthy_angle_range,
        env._healthy_state_range,
    )
    return settle(env, paid, stands)


def walker_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return rewards (speed, energy) and terminations."""
    paid = loops.run(before, after, actions, env.dt, env._ctrl_cost_weight)
    stands = loops.upright(fields["qpos"], fields["qvel"], env._healthy_z_range, env._healthy_angle_range, ANYWHERE)
    return settle(env, paid, stands)


def runner_outcome(
    env: Template,
    fields: Fields,  # noqa: ARG001 - the signature of `Task.outcome`
    before: Array,
    after: Array,
    actions: Array,
) -> Outcome:
    """Return rewards (speed, energy); these robots cannot fall (halfcheetah, swimmer)."""
    paid = loops.run(before, after, actions, env.dt, env._ctrl_cost_weight)
    return paid, np.zeros(len(paid), dtype=np.bool_)


def weighted_runner_outcome(
    env: Template,
    fields: Fields,  # noqa: ARG001 - the signature of `Task.outcome`
    before: Array,
    after: Array,
    actions: Array,
) -> Outcome:
    """Return rewards (speed, energy with its weight, a tenth of v5's) and terminations of the halfcheetah of v4."""
    speed = (after[:, 0] - before[:, 0]) / env.dt
    return columns(env._forward_reward_weight * speed, energy(env, actions)), np.zeros(len(speed), dtype=np.bool_)


def ant_place(env: Template, fields: Fields) -> Array:
    """Return the torso's place on the ground [env, 2]."""
    return fields["xpos"][:, env.model.body(env._main_body).id, :2]


def ant_forces(env: Template) -> bool:
    """Return whether contact forces are observed or paid for."""
    return bool(env._include_cfrc_ext_in_observation or env._contact_cost_weight)


def contact_forces(env: Template, fields: Fields) -> Array:
    """Return the ant's clipped contact forces [env, body, 6]."""
    return np.asarray(np.clip(fields["cfrc_ext"], env._contact_force_range[0], env._contact_force_range[1]))


def ant_observation(env: Template, fields: Fields) -> Array:
    """Return positions, velocities and contact forces [env, entry]."""
    state = state_after(2)(env, fields)
    if not env._include_cfrc_ext_in_observation:
        return state
    return np.concatenate((state, contact_forces(env, fields)[:, 1:].reshape(len(state), -1)), axis=1)


def finite(fields: Fields) -> Array:
    """Return whether the state is finite [env]."""
    placed = loops.inside(fields["qpos"], 0, -np.inf, np.inf)
    return np.asarray(placed & loops.inside(fields["qvel"], 0, -np.inf, np.inf))


def ant_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return rewards (speed along x, along y, energy), with the price of contacts in each, and terminations."""
    x_speed, y_speed = ((after - before) / env.dt).T
    cost = energy(env, actions)
    if env._cost_objective:
        paid = columns(x_speed, y_speed, cost / env._ctrl_cost_weight)
    else:
        paid = columns(x_speed, y_speed)
        paid += cost[:, None]
    low, high = env._healthy_z_range
    z = fields["qpos"][:, 2]
    stands = finite(fields) & (low <= z) & (z <= high)
    paid, terminated = settle(env, paid, stands)
    if env._contact_cost_weight:
        forces = contact_forces(env, fields).reshape(len(paid), -1)
        paid += -(env._contact_cost_weight * loops.squared_sums(forces))[:, None]
    return paid, terminated


def mass_center(env: Template, fields: Fields) -> Array:
    """Return the place of the center of mass on the ground [env, 2]."""
    # Body after body: the order in which the single environment adds, which decides the last bit.
    total = np.zeros((len(fields["xipos"]), 2))
    for body, mass in enumerate(env.model.body_mass):
        total += mass * fields["xipos"][:, body, :2]
    return np.asarray(total / env.model.body_mass.sum())


def humanoid_observation(env: Template, fields: Fields) -> Array:
    """Return positions, velocities, inertias, body velocities, motor and contact forces [env, entry]."""
    parts = [state_after(2)(env, fields)]
    if env._include_cinert_in_observation:
        parts.append(fields["cinert"][:, 1:])
    if env._include_cvel_in_observation:
        parts.append(fields["cvel"][:, 1:])
    if env._include_qfrc_actuator_in_observation:
        parts.append(fields["qfrc_actuator"][:, 6:])
    if env._include_cfrc_ext_in_observation:
        parts.append(fields["cfrc_ext"][:, 1:])
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def humanoid_outcome(env: Template, fields: Fields, before: Array, after: Array, actions: Array) -> Outcome:
    """Return rewards (speed of the center of mass, energy), with the price of contacts in each, and terminations."""
    speed = (after[:, 0] - before[:, 0]) / env.dt
    cost = energy(env, actions.astype(np.float64))  # the single environment squares `data.ctrl`, which is float64
    low, high = env._healthy_z_range
    z = fields["qpos"][:, 2]
    stands = (low < z) & (z < high)
    paid, terminated = settle(env, columns(speed, cost / env._ctrl_cost_weight), stands)
    if env._contact_cost_weight:
        forces = fields["cfrc_ext"].reshape(len(paid), -1)
        lowest, highest = env._contact_cost_range
        price = np.clip(env._contact_cost_weight * loops.squared_sums(forces), lowest, highest)
        paid += -price[:, None]
    return paid, terminated


def reacher_start(env: Template, generator: np.random.Generator) -> tuple[Array, Array]:
    """Return the arm bent at a right angle, the targets in their places, and slow random velocities."""
    targets = len(env.goal)
    generator.uniform(low=-0.1, high=0.1, size=env.model.nq)  # drawn and overwritten, there as here
    velocities = env.init_qvel + generator.uniform(low=-0.005, high=0.005, size=env.model.nv)
    velocities[-targets:] = 0
    return np.concatenate(([0.0, 3.1415 / 2], env.goal)), velocities


def reacher_observation(env: Template, fields: Fields) -> Array:  # noqa: ARG001 - the signature of `Task.observe`
    """Return cosines and sines of the two joints and a tenth of their velocities [env, 6]."""
    angles = fields["qpos"][:, :2]
    return np.concatenate((np.cos(angles), np.sin(angles), fields["qvel"][:, :2] * 0.1), axis=1)


def reacher_nearness(env: Template, fields: Fields) -> Array:
    """Return 1 - 4 |fingertip - target| for each of the four targets [env, 4]."""
    tip = fields["xpos"][:, env.model.body("fingertip").id, :2]
    gaps = [tip - fields["xpos"][:, env.model.body(f"target{number}").id, :2] for number in (1, 2, 3, 4)]
    return np.stack([1 - 4 * np.sqrt(gap[:, 0] * gap[:, 0] + gap[:, 1] * gap[:, 1]) for gap in gaps], axis=1)


def reacher_outcome(
    env: Template,  # noqa: ARG001 - the signature of `Task.outcome`
    fields: Fields,  # noqa: ARG001
    before: Array,
    after: Array,  # noqa: ARG001
    actions: Array,  # noqa: ARG001
) -> Outcome:
    """Return the nearness to each target before the step, which is what mo-gymnasium pays; nothing terminates."""
    return before.astype(np.float32), np.zeros(len(before), dtype=np.bool_)


def reacher_controls(env: Template, actions: Array) -> Array:
    """Return the two torques of each of the nine actions [env, 2]."""
    torques: Array = np.array(list(env.action_dict.values()))
    return torques[actions]


HOPPER = Task(uniform_start, state_after(1, clipped=True), root_x, hopper_outcome)
WALKER = Task(uniform_start, state_after(1, clipped=True), root_x, walker_outcome)
HALFCHEETAH = Task(normal_start, state_after(1), root_x, runner_outcome)
HALFCHEETAH_4 = Task(normal_start, state_after(1), root_x, weighted_runner_outcome)
SWIMMER = Task(uniform_start, state_after(2), root_x, runner_outcome)
ANT = Task(normal_start, ant_observation, ant_place, ant_outcome, ("xpos", "cfrc_ext"), ant_forces)
HUMANOID = Task(
    uniform_start,
    humanoid_observation,
    mass_center,
    humanoid_outcome,
    ("xipos", "cinert", "cvel", "qfrc_actuator", "cfrc_ext"),
    ant_forces,
)
REACHER = Task(
    reacher_start, reacher_observation, reacher_nearness, reacher_outcome, ("xpos",), controls=reacher_controls
)

_MO_GYMNASIUM = "mo_gymnasium.envs.mujoco"
hopper = batch_form(f"{_MO_GYMNASIUM}.hopper_v5:MOHopperEnv", HOPPER)
half_cheetah = batch_form(f"{_MO_GYMNASIUM}.half_cheetah_v5:MOHalfCheehtahEnv", HALFCHEETAH)
half_cheetah_4 = batch_form(f"{_MO_GYMNASIUM}.half_cheetah_v4:MOHalfCheehtahEnv", HALFCHEETAH_4)
walker2d = batch_form(f"{_MO_GYMNASIUM}.walker2d_v5:MOWalker2dEnv", WALKER)
swimmer = batch_form(f"{_MO_GYMNASIUM}.swimmer_v5:MOSwimmerEnv", SWIMMER)
ant = batch_form(f"{_MO_GYMNASIUM}.ant_v5:MOAntEnv", ANT)
humanoid = batch_form(f"{_MO_GYMNASIUM}.humanoid_v5:MOHumanoidEnv", HUMANOID)
reacher = batch_form(f"{_MO_GYMNASIUM}.reacher_v5:MOReacherEnv", REACHER)

cmorl_hopper = batch_form("morl.envs.mujoco.cmorl:Hopper", HOPPER)
cmorl_ant = batch_form("morl.envs.mujoco.cmorl:Ant", ANT)
cmorl_humanoid = batch_form("morl.envs.mujoco.cmorl:Humanoid", HUMANOID)
