"""SAC of a population: the compiled updates against the eager ones, whoever shares the work."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from morl.learning.off_policy import Hyperparameters
from morl.learning.sac import SAC
from morl.learning.sampled_batches import SampledBatches

STATE, ACTIONS, OBJECTIVES = 5, 2, 3
WEIGHTS = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]])
NUMBERS = Hyperparameters(
    discount=0.9,
    hidden_sizes=(12, 9),
    actor_learning_rate=1e-2,
    critic_learning_rate=5e-3,
    tau=0.05,
    policy_delay=2,
    temperature=None,
    target_entropy=-2.0,
    precision=torch.float32,
    shared_layers=0,
)


def build(policies: int = 3, **changes: Any) -> SAC:
    first = torch.Generator().manual_seed(1)
    sac = SAC(STATE, ACTIONS, OBJECTIVES, 3, replace(NUMBERS, **changes), first, torch.device("cpu"))
    if policies == 3:
        return sac
    alone = SAC(STATE, ACTIONS, OBJECTIVES, policies, replace(NUMBERS, **changes), first, torch.device("cpu"))
    for name, tensor in alone.tensors().items():
        tensor.copy_(sac.tensors()[name][:policies])
    return alone


def drawn(updates: int, policies: int = 3, size: int = 17) -> SampledBatches:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(policies, 40, 2 * STATE + ACTIONS + OBJECTIVES + 1, generator=generator)
    rows[..., STATE : STATE + ACTIONS].tanh_()
    rows[..., -1] = (rows[..., -1] > 1.0).float()
    index = torch.randint(40, (policies, updates, size), generator=generator)
    weight = WEIGHTS[:policies, None, None].expand(policies, updates, size, OBJECTIVES)
    nothing, noise = torch.zeros(policies, updates, size, 0), torch.zeros(policies, updates, 0, ACTIONS)
    return SampledBatches(rows, STATE, index, nothing, weight, noise, torch.ones(policies, OBJECTIVES))


def eagerly(sac: SAC, draws: SampledBatches, number: int, generator: torch.Generator) -> None:
    """Take the same updates one by one."""

    def worth(values: Tensor, _: Tensor) -> Tensor:
        return (values * WEIGHTS[: len(values)].view(len(values), *[1] * (values.dim() - 2), OBJECTIVES)).sum(dim=-1)

    policies = torch.arange(len(draws.rows)).unsqueeze(1)
    for update, index in enumerate(draws.index.unbind(dim=1)):
        parts = draws.rows[policies, index].split([STATE, ACTIONS, OBJECTIVES, STATE, 1], dim=-1)
        names = ("observation", "action", "reward", "next_observation", "terminated")
        sac.update(dict(zip(names, parts, strict=True)), worth, number + update, generator)


@pytest.mark.parametrize(
    "changes", [{}, {"policy_delay": 1, "temperature": 0.3}, {"policy_delay": 3, "hidden_sizes": (8,)}]
)
def test_compiled_equals_eager(changes: dict[str, Any]) -> None:
    eager, compiled = build(**changes), build(**changes)
    draws, here, there = drawn(7), torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    eagerly(eager, draws, 5, here)
    compiled.learn_linear(draws, 5, there)
    for name, tensor in eager.tensors().items():
        torch.testing.assert_close(compiled.tensors()[name], tensor, rtol=1e-3, atol=2e-4, msg=name)
    assert torch.equal(compiled.optimizers["actor"].steps, eager.optimizers["actor"].steps)
    assert torch.equal(compiled.optimizers["critic"].steps, eager.optimizers["critic"].steps)
    assert torch.equal(compiled.optimizers["temperature"].steps, eager.optimizers["temperature"].steps)
    for name, tensor in eager.diagnostics.items():
        torch.testing.assert_close(compiled.diagnostics[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
    assert torch.equal(here.get_state(), there.get_state())


@pytest.mark.parametrize("policies", [1, 3])
def test_results_do_not_depend_on_threads(policies: int) -> None:
    found = []
    for threads in (1, 2, 4):
        sac = build(policies, hidden_sizes=(70, 33))
        assert sac.compiled is not None
        sac.compiled.workers.count = threads  # whatever the machine has
        sac.learn_linear(drawn(5, policies, size=150), 0, torch.Generator().manual_seed(4))
        found.append({name: tensor.clone() for name, tensor in sac.tensors().items()})
    for other in found[1:]:
        for name, tensor in found[0].items():
            assert torch.equal(other[name], tensor), name


def test_actions_at_the_ends_of_their_range_have_finite_slopes() -> None:
    sac = build()
    sac.actors.data[:, -2 * ACTIONS : -ACTIONS] = torch.tensor([60.0, -60.0])  # biases of the means
    sac.learn_linear(drawn(4), 0, torch.Generator().manual_seed(4))
    assert all(torch.isfinite(tensor).all() for tensor in sac.tensors().values())


def test_an_update_never_reads_a_number() -> None:
    nowhere = torch.device("meta")  # tensors have shapes there, but no numbers: whoever asks for one fails
    sac = SAC(STATE, ACTIONS, OBJECTIVES, 3, NUMBERS, torch.Generator().manual_seed(1), nowhere)
    names = ("observation", "action", "reward", "next_observation", "terminated")
    widths = (STATE, ACTIONS, OBJECTIVES, STATE, 1)
    batch = {name: torch.zeros(3, 17, width, device=nowhere) for name, width in zip(names, widths, strict=True)}
    sac.update(batch, lambda values, _: values.sum(dim=-1), 0, None)  # type: ignore[arg-type]
    assert sac.diagnostics["entropy"].shape == (3, 1)
