"""What `front.json` and `config.toml` of a run say, checked: wrong values become sentences, older formats defaults."""

import json
import tomllib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS_SHOWN = 5_000
"""Points of a published front that are shown; of more, an even choice."""
LONGEST_NAME = 200
"""Characters of a name (of an objective, agent or environment) that are shown."""
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


def as_table(values: Any, name: str) -> NDArray[np.float64]:
    """Return a JSON list of rows as a finite array [n, objective]; an empty list is [0, 0].

    Raises:
        ValueError, TypeError: it is something else.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.size == 0:
        return np.empty((0, 0))
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"{name} must be rows of finite numbers, one number for each objective")
    return table


def thinned_rows(count: int, most: int) -> NDArray[np.int64]:
    """Return the numbers 0 to count - 1, or `most` of them, evenly chosen with both ends."""
    chosen: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    return chosen


def parse_published(content: bytes) -> Published:
    """Return what a front.json says.

    Raises:
        ValueError: it is not one, with a sentence that says why.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"front.json is damaged: {error}") from None
    try:
        return _published(record)
    except KeyError as error:
        raise ValueError(f"front.json does not say {error.args[0]!r}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"front.json is damaged: {error}") from None


def _published(record: dict[str, Any]) -> Published:
    objectives = tuple(_name(value) for value in record["objectives"])
    if not 2 <= len(objectives) <= MOST_OBJECTIVES:
        raise ValueError(f"objectives must be 2 to {MOST_OBJECTIVES} names, got {len(objectives)}")
    points = as_table(record["points"], "points").reshape(-1, len(objectives))
    notes = []
    rows = thinned_rows(len(points), POINTS_SHOWN)
    if len(rows) < len(points):
        notes.append(f"the front has {len(points):,} points; {len(rows):,} of them are shown, evenly chosen")
    preferences, policy_ids = _preferences(record, points), _policy_ids(record, points)
    missing = [name for name in ("preferences", "policy_ids") if name not in record]
    if missing:
        notes.append(f"front.json is of another format: it lacks {' and '.join(missing)}")
    return Published(
        agent=_name(record.get("agent", "unknown agent")),
        env=_name(record.get("env", "unknown environment")),
        env_options=_options(record.get("env_options", {})),
        seed=record["seed"] if isinstance(record.get("seed"), int) else None,
        objectives=objectives,
        discount=_discount(record.get("discount", 1.0)),
        reference_point=_reference(record.get("reference_point"), len(objectives)),
        points=points[rows],
        rows=rows,
        preferences=preferences[rows],
        policy_ids=policy_ids[rows],
        indicators=finite_numbers(record.get("indicators", {})),
        counts=_counts(record),
        notes=tuple(notes),
    )


def _name(value: object) -> str:
    return str(value)[:LONGEST_NAME]


def _options(value: Any) -> dict[str, Any]:
    return {_name(key): option for key, option in value.items() if isinstance(option, int | float | str | bool)}


def _preferences(record: dict[str, Any], points: NDArray[np.float64]) -> NDArray[np.float64]:
    given = record.get("preferences")
    if not given:
        return np.full(points.shape, np.nan)
    table = np.asarray([[np.nan if weight is None else weight for weight in row] for row in given], dtype=np.float64)
    if table.shape != points.shape:
        raise ValueError(f"preferences have shape {table.shape}, but the points {points.shape}")
    return table


def _policy_ids(record: dict[str, Any], points: NDArray[np.float64]) -> NDArray[np.int64]:
    given = record.get("policy_ids")
    if not given:
        return np.full(len(points), -1, dtype=np.int64)
    numbers = np.asarray(given, dtype=np.int64)
    if numbers.shape != (len(points),):
        raise ValueError(f"policy_ids must be {len(points)} numbers, one for each point")
    return numbers


def _discount(value: Any) -> float:
    if not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"discount is {value}, but must lie between 0 and 1")
    return float(value)


def _reference(value: Any, objectives: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    point = as_table([value], "reference_point")
    if point.shape != (1, objectives):
        raise ValueError(f"reference_point must be {objectives} numbers, one for each objective")
    return tuple(point[0].tolist())


def finite_numbers(values: Any) -> dict[str, float]:
    """Return those entries of a JSON object that are finite numbers, by name; none of anything else."""
    if not isinstance(values, dict):
        return {}
    return {
        _name(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
    }


def _counts(record: dict[str, Any]) -> dict[str, float]:
    names = ("training_steps", "pretraining_steps", "evaluation_steps", "wall_seconds", "selected_at_step")
    counts = finite_numbers({name: record[name] for name in names if name in record})
    if {"training_steps", "pretraining_steps", "evaluation_steps"} <= counts.keys():
        counts["environment_steps"] = (
            sum(counts.pop(name) for name in ("pretraining_steps", "evaluation_steps")) + counts["training_steps"]
        )
    return counts


def parse_config(content: bytes) -> dict[str, Any]:
    """Return config.toml as one flat table: `agent.learning_rate` and so on.

    Raises:
        ValueError: it is no TOML.
    """
    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"config.toml is damaged: {error}") from None
    return dict(_flat(table, ""))


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    entries: list[tuple[str, Any]] = []
    for key, value in table.items():
        entries += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return entries


def setting_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return what makes runs seeds of one setting: their configuration without the seed and what changes no result."""
    return {key: value for key, value in config.items() if key not in NOT_A_SETTING}
