"""The solvers of MORL/D: a population in one call equals its members one by one; with one objective, the textbook."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN, DQNSettings
from morl.learning.off_policy import average_shared_gradient
from morl.learning.sac import SAC, SACSettings, squashed_gaussian
from morl.learning.sampled_batches import Batch
from morl.learning.shared_replay import SharedReplayBuffer

CPU = torch.device("cpu")
OBSERVATIONS, ACTIONS, OBJECTIVES = 4, 3, 2


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


WEIGHTS = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)


def linear(members: list[int]) -> Any:
    def utility(values: Tensor, observations: Tensor) -> Tensor:
        weights = WEIGHTS[members].view(len(members), *([1] * (values.dim() - 2)), OBJECTIVES)
        return (weights * values).sum(-1)

    return utility


def columns(kind: Any, count: int) -> list[dict[str, Tensor]]:
    random = generator(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(3, *shape, generator=random, dtype=torch.float64)

    def draw() -> dict[str, Tensor]:
        choices = torch.randint(3, (3, 16, 1), generator=random).double()
        return {
            "observation": normal(16, OBSERVATIONS),
            "action": normal(16, ACTIONS).tanh() if kind is SAC else choices,
            "reward": normal(16, OBJECTIVES),
            "next_observation": normal(16, OBSERVATIONS),
            "terminated": (torch.rand(3, 16, 1, generator=random) < 0.2).double(),
            "noise": normal(3, 16, ACTIONS),
        }

    return [draw() for _ in range(count)]


def build(kind: Any, policies: int = 3) -> Any:
    """Return an algorithm that computes in float64, so that equality is not a matter of rounding."""
    common: dict[str, Any] = {"discount": 0.9, "hidden_sizes": (8, 8), "tau": 0.05, "precision": "float64"}
    settings: Any = DQNSettings(**common, learning_rate=2e-3)
    if kind is not DQN:
        rates = {"actor_learning_rate": 1e-3, "critic_learning_rate": 2e-3}
        settings = SACSettings(**common, **rates, target_entropy=-3.0)
    return kind(OBSERVATIONS, ACTIONS, OBJECTIVES, settings, policies, generator(1), CPU)


@pytest.mark.parametrize("kind", [SAC, DiscreteSAC, DQN])
def test_training_a_population_equals_training_its_members(kind: Any) -> None:
    start = {name: value.clone() for name, value in build(kind).tensors().items()}
    drawn = columns(kind, 12)

    def train(members: list[int]) -> dict[str, Tensor]:
        algorithm = build(kind, len(members))
        for name, value in algorithm.tensors().items():
            value.copy_(start[name][members])
        for each in drawn:
            algorithm.update(Batch(**{name: value[members] for name, value in each.items()}, utility=linear(members)))
        return algorithm.tensors()

    together = train([0, 1, 2])
    assert not torch.equal(together["actor"], start["actor"])
    for member in range(3):
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
def test_a_sample_is_uniform_over_all_rings_that_a_policy_may_draw_from(sources: list[list[int]]) -> None:
    rings = SharedReplayBuffer(8, {"ring": 1, "number": 1}, CPU, 3)
    for ring, count in enumerate((3, 11, 6)):  # the second has gone round
        for number in range(count):
            values = {"ring": torch.full((1, 1, 1), float(ring)), "number": torch.full((1, 1, 1), float(number))}
            rings.add(np.array([ring]), **values)
    held = [[(0, n) for n in range(3)], [(1, n) for n in range(3, 11)], [(2, n) for n in range(6)]]
    assert rings.sizes.tolist() == [3, 8, 6]
    index = rings.sample_indices(np.array(sources), 400, generator(0), batches=5)
    assert index.shape == (3, 5, 400)
    for policy, mine in enumerate(sources):
        drawn = rings.rows[index[policy].flatten()].int()
        found, counts = np.unique(drawn.numpy(), axis=0, return_counts=True)
        expected = sorted(pair for ring in mine for pair in held[ring])
        assert [tuple(pair) for pair in found.tolist()] == expected
        share = 2000 / len(expected)
        assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()
    again = SharedReplayBuffer(8, {"ring": 1, "number": 1}, CPU, 3)
    again.load_state_dict(rings.state_dict())
    index = rings.sample_indices(np.array(sources), 50, generator(4))
    assert torch.equal(index, again.sample_indices(np.array(sources), 50, generator(4)))
    assert torch.equal(rings.rows[index], again.rows[index])
    with pytest.raises(ValueError, match="rings are"):
        SharedReplayBuffer(8, {"ring": 1}, CPU, 3).load_state_dict(rings.state_dict())


def test_shared_parameters_learn_from_all() -> None:
    gradient = torch.tensor([[1.0, 5.0], [3.0, 7.0]])
    assert average_shared_gradient(gradient.clone(), 1).tolist() == [[2.0, 5.0], [2.0, 7.0]]
    assert average_shared_gradient(gradient.clone(), 0).tolist() == gradient.tolist()
