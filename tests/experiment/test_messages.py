"""Every failure that a user can cause is one line and exit code 2; text of others is only text."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium import spaces

import morl
from morl.board.text import printable
from morl.experiment import files
from morl.experiment.messages import sentence_of
from morl.experiment.settings import Settings
from morl.learning.optimizers import Adam

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (np._core._exceptions._ArrayMemoryError((10**9, 10**9), np.dtype(np.float64)), "Unable to allocate"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "num_envs"),
        (OverflowError("int too large to convert to float"), "larger than any machine"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), "/runs/x"),
        (gymnasium.error.ResetNeeded("reset first"), "ResetNeeded: reset first"),
        (RuntimeError("the simulator is gone"), "RuntimeError: the simulator is gone"),
        (ValueError("a\nb\x1b[31m\u2028c"), "a b"),
        (ValueError(), "ValueError"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_a_failure_is_one_line(error: Exception, words: str) -> None:
    sentence = sentence_of(error)
    assert words in sentence
    assert sentence.isprintable()


def fails_with(error: Exception) -> Any:
    def step(*_: Any) -> Any:
        raise error

    return step


@pytest.mark.parametrize("error", [RuntimeError("gone"), MemoryError("all of it"), OverflowError("too large")])
def test_a_failing_environment_is_exit_code_2(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, morl_cli: Any
) -> None:
    monkeypatch.setattr(toys.Walk, "step", fails_with(error))
    code, _, complaint = morl_cli("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "run")
    assert (code, complaint.count("\n")) == (2, 1)
    assert str(error) in complaint
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("MORL_TRACEBACK", "1")
    with pytest.raises(type(error)):
        morl_cli("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "run")


@pytest.mark.parametrize(
    "flags",
    [
        ["--agent.buffer-size", 10**15],
        ["--agent.buffer-size", 10**30],
        ["--num-envs", 10**12],
        ["--evaluation-divisions", 10**12],
        ["--total-steps", "1e400"],
        ["--agent.batch-size", 10**40],
    ],
)
def test_what_no_machine_can_hold_is_refused(flags: list[Any], tmp_path: Path, morl_cli: Any) -> None:
    run = tmp_path / "run"
    code, _, complaint = morl_cli("train", "pd-morl", "toy-walk-v0", "--run-dir", run, "--total-steps", 50, *flags)
    assert (code, complaint.count("\n")) == (2, 1), complaint
    assert not run.exists()


@pytest.mark.parametrize("agent", ["pd-morl", "gmorl"])
def test_a_batch_that_no_replay_holds_is_refused(agent: str, tmp_path: Path, morl_cli: Any) -> None:
    run = tmp_path / "run"
    words = ["train", agent, "toy-walk-v0", "--run-dir", run, "--agent.batch-size", 101, "--agent.buffer-size", 100]
    code, _, complaint = morl_cli(*words)
    assert code == 2
    assert "batch_size is 101, but must be at most buffer_size, 100" in complaint.replace("-", "_")
    assert not run.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path, morl_cli: Any) -> None:
    tmp_path.chmod(0o500)
    code, _, complaint = morl_cli("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "run")
    tmp_path.chmod(0o700)
    assert (code, complaint.count("\n")) == (2, 1)
    assert str(tmp_path / "run") in complaint


@pytest.mark.parametrize("operation", ["write", "append", "sync", "rename", "mkdir"])
def test_a_full_disk_is_one_line_that_names_the_file(
    operation: str, tmp_path: Path, morl_cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    command = ("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "run", "--total-steps", 50)
    for moment in range(0, 40, 3):
        seen: list[Path] = []

        def full(name: str, path: Path, moment: int = moment, seen: list[Path] = seen) -> None:
            if name == operation:
                seen.append(path)
                if len(seen) > moment:
                    raise OSError(errno.ENOSPC, "No space left on device", str(path))

        with files.observe(full):
            code, _, complaint = morl_cli(*command, "--overwrite")
        if len(seen) <= moment:
            assert code == 0
            break
        if {path.parent.name for path in seen[moment:]} == {"tensorboard"} and code == 0:  # a logger may fail alone
            assert (
                "the logger tensorboard failed at step 50 and records nothing more of this run: OSError" in caplog.text
            )
            continue
        lines = [line for line in complaint.splitlines() if not line.startswith("step ")]
        assert (code, len(lines)) == (2, 1)
        assert "No space left on device" in lines[0]
        assert str(tmp_path) in lines[0]


def test_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    program = [sys.executable, "-W", "ignore", "-c", "from morl.experiment.cli import main; main()"]
    args = ["train", "toys:Coins", "toys:toy-walk-v0", "--env-backend", "processes", "--num-envs", "2"]
    args += ["--total-steps", "100000000", "--log-every", "20", "--run-dir", str(tmp_path / "run")]
    process = subprocess.Popen([*program, *args], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def kill_a_worker() -> None:
        log = tmp_path / "run" / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.05)
        os.kill(workers_of(process.pid)[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    complaint = process.communicate(timeout=200)[1]
    killer.join()
    assert process.returncode == 2
    assert "died with exit code -9" in complaint.splitlines()[-1]
    assert "Traceback" not in complaint


def workers_of(pid: int) -> list[int]:
    """Return the processes below a process that have no children of their own."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    below = {pid}
    for _ in range(4):
        below |= {child for child, parent in parents.items() if parent in below}
    return sorted(child for child in below - {pid} if child not in parents.values() and parents[child] != pid)


def test_names_of_others_are_only_text(tmp_path: Path, morl_cli: Any) -> None:
    run = toys.train(tmp_path / "run", "toy-fork-v0", 50).directory
    record = json.loads((run / "front.json").read_text())
    record |= {"objectives": ["[red]left[/red]", "right\x1b[2J"], "agent": "[bold]x", "env": "e\x1b]0;title\x07"}
    record["indicators"] |= {"[/x] \x1b[31m": 1.0}
    (run / "front.json").write_text(json.dumps(record))
    code, shown, complaint = morl_cli("front", run)
    assert code == 0, complaint
    assert "[red]left[/red]" in shown
    assert "\x1b" not in shown
    assert printable("a\x1b[31m\u2028\x07b") == "a\ufffd[31m\ufffd\ufffdb"


def test_the_number_of_environments_is_bounded() -> None:
    with pytest.raises(ValueError, match="num_envs is 2000000, but must be at most 1,048,576"):
        Settings(agent=None, num_envs=2_000_000)
    with pytest.raises(ValueError, match="evaluation_divisions is 5000, but that makes"):
        morl.train("pd-morl", "fruit-tree-v0", evaluation_divisions=5000)


# --- What cannot be learned from --------------------------------------------------------------------------------------


class EmptyAction(toys.Walk):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(0.0, 1.0, (0,), np.float32)


@pytest.mark.parametrize("agent", ["pd-morl", "c-morl", "morl-d"])
def test_an_empty_action_space_is_refused(agent: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"EmptyAction has the action space Box.*must have at least one number"):
        morl.train(agent, EmptyAction, total_steps=100, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Huge(toys.Walk):
    """Pays more than can be added up."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, np.full(2, 1.7e308), terminated, truncated, info


def test_returns_beyond_float64_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"returns of Huge are infinite at step .*: rewards are too large"):
        toys.train(tmp_path / "run", Huge, 100, agent="toys:Coins")


@pytest.mark.parametrize("env", ["toy-walk-v0", "toy-continuous-walk-v0"])
def test_parameters_that_diverge_are_named(env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Adam, gradient: Any, learning_rate: float) -> None:
        self.parameters.data.fill_(float("nan"))

    monkeypatch.setattr(Adam, "step", broken)
    config = (toys.TINY if env == "toy-walk-v0" else toys.TINY_CONTINUOUS) | {}
    if env != "toy-walk-v0":
        config["backend"] = "eager"
    with pytest.raises(ValueError, match="are no longer finite: learning has diverged"):
        morl.train("pd-morl", env, total_steps=200, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)


# --- Where output goes ------------------------------------------------------------------------------------------------

WRITERS: dict[str, tuple[str, ...]] = {
    "--plot .png": ("front", "RUN"),
    "--html .html": ("front", "RUN"),
    "--output .onnx": ("export", "RUN", "--row", "0"),
    "--video .gif": ("watch", "RUN", "--row", "0"),
    "--session .json": ("choose", "RUN"),
}
"""Option and ending of its files -> the command."""


@pytest.mark.parametrize("option", WRITERS)
@pytest.mark.parametrize("place", ["", "nowhere/x", "folder", "pipe", "/proc/x", "run/config.toml/x", "x" * 300])
def test_a_file_that_cannot_be_written_is_named(
    option: str, place: str, fork: Path, tmp_path: Path, morl_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flag, ending = option.split()
    file = f"{place}{ending}" if place else ""
    (tmp_path / f"folder{ending}").mkdir()
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    command, *words = WRITERS[option]
    monkeypatch.setattr("morl.experiment.run.load", unreachable)
    code, shown, complaint = morl_cli(command, *[fork if word == "RUN" else word for word in words], flag, file)
    assert (code, shown, complaint.count("\n")) == (2, "", 1), complaint
    assert f"{flag} is {file!r}, but " in complaint
    assert "Errno" not in complaint
    assert len(list(tmp_path.iterdir())) == 3


def unreachable(*_: Any, **__: Any) -> Any:
    raise AssertionError("work has begun")


@pytest.mark.parametrize("place", ["", "/proc/x", "file/run", "x" * 300, "file", "link", "link/run"])
def test_a_run_folder_that_cannot_be_made_is_named(
    place: str, tmp_path: Path, morl_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")
    monkeypatch.setattr("morl.experiment.training.Session", unreachable)
    code, _, complaint = morl_cli("train", "toys:Coins", "toy-walk-v0", "--run-dir", place)
    assert (code, complaint.count("\n")) == (2, 1), complaint
    assert f"--run-dir is {place!r}, but " in complaint
    with pytest.raises((ValueError, FileExistsError), match=f"run_dir is '{place}', but "):
        morl.train("toys:Coins", "toy-walk-v0", run_dir=place)
    if place == "":
        with pytest.raises(ValueError, match="run_dir is '', but must be a path"):
            morl.train_seeds("toys:Coins", "toy-walk-v0", [0, 1], run_dir=place)
        with pytest.raises(ValueError, match=r"run_dir is .*, but must be a path, without null characters"):
            morl.train("toys:Coins", "toy-walk-v0", run_dir="a\0b")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "link"]


def test_what_resumes_a_run_can_be_pasted(tmp_path: Path, morl_cli: Any) -> None:
    words = ("train", "toys:Coins", "toy-walk-v0", "--run-dir", tmp_path / "a b", "--total-steps", 50)
    assert morl_cli(*words)[0] == 0
    code, _, complaint = morl_cli(*words)
    assert code == 2
    assert f"resume it with `morl resume '{tmp_path}/a b'`" in complaint


# --- Words that the parser refuses ------------------------------------------------------------------------------------

TRAIN = ("train", "pd-morl", "deep-sea-treasure-v0")
MORL_D = ("train", "morl-d", "deep-sea-treasure-v0")
COMPLAINTS: list[tuple[tuple[str, ...], str]] = [
    ((*TRAIN, "--agent.hidden-sizes"), "--agent.hidden-sizes needs a value, one or several"),
    ((*TRAIN, "--agent.hidden_sizes", "--seed", "1"), "--agent.hidden_sizes needs a value, one or several"),
    ((*TRAIN, "--reference-point"), "--reference-point needs a value, one or several"),
    ((*TRAIN, "--log"), "--log needs a value, one or several"),
    (("evaluate", "x", "--preference"), "--preference needs a value, one or several"),
    (("evaluate", "x", "--preference", "a", "b"), "--preference is 'a b', but must be numbers"),
    (("evaluate", "x", "--row", "a"), "--row is 'a', but must be an integer"),
    (("evaluate", "x", "--num-envs", "3"), "--num-envs is an option of morl train, not of morl evaluate"),
    (
        (*TRAIN, "--total-steps", "1e400"),
        "is '1e400', but must be an integer, and numbers this large count",
    ),
    (("resume", "x", "--total-steps", "1e400"), "must be an integer, and numbers this large count as infinite"),
    ((*TRAIN, "--total-steps", "inf"), "--total-steps is 'inf', but must be an integer\n"),
    ((*TRAIN, "--run={run_dir=x}"), "there is no option --run; the nearest are --run-dir\n"),
    ((*TRAIN, "--run.run-dir", "x"), "there is no option --run; the nearest are --run-dir\n"),
    ((*TRAIN, "--agent.one-hot.x", "3"), "there is no option --agent.one-hot.x: --agent.one-hot is one, and no table"),
    ((*TRAIN, "--agent.xyzzy", "3"), "there is no option --agent.xyzzy; morl train -h lists all"),
    ((*TRAIN, "--agent.gaes-lambda", "3"), "there is no option --agent.gaes-lambda; "),
    ((*MORL_D, "--agent.learning-rate", "1"), "own are --agent.actor-learning-rate, --agent.critic-learning-rate"),
    (
        ("resume", "x", "--agent.learning-rate", "1"),
        "a resumed run keeps its settings: morl resume takes",
    ),
    (("resume", "x", "--seed", "1"), "--seed is an option of morl train, but a resumed run keeps its settings"),
    (("resume", "x", "--xyzzy", "1"), "there is no option --xyzzy; morl resume -h lists all"),
    (("resume", ""), "RUN is '', but must be a path"),
    (("front", "", "x"), "RUN is '', 'x', but must be paths"),
    (("list", "deep-sea"), "morl list envs deep-sea lists the environments whose id contains it"),
]


@pytest.mark.parametrize(("words", "sentence"), COMPLAINTS)
def test_wrong_words_are_answered_in_one_sentence(words: tuple[str, ...], sentence: str, morl_cli: Any) -> None:
    code, shown, complaint = morl_cli(*words)
    assert (code, shown, complaint.count("\n")) == (2, "", 1), complaint
    assert sentence in complaint
    assert not any(word in complaint for word in ("Error parsing", "settings.agent", "Unrecognized"))


def test_a_complaint_of_the_agents_settings_shows_nothing_of_the_parser(morl_cli: Any) -> None:
    code, _, complaint = morl_cli(*TRAIN, "--agent.learning-rate", "-1")
    assert (code, complaint) == (2, "morl: learning_rate is -1.0, but must be finite and greater than 0\n")


KINDS: list[tuple[dict[str, Any], str]] = [
    ({"config": {"learning_rate": True}}, "learning_rate is True, but must be a number"),
    ({"config": {"learning_rate": np.True_}}, "learning_rate is True, but must be a number"),
    ({"config": {"learning_rate": [0.1, 0.2]}}, r"learning_rate is \[0.1, 0.2\], but must be a number"),
    ({"config": {"learning_rate": {"a": 1}}}, "learning_rate is {'a': 1}, but must be a number"),
    ({"config": {"hidden_sizes": {}}}, "hidden_sizes is {}, but must be integers"),
    ({"config": {"hidden_sizes": False}}, "hidden_sizes is False, but must be integers"),
    ({"config": {"one_hot": "yes"}}, "one_hot is 'yes', but must be True or False"),
    ({"config": {"backend": True}}, "backend is True, but must be one of auto, eager"),
    ({"num_envs": True}, "num_envs is True, but must be an integer"),
    ({"discount": False}, "discount is False, but must be a number or None"),
    ({"select_by": True}, "select_by is True, but must be a text"),
]


@pytest.mark.parametrize(("arguments", "sentence"), KINDS)
def test_a_value_of_another_kind_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        morl.train("pd-morl", "deep-sea-treasure-v0", **arguments)


def test_a_value_of_another_kind_in_a_file_is_refused(tmp_path: Path, morl_cli: Any) -> None:
    (tmp_path / "c.toml").write_text("[agent]\nlearning_rate = true\n")
    code, _, complaint = morl_cli(*TRAIN, "--config", tmp_path / "c.toml")
    assert (code, complaint) == (2, "morl: learning_rate is True, but must be a number\n")


@pytest.mark.parametrize("value", ["no", 1, 0.0, ()])
def test_a_switch_is_a_bool(value: Any, fork: Path, tmp_path: Path) -> None:
    run = morl.load(fork)
    policy = run.policy(row=0)
    policy.save(tmp_path / "policy.pt")
    observation = policy.data.spec.observation_space.sample()
    calls: dict[str, Any] = {
        "conditioned": lambda: run.policy([1.0, 1.0], conditioned=value),
        "normalized": lambda: run.policy([1.0, 1.0], normalized=value),
        "deterministic": lambda: policy.predict(observation, deterministic=value),
        "distribution": lambda: policy.to_torchscript(tmp_path / "x", distribution=value),
        "fixed_preference": lambda: policy.to_onnx(tmp_path / "x", fixed_preference=value),
        "trust": lambda: morl.load(fork, trust=value),
        "overwrite": lambda: toys.train(fork, "toy-fork-v0", 50, overwrite=value),
        "progress": lambda: toys.train(tmp_path / "run", "toy-fork-v0", 50, progress=value),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"^{name} is .*, but must be True or False"):
            call()
    with pytest.raises(ValueError, match=r"^trust is .*, but must be True or False"):
        morl.load_policy(tmp_path / "policy.pt", trust=value)
    assert policy.predict(observation, deterministic=bool(np.True_))[0] == policy.predict(observation)[0]


def test_training_opens_no_windows(morl_cli: Any) -> None:
    code, _, complaint = morl_cli("train", "pd-morl", "toy-fork-v0", "--env-options", "render_mode", "human")
    assert (code, complaint.count("\n")) == (2, 1)
    assert "render_mode is 'human', but every one of many environments would open a window" in complaint
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        morl.train("pd-morl", "toy-fork-v0", env_options={"render_mode": "human"})
