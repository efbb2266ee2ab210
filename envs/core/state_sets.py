"""Orders of iteration of sets, which restored sets must repeat."""

import enum
import random

import numpy as np

from morl.envs.core.state_format import Thing, attributes, class_name

ORDERS = 200
"""Orders of insertion that are tried for a set."""
FEW_ITEMS = 100
"""Items of a set up to which they are tried."""


def has_salted_hash(thing: Thing) -> bool:
    """Return whether the hash of an object may be another in another process."""
    if isinstance(thing, bool | int | float | complex | np.number) and not isinstance(thing, enum.Enum):
        return False
    if isinstance(thing, tuple | frozenset):
        return any(map(has_salted_hash, thing))
    if hashed_by_address(thing) or isinstance(thing, str | bytes | enum.Enum):
        return True
    parts = attributes(thing)
    return not parts or any(map(has_salted_hash, parts.values()))


def hashed_by_address(thing: Thing) -> bool:
    """Return whether the hash of an object is its address."""
    hashing: object = type(thing).__hash__
    return hashing is object.__hash__


def sort_key(thing: Thing) -> tuple[str, str]:
    """Return a key that sorts equal sets alike; objects with hashes by address keep their order."""
    return class_name(type(thing)), "" if hashed_by_address(thing) else repr(thing)


def insertion_order(items: list[Thing]) -> list[Thing] | None:
    """Return an order in which a set must be filled to be iterated over as `items` is; None where none is found."""
    order = items
    for attempt in range(ORDERS if len(items) < FEW_ITEMS else 2):
        if list(set(order)) == items:
            return order
        order = list(items)
        random.Random(attempt).shuffle(order)
    return None
