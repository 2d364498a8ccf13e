"""Sweeps that are arithmetic alone: by the kernel for chains, and by NumPy where that has something to warn of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.ir.expr import Dim, product
from traceprop.ir.graph import Op, Value, payload_dtype
from traceprop.ir.opset import constant, elementwise
from traceprop.passes.kernels.steps import HAVE_EXTENSION, OPS, Chain, Place
from traceprop.passes.optimize.fuse import is_rowed
from traceprop.passes.optimize.sweeps import Sweep
from traceprop.runtime import blocks

_LONGEST = 256
"""Cells of a row up to which a chunk holds several of them."""
WORTH = 40_000
"""Cells computed from which on the kernel takes less time than NumPy's functions, one after another."""
_WORTH_TWO = 1 << 22
"""Cells computed from which on the second core pays for its thread: they need no GIL."""


class ByKernel:
    """A chain as the code calls it: `(rows, arrays, rowless operands)`, results the last of the arrays."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def __call__(
        self, rows: int, arrays: Sequence[np.ndarray], lines: Sequence[np.ndarray], numbers: Sequence[Any]
    ) -> bool:
        """Whether all is computed; where NumPy would warn, or there is no kernel, NumPy is to be asked."""
        if not HAVE_EXTENSION:
            return False
        found: list[bool] = []
        run = lambda first, last: found.append(self._chain.run(arrays, lines, numbers, first, last))  # noqa: E731
        blocks.over_rows(run, rows, len(self._chain.steps) * rows * self._chain.width, _WORTH_TWO)
        return all(found) or all(how == "ignore" for kind, how in np.geterr().items() if kind != "under")


class Recipe:
    """How a sweep is a chain: which values it takes as arrays, rows and numbers."""

    def __init__(self, sweep: Sweep, rows: Dim, buffers: dict[Value, int]) -> None:
        self.arrays: dict[Value, int] = {}
        self.lines: dict[Value, int] = {}
        self.numbers: dict[Value, int] = {}
        places: dict[Value, int] = {}
        written: list[Place] = []

        def place(value: Value) -> int:
            if value not in places:
                places[value] = len(written)
                written.append(self._place(value, sweep, rows, buffers))
            return places[value]

        steps = []
        for op in sweep.ops:
            left, right = op.operands[0], op.operands[-1]
            steps.append((str(op.payload).removeprefix("numpy."), place(left), place(right), place(op.result)))
        width = product(sweep.ops[0].result.type.dims[1:])
        assert isinstance(width, int)
        self.chain = Chain(tuple(steps), tuple(written), len(set(buffers.values())), width)

    def _place(self, value: Value, sweep: Sweep, rows: Dim, buffers: dict[Value, int]) -> Place:
        if value in buffers:
            return Place("buffer", buffers[value])
        if is_rowed(value, rows):
            return Place("array", self.arrays.setdefault(value, len(self.arrays)))
        if value.op is not None and value.op.definition is constant and not value.rank:
            return Place("number", value=float(value.op.attrs["value"]))
        if not value.rank:
            return Place("number", self.numbers.setdefault(value, len(self.numbers)))
        return Place("row", self.lines.setdefault(value, len(self.lines)))


def is_chain(sweep: Sweep, rows: Dim) -> bool:
    """Whether the kernel computes a sweep: two steps of arithmetic or more, of one float dtype and of rows of one shape."""
    if sweep.folds or len(sweep.ops) < 2:
        return False
    shape, dtype = sweep.ops[0].result.type.dims, payload_dtype(sweep.ops[0].result.type)
    width = product(shape[1:])
    if dtype not in ("f32", "f64") or not isinstance(width, int) or not 0 < width <= _LONGEST:
        return False
    return all(_is_step(op, shape, dtype, rows) for op in sweep.ops)


def _is_step(op: Op, shape: tuple[Dim, ...], dtype: str, rows: Dim) -> bool:
    if op.definition is not elementwise or (op.payload or "").removeprefix("numpy.") not in OPS:
        return False
    return _fits(op.result, shape, dtype, rows) and all(_fits(value, shape, dtype, rows) for value in op.operands)


def _fits(value: Value, shape: tuple[Dim, ...], dtype: str, rows: Dim) -> bool:
    if value.op is not None and value.op.definition is constant and not value.rank:
        number = value.op.attrs["value"]
        return isinstance(number, (int, float)) and abs(number) < 1e30
    if payload_dtype(value.type) != dtype:
        return False
    return value.type.dims == shape if is_rowed(value, rows) else value.type.dims in ((), shape[1:])
