"""Matrix products of the sizes that small networks have, as compiled loops with what comes before and after them.

A product of a batch and a layer takes microseconds, so the way into a BLAS, a pass for the biases and one for the ReLU
cost as much as the arithmetic. Here a tile of the result stays in vector registers from the biases to the ReLU. Every
number is one sum in one order, whatever lies around it, so rows can be partitioned among threads without changing
results. Products of float64 are plain loops: they serve tests only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.core.imputils import lower_constant
from numba.extending import (
    NativeValue,
    intrinsic,
    models,
    overload,
    overload_attribute,
    register_model,
    typeof_impl,
    unbox,
)
from numpy.typing import NDArray

from morl.learning.backends.numba.llvm_types import Context, Intrinsic, NumbaType, Signature, Value

Array: TypeAlias = NDArray[np.floating[Any]]
"""An array of float32, or of float64 in tests."""

NO_GATE = 0
"""Results are written as they are."""
RELU_GATE = 1
"""Results are written where the activations that they replace are positive; elsewhere 0."""
TANH_GATE = 2
"""Results are multiplied by 1 - a^2, the derivative of tanh at the activations a that they replace."""

NO_FLOOR = np.float32(-np.inf)
"""The floor of a product without ReLU."""

# --- Tiles ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """Shape of the tiles in which products are computed; a constant at compile time, because its Numba type holds it.

    Attributes:
        lanes: numbers in a vector register.
        vectors: vectors in a row of a wide tile; a narrow tile has one.
    """

    lanes: int
    vectors: int


class TileType(types.Type):
    """The Numba type of a `Tile`: one type for each shape."""

    def __init__(self, lanes: int, vectors: int) -> None:
        self.lanes = lanes
        self.vectors = vectors
        super().__init__(name=f"Tile({lanes}, {vectors})")


register_model(TileType)(models.OpaqueModel)


@typeof_impl.register(Tile)
def _type_of_tile(tile: Tile, context: object) -> TileType:  # noqa: ARG001
    return TileType(tile.lanes, tile.vectors)


@unbox(TileType)  # type: ignore[no-untyped-call,untyped-decorator]
def _unbox_tile(kind: TileType, tile: object, context: Context) -> NativeValue:  # noqa: ARG001
    return NativeValue(context.context.get_dummy_value())  # type: ignore[no-untyped-call]


@lower_constant(TileType)  # type: ignore[no-untyped-call,untyped-decorator]
def _lower_tile(context: Context, builder: ir.IRBuilder, kind: TileType, tile: object) -> ir.Value:  # noqa: ARG001
    return context.get_dummy_value()


@overload_attribute(TileType, "lanes", strict=False)  # type: ignore[call-arg]
def _lanes_of_tile(tile: TileType) -> Callable[[Tile], int]:
    lanes = tile.lanes
    return lambda tile: lanes  # noqa: ARG005


@overload_attribute(TileType, "vectors", strict=False)  # type: ignore[call-arg]
def _vectors_of_tile(tile: TileType) -> Callable[[Tile], int]:
    vectors = tile.vectors
    return lambda tile: vectors  # noqa: ARG005


# Six rows of sums, a row of the right factor and a number of the left one fill the vector registers of a processor.
AVX512 = Tile(16, 4)
"""For 32 registers of 16 numbers."""
AVX2 = Tile(8, 2)
"""For 16 registers of 8 numbers."""
PLAIN = Tile(4, 4)
"""For 32 registers of 4 numbers."""

_FEATURES = binding.get_host_cpu_features()
NATIVE = AVX512 if _FEATURES.get("avx512f") else AVX2 if _FEATURES.get("avx2") else PLAIN
"""The tile of this processor."""

# --- The inner loop, in LLVM's intermediate representation ------------------------------------------------------------


class LeftFactor(NamedTuple):
    """Address of a left factor [row, term], and its strides in bytes."""

    address: int
    row_stride: int
    term_stride: int


class Strided(NamedTuple):
    """Address of rows of contiguous numbers, and the stride in bytes from one row to the next."""

    address: int
    stride: int


class Epilogue(NamedTuple):
    """What is done to the sums of a tile: the address of the biases that they start from, floor and gate."""

    biases: int
    floor: np.float32
    gate: int


_FLOAT = ir.FloatType()
_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_POINTER = ir.PointerType()


def _broadcast(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Return a vector that holds a number everywhere."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, number, _INT32(0))
    zeros = ir.Constant(ir.VectorType(_INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _pointers(builder: ir.IRBuilder, address: ir.Value, vector: ir.VectorType, count: int) -> list[ir.Value]:
    """Return pointers to `count` vectors that lie side by side."""
    pointer = builder.inttoptr(address, _POINTER)
    return [builder.gep(pointer, [_INT64(index)], source_etype=vector) for index in range(count)]


def _store_gated(builder: ir.IRBuilder, sums: ir.Value, floor: ir.Value, gate: ir.Value, pointer: ir.Value) -> None:
    """Write a vector of sums, at least `floor`, through a gate over the activations that it replaces."""
    vector = sums.type
    lowest = _broadcast(builder, floor, vector)
    sums = builder.select(builder.fcmp_ordered("<", sums, lowest), lowest, sums)  # lets NaN pass
    replaced = builder.load(pointer, align=4, typ=vector)
    zero = ir.Constant(vector, [0.0] * vector.count)
    one = ir.Constant(vector, [1.0] * vector.count)
    through_relu = builder.select(builder.fcmp_ordered(">", replaced, zero), sums, zero)
    through_tanh = builder.fmul(sums, builder.fsub(one, builder.fmul(replaced, replaced)))
    is_relu = builder.icmp_signed("==", gate, gate.type(RELU_GATE))
    is_tanh = builder.icmp_signed("==", gate, gate.type(TANH_GATE))
    gated = builder.select(is_relu, through_relu, builder.select(is_tanh, through_tanh, sums))
    builder.store(gated, pointer, align=4)


def _variable(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return a pointer to a variable that starts as `value`; it becomes a register."""
    return cgutils.alloca_once_value(builder, value)  # type: ignore[no-untyped-call]


def _multiply_add(builder: ir.IRBuilder, vector: ir.VectorType) -> ir.Value:
    """Return the function of vectors (a, b, c) -> a b + c."""
    kind = ir.FunctionType(vector, [vector] * 3)
    name = f"llvm.fmuladd.v{vector.count}f32"
    return cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]


def _inner_loop(rows: int, narrow: bool) -> Callable[..., None]:
    """Return the compiled function that computes one tile [rows, lanes * vectors] of a product.

    Its arguments: the `Tile`; the `LeftFactor`; right factor, `Strided` by term; number of terms; result, `Strided` by
    row; the `Epilogue`.
    """

    def codegen(context: Context, builder: ir.IRBuilder, signature: Signature, arguments: list[Value]) -> Value:
        tile = signature.args[0]
        vector = ir.VectorType(_FLOAT, tile.lanes)
        vectors = 1 if narrow else tile.vectors
        _, left, right, terms, result, epilogue = arguments
        left_address, left_row, left_term = cgutils.unpack_tuple(builder, left)  # type: ignore[no-untyped-call]
        right_address, right_term = cgutils.unpack_tuple(builder, right)  # type: ignore[no-untyped-call]
        result_address, result_row = cgutils.unpack_tuple(builder, result)  # type: ignore[no-untyped-call]
        begin, floor, gate = cgutils.unpack_tuple(builder, epilogue)  # type: ignore[no-untyped-call]
        biases = [builder.load(at, align=4, typ=vector) for at in _pointers(builder, begin, vector, vectors)]
        sums = [[_variable(builder, bias) for bias in biases] for _ in range(rows)]
        steps = [builder.mul(left_row, _INT64(row)) for row in range(rows)]
        multiply_add = _multiply_add(builder, vector)
        with cgutils.for_range(builder, terms, intp=_INT64) as loop:
            here = builder.add(left_address, builder.mul(loop.index, left_term))
            across = builder.add(right_address, builder.mul(loop.index, right_term))
            factors = [builder.load(at, align=4, typ=vector) for at in _pointers(builder, across, vector, vectors)]
            for row, step in enumerate(steps):
                number = builder.load(builder.inttoptr(builder.add(here, step), _POINTER), typ=_FLOAT)
                spread = _broadcast(builder, number, vector)
                for variable, factor in zip(sums[row], factors, strict=True):
                    total = builder.load(variable, typ=vector)
                    builder.store(builder.call(multiply_add, [spread, factor, total]), variable)
        for row in range(rows):
            across = builder.add(result_address, builder.mul(result_row, _INT64(row)))
            for pointer, variable in zip(_pointers(builder, across, vector, vectors), sums[row], strict=True):
                _store_gated(builder, builder.load(variable, typ=vector), floor, gate, pointer)
        return context.get_dummy_value()

    @intrinsic
    def inner_loop(
        typing: Context,  # noqa: ARG001
        tile: NumbaType,
        left: NumbaType,
        right: NumbaType,
        terms: NumbaType,
        result: NumbaType,
        epilogue: NumbaType,
    ) -> Intrinsic:
        return types.void(tile, left, right, terms, result, epilogue), codegen

    return inner_loop


_wide_6 = _inner_loop(6, narrow=False)
_wide_4 = _inner_loop(4, narrow=False)
_wide_2 = _inner_loop(2, narrow=False)
_wide_1 = _inner_loop(1, narrow=False)
_narrow_12 = _inner_loop(12, narrow=True)
_narrow_4 = _inner_loop(4, narrow=True)
_narrow_1 = _inner_loop(1, narrow=True)

# --- The product ------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def gemm(tile: Tile, left: Array, right: Array, bias: Array, floor: np.float32, gate: int, result: Array) -> None:
    """Write max(bias + left right, floor) into `result`, through a gate.

    Args:
        tile: shape of the tiles; without effect on float64.
        left: [row, term].
        right: [term, column].
        bias: [column], or [0] for zeros.
        floor: 0 for a ReLU, `NO_FLOOR` for none.
        gate: `NO_GATE`, or the gate of the activations that `result` holds before.
        result: [row, column], rows contiguous.
    """
    _gemm_of_type(tile, left, right, bias, floor, gate, result)


def _gemm_of_type(
    tile: Tile, left: Array, right: Array, bias: Array, floor: np.float32, gate: int, result: Array
) -> None:
    raise NotImplementedError("compiled code only")


@overload(_gemm_of_type, strict=False)
def _choose_gemm(
    tile: NumbaType,  # noqa: ARG001
    left: NumbaType,  # noqa: ARG001
    right: NumbaType,  # noqa: ARG001
    bias: NumbaType,  # noqa: ARG001
    floor: NumbaType,  # noqa: ARG001
    gate: NumbaType,  # noqa: ARG001
    result: NumbaType,
) -> Callable[..., None]:
    if result.dtype == types.float32:
        return lambda tile, left, right, bias, floor, gate, result: _tiled(tile, left, right, bias, floor, gate, result)
    return lambda tile, left, right, bias, floor, gate, result: _plain(left, right, bias, floor, gate, result)  # noqa: ARG005


@njit(cache=True, nogil=True)
def _plain(left: Array, right: Array, bias: Array, floor: np.float32, gate: int, result: Array) -> None:
    """Compute the same product of arrays of any type."""
    for row in range(result.shape[0]):
        for column in range(result.shape[1]):
            total = bias[column] if bias.shape[0] > 0 else result.dtype.type(0.0)
            for term in range(left.shape[1]):
                total += left[row, term] * right[term, column]
            if total < floor:
                total = result.dtype.type(floor)
            replaced = result[row, column]
            if gate == RELU_GATE and not replaced > 0.0:
                total = result.dtype.type(0.0)
            elif gate == TANH_GATE:
                total *= 1.0 - replaced * replaced
            result[row, column] = total


@njit(cache=True, nogil=True)
def _tiled(tile: Tile, left: Array, right: Array, bias: Array, floor: np.float32, gate: int, result: Array) -> None:
    """Compute the product of float32 in tiles."""
    rows, columns = result.shape
    terms = left.shape[1]
    wide = tile.lanes * tile.vectors
    width = tile.lanes if columns <= tile.lanes else wide
    begin = np.zeros(width, dtype=np.float32)
    edge = np.empty((rows if columns % width else 0, width), dtype=np.float32)
    # Columns of the right factor are copied side by side, unless that costs more than it saves.
    packed = rows > 24 or right.strides[1] != 4 or columns % width > 0
    panel = np.empty((terms if packed else 0, width), dtype=np.float32)
    for first in range(0, columns, width):
        count = min(width, columns - first)
        across = right[:, first : first + count]
        written = result[:, first : first + count]
        if bias.shape[0] > 0:
            begin[:count] = bias[first : first + count]
        if packed:
            _pack(across, panel)
        if count < width and gate != NO_GATE:
            _copy(written, edge[:, :count])
        narrow = width == tile.lanes
        target = edge if count < width else written
        if packed:
            _columns(tile, left, panel, begin, np.float32(floor), gate, narrow, target)
        else:
            _columns(tile, left, across, begin, np.float32(floor), gate, narrow, target)
        if count < width:
            _copy(edge[:, :count], written)


@njit(cache=True, nogil=True)
def _copy(source: Array, target: Array) -> None:
    for row in range(source.shape[0]):
        for column in range(source.shape[1]):
            target[row, column] = source[row, column]


@njit(cache=True, nogil=True)
def _pack(columns: Array, panel: Array) -> None:
    """Copy columns [term, column] side by side into a panel, zeros behind them."""
    terms, count = columns.shape
    for term in range(terms):
        for column in range(count):
            panel[term, column] = columns[term, column]
        for column in range(count, panel.shape[1]):
            panel[term, column] = np.float32(0.0)


@njit(cache=True, nogil=True)
def _columns(
    tile: Tile, left: Array, right: Array, bias: Array, floor: np.float32, gate: int, narrow: bool, result: Array
) -> None:
    """Write as many columns of a product as a tile has."""
    terms = left.shape[1]
    across = Strided(right.ctypes.data, right.strides[0])
    epilogue = Epilogue(bias.ctypes.data, floor, gate)
    row = 0
    while row < result.shape[0]:
        tall = _tile_rows(result.shape[0] - row, narrow)
        below = LeftFactor(left.ctypes.data + row * left.strides[0], left.strides[0], left.strides[1])
        target = Strided(result.ctypes.data + row * result.strides[0], result.strides[0])
        if narrow and tall == 12:
            _narrow_12(tile, below, across, terms, target, epilogue)
        elif narrow and tall == 4:
            _narrow_4(tile, below, across, terms, target, epilogue)
        elif narrow:
            _narrow_1(tile, below, across, terms, target, epilogue)
        elif tall == 6:
            _wide_6(tile, below, across, terms, target, epilogue)
        elif tall == 4:
            _wide_4(tile, below, across, terms, target, epilogue)
        elif tall == 2:
            _wide_2(tile, below, across, terms, target, epilogue)
        else:
            _wide_1(tile, below, across, terms, target, epilogue)
        row += tall


@njit(cache=True, nogil=True)
def _tile_rows(rows: int, narrow: bool) -> int:
    """Return the number of rows of the next tile, where `rows` are left."""
    if narrow:
        return 12 if rows >= 12 else 4 if rows >= 4 else 1
    if rows >= 6 and rows != 8:  # the fewer sums a tile has, the longer it waits for each
        return 6
    return 4 if rows >= 4 else 2 if rows >= 2 else 1
