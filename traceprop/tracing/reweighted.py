"""A traced function with a weight for every source row."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import Program
from traceprop.passes.optimize.reweight import Reweight, Reweighted, weights_id
from traceprop.sources import ArraySource, Source
from traceprop.tracing.call import Call
from traceprop.tracing.function import TracedFunction


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
        found = _found(call.program, tuple(weights))
        given: dict[str, Source] = {}
        for param, input in zip(call.program.params, call.inputs, strict=True):
            if param.source in weights and param.source not in given:
                given[param.source] = _source(param.source, weights[param.source], input)
        sources = {weights_id(name): source for name, source in given.items()}
        added = found.program.params[len(call.program.params) :]
        inputs = [*call.inputs, *(sources[str(param.source)] for param in added)]
        again = Call(found.program, inputs, call.executor, call.options)
        values = dict(zip(call.program.returns, found.program.returns, strict=True))
        return traced.results(again, values)

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
    """The program with weights, made once per program and choice of sources."""
    memo = program.memo.setdefault("reweighted", {})
    key = None if sources is None else tuple(sorted(sources))
    if key not in memo:
        memo[key] = Reweight(key).of(program)
    found: Reweighted = memo[key]
    return found


def _source(name: str, weights: Any, rows_of: Any) -> ArraySource:
    array = np.array(weights, dtype=np.float64)
    rows = rows_of.n_rows if isinstance(rows_of, Source) else rows_of.concrete_shape()[0]
    if array.shape != (rows,):
        raise TraceError(f"source {name!r} has {rows} rows, so its weights are {rows} numbers, not {array.shape}")
    if not np.isfinite(array).all():
        raise TraceError(f"the weight of row {int(np.flatnonzero(~np.isfinite(array))[0])} of {name!r} is not finite")
    return ArraySource(array, weights_id(name))
