"""Loops and branches: both branches and a choice, turns of a loop written out, or a map that holds all turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from traceprop.ir import Kind, Value
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import AxisRead, Full, Span, axis
from traceprop.ir.opset import branch, elementwise, loop
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known
from traceprop.tracing.jaxpr.shape import joined, sliced

_MANY_TURNS = 32
_MANY_OPS = 1000


# -- branches ---------------------------------------------------------------------------------------------------------


def _cond(e: Equation) -> Sequence[Held]:
    """Both branches are computed and one is chosen, unless one holds a loop that may then never end."""
    which, *given = e.inputs
    branches = e["branches"]
    last = len(branches) - 1
    if isinstance(which, Known):
        return e.bodies.inlined(branches[min(max(int(which.array), 0), last)], given)
    if any("while" in e.bodies.primitives(body) for body in branches):
        return _branch(e)
    cases = [e.bodies.inlined(body, given) for body in branches]

    def choose(k: Any, *arrays: Any) -> Any:
        return lax.select_n(jnp.clip(k.astype(jnp.int32), 0, last), *arrays)

    return [
        options[0]
        if all(option is options[0] for option in options)
        else e.emit(elementwise, [which, *options], choose, "cond", type.dtype, control=(0,))
        for options, type in zip(zip(*cases, strict=True), e.types, strict=True)
    ]


def _platform(e: Equation) -> Sequence[Held]:
    """Which of several implementations this machine takes is known."""
    here = jax.default_backend()
    fits = [k for k, names in enumerate(e["platforms"]) if names is None or here in names]
    return [Known(np.asarray(fits[0], np.int32))]


def _branch(e: Equation) -> Sequence[Held]:
    bodies = [_Body(e, body) for body in e["branches"]]
    maps = []
    for k, type in enumerate(e.types):
        reads = [GivenRead(0, (), Kind.CONTROL)]
        for body in bodies:
            paths = [body.behind(k, a) for a in (range(len(type.dims)) or [None])]
            reads += _reads(paths, 1, body.ranks)
        maps.append(GivenMap(tuple(dict.fromkeys(reads)), False))
    return e.opaque(maps, branch)


# -- loops ------------------------------------------------------------------------------------------------------------


def _scan(e: Equation) -> Sequence[Held]:
    """Few turns are written out, which is exact; of many, a `loop`."""
    length, constants, carries = int(e["length"]), int(e["num_consts"]), int(e["num_carry"])
    if not carries and e.inputs[constants:]:
        return e.bodies.mapped(e["jaxpr"], e.inputs, constants)
    if length > _MANY_TURNS or length * len(e.bodies.primitives(e["jaxpr"])) > _MANY_OPS:
        return _long_scan(e, length, constants, carries)
    held, carry = e.inputs[:constants], list(e.inputs[constants : constants + carries])
    series = [e.graph.value(x) for x in e.inputs[constants + carries :]]
    turns: list[list[Held]] = []
    for t in reversed(range(length)) if e["reverse"] else range(length):
        rows: list[Held] = []
        for x in series:
            row = sliced(e, x, [(t or None, None if t == length - 1 else t + 1, None)], turn=t)
            rows.append(e.graph.reshape(row, x.type.dims[1:]))
        found = e.bodies.inlined(e["jaxpr"], [*held, *carry, *rows])
        carry = found[:carries]
        turns.append(found[carries:])
    if e["reverse"]:
        turns.reverse()
    stacked: list[Held] = []
    for k, type in enumerate(e.types[carries:]):
        if not turns:
            stacked.append(Known(np.zeros(type.dims, numpy_dtype(type.dtype))))
            continue
        wide: list[Held] = [e.graph.reshape(e.graph.value(turn[k]), (1, *type.dims[1:])) for turn in turns]
        stacked.append(joined(e, wide, 0))
    return [*carry, *stacked]


def _long_scan(e: Equation, length: int, constants: int, carries: int) -> Sequence[Held]:
    """A carry reads all of a series, a turn's own result the series so far, along axes that every turn keeps as they are."""
    body = _Body(e, e["jaxpr"])
    own = {constants + k: k for k in range(carries)}
    maps = []
    for k, type in enumerate(e.types):
        series = k >= carries
        inner: Sequence[int | None] = range(len(type.dims) - series) or [None]
        once = [body.behind(k, a) for a in inner]
        often = [body.closed(states, own) for states in once]
        reads = []
        for read in _reads(often, 0, body.ranks, 1 if series else 0):
            if read.operand >= constants + carries:
                place: AxisRead = Full()
                if series:
                    at = axis(0)
                    place = Span(at, length) if e["reverse"] else Span(0, at + 1)
                    if not any(read.operand in _through(body, states, own) for states in once):
                        place = at
                read = GivenRead(read.operand, (place, *read.axes), read.kind)
            reads.append(read)
        maps.append(GivenMap(tuple(dict.fromkeys(reads)), False))
    return e.opaque(maps, loop, length=length)


def _through(body: _Body, states: States, own: dict[int, int]) -> set[int]:
    """What is reached by way of an earlier turn."""
    earlier: States = {}
    for p, state in states.items():
        if p in own:
            _merge(earlier, body.behind(own[p], state))
    return set(body.closed(earlier, own))


def _while(e: Equation) -> Sequence[Held]:
    """As a scan without series; and whatever the condition reads decides every cell."""
    before, inside = int(e["cond_nconsts"]), int(e["body_nconsts"])
    body, condition = _Body(e, e["body_jaxpr"]), _Body(e, e["cond_jaxpr"])
    own = {inside + k: k for k in range(len(e.types))}
    deciding: States = {}
    decided: set[int] = set()
    for p in condition.behind(0, None):
        if p < before:
            decided.add(p)
        else:
            _merge(deciding, {inside + p - before: _ANY})
    decided |= {before + p for p in body.closed(deciding, own)}
    maps = []
    for k, type in enumerate(e.types):
        places = range(len(type.dims)) or [None]
        reads = _reads([body.closed(body.behind(k, a), own) for a in places], before, body.ranks)
        reads.append(GivenRead(before + inside + k, tuple(axis(a) for a in range(len(type.dims)))))
        ranks = [e.graph.value(held).rank for held in e.inputs]
        reads += [GivenRead(p, (Full(),) * ranks[p], Kind.CONTROL) for p in sorted(decided)]
        maps.append(GivenMap(tuple(dict.fromkeys(reads)), False))
    e.graph.warn(
        "jax.lax.while_loop",
        "runs as often as the data decides: its result is taken to depend on all that its turns can read, and view.exact is "
        "False",
    )
    return e.opaque(maps, loop)


# -- what a body passes on --------------------------------------------------------------------------------------------

_ANY = -1
States = dict[int, int]
"""For each input that is read, the axis that runs along with the result's axis in question; `_ANY` where none does."""


def _merge(into: States, more: States) -> None:
    for p, state in more.items():
        into[p] = state if into.get(p, state) == state else _ANY


class _Body:
    """A jaxpr as a program of its own, asked which of its inputs stand behind an axis of a result."""

    def __init__(self, e: Equation, jaxpr: Any) -> None:
        self.params, self.ops, self.results = e.bodies.apart(jaxpr)
        self.ranks = [param.rank for param in self.params]
        self._known: dict[tuple[int, int | None], States] = {}

    def behind(self, k: int, a: int | None) -> States:
        """The inputs behind axis `a` of result `k`: position for position, as long as every op on the way says so."""
        if (k, a) not in self._known:
            self._known[k, a] = self._walked(self.results[k], _ANY if a is None else a)
        return self._known[k, a]

    def _walked(self, result: Value, start: int) -> States:
        states: dict[Value, int] = {result: start}
        for op in reversed(self.ops):
            state = states.get(op.result)
            for read in op.reads if state is not None else ():
                found = _ANY
                if state != _ANY:
                    found = next((n for n, place in enumerate(read.axes) if place == axis(state)), _ANY)
                states[read.operand] = found if states.get(read.operand, found) == found else _ANY
        return {p: states[param] for p, param in enumerate(self.params) if param in states}

    def closed(self, states: States, own: dict[int, int]) -> States:
        """With all that earlier turns read: `own` says which result an input is, one turn before."""
        found = dict(states)
        while True:
            more = dict(found)
            for p, state in found.items():
                if p in own:
                    _merge(more, self.behind(own[p], state if state != _ANY else None))
            if more == found:
                return found
            found = more


def _reads(paths: Sequence[States], offset: int, ranks: Sequence[int], shift: int = 0) -> list[GivenRead]:
    """Reads of the inputs behind a result, from what stands behind each of its axes; result axes begin at `shift`."""
    found = []
    for p in sorted(set().union(*paths)):
        places: list[AxisRead] = [Full()] * ranks[p]
        for a, states in reversed(list(enumerate(paths))):
            if states.get(p, _ANY) != _ANY:
                places[states[p]] = axis(a + shift)
        found.append(GivenRead(p + offset, tuple(places)))
    return found


HANDLERS: dict[str, Handler] = {"platform_index": _platform, "cond": _cond, "scan": _scan, "while": _while}
