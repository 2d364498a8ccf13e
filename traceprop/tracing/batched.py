"""Results a batch of rows at a time, and written to files that way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from traceprop.errors import ExecutionError, TraceError
from traceprop.sources.streamed import StreamedSource, rebatched

if TYPE_CHECKING:
    from traceprop.tracing.lazy import Lazy

ROWS = 1 << 16
"""Rows of a batch of what is at hand, where nobody counts them out."""


def batches(values: Sequence[Lazy], rows: int | None = None, empties: bool = False) -> Iterator[tuple[Any, ...]]:
    """Plain pieces of some values with the same rows, in order. `empties`: pieces of no rows are given, too."""
    if not values:
        raise TraceError("batches need at least one value")
    if rows is not None and rows < 1:
        raise ValueError(f"a batch has at least one row, not {rows}")
    if any(value.trace is not None for value in values):
        raise TraceError("there are no batches while a function is traced; loop over the results of the call")
    (first, *others) = values
    source = first.source
    if isinstance(source, StreamedSource) and not others:
        return ((piece,) for piece in source.read(rows or ROWS))
    calls = {id(value.call()) for value in values if value.source is None}
    if source is None and len(calls) == 1 and all(value.source is None for value in values):
        outcome = first.call().outcome()
        if hasattr(outcome, "batches"):
            found = outcome.batches([value.value for value in values], empties)
            return found if rows is None else _again(found, len(values), rows)
    return _slices([value.concrete() for value in values], rows or ROWS, empties)


def _slices(held: Sequence[Any], rows: int, empties: bool) -> Iterator[tuple[Any, ...]]:
    counts = {len(value) for value in held}
    if len(counts) > 1:
        raise ExecutionError(f"batches of values that have {' and '.join(map(str, sorted(counts)))} rows")
    count = counts.pop()
    starts = range(0, count, rows)
    if empties and not count:
        starts = range(1)
    return (tuple(value[start : start + rows] for value in held) for start in starts)


def _again(found: Iterator[tuple[Any, ...]], count: int, rows: int) -> Iterator[tuple[Any, ...]]:
    """The same rows, so many at a time."""
    if count == 1:
        yield from ((piece,) for piece in rebatched((pieces[0] for pieces in found), rows))
        return
    waiting: list[list[Any]] = [[] for _ in range(count)]

    def side(k: int) -> Iterator[Any]:
        while True:
            while not waiting[k]:
                pieces = next(found, None)
                if pieces is None:
                    return
                for held, piece in zip(waiting, pieces, strict=True):
                    held.append(piece)
            yield waiting[k].pop(0)

    yield from zip(*(rebatched(side(k), rows) for k in range(count)), strict=True)
