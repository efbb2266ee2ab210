"""The table of environments, registration, building single environments, and what an agent is told."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from morl.envs import make, make_vec, problem, register, specs
from morl.envs.classic import fronts
from morl.pareto import hypervolume, non_dominated

ROWS = [row for row in specs.values() if row.source != "registered by the user"]  # by other tests in the same process


class Walk(gymnasium.Env):
    """Ten steps; left pays the first objective, right the second."""

    def __init__(self, length=10):
        self.length = length
        self.observation_space, self.action_space = Box(0, length, (1,)), Discrete(2)
        self.reward_space = Box(0, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return np.array([0], np.float32), {}

    def step(self, action):
        self.position += 1
        return np.array([self.position], np.float32), np.eye(2)[action], self.position == self.length, False, {}


def test_specs_is_a_read_only_mapping_with_near_names():
    assert "deep-sea-treasure-v0" in specs
    assert len(specs) == len(list(specs)) > 35
    with pytest.raises(KeyError, match="deep-sea-treasure-v0"):
        specs["deep-sea-treasur-v0"]
    with pytest.raises(TypeError):
        specs["x"] = 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_rows_are_consistent(row):
    assert len(set(row.objectives)) == len(row.objectives)
    assert 0 < row.discount <= 1
    assert row.reference_point is None or len(row.reference_point) == len(row.objectives)
    assert row.source


def test_every_mo_gymnasium_id_has_a_row():
    import mo_gymnasium  # noqa: F401

    ids = {name for name, spec in gymnasium.registry.items() if str(spec.entry_point).startswith("mo_gymnasium")}
    assert ids - set(specs) == {"mo-supermario-v0"}  # needs numpy 1 and the old gym


@pytest.mark.parametrize(
    ("env_id", "options", "discount", "reference", "volume", "points"),
    [
        ("deep-sea-treasure-v0", {}, 1.0, (0, -25), 401.8, 10),
        ("deep-sea-treasure-v0", {}, 0.99, (0, -19), 241.733089, 10),
        ("deep-sea-treasure-v0", {}, 0.98, (0, -25), 319.746220, 10),
        ("deep-sea-treasure-concave-v0", {}, 0.99, (0, -25), 1101.384430, 10),
        ("deep-sea-treasure-mirrored-v0", {}, 0.98, (0, -25), 1020.277599, 10),
        ("fruit-tree-v0", {"depth": 5}, 0.99, (0,) * 6, 6920.582043, 32),
        ("fruit-tree-v0", {}, 0.99, (0,) * 6, 9302.378173, 64),
        ("fruit-tree-v0", {"depth": 7}, 0.99, (0,) * 6, 12302.337559, 128),
        ("resource-gathering-v0", {}, 1.0, (-1, -1, -2), 6.0, 1),
        ("resource-gathering-v0", {}, 0.99, (-1, -1, -2), 5.414747, 3),
        ("resource-gathering-v0", {}, 0.9, (-1, -1, -2), 3.210089, 9),
    ],
)
def test_known_fronts(env_id, options, discount, reference, volume, points):
    front = problem(env_id, **options).known_front(discount)
    assert front.shape[0] == points
    assert non_dominated(front).all()
    assert hypervolume(front, np.array(reference, float)) == pytest.approx(volume, rel=1e-6)


def test_mo_gymnasium_agrees_with_our_treasure_front():
    theirs = np.array(make("deep-sea-treasure-v0").unwrapped.pareto_front(0.99))
    np.testing.assert_allclose(fronts.deep_sea_treasure(0.99), theirs, rtol=1e-6)


@pytest.mark.parametrize("name", ["mo-hopper-v5", "four-room-v0", "mo-mountaincar-timespeed-v0"])
def test_problem_speaks_of_the_environment(name):
    stated = problem(name)
    assert stated.id == name
    assert stated.objectives == specs[name].objectives
    assert stated.reference_point == specs[name].reference_point
    assert isinstance(stated.action_space, gymnasium.Space)


def test_an_option_that_changes_the_reward_drops_the_row():
    stated = problem("mo-hopper-v5", cost_objective=False)
    assert stated.objectives == ("objective_0", "objective_1")
    assert stated.reference_point is None


def test_a_callable_works_wherever_an_id_does():
    stated = problem(Walk, length=3)
    assert (stated.objectives, stated.discount, stated.reference_point) == (("objective_0", "objective_1"), 0.99, None)
    assert make_vec(Walk, 2).num_objectives == 2


def test_module_prefix_is_imported():
    assert problem("mo_gymnasium:deep-sea-treasure-v0").id == "deep-sea-treasure-v0"
    with pytest.raises(ValueError, match="no module 'nowhere_at_all'"):
        make("nowhere_at_all:Name-v0")


@pytest.mark.parametrize("build", [problem, make_vec])
def test_a_scalar_reward_is_refused(build):
    with pytest.raises(ValueError, match=r"CartPole-v1: its reward is a scalar and morl needs a vector reward"):
        build("CartPole-v1")


@pytest.mark.parametrize("build", [problem, make_vec, make])
def test_an_unknown_id_names_its_neighbours(build):
    with pytest.raises(ValueError, match=r"nearest names are .*mo-hopper-v5") as caught:
        build("mo-hoper-v5")
    assert str(caught.value).count("mo-hopper-v5") == 1


@pytest.mark.parametrize("options", [{"dept": 5}, {"depth": 9}])
def test_wrong_options_are_one_clear_line(options):
    with pytest.raises(ValueError, match="fruit-tree-v0"):
        make_vec("fruit-tree-v0", 1, **options)
    with pytest.raises(ValueError, match="fruit-tree-v0"):
        make("fruit-tree-v0", **options)


def test_register_adds_a_row_and_gymnasiums_registration():
    register(
        "test-walk-v0",
        Walk,
        objectives=("left", "right"),
        reference_point=(-1, -1),
        discount=1.0,
        known_front=lambda discount, length=10: np.array([[length, 0.0], [0.0, length]]) * discount,
        max_episode_steps=5,
    )
    stated = problem("test-walk-v0", length=7)
    assert stated.objectives == ("left", "right")
    assert stated.known_front(1.0).max() == 7
    envs = make_vec("test-walk-v0", 2)
    envs.reset(seed=0)
    for _ in range(5):
        _, _, terminated, truncated, infos = envs.step(np.zeros(2, int))
    assert truncated.all()
    assert not terminated.any()
    np.testing.assert_array_equal(infos["_final_obs"], True)
    np.testing.assert_array_equal(infos["final_obs"][0], [5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ()}, "at least one name"),
        ({"objectives": "speed"}, "must be names"),
        ({"objectives": ("a", "a")}, "all different"),
        ({"reference_point": (0.0,)}, "2 finite numbers"),
        ({"reference_point": (0.0, float("nan"))}, "2 finite numbers"),
        ({"reference_point": 3}, "2 finite numbers"),
        ({"discount": 1.5}, r"\(0, 1\]"),
        ({"discount": "x"}, r"\(0, 1\]"),
        ({"known_front": [[1]]}, "function of the discount"),
        ({"max_episode_steps": 0}, "positive integer"),
        ({"entry_point": None}, "entry_point"),
        ({"id": ""}, "Gymnasium id"),
    ],
)
def test_register_refuses_nonsense_before_it_registers(change, message):
    arguments = {"id": "test-nonsense-v0", "entry_point": Walk, "objectives": ("a", "b"), **change}
    with pytest.raises(ValueError, match=message):
        register(**arguments)
    assert "test-nonsense-v0" not in gymnasium.registry
    assert "test-nonsense-v0" not in specs


@pytest.mark.parametrize(
    "env_id",
    [
        "deep-sea-treasure-v0",
        "deep-sea-treasure-concave-v0",
        "resource-gathering-v0",
        "four-room-v0",
        "fruit-tree-v0",
        "mo-mountaincar-v0",
    ],
)
def test_closing_one_environment_leaves_the_others_drawing(env_id, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    one, other, last = (make_vec(env_id, 1, seed=0, render_mode="rgb_array") for _ in range(3))
    pictures = []
    for envs in (one, other):
        envs.reset()
        pictures.append(envs.render()[0])
    np.testing.assert_array_equal(*pictures)
    other.close()
    np.testing.assert_array_equal(one.render()[0], pictures[0])
    last.reset()
    last.render()  # pygame is initialized anew
    np.testing.assert_array_equal(one.render()[0], pictures[0])
    one.close()
    last.close()
