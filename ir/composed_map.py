"""Index maps from a value all the way to a parameter, along ops whose maps are known before the run."""

from __future__ import annotations

from traceprop.ir.expr import Dim, Expr, substitute, symbols_of
from traceprop.ir.graph import Program, Value, ops_behind
from traceprop.ir.index_map import AXIS_NAMES, AxisRead, Bound, Full, Kind, Read, Span, axes, axes_in, axis

_WEAKER = list(Kind)
_PLAIN = {axis(k): k for k in range(len(AXIS_NAMES))}


class NoMapError(Exception):
    """The composition is no index map."""


def composed_map(program: Program, value: Value, source: Value) -> tuple[Read, ...] | None:
    """What a cell of `value` reads of `source`: one read per path between them, equal ones once; empty where there is none.

    `None` where the data decides positions on the way, or where the composition is more than boxes of positions
    (a reshape behind a reduction of one of the axes that it splits).
    """
    reaching = _reaching(program, source)
    if _decided_sizes(program, reaching) & _sizes_behind(value):
        return None
    found: dict[Value, dict[Read, None]] = {value: {Read(value, axes(value.rank)): None}}
    try:
        for op in reversed(program.ops):
            for path in found.pop(op.result, {}) if op.result is not source else {}:
                for read in op.reads:
                    composed = compose(path, read) if read.operand in reaching else None
                    if composed is not None:
                        found.setdefault(read.operand, {})[composed] = None
    except NoMapError:
        return None
    return tuple(found.get(source, ()))


def paths_to_params(program: Program, value: Value, most: int = 64) -> dict[Value, tuple[Read, ...]] | None:
    """What a cell of `value` reads of every parameter that is behind it, one read per path, equal ones once.

    `None` where a composition is no index map, where a value's size is not that of a parameter, or for more than `most`
    different paths to one value.
    """
    sizes = {name for param in program.params for dim in param.type.dims for name in symbols_of(dim)}
    if not _sizes_behind(value) <= sizes:
        return None
    found: dict[Value, dict[Read, None]] = {value: {Read(value, axes(value.rank)): None}}
    try:
        for op in reversed(program.ops):
            for path in found.pop(op.result, {}):
                for read in op.reads:
                    composed = compose(path, read)
                    if composed is not None:
                        paths = found.setdefault(read.operand, {})
                        paths[composed] = None
                        if len(paths) > most:
                            return None
    except NoMapError:
        return None
    return {param: tuple(paths) for param, paths in found.items()}


def compose(outer: Read, inner: Read) -> Read | None:
    """The read of `inner.operand` that `outer`, a read of the value that has the map `inner`, amounts to.

    `None` where no cell is in both pieces. Raises `NoMapError` where a place is looked up or a range does not stay one.
    """
    places = outer.axes
    for k in range(len(places)):
        if _ranged(places[k]) and sum(k in axes_in(place) for place in inner.axes) > 1:
            raise NoMapError
    where = list(outer.where)
    for bound in inner.where:
        moved = _bounded(places[bound.axis], bound)
        if moved is False:
            return None
        if moved is not True:
            where.append(moved)
    sizes = inner.operand.type.dims
    found = tuple(_placed(place, outer, size) for place, size in zip(inner.axes, sizes, strict=True))
    kind = max(outer.kind, inner.kind, key=_WEAKER.index)
    return Read(inner.operand, found, kind, tuple(dict.fromkeys(where)))


def _reaching(program: Program, source: Value) -> set[Value]:
    """The values that hang on the source: paths that lead elsewhere need no map."""
    reaching = {source}
    for op in program.ops:
        if any(read.operand in reaching for read in op.reads):
            reaching.add(op.result)
    return reaching


def _decided_sizes(program: Program, reaching: set[Value]) -> set[str]:
    """The size symbols that ops behind the source may find in its data."""
    given = {name for param in program.params for dim in param.type.dims for name in symbols_of(dim)}
    return {name for value in reaching for dim in value.type.dims for name in symbols_of(dim)} - given


def _sizes_behind(value: Value) -> set[str]:
    """The size symbols of a value and of all that it is made of."""
    values = [value, *(op.result for op in ops_behind([value]))]
    return {name for each in values for dim in each.type.dims for name in symbols_of(dim)}


def _ranged(place: AxisRead) -> bool:
    return not isinstance(place, (int, Expr))


def _bounded(place: AxisRead, bound: Bound) -> Bound | bool:
    """A bound on a middle axis as one on the result's; `True` or `False` where it always or never holds."""
    if isinstance(place, int) and all(end is None or isinstance(end, int) for end in (bound.lo, bound.hi)):
        above = not isinstance(bound.lo, int) or place >= bound.lo
        return above and (not isinstance(bound.hi, int) or place < bound.hi)
    if isinstance(place, Expr) and len(on := axes_in(place)) == 1:
        (target,) = on
        shift = place - axis(target)
        if not axes_in(shift):
            ends = (None if end is None else end - shift for end in (bound.lo, bound.hi))
            return Bound(target, *ends)
    raise NoMapError


def _placed(place: AxisRead, outer: Read, size: Dim) -> AxisRead:
    """A place over middle axes as one over the result's."""
    if isinstance(place, Full):
        return place
    plain = _PLAIN.get(place) if isinstance(place, Expr) else None
    if plain is not None and isinstance(outer.axes[plain], (int, Expr)):
        return outer.axes[plain]
    ranged = [k for k in axes_in(place) if _ranged(outer.axes[k])]
    exact = {
        AXIS_NAMES[k]: at for k in axes_in(place) if isinstance(at := outer.axes[k], (int, Expr)) and k not in ranged
    }
    if isinstance(place, Span) and not ranged:
        return Span(substitute(place.lo, exact), substitute(place.hi, exact), place.step)
    if not isinstance(place, (int, Expr)) or len(ranged) > 1:
        raise NoMapError
    if not ranged:
        return substitute(place, exact)
    return _over(place, ranged[0], exact, outer, size)


def _over(place: Dim, k: int, exact: dict[str, Dim], outer: Read, size: Dim) -> AxisRead:
    """The positions that a place takes while middle axis `k` goes through its range."""
    first = substitute(place, {**exact, AXIS_NAMES[k]: 0})
    # another letter than the result's, whose own may stand in `exact`
    step = substitute(place, {AXIS_NAMES[k]: axis(k) + 1}) - place
    if not isinstance(step, int) or step <= 0:
        raise NoMapError
    through = outer.axes[k]
    span = Span(0, outer.operand.type.dims[k]) if isinstance(through, Full) else through
    if not isinstance(span, Span) or span.step < 1:
        raise NoMapError
    lo, hi = span.lo * step + first, (span.hi - 1) * step + first + 1
    return Full() if (lo, hi, step * span.step) == (0, size, 1) else Span(lo, hi, step * span.step)
