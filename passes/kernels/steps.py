"""Chains of arithmetic over cells: every step of a chunk while it is in the nearest cache, without the GIL, with NumPy's bits."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_steps: ModuleType | None
try:
    from traceprop.passes.kernels import _steps
except ImportError:
    _steps = None

HAVE_EXTENSION: bool = _steps is not None
"""Whether the compiled kernel is there; without it NumPy's functions do what it does, block by block."""

OPS = {
    "add": 0,
    "subtract": 1,
    "multiply": 2,
    "divide": 3,
    "true_divide": 3,
    "absolute": 4,
    "abs": 4,
    "fabs": 4,
    "negative": 5,
    "square": 6,
    "sqrt": 7,
    "reciprocal": 8,
}
"""NumPy's functions that are one IEEE operation on each cell, and so have one result to the bit."""

Kind = Literal["array", "row", "number", "buffer"]
_KINDS: dict[Kind, int] = {"array": 0, "row": 1, "number": 2, "buffer": 3}
CHUNK = 1024
"""Cells of a chunk: 8 KiB of 64 bits, a few of which fit the nearest cache."""


@dataclass(frozen=True)
class Place:
    """What a step reads or writes: the `at`-th array, row or buffer, or a number: its own `value`, or the `at`-th given."""

    kind: Kind
    at: int = 0
    value: float | None = None


@dataclass(frozen=True)
class Chain:
    """Steps `(function, left, right, out)` over `places`; `right` is `left` where a function takes one.

    `width`: the cells of a row. `buffers`: how many there are for what is between two steps.
    """

    steps: tuple[tuple[str, int, int, int], ...]
    places: tuple[Place, ...]
    buffers: int
    width: int = 1

    @functools.cached_property
    def _table(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        steps = np.array([(OPS[name], *at) for name, *at in self.steps], np.int32)
        return steps, np.array([_KINDS[place.kind] for place in self.places], np.int32)

    def run(
        self,
        arrays: Sequence[NDArray[Any]],
        rows: Sequence[NDArray[Any]],
        numbers: Sequence[float],
        first: int,
        last: int,
    ) -> bool:
        """Compute the cells from row `first` to `last` of C-contiguous arrays of one float dtype; results are among them.

        Tells whether NumPy would have had nothing to warn of: no division by zero, no overflow, nothing invalid.

        Raises
        ------
        MemoryError
            There is no room for the buffers.
        """
        assert _steps is not None, "the kernel is not built"
        dtype = arrays[0].dtype
        chunk = max(1, CHUNK // self.width) * self.width
        tiles = [
            np.ascontiguousarray(np.broadcast_to(row.reshape(-1), (chunk // self.width, self.width))) for row in rows
        ]
        starts = {"array": [_address(a) for a in arrays], "row": [_address(tile) for tile in tiles]}
        places, values = np.zeros(len(self.places), np.int64), np.zeros(len(self.places))
        for k, place in enumerate(self.places):
            if place.kind == "number":
                values[k] = dtype.type(numbers[place.at] if place.value is None else place.value)
            else:
                places[k] = place.at if place.kind == "buffer" else starts[place.kind][place.at]
        steps, kinds = self._table
        span = (first * self.width, last * self.width)
        found: bool = _steps.run_steps(steps, kinds, places, values, *span, chunk, self.buffers, dtype == np.float64)
        return found


def _address(array: NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
