"""Runs of a study that exist: a study never mixes different settings under one name, and never trains a run twice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from morl.board.files import divergence_of
from morl.experiment import checkpoint
from morl.experiment.toml import unset_names
from morl.experiment.training import experiment_of_table
from morl.run_folder import CONFIG, FAILURE, FRONT, parse_config, parse_front, short_name

if TYPE_CHECKING:
    from morl.studies.values import Table

FREE_SETTINGS = ("total_steps", "checkpoint_minutes")
"""Settings in which a run that exists may differ: it is trained further, or saved more often."""


class Wanted(Protocol):
    """A run that a study asks for, as far as it is compared with one that exists."""

    @property
    def name(self) -> str:
        """Return its name in the study."""
        ...

    @property
    def run_dir(self) -> Path:
        """Return its folder."""
        ...

    @property
    def config(self) -> str:
        """Return its config.toml, which holds all settings, resolved."""
        ...

    @property
    def total_steps(self) -> int:
        """Return its environment steps of training."""
        ...


class OtherRun(ValueError):
    """A run folder holds another run than the study asks for: one with other settings, or with more steps."""


def check_existing(runs: Sequence[Wanted], refuse: bool = True) -> list[str]:
    """Check that the runs that exist have the settings that the study asks for; return what a user should know of them.

    A run whose folder is damaged fails alone, when it is trained.

    Args:
        runs: all runs of the study.
        refuse: raise where a run is another than the study asks for; else it is passed over, for readers of the study.

    Raises:
        OtherRun: one has other settings, or more steps.
    """
    again = []
    unrecorded: dict[str, list[str]] = {}
    for run in runs:
        try:
            found = existing_config(run)
        except OtherRun:
            if refuse:
                raise
            continue
        except (OSError, ValueError):
            continue
        if not found:
            continue
        missing = _unrecorded_settings(run)
        if missing:
            unrecorded.setdefault(", ".join(missing), []).append(run.name)
        if _begins_again(run):
            again.append(run.name)
    notes = [
        f"runs that were made before there was a setting {settings} count as made with the value that the study asks"
        f" for, but may have done something else: {_named(names)}; remove their folders to train them again"
        for settings, names in unrecorded.items()
    ]
    if again:
        notes.append(
            "complete runs are trained again from the first step to have more steps, because their checkpoints are gone"
            f" (keep_checkpoints = true keeps those of later runs): {_named(again)}"
        )
    return notes


def usable_steps(run: Wanted) -> int:
    """Return the training steps of a run when it last published its front; 0 where it has none, or is not begun.

    Raises:
        OSError, ValueError: what its folder holds is not the run that the study asks for, or is damaged.
    """
    existing_config(run)
    return published_steps(run.run_dir, run.config)


def why_unusable(run: Wanted) -> str:
    """Return why what a run folder holds is not the run that the study asks for; empty where it is, or is not begun."""
    try:
        usable_steps(run)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def why_ended(run_dir: Path) -> str:
    """Return why a run ended before its last step, as its folder says; empty where nothing is known.

    Args:
        run_dir: the run folder.
    """
    try:
        failure = (run_dir / FAILURE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return divergence_of(run_dir)
    return failure or "the run has failed"


def unset_settings(run_dir: Path) -> set[str]:
    """Return the settings that the config.toml of a run names as None.

    Args:
        run_dir: the run folder.
    """
    try:
        return unset_names((run_dir / CONFIG).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return set()


def existing_config(run: Wanted) -> dict[str, object]:
    """Return the config.toml of a run that exists as this version of morl writes it; empty where there is none.

    Raises:
        OtherRun: it has other settings than the study asks for, or more steps.
        ValueError: it is damaged, or does not fit this version of morl.
    """
    found = found_config(run.run_dir, run.config)
    if not found:
        return found
    _refuse_other_settings(run, _comparable(found), _unrecorded_settings(run))
    steps = found.get("total_steps")
    if isinstance(steps, int) and steps > run.total_steps:
        raise OtherRun(
            f"run folder {run.run_dir} was trained for {steps:,} steps, and the study asks for"
            f" {run.total_steps:,}: ask for as many, give the variant another name, or remove the folder"
        )
    return found


def _refuse_other_settings(run: Wanted, found: Mapping[str, object], missing: Sequence[str]) -> None:
    """Check that a run was trained with the settings that the study asks for.

    Args:
        run: what the study asks for.
        found: setting -> what the run was trained with.
        missing: settings that its config.toml does not record; in `found` they are at their defaults.

    Raises:
        OtherRun: names the first setting that differs.
    """
    planned = _comparable(parse_config(run.config.encode()))
    different = sorted(name for name in found.keys() | planned.keys() if found.get(name) != planned.get(name))
    if not different:
        return
    name = different[0]
    if name in missing:
        raise OtherRun(
            f"run folder {run.run_dir} does not record {name} in its config.toml, so that it counts as trained with the"
            " default, and the study asks for another value: remove the folder to train its run again"
        )
    raise OtherRun(
        f"run folder {run.run_dir} was trained with {name} = {found.get(name, 'none')!r}, and the study asks for"
        f" {planned.get(name, 'none')!r}: set what it was trained with in the study, give the variant another name to"
        " train both, or remove the folder"
    )


def _named(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _unrecorded_settings(run: Wanted) -> list[str]:
    """Return the settings of the study that the config.toml of a run that exists does not say.

    One that is None in the study is known to be missing where the file says which ones were None.
    """
    content = (run.run_dir / CONFIG).read_bytes()
    recorded = _comparable(parse_config(content)).keys()
    unset = unset_names(content.decode("utf-8-sig"))
    asked = set(_comparable(parse_config(run.config.encode())))
    if unset:
        asked |= unset_names(run.config) - set(FREE_SETTINGS)
    return sorted(asked - recorded - unset)


def _begins_again(run: Wanted) -> bool:
    """Return whether a run is complete, is to have more steps, and has no checkpoint to go on from."""
    try:
        published = published_steps(run.run_dir, run.config)
    except (OSError, ValueError):
        return False
    return 0 < published < run.total_steps and checkpoint.newest(run.run_dir) is None


def published_steps(run_dir: Path, planned: str) -> int:
    """Return the training steps of a run when it last published its front; 0 where it has none.

    Args:
        run_dir: the run folder.
        planned: the config.toml that the study asks for.

    Raises:
        ValueError: front.json is damaged, incomplete, or of another run.
    """
    try:
        record = parse_front((run_dir / FRONT).read_bytes())
    except FileNotFoundError:
        return 0
    steps = record.counts.get("training_steps", -1.0)
    lacking = [*record.missing, *(["training_steps"] if steps < 0.0 else [])]
    if lacking:
        raise ValueError(f"{FRONT} lacks {', '.join(lacking)}")
    asked = parse_config(planned.encode())
    found = {"agent_name": record.agent, "env": record.env, "seed": record.seed}
    for name, value in found.items():
        wanted = short_name(asked.get(name, value))
        if str(value) not in (wanted, wanted.rpartition(":")[2]):  # the id of an environment without its module
            raise ValueError(f"{FRONT} is of another run, with {name} {value!r} instead of {asked[name]!r}")
    return int(steps)


def found_config(run_dir: Path, planned: str) -> dict[str, object]:
    """Return the config.toml of a run folder as this version of morl writes it; empty where there is none.

    Args:
        run_dir: the run folder.
        planned: the config.toml that the study asks for.

    Raises:
        ValueError: it is damaged, or does not fit this version of morl.
    """
    remedy = f"remove the folder {run_dir} to train its run again"
    file = run_dir / CONFIG
    try:
        content = file.read_bytes()
        found = parse_config(content)
    except (FileNotFoundError, NotADirectoryError):
        if (run_dir / FRONT).exists():
            raise ValueError(
                f"{file} is missing, so that nobody knows what the run was trained with: {remedy}"
            ) from None
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}: {remedy}") from error
    table = parse_config(planned.encode())
    types = (int, str, str)
    for name, kind in zip(("total_steps", "agent_name", "env"), types, strict=True):
        if type(found.get(name)) is not kind:
            raise ValueError(f"{file} is damaged: its {name} is {found.get(name)!r:.100}: {remedy}")
    if _comparable(found) == _comparable(table):
        return found
    if any(found[name] != table.get(name) for name in ("agent_name", "env")):  # nothing else is imported
        return found
    try:  # a setting that the run's version of morl did not have is at its default
        return parse_config(experiment_of_table(found).to_toml().encode())
    except ValueError as error:
        raise ValueError(f"{file} does not fit this version of morl: {error}: {remedy}") from error


def _comparable(table: "Table") -> dict[str, object]:
    """Return the settings that must be the same, the agent's as "agent.NAME"."""
    entries = {key: value for key, value in table.items() if key not in FREE_SETTINGS}
    for name in ("agent", "env_options"):
        inner = entries.get(name, {})
        if isinstance(inner, Mapping):
            entries.pop(name, None)
            entries |= {f"{name}.{key}": value for key, value in inner.items()}
    return entries
