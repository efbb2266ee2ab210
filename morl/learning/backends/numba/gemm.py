"""Matrix products of the sizes that small networks have, as compiled loops with what comes before and after them.

A product of a batch and a layer takes microseconds, so the way into a BLAS, a pass for the biases and one for the ReLU
cost as much as the arithmetic. Here a tile of the result stays in vector registers from the biases to the ReLU. Every
number is one sum in one order, whatever lies around it, so rows can be spread over threads without changing results.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Numbers in a vector register, and vectors in a row of a tile. Six rows of sums, a row of the right factor and a number
# of the left one then fill the registers: 32 of 16 numbers (AVX-512), 16 of 8 (AVX2), 32 of 4 (others).
_FEATURES = binding.get_host_cpu_features()
_LANES, _VECTORS = (16, 4) if _FEATURES.get("avx512f") else (8, 2) if _FEATURES.get("avx2") else (4, 4)
_COLUMNS = _LANES * _VECTORS

NO_GATE, RELU_GATE, TANH_GATE = 0, 1, 2
"""How a product is written over activations, on the way back through them: as it is; where they are positive, and 0
elsewhere; times the derivative of tanh."""

NO_FLOOR = np.float32(-np.inf)
"""The lowest result of a product that has none."""

_FLOAT, _INDEX, _NUMBER = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, _LANES)


def _spread(builder: ir.IRBuilder, number: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Return a vector that holds a number everywhere."""
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, number, _NUMBER(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_NUMBER, _LANES), [0] * _LANES))


def _finish(builder: ir.IRBuilder, found: ir.Value, floor: ir.Value, gate: ir.Value, place: ir.Value) -> None:
    """Write a vector of sums over what it replaces."""
    lowest = _spread(builder, floor, _VECTOR)
    found = builder.select(builder.fcmp_ordered("<", found, lowest), lowest, found)  # lets NaN pass
    replaced = builder.load(place, align=4)
    zero, one = (ir.Constant(_VECTOR, [number] * _LANES) for number in (0.0, 1.0))
    through_relu = builder.select(builder.fcmp_ordered(">", replaced, zero), found, zero)
    through_tanh = builder.fmul(found, builder.fsub(one, builder.fmul(replaced, replaced)))
    is_relu, is_tanh = (builder.icmp_signed("==", gate, gate.type(each)) for each in (RELU_GATE, TANH_GATE))
    builder.store(builder.select(is_relu, through_relu, builder.select(is_tanh, through_tanh, found)), place, align=4)


def _variable(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return the place of a variable that begins as `value`; it becomes a register."""
    return cgutils.alloca_once_value(builder, value)  # type: ignore[no-untyped-call]


def _multiply_add(builder: ir.IRBuilder) -> ir.Value:
    """Return the function of vectors (a, b, c) -> a b + c."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    name = f"llvm.fmuladd.v{_LANES}f32"
    return cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]


def _tile(rows: int, vectors: int) -> Any:
    """Return the inner loop for tiles [rows, vectors * _LANES].

    Addresses and strides (in bytes) are given: of the left factor, from row to row, from term to term; of the right
    factor, from term to term; the number of terms; of the result, from row to row; of what sums begin with. Then the
    lowest result, and the `gate`.
    """

    def places(builder: ir.IRBuilder, address: ir.Value) -> list[ir.Value]:
        pointer = builder.inttoptr(address, _VECTOR.as_pointer())
        return [builder.gep(pointer, [_INDEX(vector)]) for vector in range(vectors)]

    def codegen(context: Any, builder: ir.IRBuilder, _: Any, arguments: Any) -> Any:
        left, left_row, left_term, right, right_term, terms, result, result_row, start, floor, gate = arguments
        begins = [builder.load(place, align=4) for place in places(builder, start)]
        sums = [[_variable(builder, begin) for begin in begins] for _ in range(rows)]
        steps = [builder.mul(left_row, _INDEX(row)) for row in range(rows)]
        multiply_add = _multiply_add(builder)
        with cgutils.for_range(builder, terms, intp=_INDEX) as loop:
            here = builder.add(left, builder.mul(loop.index, left_term))
            across = places(builder, builder.add(right, builder.mul(loop.index, right_term)))
            factors = [builder.load(place, align=4) for place in across]
            for row, step in enumerate(steps):
                number = builder.load(builder.inttoptr(builder.add(here, step), _FLOAT.as_pointer()))
                spread = _spread(builder, number, _VECTOR)
                for place, factor in zip(sums[row], factors, strict=True):
                    builder.store(builder.call(multiply_add, [spread, factor, builder.load(place)]), place)
        for row in range(rows):
            across = places(builder, builder.add(result, builder.mul(result_row, _INDEX(row))))
            for place, total in zip(across, sums[row], strict=True):
                _finish(builder, builder.load(total), floor, gate, place)
        return context.get_dummy_value()

    @intrinsic
    def inner_loop(
        typing: Any, left: Any, left_row: Any, left_term: Any, right: Any, right_term: Any,  # noqa: ARG001
        terms: Any, result: Any, result_row: Any, start: Any, floor: Any, gate: Any,  # noqa: ARG001
    ) -> Any:  # fmt: skip
        return types.void(*[types.intp] * 9, types.float32, types.intp), codegen

    return inner_loop


_wide_6, _wide_4, _wide_2, _wide_1 = (_tile(rows, _VECTORS) for rows in (6, 4, 2, 1))
_narrow_12, _narrow_4, _narrow_1 = (_tile(rows, 1) for rows in (12, 4, 1))


@njit(cache=True, nogil=True)
def product(left: Array, right: Array, start: Array, floor: Any, gate: int, result: Array) -> None:
    """Write max(start + left right, floor) into `result`, through a gate.

    Args:
        left: [row, term].
        right: [term, column].
        start: [column], or [0] for zeros.
        floor: 0 for a ReLU, `NO_FLOOR` for none.
        gate: `NO_GATE`, or what activations `result` holds before.
        result: [row, column], rows contiguous.
    """
    rows, columns = result.shape
    terms = left.shape[1]
    width = _LANES if columns <= _LANES else _COLUMNS
    begin = np.zeros(width, dtype=np.float32)
    edge = np.empty((rows if columns % width else 0, width), dtype=np.float32)
    # Columns of the right factor are copied side by side, unless that costs more than it saves.
    packed = rows > 24 or right.strides[1] != 4 or columns % width > 0
    panel = np.empty((terms if packed else 0, width), dtype=np.float32)
    for first in range(0, columns, width):
        count = min(width, columns - first)
        across, written = right[:, first : first + count], result[:, first : first + count]
        if start.shape[0] > 0:
            begin[:count] = start[first : first + count]
        if packed:
            _pack(across, panel)
        if count < width and gate != NO_GATE:
            _copy(written, edge[:, :count])
        narrow, target = width == _LANES, edge if count < width else written
        if packed:
            _columns(left, panel, begin, floor, gate, narrow, target)
        else:
            _columns(left, across, begin, floor, gate, narrow, target)
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
def _columns(left: Array, right: Array, begin: Array, floor: Any, gate: int, narrow: bool, result: Array) -> None:
    """Write as many columns of a product as a tile has."""
    a, a_row, a_term, terms = left.ctypes.data, left.strides[0], left.strides[1], left.shape[1]
    b, b_term, start, lowest = right.ctypes.data, right.strides[0], begin.ctypes.data, np.float32(floor)
    c, c_row, rows = result.ctypes.data, result.strides[0], result.shape[0]
    while rows > 0:
        tall = _height(rows, narrow)
        if narrow and tall == 12:
            _narrow_12(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        elif narrow and tall == 4:
            _narrow_4(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        elif narrow:
            _narrow_1(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        elif tall == 6:
            _wide_6(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        elif tall == 4:
            _wide_4(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        elif tall == 2:
            _wide_2(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        else:
            _wide_1(a, a_row, a_term, b, b_term, terms, c, c_row, start, lowest, gate)
        rows -= tall
        a += tall * a_row
        c += tall * c_row


@njit(cache=True, nogil=True)
def _height(rows: int, narrow: bool) -> int:
    """Return how many rows the next tile has."""
    if narrow:
        return 12 if rows >= 12 else 4 if rows >= 4 else 1
    if rows >= 6 and rows != 8:  # the fewer sums a tile has, the longer it waits for each
        return 6
    return 4 if rows >= 4 else 2 if rows >= 2 else 1
