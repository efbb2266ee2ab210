"""The registry of agents: names, and how a name leads to a class."""

import ast
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

AGENTS: dict[str, str | Mapping[str, str]] = {
    "pd-morl": {
        "Discrete": "morl.agents.pd_morl.discrete:PDMORL",
        "Box": "morl.agents.pd_morl.continuous:ContinuousPDMORL",
    },
    "c-morl": "morl.agents.c_morl.agent:CMORL",
    "morl-d": "morl.agents.morl_d.agent:MORLD",
}
"""Name -> module:class, imported on first use; or kind of action space -> module:class, where variants differ."""


def find_agent(name: str, action_space: object | None = None) -> Any:
    """Return the agent class for a name out of `AGENTS`, or for your own "module:Class".

    Args:
        name: as above.
        action_space: of the environment; an agent with several variants is found by it (the first where not given).

    Raises:
        ValueError: there is no such agent, or none for these actions.
    """
    check_agent_name(name)
    location = AGENTS.get(name, name)
    if not isinstance(location, str):
        kind = next(iter(location)) if action_space is None else type(action_space).__name__
        if kind not in location:
            raise ValueError(f"{name} needs actions of kind {' or '.join(location)}, but these are {action_space}")
        location = location[kind]
    module, _, attribute = location.partition(":")
    try:
        agent = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"agent is {name!r}, but it cannot be imported: {error}") from error
    if not hasattr(agent, "config_class"):
        raise ValueError(f"agent is {name!r}, but that is no agent: it has no config_class (morl.protocols.Agent)")
    return agent


def check_agent_name(name: str) -> None:
    """Check that a name is one of `AGENTS` or a "module:Class"; nothing is imported.

    Raises:
        ValueError: it is neither; the message lists all agents and the nearest one.
    """
    if name in AGENTS or ":" in name:
        return
    near = get_close_matches(name.lower(), AGENTS, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"agent is {name!r}, but must be one of {', '.join(AGENTS)}, or your own 'module:Class'{hint}")


def agent_summaries() -> dict[str, str]:
    """Return the name of each agent -> the first line of its module; the modules are read, not imported."""
    summaries = {}
    for name, location in AGENTS.items():
        first = location if isinstance(location, str) else next(iter(location.values()))
        spec = find_spec(first.partition(":")[0])
        source = "" if spec is None or spec.origin is None else Path(spec.origin).read_text(encoding="utf-8")
        summaries[name] = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return summaries
