"""A run: deterministic, fully recorded, every step counted, and its front ready to act with."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl
from morl.experiment.front import evaluation_preferences
from morl.pareto import hypervolume, non_dominated

pytestmark = pytest.mark.usefixtures("without_figures")

INDICATORS = {"hypervolume", "expected_utility", "sparsity", "cardinality"}


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run = tmp_path_factory.mktemp("walk") / "run"
    toys.train(run, "toy-walk-v0", 300, seed=31, discount=0.95)
    return run


@pytest.fixture(scope="module")
def coins(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run = tmp_path_factory.mktemp("coins") / "run"
    toys.train(run, "toy-walk-v0", 200, agent="toys:Coins", seed=33)
    return run


# --- Determinism ------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_run(walk: Path, tmp_path: Path) -> None:
    np.random.default_rng().random()
    toys.train(tmp_path / "same", "toy-walk-v0", 300, seed=31, discount=0.95)
    toys.train(tmp_path / "other", "toy-walk-v0", 300, seed=34, discount=0.95)
    assert toys.difference(toys.states(walk), toys.states(tmp_path / "same")) == ""
    assert toys.front(walk) == toys.front(tmp_path / "same")
    for name in ("metrics.jsonl", "fronts.jsonl"):
        assert toys.lines(walk / name) == toys.lines(tmp_path / "same" / name)
    assert toys.difference(toys.scalars(walk), toys.scalars(tmp_path / "same")) == ""
    other = toys.states(tmp_path / "other", "agent")["agent"]
    assert not np.array_equal(other["parameters"], toys.states(walk, "agent")["agent"]["parameters"])
    assert toys.front(walk)["points"] != toys.front(tmp_path / "other")["points"]


@pytest.mark.parametrize("env", ["toy-walk-v0", "deep-sea-treasure-v0", "breakable-bottles-v0"])
def test_looking_more_often_changes_nothing(env: str, tmp_path: Path) -> None:
    watched: dict[str, Any] = {
        "evaluate_every": 10,
        "log_every": 5,
        "evaluation_episodes": 2,
        "evaluation_divisions": 3,
        "checkpoint_minutes": 1e-6,
    }
    toys.train(tmp_path / "alone", env, 150, evaluate_every=10**9, log_every=10**9)
    toys.train(tmp_path / "watched", env, 150, **watched)
    states = [toys.states(tmp_path / name, "agent", "environment") for name in ("alone", "watched")]
    assert toys.difference(*states) == ""


# --- The run folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["walk", "fork", "coins"])
def test_the_run_folder_holds_what_it_promises(run: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(run)
    for name in ("config.toml", "command.txt", "system.json", "metrics.jsonl", "fronts.jsonl", "front.json"):
        assert (folder / name).stat().st_size > 0
    assert list((folder / "tensorboard").glob("*tfevents*"))
    assert list((folder / "checkpoints").glob("step-*/manifest.json"))
    assert not [file for file in folder.rglob("*") if "partial" in file.name or file.suffix == ".tmp"]
    system = toys.strict_json((folder / "system.json").read_text())
    promised_of_system = "morl commit python platform processor cores device update_backend env_backend packages"
    assert set(promised_of_system.split()) <= system.keys()
    assert {"torch", "numpy", "gymnasium"} <= system["packages"].keys()

    front = toys.strict_json((folder / "front.json").read_text())
    promised = (
        "agent env seed objectives discount reference_point points preferences policy_ids indicators training_steps "
        "pretraining_steps evaluation_steps updates wall_seconds"
    )
    assert set(promised.split()) <= front.keys()
    count, objectives = len(front["points"]), len(front["objectives"])
    assert count >= 1
    assert len(front["preferences"]) == len(front["policy_ids"]) == count
    assert {len(row) for part in ("points", "preferences") for row in front[part]} == {objectives}
    assert front["indicators"].keys() >= INDICATORS
    assert len(front["reference_point"]) == objectives
    for policy in front["policy_ids"]:
        assert (folder / "policies" / f"{policy}.pt").is_file()
    for line in toys.lines(folder / "fronts.jsonl"):
        assert {"training_steps", "points", "preferences", "policy_ids", "indicators"} <= line.keys()
    evaluated = [line["training_steps"] for line in toys.lines(folder / "fronts.jsonl")]
    assert evaluated == list(range(100, front["training_steps"] + 1, 100))
    logged = [line["training_steps"] for line in toys.lines(folder / "metrics.jsonl")]
    assert set(range(50, front["training_steps"] + 1, 50)) == set(logged)
    # The value that a point was selected for is kept beside the one that is reported.
    selections = [line for line in toys.lines(folder / "metrics.jsonl") if "selection/hypervolume" in line]
    assert [line["training_steps"] for line in selections] == evaluated
    scalars = toys.scalars(folder)
    assert {f"front/{name}" for name in INDICATORS} <= scalars.keys()
    assert [step for step, _ in scalars["front/hypervolume"]] == evaluated


@pytest.mark.parametrize("run", ["walk", "fork", "coins"])
def test_the_front_is_one(run: str, request: pytest.FixtureRequest) -> None:
    front = morl.load(request.getfixturevalue(run)).front
    assert non_dominated(front.points, keep_duplicates=True).all()
    assert front.points.dtype == np.float64
    assert (np.diff(front.points[:, 0]) > 0).all()  # sorted, and so without copies
    assert front.indicators["hypervolume"] == hypervolume(front.points, front.reference_point)
    assert front.indicators["cardinality"] == len(front.points)


def test_points_are_returns_under_the_evaluation_discount(fork: Path, walk: Path) -> None:
    run = morl.load(fork)
    leaves = {tuple(leaf) for leaf in (0.99 * toys.Fork.LEAVES).tolist()}
    assert {tuple(point) for point in run.front.points.tolist()} <= leaves
    assert {tuple(point) for point in run.front.undiscounted_points.tolist()} <= {tuple(p) for p in toys.Fork.LEAVES}
    assert run.front.known_front is not None
    assert {"igd_plus", "maximum_utility_loss"} <= run.front.indicators.keys()
    assert morl.load(walk).front.discount == 0.95
    assert "igd_plus" not in morl.load(walk).front.indicators


def test_a_discount_of_zero_is_one_step(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-fork-v0", 50, discount=0.0)
    assert run.front.points.tolist() == [[0.0, 0.0]]
    assert run.front.known_front is not None


def test_every_step_is_counted(tmp_path: Path) -> None:
    toys.STEPS.clear()
    run = toys.train(tmp_path / "run", "toy-walk-v0", 303, evaluation_episodes=3)
    front = toys.front(run.directory)
    assert front["training_steps"] == 305  # whole steps of 5 environments
    counted = front["training_steps"] + front["pretraining_steps"] + front["evaluation_steps"]
    assert counted == toys.STEPS["Walk"]
    expected = (front["training_steps"] - toys.TINY["learning_starts"]) * toys.TINY["updates_per_step"]
    assert front["updates"] == int(np.ceil(expected))
    morl.resume(run.directory, 400)
    front = toys.front(run.directory)
    counted = front["training_steps"] + front["pretraining_steps"] + front["evaluation_steps"]
    assert counted == toys.STEPS["Walk"]


def test_the_published_front_is_that_of_the_best_evaluation(walk: Path) -> None:
    front, lines = toys.front(walk), toys.lines(walk / "metrics.jsonl")
    utilities = {
        line["training_steps"]: line["selection/expected_utility"]
        for line in lines
        if "selection/expected_utility" in line
    }
    best = max(utilities.values())
    assert utilities[front["selected_at_step"]] == best
    (published,) = [
        line for line in toys.lines(walk / "fronts.jsonl") if line["training_steps"] == front["selected_at_step"]
    ]
    assert published["points"] == front["points"]
    assert published["preferences"] == front["preferences"]


def test_without_preferences_they_are_null(coins: Path) -> None:
    front = toys.front(coins)
    assert front["preferences"] == [[None, None]] * len(front["points"])
    assert toys.lines(coins / "metrics.jsonl")[0]["luck"] is None
    run = morl.load(coins)
    assert np.isnan(run.front.preferences).all()
    assert sorted(file.name for file in (coins / "policies").iterdir()) == ["0.pt", "1.pt", "2.pt"]
    for preference in ([1.0, 0.0], [0.0, 1.0], [3.0, 5.0]):
        policy = run.policy(preference)
        weights = np.array(preference) / sum(preference)
        utilities = run.front.choice_points @ weights
        assert policy.policy_id == run.front.policy_ids[utilities.argmax()]
        action, _ = policy.predict(np.zeros(2, dtype=np.float32))
        assert action == policy.policy_id % 3 - 1


# --- Acting -----------------------------------------------------------------------------------------------------------

KINDS = ("fork", "walk", "dict-walk", "nested-walk", "tuple-walk", "flags-walk")


@pytest.mark.parametrize("env", [f"toy-{kind}-v0" for kind in KINDS])
def test_a_policy_predicts_for_one_and_for_many(env: str, tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", env, 100)
    policy = morl.load(run.directory).policy(preference=[0.7, 0.3])
    envs = morl.make_vec(env, 6)
    observations, _ = envs.reset(seed=5)
    for _ in range(3):
        actions, state = policy.predict(observations, deterministic=True)
        assert actions.shape == (6,)
        assert state is None
        for index in range(6):
            action, state = policy.predict(pick(observations, index), state=("mine", index))
            assert action == actions[index]
            assert np.shape(action) == ()
            assert envs.single_action_space.contains(action)
            assert state == ("mine", index)
        observations, *_ = envs.step(actions)


def pick(observations: Any, index: int) -> Any:
    if isinstance(observations, dict):
        return {key: pick(part, index) for key, part in observations.items()}
    if isinstance(observations, tuple):
        return tuple(pick(part, index) for part in observations)
    return observations[index]


def test_a_policy_does_what_its_front_promises(fork: Path) -> None:
    run = morl.load(fork)
    for preference in ([1.0, 0.0], [0.0, 1.0], [2.0, 2.0]):
        policy = run.policy(preference)
        np.testing.assert_allclose(policy.preference, np.array(preference) / sum(preference))
        env = toys.Fork()
        done = False
        total = np.zeros(2)
        observation, _ = env.reset()
        while not done:
            action, _ = policy.predict(observation)
            observation, reward, done, _, _ = env.step(action)
            total += reward
        chosen = (run.front.points @ policy.preference).argmax()
        np.testing.assert_array_equal(total, run.front.undiscounted_points[chosen])
        np.testing.assert_allclose(run.evaluate(preference, episodes=1).discounted[0], run.front.points[chosen])
    np.testing.assert_allclose(run.evaluate(episodes=2).discounted, run.front.points)


@pytest.mark.parametrize("observation", [np.zeros(3), np.zeros((2, 3)), np.zeros((1, 1, 2)), 0.0])
def test_an_observation_of_another_shape_is_refused(observation: Any, walk: Path) -> None:
    with pytest.raises(ValueError, match=r"observation has shape .* must be \(2,\)"):
        morl.load(walk).policy([0.5, 0.5]).predict(observation)


def test_loading_and_evaluating_write_nothing(walk: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in walk.rglob("*")}
    run = morl.load(walk)
    first, again, other = (run.evaluate([0.5, 0.5], episodes=2, seed=seed).discounted for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert {file: file.stat().st_mtime_ns for file in walk.rglob("*")} == before


def test_a_run_folder_can_be_moved(fork: Path, tmp_path: Path) -> None:
    shutil.copytree(fork, tmp_path / "elsewhere")
    run = morl.resume(tmp_path / "elsewhere", 350)
    assert run.directory == tmp_path / "elsewhere"
    assert run.policy([1, 0]).predict(0)[0] in (0, 1)


# --- Environments of any kind -----------------------------------------------------------------------------------------


def test_a_callable_environment_is_given_again(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", toys.build_fork, 50)
    assert toys.front(run.directory)["env"] == "build_fork"
    assert run.policy([0.5, 0.5]).predict(0)[0] in (0, 1)
    again = morl.load(tmp_path / "run", env=toys.build_fork)
    assert again.front.points.tolist() == run.front.points.tolist()
    assert morl.load(tmp_path / "run").policy([0.5, 0.5]).predict(0)[0] in (0, 1)  # looking at it needs no environment
    for use in (lambda folder: morl.load(folder).evaluate(), lambda folder: morl.resume(folder, 100)):
        with pytest.raises(ValueError, match="build_fork"):
            use(tmp_path / "run")
    morl.resume(tmp_path / "run", 100, env=toys.build_fork)
    assert toys.front(tmp_path / "run")["training_steps"] == 100


def test_options_reach_training_evaluation_and_loading(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "fruit-tree-v0", 50, env_options={"depth": 7}, evaluation_divisions=2)
    assert toys.front(run.directory)["env_options"] == {"depth": 7}
    assert run.evaluate([1, 0, 0, 0, 0, 0], episodes=1).lengths.tolist() == [7.0]
    assert run.front.known_front is not None
    assert len(run.front.known_front) == 128
    loaded = morl.load(run.directory)
    assert loaded.problem.observation_space.high.max() == 127
    assert loaded.settings.env_options == {"depth": 7}


def test_the_default_folder_names_agent_environment_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = morl.train("pd-morl", "toys:toy-walk-v0", total_steps=50, seed=6, config=toys.TINY, **toys.SCHEDULE)
    assert run.directory == Path("runs/pd-morl/toy-walk-v0/seed-6")
    options = {"env_options": {"drift": 0.5}}
    other = morl.train("pd-morl", "toy-walk-v0", total_steps=50, seed=6, config=toys.TINY, **toys.SCHEDULE | options)
    assert other.directory != run.directory


def test_a_reference_point_of_ones_own(tmp_path: Path) -> None:
    run = toys.train(tmp_path / "run", "toy-fork-v0", 50, reference_point=(-2.0, -3))
    assert run.front.reference_point == (-2.0, -3.0)
    assert run.front.indicators["hypervolume"] == hypervolume(run.front.points, (-2.0, -3.0))


@pytest.mark.parametrize("objectives", [1, 2, 3, 6, 9])
def test_the_evaluation_grid_is_fine_but_not_endless(objectives: int) -> None:
    grid = evaluation_preferences(objectives, None)
    assert 1 <= len(grid) <= 250
    np.testing.assert_allclose(grid.sum(axis=1), 1.0)


def test_processes_train_as_the_fastest_backend_does(tmp_path: Path) -> None:
    for backend in (None, "processes", "synchronous"):
        toys.train(tmp_path / str(backend), "deep-sea-treasure-v0", 100, seed=3, env_backend=backend)
    system = toys.strict_json((tmp_path / "processes" / "system.json").read_text())
    assert system["env_backend"] == "processes"
    assert toys.front(tmp_path / "None") == toys.front(tmp_path / "processes") == toys.front(tmp_path / "synchronous")
    with pytest.raises(ValueError, match="env_backend is 'threads', but must be one of processes, synchronous"):
        toys.train(tmp_path / "threads", "deep-sea-treasure-v0", 100, env_backend="threads")


class Extreme(toys.Walk):
    """Pays amounts whose products are beyond float64, or too different for one volume."""

    amounts = (1e160, 1e160)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, np.sign(reward) * self.amounts, terminated, truncated, info


@pytest.mark.parametrize("amounts", [(1e160, 1e160), (1e-200, 1e200), (1e-300, 1e300), (1e300, 1e300)])
def test_returns_of_any_magnitude_make_a_front(amounts: tuple[float, float], tmp_path: Path) -> None:
    env = type("Extreme", (Extreme,), {"amounts": amounts})
    run = toys.train(tmp_path / "run", env, 200, agent="toys:Coins")
    assert np.isfinite(run.front.points).all()
    toys.strict_json((tmp_path / "run" / "front.json").read_text())
