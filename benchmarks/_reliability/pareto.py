"""Pareto mathematics: random and adversarial input to every function, beside the definitions in exact arithmetic."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _reliability import exact
from _reliability.cases import Case, Scratch
from _reliability.children import in_child

BATCH = 250
FLAWED = 0.25
"""Share of the calls with an argument that must be refused."""
EXTREME = 1e100
"""Beyond this magnitude, and below one over it, an answer may be refused instead."""
TOLERANCE = Fraction(1, 10**9)
OF_SCALE = Fraction(1, 10**12)
LARGEST = Fraction(1.7976931348623157e308)
SMALLEST = Fraction(5e-324)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Function:
    """A function of `morl.pareto` and its definition.

    Attributes:
        arguments: the kinds of its arguments: points, front (points, at least one), reference, candidate, preferences.
        definition: takes them as exact numbers; returns integers (or truth values), or `exact.Number`.
        infinities: whether infinities are ordinary values.
        options: keyword arguments, and others of the definition.
    """

    arguments: tuple[str, ...]
    definition: Callable[..., Any]
    infinities: bool = False
    history: bool = False


FUNCTIONS = {
    "non_dominated": Function(("points",), exact.non_dominated, infinities=True),
    "non_dominated_sort": Function(("points",), exact.ranks, infinities=True),
    "crowding_distance": Function(("points",), exact.crowding),
    "convex_coverage_set": Function(("points",), exact.convex_coverage),
    "cardinality": Function(("points",), exact.cardinality, history=True),
    "sparsity": Function(("points",), exact.sparsity, history=True),
    "hypervolume": Function(("points", "reference"), exact.hypervolume, history=True),
    "hypervolume_contributions": Function(("points", "reference"), exact.contributions),
    "hypervolume_improvement": Function(("points", "candidate", "reference"), exact.improvement),
    "hypervolume_approximate": Function(("points", "reference"), exact.hypervolume),
    "expected_utility": Function(("points", "preferences"), exact.expected_utility, history=True),
    "maximum_utility_loss": Function(("points", "front", "preferences"), exact.utility_loss, history=True),
    "igd": Function(("points", "front"), exact.igd, history=True),
    "igd_plus": Function(("points", "front"), exact.igd_plus, history=True),
    "epsilon_additive": Function(("points", "front"), exact.epsilon, history=True),
    "ParetoArchive": Function(("points",), exact.non_dominated),
}


def drawn_values(shape: tuple[int, ...], kind: str, random: np.random.Generator) -> Array:
    """Return values [n, objective] of a kind."""
    uniform = random.uniform(-1.0, 1.0, shape)
    if kind == "integers":
        return random.integers(-2, 3, shape).astype(np.float64)
    if kind == "zeros":
        return random.choice([0.0, -0.0, 1.0, -1.0], shape)
    if kind == "denormal":
        return random.integers(-5, 6, shape) * 5e-324
    if kind == "any magnitude":
        return uniform * 10.0 ** random.uniform(-300.0, 300.0, shape)
    if kind == "close":
        return 1.0 + random.integers(-2, 3, shape) * np.finfo(np.float64).eps
    return uniform * {"huge": 1e300, "large": 1e155, "small": 1e-155, "uniform": 1.0}[kind]


KINDS = (
    "integers",
    "integers",
    "uniform",
    "uniform",
    "zeros",
    "denormal",
    "any magnitude",
    "close",
    "huge",
    "large",
    "small",
)


def drawn(argument: str, objectives: int, kind: str, random: np.random.Generator) -> Array:
    """Return an argument without a flaw."""
    if argument in ("reference", "candidate"):
        return drawn_values((objectives,), kind, random)
    least = 0 if argument == "points" else 1
    rows = int(random.integers(least, 7))
    if argument == "preferences":
        kind = "uniform" if random.random() < 0.8 else kind
        weights = np.abs(drawn_values((rows, objectives), kind, random))
        return weights / weights.sum(axis=1, keepdims=True) if kind == "uniform" else weights
    points = drawn_values((rows, objectives), kind, random)
    if rows > 1 and random.random() < 0.3:
        points[0] = points[-1]
    return points


def formed(array: Array, random: np.random.Generator) -> tuple[Any, Array]:
    """Return an array as a user may give it, and the values it has then."""
    form = str(random.choice(["plain", "fortran", "read-only", "float32", "list", "strided", "big-endian", "integers"]))
    if form == "fortran":
        return np.asfortranarray(array), array
    if form == "read-only":
        copy = array.copy()
        copy.flags.writeable = False
        return copy, array
    if form == "float32" and not extreme([array], 1e30):
        return array.astype(np.float32), array.astype(np.float32).astype(np.float64)
    if form == "list" and array.size:
        return array.tolist(), array
    if form == "strided":
        return np.repeat(array, 2, axis=0)[::2], array
    if form == "big-endian":
        return array.astype(">f8"), array
    if form == "integers" and (array == np.trunc(array)).all() and not extreme([array], 1e15):
        return array.astype(np.int64), array
    return array.copy(), array


FLAWS: dict[str, Callable[[Array], Any]] = {
    "NaN": lambda array: np.where(np.arange(array.size).reshape(array.shape) == array.size // 2, np.nan, array),
    "infinity": lambda array: np.where(np.arange(array.size).reshape(array.shape) == 0, np.inf, array),
    "minus infinity": lambda array: np.where(np.arange(array.size).reshape(array.shape) == 0, -np.inf, array),
    "an axis more": lambda array: array[np.newaxis, np.newaxis],
    "no axis": lambda array: float(array.ravel()[0]),
    "text": lambda array: array.astype(str),
    "complex": lambda array: array + 1j,
    "ragged": lambda array: [[1.0], [1.0] * (array.size + 2)],
    "words": lambda array: ["one"] * array.size,
    "dates": lambda array: np.zeros(array.shape, "datetime64[s]"),
    "an objective more": lambda array: np.concatenate([array, array[..., :1]], axis=-1),
}
"""What must be refused, made of an argument that is not empty."""


def extreme(arrays: list[Array], bound: float = EXTREME) -> bool:
    """Return whether magnitudes are beyond a bound, or below one over it; of zeros never."""
    values = np.abs(np.concatenate([array.ravel() for array in arrays]))
    values = values[values > 0.0]
    return bool(len(values) and (values.max() > bound or values.min() < 1.0 / bound))


def call(name: str, arguments: list[Any], seed: int) -> Any:
    """Call a function; the archive is offered the points one by one."""
    from morl import pareto

    if name == "ParetoArchive":
        archive = pareto.ParetoArchive()
        mask = archive.add_all(arguments[0])
        if archive.points.tolist() != np.asarray(arguments[0], np.float64)[mask].tolist() and len(mask):
            raise AssertionError("the archive's points are not those that its mask says")
        return mask
    extras = {"seed": seed % 1000, "samples": 500} if name == "hypervolume_approximate" else {}
    return getattr(pareto, name)(*arguments, **extras)


def trial(seed: int) -> tuple[str, str]:
    """Draw a call, make it; return what was called, and what is wrong with the answer."""
    random = np.random.default_rng(seed)
    name = str(random.choice(list(FUNCTIONS)))
    function = FUNCTIONS[name]
    objectives = int(random.integers(1, 6))
    kind = str(random.choice(KINDS))
    ideal = [drawn(argument, objectives, kind, random) for argument in function.arguments]
    forms = [formed(array, random) for array in ideal]
    given = [form for form, _ in forms]
    ideal = [values for _, values in forms]
    label = f"{name}, {kind}, {objectives} objectives, seed {seed}"
    if random.random() < FLAWED:
        place = int(random.integers(len(given)))
        flaw = str(random.choice(list(FLAWS)))
        harmless = (flaw == "an objective more" and len(given) == 1) or ("infinity" in flaw and function.infinities)
        if not harmless and ideal[place].size:
            given[place] = FLAWS[flaw](ideal[place])
            return f"{label}, {flaw} in argument {place}", refusal(name, given, seed)
    before = [np.array(form).tobytes() for form in given]
    try:
        answer = call(name, given, seed)
    except (ValueError, TypeError) as error:
        return label, "" if extreme(ideal) else f"refused: {error}"
    except Exception as error:
        return label, f"{type(error).__name__}: {error}"
    if [np.array(form).tobytes() for form in given] != before:
        return label, "an argument was changed"
    expected = function.definition(*[exact.numbers(array) for array in ideal])
    wrong = inexact(name, answer, expected)
    if not wrong and function.history:
        wrong = wrong_history(name, given, expected)
    return label, wrong


def refusal(name: str, given: list[Any], seed: int) -> str:
    """Return what is wrong where a flawed argument must be refused."""
    try:
        answer = call(name, given, seed)
    except (ValueError, TypeError):
        return ""
    except Exception as error:
        return f"{type(error).__name__} instead of ValueError: {error}"
    return f"not refused, the answer is {answer!r:.80}"


def inexact(name: str, answer: Any, expected: Any) -> str:
    """Return what is wrong with an answer, compared with exact numbers."""
    if name == "hypervolume_approximate":
        (estimate, error), (number,) = answer, expected
        slack = 10 * error + 0.2 * float(min(number.value, LARGEST)) + 5e-324
        good = math.isinf(estimate) or abs(estimate - float(min(number.value, LARGEST))) <= slack
        return "" if good and not math.isnan(estimate) else f"{estimate} +- {error} instead of {described(number)}"
    answers = np.asarray(answer).ravel().tolist()
    if name == "convex_coverage_set":
        return exact.wrong_coverage(answers, expected)
    if len(answers) != len(expected):
        return f"{len(answers)} numbers instead of {len(expected)}"
    for place, (one, other) in enumerate(zip(answers, expected, strict=True)):
        if other is None:  # ties: the definition leaves it open
            continue
        if not (near(one, other) if isinstance(other, exact.Number) else one == other):
            return f"{one!r} instead of {described(other)} at {place}"
    return ""


def near(answer: float, number: exact.Number) -> bool:
    """Return whether an answer is the exact number, to rounding; infinite where that is beyond the largest number."""
    value = number.value
    scale = number.scale
    if isinstance(value, float):
        return answer == value
    if math.isnan(answer):
        return False
    slack = TOLERANCE * abs(value) + OF_SCALE * scale + 64 * SMALLEST
    if math.isinf(answer):
        return abs(value) + slack >= LARGEST and (value > 0) == (answer > 0)
    return abs(Fraction(answer) - value) <= slack


def described(value: Any) -> str:
    """Return an exact value in a few digits."""
    if not isinstance(value, exact.Number):
        return repr(value)
    try:
        return f"{float(value.value):.17g}"
    except OverflowError:
        return "more than the largest number"


def wrong_history(name: str, given: list[Any], expected: Any) -> str:
    """Return what is wrong where `morl.pareto.history` answers about the same front twice."""
    from morl.pareto import history

    try:
        answers = getattr(history, name)([given[0], given[0]], *given[1:])
    except Exception as error:
        return f"history: {type(error).__name__}: {error}"
    wrong = inexact(name, answers, [*expected, *expected])
    return f"history: {wrong}" if wrong else ""


def batch(seeds: list[int]) -> list[tuple[str, str]]:
    """Make many calls. Warnings of an overflow are no answers: what is returned counts."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [trial(seed) for seed in seeds]


def campaign(scratch: Scratch) -> Iterator[Case]:
    """Draw calls without end."""
    while True:
        seeds = scratch.random.integers(2**40, size=BATCH).tolist()
        outcome = in_child(lambda seeds=seeds: batch(seeds), scratch.folder / "child", 300.0)
        if outcome.code != 0:
            yield Case(f"batch that begins with seed {seeds[0]}", False, outcome.last_words())
            continue
        for label, wrong in outcome.answer:
            yield Case(label, not wrong, wrong)
