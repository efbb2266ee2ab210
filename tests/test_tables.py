"""Tables for people: numbers, names of any length, terminals of any width, HTML."""

import io

import pytest
from rich.console import Console

from morl.tables import Column, ShownTable, elided, facts_html, number, vector, visible

WIDTHS = [60, 80, 200]


def printed(table: ShownTable, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue().splitlines()


def a_table(objectives: int, name: str = "objective") -> ShownTable:
    columns = [Column(title="row", cells=("0", "1"), key=True)]
    columns += [Column(title=f"{name}-{k}", cells=("1,234", "-5.678")) for k in range(objectives)]
    columns.append(Column(title="known optimum", cells=("(1, 2)", "(3, 4)"), dropped=1))
    columns.append(Column(title="undiscounted", cells=("(1, 2)", "(3, 4)"), dropped=2))
    return ShownTable(title="A table", columns=tuple(columns), notes=("a note",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1 / 3, "0.3333"),
        (-123.456, "-123.5"),
        (1234.5, "1,234"),
        (144_712.3, "144,712"),
        (5.2e31, "5.2e+31"),
        (1e-9, "1e-09"),
        (float("nan"), "-"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
    assert vector([value, 1.0]) == f"({text}, 1)"


def test_long_names_are_elided_in_the_middle() -> None:
    assert elided("short", 5) == "short"
    assert elided("runs/pd-morl/seed-17", 11) == "runs/…ed-17"
    assert len(elided("x" * 1000, 17)) == 17


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("objectives", [1, 2, 5, 9])
def test_a_table_fits_its_terminal(objectives: int, width: int) -> None:
    table = a_table(objectives)
    lines = printed(table, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for objective in range(objectives):
        assert f"objective-{objective}" in text
    assert text.count("1,234") == objectives  # no number is folded over two lines
    assert "a note" in text
    assert text.count("A table") == 1


def test_what_a_narrow_terminal_does_not_show_is_said() -> None:
    text = " ".join(" ".join(printed(a_table(4), 60)).split())
    assert "not shown in 60 columns: known optimum, undiscounted" in text
    wide = "\n".join(printed(a_table(4), 200))
    assert "not shown" not in wide
    assert "undiscounted" in wide
    only_one = " ".join(printed(a_table(2), 64))
    assert "known optimum" in only_one
    assert "not shown in 64 columns: undiscounted" in only_one


def test_blocks_repeat_what_names_the_rows() -> None:
    parts = a_table(9).fitted(60)
    assert len(parts) > 1
    assert all(part.columns[0].title == "row" for part in parts)
    assert [part.title for part in parts] == ["A table"] + [""] * (len(parts) - 1)
    assert [bool(part.notes) for part in parts] == [False] * (len(parts) - 1) + [True]


@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_any_length(width: int) -> None:
    name = "a-very-long-name-" * 20
    columns = (
        Column(title="run", cells=(f"{name}1", f"{name}2"), key=True, left=True),
        Column(title=name, cells=("1", "2")),
    )
    lines = printed(ShownTable(title="runs", columns=columns), width)
    assert max(map(len, lines)) <= width
    assert any("…" in line and line.rstrip("│ ").rpartition("│")[0].rstrip().endswith("1") for line in lines)


def test_names_of_others_are_only_text() -> None:
    evil = "<script>alert(1)</script>[red]x[/red]\x1b[31m"
    table = ShownTable(title=evil, columns=(Column(title=evil, cells=(evil,)),), notes=(evil,))
    page = table.to_html() + facts_html(evil, [(evil, evil)])
    assert "<script>" not in page
    assert "\x1b" not in page
    text = "\n".join(printed(table, 200))
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    assert visible("a\x1b\u2028b") == "a\ufffd\ufffdb"
