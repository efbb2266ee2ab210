"""Runs whose policies must differ from others: every agent resumes exactly, and wrong references are refused."""

import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium.spaces import Box

import morl
from morl.experiment.novelty import novelty

pytestmark = pytest.mark.usefixtures("without_figures")

WALK = "toy-walk-v0"
SB3 = {"solver": "sb3:PPO", "population": 2, "exchange_every": 60, "hidden_sizes": (8,), "evaluation_episodes": 1}
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "c-morl": ("c-morl", toys.TINY_CMORL),
    "mo-tsivr-pg": ("mo-tsivr-pg", toys.TINY_TSIVR | {"population": 5}),
    "morl-d, ppo": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
    "morl-d, ctnb": ("morl-d", toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "novelty": "ctnb"}),
    "morl-d, off policy": ("morl-d", toys.TINY_MORLD_OFF_POLICY),
    "morl-d, Stable-Baselines3": ("morl-d", SB3 | {"rollout_steps": 8, "batch_size": 20}),
    "pd-morl": ("pd-morl", toys.TINY),
}
BOUND: dict[str, Any] = {"novelty_threshold": 0.5, "novelty_grace_steps": 3, "novelty_penalty": [0.5, 1.0]}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, without_figures: None) -> Path:
    """A policy file of the walk."""
    folder = tmp_path_factory.mktemp("reference")
    toys.train(folder / "run", WALK, 100).policy([0.6, 0.4]).save(folder / "first.pt")
    return folder / "first.pt"


def train(name: str, run_dir: Path, reference: Path, **changes: Any) -> morl.Run:
    """Train an agent of `AGENTS` that must differ from a reference."""
    agent, config = AGENTS[name]
    options = toys.SCHEDULE | BOUND | {"total_steps": 200, "novelty_references": [reference]} | changes
    return morl.train(agent, WALK, run_dir=run_dir, config=config, **options)


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "morl-d, Stable-Baselines3"])
def test_a_run_that_is_stopped_and_resumed_ends_in_the_same_bits(name: str, tmp_path: Path, reference: Path) -> None:
    train(name, tmp_path / "whole", reference)
    stopping = {"on_step": lambda progress: progress.step >= 130}
    train(name, tmp_path / "parts", reference, **stopping)
    morl.resume(tmp_path / "parts")
    whole = toys.lines(tmp_path / "whole" / "metrics.jsonl", *toys.CLOCKS)
    assert whole == toys.lines(tmp_path / "parts" / "metrics.jsonl", *toys.CLOCKS)
    assert any(line.get("rollout/novelty_violated", 0.0) > 0.0 for line in whole)
    fronts = [toys.front(tmp_path / run, *toys.CLOCKS) for run in ("whole", "parts")]
    assert fronts[0] == fronts[1]


def test_stable_baselines3_trains_in_a_run_too(tmp_path: Path, reference: Path) -> None:
    run = train("morl-d, Stable-Baselines3", tmp_path / "run", reference)
    assert np.nanmax(run.metrics()["rollout/novelty_violated"]) > 0.0


def test_training_is_cut_short_and_evaluation_is_not(tmp_path: Path, reference: Path) -> None:
    always = {"novelty_threshold": 1.0, "novelty_grace_steps": 0, "novelty_slack": 0.0}
    run = train("morl-d, ppo", tmp_path / "run", reference, **always)
    assert np.nanmax(run.metrics()["rollout/length"]) == 1.0
    assert run.evaluate(row=0, episodes=20).lengths.mean() > 3.0
    _, *rest = toys.lines(tmp_path / "run" / "metrics.jsonl")
    assert rest[-1]["evaluation_steps"] > 0


def test_licenses_are_kept_with_a_reference(tmp_path: Path, reference: Path) -> None:
    limited = {"num_envs": 3, "max_envs": 3, "total_steps": 120}
    run = train("morl-d, off policy", tmp_path / "limited", reference, **limited)
    free = train("morl-d, off policy", tmp_path / "free", reference, **limited | {"max_envs": None})
    np.testing.assert_array_equal(run.front.points, free.front.points)


def test_a_relative_path_means_the_same_from_everywhere(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(reference, tmp_path / "mine.pt")
    monkeypatch.chdir(tmp_path)
    train("pd-morl", tmp_path / "run", Path("mine.pt"), total_steps=100)
    monkeypatch.chdir("/")
    assert morl.resume(tmp_path / "run", total_steps=150).settings.novelty_references == (f"{tmp_path}/mine.pt",)


def test_another_policy_under_the_same_name_is_noticed(tmp_path: Path, reference: Path) -> None:
    shutil.copy(reference, tmp_path / "mine.pt")
    train("pd-morl", tmp_path / "run", tmp_path / "mine.pt", total_steps=100)
    toys.train(tmp_path / "other", WALK, 100, seed=5).policy([0.6, 0.4]).save(tmp_path / "mine.pt")
    with pytest.raises(ValueError, match="compares with the references"):
        morl.resume(tmp_path / "run", total_steps=150)


class Target(gymnasium.Env[Any, Any]):
    """One step that pays more the nearer the action is to 0.2."""

    def __init__(self) -> None:
        self.observation_space = Box(0.0, 1.0, (1,), np.float32)
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.reward_space = Box(-9.0, 9.0, (2,), np.float64)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        miss = (float(action[0]) - 0.2) ** 2
        return np.zeros(1, np.float32), np.array([-miss, -miss]), True, False, {}


def test_the_bisector_finds_the_best_policy_that_is_novel_enough(tmp_path: Path) -> None:
    config = {"solver": "ppo", "population": 1, "hidden_sizes": (8,), "rollout_steps": 16, "exchange_every": 6_000}
    config |= {"minibatches": 2, "actor_learning_rate": 5e-3}
    options = {"num_envs": 16, "evaluate_every": 6_000, "evaluation_episodes": 1, "total_steps": 6_000}
    free = morl.train("morl-d", Target, run_dir=tmp_path / "free", config=config, **options)
    free.policy([0.5, 0.5]).save(tmp_path / "free.pt")
    bound = {"novelty_references": [tmp_path / "free.pt"], "novelty_threshold": 0.5, "novelty_response": "report"}
    last = {}
    for method in ("none", "ctnb"):
        changed = config | {"novelty": method}
        run = morl.train("morl-d", Target, run_dir=tmp_path / method, config=changed, **options | bound)
        last[method] = {name: values[~np.isnan(values)][-1] for name, values in run.metrics().items()}
    assert last["none"]["rollout/novelty"] < 0.2
    assert 0.4 < last["ctnb"]["rollout/novelty"] < 0.65
    assert last["ctnb"]["rollout/return/objective_0"] > -0.4  # the best that is novel enough pays -0.25


def test_the_bisector_needs_references_the_weighted_sum_and_ppo(tmp_path: Path, reference: Path) -> None:
    for config, files, sentence in (
        ({"solver": "ppo", "combiner": "upgrad"}, [reference], "combiner is 'upgrad', but novelty is 'ctnb'"),
        ({"solver": "dqn"}, [reference], "novelty is 'ctnb', but solver 'dqn' does not read it"),
        ({"solver": "ppo"}, [], "novelty is 'ctnb', but has no effect: it needs novelty_references"),
    ):
        settings = {"config": config | {"novelty": "ctnb"}, "novelty_references": files}
        with pytest.raises(ValueError, match=sentence):
            morl.train("morl-d", WALK, run_dir=tmp_path / "run", **settings, **toys.SCHEDULE)
        assert not (tmp_path / "run").exists()


# --- Wrong input ------------------------------------------------------------------------------------------------------


def refusal(run_dir: Path, **changes: Any) -> str:
    """Return the sentence that a run is refused with; nothing may be left of it."""
    with pytest.raises(ValueError) as error:
        morl.train("pd-morl", WALK, run_dir=run_dir, config=toys.TINY, **toys.SCHEDULE | {"total_steps": 100} | changes)
    assert not run_dir.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_references_that_are_none_are_refused(tmp_path: Path, reference: Path) -> None:
    run_dir = tmp_path / "run"
    assert "novelty_references has" in refusal(run_dir, novelty_references=[tmp_path / "missing.pt"])
    (tmp_path / "text.pt").write_text("no policy")
    assert "text.pt" in refusal(run_dir, novelty_references=[reference, tmp_path / "text.pt"])
    wide = morl.train(
        "pd-morl",
        "toy-continuous-walk-v0",
        run_dir=tmp_path / "wide",
        config=toys.TINY_CONTINUOUS,
        **toys.SCHEDULE | {"total_steps": 100},
    )
    wide.policy([1, 1]).save(tmp_path / "wide.pt")
    sentence = refusal(run_dir, novelty_references=[tmp_path / "wide.pt"])
    assert "has the action_space Box" in sentence
    file = next((reference.parent / "run" / "policies").iterdir())
    assert "acts for any preference" in refusal(run_dir, novelty_references=[file])
    augmented = {"agent": "morl-d", "run_dir": tmp_path / "augmented", "env": WALK, "total_steps": 60}
    config = toys.TINY_MORLD_OFF_POLICY | {"augmented_state": True}
    morl.train(**augmented, config=config, **toys.SCHEDULE).policy([1, 1]).save(tmp_path / "augmented.pt")
    assert "observes the rewards of its own episode" in refusal(run_dir, novelty_references=[tmp_path / "augmented.pt"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"novelty_threshold": -1.0}, "novelty_threshold is -1.0, but must be finite and at least 0"),
        (
            {"novelty_threshold": 1.5},
            "novelty_threshold is 1.5, but must be at most 1, the largest distance of actions",
        ),
        (
            {"novelty_references": [], "novelty_threshold": 0.3},
            "novelty_threshold is 0.3, but has no effect: it needs novelty_references",
        ),
        (
            {"novelty_references": [], "novelty_response": "report"},
            "novelty_response is 'report', but has no effect: it needs novelty_references",
        ),
        (
            {"novelty_response": "report", "novelty_penalty": [3.0]},
            "novelty_penalty is (3.0,), but has no effect: it needs novelty_response 'end'",
        ),
        ({"novelty_penalty": [1.0, 2.0, 3.0]}, "novelty_penalty is (1.0, 2.0, 3.0), but must have one number or 2"),
        ({"novelty_grace_steps": 2.5}, "novelty_grace_steps is 2.5, but must be an integer"),
    ],
)
def test_wrong_bounds_are_refused(changes: dict[str, Any], sentence: str, tmp_path: Path, reference: Path) -> None:
    assert sentence in refusal(tmp_path / "run", **{"novelty_references": [reference]} | changes)


def test_flags_reach_the_bound(tmp_path: Path, reference: Path, morl_cli: Any) -> None:
    flags = ["--total-steps", 60, "--evaluate-every", 60, "--num-envs", 3, "--evaluation-episodes", 1]
    flags += ["--novelty-references", reference, "--novelty-threshold", 0.25, "--novelty-penalty", 1, 2]
    code, _, complaint = morl_cli("train", "toys:Coins", WALK, "--run-dir", tmp_path / "run", *flags)
    assert code == 0, complaint
    found = morl.load(tmp_path / "run").settings
    assert found.novelty_references == (str(reference),)
    assert found.novelty_bound.threshold == 0.25
    assert found.novelty_bound.penalty == (1.0, 2.0)


# --- Measuring --------------------------------------------------------------------------------------------------------


class Always:
    """Always the same action."""

    def __init__(self, action: int) -> None:
        self.action = action

    def predict(
        self, observations: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> Any:
        return np.full(len(observations), self.action), state


def test_novelty_is_the_mean_distance_in_the_states_that_are_visited(reference: Path) -> None:
    policy = morl.load_policy(reference)
    found = novelty(policy, [policy, Always(0), Always(1)], WALK, episodes=20)
    assert found[0] == 0.0
    assert ((found[1:] >= 0.0) & (found[1:] <= 1.0)).all()
    np.testing.assert_array_equal(novelty(Always(0), [Always(0), Always(1)], WALK, episodes=3), [0.0, 1.0])
    with pytest.raises(ValueError, match="references and episodes are 0 and 10"):
        novelty(policy, [], WALK)


def test_novelty_takes_files_and_names_policies_of_other_environments(reference: Path) -> None:
    policy = morl.load_policy(reference)
    np.testing.assert_array_equal(morl.novelty(policy, [reference], WALK), [0.0])
    with pytest.raises(ValueError, match=r"references is Policy.*must be a list of policies or policy files"):
        morl.novelty(policy, policy, WALK)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the policy of pd-morl has the .*_space .*, but the environment has"):
        morl.novelty(policy, [policy], "deep-sea-treasure-v0")
