"""A session of comparisons: outcomes in the user's units in, questions and a recommendation out; saved as JSON.

A session is its answers: replaying them with the same front and settings gives the same particles, bit for bit. Answers
hold the returns that were compared, not their rows, so they keep their meaning when a run reports another front.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from morl.elicitation.posterior import (
    ANSWERS,
    KINDS,
    REQUIREMENTS,
    Comparison,
    FloatArray,
    IndexArray,
    Posterior,
    Response,
)
from morl.elicitation.questions import Recommendation, best_pair, recommend, regrets

FORMAT = "morl-choice-1"
"""What a session file begins with."""
MOST_ANSWERS = 1_000
"""Answers of a session that is read."""
MOST_POINTS = 1_000
"""Outcomes that take part; of more, an even choice in the order of their objectives, and the best of each."""
SAME = 1e9
"""Outcomes that differ by less than its inverse, a share of the range, in every objective are one."""


class Question(NamedTuple):
    """Rows of the front whose outcomes are to be compared."""

    left: int
    right: int


@dataclass(frozen=True)
class Answer:
    """One answer: the compared returns [objective], in the user's units, and the answer to them."""

    left: tuple[float, ...]
    right: tuple[float, ...]
    answer: str


class Preference(NamedTuple):
    """The utility by which a recommendation is best.

    Attributes:
        utility: one of `KINDS`.
        weights: [objective] of returns in the user's units, of sum 1.
        minimum: [objective] required returns in the user's units; minus infinity requires nothing.
    """

    utility: str
    weights: FloatArray
    minimum: FloatArray


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Settings of a session.

    Attributes:
        limit: the session ends when the expected regret is below this share of the utility's range.
        seed: of the particles and of ties, 0 to 2^32 - 1.
        particles: number of sampled utilities.
        response: model of the decision maker's answers.
    """

    limit: float = 0.01
    seed: int = 0
    particles: int = 600
    response: Response = field(default_factory=Response)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one is out of its range.
        """
        if not 0.0 < self.limit < 1.0:
            raise ValueError(f"limit is {self.limit}, but must be a share of the utility's range between 0 and 1")
        for name, lowest, highest in (("seed", 0, 2**32 - 1), ("particles", 10, 100_000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
                raise ValueError(f"{name} is {value!r}, but must be a whole number from {lowest} to {highest}")


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """The content of a session file.

    Attributes:
        objectives: names of the objectives.
        settings: settings of the session.
        answers: the answers so far.
    """

    objectives: tuple[str, ...]
    settings: SessionSettings
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, object]:
        """Return the record as the file spells it."""
        response = self.settings.response
        return {
            "format": FORMAT,
            "objectives": list(self.objectives),
            "limit": self.settings.limit,
            "seed": self.settings.seed,
            "particles": self.settings.particles,
            "response": {one.name: getattr(response, one.name) for one in fields(Response)},
            "answers": [
                {"left": list(one.left), "right": list(one.right), "answer": one.answer} for one in self.answers
            ],
        }

    def to_text(self) -> str:
        """Return the file's content."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"


class Session:
    """Comparisons of a front's outcomes, one after another, until one policy is good enough.

    Args:
        points: [n, objective] returns of the policies, finite; higher is better.
        objectives: names of the objectives; default: objective_0 and so on.
        rows: the rows that may be chosen, such as those that satisfy the user's constraints; default: all. Of equal
            outcomes only the first is considered, and at most `MOST_POINTS` outcomes.
        settings: limit, seed, particles and response.
        answers: answers of an earlier session, which are replayed.

    Attributes:
        rows: the rows that are considered.

    Raises:
        ValueError: there is no point, one is not finite, or names, rows or answers do not fit.
    """

    def __init__(
        self,
        points: ArrayLike,
        objectives: Sequence[str] | None = None,
        *,
        rows: Sequence[int] | IndexArray | None = None,
        settings: SessionSettings | None = None,
        answers: Sequence[Answer] = (),
    ) -> None:
        self.points = _checked_points(points)
        count, dimensions = self.points.shape
        names = [f"objective_{k}" for k in range(dimensions)] if objectives is None else list(objectives)
        if len(names) != dimensions:
            raise ValueError(f"objectives are {names}, but points have {dimensions} numbers each")
        allowed = np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64)
        if not len(allowed) or allowed.min() < 0 or allowed.max() >= count:
            raise ValueError(f"rows are {rows}, but must be at least one, from 0 to {count - 1}")
        self.objectives = tuple(names)
        self.settings = SessionSettings() if settings is None else settings
        self._scale = Scale(self.points[allowed])
        scaled = self._scale.scaled(self.points[allowed])
        first = _thinned(_distinct_rows(scaled), scaled)
        self.rows: IndexArray = allowed[first]
        self._places = {key: place for place, key in enumerate(_keys(scaled[first]))}
        start = Posterior.before_answers(
            scaled[first], self.settings.particles, self.settings.seed, self.settings.response
        )
        self._posteriors = [start]
        self._answers: list[Answer] = []
        self._question: Question | None = None
        for answer in answers:
            self._add(answer)

    @property
    def posterior(self) -> Posterior:
        """Return the posterior over utilities; its points are those of `rows`, scaled."""
        return self._posteriors[-1]

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return the answers so far."""
        return tuple(self._answers)

    @property
    def record(self) -> SessionRecord:
        """Return the content of a session file."""
        return SessionRecord(objectives=self.objectives, settings=self.settings, answers=self.answers)

    @property
    def recommendation(self) -> Recommendation:
        """Return the policy with the least expected regret so far; its row is one of all points."""
        found = recommend(self.posterior, self.settings.limit)
        return found._replace(row=int(self.rows[found.row]))

    @property
    def finished(self) -> bool:
        """Return whether the expected regret is below the limit, or all pairs have been compared."""
        return self.question is None

    @property
    def question(self) -> Question | None:
        """Return the next comparison; None if the session has ended."""
        if self._question is None:
            self._question = self._next()
        return self._question

    def _next(self) -> Question | None:
        if recommend(self.posterior, self.settings.limit).expected_regret < self.settings.limit:
            return None
        pair = best_pair(self.posterior, self.settings.limit, self._asked(), self.settings.seed)
        return None if pair is None else Question(int(self.rows[pair[0]]), int(self.rows[pair[1]]))

    def _asked(self) -> set[tuple[int, int]]:
        """Return the pairs of places in `rows` that have been compared, the smaller one first."""
        compared = self.posterior.comparisons
        outcomes = [outcome for one in compared for outcome in (one.left, one.right)]
        places = [self._places.get(key, -1) for key in _keys(np.array(outcomes))] if outcomes else []
        return {(min(pair), max(pair)) for pair in zip(places[0::2], places[1::2], strict=True)}

    def answer(self, answer: str) -> None:
        """Answer the question.

        Args:
            answer: "left", "right", "equal", or "neither": neither outcome is acceptable.

        Raises:
            ValueError: there is no such answer, or no question.
        """
        if answer not in ANSWERS:
            raise ValueError(f"answer is {answer!r}, but must be one of {', '.join(ANSWERS)}")
        question = self.question
        if question is None:
            raise ValueError("the session has come to its end: there is no question to answer")
        left = tuple(self.points[question.left].tolist())
        right = tuple(self.points[question.right].tolist())
        self._add(Answer(left, right, answer))

    def _add(self, answer: Answer) -> None:
        if len(answer.left) != len(self.objectives) or len(answer.right) != len(self.objectives):
            raise ValueError(
                f"answers hold {len(answer.left)} numbers, but there are {len(self.objectives)} objectives"
            )
        left, right = self._scale.scaled(np.array([answer.left, answer.right]))
        self._posteriors.append(self.posterior.after(Comparison(left, right, ANSWERS.index(answer.answer))))
        self._answers.append(answer)
        self._question = None

    def undo(self) -> None:
        """Undo the last answer.

        Raises:
            ValueError: there is none.
        """
        if not self._answers:
            raise ValueError("there is no answer to undo")
        self._answers.pop()
        self._posteriors.pop()
        self._question = None

    @property
    def preference(self) -> Preference:
        """Return the utility for which the recommended policy is best: the mean of the likeliest kind of particles."""
        posterior = self.posterior
        place = recommend(posterior, self.settings.limit).row
        lost = regrets(posterior)[place]
        for largest in (1e-9, self.settings.limit, 1.0):
            shares = np.where(lost <= largest, posterior.shares, 0.0)
            if shares.sum() > 0.0:
                break
        kind = int(np.argmax(np.bincount(posterior.particles.kinds, weights=shares, minlength=len(KINDS))))
        shares = np.where(posterior.particles.kinds == kind, shares, 0.0)
        shares = shares / shares.sum()
        required = np.zeros(len(self.objectives))
        if kind == REQUIREMENTS:
            required = shares @ posterior.particles.requirements(posterior.points)
        weights = shares @ posterior.particles.weights
        return Preference(KINDS[kind], self._scale.weights(weights), self._scale.unscaled(required))


class Scale:
    """The range of each objective over some points.

    Args:
        points: [n, objective], finite.
    """

    def __init__(self, points: FloatArray) -> None:
        self._low = points.min(axis=0) / 4  # a range can exceed the largest number, its quarter cannot
        span = points.max(axis=0) / 4 - self._low
        self._flat = span <= 0.0
        self._span = np.where(self._flat, 1.0, span)

    def scaled(self, outcomes: FloatArray) -> FloatArray:
        """Return outcomes [n, objective] as shares of the ranges; 1 where all points are equal."""
        shares: FloatArray = np.where(self._flat, 1.0, (outcomes / 4 - self._low) / self._span)
        return shares

    def unscaled(self, required: FloatArray) -> FloatArray:
        """Return required shares [objective] in the user's units; minus infinity where nothing is required."""
        returns = 4 * (self._low + required * self._span)
        return np.where((required > 0.0) & ~self._flat, returns, -np.inf)

    def weights(self, weights: FloatArray) -> FloatArray:
        """Return weights [objective] of returns in the user's units, of sum 1, from weights of shares."""
        smallest = self._span.min()
        ratios = np.where(self._flat, 0.0, weights * (smallest / self._span))
        if ratios.sum() == 0.0:
            return np.full(len(weights), 1.0 / len(weights))
        scaled: FloatArray = ratios / ratios.sum()
        return scaled


def _checked_points(points: ArrayLike) -> FloatArray:
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"points must be finite numbers of shape [n, objective] with n >= 1, got shape {values.shape}")
    return values


def _keys(scaled: FloatArray) -> list[tuple[float, ...]]:
    """Return what equal outcomes [n, objective] share."""
    return [tuple(row) for row in np.floor(scaled * SAME + 0.5).tolist()]


def _distinct_rows(scaled: FloatArray) -> IndexArray:
    """Return the rows of different outcomes [n, objective], the first of equal ones."""
    first: dict[tuple[float, ...], int] = {}
    for row, key in enumerate(_keys(scaled)):
        first.setdefault(key, row)
    return np.array(list(first.values()), dtype=np.int64)


def _thinned(rows: IndexArray, scaled: FloatArray) -> IndexArray:
    """Return at most `MOST_POINTS` of some rows of outcomes [n, objective], and the best of each objective."""
    count = len(rows)
    if count <= MOST_POINTS:
        return rows
    order = rows[np.lexsort(scaled[rows].T[::-1])]
    even = np.floor(np.arange(MOST_POINTS) * ((count - 1) / (MOST_POINTS - 1)) + 0.5).astype(np.int64)
    return np.union1d(order[even], rows[scaled[rows].argmax(axis=0)])


def parse_session(content: bytes) -> SessionRecord:
    """Return the content of a session file.

    Raises:
        ValueError: it is damaged, or of another format, with a sentence that says why.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"it must be of format {FORMAT!r}, not {found!r:.50}")
    try:
        return _session_record(record)
    except KeyError as error:
        raise ValueError(f"it does not say {error.args[0]!r}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is damaged: {error}") from None


def _session_record(record: Mapping[str, object]) -> SessionRecord:
    names = _list(record["objectives"], "objectives")
    objectives = tuple(name for name in names if isinstance(name, str))
    if not objectives or len(objectives) != len(names):
        raise ValueError(f"objectives must be at least one name, not {names!r:.50}")
    response = record["response"]
    if not isinstance(response, dict) or set(response) != {one.name for one in fields(Response)}:
        raise ValueError("response must hold noise, indifference, lapse and link")
    answers = _list(record["answers"], "answers")
    if len(answers) > MOST_ANSWERS:
        raise ValueError(f"answers must be at most {MOST_ANSWERS:,}, got {len(answers):,}")
    numbers = {name: _number(response[name], name) for name in ("noise", "indifference", "lapse")}
    settings = SessionSettings(
        limit=_number(record["limit"], "limit"),
        seed=_whole(record["seed"], "seed"),
        particles=_whole(record["particles"], "particles"),
        response=Response(link=str(response["link"]), **numbers),
    )
    return SessionRecord(
        objectives=objectives,
        settings=settings,
        answers=tuple(_answer(entry, len(objectives)) for entry in answers),
    )


def _answer(entry: object, count: int) -> Answer:
    if not isinstance(entry, dict) or entry.get("answer") not in ANSWERS:
        raise ValueError(f"an answer must hold left, right and one of {', '.join(ANSWERS)}, not {entry!r:.80}")
    left, right = (
        tuple(_number(value, "a return") for value in _list(entry[side], side)) for side in ("left", "right")
    )
    if len(left) != count or len(right) != count:
        raise ValueError(f"outcomes must be {count} numbers each, one for each objective")
    return Answer(left, right, str(entry["answer"]))


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {type(value).__name__}")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, not {value!r:.50}")
    return float(value)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, not {value!r:.50}")
    return value
