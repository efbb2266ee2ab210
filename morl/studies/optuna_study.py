"""Optuna behind a tuning: a journal file that processes and nodes share, a sampler and a pruner without hidden state.

Whatever decides about a trial is a function of the journal, the tuning's seed and the trial's number. So a tuning that
was killed and is started again asks for the same settings and prunes the same trials as one that nobody disturbed, as
long as one worker makes the trials; with several, they depend on which trial ends first.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from morl.seeding import derived_seed
from morl.studies.pruning import MedianOfComplete
from morl.studies.search_spaces import Choice, Range, SearchSpace

LOCK_SECONDS = 15
"""After which the journal's lock counts as left behind by a process that was killed; writing takes milliseconds."""
RANDOM_TRIALS = 8
"""Trials that are sampled at random before the sampler has something to learn from (Optuna's default: 10)."""
VIOLATION = "violation"
"""Name of Optuna's constraint: by how much the settings' fronts break the user's constraints."""
FAILURE = "failure"
"""Attribute of a trial that failed: why, in one sentence."""


def open_study(file: Path, name: str, seed: int, space: SearchSpace, schedule: Sequence[int] | None) -> Study:
    """Return the Optuna study in a journal file; it is made where there is none.

    Args:
        file: the journal.
        name: of the study.
        seed: of the sampler.
        space: the search space.
        schedule: evaluations of each run of a trial, in order; None: no trial is pruned.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    absolute = str(file.absolute())
    lock = JournalFileOpenLock(absolute, grace_period=LOCK_SECONDS)
    cut_torn_line(file, lock)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(absolute, lock_obj=lock)),
        sampler=NumberedSampler(seed, space),
        pruner=optuna.pruners.NopPruner() if schedule is None else MedianOfComplete(schedule),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
    )


def cut_torn_line(file: Path, lock: JournalFileOpenLock) -> None:
    """Remove half a line at the end of a journal, as a full disk leaves it: Optuna could not read what follows it.

    Args:
        file: the journal; it need not exist.
        lock: of the journal.
    """
    if not file.is_file() or not file.stat().st_size or file.read_bytes().endswith(b"\n"):
        return
    lock.acquire()
    try:
        with file.open("r+b") as stream:
            content = stream.read()
            stream.truncate(content.rfind(b"\n") + 1)
            os.fsync(stream.fileno())
    finally:
        lock.release()


# --- Settings of a trial ----------------------------------------------------------------------------------------------


def suggest(trial: Trial, space: SearchSpace) -> dict[str, object]:
    """Return the settings of a trial: setting -> value. Those that it has already in the journal are the same again.

    Args:
        trial: the trial.
        space: the search space.
    """
    values: dict[str, object] = {}
    for name, one in space.items():
        if isinstance(one, Choice):
            values[name] = one.texts[trial.suggest_categorical(name, list(one.texts))]
        elif one.is_integer:
            values[name] = trial.suggest_int(name, int(one.low), int(one.high), log=one.log)
        else:
            values[name] = trial.suggest_float(name, one.low, one.high, log=one.log)
    return values


def settings_of(trial: FrozenTrial, space: SearchSpace) -> dict[str, object]:
    """Return the settings of a trial of the journal: setting -> value; empty for the first, which changes none."""
    values: dict[str, object] = {}
    for name, value in trial.params.items():
        one = space[name]
        values[name] = one.texts[value] if isinstance(one, Choice) else value
    return values


def distribution(one: Range | Choice) -> BaseDistribution:
    """Return a range as Optuna has it."""
    if isinstance(one, Choice):
        return CategoricalDistribution(list(one.texts))
    if one.is_integer:
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


class NumberedSampler(BaseSampler):
    """Optuna's tree-structured Parzen estimator, multivariate, with random numbers that the trial's number decides.

    Source: Bergstra et al. 2011; trials that break constraints count as worse than all that do not (Watanabe and Hutter
    2023).

    Args:
        seed: of the tuning.
        space: all settings that are sampled.
    """

    def __init__(self, seed: int, space: SearchSpace) -> None:
        self._seed = seed
        self._space = {name: distribution(one) for name, one in space.items()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Return all settings: they are sampled together."""
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the settings of a trial; none while there are too few trials to learn from."""
        return self._estimator(trial, "together").sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> object:
        """Return one setting of a trial at random."""
        return self._estimator(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _estimator(self, trial: FrozenTrial, purpose: str) -> TPESampler:
        seed = derived_seed(self._seed, f"tuning {purpose}", trial.number)
        return TPESampler(seed=seed, multivariate=True, n_startup_trials=RANDOM_TRIALS)
