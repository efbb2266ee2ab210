"""Agents that do not follow the protocols yet: goes when the last of them does."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from morl.experiment.parsing import option
from morl.protocols import Constrained


def preset_is_a_field(config_class: type[Any]) -> bool:
    """Return whether an agent expands its presets itself."""
    return any(one.name == "preset" for one in fields(config_class))


def without_agent_of_another_mode(
    table: Mapping[str, object], arguments: Sequence[Sequence[str]]
) -> Mapping[str, object]:
    """Return a tuned file without its `[agent]` table where that is tuned for another mode than the chosen one."""
    agent = table.get("agent")
    modes = [mode for words in arguments if (mode := option(words, "--agent.mode")) is not None]
    if isinstance(agent, Mapping) and modes and agent.get("mode", modes[-1]) != modes[-1]:
        return {key: value for key, value in table.items() if key != "agent"}
    return table


def constraints_of(agent: object) -> Constrained | None:
    """Return the agent as one that keeps bounds, if it is."""
    if isinstance(agent, Constrained):
        return agent
    if hasattr(agent, "front_metadata"):
        agent.free_objectives = agent.free  # type: ignore[attr-defined]
        return cast(Constrained, agent)
    return None


def policy_state(policy: Any) -> dict[str, Any]:
    """Return a policy as plain data."""
    return dict(policy) if isinstance(policy, Mapping) else dict(policy.state_dict())
