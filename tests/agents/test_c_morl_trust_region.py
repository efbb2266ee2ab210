"""The trust region step: conjugate gradients, Fisher products, dual, line search, each beside a plain solution."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.agents.c_morl.constraints import ConstraintState
from morl.agents.c_morl.solvers.trust_region import (
    DAMPING,
    FISHER_STRIDE,
    conjugate_gradients,
    dual_step,
    fisher_product,
    trust_region_step,
)
from morl.learning.ppo import actor_critic

BOX, CHOICE = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(4)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(policies: int, size: int, seed: int = 0) -> torch.Tensor:
    factors = normal(policies, size, size, seed=seed)
    return factors @ factors.transpose(1, 2) + 0.5 * torch.eye(size, dtype=torch.float64)


def test_conjugate_gradients_solve_every_system() -> None:
    matrices, right = positive(3, 8), normal(3, 8, seed=1)
    right[2] = 0.0  # nothing to solve
    found = conjugate_gradients(lambda v: torch.bmm(matrices, v.unsqueeze(2)).squeeze(2), right, steps=30)
    torch.testing.assert_close(found, torch.linalg.solve(matrices, right), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("discrete", [False, True])
def test_fisher_products_are_the_mean_outer_products_of_scores(discrete: bool) -> None:
    network = actor_critic(3, CHOICE if discrete else BOX, 2, (4,))
    actor = normal(2, network.actor_parameters, seed=1)
    observations = normal(2, 6, 3, seed=2)
    masks = torch.ones(2, 6, 4, dtype=torch.bool).index_fill(2, torch.tensor([3]), False) if discrete else None
    vector = normal(*actor.shape, seed=3)
    found = fisher_product(network, actor, observations, masks)(vector)
    for policy in range(2):
        own, seen = actor[policy : policy + 1], observations[policy : policy + 1]

        def divergence(candidate: torch.Tensor, own: Any = own, seen: Any = seen) -> torch.Tensor:
            mask = None if masks is None else masks[:1]
            before = network.distribution(own, seen, mask)
            return before.divergence(network.distribution(candidate.unsqueeze(0), seen, mask)).mean()  # type: ignore[arg-type]

        hessian = torch.autograd.functional.hessian(divergence, own[0])
        expected = hessian @ vector[policy] + DAMPING * vector[policy]
        torch.testing.assert_close(found[policy], expected, atol=1e-9, rtol=1e-7)


RADIUS = 0.05


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.floats(0.01, 2.0))
def test_the_dual_step_is_optimal(seed: int, constraints: int, spread: float) -> None:
    """No point of a dense random sample of the feasible set is better; where none is feasible, the step recovers."""
    size = 4
    metric = positive(1, size, seed)
    target, gradients = normal(1, size, seed=seed + 1), normal(1, constraints, size, seed=seed + 2)
    slacks = spread * 0.3 * normal(1, constraints, seed=seed + 3)
    inverse = torch.linalg.inv(metric)
    q = (target @ inverse[0] * target).sum(1)
    r = torch.bmm(gradients @ inverse, target.unsqueeze(2)).squeeze(2)
    s = gradients @ inverse @ gradients.transpose(1, 2)
    step = dual_step(q, r, s, slacks, RADIUS)
    pulled = step.inverse_lambda.unsqueeze(1) * target + (step.nu_over_lambda.unsqueeze(2) * gradients).sum(1)
    x = (pulled @ inverse[0])[0]
    length = 0.5 * x @ metric[0] @ x
    assert length <= RADIUS * (1 + 1e-6)
    reached = slacks[0] + gradients[0] @ x

    directions = normal(20_000, size, seed=seed + 4)
    lengths = (0.5 * (directions @ metric[0] * directions).sum(1)).sqrt()
    radii = torch.linspace(0.0, 1.0, 20_000, dtype=torch.float64).sqrt() * RADIUS**0.5
    sample = directions / lengths.unsqueeze(1) * radii.unsqueeze(1)
    feasible = (slacks + sample @ gradients[0].T >= 0).all(1)
    if step.recovering.item():
        assert not feasible.any()
        violated = slacks[0] < 0
        assert (reached[violated] >= slacks[0][violated] - 1e-9).all()  # towards feasibility
        assert length == pytest.approx(RADIUS, rel=1e-4) or (reached[violated] >= -1e-6).all()
    else:
        assert (reached >= -1e-5).all()
        if feasible.any():
            assert (sample[feasible] @ target[0]).max() <= x @ target[0] + 1e-9


def test_without_constraints_it_is_the_natural_gradient() -> None:
    no_constraint = torch.full((1, 2), float("inf"))
    step = dual_step(torch.tensor([4.0]), torch.zeros(1, 2), torch.zeros(1, 2, 2), no_constraint, RADIUS)
    assert step.inverse_lambda.item() == pytest.approx((2 * RADIUS / 4.0) ** 0.5)
    assert step.nu_over_lambda.tolist() == [[0.0, 0.0]]
    assert not step.recovering.item()


@pytest.mark.parametrize("discrete", [False, True])
def test_a_population_takes_the_steps_of_its_members(discrete: bool) -> None:
    network = actor_critic(3, CHOICE if discrete else BOX, 2, (6,))
    policies, rows = 3, 40 * FISHER_STRIDE
    random = torch.Generator().manual_seed(0)
    parameters = network.initialize(policies, random).double()
    observations = normal(policies, rows, 3, seed=2)
    actor, _ = network.split(parameters)
    policy = network.distribution(actor, observations)
    actions = policy.sample(random)
    advantages = 0.1 * normal(policies, rows, 2, seed=3)
    advantages -= advantages.mean(1, keepdim=True)
    samples = {"observation": observations, "action": actions, "vector_advantage": advantages}
    samples |= {"log_probability": policy.log_probability(actions).unsqueeze(2), "advantage": normal(policies, rows, 1)}
    infinite = float("inf")
    # No constraint, one that is kept, and one that is broken far beyond what one step can repair.
    slacks = torch.tensor([[infinite, infinite], [infinite, 0.02], [infinite, -5.0]], dtype=torch.float64)
    constraints = ConstraintState(slacks, torch.full((policies, 2), 20.0, dtype=torch.float64))

    together = parameters.clone()
    found = trust_region_step(network, together, samples, constraints, 0.01)
    for member in range(policies):
        own = {name: column[member : member + 1] for name, column in samples.items()}
        alone = parameters[member : member + 1].clone()
        bounds = ConstraintState(slacks[member : member + 1], constraints.dslack_dadvantage[member : member + 1])
        trust_region_step(network, alone, own, bounds, 0.01)
        torch.testing.assert_close(together[member], alone[0], atol=1e-9, rtol=0.0)

    assert found["recovering"].tolist() == [0.0, 0.0, 1.0]
    assert (found["accepted"] == 1.0).all()
    assert (found["divergence"] <= 0.015).all()
    assert torch.equal(network.split(together)[1], network.split(parameters)[1])  # critics are left alone
    after = network.distribution(network.split(together)[0], observations)
    ratios = (after.log_probability(actions) - samples["log_probability"].squeeze(2)).exp()
    gains = ((ratios - 1).unsqueeze(2) * torch.cat([samples["advantage"], advantages], 2)).mean(1)
    assert gains[0, 0] > 0
    assert gains[1, 0] > 0
    assert gains[0, 0] >= gains[1, 0] - 0.05
    assert slacks[1, 1] + 20.0 * gains[1, 2] >= -1e-3
    assert gains[2, 2] > 0  # the broken constraint is being repaired


def test_parallel_constraints_have_a_step() -> None:
    alike = torch.full((1, 2, 2), 1e7, dtype=torch.float64)
    step = dual_step(torch.ones(1), torch.full((1, 2), 1e3), alike, torch.tensor([[-1.0, -1.0]]).double(), 0.01)
    assert all(torch.isfinite(part).all() for part in vars(step).values() if isinstance(part, torch.Tensor))
