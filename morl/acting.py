"""Policies that act: loaded from files, without a learner, an agent or an environment.

`PolicyBank` acts for many policies in one batched pass: agents use it to be
evaluated. `Policy` acts for one preference with the `predict` of Stable-Baselines3: it is what a user holds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from morl.action_masks import checked_masks, num_choices
from morl.evaluation import ActInputs
from morl.learning.actions import action_map
from morl.learning.distributions import Categorical, DiagonalGaussian, Distribution, SquashedGaussian
from morl.learning.observations import observation_encoder
from morl.learning.scalarization import AugmentedState, ScaledUtility, UtilityChoice, bind_utility, scaled_utility
from morl.learning.types import Network
from morl.policy_files import PolicyData, PolicySpec, build_network, read_policy, save_policy
from morl.protocols import Actions, BoolArray, FloatArray, IndexArray, Observations
from morl.tables import Column, ShownTable, facts_html, vector, visible
from morl.trust import check_trust


class _Stack(NamedTuple):
    """The arrays of some policies, one behind the other."""

    ids: list[int]
    parameters: Tensor  # [policy, n]
    bounds: Tensor  # [policy, 2, objective]
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


class _Network:
    """From observations to actions, for the parameters of any policies of one specification."""

    def __init__(self, spec: PolicySpec, utility: UtilityChoice = None) -> None:
        self.spec = spec
        observations = observation_encoder(spec.observation_space, spec.one_hot, spec.image_size)
        self.encode = observations.encode
        self.images = observations.images
        self.pixels = observations.pixels
        width = observations.width
        num_objectives = len(spec.objectives)
        units = np.ones(num_objectives) if spec.augmented_units is None else np.array(spec.augmented_units)
        self.augmented = AugmentedState(width, units, spec.augmented_units is not None)
        self.row_width = width + self.augmented.width
        self.to_environment = action_map(spec.action_space)
        if isinstance(spec.action_space, spaces.Discrete):
            self.num_actions = int(spec.action_space.n)
        else:
            self.num_actions = int(np.prod(spec.action_space.shape or ()))
        discrete = isinstance(spec.action_space, spaces.Discrete)
        if discrete != (spec.head in ("categorical", "action-values")):
            raise ValueError(f"the policy's head is {spec.head!r}, which does not fit actions {spec.action_space}")
        self.num_log_stds = self.num_actions if spec.head == "gaussian" else 0
        self._given_utility = None if utility is None else scaled_utility(utility, spec.utility_of_shares)

    @cached_property
    def network(self) -> Network:
        """Return the network; a user's own one is imported on first use, never when a file is read."""
        return build_network(self.spec, self.row_width, self.images)

    @cached_property
    def utility(self) -> ScaledUtility:
        """Return the utility that chooses among action values; imported on first use, never when a file is read."""
        return self._given_utility or scaled_utility(self.spec.utility, self.spec.utility_of_shares)

    def check(self, data: PolicyData) -> None:
        """Check that the arrays of a policy fit its specification.

        Args:
            data: the policy.

        Raises:
            ValueError: an array has the wrong shape or is missing.
        """
        num_objectives = len(self.spec.objectives)
        normalizer = () if data.mean is None else (self.row_width - self.pixels,)
        expected: dict[str, tuple[int, ...]] = {
            "parameters": (self.spec.ensemble * self.network.num_parameters + self.num_log_stds,),
            "mean": normalizer,
            "scale": normalizer,
            "preference": (num_objectives,),
            "bounds": () if data.bounds is None else (2, num_objectives),
        }
        for name, shape in expected.items():
            found = tuple(np.shape(getattr(data, name)) if getattr(data, name) is not None else ())
            if found != shape:
                raise ValueError(f"the policy's {name} have shape {found}, but must have {shape}")

    def distribution(self, parameters: Tensor, inputs: Tensor, masks: Tensor | None) -> Distribution | SquashedGaussian:
        """Return the distributions over actions of stochastic policies.

        Args:
            parameters: [policy, n].
            inputs: [policy, batch, width].
            masks: [policy, batch, choice], true where a choice is allowed.
        """
        weights, log_stds = torch.split(parameters, [self.network.num_parameters, self.num_log_stds], dim=1)
        outputs = self.network(weights, inputs)
        match self.spec.head:
            case "gaussian":
                return DiagonalGaussian(outputs, log_stds.unsqueeze(1))
            case "squashed-gaussian":
                return SquashedGaussian.of(outputs)
            case _:
                return Categorical.masked(outputs, masks)

    def greedy(self, stack: _Stack, inputs: Tensor, preferences: Tensor, masks: Tensor | None) -> Tensor:
        """Return argmax_a u(Q(s, a)) [policy, batch, 1], where Q is the mean of the policy's networks.

        Computed in float64: utilities such as Tchebycheff's have near ties everywhere, and these must fall the same way
        whatever else is in the batch, or else a policy would not do again what it was archived for.

        Args:
            stack: the policies.
            inputs: [policy, batch, width].
            preferences: [policy, batch, objective].
            masks: [policy, batch, choice], true where a choice is allowed.
        """
        policies, batch, _ = inputs.shape
        parameters = stack.parameters.double().view(-1, self.network.num_parameters)
        outputs = self.network(parameters, inputs.double().repeat_interleave(self.spec.ensemble, dim=0))
        values = outputs.view(policies, -1, batch, self.num_actions, len(self.spec.objectives)).mean(dim=1)
        rows = inputs[..., : self.row_width].double()
        utilities = bind_utility(self.utility, self.augmented, preferences.double(), stack.bounds.double())(
            values, rows
        )
        if masks is not None:
            utilities = utilities.masked_fill(~masks, -torch.inf)
        return utilities.argmax(dim=-1, keepdim=True)


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
        self._network = _Network(spec, utility)
        self._policies: dict[int, PolicyData] = {}
        self._stack: _Stack | None = None

    @property
    def ids(self) -> list[int]:
        """Return the ids of all policies."""
        return list(self._policies)

    @property
    def act_inputs(self) -> ActInputs:
        """Return what `act` takes beside observations, preferences and policies."""
        discrete = isinstance(self.spec.action_space, spaces.Discrete)
        return ActInputs(accrued=self.spec.augmented_units is not None, masks=discrete)

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
        self._network.check(data)
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

        Raises:
            ValueError: the policies were trained with action masks, and `masks` is None.
        """
        if masks is None and self.spec.action_masks:
            raise ValueError(
                f"action masks are missing, but the policies of {self.spec.agent} were trained with them: give those of"
                f" the observations, {len(policies)} x {num_choices(self.spec.action_space)} zeros and ones"
            )
        network = self._network
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
        if self.spec.head == "deterministic":
            actions = network.network(stack.parameters, inputs).tanh()
        elif self.spec.head == "action-values":
            wanted = block.arrange(preferences.astype(np.float32), self.device)
            actions = network.greedy(stack, inputs, wanted, allowed)
        else:
            distribution = network.distribution(stack.parameters, inputs, allowed)
            actions = distribution.mode() if generator is None else distribution.sample(generator)
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
                parameters=torch.stack([data.parameters for data in chosen]),
                bounds=torch.as_tensor(bounds, dtype=torch.float32, device=self.device),
                mean=np.stack(means) if means else None,
                scale=np.stack(scales) if scales else None,
            )
        return self._stack


class Policy:
    """A policy that acts for one preference; `predict` has the signature of Stable-Baselines3.

    Attributes:
        data: the policy.
        preference: [objective] what was asked for, summing to one.
        conditioning: [objective] the preference that it acts for; NaN where it has none.
        policy_id: its id in the run; -1 where it comes from a file alone.
    """

    def __init__(
        self, data: PolicyData, preference: FloatArray, policy_id: int = -1, utility: UtilityChoice = None
    ) -> None:
        self.data = data
        self.preference = preference
        self.conditioning = data.preference
        self.policy_id = policy_id
        self._bank = PolicyBank(data.spec, torch.device("cpu"), utility)
        self._bank.add(0, data)
        self._generator = torch.Generator().manual_seed(0)

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
        state: FloatArray | None = None,
        episode_start: BoolArray | None = None,
        deterministic: bool = True,
        action_masks: ArrayLike | None = None,
    ) -> tuple[Actions, FloatArray | None]:
        """Return the action (or actions, for a batch of observations) and the unchanged `state`.

        Args:
            observation: one observation of the environment's space, or a batch of them along a first axis.
            state: what the episode has paid so far, for policies with augmented state: the discounted sum of rewards
                and the discount of the next one, [objective + 1] or a batch; default: the start of an episode.
            episode_start: accepted as in Stable-Baselines3; these policies have no memory that it could reset.
            deterministic: True for the most likely action, False for a sample.
            action_masks: [choice] or a batch, 1 where a choice is allowed, as in sb3-contrib; required where the policy
                was trained with masks.

        Raises:
            ValueError: the observation has the wrong shape, a deterministic policy is asked for a sample, or masks are
                missing, of the wrong shape, without any allowed action, or given for continuous actions.
        """
        del episode_start
        spec = self.data.spec
        if not deterministic and not spec.stochastic:
            raise ValueError(
                f"deterministic is False, but this policy of {spec.agent} is deterministic: its head is {spec.head!r}"
            )
        size = _batch_size(spec.observation_space, observation)
        batch = _with_first_axis(spec.observation_space, observation) if size is None else observation
        count = 1 if size is None else size
        accrued = None
        if state is not None and spec.augmented_units is not None:
            width = len(spec.objectives) + 1
            accrued = np.broadcast_to(np.asarray(state, dtype=np.float64), (count, width))
        actions = self._bank.act(
            batch,
            np.broadcast_to(self.conditioning, (count, len(self.conditioning))),
            np.zeros(count, dtype=np.int64),
            accrued=accrued,
            masks=self._checked_masks(action_masks, size),
            generator=None if deterministic else self._generator,
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

    def save(self, file: str | Path) -> None:
        """Write the policy to a file that `morl.load_policy` reads without environment, agent or run.

        Args:
            file: path of the file; it appears whole or not at all.
        """
        save_policy(Path(file), self.data, self.preference)


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
    data, preference = read_policy(Path(file))
    where = f"policy file {file}"
    if utility is None:
        check_trust(where, "utility", data.spec.utility, trust, "utility=FUNCTION or trust=True")
    check_trust(where, "network", data.spec.network, trust, "trust=True")
    return Policy(data, preference, utility=utility)


def _batch_size(space: gymnasium.Space[Any], observation: Observations, path: str = "observation") -> int | None:
    """Return the number of observations in a batch, or None for a single observation.

    Args:
        space: of a single observation.
        observation: one observation of the space, or a batch of them along a first axis.
        path: how messages name the observation.

    Raises:
        ValueError: it is neither, in the first leaf that does not fit.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping) or set(observation) != set(space.spaces):
            raise ValueError(f"{path} is {observation!r:.100}, but must have the keys {list(space.spaces)}")
        sizes = {_batch_size(part, observation[key], f"{path}[{key!r}]") for key, part in space.spaces.items()}
    elif isinstance(space, spaces.Tuple):
        if not isinstance(observation, Sequence) or len(observation) != len(space.spaces):
            raise ValueError(f"{path} is {observation!r:.100}, but must be a tuple of {len(space.spaces)} parts")
        parts = enumerate(zip(space.spaces, observation, strict=True))
        sizes = {_batch_size(part, value, f"{path}[{index}]") for index, (part, value) in parts}
    else:
        return _leaf_batch_size(space, observation, path)
    if len(sizes) != 1:
        raise ValueError(f"{path} has parts of different batch sizes, {sorted(sizes, key=str)}")
    return sizes.pop()


def _leaf_batch_size(space: gymnasium.Space[Any], value: Observations, path: str) -> int | None:
    array = np.asarray(value)
    expected = space.shape or ()
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} is {value!r:.100}, but must be numbers of the space {space}")
    batched = array.shape[1:] == expected and array.ndim == len(expected) + 1
    if array.shape != expected and not batched:
        raise ValueError(f"{path} has shape {array.shape}, but must be {expected}, or a batch (n, ...) of that shape")
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        lowest = np.asarray(space.start)
        highest = lowest + (space.n if isinstance(space, spaces.Discrete) else space.nvec) - 1
        if ((array < lowest) | (array > highest)).any():
            raise ValueError(f"{path} is {value!r:.100}, but must lie between {lowest} and {highest}")
    return len(array) if batched else None


def _with_first_axis(space: gymnasium.Space[Any], observation: Observations) -> Observations:
    """Return a batch of one observation of the space."""
    match space:
        case spaces.Dict():
            return {key: _with_first_axis(part, observation[key]) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(_with_first_axis(part, value) for part, value in zip(space.spaces, observation, strict=True))
        case _:
            return np.asarray(observation)[None]
