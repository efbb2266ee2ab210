"""Combination of gradients: what each paper claims, beside torchjd, and inside the algorithms that use it."""

from collections.abc import Callable
from itertools import permutations
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from morl.learning import combiners
from morl.learning.advantages import objective_columns, scalar_advantages
from morl.learning.combiners import COMBINERS, batch_losses, check_combiner, combine, combined_weights
from morl.learning.ppo import clipped_surrogate_loss, objective_losses
from morl.learning.types import CombinerName

NAMES = get_args(CombinerName)
NEVER_CONFLICT = ("upgrad", "mgda", "nash-mtl")
DOCUMENTED = torch.tensor([[[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]], dtype=torch.float64)


def direction(name: Any, jacobian: Tensor, weights: Tensor) -> Tensor:
    """Return the combined directions [policy, n]."""
    return (combine(name, jacobian @ jacobian.mT, weights).unsqueeze(1) @ jacobian).squeeze(1)


def equal_weights(jacobian: Tensor) -> Tensor:
    return torch.full(jacobian.shape[:2], 1.0 / jacobian.shape[1], dtype=jacobian.dtype)


@st.composite
def problems(draw: Any, most: int = 5, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """Return gradients [policy, objective, n] of lengths from 0.03 to 30 and positive weights [policy, objective]."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count = rows or draw(st.integers(1, most))
    width = count + draw(st.integers(0, 6))
    jacobian = torch.randn(3, count, width, generator=random, dtype=torch.float64)
    lengths = 10.0 ** (3.0 * torch.rand(3, count, 1, generator=random, dtype=torch.float64) - 1.5)
    weights = torch.rand(3, count, generator=random, dtype=torch.float64) + 0.02
    return jacobian * lengths / jacobian.norm(dim=2, keepdim=True), weights / weights.sum(dim=1, keepdim=True)


def test_upgrad_gives_the_documented_direction() -> None:
    found = direction("upgrad", DOCUMENTED, equal_weights(DOCUMENTED))
    torch.testing.assert_close(
        found, torch.tensor([[0.2929, 1.9004, 1.9004]], dtype=torch.float64), atol=5e-5, rtol=0.0
    )


# --- The task-novelty bisector ----------------------------------------------------------------------------------------


def bisected(jacobian: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return CTNB's directions, the task's gradients and those of novelty [policy, n]."""
    found = direction("ctnb", jacobian, weights)
    return found, (weights[:, :-1].unsqueeze(1) @ jacobian[:, :-1]).squeeze(1), jacobian[:, -1]


@settings(max_examples=60, deadline=None)
@given(problem=problems().filter(lambda problem: problem[0].shape[1] > 1))
def test_the_bisector_conflicts_with_neither_and_has_their_mean_length(problem: tuple[Tensor, Tensor]) -> None:
    found, task, novelty = bisected(*problem)
    lengths = [vectors.norm(dim=1) for vectors in (found, task, novelty)]
    torch.testing.assert_close(lengths[0], (lengths[1] + lengths[2]) / 2)
    cosines = [(found * vectors).sum(dim=1) / (lengths[0] * vectors.norm(dim=1)) for vectors in (task, novelty)]
    assert min(float(each.min()) for each in cosines) > -1e-9
    apart = (task * novelty).sum(dim=1) <= 0
    torch.testing.assert_close(cosines[0][apart], torch.zeros_like(cosines[0][apart]), atol=1e-7, rtol=0.0)
    torch.testing.assert_close(cosines[0][~apart], cosines[1][~apart])  # the angle is halved


@settings(max_examples=12, deadline=None)
@given(problem=problems().filter(lambda problem: problem[0].shape[1] > 1))
def test_the_task_alone_counts_while_novelty_suffices(problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    weights[:, -1] = 0.0
    found, task, _ = bisected(jacobian, weights)
    torch.testing.assert_close(found, task)


@pytest.mark.parametrize(
    ("task", "novelty", "expected"),
    [
        ([2.0, 0.0], [0.0, 4.0], [0.0, 3.0]),  # cos 0: novelty's direction, at the mean length
        ([3.0, 0.0], [3.0, 0.0], [3.0, 0.0]),
        ([3.0, 0.0], [-1.0, 0.0], [0.0, 0.0]),  # opposite: there is no bisector
        ([0.0, 0.0], [0.0, 4.0], [0.0, 2.0]),
        ([2.0, 0.0], [0.0, 0.0], [1.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_the_bisector_of_known_gradients(task: list[float], novelty: list[float], expected: list[float]) -> None:
    jacobian = torch.tensor([[task, novelty]], dtype=torch.float64)
    found, _, _ = bisected(jacobian, torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))


# --- Laws of all methods ----------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(problem=problems(rows=1))
@pytest.mark.parametrize("name", NAMES)
def test_one_objective_is_given_its_gradient(name: Any, problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    torch.testing.assert_close(direction(name, jacobian, weights), jacobian[:, 0], rtol=1e-6, atol=0.0)


@settings(max_examples=12, deadline=None)
@given(problem=problems(most=4))
@pytest.mark.parametrize("name", NAMES)
def test_an_objective_of_weight_zero_takes_no_part(name: Any, problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    other = -jacobian.sum(dim=1, keepdim=True)  # against all others
    wider = torch.cat([jacobian, other], dim=1)
    found = direction(name, wider, torch.cat([weights, torch.zeros(3, 1, dtype=torch.float64)], dim=1))
    scale = jacobian.norm(dim=2).amax(dim=1, keepdim=True)
    torch.testing.assert_close(found / scale, direction(name, jacobian, weights) / scale, rtol=2e-3, atol=1e-6)


@settings(max_examples=12, deadline=None)
@given(problem=problems())
@pytest.mark.parametrize("name", NAMES)
def test_a_negative_weight_is_a_positive_one_of_the_opposite_gradient(
    name: Any, problem: tuple[Tensor, Tensor]
) -> None:
    jacobian, weights = problem
    signs = torch.ones_like(weights)
    signs[:, ::2] = -1.0
    found = direction(name, signs.unsqueeze(2) * jacobian, signs * weights)
    torch.testing.assert_close(found, direction(name, jacobian, weights))


@settings(max_examples=12, deadline=None)
@given(problem=problems(), factor=st.floats(1e-3, 1e3), weight=st.floats(0.1, 10.0))
@pytest.mark.parametrize("name", NAMES)
def test_directions_scale_with_all_gradients_and_with_all_weights(
    name: Any, problem: tuple[Tensor, Tensor], factor: float, weight: float
) -> None:
    jacobian, weights = problem
    found = direction(name, factor * jacobian, weight * weights)
    expected = factor * weight * direction(name, jacobian, weights)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@settings(max_examples=12, deadline=None)
@given(problem=problems())
@pytest.mark.parametrize("name", NAMES)
def test_policies_do_not_depend_on_each_other(name: Any, problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    gramian = jacobian @ jacobian.mT
    together = combine(name, gramian, weights)
    alone = torch.cat([combine(name, gramian[i : i + 1], weights[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-7, atol=1e-9 * float(together.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "jacobian",
    [
        np.zeros((2, 3)),
        [[1.0, 2.0], [-1.0, -2.0]],
        [[1.0, 2.0], [1.0, 2.0], [2.0, 4.0]],
        [[1.0, 0.0], [0.0, 0.0]],
        [[1e-12, 0.0], [0.0, 1e-12]],
        [[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]],
    ],
    ids=["all zero", "opposite", "parallel", "one zero", "tiny", "zero in the hull"],
)
def test_degenerate_gradients_have_finite_directions(name: Any, jacobian: Any) -> None:
    gradients = torch.tensor(np.array(jacobian)).unsqueeze(0)
    for weights in (equal_weights(gradients), torch.zeros_like(equal_weights(gradients))):
        found = combine(name, gradients @ gradients.mT, weights)
        assert found.isfinite().all()
    assert (found == 0).all()


# --- What the papers claim --------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(problem=problems())
@pytest.mark.parametrize("name", NEVER_CONFLICT)
def test_no_objective_is_harmed(name: Any, problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    gramian = jacobian @ jacobian.mT
    coefficients = combine(name, gramian, weights)
    rates = (gramian @ coefficients.unsqueeze(2)).squeeze(2)
    trace = gramian.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
    ridge = combiners.UPGRAD_RIDGE if name == "upgrad" else 1e-6
    assert (rates >= -(ridge * trace * coefficients.abs() + 1e-9 * trace)).all()
    assert (coefficients >= -1e-9).all()


@settings(max_examples=20, deadline=None)
@given(problem=problems(rows=2))
def test_pcgrad_harms_neither_of_two(problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    rates = (jacobian @ direction("pcgrad", jacobian, weights).unsqueeze(2)).squeeze(2)
    assert (rates >= -1e-9 * jacobian.square().sum()).all()


@settings(max_examples=12, deadline=None)
@given(problem=problems())
@pytest.mark.parametrize("name", ["upgrad", "pcgrad"])
def test_without_a_conflict_they_are_the_weighted_sum(name: Any, problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    agreeing = jacobian.abs()
    torch.testing.assert_close(
        direction(name, agreeing, weights), direction("weighted-sum", agreeing, weights), rtol=1e-9, atol=1e-12
    )


@settings(max_examples=12, deadline=None)
@given(problem=problems())
def test_upgrad_is_linear_in_the_length_of_every_gradient(problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    jacobian = jacobian / jacobian.norm(dim=2, keepdim=True)  # the ridge is small beside all of them
    random = torch.Generator().manual_seed(0)
    one, other = (torch.rand(weights.shape, generator=random, dtype=torch.float64) + 0.5 for _ in range(2))

    def scaled(lengths: Tensor) -> Tensor:
        return direction("upgrad", lengths.unsqueeze(2) * jacobian, weights)

    torch.testing.assert_close(scaled(one + 2.0 * other), scaled(one) + 2.0 * scaled(other), rtol=0.0, atol=0.05)


@settings(max_examples=12, deadline=None)
@given(problem=problems())
def test_mgda_is_the_shortest_direction_and_improves_in_proportion_to_the_weights(
    problem: tuple[Tensor, Tensor],
) -> None:
    jacobian, weights = problem
    found = direction("mgda", jacobian, equal_weights(jacobian))
    random = torch.Generator().manual_seed(0)
    for _ in range(50):
        inside = torch.rand(weights.shape, generator=random, dtype=torch.float64).log()
        inside = inside / inside.sum(dim=1, keepdim=True)
        other = (inside.unsqueeze(1) @ jacobian).squeeze(1)
        assert (found.norm(dim=1) <= other.norm(dim=1) * (1.0 + 1e-6)).all()
    coefficients = combine("mgda", jacobian @ jacobian.mT, weights)
    rates = (jacobian @ direction("mgda", jacobian, weights).unsqueeze(2)).squeeze(2) / weights
    least = rates.amin(dim=1, keepdim=True)
    assert (rates - least)[coefficients > 1e-6 * coefficients.amax()].abs().max() <= 1e-4 * rates.abs().max()


@settings(max_examples=12, deadline=None)
@given(problem=problems(), radius=st.floats(0.0, 0.95))
def test_cagrad_improves_the_worst_objective_within_its_ball(problem: tuple[Tensor, Tensor], radius: float) -> None:
    jacobian, weights = problem
    gramian = jacobian @ jacobian.mT
    found = (1.0 + radius) * (combiners.cagrad(gramian, weights, radius).unsqueeze(1) @ jacobian).squeeze(1)
    mean = direction("weighted-sum", jacobian, weights)
    room = radius * mean.norm(dim=1)
    assert ((found - mean).norm(dim=1) <= room * (1.0 + 1e-5) + 1e-6).all()

    def worst(points: Tensor) -> Tensor:
        return (jacobian @ points.unsqueeze(2)).squeeze(2).amin(dim=1)

    size = gramian.abs().amax()
    assert (worst(found) >= worst(mean) - 1e-6 * size).all()
    random = torch.Generator().manual_seed(0)
    for _ in range(100):
        step = torch.randn(mean.shape, generator=random, dtype=torch.float64)
        other = mean + room.unsqueeze(1) * step / step.norm(dim=1, keepdim=True)
        assert (worst(found) >= worst(other) - 1e-5 * size).all()


@settings(max_examples=12, deadline=None)
@given(problem=problems())
def test_nash_mtl_solves_its_equation_and_ignores_the_length_of_each_gradient(problem: tuple[Tensor, Tensor]) -> None:
    jacobian, weights = problem
    gramian = jacobian @ jacobian.mT
    coefficients = combine("nash-mtl", gramian, weights)
    products = coefficients * (gramian @ coefficients.unsqueeze(2)).squeeze(2) / weights  # c_k (G c)_k / w_k
    torch.testing.assert_close(products, products[:, :1].expand_as(products), rtol=1e-2, atol=0.0)
    lengths = torch.logspace(-1, 1, jacobian.shape[1], dtype=torch.float64)[None, :, None]
    found = direction("nash-mtl", lengths * jacobian, weights)
    expected = direction("nash-mtl", jacobian, weights)
    torch.testing.assert_close(
        found / found.norm(dim=1, keepdim=True), expected / expected.norm(dim=1, keepdim=True), rtol=0.0, atol=1e-5
    )


@settings(max_examples=12, deadline=None)
@given(problem=problems())
def test_aligned_mtl_sums_gradients_that_are_orthogonal_and_of_one_length(problem: tuple[Tensor, Tensor]) -> None:
    jacobian, _ = problem
    count = jacobian.shape[1]
    gramian = (jacobian @ jacobian.mT)[:1]
    eigenvalues = torch.linalg.eigvalsh(gramian)[0]
    assume(eigenvalues[0] > 1e-7 * eigenvalues[-1])  # smaller ones count as 0
    units = torch.eye(count, dtype=torch.float64)
    transformed = COMBINERS["aligned-mtl"](gramian.expand(count, -1, -1), units)  # every gradient transformed by B
    inner = transformed @ gramian[0] @ transformed.T
    least = float(eigenvalues[0])
    torch.testing.assert_close(inner, least * units, rtol=1e-4, atol=1e-4 * least)


# --- Beside torchjd ---------------------------------------------------------------------------------------------------


def random_problem(count: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(2, count, 12, generator=random, dtype=torch.float64)
    weights = torch.rand(2, count, generator=random, dtype=torch.float64) + 0.1
    return jacobian, weights / weights.sum(dim=1, keepdim=True)


def beside(name: str, oracle: Callable[[Tensor], Any], count: int, seed: int) -> None:
    """Compare directions with those of a torchjd aggregator, which `oracle` builds for the weights."""
    jacobian, weights = random_problem(count, seed)
    expected = torch.stack([oracle(w)(gradients) for gradients, w in zip(jacobian, weights, strict=True)])
    torch.testing.assert_close(direction(name, jacobian, weights), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_upgrad_is_that_of_torchjd(count: int) -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("quadprog")
    for seed in range(5):
        beside("upgrad", torchjd.UPGrad, count, seed)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_mgda_is_that_of_torchjd(count: int) -> None:
    """torchjd approaches the shortest direction from above (Frank and Wolfe)."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    for seed in range(3):
        jacobian, _ = random_problem(count, seed)
        oracle = torchjd.MGDA(epsilon=1e-6, max_iters=500)
        expected = torch.stack([oracle(gradients) for gradients in jacobian])
        found = direction("mgda", jacobian, equal_weights(jacobian))
        assert (found.norm(dim=1) <= expected.norm(dim=1) * (1.0 + 1e-9)).all()
        torch.testing.assert_close(found, expected, rtol=0.0, atol=0.05)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_aligned_mtl_is_that_of_torchjd(count: int) -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    for seed in range(5):
        beside("aligned-mtl", torchjd.AlignedMTL, count, seed)


def test_pcgrad_is_that_of_torchjd() -> None:
    """torchjd sums where we weigh; the order of the projections is random there, and matters from three on."""
    torchjd = pytest.importorskip("torchjd.aggregation")
    for seed in range(20):
        jacobian, _ = random_problem(2, seed)
        expected = torch.stack([torchjd.PCGrad()(gradients) for gradients in jacobian])
        torch.testing.assert_close(direction("pcgrad", jacobian, torch.ones(2, 2).double()), expected)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_cagrad_is_that_of_torchjd(count: int) -> None:
    torchjd = pytest.importorskip("torchjd.aggregation")
    for package in ("cvxpy", "clarabel"):
        pytest.importorskip(package)
    for seed in range(3):
        jacobian, _ = random_problem(count, seed)
        coefficients = 1.4 * combiners.cagrad(jacobian @ jacobian.mT, equal_weights(jacobian), radius=0.4)
        expected = torch.stack([torchjd.CAGrad(c=0.4)(gradients) for gradients in jacobian])
        found = (coefficients.unsqueeze(1) @ jacobian).squeeze(1)
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["upgrad", "mgda"])
def test_more_than_eight_objectives_are_torchjds(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("quadprog")
    check_combiner(name, 9)
    jacobian, weights = random_problem(5, 0)
    expected = direction(name, jacobian, weights)
    monkeypatch.setattr(combiners, "ENUMERATED_OBJECTIVES", 4)
    torch.testing.assert_close(direction(name, jacobian, weights), expected, rtol=5e-3, atol=5e-3)


def test_what_cannot_be_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="combiner is 'sum', but must be one of weighted-sum, upgrad"):
        check_combiner("sum", 2)
    with pytest.raises(ValueError, match="combiner is 'cagrad', but there are 9 objectives"):
        check_combiner("cagrad", 9)
    monkeypatch.setattr(combiners, "find_spec", lambda package: None)
    for name in ("upgrad", "mgda"):
        with pytest.raises(
            ValueError, match=r"needs torchjd, qpsolvers, quadprog: pip install 'morl-suite\[torchjd\]'"
        ):
            check_combiner(name, 9)
    for name in NAMES:
        check_combiner(name, 8)
    for name in ("pcgrad", "nash-mtl", "aligned-mtl", "weighted-sum"):
        check_combiner(name, 9)


# --- Inside the algorithms --------------------------------------------------------------------------------------------


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_coefficients_are_those_of_the_losses_gradients() -> None:
    leaf = normal(2, 7).requires_grad_()
    matrix = normal(2, 3, 7, seed=1)
    losses = -(matrix * leaf.unsqueeze(1)).sum(dim=2)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4]], dtype=torch.float64)
    found = combined_weights(
        "upgrad", losses, weights, lambda loss: torch.autograd.grad(loss, leaf, retain_graph=True)[0]
    )
    torch.testing.assert_close(found, combine("upgrad", matrix @ matrix.mT, weights))
    (gradient,) = torch.autograd.grad((found * losses).sum(), leaf)
    torch.testing.assert_close(-gradient, direction("upgrad", matrix, weights))


def test_the_losses_of_a_batch_sum_to_the_linear_loss_also_with_weights_of_every_row() -> None:
    values = normal(2, 9, 3)
    weights = normal(2, 9, 3, seed=1).abs()
    weights[:, :, 2] = 0.0
    losses, means = batch_losses(values, weights)
    torch.testing.assert_close((means * losses).sum(dim=1), -(weights * values).sum(dim=2).mean(dim=1))
    same, one = batch_losses(values, weights[:, :1])
    torch.testing.assert_close(one, weights[:, 0])
    torch.testing.assert_close(same[:, :2], -values.mean(dim=1)[:, :2])


def test_objective_advantages_sum_to_the_scalar_ones() -> None:
    advantages = normal(2, 12, 3)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.0, -0.4]], dtype=torch.float64)
    columns = objective_columns(advantages, weights)
    mixed = (columns["objective_advantage"] * columns["weight"]).sum(dim=2)
    torch.testing.assert_close(mixed, scalar_advantages(advantages, weights))
    ratios = torch.ones(2, 12, dtype=torch.float64)  # nothing is clipped before the first step
    scalar = clipped_surrogate_loss(0.2)(ratios, {"advantage": mixed.unsqueeze(2)})
    separate = objective_losses(ratios, columns, 0.2)
    torch.testing.assert_close((weights * separate).sum(dim=1), scalar)


def test_every_order_of_three_projections_is_one_of_pcgrads() -> None:
    """Ours is the cyclic order: one of those that the paper draws from."""
    jacobian, _ = random_problem(3, 4)
    found = direction("pcgrad", jacobian, torch.ones(2, 3).double())
    for policy in range(2):
        sums = []
        for orders in [
            (a, b, c) for a in permutations((1, 2)) for b in permutations((2, 0)) for c in permutations((0, 1))
        ]:
            total = torch.zeros(12, dtype=torch.float64)
            for i, order in enumerate(orders):
                gradient = jacobian[policy, i].clone()
                for j in order:
                    other = jacobian[policy, j]
                    gradient -= (gradient @ other).clamp(max=0.0) / (other @ other) * other
                total += gradient
            sums.append(total)
        torch.testing.assert_close(found[policy], sums[0])
