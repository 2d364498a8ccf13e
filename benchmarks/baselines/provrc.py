"""ProvRC: (output cell, input cell) pairs as boxes, whose input ranges may go along with an output index.

After Zhao and Krishnan, "Compression and In-Situ Query Processing for Fine-Grained Array Lineage" (arXiv 2405.17701), in
NumPy. First, ranges over the input axes: pairs of one output cell whose input cells lie side by side become one row. Then,
ranges over the output axes: rows whose output cells lie side by side become one, where every input range is the same in all
of them, either as it is or *relative*, once the output index is subtracted. Both go from the last axis to the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

ABSOLUTE = -1


@dataclass
class Boxes:
    """Rows of a compressed table: for every output cell within `out_low`..`out_high`, the input cells within `low`..`high`.

    All bounds are inclusive. `out_low`, `out_high`: int64 (n, output axes). `low`, `high`: int64 (n, input axes), counted from
    output axis `relative` where that is not -1: int64 (n, input axes).
    """

    out_low: np.ndarray
    out_high: np.ndarray
    low: np.ndarray
    high: np.ndarray
    relative: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def take(self, rows: np.ndarray) -> Boxes:
        return Boxes(*(getattr(self, name)[rows] for name in _PARTS))

    @property
    def nbytes(self) -> int:
        """The bytes of all columns in the smallest integers that hold them, after zstd where that is less."""
        import pyarrow as pa

        columns = [column for name in _PARTS for column in getattr(self, name).T]
        raw = b"".join(column.astype(_smallest(column)).tobytes() for column in columns)
        return min(len(raw), len(pa.Codec("zstd").compress(raw, asbytes=True)))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """All pairs again: output cells (m, output axes) and input cells (m, input axes), in no special order."""
        widths = np.hstack([self.out_high - self.out_low, self.high - self.low]) + 1
        counts = widths.prod(axis=1)
        row = np.repeat(np.arange(len(self)), counts)
        rest = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        offsets = np.empty((len(row), widths.shape[1]), np.int64)
        for axis in reversed(range(widths.shape[1])):
            rest, offsets[:, axis] = np.divmod(rest, widths[row, axis])
        p = self.out_low.shape[1]
        outputs = self.out_low[row] + offsets[:, :p]
        relative = self.relative[row]
        base = np.take_along_axis(outputs, np.maximum(relative, 0), axis=1)
        return outputs, self.low[row] + offsets[:, p:] + np.where(relative == ABSOLUTE, 0, base)

    def inputs_of(self, cell: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The input ranges (low, high) of one output cell, without decompressing: each (hits, input axes)."""
        at = np.asarray(cell)
        hit = ((self.out_low <= at) & (at <= self.out_high)).all(axis=1)
        base = np.where(self.relative[hit] == ABSOLUTE, 0, at[np.maximum(self.relative[hit], 0)])
        return self.low[hit] + base, self.high[hit] + base


_PARTS = ("out_low", "out_high", "low", "high", "relative")


def compress(outputs: np.ndarray, inputs: np.ndarray) -> Boxes:
    """Compress distinct pairs: int (n, output axes) output cells beside int (n, input axes) input cells."""
    outputs, inputs = np.asarray(outputs, np.int64), np.asarray(inputs, np.int64)
    boxes = Boxes(outputs, outputs, inputs, inputs, np.full(inputs.shape, ABSOLUTE, np.int64))
    for axis in reversed(range(inputs.shape[1])):
        boxes = _input_ranges(boxes, axis)
    for axis in reversed(range(outputs.shape[1])):
        boxes = _output_ranges(boxes, axis)
    return boxes


def _input_ranges(boxes: Boxes, axis: int) -> Boxes:
    others = [k for k in range(boxes.low.shape[1]) if k != axis]
    same = [*boxes.out_low.T, *boxes.low[:, others].T, *boxes.high[:, others].T]
    first, last = _side_by_side(same, boxes.low[:, axis], boxes.high[:, axis])
    found = boxes.take(first)
    found.high[:, axis] = boxes.high[last, axis]
    return found


def _output_ranges(boxes: Boxes, axis: int) -> Boxes:
    """Merge along one output axis: each way to see input ranges as relative takes its turn, the one that leaves least first."""
    ways = list(product((False, True), repeat=boxes.low.shape[1]))
    done = []
    while ways and len(boxes):
        runs = {way: _runs(boxes, axis, np.array(way)) for way in ways}
        best = min(ways, key=lambda way: len(runs[way][0]))
        first, last = runs[best]
        longer = first != last
        if not longer.any():
            break
        found = boxes.take(first[longer])
        found.out_high[:, axis] = boxes.out_high[last[longer], axis]
        turned = np.array(best) & (found.relative == ABSOLUTE)
        base = np.where(turned, found.out_low[:, axis, None], 0)
        found.low, found.high = found.low - base, found.high - base
        found.relative = np.where(turned, axis, found.relative)
        done.append(found)
        boxes = boxes.take(first[~longer])
        ways.remove(best)
    return Boxes(*(np.concatenate([getattr(part, name) for part in (*done, boxes)]) for name in _PARTS))


def _runs(boxes: Boxes, axis: int, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    others = [k for k in range(boxes.out_low.shape[1]) if k != axis]
    base = np.where(way & (boxes.relative == ABSOLUTE), boxes.out_low[:, axis, None], 0)
    same = [
        *boxes.out_low[:, others].T, *boxes.out_high[:, others].T, *boxes.relative.T,
        *(boxes.low - base).T, *(boxes.high - base).T,
    ]  # fmt: skip
    return _side_by_side(same, boxes.out_low[:, axis], boxes.out_high[:, axis])


def _side_by_side(same: list[np.ndarray], low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last row of each run of rows that are equal in the columns `same` and in which a range begins where
    the one before ends. Rows are brought together by a hash; two that share one by chance are never taken for equal."""
    mixed = np.zeros(len(low), np.uint64)
    for column in same:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    order = np.lexsort((low, mixed))
    follows = low[order[1:]] == high[order[:-1]] + 1
    for column in same:
        follows &= column[order[1:]] == column[order[:-1]]
    ends = np.flatnonzero(np.append(~follows, True)) if len(low) else np.zeros(0, np.intp)
    starts = np.append(0, ends[:-1] + 1) if len(ends) else ends
    return order[starts], order[ends]


def _smallest(column: np.ndarray) -> np.dtype:
    if not len(column):
        return np.dtype(np.int8)
    return np.promote_types(np.min_scalar_type(int(column.min())), np.min_scalar_type(int(column.max())))
