"""A traced function with a weight for every source row."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from traceprop.errors import TraceError, TracepropError
from traceprop.ir import ArrayType, Param, Program, TableType
from traceprop.ir.types import Type
from traceprop.passes.optimize.reweight import Reweight, Reweighted, reweighted, weights_id
from traceprop.sources import ArraySource, Source
from traceprop.tracing.call import Call
from traceprop.tracing.function import TracedFunction
from traceprop.tracing.lazy import Lazy


class ReweightedFunction:
    """What `tp.reweight` makes of a traced function: it takes `weights` besides what the function takes.

    `.ir(…)` is the program with weights, `.held(…)` names the steps that have no weighted form and stay as they are with
    all rows, and why.
    """

    def __init__(self, function: TracedFunction) -> None:
        if not isinstance(function, TracedFunction):
            raise TraceError(f"tp.reweight takes a traced function, not {function!r}; decorate it with @tp.trace")
        functools.update_wrapper(self, function)
        self.traced = function

    def __repr__(self) -> str:
        return f"<reweighted function {self.__name__}>"  # type: ignore[attr-defined]

    def __call__(self, *args: Any, weights: Mapping[str, Any], **kwargs: Any) -> Any:
        """Lazy values in the structure that the function returns, with rows counted by their weights.

        `weights`: `{source_id: (n,) array}`, float64, one finite number per source row; a source that is left out has
        weights 1. Raises `TraceError` for an unknown source, another length or a number that is not finite.
        """
        if not isinstance(weights, Mapping) or not weights:
            raise TraceError(f"weights is {{source_id: one number per row}}, not {weights!r}")
        traced, call = self.traced.prepare(args, kwargs)
        work = Reweighting(weights)
        again = work.call(call)
        work.check_all_used(self.__name__, call)  # type: ignore[attr-defined]
        assert again is not None
        return traced.results(again.call, again.found.values)

    def ir(self, *args: Any, sources: tuple[str, ...] | None = None, **kwargs: Any) -> Program:
        """The program with weights for these arguments, of the sources named (all, if None)."""
        return _found(self.traced.prepare(args, kwargs)[1].program, sources).program

    def held(self, *args: Any, sources: tuple[str, ...] | None = None, **kwargs: Any) -> tuple[str, ...]:
        """The steps that have no weighted form: one sentence each, with the line."""
        return _found(self.traced.prepare(args, kwargs)[1].program, sources).held


def reweight(f: TracedFunction) -> ReweightedFunction:
    """The traced function with one more keyword, `weights={source_id: (n,) array}`.

    1 keeps a row; 0 counts it in no reduction over rows: the result keeps its shape, and on the rows that stay it is as if
    the row had never been there. Positions (sorts, filters, joins, samples) and words are those of the run with all
    rows; what has no weighted form, as a median, stays what it was there, and `.held(…)` names it.

    >>> import numpy as np, traceprop as tp
    >>> @tp.trace
    ... def centred(x):
    ...     return x - x.mean(axis=0)
    >>> x = np.array([[1.0], [3.0], [100.0]])
    >>> tp.reweight(centred)(x, weights={"x": [1, 1, 0]}).compute()[:2].ravel().tolist()
    [-1.0, 1.0]
    """
    return ReweightedFunction(f)


def _found(program: Program, sources: tuple[str, ...] | None) -> Reweighted:
    return Reweight(None if sources is None else tuple(sources)).of(program)


@dataclass(frozen=True, eq=False)
class Again:
    """A call once more, with weights."""

    call: Call
    found: Reweighted


class Reweighting:
    """Lazy values as they would be if source rows had other weights, through all the calls that led to them.

    `held`, `forms` and `followed` tell of the steps that were met: those that have no weighted form, how many have one, and
    which.
    """

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self.held: dict[str, None] = {}
        self.followed: dict[str, None] = {}
        self.forms = 0
        self._weights = dict(weights)
        self._sources: dict[str, ArraySource] = {}
        self._saved: dict[Source, ArraySource] = {}
        self._calls: dict[Call, Again | None] = {}

    def value(self, lazy: Lazy) -> Any:
        """The lazy value with weights; itself, where no weighted source is behind it."""
        again = self.call(lazy.call())
        return lazy if again is None else Lazy.of(again.found.values[lazy.value], call=again.call)

    def rows(self, lazy: Lazy) -> Any:
        """The weight of each row of a lazy value, lazily; `None` where all have weight 1."""
        again = self.call(lazy.call())
        row = None if again is None else again.found.rows.get(lazy.value)
        return None if again is None or row is None else Lazy.of(row, call=again.call)

    def call(self, call: Call) -> Again | None:
        """The call with weights; `None` where no weighted source is behind it."""
        if call not in self._calls:
            self._calls[call] = self._again(call)
        return self._calls[call]

    def changes(self, lazy: Lazy) -> bool:
        """Whether the weights change a lazy value's cells."""
        again = self.call(lazy.call())
        return again is not None and again.found.values[lazy.value] is not lazy.value

    def calls(self) -> list[Again]:
        """The calls with weights that were made, each behind those that it reads from."""
        return [again for again in self._calls.values() if again is not None]

    def vectors(self) -> dict[str, ArraySource]:
        """The weights as sources, by the id of the source that they weigh."""
        return dict(self._sources)

    def check_all_used(self, name: str, call: Call) -> None:
        """Raises `TraceError` for weights of a source that was not met."""
        met = self._sources.keys() | {name for saved in self._saved for name in _ids_behind(saved)}
        for unknown in self._weights.keys() - met:
            listed = ", ".join(repr(param.source) for param in call.program.params if param.source is not None)
            raise TraceError(f"{name} has no source {unknown!r} with rows; its sources are {listed}")

    def _again(self, call: Call) -> Again | None:
        weighted, vectors, values = [], [], []
        changed: dict[Param, Type] = {}
        for param, given in zip(call.program.params, call.inputs, strict=True):
            given = self._computed(given, param)
            if isinstance(given, Source):
                vector = self._vector(given) if param.rank else None
                if vector is not None:
                    weighted.append(param)
                    vectors.append(vector)
            elif self.call(given.call()) is not None:
                if self.changes(given):
                    values.append(self.value(given))
                    changed[param] = _type_of(param.type, values[-1].type)
                rows = None if param.fitted else self.rows(given)
                if rows is not None:
                    weighted.append(param)
                    vectors.append(rows)
        if not weighted and not changed:
            return None
        memo = call.program.memo.setdefault("reweighted", {})
        key = (tuple(weighted), tuple((param, str(type)) for param, type in changed.items()))
        if key not in memo:
            memo[key] = reweighted(call.program, weighted, changed, rows=True)
        found: Reweighted = memo[key]
        self.held.update(dict.fromkeys(found.held))
        self.followed.update(dict.fromkeys(found.followed))
        self.forms += found.forms
        return Again(Call(found.program, [*call.inputs, *vectors, *values], call.executor, call.options), found)

    def _vector(self, source: Source) -> ArraySource | None:
        """The weights of a source's rows; `None` where all are 1."""
        if source.lineage is not None:
            return self._saved.get(source)
        if source.id not in self._weights:
            return None
        if source.id not in self._sources:
            self._sources[source.id] = _weights_of(source, self._weights[source.id])
        return self._sources[source.id]

    def _computed(self, given: Any, param: Param) -> Any:
        """A saved result with weighted rows behind it as the lazy value that it was, so that its program too has weights.

        Where that program cannot run again, or gives another type than was read, its rows have weights all the same, and
        `held` says that its cells stay.
        """
        if not isinstance(given, Source) or given.lineage is None or not self._weights.keys() & _ids_behind(given):
            return given
        value = given.lineage.value
        if _like(param.type, value.type) and _can_run(value):
            return self._computed(value.source, param) if value.source is not None else value
        if given not in self._saved:
            weights = np.ones(given.n_rows)
            for name, (rows, owners) in given.lineage.row_pairs().items():
                if name in self._weights:
                    source = given.lineage.source(name)
                    np.multiply.at(weights, rows, _weights_of(source, self._weights[name]).value()[owners])
            self._saved[given] = ArraySource(weights, weights_id(given.id))
        why = (
            "its data are not here to run again"
            if _like(param.type, value.type)
            else f"it was computed as {value.type}"
        )
        self.held[f"the cells of the saved result {given.id!r} ({why})"] = None
        return given


def _ids_behind(source: Source) -> set[str]:
    return {each.id for each in source.lineage.first_sources()}


def _like(saved: Type, computed: Type) -> bool:
    """Whether a computed value can stand where a saved one stood."""
    if isinstance(saved, ArrayType) and isinstance(computed, ArrayType):
        return saved.dtype == computed.dtype and len(saved.dims) == len(computed.dims)
    if isinstance(saved, TableType) and isinstance(computed, TableType):
        cells = [[(field.name, field.dtype, field.width) for field in type.fields] for type in (saved, computed)]
        return cells[0] == cells[1]
    return False


def _can_run(value: Lazy) -> bool:
    """Whether the data behind a lazy value are here, and not only the lineage of a run elsewhere."""
    try:
        for source in value.sources():
            source.value()
    except TracepropError:
        return False
    return True


def _type_of(before: Type, now: Type) -> Type:
    """The cells' type now, in the sizes that the program knows."""
    if isinstance(now, ArrayType):
        return ArrayType(now.dtype, before.dims)
    assert isinstance(before, TableType)
    return replace(now, rows=before.rows)


def _weights_of(source: Source, weights: Any) -> ArraySource:
    array = np.array(weights, dtype=np.float64)
    rows, name = source.n_rows, source.id
    if array.shape != (rows,):
        raise TraceError(f"source {name!r} has {rows} rows, so its weights are {rows} numbers, not {array.shape}")
    if not np.isfinite(array).all():
        raise TraceError(f"the weight of row {int(np.flatnonzero(~np.isfinite(array))[0])} of {name!r} is not finite")
    return ArraySource(array, weights_id(name))
