"""`Restore`: build the objects of a saved state anew and bind them to a freshly built environment.

Nothing is written into objects of the fresh environment but into the environment itself, its wrappers and MuJoCo's
structures, because all others may be reached from a module, a class or another environment. The fresh environment's
objects are only looked at: constants, code of functions and bounds of spaces are taken from those at the same path.
"""

import functools
import types
from collections.abc import Iterator

from morl.envs.core.state_builders import BUILDERS, FILLERS, cell_contents, set_attributes
from morl.envs.core.state_format import Record, State, Thing, Value, attributes, class_name
from morl.envs.core.state_values import SavedValues

WITHOUT_CLASS = {"closure": types.FunctionType, "method": types.MethodType, "partial": functools.partial}


class Restore(SavedValues):
    """One restoring of a saved state around `root`."""

    def __init__(self, root: Thing, saved: State) -> None:
        super().__init__(root, [None] * len(saved["objects"]))
        self.saved = saved
        self.records: list[Record] = saved["objects"]
        self.currents: list[Thing] = [None] * len(self.records)
        self.ready: list[bool] = [False] * len(self.records)

    def run(self) -> Thing:
        """Return the restored root."""
        self._find_currents()
        for number, record in enumerate(self.records):
            if not _parts(record):
                self._build(number)
        for number in range(len(self.records)):
            self._build_after_parts(number)
        for hashed in (False, True):  # sets and dictionaries last: hashes may need the contents of other objects
            for number, record in enumerate(self.records):
                fill = FILLERS.get(record["kind"])
                if fill is not None and (record["kind"] in ("set", "dict")) == hashed:
                    fill(self, record, self.built[number], self.currents[number])
                if not hashed and record.get("attributes"):
                    set_attributes(self, record, self.built[number], self.currents[number])
        return self.value(self.saved["root"], self.root)

    # --- Objects of the fresh environment at the same places ---

    def _find_currents(self) -> None:
        """Walk the saved graph and the fresh environment side by side, and note which object is where."""
        pending: list[tuple[Value, Thing]] = [(self.saved["root"], self.root)]
        while pending:
            value, current = pending.pop()
            if not isinstance(value, dict) or "ref" not in value or current is None:
                continue
            number = value["ref"]
            record = self.records[number]
            self.classes.setdefault(class_name(type(current)), type(current))
            if self.currents[number] is None and _fits(record, current):
                self.currents[number] = current
                pending.extend(self._pairs(record, current))

    def _pairs(self, record: Record, current: Thing) -> Iterator[tuple[Value, Thing]]:
        """Yield the values inside a record, each with the fresh environment's object at its place."""
        own = attributes(current) if record.get("attributes") else {}
        for name, value in record.get("attributes", {}).items():
            yield value, own.get(name)
        items = record.get("items")
        if record["kind"] == "dict":
            yield from self._dict_pairs(record, current)
        elif isinstance(items, list) and record["kind"] in ("list", "tuple"):
            yield from zip(items, current, strict=False)
        elif record["kind"] == "closure":
            yield from zip(record["cells"], map(cell_contents, current.__closure__ or ()), strict=False)
        elif record["kind"] == "method":
            yield record["self"], current.__self__
        elif record["kind"] == "mujoco" and "opt" in record["fields"]:
            yield record["fields"]["opt"], current.opt

    def _dict_pairs(self, record: Record, current: dict[Thing, Thing]) -> Iterator[tuple[Value, Thing]]:
        """Yield values with plain keys by key, and objects as keys and their values by their order."""
        keys = self._plain_keys(record["keys"])
        in_order = list(dict.items(current)) if len(current) == len(keys) else []
        items = record["items"] if isinstance(record["items"], list) else [None] * len(keys)
        for index, (key, value) in enumerate(zip(keys, items, strict=True)):
            if key is not None:
                yield value, dict.get(current, key)
            elif in_order:
                yield record["keys"][index], in_order[index][0]
                yield value, in_order[index][1]

    def _plain_keys(self, keys: Value) -> list[Thing]:
        """Return the keys of a dictionary that are plain values, None for others."""
        if isinstance(keys, dict):
            return self.items(keys)
        return [None if isinstance(key, dict) and "ref" in key else self.value(key) for key in keys]

    # --- Building ---

    def _build(self, number: int) -> None:
        record = self.records[number]
        self.built[number] = BUILDERS[record["kind"]](self, record, self.currents[number])
        self.ready[number] = True

    def _build_after_parts(self, number: int) -> None:
        """Build an immutable object after those that it is made of."""
        stack = [number]
        while stack:
            parts = [part for part in _parts(self.records[stack[-1]]) if not self.ready[part]]
            if parts:
                stack.extend(parts)
                continue
            done = stack.pop()
            if not self.ready[done]:
                self._build(done)


def _fits(record: Record, current: Thing) -> bool:
    """Return whether an object of the fresh environment is of the kind that was saved."""
    if "class" in record:
        return bool(class_name(type(current)) == record["class"])
    return isinstance(current, WITHOUT_CLASS.get(record["kind"], object))


def _parts(record: Record) -> list[int]:
    """Return the numbers of the objects that must exist before this one can be built: those of immutable objects."""
    values: list[Value] = []
    if record["kind"] in ("tuple", "frozenset", "partial", "reduced") and isinstance(record["items"], list):
        values += record["items"]
    values += [record[name] for name in ("base", "self", "callable") if isinstance(record.get(name), dict)]
    values += list(record.get("keywords", {}).values())
    return [value["ref"] for value in values if isinstance(value, dict) and "ref" in value]
