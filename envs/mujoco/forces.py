"""`mujoco.batch` with contact forces: MuJoCo's C batch, plus one call per step that its Python form lacks.

Gymnasium calls `mj_rnePostConstraint` after every step, which fills `cfrc_ext` (external forces on each body) from the
contacts of the last substep. `mujoco.batch.Batch` cannot: contacts live in an arena that a batch does not show, and a
force sensor would be read at the first stage of the Runge-Kutta step, not at the last, as here. The C interface under
it (`mujoco/mjbatch.h`) can run any function on every simulation, in the batch's own threads, while their `mjData`
still hold those contacts. So this class calls that interface through ctypes. It costs 1 to 2 % of a step; Python
threads around one `MjData` per environment, the other exact way, lose a third of two cores to each other
(docs/design/mujoco.md).
"""

import ctypes
import math
import weakref
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from morl.envs.core.types import Array

_STATE = {
    "qpos": mujoco.mjtState.mjSTATE_QPOS,
    "qvel": mujoco.mjtState.mjSTATE_QVEL,
    "ctrl": mujoco.mjtState.mjSTATE_CTRL,
}


class _Config(ctypes.Structure):
    """`mjBatchConfig`."""

    _fields_ = (("nthread", ctypes.c_int), ("persistent", ctypes.c_bool))


def _library() -> ctypes.CDLL:
    """Return the library that Python's mujoco has loaded, with the argument types of what is used here."""
    folder = Path(mujoco.__file__).parent
    found = [file for pattern in ("libmujoco*", "mujoco.dll") for file in sorted(folder.glob(pattern))]
    if not found:
        raise ImportError(f"there is no MuJoCo library in {folder}")
    library = ctypes.CDLL(str(found[0]))
    pointer = ctypes.c_void_p
    integer = ctypes.c_int
    integers = ctypes.POINTER(ctypes.c_int)
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "mjb_makeBatch": (pointer, [pointer, integer, ctypes.POINTER(_Config), ctypes.c_char_p, integer]),
        "mjb_deleteBatch": (None, [pointer]),
        "mjb_nstate": (integer, [pointer]),
        "mjb_state": (pointer, [pointer]),
        "mjb_stateComponent": (pointer, [pointer, integer, integers]),
        "mjb_output": (pointer, [pointer, ctypes.c_char_p, integers, integers]),
        "mjb_step": (integer, [pointer, integers, integer, integer, integer]),
        "mjb_forward": (integer, [pointer, integers, integer, integer]),
        "mjb_apply": (integer, [pointer, integers, integer, pointer, pointer, integer]),
        "mjb_status": (integers, [pointer]),
        "mjb_error": (ctypes.c_char_p, [pointer, integer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class ForceBatch:
    """The part of `mujoco.batch.Batch` that we use, under the same names, with contact forces in `cfrc_ext`.

    `nthread` 0 takes one thread per processor. Each environment keeps its own `mjData` (the batch is persistent), so
    that its contacts are there after a step.
    """

    def __init__(self, model: mujoco.MjModel, nsim: int, nthread: int = 0) -> None:
        self.model = model
        self.nsim = nsim
        self._library = _library()
        message = ctypes.create_string_buffer(500)
        config = _Config(nthread=nthread, persistent=True)
        self._batch = self._library.mjb_makeBatch(model._address, nsim, ctypes.byref(config), message, len(message))
        if not self._batch:
            raise RuntimeError(f"MuJoCo cannot make a batch of {nsim} environments: {message.value.decode()}")
        weakref.finalize(self, self._library.mjb_deleteBatch, self._batch)
        self.state = _array(self._library.mjb_state(self._batch), (nsim, self._library.mjb_nstate(self._batch)))
        # `mj_rnePostConstraint(model, data)` is called as `function(model, data, index, argument)`: in C's calling
        # conventions a function does not see arguments beyond those it declares.
        self._forces = ctypes.cast(self._library.mj_rnePostConstraint, ctypes.c_void_p)
        self._contacts = self.bind("cfrc_ext")

    def bind(self, name: str) -> Array:
        """Return a live array [env, ...] of a field of `MjData`; only qpos, qvel and ctrl may be written."""
        shape = np.shape(getattr(mujoco.MjData(self.model), name, ()))
        size = ctypes.c_int()
        if name in _STATE:
            first = self._library.mjb_stateComponent(self._batch, int(_STATE[name]), ctypes.byref(size))
            offset = (first - self.state.ctypes.data) // self.state.itemsize
            return self.state[:, offset : offset + size.value]
        address = self._library.mjb_output(self._batch, name.encode(), ctypes.byref(size), None)
        if not address or size.value != math.prod(shape):
            raise ValueError(f"name must be a field of MjData that a batch can bind, got {name!r}")
        return _array(address, (self.nsim, *shape))

    def step(self, nstep: int) -> None:
        """Advance every environment by `nstep` calls of `mj_step`, then compute the contact forces."""
        none = int(mujoco.mjtStage.mjSTAGE_NONE)
        self._check(self._library.mjb_step(self._batch, None, 0, nstep, none))
        self._check(self._library.mjb_apply(self._batch, None, 0, self._forces, None, 0))
        self._check(self._library.mjb_forward(self._batch, None, 0, none))  # publishes the bound fields

    def forward(self, ids: Array) -> None:
        """Compute everything but contact forces, zero after a reset, from the state of the environments `ids`."""
        pointer, count = _ids(ids)
        self._check(self._library.mjb_forward(self._batch, pointer, count, int(mujoco.mjtStage.mjSTAGE_ACC)))
        self._contacts[ids] = 0

    def _check(self, failed: int) -> None:
        if failed:
            status = self._library.mjb_status(self._batch)
            env = next(env for env in range(self.nsim) if status[env])
            message = self._library.mjb_error(self._batch, env).decode()
            raise RuntimeError(f"MuJoCo failed in environment {env}: {message}")


def _ids(envs: Array) -> tuple[Any, int]:
    array = np.ascontiguousarray(envs, dtype=np.int32)
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int)), len(array)


def _array(address: int, shape: tuple[int, ...]) -> Array:
    """Return MuJoCo's own memory as a float64 array; it lives as long as the batch."""
    return np.ctypeslib.as_array((ctypes.c_double * math.prod(shape)).from_address(address)).reshape(shape)
