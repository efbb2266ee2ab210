"""Policies with a memory act from their files: states in `predict` as in Stable-Baselines3, and in evaluations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from morl.acting import Policy, PolicyBank, load_policy
from morl.envs import make_vec
from morl.evaluation import ActInputs, Evaluator
from morl.policy_files import PolicyData, PolicySpec

CPU = torch.device("cpu")
ACTIONS: dict[str, Any] = {
    "gaussian": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "categorical": spaces.Discrete(4, start=2),
}
SIZE, HIDDEN = 5, 6


def spec_of(head: Any) -> PolicySpec:
    return PolicySpec(
        agent="test",
        head=head,
        hidden_sizes=(HIDDEN,),
        activation="tanh",
        observation_space=spaces.Box(-1.0, 1.0, (3,), np.float32),
        action_space=ACTIONS[head],
        objectives=("speed", "energy"),
        memory_size=SIZE,
    )


def data_of(head: Any, seed: int = 0) -> PolicyData:
    """Return a policy with random parameters: W, b, U of the GRU, the layers, the log standard deviations."""
    outputs = 4 if head == "categorical" else 2
    count = 3 * SIZE * (3 + 1 + SIZE) + (SIZE + 1) * HIDDEN + (HIDDEN + 1) * outputs + (2 if head == "gaussian" else 0)
    random = np.random.default_rng(seed)
    return PolicyData(
        spec=spec_of(head),
        parameters=torch.as_tensor(random.normal(size=count), dtype=torch.float32),
        mean=random.normal(size=3),
        scale=random.uniform(0.5, 2.0, size=3),
        preference=np.array([0.25, 0.75]),
    )


def policy_of(head: Any, seed: int = 0) -> Policy:
    return Policy(data_of(head, seed), np.array([0.5, 0.5]))


def episode(steps: int, count: int = 4, seed: int = 0) -> NDArray[np.float32]:
    """Return observations [step, count, 3]."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, count, 3)).astype(np.float32)


def plain_actions(data: PolicyData, observations: NDArray[np.float32]) -> list[Any]:
    """Return the actions for the observations [step, 3] of one episode, by the equations, in the units of the head."""
    parts = torch.split(
        data.parameters.double(),
        [9 * SIZE, 3 * SIZE, 3 * SIZE**2, SIZE * HIDDEN, HIDDEN, len(data.parameters) - 12 * SIZE - 3 * SIZE**2 - 36],
    )
    weights, biases, recurrent = (part.numpy() for part in parts[:3])
    layer, layer_biases, last = (part.numpy() for part in parts[3:])
    outputs = 4 if data.spec.head == "categorical" else 2
    state, actions = np.zeros(SIZE), []
    assert data.mean is not None
    assert data.scale is not None
    for observation in observations:
        inputs = np.clip((observation - data.mean) * data.scale, -10.0, 10.0)
        sums = inputs @ weights.reshape(3, 3 * SIZE) + biases
        recalled = state @ recurrent.reshape(SIZE, 3 * SIZE)
        reset, update = (1 / (1 + np.exp(-(sums + recalled)[: 2 * SIZE]))).reshape(2, SIZE)
        candidate = np.tanh(sums[2 * SIZE :] + reset * recalled[2 * SIZE :])
        state = update * state + (1 - update) * candidate
        hidden = np.tanh(state @ layer.reshape(SIZE, HIDDEN) + layer_biases)
        found = hidden @ last[: HIDDEN * outputs].reshape(HIDDEN, outputs) + last[HIDDEN * outputs :][:outputs]
        actions.append(2 + found.argmax() if data.spec.head == "categorical" else np.clip(found, -1.0, 1.0))
    return actions


@pytest.mark.parametrize("head", ACTIONS)
def test_actions_are_those_of_the_equations(head: str, tmp_path: Path) -> None:
    policy_of(head).save(tmp_path / "policy.pt")
    policy = load_policy(tmp_path / "policy.pt")
    observations = episode(9)
    state: Any = None
    for observation, expected in zip(observations[:, 0], plain_actions(policy.data, observations[:, 0]), strict=True):
        action, state = policy.predict(observation, state=state, deterministic=True)
        assert state.shape == (SIZE,)
        np.testing.assert_allclose(action, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ACTIONS)
def test_a_batch_is_each_of_its_episodes(head: str) -> None:
    policy, observations = policy_of(head), episode(8)
    starts = np.random.default_rng(3).random((8, 4)) < 0.3
    state: Any = None
    alone: list[Any] = [None] * 4
    for step in range(8):
        before = None if state is None else state.copy()
        actions, after = policy.predict(observations[step], state=state, episode_start=starts[step])
        if before is not None:
            np.testing.assert_array_equal(state, before)  # the user's array is not written to
        state = after
        for row in range(4):
            if starts[step, row]:
                alone[row] = None
            action, alone[row] = policy.predict(observations[step, row], state=alone[row])
            np.testing.assert_allclose(actions[row], action, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(state[row], alone[row], rtol=1e-5, atol=1e-6)
    single, _ = policy.predict(observations[0, 0], state=state[0], episode_start=True)
    np.testing.assert_allclose(single, policy.predict(observations[0, 0])[0], rtol=1e-5)
    both, _ = policy.predict(observations[0], state=state, episode_start=True)  # one bool for all
    np.testing.assert_allclose(both, policy.predict(observations[0])[0], rtol=1e-5)


def test_samples_remember_as_the_most_likely_actions_do() -> None:
    policy, observations = policy_of("categorical"), episode(2)
    _, state = policy.predict(observations[0])
    _, sampled = policy.predict(observations[0], deterministic=False)
    np.testing.assert_array_equal(state, sampled)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"state": np.zeros(3)}, r"state has shape \(3,\), but must be \(4, 5\)"),
        ({"state": np.zeros((3, 5))}, r"state has shape \(3, 5\), but must be \(4, 5\)"),
        ({"state": (np.zeros((4, 5)),) * 2}, r"state has shape \(2, 4, 5\), but must be \(4, 5\)"),
        ({"episode_start": np.ones(3, bool)}, "episode_start is .*, but must be a bool or 4 of them"),
        ({"episode_start": np.zeros(4)}, "episode_start is .*, but must be a bool or 4 of them"),
    ],
)
def test_wrong_states_are_refused_in_a_sentence(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_of("gaussian").predict(episode(1)[0], **wrong)


def test_only_samplers_of_ppo_have_a_memory() -> None:
    spec = PolicySpec(**{**vars(spec_of("gaussian")), "head": "deterministic"})
    with pytest.raises(ValueError, match="memory_size is 5, but its head 'deterministic' has no memory"):
        PolicyBank(spec, CPU)


@settings(deadline=None, max_examples=20)
@given(head=st.sampled_from(sorted(ACTIONS)), owners=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_bank_remembers_for_many_policies_as_each_does_alone(head: str, owners: list[int]) -> None:
    bank = PolicyBank(spec_of(head), CPU)
    for number in range(4):
        bank.add(10 * number, data_of(head, seed=number))
    count = len(owners)
    preferences = np.full((count, 2), 0.5)
    memory = np.zeros((count, SIZE), dtype=np.float32)
    states: list[Any] = [None] * count
    for observations in episode(3, count):
        together = bank.act(observations, preferences, 10 * np.array(owners), memory=memory)
        for row, owner in enumerate(owners):
            action, states[row] = policy_of(head, owner).predict(observations[row], state=states[row])
            np.testing.assert_allclose(together[row], action, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(memory[row], states[row], rtol=1e-5, atol=1e-6)
    first = bank.act(observations, preferences, 10 * np.array(owners))
    start = np.zeros((count, SIZE), dtype=np.float32)
    np.testing.assert_array_equal(first, bank.act(observations, preferences, 10 * np.array(owners), memory=start))


# --- Evaluations ------------------------------------------------------------------------------------------------------


def remembering(observations: Any, preferences: Any, policies: Any, memory: NDArray[np.float32]) -> Any:
    """Act on all that was seen in the episode."""
    memory += np.column_stack([observations[:, 0], np.ones(len(observations))])
    return (policies + (memory[:, 0] > 0.3 * memory[:, 1])) % 3 - 1


@pytest.mark.parametrize("max_envs", [1, 4, 100])
def test_an_evaluation_carries_the_memory_of_each_episode(max_envs: int) -> None:
    evaluate = Evaluator(lambda count: make_vec("toy-walk-v0", count), 0.9, max_envs, 100)
    policies = np.array([0, 1, 2, 1])
    found = evaluate(remembering, policies, np.full((4, 2), 0.5), 3, seed=40, inputs=ActInputs(memory_size=2))
    for row, policy in enumerate(policies):
        lengths, returns = [], []
        for number in range(3):
            env = toys.Walk()
            observation, _ = env.reset(seed=40 + number)
            memory = np.zeros((1, 2), np.float32)
            paid = []
            ended = False
            while not ended:
                action = remembering(observation[None], None, policy, memory)[0]
                observation, reward, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated
                paid.append(0.9 ** len(paid) * reward)
            lengths.append(len(paid))
            returns.append(np.sum(paid, axis=0))
        assert found.lengths[row] == np.mean(lengths)
        np.testing.assert_allclose(found.discounted[row], np.mean(returns, axis=0), rtol=1e-9)
    evaluate.close()


def test_environments_with_masks_carry_it_too() -> None:
    seen: list[Any] = []

    def counting(observations: Any, preferences: Any, policies: Any, masks: Any, memory: Any) -> Any:
        memory += 1.0
        seen.append(memory.copy())
        return masks.argmax(axis=1)

    evaluate = Evaluator(lambda count: make_vec("lab/knapsack-v0", count), 1.0, 100, 5)
    evaluate(counting, np.zeros(2, int), np.full((2, 3), 1 / 3), 1, 0, ActInputs(masks=True, memory_size=1))
    assert [memory.tolist() for memory in seen[:3]] == [[[1.0]] * 2, [[2.0]] * 2, [[3.0]] * 2]
    evaluate.close()


# --- Graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("head", ACTIONS)
@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_a_graph_takes_the_state_and_returns_the_next(head: str, kind: str, tmp_path: Path) -> None:
    policy, observations = policy_of(head), episode(6)
    file = tmp_path / "policy"
    graph: Any
    if kind == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        policy.to_onnx(file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        assert [each.name for each in session.get_outputs()] == ["action", "next_state"]

        def graph(observation: Any, state: Any) -> Any:
            return session.run(None, {"observation": observation, "state": state})
    else:
        policy.to_torchscript(file)
        module = torch.jit.load(str(file))

        def graph(observation: Any, state: Any) -> Any:
            return [output.numpy() for output in module(torch.as_tensor(observation), torch.as_tensor(state))]

    state, known = np.zeros((4, SIZE), dtype=np.float32), None
    for observation in observations:
        actions, state = graph(observation, state)
        expected, known = policy.predict(observation, state=known)
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(state, known, rtol=1e-5, atol=1e-5)
