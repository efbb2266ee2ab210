"""The examples run, and the documentation shows them as they are."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {
    "custom_env": "your_environment.md",
    "custom_agent": "your_agent.md",
    "own_network": "networks_and_spaces.md",
}
"""Example -> the page that shows it."""


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # pickling and "module:Class" need to find it
    specification.loader.exec_module(module)
    return module


def code_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def source(name: str) -> str:
    return (ROOT / "examples" / f"{name}.py").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_the_whole_example(name: str) -> None:
    page = (ROOT / "docs" / "guide" / PAGES[name]).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    code = source(name).split('"""', 2)[2]  # what follows the docstring
    assert code_lines("".join(blocks)) == code_lines(code)


def test_the_forms_of_the_environment_are_as_short_as_promised() -> None:
    code = source("custom_env")
    single = code_lines(code[code.index("class Van(") : code.index("@njit")])
    batch = code_lines(code[code.index("@njit") : code.index("register(\n")])
    assert len(single) <= 30
    assert len(batch) <= 30


def test_the_agent_is_as_short_as_promised() -> None:
    code = source("custom_agent")
    agent = re.sub(r'"""[^"]*"""', "", code[code.index("@dataclass") : code.index("def main(")])
    assert len(code_lines(agent)) <= 120


def test_the_environment_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("custom_env").main(total_steps=600, run_dir=str(tmp_path / "van"))
    lines = capsys.readouterr().out.splitlines()
    assert lines
    for line in lines:
        found = re.fullmatch(r"time +([\d.]+) +fuel +([\d.]+) +preference .*", line)
        assert found is not None, line
        time, fuel = map(float, found.groups())
        assert 3.9 < time < 11.4  # 4 to 12 steps
        assert 1.1 < fuel < 4.8


def test_the_agent_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("custom_agent").main(total_steps=20_000, run_dir=str(tmp_path / "runs"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    treasures = [float(line.split("[")[1].split(",")[0]) for line in lines]
    assert treasures == sorted(treasures)  # who asks for more treasure gets no less
    assert treasures[-1] > 5.0


def test_the_network_learns_and_acts_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("own_network").main(total_steps=300, run_dir=str(tmp_path / "run"))
    assert capsys.readouterr().out.strip().endswith("by own_network:factory")
