"""study.toml: the runs that it asks for, with the settings that `morl train` would give them, and every wrong entry."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

import morl
from morl.agents import AGENTS
from morl.studies.plan import PlannedRun, Study, read_study
from morl.studies.status import study_status
from morl.studies.values import OWN_SETTINGS, run_settings
from morl.studies.worker import perform

SEA = "deep-sea-treasure-v0"


def plan(table: dict[str, Any], folder: Path) -> Study:
    return read_study({"name": "a", **table}, folder)


def simple(**changes: Any) -> dict[str, Any]:
    return {"total_steps": 300, "seeds": 2, "envs": [SEA], "agents": {"pd-morl": {}}, **changes}


def config(run: PlannedRun) -> dict[str, Any]:
    return tomllib.loads(run.config)


def test_a_grid_with_extra_rows(tmp_path: Path) -> None:
    table = simple(
        envs=[SEA, {"id": "fruit-tree-v0", "options": {"depth": 5}, "total_steps": 400}],
        agents={"pd-morl": {}, "wide": {"agent": "pd-morl", "config": {"hidden_sizes": [32]}, "envs": [SEA]}},
        extra=[{"variant": "wide", "env": {"id": "fruit-tree-v0", "name": "tree"}, "seeds": [7], "total_steps": 500}],
    )
    study = plan(table, tmp_path)
    assert [(run.name, run.total_steps) for run in study.runs] == [
        ("pd-morl/deep-sea-treasure-v0/seed-0", 300),
        ("pd-morl/deep-sea-treasure-v0/seed-1", 300),
        ("pd-morl/fruit-tree-v0-depth-5/seed-0", 400),
        ("pd-morl/fruit-tree-v0-depth-5/seed-1", 400),
        ("wide/deep-sea-treasure-v0/seed-0", 300),
        ("wide/deep-sea-treasure-v0/seed-1", 300),
        ("wide/tree/seed-7", 500),
    ]
    assert all(run.run_dir == tmp_path / "a" / run.name for run in study.runs)
    assert config(study.runs[2])["env_options"] == {"depth": 5}
    assert config(study.runs[6])["agent"]["hidden_sizes"] == [32]
    assert config(study.runs[1])["seed"] == 1
    assert study.runs[0].settings_sha256 == study.runs[1].settings_sha256
    assert len({run.settings_sha256 for run in study.runs}) == 4
    assert not list(tmp_path.iterdir())


def test_later_settings_win(tmp_path: Path) -> None:
    (tmp_path / "best.toml").write_text("num_envs = 3\nlog_every = 70\n[agent]\nlearning_rate = 0.1\nbatch_size = 16\n")
    (tmp_path / "study.toml").write_text(f"""
name = "a"
total_steps = 300
seeds = [4]
envs = [{{ id = "{SEA}", run = {{ num_envs = 5, evaluate_every = 60, log_every = 60 }} }}]
[run]
num_envs = 4
evaluate_every = 50
discount = 0.5
[agents.mine]
agent = "pd-morl"
file = "best.toml"
config = {{ batch_size = 8 }}
run = {{ evaluate_every = 70 }}
""")
    (run,) = read_study(tmp_path / "study.toml", tmp_path).runs
    found = config(run)
    expected = {"num_envs": 5, "evaluate_every": 70, "discount": 0.5, "log_every": 60, "seed": 4, "total_steps": 300}
    assert {name: found[name] for name in expected} == expected
    assert (found["agent"]["batch_size"], found["agent"]["learning_rate"]) == (8, 0.1)
    assert found["agent"]["critics"] == 2  # configs/pd_morl/deep-sea-treasure-v0.toml


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("agent", "env", "given"),
    [
        ("pd-morl", "toys:toy-walk-v0", toys.TINY),
        ("pd-morl", "toys:toy-continuous-walk-v0", toys.TINY_CONTINUOUS | {"backend": "eager"}),
        ("c-morl", "toys:toy-walk-v0", toys.TINY_CMORL | {"preset": "paper", "backend": "eager"}),
        ("morl-d", "toys:toy-walk-v0", toys.TINY_MORLD),
        ("toys:Coins", "toys:toy-walk-v0", {}),
    ],
)
def test_a_planned_run_has_the_settings_of_train(agent: str, env: str, given: Any, tmp_path: Path) -> None:
    schedule = {name: value for name, value in toys.SCHEDULE.items() if name != "device"}
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    table = simple(envs=[env], agents={"x": {"agent": agent, "config": given}}, run=schedule, total_steps=20, seeds=[3])
    (run,) = plan(table, tmp_path).runs
    morl.train(agent, env, total_steps=20, seed=3, config=given, run_dir=tmp_path / "run", progress=False, **schedule)
    assert run.config == (tmp_path / "run" / "config.toml").read_text()


def test_shortened_schedules_are_noted(tmp_path: Path) -> None:
    study = plan(simple(), tmp_path)
    assert "agents.pd-morl on deep-sea-treasure-v0: exploration_steps is 150 instead of 100000" in study.notes[-1]


def test_a_list_of_agents_is_enough(tmp_path: Path) -> None:
    study = plan(simple(agents=["pd-morl", "c-morl"]), tmp_path)
    assert [run.agent_name for run in study.runs] == ["pd-morl", "pd-morl", "c-morl", "c-morl"]


def test_modules_of_the_user_have_folders(tmp_path: Path) -> None:
    study = plan(simple(agents=["toys:Coins"], envs=["toys:toy-walk-v0"], seeds=1), tmp_path)
    assert study.runs[0].run_dir == tmp_path / "a" / "toys.Coins" / "toys.toy-walk-v0" / "seed-0"


# What is changed in `simple` -> words of the sentence
WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "key": ({"seed": 3}, ("the study has no setting seed", "seeds")),
    "name": ({"name": "../x"}, ("name is '../x'", "letters")),
    "no agents": ({"agents": {}}, ("agents is missing",)),
    "the study's own file": (
        {"agents": {"study.json": {"agent": "pd-morl"}}},
        ("agents.study.json has the name of the file beside the variants' folders",),
    ),
    "agents": ({"agents": 3}, ("agents is 3", "give names")),
    "agents' name": ({"agents": "pd-morl"}, ("agents is 'pd-morl'", "give names")),
    "agent twice": ({"agents": ["pd-morl", "c-morl", "pd-morl"]}, ("agents has pd-morl twice",)),
    "env of agent twice": ({"agents": {"pd-morl": {"envs": [SEA, SEA]}}}, (f"agents.pd-morl.envs has {SEA} twice",)),
    "long name": ({"name": 300 * "x"}, ("name is 'xxx", "300 characters", "at most 100")),
    "long name in bytes": (
        {"name": 90 * "\u8a9e"},
        ("90 characters (270 bytes)", "at most 100 characters (200 bytes)"),
    ),
    "long variant": ({"agents": {300 * "x": {"agent": "pd-morl"}}}, ("agents.x", "300 characters", "at most 100")),
    "long env": ({"envs": [{"id": SEA, "name": 101 * "x"}]}, ("name of entry 1 of envs", "101 characters")),
    "many seeds": ({"seeds": 100_000_000}, ("seeds is 100000000", "from 1 to 100000")),
    "zero seeds": ({"seeds": 0}, ("seeds is 0", "from 1 to 100000")),
    "agent": ({"agents": ["pd-mrol"]}, ("agents.pd-mrol on deep-sea", "pd-morl")),
    "agent's key": ({"agents": {"pd-morl": {"preest": "x"}}}, ("agents.pd-morl has no setting preest", "preset")),
    "agent's table": ({"agents": {"pd-morl": 3}}, ("agents.pd-morl is 3", "table")),
    "preset": ({"agents": {"pd-morl": {"preset": "papre"}}}, ("preset is 'papre'",)),
    "config": ({"agents": {"pd-morl": {"config": {"batchsize": 8}}}}, ("agent.batchsize", "agent.batch_size")),
    "config value": ({"agents": {"pd-morl": {"config": {"batch_size": "x"}}}}, ("agent.batch_size is 'x'", "integer")),
    "config range": ({"agents": {"pd-morl": {"config": {"batch_size": -3}}}}, ("batch_size is -3",)),
    "config file": ({"agents": {"pd-morl": {"file": "no.toml"}}}, ("no.toml", "cannot be read")),
    "env of agent": ({"agents": {"pd-morl": {"envs": ["minecart-v0"]}}}, ("agents.pd-morl.envs is 'minecart-v0'",)),
    "env": ({"envs": ["deep-see-treasure-v0"]}, ("deep-see-treasure-v0", "deep-sea-treasure-v0")),
    "env's id": ({"envs": [{"name": "x"}]}, ("entry 1 of envs has the id None",)),
    "env twice": ({"envs": [SEA, SEA]}, (f"envs has {SEA} twice",)),
    "env's name": ({"envs": [{"id": SEA, "name": "a/../b"}]}, ("'a/../b'",)),
    "options": ({"envs": [{"id": SEA, "options": {"depht": 3}}]}, ("depht",)),
    "envs": ({"envs": SEA}, (f"envs is '{SEA}'", "list")),
    "seeds": ({"seeds": [1, 1]}, ("seeds is [1, 1]", "different")),
    "negative seeds": ({"seeds": [-1]}, ("seeds is [-1]",)),
    "no seeds": ({"seeds": None}, ("seeds is None",)),
    "steps": ({"total_steps": 0}, ("total_steps is 0", "at least 1")),
    "half steps": ({"total_steps": 2.5}, ("total_steps is 2.5",)),
    "no steps": ({"total_steps": float("nan")}, ("total_steps is nan",)),
    "cores": ({"cores": 0}, ("cores is 0",)),
    "loggers": ({"loggers": ["tensorbord"]}, ("tensorbord", "tensorboard")),
    "run": ({"run": {"num_env": 3}}, ("run has no setting num_env", "num_envs")),
    "run value": ({"run": {"num_envs": "many"}}, ("num_envs is 'many'", "integer")),
    "seed in run": ({"run": {"seed": 3}}, ("run has seed", "seeds")),
    "time limit": ({"run": {"time_limit_minutes": 3}}, ("time_limit_minutes", "total_steps")),
    "extra": ({"extra": [{"variant": "pd-mrol", "env": SEA}]}, ("variant of row 1 of extra is 'pd-mrol'", "pd-morl")),
    "extra's env": ({"extra": [{"variant": "pd-morl"}]}, ("row 1 of extra has no env",)),
    "extra again": ({"extra": [{"variant": "pd-morl", "env": SEA}]}, ("row 1 of extra", "a second time")),
    "impossible": ({"agents": {"c-morl": {"config": {"memory": "gru", "memory_steps": 0}}}}, ("memory_steps",)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_entry_is_one_sentence_before_anything_begins(kind: str, tmp_path: Path) -> None:
    changes, words = WRONG[kind]
    with pytest.raises(ValueError) as caught:
        plan(simple(**changes), tmp_path)
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert "--" not in sentence  # settings are spelled as in the file
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["name = ", "\xff", None])
def test_a_file_that_cannot_be_read(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    if content is not None:
        file.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"study\.toml.*cannot be read as TOML"):
        read_study(file, tmp_path)


def test_the_file_stands_before_the_sentence_and_names_the_study(tmp_path: Path) -> None:
    file = tmp_path / "good-name.toml"
    file.write_text(f'seeds = 1\ntotal_steps = 10\nenvs = ["{SEA}"]\nagents = ["pd-morl"]\n')
    assert read_study(file, tmp_path).name == "good-name"
    file.write_text("seeds = 1\n")
    with pytest.raises(ValueError, match=r"good-name\.toml: agents is missing"):
        read_study(file, tmp_path)


@given(st.dictionaries(st.sampled_from([*OWN_SETTINGS, "num_envs", "discount", "nonsense"]), st.integers()))
def test_settings_of_a_run_are_taken_or_refused_by_name(table: dict[str, int]) -> None:
    wrong = [name for name in table if name in OWN_SETTINGS or name == "nonsense"]
    if not wrong:
        assert run_settings("run", table) == table
        return
    with pytest.raises(ValueError, match="|".join(wrong)):
        run_settings("run", table)


# --- Runs that exist --------------------------------------------------------------------------------------------------


def write(run: PlannedRun, old: str = "", new: str = "") -> None:
    """Write the config.toml of a run as if it had been trained, with a change."""
    assert old in run.config
    run.run_dir.mkdir(parents=True)
    (run.run_dir / "config.toml").write_text(run.config.replace(old, new, 1))


def test_runs_that_exist_are_reused_where_settings_are_the_same(tmp_path: Path) -> None:
    study = plan(simple(), tmp_path)
    write(study.runs[0])
    write(study.runs[1], "checkpoint_minutes = 5.0", "checkpoint_minutes = 1.0")
    more = plan(simple(seeds=3, agents=["pd-morl", "c-morl"], total_steps=300), tmp_path)
    assert len(more.runs) == 6


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size = 256", "batch_size = 64", "agent.batch_size = 64, and the study asks for 256"),
        ("evaluate_every = 2000", "evaluate_every = 100", "evaluate_every = 100, and the study asks for 2000"),
        ("num_envs = 64\n", "", "does not record num_envs in its config.toml"),
        ("batch_size = 256\n", "", "does not record agent.batch_size in its config.toml"),
        ("total_steps = 300", "total_steps = 9000", "was trained for 9,000 steps, and the study asks for 300"),
        ("deep-sea-treasure-v0", "no_such_module:Thing-v0", "env = 'no_such_module:Thing-v0'"),
    ],
)
def test_a_run_with_other_settings_is_never_mixed_in(old: str, new: str, words: str, tmp_path: Path) -> None:
    run = plan(simple(), tmp_path).runs[1]
    write(run, old, new)
    with pytest.raises(ValueError) as caught:
        plan(simple(), tmp_path)
    assert words in str(caught.value)
    assert str(run.run_dir) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("num_envs =", "nun_envs =", "does not fit this version of morl: there is no setting nun_envs"),
        ("num_envs = 64", "num_envs = 'many'", "does not fit this version of morl"),
        ("seed = 1", "seed = 'one'", "does not fit this version of morl"),
        ("[agent]", "agent = 3\n[agents]", "does not fit this version of morl"),
        ("agent_name = ", "agent_name = 3 # ", "its agent_name is 3"),
        ("agent_name", "agent_nome", "its agent_name is None"),
        ("env = ", "env = [] # ", "its env is []"),
        ("total_steps = 300", "total_steps = '300'", "its total_steps is '300'"),
    ],
)
def test_a_config_with_values_of_wrong_types_fails_its_run_alone(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    run = plan(simple(), tmp_path).runs[1]
    write(run, old, new)
    before = (run.run_dir / "config.toml").read_bytes()
    study = plan(simple(), tmp_path)
    status = study_status(study)
    assert status.counts["failed"] == 1
    (sentence,) = status.failures.values()
    assert words in sentence
    assert sentence.endswith(f"remove the folder {run.run_dir} to train its run again")
    result = perform(study.runs[1].job())
    assert (result.ending, "remove the folder" in result.sentence) == ("failed", True)
    assert (run.run_dir / "config.toml").read_bytes() == before


def test_runs_that_say_nothing_of_a_new_setting_are_named(tmp_path: Path) -> None:
    """Their version had no such setting; that its default is what they did, nobody knows."""
    study = plan(simple(), tmp_path)
    for run in study.runs:
        write(run, "utility_loss = 10.0\n", "")
    found = plan(simple(), tmp_path)
    (note,) = found.warnings
    assert note.startswith("runs that were made before there was a setting agent.utility_loss count as made with")
    assert f"{study.runs[0].name} and 1 more; remove their folders to train them again" in note
    status = study_status(found)
    assert status.notes == found.warnings
    assert status.table().notes[0] == note


def test_a_new_setting_that_is_none_is_noticed_too(tmp_path: Path) -> None:
    """TOML has no None: a comment tells a setting that was None from one that did not exist."""
    study = plan(simple(seeds=3), tmp_path)
    for name in ("discount", "agent.constraint_x"):
        assert (f"# {name}: not set\n" in study.runs[0].config) == (name == "discount")
    write(study.runs[0], "# discount: not set\n", "")
    write(study.runs[1])
    write(study.runs[2])
    without = study.runs[2].run_dir / "config.toml"  # of a version that wrote no such comments
    without.write_text("".join(line for line in without.read_text().splitlines(True) if not line.startswith("#")))
    (note,) = plan(simple(seeds=3), tmp_path).warnings
    assert note.startswith("runs that were made before there was a setting discount count as made with")
    assert f": {study.runs[0].name}; remove their folders" in note


def test_a_setting_that_was_none_is_not_called_unrecorded(tmp_path: Path) -> None:
    write(plan(simple(), tmp_path).runs[0])
    with pytest.raises(ValueError, match=r"was trained with discount = 'none', and the study asks for 0\.5: set"):
        plan(simple(run={"discount": 0.5}), tmp_path)
    (tmp_path / "a" / "pd-morl" / SEA / "seed-0" / "config.toml").unlink()
    (tmp_path / "a" / "pd-morl" / SEA / "seed-0").rmdir()
    write(plan(simple(), tmp_path).runs[0], "# discount: not set\n", "")
    with pytest.raises(ValueError, match=r"does not record discount in its config.toml, so that it counts as trained"):
        plan(simple(run={"discount": 0.5}), tmp_path)


def test_a_longer_study_trains_further_where_nothing_else_changes(tmp_path: Path) -> None:
    table = simple(agents={"pd-morl": {"config": {"exploration_steps": 100, "random_exploration_steps": 10}}})
    write(plan(table, tmp_path).runs[0])
    assert plan(table | {"total_steps": 600}, tmp_path).runs[0].total_steps == 600
    write(plan(simple(name="b"), tmp_path).runs[0])
    with pytest.raises(ValueError, match=r"exploration_steps = 150, and the study asks for 300"):
        plan(simple(name="b", total_steps=600), tmp_path)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(sorted(AGENTS)), st.integers(1, 3), st.lists(st.integers(0, 50), min_size=1, unique=True))
def test_folders_are_unique_and_study_json_names_them(
    tmp_path_factory: pytest.TempPathFactory, agent: str, repeats: int, seeds: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    config = {"parents": "tree"} if agent == "mogfn-pc" else {}  # the sea is no grid of integers
    agents = {f"{agent}-{number}": {"agent": agent, "config": config} for number in range(repeats)}
    study = plan(simple(agents=agents, seeds=seeds), folder)
    entries: Any = study.to_json()["runs"]
    folders = [entry["folder"] for entry in entries]
    assert len(set(folders)) == len(folders) == repeats * len(seeds)
    assert [(folder / "a" / name) for name in folders] == [run.run_dir for run in study.runs]
