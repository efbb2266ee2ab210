"""`on_step`: a function of the user's that sees a run wherever its state is consistent, and may end it."""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from morl.experiment.figures import DrawnPicture, Frames
from morl.experiment.loggers import LoggedFront
from morl.experiment.session import Session

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUSTOM = "custom/"
"""How the names of what `Progress` logs begin: they never meet those of an agent."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of a run that is passed to `on_step`. It does not change later, so you may store it.

    Attributes:
        step: environment steps of training so far; 0 in pre-training.
        pretraining_steps: environment steps before training proper.
        total_steps: environment steps of training that the run will have.
        seed: of the run; with several seeds, `on_step` sees each of them.
        run_dir: the run folder; `morl.load(run_dir)` works from the first evaluation on.
        metrics: the newest value of each metric in metrics.jsonl, which is written every `log_every` steps; NaN where
            it is not finite.
        front: the newest evaluation: points, preferences, policy_ids, indicators, training_steps; None before the
            first.
        new_front: whether this evaluation is newer than the call before.
    """

    step: int
    pretraining_steps: int
    total_steps: int
    seed: int
    run_dir: Path
    metrics: Mapping[str, float]
    front: LoggedFront | None
    new_front: bool
    _session: Session = field(repr=False, compare=False)

    @property
    def indicators(self) -> dict[str, float]:
        """Return the indicators of the newest evaluation, such as "hypervolume"; empty before the first."""
        found = {} if self.front is None else self.front.indicators
        return {name: float(value) for name, value in found.items() if value is not None and np.isfinite(value)}

    def log(self, values: Mapping[str, SupportsFloat]) -> None:
        """Record numbers as "custom/<name>" in metrics.jsonl and in all loggers.

        Raises:
            ValueError: a value is not a number.
        """
        self._session.reporter.open_recorder.metrics(
            self.step, {f"{CUSTOM}{name}": value for name, value in values.items()}
        )

    def log_figure(self, name: str, figure: "Figure") -> None:
        """Record a matplotlib figure in all loggers that take figures, as "custom/<name>".

        Raises:
            ValueError: it is no figure.
        """
        if not callable(getattr(figure, "savefig", None)):
            raise ValueError(f"figure is {figure!r:.100}, but must be a matplotlib figure")
        self._session.reporter.open_recorder.figure(f"{CUSTOM}{name}", DrawnPicture(lambda: figure))

    def log_video(self, name: str, frames: NDArray[np.uint8], fps: float = 30.0) -> None:
        """Record a video in all loggers that take videos, as "custom/<name>".

        Args:
            name: of the video.
            frames: uint8 [frame, height, width, 3].
            fps: frames per second.

        Raises:
            ValueError: the frames have another type or shape.
        """
        self._session.reporter.open_recorder.video(f"{CUSTOM}{name}", Frames(frames, fps))

    def log_text(self, name: str, text: str) -> None:
        """Record a text (Markdown) in all loggers that take texts, as "custom/<name>".

        Raises:
            ValueError: it is no text.
        """
        if not isinstance(text, str):
            raise ValueError(f"text is {text!r:.100}, but must be a string")
        self._session.reporter.open_recorder.text(f"{CUSTOM}{name}", text)


OnStep: TypeAlias = Callable[[Progress], bool | None]
"""Sees a run wherever its state is consistent; True ends it."""


def check_on_step(on_step: OnStep) -> None:
    """Check that `on_step` can be called with the progress of a run, before the run begins.

    Raises:
        ValueError: it is no function of one argument, or one that does not run when it is called.
    """
    if not callable(on_step) or inspect.isclass(on_step):
        raise ValueError(f"on_step is {on_step!r:.100}, but must be a function of morl.Progress")
    if inspect.iscoroutinefunction(on_step) or inspect.isgeneratorfunction(on_step):
        raise ValueError(f"on_step is {on_step!r:.100}, but must be a plain function: neither async nor a generator")
    try:
        signature = inspect.signature(on_step)
    except ValueError:  # built-in functions do not tell
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise ValueError(f"on_step{signature} must take one argument, the morl.Progress: {error}") from None


class StepObserver:
    """Calls `on_step` for each learner of a run.

    Args:
        on_step: the function; None: nothing is done.
        sessions: one for each learner.
    """

    def __init__(self, on_step: OnStep | None, sessions: Sequence[Session]) -> None:
        self._on_step = on_step
        self._asked = list(sessions) if on_step is not None else []
        self._stopped: list[Session] = []
        # Training step of the front that each learner's call saw last; an earlier process has shown what it saved.
        self._seen = [_front_step(session) for session in self._asked]
        self._numpy = np.random.MT19937()  # the global generators as the function sees them
        self._torch = torch.get_rng_state()
        self._python = random.getstate()

    def __call__(self) -> bool:
        """Call the function for each learner that it has not ended; return whether it has now ended all of them.

        Raises:
            TypeError: it returned something else than True, False or None.
        """
        if self._on_step is None:
            return False
        for number, session in enumerate(self._asked):
            if session not in self._stopped and self._ends(number, session):
                self._stopped.append(session)
        return len(self._stopped) == len(self._asked)

    def has_new_front(self) -> bool:
        """Return whether there is a function, and a front that it has not seen."""
        return any(_front_step(session) > seen for session, seen in zip(self._asked, self._seen, strict=True))

    def _ends(self, number: int, session: Session) -> bool:
        """Call the function for one learner, and return whether it ends that learner's run."""
        assert self._on_step is not None
        recorder = session.reporter.open_recorder
        front_step = _front_step(session)
        settings = session.experiment.settings
        progress = Progress(
            step=session.agent.steps,
            pretraining_steps=session.agent.pretraining_steps,
            total_steps=settings.total_steps,
            seed=settings.seed,
            run_dir=session.run_dir,
            metrics=recorder.latest,
            front=recorder.last_front,
            new_front=front_step > self._seen[number],
            _session=session,
        )
        self._seen[number] = front_step
        with self._apart():
            answer = self._on_step(progress)
        if answer is not None and not isinstance(answer, bool | np.bool_):
            raise TypeError(f"on_step returned {answer!r:.100}, but must return True to end the run, or False or None")
        return bool(answer)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Give the block global random generators of its own, and undo what it sets in torch and NumPy.

        The run's stay as they are: agents of Stable-Baselines3 draw from the global generators.
        """
        # Exchanging NumPy's generators is far cheaper than copying their states.
        numpy_generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
        torch_state = torch.get_rng_state()
        settings = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads())
        python_state = random.getstate()
        np.random.set_bit_generator(self._numpy)  # type: ignore[attr-defined]
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        try:
            with np.errstate():
                yield
        finally:
            self._python = random.getstate()
            random.setstate(python_state)
            self._torch = torch.get_rng_state()
            np.random.set_bit_generator(numpy_generator)  # type: ignore[attr-defined]
            torch.set_rng_state(torch_state)
            if settings != (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()):
                torch.set_grad_enabled(settings[0])
                torch.set_default_dtype(settings[1])
                torch.set_num_threads(settings[2])


def _front_step(session: Session) -> int:
    front = session.reporter.open_recorder.last_front
    return -1 if front is None else front.training_steps
