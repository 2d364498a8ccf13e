"""Sets of cells of one value: unions of boxes (a set of positions per axis), and single cells where no box fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.lineage.runs import Runs
from traceprop.passes.encodings.positions import distinct

Box = tuple[Runs, ...]
_MANY_BOXES = 48


class Region:
    """Cells of a value of a given shape. `flat` holds row-major cell numbers that are in no box."""

    __slots__ = ("boxes", "flat", "shape")

    def __init__(self, shape: tuple[int, ...], boxes: Sequence[Box] = (), flat: Runs | None = None) -> None:
        self.shape = shape
        self.boxes: list[Box] = []
        self.flat = flat if flat is not None else Runs.range(0, 0)
        for box in boxes:
            self.add_box(box)

    def __bool__(self) -> bool:
        return bool(self.boxes) or bool(self.flat)

    def add_box(self, box: Box) -> None:
        """Adds a box; one that differs from another on one axis only is joined to it."""
        if not all(box):
            return
        k = 0
        while k < len(self.boxes):
            joined = _joined(self.boxes[k], box)
            if joined is None:
                k += 1
            elif joined is self.boxes[k]:
                return
            else:
                self.boxes.pop(k)
                box, k = joined, 0
        self.boxes.append(box)
        if len(self.boxes) > _MANY_BOXES and self.shape:
            self.flat = self.flat | Runs.of(self.cells_flat())
            self.boxes = []

    def add(self, other: Region) -> None:
        """Adds another region of the same value."""
        for box in other.boxes:
            self.add_box(box)
        if other.flat:
            self.flat = self.flat | other.flat

    def cells_flat(self) -> np.ndarray:
        """Row-major cell numbers, sorted, each once."""
        parts = [np.ravel_multi_index(grid(box), self.shape).ravel() for box in self.boxes] if self.shape else []
        if not self.shape and self.boxes:
            parts = [np.zeros(1, dtype=np.int64)]
        if len(parts) == 1 and not self.flat:  # a box lists its cells in order
            return parts[0]
        return distinct(np.concatenate([self.flat.positions, *parts]))

    def cells(self) -> np.ndarray:
        """Cell coordinates, int64 (k, ndim), in row-major order."""
        if len(self.boxes) == 1 and not self.flat and self.shape:  # a box lists its cells in order
            sides = [len(runs) for runs in self.boxes[0]]
            table = np.empty((*sides, len(sides)), dtype=np.int64)
            for axis, positions in enumerate(np.ix_(*(runs.positions for runs in self.boxes[0]))):
                table[..., axis] = positions
            return table.reshape(-1, len(sides))
        flat = self.cells_flat()
        if not self.shape:
            return np.zeros((len(flat), 0), dtype=np.int64)
        cells = np.empty((len(flat), len(self.shape)), dtype=np.int64)
        for axis in range(len(self.shape) - 1, 0, -1):
            before = flat // self.shape[axis]
            np.subtract(flat, before * self.shape[axis], out=cells[:, axis])
            flat = before
        cells[:, 0] = flat
        return cells

    def along(self, axis: int) -> Runs:
        """The positions on one axis that some cell has."""
        found = Runs.range(0, 0)
        for box in self.boxes:
            found = found | box[axis]
        if self.flat:
            found = found | Runs.of(np.unravel_index(self.flat.positions, self.shape)[axis])
        return found

    def points(self) -> tuple[np.ndarray, ...]:
        """The coordinates of the single cells, one int64 array per axis."""
        return tuple(np.asarray(c, dtype=np.int64) for c in np.unravel_index(self.flat.positions, self.shape))


def _joined(old: Box, new: Box) -> Box | None:
    """One box for two, where that is possible: one holds the other, or they differ on one axis only."""
    differing = [k for k, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    if not differing:
        return old
    if len(differing) == 1:
        (k,) = differing
        if new[k] <= old[k]:
            return old
        return (*old[:k], old[k] | new[k], *old[k + 1 :])
    if all(new[k] <= old[k] for k in differing):
        return old
    return new if all(old[k] <= new[k] for k in differing) else None


def grid(box: Sequence[Runs]) -> tuple[np.ndarray, ...]:
    """The coordinates of all cells of a box: one array per axis, open so that they broadcast to the box's shape."""
    return tuple(np.broadcast_arrays(*np.ix_(*(runs.positions for runs in box)))) if box else ()


def everything(shape: tuple[int, ...]) -> Region:
    """All cells."""
    return Region(shape, [tuple(Runs.range(0, size) for size in shape)])


def rows_of(shape: tuple[int, ...], rows: Any) -> Region:
    """All cells of some rows."""
    return Region(shape, [(Runs.of(rows), *(Runs.range(0, size) for size in shape[1:]))])
