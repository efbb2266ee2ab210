"""Settings: one schema, one parser, and the order in which files, flags and arguments win."""

import re
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import morl
from morl.agents import AGENTS, find_agent
from morl.agents.morl_d.agent import MORLD
from morl.agents.pd_morl.config import DiscreteConfig as Config
from morl.envs.core.registry import problem
from morl.experiment import layers
from morl.experiment.components import find_task
from morl.experiment.listing import tuned_files
from morl.experiment.parsing import arguments
from morl.experiment.settings import Settings, resolve, resolve_config, resolve_sources, to_toml

pytestmark = pytest.mark.usefixtures("without_figures")
SCHEMA: Any = Settings[Config]


# --- Precedence -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tuned settings for toy-fork-v0, as if they came with morl."""
    file = tmp_path / "configs" / "pd_morl" / "toy-fork-v0.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "total_steps = 60\nnum_envs = 3\nlog_every = 30\n[agent]\nbatch_size = 4\nlearning_rate = 1e-5\ncritics = 2\n"
    )
    monkeypatch.setattr(layers, "tuned_file", lambda agent, env: file if env == "toy-fork-v0" else None)
    return file


def test_defaults_tuned_file_config_file_flags(tuned: Path, tmp_path: Path, morl_cli: Any) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("num_envs = 4\nevaluation_divisions = 3\n[agent]\nbatch_size = 5\nlearning_rate = 1e-4\n")
    flags = ["--agent.batch-size", 6, "--evaluation-episodes", 1, "--agent.hidden-sizes", 8, 9]
    for given_as in (["--config", config], [f"--config={config}"]):
        run = tmp_path / str(len(given_as))
        code, _, complaint = morl_cli("train", "pd-morl", "toy-fork-v0", "--run-dir", run, *flags, *given_as)
        assert code == 0, complaint
        resolved = morl.load(run).settings
        assert (resolved.evaluation_episodes, resolved.agent.batch_size) == (1, 6)  # flags, wherever --config stands
        assert (resolved.num_envs, resolved.evaluation_divisions) == (4, 3)  # --config
        assert (resolved.total_steps, resolved.agent.critics, resolved.log_every) == (60, 2, 30)  # tuned
        assert resolved.agent.learning_rate == 1e-4
        assert resolved.agent.hidden_sizes == (8, 9)
        assert resolved.agent.tau == Config().tau  # default


def test_arguments_win_over_the_tuned_file(tuned: Path, tmp_path: Path) -> None:
    run = morl.train("pd-morl", "toy-fork-v0", run_dir=tmp_path / "run", config={"batch_size": 7}, log_every=15, seed=5)
    resolved = run.settings
    assert (resolved.agent.batch_size, resolved.log_every, resolved.seed) == (7, 15, 5)
    assert (resolved.total_steps, resolved.num_envs, resolved.agent.critics) == (60, 3, 2)
    other = resolve(find_agent("pd-morl"), "pd-morl", "toy-walk-v0", {})
    assert other.agent.critics == Config().critics


def test_another_preset_leaves_out_what_was_tuned_for_one(tuned: Path) -> None:
    tuned.write_text('total_steps = 60\n[agent]\npreset = "improved"\nactor_angle = 2.0\ndiscount = 0.9\n')
    agent = find_agent("pd-morl", problem("mo-mountaincarcontinuous-v0").action_space)
    for chosen, angle, discount in (
        ({}, 2.0, 0.9),
        ({"preset": "improved"}, 2.0, 0.9),
        ({"preset": "paper"}, 10.0, None),
    ):
        resolved = resolve(agent, "pd-morl", "toy-fork-v0", {"agent": chosen})
        assert (resolved.total_steps, resolved.agent.actor_angle, resolved.agent.discount) == (60, angle, discount)


def test_a_runs_own_config_reproduces_it(tmp_path: Path, morl_cli: Any) -> None:
    toys.train(
        tmp_path / "one", "toy-walk-v0", 150, seed=77, reference_point=(-5.0, -1e-05), env_options={"drift": -0.2}
    )
    file = tmp_path / "one" / "config.toml"
    args = ("--config", file, "--run-dir", tmp_path / "two")
    code, _, complaint = morl_cli("train", "pd-morl", "toy-walk-v0", *args)
    assert code == 0, complaint
    assert (tmp_path / "two" / "config.toml").read_text() == file.read_text()
    assert toys.front(tmp_path / "one") == toys.front(tmp_path / "two")
    states = [toys.states(tmp_path / name, "agent") for name in ("one", "two")]
    assert toys.difference(*states) == ""
    code, _, complaint = morl_cli(
        "train", "pd-morl", "toy-walk-v0", "--config", file, "--run-dir", tmp_path / "three", "--seed", 78
    )
    assert code == 0, complaint
    assert toys.front(tmp_path / "three")["seed"] == 78
    assert toys.front(tmp_path / "three")["points"] != toys.front(tmp_path / "one")["points"]


def test_the_tuned_files_that_come_with_morl_are_settings() -> None:
    files = tuned_files()
    assert files
    for file in files:
        agent = file.parent.name.replace("_", "-")
        assert agent in AGENTS, file
        table = tomllib.loads(file.read_text())
        try:
            action_space = problem(file.stem, **table.get("env_options", {})).action_space
        except ValueError:  # the packages of some environments are extras
            action_space = None
        config_class = find_agent(agent, action_space).config_class
        resolved = resolve_sources(config_class, agent, "no-such-environment", [table]).settings
        assert layers.tuned_file(agent, file.stem) == file
        # It says only what differs from the defaults, and for how long it was measured.
        defaults = Settings(agent=config_class())
        for part, owner, default in (
            (table, resolved, defaults),
            (table.get("agent", {}), resolved.agent, defaults.agent),
        ):
            for key in part.keys() - {"agent", "env_options", "total_steps", "preset"}:
                assert getattr(owner, key) != getattr(default, key), f"{file}: {key} is the default"


# --- There and back ---------------------------------------------------------------------------------------------------

NUMBERS = st.floats(-1e300, 1e300, allow_nan=False)
OPTIONS = (
    st.integers(-(2**40), 2**40) | NUMBERS | st.booleans() | st.sampled_from(["map-a", "C:\\x", 'quo"te', "ünï", "a b"])
)


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**62),
    reference=st.none() | st.tuples(NUMBERS, NUMBERS),
    discount=st.none() | st.floats(0, 1),
    options=st.dictionaries(st.sampled_from(["depth", "map_name", "x"]), OPTIONS, max_size=2),
    widths=st.lists(st.integers(1, 999), max_size=3).map(tuple),
    rate=st.floats(1e-300, 1e10),
    one_hot=st.booleans(),
)
def test_settings_survive_their_file(
    seed: int, reference: Any, discount: Any, options: Any, widths: Any, rate: float, one_hot: bool,
) -> None:  # fmt: skip
    made = Settings(
        agent=Config(hidden_sizes=widths, learning_rate=rate, one_hot=one_hot),
        seed=seed,
        reference_point=reference,
        discount=discount,
        env_options=options,
    )
    table = tomllib.loads(to_toml(made, "pd-morl", 'odd"name\\'))
    assert (table["agent_name"], table["env"]) == ("pd-morl", 'odd"name\\')
    read = resolve_config(Config, "pd-morl", table).settings
    assert read == replace(made, device="cpu")
    assert {key: type(value) for key, value in read.env_options.items()} == {
        key: type(value) for key, value in made.env_options.items()
    }


def test_arguments_are_spelled_as_flags() -> None:
    table = {"total_steps": 3, "agent": {"one_hot": False, "hidden_sizes": [4, 5], "target_action": "-x"}}
    assert list(arguments(table)) == [
        *("--total-steps", "3", "--agent.no-one-hot", "--agent.hidden-sizes", "4", "5", "--agent.target-action=-x"),
    ]


def test_arrays_are_lists_and_numpy_numbers_numbers() -> None:
    table = {"reference_point": np.array([-1.0, 2.5]), "seed": np.int64(3), "env_options": {"x": np.float64(0.5)}}
    read = resolve_sources(Config, "pd-morl", "no-such-environment", [table]).settings
    assert (read.reference_point, read.seed, read.env_options) == ((-1.0, 2.5), 3, {"x": 0.5})


@pytest.mark.parametrize("value", [None, np.array([1.0, 2.0]), [1], {"a": 1}])
def test_options_that_a_file_cannot_hold_are_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="env_options has drift"):
        toys.train(tmp_path / "run", "toy-walk-v0", 50, env_options={"drift": value})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("total_steps", 0),
        ("num_envs", -1),
        ("evaluate_every", 0),
        ("log_every", 0),
        ("evaluation_episodes", 0),
        ("checkpoint_minutes", float("nan")),
        ("evaluation_divisions", 0),
        ("time_limit_minutes", -1.0),
        ("seed", -1),
        ("discount", -0.1),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        Settings(agent=Config(), **{name: value})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"total_steps": "many"}, "total_steps is 'many', but must be an integer"),
        ({"total_steps": -10}, "total_steps is -10, but must be greater than 0"),
        ({"agent": {"learning_rate": "x"}}, "learning_rate is 'x', but must be a number"),
    ],
)
def test_a_wrong_value_is_one_plain_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        resolve(find_agent("pd-morl"), "pd-morl", "minecart-v0", given)


# --- Schedules --------------------------------------------------------------------------------------------------------

SCHEDULED = [
    ("pd-morl", "resource-gathering-v0", "exploration_steps", 20_000),
    ("pd-morl", "mo-hopper-2obj-v5", "random_exploration_steps", 8_000),
    ("morl-d", "resource-gathering-v0", "exchange_every", 20_000),
    ("morl-d", "resource-gathering-v0", "exploration_steps", 20_000),
]


def settings_of(agent_name: str, env: str, **overrides: Any) -> Any:
    task = find_task(agent_name, env, {})
    return task.experiment(resolve_sources(task.agent_class.config_class, agent_name, env, [overrides])).settings


@pytest.mark.parametrize(("steps", "fitted"), [(40_000, 20_000), (150_000, 64_000), (6_000_000, 2_000_000)])
def test_a_schedule_that_nobody_chose_grows_with_the_run(steps: int, fitted: int) -> None:
    """A fixed number of steps would be nearly all of a short run, or next to nothing of a long one."""
    assert settings_of("c-morl", "resource-gathering-v0", total_steps=steps).agent.initial_steps == fitted


def test_a_run_that_its_schedule_takes_whole_says_so(caplog: pytest.LogCaptureFixture) -> None:
    fitted = settings_of("c-morl", "resource-gathering-v0", total_steps=4_000).agent.initial_steps
    assert fitted >= 4_000
    assert f"initial_steps is {fitted}, but the run ends after 4000 steps" in caplog.text


@pytest.mark.parametrize(("agent", "env", "name", "steps"), SCHEDULED)
def test_schedules_fit_into_the_run_unless_the_user_chooses_otherwise(
    agent: str, env: str, name: str, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    long = getattr(settings_of(agent, env, total_steps=100_000_000).agent, name)
    assert not [record for record in caplog.records if name in record.getMessage()]
    fitted = getattr(settings_of(agent, env, total_steps=steps).agent, name)
    assert fitted < long
    assert fitted <= steps // 2 + 1
    assert f"{name} is {fitted} instead of {long}, for a run of {steps} steps" in caplog.text
    chosen = settings_of(agent, env, total_steps=steps, agent={name: long + 1}).agent
    assert getattr(chosen, name) == long + 1
    task = find_task(agent, env, {})
    sources = [{"total_steps": steps}, [f"--agent.{name.replace('_', '-')}", str(long + 1)]]
    by_flag = task.experiment(resolve_sources(task.agent_class.config_class, agent, env, sources)).settings
    assert getattr(by_flag.agent, name) == long + 1


@pytest.mark.parametrize("solver", ["sac", "td3", "ppo", "dqn", "discrete-sac", "eupg", "sb3:PPO"])
def test_schedules_that_a_solver_does_not_read_stay_as_they_are(solver: str) -> None:
    env = "mo-hopper-2obj-v5" if solver in ("sac", "td3") else "resource-gathering-v0"
    extra = {"criterion": "esr", "augmented_state": True} if solver == "eupg" else {}
    settings = settings_of("morl-d", env, total_steps=1_000, agent={"solver": solver, **extra})
    fills_rollouts = solver in ("ppo", "eupg")  # one of 16 environments has to be full between two exchanges
    assert settings.agent.exchange_every == (16 * 128 if fills_rollouts else 100)
    reads_replay = solver in ("sac", "td3", "dqn", "discrete-sac")
    assert (settings.agent.learning_starts < 1_000) == reads_replay
    MORLD(problem(env), settings.agent, 0, 6, torch.device("cpu"))  # nothing is refused


def test_a_schedule_that_the_user_chooses_too_long_is_said(caplog: pytest.LogCaptureFixture) -> None:
    settings_of("pd-morl", "resource-gathering-v0", total_steps=100_000, agent={"exploration_steps": 750_000})
    assert "exploration_steps is 750000, but the run ends after 100000 steps" in caplog.text


def test_a_resumed_run_keeps_its_schedules(tmp_path: Path) -> None:
    config = {name: value for name, value in toys.TINY.items() if name != "exploration_steps"}
    run = morl.train(
        "pd-morl", "toy-walk-v0", total_steps=100, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE
    )
    assert run.settings.agent.exploration_steps == 50
    assert morl.resume(tmp_path / "run", 200).settings.agent.exploration_steps == 50


def test_tuned_schedules_stay_in_a_run_of_the_length_that_they_are_tuned_for(caplog: pytest.LogCaptureFixture) -> None:
    tuned = tomllib.loads((resources.files("morl.configs") / "pd_morl" / "deep-sea-treasure-v0.toml").read_text())
    steps = tuned["agent"]["exploration_steps"]
    assert steps > tuned["total_steps"] // 2
    assert settings_of("pd-morl", "deep-sea-treasure-v0").agent.exploration_steps == steps
    assert not caplog.records
    short = settings_of("pd-morl", "deep-sea-treasure-v0", total_steps=10_000)
    assert short.agent.exploration_steps == 5_000
