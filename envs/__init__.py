"""Vector-reward environments: registration, checking, vector back ends, and what is known about each of them."""

from morl.envs.backends.vector import make_vec
from morl.envs.core.check import ContractViolation, check_env
from morl.envs.core.contract import VectorEnvironment
from morl.envs.core.registry import make, problem, register, specs
from morl.envs.core.spec import Spec
from morl.envs.core.state import StateNotCapturable

__all__ = [
    "ContractViolation",
    "Spec",
    "StateNotCapturable",
    "VectorEnvironment",
    "check_env",
    "make",
    "make_vec",
    "problem",
    "register",
    "specs",
]
