"""What a run reports while it trains: log lines, evaluations, and the best front with its policies."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from morl.evaluation import ActInputs, Evaluator, Returns
from morl.experiment.components import Experiment, without_chance
from morl.experiment.divergence import refuse_diverged_parameters
from morl.experiment.estimates import (
    FURTHER_EPISODES,
    MOST_EPISODES,
    ROUND_STEPS,
    imprecise_rows,
    indicator_errors,
    moderated_errors,
    repeats_exactly,
)
from morl.experiment.front import Front, delivered_utility, indicators_of
from morl.experiment.known_front import contradiction
from morl.experiment.publication import Publisher
from morl.experiment.selection import Selection, criterion_of, reference_below
from morl.policy_files import PolicyData
from morl.preferences import scales_differ, scales_of
from morl.protocols import Agent, Constrained, FloatArray, IndexArray, SavedPolicy
from morl.run_folder import EvaluationRecord, FrontRecord, json_text, parse_front
from morl.seeding import derived_seed, stream

if TYPE_CHECKING:
    from morl.experiment.episodes import RecordEpisodes
    from morl.experiment.recording import Recorder
    from morl.experiment.units import RewardUnits


class Clock:
    """Wall-clock seconds of a run, over all its processes."""

    def __init__(self) -> None:
        self.earlier = 0.0
        """Seconds before this process."""
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return self.earlier + time.monotonic() - self._start


@dataclass(frozen=True)
class Best:
    """The best evaluation so far.

    Attributes:
        points: [n, objective] its front, from the episodes by which evaluations are compared.
        conditioned: mean utility that preferences achieved themselves.
        front: the front as front.json spells it.
        policies: policy id -> the policy as plain data.
    """

    points: FloatArray
    conditioned: float
    front: Mapping[str, object]
    policies: Mapping[int, Mapping[str, Any]]

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "points": self.points,
            "conditioned": self.conditioned,
            "front": dict(self.front),
            "policies": dict(self.policies),
        }

    @staticmethod
    def of_state_dict(state: Mapping[str, Any]) -> "Best":
        """Return what `state_dict` wrote down."""
        return Best(np.array(state["points"]), state["conditioned"], state["front"], state["policies"])


class Compared(NamedTuple):
    """By what evaluations are compared."""

    points: FloatArray
    """[n, objective] of the candidates for the front."""
    conditioned: float
    """Mean utility that preferences achieve themselves."""
    asked: bool
    """Whether these were the preferences of the grid: policies are conditioned on what they are asked for."""


class Reporter:
    """Evaluates an agent and reports what it finds.

    Args:
        experiment: the experiment.
        agent: the agent, or one learner of it.
        evaluator: runs the evaluations.
        units: of the agent's rewards.
        episodes: the training environments, which record the agent's episodes.
        run_dir: the run folder.

    Attributes:
        evaluated_steps: training steps at the last evaluation; -1 before the first.
        best: the best scheduled evaluation so far.
        reference_point: of the hypervolume; None until the first scheduled evaluation, where none is given.
        ideal: [objective] the best returns in scheduled evaluations so far.
        recorder: writes the records; None before they are opened.
        selection: what makes a front, and which is better.
    """

    def __init__(
        self,
        experiment: Experiment,
        agent: Agent,
        evaluator: Evaluator,
        units: "RewardUnits",
        episodes: "RecordEpisodes",
        run_dir: Path,
    ) -> None:
        self.experiment = experiment
        self.agent = agent
        self.evaluator = evaluator
        self.units = units
        self.episodes = episodes
        self.act_inputs = ActInputs.of(agent)
        self.clock = Clock()
        self.evaluated_steps = -1
        self.best: Best | None = None
        self.reference_point = experiment.problem.reference_point
        self.ideal = np.full(experiment.problem.num_objectives, -np.inf)
        self.recorder: Recorder | None = None
        self._published: Mapping[str, object] = {}
        self._contradicted = False  # whether returns better than the known front were reported already
        self.selection = Selection(
            experiment.problem.num_objectives,
            experiment.evaluation_preferences,
            experiment.known_front,
            agent if isinstance(agent, Constrained) else None,
            units,
            criterion_of(experiment.settings.select_by, agent),
        )
        self._publisher = Publisher(run_dir)

    # --- State --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that exact resuming needs, as plain data."""
        return {
            "evaluation_steps": self.evaluator.steps,
            "evaluated_steps": self.evaluated_steps,
            "units": self.units.state_dict(),
            "episodes": self.episodes.episodes_state_dict(),
            "wall_seconds": self.clock.seconds,
            "reference_point": self.reference_point,
            "ideal": self.ideal,
            "best": None if self.best is None else self.best.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.evaluator.steps = state["evaluation_steps"]
        self.evaluated_steps = state["evaluated_steps"]
        self.clock.earlier = state["wall_seconds"]
        self.reference_point = state["reference_point"]
        self.episodes.load_episodes_state_dict(state["episodes"])
        self.ideal = np.array(state["ideal"])
        self.best = None if state["best"] is None else Best.of_state_dict(state["best"])

    # --- Records ------------------------------------------------------------------------------------------------------

    def log(self) -> None:
        """Record the agent's metrics, the episodes since the last line, and all counts."""
        seconds = self.clock.seconds
        values = {**self.agent.metrics(), **self.episodes.summarize(), **self._counts(), "wall_seconds": seconds}
        values["steps_per_second"] = self.agent.steps / seconds
        self.open_recorder.metrics(self.agent.steps, values)

    def log_pretraining(self) -> None:
        """Record the episodes of pre-training since the last line."""
        counts = {**self._counts(), "wall_seconds": self.clock.seconds}
        episodes = self.episodes.summarize("rollout/pretraining")
        self.open_recorder.pretraining_metrics(episodes, counts)

    def exported_policies(self) -> Mapping[int, SavedPolicy]:
        """Return copies of the agent's policies by id.

        Raises:
            Diverged: a parameter of them, or of what the agent learns at present, is not finite or too large.
        """
        policies = self.agent.export_policies()
        refuse_diverged_parameters(self.agent, policies)
        return policies

    def evaluate_for_learning(
        self, preferences: FloatArray, episodes: int, policies: IndexArray | None = None
    ) -> FloatArray:
        """Return the mean discounted returns [n, objective] that the agent asks for while it learns.

        Args:
            preferences: [n, objective].
            episodes: of each row.
            policies: [n] ids of the policies; default: policy 0 in all rows.
        """
        refuse_diverged_parameters(self.agent)
        chosen = np.zeros(len(preferences), dtype=np.int64) if policies is None else policies
        seed = derived_seed(self.experiment.settings.seed, "keys")
        act = self.units.act(self.agent.act)
        return self.evaluator(act, chosen, preferences, episodes, seed, self.act_inputs).discounted

    def evaluate(self, scheduled: bool) -> Front:
        """Evaluate the agent, record its front, and publish the best front so far.

        An evaluation that is cut short leaves nothing; arguments as for `_evaluate`.
        """
        steps = self.evaluator.steps
        try:
            return self._evaluate(scheduled)
        except BaseException:
            self.evaluator.steps = steps
            raise

    def _evaluate(self, scheduled: bool) -> Front:
        """Return the front of a new evaluation; nothing but counts changes before all of its episodes have ended.

        The best of many noisy returns is not what its policy will reach again. So candidates are selected as
        non-dominated in one evaluation, the front is chosen in a second and reported from a third, each on fresh seeds;
        and the best evaluation is chosen by the first. Where nothing is random, the second is the third.

        Args:
            scheduled: whether this evaluation belongs to the schedule. The one at the end of a run that stops between
                two scheduled ones does not: were it remembered, resuming would differ from never having stopped.
        """
        policies, preferences = self.agent.policies(self.experiment.evaluation_preferences)
        exported = self.exported_policies()
        selection = self._precise_returns(policies, preferences, "selection")
        reference_point = self.reference_point or reference_below(selection.discounted)
        rows = self.selection.candidate_rows(selection.discounted, moderated_errors(selection, []))
        candidates = selection.select(rows)
        chosen = self._indicators(candidates.discounted, reference_point)
        conditioned = self.selection.conditioned_utilities(selection.discounted, preferences)
        asked = np.array_equal(preferences, self.experiment.evaluation_preferences)
        compared = Compared(candidates.discounted, conditioned.get("conditioned_utility", 0.0), asked)
        ideal = np.maximum(self.ideal, selection.discounted.max(axis=0))
        is_best = self._is_best(compared, reference_point, ideal)
        chosen_policies = policies[rows]
        chosen_preferences = preferences[rows]
        choice = self._precise_returns(chosen_policies, chosen_preferences, "choice", [candidates], insist=is_best)
        kept = self.selection.chosen_rows(choice.discounted, moderated_errors(choice, [candidates]))
        is_best = is_best and self._keeps_bounds(choice.discounted[kept])
        if repeats_exactly(candidates, choice):
            report = choice.select(kept)
        else:
            earlier = [candidates.select(kept), choice.select(kept)]
            report = self._precise_returns(
                chosen_policies[kept], chosen_preferences[kept], "report", earlier, insist=is_best
            )
        order = np.lexsort(report.discounted.T[::-1])
        report = report.select(order)
        kept = kept[order]
        errors = moderated_errors(report, [candidates.select(kept), choice.select(kept)])
        points = report.discounted
        choice_points = choice.discounted[kept]
        repeated = np.isclose(points, candidates.discounted[kept], rtol=1e-9, atol=0.0).all(axis=1)
        self._compare_with_known_front(points[repeated])
        scales = scales_of(points, self.experiment.problem.scales)

        def indicators(of: FloatArray) -> dict[str, float]:
            values = self._indicators(of, reference_point, choice_points)
            if scales_differ(scales) or self.experiment.problem.scales is not None:
                grid = self.experiment.evaluation_preferences
                normalized = delivered_utility(of / scales, choice_points / scales, grid)
                values["normalized_expected_utility"] = normalized
            return values

        random = stream(self.experiment.settings.seed, "standard errors", self.agent.steps)
        front = Front(
            points=points,
            standard_errors=errors,
            choice_points=choice_points,
            preferences=chosen_preferences[kept],
            policy_ids=chosen_policies[kept],
            indicators=indicators(points),
            indicator_errors=indicator_errors(indicators, report, errors, random),
            objectives=self.experiment.problem.objectives,
            discount=self.experiment.problem.discount,
            reference_point=reference_point,
            known_front=self.experiment.known_front,
            units=self.units.known,
            scales=scales,
            undiscounted_points=report.undiscounted,
            violations=self.selection.violations(points),
        )
        if scheduled:
            self.reference_point = reference_point
            self.ideal = ideal
        self._record_evaluation(front, chosen, conditioned)
        self._publish_best(compared if is_best else None, front, exported, scheduled)
        self.evaluated_steps = self.agent.steps
        return front

    def _compare_with_known_front(self, points: FloatArray) -> None:
        """Warn, once, where returns are better than the known front although nothing is left to chance.

        Args:
            points: [n, objective] mean returns that were the same on all seeds.
        """
        front = self.experiment.known_front
        if front is None or self._contradicted:
            return
        sentence = contradiction(points, front)
        if sentence and without_chance(self.evaluator):
            self._contradicted = True
            warnings.warn(f"{self.experiment.problem.id}: {sentence}", RuntimeWarning, stacklevel=2)

    def finish(self) -> None:
        """Record the figure of the published front, and that the run is complete."""
        self.open_recorder.finish(parse_front(json_text(self._published).encode()).points)

    @property
    def open_recorder(self) -> "Recorder":
        """Return the recorder, which is open while the run trains."""
        assert self.recorder is not None, "records are opened before anything is recorded"
        return self.recorder

    # --- The best front -----------------------------------------------------------------------------------------------

    def _is_best(self, compared: "Compared", reference_point: tuple[float, ...], ideal: FloatArray) -> bool:
        """Return whether an evaluation is at least as good as the best so far, both measured alike."""
        if self.best is None:
            return True
        asked = compared.asked
        new = self.selection.score(compared.points, reference_point, compared.conditioned, asked, ideal)
        return new >= self.selection.score(self.best.points, reference_point, self.best.conditioned, asked, ideal)

    def _keeps_bounds(self, choice_points: FloatArray) -> bool:
        """Return whether a front breaks the user's constraints no more than the best so far.

        Both as measured by the second evaluation: the first selects, and so flatters what is close to a bound.

        Args:
            choice_points: [n, objective] of the front.
        """
        if self.best is None:
            return True
        earlier = np.array(self.best.front["choice_points"])
        violations = self.selection.violations
        return bool(violations(choice_points).min() <= violations(earlier).min())

    def _publish_best(
        self, compared: "Compared | None", front: Front, exported: Mapping[int, SavedPolicy], scheduled: bool
    ) -> None:
        """Publish an evaluation if it is the best so far, and else the best with the counts as they are now.

        Args:
            compared: by what it is the best; None where it is not.
            front: its front.
            exported: the agent's policies by id.
            scheduled: whether it belongs to the schedule.
        """
        best = self.best
        if compared is not None or best is None:
            compared = compared or Compared(front.points, 0.0, asked=False)
            policies = {key: self._for_file(policy) for key, policy in exported.items()}
            best = Best(compared.points, compared.conditioned, self._front_record(front).to_json(), policies)
        if scheduled:
            self.best = best
        self._publish(best)

    def publish_again(self) -> None:
        """Publish the best scheduled front of a restored state, whose front.json is lost."""
        assert self.best is not None, "a run whose last evaluation was scheduled has a best one"
        self._publish(self.best)

    def _publish(self, best: Best) -> None:
        """Publish a front with the counts as they are now."""
        counts = {"training_steps": self.agent.steps, **self._counts(), "wall_seconds": self.clock.seconds}
        self._published = {**best.front, **counts}
        self._publisher.publish(self._published, best.policies)

    def _for_file(self, policy: SavedPolicy) -> Mapping[str, Any]:
        """Return a policy as plain data; one that observes the accrued reward takes it in the environment's units."""
        if isinstance(policy, PolicyData) and policy.spec.augmented_units is not None:
            policy = replace(policy, spec=replace(policy.spec, reward_units=tuple(self.units.known.tolist())))
        return policy.state_dict()

    def _front_record(self, front: Front) -> FrontRecord:
        constrained = self.selection.constrained
        extra = {} if constrained is None else dict(constrained.front_metadata(front.points))
        return FrontRecord(
            agent=self.experiment.agent_name,
            env=self.experiment.problem.id,
            env_options=self.experiment.settings.env_options,
            seed=self.experiment.settings.seed,
            objectives=front.objectives,
            discount=front.discount,
            reference_point=front.reference_point,
            points=front.points,
            standard_errors=front.standard_errors,
            choice_points=front.choice_points,
            preferences=front.preferences,
            policy_ids=front.policy_ids,
            indicators=front.indicators,
            indicator_errors=front.indicator_errors,
            undiscounted_points=front.undiscounted_points,
            units=tuple(self.units.known.tolist()),
            scales=self.experiment.problem.scales,
            known_front=front.known_front,
            constraints=extra.pop("constraints", {}),
            extra=extra,
            counts={"selected_at_step": self.agent.steps},
        )

    def _counts(self) -> dict[str, int]:
        return {
            "pretraining_steps": self.agent.pretraining_steps + self.units.steps,
            "evaluation_steps": self.evaluator.steps,
            "updates": self.agent.updates,
        }

    def _indicators(
        self, points: FloatArray, reference_point: tuple[float, ...], choice_points: FloatArray | None = None
    ) -> dict[str, float]:
        preferences = self.experiment.evaluation_preferences
        return indicators_of(points, reference_point, preferences, self.experiment.known_front, choice_points)

    def _precise_returns(
        self,
        policies: IndexArray,
        preferences: FloatArray,
        purpose: str,
        earlier: Sequence[Returns] = (),
        insist: bool = False,
    ) -> Returns:
        """Return returns, from more episodes of policies whose returns vary much.

        These come in rounds, as long as one does not take many more environment steps than training does until the
        next evaluation (`ROUND_STEPS`).

        Args:
            policies: [row] ids.
            preferences: [row, objective].
            purpose: name of the random stream.
            earlier: other evaluations of the same policies.
            insist: make the first round in any case, and allow twice as many steps for others.
        """
        settings = self.experiment.settings
        returns = self._returns(policies, preferences, purpose)
        while True:
            rows = imprecise_rows(returns, moderated_errors(returns, earlier))
            rows = rows[returns.episodes[rows] < MOST_EPISODES * settings.evaluation_episodes]
            if len(rows) == 0:
                break
            most = int(returns.episodes[rows].max())
            episodes = FURTHER_EPISODES * most
            steps = episodes * returns.lengths[rows].sum()
            allowed = (2 if insist else 1) * ROUND_STEPS * settings.evaluate_every
            first = most == settings.evaluation_episodes
            if steps > allowed and not (insist and first):
                break
            more = self._returns(policies[rows], preferences[rows], f"{purpose} after {most}", episodes)
            returns = returns.joined(rows, more)
        return returns

    def _returns(
        self, policies: IndexArray, preferences: FloatArray, purpose: str, episodes: int | None = None
    ) -> Returns:
        settings = self.experiment.settings
        seed = derived_seed(settings.seed, purpose)
        episodes = episodes or settings.evaluation_episodes
        act = self.units.act(self.agent.act)
        returns = self.evaluator(act, policies, preferences, episodes, seed, self.act_inputs)
        if not np.isfinite(returns.discounted).all() or not np.isfinite(returns.undiscounted).all():
            raise ValueError(
                f"returns of {self.experiment.problem.id} are infinite at step {self.agent.steps:,}: rewards are too"
                " large to be added in float64"
            )
        return returns

    def _record_evaluation(self, front: Front, chosen: Mapping[str, float], conditioned: Mapping[str, float]) -> None:
        """Record a front, the indicators of the evaluation that selected, and what each preference itself achieves."""
        self.open_recorder.front(
            EvaluationRecord(
                training_steps=self.agent.steps,
                points=front.points,
                preferences=front.preferences,
                policy_ids=front.policy_ids,
                indicators=front.indicators,
            )
        )
        values = {f"selection/{name}": value for name, value in chosen.items()} | dict(conditioned)
        counts = {"wall_seconds": self.clock.seconds, **self._counts()}
        self.open_recorder.metrics(self.agent.steps, values | counts)
