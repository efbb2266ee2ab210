"""Entries of study.toml as checked values: each wrong one is a sentence with its name, its value and what is right."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import TypeVar

from morl.experiment.settings import Settings

Table = Mapping[str, object]
Entry = TypeVar("Entry")

MOST_SEEDS = 100_000
MOST_CHARACTERS = 100
MOST_BYTES = 200
"""Of a name: file systems take 255 bytes for a folder, and endings are added to some."""
OWN_SETTINGS = {
    "agent": "the tables [agents.NAME], with config = {...}",
    "seed": "seeds",
    "env_options": 'the environment: { id = "...", options = {...} }',
    "total_steps": "total_steps, beside the table run",
    "time_limit_minutes": "total_steps, because runs that stop after a time cannot be repeated",
}
"""Settings of a run that a study spells in another way, and how."""


def flag_value(where: str, value: object) -> bool:
    """Return true or false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {value!r:.100}, but must be true or false")
    return value


def check_keys(where: str, table: Table, known: Sequence[str]) -> None:
    """Check that a table has no other keys.

    Raises:
        ValueError: it has one; the nearest are in the message.
    """
    for key in table:
        if key not in known:
            near = get_close_matches(str(key), known, n=3, cutoff=0.5) or known
            raise ValueError(f"{where} has no setting {key}; the nearest are {', '.join(near)}")


def known_entry(where: str, name: str, entries: Mapping[str, Entry], what: str) -> Entry:
    """Return the entry of a name.

    Raises:
        ValueError: there is none; the nearest names are in the message.
    """
    if name not in entries:
        near = get_close_matches(name, entries, n=3, cutoff=0.4) or list(entries)
        raise ValueError(f"{where} is {name!r}, but must be one of {what}: {', '.join(near)}")
    return entries[name]


def table_value(where: str, value: object) -> Table:
    """Return a table.

    Args:
        where: names the entry in the error.
        value: what the file has.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r:.100}, but must be a table")
    return value


def name_value(where: str, value: object, pattern: re.Pattern[str]) -> str:
    """Return a name that can be a folder.

    Args:
        where: names the entry in the error.
        value: what the file has.
        pattern: of the name.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(
            f"{where} is {value!r:.100}, but must be a name of letters, digits and . _ - + @ that begins with a letter"
            " or digit"
        )
    if len(value) > MOST_CHARACTERS or len(value.encode()) > MOST_BYTES:
        raise ValueError(
            f"{where} is {value!r:.60}..., which has {len(value)} characters ({len(value.encode())} bytes), but a name"
            f" of a folder must have at most {MOST_CHARACTERS} characters ({MOST_BYTES} bytes)"
        )
    return value


def names_value(where: str, value: object) -> tuple[str, ...]:
    """Return a list of names.

    Args:
        where: names the entry in the error.
        value: what the file has.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{where} is {value!r:.100}, but must be a list of names")
    twice = next((name for place, name in enumerate(value) if name in value[:place]), None)
    if twice is not None:
        raise ValueError(f"{where} has {twice:.100} twice, but must have each name once")
    return tuple(value)


def count_value(where: str, value: object) -> int:
    """Return a whole number of at least 1, which may be spelled as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer() or value < 1:
        raise ValueError(f"{where} is {value!r:.100}, but must be a whole number of at least 1")
    return int(value)


def steps_entry(where: str, table: Table) -> dict[str, object]:
    """Return the entry `total_steps` of a table, checked; empty where it has none."""
    if table.get("total_steps") is None:
        return {}
    return {"total_steps": count_value(f"{where}.total_steps".lstrip("."), table["total_steps"])}


def seeds_value(where: str, value: object) -> tuple[int, ...]:
    """Return seeds: those of a list, or 0, 1, ... where their number is given."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"{where} is {value!r:.100}, but the number of seeds must be from 1 to {MOST_SEEDS}")
        return tuple(range(value))
    whole = isinstance(value, list | tuple | range) and all(type(one) is int and one >= 0 for one in value)
    if not isinstance(value, list | tuple | range) or not whole or not value or len(set(value)) < len(value):
        raise ValueError(f"{where} is {value!r:.100}, but must be different integers >= 0, or how many, such as 5")
    return tuple(value)


def run_settings(where: str, value: object) -> dict[str, object]:
    """Return a table of settings of a run, whose names are checked."""
    table = table_value(where, value)
    known = [one.name for one in fields(Settings) if one.name != "agent"]
    for key in table:
        if key in OWN_SETTINGS:
            raise ValueError(f"{where} has {key}, which a study spells otherwise: {OWN_SETTINGS[key]}")
    check_keys(where, table, [name for name in known if name not in OWN_SETTINGS])
    return dict(table)


def merged_tables(tables: Sequence[Table]) -> dict[str, object]:
    """Return settings of several tables, later over earlier ones."""
    merged: dict[str, object] = {}
    for table in tables:
        merged |= {key: value for key, value in table.items() if value is not None}
    return merged
