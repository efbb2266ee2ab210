"""The registry of agents: names, and how a name leads to a class."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from morl.plugins import Plugin, find_plugins, imported, module_docstring, warn_of_plugin

GROUP = "morl.agents"
"""Entry points of other packages: name of an agent = "module:Class"."""

AGENTS: dict[str, str | Mapping[str, str]] = {
    "pd-morl": {
        "Discrete": "morl.agents.pd_morl.discrete:PDMORL",
        "Box": "morl.agents.pd_morl.continuous:ContinuousPDMORL",
    },
    "c-morl": "morl.agents.c_morl.agent:CMORL",
    "morl-d": "morl.agents.morl_d.agent:MORLD",
    "mo-tsivr-pg": "morl.agents.mo_tsivr_pg.agent:MOTSIVRPG",
    "gmorl": {"Discrete": "morl.agents.gmorl.agent:GMORL"},
    "mogfn-pc": {"Discrete": "morl.agents.mogfn_pc.agent:MOGFNPC"},
}
"""Name -> module:class, imported on first use; or kind of action space -> module:class, where variants differ."""


def find_agent(name: str, action_space: object | None = None) -> Any:
    """Return the agent class for a name out of `AGENTS`, for one of another package, or for your own "module:Class".

    Args:
        name: the name.
        action_space: of the environment; an agent with several variants is found by it (the first where not given).

    Raises:
        ValueError: there is no such agent, or none for these actions.
    """
    check_agent_name(name)
    location = AGENTS.get(name, name)
    if location == name and ":" not in name:
        return _agent_of_plugin(name)
    if not isinstance(location, str):
        kind = next(iter(location)) if action_space is None else type(action_space).__name__
        if kind not in location:
            raise ValueError(f"{name} needs actions of kind {' or '.join(location)}, but these are {action_space}")
        location = location[kind]
    agent = imported("agent", location)
    if not hasattr(agent, "config_class"):
        raise ValueError(f"agent is {name!r}, but that is no agent: it has no config_class (morl.protocols.Agent)")
    return agent


def agents_with_setting(setting: str) -> dict[str, str]:
    """Return the agents of this package that have a setting: name -> for which actions, empty where for all of its own.

    All agents are imported; one that cannot be is left out.

    Args:
        setting: name of a field of their settings.
    """
    found = {}
    for name, classes in _config_classes().items():
        kinds = [kind for kind, config in classes.items() if setting in {each.name for each in fields(config)}]
        if kinds:
            found[name] = "" if len(kinds) == len(classes) else " and ".join(kinds)
    return found


def settings_for_other_actions(config_class: object) -> dict[str, str]:
    """Return the settings that an agent of this package has for other actions alone: name -> for which actions.

    Args:
        config_class: the agent's settings for these actions.
    """
    classes = next((every for every in _config_classes().values() if config_class in every.values()), {})
    own = {each.name for config in classes.values() if config is config_class for each in fields(config)}
    return {each.name: kind for kind, config in classes.items() for each in fields(config) if each.name not in own}


def agent_with_config(config_class: object) -> str:
    """Return the name of the agent of this package that has these settings; empty where none has."""
    return next((name for name, classes in _config_classes().items() if config_class in classes.values()), "")


def _config_classes() -> dict[str, dict[str, type[Any]]]:
    """Return the classes of settings of all agents of this package: name -> kind of actions -> class."""
    found: dict[str, dict[str, type[Any]]] = {}
    for name, location in AGENTS.items():
        for kind, place in ({"": location} if isinstance(location, str) else location).items():
            with suppress(ValueError):  # its module cannot be imported
                agent: Any = imported("agent", place)
                found.setdefault(name, {})[kind] = agent.config_class
    return found


def check_agent_name(name: str) -> None:
    """Check that a name is one of `all_agents` or a "module:Class"; nothing is imported.

    Raises:
        ValueError: it is neither; the message lists all agents and the nearest one.
    """
    if name in AGENTS or ":" in name:
        return
    known = all_agents()
    if name in known:
        return
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"agent is {name!r}, but must be one of {', '.join(known)}, or your own 'module:Class'{hint}")


def all_agents() -> dict[str, str | Mapping[str, str] | Plugin]:
    """Return `AGENTS` and the agents of other packages by name; nothing is imported.

    A name that is taken already, or that no command could spell, is left out with a warning.
    """
    found: dict[str, str | Mapping[str, str] | Plugin] = dict(AGENTS)
    for plugin in find_plugins(GROUP):
        if plugin.name in found or ":" in plugin.name or plugin.name.startswith("-"):
            warn_of_plugin(plugin, f"there is another agent named {plugin.name!r}, or no agent can have this name")
        else:
            found[plugin.name] = plugin
    return found


def _agent_of_plugin(name: str) -> Any:
    """Return the agent class of another package by its name.

    Raises:
        ValueError: it cannot be imported, or is no agent.
    """
    plugin = all_agents()[name]
    assert isinstance(plugin, Plugin)
    provided = f"agent is {plugin.name!r}, which the package {plugin.package} provides as {plugin.value!r}"
    try:
        agent = plugin.load()
    except Exception as error:
        raise ValueError(f"{provided}, but it cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(agent, "config_class"):
        raise ValueError(f"{provided}, but that is no agent: it has no config_class (morl.protocols.Agent)")
    return agent


def agent_summaries() -> dict[str, str]:
    """Return the name of each agent -> the first line of its module; the modules are read, not imported.

    An agent of another package is left out with a warning where its module cannot be found or parsed, or has no such
    class.
    """
    summaries = {}
    for name, location in all_agents().items():
        if isinstance(location, Plugin):
            try:
                if not location.attribute:
                    raise ImportError("it names a module, but must name a class, 'module:Class'")
                docstring = module_docstring(location.module, location.attribute)
                summaries[name] = f"{docstring} (package {location.package})".strip()
            except (ImportError, OSError, SyntaxError, ValueError) as error:
                warn_of_plugin(location, str(error))
            continue
        first = location if isinstance(location, str) else next(iter(location.values()))
        summaries[name] = module_docstring(first.partition(":")[0])
    return summaries
