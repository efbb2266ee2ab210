"""Text and numbers of others, from names and settings in run folders, made safe to show and to send as JSON."""

import hashlib
import math

from morl.run_folder import LONGEST_NAME

LARGEST_WHOLE_NUMBER = 2**53
"""Beyond it JavaScript, which shows the numbers, cannot tell neighbours apart."""


def printable(value: object, longest: int = LONGEST_NAME) -> str:
    """Return a value as text without control, formatting and half characters, cut to `longest` characters.

    Longer texts end in a hash of the whole, so that different ones stay different.
    """
    try:
        text = str(value)
    except (ValueError, RecursionError, MemoryError):  # an integer of thousands of digits, a list of lists of lists ...
        text = f"({type(value).__name__} that cannot be shown)"
    if len(text) > longest:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
        text = f"{text[: longest - 13]}\N{HORIZONTAL ELLIPSIS}{digest}"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def shown_value(value: object) -> bool | int | float | str:
    """Return a setting as JSON can hold it: booleans and ordinary numbers as they are, anything else as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_WHOLE_NUMBER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return printable(value)


def whole_number(value: object) -> int | None:
    """Return a number as an integer, where it is a whole one of at most 2^53 in size; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_WHOLE_NUMBER:
        return None
    return int(value) if value == int(value) else None


def finite_or_none(value: float) -> float | None:
    """Return a number as JSON has it: None for infinities and NaN."""
    return value if math.isfinite(value) else None
