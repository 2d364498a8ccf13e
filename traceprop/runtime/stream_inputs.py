"""The inputs of a program as rows that are read a batch at a time, once per pass."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from traceprop.ir import Param
from traceprop.passes.optimize.columns_read import columns_read
from traceprop.passes.optimize.partition import Plan, Stage
from traceprop.sources import Source
from traceprop.sources.streamed import StreamedSource

ABOUT = 1 << 24
"""Bytes of input in a batch whose rows nobody counted out."""


class Rows(Protocol):
    """Rows in order; `nbytes` is about what all of them take in memory."""

    n_rows: int

    @property
    def nbytes(self) -> int: ...

    def read(self, rows: int, columns: Collection[str] | None = None) -> Iterator[Any]: ...

    def empty(self) -> Any: ...


class HeldRows:
    """Rows of what is in memory, or mapped into it."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.n_rows = len(value)

    @property
    def nbytes(self) -> int:
        return int(size_of(self._value))

    def read(self, rows: int, columns: Collection[str] | None = None) -> Iterator[Any]:
        for start in range(0, self.n_rows, rows):
            yield self._value[start : start + rows]

    def empty(self) -> Any:
        return self._value[:0]


def size_of(value: Any) -> int:
    """About how many bytes a plain value takes."""
    if hasattr(value, "estimated_size"):
        return int(value.estimated_size())
    return int(getattr(value, "nbytes", sys.getsizeof(value)))


def rows_of(given: Any) -> Rows:
    """An input's rows: those of a file that is not held, or of a plain value."""
    if isinstance(given, StreamedSource):
        return given
    if isinstance(given, Source):
        given.check_unchanged()
        return HeldRows(given.value())
    return HeldRows(given.concrete())


class Batches:
    """Passes over the rows of a plan's inputs: parts of `rows` rows each, for every domain (`None`: of about 16 MiB)."""

    def __init__(self, plan: Plan, inputs: Mapping[Param, Any], rows: int | None) -> None:
        self._plan = plan
        self._rows = {param: rows_of(inputs[param]) for param in plan.partitioned}
        self._size = rows

    def count(self, domains: Iterable[int]) -> int:
        """How many rows a pass over some domains reads."""
        wanted = set(domains)
        seen = {domain: self._rows[param].n_rows for param, domain in self._members() if domain in wanted}
        return sum(seen.values())

    def _members(self) -> list[tuple[Param, int]]:
        return list(zip(self._plan.partitioned, self._plan.domains, strict=True))

    def size(self, domain: int) -> int:
        """How many rows a part of a domain has."""
        if self._size is not None:
            return self._size
        mine = [self._rows[param] for param, other in self._members() if other == domain]
        width = sum(rows.nbytes for rows in mine) / max(1, mine[0].n_rows)
        return max(1, min(1 << 20, int(ABOUT / max(width, 1))))

    def width(self, param: Param) -> float:
        """About how many bytes a row takes."""
        rows = self._rows[param]
        return rows.nbytes / max(1, rows.n_rows)

    def __call__(self, stage: Stage) -> Iterator[Sequence[Any]]:
        named = {param.name: names for param, names in columns_read(stage.program).items()}
        some = False
        for domain in stage.domains:
            readers = [
                self._rows[param].read(self.size(domain), named.get(param.name))
                for param, other in self._members()
                if other == domain
            ]
            while pieces := [piece for reader in readers if (piece := next(reader, None)) is not None]:
                some = True
                mine = iter(pieces)
                parts = [
                    next(mine) if other == domain else self._rows[param].empty() for param, other in self._members()
                ]
                del mine, pieces
                yield parts
                parts.clear()  # nothing here holds a batch while the next one is read
        if not some:
            yield [self._rows[param].empty() for param, _ in self._members()]
