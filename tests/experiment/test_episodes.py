"""Training curves: every episode of training is counted once, in the environment's own units, whoever steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import morl
from morl.envs import make_vec
from morl.experiment.components import Experiment, TrainingAndEvaluation
from morl.experiment.episodes import RecordEpisodes

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step"),  # a random walk may lose half of its return at any time
]

SB3 = {"solver": "sb3:DQN", "population": 2, "exchange_every": 60, "hidden_sizes": (8,), "batch_size": 8}
SB3 |= {"learning_starts": 16, "buffer_size": 100, "evaluation_episodes": 1}
PRETRAINED = toys.TINY_CONTINUOUS | {"preset": "paper", "key_pretraining_steps": 120}
AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "coins": ("toys:Coins", "toy-walk-v0", {}),
    "pd-morl": ("pd-morl", "toy-walk-v0", toys.TINY),
    "pd-morl, continuous": ("pd-morl", "toy-continuous-walk-v0", toys.TINY_CONTINUOUS),
    "pd-morl, pre-trained": ("pd-morl", "toy-continuous-walk-v0", PRETRAINED),
    "c-morl": ("c-morl", "toy-walk-v0", toys.TINY_CMORL),
    "morl-d": ("morl-d", "toy-walk-v0", toys.TINY_MORLD_OFF_POLICY),
    "gmorl": ("gmorl", "toy-walk-v0", toys.TINY_GMORL),
    "morl-d, on policy": ("morl-d", "toy-continuous-walk-v0", toys.TINY_MORLD | {"solver": "ppo", "rollout_steps": 8}),
    "morl-d, Stable-Baselines3": ("morl-d", "toy-walk-v0", SB3),
}


class Recount(RecordEpisodes):
    """Adds up rewards one by one, below everything that divides or records them."""

    def __init__(self, env: Any, episodes: list[tuple[int, list[float]]]) -> None:
        super().__init__(env, env.objectives)
        self.found = episodes
        self.running: list[list[Any]] = [[] for _ in range(env.num_envs)]

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.running = [[] for _ in self.running]
        return self.inner.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        result = self.inner.step(actions)
        for index, rewards in enumerate(self.running):
            rewards.append(result[1][index].copy())
            if result[2][index] or result[3][index]:
                self.found.append((len(rewards), sum(rewards).tolist()))  # type: ignore[attr-defined]
                self.running[index] = []
        return result


@pytest.mark.parametrize("name", AGENTS)
def test_every_episode_of_every_agent_is_counted_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, env, config = AGENTS[name]
    episodes: list[tuple[int, list[float]]] = []
    build = Experiment.build_training_and_evaluation

    def recounted(self: Experiment) -> TrainingAndEvaluation:
        built = build(self)
        return TrainingAndEvaluation(Recount(built.envs, episodes), built.evaluator)

    monkeypatch.setattr(Experiment, "build_training_and_evaluation", recounted)
    schedule = toys.SCHEDULE | {"num_envs": 6, "log_every": 30, "evaluate_every": 120}
    run = morl.train(agent, env, total_steps=240, seed=3, run_dir=tmp_path / "run", config=config, **schedule)
    assert len(episodes) > 4
    lines = toys.lines(run.directory / "metrics.jsonl")
    count = 0.0
    length = 0.0
    returns = np.zeros(2)
    for line in lines:
        for prefix in ("rollout", "rollout/pretraining"):
            number = line.get(f"{prefix}/episodes", 0.0)
            assert (f"{prefix}/length" in line) == (number > 0)
            if number > 0:
                count += number
                length += number * line[f"{prefix}/length"]
                returns += number * np.array([line[f"{prefix}/return/{name}"] for name in ("place", "rest")])
    assert count == len(episodes)
    assert length == pytest.approx(sum(length for length, _ in episodes))
    np.testing.assert_allclose(returns, np.sum([total for _, total in episodes], axis=0))
    assert (run.front.units != 1.0).any() or config.get("preset") == "paper"  # agents see other numbers than these
    before_training = [line for line in lines if line["training_steps"] == 0]
    assert bool(before_training) == ("pre-trained" in name)
    assert all("rollout/pretraining/episodes" in line for line in before_training)


@pytest.mark.parametrize("masked", [False, True])
def test_a_reset_discards_the_episodes_under_way(masked: bool) -> None:
    envs = RecordEpisodes(make_vec("toy-fork-v0", 3), ("left", "right"))
    envs.reset(seed=0)
    envs.step(np.array([1, 1, 1]))
    if masked:
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    else:
        envs.reset(seed=1)
    envs.step(np.array([0, 0, 0]))
    envs.step(np.array([0, 0, 0]))
    found = envs.summarize()
    # The fork takes two steps: where it was reset, the step before does not count.
    if masked:
        assert found["rollout/episodes"] == 3.0
        assert found["rollout/return/left"] == pytest.approx((0.0 + 3.0 + 3.0) / 3)
    else:
        assert found == {
            "rollout/episodes": 3.0,
            "rollout/length": 2.0,
            "rollout/return/left": 0.0,
            "rollout/return/right": 10.0,
        }
    assert envs.summarize() == {"rollout/episodes": 0.0}


def test_the_state_continues_exactly() -> None:
    whole = RecordEpisodes(make_vec("toy-walk-v0", 4), ("place", "rest"))
    whole.reset(seed=5)
    actions = np.random.default_rng(0).integers(-1, 2, (60, 4))
    for step in range(23):
        whole.step(actions[step])
    parts = RecordEpisodes(make_vec("toy-walk-v0", 4), ("place", "rest"))
    parts.load_state_dict(whole.state_dict())
    parts.load_episodes_state_dict(whole.episodes_state_dict())
    for step in range(23, 60):
        whole.step(actions[step])
        parts.step(actions[step])
    assert toys.difference(whole.episodes_state_dict(), parts.episodes_state_dict()) == ""
    assert whole.summarize() == parts.summarize()


def test_resuming_in_pretraining_gives_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from morl.experiment.checkpointing import Checkpointing

    class Killed(BaseException):
        pass

    agent, env, config = AGENTS["pd-morl, pre-trained"]
    schedule = toys.SCHEDULE | {"num_envs": 6, "log_every": 30, "checkpoint_minutes": 1e-9, "seed": 3}
    morl.train(agent, env, total_steps=120, run_dir=tmp_path / "whole", config=config, **schedule)
    save = Checkpointing.save
    for moment in (54, 120):
        run = tmp_path / f"run-{moment}"

        def save_and_die(self: Checkpointing, moment: int = moment) -> None:
            save(self)
            if self.agent.pretraining_steps >= moment:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Checkpointing, "save", save_and_die)
            with pytest.raises(Killed):
                morl.train(agent, env, total_steps=120, run_dir=run, config=config, **schedule)
        morl.resume(run)
        for name in ("metrics.jsonl", "fronts.jsonl"):
            assert toys.lines(run / name) == toys.lines(tmp_path / "whole" / name)
        found = toys.scalars(run)
        assert toys.difference(found, toys.scalars(tmp_path / "whole")) == ""
        assert [step for step, _ in found["rollout/pretraining/episodes"]][:4] == [30, 60, 90, 120]
