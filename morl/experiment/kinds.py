"""Kinds of values: those of a table (a TOML file, keyword arguments) are checked before they are spelled as flags.

The parser sees words alone, among which a switch has no value and a list is several values.
"""

from collections.abc import Iterator, Mapping
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


def check_kinds(table: Mapping[str, object], schema: type) -> None:
    """Check that the values of a table can be those of the settings with their names; other names are passed over.

    Args:
        table: settings by name.
        schema: the dataclass of the settings.

    Raises:
        ValueError: one is a switch, a table or a list where its setting is none, or the other way round.
    """
    hints = get_type_hints(schema)
    for name, value in table.items():
        plain = value.tolist() if hasattr(value, "tolist") else value  # NumPy's arrays and numbers
        parts = list(_parts(hints.get(name)))
        words = [_words(part) for part in parts]
        if plain is None or not words or not all(words):
            continue
        if not any(_fits(plain, part) for part in parts):
            raise ValueError(f"{name} is {plain!r:.100}, but must be {' or '.join(words)}")


def _parts(hint: object) -> Iterator[object]:
    """Yield the types that a hint allows, None last; nothing where there is no hint."""
    if hint is None:
        return
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    yield from (part for part in parts if part is not NoneType)
    yield from (part for part in parts if part is NoneType)


def _fits(value: object, part: object) -> bool:
    """Return whether a value is of the same shape as those of a type: a switch, a table, a list or one word."""
    origin = get_origin(part)
    match value:
        case bool():
            return part is bool
        case Mapping():
            return origin in (dict, Mapping)
        case list() | tuple():
            return origin in (list, tuple)
        case _:  # one word is a list of one
            return part not in (bool, NoneType) and origin not in (dict, Mapping)


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
