"""C-MORL's settings: ranges, presets as values, and settings without effect."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import toys
from gymnasium import spaces

from morl.agents.c_morl.agent import CMORL
from morl.agents.c_morl.config import EFFECTIVE, Config
from morl.agents.c_morl.solvers import extension_solver
from morl.envs.core.registry import problem

CPU = torch.device("cpu")


def build(num_envs: int, env: Any = "toy-walk-v0", **changes: Any) -> CMORL:
    return CMORL(problem(env), Config(**toys.TINY_CMORL | changes), 3, num_envs, CPU)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"initial_steps": 10}, "initial_steps is 10, but must be at least 24"),
        ({"minibatches": 9}, "minibatches is 9, but must be at most samples_per_update, 8"),
        ({"beta": 1.5}, "beta is 1.5, but must lie between 0 and 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be finite and greater than 0"),
        ({"selected": 0}, "selected is 0"),
        ({"initial_divisions": -1}, "initial_divisions is -1, but must be at least 0"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes is"),
        (
            {"constraints": {"height": ">= 1"}},
            "constraints has 'height', but must name one of the objectives place, rest",
        ),
        ({"constraints": {"rest": "> 1"}}, "constraints has rest = '> 1', but must have a bound such as"),
        ({"constraints": {"rest": ">= nan"}}, "constraints has rest"),
        ({"constraints": {"rest": ">= 1", "place": "<= 1"}}, "leave at least one objective"),
        ({"backend": "cuda-graph"}, "backend is 'cuda-graph', but device is 'cpu'"),
        ({"backend": "fast"}, "backend is 'fast', but must be one of auto, eager, numba, cuda-graph"),
        ({"solver": "compat"}, "solver is 'compat', but must be one of ipo, cpo, lagrangian, reference-code"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        build(4, **changes)


WITHOUT_EFFECT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "memory_size": ({"memory_size": 8}, {"memory_size": 8, "memory": "gru"}),
    "memory_steps": ({"memory_steps": 8}, {"memory_steps": 8, "memory": "gru"}),
    "barrier_t": ({"barrier_t": 5.0, "solver": "cpo"}, {"barrier_t": 5.0, "solver": "reference-code"}),
    "trust_radius": ({"trust_radius": 0.1}, {"trust_radius": 0.1, "solver": "cpo"}),
    "multiplier_rate": ({"multiplier_rate": 0.2}, {"multiplier_rate": 0.2, "solver": "lagrangian"}),
    "extension_learning_rate": (
        {"extension_learning_rate": 1e-3, "solver": "reference-code"},
        {"extension_learning_rate": 1e-3, "solver": "reference-code", "interpolate": True},
    ),
    "constraints": (
        {"constraints": {"rest": ">= 1"}, "solver": "reference-code"},
        {"constraints": {"rest": ">= 1"}, "solver": "cpo"},
    ),
}
"""Field -> settings under which it has no effect, and settings under which it has."""


@pytest.mark.parametrize("name", EFFECTIVE)
def test_a_setting_without_effect_is_refused(name: str) -> None:
    refused, accepted = WITHOUT_EFFECT[name]
    with pytest.raises(ValueError, match=rf"{name} is .*which has no effect: .*(solver|constraint|interpolat|memory)"):
        Config(**refused)
    Config(**accepted)
    del refused[name]
    Config(**refused)  # at its default


@pytest.mark.parametrize("solver", ["ipo", "cpo", "lagrangian", "reference-code"])
def test_a_setting_has_an_effect_where_the_solver_holds_it(solver: Any) -> None:
    effective = {name for name, condition in EFFECTIVE.items() if condition.holds(Config(solver=solver))}
    held = set(vars(extension_solver(Config(solver=solver))))
    assert ("barrier_t" in effective) == ("barrier_t" in held)
    assert ("trust_radius" in effective) == ("radius" in held)
    assert ("multiplier_rate" in effective) == ("multiplier_rate" in held)
    assert ("extension_learning_rate" in effective) == ("learning_rate" in held)


def test_presets_are_values() -> None:
    assert Config.paper().samples_per_update == 4096
    assert Config.reference_code().solver == "reference-code"
    for name, changes in Config.PRESETS.items():
        found = Config.preset(name, epochs=3)
        assert found == Config(**changes | {"epochs": 3})
    with pytest.raises(ValueError, match="preset is 'improved', but must be one of paper, reference-code"):
        Config.preset("improved")


def test_bounds_and_another_discount_are_refused() -> None:
    config = Config(**toys.TINY_CMORL | {"discount": 0.5, "constraints": {"rest": ">= 1"}})
    with pytest.raises(ValueError, match=r"discount is 0.5, but must be 0.9\d* where there are constraints"):
        CMORL(problem("toy-walk-v0"), config, 0, 4, torch.device("cpu"))


@pytest.mark.parametrize(
    ("env", "changes", "discount"),
    [
        ("lab/linear-quadratic-2-v0", {}, 0.995),  # continuous actions, evaluated without a discount
        ("lab/linear-quadratic-2-v0", {"discount": 1.0}, 1.0),
        ("lab/linear-quadratic-2-v0", {"constraints": {"effort": ">= -1"}}, 1.0),  # on returns as they are evaluated
        ("lab/knapsack-v0", {}, 1.0),
        ("mo-hopper-2obj-v5", {}, 0.99),
    ],
)
def test_long_episodes_are_learned_with_a_discount(env: str, changes: dict[str, Any], discount: float) -> None:
    assert build(12, env, **changes).discount == discount


def test_an_agent_that_is_built_by_hand_has_an_initialization() -> None:
    agent = build(4, initial_steps=None)
    assert agent.initial_updates == 64_000 // (3 * agent.config.samples_per_update)


@pytest.mark.parametrize("space", [spaces.MultiBinary(3), spaces.MultiDiscrete([2, 2])])
def test_other_actions_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match=r"action_space is .*must be Discrete or a Box"):
        CMORL(replace(problem("toy-walk-v0"), action_space=space), Config(), 0, 10, torch.device("cpu"))
