"""`morl.agents` names every agent and its settings, and imports them on first use only."""

import subprocess
import sys

import pytest

import morl.agents


@pytest.mark.parametrize("name", morl.agents.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(morl.agents, name) is not None


@pytest.mark.parametrize("agent", ["CMORL", "ContinuousPDMORL", "MORLD", "PDMORL"])
def test_settings_are_those_of_their_agent(agent: str) -> None:
    assert getattr(morl.agents, f"{agent}Config") is getattr(morl.agents, agent).config_class


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'PGMORL'; it has .*PDMORL"):
        _ = morl.agents.PGMORL


def test_importing_agents_does_not_import_torch() -> None:
    code = "import sys, morl.agents; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
