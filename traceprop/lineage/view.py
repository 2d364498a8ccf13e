"""Questions about where a value came from, and what came of a source row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from traceprop.errors import LineageError
from traceprop.ir import Location as CodeLocation
from traceprop.ir import Program, Value
from traceprop.ir.dump import value_names
from traceprop.ir.opset import constant
from traceprop.lineage.region import Region, rows_of
from traceprop.lineage.runs import Runs
from traceprop.lineage.trails import Trail, direct_pairs, distinct
from traceprop.lineage.walk import AGGREGATE, Regions, State, limit_of, matches, needed, scope_of, to_inputs, to_results
from traceprop.sources import Location, Source
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy, is_lazy


class Step(NamedTuple):
    """One step from sources to a value. `location` is `file.py:line` of the user's code; `inputs` are the names of what it
    reads: source ids, or `%n` as the program prints them."""

    name: str
    location: str
    inputs: tuple[str, ...]
    output: str
    code: CodeLocation | None


def provenance(x: Any) -> View:
    """The lineage of a lazy value, or of several at once (a list or dict): what `tp.provenance` gives.

    Static steps are answered without running anything; what the data decided makes the program run, once.
    """
    if isinstance(x, Mapping):
        values = list(x.values())
    elif isinstance(x, (list, tuple)):
        values = list(x)
    else:
        values = [x]
    for value in values:
        if not is_lazy(value):
            raise LineageError(
                f"a plain {type(value).__name__} has no lineage: ask the lazy value that it was computed from "
                "(what tp.from_csv, tp.from_numpy or a traced function gave), before np.asarray or .compute()"
            )
        if value.trace is not None:
            raise LineageError("lineage is asked of results, not of values inside a traced function; return it first")
    if not values:
        raise LineageError("an empty list of values has no lineage")
    return View(values)


class View:
    """The lineage of one or several lazy values. Of several, an answer is the union of the answers."""

    def __init__(self, values: Sequence[Lazy]) -> None:
        self._values = list(values)

    @property
    def program(self) -> Program:
        """The traced program that computes the (first) value."""
        return self._values[0].call().program

    # -- the way ------------------------------------------------------------------------------------------------------

    def sources(self) -> list[str]:
        """Source ids, in order of first use."""
        return [source.id for source in self._sources()]

    def _sources(self) -> list[Source]:
        found: dict[int, Source] = {}
        for value in self._values:
            for source in _sources_behind(value):
                if not source.placeholder:
                    found.setdefault(id(source), source)
        return list(found.values())

    def source(self, source_id: str) -> Source:
        """The source of that id. Raises `LineageError` that names the ones there are."""
        known = {source.id: source for source in self._sources()}
        if source_id not in known:
            near = difflib.get_close_matches(str(source_id), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise LineageError(
                f"there is no source {source_id!r} behind this value{hint} (there are: {', '.join(known)})"
            )
        return known[source_id]

    def ops(self) -> list[Step]:
        """The steps from sources to the value, in the order in which they run."""
        found: list[Step] = []
        seen: set[tuple[int, Value]] = set()
        for value in self._values:
            _steps(value, found, seen)
        return found

    def ancestors(self) -> set[int]:
        """Positions, in the printed traced program (parameters first, from 0), of the values that this one depends on."""
        found: set[int] = set()
        call = self._values[0].call()
        numbers = {value: k for k, value in enumerate(_printed_values(call.program))}
        for value in self._values:
            if value.call().program is call.program:
                behind = {operand for op in needed(call, [value.value]) for operand in op.operands}
                found |= {numbers[other] for other in behind}
        return found

    @property
    def exact(self) -> bool:
        """Whether every op on the way has an exact rule; else answers may hold too much (never too little)."""
        return all(op.exact for value in self._values for call, target in _calls(value) for op in needed(call, target))

    # -- back ---------------------------------------------------------------------------------------------------------

    def rows(self, i: Any, kind: str = "direct") -> dict[str, np.ndarray]:
        """The source rows that row(s) `i` depend on: `{source_id: sorted int64 array}`; unreached sources are left out.

        `i`: an int, a slice or an int array. `kind`: `"direct"` (the rows that these rows are), `"aggregate"` (through a
        reduction, a range or another axis), `"control"` (own mask, index, sort or group cells), `"order"` (other rows'
        cells that decided positions), or `"any"`.
        """
        limit = limit_of(kind)
        found: dict[str, Runs] = {}
        for value in self._values:
            rows = _positions(i, value.concrete_shape()[:1] or (1,))
            if kind == "direct" and value.value.rank:
                for source, trail in _pairs(value, rows):
                    _add(found, source.id, Runs.of(trail.positions))
                continue
            region = (
                rows_of(value.concrete_shape(), rows) if value.value.rank else Region((), [()] if len(rows) else [])
            )
            for source, regions in self._reach(value, region, limit):
                for state, reached in regions.items():
                    if matches(state, kind):
                        _add(found, source.id, reached.along(0) if reached.shape else Runs.range(0, 1))
        return {source: runs.positions.astype(np.int64) for source, runs in self._ordered(found) if runs}

    def cells(self, index: Any, kind: str = "any") -> dict[str, np.ndarray]:
        """The source cells that cell(s) `index` depend on: `{source_id: int64 array (k, ndim)}`, in row-major order.

        `index`: what would pick the cells of the value, for example `(3, 0)` or `np.s_[:5, 2]`. A table's columns count as
        its second axis.
        """
        limit = limit_of(kind)
        found: dict[str, Region] = {}
        for value in self._values:
            region = _region_of(value.concrete_shape(), index)
            for source, regions in self._reach(value, region, limit):
                for state, reached in regions.items():
                    if matches(state, kind):
                        if source.id in found:
                            found[source.id].add(reached)
                        else:
                            found[source.id] = reached
        return {source: region.cells() for source, region in self._ordered(found)}

    def row_pairs(self, kind: str = "direct") -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """All (row of the value, source row) pairs at once: `{source_id: (rows, source rows)}`, int64 arrays of equal
        length, sorted by row, then source row, each pair once."""
        if kind != "direct":
            raise LineageError(
                f"row_pairs lists direct pairs only, not {kind!r}: others can be as many as rows times rows"
            )
        found: dict[str, list[Trail]] = {}
        for value in self._values:
            shape = value.concrete_shape()
            for source, trail in _pairs(value, np.arange(shape[0] if shape else 1)):
                found.setdefault(source.id, []).append(trail)
        return {
            source_id: tuple(distinct(Trail(*map(np.concatenate, zip(*trails, strict=True)))))
            for source_id, trails in self._ordered(found)
        }

    def locate(self, i: Any) -> list[Location]:
        """Where row(s) `i` came from: source id, path, row, line of the file, and the text of that line."""
        return [
            location
            for source_id, rows in self.rows(i).items()
            for location in self.source(source_id).describe_rows(rows)
        ]

    # -- forward ------------------------------------------------------------------------------------------------------

    def affected_rows(
        self, source_id: str, rows: Any = None, kind: str = "direct", where: str | None = None
    ) -> np.ndarray:
        """Rows of the value that depend on some source rows: a sorted int64 array.

        The source rows are given by number (`rows`: an int, a slice or an int array), by a predicate over the source's
        columns (`where="age > 90"`), or, with neither, are all of them.
        """
        source = self.source(source_id)
        if rows is not None and where is not None:
            raise LineageError("give rows= or where=, not both")
        chosen = source.rows_where(where) if where is not None else _positions(
            slice(None) if rows is None else rows, (source.n_rows,), source_id
        )  # fmt: skip
        limit = limit_of(kind)
        found = Runs.range(0, 0)
        for value in self._values:
            if kind == "direct" and value.value.rank:
                everything = np.arange(value.concrete_shape()[0])
                for reached, trail in _pairs(value, everything):
                    if reached is source:
                        hit = np.isin(trail.positions, chosen)
                        found = found | Runs.of(np.unique(trail.rows[hit]))
                continue
            for state, region in _forward(value, source, chosen, limit).items():
                if matches(state, kind):
                    found = found | (region.along(0) if region.shape else Runs.range(0, 1))
        return found.positions.astype(np.int64)

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _reach(self, value: Lazy, region: Region, limit: int) -> Iterator[tuple[Source, Regions]]:
        yield from _reach(value, {State(0, 0) if value.value.rank else AGGREGATE: region}, limit)

    def _ordered(self, found: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        order = {source_id: k for k, source_id in enumerate(self.sources())}
        return sorted(found.items(), key=lambda item: order.get(item[0], len(order)))


def _reach(value: Lazy, regions: Regions, limit: int) -> Iterator[tuple[Source, Regions]]:
    """The source cells behind cells of a lazy value, through all calls on the way."""
    if value.source is not None:
        yield value.source, regions
        return
    call = value.call()
    for k, reached in to_inputs(call, {value.value: regions}, limit).items():
        given = call.inputs[k]
        if isinstance(given, Source):
            yield given, reached
        else:
            yield from _reach(given, reached, limit)


def _forward(value: Lazy, source: Source, rows: np.ndarray, limit: int) -> Regions:
    """The cells of a lazy value that depend on some rows of a source."""
    if value.source is not None:
        return _given_rows(value.concrete_shape(), rows) if value.source is source and len(rows) else {}
    call = value.call()
    given: dict[int, Regions] = {}
    scope = scope_of(call)
    for k, (param, item) in enumerate(zip(call.program.params, call.inputs, strict=True)):
        if isinstance(item, Source):
            if item is source and len(rows):
                given[k] = _given_rows(scope.shape(param), rows)
        else:
            regions = _forward(item, source, rows, limit)
            if regions:
                given[k] = regions
    found = to_results(call, given, [value.value], limit) if given else {}
    return found.get(value.value, {})


def _given_rows(shape: tuple[int, ...], rows: np.ndarray) -> Regions:
    """Some rows of a source as a walk forward begins with them; a single number has no axis that carries rows."""
    return {State(0, 0): rows_of(shape, rows)} if shape else {AGGREGATE: Region((), [()])}


def _pairs(value: Lazy, rows: np.ndarray) -> Iterator[tuple[Source, Trail]]:
    if value.source is not None:
        if value.value.rank and all(value.concrete_shape()):
            yield value.source, Trail(rows, rows)
    else:
        yield from direct_pairs(value.call(), value.value, rows)


def _calls(value: Lazy) -> Iterator[tuple[Call, list[Value]]]:
    """Every call on the way to a value, with what is wanted of it."""
    if value.source is not None:
        return
    call = value.call()
    used = {operand for op in needed(call, [value.value]) for operand in op.operands} | {value.value}
    for param, given in zip(call.program.params, call.inputs, strict=True):
        if param in used and isinstance(given, Lazy):
            yield from _calls(given)
    yield call, [value.value]


def _sources_behind(value: Lazy) -> Iterator[Source]:
    if value.source is not None:
        yield value.source
        return
    call = value.call()
    inputs = dict(zip(call.program.params, call.inputs, strict=True))
    first = dict.fromkeys(operand for op in needed(call, [value.value]) for operand in op.operands)
    for operand in (*first, value.value):
        given = inputs.get(operand)  # type: ignore[call-overload]
        if isinstance(given, Source):
            yield given
        elif given is not None:
            yield from _sources_behind(given)


def _steps(value: Lazy, found: list[Step], seen: set[tuple[int, Value]]) -> None:
    for call, target in _calls(value):
        names = dict(value_names(call.program))
        for param in call.program.params:
            names[param] = param.source or f"%{param.name}"
        for op in needed(call, target):
            if op.definition is constant or (id(call), op.result) in seen:
                continue
            seen.add((id(call), op.result))
            inputs = [names[v] for v in op.operands if v.op is None or v.op.definition is not constant]
            found.append(Step(op.label, str(op.location or ""), tuple(inputs), names[op.result], op.location))


def _printed_values(program: Program) -> list[Value]:
    return [*program.params, *(op.result for op in program.ops if not op.definition.effect)]


def _add(found: dict[str, Runs], source_id: str, runs: Runs) -> None:
    found[source_id] = found[source_id] | runs if source_id in found else runs


def _positions(rows: Any, shape: tuple[int, ...], of: str = "the value") -> np.ndarray:
    """Row numbers as a sorted array. Raises `LineageError` for one out of range."""
    size = shape[0]
    if isinstance(rows, slice):
        return np.arange(size)[rows]
    array = np.asarray(rows)
    if array.dtype == bool:
        if array.shape != (size,):
            raise LineageError(f"a mask of {array.shape} does not fit the {size} rows of {of!r}")
        return np.flatnonzero(array)
    if array.size and array.dtype.kind not in "iu":
        raise LineageError(f"rows are whole numbers, not {array.dtype}")
    flat = array.ravel().astype(np.int64)
    outside = flat[(flat < -size) | (flat >= size)]
    if len(outside):
        raise LineageError(f"row {outside[0]} is out of range: {of} has {size} rows, numbered from 0")
    return np.unique(np.where(flat < 0, flat + size, flat))


def _region_of(shape: tuple[int, ...], index: Any) -> Region:
    """The cells that an index picks."""
    items = index if isinstance(index, tuple) else (index,)
    if (
        Ellipsis not in items
        and len(items) <= len(shape)
        and all(isinstance(k, (int, np.integer, slice)) for k in items)
    ):
        whole = (*items, *[slice(None)] * (len(shape) - len(items)))
        return Region(shape, [tuple(Runs.of(_positions(k, (n,))) for k, n in zip(whole, shape, strict=True))])
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    try:
        return Region(shape, flat=Runs.of(np.unique(numbers[index])))
    except IndexError as error:
        raise LineageError(f"cells {index!r} of a value of shape {shape}: {error}") from None
