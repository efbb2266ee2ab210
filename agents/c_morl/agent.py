"""C-MORL: a Pareto front by constrained policy optimization (Liu et al., ICLR 2025; arXiv 2410.02236).

The algorithm in five lines:
  1. Pareto initialization: M policies learn side by side by PPO, each for one fixed preference w. The critic predicts
     the *vector* of returns; the policy follows the advantage sum_k w_k sigma_k A_k.
  2. Snapshots of them are evaluated and archived. The archive keeps the non-dominated ones.
  3. Policy selection: N archived policies, the extreme ones first, then those with the largest crowding distances.
  4. Pareto extension: from each selected policy r and for each objective l, maximize G_l such that every other
     G_j stays above G_j^r - (1 - beta) |G_j^r|. All (policy, objective) tasks of a round are one population.
  5. Snapshots are archived, and 3 and 4 repeat. A user with preference w is given the policy with the highest w.G.

Where this file departs from the authors' code, and why (docs/agents/c_morl.md has the list with measurements):
  - The constraint is the paper's, against the reference policy's returns; the published code's extension is
    `solver = "reference-code"`: its barrier does not depend on those returns, and it extends objectives in turn.
  - Thresholds are beta-shares of the *loss*, so that they make sense for negative returns.
  - Every step counts (the authors: one in eight); time limits are bootstrapped through unless nothing is discounted.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from morl.acting import PolicyBank
from morl.action_masks import MaskReader, num_choices
from morl.agents.c_morl.archive import Snapshot, interpolate_weights, prune_archive, select_policies
from morl.agents.c_morl.bounds import FIRST_MULTIPLIER, bounds_of
from morl.agents.c_morl.config import INITIAL_STEPS, Config
from morl.agents.c_morl.constraints import parse_constraints, return_sizes, smallest_slacks, violation_report
from morl.agents.c_morl.metrics import METRIC_DESCRIPTIONS
from morl.agents.c_morl.policy import architecture_of, policy_of, policy_spec
from morl.agents.c_morl.solvers import extension_solver
from morl.agents.c_morl.stages import ExtensionStage, InitializationStage, Stage, StageSetup, Task
from morl.learning.actions import action_map
from morl.learning.observations import final_observations, observation_encoder
from morl.learning.population import initial_states
from morl.learning.ppo import actor_critic
from morl.learning.processor import restore_generator
from morl.learning.rollouts import TransitionSizes
from morl.policy_files import PolicyData
from morl.preferences import finest_lattice, simplex_lattice
from morl.protocols import (
    Actions,
    BoolArray,
    Evaluate,
    FloatArray,
    IndexArray,
    MemoryArray,
    MemoryNeed,
    Observations,
    Problem,
    StateDict,
    VectorEnvironment,
)
from morl.seeding import derived_seed


def initial_lattice(config: Config, num_free: int) -> FloatArray:
    """Return the weights [policy, free objective] of the policies of initialization.

    Args:
        config: settings.
        num_free: number of objectives without a bound.
    """
    if config.initial_divisions is None:
        return finest_lattice(num_free, max(6, num_free))
    if config.initial_divisions == 0:
        return np.full((1, num_free), 1.0 / num_free)
    return simplex_lattice(num_free, config.initial_divisions)


def default_discount(config: Config, problem: Problem) -> float:
    """Return the discount factor of learning where the settings name none: that of evaluation, or of long episodes.

    The latter where actions are continuous, as robots' are, and there are no bounds, which are on returns as they are
    evaluated.

    Args:
        config: settings.
        problem: the environment.
    """
    long = isinstance(problem.action_space, spaces.Box) and not config.constraints
    return problem.long_discount if long else problem.discount


class CMORL:
    """C-MORL on a batch of environments; satisfies `Agent`, `Constrained`, `UsesActionMasks` and `HasMemory`.

    Args:
        problem: spaces, objectives, discount and reference point of the environment.
        config: settings.
        seed: of all random streams.
        num_envs: number of environments that `learn` is given.
        device: where networks live.

    Raises:
        ValueError: settings do not fit the environment, or each other.
    """

    config_class = Config
    metric_descriptions = METRIC_DESCRIPTIONS

    def __init__(self, problem: Problem, config: Config, seed: int, num_envs: int, device: torch.device) -> None:
        self.problem = problem
        self.config = config
        self.seed = seed
        self.num_envs = num_envs
        self.discount = default_discount(config, problem) if config.discount is None else config.discount
        if config.constraints and self.discount != problem.discount:
            raise ValueError(
                f"discount is {self.discount}, but must be {problem.discount} where there are constraints: they bound"
                " returns that are discounted by it"
            )
        self.num_objectives = problem.num_objectives
        self.uses_action_masks = isinstance(problem.action_space, spaces.Discrete)
        self.mask_reader = MaskReader(problem.id, problem.action_space, problem.action_masks)
        self.constraints = parse_constraints(config.constraints, problem.objectives, return_sizes(problem))
        """In the environment's units."""
        units = (1.0,) * self.num_objectives if problem.units is None else problem.units
        self.own_constraints = [each.scaled(units[each.objective]) for each in self.constraints]
        bounded = {each.objective for each in self.constraints}
        self.free_objectives = [k for k in range(self.num_objectives) if k not in bounded]
        observations = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
        self.encode = observations.encode
        self.to_environment = action_map(problem.action_space)
        architecture = architecture_of(config, observations.images)
        self.memory_size = 0 if config.memory == "none" else config.memory_size
        self.network = actor_critic(
            width=observations.width,
            action_space=problem.action_space,
            objectives=self.num_objectives,
            architecture=architecture,
            initial_std=config.initial_std,
            memory_size=self.memory_size,
        )
        self.setup = StageSetup(
            network=self.network,
            config=config,
            bounds=bounds_of(self.own_constraints, self.num_objectives),
            targets=np.eye(self.num_objectives)[self.free_objectives],
            sizes=TransitionSizes(
                observation=observations.width,
                action=self.network.log_stds or 1,
                objectives=self.num_objectives,
                choices=num_choices(problem.action_space) if problem.action_masks else 0,
                state=self.network.state_size,
                pixels=observations.pixels,
            ),
            num_envs=num_envs,
            discount=self.discount,
            device=device,
            backend=config.backend,
            reference_point=problem.reference_point,
        )
        self.bank = PolicyBank(policy_spec(problem, config, architecture), device)
        self.generator = torch.Generator(device).manual_seed(derived_seed(seed, "learning"))

        preferences = self._initial_preferences()
        initial_steps = INITIAL_STEPS if config.initial_steps is None else config.initial_steps
        self.initial_updates = initial_steps // (len(preferences) * config.samples_per_update)
        if self.initial_updates == 0:
            least = len(preferences) * config.samples_per_update
            raise ValueError(
                f"initial_steps is {initial_steps}, but must be at least {least}: one update for each policy"
            )
        self.snapshots: dict[int, Snapshot] = {}  # of the archive and of the pending tasks, by policy id
        self._add_untrained(preferences)
        self.archive: list[int] = []  # ids of the policies on the front
        self.selected: list[int] = []  # ids of the archived policies that were selected, once for each round
        self.pending = [Task(policy_id, weights) for policy_id, weights in enumerate(preferences)]
        self.round = 0  # 0: initialization, then the rounds of extension
        self.steps = 0
        self.pretraining_steps = 0
        self.updates = 0
        self.next_id = len(preferences)
        self.observations: NDArray[np.float32] | None = None  # [env, width] encoded; None: reset envs
        self.masks: BoolArray | None = None  # [env, choice] allowed choices; None: the environment gives no masks
        self.diagnostics: dict[str, float] = {}
        self.stage = self._next_stage()
        self.backend: str = self.stage.tasks.backend
        self.setup = replace(self.setup, backend=self.stage.tasks.backend)  # chosen, and a fallback logged, once

    @staticmethod
    def schedules(config: Config, problem: Problem, total_steps: int) -> Mapping[str, int]:
        """Return the most steps of initialization that leave room for extension, but an update of each of ten policies.

        They are no more than the run has, but an update of each policy. By default initialization is half of a short
        run and a third of a long one: with four objectives, extension gains more from the steps.

        Args:
            config: settings.
            problem: the environment.
            total_steps: environment steps of the run.
        """
        num_free = max(problem.num_objectives - len(config.constraints), 1)  # none is refused later, by its name
        policies = len(initial_lattice(config, num_free))
        longest = max(total_steps // 2, 10 * config.samples_per_update)
        if config.initial_steps is None:
            longest = min(longest, max(INITIAL_STEPS, total_steps // 3))
        return {"initial_steps": min(longest, max(total_steps, policies * config.samples_per_update))}

    @staticmethod
    def memory(config: Config, problem: Problem, num_envs: int, total_steps: int) -> MemoryNeed:
        """Return the memory of the rollouts of all tasks side by side, and of the samples made of them.

        Args:
            config: settings.
            problem: the environment.
            num_envs: number of environments, of which each task needs one.
            total_steps: environment steps of the run.
        """
        encoder = observation_encoder(problem.observation_space, config.one_hot, config.image_size)
        tasks = min(num_envs, max(6, (config.selected or 6) * problem.num_objectives))
        return MemoryNeed(
            what="the rollout",
            setting="samples_per_update",
            value=config.samples_per_update,
            transitions=min(tasks * config.samples_per_update, total_steps),
            bytes_each=encoder.transition_bytes(10 * problem.num_objectives),
            copies=tasks,
        )

    # --- The algorithm ------------------------------------------------------------------------------------------------

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Run Algorithm 1; one iteration is one step of every environment and, after a full rollout, one update.

        Args:
            envs: `num_envs` environments.
            total_steps: environment steps of training, those taken before included.
            evaluate: evaluates snapshots.
        """
        self._warn_of_a_run_without_learning(total_steps)
        while self.steps < total_steps:
            if self.stage.finished:
                self.stage = self._next_stage()  # the rest of Pareto initialization, then one extension after another
            self._collect_step(envs)
            if self.stage.tasks.rollout.full:
                self._update()  # PPO, or C-MORL-IPO, -CPO or Lagrangian, of all tasks at once
                if self.stage.snapshot_due:
                    self.stage.tasks.bounds.measure(self._archive(self.stage.snapshots(self.next_id), evaluate))
                if self.stage.finished and not self.pending:
                    self._archive(self._interpolations(), evaluate)
            yield

    def _initial_preferences(self) -> FloatArray:
        """Return the grid of initial preferences [policy, objective]; objectives with a bound have no weight."""
        lattice = initial_lattice(self.config, len(self.free_objectives))
        grid = np.zeros((len(lattice), self.num_objectives))
        grid[:, self.free_objectives] = lattice
        return grid

    def _warn_of_a_run_without_learning(self, total_steps: int) -> None:
        least = self.stage.tasks.rollout.num_steps * self.num_envs
        if self.steps == 0 and total_steps < least:
            warnings.warn(
                f"c-morl: total_steps is {total_steps:,}, but must be at least {least:,} for a first update: the front"
                " will be that of untrained policies",
                RuntimeWarning,
                stacklevel=2,
            )

    def _next_stage(self) -> Stage:
        """Start the pending tasks, or as many of them as share the environments equally; first select new ones if none.

        Environments are reset, because other policies step them from now on.
        """
        if not self.pending:
            self.round += 1
            self.pending = self._select_tasks()
        num_tasks = max(count for count in range(1, len(self.pending) + 1) if self.num_envs % count == 0)
        tasks = self.pending[:num_tasks]
        self.pending = self.pending[num_tasks:]
        stage = self._new_stage(num_tasks)
        stage.start([self.snapshots[task.policy_id] for task in tasks], np.array([task.weights for task in tasks]))
        self.observations = None
        return stage

    def _new_stage(self, num_tasks: int) -> Stage:
        if self.round == 0:
            return InitializationStage(self.setup, num_tasks, self.initial_updates)
        return ExtensionStage(self.setup, num_tasks, self.config.extension_updates, extension_solver(self.config))

    def _select_tasks(self) -> list[Task]:
        """Return the tasks of the next round: each selected policy once for every objective to be maximized."""
        ids = self.archive or sorted(self.snapshots)
        count = self.config.selected or (5 if self.num_objectives == 2 else 6)
        points = np.stack([self.snapshots[policy_id].returns[self.free_objectives] for policy_id in ids])
        times_selected = np.array([self.selected.count(policy_id) for policy_id in ids])
        chosen = [ids[row] for row in select_policies(points, count, times_selected)]
        self.selected = [policy_id for policy_id in self.selected if policy_id in ids] + sorted(set(chosen))
        targets = self.setup.targets
        if extension_solver(self.config).objectives_in_turn:
            targets = targets[:1]
        return [Task(policy_id, target) for policy_id in chosen for target in targets]

    def _archive(self, candidates: list[Snapshot], evaluate: Evaluate) -> FloatArray:
        """Evaluate candidates side by side, keep those that the archive has room for, and return all returns."""
        if not candidates:
            return np.zeros((0, self.num_objectives))
        for snapshot in candidates:
            self._add(snapshot)
        ids = np.array([snapshot.policy_id for snapshot in candidates])
        preferences = np.stack([snapshot.preference for snapshot in candidates])
        returns = evaluate(preferences, self.stage.tasks.measurement_episodes, ids)
        self.next_id += len(candidates)
        for snapshot, row in zip(candidates, returns, strict=True):
            self.snapshots[snapshot.policy_id] = replace(snapshot, returns=row)
        offered = np.array([*self.archive, *ids.tolist()])
        points = np.stack([self.snapshots[policy_id].returns for policy_id in offered])
        rows = prune_archive(
            points,
            self.own_constraints,
            self.problem.reference_point,
            capacity=self.config.archive_capacity,
            tolerance=self.config.duplicate_tolerance,
        )
        self.archive = offered[rows].tolist()
        needed = {*self.archive, *(task.policy_id for task in self.pending)}
        self.snapshots = {policy_id: snapshot for policy_id, snapshot in self.snapshots.items() if policy_id in needed}
        self.bank.keep(needed)
        return returns

    def _interpolations(self) -> list[Snapshot]:
        """Return the policies half-way between neighbours of the archive, where `interpolate` asks for them."""
        if not self.config.interpolate or len(self.archive) < 2:
            return []
        states = interpolate_weights([self.snapshots[policy_id] for policy_id in self.archive])
        unknown = np.full(self.num_objectives, np.nan)
        return [
            Snapshot(
                policy_id=policy_id,
                state=state,
                returns=unknown,
                preference=unknown,
                learning_rate=self.config.extension_learning_rate,
                multipliers=np.full(self.num_objectives, FIRST_MULTIPLIER),
            )
            for policy_id, state in enumerate(states, self.next_id)
        ]

    # --- Collecting and learning --------------------------------------------------------------------------------------

    def _collect_step(self, envs: VectorEnvironment) -> None:
        """Step every environment once, each with the policy that owns it, and store the transition."""
        tasks = self.stage.tasks
        if self.observations is None:
            self.observations = self._reset(envs)
        inputs = tasks.rollout.normalize_and_update(self.observations)
        masks = None if self.masks is None else self.masks.reshape((*inputs.shape[:2], -1))
        chosen = tasks.population.act(inputs, masks, self.generator)
        actions = self.to_environment(chosen.reshape(self.num_envs, -1))
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        self.steps += self.num_envs
        tasks.rollout.add(inputs, chosen, rewards, terminated, truncated, masks)
        self.masks = self.mask_reader.current(infos)
        self.observations = self.encode(observations)
        cut = np.flatnonzero(truncated & ~terminated)
        if cut.size and self.discount < 1.0:  # without discount an endless task has no value: the limit is its end
            last = self.observations.copy()
            last[cut] = self.encode(final_observations(infos, cut))
            tasks.population.bootstrap_truncated(tasks.rollout.normalize(last))

    def _reset(self, envs: VectorEnvironment) -> NDArray[np.float32]:
        """Reset the environments and return their encoded observations [env, width]."""
        observations, infos = envs.reset(seed=derived_seed(self.seed, "environments", self.steps))
        self.stage.tasks.reset_episodes()
        self.masks = self.mask_reader.reset(infos)
        return self.encode(observations)

    def _update(self) -> None:
        """Run one policy update of all tasks of the stage."""
        assert self.observations is not None
        self.diagnostics = self.stage.update(self.observations, self.generator)
        self.updates += self.config.epochs * self.config.minibatches

    # --- Acting -------------------------------------------------------------------------------------------------------

    def _add_untrained(self, preferences: FloatArray) -> None:
        """Keep an untrained policy for each preference [policy, objective]."""
        states = initial_states(self.network, len(preferences), self.setup.sizes, derived_seed(self.seed, "networks"))
        unknown = np.full(self.num_objectives, np.nan)
        first = np.full(self.num_objectives, FIRST_MULTIPLIER)
        for policy_id, (state, preference) in enumerate(zip(states, preferences, strict=True)):
            self._add(Snapshot(policy_id, state, unknown, preference, self.config.learning_rate, first))

    def _add(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and let it act."""
        self.snapshots[snapshot.policy_id] = snapshot
        self.bank.add(snapshot.policy_id, policy_of(snapshot, self.bank.spec, self.network.actor_parameters))

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,
        masks: BoolArray | None = None,
        memory: MemoryArray | None = None,
    ) -> Actions:
        """Return the most likely actions [env, ...].

        Args:
            observations: a batch of the environment's observation space.
            preferences: [env, objective]; not read, policies are not conditioned.
            policies: [env] the id of the policy of each row.
            masks: [env, choice] allowed choices; required where the environment gives masks.
            memory: [env, memory_size] before the observations, replaced in place by that after them; default: the start
                of an episode.
        """
        return self.bank.act(observations, preferences, policies, masks=masks, memory=memory)

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:  # noqa: ARG002
        """Return the archive, before the first snapshot the untrained policies: ids [n] and preferences [n, objective].

        Args:
            preferences: not read: each policy has the preference that it was trained for, NaN after extension.
        """
        ids = self.archive or sorted(self.snapshots)
        return np.array(ids), np.stack([self.snapshots[policy_id].preference for policy_id in ids])

    def all_parameters(self) -> list[Tensor]:
        """Return the parameters [policy, n] of actors and critics that learn in the present stage."""
        return [self.stage.tasks.population.parameters]

    def metrics(self) -> dict[str, float]:
        """Return training metrics; docs/agents/c_morl.md explains each."""
        values = {"round": float(self.round), "archive_size": float(len(self.archive)), **self.diagnostics}
        if self.archive:
            points = np.stack([self.snapshots[policy_id].returns for policy_id in self.archive])
            best = zip(self.problem.objectives, points.max(axis=0).tolist(), strict=True)
            values |= {f"archive/best_{name}": value for name, value in best}
        return values

    def violations(self, points: FloatArray) -> FloatArray:
        """Return the largest violation of a constraint [n] by each point [n, objective]; 0 where all are satisfied.

        Violations are in the units of their constraints (`Constraint.unit`), so that they compare.
        """
        return np.maximum(-smallest_slacks(self.constraints, points), 0.0)

    def front_metadata(self, points: FloatArray) -> dict[str, object]:
        """Return what front.json says about its points [n, objective]: the violations of each constraint."""
        return violation_report(self.constraints, self.config.constraints, points)

    # --- Saving -------------------------------------------------------------------------------------------------------

    _STATE = (
        "archive",
        "selected",
        "round",
        "steps",
        "pretraining_steps",
        "updates",
        "next_id",
        "observations",
        "masks",
        "diagnostics",
    )

    def state_dict(self) -> dict[str, object]:
        """Return everything that exact resuming needs, as plain data."""
        return {name: getattr(self, name) for name in self._STATE} | {
            "snapshots": [vars(snapshot) for snapshot in self.snapshots.values()],
            "pending": [vars(task) for task in self.pending],
            "num_tasks": len(self.stage.tasks.population),
            "stage": self.stage.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore a state that `state_dict` returned, for the same problem, settings and number of environments."""
        for name in self._STATE:
            setattr(self, name, state[name])
        self.bank.keep(())
        self.snapshots = {}
        for entry in state["snapshots"]:
            self._add(Snapshot(**entry))
        self.pending = [Task(**entry) for entry in state["pending"]]
        self.stage = self._new_stage(state["num_tasks"])
        self.stage.load_state_dict(state["stage"])
        restore_generator(self.generator, state["generator"])

    def reset_episodes(self) -> None:
        """Start new episodes at the next step: called where the environment's state could not be saved."""
        self.observations = None

    def export_policies(self) -> dict[int, PolicyData]:
        """Return the archive, before the first snapshot the untrained policies, by policy id."""
        return {policy_id: self.bank[policy_id] for policy_id in self.archive or sorted(self.snapshots)}
