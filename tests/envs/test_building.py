"""The building against the formulas written out in NumPy, its tables, and the reader of real files."""

import itertools

import numpy as np
import pytest

from morl.envs import make, make_vec
from morl.envs.families.building import BuildingKernel
from morl.envs.families.building_model import FIRST, ZONES, hourly, office
from morl.envs.families.building_year import HOURS, load, synthetic_year

IDS = ["building-3d-v0", "building-9d-v0"]


def test_the_step_of_an_hour_solves_the_network():
    """Many small explicit steps of C dT/dt = network T + inputs u come to the same."""
    building, step = office(), hourly(office())
    rng = np.random.default_rng(0)
    temperature, inputs = rng.uniform(10, 30, 23), rng.uniform(0, 20, 27)
    small = temperature.copy()
    for _ in range(36_000):
        small += 0.1 * (building.network @ small + building.inputs @ inputs) / building.capacity
    np.testing.assert_allclose(step.a @ temperature + step.b @ inputs, small, rtol=1e-3)


def test_a_building_as_warm_as_ground_and_air_stays_so():
    a, b = hourly(office())
    np.testing.assert_allclose(a @ np.full(23, 15.0) + (b[:, 1] + b[:, 2]) * 15.0, 15.0)
    assert len(ZONES) == FIRST[-1] == 23
    assert np.abs(np.linalg.eigvals(a)).max() < 1
    np.testing.assert_array_equal(b[:, 0], 0)  # nobody is in


def reference(kernel, actions, hours, noise, per_floor):
    """Return rewards [step, objective] and the last temperatures, straight from the formulas of the docstring."""
    _, step = load(None)
    year = kernel.building.year
    temperature = np.full(23, 20.0)
    powers = []
    rewards = []
    for action, hour, price in zip(np.clip(actions.astype(float), -1, 1), hours, noise, strict=True):
        inputs = np.concatenate([[0.0], year[hour, [2, 0]], action, [year[hour, 1]]])
        following = step.a @ temperature + step.b @ inputs
        groups = [slice(start, stop) for start, stop in itertools.pairwise(FIRST)] if per_floor else [slice(0, 23)]
        sizes = np.array([len(action[group]) for group in groups])
        error = np.array([np.abs(following[group] - 20).sum() for group in groups])
        power = np.array([np.abs(action[group]).sum() for group in groups])
        ramping = sizes - np.abs(powers[-1] - powers[-2]) if len(powers) > 1 else 0 * sizes
        use = power / 20 if per_floor else price / year[:, 4].max() * power
        rewards.append(np.concatenate([sizes - error / 20, sizes - use, ramping]))
        powers.append(power)
        temperature = np.clip(following, 0, 40)
    return np.array(rewards), temperature


@pytest.mark.parametrize("env_id", IDS)
def test_rewards_and_temperatures_follow_the_formulas(env_id):
    envs = make_vec(env_id, 3, seed=1)
    envs.reset()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.3, 1.3, (60, 3, 23)).astype(np.float32)
    rewards, clocks = [], []
    for action in actions:
        rewards.append(envs.step(action)[1])
        clocks.append(envs.arrays["clocks"].copy())
    for index in range(3):
        hours, prices = ([int(c[index, 0]) for c in clocks], [c[index, 3] for c in clocks])
        expected, temperature = reference(envs, actions[:, index], hours, prices, env_id == "building-9d-v0")
        np.testing.assert_allclose(np.array(rewards)[:, index], expected, rtol=1e-9)
        np.testing.assert_allclose(envs.arrays["temperature"][index], temperature, rtol=1e-9)
        assert hours == list(range(hours[0], hours[0] + 60))
        assert 1 <= hours[0] <= 200


def test_the_first_observation_is_one():
    envs = make_vec("building-3d-v0", 400, seed=0)
    first, _ = envs.reset()
    year, hour = synthetic_year(), envs.arrays["clocks"][:, 0].astype(int)
    assert set(hour) <= set(range(1, 201))
    assert len(set(hour)) > 150
    np.testing.assert_allclose(first[:, :23], 0.5)
    np.testing.assert_allclose(first[:, 23], (year.outdoor[hour] + 40) / 80, rtol=1e-6)
    np.testing.assert_allclose(first[:, 24], year.irradiance[hour] / year.irradiance.max(), rtol=1e-6)
    np.testing.assert_allclose(first[:, 25], (year.ground[hour] + 40) / 80, rtol=1e-6)
    noise = np.stack([first[:, 27] - year.carbon[hour], first[:, 28] - year.price[hour]])
    assert np.abs(noise.mean()) < 0.003
    np.testing.assert_allclose(noise.std(axis=1), 0.02, rtol=0.15)
    second = envs.step(np.zeros((400, 23), np.float32))[0]
    np.testing.assert_array_equal(second[:, 23:26], first[:, 23:26])  # the first hour is the one that was observed
    np.testing.assert_array_equal(second[:, 27:], first[:, 27:])


@pytest.mark.parametrize("env_id", IDS)
def test_doing_nothing_costs_no_energy_and_the_end_is_a_truncation(env_id):
    envs = make_vec(env_id, 2, seed=0)
    envs.reset()
    returns, ends = np.zeros(envs.num_objectives), []
    for _ in range(480):
        _, rewards, terminated, truncated, _ = envs.step(np.zeros((2, 23), np.float32))
        returns += rewards[0]
        ends.append((terminated.any(), truncated.all()))
    assert ends == [(False, False)] * 479 + [(False, True)]
    most = 480 * (np.array([23]) if env_id == "building-3d-v0" else np.diff(FIRST))
    groups = len(most)
    np.testing.assert_array_equal(returns[groups : 2 * groups], most)
    np.testing.assert_allclose(returns[2 * groups :], most * 478 / 480)
    assert (returns[:groups] < most).all()


def test_actions_beyond_the_bounds_are_cut_off():
    outcomes = []
    for action in (1.0, 7.0):
        env = make("building-3d-v0")
        env.reset(seed=0)
        outcomes.append(env.step(np.full(23, action, np.float32)))
    np.testing.assert_array_equal(outcomes[0][0], outcomes[1][0])
    np.testing.assert_array_equal(outcomes[0][1], outcomes[1][1])


def test_the_synthetic_year_is_a_year():
    year = synthetic_year()
    assert all(len(column) == HOURS and np.isfinite(column).all() for column in year)
    assert year.irradiance.min() == 0 < year.irradiance.max() <= 1000
    assert 5 < year.outdoor.min() < year.outdoor.max() < 35
    for tariff in (year.carbon, year.price):
        assert 0.05 < tariff.min() < tariff.max() < 0.95
    night = year.irradiance.reshape(365, 24)[:, [0, 1, 2, 23]]
    np.testing.assert_array_equal(night, 0)


def write(folder, hours=700):
    year = synthetic_year()
    rows = [
        ["2005", "1", "1", "1", "60", "?9", f"{t:.1f}", *"890123", f"{g:.0f}", "0"]
        for t, g in zip(year.outdoor, year.irradiance, strict=True)
    ]
    header = ["LOCATION,San Diego,CA,USA,TMY3,722904,32.6,-117.0,-8.0,160"] + ["X"] * 7
    (folder / "weather.epw").write_text("\n".join([*header, *(",".join(row) for row in rows[:hours])]))
    (folder / "carbon_intensity.csv").write_text("\n".join(["carbon", *(f"{v:.4f}" for v in year.carbon[:hours])]))
    (folder / "pricing.csv").write_text(
        "\n".join(["time,price", *(f"{i},{v:.4f}" for i, v in enumerate(year.price[:hours]))])
    )


def test_real_files_are_read(tmp_path):
    write(tmp_path)
    year, step = load(str(tmp_path))
    made_up = synthetic_year()
    assert len(year.outdoor) == 700
    np.testing.assert_allclose(year.outdoor, made_up.outdoor[:700], atol=0.051)
    np.testing.assert_allclose(year.irradiance, made_up.irradiance[:700], atol=0.51)
    np.testing.assert_allclose(year.price, made_up.price[:700], atol=1e-4)
    np.testing.assert_allclose(step.b[:, -1], hourly(office()).b[:, -1] * year.irradiance.max())
    np.savez(tmp_path / "building.npz", a=0.5 * np.eye(23), b=np.full((23, 27), 0.01))
    envs = make_vec("building-9d-v0", 1, data=str(tmp_path))
    envs.reset(seed=0)
    envs.step(np.ones((1, 23), np.float32))
    hour = int(envs.arrays["clocks"][0, 0])
    people = -56.185  # W, at 20 degrees
    inputs = people + year.ground[hour] + year.outdoor[hour] + 23 + year.irradiance[hour] / year.irradiance.max()
    np.testing.assert_allclose(envs.arrays["temperature"][0], 10 + 0.01 * inputs, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("weather.epw", None, "weather.epw must hold at least 680 rows"),
        ("weather.epw", "LOCATION\n" * 9, "weather.epw must hold at least 680 rows"),
        ("carbon_intensity.csv", "carbon\n0.5\n0.5\n", "got 2 rows"),
        ("pricing.csv", "cost\n" + "1\n" * 700, "column 'price'"),
        ("pricing.csv", "price\n" + "nan\n" * 700, "not finite"),
        ("pricing.csv", "price\n" + "0\n" * 700, "prices above zero"),
        ("building.npz", "no archive", "building.npz must hold finite arrays a"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, file, content, message):
    write(tmp_path)
    (tmp_path / file).unlink(missing_ok=True)
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        make("building-3d-v0", data=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_building_of_another_size_is_refused(tmp_path):
    write(tmp_path)
    np.savez(tmp_path / "building.npz", a=np.eye(5), b=np.ones((5, 9)))
    with pytest.raises(ValueError, match=r"got \(5, 5\) and \(5, 9\)"):
        BuildingKernel(1, data=str(tmp_path))
