"""Several seeds trained as one batch: one agent with a learner for each seed, a run folder for each learner."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from morl.protocols import (
    Actions,
    BoolArray,
    DescribesMetrics,
    Evaluate,
    FloatArray,
    IndexArray,
    Observations,
    ReturnsParameters,
    SavedPolicy,
    StateDict,
    UsesActionMasks,
    VectorEnvironment,
)

if TYPE_CHECKING:
    from torch import Tensor


class Member:
    """One learner of an agent that trains several, seen as an agent of its own (`morl.protocols.Agent`).

    It cannot learn or be restored by itself: `learn` and `load_state_dict` raise.

    Args:
        together: the agent; its methods take the number of a learner.
        learner: which one this is.
    """

    def __init__(self, together: Any, learner: int) -> None:
        self.together = together
        self.learner = learner

    @property
    def steps(self) -> int:
        """Return the environment steps of this learner in training."""
        return int(self.together.steps)

    @property
    def pretraining_steps(self) -> int:
        """Return the environment steps of this learner before training proper."""
        return int(self.together.pretraining_steps)

    @property
    def updates(self) -> int:
        """Return the gradient updates of this learner."""
        return int(self.together.updates)

    @property
    def backend(self) -> str:
        """Return the name of the backend that executes the updates."""
        name: str = self.together.backend
        return name

    @property
    def metric_descriptions(self) -> Mapping[str, str]:
        """Return what the metrics mean; empty where the agent does not say."""
        return self.together.metric_descriptions if isinstance(self.together, DescribesMetrics) else {}

    @property
    def uses_action_masks(self) -> bool:
        """Return whether `act` takes action masks."""
        return isinstance(self.together, UsesActionMasks) and self.together.uses_action_masks

    def learn(self, envs: VectorEnvironment, total_steps: int, evaluate: Evaluate) -> Iterator[None]:
        """Refuse: all learners learn together."""
        raise NotImplementedError("one of several learners does not learn by itself")

    def act(
        self,
        observations: Observations,
        preferences: FloatArray,
        policies: IndexArray,
        masks: BoolArray | None = None,
    ) -> Actions:
        """Return the deterministic actions [env, ...] of this learner; `masks` [env, choice] are allowed choices."""
        extras = {} if masks is None else {"masks": masks}
        actions: Actions = self.together.act(observations, preferences, policies, self.learner, **extras)
        return actions

    def policies(self, preferences: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return the candidates for the front: policy ids [n] and the preference each acts for [n, objective]."""
        candidates: tuple[IndexArray, FloatArray] = self.together.policies(preferences)
        return candidates

    def metrics(self) -> dict[str, float]:
        """Return the training metrics of this learner."""
        return dict(self.together.metrics(self.learner))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this learner, as a run of its own would have it."""
        return dict(self.together.state_dict(self.learner))

    def load_state_dict(self, state: StateDict) -> None:
        """Refuse: a run that is resumed has one learner."""
        raise NotImplementedError("one of several learners is not restored by itself")

    def reset_episodes(self) -> None:
        """Refuse: a run that is resumed has one learner."""
        raise NotImplementedError("one of several learners is not restored by itself")

    def all_parameters(self) -> Iterable["Tensor"]:
        """Return the parameters that this learner learns at present; none where the agent does not return them."""
        if not isinstance(self.together, ReturnsParameters):
            return ()
        together: Any = self.together
        parameters: Iterable[Tensor] = together.all_parameters(self.learner)
        return parameters

    def export_policies(self) -> Mapping[int, SavedPolicy]:
        """Return copies of this learner's policies by id."""
        policies: Mapping[int, SavedPolicy] = self.together.export_policies(self.learner)
        return policies
