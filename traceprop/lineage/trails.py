"""All direct (row, source row) pairs of a value at once: one array per step instead of one question per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from traceprop.ir import Expr, Kind, Read, Span, Value
from traceprop.ir.expr import evaluate
from traceprop.ir.index_map import AXIS_NAMES, axes_in
from traceprop.lineage.chain import behind
from traceprop.lineage.reads import Scope, backward, bounded
from traceprop.lineage.region import Region, everything
from traceprop.lineage.runs import Runs
from traceprop.lineage.threads import Threads, distinct_pairs
from traceprop.lineage.walk import asked_of, carrier, scope_of
from traceprop.sources import Source
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy

_MANY_GROUPS = 256
_MANY_CELLS = 4_000_000
_MANY_PAIRS = 16_000_000
_Moved = Iterator["Strand | Threads"]


class _TooManyPairsError(Exception):
    """The rows differ so much in the cells that they read that fewer of them must be followed at a time."""


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
    if not value.rank:
        return
    whole = everything(scope_of(call).shape(value))
    try:
        found = list(_followed(call, value, Strand(Trail(rows, rows), _at(whole, 0, 0))))
    except _TooManyPairsError:
        found = [pair for half in np.array_split(rows, 2) for pair in direct_pairs(call, value, half)]
    yield from found


def _followed(call: Call, value: Value, start: Strand | Threads) -> Iterator[tuple[Source, Trail]]:
    """The pairs of a strand, or of threads, on axis 0 of a value."""
    scope = scope_of(call)
    empty = isinstance(start, Strand) and not start.cross
    maps = asked_of(call)
    reached: dict[tuple[Value, int], list[Strand | Threads]] = {
        (maps.now.get(value, value), 0): [] if empty else [start]
    }
    for op in reversed(maps.program.ops):
        for axis in range(op.result.rank if not op.definition.effect else 0):
            strands = reached.pop((op.result, axis), [])
            for read in op.reads if strands else ():
                k = carrier(read, axis)
                if read.kind is Kind.DATA and k is not None:
                    there = reached.setdefault((read.operand, k), [])
                    for known in strands:
                        for moved in _moved(known, read, k, axis, op.result, scope):
                            _add(there, moved)
    for param, given in zip(call.program.params, call.inputs, strict=True):
        for known in reached.get((param, 0), []):
            came = behind(given)
            if isinstance(came, Source):
                rows = Trail(known.rows, known.positions(scope.shape(param), 0)) if isinstance(known, Threads) else None
                yield came, known.trail if rows is None else distinct(rows)
            elif isinstance(known, Threads):
                yield from _followed(came.call(), came.value, known)
            else:
                yield from _continued(came, known)


def _continued(given: Lazy, strand: Strand) -> Iterator[tuple[Source, Trail]]:
    """The strand through the call that an input comes from."""
    trail = strand.trail
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
    return Trail(*distinct_pairs(*trail))


def _add(strands: list[Strand | Threads], new: Strand | Threads) -> None:
    """Adds a strand; with another of the same rows or the same cross it becomes one, so that diamonds stay narrow."""
    for n, old in enumerate(strands):
        if isinstance(old, Threads) or isinstance(new, Threads):
            if isinstance(old, Threads) and isinstance(new, Threads):
                strands[n] = old.joined(new)
                return
            continue
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


def _apart(strand: Strand, axis: int) -> Threads:
    """The strand's cells, row by row. Raises `_TooManyPairsError` for more than fit in memory well."""
    across = strand.cross.cells()
    if len(strand.trail.rows) > 1 and len(strand.trail.rows) * len(across) > _MANY_PAIRS:
        raise _TooManyPairsError
    rows, cells = np.repeat(strand.trail.rows, len(across)), np.tile(across, (len(strand.trail.rows), 1))
    cells[:, axis] = np.repeat(strand.trail.positions, len(across))
    return Threads(rows, np.ravel_multi_index(tuple(cells.T), strand.cross.shape).astype(np.int64))


def _moved(known: Strand | Threads, read: Read, k: int, axis: int, result: Value, scope: Scope) -> _Moved:
    """What is known on an axis of a result, on axis `k` of the read's operand."""
    if isinstance(known, Threads):
        threads = known.moved(read, scope.shape(result), scope)
        if len(threads.rows):
            yield threads
        return
    trail = known.trail
    kept = bounded([bound for bound in read.where if bound.axis == axis], {axis: trail.positions}, scope)
    rows, positions = trail.rows[kept], trail.positions[kept]
    if not len(rows):
        return
    groups = _alike(known.cross, read, k, axis, positions, scope)
    if groups is None:
        yield from _moved(_apart(Strand(Trail(rows, positions), known.cross), axis), read, k, axis, result, scope)
        return
    place = read.axes[k]
    if isinstance(place, Expr):
        moved = evaluate(place, {**scope.sizes, AXIS_NAMES[axis]: positions})
    else:
        moved = scope.at(place, {axis: positions}, scope.shape(read.operand)[k])
    moved = np.asarray(moved, dtype=np.int64)
    for part in groups:
        cross = backward(read, _at(known.cross, axis, int(positions[part][0])), scope)
        if cross:
            yield Strand(Trail(rows[part], moved[part]), _at(cross, k, 0))


def _alike(
    cross: Region, read: Read, k: int, axis: int, positions: np.ndarray, scope: Scope
) -> Sequence[np.ndarray] | None:
    """The rows in groups that read the same cells across: index arrays; `None` for more groups than are worth it.

    Mostly the places across do not look at the row, and all rows are one group.
    """
    coupled = [(p, place) for p, place in enumerate(read.axes) if p != k and axis in axes_in(place)]
    if not coupled:
        return [np.arange(len(positions))]
    cells = cross.cells().T
    if len(positions) * cells.shape[1] > _MANY_CELLS:
        return None
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
    across = np.concatenate(columns, axis=1).astype(np.int64)
    sums = across @ np.random.default_rng(0).integers(1, 2**40, across.shape[1])  # rows whose sums differ, differ
    if len(np.unique(sums)) > _MANY_GROUPS:
        return None
    groups, group = np.unique(across, axis=0, return_inverse=True)
    if len(groups) > _MANY_GROUPS:
        return None
    return [np.flatnonzero(group.ravel() == n) for n in range(len(groups))]
