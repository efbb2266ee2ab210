"""Utilities: NumPy and torch agree, more is better, gradients flow, concave points are reached."""

import numpy as np
import pytest
import torch

from morl import utilities

CASES = {
    "linear": (utilities.linear, ()),
    "tchebycheff": (utilities.tchebycheff, ([3.0, 3.0, 3.0],)),
    "augmented_tchebycheff": (utilities.augmented_tchebycheff, ([3.0, 3.0, 3.0],)),
    "smooth_tchebycheff": (utilities.smooth_tchebycheff, ([3.0, 3.0, 3.0],)),
    "pbi": (utilities.pbi, ([3.0, 3.0, 3.0],)),
    "linear_above_minimum": (utilities.linear_above_minimum, ([0.2, -np.inf, 0.1],)),
    "nash": (utilities.nash, ([-1.0, -1.0, -1.0],)),
    "maximin": (utilities.maximin, ([-1.0, -1.0, -1.0],)),
    "desirability": (utilities.desirability, ([1.5, 1.5, 1.5],)),
}
MONOTONE = [name for name in CASES if name != "pbi"]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def sample(seed=0, n=50):
    generator = np.random.default_rng(seed)
    return generator.random((n, 3)), generator.dirichlet(np.ones(3), n)


def test_numpy_lists_and_torch_agree(case):
    function, extra = case
    returns, preferences = sample()
    values = function(returns, preferences, *extra)
    assert values.shape == (50,)
    np.testing.assert_array_equal(function(returns.tolist(), preferences.tolist(), *extra), values)
    tensors = function(torch.tensor(returns), torch.tensor(preferences), *extra)
    assert isinstance(tensors, torch.Tensor)
    assert tensors.dtype == torch.float64
    np.testing.assert_allclose(tensors.numpy(), values, rtol=1e-12)
    np.testing.assert_allclose(function(torch.tensor(returns), preferences, *extra).numpy(), values, rtol=1e-12)
    assert function(torch.tensor(returns, dtype=torch.float32), preferences, *extra).dtype == torch.float32


def test_shapes_broadcast(case):
    function, extra = case
    returns, preferences = sample(n=6)
    table = function(returns[:, None, :], preferences[None, :, :], *extra)
    assert table.shape == (6, 6)
    for i in range(6):
        np.testing.assert_allclose(function(returns[i], preferences[i], *extra), table[i, i], rtol=1e-12)
    tensors = function(torch.tensor(returns)[:, None], torch.tensor(preferences)[None], *extra)
    np.testing.assert_allclose(tensors.numpy(), table, rtol=1e-12)


@pytest.mark.parametrize("name", MONOTONE)
def test_more_is_never_worse(name):
    function, extra = CASES[name]
    returns, preferences = sample()
    better = returns + np.random.default_rng(1).random(returns.shape)
    assert (function(better, preferences, *extra) >= function(returns, preferences, *extra)).all()


@pytest.mark.parametrize("name", ["linear", "augmented_tchebycheff", "smooth_tchebycheff", "pbi", "nash"])
def test_gradient_equals_finite_differences(name):
    function, extra = CASES[name]
    returns, preferences = sample(n=5)
    inputs = torch.tensor(returns, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: function(r, torch.tensor(preferences), *extra), (inputs,))


def test_only_the_linear_utility_misses_a_concave_point():
    points = np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]])
    even = np.array([0.5, 0.5])
    assert np.argmax(utilities.linear(points, even)) != 1
    for name in ("tchebycheff", "augmented_tchebycheff", "smooth_tchebycheff", "pbi"):
        assert np.argmax(CASES[name][0](points, even, [1.0, 1.0])) == 1, name
    for name in ("nash", "maximin"):
        assert np.argmax(CASES[name][0](points, even, [-0.1, -0.1])) == 1, name


def test_worked_by_hand():
    assert utilities.linear([1, 2], [0.25, 0.75]) == 1.75
    assert utilities.tchebycheff([1, 2], [0.5, 0.5], [2, 4]) == -1.0
    assert utilities.augmented_tchebycheff([1, 2], [0.5, 0.5], [2, 4], augmentation=0.1) == pytest.approx(-1.3)
    assert utilities.linear_above_minimum([1, 2], [0.25, 0.75], [1, -np.inf]) == 1.75
    assert utilities.linear_above_minimum([1, 2], [0.25, 0.75], [1, 2.5]) == -np.inf
    assert utilities.nash([1, np.e], [0.5, 0.5], [0, 0]) == pytest.approx(0.5)
    assert utilities.maximin([1, 2], [0.5, 0.25], [0, 0]) == 2.0
    assert utilities.pbi([0, 1], [1, 1], [1, 1], penalty=2.0) == pytest.approx(-np.sqrt(0.5) - 2 * np.sqrt(0.5))


def test_smooth_lies_just_below_tchebycheff():
    returns, preferences = sample()
    sharp = utilities.tchebycheff(returns, preferences, [3.0, 3.0, 3.0])
    for smoothing in (1.0, 0.1, 1e-4):
        smooth = utilities.smooth_tchebycheff(returns, preferences, [3.0, 3.0, 3.0], smoothing=smoothing)
        assert (smooth <= sharp + 1e-12).all()
        assert (smooth >= sharp - smoothing * np.log(3) - 1e-12).all()
    with pytest.raises(ValueError, match=r"^smoothing must"):
        utilities.smooth_tchebycheff(returns, preferences, [3.0, 3.0, 3.0], smoothing=0.0)


def test_zero_weights_do_not_count():
    for make in (np.array, torch.tensor):
        assert utilities.nash(make([-5.0, 1.0]), make([0.0, 1.0]), [0.0, 0.0]) == 0.0
        assert utilities.nash(make([-5.0, 1.0]), make([0.5, 0.5]), [0.0, 0.0]) == -np.inf
        assert utilities.maximin(make([-5.0, 1.0]), make([0.0, 1.0]), [0.0, 0.0]) == 1.0


def test_wrong_number_of_objectives(case):
    function, extra = case
    with pytest.raises(ValueError, match=r"shape \[\.\.\., objective\]"):
        function([1.0, 2.0, 3.0], [0.5, 0.5], *extra)
    with pytest.raises(ValueError, match=r"shape \[\.\.\., objective\]"):
        function(1.0, [0.5, 0.5], *extra)
