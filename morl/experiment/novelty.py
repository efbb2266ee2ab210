"""Novel policies in a run: the policy files that training must differ from, and how far a policy is from others."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morl.acting import Policy, load_policy
from morl.envs import MultiObjectiveVectorEnv, make_vec
from morl.envs.core.novelty import NoveltyBound, NoveltyConstraint, NoveltyMeter, Reference, largest_distance
from morl.envs.core.types import EnvBuilder, EnvOption
from morl.protocols import FloatArray, Problem

MOST_STEPS = 10_000
"""Episodes in which novelty is measured are cut after this many steps."""


def absolute(files: Sequence[str]) -> tuple[str, ...]:
    """Return paths that mean the same from any working directory."""
    return tuple(os.path.abspath(os.path.expanduser(file)) for file in files)


def novel_envs(
    envs: MultiObjectiveVectorEnv, files: Sequence[str], bound: NoveltyBound, problem: Problem
) -> NoveltyConstraint:
    """Return environments whose episodes end where the agent is too much like one of the policies in some files.

    Args:
        envs: the environments.
        files: paths of policy files.
        bound: the constraint.
        problem: the environment.

    Raises:
        ValueError: a file is missing or damaged, its policy does not fit the environment or cannot be a reference, or
            the bound does not fit the actions or the objectives.
    """
    references = [_load_reference(file, problem) for file in files]
    try:
        largest = largest_distance(problem.action_space)
        if bound.threshold > largest:
            raise ValueError(
                f"novelty_threshold is {bound.threshold}, but must be at most {largest:.4g}, the largest distance of"
                f" actions of {problem.id}"
            )
        hashes = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]
        return NoveltyConstraint(envs, references, bound, hashes)
    except ValueError:
        envs.close()
        raise


def _load_reference(file: str, problem: Problem) -> Policy:
    """Return the policy in a file, which must act in the environment from observations alone.

    Raises:
        ValueError: it cannot.
    """
    try:
        policy = load_policy(file)
    except ValueError as error:
        raise ValueError(f"novelty_references has {file!r}: {error}") from error
    spec = policy.data.spec
    if spec.augmented_units is not None:
        raise ValueError(
            f"novelty_references has {file!r}, whose policy observes the rewards of its own episode so far, which"
            " another policy's episodes do not have: take one with augmented_state False"
        )
    if spec.conditioned and np.isnan(policy.conditioning).any():
        raise ValueError(
            f"novelty_references has {file!r}, which acts for any preference: save the policy of one, as"
            " run.policy(preference).save(FILE) does"
        )
    misfit = _misfit(policy, problem.observation_space, problem.action_space)
    if misfit is not None:
        name, trained, given = misfit
        raise ValueError(
            f"novelty_references has {file!r}, whose policy has the {name} {trained}, but {problem.id} has {given}"
        )
    return policy


def _misfit(policy: Policy, observation_space: Any, action_space: Any) -> tuple[str, Any, Any] | None:
    """Return the name of a space that a policy was not trained with, the policy's and the given one; None: both fit.

    Spaces fit that are of the same kind, shape and number of choices.
    """
    for name, given in (("observation_space", observation_space), ("action_space", action_space)):
        trained = getattr(policy.data.spec, name)
        if type(given) is not type(trained) or given.shape != trained.shape or _count(given) != _count(trained):
            return name, trained, given
    return None


def _count(space: Any) -> int:
    """Return the number of choices of a Discrete space; 0 for others."""
    return int(getattr(space, "n", 0)) if np.isscalar(getattr(space, "n", None)) else 0


def novelty(
    policy: Reference,
    references: Sequence[Reference | str | Path],
    env: EnvBuilder,
    episodes: int = 10,
    seed: int = 0,
    **env_options: EnvOption,
) -> FloatArray:
    """Return how far a policy acts from others [reference]: the mean distance of the actions in the states it visits.

    The smallest of them is the policy's novelty (Sun et al. 2020, definition 2), which `novelty_threshold` bounds in
    training. Actions are the most likely ones on both sides.

    Args:
        policy: whose states are visited; anything with the `predict` of `morl.Policy`, as are the references.
        references: the others, or policy files.
        env: Gymnasium id, "module:Name-v0", or a callable that builds an environment.
        episodes: number of episodes, at least 1, which are played side by side.
        seed: of the first episode.
        env_options: arguments of the environment's constructor.

    Raises:
        ValueError: there are no references or episodes, a file holds no policy, a policy is of another environment, or
            the actions have no distance.
    """
    if not isinstance(references, Sequence) or isinstance(references, str):
        raise ValueError(f"references is {references!r:.100}, but must be a list of policies or policy files")
    if not references or episodes < 1:
        raise ValueError(
            f"references and episodes are {len(references)} and {episodes}, but must be at least one of each"
        )
    found = [load_policy(one) if isinstance(one, str | Path) else one for one in references]
    envs = make_vec(env, episodes, seed=seed, **env_options)
    try:
        for one in (policy, *found):
            if not isinstance(one, Policy):  # of another library: it does not say what it was trained with
                continue
            misfit = _misfit(one, envs.single_observation_space, envs.single_action_space)
            if misfit is not None:
                name, trained, given = misfit
                agent = one.data.spec.agent
                raise ValueError(f"the policy of {agent} has the {name} {trained}, but the environment has {given}")
        meter = NoveltyMeter(envs.single_action_space, episodes, found, NoveltyBound(threshold=0.0))
        observations, infos = envs.reset()
        everywhere = np.ones(episodes, dtype=np.bool_)
        ended = everywhere
        running = everywhere.copy()
        distances = np.zeros(len(references))
        steps = 0
        memory: Any = None
        for _ in range(MOST_STEPS):
            meter.observe(observations, infos, ended, everywhere)
            masks: dict[str, NDArray[np.bool_]] = {}
            if "action_mask" in infos:
                masks["action_masks"] = np.array([np.asarray(mask) == 1 for mask in infos["action_mask"]])
            actions, memory = policy.predict(
                observations, state=memory, episode_start=ended, deterministic=True, **masks
            )
            before = meter.distances.copy()
            meter.measure(actions)
            distances += (meter.distances - before)[running].sum(axis=0)
            steps += int(running.sum())
            observations, _, terminated, truncated, infos = envs.step(actions)
            ended = terminated | truncated
            running &= ~ended
            if not running.any():
                break
    finally:
        envs.close()
    means: FloatArray = distances / steps
    return means
