"""What config.toml and metrics.jsonl of a run folder say."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from morl.board.files import divergence_of as divergence_of  # part of the names of this module
from morl.board.files import read_whole
from morl.protocols import FloatArray
from morl.run_folder import CONFIG, EVALUATIONS, METRICS, parse_config

LARGEST_METRICS = 2**29
"""Bytes of a metrics.jsonl that is read."""
CHANGED_BY_RESUMING = ("total_steps", "device")
"""Settings in which config.toml differs after a run was resumed."""


class RunConfig(NamedTuple):
    """What config.toml says the run is of, and all of it."""

    agent_name: str
    env: str
    table: dict[str, object]

    @property
    def max_envs(self) -> int | None:
        """Return the most environments that may live at once; None where the file does not bound them."""
        value = self.table.get("max_envs")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def read_config(run_dir: Path) -> RunConfig:
    """Return what a run's config.toml says.

    Raises:
        ValueError: the folder is not that of a run, or the file is damaged or of another version.
    """
    file = run_dir / CONFIG
    try:
        table = parse_config(read_whole(file))
    except FileNotFoundError:
        raise ValueError(f"{run_dir} is not a run folder: it has no {CONFIG}") from None
    except NotADirectoryError:
        raise ValueError(f"{run_dir} is not a run folder, but a file{_folder_hint(run_dir)}") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"{run_dir}/{error}") from error
    if "algorithm" in table and "agent_name" not in table:
        raise ValueError(f"{file} was written by a version of morl before 0.1, whose runs this version does not read")
    for name in ("agent_name", "env"):
        if not isinstance(table.get(name), str):
            raise ValueError(f"{file} is damaged: it does not say which {name} the run is of")
    return RunConfig(str(table["agent_name"]), str(table["env"]), table)


def is_same_run(one: RunConfig, other: RunConfig) -> bool:
    """Return whether two config.toml are of the same run, which may have been resumed in between."""
    keys = (one.table.keys() | other.table.keys()) - set(CHANGED_BY_RESUMING)
    return all(one.table.get(key) == other.table.get(key) for key in keys)


def has_evaluation(run_dir: Path) -> bool:
    """Return whether the run has made an evaluation, which published a front."""
    file = run_dir / EVALUATIONS
    return file.is_file() and file.stat().st_size > 0


def read_metrics(run_dir: Path) -> dict[str, FloatArray]:
    """Return the contents of metrics.jsonl: name -> array [line], NaN in lines without this name.

    Args:
        run_dir: the run folder.

    Raises:
        ValueError: the file is missing or damaged.
    """
    file = run_dir / METRICS
    try:
        lines = read_whole(file, LARGEST_METRICS).split(b"\n")[:-1]  # what follows the last line end is half a line
        records = [dict(json.loads(line)) for line in lines]
        names = dict.fromkeys(name for record in records for name in record)
        columns = {name: [record.get(name) for record in records] for name in names}
        return {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} is missing or damaged: {error}") from error


def _folder_hint(file: Path) -> str:
    """Return the run folder that a file lies in, as the end of a sentence; empty where it lies in none."""
    folders = [folder for folder in file.parents if (folder / CONFIG).is_file()]
    return f": did you mean {folders[0]}?" if folders else ""
