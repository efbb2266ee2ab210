"""Gymnasium spaces as plain data (dicts, lists, numbers): a file that holds them runs no code when it is read."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

SpaceRecord = dict[str, Any]
"""{"kind": name of the class, ...} with what its constructor needs; readable and writable as JSON."""


def record_of_space(space: gymnasium.Space[Any]) -> SpaceRecord:
    """Return a space as plain data.

    Args:
        space: a Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of them.

    Raises:
        ValueError: the space is of another kind.
    """
    match space:
        case spaces.Box():
            low = space.low.ravel().tolist()  # integers stay integers: the bounds of int64 are no float64
            high = space.high.ravel().tolist()
            return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), "low": low, "high": high}
        case spaces.Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
        case spaces.MultiBinary():
            return {"kind": "MultiBinary", "shape": list(space.shape)}
        case spaces.Dict():
            # A list of pairs keeps the order of the keys, which decides the order of a network's inputs.
            parts = [[key, record_of_space(part)] for key, part in space.spaces.items()]
            return {"kind": "Dict", "parts": parts}
        case spaces.Tuple():
            return {"kind": "Tuple", "parts": [record_of_space(part) for part in space.spaces]}
        case _:
            raise ValueError(
                f"space is {space}, but must be a Box, (Multi)Discrete, MultiBinary, Dict or Tuple of them"
            )


def space_of_record(record: Mapping[str, Any]) -> gymnasium.Space[Any]:
    """Return the space that `record_of_space` wrote down.

    Args:
        record: plain data.

    Raises:
        ValueError: the record is of no known kind or incomplete.
    """
    try:
        match record["kind"]:
            case "Box":
                shape = tuple(record["shape"])
                dtype = np.dtype(record["dtype"])
                if dtype.kind not in "fiub":
                    raise ValueError(f"a Box cannot hold {dtype}")
                low = _bounds(record["low"], dtype).reshape(shape)
                high = _bounds(record["high"], dtype).reshape(shape)
                return spaces.Box(low, high, shape, dtype.type)
            case "Discrete":
                return spaces.Discrete(record["n"], start=record["start"])
            case "MultiDiscrete":
                return spaces.MultiDiscrete(np.array(record["nvec"]), start=np.array(record["start"]))
            case "MultiBinary":
                shape = tuple(record["shape"])
                return spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)
            case "Dict":
                return spaces.Dict([(str(key), space_of_record(part)) for key, part in record["parts"]])
            case "Tuple":
                return spaces.Tuple([space_of_record(part) for part in record["parts"]])
            case kind:
                raise ValueError(f"there is no space of kind {kind!r}")
    except (LookupError, TypeError, AssertionError, OverflowError) as error:
        raise ValueError(f"{record!r:.200} is not the record of a space ({error})") from error


def _bounds(values: Sequence[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the bounds of a Box, exactly; those beyond the range of an integer type are its ends.

    Args:
        values: of all entries, in order.
        dtype: of the Box.
    """
    if dtype.kind not in "iu":
        return np.array(values, dtype=np.float64).astype(dtype)
    limits = np.iinfo(dtype)
    inside = [min(max(int(value), int(limits.min)), int(limits.max)) for value in values]
    return np.array(inside, dtype=dtype)
