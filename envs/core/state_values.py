"""Values of saved states, and the classes and functions that they name."""

import ast
import enum
import threading
import types
from collections.abc import Callable, Sequence

import numpy as np

from morl.envs.core.state_format import (
    Record,
    StateNotCapturable,
    Thing,
    Value,
    class_name,
    constant_name,
    decode_array,
    function_name,
    named,
)


class SavedValues:
    """The objects behind the values of a saved state.

    Args:
        root: the freshly built environment.
        built: the restored objects by number, filled by `morl.envs.core.state_restore`.
    """

    def __init__(self, root: Thing, built: list[Thing]) -> None:
        self.root = root
        self.built = built
        self.classes: dict[str, type] = {}
        """Classes of the objects of the fresh environment by name."""

    def value(self, value: Value, current: Thing = None) -> Thing:
        """Return the object that a value stands for; constants without a name are the fresh environment's."""
        if not isinstance(value, dict):
            return value
        if "ref" in value:
            return self.built[value["ref"]]
        kind = next(iter(value))
        return VALUES[kind](self, value, current)

    def items(self, items: Value, currents: Sequence[Thing] = ()) -> list[Thing]:
        """Return the objects of a sequence."""
        if isinstance(items, dict):
            if "texts" in items:
                return list(items["texts"])
            if "numbers" in items:
                numbers: list[Thing] = np.asarray(items["numbers"]).tolist()
                return numbers
            return list(decode_array(items["scalars"]))
        own = [*list(currents)[: len(items)], *[None] * (len(items) - len(currents))]
        return [self.value(item, current) for item, current in zip(items, own, strict=True)]

    def find_class(self, name: str, current: Thing) -> type:
        """Return a class by name: the fresh object's own, one seen in the fresh environment, or one of a module.

        Raises:
            StateNotCapturable: there is none, as for a class that was made inside a function.
        """
        if current is not None and class_name(type(current)) == name:
            return type(current)
        found = self.classes.get(name) or named(name)
        if not isinstance(found, type):
            raise StateNotCapturable(f"the class {name.replace(':', '.')} of a saved object cannot be found")
        return found

    def find_function(self, name: str, current: Thing) -> types.FunctionType:
        """Return a function by name: the fresh object's own, or one of a module.

        Raises:
            StateNotCapturable: there is none, as for a lambda that the fresh environment does not hold.
        """
        if isinstance(current, types.FunctionType) and function_name(current) == name:
            return current
        found = named(name)
        if isinstance(found, types.FunctionType):
            return found
        raise StateNotCapturable(f"the function {name.replace(':', '.', 1)} of a saved object cannot be found")


def _constant(values: SavedValues, value: Record, current: Thing) -> Thing:
    name = value["constant"]
    if not name or (current is not None and constant_name(current) == name):
        return current
    found = values.classes.get(name) or named(name)
    if found is None or constant_name(found) != name:
        raise StateNotCapturable(f"{name.replace(':', '.')}, which a saved object refers to, cannot be found")
    return found


def _enum(values: SavedValues, value: Record, current: Thing) -> enum.Enum:
    kind = values.find_class(value["enum"], current)
    member = values.value(value["member"])
    found: enum.Enum = kind[member] if isinstance(member, str) and member in kind.__members__ else kind(member)  # type: ignore[index,attr-defined]
    return found


VALUES: dict[str, Callable[[SavedValues, Record, Thing], Thing]] = {
    "int": lambda _, value, __: int(value["int"]),
    "scalar": lambda _, value, __: decode_array(value["scalar"])[()],
    "bytes": lambda _, value, __: np.asarray(value["bytes"]).tobytes(),
    "complex": lambda _, value, __: complex(value["complex"][0], value["complex"][1]),
    "range": lambda _, value, __: range(value["range"][0], value["range"][1], value["range"][2]),
    "slice": lambda _, value, __: slice(value["slice"][0], value["slice"][1], value["slice"][2]),
    "dtype": lambda _, value, __: np.lib.format.descr_to_dtype(ast.literal_eval(value["dtype"])),
    "lock": lambda _, value, __: getattr(threading, value["lock"])(),
    "function": lambda values, value, current: values.find_function(value["function"], current),
    "constant": _constant,
    "enum": _enum,
}
