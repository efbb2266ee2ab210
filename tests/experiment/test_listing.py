"""`morl list`: names in full at any width, and readers that go away."""

import subprocess
import sys
from typing import Any

import pytest

from morl.agents import AGENTS, agent_summaries, find_agent
from morl.envs import specs


@pytest.mark.parametrize("width", ["60", "80", "200"])
@pytest.mark.parametrize("what", [["agents"], ["envs"], ["envs", "hopper"], ["configs"]])
def test_lists_fit_the_terminal(width: str, what: list[str], monkeypatch: pytest.MonkeyPatch, morl_cli: Any) -> None:
    monkeypatch.setenv("COLUMNS", width)
    code, shown, complaint = morl_cli("list", *what)
    assert (code, complaint) == (0, "")
    assert max(map(len, shown.splitlines())) <= int(width)
    for name in {"agents": AGENTS, "envs": [name for name in specs if what[-1] in name]}.get(what[0], []):
        assert f" {name} " in shown  # in full: it is typed again


def test_lists_in_files_show_everything(monkeypatch: pytest.MonkeyPatch, morl_cli: Any) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    for what in ("envs", "configs"):
        shown = morl_cli("list", what)[1]
        assert "not shown" not in shown
    assert "deep-sea-treasure-v0.toml" in shown


def test_summaries_are_those_of_the_agents() -> None:
    for name, summary in agent_summaries().items():
        module = sys.modules[find_agent(name).__module__]
        assert summary == (module.__doc__ or "").splitlines()[0]


def test_a_reader_that_goes_away_is_no_failure() -> None:
    program = f"{sys.executable} -W ignore -m morl list envs | head -1"
    run = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip()
    assert run.stderr == ""
