"""Questions about where a value came from, and what came of a source row."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from traceprop.errors import LineageError, NotKeptError
from traceprop.ir import Location as CodeLocation
from traceprop.ir import Program, Value
from traceprop.ir.dump import value_names
from traceprop.ir.opset import constant
from traceprop.lineage.chain import as_saved, behind, columns_taken, cut, shape_of
from traceprop.lineage.footprint import Kept, footprint
from traceprop.lineage.region import Region, rows_of
from traceprop.lineage.runs import Runs
from traceprop.lineage.trails import Trail, direct_pairs, distinct
from traceprop.lineage.walk import (
    AGGREGATE,
    Regions,
    State,
    asked_of,
    limit_of,
    matches,
    needed,
    scope_of,
    settled,
    to_inputs,
    to_results,
)
from traceprop.passes.optimize.asked import boundaries
from traceprop.sources import Location, Source
from traceprop.tracing.call import Call
from traceprop.tracing.lazy import Lazy, is_lazy


class StepOrigin:
    """The call that a step is of, and the value that it gives. Steps are equal by what they say, whichever run they are of."""

    __slots__ = ("call", "result")

    def __init__(self, call: Call, result: Value) -> None:
        self.call = call
        self.result = result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StepOrigin)

    def __hash__(self) -> int:
        return hash(StepOrigin)

    def __repr__(self) -> str:
        return f"<step of {self.call.program.name}>"

    def lazy(self, step: Step) -> Any:
        """See `Step.lazy`."""
        call, level = self.call, self.call.options.get("granularity")
        kept = call.program.returns if level in (None, "epoch") else boundaries(call.program)
        if level != "op" and self.result not in kept:
            between = {"batch": "values at batch boundaries", "epoch": "results alone"}.get(str(level), "no lineage")
            raise NotKeptError(
                f"{call.program.name} ran with granularity={level!r}, which keeps {between}, and {step.output} = {step.name} at "
                f"{step.location or 'an unknown line'} is on the way to them; call it with granularity='op', or return the value"
            )
        if self.result in call.program.returns:
            return Lazy.of(self.result, call=call)
        ops = needed(call, [self.result])
        part = Call(call.program.with_ops(ops, [self.result]), call.inputs, call.executor, call.options)
        part.memo["asked"] = asked_of(call)  # questions go to the captures of the run that there is
        part.memo["scope"] = scope_of(call)
        return Lazy.of(self.result, call=part)


class Step(NamedTuple):
    """One step from sources to a value. `location` is `file.py:line` of the user's code; `inputs` are the names of what it
    reads: source ids, or `%n` as the program prints them."""

    name: str
    location: str
    inputs: tuple[str, ...]
    output: str
    code: CodeLocation | None
    origin: StepOrigin | None = None

    def lazy(self) -> Any:
        """The step's result as a lazy value: computed anew when it is asked for, its lineage that of the run that there is.

        At granularity "op" of every step, at "batch" of what stands at a batch boundary, at "epoch" of results alone: else a
        `NotKeptError` that says so. Bodies of loops and branches have no steps of their own.
        """
        if self.origin is None:
            raise LineageError(f"{self.name} comes from no call that could be asked")
        return self.origin.lazy(self)

    def value(self) -> Any:
        """The step's result as a plain value, recomputed from the sources as far as it needs them; raises as `lazy` does."""
        found = self.lazy()
        return found.compute()


def provenance(x: Any) -> View:
    """The lineage of a lazy value, or of several at once (a list or dict): what `tp.provenance` gives.

    Of several, an answer is the union of the answers: row `i` of each, and the rows of any that depend on a source row. They
    may be results of different programs that share sources; a file that was read twice is one source, while two different
    ones of one id are an error when the view is asked, since answers speak in ids. A source that continues a chain
    (`lineage=` of the source calls) is passed through: answers are in the first files' rows.

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

    @property
    def value(self) -> Lazy:
        """The lazy value that is asked about. Raises `LineageError` for a view of several."""
        if len(self._values) != 1:
            raise LineageError(f"a view of one value is needed here; this one is of {len(self._values)}")
        return self._values[0]

    @property
    def values(self) -> tuple[Lazy, ...]:
        """The lazy values that are asked about."""
        return tuple(self._values)

    # -- chains -------------------------------------------------------------------------------------------------------

    def saved_as(self, source: Source) -> View:
        """This lineage as that of a source that holds the saved value: what `lineage=` of the source calls asks for.

        Raises `SourceError` with both shapes where the source is not as large as the value.
        """
        return View([as_saved(self, source)])

    def columns_taken(self, positions: Sequence[int]) -> View:
        """The lineage of some columns, by number."""
        return View([columns_taken(self.value, positions)])

    def cut(self, ends: Sequence[int]) -> list[View]:
        """The lineage of a result that was saved in several files, one view per file: `ends` count the rows up to each."""
        return [View([part]) for part in cut(self.value, ends)]

    def first_sources(self) -> list[Source]:
        """The sources that nothing is behind, in order of first use; of several that are the same, the first."""
        return list(self._first.values())

    @cached_property
    def _first(self) -> dict[str, Source]:
        found: dict[str, Source] = {}
        for value in self._values:
            for source in _sources_behind(value):
                known = found.setdefault(source.id, source)
                if not known.same_as(source):
                    raise LineageError(
                        f"two different sources are called {source.id!r} ({known.path or 'in memory'} and "
                        f"{source.path or 'in memory'}), and answers speak in ids; give one of them another with source_id="
                    )
        return found

    # -- the way ------------------------------------------------------------------------------------------------------

    def sources(self) -> list[str]:
        """Source ids, in order of first use."""
        return [source.id for source in self.first_sources()]

    def source(self, source_id: str) -> Source:
        """The source of that id. Raises `LineageError` that names the ones there are."""
        known = self._first
        if source_id not in known:
            near = difflib.get_close_matches(str(source_id), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if any(saved.id == source_id for value in self._values for saved in value.sources()):
                hint = "; it is a saved result, and lineage goes on to what that was made from"
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

    def footprint(self) -> list[Kept]:
        """What is kept to answer questions, step by step: bytes, in which encoding, and the fewest that there could be.

        Steps whose map is known by itself take a line of text, whatever the number of rows. What the data decided is counted as
        it is kept encoded; until the first question, a save or this call it is the engine's own array. Runs the program.
        """
        return footprint(pair for value in self._values for pair in _calls(value))

    @property
    def nbytes(self) -> int:
        """The bytes of all that `footprint` lists."""
        return sum(kept.bytes for kept in self.footprint())

    # -- back ---------------------------------------------------------------------------------------------------------

    def rows(self, i: Any, kind: str = "direct") -> dict[str, np.ndarray]:
        """The source rows that row(s) `i` depend on: `{source_id: sorted int64 array}`; unreached sources are left out.

        `i`: an int, a slice or an int array. `kind`: `"direct"` (the rows that these rows are), `"aggregate"` (through a
        reduction, a range or another axis), `"control"` (own mask, index, sort or group cells), `"order"` (other rows'
        cells that decided positions), or `"any"`. Raises `NotKeptError` where the answer hangs on positions that the
        granularity of the run did not keep.
        """
        return settled(lambda: self._rows(i, kind), _alike)

    def _rows(self, i: Any, kind: str) -> dict[str, np.ndarray]:
        limit = limit_of(kind)
        found: dict[str, Runs] = {}
        for value in self._values:
            rows = _positions(i, value.concrete_shape()[:1] or (1,))
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
        return settled(lambda: self._cells(index, kind), _alike)

    def _cells(self, index: Any, kind: str) -> dict[str, np.ndarray]:
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

    def keys(self, i: Any, kind: str = "direct") -> dict[str, np.ndarray]:
        """The keys of the source rows that row(s) `i` depend on, in the order of `rows`: `{source_id: array}`.

        Sources without a key are left out: their rows go by number.
        """
        found = self.rows(i, kind).items()
        return {name: self._first[name].keys(rows) for name, rows in found if self._first[name].key is not None}

    def changed_sources(self) -> dict[str, str]:
        """The sources whose files are no longer what was read, each with a sentence that says how: changed, or gone."""
        found = ((source.id, source.changed()) for source in self.first_sources())
        return {source_id: change for source_id, change in found if change is not None}

    def locate(self, i: Any) -> list[Location]:
        """Where row(s) `i` came from: source id, path, row, line of the file, and the text of that line.

        A file that has changed since it was read is never quoted as if it had not: rows with a key are found by it, on the
        lines of now; without one, line and text are `None`. Either way a `ChangedSourceWarning` says so.
        """
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
        return settled(lambda: self._affected(source, chosen, kind), np.array_equal)

    def _affected(self, source: Source, rows: np.ndarray, kind: str) -> np.ndarray:
        limit = limit_of(kind)
        found = Runs.range(0, 0)
        for value in self._values:
            for state, region in _forward(value, source, rows, limit).items():
                if matches(state, kind):
                    found = found | (region.along(0) if region.shape else Runs.range(0, 1))
        return found.positions.astype(np.int64)

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _reach(self, value: Lazy, region: Region, limit: int) -> Iterator[tuple[Source, Regions]]:
        yield from _reach(value, {State(0, 0) if value.value.rank else AGGREGATE: region}, limit)

    def _ordered(self, found: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        order = {source_id: k for k, source_id in enumerate(self.sources())}
        return sorted(found.items(), key=lambda item: order.get(item[0], len(order)))


def _reach(given: Source | Lazy, regions: Regions, limit: int) -> Iterator[tuple[Source, Regions]]:
    """The source cells behind cells of a lazy value, through all calls and saved results on the way."""
    given = behind(given)
    if isinstance(given, Source):
        yield given, regions
        return
    call = given.call()
    for k, reached in to_inputs(call, {given.value: regions}, limit).items():
        yield from _reach(call.inputs[k], reached, limit)


def _forward(given: Source | Lazy, source: Source, rows: np.ndarray, limit: int) -> Regions:
    """The cells of a lazy value that depend on some rows of a source."""
    given = behind(given)
    if isinstance(given, Source):
        mine = given.id == source.id and not given.placeholder
        return _given_rows(shape_of(given), rows) if mine and len(rows) else {}
    call = given.call()
    reached = {k: regions for k, item in enumerate(call.inputs) if (regions := _forward(item, source, rows, limit))}
    return to_results(call, reached, [given.value], limit).get(given.value, {}) if reached else {}


def _given_rows(shape: tuple[int, ...], rows: np.ndarray) -> Regions:
    """Some rows of a source as a walk forward begins with them; a single number has no axis that carries rows."""
    return {State(0, 0): rows_of(shape, rows)} if shape else {AGGREGATE: Region((), [()])}


def _pairs(value: Lazy, rows: np.ndarray) -> Iterator[tuple[Source, Trail]]:
    given = behind(value)
    if isinstance(given, Source):
        if value.value.rank and all(value.concrete_shape()):
            yield given, Trail(rows, rows)
    else:
        yield from direct_pairs(given.call(), given.value, rows)


def _calls(given: Source | Lazy) -> Iterator[tuple[Call, list[Value]]]:
    """Every call on the way to a value, with what is wanted of it."""
    given = behind(given)
    if isinstance(given, Source):
        return
    call = given.call()
    used = {operand for op in needed(call, [given.value]) for operand in op.operands} | {given.value}
    for param, item in zip(call.program.params, call.inputs, strict=True):
        if param in used:
            yield from _calls(item)
    yield call, [given.value]


def _sources_behind(given: Source | Lazy) -> Iterator[Source]:
    given = behind(given)
    if isinstance(given, Source):
        if not given.placeholder:
            yield given
        return
    call = given.call()
    inputs = dict(zip(call.program.params, call.inputs, strict=True))
    first = dict.fromkeys(operand for op in needed(call, [given.value]) for operand in op.operands)
    for operand in (*first, given.value):
        if operand in inputs:
            yield from _sources_behind(inputs[operand])  # type: ignore[index]


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
            found.append(
                Step(
                    op.label,
                    str(op.location or ""),
                    tuple(inputs),
                    names[op.result],
                    op.location,
                    StepOrigin(call, op.result),
                )
            )


def _printed_values(program: Program) -> list[Value]:
    return [*program.params, *(op.result for op in program.ops if not op.definition.effect)]


def _alike(left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> bool:
    """Whether two answers are the same."""
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


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
    return Runs.of(np.where(flat < 0, flat + size, flat)).positions


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
