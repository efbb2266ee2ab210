"""Settings that an agent does not have and others have: a user is told whose they are."""

import re
from collections.abc import Sequence

from morl.agents.registry import agent_with_config, agents_with_setting


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
