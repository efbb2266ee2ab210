"""The command line and its Python twin: what users type, and one clear line for everything that is wrong."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import toys

import morl

pytestmark = pytest.mark.usefixtures("without_figures")

FLAGS: list[str] = []
for _key, _value in toys.SCHEDULE.items():
    FLAGS += [f"--{_key.replace('_', '-')}", str(_value)]
for _key, _value in toys.TINY.items():
    FLAGS += [f"--agent.{_key.replace('_', '-')}", *([str(w) for w in _value] if _key == "hidden_sizes" else [_value])]
FLAGS = [str(flag) for flag in FLAGS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    run = tmp_path_factory.mktemp("cli") / "run"
    toys.train(run, "toy-fork-v0", 100)
    return run


# --- Wrong input ------------------------------------------------------------------------------------------------------

# name -> keyword arguments of morl.train, the same as flags, words that the complaint must have
WRONG: dict[str, tuple[dict[str, Any], list[Any], list[str]]] = {
    "unknown agent": ({"agent": "pd-mrol"}, [], ["pd-mrol", "pd-morl"]),
    "agent without module": ({"agent": "nowhere_at_all:Agent"}, [], ["nowhere_at_all"]),
    "agent without class": ({"agent": "toys:Nobody"}, [], ["toys:Nobody"]),
    "unknown environment": ({"env": "deep-sea-tresure-v0"}, [], ["deep-sea-tresure-v0", "deep-sea-treasure-v0"]),
    "environment without module": ({"env": "nowhere_at_all:Env-v0"}, [], ["nowhere_at_all"]),
    "environment without version": ({"env": "deep-sea-treasure"}, [], ["deep-sea-treasure-v0"]),
    "actions of another kind": ({"env": "toy-pairs-walk-v0"}, [], ["pd-morl", "Discrete", "Box", "MultiDiscrete"]),
    "scalar reward": ({"env": "toy-scalar-walk-v0"}, [], ["toy-scalar-walk-v0", "scalar", "vector"]),
    "someone else's scalar reward": ({"env": "CartPole-v1"}, [], ["CartPole-v1", "scalar"]),
    "NaN at once": ({"env": "toy-broken-walk-v0"}, [], ["toy-broken-walk-v0", "nan", "step 1 "]),
    "NaN later": (
        {"env": "toy-broken-walk-v0", "env_options": {"at": 11}},
        ["--env-options", "at", 11],
        ["toy-broken-walk-v0", "nan", "step ", "environment "],
    ),
    "infinite reward": (
        {"env": "toy-broken-walk-v0", "env_options": {"at": 2, "infinite": True}},
        ["--env-options", "at", 2, "infinite", "True"],
        ["toy-broken-walk-v0", "inf", "step 2 "],
    ),
    "unknown setting": ({"totl_steps": 9}, ["--totl-steps", 9], ["--totl-steps", "--total-steps"]),
    "unknown agent setting": (
        {"config": {"learning_rat": 0.1}},
        ["--agent.learning-rat", 0.1],
        ["learning-rat", "--agent.learning-rate"],
    ),
    "agent setting without agent": ({"learning_rate": 0.1}, ["--learning-rate", 0.1], ["--agent.learning-rate"]),
    "word for a number": (
        {"config": {"learning_rate": "fast"}},
        ["--agent.learning-rate", "fast"],
        ["fast", "must be a number"],
    ),
    "fraction for a count": (
        {"config": {"batch_size": 2.5}},
        ["--agent.batch-size", 2.5],
        ["batch-size", "2.5", "int"],
    ),
    "number for a choice": ({"config": {"target_action": 3}}, ["--agent.target-action", 3], ["paper", "aligned"]),
    "word for a switch": ({"config": {"one_hot": "yes"}}, ["--agent.one-hot", "yes"], ["yes"]),
    "number for a table": (
        {"config": {"hidden_sizes": "wide"}},
        ["--agent.hidden-sizes", "wide"],
        ["wide", "must be integers"],
    ),
    "negative width": ({"config": {"hidden_sizes": (-4,)}}, ["--agent.hidden-sizes", -4], ["hidden_sizes", "-4"]),
    "negative rate": ({"config": {"learning_rate": -0.5}}, ["--agent.learning-rate", -0.5], ["learning_rate", "-0.5"]),
    "no steps": ({"total_steps": 0}, ["--total-steps", 0], ["total_steps is 0", "greater than 0"]),
    "no environments": ({"num_envs": 0}, ["--num-envs", 0], ["num_envs is 0"]),
    "negative seed": ({"seed": -3}, ["--seed", -3], ["seed is -3", ">= 0"]),
    "discount above one": ({"discount": 1.5}, ["--discount", 1.5], ["discount is 1.5", "between 0 and 1"]),
    "discount that is no number": ({"discount": float("nan")}, ["--discount", "nan"], ["discount is nan"]),
    "short reference point": ({"reference_point": (-9.5,)}, ["--reference-point", -9.5], ["-9.5", "2 numbers"]),
    "long reference point": ({"reference_point": (1, 2, 3)}, ["--reference-point", 1, 2, 3], ["3.0", "2 numbers"]),
    "infinite reference point": (
        {"reference_point": (0, float("-inf"))},
        ["--reference-point", 0, "-inf"],
        ["reference_point", "inf", "finite"],
    ),
    "unknown device": ({"device": "tpu"}, ["--device", "tpu"], ["tpu", "cpu", "cuda"]),
    "unknown environment option": (
        {"env_options": {"dirft": 1}},
        ["--env-options", "dirft", 1],
        ["toy-walk-v0", "dirft"],
    ),
}


def spelled_alike(text: str) -> str:
    """Return a text in which a setting is the same, whether it is spelled as a flag or in Python."""
    return text.lower().replace("-", "_")


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_one_sentence_and_no_folder(what: str, tmp_path: Path, morl_cli: Any) -> None:
    keywords, flags, words = WRONG[what]
    with pytest.raises(ValueError) as raised:
        toys.train(tmp_path / "run", **{"env": "toy-walk-v0"} | keywords)
    agent, env = keywords.get("agent", "pd-morl"), keywords.get("env", "toy-walk-v0")
    code, _, complaint = morl_cli("train", agent, env, "--run-dir", tmp_path / "run", *FLAGS, *flags)
    assert code == 2
    complaint = "".join(line for line in complaint.splitlines(keepends=True) if not line.startswith("step "))
    assert complaint.startswith("morl: ")
    for text in (str(raised.value), complaint):
        assert len(text.strip().splitlines()) == 1
        assert "Traceback" not in text
        for word in words:
            assert spelled_alike(word.removeprefix("--agent.").removeprefix("--")) in spelled_alike(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("env", [3, None, ["toy-walk-v0"], lambda: "no environment"])
def test_an_environment_of_the_wrong_type(env: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        toys.train(tmp_path / "run", env)
    assert list(tmp_path.iterdir()) == []


def test_a_callable_with_a_scalar_reward(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ScalarWalk.*scalar"):
        toys.train(tmp_path / "run", toys.ScalarWalk)
    assert list(tmp_path.iterdir()) == []


def test_cuda_where_there_is_none(tmp_path: Path, morl_cli: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r"device is 'cuda'.*'cpu'"):
        toys.train(tmp_path / "run", device="cuda")
    assert list(tmp_path.iterdir()) == []


FILES = {
    "not TOML": "total_steps = ",
    "binary": "\0\1\2",
    "unknown key": "totl_steps = 3",
    "unknown agent key": "[agent]\nlearning_rat = 1.0",
    "wrong type": 'total_steps = "many"',
    "table for a number": "[total_steps]\nvalue = 3",
    "number for a table": "agent = 3",
    "number for options": "env_options = 3",
    "tables in a list": "[[hidden_sizes]]\na = 1",
    "a date": "total_steps = 2020-01-01",
    "wrong value": "[agent]\nbatch_size = 0",
}


@pytest.mark.parametrize("what", FILES)
def test_a_wrong_config_file_is_one_line(what: str, tmp_path: Path, morl_cli: Any) -> None:
    file = tmp_path / "config.toml"
    file.write_text(FILES[what])
    code, _, complaint = morl_cli(
        "train", "pd-morl", "toy-walk-v0", "--run-dir", tmp_path / "run", "--config", file, *FLAGS[:2]
    )
    assert (code, complaint.count("\n")) == (2, 1), complaint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("folder", ["missing.toml", "."])
def test_a_config_file_that_is_none(folder: str, tmp_path: Path, morl_cli: Any) -> None:
    code, _, complaint = morl_cli("train", "pd-morl", "toy-walk-v0", "--config", tmp_path / folder)
    assert (code, complaint.count("\n")) == (2, 1)
    assert str(tmp_path) in complaint


@pytest.mark.parametrize(
    "args",
    [
        ["trainn"],
        ["train", "pd-morl"],
        ["train", "--seed", "3"],
        ["train", "pd-morl", "toy-walk-v0", "stray"],
        ["train", "pd-morl", "toy-walk-v0", "--config"],
        ["resume"],
        ["resume", "nowhere"],
        ["evaluate", "nowhere"],
        ["front"],
        ["front", "nowhere"],
        ["list"],
        ["list", "agnets"],
        ["--nonsense"],
    ],
)
def test_a_wrong_command_is_one_line(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, complaint = morl_cli(*args)
    assert (code, complaint.count("\n")) == (2, 1), complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("preference", "word"),
    [
        ([1.0], "2 weights"),
        ([0.2, 0.3, 0.5], "2 weights"),
        ([0.5, -0.5], ">= 0"),
        ([0.5, float("nan")], "finite"),
        ([float("inf"), 1.0], "finite"),
        ([0.0, 0.0], "not all zero"),
    ],
)
def test_a_wrong_preference(preference: list[float], word: str, trained: Path, morl_cli: Any) -> None:
    run = morl.load(trained)
    for ask in (run.policy, run.evaluate):
        with pytest.raises(ValueError, match="preference") as raised:
            ask(preference)
        assert word in str(raised.value)
        assert str(preference) in str(raised.value)
    code, _, complaint = morl_cli("evaluate", trained, "--preference", *preference)
    assert (code, complaint.count("\n")) == (2, 1)
    assert word in complaint


def test_no_episodes(trained: Path, morl_cli: Any) -> None:
    with pytest.raises(ValueError, match="episodes is 0"):
        morl.load(trained).evaluate(episodes=0)
    assert morl_cli("evaluate", trained, "--episodes", 0)[0] == 2


# --- The run folder that exists ---------------------------------------------------------------------------------------


def test_an_existing_run_is_kept_unless_overwritten(tmp_path: Path, morl_cli: Any) -> None:
    run = tmp_path / "run"
    toys.train(run, "toy-fork-v0", 50)
    (run / "mine.txt").write_text("precious")
    before = (run / "front.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"exists.*overwrite=True"):
        toys.train(run, "toy-fork-v0", 50)
    command = ("train", "pd-morl", "toy-fork-v0", "--run-dir", run, *FLAGS, "--total-steps", 50)
    code, _, complaint = morl_cli(*command)
    assert (code, complaint.count("\n")) == (2, 1)
    assert "resume" in complaint
    assert (run / "front.json").read_bytes() == before
    # Wrong input beside --overwrite does not cost the old run either.
    assert morl_cli(*command, "--overwrite", "--agent.batch-size", 0)[0] == 2
    assert morl_cli(*command, "--overwrite", "--reference-point", 1)[0] == 2
    assert (run / "front.json").read_bytes() == before
    assert morl_cli(*command, "--overwrite")[0] == 0
    assert not (run / "mine.txt").exists()
    assert toys.front(run)["training_steps"] == 50


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_no_run_is_never_removed(overwrite: bool, tmp_path: Path, morl_cli: Any) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError):
        toys.train(folder, "toy-fork-v0", 50, overwrite=overwrite)
    flags = ["--overwrite"] if overwrite else []
    code, _, complaint = morl_cli("train", "pd-morl", "toy-fork-v0", "--run-dir", folder, *FLAGS, *flags)
    assert (code, complaint.count("\n")) == (2, 1)
    assert [file.name for file in folder.iterdir()] == ["letter.txt"]


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError):
            toys.train(tmp_path / "run", "toy-fork-v0", 50, overwrite=overwrite)
    assert (tmp_path / "run").read_text() == "a file"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    toys.train(tmp_path, "toy-fork-v0", 50)
    assert (tmp_path / "front.json").is_file()


# --- What works -------------------------------------------------------------------------------------------------------


def test_train_prints_the_front_and_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown, progress = morl_cli("train", "pd-morl", "toy-fork-v0", *FLAGS, "--total-steps", 200, "--seed", 8)
    assert code == 0
    run = Path("runs/pd-morl/toy-fork-v0/seed-8")
    assert str(run) in shown
    assert f"morl board {run}" in shown
    for word in ("preference", "left", "right", "known optimum", "hypervolume", "expected utility"):
        assert word in shown
    assert "of the 3 points of the true front found" in shown
    assert "steps/s" in progress
    assert "hypervolume" in progress
    code, shown, _ = morl_cli("resume", run, "--total-steps", 250)
    assert code == 0
    assert toys.front(run)["training_steps"] == 250
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["agent_name"], config["env"], config["total_steps"]) == ("pd-morl", "toy-fork-v0", 250)


def test_environment_and_agent_of_the_users_own(tmp_path: Path, morl_cli: Any) -> None:
    args = ["--run-dir", tmp_path / "run", *FLAGS[: 2 * len(toys.SCHEDULE)], "--total-steps", 50]
    code, shown, _ = morl_cli("train", "toys:Coins", "toys:toy-fork-v0", *args, "--agent.members", 2)
    assert code == 0, shown
    assert toys.front(tmp_path / "run")["agent"] == "toys:Coins"
    assert toys.front(tmp_path / "run")["env"] == "toy-fork-v0"
    assert morl_cli("evaluate", tmp_path / "run")[0] == 0
    assert morl_cli("evaluate", tmp_path / "run", "--preference", 1, 0)[0] == 0
    assert morl_cli("resume", tmp_path / "run", "--total-steps", 100)[0] == 0


def test_evaluate(trained: Path, morl_cli: Any) -> None:
    code, shown, _ = morl_cli("evaluate", trained, "--episodes", 3)
    assert code == 0
    assert "in front.json" in shown
    code, shown, _ = morl_cli("evaluate", trained, "--preference", 7, 3, "--seed", 5)
    assert code == 0
    assert len([line for line in shown.splitlines() if "(" in line and line.startswith("│")]) == 1


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_fronts_side_by_side_in_a_picture(
    suffix: str, magic: bytes, trained: Path, tmp_path: Path, morl_cli: Any
) -> None:
    picture = tmp_path / f"fronts.{suffix}"
    code, shown, _ = morl_cli("front", trained, trained, "--plot", picture)
    assert code == 0
    assert shown.count("undiscounted") == 2
    assert picture.read_bytes().startswith(magic)


def test_pictures_that_cannot_be(trained: Path, tmp_path: Path, morl_cli: Any) -> None:
    code, _, complaint = morl_cli("front", trained, "--plot", tmp_path / "front.gif")
    assert (code, complaint.count("\n")) == (2, 1)
    assert ".svg" in complaint
    assert morl_cli("front", trained, "--plot", tmp_path / "nowhere" / "front.png")[0] == 2
    toys.train(tmp_path / "other", "toy-walk-v0", 50)
    code, _, complaint = morl_cli("front", trained, tmp_path / "other", "--plot", tmp_path / "front.png")
    assert (code, complaint.count("\n")) == (2, 1)
    assert "same objectives" in complaint
    assert not (tmp_path / "front.png").exists()


def test_lists(morl_cli: Any) -> None:
    assert "pd-morl" in morl_cli("list", "agents")[1]
    shown = morl_cli("list", "envs")[1]
    for env in ("deep-sea-treasure-v0", "fruit-tree-v0", "minecart-v0", "mo-hopper-v5"):
        assert env in shown
    assert morl_cli("list", "configs")[0] == 0


@pytest.mark.parametrize(
    "args",
    [[], ["train"], ["train", "pd-morl", "toy-walk-v0"], *[[c] for c in ("resume", "evaluate", "front", "list")]],
)
def test_help(args: list[str], morl_cli: Any) -> None:
    code, shown, complaint = morl_cli(*args, "--help")
    assert (code, complaint) == (0, "")
    assert "usage" in shown.lower()
    if "train" in args:
        for option in ("--total-steps", "--run-dir", "--overwrite", "--config"):
            assert option in shown
    if "pd-morl" in args:
        assert "--agent.learning-rate" in shown


def test_version(morl_cli: Any) -> None:
    assert morl_cli("--version")[1].strip() == morl.__version__


@pytest.mark.parametrize("variables", [{"COLUMNS": "30"}, {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}])
def test_one_line_in_any_terminal(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, morl_cli: Any) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, _, complaint = morl_cli("train", "pd-morl", "toy-walk-v0", "--agent.learning-rat", 1)
    assert (code, complaint.count("\n")) == (2, 1)
    assert "\x1b" not in complaint
    assert "--agent.learning-rate" in complaint


def test_modules_in_the_working_directory_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    (tmp_path / "my_module.py").write_text(
        "import morl.envs, toys\n"
        "morl.envs.register('my-walk-v0', toys.Walk, objectives=('place', 'rest'))\n"
        "class MyCoins(toys.Coins): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    flags = ["--total-steps", "50", "--evaluation-episodes", "1"]
    code, _, complaint = morl_cli("train", "my_module:MyCoins", "my_module:my-walk-v0", *flags)
    assert code == 0, complaint
    assert Path("runs/my_module.MyCoins/my-walk-v0/seed-0/front.json").is_file()


def test_nothing_but_the_progress_on_standard_error(tmp_path: Path) -> None:
    """No warning of a library reaches the user."""
    program = [str(Path(sys.executable).with_name("morl")), "train", "pd-morl", "deep-sea-treasure-v0"]
    args = [*program, *FLAGS, "--run-dir", str(tmp_path / "run"), "--total-steps", "200"]
    finished = subprocess.run(args, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0
    assert len(finished.stderr.splitlines()) == 2
    assert all(line.startswith("step") and "hypervolume" in line for line in finished.stderr.splitlines())
