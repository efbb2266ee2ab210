"""SAC of a population: its parts beside plain references; tests/learning/test_backends.py compares backends."""

from typing import Any

import pytest
import torch

from morl.learning.backends import make_update
from morl.learning.sac import SAC, SACSettings
from morl.learning.sampled_batches import Batch, SampledBatches

OBSERVATION = 5
ACTION = 2
OBJECTIVES = 3
CPU = torch.device("cpu")


def build(device: torch.device = CPU, **settings: Any) -> SAC:
    numbers = SACSettings(hidden_sizes=(12, 9), discount=0.9, target_entropy=-2.0, **settings)
    return SAC(OBSERVATION, ACTION, OBJECTIVES, numbers, 3, torch.Generator().manual_seed(1), device)


def batch(device: torch.device = CPU, draws: int = 3) -> Batch:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(3, *shape).to(device)

    return Batch(
        observation=normal(17, OBSERVATION),
        action=normal(17, ACTION),
        reward=normal(17, OBJECTIVES),
        next_observation=normal(17, OBSERVATION),
        terminated=torch.zeros(3, 17, 1, device=device),
        noise=normal(draws, 17, ACTION),
        utility=lambda values, _: values.sum(dim=-1),
    )


@pytest.mark.parametrize("backend", ["eager", "numba"])
def test_actions_at_the_ends_of_their_range_have_finite_gradients(backend: Any) -> None:
    sac, generator = build(), torch.Generator().manual_seed(0)
    sac.actors.data[:, -2 * ACTION : -ACTION] = torch.tensor([60.0, -60.0])  # biases of the means
    update = make_update(sac, backend)
    update(
        SampledBatches(
            rows=torch.randn(3, 40, 2 * OBSERVATION + ACTION + OBJECTIVES + 1, generator=generator),
            index=torch.randint(40, (3, 4, 17), generator=generator),
            observation_width=OBSERVATION,
            action_width=ACTION,
            condition=torch.zeros(3, 4, 17, 0),
            noise=sac.sample_noise(4, 17, generator),
            scale=torch.ones(3, OBJECTIVES),
            weight=torch.full((3, 4, 17, OBJECTIVES), 1.0 / OBJECTIVES),
        )
    )
    assert sac.updates == 4
    assert all(torch.isfinite(tensor).all() for tensor in sac.tensors().values())


def test_an_update_never_reads_a_number() -> None:
    nowhere = torch.device("meta")  # tensors have shapes there, but no numbers: whoever asks for one fails
    metrics = build(nowhere).update(batch(nowhere))
    assert metrics["entropy"].shape == (3, 1)


def test_actors_catch_up_at_every_second_update() -> None:
    sac = build(policy_delay=2)
    for update in range(4):
        metrics = sac.update(batch())
        assert ("entropy" in metrics) == (update % 2 == 0)
        assert sac.updates == update + 1
        assert sac.actor_optimizer.steps.tolist() == [2 * (update // 2 + 1)] * 3
        assert sac.critic_optimizer.steps.tolist() == [update + 1] * 3


def test_noise_is_sampled_in_the_order_of_use() -> None:
    """The random stream does not depend on how many updates are sampled at once."""
    sac, apart = build(policy_delay=2), build(policy_delay=2)
    together = sac.sample_noise(5, 17, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    for update in range(5):
        assert torch.equal(apart.sample_noise(1, 17, generator)[:, 0], together[:, update])
        apart.updates += 1
    assert (together[:, 1::2, 1:] == 0).all()
    assert (together[:, ::2] != 0).all()


def test_a_fixed_temperature_is_not_learned() -> None:
    for temperature, learned in ((None, True), (0.3, False)):
        sac = build(temperature=temperature)
        sac.update(batch())
        assert (sac.log_temperature != 0).all() == learned
        expected = sac.log_temperature.exp() if learned else torch.full((3, 1), 0.3)
        torch.testing.assert_close(sac.temperature(), expected)
