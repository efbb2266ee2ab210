"""Schedules that fit into a run: what lasts longer than the run would never be over."""

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from morl.protocols import AgentClass, HasSchedules, Problem

AgentConfig = TypeVar("AgentConfig")
_LOGGER = logging.getLogger("morl")


def fit_schedules(
    agent_class: AgentClass, config: AgentConfig, problem: Problem, total_steps: int, chosen: Collection[str]
) -> AgentConfig:
    """Return an agent's settings with schedules that leave room in the run for what follows them.

    A schedule of None becomes what the agent says. A line in the log names each that was shortened, or that the user
    has chosen too long.

    Args:
        agent_class: the agent; it says which settings are schedules if it is a `HasSchedules`.
        config: its settings.
        problem: the environment.
        total_steps: environment steps of training.
        chosen: flags of the settings that the user has chosen, which stay as they are.
    """
    if not isinstance(agent_class, HasSchedules):
        return config
    fitted: dict[str, int] = {}
    for name, longest in agent_class.schedules(config, problem, total_steps).items():
        value = getattr(config, name)
        if value is None:
            fitted[name] = max(1, longest)
            if fitted[name] >= total_steps:
                _LOGGER.warning("%s is %d, but the run ends after %d steps", name, fitted[name], total_steps)
            continue
        if value <= longest:
            continue
        if f"--agent.{name.replace('_', '-')}" not in chosen:
            fitted[name] = max(1, longest)
            _LOGGER.warning("%s is %d instead of %d, for a run of %d steps", name, fitted[name], value, total_steps)
        elif value > total_steps:
            _LOGGER.warning("%s is %d, but the run ends after %d steps", name, value, total_steps)
    return replace(config, **fitted) if fitted else config  # type: ignore[type-var]
