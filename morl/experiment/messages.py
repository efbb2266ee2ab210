"""Failures as one sentence in the caller's language, and text of others as text: no control codes, no markup."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from shlex import quote
from typing import Literal, TypeAlias

from rich.markup import escape

from morl.board.text import printable

LONGEST_TEXT = 10_000
MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "storage size calculation overflowed")
"""What torch says, in a RuntimeError, where there is too little memory."""
SMALLER = "smaller networks, buffers, rollouts or num_envs need less"


SettingStyle: TypeAlias = Literal["flags", "python", "file"]
"""How messages spell a setting: --agent.learning-rate, config={"learning_rate": ...} or agent.learning_rate."""

_STYLE: ContextVar[SettingStyle] = ContextVar("setting_style", default="python")
_FLAG = re.compile(r"(?<![\w-])--(agent\.)?(?:no-)?([A-Za-z][\w-]*)")


@contextmanager
def command_line_style() -> Iterator[None]:
    """Spell settings as flags: the caller is the command line."""
    token = _STYLE.set("flags")
    try:
        yield
    finally:
        _STYLE.reset(token)


@contextmanager
def file_style() -> Iterator[None]:
    """Spell settings as a TOML file does: what is checked was read from one."""
    token = _STYLE.set("file")
    try:
        yield
    finally:
        _STYLE.reset(token)


def setting_style() -> SettingStyle:
    """Return how the caller spells settings: "flags" on the command line, "file" in a file, else "python"."""
    return _STYLE.get()


def spoken(flags: str, python: str) -> str:
    """Return the words for the caller.

    Args:
        flags: for the command line, such as "--overwrite".
        python: for Python, such as "overwrite=True".
    """
    return flags if setting_style() == "flags" else python


def how_to_resume(run_dir: Path) -> str:
    """Return the words that resume a run; in a shell they can be pasted.

    Args:
        run_dir: the run folder.
    """
    return spoken(f"morl resume {quote(str(run_dir))}", f"morl.resume({str(run_dir)!r})")


def respelled(sentence: str, style: SettingStyle) -> str:
    """Return a sentence with its flags spelled in another style.

    Args:
        sentence: with flags such as --agent.learning-rate or --total-steps.
        style: "python" makes config={"learning_rate": ...} and total_steps= of them, but the plain name where its value
            follows, "file" agent.learning_rate and total_steps.
    """

    def spelled(flag: re.Match[str]) -> str:
        group, name = flag[1], flag[2].replace("-", "_")
        if style == "file":
            return f"{group or ''}{name}"
        return f'config={{"{name}": ...}}' if group else f"{name}="

    if style == "flags":
        return sentence
    found = _FLAG.sub(spelled, sentence.replace("no option --", "no setting --"))
    # "total_steps is ..." names an argument well enough, and agents name their settings alike: "learning_rate is ..."
    return re.sub(r'^(?:config=\{"(\w+)": \.\.\.\}|(\w+)=) is ', lambda start: f"{start[1] or start[2]} is ", found)


def plain(text: object) -> str:
    """Return a text that rich prints as it is: neither control characters nor markup."""
    return escape(printable(text, LONGEST_TEXT))


def sentence_of(error: Exception) -> str:
    """Return a failure as one line for a user, with the notes that were added to it."""
    return "; ".join([_without_notes(error), *(plain_line(note) for note in getattr(error, "__notes__", ()))])


def plain_line(text: object) -> str:
    """Return a text as one line without control codes."""
    return printable(" ".join(str(text).split()), LONGEST_TEXT)


def _without_notes(error: Exception) -> str:
    text = plain_line(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in MEMORY_WORDS):
        return f"there is not enough memory for these settings ({text or 'MemoryError'}): {SMALLER}"
    if isinstance(error, OverflowError):
        return f"a setting is larger than any machine can hold ({text}): {SMALLER}"
    if isinstance(error, ValueError | TypeError | OSError) and text:
        return text
    if type(error).__module__.startswith("morl."):  # such as a worker of the environments that was killed
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
