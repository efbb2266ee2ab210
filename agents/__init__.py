"""Agents: one package per algorithm. They satisfy `morl.protocols.Agent`; `config_class` names their settings.

The classes load on first use: `from morl.agents import PDMORL` imports PyTorch, `import morl.agents` does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from morl.agents.registry import AGENTS, agent_summaries, all_agents, check_agent_name, find_agent

if TYPE_CHECKING:
    from morl.agents.c_morl.agent import CMORL
    from morl.agents.c_morl.config import Config as CMORLConfig
    from morl.agents.check import AgentContractViolation, check_agent
    from morl.agents.gmorl.agent import GMORL
    from morl.agents.gmorl.config import Config as GMORLConfig
    from morl.agents.mo_tsivr_pg.agent import MOTSIVRPG
    from morl.agents.mo_tsivr_pg.config import Config as MOTSIVRPGConfig
    from morl.agents.mogfn_pc.agent import MOGFNPC
    from morl.agents.mogfn_pc.config import Config as MOGFNPCConfig
    from morl.agents.morl_d.agent import MORLD
    from morl.agents.morl_d.config import Config as MORLDConfig
    from morl.agents.pd_morl.config import ContinuousConfig as ContinuousPDMORLConfig
    from morl.agents.pd_morl.config import DiscreteConfig as PDMORLConfig
    from morl.agents.pd_morl.continuous import ContinuousPDMORL
    from morl.agents.pd_morl.discrete import PDMORL

__all__ = [
    "AGENTS",
    "CMORL",
    "GMORL",
    "MOGFNPC",
    "MORLD",
    "MOTSIVRPG",
    "PDMORL",
    "AgentContractViolation",
    "CMORLConfig",
    "ContinuousPDMORL",
    "ContinuousPDMORLConfig",
    "GMORLConfig",
    "MOGFNPCConfig",
    "MORLDConfig",
    "MOTSIVRPGConfig",
    "PDMORLConfig",
    "agent_summaries",
    "all_agents",
    "check_agent",
    "check_agent_name",
    "find_agent",
]

_HOME = {
    "AgentContractViolation": "morl.agents.check:AgentContractViolation",
    "CMORL": "morl.agents.c_morl.agent:CMORL",
    "CMORLConfig": "morl.agents.c_morl.config:Config",
    "ContinuousPDMORL": "morl.agents.pd_morl.continuous:ContinuousPDMORL",
    "ContinuousPDMORLConfig": "morl.agents.pd_morl.config:ContinuousConfig",
    "GMORL": "morl.agents.gmorl.agent:GMORL",
    "GMORLConfig": "morl.agents.gmorl.config:Config",
    "MOGFNPC": "morl.agents.mogfn_pc.agent:MOGFNPC",
    "MOGFNPCConfig": "morl.agents.mogfn_pc.config:Config",
    "MORLD": "morl.agents.morl_d.agent:MORLD",
    "MORLDConfig": "morl.agents.morl_d.config:Config",
    "MOTSIVRPG": "morl.agents.mo_tsivr_pg.agent:MOTSIVRPG",
    "MOTSIVRPGConfig": "morl.agents.mo_tsivr_pg.config:Config",
    "PDMORL": "morl.agents.pd_morl.discrete:PDMORL",
    "PDMORLConfig": "morl.agents.pd_morl.config:DiscreteConfig",
    "check_agent": "morl.agents.check:check_agent",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        module, _, attribute = _HOME[name].partition(":")
        found: object = getattr(import_module(module), attribute)
        return found
    raise AttributeError(f"module 'morl.agents' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
