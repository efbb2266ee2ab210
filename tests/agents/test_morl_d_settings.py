"""Every setting of MORL/D, under every solver, either changes what is learned or is refused with the reason."""

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from decomposed import CONTINUOUS, CPU, WALK, answer, build, config_of, tiny

import morl
from morl.agents.morl_d import settings_in_use, validation
from morl.agents.morl_d.agent import MORLD
from morl.agents.morl_d.config import Config
from morl.agents.morl_d.settings_in_use import ineffective
from morl.envs.core.registry import problem

SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sac": (CONTINUOUS, {}),
    "td3": (CONTINUOUS, {}),
    "ppo": (CONTINUOUS, {"rollout_steps": 4}),
    "dqn": (WALK, {"exploration_start": 0.1, "exploration_end": 0.6}),
    "discrete-sac": (WALK, {}),
    "eupg": (WALK, {"preset": "eupg", "rollout_steps": 4, "utility": "smooth-tchebycheff"}),
}
SMALL: dict[str, Any] = {
    "backend": "eager",
    "population": 4,
    "exchange_every": 36,
    "hidden_sizes": (8, 8),
    "evaluation_episodes": 1,
}
NUM_ENVS = 6  # three of four policies train side by side
STEPS = 84

RANGE: dict[str, Any] = {"utility": "smooth-tchebycheff", "scale": "range"}
NEAR: dict[str, Any] = {"neighbourhood": "nearest", "replay": "neighbours"}
NEAR_COPIES: dict[str, Any] = {"neighbourhood": "nearest", "transfer": "always", "selected": 1}
MEMORY: dict[str, Any] = {"memory": "gru", "memory_steps": 2, "minibatches": 2}
STATIC: dict[str, Any] = {"reference": "static", "ideal": (90.0, 70.0)}

CHANGES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "population": ({"population": 5}, []),
    "exchange_every": ({"exchange_every": 24}, []),
    "evaluation_episodes": ({"evaluation_episodes": 2}, []),
    "solver_kwargs": ({"solver_kwargs": {"tau": 0.1}}, []),
    "criterion": ({"criterion": "esr"}, []),
    "utility": ({"utility": "pbi"}, []),
    "reference": ({"reference": "static", "ideal": (90.0, 70.0)}, [RANGE, {"scale": "range"}]),
    "ideal": ({"ideal": (20.0, 80.0), "reference": "static"}, [{"utility": "pbi"} | STATIC]),
    "ideal_margin": ({"ideal_margin": 100.0}, [{"utility": "tchebycheff"}]),
    "scale": ({"scale": "range"}, []),
    "augmented_state": ({"augmented_state": True}, []),
    "weights": ({"weights": "lattice"}, []),
    "adaptation": ({"adaptation": "psa"}, []),
    "psa_factor": ({"psa_factor": 0.5}, [{"adaptation": "psa"}]),
    "neighbourhood": ({"neighbourhood": "all"}, [NEAR_COPIES]),
    "neighbours": ({"neighbours": 2}, [NEAR_COPIES]),
    "neighbourhood_space": ({"neighbourhood_space": "objectives"}, [NEAR]),
    "neighbourhood_update": (
        {"neighbourhood_update": "dynamic"},
        [NEAR, NEAR | {"neighbourhood_space": "objectives"}],
    ),
    "transfer": ({"transfer": "always"}, [{"neighbourhood": "all", "transfer": "best", "selected": 1}]),
    "soft_rate": ({"soft_rate": 0.5}, [{"neighbourhood": "all", "transfer": "soft"}]),
    "networks": ({"networks": "conditioned"}, []),
    "shared_layers": ({"shared_layers": 2}, [{"networks": "shared-layers", "population": 3}]),
    "hyper_features": ({"hyper_features": 3}, [{"networks": "hyper"}]),
    "replay": ({"replay": "shared"}, []),
    "selection": ({"selection": "most-promising"}, [{"selected": 1}, {"selected": 3, "population": 3}]),
    "selected": ({"selected": 1}, []),
    "archive": ({"archive": "bounded", "archive_capacity": 2}, []),
    "archive_capacity": ({"archive_capacity": 2}, [{"archive": "bounded"}]),
    "discount": ({"discount": 0.5}, []),
    "hidden_sizes": ({"hidden_sizes": (9, 8)}, []),
    "memory": ({"memory": "gru", "memory_size": 5, "memory_steps": 2}, [{"minibatches": 2}]),
    "memory_size": ({"memory_size": 5}, [MEMORY]),
    "memory_steps": ({"memory_steps": 4}, [MEMORY]),
    "activation": ({"activation": "silu"}, []),
    "normalization": ({"normalization": "layer"}, []),
    "network": ({"network": "networks:small"}, []),
    "batch_size": ({"batch_size": 6}, []),
    "updates_per_step": ({"updates_per_step": 2.0}, []),
    "offline_updates": (
        {"offline_updates": 5},
        [{"selected": 1}, {"selected": 3, "population": 3}, {"networks": "conditioned"}],
    ),
    "actor_learning_rate": ({"actor_learning_rate": 0.01}, []),
    "critic_learning_rate": ({"critic_learning_rate": 0.01}, []),
    "tau": ({"tau": 0.5}, []),
    "policy_delay": ({"policy_delay": 1}, []),
    "combiner": ({"combiner": "mgda"}, []),
    "novelty": ({"novelty": "ctnb"}, []),
    "weighting": ({"weighting": "normalized"}, []),
    "temperature": ({"temperature": 0.4}, []),
    "target_entropy_scale": ({"target_entropy_scale": 2.0}, [{"temperature": 0.4}]),
    "buffer_size": ({"buffer_size": 4}, []),
    "random_exploration_steps": ({"random_exploration_steps": 0}, []),
    "learning_starts": ({"learning_starts": 2}, []),
    "exploration_start": ({"exploration_start": 0.3}, []),
    "exploration_end": ({"exploration_end": 0.9, "exploration_steps": 20}, []),
    "exploration_steps": ({"exploration_steps": 20}, [{"exploration_end": 0.9}]),
    "rollout_steps": ({"rollout_steps": 3}, []),
    "epochs": ({"epochs": 3}, []),
    "minibatches": ({"minibatches": 2}, []),
    "entropy_weight": ({"entropy_weight": 0.5}, []),
    "gae_lambda": ({"gae_lambda": 0.2}, []),
    "precision": ({"precision": "bfloat16"}, []),
}
"""Field -> another value, and contexts in which it may have an effect, besides the solver's small settings."""
NOT_LEARNED = {"solver", "workers", "backend", "one_hot", "image_size"}
"""The solver is varied by every test, the next two change the speed, the last are tested on integers and images."""


class Evaluation:
    """Returns whose objectives have different units, and whose neighbours change from call to call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, preferences: Any, episodes: int, policies: Any = None) -> Any:
        self.calls += 1
        places = np.roll([1, 3, 2, 4, 0], self.calls)[policies]
        return answer(preferences, episodes, places * 0.4) * np.array([1.0, 100.0])


def settings_of(solver: str, context: dict[str, Any]) -> dict[str, Any]:
    env, own = SOLVERS[solver]
    small = tiny(env, **SMALL | {"solver": solver} | own | context)
    warm_up = {name: 6 for name in ("random_exploration_steps", "learning_starts") if name in small}
    return small | warm_up | context


def learned(solver: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a run has learned: the population, the archive and who trains next."""
    env = SOLVERS[solver][0]
    agent = MORLD(problem(env), config_of(**settings), 3, NUM_ENVS, CPU)
    for _ in agent.learn(morl.make_vec(env, NUM_ENVS), STEPS, Evaluation()):
        pass
    agent.solver.store()
    names = ("weights", "returns", "active", "updates")
    parts = {name: getattr(agent, name) for name in names} | {"archive": agent.archive.points}
    return parts | {"members": {name: tensor.clone() for name, tensor in agent.solver.members.items()}}


@cache
def unchanged(solver: str, context: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return learned(solver, settings_of(solver, dict(context)))


def test_every_setting_is_tested() -> None:
    assert {field.name for field in fields(Config)} == CHANGES.keys() | NOT_LEARNED
    named = settings_in_use.SOLVERS.keys() | settings_in_use.OTHERS.keys()
    assert named <= CHANGES.keys() | NOT_LEARNED


@pytest.mark.parametrize("field", CHANGES)
def test_a_setting_changes_what_is_learned_or_is_refused(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, contexts = CHANGES[field]
    outcomes = []
    for solver, (env, _) in SOLVERS.items():
        for context in [{}, *contexts]:
            settings = settings_of(solver, context)
            try:
                validation.check(config_of(**settings), problem(env), NUM_ENVS)
            except ValueError:
                continue  # this solver does not have this context
            changed = settings | changes
            if config_of(**changed) == config_of(**settings):
                continue
            reason = ineffective(
                config_of(**changed), validation.choose_solver(config_of(**changed), problem(env)), field
            )
            case = f"{field} with {solver} and {context}"
            if reason:
                with pytest.raises(ValueError, match=f"({'|'.join(changes)}) is .*, but "):
                    MORLD(problem(env), config_of(**changed), 3, NUM_ENVS, CPU)
                with monkeypatch.context() as patch:
                    patch.setattr(validation, "refuse_ineffective", lambda *_: None)
                    after = learned(solver, changed)
                assert toys.difference(unchanged(solver, tuple(context.items())), after) == "", case
                outcomes.append("refused")
                continue
            changed = settings_of(solver, context | changes)
            try:
                after = learned(solver, changed)
            except ValueError as error:
                assert "\n" not in str(error)  # noqa: PT017
                outcomes.append("excluded")
                continue
            assert toys.difference(unchanged(solver, tuple(context.items())), after) != "", case
            outcomes.append("learned")
    assert "learned" in outcomes or field in ("solver_kwargs", "criterion")


def test_integer_observations_are_encoded_one_hot_where_asked() -> None:
    sizes = {
        one_hot: build("deep-sea-treasure-v0", one_hot=one_hot).solver.members["actor"].shape[1]
        for one_hot in (False, True)
    }
    assert sizes[True] > sizes[False]


def test_a_message_names_setting_value_and_remedy() -> None:
    cases = {
        "critic_learning_rate is 0.01, but solver 'td3' does not read it: it counts for discrete-sac, dqn, sac": {
            "solver": "td3",
            "critic_learning_rate": 0.01,
        },
        "psa_factor is 0.5, but it has no effect: it needs adaptation 'psa'": {"psa_factor": 0.5},
    }
    for message, settings in cases.items():
        with pytest.raises(ValueError) as refused:
            build(CONTINUOUS, **settings)
        assert str(refused.value) == message


@pytest.mark.parametrize("preset", ["eupg", "pg-morl"])
def test_on_policy_presets_fit_short_runs(preset: str, tmp_path: Path) -> None:
    """Exchanges that are shortened leave room for a rollout."""
    run = morl.train(
        "morl-d",
        "toys:toy-walk-v0",
        total_steps=300,
        run_dir=tmp_path / "run",
        config={"preset": preset},
        progress=False,
    )
    assert run.front.points.size
