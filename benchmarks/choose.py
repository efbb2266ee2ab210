"""Choose by comparing: how many questions synthetic decision makers have to answer.

python benchmarks/choose.py [--quick] [--makers 60] [--write docs/results/choose.md]

Each decision maker has a utility that the method does not know: a weighted sum, a Tchebycheff utility, or minimum
requirements (of one or two objectives, 20 to 70 % of their range) before a weighted sum, in turn; weights are drawn
uniformly. They compare outcomes of a front that is known without training. Counted are the questions until the
recommended policy's regret, a share of their utility's range over the front, is under 1 % and stays there for the rest
of 30 questions; 31 stands for more. Three ways to ask take turns on the same decision makers:

- information: the pair whose answer says most about the best policy (`morl.elicitation`);
- random pairs: two policies drawn at random; posterior and recommendation as above;
- grid of weights: the policies that are best for the weights of ever finer lattices, each against the best so far.
"""

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray

import morl
from morl.elicitation import ANSWERS, KINDS, Session, SessionSettings
from morl.elicitation.posterior import Comparison, Posterior
from morl.elicitation.questions import best_pair, recommend
from morl.envs import specs
from morl.preferences import simplex_lattice

FloatArray = NDArray[np.float64]
FRONTS: dict[str, tuple[str, dict[str, int]]] = {
    "deep sea treasure": ("deep-sea-treasure-v0", {}),
    "stochastic grid": ("lab/stochastic-grid-v0", {}),
    "knapsack": ("lab/knapsack-v0", {}),
    "docking": ("lab/docking-v0", {}),
    "fruit tree, depth 7": ("fruit-tree-v0", {"depth": 7}),
}
METHODS = ("information", "random pairs", "grid of weights")
QUESTIONS = 30
LIMIT = 0.01


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    makers: int = 60
    """Decision makers for each front."""
    only: list[str] = field(default_factory=list)
    """Fronts whose names contain one of these; default: all."""
    noise: float = 0.01
    """Scale of the decision makers' logistic errors, and the difference below which they answer "equal"."""
    slips: float = 0.0
    """Share of their answers that are drawn at random."""
    quick: bool = False
    """Three decision makers on each front."""
    write: Path | None = None
    """Markdown file for the tables, with those of decision makers with more noise."""


class DecisionMaker:
    """A user whose utility is known.

    Args:
        points: [n, objective] the front, scaled to [0, 1].
        number: seeds everything; its remainder by 3 is the kind of utility.
        noise: scale of logistic errors in comparisons, and indifference.
        slips: share of answers that are drawn at random.
    """

    def __init__(self, points: FloatArray, number: int, noise: float, slips: float) -> None:
        self._generator = np.random.default_rng([number, 20])
        self._noise = noise
        self._slips = slips
        objectives = points.shape[1]
        self.kind = KINDS[number % len(KINDS)]
        weights = self._generator.dirichlet(np.ones(objectives))
        utilities = (weights * (points - 1.0)).min(axis=1) if self.kind == "tchebycheff" else points @ weights
        self._meets = np.ones(len(points), dtype=bool)
        if self.kind == "requirements":
            self._meets = (points >= self._minimum(points)).all(axis=1)
        best = utilities[self._meets].max()
        self.values: FloatArray = 1.0 - (best - utilities) / (best - utilities.min())

    def _minimum(self, points: FloatArray) -> FloatArray:
        """Return required returns of one or two objectives, 20 to 70 % of their range, that some point meets."""
        objectives = points.shape[1]
        while True:
            minimum = np.zeros(objectives)
            for k in self._generator.permutation(objectives)[: self._generator.integers(1, 3)]:
                minimum[k] = self._generator.uniform(0.2, 0.7)
            if (points >= minimum).all(axis=1).any():
                return minimum

    def regret(self, row: int) -> float:
        """Return what is lost with a policy, a share of the utility's range; 1 where it misses a requirement."""
        return min(1.0, 1.0 - float(self.values[row])) if self._meets[row] else 1.0

    def answer(self, left: int, right: int) -> str:
        """Return the answer to a comparison."""
        if self._generator.random() < self._slips:
            return str(self._generator.choice(ANSWERS[:3]))
        if not (self._meets[left] and self._meets[right]):
            return (
                "neither" if not (self._meets[left] or self._meets[right]) else "left" if self._meets[left] else "right"
            )
        difference = self.values[left] - self.values[right] + self._generator.logistic(0.0, self._noise)
        if abs(difference) <= self._noise:
            return "equal"
        return "left" if difference > 0.0 else "right"


class Outcome(NamedTuple):
    """One session: questions to a regret that stays under the limit, questions to its own end, the regret there."""

    questions: int
    asked: int
    final_regret: float
    seconds: float


def scaled_front(name: str) -> FloatArray:
    """Return a known front scaled to the range of each objective [n, objective]."""
    env, options = FRONTS[name]
    known_front = specs[env].known_front
    assert known_front is not None
    points = np.asarray(known_front(specs[env].discount, **options), dtype=np.float64)
    scaled: FloatArray = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    return scaled


def ask(points: FloatArray, maker: DecisionMaker, method: str, seed: int) -> Outcome:
    """Return how a session goes: `QUESTIONS` questions, whenever it would end by itself."""
    losses: list[float] = []
    expected: list[float] = []
    seconds: list[float] = []
    for row, expected_regret, took in recommendations(points, maker, method, seed):
        losses.append(maker.regret(row))
        expected.append(expected_regret)
        seconds.append(took)
    over = [number for number, loss in enumerate(losses) if loss >= LIMIT]
    end = next((number for number, loss in enumerate(expected) if loss < LIMIT), QUESTIONS)
    questions = over[-1] + 1 if over else 0
    return Outcome(questions, end, losses[min(end, len(losses) - 1)], median(seconds))


def recommendations(
    points: FloatArray, maker: DecisionMaker, method: str, seed: int
) -> Iterator[tuple[int, float, float]]:
    """Yield the policy that is recommended after 0, 1, ... questions, its expected regret, and seconds to get there."""
    if method == "grid of weights":
        for row in champions(points, maker):
            yield row, 1.0, 0.0
        return
    settings = SessionSettings(seed=seed)
    posterior = Posterior.before_answers(points, settings.particles, seed, settings.response)
    generator = np.random.default_rng([seed, 21])
    asked: set[tuple[int, int]] = set()
    began = time.process_time()
    for _ in range(QUESTIONS + 1):
        found = recommend(posterior, LIMIT)
        pair = best_pair(posterior, LIMIT, asked, seed)
        yield found.row, found.expected_regret, time.process_time() - began
        if method == "random pairs":
            pair = tuple(generator.choice(len(points), size=2, replace=False).tolist())
        if pair is None:
            return
        left, right = pair
        asked.add((min(pair), max(pair)))
        answer = ANSWERS.index(maker.answer(left, right))
        began = time.process_time()
        posterior = posterior.after(Comparison(points[left], points[right], answer))


def champions(points: FloatArray, maker: DecisionMaker) -> Iterator[int]:
    """Yield the best policy so far after each comparison of a walk over ever finer grids of weights."""
    challengers = dict.fromkeys(
        int(row)
        for divisions in range(1, 13)
        for row in (simplex_lattice(points.shape[1], divisions) @ points.T).argmax(axis=1)
    )
    champion, *others = challengers
    yield champion
    for challenger in others[:QUESTIONS]:
        if maker.answer(champion, challenger) == "right":
            champion = challenger
        yield champion


def table(arguments: Arguments) -> str:
    """Return the table of all fronts as Markdown; prints each row when it is measured."""
    lines = [
        "| front (points, objectives) | method | questions to a regret under 1 %: median (75 %; not within 30) "
        "| linear, Tchebycheff, requirements | ends by itself after | regret there: mean (over 1 %) | ms per answer |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    makers = 3 if arguments.quick else arguments.makers
    for name in FRONTS:
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        points = scaled_front(name)
        for method in METHODS:
            found = [
                ask(points, DecisionMaker(points, number, arguments.noise, arguments.slips), method, number)
                for number in range(makers)
            ]
            lines.append(row_of(f"{name} ({len(points)}, {points.shape[1]})", method, found))
            print(lines[-1], flush=True)
    return "\n".join(lines)


def row_of(front: str, method: str, found: list[Outcome]) -> str:
    """Return one row of the table."""
    questions = np.array([one.questions for one in found])
    kinds = ", ".join(f"{np.median(questions[kind :: len(KINDS)]):g}" for kind in range(len(KINDS)))
    missed = float((questions > QUESTIONS).mean())
    counted = f"**{np.median(questions):g}** ({np.quantile(questions, 0.75):g}; {missed:.0%})"
    if method == "grid of weights":
        return f"| {front} | {method} | {counted} | {kinds} | - | - | - |"
    ends = f"{median(one.asked for one in found):g}"
    losses = np.array([one.final_regret for one in found])
    regret = f"{losses.mean():.2%} ({(losses > LIMIT).mean():.0%})"
    milliseconds = f"{1000 * median(one.seconds for one in found):.0f}"
    return f"| {front} | {method} | {counted} | {kinds} | {ends} | {regret} | {milliseconds} |"


def speed() -> str:
    """Return how long an answer takes with 500 points: posterior, recommendation and next question."""
    sentences = []
    for objectives in (2, 3, 6):
        directions = np.abs(np.random.default_rng(0).normal(size=(500, objectives)))
        points = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        maker = DecisionMaker(points, 0, 0.01, 0.0)
        session = Session(points)
        times = []
        while session.question is not None:
            answer = maker.answer(session.question.left, session.question.right)
            began = time.process_time()
            session.answer(answer)
            _ = session.recommendation, session.question
            times.append(1000 * (time.process_time() - began))
        sentences.append(f"{objectives} objectives {median(times):.0f} ms (slowest {max(times):.0f} ms)")
    return f"Choosing answers, 500 points, processor time: {'; '.join(sentences)}."


def main() -> None:
    arguments = tyro.cli(Arguments)
    print(f"noise {arguments.noise:g}, slips {arguments.slips:g}\n")
    first = table(arguments)
    quick = speed()
    print(f"\n{quick}")
    if arguments.write is None:
        return
    noisy = Arguments(makers=arguments.makers // 2, only=arguments.only, noise=0.03, slips=0.05, quick=arguments.quick)
    second = table(noisy)
    text = (
        "# Choose by comparing: questions that synthetic decision makers answer\n\n"
        f"`python benchmarks/choose.py --makers {arguments.makers} --write {arguments.write}`; morl {morl.__version__},"
        f" Python {platform.python_version()}, numpy {np.__version__}, one thread, seeds as numbered.\n\n"
        f"{__doc__.split(chr(10) * 2, 2)[2]}\n"
        f"## Decision makers 0 to {arguments.makers - 1}: logistic errors of {arguments.noise:g} of the range\n\n"
        f"{first}\n\n"
        f"{quick}\n\n"
        f"## Decision makers 0 to {noisy.makers - 1} with more noise: errors of {noisy.noise:g}, and"
        f" {noisy.slips:.0%} of the answers at random\n\n{second}\n"
    )
    arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
