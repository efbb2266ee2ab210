"""MORL/D end to end: every solver learns, resumes bit for bit and acts again from its files; concave fronts."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from decomposed import CONTINUOUS, WALK, tiny

import morl
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.validation import check
from morl.envs.core.registry import problem
from morl.experiment.settings import resolve

CONFIGS = Path(__file__).parents[2] / "configs" / "morl_d"
pytestmark = pytest.mark.usefixtures("without_figures")
SOLVERS: list[tuple[str, str, dict[str, Any]]] = [
    ("sac", CONTINUOUS, {"replay": "neighbours", "neighbourhood": "nearest"}),
    ("td3", CONTINUOUS, {"replay": "shared"}),
    ("ppo", CONTINUOUS, {"rollout_steps": 8, "minibatches": 2}),
    (
        "dqn",
        WALK,
        {"augmented_state": True, "utility": "smooth-tchebycheff", "scale": "range", "exploration_steps": 100},
    ),
    ("discrete-sac", WALK, {"networks": "shared-layers", "selected": 3}),
    ("ppo", WALK, {"rollout_steps": 8, "minibatches": 2, "utility": "pbi", "selection": "random"}),
    ("eupg", WALK, {"preset": "eupg", "rollout_steps": 8}),
    ("sb3:SAC", CONTINUOUS, {}),
    ("sb3:PPO", WALK, {"rollout_steps": 8, "batch_size": 8, "selection": "random"}),
]
NAMES = [f"{solver}, {env}" for solver, env, _ in SOLVERS]
SCHEDULE: dict[str, Any] = {"num_envs": 6, "evaluate_every": 120, "evaluation_episodes": 1, "device": "cpu"}


def train(run_dir: Path, solver: str, env: str, settings: dict[str, Any], steps: int) -> Any:
    config = tiny(env, solver=solver, **settings)
    config |= {"workers": 2} if "workers" in config else {}
    return morl.train("morl-d", env, total_steps=steps, run_dir=run_dir, config=config, seed=4, **SCHEDULE)


@pytest.mark.parametrize(("solver", "env", "settings"), SOLVERS, ids=NAMES)
def test_a_run_that_stops_goes_on_as_if_it_had_not(solver: str, env: str, settings: Any, tmp_path: Path) -> None:
    train(tmp_path / "whole", solver, env, settings, 240)
    train(tmp_path / "parts", solver, env, settings, 120)
    resumed = morl.resume(tmp_path / "parts", 240)
    one, other = (toys.states(tmp_path / name, "agent", "environment") for name in ("whole", "parts"))
    assert toys.difference(one, other) == ""
    assert toys.front(tmp_path / "whole") == toys.front(tmp_path / "parts")
    action, _ = resumed.policy([0.5, 0.5]).predict(np.zeros(2, dtype=np.float32))
    assert resumed.problem.action_space.contains(action)
    assert resumed.evaluate(episodes=2).discounted.shape == resumed.front.points.shape


@pytest.mark.parametrize(("solver", "env", "settings"), SOLVERS[:1] + SOLVERS[-2:], ids=NAMES[:1] + NAMES[-2:])
def test_one_seed_is_one_run(solver: str, env: str, settings: Any, tmp_path: Path) -> None:
    for name in ("one", "other"):
        train(tmp_path / name, solver, env, settings, 150)
    one, other = (toys.states(tmp_path / name, "agent") for name in ("one", "other"))
    assert toys.difference(one, other) == ""


def test_every_trait_can_be_set_in_a_file_and_by_a_flag(tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        'num_envs = 6\ntotal_steps = 60\n[agent]\npreset = "moea-d"\npopulation = 3\nexchange_every = 30\n'
        'evaluation_episodes = 1\nhidden_sizes = [8]\nideal = [9.0, 9.0]\nreference = "static"\n'
        "random_exploration_steps = 0\n"
    )
    run = tmp_path / "run"
    flags = ["--agent.weights", "dirichlet", "--agent.selected", "2", "--agent.neighbourhood-space", "objectives"]
    code, _, error = morl_cli("train", "morl-d", WALK, "--run-dir", run, "--config", file, *flags)
    assert code == 0, error
    written = (run / "config.toml").read_text()
    for line in ('transfer = "best"', 'weights = "dirichlet"', "selected = 2", "ideal = [9.0, 9.0]"):
        assert line in written
    assert morl.load(run).front.points.shape[1] == 2


def test_archived_policies_are_small_and_do_again_what_they_did(tmp_path: Path) -> None:
    settings = {"preset": "tchebycheff", "exchange_every": 60, "buffer_size": 50_000}
    run = train(tmp_path / "run", "dqn", "toy-fork-v0", settings, 600)
    assert sum(file.stat().st_size for file in (tmp_path / "run" / "policies").glob("*.pt")) < 100_000
    np.testing.assert_allclose(run.evaluate(episodes=1).discounted, run.front.points)


DEEP_SEA: dict[str, Any] = {
    "preset": "tchebycheff",
    "weights": "lattice",
    "population": 32,
    "augmented_state": True,
    "one_hot": True,
    "networks": "conditioned",
    "replay": "shared",
    "buffer_size": 320_000,
    "hidden_sizes": (128, 128),
    "batch_size": 8,
    "updates_per_step": 2.0,
    "exchange_every": 2_560,
    "evaluation_episodes": 1,
    "random_exploration_steps": 2_000,
    "learning_starts": 2_000,
    "critic_learning_rate": 2e-3,
    "tau": 0.02,
    "exploration_end": 0.2,
}


def deep_sea(tmp_path: Path, steps: int, config: dict[str, Any], seed: int = 0) -> Any:
    schedule = {"num_envs": 256, "evaluate_every": 16_000, "evaluation_episodes": 1}
    name = "deep-sea-treasure-concave-v0"
    return morl.train("morl-d", name, total_steps=steps, run_dir=tmp_path / "run", config=config, seed=seed, **schedule)


@pytest.mark.slow
def test_tchebycheff_finds_the_whole_concave_front(tmp_path: Path) -> None:
    """With seed 3 nobody went for the deep treasures while evaluations alone moved the ideal."""
    run = deep_sea(tmp_path, 160_000, DEEP_SEA, seed=3)
    assert run.front.indicators["hypervolume"] == pytest.approx(1101.384, abs=1e-3)
    assert len(run.front.points) == 10


def test_tuned_settings_are_accepted() -> None:
    files = list(CONFIGS.glob("**/*.toml"))
    assert len(files) > 5
    for file in files:
        settings = resolve(MORLD, "morl-d", file.stem, tomllib.loads(file.read_text()))
        check(settings.agent, problem(file.stem, **settings.env_options), settings.num_envs)


@pytest.mark.slow
def test_eupg_finds_the_whole_concave_front(tmp_path: Path) -> None:
    name = "deep-sea-treasure-concave-v0"
    table = tomllib.loads((CONFIGS / "eupg" / f"{name}.toml").read_text())
    table["config"] = table.pop("agent")
    run = morl.train("morl-d", name, run_dir=tmp_path / "run", **table)
    assert run.front.indicators["hypervolume"] == pytest.approx(1101.384, abs=1e-3)
    assert len(run.front.points) == 10


@pytest.mark.slow
def test_weighted_sums_serve_only_the_ends_of_it(tmp_path: Path) -> None:
    run = deep_sea(tmp_path, 160_000, DEEP_SEA | {"preset": "vanilla", "augmented_state": False, "archive": "convex"})
    assert len(run.front.points) <= 3
    assert run.front.indicators["hypervolume"] < 1095.0


def test_a_concave_point_is_reached_by_tchebycheff_and_by_eupg_but_not_by_weighted_sums(tmp_path: Path) -> None:
    """The fork pays (0, 10), (4, 4) or (10, 0): no weights make the middle the best sum."""
    reached = {}
    small = {"exchange_every": 240, "population": 3, "weights": "lattice", "evaluation_episodes": 1}
    dqn = small | {"exploration_start": 1.0, "exploration_end": 0.3, "exploration_steps": 300, "hidden_sizes": (16,)}
    dqn |= {
        "workers": 1,
        "critic_learning_rate": 1e-2,
        "tau": 0.1,
        "batch_size": 32,
        "random_exploration_steps": 40,
        "learning_starts": 40,
        "archive": "convex",
    }
    pg = small | {
        "actor_learning_rate": 1e-2,
        "rollout_steps": 8,
        "hidden_sizes": (16,),
        "epochs": 4,
        "gae_lambda": 1.0,
    }
    for name, config in (
        ("linear", dqn),
        ("tchebycheff", dqn | {"preset": "tchebycheff", "augmented_state": True, "archive": "pareto"}),
        ("eupg", pg | {"preset": "eupg", "entropy_weight": 0.02}),
    ):
        run = morl.train(
            "morl-d",
            "toy-concave-v0",
            total_steps=3_000,
            run_dir=tmp_path / name,
            config=config,
            num_envs=12,
            evaluate_every=3_000,
            evaluation_episodes=1,
        )
        reached[name] = {tuple(np.round(point / 0.99).tolist()) for point in run.front.points}
    assert reached["linear"] == {(0.0, 10.0), (10.0, 0.0)}
    assert (4.0, 4.0) in reached["tchebycheff"]
    assert (4.0, 4.0) in reached["eupg"]
