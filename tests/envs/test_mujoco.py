"""MuJoCo in batch: contact forces, C-MORL's tasks beside mo-gymnasium's v4, which backend is picked.

That each batch equals its single environment bit for bit, over 320 steps, and continues exactly from a saved state, is
tested for every id in test_envs_vector.py.
"""

import mo_gymnasium
import mujoco
import numpy as np
import pytest

from morl.envs import make, make_vec, specs
from morl.envs.mujoco.forces import ForceBatch

pytestmark = pytest.mark.filterwarnings("ignore:.*out of date.*")

MUJOCO = [name for name in specs if name.startswith(("mo-h", "mo-w", "mo-a", "mo-s", "mo-r", "cmorl-", "pgmorl-"))]
V4 = {name for name in MUJOCO if name.endswith("-v4")} - {"mo-halfcheetah-v4"}  # on the synchronous backend
OURS = [name for name in MUJOCO if name not in V4 and "highway" not in name]


def test_every_mujoco_task_has_a_batch_form():
    assert len(OURS) == 22
    for env_id in OURS:
        assert "mujoco" in specs[env_id].vector_entry_point, env_id


@pytest.mark.parametrize("env_id", ["mo-ant-v5", "mo-humanoid-v5"])
def test_contact_forces_equal_one_mjdata_per_env(env_id):
    env = make(env_id).unwrapped
    num_envs = 3
    generator = np.random.default_rng(0)
    batch = ForceBatch(env.model, num_envs)
    positions, controls, forces = (batch.bind(name) for name in ("qpos", "ctrl", "cfrc_ext"))
    singles = [mujoco.MjData(env.model) for _ in range(num_envs)]
    for index, data in enumerate(singles):
        positions[index] = data.qpos[:] = env.init_qpos + generator.uniform(-0.01, 0.01, env.model.nq)
        mujoco.mj_forward(env.model, data)
    batch.forward(np.arange(num_envs))
    felt = 0.0
    for _ in range(20):
        controls[:] = generator.uniform(-0.4, 0.4, controls.shape)
        batch.step(env.frame_skip)
        for index, data in enumerate(singles):
            data.ctrl[:] = controls[index]
            mujoco.mj_step(env.model, data, nstep=env.frame_skip)
            mujoco.mj_rnePostConstraint(env.model, data)
            np.testing.assert_array_equal(forces[index], data.cfrc_ext)
            np.testing.assert_array_equal(positions[index], data.qpos)
        felt = max(felt, np.abs(forces).max())
    assert felt > 1  # there were contacts


@pytest.mark.parametrize("backend", [None, "synchronous"])
def test_the_halfcheetah_is_silent(tmp_path, monkeypatch, capfd, backend):
    """Its model makes MuJoCo 4 print a warning for every instance and write MUJOCO_LOG.TXT."""
    monkeypatch.chdir(tmp_path)
    handler = mujoco.get_mju_user_warning()
    make_vec("mo-halfcheetah-v5", 2, backend=backend)
    assert mujoco.get_mju_user_warning() is handler
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_field_that_cannot_be_bound():
    batch = ForceBatch(mujoco.MjModel.from_xml_string("<mujoco/>"), 1)
    for name in ("efc_force", "no_such_field"):
        with pytest.raises(ValueError, match="name must be a field of MjData"):
            batch.bind(name)


def test_a_masked_reset_leaves_contact_forces_alone():
    envs = make_vec("mo-ant-v5", 3, seed=0)
    envs.reset()
    for _ in range(20):
        before = envs.step(np.full((3, 8), 0.5, np.float32))[0]
    assert np.abs(before[1, 27:]).max() > 0
    after, _ = envs.reset(options={"reset_mask": np.array([True, False, True])})
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(after[0, 27:], 0)  # as in the single environment, which computes none at a reset


def without_constants(observation):
    """Return v4's humanoid observation without the rows of the world and of the root's motors, which v5 leaves out."""
    state, inertia, motion, motors, contacts = np.split(observation, np.cumsum([45, 140, 84, 23]))
    dropped = (inertia[:10], motion[:6], motors[:6], contacts[:6])
    assert not any(part.any() for part in dropped)
    return np.concatenate((state, inertia[10:], motion[6:], motors[6:], contacts[6:]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("cmorl-hopper-2d-v0", "mo-hopper-2d-v4"),
        ("cmorl-hopper-3d-v0", "mo-hopper-v4"),
        ("cmorl-ant-2d-v0", "mo-ant-2d-v4"),
        ("cmorl-ant-3d-v0", "mo-ant-v4"),
        ("cmorl-humanoid-2d-v0", "mo-humanoid-v4"),
    ],
)
def test_cmorl_tasks_pay_and_show_what_v4_does(ours, theirs):
    mine, other = make(ours), mo_gymnasium.make(theirs)
    assert mine.spec.max_episode_steps == 500
    mine.action_space.seed(0)
    mine.reset(seed=3)
    other.reset(seed=3)
    falls = 0
    for _ in range(60):
        action = mine.action_space.sample()
        observation, reward, *flags, _ = mine.step(action)
        wanted, paid, *ends, _ = other.step(action)
        np.testing.assert_array_equal(observation, without_constants(wanted) if wanted.size == 376 else wanted)
        np.testing.assert_allclose(reward, paid, rtol=2e-7)  # hopper-3d: v5 divides the cost by the weight again
        assert flags == ends
        if any(flags):
            falls += 1
            mine.reset()
            other.reset()
    assert falls > 0 or "ant" in ours


def test_the_step_of_the_fall_is_paid():
    """C-MORL's hopper gets the bonus of 1 when it falls, mo-hopper-2obj-v5 does not."""
    paid = {}
    for env_id in ("cmorl-hopper-2d-v0", "mo-hopper-2obj-v5"):
        envs = make_vec(env_id, 1, seed=0)
        envs.reset()
        ended = False
        while not ended:
            _, rewards, terminated, _, _ = envs.step(np.ones((1, 3), np.float32))
            ended = terminated[0]
        paid[env_id] = rewards[0]
    np.testing.assert_allclose(paid["cmorl-hopper-2d-v0"] - paid["mo-hopper-2obj-v5"], 1, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"reset_noise_scale": 0.3}, {"frame_skip": 2}, {"terminate_when_unhealthy": False}]
)
def test_options_reach_the_batch_form(options):
    envs, single = make_vec("mo-hopper-v5", 1, seed=4, **options), make("mo-hopper-v5", **options)
    assert envs.metadata["backend"] == "mujoco-batch"
    observation, _ = single.reset(seed=4)
    np.testing.assert_array_equal(envs.reset()[0][0], observation)
    for _ in range(40):
        actions = envs.action_space.sample()
        observations, rewards, terminated, _, infos = envs.step(actions)
        observation, reward, ended, _, _ = single.step(actions[0])
        np.testing.assert_array_equal(rewards[0], reward)
        assert terminated[0] == ended
        if ended:
            np.testing.assert_array_equal(infos["final_obs"][0], observation)
            observation, _ = single.reset()
        np.testing.assert_array_equal(observations[0], observation)
