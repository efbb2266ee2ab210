"""Vector-reward environments: registration, checking, vector backends, and an entry for each id.

Sub-packages, each of which may import those after it: `classic`, `mujoco` and `families` have the environments,
`backends` the ways to step many at once, `core` the contract.
"""

from morl.envs.backends.check import check_env
from morl.envs.backends.vector import make_vec
from morl.envs.classic.entries import ENTRIES as CLASSIC
from morl.envs.core.check import ContractViolation
from morl.envs.core.contract import MultiObjectiveVectorEnv
from morl.envs.core.entry import EnvEntry
from morl.envs.core.registry import add_entries, load_plugins, make, problem, register, specs
from morl.envs.core.state import StateNotCapturable
from morl.envs.families.entries import ENTRIES as FAMILIES
from morl.envs.families.lab.entries import ENTRIES as LAB
from morl.envs.mujoco.entries import ENTRIES as MUJOCO

add_entries((*CLASSIC, *MUJOCO, *FAMILIES, *LAB))

__all__ = [
    "ContractViolation",
    "EnvEntry",
    "MultiObjectiveVectorEnv",
    "StateNotCapturable",
    "check_env",
    "load_plugins",
    "make",
    "make_vec",
    "problem",
    "register",
    "specs",
]
