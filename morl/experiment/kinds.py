"""Kinds of values: those of a table (a TOML file, keyword arguments) are checked before they are spelled as flags.

The parser sees words alone, among which a switch has no value, a list is several values, and None is a text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from numbers import Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

_NAMES: dict[object, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    Path: ("a path", "paths"),
}
"""Type -> what one value is called, and several."""


def plain_values(table: Mapping[str, object]) -> dict[str, object]:
    """Return a table whose values are Python's own: numbers and arrays of NumPy, fractions and ranges are converted.

    Args:
        table: settings by name; a value that is a table is a group of settings.

    Raises:
        ValueError: a name is no text.
    """
    for name in table:
        if not isinstance(name, str):
            raise ValueError(f"the name of a setting is {name!r:.100}, but must be a text")
    return {name: _plain(value) for name, value in table.items()}


def check_kinds(table: Mapping[str, object], schema: type) -> None:
    """Check that the values of a table can be those of the settings with their names; other names are passed over.

    What a text spells is left to the parser, which reads numbers in it.

    Args:
        table: settings by name, as `plain_values` returned them.
        schema: the dataclass of the settings.

    Raises:
        ValueError: a value is of another kind than its setting, such as None for one that has no None.
    """
    every = get_type_hints(schema)  # those of bases whose fields a subclass does without are no settings
    hints = {one.name: every[one.name] for one in fields(schema)}
    for name, value in table.items():
        parts = list(_parts(hints.get(name)))
        words = [_words(part) for part in parts]
        if words and all(words) and not any(_fits(value, part) for part in parts):
            raise ValueError(f"{name} is {value!r:.100}, but must be {' or '.join(words)}")


def _plain(value: object) -> object:
    """Return a value as Python's own, if it is a number, an array or a range of numbers, or holds such values."""
    match value:
        case Mapping():
            return plain_values(value)
        case list() | tuple() | range():
            return [_plain(entry) for entry in value]
        case _ if hasattr(value, "tolist") and not isinstance(value, type):
            return value.tolist()
        case bool() | int() | float():
            return value
        case Real() | Decimal():
            return _number(value)
        case _:
            return value


def _number(value: Real | Decimal) -> object:
    """Return a number as an int if it is a whole one, else as a float; one that is too large for either as it is."""
    try:
        whole = int(value)  # type: ignore[arg-type]
        return whole if whole == value else float(value)
    except (OverflowError, ValueError):  # infinite, or not a number
        return value


def _parts(hint: object) -> Iterator[object]:
    """Yield the types that a hint allows, None last; nothing where there is no hint."""
    if hint is None:
        return
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    yield from (part for part in parts if part is not NoneType)
    yield from (part for part in parts if part is NoneType)


def _fits(value: object, part: object) -> bool:
    """Return whether a value can be one of a type; of a text only whether the type is one that is spelled as a text."""
    origin = get_origin(part)
    if isinstance(value, Mapping) or origin in (dict, Mapping):
        return isinstance(value, Mapping) and origin in (dict, Mapping)
    if isinstance(value, list) or origin in (list, tuple):
        entries = value if isinstance(value, list) else [value]  # one word is a list of one
        return origin in (list, tuple) and all(_fits(entry, get_args(part)[0]) for entry in entries)
    match value:
        case None | bool():
            return part is type(value) or (origin is Literal and value in get_args(part))
        case str():
            return part not in (bool, NoneType)
        case int() | float():
            whole = isinstance(value, int) or value.is_integer()
            return part is float or (part is int and whole) or (origin is Literal and value in get_args(part))
        case _:
            return part in (str, Path) and isinstance(value, PathLike)


def _words(part: object) -> str:
    """Return what a value of a type is called; empty where the type is none of those of settings."""
    origin = get_origin(part)
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(part)))}"
    if origin in (list, tuple):
        return _NAMES.get(get_args(part)[0], ("", ""))[1]
    if origin in (dict, Mapping):
        return "a table"
    if part is bool:
        return "True or False"
    return "None" if part is NoneType else _NAMES.get(part, ("", ""))[0]
