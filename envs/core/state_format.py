"""How saved states of environments are written down: plain data for values, one flat table of records for objects.

A state is `{"root": value, "objects": [record, ...]}`. A value is None, a bool, an int of 64 bits, a float, a string,
or a dictionary with one key that names its kind; `{"ref": n}` refers to the n-th record, so that shared objects stay
shared and long chains of objects need no deep nesting. All of it is dicts, lists, arrays of numbers, numbers, strings.
"""

import ast
import enum
import importlib
import sys
import types
import zlib
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from gymnasium.envs.registration import EnvSpec

from morl.envs.core.types import Array

Value: TypeAlias = Any
"""A plain value, or a reference to a record."""
Record: TypeAlias = dict[str, Any]
"""One object: its kind, its class and its contents."""
Thing: TypeAlias = Any
"""Any object that an environment may hold."""
State: TypeAlias = dict[str, Any]
"""`{"root": value, "objects": [record, ...]}`."""


class StateNotCapturable(ValueError):
    """The state of an environment cannot be saved or restored exactly; the message names the object by its path."""


CONSTANT_TYPES = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    EnvSpec,
    np.ufunc,
)
CONSTANT_MODULES = ("OpenGL", "glfw", "logging", "threading", "_thread")
"""Packages whose objects (windows, loggers, threads) do not change what an environment computes.

Nor do the compiled objects of pygame: images, fonts, clocks."""
HEAP_TYPE = 1 << 9
"""CPython's flag of classes that are not compiled into a library."""
MUJOCO_CONSTANT = ("MjvOption", "MjvCamera", "MjrContext", "MjvScene", "MjSpec", "MjvPerturb", "MjrRect")
PYGAME_VALUES = ("Rect", "FRect", "Vector2", "Vector3", "Color")
"""pygame's types that hold state: sequences of numbers."""
BUILTIN_BASES = (
    OrderedDict,
    defaultdict,
    dict,
    list,
    tuple,
    set,
    frozenset,
    deque,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    np.ndarray,
    types.SimpleNamespace,
    object,
)
"""The built-in types whose contents can be saved, the more special ones first."""


def module_name(value: object) -> str:
    """Return the name of the module in which a class or function was defined."""
    return getattr(value, "__module__", None) or ""


def class_name(kind: type) -> str:
    """Return "module:qualified name" of a class; types of SWIG, as Box2D has them, have no module."""
    return f"{module_name(kind)}:{kind.__qualname__}"


def module_of(value: object) -> str:
    """Return the name of the module that the value's class is from."""
    return module_name(type(value))


def is_constant(value: object) -> bool:
    """Return whether `value` never changes once an environment is built, or holds nothing that it computes with."""
    if isinstance(value, types.BuiltinFunctionType):
        return isinstance(value.__self__, types.ModuleType | type | None)
    if isinstance(value, CONSTANT_TYPES) or type(value).__name__ == "CPUDispatcher":
        return True
    if value is Ellipsis or value is NotImplemented:
        return True
    package = module_of(value).split(".")[0]
    if package == "mujoco":
        return type(value).__name__ in MUJOCO_CONSTANT
    if package == "pygame":  # its sprites and groups are Python objects
        return not type(value).__flags__ & HEAP_TYPE and type(value).__name__ not in PYGAME_VALUES
    return package in CONSTANT_MODULES


def builtin_base(kind: type) -> type:
    """Return the built-in type that a class derives from."""
    return next(base for base in BUILTIN_BASES if issubclass(kind, base))


def has_hidden_state(kind: type, base: type) -> bool:
    """Return whether instances hold more than the contents of `base`, attributes and slots: state of compiled code.

    This is the test by which `pickle` refuses such objects.
    """
    slots = sum(1 for _ in slot_names(kind))
    size = base.__basicsize__ + 8 * slots
    own_dictionary = kind.__dictoffset__ != 0 and base.__dictoffset__ == 0
    if own_dictionary and not kind.__flags__ & 1 << 4:  # 1 << 4: the dictionary lies before the object
        size += 8
    if kind.__weakrefoffset__ > 0 and base.__weakrefoffset__ == 0:
        size += 8
    return kind.__basicsize__ > size


def slot_names(kind: type) -> Iterator[tuple[type, str]]:
    """Yield the slots of a class and its bases, each with the class that has it."""
    for one in reversed(kind.__mro__):
        slots = one.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            private = name.startswith("__") and not name.endswith("__")
            yield one, f"_{one.__name__.lstrip('_')}{name}" if private else name


def attributes(value: object) -> dict[str, Any]:
    """Return the instance attributes, slots included."""
    found: dict[str, Any] = {}
    for kind, name in slot_names(type(value)):
        descriptor = kind.__dict__.get(name)
        try:
            found[name] = descriptor.__get__(value) if descriptor is not None else getattr(value, name)
        except AttributeError:  # never set
            continue
    found.update(getattr(value, "__dict__", {}))
    return found


def function_name(function: types.FunctionType) -> str:
    """Return the name of a function, with line and checksum where its name alone does not find it (lambdas)."""
    name = f"{function.__module__}:{function.__qualname__}"
    if named(name) is function:
        return name
    code = function.__code__
    constants = [value for value in code.co_consts if not isinstance(value, types.CodeType | frozenset)]
    return f"{name}:{code.co_firstlineno}:{zlib.crc32(code.co_code + repr(constants).encode())}"


def constant_name(value: object) -> str:
    """Return a name by which a constant can be found again; empty for what is not a module, class or function."""
    if isinstance(value, types.ModuleType):
        return f"{value.__name__}:"
    if isinstance(value, type):
        return class_name(value)
    if isinstance(value, np.ufunc):
        return f"numpy:{value.__name__}"
    if isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, type):
        return f"{class_name(value.__self__)}.{value.__name__}"
    if isinstance(value, types.BuiltinFunctionType) or type(value).__name__ == "CPUDispatcher":
        return f"{module_name(value)}:{getattr(value, '__qualname__', '')}"
    return "builtins:Ellipsis" if value is Ellipsis else "builtins:NotImplemented" if value is NotImplemented else ""


def named(name: str) -> object:
    """Return what "module:qualified name" names, or None.

    Modules of packages that are in use already are imported; no other code is run for a name in a file.
    """
    module, _, path = name.partition(":")
    if module not in sys.modules and module.split(".")[0] in sys.modules:
        try:
            importlib.import_module(module)
        except Exception:
            return None
    found: object = sys.modules.get(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part, None)
    return found


def encode_array(array: Array) -> Record:
    """Return an array of numbers as it is, and other dtypes (dates, strings, records, long doubles) as bytes."""
    fortran = bool(array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous)
    plain = array.dtype.kind in "biufc" and array.dtype.isnative and array.dtype not in (np.longdouble, np.clongdouble)
    if plain:
        return {"value": np.array(array, order="K"), "fortran": fortran}
    if array.dtype.hasobject:
        raise StateNotCapturable(f"an array of dtype {array.dtype} cannot be saved")
    description = repr(np.lib.format.dtype_to_descr(array.dtype))
    content = np.frombuffer(array.tobytes(), dtype=np.uint8)
    return {"value": content, "dtype": description, "shape": list(array.shape), "fortran": fortran}


def decode_array(record: Record) -> Array:
    """Return a new array from what `encode_array` returned."""
    array: Array
    if "dtype" in record:
        dtype = np.lib.format.descr_to_dtype(ast.literal_eval(record["dtype"]))
        array = np.frombuffer(np.asarray(record["value"]).tobytes(), dtype=dtype).reshape(record["shape"]).copy()
    else:
        array = np.array(record["value"])
    return np.asfortranarray(array) if record["fortran"] else np.asarray(array, order="C")


def enum_value(member: enum.Enum) -> Value:
    """Return what names a member of an enumeration: its name, or the number of a combination of flags."""
    return member.name if member.name in type(member).__members__ else member.value


def same(one: Value, other: Value) -> bool:
    """Return whether two saved states, or parts of them, are equal; constants without a name equal anything."""
    if _unnamed(one) or _unnamed(other):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _unnamed(value: Value) -> bool:
    return isinstance(value, dict) and value.get("constant") == ""
