"""Proximal policy optimization of a population: each part beside a plain reference, the whole beside its members."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.learning.actions import action_map
from morl.learning.advantages import compute_advantages, generalized_advantages, scalar_advantages
from morl.learning.backends import make_update
from morl.learning.distributions import Categorical, DiagonalGaussian
from morl.learning.networks import MultilayerPerceptron
from morl.learning.normalization import RunningMeanStd
from morl.learning.optimizers import Adam, clip_norms
from morl.learning.population import Population, initial_states
from morl.learning.ppo import (
    PPO,
    ActorCritic,
    PPOSettings,
    actor_critic,
    clipped_surrogate,
    clipped_value_loss,
    minibatches,
    ppo_update,
)
from morl.learning.rollouts import RolloutBuffer, TransitionSizes

CPU = torch.device("cpu")
BOX, CHOICE = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(4)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


# --- Distributions ----------------------------------------------------------------------------------------------------


def gaussian(seed: int = 0) -> DiagonalGaussian:
    return DiagonalGaussian(normal(2, 5, 3, seed=seed), 0.3 * normal(2, 1, 3, seed=seed + 1))


def categorical(seed: int = 0, mask: torch.Tensor | None = None) -> Categorical:
    return Categorical.masked(normal(2, 5, 4, seed=seed), mask)


def test_gaussians_are_those_of_torch() -> None:
    policy, other = gaussian(), gaussian(7)
    plain = torch.distributions.Normal(policy.mean, policy.log_std.exp())
    plain_other = torch.distributions.Normal(other.mean, other.log_std.exp())
    actions = normal(2, 5, 3, seed=3)
    torch.testing.assert_close(policy.log_probability(actions), plain.log_prob(actions).sum(-1))
    torch.testing.assert_close(policy.entropy().expand(2, 5), plain.entropy().expand(2, 5, 3).sum(-1))
    expected = torch.distributions.kl_divergence(plain, plain_other).sum(-1)
    torch.testing.assert_close(policy.divergence(other), expected)
    assert torch.equal(policy.mode(), policy.mean)


def test_categories_are_those_of_torch() -> None:
    policy, other = categorical(), categorical(9)
    plain = torch.distributions.Categorical(logits=policy.log_probabilities)
    choices = torch.tensor([[0, 1, 2, 3, 0], [3, 3, 1, 0, 2]])
    torch.testing.assert_close(policy.log_probability(choices.unsqueeze(2).double()), plain.log_prob(choices))
    torch.testing.assert_close(policy.entropy(), plain.entropy())
    expected = torch.distributions.kl_divergence(plain, torch.distributions.Categorical(logits=other.log_probabilities))
    torch.testing.assert_close(policy.divergence(other), expected)


def test_samples_follow_the_probabilities() -> None:
    chances = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    many = Categorical(chances.log().expand(1, 40_000, 4))
    counts = torch.bincount(many.sample(generator(0)).long().flatten(), minlength=4) / 40_000
    torch.testing.assert_close(counts.double(), chances, atol=0.01, rtol=0.0)
    wide = DiagonalGaussian(torch.full((1, 40_000, 1), 3.0), torch.full((1, 1, 1), 0.5).log())
    drawn = wide.sample(generator(1))
    assert abs(drawn.mean().item() - 3.0) < 0.01
    assert abs(drawn.std().item() - 0.5) < 0.01


def test_a_mask_forbids() -> None:
    mask = torch.tensor([[True, False, True, False], [False, False, False, False]]).repeat(1, 5).view(2, 5, 4)
    logits = normal(2, 5, 4).requires_grad_()
    policy = Categorical.masked(logits, mask)
    drawn = torch.stack([policy.sample(generator(seed)) for seed in range(200)]).long()
    assert set(drawn[:, 0].flatten().tolist()) == {0, 2}
    assert set(drawn[:, 1].flatten().tolist()) == {0, 1, 2, 3}  # nothing allowed: everything is
    assert torch.isfinite(policy.entropy()).all()
    assert torch.isfinite(policy.divergence(categorical(4, mask))).all()
    (gradient,) = torch.autograd.grad(policy.entropy().sum(), logits)
    assert torch.isfinite(gradient).all()
    assert (gradient[0][:, [1, 3]] == 0).all()


# --- Networks ---------------------------------------------------------------------------------------------------------


def test_orthogonal_weights() -> None:
    network = MultilayerPerceptron((6, 9, 9, 3), activation="tanh")
    parameters = network.initialize_orthogonal(4, generator(0), last_gain=0.01)
    assert parameters.shape == (4, network.num_parameters)
    sizes = [54, 9, 81, 9, 27, 3]
    first, bias, second, _, last, _ = torch.split(parameters, sizes, dim=1)
    for policy in range(4):
        wide = first[policy].view(6, 9)
        torch.testing.assert_close(wide @ wide.T, torch.eye(6), atol=1e-5, rtol=0.0)
        square = second[policy].view(9, 9)
        torch.testing.assert_close(square @ square.T, torch.eye(9), atol=1e-5, rtol=0.0)
        narrow = last[policy].view(9, 3)
        torch.testing.assert_close(narrow.T @ narrow, 1e-4 * torch.eye(3), atol=1e-8, rtol=0.0)
    assert (bias == 0).all()
    assert not torch.equal(parameters[0], parameters[1])


def test_tanh_networks_equal_plain_layers() -> None:
    network = MultilayerPerceptron((3, 5, 2), activation="tanh")
    parameters, inputs = normal(1, network.num_parameters), normal(1, 7, 3, seed=1)
    first, bias, second, last = (part[0] for part in torch.split(parameters, [15, 5, 10, 2], dim=1))
    expected = torch.tanh(inputs[0] @ first.view(3, 5) + bias) @ second.view(5, 2) + last
    torch.testing.assert_close(network(parameters, inputs)[0], expected)


@pytest.mark.parametrize("space", [spaces.MultiBinary(3), spaces.Box(0, 5, (2,), np.int64), spaces.Text(3)])
def test_other_actions_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match=r"action_space is .*Discrete or a Box"):
        actor_critic(3, space, 2, (8,))


def test_actions_of_the_environment() -> None:
    actions = np.array([[-3.0, 0.5], [0.2, 7.0]], dtype=np.float32)
    np.testing.assert_array_equal(action_map(BOX)(actions), np.array([[-1.0, 0.5], [0.2, 1.0]], dtype=np.float32))
    degrees = spaces.Box(np.float32([10.0, -0.4]), np.float32([30.0, 0.4]))  # [-1, 1] to the policy, whatever the units
    np.testing.assert_allclose(action_map(degrees)(actions), [[10.0, 0.2], [22.0, 0.4]], rtol=1e-6)
    half_open = spaces.Box(0.0, np.inf, (2,))
    np.testing.assert_array_equal(action_map(half_open)(actions), np.array([[0.0, 0.5], [0.2, 7.0]], dtype=np.float32))
    choices = action_map(spaces.Discrete(3, start=-1))(np.array([[0.0], [2.0]]))
    np.testing.assert_array_equal(choices, [-1, 1])


# --- Adam -------------------------------------------------------------------------------------------------------------


def test_rates_in_a_tensor_make_the_same_steps() -> None:
    start, rates = normal(3, 17), torch.tensor([1e-2, 1e-3, 0.5], dtype=torch.float64)
    one, other = start.clone(), start.clone()
    batched, single = Adam(one, epsilon=1e-5), Adam(other, epsilon=1e-5)
    for step in range(20):
        gradient = normal(3, 17, seed=step) * 10.0 ** (step % 5 - 3)
        batched.step(gradient, rates)
        single.step(gradient, rates.tolist())
    torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_gradients_are_cut_policy_by_policy() -> None:
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    clipped = clip_norms(gradient.clone(), 1.0)
    torch.testing.assert_close(clipped, torch.tensor([[0.6, 0.8], [0.3, 0.4]]), atol=1e-5, rtol=0.0)


# --- The mathematics --------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000), discount=st.sampled_from([0.0, 0.9, 1.0]), gae_lambda=st.sampled_from([0.0, 0.95, 1.0])
)
def test_advantages_equal_the_sum_of_errors(seed: int, discount: float, gae_lambda: float) -> None:
    random = np.random.default_rng(seed)
    steps, objectives = 9, 2
    rewards, values, following = random.normal(size=(3, steps, 1, objectives))
    dones = random.random((steps, 1)) < 0.3
    found = generalized_advantages(
        rewards=torch.tensor(rewards),
        values=torch.tensor(values),
        next_values=torch.tensor(following),
        dones=torch.tensor(dones),
        discount=discount,
        gae_lambda=gae_lambda,
    )
    errors = rewards + discount * following - values
    for step in range(steps):
        expected, factor = np.zeros((1, objectives)), 1.0
        for later in range(step, steps):
            expected += factor * errors[later]
            factor *= discount * gae_lambda
            if dones[later, 0]:
                break
        np.testing.assert_allclose(found[step].numpy(), expected, atol=1e-12)


def test_scalar_advantages_are_standard_and_weighted() -> None:
    advantages, weights = normal(3, 50, 2), torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]], dtype=torch.float64)
    found = scalar_advantages(advantages, weights)
    mixed = (advantages * weights.unsqueeze(1)).sum(-1)
    expected = (mixed - mixed.mean(1, keepdim=True)) / (mixed.std(1, keepdim=True) + 1e-5)
    torch.testing.assert_close(found, expected)
    still = scalar_advantages(torch.zeros(1, 50, 2, dtype=torch.float64), weights[:1])
    assert (still == 0).all()  # an objective that never changes
    assert torch.isfinite(scalar_advantages(advantages[:, :1], weights)).all()  # a single sample


def test_clipping() -> None:
    ratios, advantages = torch.tensor([0.5, 1.5, 0.5, 1.5]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert clipped_surrogate(ratios, advantages, 0.2).tolist() == pytest.approx([0.5, 1.2, -0.8, -1.5])
    values, before = torch.tensor([2.0, 1.1]), torch.tensor([1.0, 1.0])
    targets = torch.tensor([3.0, 0.0])
    assert clipped_value_loss(values, before, targets, 0.2).tolist() == pytest.approx([0.5 * 1.8**2, 0.5 * 1.1**2])


def test_minibatches_are_permutations_of_their_own() -> None:
    numbers = torch.arange(20.0).repeat(3, 1).unsqueeze(2) + 100.0 * torch.arange(3.0).view(3, 1, 1)
    columns = {"number": numbers, "pair": torch.cat([numbers, -numbers], dim=2)}
    parts = list(minibatches(columns, 4, generator(0)))
    assert [tuple(part["pair"].shape) for part in parts] == [(3, 5, 2)] * 4
    together = torch.cat([part["number"] for part in parts], dim=1).squeeze(2)
    for policy in range(3):
        assert sorted(together[policy].tolist()) == numbers[policy].flatten().tolist()
    assert (together[0] != together[1] - 100.0).any()
    for part in parts:
        assert torch.equal(part["pair"], torch.cat([part["number"], -part["number"]], dim=2))
    left_out = torch.cat([part["number"] for part in minibatches(columns, 3, generator(1))], dim=1)
    assert left_out.shape == (3, 18, 1)


# --- The update -------------------------------------------------------------------------------------------------------

EPOCHS = PPOSettings(epochs=3, minibatches=4, entropy_weight=0.01)
RAND = torch.rand


def learnable(network: ActorCritic, policies: int, discrete: bool, count: int = 32) -> dict[str, torch.Tensor]:
    choices = torch.randint(4, (policies, count, 1), generator=generator(8)).double()
    samples = {
        "observation": normal(policies, count, 5),
        "action": choices if discrete else normal(policies, count, 2, seed=1),
        "log_probability": 0.1 * normal(policies, count, 1, seed=2) - 1.5,
        "value": normal(policies, count, 3, seed=3),
        "target": normal(policies, count, 3, seed=4),
        "advantage": normal(policies, count, 1, seed=5),
    }
    if discrete:
        allowed = torch.rand(policies, count, 4, generator=generator(6)) < 0.7
        samples["mask"] = allowed.scatter(2, choices.long(), True).double()
    return samples


class Permutations:
    """Stands in for a generator: hands every population the permutations of the policies it holds."""

    def __init__(self, members: list[int]) -> None:
        self.members = members
        self.calls = 0

    def chances(self, shape: tuple[int, int]) -> torch.Tensor:
        self.calls += 1
        whole = RAND(3, shape[1], generator=generator(self.calls))
        return whole[self.members]


@pytest.mark.parametrize("discrete", [False, True])
def test_a_population_learns_as_its_members_do(discrete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = actor_critic(5, CHOICE if discrete else BOX, 3, (8, 8))
    start = network.initialize(3, generator(0)).double()
    samples = learnable(network, 3, discrete)
    rates = torch.tensor([1e-2, 3e-3, 1e-3], dtype=torch.float64)

    def train(members: list[int]) -> torch.Tensor:
        permutations = Permutations(members)
        monkeypatch.setattr(torch, "rand", lambda *shape, **_: permutations.chances(shape))
        parameters = start[members].clone().requires_grad_()
        optimizer = Adam(parameters, epsilon=1e-5)
        own = {name: column[members] for name, column in samples.items()}
        for _ in range(3):
            step = make_update(PPO(network, parameters, optimizer, EPOCHS))
            ppo_update(step, own, EPOCHS, rates[members], generator(0))
        monkeypatch.setattr(torch, "rand", RAND)
        return parameters.detach()

    together = train([0, 1, 2])
    for member in range(3):
        torch.testing.assert_close(together[member], train([member])[0], rtol=0.0, atol=1e-6)
    assert (together - start).abs().max() > 1e-3


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("hidden", [(8,), (8, 6), (7, 5, 9)])
def test_compiled_steps_equal_the_eager_ones(discrete: bool, hidden: tuple[int, ...]) -> None:
    network = actor_critic(5, CHOICE if discrete else BOX, 3, hidden)
    start = network.initialize(3, generator(0))
    start += 0.1 * torch.randn(start.shape, generator=generator(1))
    samples = {name: column.float() for name, column in learnable(network, 3, discrete).items()}
    rates = torch.tensor([1e-2, 3e-3, 1e-3])

    def squared(ratios: torch.Tensor, batch: Any) -> torch.Tensor:
        return (ratios * batch["advantage"].squeeze(2)).square().mean(dim=1)

    def nothing(ratios: torch.Tensor, batch: Any) -> torch.Tensor:
        return torch.zeros_like(ratios[:, 0])

    results = []
    for backend in ("eager", "numba"):
        parameters, random = start.clone().requires_grad_(), generator(2)
        optimizer = Adam(parameters, epsilon=1e-5)
        step = make_update(PPO(network, parameters, optimizer, EPOCHS), backend)
        assert step.backend == backend
        for loss in (None, squared, nothing):
            for batch in minibatches(samples, 4, random):
                ratios = step(batch, rates, loss)
        results.append([parameters.detach(), ratios, *optimizer.state_dict().values()])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=2e-6)
    assert (results[0][0] - start).abs().max() > 1e-3


def test_a_bandit_is_solved() -> None:
    """Two policies, opposite weights: each finds the arm that pays its own objective."""
    network = actor_critic(1, CHOICE, 2, (8,))
    paid = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.4, 0.4], [0.0, 0.0]])
    parameters = network.initialize(2, generator(0)).requires_grad_()
    optimizer, random = Adam(parameters), generator(1)
    observations, weights = torch.ones(2, 64, 1), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    epochs, rates = PPOSettings(epochs=4, minibatches=2), torch.full((2,), 0.01)
    for _ in range(40):
        with torch.no_grad():
            actor, critic = network.split(parameters)
            policy = network.distribution(actor, observations)
            actions = policy.sample(random)
            values = network.critic(critic, observations)
            targets = paid[actions.squeeze(2).long()]
            advantages = scalar_advantages(targets - values, weights).unsqueeze(2)
            samples = {"observation": observations, "action": actions, "value": values, "target": targets}
            samples |= {"advantage": advantages, "log_probability": policy.log_probability(actions).unsqueeze(2)}
        ppo_update(make_update(PPO(network, parameters, optimizer, epochs)), samples, epochs, rates, random)
    actor, _ = network.split(parameters.detach())
    chances = network.distribution(actor, observations[:, :1]).log_probabilities.exp()[:, 0]  # type: ignore[union-attr]
    assert chances[0, 0] > 0.9
    assert chances[1, 1] > 0.9


# --- Rollouts ---------------------------------------------------------------------------------------------------------


def test_a_rollout_equals_plain_bookkeeping() -> None:
    """Random episodes of two policies in three environments each, beside a plain loop over environments."""
    random = np.random.default_rng(0)
    policies, envs = 2, 3
    steps = 14
    gamma, gae_lambda = 0.9, 0.8
    network = actor_critic(2, BOX, 2, (6,))
    sizes = TransitionSizes(observation=2, action=2, objectives=2)
    rollout = RolloutBuffer(policies, envs, steps, sizes, gamma)
    population = Population(network, rollout, CPU)
    for policy, state in enumerate(initial_states(network, policies, sizes, seed=3)):
        population.load_training_state(policy, state)
    plain = RunningMeanStd((policies, 2))
    sums = np.zeros((6, 2))
    for _ in range(3):  # an earlier rollout: the episodes that it leaves under way continue
        rewards = random.normal(size=(6, 2))
        rollout.add(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), rewards, np.arange(6) == 5, np.zeros(6, dtype=bool))
        sums = gamma * sums + rewards
        sums[5] = 0.0
    rollout.clear()
    input_rows, reward_rows = [], []
    done_rows, bootstrap_rows = [], []
    sum_rows = []
    observations = random.normal(3.0, 2.0, size=(6, 2))
    for _ in range(steps):
        plain.update(observations.reshape(2, 3, 2).swapaxes(0, 1))
        inputs = rollout.normalize_and_update(observations)
        expected = (observations.reshape(2, 3, 2) - plain.mean[:, None]) / np.sqrt(plain.variance[:, None] + 1e-8)
        np.testing.assert_allclose(inputs, np.clip(expected, -10, 10), rtol=1e-5)
        actions = population.act(inputs, None, generator(1))
        rewards = random.normal(size=(6, 2)) * [1.0, 50.0]
        terminated = random.random(6) < 0.15
        truncated = random.random(6) < 0.15
        rollout.add(inputs, actions, rewards, terminated, truncated)
        values = population.values(rollout.normalize(random.normal(size=(6, 2)))).reshape(6, 2)
        rollout.bootstrap_truncated(values.reshape(2, 3, 2))
        sums = gamma * sums + rewards
        sum_rows.append(sums.copy())
        sums[terminated | truncated] = 0.0
        input_rows.append(inputs.reshape(6, 2))
        reward_rows.append(rewards)
        done_rows.append(terminated | truncated)
        bootstrap_rows.append(np.where((truncated & ~terminated)[:, None], values, 0.0))
        observations = random.normal(3.0, 2.0, size=(6, 2))
    assert rollout.full

    final = rollout.normalize(observations)
    samples, sigma = compute_advantages(rollout, network, population.parameters, final, gae_lambda)
    grouped = np.array(sum_rows).reshape(steps, 2, 3, 2).swapaxes(1, 2).reshape(-1, 2, 2)
    np.testing.assert_allclose(sigma.numpy(), grouped.std(axis=0), rtol=1e-5)
    values = population.values(np.array(input_rows).reshape(steps, 2, 3, 2).swapaxes(0, 1).reshape(2, -1, 2))
    values = values.reshape(2, steps, 3, 2)
    after = population.values(final)
    for env in range(6):
        policy, place = divmod(env, 3)
        advantage = np.zeros(2)
        for step in reversed(range(steps)):
            own = values[policy, step, place]
            following = after[policy, place] if step == steps - 1 else values[policy, step + 1, place]
            if done_rows[step][env]:
                following, advantage = bootstrap_rows[step][env], np.zeros(2)
            reward = reward_rows[step][env] / sigma[policy].numpy()
            advantage = np.clip(reward, -10, 10) + gamma * following - own + gamma * gae_lambda * advantage
            found = samples["target"].view(2, steps, 3, 2)[policy, step, place].numpy()
            np.testing.assert_allclose(found, advantage + own, rtol=1e-4, atol=1e-4)


def test_a_reset_discards_the_rollout_and_restarts_the_sums() -> None:
    rollout = RolloutBuffer(1, 2, 4, TransitionSizes(observation=1, action=1, objectives=1), 0.5)
    no_end = np.zeros(2, dtype=bool)
    for reward in (8.0, 8.0):
        rollout.add(np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), np.full((2, 1), reward), no_end, no_end)
    rollout.reset_episodes()
    assert rollout.filled == 0
    rollout.add(np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), np.ones((2, 1)), no_end, no_end)
    assert (rollout.discounted_sums[0] == 1.0).all()


def test_a_policy_continues_from_its_training_state_anywhere() -> None:
    network = actor_critic(2, BOX, 2, (6,))
    sizes = TransitionSizes(observation=2, action=2, objectives=2)
    states = initial_states(network, 3, sizes, seed=3)
    one, other = (Population(network, RolloutBuffer(2, 1, 4, sizes, 0.9), CPU) for _ in range(2))
    one.load_training_state(0, states[0])
    one.load_training_state(1, states[2])
    one.rollout.normalize_and_update(np.arange(4.0).reshape(2, 2))
    one.optimizer.step(torch.ones_like(one.parameters), torch.tensor([0.1, 0.2]))
    other.load_training_state(0, one.training_state(1))
    kept = other.training_state(0)
    assert torch.equal(kept["parameters"], one.parameters[1])
    assert kept["steps"] == 1.0
    np.testing.assert_array_equal(kept["observation_statistics"]["mean"], [2.0, 3.0])
    other.optimizer.step(torch.ones_like(one.parameters), torch.tensor([0.1, 0.2]))
    assert torch.equal(kept["parameters"], one.parameters[1])  # a copy
