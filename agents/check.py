"""`check_agent` holds an agent to the contract of `morl.protocols.Agent` and raises with the first violated clause."""

import dataclasses
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from morl.acting import PolicyBank
from morl.agents.registry import find_agent
from morl.envs import make_vec, problem
from morl.policy_files import PolicyData
from morl.protocols import (
    Actions,
    Agent,
    BoolArray,
    Constrained,
    DescribesMetrics,
    FloatArray,
    HasMemory,
    IndexArray,
    Observations,
    Problem,
    ReturnsParameters,
    UsesAccruedReward,
    UsesActionMasks,
    VectorEnvironment,
)

DISCRETE_ENV = "deep-sea-treasure-v0"
CONTINUOUS_ENV = "mo-mountaincarcontinuous-v0"
NUM_ENVS = 4
STEPS = 400
"""Environment steps of each training run of the check."""
CPU = torch.device("cpu")


class AgentContractViolation(ValueError):
    """The agent violates a clause of the contract; the message is one sentence with the offending value."""


def check_agent(
    agent: str | type[Any],
    env: str | None = None,
    config: Mapping[str, Any] | None = None,
    total_steps: int = STEPS,
) -> None:
    """Raise `AgentContractViolation` with the clause that the agent violates, if any.

    Clauses, in this order: settings (a frozen dataclass with a docstring under each field), construction, training that
    stops where it is told and counts every environment step, metrics, candidates for the front, actions, the same run
    from the same seed and another one from another seed, exact resuming from a state taken at any yield, plain data in
    states, exported policies that act as the agent does, new episodes after `reset_episodes`, and whatever optional
    protocols the agent satisfies.

    Args:
        agent: a class, "module:Class", or the name of a registered agent.
        env: environment to train on; default: deep-sea-treasure-v0, or mo-mountaincarcontinuous-v0 where the agent
            refuses discrete actions.
        config: settings of the agent, to make a run of `total_steps` do something.
        total_steps: environment steps of each of the six training runs.

    Raises:
        AgentContractViolation: the first clause that is violated.
        ValueError: there is no such agent or environment.
    """
    chosen_env = env or _fitting_env(agent, config)
    stated = problem(chosen_env)
    agent_class = find_agent(agent, stated.action_space) if isinstance(agent, str) else agent
    name = agent if isinstance(agent, str) else f"{agent.__module__}:{agent.__qualname__}"
    try:
        check = _Check(agent_class, chosen_env, stated, dict(config or {}), total_steps)
        check.settings()
        check.training()
        check.acting()
        check.reproducibility()
        check.resuming()
        check.exported_policies()
        check.new_episodes()
        check.optional_protocols()
    except AgentContractViolation as violation:
        raise AgentContractViolation(f"{name}: {violation}") from violation.__cause__


def _fitting_env(agent: str | type[Any], config: Mapping[str, Any] | None) -> str:
    """Return the environment with discrete actions, or the continuous one where the agent refuses those."""
    stated = problem(DISCRETE_ENV)
    try:
        agent_class = find_agent(agent, stated.action_space) if isinstance(agent, str) else agent
        agent_class(stated, agent_class.config_class(**config or {}), 0, NUM_ENVS, CPU)
    except ValueError as error:
        if "action" in str(error):
            return CONTINUOUS_ENV
    except Exception:  # whatever it is, the check proper reports it with its clause
        return DISCRETE_ENV
    return DISCRETE_ENV


class _CountingEnvs:
    """Forwards to a vector environment and counts its steps and resets."""

    def __init__(self, envs: VectorEnvironment, must_be_reset: bool = False) -> None:
        self.envs = envs
        self.must_be_reset = must_be_reset
        self.steps = 0
        self.resets = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.envs, name)

    def reset(self, **arguments: Any) -> Any:
        self.resets += 1
        return self.envs.reset(**arguments)

    def step(self, actions: Actions) -> Any:
        fresh = self.must_be_reset and self.resets == 0
        _require(not fresh, "learn must reset the environments after reset_episodes, got a step before any reset")
        self.steps += self.envs.num_envs
        return self.envs.step(actions)


class _Evaluate:
    """An `Evaluate` that answers by arithmetic: policies differ, and nothing depends on when it is called."""

    def __init__(self, num_objectives: int) -> None:
        self.num_objectives = num_objectives

    def __call__(self, preferences: FloatArray, episodes: int, policies: IndexArray | None = None) -> FloatArray:
        _require(episodes >= 1, f"evaluate must be called with at least one episode, got {episodes}")
        preferences = np.asarray(preferences)
        expected = (len(preferences), self.num_objectives)
        _require(preferences.shape == expected, f"evaluate takes preferences {expected}, got shape {preferences.shape}")
        if policies is None:
            return preferences * 2.0 + 0.25
        _require(len(policies) == len(preferences), "evaluate takes as many policies as preferences")
        return np.sin(np.outer(np.asarray(policies) + 1.0, np.arange(1.0, 1.0 + self.num_objectives)))


class _Check:
    """The clauses, one method each, over one agent class and environment."""

    def __init__(self, agent_class: Any, env: str, stated: Problem, config: dict[str, Any], total_steps: int) -> None:
        self.agent_class = agent_class
        self.env = env
        self.problem = stated
        self.config = config
        self.total_steps = total_steps
        self.preferences = np.array([*np.eye(stated.num_objectives), np.full(stated.num_objectives, 1.0)])
        self.preferences /= self.preferences.sum(axis=1, keepdims=True)

    # --- Parts --------------------------------------------------------------------------------------------------------

    def build(self, seed: int = 3) -> Agent:
        """Return an untrained agent."""
        try:
            config = self.agent_class.config_class(**self.config)
            built: Agent = self.agent_class(self.problem, config, seed, NUM_ENVS, CPU)
        except Exception as error:
            raise AgentContractViolation(
                f"the class must be constructed from (problem, config, seed, num_envs, device), got {error!r}"
            ) from error
        return built

    def envs(self, must_be_reset: bool = False) -> Any:
        """Return fresh environments that count their steps."""
        return _CountingEnvs(make_vec(self.env, NUM_ENVS), must_be_reset)

    def learn(self, agent: Agent, envs: Any, total_steps: int) -> Iterator[None]:
        """Return the agent's training generator."""
        loop = agent.learn(envs, total_steps, _Evaluate(self.problem.num_objectives))
        _require(inspect.isgenerator(loop) or hasattr(loop, "__next__"), f"learn must be a generator, got {loop!r}")
        return loop

    def trained(self, seed: int = 3) -> Agent:
        """Return an agent after a whole run."""
        agent = self.build(seed)
        for _ in self.learn(agent, self.envs(), self.total_steps):
            pass
        return agent

    def observations(self, agent: Agent, count: int) -> tuple[Observations, dict[str, BoolArray]]:
        """Return a batch of observations that occur in the environment, and their masks if `act` takes them."""
        envs = make_vec(self.env, count)
        observations, infos = envs.reset(seed=11)
        envs.close()
        if not self.problem.action_masks:
            return observations, {}
        takes = isinstance(agent, UsesActionMasks) and agent.uses_action_masks
        _require(takes, f"uses_action_masks must be True on {self.problem.id}, which gives action masks")
        return observations, {"masks": np.asarray(infos["action_mask"]) == 1}

    # --- Clauses ------------------------------------------------------------------------------------------------------

    def settings(self) -> None:
        """Check `config_class`."""
        config_class = getattr(self.agent_class, "config_class", None)
        _require(
            dataclasses.is_dataclass(config_class) and isinstance(config_class, type),
            f"config_class must be a dataclass, got {config_class!r}",
        )
        assert config_class is not None
        frozen = config_class.__dataclass_params__.frozen
        _require(frozen, f"config_class must be frozen (@dataclass(frozen=True)), got {config_class.__name__}")
        source = inspect.getsource(config_class)
        for field in dataclasses.fields(config_class):
            documented = re.search(
                rf'^    {field.name}:[^\n]*(\n        [^\n]*|\n    \)[^\n]*)*\n    """', source, re.MULTILINE
            )
            inherited = field.name not in config_class.__annotations__
            _require(
                documented is not None or inherited,
                f"every setting must have a docstring under it, got none for {field.name!r}",
            )

    def training(self) -> None:
        """Check that training stops where it is told, counts every step and reports metrics."""
        agent = self.build()
        for name in ("steps", "pretraining_steps", "updates"):
            count = getattr(agent, name, None)
            _require(count == 0, f"{name} of an untrained agent must be 0, got {count!r}")
        self._check_metrics(agent)
        envs = self.envs()
        yields = sum(1 for _ in self.learn(agent, envs, self.total_steps))
        _require(yields > 1, f"learn must yield wherever the state is consistent, got {yields} yields in a run")
        within = self.total_steps <= agent.steps < self.total_steps + NUM_ENVS
        _require(within, f"learn must stop at total_steps, {self.total_steps}, got {agent.steps} steps")
        counted = agent.steps + agent.pretraining_steps
        _require(
            envs.steps == counted, f"every environment step must be counted: {envs.steps} taken, {counted} counted"
        )
        _require(
            agent.updates > 0, f"a run of {self.total_steps} steps must learn (choose smaller settings), got 0 updates"
        )
        updates = agent.updates
        more = sum(1 for _ in self.learn(agent, envs, self.total_steps))
        idle = more == 0 and agent.updates == updates
        _require(idle, f"learn must do nothing where total_steps are reached, got {more} more yields")
        self._check_metrics(agent)

    def _check_metrics(self, agent: Agent) -> None:
        for name, value in agent.metrics().items():
            number = isinstance(name, str) and isinstance(value, float)
            _require(number, f"metrics must be floats by name, got {name!r}: {value!r}")

    def acting(self) -> None:
        """Check the candidates for the front and the actions of the agent."""
        agent = self.trained()
        ids, preferences = self._candidates(agent)
        observations, masks = self.observations(agent, len(ids))
        actions = agent.act(observations, preferences, ids, **masks)
        space = self._single_action_space()
        _require(len(actions) == len(ids), f"act must return an action a row, got {len(actions)} for {len(ids)} rows")
        for action in actions:
            _require(space.contains(action), f"actions must lie in {space}, got {action!r}")
        if masks:
            self._check_allowed(actions, masks["masks"])
        again = agent.act(observations, preferences, ids, **masks)
        _require(np.array_equal(actions, again), "act must be deterministic, got two answers to the same question")

    def _check_allowed(self, actions: Actions, masks: BoolArray) -> None:
        """Check that actions [env] are among those that masks [env, choice] allow."""
        assert isinstance(self.problem.action_space, gymnasium.spaces.Discrete)
        for action, mask in zip(actions, masks, strict=True):
            allowed = mask[int(action) - int(self.problem.action_space.start)]
            _require(allowed, f"actions must be allowed by the action mask {mask.tolist()}, got {action!r}")

    def _candidates(self, agent: Agent) -> tuple[IndexArray, FloatArray]:
        ids, preferences = agent.policies(self.preferences)
        count = len(ids)
        _require(count > 0, "policies must offer at least one policy")
        integers = np.asarray(ids).dtype.kind == "i" and np.shape(ids) == (count,)
        _require(integers, f"policies must return integer ids [n], got {ids!r}")
        shape = np.shape(preferences)
        expected = (count, self.problem.num_objectives)
        _require(shape == expected, f"policies must return preferences of shape {expected}, got {shape}")
        return np.asarray(ids), np.asarray(preferences)

    def _single_action_space(self) -> gymnasium.Space[Any]:
        return self.problem.action_space

    def reproducibility(self) -> None:
        """Check that one seed gives one run."""
        first = _plain(self.trained(seed=5).state_dict(), "state_dict")
        second = _plain(self.trained(seed=5).state_dict(), "state_dict")
        other = _plain(self.trained(seed=6).state_dict(), "state_dict")
        where = difference(first, second)
        _require(where == "", f"the same seed must give the same run, got a difference at {where}")
        _require(difference(first, other) != "", "another seed must give another run, got the same state")

    def resuming(self) -> None:
        """Check that a run resumed from a state taken at any yield ends in the same bits."""
        whole = self.build()
        yields = sum(1 for _ in self.learn(whole, self.envs(), self.total_steps))
        expected = _plain(whole.state_dict(), "state_dict")
        for stop in sorted({1, 2, yields // 3, yields // 2, yields - 1}):
            first = self.build()
            before = self.envs()
            for number, _ in enumerate(self.learn(first, before, self.total_steps), start=1):
                if number == stop:
                    break
            saved = _plain(first.state_dict(), "state_dict")
            second = self.build()
            after = self.envs()
            try:
                second.load_state_dict(_plain(saved, "state_dict"))
            except Exception as error:
                raise AgentContractViolation(
                    f"load_state_dict must restore what state_dict returned, got {error!r}"
                ) from error
            after.load_state_dict(before.state_dict())
            where = difference(saved, _plain(second.state_dict(), "state_dict"))
            _require(where == "", f"load_state_dict must restore everything, got a difference at {where}")
            for _ in self.learn(second, after, self.total_steps):
                pass
            where = difference(expected, _plain(second.state_dict(), "state_dict"))
            _require(
                where == "", f"a run resumed at yield {stop} must end in the same bits, got a difference at {where}"
            )

    def exported_policies(self) -> None:
        """Check that exported policies are copies and act as the agent does."""
        agent = self.build()
        envs = self.envs()
        for _ in self.learn(agent, envs, self.total_steps):
            pass
        ids, preferences = self._candidates(agent)
        exported = agent.export_policies()
        missing = sorted(set(ids.tolist()) - set(exported))
        _require(
            not missing, f"export_policies must hold every candidate for the front, got none for ids {missing[:5]}"
        )
        policies: dict[int, PolicyData] = {}
        for policy_id in ids.tolist():
            data = exported[policy_id]
            kind = type(data).__name__
            _require(
                isinstance(data, PolicyData), f"export_policies must return morl.policy_files.PolicyData, got a {kind}"
            )
            assert isinstance(data, PolicyData)
            policies[policy_id] = data
        observations, masks = self.observations(agent, len(ids))
        actions = agent.act(observations, preferences, ids, **masks)
        for row, policy_id in enumerate(ids.tolist()):
            bank = PolicyBank(policies[policy_id].spec, CPU)
            bank.add(policy_id, policies[policy_id])
            mask = masks["masks"][row : row + 1] if masks else None
            action = bank.act(_row(observations, row), preferences[row : row + 1], ids[row : row + 1], masks=mask)[0]
            alike = np.allclose(action, actions[row], rtol=1e-4, atol=1e-5)
            _require(
                alike, f"an exported policy must act as the agent does, got {action!r} instead of {actions[row]!r}"
            )
        before = {policy_id: _plain(data.state_dict(), "policy") for policy_id, data in policies.items()}
        for _ in self.learn(agent, envs, 2 * self.total_steps):
            pass
        after = {policy_id: _plain(data.state_dict(), "policy") for policy_id, data in policies.items()}
        where = difference(before, after, "policies")
        _require(where == "", f"exported policies must be copies, but training went on and changed {where}")

    def new_episodes(self) -> None:
        """Check that the agent resets the environments after `reset_episodes`."""
        agent = self.build()
        for _ in self.learn(agent, self.envs(), self.total_steps // 2):
            pass
        agent.reset_episodes()
        for _ in self.learn(agent, self.envs(must_be_reset=True), self.total_steps):
            pass

    def optional_protocols(self) -> None:
        """Check what the agent says it can do beyond the protocol."""
        agent = self.trained()
        ids, preferences = self._candidates(agent)
        if isinstance(agent, Constrained):
            points = np.zeros((3, self.problem.num_objectives))
            violations = agent.violations(points)
            _require(np.shape(violations) == (3,), f"violations must be [n], got shape {np.shape(violations)}")
            _require(bool((np.asarray(violations) >= 0.0).all()), f"violations must be at least 0, got {violations!r}")
        if isinstance(agent, DescribesMetrics):
            texts = dict(agent.metric_descriptions)
            plain = all(isinstance(word, str) for entry in texts.items() for word in entry)
            _require(plain, f"metric_descriptions must be texts by name, got {texts!r:.80}")
        if isinstance(agent, ReturnsParameters):
            finite = all(bool(torch.isfinite(tensor.detach()).all()) for tensor in agent.all_parameters())
            _require(finite, "all_parameters must be finite tensors after a short training")
        if isinstance(agent, UsesAccruedReward) and agent.uses_accrued_reward:
            accrued = np.zeros((len(ids), self.problem.num_objectives + 1))
            accrued[:, -1] = 1.0
            observations, masks = self.observations(agent, len(ids))
            actions = agent.act(observations, preferences, ids, accrued=accrued, **masks)  # type: ignore[call-arg]
            same = np.array_equal(actions, agent.act(observations, preferences, ids, **masks))
            _require(same, "act without accrued must act as at the start of an episode")
        if isinstance(agent, HasMemory) and agent.memory_size:
            memory = np.zeros((len(ids), agent.memory_size), dtype=np.float32)
            observations, masks = self.observations(agent, len(ids))
            actions = agent.act(observations, preferences, ids, memory=memory, **masks)  # type: ignore[call-arg]
            same = np.array_equal(actions, agent.act(observations, preferences, ids, **masks))
            _require(same, "act without memory must act as at the start of an episode")
            _require(bool(memory.any()), "act must replace memory in place by that after the observations")


def difference(one: Any, other: Any, path: str = "state") -> str:
    """Return where two nested states first differ, bit for bit; an empty string where they do not.

    Args:
        one: plain data.
        other: plain data.
        path: how the place is named.
    """
    if type(one) is not type(other):
        return f"{path} ({type(one).__name__} and {type(other).__name__})"
    if isinstance(one, dict):
        if list(one) != list(other):
            return f"{path} (keys {list(one)} and {list(other)})"
        return next((found for key in one if (found := difference(one[key], other[key], f"{path}[{key!r}]"))), "")
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return f"{path} ({len(one)} and {len(other)} entries)"
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for index, (a, b) in pairs if (found := difference(a, b, f"{path}[{index}]"))), "")
    if isinstance(one, Tensor):
        return difference(one.numpy(), other.numpy(), path)
    if isinstance(one, np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        return "" if same else path
    both_nan = isinstance(one, float) and math.isnan(one) and math.isnan(other)
    return "" if one == other or both_nan else f"{path} ({one!r} and {other!r})"


def _plain(state: Any, path: str) -> Any:
    """Return a copy of a state as it would be loaded from a checkpoint; refuse what a checkpoint cannot hold."""
    if isinstance(state, Mapping):
        return {key: _plain(value, f"{path}[{key!r}]") for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_plain(value, f"{path}[{index}]") for index, value in enumerate(state)]
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, np.ndarray):
        _require(state.dtype.kind in "fiub", f"a state must be plain data, got an array of {state.dtype} at {path}")
        return state.copy()
    if isinstance(state, np.generic):
        return state.item()
    plain = state is None or isinstance(state, bool | int | float | str | bytes)
    _require(plain, f"a state must be plain data (tensors, arrays, numbers, strings), got {state!r:.80} at {path}")
    return state


def _row(observations: Observations, row: int) -> Observations:
    match observations:
        case dict():
            return {key: _row(part, row) for key, part in observations.items()}
        case tuple():
            return tuple(_row(part, row) for part in observations)
        case _:
            return observations[row : row + 1]


def _require(holds: bool, clause: str) -> None:
    if not holds:
        raise AgentContractViolation(clause)
