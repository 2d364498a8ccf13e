"""Backwards through all the calls behind some values: from their cotangents to the slopes of source weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.ir import Value
from traceprop.passes.attribution.adjoint import Adjoint, size
from traceprop.passes.attribution.rowwise import parted
from traceprop.passes.optimize.reweight import AGAIN, PREFIX
from traceprop.sources import Source
from traceprop.tracing.call import Call
from traceprop.tracing.reweighted import Reweighting


class _Leg:
    """One call with weights: its backward sweep, and the values of its run that this looks at."""

    def __init__(self, call: Call) -> None:
        self.call = call
        known = call.program.memo.setdefault("adjoint", {})
        if "sweep" not in known:
            params = [p for p in call.program.params if p.name.startswith((PREFIX, AGAIN))]
            known["sweep"] = Adjoint(call.program, params)
        self.adjoint: Adjoint = known["sweep"]
        given = dict(zip(call.program.params, call.concrete_inputs(), strict=True))
        computed = [value for value in self.adjoint.needed if value not in given]
        if computed and "run" not in known:
            known["run"] = call.restricted(computed).program
        again = Call(known["run"], call.inputs, call.executor, call.options) if computed else call
        outcome = again.outcome()
        self.values: dict[Value, Any] = given | dict(zip(computed, outcome.results, strict=False))
        self.sizes = outcome.sizes
        self.rows = max(
            (size(dim, self.sizes) for value in self.adjoint.active for dim in value.type.dims[:1]), default=1
        )


class Sweep:
    """The backward sweep of a reweighting, through the calls that it has made; their forward values are computed once."""

    def __init__(self, work: Reweighting) -> None:
        self._work = work
        self._made: dict[Call, _Leg] = {}

    @property
    def stopped(self) -> tuple[str, ...]:
        """The ops that pass no slope on."""
        return tuple(dict.fromkeys(text for leg in self._legs().values() for text in leg.adjoint.stopped))

    @property
    def widest(self) -> int:
        """The largest number of rows on the way."""
        return max((leg.rows for leg in self._legs().values()), default=1)

    def _legs(self) -> dict[Call, _Leg]:
        """All calls that the reweighting has made by now, each behind those that it reads from."""
        calls = [again.call for again in self._work.calls()]
        self._made = {call: self._made.get(call) or _Leg(call) for call in calls}
        return self._made

    def pull(self, cotangents: Sequence[tuple[Any, np.ndarray]]) -> dict[str, np.ndarray]:
        """Slopes per source row, float64 (k, rows) by source id, of k sums of cotangents (k, *shape) times lazy values."""
        return self._pull([(lazy.call(), {lazy.value: cotangent}) for lazy, cotangent in cotangents])

    def pull_rows(self, lazy: Any, cotangent: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The same of k functions, each of one row of a lazy value: row rows[f] of the cotangent is function f's."""
        call = lazy.call()
        leg = self._legs().get(call)
        if leg is None:
            return {}
        return self._pull([(call, parted(leg.adjoint, leg.values, leg.sizes, lazy.value, cotangent, rows))])

    def _pull(self, given: Sequence[tuple[Call, dict[Value, np.ndarray]]]) -> dict[str, np.ndarray]:
        legs = self._legs()
        names = {source: name for name, source in self._work.vectors().items()}
        waiting: dict[Call, dict[Value, np.ndarray]] = {}
        slopes: dict[str, np.ndarray] = {}

        def add(call: Call, value: Value, cotangent: np.ndarray) -> None:
            if call in legs:
                into = waiting.setdefault(call, {})
                into[value] = into[value] + cotangent if value in into else cotangent

        def push(given: Any, cotangent: np.ndarray) -> None:
            if not isinstance(given, Source):
                add(given.call(), given.value, cotangent)
                return
            name = names.get(given)  # type: ignore[call-overload]
            if name is not None:
                slopes[name] = slopes[name] + cotangent if name in slopes else cotangent

        for call, cotangents in given:
            for value, cotangent in cotangents.items():
                add(call, value, cotangent)
        for call, leg in reversed(legs.items()):
            here = waiting.pop(call, None)
            if here is None:
                continue
            inputs = dict(zip(call.program.params, call.inputs, strict=True))
            for param, cotangent in leg.adjoint.pull_many(leg.values, leg.sizes, here).items():
                push(inputs[param], cotangent)
        return slopes
