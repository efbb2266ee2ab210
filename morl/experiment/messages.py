"""Failures as one sentence, and text of others as text: no control codes, no markup."""

from rich.markup import escape

from morl.board.text import printable

LONGEST_TEXT = 10_000
MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "storage size calculation overflowed")
"""What torch says, in a RuntimeError, where there is too little memory."""
SMALLER = "smaller networks, buffers, rollouts or num_envs need less"


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
