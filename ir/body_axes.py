"""Which of a body's parameters stand behind an axis of what it gives, and which axis of theirs runs along with it.

Coarser than composed maps, and always there: an axis is followed position for position as long as every op on the way
says so, and everything else counts as read whole. Over the turns of a loop this settles after a few rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traceprop.ir.given_map import GivenAxis, GivenRead
from traceprop.ir.graph import Program, Value
from traceprop.ir.index_map import Full, Kind, axis

ANY = -1
Reached = dict[tuple[int, Kind], int]
"""For each parameter that is read, and how, the axis that runs along with the axis in question; `ANY` where none does."""

_WEAKER = list(Kind)


def weaker(one: Kind, other: Kind) -> Kind:
    """The kind of a path of two parts."""
    return max(one, other, key=_WEAKER.index)


def merge(into: Reached, more: Reached) -> None:
    for key, along in more.items():
        into[key] = along if into.get(key, along) == along else ANY


class BodyAxes:
    """A body, asked what is behind an axis of a result."""

    def __init__(self, body: Program) -> None:
        self.body = body
        self.ranks = [param.rank for param in body.params]
        self._known: dict[tuple[int, int], Reached] = {}

    def behind(self, k: int, a: int) -> Reached:
        """The parameters behind axis `a` of result `k`; `ANY`: behind its cells, whatever their place."""
        if (k, a) not in self._known:
            self._known[k, a] = self._walked(self.body.returns[k], a)
        return self._known[k, a]

    def _walked(self, result: Value, start: int) -> Reached:
        states: dict[Value, dict[Kind, int]] = {result: {Kind.DATA: start}}
        for op in reversed(self.body.ops):
            for kind, along in states.get(op.result, {}).items():
                for read in op.reads:
                    found = ANY
                    if along != ANY:
                        found = next((n for n, place in enumerate(read.axes) if place == axis(along)), ANY)
                    there = states.setdefault(read.operand, {})
                    path = weaker(kind, read.kind)
                    there[path] = found if there.get(path, found) == found else ANY
        return {
            (p, kind): along
            for p, param in enumerate(self.body.params)
            for kind, along in states.get(param, {}).items()
        }

    def earlier(self, reached: Reached, carried: Mapping[int, int]) -> Reached:
        """What is read one turn before: `carried` says which result a parameter is, one turn before."""
        found: Reached = {}
        for (p, kind), along in reached.items():
            if p in carried:
                before = self.behind(carried[p], along)
                merge(found, {(q, weaker(kind, other)): at for (q, other), at in before.items()})
        return found

    def closed(self, reached: Reached, carried: Mapping[int, int]) -> Reached:
        """With all that earlier turns read."""
        found = dict(reached)
        while True:
            more = dict(found)
            merge(more, self.earlier(found, carried))
            if more == found:
                return found
            found = more

    def axes_of(self, k: int) -> Sequence[int]:
        """The axes of a result to ask about; of a single cell, whatever its place."""
        return range(self.body.returns[k].rank) or (ANY,)


def reads_of(reached: Sequence[Reached], ranks: Sequence[int], shift: int = 0) -> list[GivenRead]:
    """Reads of the parameters behind a result, from what is behind each of its axes; its axes begin at `shift`."""
    found = []
    for p, kind in sorted(set().union(*reached), key=lambda key: (key[0], _WEAKER.index(key[1]))):
        places: list[GivenAxis] = [Full()] * ranks[p]
        for a, states in reversed(list(enumerate(reached))):
            along = states.get((p, kind), ANY)
            if along != ANY:
                places[along] = axis(a + shift)
        found.append(GivenRead(p, tuple(places), kind))
    return found
