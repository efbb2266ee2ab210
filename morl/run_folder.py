"""The format of run folders: names of their files, and the records in them, shared by the writer and all readers.

| file | contents |
|---|---|
| `config.toml` | resolved settings: `agent_name`, `env`, the fields of `Settings`, `[env_options]` and `[agent]` |
| `command.txt` | the command line that started the run |
| `system.json` | `SystemRecord`: versions, device, backends |
| `front.json` | `FrontRecord`: the best front so far, its policy files with their SHA-256, and all counts |
| `fronts.jsonl` | one `EvaluationRecord` for each evaluation |
| `metrics.jsonl` | one object of numbers for each log line, with `training_steps` |
| `policies/` | `<policy id>.pt`: the policies of the front, one file for each |
| `checkpoints/` | the two newest checkpoints, for resuming |
| `tensorboard/` | TensorBoard events |
| `choose.json` | the session of `morl choose`, `morl.elicitation.SessionRecord` |
| `loggers.json` | the loggers that resuming opens again, with the ids of W&B and MLflow runs |
| `metrics.csv`, `fronts.csv` | the content of the JSON lines, if the logger csv is chosen |
| `wandb/` | W&B's files, if the logger wandb is chosen |
| `failure.txt` | the error of a failed run of a study, one sentence (`morl.studies`) |
| `divergence.txt` | where and what diverged, one sentence, if that ended the run |
| `videos/` | recorded policies and their index (`morl.recordings`) |

JSON is strict: numbers that are not finite are `null`. Readers must not trust the files, which may be damaged, or
written by other versions or programs.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from morl.bounds import broken_bounds, checked_constraints, largest_violations

CONFIG = "config.toml"
COMMAND = "command.txt"
SYSTEM = "system.json"
FRONT = "front.json"
EVALUATIONS = "fronts.jsonl"
METRICS = "metrics.jsonl"
POLICIES = "policies"
CHECKPOINTS = "checkpoints"
EVENTS = "tensorboard"
VIDEOS = "videos"
RESUME_NOTE = "resume-note.txt"
LOGGERS = "loggers.json"
CSV_METRICS = "metrics.csv"
CSV_FRONTS = "fronts.csv"
WANDB = "wandb"
CHOICE = "choose.json"
FAILURE = "failure.txt"
DIVERGENCE = "divergence.txt"

NAMES = frozenset(
    {CONFIG, COMMAND, SYSTEM, FRONT, EVALUATIONS, METRICS, POLICIES, CHECKPOINTS, EVENTS, VIDEOS, RESUME_NOTE}
    | {LOGGERS, CSV_METRICS, CSV_FRONTS, WANDB, CHOICE, FAILURE, DIVERGENCE}
)
"""Everything that a run folder may hold."""

COUNTS = ("selected_at_step", "training_steps", "pretraining_steps", "evaluation_steps", "updates", "wall_seconds")
"""Entries of front.json that count: when the front was found, and what the run has spent so far."""

LONGEST_NAME = 200
"""Characters that are read of a name of an objective, agent or environment."""

KNOWN_POINTS_STORED = 2_000
"""Points of a known front that front.json holds; of more, an even choice."""

JSON = Mapping[str, object]
FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


class SystemRecord(TypedDict):
    """The content of `system.json`: the process that began the run, or that continued it on another device.

    `commit` is that of the sources, with "+" if files differed from it (None for a wheel).
    `processor` and `cores` are those of the machine. `device` is the resolved one ("cpu", "cuda"). `gpu` has the card's
    "name", its "driver" (None if unknown) and "cuda", the version that PyTorch is built for; None on a CPU.
    `update_backend` executes the updates ("eager", "numba", "cuda-graph"; None if the agent does not report it).
    `env_backend` steps the training environments.
    """

    morl: str
    commit: str | None
    python: str
    platform: str
    processor: str
    cores: int | None
    device: str
    gpu: dict[str, str | None] | None
    update_backend: str | None
    env_backend: str | None
    packages: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord:
    """One line of `fronts.jsonl`.

    Attributes:
        training_steps: environment steps of training when the evaluation was made.
        points: [n, objective] mean discounted returns.
        preferences: [n, objective]; NaN where a policy has none.
        policy_ids: [n].
        indicators: name -> value; None where a value is not finite.
    """

    training_steps: int
    points: FloatArray
    preferences: FloatArray
    policy_ids: IndexArray
    indicators: Mapping[str, float | None]

    def to_line(self) -> bytes:
        """Return the record as one line of strict JSON."""
        return json_line(vars(self))


@dataclass(frozen=True)
class PolicyReference:
    """A policy file that `front.json` names: policy id and SHA-256 of its content."""

    policy_id: int
    sha256: str

    @property
    def name(self) -> str:
        """Return the file's path inside the run folder."""
        return f"{POLICIES}/{self.policy_id}.pt"

    def to_json(self) -> dict[str, object]:
        """Return the entry of front.json."""
        return {"id": self.policy_id, "file": self.name, "sha256": self.sha256}


@dataclass(frozen=True, kw_only=True)
class FrontRecord:
    """The content of `front.json`, the reported front of a run.

    Attributes:
        agent: the agent's name.
        env: the environment's id.
        env_options: arguments of the environment's constructor.
        seed: the run's seed; None if missing.
        objectives: names of the objectives.
        discount: evaluation discount.
        reference_point: [objective] of the hypervolume; None if missing.
        points: [n, objective] mean discounted returns, finite, of episodes that played no part in the selection.
        standard_errors: [n, objective] of the points; NaN if missing.
        choice_points: [n, objective] mean discounted returns of other episodes, by which policies are chosen.
        preferences: [n, objective]; NaN for a policy without preference.
        policy_ids: [n] ids of the policies of the points; -1 if missing.
        indicators: name -> finite value.
        indicator_errors: name -> standard error.
        undiscounted_points: [n, objective]; NaN if missing.
        units: [objective] the return that the agent sees as 1: `preferences` weigh returns in these units.
        scales: [objective] equally valuable amounts of the objectives; None: not stated.
        known_front: [k, objective] the true front under the same discount, at most `KNOWN_POINTS_STORED` points of it,
            so that readers can show it without the environment; None if unknown.
        constraints: objective -> {"bound": text, "unit": the return in which violations of several bounds are compared,
            "violations": [n] returns, ...}, for each constrained objective.
        extra: further entries of the agent.
        counts: those of `COUNTS` that are present.
        policies: the policy files.
        missing: entries that every version since 0.1 writes and that are missing here.
    """

    agent: str
    env: str
    env_options: Mapping[str, bool | int | float | str]
    seed: int | None
    objectives: tuple[str, ...]
    discount: float
    reference_point: tuple[float, ...] | None
    points: FloatArray
    preferences: FloatArray
    policy_ids: IndexArray
    indicators: Mapping[str, float]
    undiscounted_points: FloatArray
    standard_errors: FloatArray
    choice_points: FloatArray
    units: tuple[float, ...]
    indicator_errors: Mapping[str, float] = field(default_factory=dict)
    scales: tuple[float, ...] | None = None
    known_front: FloatArray | None = None
    constraints: Mapping[str, JSON] = field(default_factory=dict)
    extra: JSON = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    policies: tuple[PolicyReference, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def violations(self) -> FloatArray:
        """Return the largest violation of a bound by each point [n], in units of the bounds; 0 without bounds."""
        return largest_violations(self.constraints, len(self.points))

    @property
    def broken_bounds(self) -> str:
        """Return a sentence that says how many points break a bound, and by how much; empty where none does."""
        return broken_bounds(self.constraints, len(self.points))

    def to_json(self) -> dict[str, object]:
        """Return the record as `front.json` spells it."""
        entries: dict[str, object] = {
            "agent": self.agent,
            "env": self.env,
            "env_options": dict(self.env_options),
            "seed": self.seed,
            "objectives": self.objectives,
            "discount": self.discount,
            "reference_point": self.reference_point,
            "points": self.points,
            "standard_errors": self.standard_errors,
            "choice_points": self.choice_points,
            "preferences": self.preferences,
            "policy_ids": self.policy_ids,
            "indicators": self.indicators,
            "indicator_errors": self.indicator_errors,
            "undiscounted_points": self.undiscounted_points,
            "units": self.units,
            "scales": self.scales,
        }
        if self.known_front is not None:
            entries["known_front"] = thinned_front(self.known_front, KNOWN_POINTS_STORED)
        if self.constraints:
            entries["constraints"] = self.constraints
        entries |= self.extra
        entries["policies"] = [policy.to_json() for policy in self.policies]
        return cast(dict[str, object], strict_json(entries | dict(self.counts)))


def thinned_front(points: FloatArray, most: int) -> FloatArray:
    """Return at most `most` points of a front [n, objective], evenly chosen in the order of its objectives.

    The best points of each objective are kept, so that the choice spans the same ranges.

    Args:
        points: [n, objective].
        most: more than the objectives.
    """
    if len(points) <= most:
        return points
    order = np.lexsort(points.T[::-1])
    even = order[np.linspace(0, len(points) - 1, max(2, most - points.shape[1])).round().astype(np.int64)]
    rows = np.union1d(even, points.argmax(axis=0))
    return points[order[np.isin(order, rows)]]


# --- Writing ----------------------------------------------------------------------------------------------------------


def strict_json(value: object) -> object:
    """Return `value` with arrays as lists, and None for numbers that JSON does not know (NaN, infinities)."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(item) for item in value]
    return value


def json_line(record: JSON) -> bytes:
    """Return a record as one line of strict JSON."""
    return json.dumps(strict_json(record), allow_nan=False).encode() + b"\n"


def json_text(record: JSON) -> str:
    """Return a record as a file of strict JSON."""
    return json.dumps(strict_json(record), indent=1, allow_nan=False) + "\n"


# --- Reading ----------------------------------------------------------------------------------------------------------


def parse_front(content: bytes) -> FrontRecord:
    """Return the record of a `front.json`.

    Raises:
        ValueError: it is not one, with a sentence that says why.
    """
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{FRONT} is damaged: {error}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{FRONT} is damaged: it must be a JSON object, not {type(record).__name__}")
    try:
        return _front_record(record)
    except KeyError as error:
        raise ValueError(f"{FRONT} does not say {error.args[0]!r}") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{FRONT} is damaged: {error}") from None


def _front_record(record: Mapping[str, object]) -> FrontRecord:
    objectives = _names(record["objectives"])
    points = _rows(record["points"], "points", len(objectives))
    seed = record.get("seed")
    required = ("agent", "env", "discount", "reference_point", "preferences", "policy_ids", "undiscounted_points")
    parsed = FrontRecord(
        agent=short_name(record.get("agent", "unknown agent")),
        env=short_name(record.get("env", "unknown environment")),
        env_options=_options(record.get("env_options")),
        seed=seed if isinstance(seed, int) else None,
        objectives=objectives,
        discount=_discount(record.get("discount", 1.0)),
        reference_point=_reference_point(record.get("reference_point"), len(objectives)),
        points=points,
        preferences=_like_points(record.get("preferences"), "preferences", points),
        policy_ids=_policy_ids(record.get("policy_ids"), len(points)),
        indicators=finite_numbers(record.get("indicators")),
        undiscounted_points=_like_points(record.get("undiscounted_points"), "undiscounted_points", points),
        standard_errors=_like_points(record.get("standard_errors"), "standard_errors", points),
        choice_points=_choice_points(record.get("choice_points"), points),
        indicator_errors=finite_numbers(record.get("indicator_errors")),
        units=_sizes(record.get("units"), "units", len(objectives)) or (1.0,) * len(objectives),
        scales=_sizes(record.get("scales"), "scales", len(objectives)),
        known_front=_known_front(record.get("known_front"), len(objectives)),
        constraints=checked_constraints(record.get("constraints")),
        counts=finite_numbers({name: record[name] for name in COUNTS if name in record}),
        policies=_policy_files(record.get("policies")),
        missing=tuple(name for name in required if record.get(name) is None),
    )
    _ = parsed.violations  # raises where the constraints do not fit the points
    return parsed


def parse_evaluation(line: bytes) -> EvaluationRecord:
    """Return a line of `fronts.jsonl`.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: it is not one.
    """
    record = json.loads(line)
    points = as_table(record["points"], "points")
    return EvaluationRecord(
        training_steps=int(record["training_steps"]),
        points=points,
        preferences=_like_points(record.get("preferences"), "preferences", points),
        policy_ids=_policy_ids(record.get("policy_ids"), len(points)),
        indicators=finite_numbers(record.get("indicators")),
    )


def parse_config(content: bytes) -> dict[str, object]:
    """Return the nested table of a `config.toml`; a byte order mark is passed over.

    Raises:
        ValueError: it is not TOML.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{CONFIG} is damaged: {error}") from None


def as_list(value: object, name: str) -> list[object]:
    """Return a JSON list.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {type(value).__name__}")
    return value


def as_table(values: object, name: str) -> FloatArray:
    """Return a JSON list of rows as a finite array [n, objective]; an empty list is [0, 0].

    Raises:
        ValueError, TypeError: it is something else.
    """
    try:
        table = np.asarray(values, dtype=np.float64)
    except OverflowError:  # an integer of hundreds of digits
        raise ValueError(f"{name} must be numbers that a float64 can hold") from None
    if table.size == 0:
        return np.empty((0, 0))
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(f"{name} must be rows of finite numbers, one number for each objective")
    return table


def finite_numbers(values: object) -> dict[str, float]:
    """Return those entries of a JSON object that are finite numbers, by name; none of anything else."""
    if not isinstance(values, Mapping):
        return {}
    numbers = {}
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:  # an integer of hundreds of digits
                continue
            if math.isfinite(number):
                numbers[short_name(name)] = number
    return numbers


def short_name(value: object) -> str:
    """Return a name as text, cut to `LONGEST_NAME` characters."""
    return str(value)[:LONGEST_NAME]


def _names(values: object) -> tuple[str, ...]:
    names = as_list(values, "objectives")
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"objectives must be a list of names, not {names!r:.50}")
    return tuple(short_name(name) for name in names)


def _rows(values: object, name: str, objectives: int) -> FloatArray:
    table = as_table(values, name)
    if table.size and table.shape[1] != objectives:
        raise ValueError(f"{name} must be rows of {objectives} numbers, one for each objective")
    return table if table.size else np.empty((0, objectives))


def _options(value: object) -> dict[str, bool | int | float | str]:
    options = value if isinstance(value, Mapping) else {}
    return {short_name(key): option for key, option in options.items() if isinstance(option, bool | int | float | str)}


def _discount(value: object) -> float:
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ValueError(f"discount is {value!r:.50}, but must lie between 0 and 1")
    return float(value)


def _reference_point(value: object, objectives: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    point = as_table([value], "reference_point")
    if point.shape != (1, objectives):
        raise ValueError(f"reference_point must be {objectives} numbers, one for each objective")
    return tuple(point[0].tolist())


def _sizes(value: object, name: str, objectives: int) -> tuple[float, ...] | None:
    if value is None:
        return None
    sizes = as_table([value], name)
    if sizes.shape != (1, objectives) or not (sizes > 0.0).all():
        raise ValueError(f"{name} must be {objectives} numbers greater than 0, one for each objective")
    return tuple(sizes[0].tolist())


def _known_front(value: object, objectives: int) -> FloatArray | None:
    if value is None:
        return None
    points = as_table(value, "known_front")
    if len(points) and points.shape[1] != objectives:
        raise ValueError(f"known_front must be rows of {objectives} numbers, one for each objective")
    return thinned_front(points, KNOWN_POINTS_STORED) if len(points) else None


def _policy_ids(value: object, count: int) -> IndexArray:
    if not value:
        return np.full(count, -1, dtype=np.int64)
    numbers = np.asarray(value, dtype=np.int64)
    if numbers.shape != (count,):
        raise ValueError(f"policy_ids must be {count} numbers, one for each point")
    return numbers


def _like_points(value: object, name: str, points: FloatArray) -> FloatArray:
    """Return a table of the shape of the points; NaN where it is not said, or says null."""
    if not value:
        return np.full(points.shape, np.nan)
    rows = [as_list(row, name) for row in as_list(value, name)]
    table = np.asarray([[np.nan if number is None else number for number in row] for row in rows], dtype=np.float64)
    if table.shape != points.shape:
        raise ValueError(f"{name} have shape {table.shape}, but the points {points.shape}")
    return table


def _choice_points(value: object, points: FloatArray) -> FloatArray:
    chosen_by = _like_points(value, "choice_points", points)
    return points if np.isnan(chosen_by).any() else chosen_by


def _policy_files(value: object) -> tuple[PolicyReference, ...]:
    files = []
    for entry in [] if value is None else as_list(value, "policies"):
        if not isinstance(entry, dict):
            raise ValueError("policies must be objects with id and sha256")
        policy_id = entry["id"]
        if isinstance(policy_id, bool) or not isinstance(policy_id, int):
            raise ValueError(f"the id of a policy must be an integer, not {policy_id!r:.50}")
        files.append(PolicyReference(policy_id, str(entry["sha256"])))
    return tuple(files)
