"""Action masks: which choices an environment allows in a state. Read from infos and checked here, for every agent.

An environment with a Discrete action space may give `info["action_mask"]` [choice], 1 where a choice is allowed. If its
first info holds one, every info must. Vector environments give them batched [env, choice], as Gymnasium does; those of
the last states of ended episodes are in `infos["final_info"]`. Row numbers count from 0, whatever the space's `start`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

KEY = "action_mask"
"""Name of a mask in infos."""


def num_choices(space: Space[Any]) -> int:
    """Return the number of choices of a Discrete action space; 0 for others, whose actions cannot be masked."""
    return int(space.n) if isinstance(space, spaces.Discrete) else 0


def mask_array(mask: object, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a mask, or some masks, as an array of zeros and ones; lists are converted.

    Args:
        mask: what an environment or a user gave.
        shape: [choice] or [env, choice].

    Raises:
        ValueError: it has another shape or other values; the message says what it must be, to follow its name.
    """
    count = " x ".join(map(str, shape))
    try:
        array = np.array(mask.tolist()) if isinstance(mask, np.ndarray) and mask.dtype == object else np.asarray(mask)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    if array.shape != shape or array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"must be an array of {count} zeros and ones, got {_excerpt(mask)}")
    return array


def checked_masks(masks: object, space: Space[Any], size: int | None) -> NDArray[np.bool_]:
    """Return the masks [n, choice] that a user gives for some observations.

    Args:
        masks: [choice] for one observation, [n, choice] for a batch.
        space: of the actions.
        size: number of observations in the batch; None for one that is no batch.

    Raises:
        ValueError: actions are no Discrete choice, or a mask has the wrong shape or values, or allows nothing.
    """
    choices = num_choices(space)
    if not choices:
        raise ValueError(
            f"action_masks are given, but actions are {space}: only the choices of a Discrete space have some"
        )
    shape = (choices,) if size is None else (size, choices)
    try:
        if size is None and np.shape(np.asarray(masks)) == (1, choices):  # a batch of one does for it
            shape = (1, choices)
        rows: NDArray[np.bool_] = mask_array(masks, shape).reshape(-1, choices) == 1
    except ValueError as error:
        raise ValueError(f"action_masks {error}") from None
    allowed = rows.any(axis=1)
    if not allowed.all():
        raise ValueError(f"action_masks must allow at least one action, got zeros only in row {int(allowed.argmin())}")
    return rows


def _excerpt(mask: object) -> str:
    text = repr(mask.tolist() if isinstance(mask, np.ndarray) else mask)
    return text if len(text) <= 200 else f"{text[:200]}..."


def random_choices(
    uniform: NDArray[np.float64], choices: int, masks: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return random choices [env], each of the allowed ones equally likely.

    Args:
        uniform: [env] uniform in [0, 1).
        choices: number of choices.
        masks: [env, choice] allowed choices; None: all are.
    """
    if masks is None:
        return (uniform * choices).astype(np.int64)
    number = (uniform * masks.sum(axis=1)).astype(np.int64)  # of the choice among the allowed ones
    found: NDArray[np.int64] = (masks.cumsum(axis=1) > number[:, None]).argmax(axis=1)
    return found


class StepMasks(NamedTuple):
    """The masks after a step of a vector environment."""

    current: NDArray[np.bool_]
    """[env, choice] of the returned observations: where an episode ended, of the first of the next."""
    following: NDArray[np.bool_]
    """[env, choice] of the states that the transitions lead to: where an episode ended, of its last; all choices where
    it terminated, for nothing is bootstrapped from there."""


class MaskReader:
    """Reads the action masks of a vector environment, and refuses what would otherwise mean "everything is allowed".

    Args:
        env_id: the environment's id, for messages.
        action_space: of a single environment.
        given: whether the environment gives masks (`Problem.action_masks`); None: its first infos decide.
    """

    def __init__(self, env_id: str, action_space: Space[Any], given: bool | None = None) -> None:
        self.env_id = env_id
        self.action_space = action_space
        self.choices = num_choices(action_space)
        self.given = given
        self.steps = 0
        """Steps that were read since the environments were reset or restored, for messages."""

    def reset(self, infos: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Return the masks [env, choice] of a reset; None where the environment gives none.

        Args:
            infos: of the reset.

        Raises:
            ValueError: a mask is missing or wrong, or actions are no Discrete choice; one sentence says where.
        """
        self.steps = -1
        return self.current(infos)

    def current(self, infos: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Return the masks [env, choice] of the returned observations of a step; None where there are none.

        Args:
            infos: of the step.

        Raises:
            ValueError: a mask is missing or wrong; one sentence says where.
        """
        self.steps += 1
        if self.given is None:
            self.given = KEY in infos
        if not self.given and KEY not in infos:
            return None
        if not self.choices:
            raise ValueError(
                f"{self.env_id} gives info['{KEY}'], but its actions are {self.action_space}: only the choices of a"
                " Discrete space can be masked"
            )
        if not self.given:
            raise ValueError(self._sentence("info", 0, "must be in every info or in none: the first had none, got one"))
        return self._rows(infos, np.arange(len(infos.get(KEY, [0]))), "info")

    def step(
        self, infos: Mapping[str, Any], terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]
    ) -> StepMasks | None:
        """Return the `StepMasks` of a step; None where the environment gives no masks.

        Args:
            infos: of the step.
            terminated: [env].
            truncated: [env].

        Raises:
            ValueError: a mask is missing or wrong; one sentence says where.
        """
        current = self.current(infos)
        if current is None:
            return None
        following = current
        ended = terminated | truncated
        if ended.any():
            following = current.copy()
            following[ended] = True
            cut = np.flatnonzero(ended & ~terminated)
            if cut.size:
                following[cut] = self._rows(infos.get("final_info", {}), cut, "final_info")
        return StepMasks(current, following)

    def _rows(self, infos: Mapping[str, Any], env_indices: NDArray[np.int64], name: str) -> NDArray[np.bool_]:
        """Return the masks [n, choice] of some environments."""
        missing = np.zeros(len(env_indices), dtype=np.bool_)
        if KEY not in infos:
            missing[:] = True
        elif f"_{KEY}" in infos:
            missing = ~np.asarray(infos[f"_{KEY}"])[env_indices]
        if missing.any():
            env = int(env_indices[missing.argmax()])
            raise ValueError(self._sentence(name, env, "must be in every info or in none: the first had one, got none"))
        masks = infos.get(KEY, ())
        chosen = masks[env_indices] if isinstance(masks, np.ndarray) else [masks[env] for env in env_indices]
        try:
            rows: NDArray[np.bool_] = mask_array(chosen, (len(env_indices), self.choices)) == 1
        except ValueError as error:
            raise ValueError(self._sentence(name, None, str(error))) from None
        allowed = rows.any(axis=1)
        if not allowed.all():
            env = int(env_indices[allowed.argmin()])
            raise ValueError(self._sentence(name, env, "must allow at least one action, got zeros only"))
        return rows

    def _sentence(self, name: str, env: int | None, fault: str) -> str:
        """Return the one sentence that names the mask, where it was given, and what is wrong with it."""
        whose = "of all environments" if env is None else f"of environment {env}"
        return f"{self.env_id}: {name}['{KEY}'] {whose}, {self.steps} steps after a reset or resuming, {fault}"
