"""Reads what the runs of a study reached from their folders, through the reader of the board.

So tables, curves and the board show the same numbers. Nothing is imported that a folder names.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morl.board.comparison import LARGEST_FRONT, common_reference, comparable_indicators, problem_labels
from morl.board.curves import curve_of
from morl.board.folds import best_of
from morl.board.library import Library, key_of, problem_of
from morl.experiment.front import delivered_utility, evaluation_preferences, indicators_of
from morl.protocols import FloatArray
from morl.run_folder import SYSTEM
from morl.studies.existing import unset_settings, why_ended, why_unusable
from morl.studies.indicators import (
    INDICATORS,
    FinishedRun,
    Indicator,
    ListedRun,
    Normalization,
    Problem,
    StudyResults,
)
from morl.studies.plan import FORMAT, STUDY

if TYPE_CHECKING:
    from morl.board.folder import RunFolder
    from morl.board.records import ReportedFront
    from morl.studies.plan import Study


def read_results(study_json: Path, planned: "Study | None" = None) -> StudyResults:
    """Return the results of a study.

    Args:
        study_json: its study.json, beside the folders of its runs.
        planned: the study as its file has it now: its runs are those of the results, but for folders that hold other
            runs, and a note says how study.json differs. Default: the runs that study.json lists.

    Raises:
        ValueError: study.json is missing or damaged, or of another format, and `planned` is not given.
    """
    record: Mapping[str, Any] = _read_record(study_json) if planned is None else planned.to_json()
    unusable = {} if planned is None else {run.run_dir: why_unusable(run) for run in planned.runs}
    given = [_listed(entry, study_json.parent) for entry in record["runs"]]
    listed = tuple(_grouped(given))
    library = Library(runs={str(run.directory): run.directory for run in listed})
    library.refresh()
    groups: dict[tuple[str, str], list[ListedRun]] = {}
    unfinished: dict[ListedRun, str] = {}
    for run in listed:
        reason = _why_not(library, run, unusable.get(run.directory, ""))
        if reason:
            unfinished[run] = reason
        else:
            reported = library.folders[str(run.directory)].reported
            assert reported is not None
            groups.setdefault((run.env, key_of(problem_of(reported))), []).append(run)
    return StudyResults(
        name=str(record["name"]),
        file=None if record["file"] is None else str(record["file"]),
        variants=tuple(dict.fromkeys(run.variant for run in listed)),
        compared=tuple(dict.fromkeys(run.variant for run in given)),
        problems=tuple(
            _problem(library, label, runs)
            for label, runs in zip(_labels(library, groups), groups.values(), strict=True)
        ),
        listed=listed,
        unfinished=unfinished,
        notes=(
            *(() if planned is None else _differences(study_json, record)),
            *_unrecorded_settings(library, [run for runs in groups.values() for run in runs]),
        ),
    )


def _unrecorded_settings(library: Library, runs: Sequence[ListedRun]) -> Iterator[str]:
    """Yield which runs do not say a setting that other runs of their variant and environment say in config.toml.

    A run that says which of its settings were None names them all; an older one says nothing of such settings.
    """
    cells: dict[tuple[str, str], list[tuple[set[str], set[str]]]] = {}
    for run in runs:
        config = library.folders[str(run.directory)].config
        if config is not None:
            cells.setdefault((run.variant, run.env), []).append((set(config), unset_settings(run.directory)))
    for (variant, env), named in cells.items():
        known = {name for own, _ in named for name in own}
        with_none = known | {name for _, unset in named for name in unset}
        lacking = [(with_none if unset else known) - own - unset for own, unset in named]
        missing = {name for of_run in lacking for name in of_run}
        if missing:
            count = sum(map(bool, lacking))
            yield (
                f"{count} of {len(named)} runs of {variant} on {env} were made before there was a setting"
                f" {', '.join(sorted(missing))}, which the others have: they may have done something else"
            )


def _differences(study_json: Path, planned: Mapping[str, Any]) -> Iterator[str]:
    """Yield, in at most one line, how study.json differs from the study's file; nothing where it is missing."""
    if not study_json.is_file():
        return
    try:
        found = {str(entry["folder"]): entry.get("total_steps") for entry in _read_record(study_json)["runs"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"these are the runs of the study's file, because study.json is damaged: {error}"
        return
    asked = {str(entry["folder"]): entry["total_steps"] for entry in planned["runs"]}
    others = [folder for folder in found if folder not in asked]
    new = [folder for folder in asked if folder not in found]
    longer = [folder for folder in asked if found.get(folder) not in (None, asked[folder])]
    parts = [(others, "runs that the file does not plan"), (new, "without runs of the file"), (longer, "other steps")]
    words = [
        f"{what}: {len(folders)} ({folders[0]}{', ...' * (len(folders) > 1)})" for folders, what in parts if folders
    ]
    if words:
        yield f"these are the runs of the study's file; study.json was written for others ({'; '.join(words)})"


def _read_record(study_json: Path) -> dict[str, Any]:
    try:
        record = json.loads(study_json.read_bytes())
        if record["format"] != FORMAT:
            raise ValueError(f"format is {record['format']!r}, but this version reads {FORMAT}")
        if not isinstance(record["runs"], list) or not {"name", "file"} <= record.keys():
            raise ValueError("it must have name, file and a list of runs")
    except OSError as error:
        raise ValueError(f"{study_json} cannot be read: {error.strerror}; run the study first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{study_json} is damaged: {error}") from error
    found: dict[str, Any] = record
    return found


def _listed(entry: Mapping[str, Any], root: Path) -> ListedRun:
    try:
        return ListedRun(
            variant=str(entry["variant"]),
            env=str(entry["env"]),
            seed=int(entry["seed"]),
            directory=root / entry["folder"],
            total_steps=None if entry.get("total_steps") is None else int(entry["total_steps"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{root / STUDY} is damaged: a run has no {error}") from error


def _grouped(runs: Sequence[ListedRun]) -> Iterator[ListedRun]:
    """Yield runs such that those of one variant on one environment have the same total steps: others are a variant."""
    first: dict[tuple[str, str], int | None] = {}
    for run in runs:
        usual = first.setdefault((run.variant, run.env), run.total_steps)
        other = run.total_steps not in (None, usual)
        yield run._replace(variant=f"{run.variant}, {run.total_steps:,} steps") if other else run


def _why_not(library: Library, run: ListedRun, unusable: str) -> str:
    """Return why a run is not in the results; empty if it is finished.

    Args:
        library: has the run.
        run: as study.json lists it.
        unusable: why its folder does not hold the run that the study asks for; empty if it does.
    """
    folder = library.folders[str(run.directory)]
    if not run.directory.is_dir():
        return "not run"
    damage = unusable or folder.front_damage
    if damage:
        return f"failed: {damage}"
    ended = why_ended(run.directory)
    if folder.reported is None or not folder.loadable:
        return f"failed: {ended}" if ended else "no front yet"
    total = run.total_steps or (folder.config or {}).get("total_steps")
    steps = folder.reported.counts.get("training_steps", 0.0)
    if not isinstance(total, int) or steps < total:
        if ended:
            return f"failed: {ended}"
        return f"{steps:,.0f} of {total:,} steps" if isinstance(total, int) else "its total steps are not known"
    return ""


def _labels(library: Library, groups: Mapping[tuple[str, str], Sequence[ListedRun]]) -> list[str]:
    """Return the names of environments as the study has them; where one has several problems, what tells them apart."""
    names = [env for env, _ in groups]
    first = {key: library.folders[str(runs[0].directory)].reported for (_, key), runs in groups.items()}
    labels = problem_labels({key: reported for key, reported in first.items() if reported is not None})
    return [env if names.count(env) == 1 else labels[key] for env, key in groups]


def _problem(library: Library, label: str, runs: Sequence[ListedRun]) -> Problem:
    """Return the results of one environment."""
    shown = [library.folders[str(run.directory)] for run in runs]
    group = [folder.reported for folder in shown if folder.reported is not None]
    reference = common_reference(group)
    divisions = {(folder.config or {}).get("evaluation_divisions") for folder in shown}
    grid = divisions.pop() if len(divisions) == 1 else None
    preferences = evaluation_preferences(len(group[0].objectives), grid if isinstance(grid, int) else None)
    notes = []
    if divisions:
        notes.append(
            f"{label}: runs were evaluated on different preferences; expected utilities at the end are over"
            f" {len(preferences)} preferences for all, those along training over the preferences of each run"
        )
    finished: dict[str, list[FinishedRun]] = {}
    for run, folder, reported in zip(runs, shown, group, strict=True):
        folder.read_history_to_its_end()
        indicators, note = comparable_indicators(folder, reported, reference)
        if note:
            notes.append(f"{label}, {run.variant}, seed {run.seed}: {note}")
        utility = delivered_utility(reported.points, reported.choice_points, preferences)
        one = FinishedRun(
            listed=run,
            points=reported.points,
            values={"hypervolume": indicators.get("hypervolume", math.nan), "expected_utility": utility},
            conditioned_utility=math.nan if divisions else _conditioned_utility(folder, reported),
            training_steps=reported.counts.get("training_steps", math.nan),
            environment_steps=reported.counts.get("environment_steps", math.nan),
            wall_seconds=reported.counts.get("wall_seconds", math.nan),
            curve=curve_of(folder, reported, reference),
            system=_system(run.directory / SYSTEM),
        )
        finished.setdefault(run.variant, []).append(one)
    notes += [
        f"{label}, {variant}: seeds have different numbers of training steps"
        for variant, of_variant in finished.items()
        if len({run.training_steps for run in of_variant}) > 1
    ]
    values = [run.values for of_variant in finished.values() for run in of_variant]
    known = library.known_front(group)
    union = best_of([reported.points for reported in group])
    return Problem(
        label=label,
        runs=finished,
        objectives=group[0].objectives,
        known_front=known,
        reference=reference,
        normalization=_normalization(values, known, union, reference, preferences),
        notes=tuple(dict.fromkeys(notes)),
    )


def _system(file: Path) -> Mapping[str, object]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _conditioned_utility(folder: "RunFolder", reported: "ReportedFront") -> float:
    """Return the utility that preferences achieved themselves when the published front was found; NaN if unknown.

    It is recorded in the agent's units, and comparable with expected utilities only where these are the environment's.
    """
    selecting = folder.evaluations.clocks.get(int(reported.counts.get("selected_at_step", -1)))
    if selecting is None or selecting.conditioned_utility is None or (reported.units != 1.0).any():
        return math.nan
    return selecting.conditioned_utility


def _normalization(
    values: Sequence[Mapping[Indicator, float]],
    known: FloatArray | None,
    union: FloatArray,
    reference: tuple[float, ...] | None,
    preferences: FloatArray,
) -> Normalization:
    """Return what the indicators of an environment are shares of.

    Args:
        values: of all runs, for fronts of which no hypervolume can be computed in reasonable time.
        known: [k, objective] the known front; None where there is none.
        union: [n, objective] the non-dominated points of all runs together.
        reference: [objective] the reference point; None where there is none: then nothing has a share.
        preferences: [preference, objective] of the expected utility.
    """
    if reference is None:
        missing: dict[Indicator, float] = dict.fromkeys(INDICATORS, math.nan)
        return Normalization(source="nothing: there is no reference point", lowest=missing, best=missing)
    lowest: dict[Indicator, float] = {
        "hypervolume": 0.0,
        "expected_utility": float((preferences @ np.array(reference)).mean()),
    }
    most = LARGEST_FRONT.get(len(reference), 150)
    sources = [(known, "the known front")] if known is not None else []
    for points, name in [*sources, (union, "the best front of all runs together")]:
        if not len(points) or len(points) > most:
            continue
        found = indicators_of(points, reference, preferences, None)
        best: dict[Indicator, float] = {indicator: found[indicator] for indicator in INDICATORS}
        return Normalization(source=f"{name} ({len(points)} points)", lowest=lowest, best=best)
    highest: dict[Indicator, float] = {name: max(one[name] for one in values) for name in INDICATORS}
    return Normalization(source="the best run", lowest=lowest, best=highest)
