"""The state of any environment as plain data: walk its objects, write down what can change, build them anew.

`capture(env)` follows attributes, containers and closures from the outermost wrapper inward and returns plain data
(`morl.envs.core.state_format`); `restore(env, saved)` binds the same objects, built anew, to a freshly built
environment, so that it continues exactly where the other one was. What is fixed once an environment is built is left
out: classes, functions, modules, Gymnasium specs, images and fonts. What can change but cannot be written down raises
`StateNotCapturable`. `Verification` finds out when saving whether a state can be restored.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, TypeAlias

from morl.envs.core.state_capture import Capture
from morl.envs.core.state_format import Record, State, StateNotCapturable, Value, same
from morl.envs.core.state_restore import Restore
from morl.envs.core.types import BuildEnv, Env

__all__ = ["State", "StateNotCapturable", "Verification", "capture", "restore", "same"]

Restored: TypeAlias = Any
"""The restored root."""


def capture(root: object) -> State:
    """Return everything that can change in `root`, as dicts and lists of arrays, numbers and strings.

    Raises:
        StateNotCapturable: naming the path of the first object that cannot be saved, or what an object raised.
    """
    walk = Capture()
    try:
        return walk.run(root)
    except StateNotCapturable:
        raise
    except Exception as error:
        raise StateNotCapturable(f"the state cannot be saved: an object in it raised {error!r}") from error


def restore(root: object, saved: State) -> Restored:
    """Bind `saved` to `root` and return it (a new object where `root` is plain data).

    Raises:
        StateNotCapturable: an object of the saved state cannot be built.
    """
    try:
        return Restore(root, saved).run()
    except StateNotCapturable:
        raise
    except Exception as error:
        raise StateNotCapturable(f"the state cannot be restored: {error!r}") from error


class Verification:
    """Restores a saved state into a new environment and compares, once for each new kind of object in it.

    Args:
        build: builds the environment. One is alive during a check; where no second one can be built, states are taken
            to be good.
    """

    def __init__(self, build: BuildEnv) -> None:
        self.build = build
        self.checked: set[str] = set()

    def __call__(self, saved: State) -> None:
        """Raise StateNotCapturable where `saved` cannot be restored, or is not the same after it."""
        kinds = {_kind(record) for record in saved["objects"]}
        if kinds <= self.checked:
            return
        try:
            probe = self.build()
        except Exception:  # a licence for one instance, for example
            return
        with closing(probe):
            try:
                self._compare(probe, saved)
            except StateNotCapturable:
                raise
            except Exception as error:
                raise StateNotCapturable(f"the state cannot be restored: {error!r}") from error
        self.checked |= kinds

    def _compare(self, probe: Env, saved: State) -> None:
        probe.reset(seed=0)  # environments build part of their state on the first reset
        again = capture(restore(probe, saved))
        if any(record.get("unordered") for record in saved["objects"]):
            return  # sets of objects with hashes by address: neither order nor numbers can be compared
        if len(again["objects"]) != len(saved["objects"]):
            raise StateNotCapturable("a restored environment holds other objects than the saved one")
        for one, other in zip(saved["objects"], again["objects"], strict=True):
            if not same(one, other):
                raise StateNotCapturable(f"a restored {one.get('class', one['kind'])} differs from the saved one")


def _kind(record: Record) -> str:
    """Return what tells kinds of objects apart: class, names of attributes, and functions and constants inside."""
    names = ",".join(record.get("attributes", {}))
    inside = sorted({*_names(record)})
    return f"{record['kind']} {record.get('class', '')} {names} {inside}"


def _names(value: Value) -> Iterator[str]:
    """Yield the functions, classes and constants that a record names."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("function", "constant", "enum", "class", "bits") and isinstance(part, str):
                yield part
            else:
                yield from _names(part)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, dict) and "ref" not in part:
                yield from _names(part)
