"""Policies that act: loaded from files, without a learner, an agent or an environment.

`PolicyBank` acts for many policies in one batched pass: agents use it to be
evaluated. `Policy` acts for one preference with the `predict` of Stable-Baselines3: it is what a user holds.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from morl.action_masks import checked_masks, num_choices
from morl.arguments import check_switches
from morl.evaluation import ActInputs
from morl.learning.observations import as_arrays
from morl.policy_export import PolicyGraph, write_onnx, write_torchscript
from morl.policy_files import PolicyData, PolicyFile, PolicySpec, read_policy, save_policy
from morl.policy_networks import PolicyArrays, PolicyNetwork
from morl.preferences import normalized_preference
from morl.protocols import Actions, BoolArray, FloatArray, IndexArray, MemoryArray, Observations, UtilityChoice
from morl.tables import Column, ShownTable, facts_html, vector, visible
from morl.trust import check_trust
from morl.utilities import find_utility


class _Stack(NamedTuple):
    """The arrays of some policies, one behind the other."""

    ids: list[int]
    arrays: PolicyArrays
    mean: NDArray[np.floating[Any]] | None  # [policy, width], without pixels
    scale: NDArray[np.floating[Any]] | None  # [policy, width], without pixels


class _Block(NamedTuple):
    """Rows of several policies, arranged as [policy, slot, ...]: rows of one policy lie side by side."""

    group: IndexArray  # [env] the policy of each row
    slot: IndexArray  # [env] its place among the rows of that policy
    shape: tuple[int, int]  # policies, slots

    @staticmethod
    def of(group: IndexArray) -> "_Block":
        """Return the arrangement of rows that belong to policies `group` [env], numbered from 0."""
        counts = np.bincount(group)
        order = np.argsort(group, kind="stable")
        slot = np.empty(len(group), dtype=np.int64)
        slot[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
        return _Block(group, slot, (len(counts), int(counts.max())))

    def arrange(self, rows: NDArray[Any], device: torch.device) -> Tensor:
        """Return rows [env, width] as a tensor [policy, slot, width]; unused slots are 0."""
        arranged = np.zeros((*self.shape, rows.shape[1]), dtype=rows.dtype)
        arranged[self.group, self.slot] = rows
        return torch.as_tensor(arranged, device=device)

    def rows(self, arranged: Tensor) -> NDArray[Any]:
        """Return the rows [env, width] of a tensor [policy, slot, width]; the inverse of `arrange`."""
        rows: NDArray[Any] = arranged.cpu().numpy()[self.group, self.slot]
        return rows


class PolicyBank:
    """Policies of one specification by id, which act in one batched pass.

    Args:
        spec: the shape of all policies.
        device: where they act.
        utility: the utility of action values, where `spec.utility` is not to be looked up by its name.
    """

    def __init__(self, spec: PolicySpec, device: torch.device, utility: UtilityChoice = None) -> None:
        self.spec = spec
        self.device = device
        self.network = PolicyNetwork(spec, utility)
        self._policies: dict[int, PolicyData] = {}
        self._stack: _Stack | None = None

    @property
    def ids(self) -> list[int]:
        """Return the ids of all policies."""
        return list(self._policies)

    @property
    def act_inputs(self) -> ActInputs:
        """Return the inputs of `act` other than observations, preferences and policies."""
        discrete = isinstance(self.spec.action_space, spaces.Discrete)
        accrued = self.spec.augmented_units is not None
        return ActInputs(accrued=accrued, masks=discrete, memory_size=self.spec.memory_size)

    def __getitem__(self, policy_id: int) -> PolicyData:
        """Return a policy by its id."""
        return self._policies[policy_id]

    def add(self, policy_id: int, data: PolicyData) -> None:
        """Add a policy, or replace the one with this id; its tensors are copied, so that it may go on learning.

        Args:
            policy_id: its permanent id.
            data: the policy.

        Raises:
            ValueError: an array does not fit the specification.
        """
        self.network.check(data)
        parameters = data.parameters.detach().to(self.device, copy=True)
        self._policies[policy_id] = replace(data, parameters=parameters)
        self._stack = None

    def keep(self, ids: Collection[int]) -> None:
        """Remove all policies but these."""
        self._policies = {policy_id: data for policy_id, data in self._policies.items() if policy_id in ids}
        self._stack = None

    @torch.no_grad()
    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,
        accrued: FloatArray | None = None,
        masks: BoolArray | None = None,
        generator: torch.Generator | None = None,
        memory: MemoryArray | None = None,
    ) -> Actions:
        """Return the actions [env, ...].

        Args:
            observations: a batch of the observation space.
            preferences: [env, objective] the preference each row acts for.
            policies: [env] the id of the policy of each row.
            accrued: [env, objective + 1] accrued reward, in the environment's units where the specification has
                `reward_units`, and discount, for policies with augmented state; default: the start of an episode.
            masks: [env, choice], true where a choice is allowed.
            generator: samples from stochastic policies; default: the most likely actions.
            memory: [env, memory_size] before the observations, replaced in place by that after them; default: the start
                of an episode.

        Raises:
            ValueError: the policies were trained with action masks, and `masks` is None.
        """
        if masks is None and self.spec.action_masks:
            raise ValueError(
                f"action masks are missing, but the policies of {self.spec.agent} were trained with them: give those of"
                f" the observations, {len(policies)} x {num_choices(self.spec.action_space)} zeros and ones"
            )
        if len(policies) == 0:
            return np.empty((0, *(self.spec.action_space.shape or ())), self.spec.action_space.dtype)
        network = self.network
        ids, group = np.unique(policies, return_inverse=True)
        stack = self._stacked(ids.tolist())
        block = _Block.of(group)
        if accrued is not None and self.spec.reward_units is not None:
            accrued = accrued / np.append(self.spec.reward_units, 1.0)
        rows = network.augmented.augment(network.encode(observations), accrued)
        if stack.mean is not None and stack.scale is not None:
            pixels = network.pixels
            normalized = np.clip((rows[:, pixels:] - stack.mean[group]) * stack.scale[group], -10.0, 10.0)
            rows = np.concatenate([rows[:, :pixels], normalized], axis=1).astype(np.float32)
        if self.spec.conditioned:
            rows = np.concatenate([rows, preferences], axis=1, dtype=np.float32)
        inputs = block.arrange(rows, self.device)
        allowed = None if masks is None else block.arrange(np.asarray(masks, dtype=np.bool_), self.device)
        if self.spec.memory_size:
            before = np.zeros((len(rows), self.spec.memory_size), dtype=np.float32) if memory is None else memory
            inputs = network.remember(stack.arrays.parameters, inputs, block.arrange(before, self.device))
            before[:] = block.rows(inputs)
        wanted = block.arrange(preferences.astype(np.float32), self.device)
        actions = network.actions(stack.arrays, inputs, wanted, allowed, generator)
        return network.to_environment(block.rows(actions))

    def _stacked(self, ids: list[int]) -> _Stack:
        if self._stack is None or self._stack.ids != ids:
            chosen = [self._policies[policy_id] for policy_id in ids]
            no_bounds = np.zeros((2, len(self.spec.objectives)))
            bounds = np.stack([no_bounds if data.bounds is None else data.bounds for data in chosen])
            means = [data.mean for data in chosen if data.mean is not None]
            scales = [data.scale for data in chosen if data.scale is not None]
            self._stack = _Stack(
                ids=ids,
                arrays=PolicyArrays(
                    parameters=torch.stack([data.parameters for data in chosen]),
                    bounds=torch.as_tensor(bounds, dtype=torch.float32, device=self.device),
                ),
                mean=np.stack(means) if means else None,
                scale=np.stack(scales) if scales else None,
            )
        return self._stack


class Policy:
    """A policy that acts for one preference; `predict` has the signature of Stable-Baselines3.

    It can be pickled and copied, with the state of its random stream, if a utility given as a function can be pickled.

    Args:
        data: specification and parameters.
        preference: [objective] the requested preference, summing to one.
        policy_id: id in the run; -1 for a policy from a file.
        utility: the utility of action values; default: the one that `data` names.
        preference_scale: [objective] factors for a preference before it is scaled to sum one and conditions the
            network; None: the policy acts for the preference of `data` only.
        env_id: id of the environment that it was trained in, if known.

    Attributes:
        data: specification and parameters.
        preference: [objective] the requested preference, summing to one.
        conditioning: [objective] the preference that the network is conditioned on; NaN if there is none.
        policy_id: id in the run; -1 for a policy from a file.
        preference_scale: [objective] from preferences to those that condition the network, or None.
        env_id: id of the environment that it was trained in; empty if unknown.
    """

    def __init__(
        self,
        data: PolicyData,
        preference: FloatArray,
        policy_id: int = -1,
        utility: UtilityChoice = None,
        *,
        preference_scale: FloatArray | None = None,
        env_id: str = "",
    ) -> None:
        self.data = data
        self.preference = preference
        self.conditioning = data.preference
        self.policy_id = policy_id
        self.preference_scale = preference_scale
        self.env_id = env_id
        self._utility = utility
        self._bank = PolicyBank(data.spec, torch.device("cpu"), utility)
        self._bank.add(0, data)
        self._generator = torch.Generator().manual_seed(0)

    def __getstate__(self) -> dict[str, object]:
        """Return all of it for a pickle; networks and encoders are built again."""
        names = ("data", "preference", "policy_id", "_utility", "preference_scale", "env_id")
        return {**{name: getattr(self, name) for name in names}, "random": self._generator.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        random = state.pop("random")
        utility = state.pop("_utility")
        Policy.__init__(self, utility=utility, **state)
        self._generator.set_state(random)

    def __repr__(self) -> str:
        """Return what it is, in one line."""
        spec = self.data.spec
        names = ", ".join(spec.objectives)
        return visible(f"Policy({spec.agent}, {spec.head}, preference={vector(self.preference)} of ({names}))")

    def __rich__(self) -> ShownTable:
        """Return a table of what it is for `rich.print`."""
        names, values = zip(*self._facts(), strict=True)
        columns = (
            Column(title="", cells=names, key=True, left=True),
            Column(title="value", cells=values, left=True, whole=True),
        )
        return ShownTable(title="Policy", columns=columns)

    def _repr_html_(self) -> str:
        """Return what it is for a notebook."""
        return facts_html("Policy", self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        spec = self.data.spec
        return [
            ("agent", spec.agent),
            ("objectives", ", ".join(spec.objectives)),
            ("preference", vector(self.preference)),
            ("acts for", vector(self.conditioning) if spec.conditioned else "its own preference"),
            ("head", spec.head),
            *([("memory", f"{spec.memory_size} gated recurrent units")] if spec.memory_size else []),
            *([("networks", spec.policy_set.form)] if spec.policy_set else []),
            ("hidden layers", " ".join(map(str, spec.hidden_sizes))),
            ("observations", str(spec.observation_space)),
            ("actions", str(spec.action_space)),
        ]

    def seed(self, seed: int) -> None:
        """Restart the random stream of `predict(deterministic=False)`."""
        self._generator.manual_seed(seed)

    def predict(
        self,
        observation: Observations,
        state: FloatArray | MemoryArray | None = None,
        episode_start: bool | BoolArray | None = None,
        deterministic: bool = True,
        action_masks: ArrayLike | None = None,
    ) -> tuple[Actions, FloatArray | MemoryArray | None]:
        """Return the action (or actions, for a batch of observations) and the `state` for the next call.

        Args:
            observation: one observation of the environment's space, or a batch of them along a first axis, which may be
                empty; tensors count as arrays.
            state: for policies with a memory, the state returned by the last call, [memory_size] or a batch. For
                policies with augmented state, the accrued reward: the discounted sum of rewards so far and the discount
                of the next one, [objective + 1] or a batch; returned unchanged. Default: the start of an episode.
            episode_start: whether an episode starts, so that the memory is reset first, one bool or a batch [n];
                ignored by policies without a memory.
            deterministic: True for the most likely action, False for a sample.
            action_masks: [choice] or a batch, 1 for allowed choices, as in sb3-contrib; required if the policy was
                trained with masks, obeyed by every policy that chooses among discrete actions.

        Raises:
            ValueError: observation, state or episode_start have the wrong shape, numbers that are not finite, or that a
                space of integers does not have; `deterministic` is no bool; a deterministic policy cannot sample; masks
                are missing, of the wrong shape, without any allowed action, or given for continuous actions; or the
                network is conditioned on preferences and the file names none.
        """
        check_switches(deterministic=deterministic)
        spec = self.data.spec
        self._require_preference()
        if not deterministic and not spec.stochastic:
            raise ValueError(
                f"deterministic is False, but this policy of {spec.agent} is deterministic: its head is {spec.head!r}"
            )
        batch, size = self._bank.network.batched(as_arrays(observation, "observation"))
        state = as_arrays(state, "state")
        action_masks = as_arrays(action_masks, "action_masks")
        count = 1 if size is None else size
        accrued = None
        if state is not None and spec.augmented_units is not None:
            accrued = self._bank.network.accrued_before(state, size)
        memory = None
        if spec.memory_size:
            memory = self._bank.network.memory_before(state, episode_start, size)
            state = memory[0] if size is None else memory  # it will hold what is remembered after the step
        actions = self._bank.act(
            batch,
            np.broadcast_to(self.conditioning, (count, len(self.conditioning))),
            np.zeros(count, dtype=np.int64),
            accrued=accrued,
            masks=self._checked_masks(action_masks, size),
            generator=None if deterministic else self._generator,
            memory=memory,
        )
        return (actions[0] if size is None else actions), state

    def _checked_masks(self, masks: ArrayLike | None, size: int | None) -> BoolArray | None:
        """Return a user's masks [n, choice] for a batch of `size`; None where none are given and none are needed."""
        spec = self.data.spec
        if masks is not None:
            return checked_masks(masks, spec.action_space, size)
        if spec.action_masks:
            raise ValueError(
                f"action_masks is None, but this policy of {spec.agent} was trained with action masks: give"
                " info['action_mask'] of the observation"
            )
        return None

    def conditioned_on(self, preference: Sequence[float] | FloatArray) -> "Policy":
        """Return the policy whose network is conditioned on another preference.

        Args:
            preference: [objective] weights >= 0; scaled to sum one.

        Raises:
            ValueError: the preference has the wrong length or a negative weight, or the policy acts for one only.
        """
        spec = self.data.spec
        if self.preference_scale is None:
            raise ValueError(
                f"this policy of {spec.agent} acts for one preference only: run.policy(preference, conditioned=True)"
                " returns one that acts for all, where the agent's network is conditioned on preferences"
            )
        weights = normalized_preference(preference, spec.objectives)
        scaled = weights * self.preference_scale
        return Policy(
            replace(self.data, preference=scaled / scaled.sum()),
            weights,
            self.policy_id,
            self._utility,
            preference_scale=self.preference_scale,
            env_id=self.env_id,
        )

    def save(self, file: str | Path) -> None:
        """Write the policy to a file that `morl.load_policy` reads without environment, agent or run.

        Args:
            file: path of the file; it appears whole or not at all.

        Raises:
            ValueError: nothing can be written there.
        """
        content = PolicyFile(self.data, self.preference, self.preference_scale, self.env_id)
        save_policy(file, content)

    def to_onnx(self, file: str | Path, *, fixed_preference: bool = False, distribution: bool = False) -> None:
        """Write the policy as an ONNX file, which runs without this package: `docs/guide/deploy.md`.

        Encoding and normalization of observations, masks, and the map to the environment's actions are part of the
        graph. Its action is the deterministic one.

        Args:
            file: path of the file; it appears whole or not at all.
            fixed_preference: store the policy's preference in the graph. By default, the preference is an input of the
                graph of a policy from `run.policy(w, conditioned=True)`.
            distribution: add the parameters of a stochastic policy's distribution to the outputs.

        Raises:
            ValueError: the policy is of a kind that cannot be exported, is deterministic and asked for a distribution,
                the packages of the extra [onnx] are missing, or nothing can be written there.
        """
        graph = self._graph(fixed_preference, distribution)
        write_onnx(file, graph, self._facts_of_graph(fixed_preference))

    def to_torchscript(self, file: str | Path, *, fixed_preference: bool = False, distribution: bool = False) -> None:
        """Write the policy as a TorchScript file for `torch.jit.load` in Python or C++; inputs are those of `to_onnx`.

        Args:
            file: path of the file; it appears whole or not at all.
            fixed_preference: store the policy's preference in the graph also if it could be an input.
            distribution: add the parameters of a stochastic policy's distribution to the outputs.

        Raises:
            ValueError: the policy is of a kind that cannot be exported, is deterministic and asked for a distribution,
                or nothing can be written there.
        """
        graph = self._graph(fixed_preference, distribution)
        write_torchscript(file, graph, self._facts_of_graph(fixed_preference))

    def _graph(self, fixed_preference: bool, distribution: bool) -> PolicyGraph:
        check_switches(fixed_preference=fixed_preference, distribution=distribution)
        if fixed_preference or self.preference_scale is None:
            self._require_preference()
        scale = None if fixed_preference else self.preference_scale
        return PolicyGraph(self._bank.network, self.data, scale, distribution)

    def _facts_of_graph(self, fixed_preference: bool) -> dict[str, object]:
        """Return the metadata of an exported file, without its inputs and outputs."""
        facts: dict[str, object] = {"env": self.env_id} if self.env_id else {}
        if self.preference_scale is None or fixed_preference:
            return facts | {"preference": _numbers(self.preference), "conditioning": _numbers(self.conditioning)}
        return facts | {"preference_scale": _numbers(self.preference_scale)}

    def _require_preference(self) -> None:
        """Raise ValueError where the network is conditioned on preferences and none is chosen."""
        if self.data.spec.conditioned and np.isnan(self.conditioning).any():
            raise ValueError(
                f"this policy of {self.data.spec.agent} is conditioned on a preference, and its file names none: load"
                " it through its run, morl.load(RUN).policy(preference)"
            )


def load_policy(file: str | Path, utility: UtilityChoice = None, trust: bool = False) -> Policy:
    """Return the policy in a file, ready to `predict`; neither environment nor agent nor run is needed.

    Args:
        file: written by `Policy.save`, or one of a run folder's `policies/`.
        utility: the utility of action values, a name or a function of (returns, preferences, ideal); default: the one
            that the file names.
        trust: import the modules that the file names for its utility and its network, if it does: they run as your own
            code.

    Raises:
        ValueError: the file is missing, damaged, altered, or of another format, or names a utility or network whose
            module is neither imported nor trusted.
    """
    check_switches(trust=trust)
    found = read_policy(file)
    if utility is None:
        named = found.data.spec.utility
        check_trust(f"policy file {file}", "utility", named, trust, "utility=FUNCTION or trust=True")
    elif isinstance(utility, str):
        find_utility(utility)  # the caller's name may be wrong, which says nothing about the file
    check_trust(f"policy file {file}", "network", found.data.spec.network, trust, "trust=True")
    scale = found.preference_scale
    try:
        return Policy(found.data, found.preference, utility=utility, preference_scale=scale, env_id=found.env_id)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"policy file {file} is damaged: {error}") from error


def _numbers(vector: FloatArray) -> list[float] | None:
    """Return a vector as plain numbers; None where it has none."""
    return None if np.isnan(vector).any() else [float(value) for value in vector]
