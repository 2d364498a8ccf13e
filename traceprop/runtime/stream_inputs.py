"""The inputs of a program as rows that are read a batch at a time, once per pass."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from traceprop.ir import Param
from traceprop.passes.optimize.columns_read import columns_read
from traceprop.passes.optimize.partition import Plan, Stage
from traceprop.runtime.sorted_rows import SortedRows
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
    """Passes over the rows of a plan's inputs: parts of `rows` rows each, for every domain (`None`: of about 16 MiB).

    `sorted`: what sorts on disk gave back so far; their rows come in parts as those of inputs do.
    """

    def __init__(self, plan: Plan, inputs: Mapping[Param, Any], rows: int | None, sorted: Sequence[SortedRows]) -> None:
        self._plan = plan
        self._rows = {param: rows_of(inputs[param]) for param in plan.partitioned}
        self._size = rows
        self._sorted = sorted

    def count(self, domains: Iterable[int]) -> int:
        """How many rows a pass over some domains reads; those of a sort are as many as the sources have, at most."""
        wanted = set(domains)
        seen = {domain: self._rows[param].n_rows for param, domain in self._members()}
        return sum(rows for domain, rows in seen.items() if domain in wanted or not wanted <= seen.keys())

    def _members(self) -> list[tuple[Param, int]]:
        return list(zip(self._plan.partitioned, self._plan.domains, strict=True))

    def size(self, domain: int) -> int:
        """How many rows a part of a domain has."""
        if self._size is not None:
            return self._size
        mine = [self._rows[param] for param, other in self._members() if other == domain] or list(self._rows.values())
        width = sum(rows.nbytes for rows in mine) / max(1, mine[0].n_rows)
        return max(1, min(1 << 20, int(ABOUT / max(width, 1))))

    def __call__(self, stage: Stage) -> Iterator[Sequence[Any]]:
        names = {param.name: found for param, found in columns_read(stage.program).items()}
        empties = self._empties(stage)
        some = False
        for domain in stage.domains:
            places, rows = self._reader(stage, domain, names)
            for pieces in rows:
                some = True
                given = list(empties)
                for place in places:
                    given[place] = pieces.pop(0)
                yield given
                given.clear()  # nothing here holds a batch while the next one is read
        if not some:
            yield empties

    def _empties(self, stage: Stage) -> list[Any]:
        found = [self._rows[param].empty() for param in self._plan.partitioned]
        return found + [self._sorter(param).empty(param) for param in stage.parts[len(found) :]]

    def _sorter(self, param: Param) -> SortedRows:
        return next(each for each in self._sorted if param in each.params)

    def _reader(
        self, stage: Stage, domain: int, names: Mapping[str, Collection[str] | None]
    ) -> tuple[list[int], Iterator[list[Any]]]:
        """Where in a part the values of a domain stand, and these, part after part."""
        mine = [(k, param) for k, (param, other) in enumerate(self._members()) if other == domain]
        if mine:
            readers = [self._rows[param].read(self.size(domain), names.get(param.name)) for _, param in mine]
            return [k for k, _ in mine], together(readers)
        first = len(self._plan.partitioned)
        sorter = next(self._sorter(p) for p in stage.parts[first:] if self._domain(p) == domain)
        taken = [(k, param) for k, param in enumerate(stage.parts) if k >= first and param in sorter.params]
        return [k for k, _ in taken], sorter.read(self.size(domain), [param for _, param in taken])

    def _domain(self, param: Param) -> int:
        return 1 + max(self._plan.domains, default=-1) + self._sorted.index(self._sorter(param))


def together(readers: Sequence[Iterator[Any]]) -> Iterator[list[Any]]:
    """The pieces of several readers, side by side; none is held once it was handed over."""
    while pieces := [piece for reader in readers if (piece := next(reader, None)) is not None]:
        yield pieces
        pieces.clear()
