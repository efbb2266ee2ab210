"""The page as one file, and the figures that share its colours."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import toys
from board_runs import quarter_circle, write_run

from morl.board.library import Library
from morl.board.page import page_data, self_contained_page, write_page
from morl.board.plugin import front_end_files
from morl.experiment.figures import PALETTE, comparison_figure, front_figure, save_figure
from morl.tables import short_labels


def test_page_holds_all_data_and_no_markup_of_others(tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>"
    runs = [write_run(tmp_path / f"seed-{seed}", seed=seed, objectives=["speed", name]) for seed in range(2)]
    write_page(runs, tmp_path / "front.html")
    page = (tmp_path / "front.html").read_text()
    assert name not in page
    assert page.count("<script") == page.count("</script>") == 4
    for loads in ("src=", "href="):
        assert loads not in page.split("<script")[0]
    assert "default-src &#x27;none&#x27;" in page
    start = page.index('id="morl-data">') + len('id="morl-data">')
    data = json.loads(page[start : page.index("</script>", start)])
    library = Library(runs={run.as_posix(): run for run in runs})
    assert data == json.loads(json.dumps(page_data(library)))
    assert set(data["folds"]) == {"reported", "1000", "2000"}


def test_pages_that_cannot_be_written_are_refused_in_a_sentence(tmp_path: Path, morl_cli: Any) -> None:
    write_run(tmp_path / "run")
    for run, page, word in (
        ("run", "front.txt", ".html"),
        ("missing", "front.html", "not a run folder"),
        ("run", "no/front.html", "no"),
    ):
        code, _, complaint = morl_cli("front", tmp_path / run, "--html", tmp_path / page)
        assert (code, complaint.count("\n")) == (2, 1)
        assert word in complaint
    assert not list(tmp_path.glob("*.html"))
    assert morl_cli("board", tmp_path / "missing")[0] == 2


def test_page_contains_every_module() -> None:
    page = self_contained_page(Library(runs={}))
    for name in front_end_files():
        if name.endswith(".js") and name != "plotly.min.js":
            assert f'"board/{name}"' in page


def test_figures_and_page_share_one_palette() -> None:
    theme = front_end_files()["theme.js"].read_text()
    light = theme[theme.index("const LIGHT") : theme.index("text:")]
    assert tuple(re.findall(r"#[0-9A-F]{6}", light)) == PALETTE
    assert len(set(PALETTE)) == 14


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_figure_files_are_reproducible_and_have_real_fonts(suffix: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fronts = {"a": quarter_circle(5), "b": quarter_circle(5, seed=1)}
        save_figure(comparison_figure(fronts, ["speed", "energy"]), tmp_path / f"{name}{suffix}")
    content = (tmp_path / f"one{suffix}").read_bytes()
    assert content == (tmp_path / f"two{suffix}").read_bytes()
    if suffix == ".pdf":
        assert b"/Type3" not in content  # journals refuse these fonts
    if suffix == ".svg":
        assert b">energy</text>" in content
    with pytest.raises(ValueError, match="must end in"):
        save_figure(comparison_figure({"a": [[1.0, 2.0]]}, ["a", "b"]), tmp_path / "front.bmp")


def test_labels_leave_out_what_all_share() -> None:
    folders = [Path("/home/me/runs/a/seed-0"), Path("/home/me/runs/b/seed-0")]
    assert short_labels(folders) == ["a/seed-0", "b/seed-0"]
    assert short_labels(folders[:1]) == ["/home/me/runs/a/seed-0"]
    assert short_labels([Path("x"), Path("y")]) == ["x", "y"]
    assert short_labels([Path("runs/x"), Path("runs/x")]) == ["x", "x"]


NAMES = [
    ("profit $$", "co2"),
    ("US$_cost_$", "$x^2$"),
    ("$\\frac{a}{", "\\$"),
    ("a\x1b[2J\nb", "\ud800"),
    ("_hidden", "<b>&amp;"),
    ("利益" * 40, "x" * 500 + "$" + "y" * 500 + "$"),
]
"""Names that a drawing library could take for formulas, markup or commands."""


@pytest.mark.parametrize("names", NAMES, ids=range(len(NAMES)))
def test_names_are_drawn_as_they_are(names: tuple[str, str], tmp_path: Path) -> None:
    for objectives in (list(names), [*names, "third"]):
        points = quarter_circle(5, len(objectives))
        figures = [
            front_figure(points, objectives, title=names[0]),
            comparison_figure({names[0]: points, names[1]: points}, objectives, title=names[1]),
        ]
        for figure in figures:
            save_figure(figure, tmp_path / "front.svg")
            save_figure(figure, tmp_path / "front.png")
            text = (tmp_path / "front.svg").read_text(encoding="utf-8")
            assert "\x1b" not in text
            assert len(figure.legends[0].get_texts()) >= 1
        labels = [text.get_text() for text in figures[1].legends[0].get_texts()]
        assert len(labels) == 2
    if names == NAMES[0]:
        assert ">profit $$</text>" in text


def test_markup_and_control_codes_reach_no_terminal(
    tmp_path: Path, without_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from morl.experiment.cli import main

    run = toys.train(tmp_path / "run[red]\x1b[2J", "toy-walk-v0", 200, seed=0)
    record = toys.front(run.directory)
    names = ["[bold]a\x1b[31m", "\u202eb$$"]
    indicators = record["indicators"] | {"[/i]\x1b]0;title": 1.0}
    changed = record | {"objectives": names, "indicators": indicators, "agent": "[b]x\x1b", "env": record["env"]}
    (run.directory / "front.json").write_text(json.dumps(changed))
    capsys.readouterr()
    main(["front", str(run.directory), "--plot", str(tmp_path / "front.svg"), "--html", str(tmp_path / "front.html")])
    said = capsys.readouterr()
    assert "[bold]a" in said.out
    assert "run[red]" in said.out.replace("\n", "")
    (run.directory / "front.json").write_text("[]")
    with pytest.raises(SystemExit):
        main(["front", str(run.directory)])
    said_of_damage = capsys.readouterr()
    for text in (said.out, said.err, said_of_damage.out, said_of_damage.err):
        assert all(character.isprintable() or character == "\n" for character in text), text
    assert said_of_damage.err.startswith("morl: ")


def test_fronts_of_good_runs_are_printed_beside_damaged_ones(
    tmp_path: Path, without_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from morl.experiment.cli import main

    runs = [toys.train(tmp_path / name, "toy-walk-v0", 200, seed=0).directory for name in ("bad", "good")]
    (runs[0] / "front.json").write_text("[]")
    (runs[0] / "fronts.jsonl").write_text("")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["front", str(runs[0]), str(runs[1]), "--html", str(tmp_path / "front.html")])
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert "good" in said.out.replace("\n", "")
    assert said.err.count("\n") == 1
    assert "bad" in said.err
    assert (tmp_path / "front.html").exists()
