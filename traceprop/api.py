"""The calls that give lazy values, each handed the executor that will run it."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from traceprop.errors import LineageError, SourceError, TraceError
from traceprop.runtime.executor import LOCAL
from traceprop.sources import ArraySource, CsvArraySource, CsvTableSource, FrameSource, Source
from traceprop.sources.source import reset_array_ids
from traceprop.tracing.array import LazyArray
from traceprop.tracing.branches import cond
from traceprop.tracing.draws import random
from traceprop.tracing.function import TracedFunction
from traceprop.tracing.granularity import Granularity, get_granularity, granularity, set_granularity
from traceprop.tracing.lazy import reset_symbols
from traceprop.tracing.registered import register_rule
from traceprop.tracing.reweighted import reweight
from traceprop.tracing.table import Table
from traceprop.tracing.table import concat_tables as concat
from traceprop.tracing.trace import active_trace
from traceprop.tracing.updates import at
from traceprop.tracing.worlds import to_numpy

__all__ = [
    "Granularity",
    "LazyArray",
    "Table",
    "TracedFunction",
    "array",
    "at",
    "concat",
    "cond",
    "from_csv",
    "from_dataframe",
    "from_jax",
    "from_numpy",
    "from_torch",
    "get_granularity",
    "granularity",
    "random",
    "read_csv",
    "read_parquet",
    "register_rule",
    "reset_graph",
    "reweight",
    "set_granularity",
    "trace",
]


def _array(source: Source, lineage: Any = None) -> LazyArray:
    return LazyArray.from_source(_entering(source, lineage), LOCAL)


def _table(source: Source, lineage: Any = None) -> Table:
    return Table.from_source(_entering(source, lineage), LOCAL)


def _entering(source: Source, lineage: Any) -> Source:
    """The source as a program begins with it: with the chain that it continues, where there is one."""
    trace = active_trace()
    if trace is not None:
        raise TraceError(
            f"the source {source.id!r} is made inside the traced function {trace.name!r}; make it outside and pass it in"
        )
    if lineage is not None:
        if not hasattr(lineage, "saved_as"):
            raise LineageError(
                f"lineage= takes the view of the result that was saved, from tp.provenance(x) or a store's load(name), "
                f"not {type(lineage).__name__}"
            )
        source.lineage = lineage.saved_as(source)
    return source


def from_csv(path: str | Path, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A CSV file of numbers as a lazy float64 array of shape (rows, columns).

    The file is read and checked whole at the call. The first line is the header; an empty cell is NaN. Rows are numbered
    from 0 in file order, header not counted. `source_id` defaults to the file's stem (`.csv.gz` stripped).
    Raises `SourceError` that names file, line and column: a cell that is no number (`tp.read_csv` reads text), ragged
    rows, an unusable header, bytes that are not UTF-8, an empty or missing file.
    """
    return _array(CsvArraySource(path, source_id), lineage)


def read_csv(
    path: str | Path | Sequence[str | Path],
    source_id: str | None = None,
    na_values: str | Sequence[str] = (),
    lineage: Any = None,
) -> Table:
    """A CSV file as a lazy table with typed columns: int64, float64, bool or text, told apart by what they hold.

    `na_values`: texts that mean "missing", beside the empty cell. A glob or a list of paths gives the rows of all files,
    one source per file, with ids `<source_id>/<stem>`. Raises `SourceError` as `from_csv` does.
    """
    paths = _paths(path)
    if paths is None:
        return _table(CsvTableSource(path, source_id, na_values), lineage)  # type: ignore[arg-type]
    if lineage is not None:
        raise LineageError("lineage= continues the chain of one file, and these are several")
    lead = f"{source_id}/" if source_id is not None else ""
    parts = [CsvTableSource(p, None, na_values) for p in paths]
    for part in parts:
        part.id = lead + part.id
    return concat([_table(part) for part in parts])


def _paths(path: Any) -> list[Any] | None:
    """The files behind a list or a glob; `None` for a single path."""
    if isinstance(path, (list, tuple)):
        if not path:
            raise SourceError("an empty list of paths holds no file to read")
        return list(path)
    if isinstance(path, str) and any(sign in path for sign in "*?[") and not Path(path).exists():
        found = sorted(glob.glob(path))
        if not found:
            raise SourceError(f"no file matches {path!r}")
        return found
    return None


def read_parquet(path: str | Path, source_id: str | None = None, lineage: Any = None) -> Table:
    """A Parquet file as a lazy table with the file's column types. Rows are numbered in file order; they have no lines."""
    from traceprop.sources.csv import ParquetSource

    return _table(ParquetSource(path, source_id), lineage)


def from_dataframe(df: Any, source_id: str | None = None, lineage: Any = None) -> Table:
    """A lazy table of a pandas, polars or Arrow table, or of anything with `__arrow_c_stream__`; a pandas index is left out."""
    return _table(FrameSource(df, source_id), lineage)


def from_numpy(arr: np.ndarray, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of a NumPy array; axis 0 is its rows. It is not copied: a write to it before the run is an error then.

    `source_id` defaults to `array-<n>`.
    """
    return _array(ArraySource(arr, source_id), lineage)


def from_torch(t: Any, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of a PyTorch tensor, detached and on the CPU; `.compute()` gives a tensor. Axis 0 is its rows.

    Its memory is not copied: a write to it before the run is an error then. `source_id` defaults to `array-<n>`.
    """
    source = ArraySource(to_numpy(t), source_id)
    source.world = "torch"
    return _array(source, lineage)


def from_jax(a: Any, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of a JAX array; `.compute()` gives a JAX array. Axis 0 is its rows.

    float64 stays float64, whatever `jax_enable_x64` says. `source_id` defaults to `array-<n>`.
    """
    source = ArraySource(to_numpy(a), source_id)
    source.world = "jax"
    return _array(source, lineage)


def array(data: Any, dtype: Any = None, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of nested lists or of anything that `numpy.array` takes; the data is copied."""
    return _array(ArraySource(np.array(data, dtype=dtype), source_id), lineage)


@overload
def trace(function: Callable[..., Any], /) -> TracedFunction: ...
@overload
def trace(**options: Any) -> Callable[[Callable[..., Any]], TracedFunction]: ...
def trace(
    function: Callable[..., Any] | None = None,
    /,
    *,
    granularity: str | None = None,
    backend: str = "auto",
    executor: str = "local",
    passes: Sequence[Any] | None = None,
) -> Any:
    """Turns a function over arrays and tables into a traced, lazy one: `@tp.trace`, or with options `@tp.trace(…)`.

    Calling the result runs nothing; it gives lazy values in the structure that the function returns. Arrays, dataframes
    and lists of numbers among the arguments become sources named after their parameter. The function is run once per kind
    of argument, on symbolic values, so it must not branch on values, write in place or draw random numbers: each is a
    `TraceError` that names the line and the way out.

    `granularity`: `"op"`, `"batch"` or `"epoch"`; `None` is the default in force (`tp.set_granularity`). All three record
    the same today: every index array that the data decided. `passes`: instead of the default ones.
    A function that names jax or torch, or is given their arrays, is traced by that library and computes with it.
    `backend`: `"auto"` and `"numpy"` are NumPy and polars; other backends and executors are not in this version.
    """
    if backend not in ("auto", "numpy"):
        raise ValueError(f"backend={backend!r} is not in this version; 'numpy' (or 'auto', the same) is")
    if executor != "local":
        raise ValueError(f"executor={executor!r} is not in this version; 'local' is")

    def decorate(function: Callable[..., Any]) -> TracedFunction:
        return TracedFunction(function, LOCAL, granularity, passes)

    return decorate if function is None else decorate(function)


def reset_graph() -> None:
    """Fresh value ids: unnamed arrays and data-dependent sizes are numbered from 0 again.

    Compiled programs live with their traced function, so there is no global cache to empty.
    """
    reset_array_ids()
    reset_symbols()
