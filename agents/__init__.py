"""Agents: one package per algorithm. They satisfy `morl.protocols.Agent`; `config_class` names their settings.

The classes load on first use: `from morl.agents import PDMORL` imports PyTorch, `import morl.agents` does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from morl.agents.registry import AGENTS, find_agent

if TYPE_CHECKING:
    from morl.agents.c_morl.agent import CMORL
    from morl.agents.check import AgentContractViolation, check_agent
    from morl.agents.morl_d.agent import MORLD
    from morl.agents.pd_morl.continuous import ContinuousPDMORL
    from morl.agents.pd_morl.discrete import PDMORL

__all__ = [
    "AGENTS",
    "CMORL",
    "MORLD",
    "PDMORL",
    "AgentContractViolation",
    "ContinuousPDMORL",
    "check_agent",
    "find_agent",
]

_HOME = {
    "AgentContractViolation": "morl.agents.check",
    "CMORL": "morl.agents.c_morl.agent",
    "ContinuousPDMORL": "morl.agents.pd_morl.continuous",
    "MORLD": "morl.agents.morl_d.agent",
    "PDMORL": "morl.agents.pd_morl.discrete",
    "check_agent": "morl.agents.check",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'morl.agents' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
