"""From what a user wants forgotten to the training rows that it became."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.errors import LineageError, ModelError, NothingToForgetError
from traceprop.training.owners import Owners


@dataclass(frozen=True, eq=False)
class Request:
    """Rows to forget.

    Attributes
    ----------
    asked
        In the user's words, for messages and reports.
    rows
        Source rows by source id, sorted int64 arrays.
    samples
        The training rows made of them, sorted int64.
    untrained
        By source id, how many of the rows no training row was made of.
    """

    asked: str
    rows: dict[str, np.ndarray]
    samples: np.ndarray
    untrained: dict[str, int]

    def nothing(self) -> NothingToForgetError:
        """The error for rows that nothing was made of."""
        total = sum(map(len, self.rows.values()))
        return NothingToForgetError(
            f"nothing to forget: none of the {total} rows with {self.asked} reached training; the pipeline dropped them before"
        )


def resolve(
    owners: Owners,
    source_id: str | None,
    rows: Any,
    where: str | None,
    key: tuple[str, Any] | None,
    untrained: bool = False,
) -> Request:
    """Find the source rows that were asked for, and the training rows behind which they stand.

    With `untrained`, rows of which none reached training are a request all the same: fitted statistics may hold them.

    Raises
    ------
    NothingToForgetError
        An empty `rows`; a predicate or key that matches nothing; rows that never reached training.
    LineageError
        An unknown source, or rows out of range.
    ModelError
        More than one way to name rows at once.
    """
    given = [name for name, value in (("rows", rows), ("where", where), ("key", key)) if value is not None]
    if len(given) > 1:
        raise ModelError(f"give one of rows=, where= and key=, not {' and '.join(given)}")
    if key is not None:
        asked, found = _with_key(owners, source_id, key)
    else:
        if source_id is None and (rows is not None or where is not None):
            source_id = _only_source(owners)
        if source_id is None:
            raise NothingToForgetError("nothing to forget: give source_id=, with rows= or where=, or key=")
        asked, found = _of_source(owners, source_id, rows, where)
    samples = [owners.samples_of(name, of_source) for name, of_source in found.items()]
    reached = np.unique(np.concatenate(samples)) if samples else np.empty(0, dtype=np.int64)
    missing = {name: int((~np.isin(of_source, owners.pairs[name][1])).sum()) for name, of_source in found.items()}
    request = Request(asked, found, reached, {name: count for name, count in missing.items() if count})
    if not len(reached) and not untrained:
        raise request.nothing()
    return request


def _of_source(owners: Owners, source_id: str, rows: Any, where: str | None) -> tuple[str, dict[str, np.ndarray]]:
    owners.check_source(source_id)
    if where is not None:
        asked = f"{where} in {source_id!r}"
        found = owners.source(source_id).rows_where(where)
        if not len(found):
            raise NothingToForgetError(f"nothing to forget: no row with {asked}")
        return asked, {source_id: np.asarray(found, dtype=np.int64)}
    size = _size(owners, source_id)
    if rows is None:
        return f"source {source_id!r}", {source_id: np.arange(size, dtype=np.int64)}
    positions = _row_numbers(rows, source_id, size)
    return f"{len(positions)} rows of {source_id!r}", {source_id: positions}


def _with_key(owners: Owners, source_id: str | None, key: Any) -> tuple[str, dict[str, np.ndarray]]:
    if not isinstance(key, tuple) or len(key) != 2 or not isinstance(key[0], str):
        raise ModelError(f"key is a column and a value, such as ('client_id', 2), not {key!r}")
    column, value = key
    if source_id is not None:
        owners.check_source(source_id)
    names = owners.source_ids if source_id is None else [source_id]
    sources = [(name, owners.source(name)) for name in names]
    having = [(name, source) for name, source in sources if column in (source.columns or ())]
    if not having:
        columns = "; ".join(f"{name}: {', '.join(source.columns or ()) or 'no names'}" for name, source in sources)
        raise LineageError(f"no source has a column {column!r} (columns of {columns})")
    matched = {name: np.asarray(source.rows_with_key(column, value), dtype=np.int64) for name, source in having}
    found = {name: rows for name, rows in matched.items() if len(rows)}
    if not found:
        raise NothingToForgetError(f"nothing to forget: no row of {', '.join(matched)} has {column} = {value!r}")
    return f"{column} = {value!r}", found


def _row_numbers(rows: Any, source_id: str, size: int) -> np.ndarray:
    if isinstance(rows, slice):
        rows = range(*rows.indices(size))
    array = np.atleast_1d(np.asarray(sorted(rows) if isinstance(rows, set | frozenset | range) else rows))
    if array.dtype == bool:
        if array.shape != (size,):
            raise LineageError(f"a mask of rows of {source_id!r} has shape {array.shape}, expected ({size},)")
        array = np.flatnonzero(array)
    if not array.size:
        raise NothingToForgetError(f"nothing to forget: rows= of {source_id!r} is empty")
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise LineageError(f"rows are row numbers of {source_id!r}, integers from 0, not {array.dtype} {array.shape}")
    outside = array[(array < 0) | (array >= size)]
    if outside.size:
        raise LineageError(f"row {outside[0]} is out of range: {source_id!r} has {size} rows, numbered from 0")
    return np.unique(array.astype(np.int64))


def _size(owners: Owners, source_id: str) -> int:
    return owners.n if owners.view is None else int(owners.source(source_id).n_rows)


def _only_source(owners: Owners) -> str:
    if len(owners.source_ids) != 1:
        raise LineageError(
            f"the training rows are of {len(owners.source_ids)} sources; say which with source_id=: "
            f"{', '.join(map(repr, owners.source_ids))}"
        )
    return owners.source_ids[0]
