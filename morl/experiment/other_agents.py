"""Settings that an agent does not have and others have: a user is told whose they are."""

import re
from collections.abc import Collection, Sequence
from dataclasses import fields
from difflib import get_close_matches

from morl.agents.registry import agent_with_config, agents_with_setting, settings_for_other_actions


def sentence_of_owners(option_name: str, config_classes: Sequence[object]) -> str:
    """Return a sentence about an option that is a setting of other agents; empty where none has it.

    Args:
        option_name: such as "--agent.constraints", or "--agent.constraints.speed" of a table.
        config_classes: the class of the agent's settings; none for commands that take no settings.
    """
    found = re.fullmatch(r"--agent\.(?:no-)?([\w-]+)(\..*)?", option_name)
    if found is None or not config_classes:
        return ""
    owners = agents_with_setting(found[1].replace("-", "_"))
    if not owners:
        return ""
    own = agent_with_config(config_classes[0])
    if own in owners:  # of its variant for other actions
        return f"--agent.{found[1]} is no setting of {own} for these actions, but of {own} for {owners[own]} actions"
    names = [f"{name} for {kinds} actions" if kinds else name for name, kinds in owners.items()]
    return f"--agent.{found[1]} is no setting of {own or 'this agent'}, but of {', '.join(names)}"


def nearest_for_other_actions(option_name: str, config_classes: Sequence[object]) -> str:
    """Return half a sentence about the setting that is nearest to an unknown one, if the agent has it elsewhere.

    Args:
        option_name: such as "--agent.n-step".
        config_classes: the class of the agent's settings; none for commands that take no settings.

    Returns:
        Whose setting it is; empty where a setting of these actions is nearer, or none is near.
    """
    found = re.fullmatch(r"--agent\.(?:no-)?([\w-]+)", option_name)
    others = settings_for_other_actions(config_classes[0]) if found and config_classes else {}
    if found is None or not others:
        return ""
    own: Collection[str] = [each.name for each in fields(config_classes[0])]  # type: ignore[arg-type]
    near = get_close_matches(found[1].replace("-", "_"), [*own, *others], n=1, cutoff=0.6)
    if not near or near[0] not in others:
        return ""
    agent = agent_with_config(config_classes[0])
    return f"--agent.{near[0].replace('_', '-')} is a setting of {agent} for {others[near[0]]} actions"
