"""Vector-reward environments: registration, checking, vector back ends, and what is known about each of them."""

from morl.envs.registry import make, problem, register, specs
from morl.envs.spec import Spec
from morl.envs.vector import make_vec

__all__ = ["Spec", "make", "make_vec", "problem", "register", "specs"]
