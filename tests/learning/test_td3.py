"""TD3 of a population: the compiled update against the eager one, members against the population."""

from typing import Any

import pytest
import torch

from morl.learning.sampled_batches import SampledBatches
from morl.learning.td3 import TD3, TD3Settings

CPU = torch.device("cpu")


def build(seeds: tuple[int, ...] = (3, 4, 5), compiled: bool = True, **settings: Any) -> TD3:
    widths = settings.pop("hidden_sizes", (12, 9))
    td3 = TD3(5, 2, 3, TD3Settings(hidden_sizes=widths, discount=0.9, learning_rate=1e-2, **settings), seeds, CPU)
    if not compiled:
        td3.compiled = None
    return td3


def batches(count: int, policies: int = 3, size: int = 17) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(policies, size, width, generator=generator)

    return [
        {
            "state": normal(5),
            "next_state": normal(5),
            "action": normal(2).clamp(-1, 1),
            "noise": normal(2) * 3,
            "reward": normal(3) * 2,
            "weight": normal(3).abs(),
            "continues": (normal(1) > -1).float(),
            "direction": normal(3).abs(),
            "origin": normal(3)[:, :1],
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("angles", [(0.0, 0.0), (0.02, 0.0), (0.02, 0.05)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "huber", "layer_norm": True, "policy_delay": 3},
        {"max_grad_norm": 0.1, "hidden_sizes": (8,), "policy_delay": 1},
        {"layer_norm": True, "hidden_sizes": (8, 8, 8)},
        {"action_gradient": "leaky", "actor_starts": 3, "policy_delay": 1},
    ],
)
def test_compiled_equals_eager(settings: dict[str, Any], angles: tuple[float, float]) -> None:
    settings = settings | {"critic_angle": angles[0], "actor_angle": angles[1]}
    eager, compiled = build(compiled=False, **settings), build(**settings)
    assert compiled.compiled is not None
    for batch in batches(6):
        expected, found = eager.update(batch), compiled.update(batch)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
    assert compiled.updates == eager.updates == 6
    for name, tensor in eager.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-3, atol=2e-4)
    assert torch.equal(compiled.critic_optimizer.steps, eager.critic_optimizer.steps)
    assert torch.equal(compiled.actor_optimizer.steps, eager.actor_optimizer.steps)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_member_learns_what_it_learns_alone(compiled: bool) -> None:
    together = build(compiled=compiled, layer_norm=True)
    several = batches(5)
    for batch in several:
        together.update(batch)
    for policy, seed in enumerate((3, 4, 5)):
        alone = build((seed,), compiled, layer_norm=True)
        for batch in several:
            alone.update({name: column[policy : policy + 1] for name, column in batch.items()})
        mine = together.state_dict(slice(policy, policy + 1))
        torch.testing.assert_close(mine["critics"], alone.state_dict()["critics"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mine["target_actors"], alone.state_dict()["target_actors"], rtol=1e-4, atol=1e-5)


def test_a_loaded_state_goes_on_compiled() -> None:
    whole, first, second = build(), build(), build((9, 8, 7))
    several = batches(6)
    for batch in several:
        whole.update(batch)
    for batch in several[:3]:
        first.update(batch)
    second.load_state_dict(first.state_dict())
    for batch in several[3:]:
        second.update(batch)
    assert torch.equal(second.critics, whole.critics)
    assert torch.equal(second.target_actors, whole.target_actors)


@pytest.mark.parametrize("policies", [1, 3])
def test_results_do_not_depend_on_threads(policies: int) -> None:
    seeds, several = tuple(range(policies)), batches(4, policies, size=150)
    settings = {"hidden_sizes": (70, 33), "layer_norm": True, "critic_angle": 0.02, "actor_angle": 0.05}
    found = []
    for threads in (1, 2, 4):
        td3 = build(seeds, **settings)
        assert td3.compiled is not None
        td3.compiled.workers.count = threads  # whatever the machine has
        for batch in several:
            td3.update(batch)
        found.append(td3.state_dict())
    for other in found[1:]:
        for name, tensor in found[0].items():
            if isinstance(tensor, torch.Tensor):
                assert torch.equal(other[name], tensor), name


@pytest.mark.parametrize("compiled", [True, False])
def test_updates_from_a_replay_are_those_of_its_batches(compiled: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    normal = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    index = torch.randint(40, (3, 5, 17), generator=generator)
    rows, condition, scale = normal(3, 40, 3 + 2 + 3 + 3 + 1 + 2), normal(3, 5, 17, 2), normal(3, 3).abs() + 0.5
    rows[:, :, 11] = (rows[:, :, 11] > 0).float()
    weight, noise = normal(3, 5, 17, 3).abs(), normal(3, 5, 17, 2)
    draws = SampledBatches(rows, 3, index, condition, weight, noise, scale)
    at_once, one_by_one = build(compiled=compiled), build(compiled=compiled)
    found = at_once.learn(draws)
    for batch in draws.batches():
        expected = one_by_one.update(batch)
    assert at_once.updates == one_by_one.updates == 5
    torch.testing.assert_close(found["values"], expected["values"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(at_once.actors, one_by_one.actors, rtol=1e-4, atol=1e-5)
    for policy, batch in enumerate(next(draws.batches())["reward"]):
        torch.testing.assert_close(batch * scale[policy], rows[policy, index[policy, 0], 5:8])


@pytest.mark.parametrize("settings", [{}, {"loss": "huber", "layer_norm": True, "action_gradient": "leaky"}])
def test_an_update_never_reads_a_number(settings: dict[str, Any]) -> None:
    same: dict[str, Any] = {"hidden_sizes": (12, 9), "discount": 0.9, "critic_angle": 0.1, "actor_angle": 0.1}
    nowhere = torch.device("meta")  # tensors have shapes there, but no numbers: whoever asks for one fails
    td3 = TD3(5, 2, 3, TD3Settings(policy_delay=1, max_grad_norm=1.0, **same | settings), (3, 4, 5), nowhere)
    found = td3.update({name: column.to(nowhere) for name, column in batches(1)[0].items()})
    assert found["values"].shape == (3, 17, 3)
