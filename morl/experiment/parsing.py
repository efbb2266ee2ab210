"""Command-line words to a settings dataclass: tyro is the only parser, and its complaints become one sentence."""

import contextlib
import io
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from morl.experiment.messages import SettingStyle, respelled, setting_style

Parsed = TypeVar("Parsed")


def parse(
    schema: type[Parsed], args: Sequence[str], program: str = "morl train", style: SettingStyle | None = None
) -> Parsed:
    """Return the schema filled from command-line arguments; on --help print it and exit.

    Whole numbers may be spelled as floats: 1e4 and 10000.0 are 10,000.

    Args:
        schema: a dataclass.
        args: the arguments.
        program: the command's name in the help.
        style: how a complaint spells settings; default: as the caller does.

    Raises:
        ValueError: with tyro's complaint as one sentence.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(schema, args=list(args), prog=program, registry=_REGISTRY)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        sentence = _one_sentence(complaint.getvalue(), schema, program)
        raise ValueError(respelled(sentence, style or setting_style())) from None


def whole_number(text: str) -> int:
    """Return the integer that a text spells, also as a float: 10000, 1e4, 10000.0.

    Raises:
        ValueError: it spells none.
    """
    try:
        return int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not value.is_integer():  # neither are infinity and NaN
            raise ValueError(f"{text!r} is no integer") from None
        return int(value)


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _whole_number_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda instance: isinstance(instance, int) and not isinstance(instance, bool),
        str_from_instance=lambda instance: [str(instance)],
    )


@_REGISTRY.primitive_rule
def _path_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: path_of(words[0]),
        is_instance=lambda instance: isinstance(instance, Path),
        str_from_instance=lambda instance: [str(instance)],
    )


def path_of(text: str) -> Path:
    """Return a path, with the home folder in the place of a leading `~`; `Path` takes an empty text for this folder.

    A `~` of no user stays, and is refused where the path is used.

    Raises:
        ValueError: it is empty, or has a character that no path has.
    """
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is no path")
    return Path(os.path.expanduser(text))


def arguments(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yield a nested table spelled as command-line arguments, so that one parser checks files, calls and flags.

    Args:
        table: settings by name; a value that is a table is a group of settings.
        prefix: of the option names, such as "agent.".
    """
    for key, value in table.items():
        name = f"--{prefix}{key.replace('_', '-')}"
        match value:
            case Mapping():
                yield from arguments(value, f"{prefix}{key.replace('_', '-')}.")
            case bool():
                yield name if value else f"--{prefix}no-{key.replace('_', '-')}"
            case list() | tuple():
                yield from (name, *map(str, value))
            case str() if value.startswith("-"):
                yield f"{name}={value}"
            case _:
                yield from (name, str(value))


def option(args: Sequence[str], name: str) -> str | None:
    """Return the last value given to an option that must be known before all of them are parsed."""
    value = None
    for position, word in enumerate(args):
        if word == name and position + 1 < len(args):
            value = args[position + 1]
        if word.startswith(f"{name}="):
            value = word.partition("=")[2]
    return value


def without_option(args: Sequence[str], name: str) -> list[str]:
    """Return the arguments without an option and its value.

    Raises:
        ValueError: the option stands last, without a value.
    """
    kept: list[str] = []
    words = iter(args)
    for word in words:
        if word == name:
            if next(words, None) is None:
                raise ValueError(f"{name} needs a value")
        elif not word.startswith(f"{name}="):
            kept.append(word)
    return kept


def take_pairs(args: Sequence[str], name: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the arguments without an option that takes KEY VALUE pairs, and all pairs given to it, first to last.

    A key ends the option where it begins with two dashes; a value may begin with anything.

    Args:
        args: the arguments; the option may be repeated.
        name: the option, such as "--env-options".

    Raises:
        ValueError: a key has no value.
    """
    kept: list[str] = []
    pairs: list[tuple[str, str]] = []
    spellings = {name, f"--{name[2:].replace('-', '_')}"}
    position = 0
    while position < len(args):
        if args[position] not in spellings:
            kept.append(args[position])
            position += 1
            continue
        position += 1
        while position < len(args) and not args[position].startswith("--"):
            if position + 1 == len(args):
                raise ValueError(f"{name} has {args[position]} without a value: give KEY VALUE, as often as you like")
            pairs.append((args[position], args[position + 1]))
            position += 2
    return kept, pairs


def refuse_missing_values(args: Sequence[str], several: Collection[str]) -> None:
    """Check that each option which takes several values has one: the parser would take it for none.

    A file or a call gives an empty list where it means one.

    Args:
        args: words of the command line.
        several: the options that take several values.

    Raises:
        ValueError: an option has no value.
    """
    for word, following in zip(args, [*args, "--"][1:], strict=True):
        if word.replace("_", "-") in several and following.startswith("--"):
            raise ValueError(f"{word} needs a value, one or several")


def _one_sentence(box: str, schema: object, program: str) -> str:
    """Return tyro's boxed complaint as one sentence, with the nearest options where one is unknown.

    Args:
        box: the complaint.
        schema: what was parsed.
        program: the command.
    """
    words: list[str] = []
    for line in box.splitlines()[1:]:  # the first one is the title
        text = line.strip("│╰╯ ")
        if re.fullmatch(r"[─-]{3,}", text):  # hyphens where standard output is not UTF-8
            if words:
                break
            continue
        words.append(text)
    sentence = " ".join(filter(None, words)) or box.strip()
    if "nrecognized" in sentence:
        unknown = [word.strip(",").split("=")[0] for word in sentence.split() if word.startswith("--")]
        if not unknown:
            return f"{sentence.partition(': ')[2]!r} belongs to no option; a switch takes no value"
        return _unknown_option(unknown[0], schema, program)
    return _plain(sentence, box, optional=bool(get_args(schema)))


def _unknown_option(word: str, schema: object, program: str) -> str:
    """Return a sentence about an option that does not exist: whose it is, or the nearest ones.

    Args:
        word: the option as it was given.
        schema: what was parsed; settings have the class of the agent's as their argument.
        program: the command.
    """
    from morl.experiment.other_agents import nearest_for_other_actions, sentence_of_owners

    found = re.match(r"--(agent\.)?[\w-]+", word)  # behind it is a key of a table that is none
    name = found[0].replace("_", "-") if found else word
    known = _option_names(schema)
    if name in known:
        return f"there is no option {word}: {name} is one, and no table"
    near = nearest_options(name, known)
    owners = sentence_of_owners(name, get_args(schema))
    if owners:
        bare = name.removeprefix("--agent.")
        own = [other for other in near if other.startswith("--agent.") and bare in other]
        return owners + (f"; the nearest of its own are {', '.join(own)}" if own else "")
    hint = f"the nearest are {', '.join(near)}" if near else f"{program} -h lists all"
    other = nearest_for_other_actions(name, get_args(schema))
    return f"there is no option {name}; {other or hint}"


def nearest_options(name: str, known: Collection[str]) -> list[str]:
    """Return up to three options whose names are like one that does not exist, or contain it.

    Args:
        name: such as "--agent.learning-rat".
        known: the options; of a switch, the one that turns it off counts only where such a one is meant.
    """
    turns_off = re.compile(r"--(agent\.)?no-")
    bare = {other: turns_off.sub(r"--\1", other).split(".")[-1].lstrip("-") for other in known}
    wanted = turns_off.sub(r"--\1", name).split(".")[-1].lstrip("-")
    off = bool(turns_off.match(name))
    options: dict[str, str] = {}
    for other, short in bare.items():
        if other != "--help" and (short not in options or bool(turns_off.match(other)) == off):
            options[short] = other
    inside = sorted((short for short in options if len(wanted) > 2 and wanted in short), key=len)
    like = get_close_matches(wanted, options, n=3, cutoff=0.6)
    return [options[short] for short in dict.fromkeys([*like, *inside])][:3]


_KINDS = {"INT": "an integer", "FLOAT": "a number", "{None}": "None", "STR": "a text", "PATH": "a path"}
_KINDS |= {"{[INT [INT ...]]}": "integers", "{[FLOAT [FLOAT ...]]}": "numbers"}
"""What must be given, by tyro's name of its type."""


def _plain(sentence: str, box: str, optional: bool) -> str:
    """Return tyro's complaint about a value as: the setting, its value, and what would be right.

    Args:
        sentence: the complaint.
        box: all that tyro printed, the type of the argument included.
        optional: whether None is named among what would be right; a setting may have another default.
    """
    several = re.match(r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*)\]$", sentence)
    if several:
        kind = "integers" if re.search(r"^[│ ]*--\S+ .*\bINT\b", box, re.MULTILINE) else "numbers"
        kind = kind if several[1].startswith("--") else "paths"
        return f"{several[1]} is {several[2]}, but must be {kind}"
    one = re.match(r"Error parsing (--\S+): no type matching (.+?) could be instantiated from \[(.*?)\]\.", sentence)
    if one and all(kind in _KINDS for kind in one[2].split("|")):
        kinds = [_KINDS[kind] for kind in one[2].split("|")]
        named = [kind for kind in kinds if kind != "None"] + ["None"] * (optional and "None" in kinds)
        given = one[3] if optional else one[3].replace("', '", " ")
        return f"{one[1]} is {given}, but must be {' or '.join(named)}{_beyond_floats(one[3])}"
    one = re.match(r"invalid choice (.+) for argument '(--\S+)'\. Expected one of \((.*)\)\.$", sentence)
    if one:
        choices = re.findall(r"[^\s',]+", one[3])  # tyro's order of what may be None differs between processes
        if "None" in choices:
            choices = [*sorted({*choices} - {"None"}), "None"]
        return f"{one[2]} is {one[1]}, but must be one of {', '.join(choices)}"
    one = re.match(r"Missing value for argument '(--\S+)'", sentence)
    if one:
        return f"{one[1]} needs a value"
    one = re.match(r"Error parsing (--\S+): could not convert string to float: (.+)$", sentence)
    if one:
        return f"{one[1]} is {one[2]}, but must be a number"
    one = re.match(r"Error parsing (--\S+): (.+) is no integer$", sentence)
    if one:
        return f"{one[1]} is {one[2]}, but must be an integer{_beyond_floats(one[2])}"
    one = re.match(r"Error parsing (\S+): (.+) is no path$", sentence)
    if one:
        return f"{one[1]} is {one[2]}, but must be a path"
    # a dataclass of ours complains in a sentence already
    return re.sub(r"^Error parsing [A-Za-z][\w.]*: ", "", sentence)


def _beyond_floats(words: str) -> str:
    """Return the end of a sentence about a number such as '1e400', which counts as infinite; empty for others."""
    text = words.strip("'")
    try:
        beyond = math.isinf(float(text)) and text[-1:].isdigit()
    except ValueError:
        beyond = False
    return ", and numbers this large count as infinite" if beyond else ""


def _option_names(schema: object) -> list[str]:
    help_text = io.StringIO()
    with contextlib.redirect_stdout(help_text), contextlib.suppress(SystemExit):
        tyro.cli(schema, args=["--help"], registry=_REGISTRY)  # type: ignore[call-overload]
    words = help_text.getvalue().replace(",", " ").split()
    return sorted({word for word in words if re.fullmatch(r"--[A-Za-z][\w.-]*", word)})
