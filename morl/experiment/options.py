"""The options of a settings dataclass: spelling, kind of value, choices, default and docstring.

Help and shell completion read them. The parser is tyro (`morl.experiment.parsing`), which reads the same dataclass.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

_KINDS: dict[object, str] = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True)
class OptionHelp:
    """One option of a command.

    Attributes:
        name: the field, such as "learning_rate".
        flag: how the command line spells it, such as "--agent.learning-rate".
        metavar: what stands for its value; empty for a switch.
        choices: the values that it takes, where they can be listed.
        takes_file: whether its value is a path.
        default: the default of the dataclass.
        text: the docstring of the field.
    """

    name: str
    flag: str
    metavar: str
    choices: tuple[str, ...]
    takes_file: bool
    default: object
    text: str

    @property
    def is_switch(self) -> bool:
        """Return whether the flag takes no value."""
        return not self.metavar


def options_of(schema: type, prefix: str = "") -> list[OptionHelp]:
    """Return the options of a dataclass in the order of its fields.

    Args:
        schema: the dataclass.
        prefix: of the flags, such as "agent.".
    """
    texts = field_docstrings(schema)
    hints = get_type_hints(schema)
    return [_option(one, hints[one.name], prefix, texts.get(one.name, "")) for one in fields(schema)]


def field_docstrings(schema: type) -> dict[str, str]:
    """Return the docstrings under the fields of a dataclass and of its bases, each as one line."""
    texts: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        texts |= dict(_own_docstrings(base))
    return texts


def spelled_value(value: object) -> str:
    """Return a value as the command line spells it; empty for None and for empty tables."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case Enum():
            return value.name
        case Mapping():
            return " ".join(f"{key} {entry}" for key, entry in value.items())
        case list() | tuple():
            return " ".join(map(spelled_value, value))
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        case _:
            return str(value)


def _option(one: "Field[object]", hint: object, prefix: str, text: str) -> OptionHelp:
    words = _words(hint)
    default = one.default
    if default is MISSING and one.default_factory is not MISSING:
        default = one.default_factory()
    return OptionHelp(
        name=one.name,
        flag=f"--{prefix}{one.name.replace('_', '-')}",
        metavar="" if hint is bool else " ".join(words) or "VALUE",
        choices=_choices(hint),
        takes_file=Path in (hint, *get_args(hint)),
        default=None if default is MISSING else default,
        text=text,
    )


def _words(hint: object) -> list[str]:
    """Return what stands for a value of a type on the command line."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        kinds = [" ".join(_words(part)) for part in get_args(hint) if part is not NoneType]
        return ["|".join(dict.fromkeys(kinds))]
    choices = _choices(hint)
    if choices:
        return ["{" + ",".join(choices) + "}"]
    if origin in (tuple, list):
        return [*_words(get_args(hint)[0]), "..."]
    if origin in (dict, Mapping) or hint is dict:
        return ["KEY VALUE ..."]
    return [_KINDS.get(hint, "VALUE")]


def _choices(hint: object) -> tuple[str, ...]:
    origin = get_origin(hint)
    if origin is Literal:
        return tuple(str(choice) for choice in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(hint.__members__)
    if origin in (Union, UnionType):
        return tuple(choice for part in get_args(hint) for choice in _choices(part))
    return ()


def _own_docstrings(schema: type) -> Iterator[tuple[str, str]]:
    """Yield field -> docstring of a class body; nothing where its source is not at hand."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(schema)))
    except (OSError, TypeError, SyntaxError):
        return
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for statement, following in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            yield statement.target.id, " ".join(following.value.value.split())
