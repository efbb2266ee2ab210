"""`capture`: walk the objects of an environment and write down all that can change."""

import datetime
import decimal
import enum
import functools
import random
import sys
import threading
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from morl.envs.core.state_format import (
    PYGAME_VALUES,
    Record,
    State,
    StateNotCapturable,
    Thing,
    Value,
    attributes,
    builtin_base,
    class_name,
    constant_name,
    encode_array,
    enum_value,
    function_name,
    has_hidden_state,
    is_constant,
    module_of,
    slot_names,
)
from morl.envs.core.state_sets import has_salted_hash, hashed_by_address, insertion_order, sort_key
from morl.envs.core.types import Array

Encoder: TypeAlias = Callable[["Capture", Thing, int], Record]

Label: TypeAlias = str | tuple[Any]
"""The last part of an object's path: text, or a tuple with an index or a key."""

LARGEST_INT = 2**63
CONTENTS: dict[type, Callable[[Any], Thing]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: bytes.__bytes__,
    bytearray: bytes,
}
"""How the plain value of a subclass of a built-in type is read, whatever the subclass overrides."""
LOCKS = {type(threading.Lock()): "Lock", type(threading.RLock()): "RLock"}
TRANSIENT = (
    "signature",
    "narena",
    "nbuffer",
    "nplugin",
    "pstack",
    "pbase",
    "parena",
    "arena",
    "buffer",
    "names",
    "paths",
)
"""Fields of MuJoCo's structures that say nothing about the state."""
BULK = ("mesh_", "tex_", "hfield_", "skin_", "text_", "bvh_", "oct_", "name", "flex_", "flexedge_", "key_")
"""Fields of `MjModel` that are read from files and large."""


class Capture:
    """One walk. Each object is recorded once; further visits are references, which also ends cycles."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.things: list[Thing] = []  # ids stay unique only while the objects live
        self.numbers: dict[int, int] = {}
        self.parents: list[tuple[int, Label]] = []
        self.references: list[int] = []
        self.pending: list[int] = []

    def run(self, root: Thing) -> State:
        """Return the state of everything that can be reached from `root`."""
        value = self.value(root, -1, "env")
        while self.pending:
            number = self.pending.pop()
            thing = self.things[number]
            self.records[number] = _encoder(thing)(self, thing, number)
        self._drop_bases()
        for record in self.records:
            if record["kind"] == "array":
                record |= encode_array(record.pop("array"))
        return {"root": value, "objects": self.records}

    def path(self, number: int) -> str:
        """Return the path from the environment to an object, for messages."""
        labels = []
        while number >= 0:
            number, label = self.parents[number]
            labels.append(label if isinstance(label, str) else f"[{label[0]!r}]")
        return "".join(reversed(labels))

    def value(self, thing: Thing, parent: int, label: Label) -> Value:
        """Return a plain value, or a reference to the record of an object, which is written later."""
        kind = type(thing)
        if thing is None or kind is bool or kind is float or kind is str:
            return thing
        if kind is int:
            return thing if -LARGEST_INT <= thing < LARGEST_INT else {"int": str(thing)}
        simple = self._simple(thing)
        if simple is not None:
            return simple
        number = self.numbers.get(id(thing))
        if number is None:
            number = len(self.things)
            self.numbers[id(thing)] = number
            self.things.append(thing)
            self.records.append({})
            self.parents.append((parent, label))
            self.references.append(0)
            self.pending.append(number)
        self.references[number] += 1
        return {"ref": number}

    def _simple(self, thing: Thing) -> Value:
        """Return the value of an immutable object that needs no record, or None."""
        kind = type(thing)
        if isinstance(thing, np.generic):
            return {"scalar": encode_array(np.asarray(thing))}
        if kind is bytes:
            return {"bytes": np.frombuffer(thing, dtype=np.uint8)}
        if kind is complex:
            return {"complex": [thing.real, thing.imag]}
        if isinstance(thing, enum.Enum):
            return {"enum": class_name(kind), "member": self.value(enum_value(thing), -1, "")}
        if kind in (range, slice) and all(part is None or type(part) is int for part in _bounds(thing)):
            return {kind.__name__: _bounds(thing)}
        if isinstance(thing, np.dtype):
            return {"dtype": repr(np.lib.format.dtype_to_descr(thing))}
        if kind in LOCKS:
            return {"lock": LOCKS[kind]}
        if kind is types.FunctionType and not thing.__closure__:
            return {"function": function_name(thing)}
        return {"constant": constant_name(thing)} if is_constant(thing) else None

    def is_simple(self, thing: Thing) -> bool:
        """Return whether an object needs no record."""
        return thing is None or self._simple(thing) is not None

    def items(self, things: Iterable[Thing], parent: int) -> Value:
        """Return the values of a sequence; many numbers or strings of one type become one array or list."""
        listed = list(things)
        kinds = set(map(type, listed))
        if len(kinds) == 1 and len(listed) > 1:
            kind = kinds.pop()
            if kind is str:
                return {"texts": listed}
            if kind in (float, bool):
                return {"numbers": np.array(listed, dtype=kind)}
            if kind is int and min(listed) >= -LARGEST_INT and max(listed) < LARGEST_INT:
                return {"numbers": np.array(listed, dtype=np.int64)}
            if issubclass(kind, np.number | np.bool_) and kind is not np.longdouble:
                return {"scalars": encode_array(np.array(listed, dtype=kind))}
        return [self.value(thing, parent, (index,)) for index, thing in enumerate(listed)]

    def named_values(self, things: dict[str, Thing], parent: int) -> dict[str, Value]:
        """Return the values of attributes by name."""
        return {name: self.value(thing, parent, f".{name}") for name, thing in things.items()}

    def refuse(self, thing: Thing, number: int, reason: str = "whose state cannot be saved") -> StateNotCapturable:
        """Return the error that names an object."""
        return StateNotCapturable(f"{self.path(number)} is a {class_name(type(thing)).replace(':', '.')}, {reason}")

    def base_of(self, thing: Thing, number: int) -> type:
        """Return the built-in type that an object extends.

        Raises:
            StateNotCapturable: it holds more than that, its attributes and its slots.
        """
        base = builtin_base(type(thing))
        if has_hidden_state(type(thing), base):
            raise self.refuse(thing, number)
        return base

    def _drop_bases(self) -> None:
        """Save views of an array that nothing else refers to as arrays of their own."""
        for record in self.records:
            if record["kind"] != "view":
                continue
            base = record["base"]["ref"]
            if self.references[base] == 1 and self.records[base]["kind"] == "array":
                self.records[base] = {"kind": "unused"}
                record["kind"] = "array"
                for name in ("base", "offset", "strides"):
                    record.pop(name)
                record.pop("shape")
                record.pop("dtype")
            else:
                record.pop("array")


def plain(state: Thing) -> Value:
    """Return the state of a generator (dicts, tuples, numbers, strings, arrays) without records."""
    if isinstance(state, dict):
        return {"dict": {name: plain(part) for name, part in state.items()}}
    if isinstance(state, tuple):
        if len(state) > 1 and all(type(part) is int and 0 <= part < LARGEST_INT for part in state):
            return {"integers": np.array(state, dtype=np.int64)}
        return {"tuple": [plain(part) for part in state]}
    if isinstance(state, np.ndarray):
        return {"array": encode_array(state)}
    return {"int": str(state)} if type(state) is int else state


def _bounds(thing: range | slice) -> list[Any]:
    return [thing.start, thing.stop, thing.step]


def _array(capture: Capture, thing: Array, number: int) -> Record:
    """Return an array, a view of another array, or an array of objects, subclasses with their attributes."""
    capture.base_of(thing, number)
    record: Record = {"class": class_name(type(thing))}
    record["attributes"] = capture.named_values(attributes(thing), number)
    if thing.dtype == object:
        items = capture.items(thing.ravel().tolist(), number)
        return {"kind": "objects", "shape": list(thing.shape), "items": items, **record}
    if thing.dtype.hasobject:
        raise capture.refuse(thing, number, f"whose dtype {thing.dtype} cannot be saved")
    plain = np.asarray(thing)
    base = thing.base
    while isinstance(base, np.ndarray) and isinstance(base.base, np.ndarray):
        base = base.base
    if isinstance(base, np.ndarray) and (base.flags.c_contiguous or base.flags.f_contiguous) and base.size:
        return {
            "kind": "view",
            "array": plain,
            "base": capture.value(base, number, ".base"),
            "offset": thing.__array_interface__["data"][0] - base.__array_interface__["data"][0],
            "shape": list(thing.shape),
            "strides": list(thing.strides),
            "dtype": repr(np.lib.format.dtype_to_descr(thing.dtype)),
            **record,
        }
    return {"kind": "array", "array": plain, **record}


def _dict(capture: Capture, thing: dict[Thing, Thing], number: int) -> Record:
    base = capture.base_of(thing, number)
    keys = list(OrderedDict.__iter__(thing) if isinstance(thing, OrderedDict) else dict.__iter__(thing))
    record = {
        "kind": "dict",
        "class": class_name(type(thing)),
        "attributes": capture.named_values(attributes(thing), number),
        "keys": capture.items(keys, number),
        "items": _dict_items(capture, thing, keys, number),
    }
    if base is defaultdict:
        record["factory"] = capture.value(getattr(thing, "default_factory", None), number, ".default_factory")
    return record


def _dict_items(capture: Capture, thing: dict[Thing, Thing], keys: list[Thing], number: int) -> Value:
    things = [dict.__getitem__(thing, key) for key in keys]
    if len(things) > 1 and len(set(map(type, things))) == 1 and type(things[0]) in (float, int, bool, str):
        return capture.items(things, number)
    return [capture.value(item, number, (key,)) for key, item in zip(keys, things, strict=True)]


def _sequence(capture: Capture, thing: Iterable[Thing], number: int) -> Record:
    """Return a list, tuple or deque, or an instance of a subclass of one, its attributes included."""
    base = capture.base_of(thing, number)
    record = {
        "kind": base.__name__,
        "class": class_name(type(thing)),
        "attributes": capture.named_values(attributes(thing), number),
        "items": capture.items(base.__iter__(thing), number),  # type: ignore[attr-defined]
    }
    if isinstance(thing, deque):
        record["maxlen"] = thing.maxlen
    return record


def _set(capture: Capture, thing: set[Thing] | frozenset[Thing], number: int) -> Record:
    """Return a set or frozenset; its items are in an order whose insertion gives the order of iteration.

    Where hashes differ from process to process (of strings, for example), the order of iteration does too: any will do.
    """
    base = capture.base_of(thing, number)
    items = list(base.__iter__(thing))  # type: ignore[attr-defined]
    salted = any(map(has_salted_hash, items))
    order = sorted(items, key=sort_key) if salted else insertion_order(items)
    if order is None:
        raise capture.refuse(thing, number, "whose order of iteration cannot be restored")
    record = {
        "kind": base.__name__,
        "class": class_name(type(thing)),
        "attributes": capture.named_values(attributes(thing), number),
        "items": capture.items(order, number),
    }
    if len(items) > 1 and any(map(hashed_by_address, items)):
        record["unordered"] = True
    hashable = (tuple, frozenset, str, int, float, complex, bytes)
    if base is frozenset and not all(isinstance(item, hashable) or capture.is_simple(item) for item in items):
        raise capture.refuse(thing, number, "which holds objects, whose state cannot be saved")
    return record


def _number(capture: Capture, thing: Thing, number: int) -> Record:
    """Return an instance of a subclass of int, float, complex, str or bytes, or a bytearray."""
    base = capture.base_of(thing, number)
    content = CONTENTS[base](thing)
    return {
        "kind": "number",
        "base": base.__name__,
        "class": class_name(type(thing)),
        "content": capture.value(content, number, ""),
        "attributes": capture.named_values(attributes(thing), number),
    }


def _generator(capture: Capture, thing: np.random.Generator, number: int) -> Record:  # noqa: ARG001
    bits = thing.bit_generator
    return {
        "kind": "generator",
        "class": class_name(type(thing)),
        "bits": class_name(type(bits)),
        "state": plain(bits.state),
    }


def _legacy_generator(capture: Capture, thing: np.random.RandomState, number: int) -> Record:
    if thing is np.random.mtrand._rand:
        raise capture.refuse(thing, number, "NumPy's global generator, which other code draws from too")
    state = thing.get_state(legacy=False)
    return {"kind": "legacy generator", "class": class_name(type(thing)), "state": plain(state)}


def _bits(capture: Capture, thing: np.random.BitGenerator, number: int) -> Record:  # noqa: ARG001 - as all encoders
    return {"kind": "bits", "class": class_name(type(thing)), "state": plain(thing.state)}


def _random(capture: Capture, thing: random.Random, number: int) -> Record:
    if thing is random._inst:
        raise capture.refuse(thing, number, "Python's global generator, which other code draws from too")
    return {
        "kind": "random",
        "class": class_name(type(thing)),
        "state": plain(thing.getstate()),
        "attributes": capture.named_values(attributes(thing), number),
    }


def _space(capture: Capture, thing: gymnasium.Space[Any], number: int) -> Record:
    """Return a space: its bounds are constant, and only the generator behind `sample` moves."""
    parts = {name: getattr(thing, name) for name in ("_np_random", "spaces") if hasattr(thing, name)}
    return {"kind": "space", "class": class_name(type(thing)), "attributes": capture.named_values(parts, number)}


def _method(capture: Capture, thing: types.MethodType, number: int) -> Record:
    owner = capture.value(thing.__self__, number, ".__self__")
    if not isinstance(thing.__func__, types.FunctionType):  # of a class written in Cython, such as NumPy's Generator
        return {"kind": "builtin method", "self": owner, "name": thing.__name__}
    return {"kind": "method", "self": owner, "function": capture.value(thing.__func__, number, ".__func__")}


def _builtin_method(capture: Capture, thing: types.BuiltinMethodType, number: int) -> Record:
    owner = capture.value(thing.__self__, number, ".__self__")
    return {"kind": "builtin method", "self": owner, "name": thing.__name__}


def _function(capture: Capture, thing: types.FunctionType, number: int) -> Record:
    """Return a function with a closure, whose cells may change."""
    cells = []
    for index, cell in enumerate(thing.__closure__ or ()):
        try:
            cells.append(capture.value(cell.cell_contents, number, f" closure {index}"))
        except ValueError:  # an empty cell
            cells.append({"empty": True})
    return {"kind": "closure", "function": function_name(thing), "cells": cells}


def _partial(capture: Capture, thing: functools.partial[Thing], number: int) -> Record:
    return {
        "kind": "partial",
        "callable": capture.value(thing.func, number, ".func"),
        "items": capture.items(thing.args, number),
        "keywords": capture.named_values(thing.keywords, number),
    }


def _reduced(capture: Capture, thing: Thing, number: int) -> Record:
    """Return a date, a time or a decimal number by the arguments of its constructor."""
    if module_of(thing) not in ("datetime", "decimal"):
        raise capture.refuse(thing, number)
    return {"kind": "reduced", "class": class_name(type(thing)), "items": capture.items(thing.__reduce__()[1], number)}


def _pygame(capture: Capture, thing: Thing, number: int) -> Record:
    return {"kind": "pygame", "class": class_name(type(thing)), "items": capture.items(list(thing), number)}


def _tensor(capture: Capture, thing: Thing, number: int) -> Record:
    """Return a torch tensor or parameter."""
    torch = sys.modules["torch"]
    if type(thing) not in (torch.Tensor, torch.nn.Parameter):
        raise capture.refuse(thing, number)
    return {
        "kind": "tensor",
        "class": class_name(type(thing)),
        "device": str(thing.device),
        "gradient": bool(thing.requires_grad),
        **encode_array(thing.detach().cpu().numpy()),
    }


def _mujoco(capture: Capture, thing: Thing, number: int) -> Record:
    """Return the numbers and arrays of MuJoCo's data, model or options that can change and outlive a step.

    Contacts and constraint rows lie in an arena that each `mj_step` rebuilds from these fields.
    """
    fields = {}
    model = type(thing).__name__ == "MjModel"
    for name in dir(thing):
        if name.startswith("_") or name in TRANSIENT or (model and name.startswith(BULK)):
            continue
        value = getattr(thing, name)
        if (isinstance(value, np.ndarray) and value.dtype.kind in "biuf") or isinstance(value, int | float):
            fields[name] = value.copy() if isinstance(value, np.ndarray) else value
    if model:
        fields["opt"] = thing.opt
    return {"kind": "mujoco", "class": class_name(type(thing)), "fields": capture.named_values(fields, number)}


def _object(capture: Capture, thing: Thing, number: int) -> Record:
    base = capture.base_of(thing, number)
    if type(thing) is object:  # a sentinel, which is compared by identity
        return {"kind": "sentinel"}
    if base is object and not hasattr(thing, "__dict__") and not any(slot_names(type(thing))):
        slotted = "__slots__" in type(thing).__dict__
        if not slotted:
            raise capture.refuse(thing, number)
    record = {"kind": "object", "class": class_name(type(thing))}
    return record | {"attributes": capture.named_values(attributes(thing), number)}


ENCODERS: tuple[tuple[type | tuple[type, ...], Encoder], ...] = (
    (np.ndarray, _array),
    (dict, _dict),
    ((set, frozenset), _set),
    ((list, tuple, deque), _sequence),
    ((int, float, complex, str, bytes, bytearray), _number),
    (np.random.Generator, _generator),
    (np.random.RandomState, _legacy_generator),
    (np.random.BitGenerator, _bits),
    (random.Random, _random),
    (gymnasium.Space, _space),
    (types.MethodType, _method),
    (types.BuiltinMethodType, _builtin_method),
    (types.FunctionType, _function),
    (functools.partial, _partial),
    ((datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal), _reduced),
)


def _encoder(thing: Thing) -> Encoder:
    """Return the function that writes down this kind of object."""
    for kinds, encoder in ENCODERS:
        if isinstance(thing, kinds):
            return encoder
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(thing, torch.Tensor):
        return _tensor
    package = module_of(thing).split(".")[0]
    if package == "mujoco" and type(thing).__name__ in ("MjData", "MjModel", "MjOption"):
        return _mujoco
    if package == "pygame" and type(thing).__name__ in PYGAME_VALUES:
        return _pygame
    return _object
