"""A vector environment that can be closed for a while: where only some environments may live at once."""

from collections.abc import Callable

from morl.envs.core.contract import MultiObjectiveVectorEnv, MultiObjectiveVectorWrapper
from morl.envs.core.state import StateNotCapturable
from morl.envs.core.types import ActionBatch, Info, ObservationBatch, Options, SavedState, Seed, VectorStep
from morl.protocols import StateDict


class SuspendableVectorEnv(MultiObjectiveVectorWrapper):
    """A vector environment that `suspend` closes, and that is built again, in the same state, when it is next used.

    Args:
        build: builds the vector environment.
        before_resuming: called before it is built again: closes the environments that took its place.
    """

    def __init__(self, build: Callable[[], MultiObjectiveVectorEnv], before_resuming: Callable[[], None]) -> None:
        super().__init__(build())
        self.build = build
        self.before_resuming = before_resuming
        self.suspended = False
        self._was_reset = False
        self._saved: SavedState | None = None

    def suspend(self) -> None:
        """Save the state and close the environments; those that are suspended already stay so.

        Raises:
            StateNotCapturable: the state cannot be saved; the environments stay as they are.
        """
        if self.suspended:
            return
        self._saved = self.inner.state_dict() if self._was_reset else None
        self.env.close()
        self.suspended = True

    def reason_against_suspending(self) -> str | None:
        """Return why the state cannot be saved; None where it can. Called before anything else; episodes begin anew."""
        try:
            self.inner.reset(seed=0)
            self.inner.state_dict()
        except StateNotCapturable as reason:
            return str(reason)
        finally:
            self.env.close()
            self.suspended = True
        return None

    def reset(self, *, seed: Seed = None, options: Options = None) -> tuple[ObservationBatch, Info]:
        """Reset all environments."""
        self._resume()
        self._was_reset = True
        return self.inner.reset(seed=seed, options=options)  # type: ignore[arg-type] # it takes lists too

    def step(self, actions: ActionBatch) -> VectorStep:
        """Step all environments."""
        self._resume()
        return self.inner.step(actions)

    def state_dict(self) -> SavedState:
        """Return the state of all environments; suspended ones stay so."""
        if self.suspended and self._saved is not None:
            return self._saved
        self._resume()
        return self.inner.state_dict()

    def load_state_dict(self, saved: StateDict) -> None:
        """Continue exactly where `saved` was taken."""
        self._resume()
        self._was_reset = True
        self.inner.load_state_dict(saved)

    def close(self, **kwargs: object) -> None:
        """Close the environments, unless they are suspended."""
        if not self.suspended:
            self.env.close(**kwargs)

    def _resume(self) -> None:
        if not self.suspended:
            return
        self.before_resuming()
        self.env = self.build()
        self.suspended = False
        if self._saved is not None:
            self.inner.load_state_dict(self._saved)
            self._saved = None
