"""The solvers of MORL/D: a population in one call equals its members one by one; with one objective, the textbook."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from morl.learning.discrete_sac import DiscreteSAC
from morl.learning.dqn import DQN
from morl.learning.off_policy import Hyperparameters, tie
from morl.learning.sac import SAC, squashed_gaussian
from morl.learning.shared_replay import SharedReplayBuffer

CPU = torch.device("cpu")
OBSERVATIONS, ACTIONS, OBJECTIVES = 4, 3, 2


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hyperparameters(**changes: Any) -> Hyperparameters:
    numbers: dict[str, Any] = {
        "discount": 0.9,
        "hidden_sizes": (8, 8),
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 2e-3,
        "tau": 0.05,
        "policy_delay": 2,
        "temperature": None,
        "target_entropy": -3.0,
        "precision": torch.float32,
        "shared_layers": 0,
    }
    return Hyperparameters(**numbers | changes)


WEIGHTS = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)


def linear(members: list[int]) -> Any:
    def worth(values: Tensor, observations: Tensor) -> Tensor:
        weights = WEIGHTS[members].view(len(members), *([1] * (values.dim() - 2)), OBJECTIVES)
        return (weights * values).sum(-1)

    return worth


def batches(kind: Any, count: int) -> list[dict[str, Tensor]]:
    random = generator(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def draw() -> dict[str, Tensor]:
        action = (
            normal(3, 16, ACTIONS).tanh() if kind is SAC else torch.randint(3, (3, 16, 1), generator=random).double()
        )
        batch = {"observation": normal(3, 16, OBSERVATIONS), "action": action, "reward": normal(3, 16, OBJECTIVES)}
        ends = (torch.rand(3, 16, 1, generator=random) < 0.2).double()
        return batch | {"next_observation": normal(3, 16, OBSERVATIONS), "terminated": ends}

    return [draw() for _ in range(count)]


def build(kind: Any, **changes: Any) -> Any:
    learner = kind(OBSERVATIONS, ACTIONS, OBJECTIVES, 3, hyperparameters(**changes), generator(1), CPU)
    return in_double(learner)


def in_double(learner: Any) -> Any:
    """Compute in float64, so that equality is not a matter of rounding."""
    for part in (learner, *getattr(learner, "optimizers", {"": getattr(learner, "optimizer", None)}).values()):
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                setattr(part, name, value.detach().double().requires_grad_(value.requires_grad))
    for name, optimizer in getattr(learner, "optimizers", {}).items():
        optimizer.parameters = {"actor": "actors", "critic": "critics", "temperature": "log_temperature"}[name]
        optimizer.parameters = getattr(learner, optimizer.parameters).detach()
    if hasattr(learner, "optimizer"):
        learner.optimizer.parameters = learner.parameters.detach()
    for optimizer in (
        *getattr(learner, "optimizers", {}).values(),
        *filter(None, [getattr(learner, "optimizer", None)]),
    ):
        optimizer.steps = optimizer.steps.float()
    return learner


@pytest.mark.parametrize("kind", [SAC, DiscreteSAC, DQN])
def test_training_a_population_equals_training_its_members(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start = build(kind).tensors()
    start = {name: value.clone() for name, value in start.items()}

    def train(members: list[int]) -> dict[str, Tensor]:
        learner = kind(OBSERVATIONS, ACTIONS, OBJECTIVES, len(members), hyperparameters(), generator(1), CPU)
        learner = in_double(learner)
        for name, value in learner.tensors().items():
            value.copy_(start[name][members])
        noise = generator(9)  # what a member draws does not depend on who trains beside it
        monkeypatch.setattr(torch, "randn", lambda *shape, **_: draw(noise, *shape)[members])
        for number, batch in enumerate(drawn):
            learner.update({name: value[members] for name, value in batch.items()}, linear(members), number, None)
        monkeypatch.undo()
        return learner.tensors()

    real = torch.randn

    def draw(noise: torch.Generator, *shape: int) -> Tensor:
        return real(3, *shape[1:], generator=noise, dtype=torch.float64)

    drawn = batches(kind, 12)
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
    batches = rings.sample(np.array(sources), 400, generator(0), batches=5)
    assert len(batches) == 5
    for policy, mine in enumerate(sources):
        drawn = torch.cat([torch.cat([batch["ring"], batch["number"]], dim=2)[policy] for batch in batches]).int()
        found, counts = np.unique(drawn.numpy(), axis=0, return_counts=True)
        expected = sorted(pair for ring in mine for pair in held[ring])
        assert [tuple(pair) for pair in found.tolist()] == expected
        share = 2000 / len(expected)
        assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()
    again = SharedReplayBuffer(8, {"ring": 1, "number": 1}, CPU, 3)
    again.load_state_dict(rings.state_dict())
    one, other = (each.sample(np.array(sources), 50, generator(4))[0]["number"] for each in (rings, again))
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match="rings are"):
        SharedReplayBuffer(8, {"ring": 1}, CPU, 3).load_state_dict(rings.state_dict())


def test_tied_entries_learn_from_all() -> None:
    gradient = torch.tensor([[1.0, 5.0], [3.0, 7.0]])
    assert tie(gradient.clone(), 1).tolist() == [[2.0, 5.0], [2.0, 7.0]]
    assert tie(gradient.clone(), 0).tolist() == gradient.tolist()
