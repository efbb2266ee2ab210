"""The registry of agents: names, and how a name leads to a class."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
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
        ValueError: there is no such agent, and the message names the nearest ones; or none for these actions.
    """
    location = AGENTS.get(name, name)
    if not isinstance(location, str):
        kind = next(iter(location)) if action_space is None else type(action_space).__name__
        if kind not in location:
            raise ValueError(f"{name} needs actions of kind {' or '.join(location)}, but these are {action_space}")
        location = location[kind]
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
