"""The contract of `morl.protocols.Agent`, over every registered agent."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from masked import MASKED

import morl
from morl.acting import PolicyBank
from morl.agents import AGENTS, find_agent
from morl.agents.pd_morl import key_pretraining
from morl.agents.pd_morl.config import ContinuousConfig
from morl.agents.pd_morl.key_pretraining import KeyPretraining
from morl.envs.core.registry import problem
from morl.experiment import checkpoint
from morl.experiment.divergence import refuse_diverged_parameters
from morl.policy_files import PolicyData
from morl.protocols import ReturnsParameters

CPU = torch.device("cpu")
WALK, CONTINUOUS = "toy-walk-v0", "toy-continuous-walk-v0"
PAPER = {
    **ContinuousConfig.PRESETS["paper"],
    **toys.TINY_CONTINUOUS,
    "random_exploration_steps": 20,
    "key_pretraining_steps": 40,
}
MO_PG = {"method": "mo-pg", "population": 2, "initial_episodes": 1, "normalize": False, "hidden_sizes": (8,)}
ORDER = {"loss": "order-preserving", "parents": "tree", "batch_size": 5, "hidden_sizes": (8,)}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pd-morl": ("pd-morl", WALK, toys.TINY),
    "pd-morl, continuous": ("pd-morl", CONTINUOUS, toys.TINY_CONTINUOUS),
    "pd-morl, continuous, paper": ("pd-morl", CONTINUOUS, PAPER),
    "c-morl": ("c-morl", WALK, toys.TINY_CMORL | {"interpolate": True}),
    "c-morl, continuous": ("c-morl", CONTINUOUS, toys.TINY_CMORL | {"constraints": {"rest": ">= -9"}}),
    "c-morl, trust region": ("c-morl", CONTINUOUS, toys.TINY_CMORL | {"solver": "cpo"}),
    "c-morl, primal-dual": (
        "c-morl",
        WALK,
        toys.TINY_CMORL | {"solver": "lagrangian", "constraints": {"rest": "<= 9"}},
    ),
    "c-morl, reference code": ("c-morl", WALK, toys.TINY_CMORL | {"solver": "reference-code"}),
    "morl-d": ("morl-d", WALK, toys.TINY_MORLD_OFF_POLICY),
    "morl-d, continuous": ("morl-d", CONTINUOUS, toys.TINY_MORLD_OFF_POLICY | {"preset": "sb-psa"}),
    "morl-d, one network": ("morl-d", WALK, toys.TINY_MORLD_CONDITIONED | {"preset": "gpi-ls"}),
    "pd-morl, hypernetwork": ("pd-morl", WALK, toys.TINY | {"networks": "hyper", "critics": 2}),
    "pd-morl, continuous, combination": ("pd-morl", CONTINUOUS, toys.TINY_CONTINUOUS | {"networks": "combination"}),
    "pd-morl, continuous, averaged actor": (
        "pd-morl",
        CONTINUOUS,
        toys.TINY_CONTINUOUS | {"evaluation_actor": "average"},
    ),
    "morl-d, hypernetwork": ("morl-d", CONTINUOUS, toys.TINY_MORLD_CONDITIONED | {"networks": "hyper"}),
    "mo-tsivr-pg": ("mo-tsivr-pg", WALK, toys.TINY_TSIVR),
    "mo-tsivr-pg, continuous": ("mo-tsivr-pg", CONTINUOUS, toys.TINY_TSIVR | {"optimizer": "gradient"}),
    "mo-tsivr-pg, masked": ("mo-tsivr-pg", MASKED, toys.TINY_TSIVR),
    "mo-pg": ("mo-tsivr-pg", WALK, MO_PG),
    "coins": ("toys:Coins", WALK, {}),
    "pd-morl, masked": ("pd-morl", MASKED, toys.TINY),
    "c-morl, masked": ("c-morl", MASKED, toys.TINY_CMORL | {"interpolate": True}),
    "c-morl, trust region, masked": ("c-morl", MASKED, toys.TINY_CMORL | {"solver": "cpo"}),
    "morl-d, masked": ("morl-d", MASKED, toys.TINY_MORLD_OFF_POLICY | {"preset": "tchebycheff"}),
    "morl-d, discrete sac, masked": ("morl-d", MASKED, toys.TINY_MORLD_OFF_POLICY | {"solver": "discrete-sac"}),
    "morl-d, one network, masked": ("morl-d", MASKED, toys.TINY_MORLD_CONDITIONED | {"preset": "gpi-ls"}),
    "morl-d, ppo, masked": ("morl-d", MASKED, toys.TINY_MORLD_ON_POLICY | {"solver": "ppo"}),
    "c-morl, memory": (
        "c-morl",
        CONTINUOUS,
        toys.TINY_CMORL | {"memory": "gru", "memory_size": 5, "memory_steps": 4, "interpolate": True},
    ),
    "c-morl, trust region, memory, masked": (
        "c-morl",
        MASKED,
        toys.TINY_CMORL | {"memory": "gru", "memory_size": 5, "memory_steps": 4, "solver": "cpo"},
    ),
    "morl-d, ppo, memory": (
        "morl-d",
        WALK,
        toys.TINY_MORLD_ON_POLICY | {"solver": "ppo", "memory": "gru", "memory_size": 5, "memory_steps": 2},
    ),
    "gmorl": ("gmorl", WALK, toys.TINY_GMORL),
    "gmorl, masked": ("gmorl", MASKED, toys.TINY_GMORL | {"preferences": "even", "learning_rate_half_life": 20.0}),
    "mogfn-pc": ("mogfn-pc", WALK, toys.TINY_MOGFN),
    "mogfn-pc, masked": (
        "mogfn-pc",
        MASKED,
        toys.TINY_MOGFN | {"scalarization": "weighted-log-sum", "learning_rate_half_life": 20.0},
    ),
    "mogfn-pc, order": ("mogfn-pc", MASKED, ORDER),
    "morl-d, eupg, masked": ("morl-d", MASKED, toys.TINY_MORLD_ON_POLICY | {"preset": "eupg"}),
}
"""What is called -> agent, environment, settings that make it small."""
NAMES = list(CASES)


def build(name: str, seed: int | tuple[int, ...] = 3, lanes: int = 4) -> Any:
    agent_name, env, settings = CASES[name]
    stated = problem(env)
    agent = find_agent(agent_name, stated.action_space)
    return agent(stated, config_of(agent.config_class, settings), seed, lanes, CPU)


def config_of(config_class: Any, settings: dict[str, Any]) -> Any:
    changes = dict(settings)
    preset = changes.pop("preset", None)
    return config_class(**changes) if preset is None else config_class.preset(preset, **changes)


def lanes_of(name: str, count: int = 4) -> Any:
    return morl.make_vec(CASES[name][1], count)


def test_every_agent_is_tested() -> None:
    assert set(AGENTS) <= {agent for agent, _, _ in CASES.values()}


class Asked:
    """An `Evaluate` that answers by arithmetic and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, preferences: Any, episodes: int, policies: Any = None) -> Any:
        assert episodes >= 1
        self.times += 1
        if policies is None:
            return preferences * 2.0 + 0.25
        return np.sin(np.outer(policies + 1.0, np.arange(1.0, 1.0 + preferences.shape[1])))


def learn(agent: Any, envs: Any, total_steps: int) -> int:
    return sum(1 for _ in agent.learn(envs, total_steps, Asked()))


@pytest.mark.parametrize("name", NAMES)
def test_learning_stops_where_it_is_told(name: str) -> None:
    agent, envs = build(name), lanes_of(name)
    toys.STEPS.clear()
    assert learn(agent, envs, 102) > 1
    assert 102 <= agent.steps < 102 + 4
    assert sum(toys.STEPS.values()) == agent.steps + agent.pretraining_steps
    updates = agent.updates
    assert learn(agent, envs, 102) == 0
    assert (agent.updates, sum(toys.STEPS.values())) == (updates, agent.steps + agent.pretraining_steps)
    assert agent.updates > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_state_can_be_taken_at_every_yield(name: str, tmp_path: Path) -> None:
    whole, envs = build(name), lanes_of(name)
    learn(whole, envs, 240)
    for stop in (1, 13, 30, 45):
        first, before = build(name), lanes_of(name)
        for step, _ in enumerate(first.learn(before, 240, Asked()), start=1):
            if step == stop:
                break
        checkpoint.save_file(tmp_path / "state.pt", {"agent": first.state_dict(), "envs": before.state_dict()})
        first.steps = -1  # what was saved no longer depends on the agent
        saved = checkpoint.load_file(tmp_path / "state.pt")
        second, after = build(name), lanes_of(name)
        second.load_state_dict(saved["agent"])
        after.load_state_dict(saved["envs"])
        assert toys.difference(_plain(second.state_dict()), saved["agent"]) == ""
        learn(second, after, 240)
        assert toys.difference(_plain(second.state_dict()), _plain(whole.state_dict())) == ""


def _plain(state: Any) -> Any:
    """Spell a state as it is loaded from a file."""
    return checkpoint._from_tensors(checkpoint._to_tensors(state))


@pytest.mark.parametrize("name", NAMES)
def test_exported_policies_act_the_same(name: str, tmp_path: Path) -> None:
    agent, envs = build(name), lanes_of(name)
    learn(agent, envs, 150)
    asked = np.array([[1.0, 0.0], [0.3, 0.7], [0.5, 0.5]])
    policies, preferences = agent.policies(asked)
    assert policies.shape == (len(preferences),)
    assert preferences.shape[1] == 2
    exported = agent.export_policies()
    assert set(policies.tolist()) <= exported.keys()
    observations = np.random.default_rng(0).normal(size=(len(policies), 2)).astype(np.float32)
    masks = {"masks": np.eye(3, dtype=np.bool_)[policies % 3]} if CASES[name][1] == MASKED else {}
    actions = agent.act(observations, preferences, policies, **masks)
    assert all(envs.single_action_space.contains(action) for action in actions)
    np.testing.assert_array_equal(actions, agent.act(observations, preferences, policies, **masks))  # deterministic
    if masks:
        np.testing.assert_array_equal(actions, policies % 3 - 1)
        with pytest.raises(ValueError, match="action masks are missing"):
            agent.act(observations, preferences, policies)

    plain = {number: data if isinstance(data, dict) else data.state_dict() for number, data in exported.items()}
    checkpoint.save_file(tmp_path / "policies.pt", plain)
    learn(agent, envs, 300)  # an export is a copy
    saved = checkpoint.load_file(tmp_path / "policies.pt")
    actor: Any = build(name, seed=50, lanes=1)
    if hasattr(actor, "import_policies"):
        actor.import_policies(saved)
    else:
        loaded = {number: PolicyData.of_state_dict(state) for number, state in saved.items()}
        actor = PolicyBank(next(iter(loaded.values())).spec, CPU)
        for number, data in loaded.items():
            actor.add(number, data)
    np.testing.assert_array_equal(actor.act(observations, preferences, policies, **masks), actions)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_make_the_difference(name: str) -> None:
    states = []
    for seed in (5, 5, 6):
        agent = build(name, seed=seed)
        learn(agent, lanes_of(name), 120)
        states.append(_plain(agent.state_dict()))
    assert toys.difference(states[0], states[1]) == ""
    assert toys.difference(states[0], states[2]) != ""


@pytest.mark.parametrize("name", NAMES)
def test_forgetting_episodes_begins_new_ones(name: str) -> None:
    agent = build(name)
    learn(agent, lanes_of(name), 100)
    agent.reset_episodes()
    learn(agent, lanes_of(name), 200)  # never reset by us: the agent does it
    assert agent.steps == 200


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_numbers(name: str) -> None:
    agent = build(name)
    for _ in range(2):
        assert all(isinstance(value, float) for value in agent.metrics().values())
        learn(agent, lanes_of(name), 100)


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_documented(name: str) -> None:
    import inspect

    config = type(build(name)).config_class
    source = inspect.getsource(config)
    for field in [each.name for each in dataclasses.fields(config)]:
        assert f"{field}:" in source
        assert source.split(f"    {field}:")[1].split('"""')[0].count("\n    ") <= 2, f"{field} has no docstring"


def test_several_learners_at_once_are_what_each_is_alone() -> None:
    for name in ("pd-morl", "pd-morl, continuous", "pd-morl, continuous, paper", "pd-morl, masked"):
        together, envs = build(name, seed=(5, 6, 7)), lanes_of(name, 12)
        for _ in together.learn(envs, 160, *[Asked() for _ in range(3)]):
            pass
        for learner, seed in enumerate((5, 6, 7)):
            alone = build(name, seed=seed)
            learn(alone, lanes_of(name), 160)
            close(_plain(together.state_dict(learner)), _plain(alone.state_dict()))
            assert alone.updates > 20


def close(one: Any, other: Any) -> None:
    """Assert that two states agree to rounding."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            close(one[key], other[key])
    elif isinstance(one, torch.Tensor) and one.is_floating_point():
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4)
    else:
        assert toys.difference(one, other) == ""


@pytest.mark.parametrize("name", ["pd_morl", "", "PD-MORL", "sac"])
def test_an_unknown_agent_names_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=r"agent is .*pd-morl"):
        find_agent(name)


@pytest.mark.parametrize("name", ["toys:", ":Coins", "toys:Coins:x", "nowhere_at_all:X", "toys.py:Coins"])
def test_an_agent_that_cannot_be_imported(name: str) -> None:
    with pytest.raises(ValueError):
        find_agent(name)


RATES = {  # without mo-tsivr-pg, whose steps have a largest length
    "pd-morl": "learning_rate",
    "pd-morl, continuous": "learning_rate",
    "c-morl": "learning_rate",
    "c-morl, continuous": "learning_rate",
    "c-morl, trust region": "learning_rate",
    "morl-d": "critic_learning_rate",
    "morl-d, continuous": "actor_learning_rate",
    "morl-d, one network": "critic_learning_rate",
    "morl-d, ppo, memory": "actor_learning_rate",
    "morl-d, eupg, masked": "actor_learning_rate",
    "mo-pg": "learning_rate",
    "gmorl, masked": "learning_rate",
    "mogfn-pc": "learning_rate",
    "mogfn-pc, masked": "learning_rate",
}


@pytest.mark.parametrize(
    "name", ["pd-morl", "pd-morl, continuous", "c-morl", "morl-d", "morl-d, ppo, masked", "gmorl", "mogfn-pc"]
)
@pytest.mark.parametrize("total_steps", [3_500, 20_000, 1_000_000])
def test_schedules_are_no_longer_than_the_run(name: str, total_steps: int) -> None:
    agent_name, env, settings = CASES[name]
    agent: Any = find_agent(agent_name, problem(env).action_space)
    if hasattr(agent, "schedules"):
        solver = {"solver": settings["solver"]} if "solver" in settings else {}
        longest = agent.schedules(agent.config_class(**solver), problem(env), total_steps)
        assert all(steps <= total_steps for steps in longest.values()), longest


@pytest.mark.parametrize("name", ["c-morl", "c-morl, continuous", "c-morl, trust region, masked"])
def test_extension_that_diverges_ends_with_one_sentence(name: str, tmp_path: Path) -> None:
    agent, env, settings = CASES[name]  # the front is that of initialization, whose parameters stay finite
    with pytest.raises(ValueError, match=r"^the agent's (actions|parameters) .*: learning has diverged"):
        morl.train(
            agent,
            env,
            total_steps=300,
            run_dir=tmp_path / "run",
            config=settings | {"extension_learning_rate": 1e30},
            **toys.SCHEDULE,
        )


def test_pretraining_that_diverges_ends_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: KeyPretraining, drawn: object) -> None:
        self.td3.critics.data.fill_(float("nan"))
        self.td3.updates += 1

    monkeypatch.setattr(KeyPretraining, "_update", broken)
    monkeypatch.setattr(key_pretraining, "LEARNING_STARTS", 4)
    agent, env, settings = CASES["pd-morl, continuous, paper"]
    with pytest.raises(ValueError, match=r"^the agent's parameters are no longer finite: learning has diverged"):
        morl.train(agent, env, total_steps=100, run_dir=tmp_path / "run", config=settings, **toys.SCHEDULE)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"coins"}))
def test_all_parameters_that_are_learned_are_checked(name: str) -> None:
    agent = build(name)
    assert isinstance(agent, ReturnsParameters)
    learned = torch.cat([tensor.detach().flatten() for tensor in agent.all_parameters()])
    exported = [policy.parameters.numpy() for policy in agent.export_policies().values()]
    found = [np.isin(parameters, learned.numpy()).mean() for parameters in exported]
    assert max(found) > 0.9  # those of C-MORL learn one after another; constants of a network are not learned
    learned.fill_(float("nan"))
    agent.all_parameters = lambda: [learned]
    with pytest.raises(ValueError, match="parameters are no longer finite"):
        refuse_diverged_parameters(agent)


@pytest.mark.parametrize("name", RATES)
def test_learning_that_diverges_ends_with_one_sentence(name: str, tmp_path: Path) -> None:
    agent, env, settings = CASES[name]
    run_dir = tmp_path / "run"
    config = settings | {RATES[name]: 1e30}
    with pytest.raises(ValueError, match=r"^the agent's (actions|parameters) .*: learning has diverged"):
        morl.train(agent, env, total_steps=600, run_dir=run_dir, config=config, **toys.SCHEDULE)
    with pytest.raises(
        ValueError, match=r"cannot be resumed, because learning has diverged at step [\d,]+: the agent's"
    ):
        morl.resume(run_dir)
