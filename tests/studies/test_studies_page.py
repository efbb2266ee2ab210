"""What docs/guide/studies.md shows works: its file can be planned, its Python runs, its commands exist."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess

import morl
from morl.experiment.commands import SCHEMAS
from morl.experiment.options import options_of
from morl.studies import plan

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "studies.md").read_text(encoding="utf-8")
BLOCKS: dict[str, str] = dict(re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def test_the_file_has_the_runs_that_it_says(tmp_path: Path) -> None:
    study = plan.read_study(tomllib.loads(BLOCKS["toml"]), tmp_path)
    found = {(run.variant, run.env, run.total_steps) for run in study.runs}
    assert found == {
        ("pd-morl", "deep-sea-treasure-v0", 20_000),
        ("pd-morl", "fruit-tree-v0-depth-5", 40_000),
        ("wide", "deep-sea-treasure-v0", 20_000),
        ("wide", "fruit-tree-v0-depth-5", 40_000),
        ("decomposed", "deep-sea-treasure-v0", 20_000),
        ("pd-morl", "deep-sea-treasure-v0", 60_000),
    }
    assert len(study.runs) == 26


def test_every_entry_of_the_file_is_explained() -> None:
    table = PAGE.partition("| entry |")[2].partition("\n\n")[0]
    for name in {*plan.TOP_KEYS, *plan.ENV_KEYS, *plan.VARIANT_KEYS, *plan.EXTRA_KEYS} - {"agents", "extra"}:
        assert f"`{name}`" in table or f"`[{name}]`" in table, name


@pytest.mark.usefixtures("without_figures")
def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    original = morl.study
    monkeypatch.setattr(morl, "study", lambda source: original(source, executor=InProcess()), raising=False)
    names: dict[str, Any] = {}
    exec(BLOCKS["python"], names)
    assert names["study"].status().counts == {"done": 2, "running": 0, "failed": 0, "waiting": 0}
    assert all(front.points.shape[1] == 2 for front in names["fronts"])


def test_options_that_it_names_exist() -> None:
    known = {one.flag for one in options_of(SCHEMAS["study"])} | {"--config", "--log", "--seeds"}
    assert set(re.findall(r"(?<![-|])--[a-z][a-z-]*", PAGE)) <= known
