"""The examples run, and the documentation shows them as they are."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILE = ROOT / "examples" / "custom_env.py"
PAGE = ROOT / "docs" / "your_environment.md"


@pytest.fixture(scope="module")
def custom_env():
    specification = importlib.util.spec_from_file_location("custom_env", FILE)
    module = importlib.util.module_from_spec(specification)
    sys.modules["custom_env"] = module  # pickling needs to find it
    specification.loader.exec_module(module)
    yield module
    del sys.modules["custom_env"]


def without_blank_lines(text):
    return [line for line in text.splitlines() if line.strip()]


def test_the_page_shows_the_whole_example():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    code = FILE.read_text().split('"""', 2)[2]  # what follows the docstring
    assert without_blank_lines("".join(blocks)) == without_blank_lines(code)


def test_the_forms_are_as_short_as_promised():
    code = FILE.read_text()
    single = without_blank_lines(code[code.index("class Van(") : code.index("@njit")])
    batch = without_blank_lines(code[code.index("@njit") : code.index("register(\n")])
    assert len(single) <= 30
    assert len(batch) <= 30


def test_the_example_runs(custom_env, tmp_path, capsys):
    custom_env.main(total_steps=600, run_dir=str(tmp_path / "van"))
    lines = capsys.readouterr().out.splitlines()
    assert lines
    for line in lines:
        time, fuel = map(float, re.fullmatch(r"time +([\d.]+) +fuel +([\d.]+) +preference .*", line).groups())
        assert 3.9 < time < 11.4  # 4 to 12 steps
        assert 1.1 < fuel < 4.8
