"""What a reader of a study's tables must know: the lines below them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from morl.tables import vector

if TYPE_CHECKING:
    from morl.studies.indicators import Clock, Problem, StudyResults

FEWEST_SEEDS = 5
"""Fewer seeds bring a warning: Agarwal et al. 2021 recommend several environments or more than ten seeds of one."""
MOST_NAMED = 8
"""Cells that a note names; further ones are counted."""
CONDITIONED = "conditioned share"
"""Title of a column."""


def environment_notes(results: "StudyResults") -> list[str]:
    """Return what a reader of the table of environments must know."""
    notes = list(results.notes)
    sources: dict[str, list[str]] = {}
    for problem in results.problems:
        sources.setdefault(problem.normalization.source, []).append(problem.label)
    notes += [f"shares are relative to {source}: {_named(labels)}" for source, labels in sources.items()]
    references = {problem.label: problem.reference for problem in results.problems if problem.reference is not None}
    notes.append(f"reference points: {_named([f'{name} {vector(one)}' for name, one in references.items()], '; ')}")
    if any(len(problem.conditioned_shares(variant)) for problem, variant in results.cells()):
        notes.append(
            f"{CONDITIONED}: the utility of the network conditioned on each preference, in the evaluation that"
            " selected policies, as a share of the best utility; its difference from the share of utility is regret"
        )
    few = [
        f"{variant} on {problem.label} ({len(problem.runs[variant])})"
        for problem, variant in results.cells()
        if len(problem.runs[variant]) < FEWEST_SEEDS
    ]
    if few:
        notes.append(
            f"WARNING: fewer than {FEWEST_SEEDS} seeds, so intervals are too narrow and the order may be chance:"
            f" {_named(few)}"
        )
    for problem in results.problems:
        notes += _step_notes(problem, results.variants)
        notes += problem.notes
    notes += _version_notes(results)
    if results.unfinished:
        reasons = Counter(results.unfinished.values()).most_common()
        words = _named([f"{count} {reason}" for reason, count in reasons], "; ")
        notes.append(f"{len(results.unfinished)} of {len(results.listed)} runs are not in these tables: {words}")
    return notes


def _step_notes(problem: "Problem", variants: Sequence[str]) -> list[str]:
    steps = {run.training_steps for variant in variants for run in problem.runs.get(variant, ())}
    if len(steps) > 1 and max(steps) > 1.01 * min(steps):  # the last step of each environment may exceed the total
        return [f"{problem.label}: runs have different training steps; compare them at equal steps"]
    return []


def _version_notes(results: "StudyResults") -> list[str]:
    """Return which versions of morl, and of packages, the runs were made by, where these differ."""
    systems = [run.system for problem in results.problems for runs in problem.runs.values() for run in runs]
    notes = []
    versions = Counter(_version(system) for system in systems)
    if len(versions) > 1:
        notes.append(f"runs were made by {len(versions)} versions of morl: {_counted(versions)}")
    packages = [found if isinstance(found := system.get("packages"), Mapping) else {} for system in systems]
    for name in dict.fromkeys(str(name) for of_run in packages for name in of_run):
        found = Counter(str(of_run[name]) for of_run in packages if name in of_run)
        if len(found) > 1:
            notes.append(f"runs were made by {len(found)} versions of {name}: {_counted(found)}")
    return notes


def _version(system: Mapping[str, object]) -> str:
    """Return version and commit of morl as a run's system.json says them."""
    return " ".join(str(system[key]) for key in ("morl", "commit") if system.get(key)) or "an unknown version"


def _counted(versions: Counter[str]) -> str:
    return _named([f"{version} ({runs} run{'s' * (runs > 1)})" for version, runs in versions.most_common()])


def notes_at(results: "StudyResults", clock: "Clock") -> list[str]:
    """Return which variants have no value at the time that all runs have reached, and why."""
    missing = []
    for problem, variant in results.cells():
        time = problem.common_time(clock)
        runs = problem.runs[variant]
        late = sum(not run.evaluated_by(clock, time) for run in runs)
        if late and math.isfinite(time) and len(problem.runs) > 1:
            missing.append(f"{late} of {len(runs)} runs of {variant} on {problem.label} had no evaluation by then")
    unknown = [
        problem.label
        for problem in results.problems
        if len(problem.runs) > 1 and not math.isfinite(problem.common_time(clock))
    ]
    notes = [f"no value, because not all runs have one: {_named(missing)}"] if missing else []
    if unknown:
        notes.append(f"no value, because the evaluations of a run are missing or damaged: {_named(unknown)}")
    return notes


def aggregate_notes(results: "StudyResults") -> list[str]:
    """Return what a reader of tables over all environments must know: which results they leave out."""
    problems = results.complete_problems
    left_out = [problem.label for problem in results.problems if problem not in problems]
    reason = "environments left out, because a variant has no finished run there"
    notes = [f"{reason}: {_named(left_out)}"] if left_out else []
    notes += [note for problem in problems for note in _step_notes(problem, results.compared)]
    groups = [variant for variant in results.variants if variant not in results.compared]
    if groups:
        notes.append(f"runs left out, because an extra row trains them for other steps: {_named(groups, '; ')}")
    return notes


def _named(names: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}{len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{separator.join(names[:MOST_NAMED])}{more}"
