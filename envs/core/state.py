"""The state of any environment as plain data: walk its objects, write down what can change, write it back.

`capture(env)` follows attributes, containers and closures from the outermost wrapper inward and returns nested dicts of
arrays, numbers and strings; `restore(env, saved)` writes them into a freshly built environment, so that it continues
exactly where the other one was. What is fixed once built is left out: classes, functions, modules, Gymnasium specs,
MuJoCo models, images and fonts. What can change but cannot be written down raises `StateNotCapturable`.
"""

import contextlib
import enum
import random
import types
from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec


class StateNotCapturable(ValueError):
    """An object reached from the environment is neither plain data nor constant; the message has its path."""


_ATOMS = (type(None), bool, int, float, str)
_CONSTANT = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    EnvSpec,
)
_CONSTANT_MODULES = ("pygame", "OpenGL", "glfw", "logging", "threading", "_thread")
_MUJOCO_CONSTANT = ("MjModel", "MjvOption", "MjvCamera", "MjrContext", "MjvScene", "MjSpec")
_SEQUENCES: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}

Saved = dict[str, Any]


def capture(root: object) -> Saved:
    """Return everything that can change in `root`, as dicts of arrays, numbers and strings.

    Raises:
        StateNotCapturable: naming the path of the first object that cannot be saved.
    """
    return _Capture().visit(root, "env")


def restore(root: Any, saved: Saved) -> Any:
    """Write `saved` back into `root` and return it (a new object where `root` is plain data).

    Raises:
        StateNotCapturable: `root` lacks an object that the saved state speaks of.
    """
    return _Restore().visit(root, saved, "env")


def is_constant(value: object) -> bool:
    """Return whether `value` never changes once an environment is built."""
    module = _module(value)
    return (
        isinstance(value, _CONSTANT)
        or module.split(".")[0] in _CONSTANT_MODULES
        or (module.startswith("mujoco") and type(value).__name__ in _MUJOCO_CONSTANT)
    )


def attributes(value: object) -> dict[str, Any]:
    """Return the instance attributes, slots included."""
    found: dict[str, Any] = {}
    for kind in reversed(type(value).__mro__):
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    found.update(getattr(value, "__dict__", {}))
    return found


class _Capture:
    """One walk. `seen` turns a second visit to the same object into a reference, which also ends cycles."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.alive: list[object] = []  # ids stay unique only while the objects live

    def visit(self, value: Any, path: str) -> Saved:  # noqa: C901 - one line per kind of object
        if isinstance(value, enum.Enum):
            return {"kind": "enum", "name": value.name}
        if isinstance(value, np.str_):
            return {"kind": "atom", "value": str(value), "int": False}
        if type(value) in _ATOMS:
            return {"kind": "atom", "value": str(value) if type(value) is int else value, "int": type(value) is int}
        if is_constant(value):
            return {"kind": "constant"}
        if isinstance(value, np.generic):
            return {"kind": "scalar", "value": np.array(value)}
        if id(value) in self.seen:
            return {"kind": "again", "number": self.seen[id(value)]}
        self.seen[id(value)] = len(self.alive)
        self.alive.append(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            return {"kind": "array", "value": value.copy()}
        if isinstance(value, np.ndarray):  # strings and objects
            return {"kind": "objects", "items": [self.visit(item, f"{path}[{i}]") for i, item in enumerate(value.flat)]}
        if isinstance(value, dict):
            keys = [self.visit(key, f"{path} key {key!r}") for key in value]
            return {"kind": "dict", "keys": keys, "items": [self.visit(v, f"{path}[{k!r}]") for k, v in value.items()]}
        if isinstance(value, list | tuple | set | frozenset | deque) and type(value).__name__ in _SEQUENCES:
            items = [self.visit(item, f"{path}[{index}]") for index, item in enumerate(value)]
            return {"kind": type(value).__name__, "items": items}
        if isinstance(value, np.random.Generator | np.random.RandomState):
            bits = value.bit_generator if isinstance(value, np.random.Generator) else value._bit_generator
            return {"kind": "generator", "name": type(bits).__name__, "state": self.visit(bits.state, f"{path}.state")}
        if isinstance(value, random.Random):
            return {"kind": "random", "state": self.visit(value.getstate(), f"{path}.state")}
        if isinstance(value, gymnasium.Space):  # bounds are constant; only the generator behind `sample` moves
            return {"kind": "object", "class": _name(value), "attributes": self._space(value, path)}
        if _module(value).startswith("mujoco") and type(value).__name__ == "MjData":
            fields = mujoco_fields(value)
            return {"kind": "mujoco", "fields": {k: self.visit(v, f"{path}.{k}") for k, v in fields.items()}}
        return self._object(value, path)

    def _space(self, space: Any, path: str) -> dict[str, Saved]:
        names = [name for name in ("_np_random", "spaces") if hasattr(space, name)]
        return {name: self.visit(getattr(space, name), f"{path}.{name}") for name in names}

    def _object(self, value: Any, path: str) -> Saved:
        if isinstance(value, types.MethodType):
            return {"kind": "method", "self": self.visit(value.__self__, f"{path}.__self__")}
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return {"kind": "function", "cells": [self.visit(v, f"{path} closure {i}") for i, v in enumerate(cells)]}
        if not hasattr(value, "__dict__") and not any(
            "__slots__" in kind.__dict__ for kind in type(value).__mro__[:-1]
        ):
            raise StateNotCapturable(f"{path} is a {_name(value)}, whose state cannot be saved")
        inside = {name: self.visit(item, f"{path}.{name}") for name, item in attributes(value).items()}
        return {"kind": "object", "class": _name(value), "attributes": inside}


class _Restore:
    """The same walk over a fresh environment, in the same order, so that the numbers of shared objects agree."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def visit(self, current: Any, saved: Saved, path: str) -> Any:
        kind = saved["kind"]
        if kind == "enum":
            return type(current)[saved["name"]]
        if kind == "atom":
            return int(saved["value"]) if saved["int"] else saved["value"]
        if kind == "constant":
            return current
        if kind == "scalar":
            return np.asarray(saved["value"])[()]
        if kind == "again":
            return self.seen[saved["number"]]
        number = len(self.seen)
        self.seen.append(None)
        if kind in ("tuple", "frozenset"):  # cannot be filled in place; no environment puts one inside itself
            old = list(current) if isinstance(current, tuple) else []
            value: Any = _SEQUENCES[kind](self._items(old, saved["items"], path))
        else:
            value = self._prepare(current, saved, path)
            self.seen[number] = value
            self._fill(value, saved, path)
        self.seen[number] = value
        return value

    def _prepare(self, current: Any, saved: Saved, path: str) -> Any:
        """Return the object to fill: a new one for plain data, the existing one otherwise."""
        kind = saved["kind"]
        if kind == "array":
            return np.array(saved["value"])
        if kind in ("dict", "list", "set", "deque"):
            fresh = {"dict": dict, **_SEQUENCES}[kind]
            return current if isinstance(current, fresh) else fresh()
        if kind == "generator" and not isinstance(current, np.random.Generator | np.random.RandomState):
            return np.random.Generator(getattr(np.random, saved["name"])())
        if kind == "random" and not isinstance(current, random.Random):
            return random.Random()
        if kind == "object" and _name(current) != saved["class"]:
            raise StateNotCapturable(f"{path} is a {_name(current)} here and was a {saved['class']} when saved")
        return current

    def _fill(self, value: Any, saved: Saved, path: str) -> None:  # noqa: C901 - one line per kind of object
        kind = saved["kind"]
        if kind == "objects":
            for index, item in enumerate(self._items(list(value.flat), saved["items"], path)):
                value.flat[index] = item
        elif kind == "dict":
            self._fill_dict(value, saved, path)
        elif kind in ("list", "deque"):
            items = self._items(list(value), saved["items"], path)
            value.clear()
            value.extend(items)
        elif kind == "set":
            items = self._items([], saved["items"], path)
            value.clear()
            value.update(items)
        elif kind == "generator":
            bits = value.bit_generator if isinstance(value, np.random.Generator) else value._bit_generator
            bits.state = self.visit({}, saved["state"], f"{path}.state")
        elif kind == "random":
            value.setstate(self.visit((), saved["state"], f"{path}.state"))
        elif kind == "mujoco":
            for name, field in saved["fields"].items():
                _write_field(value, name, self.visit(None, field, f"{path}.{name}"))
        elif kind == "method":
            self.visit(value.__self__, saved["self"], f"{path}.__self__")
        elif kind == "function":
            for index, (cell, item) in enumerate(zip(value.__closure__ or (), saved["cells"], strict=True)):
                cell.cell_contents = self.visit(cell.cell_contents, item, f"{path} closure {index}")
        elif kind == "object":
            for name, item in saved["attributes"].items():
                current = getattr(value, name, None)
                restored = self.visit(current, item, f"{path}.{name}")
                if restored is not current:
                    object.__setattr__(value, name, restored)

    def _fill_dict(self, value: dict[Any, Any], saved: Saved, path: str) -> None:
        keys = [self.visit(None, key, path) for key in saved["keys"]]
        items = [self.visit(value.get(k), item, f"{path}[{k!r}]") for k, item in zip(keys, saved["items"], strict=True)]
        value.clear()
        value.update(zip(keys, items, strict=True))

    def _items(self, current: list[Any], saved: list[Saved], path: str) -> list[Any]:
        padded = current[: len(saved)] + [None] * (len(saved) - len(current))
        return [self.visit(old, item, f"{path}[{i}]") for i, (old, item) in enumerate(zip(padded, saved, strict=True))]


def mujoco_fields(data: Any) -> dict[str, Any]:
    """Return every numeric field of an `MjData` that outlives a step: its fixed-size arrays and its numbers.

    Contacts and constraint rows live in an arena that each `mj_step` rebuilds from these fields.
    """
    fields = {}
    for name in dir(data):
        if name.startswith("_") or name in _MUJOCO_TRANSIENT:
            continue
        value = getattr(data, name)
        if (isinstance(value, np.ndarray) and value.dtype.kind in "biuf") or isinstance(value, int | float):
            fields[name] = value
    return fields


_MUJOCO_TRANSIENT = ("signature", "narena", "nbuffer", "nplugin", "pstack", "pbase", "parena", "arena", "buffer")


def _write_field(data: Any, name: str, value: Any) -> None:
    target = getattr(data, name)
    if isinstance(target, np.ndarray):
        if target.shape == np.shape(value):  # arena arrays (contacts, constraints) change size and need no restoring
            target[...] = value
    else:
        with contextlib.suppress(AttributeError):  # a read-only counter
            setattr(data, name, value)


def _name(value: object) -> str:
    return f"{_module(value)}.{type(value).__qualname__}"


def _module(value: object) -> str:
    """Return the name of the module that the value's class is from; types of SWIG, as Box2D has them, say nothing."""
    return getattr(type(value), "__module__", None) or ""
