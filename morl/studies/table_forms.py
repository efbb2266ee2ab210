"""Tables as text for a page (Markdown) and for a paper (LaTeX)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morl.tables import ShownTable

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}"}


def markdown_table(table: "ShownTable") -> str:
    """Return a table for a page: its title, the table, and its notes as a list."""
    rows = list(zip(*(one.cells for one in table.columns), strict=True))
    below = markdown_lines([one.title for one in table.columns], rows, table.notes)
    return f"**{_markdown(table.title)}**\n\n{below}"


def markdown_lines(titles: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Return a table and its notes for a page.

    Args:
        titles: of the columns.
        rows: as many cells each.
        notes: become a list below it.
    """
    head, *cells_of_rows = [[_markdown(cell) for cell in row] for row in (titles, *rows)]
    lines = [head, ["---"] * len(titles), *cells_of_rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([table, "", *(f"- {_markdown(note)}" for note in notes), ""])


def latex_table(table: "ShownTable") -> str:
    """Return a table for a paper: booktabs, title as caption, notes below."""
    kinds = "".join("l" if one.left else "r" for one in table.columns)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}}}", rf"\begin{{tabular}}{{{kinds}}}"]
    lines += [r"\toprule", " & ".join(_latex(one.title) for one in table.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(map(_latex, row)) + r" \\" for row in zip(*(one.cells for one in table.columns), strict=True)]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\footnotesize"]
    lines += [rf"{_latex(note)}\\" for note in table.notes]
    return "\n".join([*lines, r"\end{table}", ""])


def _markdown(text: str) -> str:
    """Return text whose characters mean themselves in a cell of a page."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    return escaped.replace("*", "\\*").replace("`", "\\`")


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text.replace("\n", " "))
