"""Off-policy algorithms of a population: one call for all equals its members one by one; what they sample and share."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN, DQNSettings
from morl.learning.off_policy import average_shared_gradient
from morl.learning.sac import SAC, SACSettings, squashed_gaussian
from morl.learning.sampled_batches import Batch, linear_utility
from morl.learning.shared_replay import SharedReplayBuffer

CPU = torch.device("cpu")
OBSERVATIONS = 4
ACTIONS = 3
OBJECTIVES = 2
POLICIES = 3
SIZE = 16
WEIGHTS = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def algorithm(kind: Any, policies: int) -> Any:
    """Build a population that computes in float64, so that equality is not a matter of rounding."""
    common: dict[str, Any] = {"discount": 0.9, "hidden_sizes": (8, 8), "tau": 0.05, "precision": "float64"}
    settings = DQNSettings(**common) if kind is DQN else SACSettings(target_entropy=-3.0, **common)
    return kind(OBSERVATIONS, ACTIONS, OBJECTIVES, settings, policies, generator(1), CPU)


def batches(kind: Any, count: int) -> list[dict[str, Tensor]]:
    random = generator(3)
    noise = algorithm(kind, POLICIES).sample_noise(count, SIZE, random).double()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def draw(update: int) -> dict[str, Tensor]:
        continuous = normal(POLICIES, SIZE, ACTIONS).tanh()
        discrete = torch.randint(ACTIONS, (POLICIES, SIZE, 1), generator=random).double()
        return {
            "observation": normal(POLICIES, SIZE, OBSERVATIONS),
            "action": continuous if kind is SAC else discrete,
            "reward": normal(POLICIES, SIZE, OBJECTIVES),
            "next_observation": normal(POLICIES, SIZE, OBSERVATIONS),
            "terminated": (torch.rand(POLICIES, SIZE, 1, generator=random) < 0.2).double(),
            "noise": noise[:, update],
            "weight": WEIGHTS.unsqueeze(1).expand(-1, SIZE, -1),
        }

    return [draw(update) for update in range(count)]


@pytest.mark.parametrize("kind", [SAC, DiscreteSAC, DQN])
def test_training_a_population_equals_training_its_members(kind: Any) -> None:
    start = {name: value.clone() for name, value in algorithm(kind, POLICIES).tensors().items()}
    sampled = batches(kind, 12)

    def train(members: list[int]) -> dict[str, Tensor]:
        population = algorithm(kind, len(members))
        for name, value in population.tensors().items():
            value.copy_(start[name][members])
        for columns in sampled:
            rows = {name: column[members] for name, column in columns.items()}
            population.update(Batch(**rows, utility=linear_utility(rows["weight"])))
        tensors: dict[str, Tensor] = population.tensors()
        return tensors

    together = train([0, 1, 2])
    assert not torch.equal(together["actor"], start["actor"])
    for member in range(POLICIES):
        alone = train([member])
        for name, value in together.items():
            torch.testing.assert_close(value[member], alone[name][0], rtol=1e-9, atol=1e-9)


def test_a_squashed_gaussian_has_the_density_of_its_actions() -> None:
    outputs = torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    noise = torch.randn(50, 1, generator=generator(2), dtype=torch.float64)
    actions, log_probabilities = squashed_gaussian(outputs, noise)
    mean, raw = outputs.chunk(2, dim=-1)
    normal = torch.distributions.Normal(mean, (-5.0 + 3.5 * (raw.tanh() + 1.0)).exp())
    squash = torch.distributions.transforms.TanhTransform()
    reference = torch.distributions.TransformedDistribution(normal, [squash])
    inside = actions.abs().squeeze(-1) < 0.999  # nearer to the ends the reference itself is inaccurate
    assert inside.sum() > 20
    expected = reference.log_prob(actions).squeeze(-1)
    torch.testing.assert_close(log_probabilities[inside], expected[inside], rtol=1e-6, atol=1e-6)
    assert torch.isfinite(squashed_gaussian(outputs * 100, noise * 100)[1]).all()


@pytest.mark.parametrize("sources", [[[0], [1], [2]], [[0, 1], [1, 2], [2, 0]], [[0, 1, 2]] * 3])
def test_a_sample_is_uniform_over_all_buffers_that_a_policy_samples_from(sources: list[list[int]]) -> None:
    replay = SharedReplayBuffer(8, {"buffer": 1, "number": 1}, CPU, 3)
    for buffer, count in enumerate((3, 11, 6)):  # the second has wrapped around
        for number in range(count):
            values = {"buffer": torch.full((1, 1, 1), float(buffer)), "number": torch.full((1, 1, 1), float(number))}
            replay.add(np.array([buffer]), **values)
    stored = [[(0, n) for n in range(3)], [(1, n) for n in range(3, 11)], [(2, n) for n in range(6)]]
    assert replay.sizes.tolist() == [3, 8, 6]
    index = replay.sample_indices(np.array(sources), 400, generator(0), batches=5)
    assert index.shape == (3, 5, 400)
    for policy, own in enumerate(sources):
        rows = replay.rows[index[policy].flatten()].int().numpy()
        found, counts = np.unique(rows, axis=0, return_counts=True)
        expected = sorted(pair for buffer in own for pair in stored[buffer])
        assert [tuple(pair) for pair in found.tolist()] == expected
        mean = 2000 / len(expected)
        assert (np.abs(counts - mean) < 5 * np.sqrt(mean)).all()
    restored = SharedReplayBuffer(8, {"buffer": 1, "number": 1}, CPU, 3)
    restored.load_state_dict(replay.state_dict())
    samples = [each.rows[each.sample_indices(np.array(sources), 50, generator(4))] for each in (replay, restored)]
    assert torch.equal(*samples)
    with pytest.raises(ValueError):
        SharedReplayBuffer(8, {"buffer": 1}, CPU, 3).load_state_dict(replay.state_dict())


def test_shared_parameters_are_trained_by_all_policies() -> None:
    gradient = torch.tensor([[1.0, 5.0], [3.0, 7.0]])
    assert average_shared_gradient(gradient.clone(), 1).tolist() == [[2.0, 5.0], [2.0, 7.0]]
    assert average_shared_gradient(gradient.clone(), 0).tolist() == gradient.tolist()
