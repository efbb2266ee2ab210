"""Tuning: the file is checked whole, trials are made, pruned, killed and resumed, and the best settings are a file."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import morl
from morl.experiment.toml import toml_value, write_table
from morl.studies.objective import combined, measure
from morl.studies.search_spaces import Choice, Range
from morl.studies.tuning import tune
from morl.studies.tuning_plan import read_tuning

optuna = pytest.importorskip("optuna", reason="optuna is not installed")

from optuna.trial import FrozenTrial, TrialState, create_trial  # noqa: E402

from morl.studies.optuna_study import VIOLATION, open_study, suggest  # noqa: E402
from morl.studies.pruning import MedianOfComplete, Schedule  # noqa: E402
from morl.studies.trials import JOURNAL, Trials  # noqa: E402
from morl.studies.tuned import Tuned  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:pd-morl at step")

AGENT = {
    "hidden_sizes": [32],
    "random_exploration_steps": 200,
    "learning_starts": 100,
    "updates_per_step": 0.25,
    "exploration_steps": 800,
    "learning_rate_half_life": 1e9,
}


def table(**changes: Any) -> dict[str, Any]:
    """Return a tuning whose own settings, a tiny learning rate, find nothing in 1,200 steps."""
    return {
        "name": "sea",
        "envs": ["deep-sea-treasure-v0"],
        "seeds": 1,
        "total_steps": 1_200,
        "agents": {"pd-morl": {"config": {**AGENT, "learning_rate": 1e-6}}},
        "run": {"evaluate_every": 300, "evaluation_divisions": 10, "num_envs": 10},
        "tune": {"trials": 6, "episodes": 1},
        "ranges": {"agent": {"learning_rate": {"low": 1e-6, "high": 1e-1, "log": True}, "batch_size": [32, 64]}},
        **changes,
    }


def shown(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return [(one.number, one.state, one.values, one.params, one.intermediate_values) for one in trials]


def printed_text(what: object) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def journal_of(folder: Path) -> list[FrozenTrial]:
    tuning = read_tuning(table(), folder)
    return open_study(tuning.folder / JOURNAL, "sea", 0, tuning.space, tuning.schedule).get_trials()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuned, list[str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    lines: list[str] = []
    return folder, tune(table(), folder=folder, workers=1, tell=lines.append), lines


def test_tuning_improves_on_the_settings_of_the_file(undisturbed: tuple[Path, Tuned, list[str]]) -> None:
    _, tuned, lines = undisturbed
    assert tuned.first is not None
    assert tuned.first.params == {}
    assert tuned.value > 3 * float(tuned.first.value or 0.0)
    assert tuned.values["agent.learning_rate"] > 1e-4  # type: ignore[operator]
    assert tuned.complete + tuned.pruned == len(lines) == 6
    assert "the settings of the file" in lines[0]


def test_the_best_settings_are_a_file_for_config(undisturbed: tuple[Path, Tuned, list[str]], tmp_path: Path) -> None:
    _, tuned, _ = undisturbed
    text = tuned.file.read_text()
    settings = tomllib.loads(text)
    assert settings["agent"] == {
        **AGENT,
        "learning_rate": tuned.values["agent.learning_rate"],
        "batch_size": settings["agent"]["batch_size"],
    }
    for words in ("tuning sea", f"trial {tuned.best.number}", "seeds 0", f"{tuned.value:.6g}", "morl 0.", "Optuna 5"):  # type: ignore[union-attr]
        assert words in text
    command = [sys.executable, "-m", "morl", "train", "pd-morl", "deep-sea-treasure-v0", "--config", str(tuned.file)]
    command += ["--total-steps", "20", "--evaluate-every", "20", "--run-dir", str(tmp_path / "run"), "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    agent = morl.load(tmp_path / "run").settings.agent
    assert agent.learning_rate == settings["agent"]["learning_rate"]
    assert agent.batch_size == settings["agent"]["batch_size"]


def test_the_comparison_is_a_study_on_fresh_seeds(undisturbed: tuple[Path, Tuned, list[str]], tmp_path: Path) -> None:
    from morl.studies.plan import read_study

    _, tuned, _ = undisturbed
    study = read_study(tuned.comparison, tmp_path)
    assert {run.variant for run in study.runs} == {"defaults", "tuned"}
    assert {run.seed for run in study.runs} == {1, 2, 3, 4, 5}
    best = tomllib.loads(tuned.file.read_text())["agent"]
    for run in study.runs:
        config = tomllib.loads(run.config)["agent"]
        rate = 1e-6 if run.variant == "defaults" else best["learning_rate"]
        assert config["learning_rate"] == rate


def test_finished_trials_stay_and_more_can_be_asked_for(undisturbed: tuple[Path, Tuned, list[str]]) -> None:
    folder, tuned, _ = undisturbed
    before = shown(journal_of(folder))
    lines: list[str] = []
    tune(table(), folder=folder, workers=1, tell=lines.append)
    assert lines == []
    printed = printed_text(tuned)
    assert re.search(r"learning_rate +│ +1e-06 │ ", printed)
    assert re.search(r"batch_size +│ +256 │ ", printed)
    assert "morl study" in printed
    assert shown(journal_of(folder)) == before
    assert not list(folder.glob("**/checkpoints"))
    with pytest.raises(ValueError, match="give the tuning another name"):
        tune(table(seeds=[3]), folder=folder, workers=1, tell=lines.append)


def test_a_killed_tuning_goes_on_as_if_nobody_had_disturbed_it(
    undisturbed: tuple[Path, Tuned, list[str]], tmp_path: Path
) -> None:
    code = (
        "import json, sys; from morl.studies.tuning import tune;"
        "tune(json.loads(sys.argv[1]), folder=sys.argv[2], workers=1, tell=lambda line: print(line, flush=True))"
    )
    often = table(run={**table()["run"], "checkpoint_minutes": 1e-5}, tune={"trials": 3, "episodes": 1})
    command = [sys.executable, "-c", code, json.dumps(often), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # trial 0 has ended
        while not list(tmp_path.glob("sea/trial-1/**/checkpoints/*")):
            time.sleep(0.001)
        process.kill()
    assert [one.state for one in journal_of(tmp_path)] == [TrialState.COMPLETE, TrialState.RUNNING]
    lines: list[str] = []
    tune(often, folder=tmp_path, workers=1, tell=lines.append)
    assert [line.split(":")[0] for line in lines] == ["trial 1", "trial 2"]
    folder, _, _ = undisturbed
    assert shown(journal_of(tmp_path)) == shown(journal_of(folder))[:3]


def test_several_processes_share_a_tuning(tmp_path: Path) -> None:
    lines: list[str] = []
    tuned = tune(table(tune={"trials": 3, "episodes": 1}), folder=tmp_path, workers=2, tell=lines.append)
    assert sorted(line.split(":")[0] for line in lines) == ["trial 0", "trial 1", "trial 2"]
    assert tuned.complete == 3
    with pytest.raises(ValueError, match="workers is 0"):
        tune(table(), folder=tmp_path, workers=0)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_stops_all_processes_saved(tmp_path: Path) -> None:
    often = table(run={**table()["run"], "checkpoint_minutes": 1e-5}, tune={"trials": 5, "episodes": 1})
    config = ", ".join(f"{key} = {toml_value(value)}" for key, value in often["agents"]["pd-morl"]["config"].items())
    plain = {key: often[key] for key in ("name", "envs", "seeds", "total_steps", "run", "tune", "ranges")}
    (tmp_path / "sea.toml").write_text(write_table(plain) + f"[agents.pd-morl]\nconfig = {{ {config} }}\n")
    command = [sys.executable, "-m", "morl", "tune", str(tmp_path / "sea.toml"), "--workers", "2"]
    command += ["--folder", str(tmp_path)]
    # A test suite that runs in the background of a shell ignores SIGINT, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        while not list(tmp_path.glob("sea/trial-*/**/checkpoints/*")):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate()
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in complaints
    states = [one.state for one in journal_of(tmp_path)]
    assert TrialState.RUNNING in states
    assert tune(often, folder=tmp_path, workers=1).complete == 5


def test_a_trial_belongs_to_one_process(tmp_path: Path) -> None:
    tuning = read_tuning(table(), tmp_path)
    first = Trials(tuning, print)
    second = Trials(tuning, print)
    mine = first._claim()
    other = second._claim()
    assert mine is not None
    assert other is not None
    assert [mine.trial.number, other.trial.number] == [0, 1]
    mine.lock.close()  # its process has died
    resumed = second._claim()
    assert resumed is not None
    assert resumed.trial.number == 0
    for claim in (other, resumed):
        claim.lock.close()


def test_the_time_is_over(tmp_path: Path) -> None:
    tuned = tune(table(tune={"trials": 3, "minutes": 1e-9}), folder=tmp_path, workers=1)
    assert tuned.best is None
    assert "no trial is complete" in tuned.sentence
    with pytest.raises(ValueError, match="has no complete trial"):
        _ = tuned.value


def test_half_a_line_of_the_journal_is_cut(tmp_path: Path) -> None:
    tuning = read_tuning(table(), tmp_path)
    Trials(tuning, print)
    file = tuning.folder / JOURNAL
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":4,"worker')
    trials = Trials(tuning, print)
    assert trials.tuned.complete == 0
    assert file.read_bytes().startswith(whole)
    assert b'"worker' + b"{" not in file.read_bytes()
    Trials(tuning, print)


# --- Pruning ----------------------------------------------------------------------------------------------------------


def complete(values: dict[int, float], value: float = 0.0, violation: float | None = None) -> FrozenTrial:
    attributes = {} if violation is None else {f"constraints:{VIOLATION}": violation}
    return create_trial(value=value, intermediate_values=values, system_attrs=attributes)


def test_places_count_through_the_runs_of_a_trial() -> None:
    schedule = Schedule([4, 2])
    assert [schedule.place(0, 1), schedule.place(0, 4), schedule.place(1, 1), schedule.place(1, 9)] == [0, 3, 4, 5]
    reported = {0: 1.0, 1: 2.0, 4: 7.0}
    assert schedule.newest(reported, 3) == [2.0, None]
    assert schedule.newest(reported, 5) == [2.0, 7.0]


@pytest.mark.parametrize(
    ("values", "pruned"),
    [
        ({3: 0.0}, True),  # worse than all
        ({3: 2.5}, False),  # as good as half of them
        ({0: 0.0}, False),  # too early
        ({3: 9.0, 4: 0.0}, False),  # the best in one run and the worst in the other
        ({3: 1.5, 4: 0.0}, True),  # worse than most, and than all
        ({3: 1.5, 4: 1e9}, False),
    ],
)
def test_a_trial_is_pruned_that_is_worse_than_the_median(values: dict[int, float], pruned: bool) -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(1, 5):  # values of the second run lie on another scale
        study.add_trial(complete({0: 0.0, 3: float(number), 5: 1e6 * number, 4: 1e6 * number}))
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=values)
    assert MedianOfComplete([4, 2]).prune(study, trial) is pruned


def test_nothing_is_pruned_before_enough_trials_are_complete() -> None:
    study = optuna.create_study(direction="maximize")
    for _ in range(3):
        study.add_trial(complete({3: 5.0}))
    assert not MedianOfComplete([4]).prune(study, create_trial(state=TrialState.RUNNING, intermediate_values={3: 0.0}))


def test_a_pruned_trial_ends_early(tmp_path: Path) -> None:
    tuning = read_tuning(table(tune={"trials": 5, "episodes": 1}), tmp_path)
    Trials(tuning, print)
    journal = open_study(tuning.folder / JOURNAL, "sea", 0, tuning.space, tuning.schedule)
    for _ in range(4):
        journal.add_trial(complete(dict.fromkeys(range(4), 1000000000.0), value=1.0))
    lines: list[str] = []
    tuned = tune(table(tune={"trials": 5, "episodes": 1}), folder=tmp_path, workers=1, tell=lines.append)
    assert lines[0].startswith("trial 4: pruned")
    assert (tuned.complete, tuned.pruned) == (4, 1)
    evaluations = next(tmp_path.glob("sea/trial-4/**/fronts.jsonl")).read_text().splitlines()
    assert len(evaluations) == 2  # a third of four evaluations are waited for


# --- What is maximized ------------------------------------------------------------------------------------------------


def test_the_objective_is_measured_on_fresh_episodes(undisturbed: tuple[Path, Tuned, list[str]]) -> None:
    from morl.pareto import expected_utility, hypervolume

    folder, _, _ = undisturbed
    run = morl.load(next(folder.glob("sea/trial-0/**/seed-0")))
    known = run.problem.known_front(run.front.discount)  # type: ignore[misc]
    fresh = run.evaluate(episodes=1, seed=0).discounted
    reference = run.front.reference_point
    with pytest.MonkeyPatch.context() as patch:  # the run has been read: its front.json is not read again
        patch.setattr("morl.experiment.front.parse_front", None)
        volume = measure(run, "hypervolume", 1)
    assert volume.value == pytest.approx(hypervolume(fresh, reference) / hypervolume(known, reference))
    assert volume.violation == 0.0
    shares = (fresh - reference) / (known.max(axis=0) - reference)
    utility = measure(run, "expected-utility", 1)
    assert utility.value == pytest.approx(expected_utility(shares, run.experiment.evaluation_preferences))


def test_bounded_objectives_do_not_count_but_breaking_bounds_does(tmp_path: Path) -> None:
    run = morl.train(
        "c-morl",
        "deep-sea-treasure-v0",
        total_steps=500,
        run_dir=tmp_path / "run",
        config={
            "constraints": {"treasure": ">= 1000"},
            "initial_steps": 300,
            "samples_per_update": 32,
            "minibatches": 2,
        },
        num_envs=6,
        evaluate_every=500,
        loggers=[],
        progress=False,
    )
    found = measure(run, "hypervolume", 1)
    assert found.violation == pytest.approx(run.front.violations.min())
    assert 0.8 < found.violation < 1.0  # of the bound: treasures are at most 124
    kept = run.front.violations == run.front.violations.min()
    times = run.evaluate(episodes=1, seed=run.seed or 0).discounted[kept][:, 1]
    assert found.value == pytest.approx(max(times.max() - run.front.reference_point[1], 0.0))


def test_trials_that_break_constraints_are_worse(tmp_path: Path) -> None:
    tuning = read_tuning(table(), tmp_path)
    study = optuna.create_study(direction="maximize")
    for value, violation in ((1.0, 0.0), (9.0, 0.5), (8.0, 0.1), (2.0, 0.0)):
        study.add_trial(complete({}, value, violation))
    best = Tuned.of(tuning, study).best
    assert best is not None
    assert best.value == 2.0
    broken = optuna.create_study(direction="maximize")
    for value, violation in ((9.0, 0.5), (8.0, 0.1)):
        broken.add_trial(complete({}, value, violation))
    assert "breaking a bound by 10.00% of its size" in Tuned.of(tuning, broken).sentence


def test_units_of_environments_do_not_rank_trials() -> None:
    assert combined([("a", 2.0), ("a", 4.0)]) == 3.0
    assert combined([("a", -2.0)]) == -2.0
    assert combined([("a", 2.0), ("b", 8.0)]) == pytest.approx(4.0)
    assert combined([("a", 2.0), ("b", -8.0)]) == 0.0
    first = combined([("a", 2.0), ("b", 8.0)]) / combined([("a", 3.0), ("b", 5.0)])
    assert combined([("a", 2000.0), ("b", 8.0)]) / combined([("a", 3000.0), ("b", 5.0)]) == pytest.approx(first)


# --- The file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"ranges": {"agent": {"learning_rat": [1, 2]}}},
            "learning_rat, which cannot be tuned for pd-morl.*learning_rate",
        ),
        ({"ranges": {"evaluate_every": [1, 2]}}, "cannot be tuned"),
        ({"ranges": {"agent": {"batch_size": [0, 32]}}}, "batch_size = 0, with which a trial fails: .*greater than 0"),
        ({"ranges": {"agent": {"batch_size": [1.5, 32]}}}, "batch_size = 1.5, with which a trial fails"),
        ({"ranges": {"num_envs": {"low": 0, "high": 3}}}, "num_envs = 0, with which a trial fails"),
        ({"ranges": {}}, "nothing to search"),
        ({"ranges": []}, "must be a table"),
        ({"agents": ["pd-morl", "c-morl"]}, "exactly one"),
        ({"agents": ["pd-mrl"]}, "did you mean pd-morl"),
        ({"tune": {"trial": 3}}, "table tune: there is no setting trial"),
        ({"tune": {"trials": 0}}, "trials is 0"),
        ({"tune": {"minutes": -1}}, "minutes is -1"),
        ({"tune": {"objective": "volume"}}, "must be one of hypervolume"),
        (
            {"tune": {"space": "default"}, "envs": ["fruit-tree-v0", "lab/dam-v0"], "agents": ["pd-morl"], "run": {}},
            "several kinds",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        tune(table(**changes), folder=tmp_path, workers=1)
    assert not list(tmp_path.iterdir())


def test_an_environment_without_a_reference_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no reference point"):
        read_tuning(table(envs=["toys:toy-walk-v0"]), tmp_path)
    run = {**table()["run"], "reference_point": [-100.0, -100.0]}
    assert read_tuning(table(envs=["toys:toy-walk-v0"], run=run), tmp_path).study.runs


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[agent]\nbatch_size = 48\n")
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        envs = ["deep-sea-treasure-v0"]
        seeds = [3, 4]
        total_steps = 1_000
        [agents.slow]
        agent = "pd-morl"
        file = "own.toml"
        [ranges]
        num_envs = { low = 2, high = 8 }
        [ranges.agent]
        tau = { low = 1e-3, high = 1e-1, log = true }
        hidden_sizes = [[32], [64, 64]]
        [tune]
        trials = 7
        objective = "expected-utility"
        """
    )
    tuning = read_tuning(file, tmp_path)
    assert tuning.folder == tmp_path / "mine"
    assert tuning.search.trials == 7
    assert tuning.space == {
        "num_envs": Range(2, 8),
        "agent.tau": Range(1e-3, 1e-1, log=True),
        "agent.hidden_sizes": Choice(((32,), (64, 64))),
    }
    trial = tuning.trial(5, {"num_envs": 4, "agent.hidden_sizes": (64, 64)})
    assert [run.run_dir.name for run in trial.runs] == ["seed-3", "seed-4"]
    config = tomllib.loads(trial.runs[0].config)
    assert config["num_envs"] == 4
    assert config["agent"]["hidden_sizes"] == [64, 64]
    assert config["agent"]["batch_size"] == 48


def test_settings_that_fail_in_a_trial_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from morl.studies import trials as module
    from morl.studies.executors import Job, JobResult

    def fail(job: Job, on_step: object) -> JobResult:
        number = int(Path(job.run_dir).parents[2].name.removeprefix("trial-"))
        ending = "failed" if number else "stopped"
        return JobResult(run_dir=Path(job.run_dir), ending=ending, sentence="the boat sank")  # type: ignore[arg-type]

    monkeypatch.setattr(module, "perform", fail)
    with pytest.raises(KeyboardInterrupt, match="start it again"):
        tune(table(), folder=tmp_path, workers=1)
    journal = open_study(tmp_path / "sea" / JOURNAL, "sea", 0, read_tuning(table(), tmp_path).space, None)
    journal.tell(0, 0.5)
    lines: list[str] = []
    with pytest.raises(ValueError, match="the boat sank"):
        tune(table(), folder=tmp_path, workers=1, tell=lines.append)
    assert [line.split(";")[0].split(" (")[0] for line in lines] == [
        "trial 1: failed: the boat sank",
        "trial 2: failed: the boat sank",
    ]
    assert journal.get_trials()[1].user_attrs["failure"] == "the boat sank"


def test_settings_are_the_same_in_any_process(tmp_path: Path) -> None:
    """What a trial tries depends on its number and on the trials before it, also where it was begun and cut short."""
    space = {"agent.tau": Range(1e-3, 1e-1, log=True), "agent.critics": Choice((1, 2)), "num_envs": Range(1, 9)}
    values = []
    for name in ("one", "two"):
        study = open_study(tmp_path / name, name, 0, space, None)
        for number in range(12):
            trial = study.ask()
            if name == "two":
                trial.suggest_float("agent.tau", 1e-3, 1e-1, log=True)
                trial = optuna.Trial(open_study(tmp_path / name, name, 0, space, None), trial._trial_id)
            values.append((name, number, suggest(trial, space)))
            study.tell(trial.number, float(trial.params["num_envs"]))
    assert [one[1:] for one in values[:12]] == [one[1:] for one in values[12:]]
    assert len({str(one[2]) for one in values}) == 12


PAGE = Path(__file__).parents[2] / "docs" / "guide" / "tuning.md"


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = dict(re.findall(r"^```(toml|python)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    (tmp_path / "tune.toml").write_text(blocks["toml"])
    tuning = read_tuning(tmp_path / "tune.toml", tmp_path)
    assert len(tuning.space) == 3
    assert tuning.search.minutes == 20
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["python"], str(PAGE), "exec"), {})
    assert (tmp_path / "tunings" / "sea" / "best.toml").is_file()


def test_the_shipped_tunings_are_right(tmp_path: Path) -> None:
    files = sorted((Path(__file__).parents[2] / "configs" / "tunings").glob("*.toml"))
    assert files
    for file in files:
        assert read_tuning(file, tmp_path).name == file.stem
