"""What `front.json` and `config.toml` of a run say, checked: wrong values become sentences, older formats defaults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from morl.board.text import LARGEST_WHOLE_NUMBER, printable, shown_value, whole_number
from morl.preferences import scales_of
from morl.run_folder import CONFIG, FRONT, FrontRecord, parse_config, parse_front

BOUND = re.compile(r"(>=|<=)\s*-?\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
"""A bound on an objective, as users write it in `constraints`."""
POINTS_SHOWN = 5_000
"""Points of a reported front that are shown; of more, an even choice."""
MOST_OBJECTIVES = 32
"""Objectives of a run that is shown; one objective alone has no front."""
MOST_SETTINGS = 2_000
LONGEST_SENTENCE = 300
"""Characters of a sentence with names from a file."""
DEEPEST_SETTING = 8
"""Tables within tables of config.toml that become settings of their own; deeper ones are text."""
Settings = dict[str, bool | int | float | str]
NOT_A_SETTING = {"seed", "device", "checkpoint_minutes", "time_limit_minutes", "log_every"}
"""Keys of config.toml that do not make another setting: runs that differ in these alone are folded into one."""


@dataclass(frozen=True, kw_only=True)
class ReportedFront:
    """What front.json publishes.

    Attributes:
        points: [n, objective] discounted returns.
        rows: [n] the row in front.json behind each point: `Run.policy(row=...)`.
        preferences: [n, objective]; NaN where a policy has none.
        policy_ids: [n] numbers of the policy files; -1 where not said.
        hashes: policy id -> SHA-256 of its file, as front.json says.
        standard_errors: [n, objective] of the points; NaN where not said.
        choice_points: [n, objective] discounted returns of other episodes, by which policies are chosen.
        violations: [n] by how much each point breaks the user's constraints; infinite where that is no number.
        bounds: column of an objective -> the user's bound on it, ">= -50" or "<= 3".
        units: [objective] the returns that the agent sees as 1: `preferences` weigh returns in these.
        scales: [objective] equally valuable amounts of the objectives, as `Front.scales`.
        scales_given: whether the user said so; the scales are the ranges of all points otherwise.
        known_front: [k, objective] as front.json has it; None where it has none.
        indicator_errors: name -> standard error.
        counts: training_steps, environment_steps (evaluation and pre-training included), wall_seconds,
            selected_at_step, as far as they are said.
        notes: what was missing or odd, one sentence each.
    """

    agent: str
    env: str
    env_options: Settings
    seed: int | None
    objectives: tuple[str, ...]
    discount: float
    reference_point: tuple[float, ...] | None
    points: NDArray[np.float64]
    rows: NDArray[np.int64]
    preferences: NDArray[np.float64]
    policy_ids: NDArray[np.int64]
    indicators: dict[str, float]
    counts: dict[str, float]
    standard_errors: NDArray[np.float64]
    choice_points: NDArray[np.float64]
    violations: NDArray[np.float64]
    units: NDArray[np.float64]
    scales: NDArray[np.float64]
    scales_given: bool = False
    bounds: Mapping[int, str] = field(default_factory=dict)
    known_front: NDArray[np.float64] | None = None
    hashes: Mapping[int, str] = field(default_factory=dict)
    indicator_errors: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def thinned_rows(count: int, most: int) -> NDArray[np.int64]:
    """Return the numbers 0 to count - 1, or `most` of them, evenly chosen with both ends."""
    chosen: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return chosen


def parse_reported_front(content: bytes) -> ReportedFront:
    """Return what a front.json says.

    Raises:
        ValueError: it is not one, with a sentence that says why.
    """
    front = parse_front(content)
    if len(front.objectives) == 1:
        raise ValueError(_of_one_objective(front))
    if not 2 <= len(front.objectives) <= MOST_OBJECTIVES:
        raise ValueError(
            f"{FRONT} is damaged: objectives must be 2 to {MOST_OBJECTIVES} names, got {len(front.objectives)}"
        )
    if front.points.shape[1] != len(front.objectives):
        raise ValueError(f"{FRONT} is damaged: points must have {len(front.objectives)} numbers each")
    notes = []
    rows = thinned_rows(len(front.points), POINTS_SHOWN)
    if len(rows) < len(front.points):
        notes.append(f"the front has {len(front.points):,} points; {len(rows):,} of them are shown, evenly chosen")
    if front.broken_bounds:
        notes.append(printable(front.broken_bounds, LONGEST_SENTENCE))
    missing = [name for name in front.missing if name in ("preferences", "policy_ids")]
    if missing:
        notes.append(f"{FRONT} is of another format: it lacks {' and '.join(missing)}")
    return ReportedFront(
        agent=printable(front.agent),
        env=printable(front.env),
        env_options={printable(name): shown_value(value) for name, value in front.env_options.items()},
        seed=whole_number(front.seed),
        objectives=tuple(map(printable, front.objectives)),
        discount=front.discount,
        reference_point=front.reference_point,
        points=front.points[rows],
        rows=rows,
        preferences=front.preferences[rows],
        policy_ids=front.policy_ids[rows],
        indicators={printable(name): value for name, value in front.indicators.items()},
        indicator_errors={printable(name): value for name, value in front.indicator_errors.items()},
        standard_errors=front.standard_errors[rows],
        choice_points=front.choice_points[rows],
        violations=np.nan_to_num(front.violations, nan=np.inf)[rows],
        bounds=_bounds(front),
        units=np.array(front.units),
        scales=scales_of(front.points, front.scales),
        scales_given=front.scales is not None,
        known_front=front.known_front,
        hashes={policy.policy_id: policy.sha256 for policy in front.policies},
        counts=_shown_counts(front.counts),
        notes=tuple(notes),
    )


def _bounds(front: FrontRecord) -> dict[int, str]:
    """Return the bounds that can be drawn, by the column of their objective."""
    texts = {name: entry.get("bound") for name, entry in front.constraints.items() if isinstance(entry, Mapping)}
    return {
        column: text.strip()
        for column, name in enumerate(front.objectives)
        if isinstance(text := texts.get(name), str) and BOUND.fullmatch(text.strip())
    }


def _of_one_objective(front: FrontRecord) -> str:
    """Return why a run with one objective is not drawn, and the best that it reached."""
    name = printable(front.objectives[0])
    best = f"; its best return is {front.points.max():.6g}" if front.points.size else ""
    return f"{FRONT} has one objective, {name}, and a front needs at least two{best}"


def _shown_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the counts of front.json with all environment steps as one number, where all of them are said."""
    shown = {name: value for name, value in counts.items() if name != "updates"}
    spent = ("training_steps", "pretraining_steps", "evaluation_steps")
    if all(name in shown for name in spent):
        shown["environment_steps"] = min(sum(shown[name] for name in spent), LARGEST_WHOLE_NUMBER)
        del shown["pretraining_steps"]
        del shown["evaluation_steps"]
    return shown


def flat_config(content: bytes) -> Settings:
    """Return config.toml as one flat table: `agent.learning_rate` and so on, each value one that JSON can hold.

    Raises:
        ValueError: it is not TOML, or holds more than a run's settings.
    """
    flat: Settings = {}
    waiting: list[tuple[str, object]] = [("", parse_config(content))]
    while waiting:
        prefix, value = waiting.pop()
        if isinstance(value, Mapping) and prefix.count(".") < DEEPEST_SETTING:
            waiting += [(f"{prefix}.{key}" if prefix else str(key), inner) for key, inner in value.items()]
        else:
            flat[printable(prefix)] = shown_value(value)
        if len(flat) + len(waiting) > MOST_SETTINGS:
            raise ValueError(f"{CONFIG} is damaged: it has more than {MOST_SETTINGS:,} settings")
    return dict(sorted(flat.items()))


def setting_of(config: Settings) -> Settings:
    """Return what makes runs seeds of one setting: their configuration without the seed and what changes no result."""
    return {key: value for key, value in config.items() if key not in NOT_A_SETTING}
