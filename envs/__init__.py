"""Vector-reward environments: registration, checking, vector back ends, and what is known about each of them."""

from morl.envs.check import ContractViolation, check_env
from morl.envs.contract import VectorEnvironment
from morl.envs.registry import make, problem, register, specs
from morl.envs.spec import Spec
from morl.envs.state import StateNotCapturable
from morl.envs.vector import make_vec

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
