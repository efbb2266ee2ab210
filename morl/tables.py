"""Tables for people: in a terminal of any width, in a notebook, and numbers and names as text that cannot do harm."""

import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

LONGEST_TITLE = 24
"""Characters of a column's title; longer names are elided in their middle."""
LONGEST_LABEL = 60
"""Characters of a name in a cell where the terminal has room."""
SHORTEST_LABEL = 16
"""Characters of a name that even a narrow terminal shows."""
SHORTEST_KEY = 8
"""Characters of a name that rows are told apart by, where the numbers beside it would not fit otherwise."""
WIDTH_IN_FILES = 1000
"""Columns where the output is neither a terminal nor given a width by COLUMNS."""
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def visible(text: object) -> str:
    """Return a text with replacement characters for control and formatting characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def elided(text: str, longest: int) -> str:
    """Return a text of at most `longest` characters: its beginning and its end around an ellipsis."""
    if len(text) <= longest:
        return text
    begin = (longest - 1) // 2
    return f"{text[:begin]}{ELLIPSIS}{text[len(text) - (longest - 1 - begin) :]}"


def short_labels(folders: Sequence[Path]) -> list[str]:
    """Return the names of run folders without the leading folders that all of them share."""
    if len(folders) == 1:
        return [folders[0].as_posix()]
    shared = os.path.commonpath([folder.parent.as_posix() for folder in folders])
    return [os.path.relpath(folder, shared).replace(os.sep, "/") for folder in folders]


def number(value: float) -> str:
    """Return a number with four significant digits, whole from 1,000 to ten million; a dash for NaN."""
    if value != value:
        return "-"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.4g}"


def vector(values: Iterable[float]) -> str:
    """Return numbers in parentheses."""
    return f"({', '.join(number(float(value)) for value in values)})"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading.
        cells: one text for each row.
        dropped: where the table is too wide, columns with the highest number go first; 0 is never dropped.
        key: whether it names the rows: repeated where the table is broken into blocks.
        left: whether it is aligned left, as names are; long ones are elided in their middle.
        whole: whether its cells are never elided, such as names that are typed again.
    """

    title: str
    cells: tuple[str, ...]
    dropped: int = 0
    key: bool = False
    left: bool = False
    whole: bool = False

    @property
    def width(self) -> int:
        """Return its width in a terminal, frame included."""
        return max(map(len, (self.title, *self.cells))) + 3

    def elided(self, longest: int) -> "Column":
        """Return the column as a terminal shows it: its names have at most `longest` characters."""
        shown = [visible(cell) for cell in self.cells]
        if self.left and not self.whole:
            shown = [elided(cell, longest) for cell in shown]
        return replace(self, title=elided(visible(self.title), LONGEST_TITLE), cells=tuple(shown))


@dataclass(frozen=True, kw_only=True)
class ShownTable:
    """A table as text; rich prints it, notebooks show it.

    Attributes:
        title: stands above it.
        columns: all columns, with as many cells each.
        notes: lines that stand below it.
    """

    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

    def fitted(self, width: int) -> "list[ShownTable]":
        """Return the tables that show this one in a terminal.

        Names are elided, columns that can be missed are dropped (a note names them), and what is still too wide is
        broken into blocks of columns, one below the other.

        Args:
            width: columns of the terminal.
        """
        longest = max(SHORTEST_LABEL, min(LONGEST_LABEL, width // 3))
        kept = list(self.columns)
        lost: list[str] = []
        while sum(one.elided(longest).width for one in kept) >= width and any(one.dropped for one in kept):
            worst = max(kept, key=lambda one: one.dropped)
            kept.remove(worst)
            lost.append(elided(visible(worst.title), LONGEST_TITLE))
        columns = _with_room([one.elided(longest) for one in kept], kept, width)
        notes = [visible(note) for note in self.notes]
        if lost:
            notes.append(f"not shown in {width} columns: {', '.join(reversed(lost))}")
        blocks = _blocks(columns, width)
        parts = [ShownTable(title="", columns=tuple(block)) for block in blocks]
        parts[0] = replace(parts[0], title=visible(self.title))
        parts[-1] = replace(parts[-1], notes=tuple(notes))
        return parts

    def to_html(self) -> str:
        """Return it as HTML; all text is escaped."""
        escaped = [replace(one, title=_html(one.title), cells=tuple(map(_html, one.cells))) for one in self.columns]
        aligned = ["text-align: left" if one.left else "text-align: right" for one in self.columns]
        head = "".join(f'<th style="{style}">{one.title}</th>' for one, style in zip(escaped, aligned, strict=True))
        rows = "".join(
            "<tr>"
            + "".join(f'<td style="{style}">{cell}</td>' for cell, style in zip(row, aligned, strict=True))
            + "</tr>"
            for row in zip(*(one.cells for one in escaped), strict=True)
        )
        notes = "".join(f"<div>{_html(note)}</div>" for note in self.notes)
        return (
            f"<div><strong>{_html(self.title)}</strong></div>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"
        )

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Yield what rich prints in a terminal of the given width."""
        from rich.table import Table
        from rich.text import Text

        for part in self.fitted(options.max_width):
            if part.title:
                yield Text(part.title, style="bold")
            table = Table()
            for one in part.columns:
                table.add_column(
                    Text(one.title),
                    justify="left" if one.left else "right",
                    overflow="fold",
                )
            for row in zip(*(one.cells for one in part.columns), strict=True):
                table.add_row(*map(Text, row))
            yield table
            for note in part.notes:
                yield Text(note)


def stdout_console() -> "Console":
    """Return a console as wide as the terminal or COLUMNS says, and as wide as a table needs in a file or pipe."""
    from rich.console import Console

    console = Console()
    wide = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(width=WIDTH_IN_FILES) if wide else console


def facts_html(title: str, facts: Sequence[tuple[str, object]]) -> str:
    """Return a title and a list of names and values as HTML; all text is escaped."""
    rows = "".join(
        f'<tr><th style="text-align: left">{_html(name)}</th><td style="text-align: left">{_html(value)}</td></tr>'
        for name, value in facts
    )
    return f"<div><strong>{_html(title)}</strong></div><table><tbody>{rows}</tbody></table>"


def _html(text: object) -> str:
    return html.escape(visible(text))


def _with_room(shown: Sequence[Column], columns: Sequence[Column], width: int) -> list[Column]:
    """Return columns of which those that name rows leave room for the widest of the others, as far as that is possible.

    Their names are elided further, as long as different ones stay different.

    Args:
        shown: the columns as they are elided now.
        columns: the columns whole.
        width: columns of the terminal.
    """
    found = list(shown)
    longest = max((len(cell) for one in shown if one.key and not one.whole for cell in one.cells), default=0)
    others = max((one.width for one in shown if not one.key), default=0)
    while longest > SHORTEST_KEY and others + sum(one.width for one in found if one.key) >= width:
        longest -= 1
        shorter = [whole.elided(longest) if one.key else one for whole, one in zip(columns, found, strict=True)]
        if any(len(set(one.cells)) < len(set(before.cells)) for one, before in zip(shorter, shown, strict=True)):
            break
        found = shorter
    return found


def _blocks(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Return the columns in blocks that fit, the columns that name rows first in each."""
    keys = [one for one in columns if one.key]
    blocks: list[list[Column]] = [list(keys)]
    for one in columns:
        if one.key:
            continue
        if len(blocks[-1]) > len(keys) and sum(other.width for other in (*blocks[-1], one)) >= width:
            blocks.append(list(keys))
        blocks[-1].append(one)
    return blocks
