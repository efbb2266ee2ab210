"""Pages of results: written from run folders, and quoted in the documentation as they are."""

import json
import os
from pathlib import Path

import pytest
from study_runs import write_study

from morl.studies import results
from morl.studies.plan import read_study
from morl.studies.results import Arguments, main, quoted_cell, study_files, with_quotations, write_page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
STUDY = """# A study of toys
# It says what toys do.

total_steps = 2_000
seeds = {seeds}
envs = [{{ id = "toys:toy-walk-v0", name = "x-v0" }}]

[agents]
a = {{ agent = "toys:Coins" }}
b = {{ agent = "toys:Coins" }}
"""


def write_toys(root: Path, seeds: int = 5) -> Path:
    """Write a study's file and its runs; return the file."""
    (root / "configs" / "studies").mkdir(parents=True, exist_ok=True)
    file = root / "configs" / "studies" / "toys.toml"
    file.write_text(STUDY.format(seeds=seeds))
    radii = [5.0, 6.0, 7.0, 8.0, 9.0][:seeds]
    runs = read_study(file, root / "studies").runs
    write_study(root / "studies" / "toys", {("a", "x-v0"): radii, ("b", "x-v0"): [2.0 * radius for radius in radii]})
    for run in runs:
        (run.run_dir / "config.toml").write_text(run.config)
        front = run.run_dir / "front.json"
        front.write_text(json.dumps(json.loads(front.read_text()) | {"agent": "toys:Coins", "env": "toy-walk-v0"}))
    return file


def test_a_page_says_what_was_run_where_and_by_which_commit(tmp_path: Path) -> None:
    file = write_toys(tmp_path)
    (tmp_path / "studies" / "toys" / "b" / "x-v0" / "seed-3" / "front.json").unlink()
    assert write_page(file, tmp_path / "studies", tmp_path).endswith("toys.md: 9 of 10 runs")
    page = (tmp_path / "toys.md").read_text()
    assert page.startswith("# A study of toys\n")
    assert "It says what toys do." in page
    assert "make results STUDY=toys" in page
    assert "Finished: 9 of 10 runs." in page
    assert "| x-v0 | a | 0 to 4 | - | abc | 1.0 |" in page
    assert "| x-v0 | b | 0, 1, 2, 4 | 3 | abc | 0.8 |" in page
    assert "- runs on a processor, 2 cores (Python 3.11, morl 0.1.0, numpy 2): 9" in page
    assert "- unfinished runs, no front yet: 1" in page
    assert "WARNING: fewer than 5 seeds" in page
    assert (tmp_path / "toys.png").read_bytes().startswith(b"\x89PNG")


def test_a_page_has_the_runs_of_the_file(tmp_path: Path) -> None:
    """Whatever study.json lists: a study that was not run again since its file changed has not written it."""
    file = write_toys(tmp_path)
    file.write_text(STUDY.format(seeds=6).replace("b = {", "c = {"))
    assert write_page(file, tmp_path / "studies", tmp_path).endswith("toys.md: 5 of 12 runs")
    page = (tmp_path / "toys.md").read_text()
    assert "| x-v0 | a | 0 to 4 | 5 | abc | 1.0 |" in page
    assert "| x-v0 | c | - | 0 to 5 | - | 0.0 |" in page
    assert "| x-v0 | b |" not in page
    assert "study.json was written for others" in page
    file.write_text("agents = 3")
    assert "not written, because" in write_page(file, tmp_path / "studies", tmp_path)


def test_the_same_runs_make_the_same_page(tmp_path: Path) -> None:
    file = write_toys(tmp_path)
    write_page(file, tmp_path / "studies", tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("toys.md", "toys.png")]
    write_page(file, tmp_path / "studies", tmp_path)
    assert before == [(tmp_path / name).read_bytes() for name in ("toys.md", "toys.png")]


def test_a_page_is_not_replaced_by_one_with_fewer_runs(tmp_path: Path) -> None:
    file = write_toys(tmp_path)
    write_page(file, tmp_path / "studies", tmp_path)
    before = (tmp_path / "toys.md").read_bytes()
    (tmp_path / "studies" / "toys" / "b" / "x-v0" / "seed-3" / "front.json").unlink()
    assert "not written, because it has 10 finished runs" in write_page(file, tmp_path / "studies", tmp_path)
    assert "not written" in write_page(file, tmp_path / "nowhere", tmp_path)
    assert (tmp_path / "toys.md").read_bytes() == before


def test_quotations_follow_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_toys(tmp_path)
    (tmp_path / "docs").mkdir()
    cell = "<!-- result toys / x-v0 / b / share of utility -->{}<!-- /result -->"
    (tmp_path / "README.md").write_text(f"| toys | {cell.format('0.1')} |\n")
    main(Arguments(run=False))
    readme = (tmp_path / "README.md").read_text()
    page = (tmp_path / "docs" / "results" / "toys.md").read_text()
    assert readme == f"| toys | {cell.format(quoted_cell(page, ['x-v0', 'b'], 'share of utility'))} |\n"
    assert " to " in readme


def test_studies_are_run_before_their_pages_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_toys(tmp_path)
    (tmp_path / "README.md").touch()
    commands = []
    monkeypatch.setattr(results, "run_study", lambda file, folder: commands.append((file, folder)))
    main(Arguments(studies=("toys",)))
    assert commands == [(Path("configs/studies/toys.toml"), Path("studies"))]
    with pytest.raises(ValueError, match="study is 'toy', but must be one of toys"):
        study_files(["toy"])


def test_a_study_is_run_by_its_command_and_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_toys(tmp_path)
    file.write_text('name = "toys"\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]]))
    results.run_study(file, tmp_path / "studies")
    assert "agents is missing" in capfd.readouterr().err


PAGE = """
| env | variant | share |
| --- | --- | --- |
| x | a | 1 |
| x | b | 2 |

| env | variant | against | share |
| --- | --- | --- | --- |
| x | a | b | 3 |
"""


def test_a_cell_is_found_by_its_row_and_column() -> None:
    assert quoted_cell(PAGE, ["x", "a"], "share") == "1"
    assert quoted_cell("| e | own | loss |\n|---|---|---|\n| all | | 1 \\| 2 |", ["all"], "loss") == "1 \\| 2"
    assert quoted_cell(PAGE, ["x", "a", "b"], "share") == "3"
    with pytest.raises(ValueError, match=r"begins with x \| c and a column share"):
        quoted_cell(PAGE, ["x", "c"], "share")


@pytest.mark.parametrize("quoted", ["nowhere / x / share", "page", "page / x / a / other"])
def test_a_quotation_of_nothing_is_refused(quoted: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    with pytest.raises(ValueError, match="result"):
        with_quotations(f"<!-- result {quoted} -->5<!-- /result -->", tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_figures_in_the_documentation_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- result ") == text.count("<!-- /result -->")
    assert with_quotations(text, ROOT / "docs" / "results") == text


STUDIES = sorted((ROOT / "configs" / "studies").glob("*.toml"))


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_the_studies_behind_the_documentation_can_be_run(file: Path, tmp_path: Path) -> None:
    try:
        study = read_study(file, tmp_path)
    except ValueError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise
    assert study.name == file.stem
    title, introduction = results.introduction_of(file)
    assert title
    assert "of a core" in " ".join(introduction.split())  # how long it takes
    assert f"`{file.stem}`" in (ROOT / "docs" / "guide" / "statistics.md").read_text()


def test_system_json_of_a_run_is_read_as_it_is_written(tmp_path: Path) -> None:
    import morl

    morl.train("pd-morl", "deep-sea-treasure-v0", total_steps=64, run_dir=tmp_path / "run", loggers=[])
    system = json.loads((tmp_path / "run" / "system.json").read_text())
    assert system["cores"] >= 1
    assert system["processor"]
    commit = system["commit"]
    assert commit is None or len(commit.removesuffix("+")) >= 7
