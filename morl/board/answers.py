"""The answers that the page requests, as JSON: runs, fronts, histories, curves and folds.

Every number comes from the run folders or from `morl.pareto`. Arrays travel as the base64 of their bytes, little
endian: exact, small, and quick to read.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from morl.board.comparison import common_reference, comparable_indicators, problem_labels, settings_of
from morl.board.curves import curve_of, folded_curve
from morl.board.folds import attainment_surface, best_of, bootstrap_interval, interquartile_mean
from morl.board.library import Library, key_of, problem_of
from morl.board.records import ReportedFront, thinned_rows
from morl.board.text import finite_or_none

if TYPE_CHECKING:
    from morl.board.folder import RunFolder

HISTORY_NUMBERS = 4_000_000
"""Numbers in an answer of histories (16 MB); the fronts of each run are thinned out evenly to fit."""


SMALLEST_CHANGE = 1e-3
"""Share of a front's range that nobody sees in a chart."""
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
Answer = TypeVar("Answer")


def encoded(array: NDArray[Any], kind: str = "float64") -> dict[str, Any]:
    """Return an array as JSON: its shape, and under the name of its type the base64 of its bytes."""
    if kind == "float32":
        array = np.clip(array, -LARGEST_FLOAT32, LARGEST_FLOAT32)
    content = np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder("<")).tobytes()
    return {"shape": list(array.shape), kind: base64.b64encode(content).decode()}


def listing(library: Library) -> dict[str, Any]:
    """Return all runs without their points, the problems they are of, and their settings."""
    shown = list(library.with_fronts())
    groups = _by_problem(shown)
    references = {key: common_reference(group) for key, group in groups.items()}
    settings = settings_of(shown)
    setting_names = {name: setting.key for setting in settings for name in setting.runs}
    runs = _each(
        shown,
        lambda folder, reported: _run(
            folder, reported, references[key_of(problem_of(reported))], setting_names[folder.name]
        ),
    )
    without = [folder for folder in library.folders.values() if folder.name not in runs]
    waiting = [{"name": folder.name, "notes": folder.notes} for folder in without]
    notes = [{"name": name, "notes": [note]} for name, note in library.notes.items()]
    return {
        "logdir": "" if library.root is None else str(library.root),
        "problems": _problems(library, groups, references),
        "settings": [{"key": s.key, "problem": s.problem, "label": s.label, "runs": s.runs} for s in settings],
        "runs": list(runs.values()),
        "others": [*waiting, *notes],
    }


def _each(
    shown: "Iterable[tuple[RunFolder, ReportedFront]]", answer: "Callable[[RunFolder, ReportedFront], Answer]"
) -> dict[str, Answer]:
    """Return an answer for each run, by name; a run whose files make that fail is noted and left out."""
    found: dict[str, Answer] = {}
    for folder, reported in shown:
        try:
            found[folder.name] = answer(folder, reported)
        except Exception as error:
            folder.blame(error)
    return found


def _by_problem(shown: "Iterable[tuple[RunFolder, ReportedFront]]") -> dict[str, list[ReportedFront]]:
    groups: dict[str, list[ReportedFront]] = {}
    for _, reported in shown:
        groups.setdefault(key_of(problem_of(reported)), []).append(reported)
    return groups


def _problems(
    library: Library, groups: dict[str, list[ReportedFront]], references: dict[str, tuple[float, ...] | None]
) -> list[dict[str, Any]]:
    problems = []
    labels = problem_labels({key: group[0] for key, group in groups.items()})
    for key, group in groups.items():
        known = library.known_front(group)
        problems.append(
            {
                "key": key,
                "label": labels[key],
                "env": group[0].env,
                "objectives": list(group[0].objectives),
                "discount": group[0].discount,
                "reference_point": references[key],
                "known_front": None if known is None else encoded(known),
            }
        )
    return problems


def _run(
    folder: "RunFolder", reported: ReportedFront, reference: tuple[float, ...] | None, setting: str
) -> dict[str, Any]:
    indicators, note = comparable_indicators(folder, reported, reference)
    errors = {name: error for name, error in reported.indicator_errors.items() if name in indicators}
    if note:
        errors.pop("hypervolume", None)  # that of the run's own reference point
    return {
        "name": folder.name,
        "directory": folder.directory.as_posix(),
        "problem": key_of(problem_of(reported)),
        "setting": setting,
        "agent": reported.agent,
        "seed": reported.seed,
        "version": folder.version,
        "history_version": folder.history_version(),
        "film_version": folder.films.version,
        "points": len(reported.points),
        "loadable": folder.loadable,
        "indicators": indicators,
        "indicator_errors": errors,
        "counts": reported.counts,
        "notes": [*folder.notes, *([note] if note else [])],
    }


def fronts(library: Library, names: Sequence[str]) -> dict[str, Any]:
    """Return the reported fronts of runs, by name; what says nothing beside the points is None."""

    def front_of(folder: "RunFolder", reported: ReportedFront) -> dict[str, Any]:
        known_ids = np.abs(reported.policy_ids) < 2**31
        has_errors = bool(np.isfinite(reported.standard_errors).any())
        chosen_by_points = np.array_equal(reported.choice_points, reported.points)
        return {
            "version": folder.version,
            "points": encoded(reported.points),
            "rows": encoded(reported.rows, "int32"),
            "preferences": encoded(reported.preferences),
            "policy_ids": encoded(np.where(known_ids, reported.policy_ids, -1), "int32"),
            "standard_errors": encoded(reported.standard_errors) if has_errors else None,
            "choice_points": None if chosen_by_points else encoded(reported.choice_points),
            "violations": encoded(reported.violations) if reported.violations.any() else None,
            "bounds": dict(reported.bounds),
            "units": encoded(reported.units),
            "scales": encoded(reported.scales),
            "scales_given": reported.scales_given,
            "session": None if folder.session is None else folder.session.to_json(),
        }

    return _each(library.with_fronts(names), front_of)


def films(library: Library, names: Sequence[str]) -> dict[str, Any]:
    """Return what is recorded of runs, by name: which points have a video, and what happens in it."""
    return _each(library.with_fronts(names), lambda folder, _: folder.films.answer())


def histories(library: Library, names: Sequence[str], numbers: int = HISTORY_NUMBERS) -> dict[str, Any]:
    """Return the fronts of runs over training time, by name; at most `numbers` numbers in all, thinned out evenly."""
    shown = list(library.with_fronts(names))

    def history_of(folder: "RunFolder", _: ReportedFront) -> dict[str, Any]:
        folder.refresh_history()
        kept = list(folder.evaluations.published_fronts.items())
        size = sum(front.size for _, front in kept)
        most = max(2, int(len(kept) * numbers / max(1, size) / len(shown)))
        chosen = [kept[row] for row in thinned_rows(len(kept), most)]
        return {
            "version": folder.history_read(),  # while it is not the list's, the page asks again
            "steps": [step for step, _ in chosen],
            "fronts": [encoded(front, _kind_of(front)) for _, front in chosen],
        }

    return _each(shown, history_of)


def _kind_of(front: NDArray[np.float64]) -> str:
    """Return the smallest type in which a front [n, objective] looks the same: large offsets and sizes need float64."""
    if not len(front):
        return "float32"
    with np.errstate(over="ignore"):
        changes = np.abs(np.clip(front, -LARGEST_FLOAT32, LARGEST_FLOAT32).astype(np.float32) - front).max(axis=0)
        same = changes <= SMALLEST_CHANGE * np.ptp(front, axis=0)
    return "float32" if same.all() else "float64"


def curves(library: Library, names: Sequence[str]) -> dict[str, Any]:
    """Return the indicators of runs over training, by name, and folded over the seeds of each setting, by its key."""
    shown = list(library.with_fronts(names))
    references = {key: common_reference(group) for key, group in _by_problem(library.with_fronts()).items()}

    def curve(folder: "RunFolder", reported: ReportedFront) -> dict[str, Any]:
        folder.refresh_history()
        return curve_of(folder, reported, references[key_of(problem_of(reported))])

    runs = _each(shown, curve)
    folded = {}
    for setting in settings_of(shown):
        seeds = [runs[name] for name in setting.runs if name in runs]
        if len(seeds) > 1:
            folded[setting.key] = folded_curve(seeds)
    return {"runs": runs, "settings": folded}


def folds(library: Library, names: Sequence[str], step: int | None = None) -> dict[str, Any]:
    """Return each setting's seeds folded into one, by its key: attainment surfaces and indicators.

    Args:
        library: the runs.
        names: the seeds to fold, of any settings.
        step: fold the fronts at this training step instead of the reported ones.
    """
    shown = list(library.with_fronts(names))
    references = {key: common_reference(group) for key, group in _by_problem(library.with_fronts()).items()}
    answer = {}
    for setting in settings_of(shown):
        members = [(folder, reported) for folder, reported in shown if folder.name in set(setting.runs)]
        points = _each(members, lambda folder, reported: _points_at(folder, reported, step))
        found = [front for front in points.values() if len(front)]
        answer[setting.key] = {
            "runs": setting.runs,
            "surfaces": {name: encoded(surface) for name, surface in _surfaces(found).items()},
            "indicators": _folded_indicators(members, references[setting.problem]),
        }
    return answer


def _points_at(folder: "RunFolder", reported: ReportedFront, step: int | None) -> NDArray[np.float64]:
    if step is None:
        return reported.points
    folder.refresh_history()
    earlier = [front for at, front in folder.evaluations.published_fronts.items() if at <= step]
    return earlier[-1] if earlier else np.empty((0, reported.points.shape[1]))


def _surfaces(points: list[NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return the attainment surfaces of two objectives; the best points of all seeds of more."""
    if not points:
        return {}
    if points[0].shape[1] != 2:
        return {"best": best_of(points)}
    levels = {"best": 1, "median": (len(points) + 1) // 2, "worst": len(points)}
    return {name: attainment_surface(points, level) for name, level in levels.items()}


def _folded_indicators(
    members: "Sequence[tuple[RunFolder, ReportedFront]]", reference: tuple[float, ...] | None
) -> dict[str, dict[str, float | None]]:
    values = [comparable_indicators(folder, reported, reference)[0] for folder, reported in members]
    names = [name for name in values[0] if all(name in of_run for of_run in values)]
    if not names:
        return {}
    table = np.array([[of_run[name] for name in names] for of_run in values])
    means = interquartile_mean(table)
    if len(table) == 1:
        return {name: {"mean": mean, "low": None, "high": None} for name, mean in zip(names, means, strict=True)}
    low, high = bootstrap_interval(table)
    return {
        name: {
            "mean": finite_or_none(float(means[column])),
            "low": finite_or_none(float(low[column])),
            "high": finite_or_none(float(high[column])),
        }
        for column, name in enumerate(names)
    }
