"""Calls as they come out of a store: asked like those that ran, loaded piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from traceprop.errors import LineageError
from traceprop.ir import Program, Value
from traceprop.ir.executor import Outcome
from traceprop.passes.encodings import AbstractPositions
from traceprop.runtime.executor import LOCAL
from traceprop.stores.blobs import Blob
from traceprop.tracing.call import Call


class StoredCaptures(Mapping[Value, AbstractPositions]):
    """Captured positions by the value that they are of; each is brought from the store when it is first looked at."""

    def __init__(self, saved: Mapping[Value, Blob], load: Callable[[Blob, Value], AbstractPositions]) -> None:
        self._saved = dict(saved)
        self._load = load
        self._loaded: dict[Value, AbstractPositions] = {}
        self._lock = threading.Lock()

    def saved(self, value: Value) -> Blob:
        """The blob of a value, not loaded."""
        return self._saved[value]

    def __getitem__(self, value: Value) -> AbstractPositions:
        with self._lock:
            if value not in self._loaded:
                self._loaded[value] = self._load(self._saved[value], value)
            return self._loaded[value]

    def __contains__(self, value: object) -> bool:
        return value in self._saved

    def __iter__(self) -> Iterator[Value]:
        return iter(self._saved)

    def __len__(self) -> int:
        return len(self._saved)


class StoredResults(Sequence[Any]):
    """The values that a call returned, which a store does not keep."""

    def __init__(self, count: int, run: str) -> None:
        self._count = count
        self._run = run

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: Any) -> NoReturn:
        raise LineageError(
            f"{self._run} holds the lineage of its values, not the values; read them from where they were saved to, and "
            "give the view as lineage= to go on from there"
        )


class StoredCall(Call):
    """A call that ran in another process. It answers what a call that ran answers, and never runs again."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        sizes: Mapping[str, int],
        captures: StoredCaptures,
        results: StoredResults,
    ) -> None:
        super().__init__(program, inputs, LOCAL, options)
        self._outcome = Outcome(results, captures, dict(sizes))  # type: ignore[arg-type]

    def concrete_inputs(self) -> list[Any]:
        return list(self.outcome().results)

    def restricted(self, values: Sequence[Value]) -> Call:
        raise self.outcome().results[-1]
