"""Command-line words to a settings dataclass: tyro is the only parser, and its complaints become one sentence."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

import tyro

Parsed = TypeVar("Parsed")


def parse(
    schema: type[Parsed], args: Sequence[str], program: str = "morl train", description: str | None = None
) -> Parsed:
    """Return the schema filled from command-line arguments; on --help print it and exit.

    Args:
        schema: a dataclass.
        args: the arguments.
        program: the command's name in the help.
        description: what the help begins with; default: the schema's docstring.

    Raises:
        ValueError: with tyro's complaint as one sentence.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(schema, args=list(args), prog=program, description=description)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(_one_sentence(complaint.getvalue(), schema)) from None


def arguments(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Yield a nested table spelled as command-line arguments, so that one parser checks files, calls and flags.

    Args:
        table: settings by name; a value that is a table is a group of settings.
        prefix: of the option names, such as "agent.".
    """
    for key, value in table.items():
        name = f"--{prefix}{key.replace('_', '-')}"
        value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's arrays and numbers
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


def _one_sentence(box: str, schema: object) -> str:
    """Return tyro's boxed complaint as one sentence, with the nearest option where one is unknown."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│ ")
        if text.startswith(("──", "╰─")):
            break
        words.append(text)
    sentence = " ".join(words) or box.strip()
    if "nrecognized" in sentence:
        unknown = [word.strip(",").split("=")[0] for word in sentence.split() if word.startswith("--")]
        known = _option_names(schema)
        for name in unknown:
            near = get_close_matches(name, known, n=3, cutoff=0.5) or [other for other in known if name[2:] in other]
            if near:
                return f"{sentence}; the nearest known options are {', '.join(near[:3])}"
    return _plain(sentence)


def _plain(sentence: str) -> str:
    """Return tyro's complaint about a value as: the setting, its value, and what would be right."""
    not_a_number = re.match(
        r"Error parsing --(\S+): (invalid literal for int|could not convert string to float).*: (\S+)$", sentence
    )
    if not_a_number:
        name, problem, value = not_a_number.groups()
        kind = "an integer" if "int" in problem.split() else "a number"
        return f"{name.replace('-', '_')} is {value}, but must be {kind}"
    return re.sub(r"^Error parsing [A-Za-z]\w*: ", "", sentence)  # a dataclass of ours complains in a sentence already


def _option_names(schema: object) -> list[str]:
    help_text = io.StringIO()
    with contextlib.redirect_stdout(help_text), contextlib.suppress(SystemExit):
        tyro.cli(schema, args=["--help"])  # type: ignore[call-overload]
    words = help_text.getvalue().replace(",", " ").split()
    return sorted({word for word in words if word.startswith("--") and len(word) > 2})
