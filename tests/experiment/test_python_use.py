"""Use from Python: progress where someone watches, the caller's language, whole numbers, reprs, utilities by name."""

import io
import shutil
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich
import toys
from rich.console import Console

import morl
from morl.experiment import progress
from morl.experiment.messages import command_line_style, respelled, spoken
from morl.experiment.parsing import whole_number
from morl.experiment.settings import Settings, SettingsArguments
from morl.utilities import UTILITIES, find_utility, tchebycheff

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> morl.Run:
    return toys.train(tmp_path_factory.mktemp("python") / "run", "toy-fork-v0", 200)


# --- Progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("asked", [None, False, True])
def test_progress_is_shown_where_someone_watches(
    asked: bool | None, watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("morl.experiment.loop.is_watched", lambda: watched)
    expected = watched if asked is None else asked
    for action in (
        lambda: toys.train(tmp_path / "run", "toy-fork-v0", 50, progress=asked),
        lambda: morl.resume(tmp_path / "run", 100, progress=asked),
    ):
        action()
        assert bool(capsys.readouterr().err) == expected


def test_a_terminal_and_a_notebook_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert not progress.is_watched()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert progress.is_watched()
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr(Console, "is_jupyter", True, raising=False)
    monkeypatch.setattr(progress, "Console", lambda: type("Notebook", (), {"is_jupyter": True})())
    assert progress.is_watched()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_bar_fits_its_terminal(width: int, run: morl.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with progress.ProgressBar(1_000_000, 0, visible=True) as bar:
        bar.update(123_456, "training")
        bar.show_front(250_000, run.front)
    last = stream.getvalue().split("training")[-1]
    assert "hypervolume" in last
    assert "\N{HORIZONTAL ELLIPSIS}" not in last  # nothing is cut
    assert ("expected utility" in last) == (width >= 100)
    assert ("250000/1000000" in last) == (width >= 100)
    assert " 25%" in last or width >= 100


# --- The caller's language --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"config": {"learning_rat": 0.1}}, ['config={"learning_rat": ...}', 'config={"learning_rate": ...}']),
        ({"totl_steps": 9}, ["totl_steps=", "total_steps="]),
        ({"learning_rate": 0.1}, ["learning_rate=", 'config={"learning_rate": ...}']),
        ({"config": {"batch_size": 2.5}}, ["batch_size is ", "2.5", "integer"]),
        ({"config": {"learning_rate": "fast"}}, ["learning_rate is ", "fast", "number"]),
        ({"device": "tpu"}, ["device is 'tpu', but must be one of auto, cpu, cuda"]),
        ({"evaluation_divisions": 2.5}, ["evaluation_divisions is ", "2.5", "an integer or None"]),
    ],
)
def test_python_is_answered_in_python(arguments: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError) as raised:
        toys.train(tmp_path / "run", **arguments)
    for word in words:
        assert word in str(raised.value)
    assert "--" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists(run: morl.Run, morl_cli: Any) -> None:
    with pytest.raises(FileExistsError) as raised:
        toys.train(run.directory, "toy-fork-v0")
    assert "overwrite=True" in str(raised.value)
    assert "morl.resume(" in str(raised.value)
    assert "--" not in str(raised.value)
    code, _, complaint = morl_cli("train", "pd-morl", "toy-fork-v0", "--run-dir", run.directory)
    assert code == 2
    assert "--overwrite" in complaint
    assert "`morl resume " in complaint
    assert "overwrite=True" not in complaint


def test_a_damaged_config_is_answered_in_its_own_spelling(tmp_path: Path) -> None:
    made = toys.train(tmp_path / "run", "toy-fork-v0", 50)
    file = made.directory / "config.toml"
    file.write_text(file.read_text().replace("learning_rate =", "learning_rat ="))
    with pytest.raises(ValueError, match=r"config.toml: .*agent\.learning_rat") as raised:
        _ = morl.load(made.directory).settings
    assert "--" not in str(raised.value)


def test_spelling() -> None:
    sentence = "there is no option --agent.learning-rat; the nearest are --agent.learning-rate, --agent.no-one-hot"
    assert respelled(sentence, "flags") == sentence
    assert respelled(sentence, "file") == (
        "there is no setting agent.learning_rat; the nearest are agent.learning_rate, agent.one_hot"
    )
    assert respelled("a--b and --seed", "python") == "a--b and seed="
    assert spoken("--trust", "trust=True") == "trust=True"
    with command_line_style():
        assert spoken("--trust", "trust=True") == "--trust"
    assert spoken("--trust", "trust=True") == "trust=True"


# --- Whole numbers ----------------------------------------------------------------------------------------------------


def test_floats_that_are_whole_numbers_count_as_such(tmp_path: Path, morl_cli: Any) -> None:
    config = {"batch_size": 8.0, "hidden_sizes": (16.0,), "buffer_size": np.float64(100)}
    made = toys.train(tmp_path / "python", "toy-fork-v0", 5e1, num_envs=5.0, evaluation_divisions=4.0, config=config)
    assert made.settings.total_steps == 50
    assert isinstance(made.settings.total_steps, int)
    assert made.settings.agent.batch_size == 8
    assert made.settings.agent.hidden_sizes == (16,)
    file = tmp_path / "file.toml"
    file.write_text("total_steps = 5e1\nnum_envs = 5.0\n[agent]\nmembers = 2.0\n")
    flags = ["--run-dir", tmp_path / "flags", "--config", file, "--log-every", "1e3", "--evaluation-episodes", "1.0"]
    code, _, complaint = morl_cli("train", "toys:Coins", "toy-fork-v0", *flags)
    assert code == 0, complaint
    table = tomllib.loads((tmp_path / "flags" / "config.toml").read_text())
    assert (table["total_steps"], table["num_envs"], table["log_every"]) == (50, 5, 1000)
    assert isinstance(table["total_steps"], int)
    made = morl.resume(made.directory, 1e2)
    assert made.settings.total_steps == 100
    assert made.evaluate(episodes=2.0).lengths.shape[0] == len(made.front.points)


@pytest.mark.parametrize("value", [2.5, float("nan"), float("inf"), 0, -1e3])
def test_floats_that_are_none(value: float, run: morl.Run) -> None:
    with pytest.raises(ValueError, match="total_steps"):
        morl.resume(run.directory, value)
    with pytest.raises(ValueError, match="episodes"):
        run.evaluate(episodes=value)


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("-3", -3), ("1e4", 10_000), ("2.0", 2), ("1_000", 1000)])
def test_texts_of_whole_numbers(text: str, value: int) -> None:
    assert whole_number(text) == value


@pytest.mark.parametrize("text", ["", "1.5", "1e400", "nan", "many", "1e-3"])
def test_texts_that_spell_none(text: str) -> None:
    with pytest.raises(ValueError):
        whole_number(text)


# --- What notebooks and terminals show --------------------------------------------------------------------------------


def test_reprs_are_short(run: morl.Run) -> None:
    policy = run.policy([0.5, 0.5])
    for one in (run, run.front, policy):
        assert len(repr(one)) < 200
        assert "\n" not in repr(one)
        assert "array" not in repr(one)
    count = len(run.front.points)
    assert repr(run.front).startswith(f"Front({count} points of (left, right), hypervolume ")
    assert "pd-morl on toy-fork-v0, seed 0" in repr(run)
    assert "(0.5, 0.5) of (left, right)" in repr(policy)


def test_rich_and_html(run: morl.Run) -> None:
    for one, word in ((run, "toy-fork-v0"), (run.front, "known optimum"), (run.policy([0.5, 0.5]), "action-values")):
        stream = io.StringIO()
        rich.print(one, file=stream)
        assert word in stream.getvalue()
        page = one._repr_html_()
        assert page.count("<table>") == page.count("</table>") > 0
        assert word in page


def test_names_of_others_are_escaped(tmp_path: Path) -> None:
    made = toys.train(tmp_path / "run", "toy-fork-v0", 50)
    evil = "<b onclick='x'>[red]x[/red]\\u001b[31m"
    file = made.directory / "front.json"
    file.write_text(file.read_text().replace('"left"', f'"{evil}"'))
    loaded = morl.load(made.directory)
    for one in (loaded, loaded.front):
        assert "<b " not in one._repr_html_()
        assert "&lt;b " in one._repr_html_()
        assert "\x1b" not in repr(one) + one._repr_html_()
        stream = io.StringIO()
        rich.print(one, file=stream)
        assert "\x1b" not in stream.getvalue()


# --- Utilities by name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UTILITIES)
@pytest.mark.parametrize("preference", [[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])
def test_a_utility_by_its_name(name: str, preference: list[float], run: morl.Run) -> None:
    points = run.front.points
    best = int(np.argmax(find_utility(name)(points, np.array(preference), points.max(axis=0))))
    assert run.best_row(preference, name) == best
    assert run.policy(preference, utility=name).policy_id == run.front.policy_ids[best]
    np.testing.assert_allclose(
        run.evaluate(preference, 1, utility=name).discounted, run.evaluate(episodes=1, row=best).discounted
    )


def test_functions_are_utilities_too(run: morl.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toys, "worst_first", tchebycheff, raising=False)
    ideal = run.front.points.max(axis=0)
    by_function = run.best_row([0.5, 0.5], lambda points, weights: tchebycheff(points, weights, ideal))
    assert by_function == run.best_row([0.5, 0.5], "tchebycheff")
    assert run.best_row([0.5, 0.5], "toys:worst_first") == run.best_row([0.5, 0.5], "tchebycheff")


def test_an_unknown_utility_lists_all(run: morl.Run, morl_cli: Any, tmp_path: Path) -> None:
    policy_file = tmp_path / "policy.pt"
    run.policy([1.0, 0.0]).save(policy_file)
    complaints = [morl_cli("evaluate", run.directory, "--preference", 1, 1, "--utility", "tchebichef")[2]]
    for ask in (
        lambda: run.policy([1.0, 0.0], utility="tchebichef"),
        lambda: run.evaluate([1.0, 0.0], utility="tchebichef"),
        lambda: morl.load_policy(policy_file, utility="tchebichef"),
        lambda: morl.train("morl-d", "toy-fork-v0", run_dir=tmp_path / "run", config={"utility": "tchebichef"}),
        lambda: find_utility("tchebichef"),
    ):
        with pytest.raises(ValueError) as raised:
            ask()
        complaints.append(str(raised.value))
    for complaint in complaints:
        assert "tchebichef" in complaint
        assert all(name in complaint for name in UTILITIES)


# --- Types ------------------------------------------------------------------------------------------------------------


def test_keyword_arguments_of_train_are_the_fields_of_the_settings() -> None:
    names = {one.name for one in fields(Settings)} - {"agent", "total_steps", "seed", "device"}
    assert set(SettingsArguments.__annotations__) == names


def test_an_old_run_object_of_a_folder_that_has_changed_says_so(tmp_path: Path) -> None:
    old = toys.train(tmp_path / "run", "toy-walk-v0", 100)
    toys.train(tmp_path / "run", "toy-fork-v0", 100, overwrite=True)
    for use in (lambda: old.policy(row=0), lambda: old.evaluate(episodes=1), lambda: old.evaluate(row=0, episodes=1)):
        with pytest.raises(
            ValueError, match=r"run has another front than when it was read, .* morl.load\('.*'\) reads"
        ):
            use()
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(ValueError, match=r"policy file .* is missing or damaged: there is no such file"):
        old.policy(row=0)


def test_an_evaluation_opens_no_windows(run: morl.Run) -> None:
    with pytest.raises(ValueError, match="render_mode is 'human', but every one of many environments would open"):
        morl.evaluate(run.policy(row=0), "deep-sea-treasure-v0", render_mode="human")
