"""What is known of a user's utility: weighted particles, their likelihood, and moves that keep them diverse.

A decision maker answers which of two outcomes is better. Each particle is one utility that may be theirs: a weighted
sum, a Tchebycheff utility, or minimum requirements before a weighted sum. Outcomes are returns scaled to the range of
the front, 0 the lowest and 1 the highest in each objective, so that units do not matter. Values are shares too: of each
particle's utilities over the front, 1 is the best and 0 the worst, and 1 - value is the regret of a policy.

`morl/board/front/posterior.js` is the same in JavaScript, number for number. Therefore random numbers come from a
hash that both languages compute alike, and nothing here depends on the order of a sum.

Sources: learning a utility from pairwise comparisons: Chu and Ghahramani 2005. Preference elicitation over Pareto
fronts: Zintgraf et al. 2018; Huber et al. 2025. Particles that are reweighted, resampled and moved: Chopin 2002; moves
along differences of particles: ter Braak 2006. Comparisons with ties: Rao and Kupper 1967.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

KINDS = ("linear", "tchebycheff", "requirements")
"""Utilities of particles, by number."""
ANSWERS = ("left", "right", "equal", "neither")
"""Answers to a comparison, by number."""
LINEAR = 0
TCHEBYCHEFF = 1
REQUIREMENTS = 2
MEAN_REQUIREMENTS = 1.5
"""Objectives in which a particle with requirements has one, on average; of two or three, each with probability 1/2."""
LARGEST_MISSED = 0.95
"""Share of the points that miss a requirement at most."""
LARGEST_LEVEL = 0.95
"""Value from which outcomes are acceptable at most."""
UNMET = -0.25
"""Value of an outcome that just misses a requirement, where others meet all."""
ALWAYS = 1e9
"""Margin by which outcomes are acceptable to users who accept everything."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """Model of a decision maker's answers, given their utility.

    Attributes:
        noise: s, the scale of errors, as a share of the utility's range over the front.
        indifference: d, the smallest difference in value, error included, that is not answered by "equal".
        lapse: share of answers that are random: a slip, a misunderstanding, a changed mind.
        link: "logistic" or "probit", the distribution of errors.
    """

    noise: float = 0.02
    indifference: float = 0.015
    lapse: float = 0.02
    link: str = "logistic"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: one is out of its range.
        """
        for name, lowest, highest in (("noise", 1e-4, 10.0), ("indifference", 0.0, 1.0), ("lapse", 1e-6, 0.9)):
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} is {value}, but must lie between {lowest:g} and {highest:g}")
        if self.link not in ("logistic", "probit"):
            raise ValueError(f"link is {self.link!r}, but must be 'logistic' or 'probit'")

    def rises(self, margins: FloatArray) -> FloatArray:
        """Return the probability that a margin plus an error is positive.

        Args:
            margins: [...], in units of value.
        """
        scaled = np.clip(margins / self.noise, -36.0, 36.0)
        if self.link == "probit":
            return _normal_distribution(scaled)
        rising: FloatArray = 1.0 / (1.0 + np.exp(-scaled))
        return rising


def _normal_distribution(x: FloatArray) -> FloatArray:
    """Return the standard normal distribution function, to 1e-7 (Abramowitz and Stegun 1964, 26.2.17)."""
    t: FloatArray = 1.0 / (1.0 + 0.2316419 * np.abs(x))
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail: FloatArray = np.exp(-0.5 * x * x) * series / math.sqrt(2.0 * math.pi)
    return np.where(x >= 0.0, 1.0 - tail, tail)


class Uniforms:
    """Uniform random numbers that Python and JavaScript compute alike, each call from a stream of its own.

    A number is a hash of seed, stream and position, so there is no state but the stream's number.
    Source of the hash: Wellons 2018 ("lowbias32").

    Args:
        seed: 0 to 2^32 - 1.
        stream: number of the first stream.
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._seed = np.array([seed], dtype=np.uint32)
        self._stream = stream

    def draw(self, count: int) -> FloatArray:
        """Return the next `count` numbers, between 0 and 1 exclusive."""
        key = _hashed(_hashed(self._seed) ^ np.array([self._stream], dtype=np.uint32))
        self._stream += 1
        integers = _hashed(np.arange(count, dtype=np.uint32) ^ key)
        return (integers.astype(np.float64) + 0.5) / 2.0**32


def _hashed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


class Particles(NamedTuple):
    """Utilities that may be the user's.

    Attributes:
        kinds: [particle] numbers of `KINDS`.
        logs: [particle, objective] logarithms of exponential variates, whose shares are the weights: these are then
            uniform on the simplex, and any real number is a log.
        levels: [particle, objective] uniform on (0, 1); of minimum requirements the upper part is a required return.
            Of the other kinds the upper half of the first one is the value from which outcomes are acceptable.
    """

    kinds: IndexArray
    logs: FloatArray
    levels: FloatArray

    @property
    def weights(self) -> FloatArray:
        """Return the weights [particle, objective], each row with the sum 1."""
        sizes = np.exp(self.logs)
        weights: FloatArray = sizes / sizes.sum(axis=1, keepdims=True)
        return weights

    def requirements(self, points: FloatArray) -> FloatArray:
        """Return the required returns [particle, objective]; 0 requires nothing.

        A level is a share of the points, not of the range: a requirement matters by the points that miss it, and these
        may lie close together.

        Args:
            points: [n, objective] the front, scaled to [0, 1].
        """
        count, objectives = points.shape
        required_share = min(0.5, MEAN_REQUIREMENTS / objectives)
        missed = np.maximum(0.0, 1.0 - (1.0 - self.levels) / required_share) * LARGEST_MISSED
        places = missed * (count - 1)
        below = np.minimum(np.floor(places), max(0, count - 2)).astype(np.int64)
        ordered = np.sort(points, axis=0)
        columns = np.arange(objectives)
        low = ordered[below, columns]
        high = ordered[np.minimum(below + 1, count - 1), columns]
        return np.where(missed > 0.0, low + (places - below) * (high - low), 0.0)

    def taken(self, rows: IndexArray | NDArray[np.bool_]) -> "Particles":
        """Return some of the particles."""
        return Particles(self.kinds[rows], self.logs[rows], self.levels[rows])


def prior_particles(count: int, objectives: int, uniforms: Uniforms) -> Particles:
    """Return particles from the prior: the kinds in turn, weights and levels uniform.

    Args:
        count: number of particles.
        objectives: number of objectives.
        uniforms: random numbers.
    """
    kinds = np.arange(count) % len(KINDS)
    logs = np.log(-np.log(uniforms.draw(count * objectives))).reshape(count, objectives)
    levels = uniforms.draw(count * objectives).reshape(count, objectives)
    return Particles(kinds, logs, levels)


class Valuation:
    """The values of outcomes to particles, as shares of their utility's range over a front.

    Args:
        particles: the utilities.
        points: [n, objective] the front, scaled to [0, 1].
    """

    def __init__(self, particles: Particles, points: FloatArray) -> None:
        self._particles = particles
        self._weights = particles.weights
        self._requires = particles.kinds == REQUIREMENTS
        self._required = particles.requirements(points)[self._requires]
        self._front = self._utilities(points)
        utilities, missing = self._front
        needy = self._requires
        best = utilities.max(axis=0)
        worst = utilities.min(axis=0)
        if needy.any():
            lows = worst[needy]
            met = np.where(missing <= 0.0, utilities[:, needy], -np.inf).max(axis=0)
            self._impossible = np.isneginf(met)  # no point of the front meets all requirements: the least miss is best
            best[needy] = np.where(self._impossible, -missing.min(axis=0), met)
            worst[needy] = np.where(self._impossible, -missing.max(axis=0), lows)
        self._best = best
        self._span = np.where(best - worst > 1e-12, best - worst, 1.0)

    def of_front(self) -> FloatArray:
        """Return the values [n, particle] of the front's points: at most 1, negative where a requirement is missed."""
        utilities, missing = self._front
        return self._shares(utilities, missing)

    def of(self, outcomes: FloatArray) -> FloatArray:
        """Return the values [n, particle] of other outcomes [n, objective], scaled as the points are."""
        utilities, missing = self._utilities(outcomes)
        return self._shares(utilities, missing)

    def acceptance(self, outcomes: FloatArray, values: FloatArray, response: Response) -> FloatArray:
        """Return the probability [n, particle] that outcomes are acceptable.

        Args:
            outcomes: [n, objective], scaled.
            values: [n, particle] of these outcomes.
            response: how a decision maker answers.
        """
        level = self._particles.levels[:, 0]
        margins = values - np.maximum(0.0, 2.0 * level - 1.0) * LARGEST_LEVEL
        margins[:, level <= 0.5] = ALWAYS  # half of the users accept everything
        if self._requires.any():
            margins[:, self._requires] = -self._missing(outcomes)
        return response.rises(margins)

    def _missing(self, outcomes: FloatArray) -> FloatArray:
        """Return by how much outcomes miss the requirements, where they do most [n, particle that requires]."""
        missing = np.full((len(outcomes), len(self._required)), -np.inf)
        for k in range(outcomes.shape[1]):
            needed = np.where(self._required[:, k] > 0.0, self._required[:, k], -1.0)
            np.maximum(missing, needed - outcomes[:, k : k + 1], out=missing)
        return missing

    def _utilities(self, outcomes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return utilities [n, particle], weighted sums where there are requirements, and how much these miss."""
        utilities = outcomes @ self._weights.T
        worst_first = self._particles.kinds == TCHEBYCHEFF
        if worst_first.any():
            weights = self._weights[worst_first]
            lowest = np.full((len(outcomes), len(weights)), np.inf)
            for k in range(outcomes.shape[1]):
                np.minimum(lowest, weights[:, k] * (outcomes[:, k : k + 1] - 1.0), out=lowest)
            utilities[:, worst_first] = lowest
        return utilities, self._missing(outcomes)

    def _shares(self, utilities: FloatArray, missing: FloatArray) -> FloatArray:
        shares: FloatArray = 1.0 - (self._best - utilities) / self._span
        if self._requires.any():
            needy = self._requires
            least = 1.0 - (self._best[needy] + missing) / self._span[needy]
            unmet = np.where(self._impossible, least, UNMET - missing)
            shares[:, needy] = np.where(missing <= 0.0, shares[:, needy], unmet)
        return shares


class Comparison(NamedTuple):
    """One answer: the two outcomes [objective] that were compared, scaled, and the number of the answer."""

    left: FloatArray
    right: FloatArray
    answer: int


def answer_probabilities(
    values: tuple[FloatArray, FloatArray], acceptances: tuple[FloatArray, FloatArray], response: Response
) -> FloatArray:
    """Return the probabilities of the answers to comparisons [answer, ...].

    Neither is acceptable with (1 - a_l)(1 - a_r); else "left" with F((v_l - v_r - d) / s), "right" alike, and "equal"
    with the rest; a share of answers, the lapse, is uniform.

    Args:
        values: v [...] of the left and of the right outcomes.
        acceptances: a [...] of the left and of the right outcomes.
        response: how a decision maker answers.
    """
    difference = values[0] - values[1]
    left = response.rises(difference - response.indifference)
    right = response.rises(-difference - response.indifference)
    neither = (1.0 - acceptances[0]) * (1.0 - acceptances[1])
    some = 1.0 - neither
    answers = np.stack([some * left, some * right, some * (1.0 - left - right), neither])
    probabilities: FloatArray = (1.0 - response.lapse) * answers + response.lapse / len(ANSWERS)
    return probabilities


class Posterior:
    """Particles, their weights, and the values of the front's points to them.

    Args:
        points: [n, objective] the front, scaled to [0, 1].
        particles: the utilities.
        logs: [particle] logarithms of their weights, up to a constant.
        comparisons: the answers so far.
        seed: of the random numbers, 0 to 2^32 - 1.
        response: how a decision maker answers.

    Attributes:
        shares: [particle] the weights of the particles, of sum 1.
        values: [n, particle] of the points.
        acceptances: [n, particle] probabilities that the points are acceptable.
    """

    STREAMS = 1000
    """Streams of random numbers of each answer."""
    MOVES = 6
    """Moves of each rejuvenation."""

    def __init__(
        self,
        points: FloatArray,
        particles: Particles,
        logs: FloatArray,
        comparisons: tuple[Comparison, ...],
        seed: int,
        response: Response,
    ) -> None:
        self.points = points
        self.particles = particles
        self.comparisons = comparisons
        self.response = response
        self._logs = logs
        self._seed = seed
        self.shares = _shares_of(logs)
        valuation = Valuation(particles, points)
        self.values = valuation.of_front()
        self.acceptances = valuation.acceptance(points, self.values, response)

    @staticmethod
    def before_answers(points: FloatArray, count: int, seed: int, response: Response) -> "Posterior":
        """Return the prior, as `count` particles.

        Args:
            points: [n, objective] the front, scaled to [0, 1].
            count: number of particles.
            seed: of the random numbers, 0 to 2^32 - 1.
            response: how a decision maker answers.
        """
        particles = prior_particles(count, points.shape[1], Uniforms(seed, 0))
        return Posterior(points, particles, np.zeros(count), (), seed, response)

    @property
    def effective_size(self) -> float:
        """Return the effective number of particles, 1 / sum of squared weights (Kong et al. 1994)."""
        return _effective_size(self.shares)

    def after(self, comparison: Comparison) -> "Posterior":
        """Return the posterior after one more answer; this one stays as it is.

        Where fewer than half of the particles count, they are resampled and moved, so that it does not collapse.

        Args:
            comparison: the answer.
        """
        comparisons = (*self.comparisons, comparison)
        logs = self._logs + _log_likelihood(self.particles, self.points, [comparison], self.response)
        shares = _shares_of(logs)
        particles = self.particles
        if _effective_size(shares) < 0.5 * len(shares):
            uniforms = Uniforms(self._seed, Posterior.STREAMS * len(comparisons))
            particles = particles.taken(resampled_rows(shares, float(uniforms.draw(1)[0])))
            particles = moved(particles, self.points, comparisons, self.response, uniforms)
            logs = np.zeros(len(shares))
        return Posterior(self.points, particles, logs, comparisons, self._seed, self.response)


def _shares_of(logs: FloatArray) -> FloatArray:
    sizes = np.exp(logs - logs.max())
    shares: FloatArray = sizes / sizes.sum()
    return shares


def _effective_size(shares: FloatArray) -> float:
    return float(1.0 / np.square(shares).sum())


def moved(
    particles: Particles,
    points: FloatArray,
    comparisons: Sequence[Comparison],
    response: Response,
    uniforms: Uniforms,
) -> Particles:
    """Return particles after some Metropolis moves, which leave the posterior as it is and separate copies.

    Args:
        particles: the particles, of equal weight.
        points: [n, objective] the front, scaled.
        comparisons: the answers so far.
        response: how a decision maker answers.
        uniforms: random numbers.
    """

    def log_density(some: Particles) -> FloatArray:
        prior: FloatArray = (some.logs - np.exp(some.logs)).sum(axis=1)
        return prior + _log_likelihood(some, points, comparisons, response)

    density = log_density(particles)
    for move in range(Posterior.MOVES):
        proposed = _flipped(particles, uniforms) if move == 0 else _shifted(particles, uniforms, 1.0 / move)
        proposed_density = log_density(proposed)
        accepted = np.log(uniforms.draw(len(density))) < proposed_density - density
        density = np.where(accepted, proposed_density, density)
        particles = Particles(
            np.where(accepted, proposed.kinds, particles.kinds),
            np.where(accepted[:, None], proposed.logs, particles.logs),
            np.where(accepted[:, None], proposed.levels, particles.levels),
        )
    return particles


def _log_likelihood(
    particles: Particles,
    points: FloatArray,
    comparisons: Sequence[Comparison],
    response: Response,
) -> FloatArray:
    """Return the log likelihood [particle] of answers."""
    valuation = Valuation(particles, points)
    outcomes = np.array([outcome for one in comparisons for outcome in (one.left, one.right)])
    values = valuation.of(outcomes)
    acceptances = valuation.acceptance(outcomes, values, response)
    probabilities = answer_probabilities((values[0::2], values[1::2]), (acceptances[0::2], acceptances[1::2]), response)
    answers = np.array([one.answer for one in comparisons])
    total: FloatArray = np.log(probabilities[answers, np.arange(len(answers))]).sum(axis=0)
    return total


def resampled_rows(shares: FloatArray, offset: float) -> IndexArray:
    """Return rows drawn in proportion to their shares, each within one of its expected count (systematic resampling).

    Args:
        shares: [n], of sum 1.
        offset: a uniform number.
    """
    places = (np.arange(len(shares)) + offset) / len(shares)
    rows = np.searchsorted(np.cumsum(shares), places, side="right")
    return np.minimum(rows, len(shares) - 1)


def _flipped(particles: Particles, uniforms: Uniforms) -> Particles:
    """Return particles of another kind with the same numbers, which are as likely before any answer."""
    step = 1 + np.floor(uniforms.draw(len(particles.kinds)) * (len(KINDS) - 1)).astype(np.int64)
    return particles._replace(kinds=(particles.kinds + step) % len(KINDS))


def _shifted(particles: Particles, uniforms: Uniforms, size: float) -> Particles:
    """Return particles moved along the difference of two others of their kind (ter Braak 2006).

    Args:
        particles: the particles.
        uniforms: random numbers.
        size: of the step, a share of the best for a normal posterior, 2.38 / sqrt(2 dimensions).
    """
    count, objectives = particles.logs.shape
    first = uniforms.draw(count)
    second = uniforms.draw(count)
    jitter = 0.04 * (uniforms.draw(count * objectives).reshape(count, objectives) - 0.5)
    logs = particles.logs.copy()
    levels = particles.levels.copy()
    for kind in range(len(KINDS)):
        alike = np.flatnonzero(particles.kinds == kind)
        a = alike[np.floor(first[alike] * len(alike)).astype(np.int64)]
        b = alike[np.floor(second[alike] * len(alike)).astype(np.int64)]
        dimensions = 2 * objectives if kind == REQUIREMENTS else objectives
        step = size * 2.38 / np.sqrt(2.0 * dimensions)
        logs[alike] += step * (particles.logs[a] - particles.logs[b]) + jitter[alike]
        levels[alike] += step * (particles.levels[a] - particles.levels[b]) + 0.25 * jitter[alike]
    levels = np.abs(levels)  # reflected at 0 and 1
    levels = np.abs(1.0 - np.abs(1.0 - levels))
    return Particles(particles.kinds, logs, levels)
