"""Settings as TOML: what is written is read back equal, whatever text keys and values hold."""

import re
import tomllib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePath

import numpy as np

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}

UNSET = "not set"
_SECTION = re.compile(r"\[([A-Za-z0-9_-]+)\]")
_UNSET_LINE = re.compile(rf"# ([A-Za-z0-9_-]+): {UNSET}")

Table = Mapping[str, object]


def read_table(file: Path, setting: str = "config") -> dict[str, object]:
    """Return what a TOML file holds; a byte order mark is passed over.

    Args:
        file: its path.
        setting: what the caller names it.

    Raises:
        ValueError: the file does not exist or is not TOML.
    """
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{setting} is {str(file)!r}, but it cannot be read as TOML: {error}") from error


def write_table(table: Table, with_unset: bool = False) -> str:
    """Return a table as TOML: plain entries first, then its tables as sections; entries that are None are left out.

    Args:
        table: the entries.
        with_unset: name the entries that are None in comments, which `unset_names` finds.

    Raises:
        ValueError: a value or text cannot be written as TOML.
    """
    lines = _lines({key: value for key, value in table.items() if not isinstance(value, Mapping)}, with_unset)
    for name, section in table.items():
        if isinstance(section, Mapping) and section:
            lines += ["", f"[{toml_key(name)}]", *_lines(section, with_unset)]
    return "\n".join(lines) + "\n"


def _lines(entries: Table, with_unset: bool) -> list[str]:
    """Return entries as lines of TOML, those that are None first, as comments, or left out.

    The last line is an entry, so that a file that was cut off is no whole one.
    """
    unset = [f"# {toml_key(key)}: {UNSET}" for key, value in entries.items() if value is None and with_unset]
    return unset + [entry_line(key, value) for key, value in entries.items() if value is not None]


def unset_names(text: str) -> set[str]:
    """Return the entries that a TOML text names as None in its comments: "discount", or "agent.utility_loss".

    Texts of versions that wrote no such comments name none.

    Args:
        text: what `write_table` wrote with `with_unset`.
    """
    names = set()
    section = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if header := _SECTION.fullmatch(line):
            section = f"{header[1]}."
        elif comment := _UNSET_LINE.fullmatch(line):
            names.add(section + comment[1])
    return names


def entry_line(key: str, value: object) -> str:
    """Return one entry as a line of TOML.

    Raises:
        ValueError: it cannot be written as TOML.
    """
    try:
        return f"{toml_key(key)} = {toml_value(value)}"
    except ValueError as error:
        raise ValueError(f"{key} is {value!r:.200}, but settings must be what a TOML file can hold: {error}") from None


def toml_key(key: str) -> str:
    """Return a key, quoted where it has other characters than letters, digits, _ and -."""
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def toml_value(value: object) -> str:
    """Return a value as TOML spells it.

    Raises:
        ValueError: TOML has no such value.
    """
    match value:
        case bool() | np.bool_():
            return str(bool(value)).lower()
        case Enum():
            return _quoted(value.name)
        case str() | PurePath():
            return _quoted(str(value))
        case np.generic() | np.ndarray():
            return toml_value(value.tolist())
        case int() | float():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(toml_value(entry) for entry in value)}]"
        case Mapping():
            entries = [
                f"{toml_key(str(key))} = {toml_value(entry)}" for key, entry in value.items() if entry is not None
            ]
            return f"{{{', '.join(entries)}}}"
        case _:
            raise ValueError(f"a {type(value).__name__} is no number, switch, text, list or table")


def plain_value(text: str) -> bool | int | float | str:
    """Return a word of the command line as the value that TOML reads in it: 7, 0.5, true, or text where it is neither.

    True and False are switches too. Quotes make text of anything: '"7"'.
    """
    if text in ("True", "False"):
        return text == "True"
    try:
        value: object = tomllib.loads(f"value = {text}")["value"] if "\n" not in text and "#" not in text else text
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text") from None
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\u{ord(character):04x}" if ord(character) < 0x20 or ord(character) == 0x7F else character
