"""What `front.json` and `config.toml` of a run say, checked: wrong values become sentences, older formats defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.run_folder import FRONT, parse_config, parse_front

POINTS_SHOWN = 5_000
"""Points of a published front that are shown; of more, an even choice."""
MOST_OBJECTIVES = 32
"""Objectives of a run that is shown; one objective alone has no front."""
NOT_A_SETTING = {"seed", "device", "checkpoint_minutes", "time_limit_minutes", "log_every"}
"""Keys of config.toml that do not make another setting: runs that differ in these alone are folded into one."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What front.json publishes.

    Attributes:
        points: [n, objective] discounted returns.
        rows: [n] the row in front.json behind each point: `Run.policy(row=...)`.
        preferences: [n, objective]; NaN where a policy has none.
        policy_ids: [n] numbers of the policy files; -1 where not said.
        counts: training_steps, environment_steps (evaluation and pre-training included), wall_seconds,
            selected_at_step, as far as they are said.
        notes: what was missing or odd, one sentence each.
    """

    agent: str
    env: str
    env_options: dict[str, Any]
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
    notes: tuple[str, ...] = ()


def thinned_rows(count: int, most: int) -> NDArray[np.int64]:
    """Return the numbers 0 to count - 1, or `most` of them, evenly chosen with both ends."""
    chosen: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return chosen


def parse_published(content: bytes) -> Published:
    """Return what a front.json says.

    Raises:
        ValueError: it is not one, with a sentence that says why.
    """
    front = parse_front(content)
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
    missing = [name for name in front.missing if name in ("preferences", "policy_ids")]
    if missing:
        notes.append(f"{FRONT} is of another format: it lacks {' and '.join(missing)}")
    return Published(
        agent=front.agent,
        env=front.env,
        env_options=dict(front.env_options),
        seed=front.seed,
        objectives=front.objectives,
        discount=front.discount,
        reference_point=front.reference_point,
        points=front.points[rows],
        rows=rows,
        preferences=front.preferences[rows],
        policy_ids=front.policy_ids[rows],
        indicators=dict(front.indicators),
        counts=_shown_counts(front.counts),
        notes=tuple(notes),
    )


def _shown_counts(counts: Mapping[str, float]) -> dict[str, float]:
    """Return the counts of front.json with all environment steps as one number, where all of them are said."""
    shown = {name: value for name, value in counts.items() if name != "updates"}
    spent = ("training_steps", "pretraining_steps", "evaluation_steps")
    if all(name in shown for name in spent):
        shown["environment_steps"] = sum(shown[name] for name in spent)
        del shown["pretraining_steps"]
        del shown["evaluation_steps"]
    return shown


def flat_config(content: bytes) -> dict[str, Any]:
    """Return config.toml as one flat table: `agent.learning_rate` and so on.

    Raises:
        ValueError: it is not TOML.
    """
    return dict(_flat(parse_config(content), ""))


def _flat(table: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    entries: list[tuple[str, Any]] = []
    for key, value in table.items():
        entries += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return entries


def setting_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what makes runs seeds of one setting: their configuration without the seed and what changes no result."""
    return {key: value for key, value in config.items() if key not in NOT_A_SETTING}
