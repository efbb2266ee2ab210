"""A history of fronts gives what a loop over them gives."""

import numpy as np
import pytest

import morl.pareto
from morl.pareto import cardinality, history, non_dominated


def fronts_of(m, generator, count=30):
    """Fronts of many sizes: none, one, copies, ties, dominated points, more than fit into one word of ranks."""
    for i in range(count):
        n = int(generator.choice([0, 1, 2, 3, 10, 40, 150 if m <= 5 else 20]))
        points = generator.random((n, m)) - 0.2
        if i % 3 == 0:
            points = generator.integers(-1, 4, (n, m)).astype(float)
        if i % 5 == 0:
            points = np.abs(points) / (1e-9 + np.linalg.norm(points, axis=1, keepdims=True))
        yield points


ARGUMENTS = {
    "hypervolume": ("reference",),
    "cardinality": (),
    "sparsity": (),
    "expected_utility": ("preferences",),
    "maximum_utility_loss": ("known_front", "preferences"),
    "igd": ("known_front",),
    "igd_plus": ("known_front",),
    "epsilon_additive": ("known_front",),
}


def arguments_of(name, m, generator):
    values = {
        "reference": np.full(m, -0.1),
        "known_front": generator.random((17, m)),
        "preferences": generator.dirichlet(np.ones(m), 23),
    }
    return [values[argument] for argument in ARGUMENTS[name]]


@pytest.mark.parametrize("m", range(1, 11))
@pytest.mark.parametrize("name", ARGUMENTS)
def test_equals_the_loop(name, m):
    generator = np.random.default_rng(m)
    fronts = list(fronts_of(m, generator))
    arguments = arguments_of(name, m, generator)
    frozen = [front.copy() for front in fronts]
    found = getattr(history, name)(fronts, *arguments)
    expected = [getattr(morl.pareto, name)(front, *arguments) for front in fronts]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-300)
    assert found.shape == (len(fronts),)
    assert found.dtype == (np.int64 if name == "cardinality" else np.float64)
    for front, before in zip(fronts, frozen, strict=True):
        np.testing.assert_array_equal(front, before)
    np.testing.assert_array_equal(getattr(history, name)([front.tolist() for front in fronts], *arguments), found)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_fronts_and_empty_fronts(name):
    arguments = arguments_of(name, 2, np.random.default_rng(0))
    function = getattr(history, name)
    assert function([], *arguments).shape == (0,)
    empty = getattr(morl.pareto, name)([], *arguments)
    assert function([[], np.empty((0, 2)), []], *arguments).tolist() == [empty] * 3


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize(
    "bad", [[[1, np.nan]], [[np.inf, 1]], [[1, 2, 3]], [1, 2], [[[1, 2]]], [["a", "b"]], np.empty((2, 0)), None]
)
def test_the_wrong_front_is_named(name, bad):
    arguments = arguments_of(name, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^fronts\[2\] must"):
        getattr(history, name)([[[1, 2]], [], bad, [[3, 4]]], *arguments)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_is_no_list_of_fronts(name):
    arguments = arguments_of(name, 2, np.random.default_rng(0))
    for bad in ([[1, 2], [3, 4]], 3, None):
        with pytest.raises(ValueError, match=r"^fronts"):
            getattr(history, name)(bad, *arguments)


def test_cardinality_counts_different_non_dominated_points():
    points = [[0, 1], [1, 0], [0, 1], [0, 0]]
    assert cardinality(points) == 2 == non_dominated(points).sum()
    assert cardinality([]) == 0


ORDERS = {
    "transposed": lambda front: front.T.copy().T,
    "Fortran": np.asfortranarray,
    "every second row": lambda front: np.repeat(front, 2, axis=0)[::2],
    "backwards": lambda front: front[::-1].copy()[::-1],
    "a column block": lambda front: np.hstack([front, front])[:, : front.shape[1]],
    "read-only": lambda front: np.frombuffer(front.tobytes()).reshape(front.shape),
    "big-endian": lambda front: front.astype(">f8"),
    "single precision": lambda front: front.astype(np.float32),
    "unaligned": lambda front: (
        np.frombuffer(b"x" + front.tobytes(), np.uint8)[1:].view(np.float64).reshape(front.shape)
    ),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_any_memory_order_is_taken(name, order):
    generator = np.random.default_rng(0)
    fronts = [np.round(generator.random((n, 3)) * 8) / 8 for n in (5, 0, 9)]  # exact in single precision too
    arguments = arguments_of(name, 3, generator)
    expected = getattr(history, name)(fronts, *arguments)
    change = ORDERS[order]
    np.testing.assert_array_equal(getattr(history, name)([change(front) for front in fronts], *arguments), expected)
    np.testing.assert_array_equal(getattr(history, name)([change(fronts[0])], *arguments), expected[:1])
    moved = [np.asfortranarray(argument) for argument in arguments]
    np.testing.assert_array_equal(getattr(history, name)(fronts, *moved), expected)
    single = getattr(morl.pareto, name)
    assert single(change(fronts[2]), *arguments) == pytest.approx(expected[2])
