"""The index map of a branch, a call or a loop, from those of its bodies.

A call reads what its body reads, a branch what any of its bodies does. A loop's result reads, `d` turns back, what the body's
map composed with itself `d` times says. Where that settles (most bodies carry cell to cell, or mix whole axes at once) the map
is exact: this turn's own position of a series, and the range of those before it. Where it does not, or where the data
decides in a body, axes are followed instead (body_axes.py), and the map may name more than is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from traceprop.ir.bodies import Turns
from traceprop.ir.body_axes import ANY, BodyAxes, Reached, merge, reads_of, weaker
from traceprop.ir.composed_map import NoMapError, compose, paths_to_params
from traceprop.ir.expr import Dim, Expr, maximum, minimum, substitute
from traceprop.ir.given_map import GivenAxis, GivenMap, GivenRead
from traceprop.ir.graph import Op, Program, Value, ops_behind
from traceprop.ir.index_map import AXIS_NAMES, AxisRead, Bound, Full, Kind, Look, Members, Read, Span, axes, axis

_SETTLES = 4
"""After so many turns a map that is still another one is taken for one that never settles."""


def branch_map(op: Op) -> GivenMap:
    """What a branch reads: what decides, and what any of its bodies reads."""
    return _remembered(op, _of_branch)


def call_map(op: Op) -> GivenMap:
    """What a call reads: what its body reads."""
    return _remembered(op, lambda op: _of_bodies(op, first=0))


def loop_map(op: Op) -> GivenMap:
    """What a loop's result reads."""
    return _remembered(op, lambda op: _of_while(op) if op.attrs.get("length") is None else _of_scan(op))


def _remembered(op: Op, make: Callable[[Op], GivenMap]) -> GivenMap:
    """With the bodies, which the results of one loop share; the map speaks of operands by number."""
    known: dict[object, tuple[object, GivenMap]] = op.regions[0].memo.setdefault("maps", {})
    key = (op.definition.name, repr(sorted(op.attrs.items())), tuple(map(id, op.regions)))
    if key not in known:
        known[key] = (op.regions, make(op))  # the bodies too, so that no others get their ids
    return known[key][1]


# -- branches and calls ---------------------------------------------------------------------------------------------------------


def _of_branch(op: Op) -> GivenMap:
    given = _of_bodies(op, first=1)
    return GivenMap((GivenRead(0, (), Kind.CONTROL), *given.reads), given.exact)


def _of_bodies(op: Op, first: int) -> GivenMap:
    """What any of an op's bodies reads, which take its operands from `first` on."""
    k, exact = op.attrs.get("result", 0), True
    reads: list[GivenRead] = []
    for region in op.regions:
        paths = _paths(region, k)
        if paths is None:
            followed = BodyAxes(region)
            given = reads_of([followed.behind(k, a) for a in followed.axes_of(k)], followed.ranks)
            exact = False
        else:
            given = _numbered(paths.reads, region)
            exact = exact and paths.exact
        reads += [replace(read, operand=read.operand + first) for read in given]
    return GivenMap(tuple(dict.fromkeys(reads)), exact)


@dataclass(frozen=True, slots=True)
class _Paths:
    """What a result of a body reads of its parameters."""

    reads: tuple[Read, ...]
    exact: bool


def _paths(region: Program, k: int) -> _Paths | None:
    found = paths_to_params(region, region.returns[k])
    if found is None:
        return None
    kept = [read for paths in found.values() for path in paths for read in _once_per_axis(path)]
    return _Paths(tuple(dict.fromkeys(kept)), all(op.exact for op in ops_behind([region.returns[k]])))


def _numbered(reads: Iterable[Read], region: Program) -> list[GivenRead]:
    """Reads of parameters by their number. Composed maps look nothing up."""
    number: dict[Value, int] = {param: p for p, param in enumerate(region.params)}
    found = []
    for read in reads:
        places = tuple(place for place in read.axes if not isinstance(place, (Look, Members)))
        found.append(GivenRead(number[read.operand], places, read.kind, read.where))
    return found


def _once_per_axis(read: Read) -> Iterator[Read]:
    """The read with one bound on an axis for several; nothing where no cell is within them all."""
    where: dict[int, Bound] = {}
    for bound in read.where:
        before = where.get(bound.axis, Bound(bound.axis))
        lows = [end for end in (before.lo, bound.lo) if end is not None]
        highs = [end for end in (before.hi, bound.hi) if end is not None]
        lo, hi = maximum(*lows) if lows else None, minimum(*highs) if highs else None
        if isinstance(lo, int) and isinstance(hi, int) and lo >= hi:
            return
        where[bound.axis] = Bound(bound.axis, lo, hi)
    yield replace(read, where=tuple(where.values()))


# -- loops with a length ----------------------------------------------------------------------------------------------


def _of_scan(op: Op) -> GivenMap:
    turns, k = Turns.of(op.attrs), op.attrs.get("result", 0)
    if turns.length == 0:
        rank = op.result.rank
        return GivenMap((GivenRead(turns.constants + k, axes(rank)),) if k < turns.carries else ())
    return _turn_by_turn(op.regions[-1], turns, k) or _all_turns(op.regions[-1], turns, k)


@dataclass(frozen=True, slots=True)
class _Back:
    """What is read some number of turns back: constants, that turn's position of series, and what came into that turn."""

    constants: frozenset[Read]
    series: frozenset[Read]
    carried: frozenset[Read]


def _turn_by_turn(body: Program, turns: Turns, k: int) -> GivenMap | None:
    """The exact map, if what is read one turn further back is soon the same as before."""
    found = _backwards(body, turns, _paths(body, k))
    if found is None:
        return None
    steps, exact = found
    placed = _of_series(steps, turns) if k >= turns.carries else _of_carry(steps, turns)
    return GivenMap(tuple(dict.fromkeys(sorted(_numbered(placed, body), key=_order))), exact)


def _backwards(body: Program, turns: Turns, asked: _Paths | None) -> tuple[list[_Back], bool] | None:
    """What `asked` reads 0, 1, … turns back, up to the number from where on it is the same, and whether that is exact.

    `None` if it does not settle.
    """
    number: dict[Value, int] = {param: p for p, param in enumerate(body.params)}
    known: dict[int, _Paths | None] = {-1: asked}

    def paths(result: int) -> _Paths:
        if result not in known:
            known[result] = _paths(body, result)
        found = known[result]
        if found is None:
            raise NoMapError
        return found

    def back(reads: Iterable[Read]) -> _Back:
        divided: list[set[Read]] = [set(), set(), set()]
        for read in reads:
            p = number[read.operand]
            divided[0 if p < turns.constants else 2 if p < turns.series else 1].add(read)
        return _Back(*map(frozenset, divided))

    def further(here: _Back) -> Iterator[Read]:
        for outer in here.carried:
            for inner in paths(number[outer.operand] - turns.constants).reads:
                composed = compose(outer, inner)
                if composed is not None:
                    yield from _once_per_axis(composed)

    try:
        steps = [back(paths(-1).reads)]
        while (after := back(further(steps[-1]))) != steps[-1]:
            if len(steps) > _SETTLES:
                return None
            steps.append(after)
    except NoMapError:
        return None
    return steps, all(found.exact for found in known.values() if found is not None)


def _order(read: GivenRead) -> tuple[object, ...]:
    """Reads come out of sets, and a text is the same in every run: single positions before ranges of them."""
    ranges = tuple(isinstance(place, (Full, Span)) for place in read.axes)
    return (
        read.operand,
        len(read.where),
        tuple(map(str, read.where)),
        ranges,
        tuple(map(str, read.axes)),
        read.kind.value,
    )


def _of_carry(steps: Sequence[_Back], turns: Turns) -> Iterator[Read]:
    """What is carried out of the last turn, which is 0 turns back."""
    length, last = turns.length or 0, len(steps) - 1
    for d, step in enumerate(steps[:length]):
        place: AxisRead = d if turns.reverse else length - 1 - d
        if d == last:
            place = (Span(d, length) if turns.reverse else Span(0, length - d)) if d else Full()
        yield from step.constants
        yield from (replace(read, axes=(place, *read.axes)) for read in step.series)
    yield from steps[min(length - 1, last)].carried


def _of_series(steps: Sequence[_Back], turns: Turns) -> Iterator[Read]:
    """What turn `i` gives: of itself, and of the turns before it that there are."""
    length, i = turns.length or 0, axis(0)
    steps = [_Back(*(frozenset(map(_shifted, reads)) for reads in (s.constants, s.series, s.carried))) for s in steps]
    if len(steps) == 1:
        steps *= 2  # a turn's own position is a read of its own: it goes row by row
    last = len(steps) - 1
    always = frozenset.intersection(*(step.carried for step in steps[:length]))
    seen: set[Read] = set()
    yield from always
    for d, step in enumerate(steps[:length]):
        since = (Bound(0, None, length - d) if turns.reverse else Bound(0, d),) if d else ()
        place: AxisRead = i + d if turns.reverse else i - d
        through = since
        if d == last:
            place = Span(i + d, length) if turns.reverse else Span(0, i - d + 1)
            through = since if d > 1 else ()  # of the first turn the range is empty
        yield from (replace(read, where=(*since, *read.where)) for read in step.constants - seen)
        yield from (replace(read, axes=(place, *read.axes), where=(*through, *read.where)) for read in step.series)
        only = Bound(0, length - 1 - d, length - d) if turns.reverse else Bound(0, d, d + 1)
        at_start = since if d == last else (only,)
        yield from (replace(read, where=(*at_start, *read.where)) for read in step.carried - always)
        seen |= step.constants


def _shifted(read: Read) -> Read:
    """A read by one turn's result as one by the series of them, whose first axis is the turns."""

    def moved(dim: Dim) -> Dim:
        return substitute(dim, {name: axis(k + 1) for k, name in enumerate(AXIS_NAMES[:-1])})

    places: list[AxisRead] = []
    for place in read.axes:
        if isinstance(place, Span):
            places.append(Span(moved(place.lo), moved(place.hi), place.step))
        else:
            places.append(moved(place) if isinstance(place, (int, Expr)) else place)
    where = (Bound(b.axis + 1, *(None if end is None else moved(end) for end in (b.lo, b.hi))) for b in read.where)
    return replace(read, axes=tuple(places), where=tuple(where))


def _all_turns(body: Program, turns: Turns, k: int) -> GivenMap:
    """A carry reads all of a series, a turn's own result the series so far, along axes that every turn keeps as they are."""
    followed = BodyAxes(body)
    carried = {turns.constants + c: c for c in range(turns.carries)}
    series = k >= turns.carries
    once = [followed.behind(k, a) for a in followed.axes_of(k)]
    before = [followed.closed(followed.earlier(states, carried), carried) for states in once]
    earlier = set().union(*before)
    often = [followed.closed(states, carried) for states in once]
    reads = []
    for read in reads_of(often, followed.ranks, 1 if series else 0):
        if read.operand >= turns.series:
            place: GivenAxis = Full()
            if series:
                place = Span(axis(0), turns.length or 0) if turns.reverse else Span(0, axis(0) + 1)
                if (read.operand, read.kind) not in earlier:
                    place = axis(0)
            read = replace(read, axes=(place, *read.axes))
        reads.append(read)
    return GivenMap(tuple(dict.fromkeys(reads)), False)


# -- loops with a condition -------------------------------------------------------------------------------------------


def _of_while(op: Op) -> GivenMap:
    """As the carry of a scan, or what it began with; and whatever the condition reads decides every cell."""
    turns, k = Turns.of(op.attrs), op.attrs.get("result", 0)
    return _any_number_of_turns(op, turns, k) or _all_of_while(op, turns, k)


def _any_number_of_turns(op: Op, turns: Turns, k: int) -> GivenMap | None:
    """The exact map, if one turn reads what many do: then how many there are, which the data decides, changes nothing.

    As with a branch, what no turn at all reads is read, and what one does.
    """
    condition, body = op.regions
    found, asked = _backwards(body, turns, _paths(body, k)), _paths(condition, 0)
    if found is None or asked is None or len(found[0]) > 1:
        return None
    param = dict(zip(condition.params, body.params, strict=True))
    moved = tuple(replace(read, operand=param[read.operand]) for read in asked.reads)  # type: ignore[index]
    decided = _backwards(body, turns, _Paths(moved, asked.exact))
    if decided is None or len(decided[0]) > 2:
        return None
    begun = GivenRead(turns.constants + k, axes(op.result.rank))
    (turn,) = found[0]
    reads = _numbered([*turn.constants, *turn.carried], body)
    asks = _numbered([read for step in decided[0] for read in (*step.constants, *step.carried)], body)
    reads += [replace(read, kind=weaker(read.kind, Kind.CONTROL)) for read in asks]
    return GivenMap((begun, *dict.fromkeys(sorted({*reads} - {begun}, key=_order))), found[1] and decided[1])


def _all_of_while(op: Op, turns: Turns, k: int) -> GivenMap:
    """Along axes that every turn keeps as they are."""
    condition, body = map(BodyAxes, op.regions)
    carried = {turns.constants + c: c for c in range(turns.carries)}
    reads = reads_of([body.closed(body.behind(k, a), carried) for a in body.axes_of(k)], body.ranks)
    reads.append(GivenRead(turns.constants + k, axes(op.result.rank)))
    asked: Reached = {}
    for p, kind in condition.behind(0, ANY):
        merge(asked, {(p, weaker(kind, Kind.CONTROL)): ANY})
    for p, kind in sorted(body.closed(asked, carried), key=lambda key: (key[0], key[1].value)):
        reads.append(GivenRead(p, (Full(),) * body.ranks[p], kind))
    return GivenMap(tuple(dict.fromkeys(reads)), False)
