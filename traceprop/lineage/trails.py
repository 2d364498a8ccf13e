"""All direct (row, source row) pairs of a value at once: one array per step instead of one question per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from traceprop.ir import Expr, Kind, Value
from traceprop.ir.expr import evaluate
from traceprop.ir.index_map import AXIS_NAMES, carries
from traceprop.lineage.reads import Scope
from traceprop.lineage.walk import scope_of
from traceprop.sources import Source
from traceprop.tracing.call import Call


class Trail(NamedTuple):
    """Result rows and, for each, the position that it stands for on one axis of a value."""

    rows: np.ndarray
    positions: np.ndarray


def direct_pairs(call: Call, value: Value, rows: np.ndarray) -> Iterator[tuple[Source, Trail]]:
    """For every source that is reached directly, the result rows and the source rows that they are. Pairs may repeat."""
    scope = scope_of(call)
    if not value.rank:
        return
    reached: dict[tuple[Value, int], list[Trail]] = {(value, 0): [Trail(rows, rows)]}
    for op in reversed(call.program.ops):
        for axis in range(op.result.rank if not op.definition.effect else 0):
            trails = _joined(reached.pop((op.result, axis), []))
            if trails is None:
                continue
            for read in op.reads:
                if read.kind is not Kind.DATA:
                    continue
                k = next((k for k, place in enumerate(read.axes) if carries(place, axis)), None)
                if k is not None:
                    moved = _moved(trails, read, k, axis, scope)
                    if len(moved.rows):
                        reached.setdefault((read.operand, k), []).append(moved)
    for param, given in zip(call.program.params, call.inputs, strict=True):
        for axis in range(param.rank):
            trail = _joined(reached.get((param, axis), []))
            if trail is None:
                continue
            if isinstance(given, Source):
                if axis == 0:
                    yield given, trail
            elif axis == 0:
                yield from _continued(given, trail)


def _continued(given: object, trail: Trail) -> Iterator[tuple[Source, Trail]]:
    """The trail through the call that an input comes from."""
    from traceprop.tracing.lazy import Lazy

    assert isinstance(given, Lazy)
    if given.source is not None:
        yield given.source, trail
        return
    inner, back = np.unique(trail.positions, return_inverse=True)
    order = np.argsort(back, kind="stable")
    starts = np.searchsorted(back[order], np.arange(len(inner) + 1))
    for source, found in direct_pairs(given.call(), given.value, inner):
        at = np.searchsorted(inner, found.rows)
        counts = starts[at + 1] - starts[at]
        offsets = np.repeat(starts[at] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        yield source, Trail(trail.rows[order[offsets]], np.repeat(found.positions, counts))


def _joined(trails: list[Trail]) -> Trail | None:
    if not trails:
        return None
    if len(trails) == 1:
        return trails[0]
    return distinct(Trail(*(np.concatenate(part) for part in zip(*trails, strict=True))))


def distinct(trail: Trail) -> Trail:
    """Every pair once, sorted by row, then position."""
    width = int(trail.positions.max(initial=0)) + 1
    key = np.unique(trail.rows * width + trail.positions)
    return Trail(key // width, key % width)


def _moved(trail: Trail, read: object, k: int, axis: int, scope: Scope) -> Trail:
    """The trail on the operand's axis `k`, for the rows inside the read's bounds on the carried axis.

    A bound on another axis (a column of a concatenation) leaves some cell of every row inside, unless it is empty.
    """
    from traceprop.ir import Read

    assert isinstance(read, Read)
    kept = np.ones(len(trail.rows), dtype=bool)
    for bound in read.where:
        lo = 0 if bound.lo is None else scope.number(bound.lo)
        hi = None if bound.hi is None else scope.number(bound.hi)
        if bound.axis == axis:
            kept &= trail.positions >= lo
            kept &= True if hi is None else trail.positions < hi
        elif hi is not None and hi <= lo:
            kept &= False
    rows, positions = trail.rows[kept], trail.positions[kept]
    place = read.axes[k]
    if isinstance(place, Expr):
        positions = evaluate(place, {**scope.sizes, AXIS_NAMES[axis]: positions})
    else:
        positions = scope.at(place, {axis: positions}, scope.shape(read.operand)[k])
    return Trail(rows, np.asarray(positions, dtype=np.int64))
