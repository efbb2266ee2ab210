"""Spaces at the edge, over all agents: a run works, or ends in one sentence that names environment and step."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import toys
from gymnasium import spaces

import morl

pytestmark = pytest.mark.usefixtures("without_figures")

AGENTS: dict[str, dict[str, Any]] = {
    "pd-morl": toys.TINY,
    "c-morl": toys.TINY_CMORL,
    "morl-d": toys.TINY_MORLD_OFF_POLICY,
}
THEIRS: dict[str, Any] = toys.TINY_MORLD | {"solver": "sb3:A2C", "rollout_steps": 4}
"""An algorithm of Stable-Baselines3, as a solver of MORL/D."""
LEARNERS = AGENTS | {"sb3": THEIRS}
BOX = spaces.Box(-1.0, 1.0, (1,), np.float32)


class Shown(gymnasium.Env[Any, Any]):
    """Shows samples of a space, or one thing that it is told to show after two steps."""

    def __init__(self, space: Any = BOX, shown: Any = None, actions: Any = None) -> None:
        self.observation_space = space
        self.action_space = spaces.Discrete(2, start=3) if actions is None else actions
        self.reward_space = spaces.Box(-1.0, 1.0, (2,), np.float64)
        self.shown = shown
        self.clock = 0

    def _observe(self) -> Any:
        if self.shown is not None and self.clock == 2:
            return self.shown
        self.observation_space.seed(int(self.np_random.integers(1000)))
        return self.observation_space.sample()

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.clock = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.clock += 1
        return self._observe(), np.array([1.0, self.np_random.random()]), self.clock >= 5, False, {}


WORKING: dict[str, Any] = {
    "MultiBinary": spaces.MultiBinary(3),
    "MultiBinary of two axes": spaces.MultiBinary((2, 2)),
    "MultiDiscrete with start": spaces.MultiDiscrete([2, 3], start=[1, 5]),
    "MultiDiscrete of two axes": spaces.MultiDiscrete([[2, 3], [2, 2]]),
    "Discrete with start": spaces.Discrete(3, start=-4),
    "an empty Box in a Dict": spaces.Dict(a=spaces.Box(-1.0, 1.0, (0,), np.float32), b=BOX),
    "an empty Box in a Tuple": spaces.Tuple((spaces.Box(-1.0, 1.0, (0, 3), np.float32), spaces.Discrete(2))),
    "a Box without bounds": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "a Box of one number without axes": spaces.Box(-1.0, 1.0, (), np.float32),
    "integers of any size": spaces.Box(-(2**62), 2**62, (2,), np.int64),
    "a Box of bytes": spaces.Box(0, 255, (4,), np.uint8),
    "a Box of truth values": spaces.Box(0, 1, (2,), np.bool_),
    "a Box with half a bound": spaces.Box(np.array([0.0, -np.inf]), np.array([np.inf, 1.0]), dtype=np.float64),
    "a Dict in a Tuple in a Dict": spaces.Dict(a=spaces.Tuple((spaces.Dict(b=BOX), spaces.MultiBinary(2)))),
    "an image in a Dict": spaces.Dict(a=BOX, eye=spaces.Box(0, 255, (5, 5, 1), np.uint8)),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (spaces.Box(-1.0, 1.0, (0,), np.float32), "observation_space must have at least one entry, got Box"),
    "an empty Dict": (spaces.Dict({}), "observation_space must have at least one entry, got Dict"),
    "text": (spaces.Text(5), "observation_space is Text"),
    "a sequence": (spaces.Sequence(BOX), "observation_space is Sequence"),
}
AT_STEP_2: dict[str, tuple[Any, Any, str]] = {
    "another shape": (BOX, np.zeros(3, np.float32), r"numbers of shape \(1,\), got float32 of shape \(3,\)"),
    "a category beyond": (spaces.Discrete(3), np.int64(7), "an integer in 0 .. 2, got"),
    "a category before the start": (spaces.MultiDiscrete([2, 2], start=[1, 5]), np.array([0, 5]), "must lie in"),
    "no flag": (spaces.MultiBinary(2), np.array([0, 2], np.int8), "must lie in MultiBinary"),
    "infinity": (BOX, np.array([np.inf], np.float32), "must be finite in float32"),
    "a key less": (spaces.Dict(a=BOX, b=BOX), {"a": np.zeros(1, np.float32)}, "must be a dict with 'a', 'b'"),
}


def train(learner: str, run_dir: Path, **options: Any) -> Any:
    def shown() -> Shown:
        return Shown(**options)

    agent = "morl-d" if learner == "sb3" else learner
    return morl.train(agent, shown, total_steps=150, run_dir=run_dir, config=LEARNERS[learner], **toys.SCHEDULE)


@pytest.mark.parametrize("agent", LEARNERS)
@pytest.mark.parametrize("space", WORKING)
def test_a_space_that_works(space: str, agent: str, tmp_path: Path) -> None:
    run = train(agent, tmp_path / "run", space=WORKING[space])
    assert np.isfinite(run.front.points).all()
    action, _ = run.policy([0.5, 0.5]).predict(WORKING[space].sample())
    assert action in (3, 4)


@pytest.mark.parametrize("agent", LEARNERS)
@pytest.mark.parametrize("space", REFUSED)
def test_a_space_that_is_refused_before_anything_is_written(space: str, agent: str, tmp_path: Path) -> None:
    refused, message = REFUSED[space]
    with pytest.raises(ValueError, match=message):
        train(agent, tmp_path / "run", space=refused)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("agent", AGENTS)
def test_categories_without_number_are_refused(agent: str, tmp_path: Path) -> None:
    def shown() -> Shown:
        return Shown(space=WORKING["integers of any size"])

    config = AGENTS[agent] | {"one_hot": True}
    with pytest.raises(ValueError, match=r"at most 1000000 categories for a one-hot encoding, got \d+ in Box"):
        morl.train(agent, shown, total_steps=150, run_dir=tmp_path / "run", config=config, **toys.SCHEDULE)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "actions", [spaces.MultiBinary(2), spaces.MultiDiscrete([2, 2], start=[1, 5]), spaces.Tuple((BOX,))]
)
def test_actions_that_no_agent_takes(actions: Any, agent: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{type(actions).__name__}"):
        train(agent, tmp_path / "run", actions=actions)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("case", AT_STEP_2)
def test_an_observation_outside_its_space_is_named_with_its_step(case: str, agent: str, tmp_path: Path) -> None:
    space, observation, message = AT_STEP_2[case]
    with pytest.raises(
        ValueError, match=rf"shown: the observation.* at step 2 of environment \d+, seed \d+ .*{message}"
    ):
        train(agent, tmp_path / "run", space=space, shown=observation)
