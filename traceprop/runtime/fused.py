"""What computes a fused chain of element-wise functions: blocks of it, so that what is between two steps stays in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

BLOCK_CELLS = 1 << 14
WHOLE_CELLS = 1 << 16


class Fused:
    """The steps of a chain: `(function, places…)`, places counting operands and then earlier steps."""

    def __init__(self, steps: Sequence[tuple[Callable[..., Any], tuple[int, ...]]]) -> None:
        self._steps = tuple(steps)

    def __call__(self, *operands: Any) -> Any:
        shape = np.broadcast_shapes(*(np.shape(operand) for operand in operands))
        full = [a for a in operands if np.shape(a) == shape]
        cells = int(np.prod(shape))
        if cells <= WHOLE_CELLS or not full or not all(a.flags.c_contiguous for a in full) or len(shape) == 0:
            return self._run(operands)  # NumPy's own choice of the result's layout: sums of it are rounded by that
        rows = max(1, BLOCK_CELLS * shape[0] // cells)
        first = self._run(_block(operands, shape, 0, rows))
        result = np.empty(shape, first.dtype)
        result[:rows] = first
        for start in range(rows, shape[0], rows):
            self._run(_block(operands, shape, start, start + rows), out=result[start : start + rows])
        return result

    def _run(self, operands: Sequence[Any], out: np.ndarray | None = None) -> Any:
        values = list(operands)
        *before, (last, places) = self._steps
        for function, at in before:
            values.append(function(*(values[k] for k in at)))
        arguments = [values[k] for k in places]
        return last(*arguments) if out is None else last(*arguments, out=out)


def _block(operands: Sequence[Any], shape: tuple[int, ...], start: int, stop: int) -> list[Any]:
    """The rows of operands that have rows; the others as they are."""
    rank = len(shape)
    return [a[start:stop] if np.ndim(a) == rank and np.shape(a)[0] != 1 else a for a in operands]
