"""One read of an index map on sets of cells, both ways: result cells to operand cells, and back.

A read's places (one per operand axis) fall into components that share result axes. A component of one place and at most
one result axis maps sets to sets, so that boxes stay boxes whatever their size; only a component that mixes axes
(a reshape across rows, a diagonal) is evaluated cell by cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from traceprop.ir import Bound, Full, Look, Members, Read, Span, Value
from traceprop.ir.expr import Expr, evaluate
from traceprop.ir.index_map import AXIS_NAMES, AxisRead, axes_in
from traceprop.ir.index_map import axis as axis_symbol
from traceprop.lineage.region import Box, Region, everything
from traceprop.lineage.runs import Runs
from traceprop.passes.encodings import AbstractPositions, Columns, Plain

_MANY_CELLS = 4_000_000
_AXES = [axis_symbol(k) for k in range(len(AXIS_NAMES))]


class Scope:
    """What a run fixed: `sizes` of the size symbols, and `lookup`, which gives the captured positions of an index array."""

    def __init__(self, sizes: Mapping[str, int], lookup: Callable[[Value], AbstractPositions]) -> None:
        self.sizes = sizes
        self.lookup = lookup

    def number(self, dim: Any) -> int:
        """The number behind a size."""
        return int(evaluate(dim, self.sizes))

    def shape(self, value: Value) -> tuple[int, ...]:
        """The concrete shape of a value."""
        return tuple(self.number(dim) for dim in value.type.dims)

    def at(self, place: AxisRead, axes: Mapping[int, Any], size: int) -> Any:
        """The operand position of a mapped or looked-up place, for given result positions per axis (arrays broadcast).

        For `Members`, the number that stands at the operand's positions.
        """
        values = {**self.sizes, **{AXIS_NAMES[axis]: positions for axis, positions in axes.items()}}
        if isinstance(place, Look):
            line, dim = self.line(place)
            if line is not None:
                found = line.take(evaluate(dim, values))
            else:
                line = self.lookup(place.index)
                found = line.take(
                    np.ravel_multi_index(np.broadcast_arrays(*(evaluate(dim, values) for dim in place.at)), line.shape)
                )
            return np.where(found < 0, found + size, found) if line.facts.low < 0 else found
        if isinstance(place, Members):
            return evaluate(place.at, values)
        return evaluate(place, values)  # type: ignore[arg-type]

    def line(self, place: Look) -> tuple[AbstractPositions | None, Any]:
        """The one-dimensional positions that a place looks up in, and where: a column of pairs is one. `None`: there are none."""
        index = self.lookup(place.index)
        if index.ndim == 1:
            return index, place.at[0]
        if isinstance(index, Columns) and isinstance(place.at[1], int):
            return index.column(place.at[1]), place.at[0]
        return None, None


def clipped(where: Sequence[Bound], box: Box, scope: Scope) -> Box:
    """The part of a box of result cells for which a read holds."""
    for bound in where:
        lo = 0 if bound.lo is None else scope.number(bound.lo)
        hi = np.iinfo(np.int64).max if bound.hi is None else scope.number(bound.hi)
        box = (*box[: bound.axis], box[bound.axis] & Runs.range(lo, hi), *box[bound.axis + 1 :])
    return box


def bounded(where: Sequence[Bound], points: Mapping[int, np.ndarray], scope: Scope) -> np.ndarray:
    """For which of some result cells, given by their positions per axis, a read holds; bool, one per cell."""
    kept = np.ones(len(next(iter(points.values()))), dtype=bool)
    for bound in where:
        kept &= points[bound.axis] >= (0 if bound.lo is None else scope.number(bound.lo))
        if bound.hi is not None:
            kept &= points[bound.axis] < scope.number(bound.hi)
    return kept


def components(places: Sequence[AxisRead]) -> list[tuple[list[int], list[int]]]:
    """Groups of (operand axes, result axes) that depend on one another."""
    groups: list[tuple[list[int], set[int]]] = []
    for k, place in enumerate(places):
        mine, axes = [k], set(axes_in(place))
        for group in [g for g in groups if g[1] & axes]:
            groups.remove(group)
            mine, axes = [*group[0], *mine], axes | group[1]
        groups.append((sorted(mine), axes))
    return [(places_, sorted(axes)) for places_, axes in groups]


# -- result cells to operand cells --------------------------------------------------------------------------------------


def backward(read: Read, region: Region, scope: Scope) -> Region:
    """The operand cells that some cells of `region` read."""
    shape = scope.shape(read.operand)
    found = Region(shape)
    for box in region.boxes:
        inside = clipped(read.where, box, scope)
        if all(inside):
            _backward_box(read, inside, scope, found)
    if region.flat:
        points = dict(enumerate(region.points()))
        kept = bounded(read.where, points, scope)
        if kept.any():
            _backward_points(read, {axis: at[kept] for axis, at in points.items()}, scope, found)
    return found


def _backward_box(read: Read, box: Box, scope: Scope, found: Region) -> None:
    parts = components(read.axes)
    if all(len(places) == 1 or not axes for places, axes in parts):
        sets: list[Runs] = [Runs.range(0, 0)] * len(read.axes)
        for places, axes in parts:
            for k in places:
                sets[k] = _image(read.axes[k], axes, box, scope, found.shape[k])
        found.add_box(tuple(sets))
        return
    used = sorted({axis for place in read.axes for axis in axes_in(place)})
    cells = np.broadcast_arrays(*np.ix_(*(box[axis].positions for axis in used)))
    _backward_points(read, {axis: c.ravel() for axis, c in zip(used, cells, strict=True)}, scope, found)


def _image(place: AxisRead, axes: list[int], box: Box, scope: Scope, size: int) -> Runs:
    """The operand positions that one place reads, for all result positions of its axes."""
    if isinstance(place, Full):
        return Runs.range(0, size)
    if isinstance(place, Span):
        return _span_image(place, axes, box, scope)
    if isinstance(place, Members):
        return Runs(*scope.lookup(place.index).where(*_bounds_of(_numbers(place.at, axes, box, scope))))
    if isinstance(place, Look) and len(axes) == 1:
        line, dim = scope.line(place)
        if line is not None:
            found = Runs(*line.image(*_bounds_of(_numbers(dim, axes, box, scope))))
            return found if line.facts.low >= 0 else _counted_from_the_end(found, size)
    if not axes:
        return Runs.of([scope.at(place, {}, size)])
    if len(axes) == 1:
        (axis,) = axes
        shift = _shift(place, axis, scope)
        if shift is not None:
            return box[axis].shifted(shift)
        return Runs.of(scope.at(place, {axis: box[axis].positions}, size))
    open_grid = np.ix_(*(box[axis].positions for axis in axes))
    return Runs.of(scope.at(place, dict(zip(axes, open_grid, strict=True)), size))


def _numbers(dim: Any, axes: list[int], box: Box, scope: Scope) -> Runs:
    """The numbers that an expression over result axes takes in a box."""
    if len(axes) == 1:
        shift = _shift(dim, axes[0], scope)
        if shift is not None:
            return box[axes[0]].shifted(shift) if shift else box[axes[0]]
    return Runs.of(scope.at(dim, dict(zip(axes, np.ix_(*(box[axis].positions for axis in axes)), strict=True)), 0))


def _bounds_of(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    return runs.starts, runs.stops


def _counted_from_the_end(found: Runs, size: int) -> Runs:
    """Positions below zero as what they stand for."""
    return (found & Runs.range(0, size)) | (found & Runs.range(-size, 0)).shifted(size)


def _shift(place: AxisRead, axis: int, scope: Scope) -> int | None:
    """c where the place is `axis + c`."""
    if not isinstance(place, Expr):
        return None
    if place == _AXES[axis]:
        return 0
    rest = place - _AXES[axis]
    return None if axes_in(rest) else scope.number(rest)


def _span_image(place: Span, axes: list[int], box: Box, scope: Scope) -> Runs:
    grid = dict(zip(axes, np.ix_(*(box[axis].positions for axis in axes)), strict=True))
    lows, highs = _bounds(place, grid, scope, tuple(len(box[axis]) for axis in axes))
    if place.step == 1:
        return Runs.spans(lows.ravel().astype(np.int64), highs.ravel().astype(np.int64))
    return Runs.of(
        np.concatenate([np.arange(lo, hi, place.step) for lo, hi in zip(lows.ravel(), highs.ravel(), strict=True)])
    )


def _bounds(
    place: Span, axes: Mapping[int, Any], scope: Scope, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """First position of a range and the one behind its last, for given result positions per axis."""
    values = {**scope.sizes, **{AXIS_NAMES[axis]: positions for axis, positions in axes.items()}}
    lows, highs = (np.broadcast_to(np.asarray(evaluate(dim, values)), shape) for dim in (place.lo, place.hi))
    return lows, highs


def _member_bounds(
    place: Members, axes: Mapping[int, Any], scope: Scope, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, AbstractPositions]:
    """Ranges in the positions sorted by the number that they hold, for given result positions per axis; and these positions."""
    index = scope.lookup(place.index)
    numbers = np.broadcast_to(scope.at(place, axes, len(index)), shape)
    if index.invertible and index.length:
        begins, order = index.inverted
        edges = np.clip(np.stack([numbers, numbers + 1]), index.facts.low, index.facts.high + 1) - index.facts.low
        lows, highs = begins.take(edges)
        return lows, highs, order
    codes = np.asarray(index)
    sorting = np.argsort(codes, kind="stable")
    lows, highs = (np.searchsorted(codes[sorting], numbers, side) for side in ("left", "right"))  # type: ignore[call-overload]
    return lows, highs, Plain.of(sorting)


def _backward_points(read: Read, points: Mapping[int, np.ndarray], scope: Scope, found: Region) -> None:
    """Cell by cell; where ranges would be too many cells, they are taken as all of their axis."""
    _, columns = written_out(read, points, found.shape, scope, _MANY_CELLS)
    fixed = sorted(columns)
    if len(fixed) == len(read.axes):
        places = tuple(columns[k] for k in fixed)
        if not places:  # a single number, which no cell number could tell from another
            found.add_box(())
            return
        found.flat = found.flat | Runs.of(np.ravel_multi_index(places, found.shape))
        return
    for cell in np.unique(np.stack([columns[k] for k in fixed], axis=1), axis=0) if fixed else [()]:
        box = [Runs.range(0, size) for size in found.shape]
        for k, position in zip(fixed, cell, strict=True):
            box[k] = Runs.of([position])
        found.add_box(tuple(box))


def written_out(
    read: Read, points: Mapping[int, np.ndarray], shape: tuple[int, ...], scope: Scope, limit: float = np.inf
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Every pair of a result cell (by its number in `points`) and an operand cell that it reads: numbers, and coordinates.

    Ranges are written out up to `limit` pairs; an axis whose range would be longer has no coordinates.
    """
    count = len(next(iter(points.values()))) if points else 1
    owners = np.arange(count)
    ranges: dict[int, np.ndarray] = {}
    for k, place in enumerate(read.axes):
        if isinstance(place, (Full, Span, Members)):
            step, members = place.step if isinstance(place, Span) else 1, None
            if isinstance(place, Members):
                lows, highs, members = _member_bounds(place, points, scope, (count,))
            else:
                span = Span(0, shape[k]) if isinstance(place, Full) else place
                lows, highs = _bounds(span, points, scope, (count,))
            sizes = np.maximum(-((lows - highs) // step), 0)
            if sizes.sum() <= limit:
                again = np.repeat(np.arange(count), sizes)
                nth = np.arange(len(again)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
                points = {axis: np.broadcast_to(at, (count,))[again] for axis, at in points.items()}
                ranges = {other: at[again] for other, at in ranges.items()}
                ranges[k] = lows[again] + nth * step
                if members is not None:
                    ranges[k] = members.take(ranges[k])
                owners, count = owners[again], len(again)
    mapped = {
        k: np.broadcast_to(scope.at(place, points, shape[k]), (count,))
        for k, place in enumerate(read.axes)
        if not isinstance(place, (Full, Span, Members))
    }
    return owners, mapped | ranges


# -- operand cells to result cells --------------------------------------------------------------------------------------


def forward(read: Read, region: Region, result: tuple[int, ...], scope: Scope) -> Region:
    """The result cells that read some cell of `region`."""
    shape = scope.shape(read.operand)
    found = Region(result)
    if not all(result):
        return found
    box = clipped(read.where, everything(result).boxes[0], scope)
    if not all(box):
        return found
    for operand in region.boxes:
        _forward_box(read, operand, shape, box, scope, found)
    if region.flat:
        mask = np.zeros(int(np.prod(shape)), dtype=bool)
        mask[region.flat.positions] = True
        _forward_mask(read, mask.reshape(shape), box, scope, found)
    return found


def _forward_box(read: Read, operand: Box, shape: tuple[int, ...], box: Box, scope: Scope, found: Region) -> None:
    kept = list(box)
    for places, axes in components(read.axes):
        if len(places) == 1 and len(axes) <= 1:
            (k,) = places
            hit = _preimage(read.axes[k], axes, operand[k], shape[k], box, scope)
            if not hit:
                return
            if axes:
                kept[axes[0]] = kept[axes[0]] & hit
        elif axes:
            mask = np.zeros(shape, dtype=bool)
            mask[np.ix_(*(runs.positions for runs in operand))] = True
            _forward_mask(read, mask, box, scope, found)
            return
        elif any(scope.at(read.axes[k], {}, shape[k]) not in operand[k] for k in places):
            return
    found.add_box(tuple(kept))


def _preimage(place: AxisRead, axes: list[int], wanted: Runs, size: int, box: Box, scope: Scope) -> Runs:
    """The result positions of one axis that read a wanted operand position; for a fixed place, non-empty if it is wanted."""
    if isinstance(place, Full):
        return wanted
    if isinstance(place, Span):
        positions = box[axes[0]].positions if axes else np.zeros(1, dtype=np.int64)
        values = {**scope.sizes, **({AXIS_NAMES[axes[0]]: positions} if axes else {})}
        lows, highs = (np.broadcast_to(evaluate(dim, values), positions.shape) for dim in (place.lo, place.hi))
        cells = wanted.positions
        first = np.searchsorted(cells, lows)
        near = np.minimum(first, max(len(cells) - 1, 0))
        return Runs.of(positions[(first < len(cells)) & (cells[near] < highs)]) if len(cells) else wanted
    if isinstance(place, Members):
        hit = Runs(*scope.lookup(place.index).image(*_bounds_of(wanted)))
        if not axes:
            return wanted if scope.at(place, {}, size) in hit else Runs.range(0, 0)
        return _holding(place.at, axes[0], hit, box, scope)
    if not axes:
        return wanted if scope.at(place, {}, size) in wanted else Runs.range(0, 0)
    (axis,) = axes
    line, dim = scope.line(place) if isinstance(place, Look) else (None, None)
    if line is not None:
        if line.facts.low < 0:
            wanted = wanted | wanted.shifted(-size)
        return _holding(dim, axis, Runs(*line.where(*_bounds_of(wanted))), box, scope)
    if isinstance(place, Look):
        positions = box[axis].positions
        return Runs.of(positions[wanted.holds(scope.at(place, {axis: positions}, size))])
    return _holding(place, axis, wanted, box, scope)


def _holding(dim: Any, axis: int, numbers: Runs, box: Box, scope: Scope) -> Runs:
    """The positions of a result axis at which an expression over it gives one of some numbers."""
    shift = _shift(dim, axis, scope)
    if shift is not None:
        return (numbers.shifted(-shift) if shift else numbers) & box[axis]
    positions = box[axis].positions
    return Runs.of(positions[numbers.holds(scope.at(dim, {axis: positions}, 0))])


def _by_number(wanted: np.ndarray, axis: int, index: np.ndarray, count: int) -> np.ndarray:
    """For each number below `count`, in place of the axis, whether something is wanted at a position that holds it."""
    at_front = np.moveaxis(wanted, axis, 0)
    hit = np.zeros((count, *at_front.shape[1:]), dtype=bool)
    known = (index >= 0) & (index < count)
    np.logical_or.at(hit, index[known], at_front[known])
    return np.moveaxis(hit, 0, axis)


def _forward_mask(read: Read, wanted: np.ndarray, box: Box, scope: Scope, found: Region) -> None:
    """Cell by cell: every result cell of the box whose read hits a wanted operand cell.

    One range is answered from running counts; of several, or with steps, the others count as all of their axis.
    """
    open_grid = dict(enumerate(np.ix_(*(runs.positions for runs in box))))
    for k, place in enumerate(read.axes):
        if isinstance(place, Members):
            asked = int(np.max(scope.at(place, open_grid, wanted.shape[k]), initial=-1))
            wanted = _by_number(wanted, k, np.asarray(scope.lookup(place.index)), asked + 1)
    ranged = next((k for k, place in enumerate(read.axes) if isinstance(place, Span) and place.step == 1), None)
    wide = tuple(k for k, place in enumerate(read.axes) if isinstance(place, (Full, Span)) and k != ranged)
    hit = wanted.any(axis=wide, keepdims=True) if wide else wanted
    if ranged is not None:  # how many wanted cells lie before each position
        hit = np.concatenate(
            [np.zeros_like(hit.take([0], ranged), dtype=np.int64), np.cumsum(hit, axis=ranged)], axis=ranged
        )
    shape = tuple(len(runs) for runs in box)

    def at(before: int) -> np.ndarray:
        places = []
        for k, place in enumerate(read.axes):
            if k == ranged:
                places.append(_bounds(place, open_grid, scope, shape)[before])
            else:
                places.append(0 if k in wide else scope.at(place, open_grid, wanted.shape[k]))
        return np.broadcast_to(hit[tuple(places)], shape)

    cells = at(0) if ranged is None else at(1) > at(0)
    if not box:
        if cells:
            found.add_box(())
        return
    chosen = np.nonzero(cells)
    if len(chosen[0]):
        coordinates = [runs.positions[c] for runs, c in zip(box, chosen, strict=True)]
        found.flat = found.flat | Runs.of(np.ravel_multi_index(coordinates, found.shape))
