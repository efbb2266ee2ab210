"""PG-MORL's MuJoCo tasks against their formulas written out for one robot, their constants, resets and endings."""

import gymnasium
import mujoco
import numpy as np
import pytest

from morl.envs import make, make_vec, specs
from morl.envs.mujoco import models as mujoco_models
from morl.envs.mujoco.pgmorl import ROBOTS, PgMorlEnv

SHAPES = {  # observation, action, seconds a step
    "swimmer": (8, 2, 0.04),
    "halfcheetah": (17, 6, 0.05),
    "walker2d": (17, 6, 0.008),
    "hopper": (11, 3, 0.01),
    "hopper3": (11, 3, 0.01),
    "ant": (27, 8, 0.05),
    "humanoid": (376, 17, 0.015),
}
OVER = np.deg2rad(90)


@pytest.fixture(scope="module")
def envs():
    return {robot: make(f"pgmorl-{robot}-v0") for robot in ROBOTS}


def centre(env):
    return np.average(env.data.xipos, axis=0, weights=env.model.body_mass)[0]


def expected(robot, env, v, u):
    """Return the reward vector of one robot, straight from the papers' table."""
    jump = 12 * (env.data.qpos[1] - 1.25)
    return {
        "swimmer": lambda: (v[0], 0.3 - 0.15 * u),
        "halfcheetah": lambda: (min(v[0], 4) + 1, 5 - u),
        "walker2d": lambda: (v[0] + 1, 5 - u),
        "hopper": lambda: (1.5 * v[0] + 1 - 2e-4 * u, jump + 1 - 2e-4 * u),
        "hopper3": lambda: (1.5 * v[0] + 1, jump + 1, 5 - u),
        "ant": lambda: (v[0] + 1 - 0.5 * u, v[1] + 1 - 0.5 * u),
        "humanoid": lambda: (1.25 * v[0] + 3, 6 - 4 * u),
    }[robot]()


@pytest.mark.parametrize("robot", ROBOTS)
def test_rewards(envs, robot):
    wrapped, generator = envs[robot], np.random.default_rng(0)
    env = wrapped.unwrapped
    high = env.action_space.high
    wrapped.reset(seed=0)
    for step in range(20):
        action = (1.5 * high * generator.uniform(-1, 1, high.size)).astype(np.float32)
        effective = action if robot == "humanoid" else np.clip(action, -high, high)
        track = {"ant": lambda: env.data.body("torso").xpos[:2].copy(), "humanoid": lambda: np.array([centre(env)])}
        place = track.get(robot, lambda: env.data.qpos[:2].copy())
        before = place()
        observation, reward, terminated, truncated, _ = wrapped.step(action)
        velocity = (place() - before) / env.dt
        wanted = expected(robot, env, velocity, float(np.sum(np.square(effective.astype(float)))))
        np.testing.assert_allclose(reward, wanted, rtol=2e-5, atol=2e-5)
        assert reward.dtype == np.float32
        assert not truncated
        skipped = 2 if robot in ("swimmer", "ant", "humanoid") else 1
        positions, velocities = env.data.qpos[skipped:], env.data.qvel
        if robot in ("hopper", "hopper3", "walker2d"):
            velocities = np.clip(velocities, -10, 10)
        state = np.concatenate((positions, velocities))
        np.testing.assert_array_equal(observation[: state.size], state)
        if terminated:
            assert step > 3
            wrapped.reset()


@pytest.mark.parametrize("robot", ROBOTS)
def test_shapes_and_the_table(envs, robot):
    env = envs[robot]
    observation, action, seconds = SHAPES[robot]
    assert env.observation_space.shape == (observation,)
    assert env.action_space.shape == (action,)
    assert env.unwrapped.dt == pytest.approx(seconds)
    assert env.spec.max_episode_steps == 500
    row = specs[f"pgmorl-{robot}-v0"]
    assert row.reference_point == (0.0,) * len(row.objectives)
    assert env.unwrapped.reward_space.shape == (len(row.objectives),)
    bound = {"hopper": [2, 2, 4], "hopper3": [2, 2, 4], "humanoid": [0.4] * 17}.get(robot, [1] * action)
    np.testing.assert_allclose(env.action_space.high, bound)
    np.testing.assert_allclose(env.action_space.low, -np.array(bound))


BOUNDARIES = [  # robot, index into the positions, what still stands, what has fallen
    ("halfcheetah", 2, np.deg2rad(49), np.deg2rad(51)),
    ("halfcheetah", 2, np.deg2rad(-49), np.deg2rad(-51)),
    ("walker2d", 1, 0.82, 0.78),
    ("walker2d", 1, 1.98, 2.02),
    ("walker2d", 2, 0.98, 1.02),
    ("hopper", 1, 0.42, 0.38),
    ("hopper", 2, 0.98 * OVER, 1.02 * OVER),
    ("hopper", 3, -0.98 * OVER, -1.02 * OVER),
    ("hopper3", 4, 0.98 * OVER, 1.02 * OVER),
    ("hopper", 5, 0.98 * OVER, -1.02 * OVER),
    ("humanoid", 2, 1.02, 0.98),
    ("humanoid", 2, 1.98, 2.02),
    ("ant", 2, 0.01, np.nan),
    ("swimmer", 2, 5.0, None),
]


@pytest.mark.parametrize(("robot", "index", "stands", "falls"), BOUNDARIES)
def test_endings(envs, robot, index, stands, falls):
    env = envs[robot].unwrapped
    envs[robot].reset(seed=0)
    task = ROBOTS[robot].task
    place = task.track(env, env._fields())
    still = np.zeros((1, env.model.nu), dtype=np.float32)
    for value, ended in ((stands, False), (falls, True)):
        if value is not None:
            fields = {**env._fields(), "qpos": env.init_qpos[None].copy()}
            fields["qpos"][0, index] = value
            assert task.outcome(env, fields, place, place, still)[1].tolist() == [ended]


@pytest.mark.parametrize("robot", ROBOTS)
def test_reset_noise_is_a_switch(envs, robot):
    quiet = make(f"pgmorl-{robot}-v0", reset_noise="pgmorl").unwrapped
    noisy, scale = envs[robot].unwrapped, ROBOTS[robot].noise["pdmorl"]
    noisy.reset(seed=0)
    gap = np.abs(noisy.data.qpos - noisy.init_qpos)
    assert 0 < gap.max() <= scale
    quiet.reset(seed=0)
    if robot == "humanoid":  # both papers' codes draw
        np.testing.assert_array_equal(quiet.data.qpos, noisy.data.qpos)
    else:
        np.testing.assert_array_equal(quiet.data.qpos, quiet.init_qpos)
        np.testing.assert_array_equal(quiet.data.qvel, 0)
    envs = make_vec(f"pgmorl-{robot}-v0", 2, seed=3, reset_noise="pgmorl")
    assert envs.metadata["backend"] == "mujoco-batch"
    first, second = envs.reset()[0]
    assert np.array_equal(first, second) == (robot != "humanoid")


def test_the_constants_that_differ():
    loaded = {robot: mujoco_models.load(robot) for robot in mujoco_models.FILES}
    np.testing.assert_array_equal(loaded["swimmer"].actuator_gear[:, 0], 300)
    np.testing.assert_array_equal(loaded["ant"].actuator_gear[:, 0], 100)
    hopper, walker = loaded["hopper"], loaded["walker2d"]
    np.testing.assert_array_equal(hopper.actuator_gear[:, 0], [200, 200, 300])
    np.testing.assert_array_equal(np.ravel(hopper.dof_damping)[:6], [0, 0, 0, 40, 40, 40])
    assert not hopper.jnt_limited.any()
    np.testing.assert_array_equal(np.ravel(walker.dof_damping)[:9], [0, 0, 0, 3, 3, 3, 3, 3, 3])
    assert walker.geom("foot_geom").friction[0] == 0.9
    assert walker.geom("foot_left_geom").friction[0] == 1.9
    stock = mujoco.MjModel.from_xml_path(str(mujoco_models.path("walker2d")))
    np.testing.assert_allclose(walker.body_mass, 1.5 * stock.body_mass)
    assert loaded["halfcheetah"].body_mass.sum() == pytest.approx(14)


def test_a_changed_gymnasium_is_noticed(monkeypatch):
    wrong = mujoco_models.Change("actuator/motor", "gear", "151", "100")
    monkeypatch.setitem(mujoco_models.CHANGES, "ant", [wrong])
    with pytest.raises(ValueError, match=r"ant.xml of the installed Gymnasium must have gear='151'"):
        mujoco_models.load("ant")


def test_wrong_names():
    with pytest.raises(ValueError, match="robot must be one of swimmer"):
        PgMorlEnv("snake")
    with pytest.raises(ValueError, match="reset_noise must be 'pdmorl' or 'pgmorl', got 'none'"):
        PgMorlEnv("swimmer", reset_noise="none")
    with pytest.raises(ValueError, match="cannot be built with"):
        make_vec("pgmorl-swimmer-v0", 1, colour="red")


def test_five_hundred_steps_then_truncation():
    envs = make_vec("pgmorl-swimmer-v0", 2, seed=0)
    envs.reset()
    for _ in range(499):
        *_, terminated, truncated, _ = envs.step(np.zeros((2, 2), np.float32))
        assert not (terminated | truncated).any()
    *_, terminated, truncated, infos = envs.step(np.zeros((2, 2), np.float32))
    assert truncated.all()
    assert not terminated.any()
    assert infos["final_obs"].shape == (2, 8)


def test_gymnasium_finds_the_batch_form():
    assert gymnasium.make_vec("pgmorl-ant-v0", 2).metadata["backend"] == "mujoco-batch"
