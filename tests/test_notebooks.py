"""The notebooks of examples/ run, from the first cell to the last, and hold the outputs that readers see."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_site"))

from notebooks import read, run, source_of  # noqa: E402

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SLOW = {"compare_agents"}
"""Notebooks that start a process for each of a dozen runs."""
pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:pd-morl at step", "ignore:c-morl.*total_steps is"),
]


def fewer_steps(code: str) -> str:
    """Return the code of a cell with a twentieth of its training."""
    return re.sub(
        r"(total_steps\"?[=:] ?|evaluate_every=)([\d_]+)", lambda found: f"{found[1]}{int(found[2]) // 20}", code
    )


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("file", [file for file in NOTEBOOKS if file.stem not in SLOW], ids=lambda file: file.stem)
def test_the_notebook_runs_with_fewer_steps(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(read(file), fewer_steps)


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_whole_notebook_has_the_outputs_it_shows(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their kinds, not their numbers: on other machines sums are rounded in another order."""
    monkeypatch.chdir(tmp_path)
    again = read(file)
    run(again)
    for before, after in zip(read(file)["cells"], again["cells"], strict=True):
        assert [one["output_type"] for one in before.get("outputs", [])] == [
            one["output_type"] for one in after.get("outputs", [])
        ]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_notebook_is_executed(file: Path) -> None:
    cells = [cell for cell in read(file)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    for cell in cells:
        compile(source_of(cell), file.name, "exec")
