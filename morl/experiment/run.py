"""`Run`: a run folder as users see it. Its front and its policies need neither environment nor agent."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from morl.acting import Policy, PolicyBank
from morl.arguments import check_optional_switches, check_switches
from morl.envs.core.registry import EnvBuilder, problem
from morl.evaluation import Returns
from morl.experiment import showing
from morl.experiment.choosing import AnswerFn, Choice, Chooser, SessionOptions, choose
from morl.experiment.components import Experiment, build_evaluator, find_task, refuse_windows, user_evaluation_seed
from morl.experiment.front import Front, FrontUtility, front_table, front_utilities, known_front_of, read_front
from morl.experiment.layers import checked_options
from morl.experiment.messages import how_to_resume, spoken
from morl.experiment.publication import read_policy_bytes
from morl.experiment.reading import RunConfig, divergence_of, has_evaluation, is_same_run, read_config, read_metrics
from morl.experiment.settings import Settings, WholeNumber, resolve_config, whole
from morl.output_files import checked_path
from morl.policy_files import PolicyData, parse_policy
from morl.protocols import FloatArray, IndexArray, Problem
from morl.run_folder import CONFIG, FRONT, FrontRecord, PolicyReference
from morl.trust import check_trust

MOST_EVALUATED = 20_000
"""Points of a front that are evaluated at once."""


class Run:
    """A run: its folder, settings, metrics, front and policies.

    Attributes:
        directory: the run folder.
        agent_name: the agent's name.
        env: the environment, as given for training.
        front: the reported front.
        divergence: where and what diverged, if that ended the run after its front was measured; empty otherwise.
    """

    def __init__(
        self,
        directory: Path,
        config: RunConfig,
        front: Front,
        record: FrontRecord,
        env: EnvBuilder | None = None,
        trust: bool = False,
    ) -> None:
        self.directory = directory
        self.agent_name = config.agent_name
        self.env: EnvBuilder = config.env if env is None else env
        self.front = front
        self._record = record
        self._config = config
        self._given_env = env
        self._trust = trust
        self.divergence = divergence_of(directory)
        self._experiment: Experiment | None = None

    def __repr__(self) -> str:
        """Return what it is, in one line."""
        return f"Run({str(self.directory)!r}, {f'{self._what}, {len(self.front.points)} points{self._ending}'!r})"

    def __rich__(self) -> object:
        """Return the table of its front for `rich.print`."""
        return front_table(self.front, self._title)

    def _repr_html_(self) -> str:
        """Return the table of its front for a notebook."""
        return front_table(self.front, self._title).to_html()

    @property
    def _what(self) -> str:
        return f"{self.agent_name} on {self.env_id}, seed {self.seed}"

    @property
    def _title(self) -> str:
        return f"{self.directory}: {self._what}{self._ending}"

    @property
    def _ending(self) -> str:
        return f"; {self.divergence}" if self.divergence else ""

    @property
    def training_steps(self) -> int | None:
        """Return the environment steps of training; None where front.json does not say."""
        steps = self._record.counts.get("training_steps")
        return None if steps is None else int(steps)

    @property
    def seed(self) -> int | None:
        """Return the run's seed."""
        return self._record.seed

    @property
    def env_id(self) -> str:
        """Return the environment's id, without its module."""
        return self._record.env

    @property
    def constraints(self) -> Mapping[str, object]:
        """Return the objectives that the user has bounded: name -> bound, and unit of its violations."""
        return self._record.constraints

    @property
    def broken_bounds(self) -> str:
        """Return a sentence that says how many points break a bound, and by how much; empty where none does."""
        return self._record.broken_bounds

    @property
    def settings(self) -> Settings[Any]:
        """Return the resolved settings.

        Raises:
            ValueError: config.toml does not fit this version, or names code that is not trusted.
        """
        return self.experiment.settings

    @property
    def problem(self) -> Problem:
        """Return the environment's spaces, objectives and known front; the environment is built once for it.

        Raises:
            ValueError: the environment does not exist here, or is code that is not trusted.
        """
        return self.experiment.problem

    @property
    def experiment(self) -> Experiment:
        """Return the experiment; the environment is built once for it.

        Raises:
            ValueError: the environment or the agent does not exist here, or is code that is not trusted.
        """
        if self._experiment is None:
            self._require_same_run()
            self._experiment = experiment_of(self.directory, self._given_env, self._trust)
        return self._experiment

    def metrics(self) -> dict[str, FloatArray]:
        """Return the contents of metrics.jsonl: name -> array [line], NaN in lines without this name.

        Raises:
            ValueError: the file is missing or damaged, or the folder holds another run by now.
        """
        self._require_same_run()
        return read_metrics(self.directory)

    def _require_same_run(self) -> None:
        """Raise ValueError where the folder holds another run by now; one that was resumed is the same."""
        if not is_same_run(self._config, read_config(self.directory)):
            raise ValueError(
                f"run folder {self.directory} holds another run than when it was read, because it was replaced:"
                f" morl.load({str(self.directory)!r}) reads it again"
            )

    def policy(
        self,
        preference: Sequence[float] | None = None,
        *,
        row: int | None = None,
        utility: FrontUtility = "linear",
        conditioned: bool = False,
        normalized: bool | None = None,
    ) -> Policy:
        """Return the policy with the highest utility for a preference, or the one behind a row of the front.

        It is the member of the front with the highest utility, w.J by default. If the agent's network is conditioned
        on preferences, the policy acts under the preference that produced its point, so that it achieves the measured
        return; with `conditioned`, it acts under exactly the given preference instead.

        Args:
            preference: [objective] weights >= 0; scaled to sum one.
            row: a row of `front.points`, instead of a preference.
            utility: "linear", "tchebycheff", "augmented-tchebycheff", "smooth-tchebycheff", "pbi" or "module:function"
                of (returns, preferences, ideal), whose ideal point is the best return of the front in each objective;
                or a function (points [n, objective], weights [objective]) -> values [n].
            conditioned: condition the network on the preference itself.
            normalized: whether the preference weighs returns divided by `front.scales` instead of returns in the
                environment's units; default: if the scales differ by more than a factor of 10.

        Raises:
            ValueError: the preference has the wrong length or a negative weight, there is no such row, both or neither
                are given, a policy file is damaged, or `conditioned` is given for policies that take no preference.
        """
        check_switches(conditioned=conditioned)
        chosen = self._row(preference, row, utility, normalized)
        policy_id = int(self.front.policy_ids[chosen])
        data = self._policy_data(policy_id)
        weights = self.front.preferences[chosen] if preference is None else self.front.weights(preference)
        if not conditioned:
            measured = replace(data, preference=self.front.preferences[chosen])
            return Policy(measured, weights, policy_id, env_id=self.env_id)
        if not data.spec.conditioned:
            raise ValueError(f"conditioned is True, but the policies of {self.agent_name} take no preference")
        if preference is None:
            raise ValueError("conditioned is True, but no preference is given")
        scale = self.front.units / self._scales(normalized)
        policy = Policy(data, weights, policy_id, preference_scale=scale, env_id=self.env_id)
        return policy.conditioned_on(weights)

    def best_row(
        self, preference: Sequence[float], utility: FrontUtility = "linear", normalized: bool | None = None
    ) -> int:
        """Return the row of the front that has the highest utility for a preference.

        If the run has constraints, only the rows with the smallest violation are considered.

        Args:
            preference: [objective] weights >= 0; scaled to sum one.
            utility: as for `policy`.
            normalized: as for `policy`.

        Raises:
            ValueError: the preference has the wrong length or a negative weight, or there is no such utility.
        """
        weights = self.front.weights(preference)
        allowed = np.flatnonzero(self.front.violations == self.front.violations.min())
        points = self.front.choice_points / self._scales(normalized)
        return int(allowed[np.argmax(front_utilities(utility, points, weights)[allowed])])

    def _scales(self, normalized: bool | None) -> FloatArray:
        """Return what returns are divided by before a preference weighs them [objective]."""
        check_optional_switches(normalized=normalized)
        chosen = self.front.normalizes if normalized is None else normalized
        return self.front.scales if chosen else np.ones_like(self.front.scales)

    record = showing.record
    watch = showing.watch

    def evaluate(
        self,
        preference: Sequence[float] | None = None,
        episodes: WholeNumber = 10,
        seed: int = 0,
        *,
        row: int | None = None,
        utility: FrontUtility = "linear",
    ) -> Returns:
        """Return mean returns on new episodes: one row for one policy, or one for each policy of the front.

        Args:
            preference: [objective] weights >= 0; default: the whole front, if no row is given either.
            episodes: episodes of each row.
            seed: of the evaluation; it shares no stream with training.
            row: of `front.points`.
            utility: chooses the policy for the preference, as in `policy`.

        Raises:
            ValueError: as for `policy`, or the environment is code that is not trusted.
        """
        count = whole("episodes", episodes, 1)
        everything = preference is None and row is None
        if everything and len(self.front.points) > MOST_EVALUATED:
            raise ValueError(
                f"the front of run {self.directory} has {len(self.front.points):,} points, and at most"
                f" {MOST_EVALUATED:,} are evaluated at once: give a preference or a row"
            )
        if everything:
            rows = np.arange(len(self.front.points))
        else:
            rows = np.array([self._row(preference, row, utility, None)])
        policies: IndexArray = self.front.policy_ids[rows]
        bank = self._bank(sorted(set(policies.tolist())))
        env, options = self.env_to_build()
        evaluator = build_evaluator(env, options, self.front.discount, self._config.max_envs)
        try:
            first = user_evaluation_seed(seed)
            return evaluator(bank.act, policies, self.front.preferences[rows], count, first, bank.act_inputs)
        finally:
            evaluator.close()

    def choose(self, answer: AnswerFn | None = None, **options: Unpack[SessionOptions]) -> Choice:
        """Choose a policy by comparing outcomes, and return it; the session is saved in the run folder.

        Args:
            answer: (left, right) returns [objective] -> "left", "right", "equal", "neither" (is acceptable) or "undo";
                None stops, and the next call continues the session. Default: asks in the terminal.
            options: limit of the expected regret (0.01), seed, file, restart (`SessionOptions`).

        Raises:
            ValueError: the session file is damaged or of another run, or an argument or answer is wrong.
        """
        return choose(Chooser(self, **options), answer)

    def _row(
        self, preference: Sequence[float] | None, row: int | None, utility: FrontUtility, normalized: bool | None
    ) -> int:
        if (preference is None) == (row is None):
            raise ValueError(f"one of preference and row must be given, not {preference} and {row}")
        if row is None:
            assert preference is not None
            return self.best_row(preference, utility, normalized)
        is_number = isinstance(row, int | np.integer) and not isinstance(row, bool)
        if not is_number or not 0 <= row < len(self.front.points):
            kind = "" if is_number else "be a whole number, and "
            raise ValueError(f"row is {row!r:.100}, but must {kind}lie between 0 and {len(self.front.points) - 1}")
        return int(row)

    @cached_property
    def _files(self) -> dict[int, PolicyReference]:
        files = {file.policy_id: file for file in self._record.policies}
        if not files:
            raise ValueError(f"{self.directory / FRONT} names no policies: another version of morl wrote it")
        return files

    def policy_sha256(self, policy_id: int) -> str:
        """Return the SHA-256 of the file of a policy of the front."""
        return self._files[policy_id].sha256

    def _policy_data(self, policy_id: int) -> PolicyData:
        """Return a policy of the front.

        Raises:
            ValueError: its file is missing or damaged, or its utility or network is code that is not trusted.
        """
        if policy_id not in self._files:
            raise ValueError(f"{self.directory / FRONT} is damaged: it names no file of policy {policy_id}")
        file = self._files[policy_id]
        data = parse_policy(read_policy_bytes(self.directory, file), str(self.directory / file.name)).data
        for what in ("utility", "network"):
            named = getattr(data.spec, what)
            check_trust(f"run {self.directory}", what, named, self._trust, spoken("--trust", "trust=True"))
        return data

    def _bank(self, policy_ids: Sequence[int]) -> PolicyBank:
        policies = {policy_id: self._policy_data(policy_id) for policy_id in policy_ids}
        bank = PolicyBank(next(iter(policies.values())).spec, torch.device("cpu"))
        for policy_id, data in policies.items():
            bank.add(policy_id, data)
        return bank

    def env_to_build(self) -> tuple[EnvBuilder, Mapping[str, bool | int | float | str]]:
        """Return the environment to build and the arguments of its constructor.

        Raises:
            ValueError: it is code that is not trusted.
        """
        named = self.env if isinstance(self.env, str) else self._record.env
        return trusted_env(self.directory, named, self._given_env, self._trust), self._record.env_options


def load(
    run_dir: str | Path,
    *,
    env: EnvBuilder | None = None,
    trust: bool = False,
    experiment: Experiment | None = None,
) -> Run:
    """Return a run from its folder, with its front and policies.

    Modules that the folder names are not imported: front and policies need neither the environment nor the agent.

    Args:
        run_dir: the run folder.
        env: the environment, if the run was started with a callable; needed only to evaluate.
        trust: whether modules that the folder names may be imported when the run is evaluated.
        experiment: the experiment, if it exists already.

    Raises:
        ValueError: the folder is not that of a run, or is damaged, or the run has no front yet.
    """
    check_switches(trust=trust)
    path = checked_path("run_dir", run_dir)
    config = read_config(path)
    if not (path / FRONT).exists():
        divergence = divergence_of(path)
        if divergence:
            raise ValueError(f"run {path} has no front, because it ended before its first evaluation: {divergence}")
        resume = how_to_resume(path)
        if has_evaluation(path):
            raise ValueError(f"run {path} has lost its {FRONT}: {resume} writes it again")
        raise ValueError(
            f"run {path} has no front yet, because its first evaluation has not been made: {resume} continues it"
        )
    front, record = read_front(path)
    known_front = known_front_of(record) if experiment is None else experiment.known_front
    front = replace(front, known_front=known_front)
    if experiment is None:
        return Run(path, config, front, record, env, trust)
    run = Run(path, config, front, record, experiment.env, trust=True)  # the user has named everything to train it
    run._experiment = experiment
    return run


def refuse_diverged_run(run_dir: Path) -> None:
    """Check that a run has not diverged: resuming it would lead there again.

    Raises:
        ValueError: it has.
    """
    divergence = divergence_of(run_dir)
    if divergence:
        again = spoken("morl train with --overwrite", "morl.train with overwrite=True")
        raise ValueError(
            f"run {run_dir} cannot be resumed, because {divergence}, and the same steps would lead there again:"
            f" {again} and a smaller learning rate replaces it"
        )


def trusted_env(run_dir: Path, named: str, given: EnvBuilder | None, trust: bool) -> EnvBuilder:
    """Return the environment to build.

    Args:
        run_dir: the run folder.
        named: the environment that config.toml names.
        given: the environment that the user gives.
        trust: whether the user trusts what config.toml names.

    Raises:
        ValueError: it has to be imported, and the user does not say that it may.
    """
    if given is not None:
        return given
    check_trust(f"run {run_dir}", "env", named, trust, spoken("--trust", "trust=True"))
    return named


def experiment_of(run_dir: Path, env: EnvBuilder | None, trust: bool) -> Experiment:
    """Return the experiment that a run's config.toml describes.

    Args:
        run_dir: the run folder.
        env: the environment that the user gives.
        trust: whether modules that the file names may be imported.

    Raises:
        ValueError: the file is damaged or does not fit this version, the agent or the environment does not exist here,
            or they have to be imported and are not trusted.
    """
    check_switches(trust=trust)
    config = read_config(run_dir)
    chosen = trusted_env(run_dir, config.env, env, trust)
    check_trust(f"run {run_dir}", "agent", config.agent_name, trust, spoken("--trust", "trust=True"))
    try:
        options = checked_options("env_options", config.table.get("env_options", {}))
        task = find_task(config.agent_name, chosen, options)
        resolved = resolve_config(task.agent_class.config_class, config.agent_name, config.table)
    except ValueError as error:
        hint = "; a run that was started with a callable needs it again: env=" if chosen is config.env else ""
        raise ValueError(
            f"{run_dir / CONFIG}: {error}{hint if 'there is no environment' in str(error) else ''}"
        ) from error
    for name in ("select_by", "utility", "network"):
        named = getattr(resolved.settings if name == "select_by" else resolved.settings.agent, name, "")
        check_trust(f"run {run_dir}", name, str(named), trust, spoken("--trust", "trust=True"))
    return task.experiment(resolved)


def evaluate(
    policy: Policy,
    env: EnvBuilder,
    episodes: WholeNumber = 10,
    seed: int = 0,
    *,
    max_envs: int | None = None,
    **env_options: Any,
) -> Returns:
    """Return the mean returns of a policy on new episodes, as arrays with one row.

    Args:
        policy: of a run or a file.
        env: Gymnasium id, "module:Name-v0", or a callable that builds an environment.
        episodes: number of episodes, at least 1.
        seed: of the evaluation.
        max_envs: the most environments that exist at once; default: as many as suit their backend.
        env_options: arguments of the environment's constructor.

    Raises:
        ValueError: the environment has other objectives or spaces than the policy.
    """
    if max_envs is not None and max_envs < 1:
        raise ValueError(f"max_envs is {max_envs}, but must be at least 1")
    refuse_windows(env_options)
    count = whole("episodes", episodes, 1)
    spec = policy.data.spec
    stated = problem(env, **env_options)
    if stated.num_objectives != len(spec.objectives):
        raise ValueError(
            f"env has the objectives {stated.objectives}, but the policy was trained for {spec.objectives}"
        )
    for name in ("observation_space", "action_space"):
        given = getattr(stated, name)
        trained = getattr(spec, name)
        if type(given) is not type(trained) or given.shape != trained.shape:
            raise ValueError(f"env has the {name} {given}, but the policy was trained for {trained}")
    bank = PolicyBank(spec, torch.device("cpu"))
    bank.add(0, policy.data)
    evaluator = build_evaluator(env, env_options, stated.discount, max_envs)
    try:
        only = np.zeros(1, np.int64)
        return evaluator(bank.act, only, policy.conditioning[None], count, user_evaluation_seed(seed), bank.act_inputs)
    finally:
        evaluator.close()
