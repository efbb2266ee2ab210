"""Memory of a population: the cell beside PyTorch's, sequences beside plain loops, populations beside their members."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from morl.learning.advantages import compute_advantages
from morl.learning.backends import make_update
from morl.learning.optimizers import Adam
from morl.learning.population import Population, initial_states
from morl.learning.ppo import (
    PPO,
    PPOSettings,
    actor_critic,
    memory_of,
    minibatches,
    ppo_loss,
    ppo_update,
    probability_ratios,
    thin_out,
)
from morl.learning.recurrent import GRU, gru_cell
from morl.learning.rollouts import RolloutBuffer, TransitionSizes

CPU = torch.device("cpu")
BOX, CHOICE = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(4)
SETTINGS = PPOSettings(epochs=3, minibatches=2, entropy_weight=0.01)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


# --- The cell ---------------------------------------------------------------------------------------------------------


def test_the_cell_is_its_equations() -> None:
    projected = normal(1, 1, 3)
    states = normal(1, 1, 1, seed=1)
    recurrent = normal(1, 1, 3, seed=2)
    reset_sum, update_sum, candidate_sum = projected.flatten().numpy()
    h = states.item()
    of_reset, of_update, of_candidate = recurrent.flatten().numpy()
    reset = 1.0 / (1.0 + np.exp(-(reset_sum + of_reset * h)))
    update = 1.0 / (1.0 + np.exp(-(update_sum + of_update * h)))
    candidate = np.tanh(candidate_sum + reset * of_candidate * h)
    expected = update * h + (1.0 - update) * candidate
    assert gru_cell(projected, states, recurrent).item() == pytest.approx(expected)


def torch_gru(gru: GRU, row: torch.Tensor) -> torch.nn.GRU:
    """Return PyTorch's layer with the parameters of one policy."""
    weights, biases, recurrent = torch.split(row, [3 * gru.inputs * gru.size, 3 * gru.size, 3 * gru.size**2])
    layer = torch.nn.GRU(gru.inputs, gru.size, batch_first=True, dtype=row.dtype)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(weights.view(gru.inputs, -1).T)
        layer.bias_ih_l0.copy_(biases)
        layer.weight_hh_l0.copy_(recurrent.view(gru.size, -1).T)
        layer.bias_hh_l0.zero_()
    return layer


def test_every_policy_is_a_gru_of_its_own() -> None:
    gru = GRU(inputs=3, size=5)
    parameters = gru.initialize(2, generator(0)).double() + 0.1 * normal(2, gru.num_parameters)
    inputs, states = normal(2, 4 * 6, 3, seed=1), normal(2, 4, 5, seed=2)
    found = gru(parameters, inputs, states, torch.zeros(2, 4 * 6, 1, dtype=torch.float64))
    for policy in range(2):
        expected, _ = torch_gru(gru, parameters[policy])(inputs[policy].view(4, 6, 3), states[policy].unsqueeze(0))
        torch.testing.assert_close(found[policy].view(4, 6, 5), expected)


def test_a_start_forgets_all_before() -> None:
    gru = GRU(inputs=3, size=5)
    parameters = gru.initialize(1, generator(0)).double()
    inputs, states = normal(1, 6, 3, seed=1), normal(1, 1, 5, seed=2)
    starts = torch.zeros(1, 6, 1, dtype=torch.float64)
    starts[0, 2] = 1.0
    found = gru(parameters, inputs, states, starts)
    no_starts = torch.zeros(1, 4, 1, dtype=torch.float64)
    fresh = gru(parameters, inputs[:, 2:], torch.zeros_like(states), no_starts)
    torch.testing.assert_close(found[:, 2:], fresh)
    leaf = inputs.clone().requires_grad_()
    gru(parameters, leaf, states, starts)[:, 5].sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad[0, :2] == 0.0).all()
    assert (leaf.grad[0, 2:] != 0.0).any(dim=1).all()  # gradients flow back to the start of the episode


def test_fresh_weights_of_each_gate_are_orthogonal() -> None:
    gru = GRU(inputs=3, size=5)
    _, biases, recurrent = torch.split(gru.initialize(2, generator(0)), [45, 15, 75], dim=1)
    assert (biases == 0).all()
    for gate in recurrent.view(2, 5, 3, 5).unbind(2):
        torch.testing.assert_close(gate @ gate.transpose(1, 2), torch.eye(5).expand(2, 5, 5), atol=1e-5, rtol=0.0)


# --- Rollouts and their sequences -------------------------------------------------------------------------------------

POLICIES = 2
ENVS = 3
STEPS = 8
LENGTH = 4


def collected(random: np.random.Generator, discrete: bool = False) -> tuple[Population, Any, list[Any]]:
    """Return a population with a full rollout, the observations after it, and the rows of its steps [env, ...]."""
    network = actor_critic(3, CHOICE if discrete else BOX, 2, (6,), memory_size=5)
    width = 1 if discrete else 2
    sizes = TransitionSizes(observation=3, action=width, objectives=2, state=network.state_size)
    rollout = RolloutBuffer(POLICIES, ENVS, STEPS, sizes, 0.9, sequence_steps=LENGTH)
    population = Population(network, rollout, CPU)
    for policy, state in enumerate(initial_states(network, POLICIES, sizes, seed=3)):
        state["parameters"] += 0.3 * torch.randn(network.num_parameters, generator=generator(policy))
        population.load_training_state(policy, state)
    steps = []
    for repetition in range(2):  # the first rollout leaves episodes under way
        for _ in range(STEPS):
            inputs = rollout.normalize_and_update(random.normal(size=(POLICIES * ENVS, 3)).astype(np.float32))
            actions = population.act(inputs, None, generator(1))
            terminated, truncated = random.random((2, POLICIES * ENVS)) < 0.15
            rollout.add(inputs, actions, random.normal(size=(POLICIES * ENVS, 2)), terminated, truncated)
            values = population.final_values(inputs[::-1].copy())
            rollout.bootstrap_truncated(values)
            steps.append((inputs, actions, terminated | truncated, inputs[::-1].copy(), values))
        if repetition == 0:
            rollout.clear()
    return population, rollout.normalize(random.normal(size=(POLICIES * ENVS, 3)).astype(np.float32)), steps


def plain_states(population: Population, steps: list[Any], policy: int, env: int) -> list[Any]:
    """Return both GRUs' states after every step of an environment, by PyTorch's cells."""
    network = population.network
    assert network.memory is not None
    actor, critic = network.split(population.parameters.detach())
    count = network.memory_parameters
    layers = [torch_gru(network.memory, row[policy, :count]) for row in (actor, critic)]
    states = [torch.zeros(1, 1, 5), torch.zeros(1, 1, 5)]
    after = []
    for inputs, _, dones, *_ in steps:
        observation = torch.as_tensor(inputs[policy, env]).view(1, 1, 3)
        states = [layer(observation, state)[1] for layer, state in zip(layers, states, strict=True)]
        after.append(torch.cat(states, dim=2).flatten())
        if dones[policy * ENVS + env]:
            states = [torch.zeros_like(state) for state in states]
    return after


@torch.no_grad()
def test_samples_are_the_sequences_of_each_environment() -> None:
    population, final, steps = collected(np.random.default_rng(0))
    rollout, network = population.rollout, population.network
    samples, _ = compute_advantages(rollout, network, population.parameters, final, 0.95)
    shape = (POLICIES, STEPS // LENGTH, ENVS, LENGTH, -1)
    split = {name: column.view(shape) for name, column in samples.items() if name != "state"}
    states = samples["state"].view(POLICIES, STEPS // LENGTH, ENVS, -1)
    actor, critic = network.split(population.parameters)
    again = network.values(critic, samples["observation"], memory_of(samples))
    torch.testing.assert_close(again, samples["value"])  # unrolled from the first state of each sequence
    _, ratios = probability_ratios(network, actor, samples)
    torch.testing.assert_close(ratios, torch.ones_like(ratios))
    for policy, env in np.ndindex(POLICIES, ENVS):
        after = plain_states(population, steps, policy, env)
        for step in range(STEPS):
            chunk, place = divmod(step, LENGTH)
            inputs, actions, _, _, _ = steps[STEPS + step]
            at = (policy, chunk, env, place)
            torch.testing.assert_close(split["observation"][at], torch.as_tensor(inputs[policy, env]))
            torch.testing.assert_close(split["action"][at], torch.as_tensor(actions[policy, env]))
            ended = steps[STEPS + step - 1][2][policy * ENVS + env]
            assert split["start"][at].item() == float(ended)
            value = network.critic(critic[:, network.memory_parameters :], after[STEPS + step][5:].expand(2, 1, 5))
            torch.testing.assert_close(split["value"][at], value[policy, 0])
            if place == 0:
                torch.testing.assert_close(states[policy, chunk, env], after[STEPS + step - 1])


@torch.no_grad()
def test_values_beyond_a_time_limit_are_those_of_the_episode_that_it_ends() -> None:
    population, _, steps = collected(np.random.default_rng(1))
    network = population.network
    assert network.memory is not None
    _, critic = network.split(population.parameters)
    inputs, _, dones, last, values = steps[-1]
    assert dones.any()
    for policy, env in np.ndindex(POLICIES, ENVS):
        state = plain_states(population, steps, policy, env)[-1][5:]
        layer = torch_gru(network.memory, critic[policy, : network.memory_parameters])
        _, after = layer(torch.as_tensor(last[policy, env]).view(1, 1, 3), state.view(1, 1, 5))
        expected = network.critic(critic[:, network.memory_parameters :], after.view(1, 1, 5).expand(2, 1, 5))
        np.testing.assert_allclose(values[policy, env], expected[policy, 0].numpy(), rtol=1e-4, atol=1e-5)
    fresh = population.values(inputs).reshape(-1, 2)[dones]
    assert not np.allclose(fresh, population.final_values(inputs).reshape(-1, 2)[dones])  # a new episode knows nothing


READERS: dict[str, Callable[[Population, Any], object]] = {
    "the next actions": lambda population, inputs: population.act(inputs, None, generator(2)),
    "an update": lambda population, _: population.settle(),
    "a checkpoint": lambda population, _: population.state_dict(),
    "other parameters": lambda population, _: population.load_training_state(0, population.training_state(1)),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_values_of_truncated_episodes_are_there_when_they_are_read(reader: Any) -> None:
    """They wait for the next actions, with which they cross from a GPU, unless somebody is earlier."""
    population, _, _ = collected(np.random.default_rng(2))
    rollout = population.rollout
    rollout.clear()
    inputs = np.random.default_rng(3).normal(size=(POLICIES, ENVS, 3)).astype(np.float32)
    actions = population.act(inputs, None, generator(1))
    truncated = np.array([True, False, True, False, False, True])
    rollout.add(inputs, actions, np.zeros((POLICIES * ENVS, 2)), np.zeros(POLICIES * ENVS, dtype=bool), truncated)
    expected = population.final_values(inputs + 1.0)
    population.bootstrap_truncated(inputs + 1.0)
    assert (rollout.bootstrap_values[0] == 0.0).all()
    reader(population, inputs)
    at = truncated.reshape(POLICIES, ENVS)
    np.testing.assert_array_equal(rollout.bootstrap_values[0][at], expected[at])
    assert (rollout.bootstrap_values[0][~at] == 0.0).all()


def test_a_rollout_that_was_discarded_waits_for_no_values() -> None:
    population, final, _ = collected(np.random.default_rng(2))
    before = population.rollout.bootstrap_values.copy()
    population.bootstrap_truncated(final)
    population.rollout.clear()
    population.act(final, None, generator(1))
    np.testing.assert_array_equal(population.rollout.bootstrap_values, before)


def test_minibatches_hold_whole_sequences() -> None:
    population, final, _ = collected(np.random.default_rng(0))
    samples, _ = compute_advantages(population.rollout, population.network, population.parameters, final, 0.95)
    number = torch.arange(POLICIES * ENVS * STEPS, dtype=torch.float32).view(POLICIES, -1, 1)
    samples["number"] = number
    parts = list(minibatches(samples, 2, generator(0)))
    assert [part["number"].shape for part in parts] == [(POLICIES, 3 * LENGTH, 1)] * 2
    assert [part["state"].shape for part in parts] == [(POLICIES, 3, 10)] * 2
    seen = torch.cat([part["number"].view(POLICIES, 3, LENGTH) for part in parts], dim=1)
    assert (seen[..., 1:] - seen[..., :-1] == 1.0).all()
    assert torch.equal(seen.flatten(1).sort(dim=1).values, number.squeeze(2))
    for part in parts:
        sequences = (part["number"].view(POLICIES, 3, LENGTH)[..., 0] % (ENVS * STEPS) / LENGTH).long()
        for policy in range(POLICIES):
            assert torch.equal(part["state"][policy], samples["state"][policy, sequences[policy]])
            rows = part["number"][policy, :, 0].long() % (ENVS * STEPS)
            assert torch.equal(part["observation"][policy], samples["observation"][policy, rows])
    thinned = thin_out(samples, 4)
    assert torch.equal(thinned["state"], samples["state"][:, ::4])
    assert torch.equal(thinned["number"][0].flatten(), torch.tensor([0.0, 1, 2, 3, 16, 17, 18, 19]))


def test_a_rollout_continues_where_it_was_saved() -> None:
    population, final, _ = collected(np.random.default_rng(0))
    rollout = population.rollout
    other = RolloutBuffer(POLICIES, ENVS, STEPS, rollout.sizes, 0.9, sequence_steps=LENGTH)
    other.load_state_dict(rollout.state_dict())
    for name in ("states", "starts", "running_states", "running_starts"):
        np.testing.assert_array_equal(getattr(other, name), getattr(rollout, name))
    assert rollout.running_states.any()

    remembered = population.values(final)
    rollout.reset_episodes()
    forgotten = population.values(final)
    rollout.running_states[:] = 0.0
    np.testing.assert_array_equal(forgotten, population.values(final))
    assert not np.array_equal(forgotten, remembered)


# --- Updates ----------------------------------------------------------------------------------------------------------


def learnable(discrete: bool, members: list[int]) -> tuple[Any, torch.Tensor, dict[str, torch.Tensor]]:
    """Return a network, parameters in float64, and samples of two rollouts' sequences, of some of the policies."""
    population, final, _ = collected(np.random.default_rng(0), discrete)
    network, parameters = population.network, population.parameters.detach().double()
    samples, _ = compute_advantages(population.rollout, network, population.parameters, final, 0.95)
    samples["advantage"] = normal(POLICIES, ENVS * STEPS, 1)
    own = {name: column[members].double() for name, column in samples.items()}
    return network, parameters[members].clone(), own


class Permutations:
    """Stands in for `torch.rand`: hands every population the permutations of the policies that it holds."""

    def __init__(self, members: list[int]) -> None:
        self.members = members
        self.calls = 0

    def __call__(self, policies: int, rows: int, **_: Any) -> torch.Tensor:
        self.calls += 1
        chances = np.random.default_rng(self.calls).random((POLICIES, rows))
        return torch.as_tensor(chances[self.members])


@pytest.mark.parametrize("discrete", [False, True])
def test_a_population_with_memory_learns_as_its_members_do(discrete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = torch.tensor([1e-2, 3e-3], dtype=torch.float64)

    def train(members: list[int]) -> torch.Tensor:
        monkeypatch.setattr(torch, "rand", Permutations(members))
        network, parameters, samples = learnable(discrete, members)
        parameters.requires_grad_()
        step = make_update(PPO(network, parameters, Adam(parameters, epsilon=1e-5), SETTINGS))
        ppo_update(step, samples, SETTINGS, rates[members], generator(0))
        return parameters.detach()

    together = train([0, 1])
    for member in range(POLICIES):
        torch.testing.assert_close(together[member], train([member])[0], rtol=0.0, atol=1e-8)
    assert (together - learnable(discrete, [0, 1])[1]).abs().max() > 1e-3


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Through time, both GRUs included: a step in a random direction changes the loss as the gradient says."""
    network, parameters, samples = learnable(False, [0, 1])

    def losses(rows: torch.Tensor) -> torch.Tensor:
        def surrogate(ratios: torch.Tensor, batch: Any) -> torch.Tensor:
            return -(ratios * batch["advantage"].squeeze(2)).mean(dim=1)

        return ppo_loss(network, rows, samples, PPOSettings(value_clip_range=1e9), surrogate)[0]

    leaf = parameters.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses(leaf).sum(), leaf)
    assert (gradient.abs() > 0).double().mean() > 0.9
    for seed in range(5):
        direction = normal(*parameters.shape, seed=seed + 10)
        change = (losses(parameters + 1e-6 * direction) - losses(parameters - 1e-6 * direction)) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(dim=1), change, rtol=1e-5, atol=1e-7)


def test_compiled_updates_refuse_a_memory(caplog: pytest.LogCaptureFixture) -> None:
    network, parameters, _ = learnable(True, [0, 1])
    ppo = PPO(network, parameters.float(), Adam(parameters.float()), SETTINGS)
    with pytest.raises(ValueError, match=r"backend is 'numba', but memory is 'gru', which only eager updates support"):
        make_update(ppo, "numba")
    with caplog.at_level("INFO", logger="morl"):
        assert make_update(ppo, "auto").backend == "eager"
    assert "Updates are executed by eager PyTorch: memory is 'gru'" in caplog.text
