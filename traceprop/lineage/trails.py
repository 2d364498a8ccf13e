"""All direct (row, source row) pairs of a value at once: one array per step instead of one question per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from traceprop.ir import Expr, Kind, Read, Span, Value
from traceprop.ir.expr import evaluate
from traceprop.ir.index_map import AXIS_NAMES, axes_in
from traceprop.lineage.reads import Scope, backward
from traceprop.lineage.region import Region, everything
from traceprop.lineage.runs import Runs
from traceprop.lineage.walk import carrier, scope_of
from traceprop.sources import Source
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy

_ALL = slice(None)
_MANY_GROUPS = 256
_MANY_CELLS = 4_000_000


class Trail(NamedTuple):
    """Result rows and, for each, the position that it stands for on one axis of a value."""

    rows: np.ndarray
    positions: np.ndarray


class Strand(NamedTuple):
    """Rows that read the same cells of the row that they stand for: `cross`, with position 0 on the axis of the rows.

    A row of `concatenate([a, b], axis=1)[:, 0]` stands for a row of `a` and for none of `b`: what tells the two apart is
    which cells across the row are read.
    """

    trail: Trail
    cross: Region


def direct_pairs(call: Call, value: Value, rows: np.ndarray) -> Iterator[tuple[Source, Trail]]:
    """For every source that is reached directly, the result rows and the source rows that they are. Pairs may repeat."""
    if value.rank:
        whole = everything(scope_of(call).shape(value))
        yield from _followed(call, value, Strand(Trail(rows, rows), _at(whole, 0, 0)))


def _followed(call: Call, value: Value, strand: Strand) -> Iterator[tuple[Source, Trail]]:
    """The pairs of a strand on axis 0 of a value."""
    scope = scope_of(call)
    reached: dict[tuple[Value, int], list[Strand]] = {(value, 0): [strand] if strand.cross else []}
    for op in reversed(call.program.ops):
        for axis in range(op.result.rank if not op.definition.effect else 0):
            strands = reached.pop((op.result, axis), [])
            for read in op.reads if strands else ():
                k = carrier(read, axis)
                if read.kind is Kind.DATA and k is not None:
                    there = reached.setdefault((read.operand, k), [])
                    for known in strands:
                        for moved in _moved(known, read, k, axis, scope):
                            _add(there, moved)
    for param, given in zip(call.program.params, call.inputs, strict=True):
        for known in reached.get((param, 0), []):
            if isinstance(given, Source):
                yield given, known.trail
            else:
                yield from _continued(given, known)


def _continued(given: Lazy, strand: Strand) -> Iterator[tuple[Source, Trail]]:
    """The strand through the call that an input comes from."""
    trail = strand.trail
    if given.source is not None:
        yield given.source, trail
        return
    inner, back = np.unique(trail.positions, return_inverse=True)
    order = np.argsort(back, kind="stable")
    starts = np.searchsorted(back[order], np.arange(len(inner) + 1))
    for source, found in _followed(given.call(), given.value, Strand(Trail(inner, inner), strand.cross)):
        at = np.searchsorted(inner, found.rows)
        counts = starts[at + 1] - starts[at]
        offsets = np.repeat(starts[at] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        yield source, Trail(trail.rows[order[offsets]], np.repeat(found.positions, counts))


def distinct(trail: Trail) -> Trail:
    """Every pair once, sorted by row, then position."""
    width = int(trail.positions.max(initial=0)) + 1
    key = np.unique(trail.rows * width + trail.positions)
    return Trail(key // width, key % width)


def _add(strands: list[Strand], new: Strand) -> None:
    """Adds a strand; with another of the same rows or the same cross it becomes one, so that diamonds stay narrow."""
    for n, old in enumerate(strands):
        if all(map(np.array_equal, old.trail, new.trail)):
            both = Region(old.cross.shape, old.cross.boxes, old.cross.flat)
            both.add(new.cross)
            strands[n] = Strand(old.trail, both)
            return
        if np.array_equal(old.cross.cells_flat(), new.cross.cells_flat()):
            joined = Trail(*map(np.concatenate, zip(old.trail, new.trail, strict=True)))
            strands[n] = Strand(distinct(joined), old.cross)
            return
    strands.append(new)


def _at(region: Region, axis: int, position: int) -> Region:
    """The region with everything at one position of an axis."""
    found = Region(region.shape, [(*box[:axis], Runs.of([position]), *box[axis + 1 :]) for box in region.boxes])
    if region.flat:
        points = list(region.points())
        points[axis] = np.full_like(points[axis], position)
        found.flat = Runs.of(np.unique(np.ravel_multi_index(points, region.shape)))
    return found


def _spread(region: Region, axis: int, positions: Runs) -> Region:
    """No fewer cells than the region has at each of these positions of an axis."""
    box = [region.along(n) for n in range(len(region.shape))]
    return Region(region.shape, [(*box[:axis], positions, *box[axis + 1 :])])


def _moved(strand: Strand, read: Read, k: int, axis: int, scope: Scope) -> Iterator[Strand]:
    """The strand on the operand's axis `k`, for the rows inside the read's bounds."""
    trail = strand.trail
    kept = np.ones(len(trail.rows), dtype=bool)
    for bound in read.where:
        if bound.axis == axis:
            kept &= trail.positions >= (0 if bound.lo is None else scope.number(bound.lo))
            kept &= True if bound.hi is None else trail.positions < scope.number(bound.hi)
    rows, positions = trail.rows[kept], trail.positions[kept]
    if not len(rows):
        return
    place = read.axes[k]
    if isinstance(place, Expr):
        moved = evaluate(place, {**scope.sizes, AXIS_NAMES[axis]: positions})
    else:
        moved = scope.at(place, {axis: positions}, scope.shape(read.operand)[k])
    moved = np.asarray(moved, dtype=np.int64)
    for part in _alike(strand.cross, read, k, axis, positions, scope):
        if part is _ALL:
            asked = _spread(strand.cross, axis, Runs.of(np.unique(positions)))
        else:
            asked = _at(strand.cross, axis, int(positions[part][0]))
        cross = backward(read, asked, scope)
        if cross:
            yield Strand(Trail(rows[part], moved[part]), _at(cross, k, 0))


def _alike(
    cross: Region, read: Read, k: int, axis: int, positions: np.ndarray, scope: Scope
) -> Sequence[np.ndarray | slice]:
    """The rows in groups that read the same cells across: index arrays; `_ALL` where they are too many to tell apart.

    Mostly the places across do not look at the row, and all rows are one group.
    """
    coupled = [(p, place) for p, place in enumerate(read.axes) if p != k and axis in axes_in(place)]
    if not coupled:
        return [np.arange(len(positions))]
    cells = cross.cells().T
    if len(positions) * cells.shape[1] > _MANY_CELLS:
        return [_ALL]
    grid = {n: positions[:, None] if n == axis else cells[n][None, :] for n in range(len(cells))}
    values = {**scope.sizes, **{AXIS_NAMES[n]: at for n, at in grid.items()}}
    shape = (len(positions), cells.shape[1])
    columns = []
    for p, place in coupled:
        found = (
            [evaluate(place.lo, values), evaluate(place.hi, values)]
            if isinstance(place, Span)
            else [scope.at(place, grid, scope.shape(read.operand)[p])]
        )
        columns += [np.broadcast_to(column, shape) for column in found]
    groups, group = np.unique(np.concatenate(columns, axis=1), axis=0, return_inverse=True)
    if len(groups) > _MANY_GROUPS:
        return [_ALL]
    return [np.flatnonzero(group.ravel() == n) for n in range(len(groups))]
