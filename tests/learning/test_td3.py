"""TD3 of a population: its parts beside plain references; tests/learning/test_backends.py compares backends."""

from typing import Any

import pytest
import torch

from morl.learning.sampled_batches import Batch, SampledBatches
from morl.learning.td3 import MIN_INWARD_DERIVATIVE, TD3, TD3Settings, leaky, secants, smoothed

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(device: torch.device = CPU, **settings: Any) -> TD3:
    return TD3(5, 2, 3, TD3Settings(hidden_sizes=(12, 9), discount=0.9, **settings), (3, 4, 5), device)


def batch(device: torch.device = CPU, **columns: Any) -> Batch:
    widths = {"observation": 5, "action": 2, "reward": 3, "next_observation": 5, "terminated": 1, "weight": 3}
    drawn: dict[str, Any] = {
        name: normal(3, 17, width, seed=seed).to(device) for seed, (name, width) in enumerate(widths.items())
    }
    drawn |= {"noise": normal(3, 1, 17, 2, seed=7).to(device), "utility": lambda values, _: values[..., 0]}
    return Batch(**drawn | columns)


@pytest.mark.parametrize(
    "settings", [{}, {"loss": "huber", "layer_norm": True, "action_gradient": "leaky", "utility_loss": 1.0}]
)
def test_an_update_never_reads_a_number(settings: dict[str, Any]) -> None:
    nowhere = torch.device("meta")  # tensors have shapes there, but no numbers: whoever asks for one fails
    td3 = build(nowhere, policy_delay=1, max_grad_norm=1.0, critic_angle=0.1, actor_angle=0.1, **settings)
    metrics = td3.update(batch(nowhere, direction=normal(3, 17, 3).to(nowhere), origin=normal(3, 1, 3).to(nowhere)))
    assert metrics["values"].shape == (3, 17, 3)
    assert metrics["critic_loss"].shape == (3,)


def test_actors_and_targets_move_at_every_second_update() -> None:
    td3 = build(policy_delay=2)
    for update in range(1, 5):
        before = {name: tensor.clone() for name, tensor in td3.tensors().items()}
        td3.update(batch())
        assert td3.updates == update
        for name in ("actor", "target_actor", "target"):
            assert torch.equal(td3.tensors()[name], before[name]) == (update % 2 != 0)
        assert not torch.equal(td3.tensors()["critic"], before["critic"])


def test_a_gradient_that_leads_inward_never_vanishes() -> None:
    actions = torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0])
    gradient = torch.tensor([2.0, -2.0, 3.0, 2.0, -2.0])  # of a loss: a positive one lowers the action
    expected = [0.0, -2.0 * MIN_INWARD_DERIVATIVE, 3.0, 2.0 * MIN_INWARD_DERIVATIVE, 0.0]
    assert leaky(gradient, actions).tolist() == expected


def test_secants_lead_to_the_best_of_several_actions() -> None:
    gains = torch.tensor([[[0.5, -1.0, 0.0], [2.0, -3.0, 0.0]]])  # [policy, candidate, batch]
    steps = torch.tensor([[[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [[0.0, -0.5], [0.3, 0.3], [0.0, 0.0]]]])
    found = secants(gains, steps)
    assert found.tolist() == [[[0.0, -4.0], [0.0, 0.0], [0.0, 0.0]]]  # 2 by half a unit; nothing is better; nothing


def test_actors_leave_a_step_of_values_by_secants_only() -> None:
    """Values that do not depend on the action but for a step at 0.5, which the actor's gradient does not see."""

    def stepped(critics: torch.Tensor, _: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        number = critics.shape[1] // td3.critic.num_parameters
        values = (actions[..., :1] > 0.5).float() + 0.0 * actions[..., :1]
        return values.unsqueeze(1).expand(-1, number, -1, 3)

    observations = normal(3, 17, 5)
    reached = []
    for search in ("gradient", "secants"):
        td3 = build(policy_delay=1, learning_rate=1e-2, actor_search=search)
        td3.values = stepped  # type: ignore[method-assign]
        td3.updates = 1  # the actor learns
        assert td3.act(observations)[..., 0].mean() < 0.3
        for seed in range(100):
            noise = normal(3, 1, 17, 2, seed=100 + seed)
            td3._update_actors(batch(noise=noise, weight=torch.ones(3, 17, 3), observation=observations))
        reached.append((td3.act(observations)[..., 0] > 0.5).float().mean().item())
    assert reached[0] < 0.5
    assert reached[1] > 0.9


def test_smoothed_actions_are_clipped_twice() -> None:
    found = smoothed(torch.tensor([0.0, 0.9, -0.9, 0.3]), torch.tensor([3.0, 0.2, -0.2, 0.1]), 0.5)
    torch.testing.assert_close(found, torch.tensor([0.5, 1.0, -1.0, 0.4]))


def test_batches_without_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weight is None"):
        build().update(batch(weight=None))


def test_sampled_batches_are_the_rows_of_the_replay_buffer() -> None:
    index = torch.randint(40, (3, 5, 17), generator=torch.Generator().manual_seed(1))
    rows = normal(3, 40, 3 + 2 + 3 + 3 + 1 + 2)  # two columns that nothing reads
    condition, scale = normal(3, 5, 17, 2, seed=1), normal(3, 3, seed=2).abs() + 0.5
    weight, noise = normal(3, 5, 17, 3, seed=3), normal(3, 5, 1, 17, 2, seed=4)
    batches = SampledBatches(
        rows=rows,
        index=index,
        observation_width=3,
        action_width=2,
        condition=condition,
        noise=noise,
        scale=scale,
        weight=weight,
    )
    assert len(list(batches)) == len(batches) == 5
    for update, each in enumerate(batches):
        for policy in range(3):
            taken = rows[policy, index[policy, update]]
            where = (policy, update)
            assert torch.equal(each.observation[policy], torch.cat([taken[:, :3], condition[where]], dim=1))
            assert torch.equal(each.action[policy], taken[:, 3:5])
            assert torch.equal(each.reward[policy], taken[:, 5:8] / scale[policy])
            assert torch.equal(each.next_observation[policy], torch.cat([taken[:, 8:11], condition[where]], dim=1))
            assert torch.equal(each.terminated[policy], taken[:, 11:12])
            assert torch.equal(each.noise[policy], noise[where])
        values = normal(3, 17, 3, seed=5)
        torch.testing.assert_close(each.utility(values, each.observation), (values * weight[:, update]).sum(dim=-1))
        of_actions = values.unsqueeze(2).expand(-1, -1, 4, -1)
        torch.testing.assert_close(
            each.utility(of_actions, each.observation)[:, :, 3], each.utility(values, each.observation)
        )


def test_batches_that_nothing_can_be_compared_by_are_refused() -> None:
    shape = torch.zeros(1, 1, 1, 1)
    with pytest.raises(ValueError, match="weight and utility are None"):
        SampledBatches(
            rows=shape[0],
            index=shape[0].long(),
            observation_width=1,
            action_width=1,
            condition=shape,
            noise=shape[None],
            scale=shape[0, 0],
        )
