"""Walks over programs, from results to sources and back, that keep the kinds of dependence apart.

On its way a set of cells is in one state: `direct` on the axis that carries the asked row one to one, or one of the weaker
kinds. An op's read turns a state into the same or a weaker one, so along a path the weakest kind wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np

from traceprop.errors import LineageError, NotKeptError
from traceprop.ir import Expr, Full, Kind, Op, Read, Span, Value
from traceprop.ir.expr import symbols_of
from traceprop.ir.index_map import carries
from traceprop.ir.opset import constant
from traceprop.lineage.reads import Scope, backward, forward
from traceprop.lineage.region import Region, everything
from traceprop.passes.encodings import AbstractPositions, Columns, Plain, encode
from traceprop.passes.optimize.asked import Asked, asked
from traceprop.passes.optimize.compress import column_of, holds
from traceprop.passes.optimize.derived import derivation, derives
from traceprop.runtime.captures import Captures
from traceprop.sources import Source
from traceprop.tracing.call import Call

Answer = TypeVar("Answer")
KINDS = ("direct", "aggregate", "control", "order")


class State(NamedTuple):
    """A kind by its rank in `KINDS`, and for `direct` the axis that carries the row."""

    rank: int
    axis: int = -1


AGGREGATE, CONTROL, ORDER = State(1), State(2), State(3)
Regions = dict[State, Region]
_RANKS = {Kind.DATA: 0, Kind.CONTROL: CONTROL.rank, Kind.ORDER: ORDER.rank}


def limit_of(kind: str) -> int:
    """The weakest rank that a question about `kind` must follow. Raises `LineageError` for a kind that there is not."""
    if kind == "any":
        return len(KINDS) - 1
    if kind not in KINDS:
        raise LineageError(f"kind is one of {', '.join(map(repr, KINDS))} or 'any', not {kind!r}")
    return KINDS.index(kind)


def matches(state: State, kind: str) -> bool:
    """Whether cells that reached a source in this state are of that kind; a row is direct on a source's axis 0 only."""
    rank = AGGREGATE.rank if state.rank == 0 and state.axis != 0 else state.rank
    return kind == "any" or KINDS[rank] == kind


def carrier(read: Read, axis: int) -> int | None:
    """The operand axis that carries a result axis; of several (i//2 and i%2), the first, so that both walks agree."""
    return next((k for k, place in enumerate(read.axes) if carries(place, axis)), None)


def behind(state: State, read: Read) -> State:
    """The state of what a read reads, for a result in `state`."""
    if read.kind is Kind.ORDER:
        return ORDER
    if read.kind is Kind.CONTROL:
        return State(max(state.rank, CONTROL.rank))
    if state.rank:
        return state
    axis = carrier(read, state.axis)
    return AGGREGATE if axis is None else State(0, axis)


def ahead(state: State, read: Read, rank: int) -> State:
    """The state of a result that reads something in `state`."""
    if read.kind is Kind.ORDER:
        return ORDER
    if read.kind is Kind.CONTROL:
        return State(max(state.rank, CONTROL.rank))
    if state.rank:
        return state
    axis = next((k for k in range(rank) if carrier(read, k) == state.axis), None)
    return AGGREGATE if axis is None else State(0, axis)


def asked_of(call: Call) -> Asked:
    """The program that questions about a call go through: as traced, or with maps composed where its run kept composed ones."""
    found: Asked | None = call.memo.get("asked")
    return asked(call.program, call.options.get("granularity")) if found is None else found


def scope_of(call: Call) -> Scope:
    """Sizes and captured positions of a call, kept with it. What only a run can tell makes it run, once."""
    if "scope" not in call.memo:
        given: dict[Value, AbstractPositions] = {}
        origin = asked_of(call).origin

        def lookup(value: Value) -> AbstractPositions:
            value = origin.get(value, value)
            if value not in given:
                given[value] = _positions(call, value, lookup)
            return given[value]

        call.memo["scope"] = Scope(_Sizes(call), lookup)
    scope: Scope = call.memo["scope"]
    return scope


def _positions(call: Call, value: Value, lookup: Callable[[Value], AbstractPositions]) -> AbstractPositions:
    """The positions that a value holds: of what the run kept, of the program, or of the caller."""
    if call.done and value in (kept := call.outcome().captures):
        return _kept(kept, value)
    if value.op is not None and value.op.definition is constant:
        return Plain.of(np.asarray(value.op.attrs["value"]))
    if value in call.program.params:
        given = call.inputs[call.program.params.index(value)]  # type: ignore[arg-type]
        return Plain.of(np.asarray(given.value() if isinstance(given, Source) else given.concrete()))
    recorded, level = asked_of(call).recorded, call.options.get("granularity")
    if value not in recorded and (level is None or not derives(value, set(recorded))):
        raise NotKeptError(_not_kept(call, value))
    captures = call.outcome().captures
    if value in captures:
        return _kept(captures, value)
    column = column_of(value)
    if column is not None and isinstance(pairs := lookup(column[0]), Columns):
        return pairs.column(column[1])
    leaves, program = derivation(value, set(captures))
    found = call.executor.run(program, [np.asarray(lookup(leaf)) for leaf in leaves], {"granularity": None})
    return encode(np.asarray(found.results[0]))


def _not_kept(call: Call, value: Value) -> str:
    """Why positions are not there, and the way out."""
    level = call.options.get("granularity")
    ran = "ran" if call.done else "runs"
    if level is None:
        return (
            f"{call.program.name} {ran} with granularity=None, which records no lineage, and this question needs the positions "
            "that the data decided; call it with granularity='op', or behind tp.set_granularity('default')"
        )
    op = value.op
    what = "a step" if op is None else f"{op.label} at {op.location or 'an unknown line'}"
    return (
        f"{call.program.name} {ran} with granularity={level!r}, which keeps where the rows of its results come from, "
        f"composed, and not what {what} decided on the way, which this question needs; call it with granularity='op'"
    )


def _kept(captures: dict[Value, Any], value: Value) -> AbstractPositions:
    if isinstance(captures, Captures):
        return captures.positions(value)
    held = captures[value]
    return held if isinstance(held, AbstractPositions) else encode(np.asarray(held), holds(value))


_unknown: ContextVar[str | None] = ContextVar("traceprop_unknown_positions", default=None)


def settled(ask: Callable[[], Answer], same: Callable[[Answer, Answer], bool]) -> Answer:
    """The answer to a question, where what was not kept makes no difference to it.

    It is asked again as if the positions that were not kept led to no cell, and as if they led to every cell; where both
    answers are the same, it is the answer. Raises `NotKeptError` where they differ.
    """
    try:
        return ask()
    except NotKeptError:
        answers = []
        for guess in ("none", "every"):
            token = _unknown.set(guess)
            try:
                answers.append(ask())
            finally:
                _unknown.reset(token)
        if not same(*answers):
            raise
        return answers[0]


def _back(read: Read, region: Region, scope: Scope) -> Region:
    try:
        return backward(read, region, scope)
    except NotKeptError:
        if _unknown.get() is None:
            raise
        return _guessed(scope.shape(read.operand))


def _forth(read: Read, region: Region, shape: tuple[int, ...], scope: Scope) -> Region:
    try:
        return forward(read, region, shape, scope)
    except NotKeptError:
        if _unknown.get() is None:
            raise
        return _guessed(shape)


def _guessed(shape: tuple[int, ...]) -> Region:
    return everything(shape) if _unknown.get() == "every" else Region(shape)


class _Sizes(dict[str, int]):
    """The sizes of a call; a size that only the run can tell makes it run."""

    def __init__(self, call: Call) -> None:
        super().__init__(call.sizes())
        self._call = call

    def __missing__(self, name: str) -> int:
        self.update(self._call.outcome().sizes)
        if name not in self:
            raise KeyError(name)
        return self[name]


def to_inputs(call: Call, wanted: Mapping[Value, Regions], limit: int) -> dict[int, Regions]:
    """From cells of values back to cells of the inputs, by input number, in states no weaker than `limit`."""
    scope = scope_of(call)
    deciding = _deciding(call)
    maps = asked_of(call)
    reached: dict[Value, Regions] = {maps.now.get(value, value): dict(regions) for value, regions in wanted.items()}
    for op in reversed(maps.program.ops):
        regions = reached.pop(op.result, None)
        if not regions or op.definition.effect:
            continue
        for read in op.reads:
            for state, region in regions.items():
                next_state = behind(state, read)
                if next_state.rank <= limit:
                    merge(reached.setdefault(read.operand, {}), next_state, _back(read, region, scope))
            if ORDER.rank <= limit:
                for decider in _deciders(read, deciding, scope):
                    for operand in decider.operands:
                        merge(reached.setdefault(operand, {}), ORDER, everything(scope.shape(operand)))
    return {k: reached[param] for k, param in enumerate(call.program.params) if reached.get(param)}


def to_results(call: Call, given: Mapping[int, Regions], targets: Iterable[Value], limit: int) -> dict[Value, Regions]:
    """From cells of inputs forward to cells of some values of the program."""
    scope = scope_of(call)
    deciding = _deciding(call)
    maps = asked_of(call)
    wanted = {maps.now.get(value, value): value for value in targets}
    on_the_way = _on_the_way(maps.program.ops, wanted, limit, deciding)
    reached: dict[Value, Regions] = {call.program.params[k]: dict(regions) for k, regions in given.items()}
    for op in maps.program.ops:
        if op.definition.effect or op.result not in on_the_way or not _ran(op, scope):
            continue
        for read in op.reads:
            for state, region in list(reached.get(read.operand, {}).items()):
                next_state = ahead(state, read, op.result.rank)
                if next_state.rank <= limit:
                    found = _forth(read, region, scope.shape(op.result), scope)
                    merge(reached.setdefault(op.result, {}), next_state, found)
            if ORDER.rank <= limit:
                for decider in _deciders(read, deciding, scope):
                    if any(reached.get(operand) for operand in decider.operands):
                        merge(reached.setdefault(op.result, {}), ORDER, everything(scope.shape(op.result)))
    return {value: reached[now] for now, value in wanted.items() if now in reached}


def _on_the_way(ops: Sequence[Op], targets: Iterable[Value], limit: int, deciding: Mapping[str, Op]) -> set[Value]:
    """The values that some are made of by reads that a question up to `limit` follows, with what decided sizes for `order`."""
    found = set(targets)
    for op in reversed(ops):
        if op.result not in found:
            continue
        found.update(read.operand for read in op.reads if _RANKS[read.kind] <= limit)
        if limit >= ORDER.rank and deciding:
            dims = (dim for value in (op.result, *op.operands) for dim in value.type.dims)
            for name in {name for dim in dims for name in _names(dim)} & deciding.keys():
                found.update(deciding[name].operands)
    return found


def _ran(op: Op, scope: Scope) -> bool:
    """Whether the sizes of an op are known: of one that no result needs, no run need have found them."""
    try:
        scope.shape(op.result)
    except KeyError:
        return False
    return True


def _deciding(call: Call) -> dict[str, Op]:
    """The ops whose data decides a size, by its symbol: those whose result, or whose groups, are the first to show it."""
    program = asked_of(call).program
    found: dict[str, Op] | None = program.memo.get("deciding")
    if found is None:
        found = {}
        seen = {name for param in program.params for dim in param.type.dims for name in _names(dim)}
        for op in program.ops:
            dims = (*op.result.type.dims, *(op.attrs.get(name) for name in ("size", "groups")))
            for name in {name for dim in dims for name in _names(dim)} - seen:
                seen.add(name)
                if op.operands:
                    found[name] = op
        program.memo["deciding"] = found
    return found


def _names(dim: Any) -> frozenset[str]:
    return symbols_of(dim) if isinstance(dim, Expr) else frozenset()


def _deciders(read: Read, deciding: Mapping[str, Op], scope: Scope) -> Iterator[Op]:
    """What decided where a read's cells stand, by how many others there are: other data moves them, or puts a row in.

    A piece of a concatenation stands behind as many rows as a filter left before it; a fold that finds no row would find
    one. (A fold that finds rows is led by them to all that decided.)
    """
    if not deciding:
        return
    dims: list[Any] = [dim for bound in read.where for dim in (bound.lo, bound.hi)]
    for place, size in zip(read.axes, read.operand.type.dims, strict=True):
        if isinstance(place, (Full, Span)) and isinstance(size, Expr) and not scope.number(size):
            dims.append(size)
        dims += [place.lo, place.hi] if isinstance(place, Span) else [place] if isinstance(place, Expr) else []
    names = {name for dim in dims if isinstance(dim, Expr) for name in symbols_of(dim)}
    seen: set[str] = set()
    while names := (names & deciding.keys()) - seen:
        seen |= names
        found = [deciding[name] for name in names]
        yield from found
        empty = (
            d for op in found for v in op.operands for d in v.type.dims if isinstance(d, Expr) and not scope.number(d)
        )
        names = {name for dim in empty for name in symbols_of(dim)}


def merge(regions: Regions, state: State, region: Region) -> None:
    """Adds cells to what was reached in a state; empty regions leave no trace."""
    if region:
        if state in regions:
            regions[state].add(region)
        else:
            regions[state] = region


def needed(call: Call, values: Iterable[Value]) -> list[Op]:
    """The ops that some values need, in program order."""
    wanted: set[Any] = set(values)
    found = []
    for op in reversed(call.program.ops):
        if op.result in wanted and not op.definition.effect:
            wanted.update(op.operands)
            found.append(op)
    return found[::-1]
