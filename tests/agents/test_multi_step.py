"""Transitions over several steps, against plain loops over the episodes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import toys
from hypothesis import given
from hypothesis import strategies as st

import morl
from morl.agents.pd_morl.hindsight import Transitions
from morl.agents.pd_morl.learners import Learners
from morl.agents.pd_morl.multi_step import MultiStep
from morl.protocols import BoolArray, FloatArray

OBJECTIVES = 2


class Stream(NamedTuple):
    """What environments answered, step after step."""

    transitions: list[Transitions]
    ended: list[BoolArray]


def stream(steps: int, num_envs: int, seed: int) -> Stream:
    """Return random transitions; an observation is the number of its environment and its step."""
    generator = np.random.default_rng(seed)
    transitions = []
    all_ended = []
    for step in range(steps):
        terminated = generator.random(num_envs) < 0.2
        all_ended.append(terminated | (generator.random(num_envs) < 0.2))
        number = 1000.0 * np.arange(num_envs)[:, None] + step
        transitions.append(
            Transitions(
                observation=number.astype(np.float32),
                action=generator.normal(size=(num_envs, 1)),
                reward=generator.normal(size=(num_envs, OBJECTIVES)),
                next_observation=(number + 0.5).astype(np.float32),
                terminated=terminated[:, None],
                preference=generator.random((num_envs, OBJECTIVES)),
                next_mask=generator.random((num_envs, 3)) < 0.5,
            )
        )
    return Stream(transitions, all_ended)


def advanced(multi: MultiStep, steps: Stream) -> list[Transitions]:
    """Return what comes out of a stream."""
    pairs = zip(steps.transitions, steps.ended, strict=True)
    return [out for each, ended in pairs if (out := multi.advance(each, ended)) is not None]


def looped(steps: Stream, start: int, env: int, num_steps: int, discount: float) -> tuple[FloatArray, int, bool]:
    """Return the reward, the last step and whether the episode has terminated, of one transition in plain Python."""
    reward = np.zeros(OBJECTIVES)
    for length in range(num_steps):
        here = steps.transitions[start + length]
        reward = reward + discount**length * here.reward[env]
        if steps.ended[start + length][env]:
            break
    return reward, start + length, bool(steps.transitions[start + length].terminated[env, 0])


@given(
    num_steps=st.integers(1, 5),
    length=st.integers(1, 12),
    num_envs=st.integers(1, 3),
    discount=st.sampled_from([0.5, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_transitions_are_those_of_plain_loops(
    num_steps: int, length: int, num_envs: int, discount: float, seed: int
) -> None:
    steps = stream(length, num_envs, seed)
    out = advanced(MultiStep(num_steps, discount), steps)
    assert len(out) == max(0, length - num_steps + 1)
    for start, transitions in enumerate(out):
        for env in range(num_envs):
            reward, last, terminated = looped(steps, start, env, num_steps, discount)
            np.testing.assert_allclose(transitions.reward[env], reward, rtol=1e-12)
            assert transitions.observation[env, 0] == 1000.0 * env + start
            assert transitions.next_observation[env, 0] == 1000.0 * env + last + 0.5
            assert transitions.next_mask is not None
            following = steps.transitions[last].next_mask
            assert following is not None
            np.testing.assert_array_equal(transitions.next_mask[env], following[env])
            bootstrapped = discount * (1.0 - float(transitions.terminated[env, 0]))
            expected = 0.0 if terminated else discount ** (last - start + 1)
            assert bootstrapped == pytest.approx(expected, abs=1e-12)
            np.testing.assert_array_equal(transitions.action[env], steps.transitions[start].action[env])
            np.testing.assert_array_equal(transitions.preference[env], steps.transitions[start].preference[env])


def test_arrays_of_the_environments_may_be_reused() -> None:
    steps = stream(4, 2, seed=0)
    expected = advanced(MultiStep(2, 0.9), steps)
    multi = MultiStep(2, 0.9)
    found = []
    for each, ended in zip(steps.transitions, steps.ended, strict=True):
        arrays = each._replace(reward=each.reward.copy(), next_observation=each.next_observation.copy())
        out = multi.advance(arrays, ended)
        arrays.reward[:] = np.nan
        arrays.next_observation[:] = np.nan
        found += [] if out is None else [out]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.reward, other.reward)
        np.testing.assert_array_equal(one.next_observation, other.next_observation)


def test_a_reset_ends_what_is_pending() -> None:
    steps = stream(4, 2, seed=1)
    steps = steps._replace(ended=[np.zeros(2, dtype=np.bool_) for _ in range(4)])
    multi = MultiStep(3, 0.9)
    multi.advance(steps.transitions[0], steps.ended[0])
    multi.advance(steps.transitions[1], steps.ended[1])
    multi.cut()
    out = multi.advance(steps.transitions[2], steps.ended[2])
    assert out is not None
    np.testing.assert_array_equal(out.reward, steps.transitions[0].reward + 0.9 * steps.transitions[1].reward)


def test_learners_are_saved_and_restored_one_by_one() -> None:
    learners = Learners((3, 4), 2, torch.device("cpu"))
    steps = stream(7, learners.total_envs, seed=2)
    multi = MultiStep(4, 0.9)
    expected = advanced(multi, steps)
    first = MultiStep(4, 0.9)
    advanced(first, Stream(steps.transitions[:2], steps.ended[:2]))
    resumed = MultiStep(4, 0.9)
    for learner in range(2):
        envs = learners.envs(learner)
        resumed.load_state_dict(first.state_dict(envs), envs, learners.total_envs)
    found = advanced(resumed, Stream(steps.transitions[2:], steps.ended[2:]))
    for one, other in zip(found, expected, strict=True):
        for name, column in one._asdict().items():
            np.testing.assert_array_equal(column, getattr(other, name), err_msg=name)


def test_the_size_of_a_sum_of_rewards() -> None:
    assert MultiStep(1, 0.9).discounts == 1.0
    assert MultiStep(3, 0.9).discounts == pytest.approx(1.0 + 0.9 + 0.81)


SCHEDULE: dict[str, Any] = toys.SCHEDULE | {"num_envs": 6, "evaluate_every": 60, "log_every": 30}
THREE = toys.TINY_CONTINUOUS | {"n_steps": 3}


def train(run_dir: Path, total_steps: int = 96, **changes: Any) -> Any:
    config = THREE | changes
    return morl.train(
        "pd-morl", "toy-continuous-walk-v0", total_steps=total_steps, run_dir=run_dir, config=config, **SCHEDULE
    )


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("stop", [6, 18, 54])
def test_a_run_is_resumed_exactly(stop: int, tmp_path: Path) -> None:
    train(tmp_path / "whole")
    train(tmp_path / "parts", stop)
    morl.resume(tmp_path / "parts", 96)
    states = [toys.states(tmp_path / name, "agent") for name in ("whole", "parts")]
    assert toys.difference(states[0], states[1]) == ""


@pytest.mark.usefixtures("without_figures")
def test_a_seed_of_a_batch_is_the_seed_alone(tmp_path: Path) -> None:
    settings = {name: value for name, value in SCHEDULE.items() if name != "seed"}
    morl.train_seeds(
        "pd-morl", "toy-continuous-walk-v0", [4, 9], total_steps=96, run_dir=tmp_path / "both", config=THREE, **settings
    )
    for seed in (4, 9):
        alone = settings | {"seed": seed, "run_dir": tmp_path / str(seed), "config": THREE}
        morl.train("pd-morl", "toy-continuous-walk-v0", total_steps=96, **alone)
        folders = (tmp_path / "both" / f"seed-{seed}", tmp_path / str(seed))
        both, one = [toys.states(folder, "agent")["agent"]["multi_step"] for folder in folders]
        assert len(both["pending"]) == len(one["pending"]) == 2
        for name in one["pending"][0]:
            for found, expected in zip(both["pending"], one["pending"], strict=True):
                if expected[name] is not None:
                    np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(both["open"], one["open"])


@pytest.mark.usefixtures("without_figures")
def test_backends_agree(tmp_path: Path) -> None:
    losses = []
    for backend in ("eager", "numba"):
        run = train(tmp_path / backend, backend=backend)
        losses.append(run.metrics()["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert np.isfinite(losses[0]).any()


@pytest.mark.usefixtures("without_figures")
def test_more_steps_change_what_is_learned(tmp_path: Path) -> None:
    states = []
    for number in (1, 3):
        train(tmp_path / str(number), n_steps=number)
        states.append(toys.states(tmp_path / str(number), "agent")["agent"]["td3"])
    assert toys.difference(states[0], states[1]) != ""
