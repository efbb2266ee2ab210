"""Which loggers a run has: names, the user's own, and those that a resumed run had before (loggers.json).

A folder may come from somebody else. So resuming imports a logger "module:Class" that the folder names, and connects to
an MLflow server that it names, only where the user trusts the folder or uses that module or server anyway.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, cast

from morl.experiment.file_loggers import CSV, JSONLines, TensorBoard
from morl.experiment.files import refuse_special, write_text
from morl.experiment.loggers import Chosen, LoggedRun, Logger, LoggerChoice, LoggerFactory, NamedLogger, Reopened
from morl.experiment.messages import plain_line, spoken
from morl.experiment.tracking import MLflow, WandB, configured_tracking_uri, is_folder
from morl.plugins import imported
from morl.run_folder import LOGGERS, json_text

__all__ = ["CSV", "JSONLines", "MLflow", "TensorBoard", "WandB", "choose_loggers", "loggers_to_resume", "open_loggers"]

BY_NAME: dict[str, type[Any]] = {
    "tensorboard": TensorBoard,
    "csv": CSV,
    "wandb": WandB,
    "mlflow": MLflow,
    "jsonlines": JSONLines,
}
"""Loggers by name."""
DEFAULT = ("tensorboard",)
"""What a run has where nobody chooses, beside the JSON lines that every run has."""


def choose_loggers(chosen: Sequence[Chosen] | None) -> LoggerChoice:
    """Return the loggers that a user lists for new runs; None for the default.

    Raises:
        ValueError: there is no such logger, or one appears twice.
    """
    return LoggerChoice(named_loggers(chosen), by_user=chosen is not None)


def named_loggers(chosen: Sequence[Chosen] | None) -> list[NamedLogger]:
    """Return the loggers that a user lists; nothing is opened.

    Args:
        chosen: names and factories; None for the default.

    Raises:
        ValueError: there is no such logger, or one appears twice.
    """
    if isinstance(chosen, str) or not isinstance(chosen, Sequence | None):
        raise ValueError(f"loggers is {chosen!r}, but must be a list of loggers, such as ['tensorboard', 'csv']")
    found = [_named(one) for one in (DEFAULT if chosen is None else chosen)]
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"loggers has {twice} twice, but must have each logger once")
    return [one for one in found if one.name != "jsonlines"]  # every run has these, opened first


def _named(one: Chosen) -> NamedLogger:
    if isinstance(one, str):
        return NamedLogger(one, _factory(one), {})
    by_type = {kind: name for name, kind in BY_NAME.items()}
    if type(one) in by_type and is_dataclass(one) and not isinstance(one, type):
        return NamedLogger(by_type[type(one)], one, asdict(one))
    if one in by_type:  # the class itself, as one's own would be listed
        return _named(by_type[one])
    if not callable(one):
        known = ", ".join(kind.__name__ for kind in BY_NAME.values())
        raise ValueError(f"loggers has {one!r}, but must have names, {known}, or what returns your own for a run")
    module, name = getattr(one, "__module__", "__main__"), getattr(one, "__qualname__", "")
    if getattr(sys.modules.get(module), name, None) is one and module != "__main__":
        return NamedLogger(f"{module}:{name}", one, {})
    return NamedLogger(name or type(one).__name__, one, None)


def _factory(name: str) -> LoggerFactory:
    """Return what opens a logger by name.

    Raises:
        ValueError: there is no such logger.
    """
    if name in BY_NAME:
        factory: LoggerFactory = BY_NAME[name]()
        return factory
    if ":" not in name:
        near = get_close_matches(name.lower(), BY_NAME, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"logger is {name!r}, but must be one of {', '.join(BY_NAME)}, or your own 'module:Class'{hint}"
        )
    return cast(LoggerFactory, imported("logger", name))


# --- loggers.json -----------------------------------------------------------------------------------------------------


def loggers_to_resume(run_dir: Path, chosen: Sequence[Chosen] | None, trust: bool) -> LoggerChoice:
    """Return the loggers of a run that is resumed; nothing is opened.

    Args:
        run_dir: the run folder.
        chosen: what the user lists; one of the same name continues with the id that loggers.json has; None: those that
            loggers.json names, without those that need the user's word, which is said in a sentence each.
        trust: whether modules and servers that the file names may be used.

    Raises:
        ValueError: as for `named_loggers`, or loggers.json is damaged.
    """
    before = _read(run_dir)
    if chosen is not None:
        return LoggerChoice([_continued(one, before.get(one.name)) for one in named_loggers(chosen)], by_user=True)
    if not (run_dir / LOGGERS).exists():
        return choose_loggers(None)
    found = []
    for name, entry in before.items():
        if not entry.open:
            continue
        reason = _needs_the_user(name, entry.settings, trust)
        if not reason:
            try:
                found.append(_reopened(name, entry.settings or {}))
            except ValueError as error:
                reason = str(error)
        if reason:
            remedy = spoken("--log or --trust", "loggers= or trust=True")
            logging.getLogger("morl").warning(
                "%s: the logger %s is left out, because %s; %s continues it", run_dir, name, reason, remedy
            )
    return LoggerChoice(found, by_user=False)


def _needs_the_user(name: str, settings: Mapping[str, Any] | None, trust: bool) -> str:
    """Return why a logger that a file names is not opened unasked; empty where it is."""
    if settings is None:
        return "it was given as an object that no name leads to"
    module, separator, _ = name.partition(":")
    if separator:
        return "" if trust or module in sys.modules else "its module is not imported because a file names it"
    if name not in BY_NAME:
        return "there is none of this name"
    uri = str(settings.get("tracking_uri") or "")
    if name == "mlflow" and not trust and uri and not is_folder(uri) and uri != configured_tracking_uri():
        return f"the file names the server {uri!r}, and your configuration does not"
    return ""


def _reopened(name: str, settings: Mapping[str, Any]) -> NamedLogger:
    """Return a logger that loggers.json names.

    Raises:
        ValueError: it does not exist, or does not take these settings.
    """
    if ":" in name:
        return NamedLogger(name, _factory(name), {})
    try:
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        return NamedLogger(name, BY_NAME[name](**options), settings)
    except TypeError as error:
        raise ValueError(f"{LOGGERS} is damaged: it does not take its settings ({error})") from None


def _continued(one: NamedLogger, before: "Entry | None") -> NamedLogger:
    """Return a logger that the user lists with the id that it had before, unless the user says another one."""
    settings = {} if before is None or before.settings is None else before.settings
    for name in ("id", "run_id"):
        if settings.get(name) and getattr(one.open, name, "") is None:
            options: Any = one.open
            known = {name: str(settings[name])}
            if getattr(options, "tracking_uri", "") is None:
                known["tracking_uri"] = str(settings["tracking_uri"])
            return _named(replace(options, **known))
    return one


class Entry(NamedTuple):
    """A logger in loggers.json."""

    open: bool
    """Whether resuming opens it; one that the user has left out is kept for its id."""
    settings: Mapping[str, Any] | None
    """None where only the user can open it."""


def write_loggers(run_dir: Path, choice: LoggerChoice, opened: Mapping[str, Logger]) -> None:
    """Write loggers.json; what it names that is not open now stays there for its id.

    Args:
        run_dir: the run folder.
        choice: the loggers of the run.
        opened: name -> the open logger.
    """
    before = _read(run_dir)
    entries = {name: Entry(one.open and not choice.by_user, one.settings) for name, one in before.items()}
    for one in choice.loggers:
        logger = opened.get(one.name)
        entries[one.name] = Entry(True, logger.settings_to_reopen if isinstance(logger, Reopened) else one.settings)
    if entries != before or not (run_dir / LOGGERS).exists():
        write_text(run_dir / LOGGERS, json_text({name: one._asdict() for name, one in entries.items()}))


def _read(run_dir: Path) -> dict[str, Entry]:
    """Return what loggers.json says; nothing where there is none."""
    file = run_dir / LOGGERS
    remedy = f"delete it, and name the loggers of the run ({spoken('--log', 'loggers=')})"
    try:
        refuse_special(file)
        record = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}; {remedy}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{file} is damaged: it must be a table of loggers, got {record!r:.50}; {remedy}")
    for name, one in record.items():
        if not (isinstance(one, dict) and isinstance(one.get("open"), bool) and _are_settings(one)):
            form = "{'open': true or false, 'settings': a table or null}"
            raise ValueError(f"{file} is damaged: {name!r} must be {form}, got {one!r:.50}; {remedy}")
    return {name: Entry(one["open"], one["settings"]) for name, one in record.items()}


def _are_settings(entry: Mapping[str, object]) -> bool:
    """Return whether a logger's entry has settings."""
    return "settings" in entry and isinstance(entry["settings"], dict | None)


METHODS = ("scalars", "front", "figure", "video", "text", "close")
"""What a logger has."""


def open_loggers(choice: LoggerChoice, run: LoggedRun) -> dict[str, Logger]:
    """Return the open loggers of a run by name.

    Args:
        choice: the loggers of the run; one that only loggers.json names and that cannot be opened is left out, which is
            said in a sentence.
        run: the run.

    Raises:
        ValueError: a logger cannot be opened; those that were opened are closed.
        OSError: a file of one cannot be written, or its server does not answer.
    """
    opened: dict[str, Logger] = {}
    for one in choice.loggers:
        try:
            logger = one.open(run)
            missing = [name for name in METHODS if not callable(getattr(logger, name, None))]
            if missing:
                raise ValueError(
                    f"logger {one.name} is {type(logger).__name__} for a run, which lacks {', '.join(missing)}: a class"
                    " that inherits from morl.Logger has methods that do nothing"
                )
            opened[one.name] = logger
        except Exception as error:
            if run.resumed and not choice.by_user and one.name != "tensorboard":
                warn_of_logger(run.directory, one.name, "cannot be opened and records nothing", error)
                continue
            for logger in opened.values():
                logger.close(complete=False)
            if isinstance(error, OSError | ValueError):
                raise
            raise ValueError(f"the logger {one.name} cannot be opened: {type(error).__name__}: {error}") from error
    return opened


def warn_of_logger(run_dir: Path, name: str, what: str, error: Exception) -> None:
    """Say in one sentence that a logger is left out.

    Args:
        run_dir: the run folder.
        name: of the logger.
        what: what has happened to it.
        error: why.
    """
    reason = plain_line(f"{type(error).__name__}: {error}")
    logging.getLogger("morl").warning("%s: the logger %s %s: %s", run_dir, name, what, reason)
