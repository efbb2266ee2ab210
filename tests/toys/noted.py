"""Loggers that note what they are told, or fail. On the path through conftest.py."""

from typing import Any

import morl
from morl.run_folder import EvaluationRecord

CALLS: list[tuple[str, int, Any]] = []
"""What `Noted` was told."""


class Noted(morl.Logger):
    """Notes what it is told."""

    def __init__(self, run: morl.LoggedRun) -> None:
        CALLS.clear()
        self.run = run
        CALLS.append(("open", run.first_step, run))

    def scalars(self, step: int, values: Any) -> None:
        CALLS.append(("scalars", step, values))

    def front(self, step: int, front: EvaluationRecord) -> None:
        CALLS.append(("front", step, front))

    def figure(self, step: int, name: str, picture: Any) -> None:
        CALLS.append(("figure", step, (name, picture)))

    def video(self, step: int, name: str, video: Any) -> None:
        CALLS.append(("video", step, (name, video)))

    def text(self, step: int, name: str, text: str) -> None:
        CALLS.append(("text", step, (name, text)))

    def close(self, complete: bool) -> None:
        CALLS.append(("close", 0, complete))


def told(method: str) -> list[Any]:
    return [(step, what) for name, step, what in CALLS if name == method]


class Lazy(morl.Logger):
    """Needs nothing of all this."""


class Failing(morl.Logger):
    """Fails in one of its methods."""

    method = "scalars"

    def __init__(self, run: morl.LoggedRun) -> None:
        del run

    def __getattribute__(self, name: str) -> Any:
        if name == type(self).method:
            return self.fail
        return super().__getattribute__(name)

    def fail(self, *_: Any) -> None:
        raise ConnectionError("the server\nis gone")


class Unopened(morl.Logger):
    """Cannot be opened."""

    def __init__(self, run: morl.LoggedRun) -> None:
        raise ConnectionRefusedError(f"no server for {run.name}")


class Noisy(morl.Logger):
    """Cannot be opened either."""

    def __init__(self, run: morl.LoggedRun) -> None:
        raise RuntimeError("too loud")
