"""Agents: one file per algorithm. Agents satisfy `morl.protocols.Agent`; `config_class` names their settings."""

from difflib import get_close_matches
from importlib import import_module
from typing import Any

AGENTS = {"pd-morl": "morl.agents.pd_morl:PDMORL"}
"""Name -> module:class, imported on first use."""


def find_agent(name: str) -> Any:
    """Return the agent class for a name out of `AGENTS`, or for your own "module:Class".

    Raises:
        ValueError: there is no such agent; the message names the nearest ones.
    """
    location = AGENTS.get(name, name)
    module, separator, attribute = location.partition(":")
    if not separator:
        near = get_close_matches(name, AGENTS, n=3, cutoff=0.3) or list(AGENTS)
        raise ValueError(f"agent is {name!r}, but must be one of {', '.join(near)}, or your own 'module:Class'")
    try:
        agent = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"agent is {name!r}, but it cannot be imported: {error}") from error
    if not hasattr(agent, "config_class"):
        raise ValueError(f"agent is {name!r}, but that is no agent: it has no config_class (morl.protocols.Agent)")
    return agent
