"""Objects of saved states, built anew: first empty, then filled with their contents."""

import ast
import copy
import datetime
import decimal
import functools
import random
import sys
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from morl.envs.core.state_format import (
    Record,
    StateNotCapturable,
    Thing,
    Value,
    attributes,
    builtin_base,
    decode_array,
)
from morl.envs.core.state_values import SavedValues
from morl.envs.core.types import Array

Builder: TypeAlias = Callable[[SavedValues, Record, Thing], Thing]
"""(values, record, object of the fresh environment at the same place or None) -> the object."""
Filler: TypeAlias = Callable[[SavedValues, Record, Thing, Thing], None]
"""(values, record, the built object, object of the fresh environment or None): fill in the contents."""
BuiltinType: TypeAlias = Any
"""A built-in type whose `__new__` is called past a subclass's."""

NUMBERS: dict[str, BuiltinType] = {kind.__name__: kind for kind in (int, float, complex, str, bytes, bytearray)}


def generator_state(state: Value) -> Thing:
    """Return the state of a generator from its plain form."""
    if not isinstance(state, dict):
        return state
    if "dict" in state:
        return {name: generator_state(part) for name, part in state["dict"].items()}
    if "tuple" in state:
        return tuple(generator_state(part) for part in state["tuple"])
    if "integers" in state:
        return tuple(np.asarray(state["integers"]).tolist())
    return decode_array(state["array"]) if "array" in state else int(state["int"])


# --- Building: new objects, empty where they are filled in later ---


def require_current(record: Record, current: Thing) -> None:
    """Raise StateNotCapturable where the fresh environment has no object of the saved kind at the same place."""
    if current is None:
        name = record["class"].replace(":", ".")
        raise StateNotCapturable(f"the fresh environment has no {name} where one was saved")


def cell_contents(cell: types.CellType) -> Thing:
    """Return what a cell of a closure holds; None where it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _new_sequence(values: SavedValues, record: Record, current: Thing) -> Thing:
    kind = values.find_class(record["class"], current)
    base: BuiltinType = builtin_base(kind)
    if base in (tuple, frozenset):
        return base.__new__(kind, values.items(record["items"], current if isinstance(current, tuple) else ()))
    new = base.__new__(kind)
    if base is deque:
        deque.__init__(new, (), record["maxlen"])
    return new


def _new_dict(values: SavedValues, record: Record, current: Thing) -> Thing:
    kind = values.find_class(record["class"], current)
    base: BuiltinType = builtin_base(kind)
    new = base.__new__(kind)
    if base in (OrderedDict, defaultdict):
        base.__init__(new)
    return new


def _new_number(values: SavedValues, record: Record, current: Thing) -> Thing:
    base = NUMBERS[record["base"]]
    content = values.value(record["content"])
    if base is bytearray:
        return bytearray(content)
    return base.__new__(values.find_class(record["class"], current), content)


def _new_array(values: SavedValues, record: Record, current: Thing) -> Array:
    return _as_class(values, record, current, decode_array(record))


def _new_object_array(values: SavedValues, record: Record, current: Thing) -> Array:
    return _as_class(values, record, current, np.empty(record["shape"], dtype=object))


def _new_view(values: SavedValues, record: Record, current: Thing) -> Array:
    """Return a view of an array that has been built anew."""
    base = np.asarray(values.value(record["base"]))
    whole = (base if base.flags.c_contiguous else base.T).reshape(-1).view(np.uint8)
    dtype = np.lib.format.descr_to_dtype(ast.literal_eval(record["dtype"]))
    view = np.ndarray(
        tuple(record["shape"]), dtype, buffer=whole, offset=record["offset"], strides=tuple(record["strides"])
    )
    return _as_class(values, record, current, view)


def _as_class(values: SavedValues, record: Record, current: Thing, array: Array) -> Array:
    kind = values.find_class(record["class"], current)
    return array if kind is np.ndarray else array.view(kind)


def _new_generator(values: SavedValues, record: Record, current: Thing) -> np.random.Generator:
    bits = values.find_class(record["bits"], None)()
    bits.state = generator_state(record["state"])
    generator: np.random.Generator = values.find_class(record["class"], current)(bits)
    return generator


def _new_legacy_generator(values: SavedValues, record: Record, current: Thing) -> np.random.RandomState:
    generator: np.random.RandomState = values.find_class(record["class"], current)()
    generator.set_state(generator_state(record["state"]))
    return generator


def _new_bits(values: SavedValues, record: Record, current: Thing) -> Thing:
    bits = values.find_class(record["class"], current)()
    bits.state = generator_state(record["state"])
    return bits


def _new_random(values: SavedValues, record: Record, current: Thing) -> random.Random:
    kind = values.find_class(record["class"], current)
    generator: random.Random = random.Random.__new__(kind)
    random.Random.setstate(generator, generator_state(record["state"]))
    return generator


def _new_space(_: SavedValues, record: Record, current: Thing) -> Thing:
    """Return a copy of the fresh environment's space, which may belong to a module, with its own generator."""
    if current is None:
        raise StateNotCapturable(
            f"the fresh environment has no {record['class'].replace(':', '.')} where one was saved"
        )
    return copy.copy(current)


def _new_method(values: SavedValues, record: Record, current: Thing) -> types.MethodType:
    function = values.value(record["function"], getattr(current, "__func__", None))
    return types.MethodType(function, values.value(record["self"]))


def _new_closure(values: SavedValues, record: Record, current: Thing) -> types.FunctionType:
    source = values.find_function(record["function"], current)
    cells = tuple(types.CellType() for _ in record["cells"])
    new = types.FunctionType(source.__code__, source.__globals__, source.__name__, source.__defaults__, cells)
    new.__kwdefaults__ = source.__kwdefaults__
    new.__qualname__ = source.__qualname__
    new.__module__ = source.__module__
    new.__dict__.update(source.__dict__)
    return new


def _new_partial(values: SavedValues, record: Record, current: Thing) -> Thing:
    function = values.value(record["callable"], getattr(current, "func", None))
    keywords = {name: values.value(value) for name, value in record["keywords"].items()}
    return functools.partial(function, *values.items(record["items"]), **keywords)


def _new_reduced(values: SavedValues, record: Record, current: Thing) -> Thing:
    kind = values.find_class(record["class"], current)
    if not issubclass(kind, datetime.date | datetime.time | datetime.timedelta | datetime.tzinfo | decimal.Decimal):
        raise StateNotCapturable(f"a {record['class'].replace(':', '.')} cannot be restored")
    return kind(*values.items(record["items"]))


def _new_pygame(values: SavedValues, record: Record, current: Thing) -> Thing:
    return values.find_class(record["class"], current)(values.items(record["items"]))


def _new_tensor(values: SavedValues, record: Record, current: Thing) -> Thing:
    torch = sys.modules["torch"]
    tensor = torch.from_numpy(decode_array(record)).to(record["device"])
    if values.find_class(record["class"], current) is torch.nn.Parameter:
        return torch.nn.Parameter(tensor, requires_grad=record["gradient"])
    return tensor.requires_grad_(record["gradient"])


def _own_structure(_: SavedValues, record: Record, current: Thing) -> Thing:
    """Return the fresh environment's own MuJoCo structure, whose fields are filled in."""
    if current is None:
        raise StateNotCapturable(
            f"the fresh environment has no {record['class'].replace(':', '.')} where one was saved"
        )
    return current


def _new_object(values: SavedValues, record: Record, current: Thing) -> Thing:
    """Return a new object; the environment itself, its wrappers and objects with a finalizer stay what they are."""
    kept = current is values.root or isinstance(current, gymnasium.Env | VectorEnv) or hasattr(current, "__del__")
    if current is not None and kept:
        return current
    kind = values.find_class(record["class"], current)
    base: BuiltinType = builtin_base(kind)
    return base.__new__(kind)


def _sentinel(_: SavedValues, __: Record, current: Thing) -> Thing:
    if type(current) is not object:
        raise StateNotCapturable("the fresh environment has no object() where one was saved")
    return current


BUILDERS: dict[str, Builder] = {
    "list": _new_sequence,
    "tuple": _new_sequence,
    "set": _new_sequence,
    "frozenset": _new_sequence,
    "deque": _new_sequence,
    "dict": _new_dict,
    "number": _new_number,
    "array": _new_array,
    "objects": _new_object_array,
    "view": _new_view,
    "generator": _new_generator,
    "legacy generator": _new_legacy_generator,
    "bits": _new_bits,
    "random": _new_random,
    "space": _new_space,
    "method": _new_method,
    "builtin method": lambda values, record, _: getattr(values.value(record["self"]), record["name"]),
    "closure": _new_closure,
    "partial": _new_partial,
    "reduced": _new_reduced,
    "pygame": _new_pygame,
    "tensor": _new_tensor,
    "mujoco": _own_structure,
    "object": _new_object,
    "sentinel": _sentinel,
    "unused": lambda _, __, ___: None,
}


# --- Filling: contents of the new objects ---


def set_attributes(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:
    """Set the attributes, past properties and frozen dataclasses; remove those that were not saved."""
    own = attributes(current) if current is not None else {}
    if thing is current:
        for name in own.keys() - record["attributes"].keys():
            object.__delattr__(thing, name)
    for name, value in record["attributes"].items():
        object.__setattr__(thing, name, values.value(value, own.get(name)))


def _fill_list(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:
    items = values.items(record["items"], current if current is not None else ())
    base: BuiltinType = builtin_base(type(thing))
    base.extend(thing, items)


def _fill_set(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:  # noqa: ARG001 - as all fillers
    set.update(thing, values.items(record["items"]))


def _fill_dict(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:
    base: BuiltinType = builtin_base(type(thing))
    keys = values.items(record["keys"])
    own = [None if current is None else dict.get(current, key) for key in keys]
    for key, item in zip(keys, values.items(record["items"], own), strict=True):
        base.__setitem__(thing, key, item)
    if base is defaultdict:
        thing.default_factory = values.value(record["factory"], getattr(current, "default_factory", None))


def _fill_objects(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:  # noqa: ARG001
    for index, item in enumerate(values.items(record["items"])):
        thing.flat[index] = item


def _fill_space(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:
    for name, value in record["attributes"].items():
        object.__setattr__(thing, name, values.value(value, getattr(current, name, None)))


def _fill_closure(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:
    own = [*map(cell_contents, (current.__closure__ or ()) if current is not None else ())]
    own += [None] * (len(record["cells"]) - len(own))
    for cell, value, contents in zip(thing.__closure__, record["cells"], own, strict=True):
        if not (isinstance(value, dict) and "empty" in value):
            cell.cell_contents = values.value(value, contents)


def _fill_structure(values: SavedValues, record: Record, thing: Thing, current: Thing) -> None:  # noqa: ARG001
    """Write the fields of a MuJoCo structure; arrays of contacts and constraints change their size and need none."""
    for name, value in record["fields"].items():
        if name == "opt":
            continue
        target = getattr(thing, name)
        content = values.value(value)
        if isinstance(target, np.ndarray):
            if target.shape == np.shape(content):
                target[...] = content
        elif target != content:
            try:
                setattr(thing, name, content)
            except AttributeError:  # a counter that only MuJoCo writes
                continue


FILLERS: dict[str, Filler] = {
    "list": _fill_list,
    "deque": _fill_list,
    "set": _fill_set,
    "dict": _fill_dict,
    "objects": _fill_objects,
    "closure": _fill_closure,
    "mujoco": _fill_structure,
}
