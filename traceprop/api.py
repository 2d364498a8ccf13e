"""The calls that give lazy values, each handed the executor that will run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from traceprop.errors import LineageError, SourceError, TraceError
from traceprop.runtime.backends import checked
from traceprop.runtime.executor import LOCAL
from traceprop.sources import ArraySource, CsvArraySource, CsvTableSource, FrameSource, ParquetSource, Source
from traceprop.sources.files import held, ids_of, matching
from traceprop.sources.source import reset_array_ids
from traceprop.sources.together import csv_together, parquet_together
from traceprop.tracing.array import LazyArray
from traceprop.tracing.batched import batches as _batches
from traceprop.tracing.branches import cond
from traceprop.tracing.draws import random
from traceprop.tracing.function import TracedFunction
from traceprop.tracing.granularity import Granularity, get_granularity, granularity, set_granularity
from traceprop.tracing.inputs import array_of_world
from traceprop.tracing.lazy import reset_symbols
from traceprop.tracing.registered import register_rule
from traceprop.tracing.reweighted import reweight
from traceprop.tracing.table import Table
from traceprop.tracing.table import concat_tables as concat
from traceprop.tracing.trace import active_trace
from traceprop.tracing.updates import at
from traceprop.tracing.worlds import to_numpy, world_of_value

__all__ = [
    "Granularity",
    "LazyArray",
    "Table",
    "TracedFunction",
    "array",
    "at",
    "batches",
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
        source.lineage = _view(lineage).saved_as(source)
    return source


def _view(lineage: Any) -> Any:
    if not hasattr(lineage, "saved_as"):
        raise LineageError(
            "lineage= takes the view of the result that was saved, from tp.provenance(x) or a store's load(name), "
            f"not {type(lineage).__name__}"
        )
    return lineage


def from_csv(
    path: str | Path,
    source_id: str | None = None,
    key: str | None = None,
    lineage: Any = None,
    in_memory: bool | None = None,
) -> LazyArray:
    """A CSV file of numbers as a lazy float64 array of shape (rows, columns).

    The file is read and checked whole at the call. The first line is the header; an empty cell is NaN. Rows are numbered
    from 0 in file order, header not counted. `source_id` defaults to the file's stem (`.csv.gz` stripped).
    Raises `SourceError` that names file, line and column: a cell that is no number (`tp.read_csv` reads text), ragged
    rows, an unusable header, bytes that are not UTF-8, an empty or missing file.
    """
    kind = CsvArraySource if held(path, in_memory) else _streamed().StreamedCsvArray
    return _array(kind(path, source_id, key=key), lineage)


def read_csv(
    path: str | Path | Sequence[str | Path],
    source_id: str | None = None,
    key: str | None = None,
    na_values: str | Sequence[str] = (),
    lineage: Any = None,
    in_memory: bool | None = None,
) -> Table:
    """A CSV file as a lazy table with typed columns: int64, float64, bool or text, told apart by what they hold.

    Parameters
    ----------
    path
        A path, an address of any file system that fsspec reaches (`s3://…`; `pip install traceprop[remote]`), a glob or a
        list. Several files give the rows of all, in order, with types that hold the cells of all; each is a source of its
        own, called `<source_id>/<stem>` (the stem alone without `source_id`; where stems are the same, with their folders).
    source_id
        What lineage calls the file; its stem (`.csv.gz` stripped) where not given.
    key
        The column that says which row is which: no null, no value twice. Rows are then found again after the file was
        sorted anew or rewritten; without a key, a row is its number in a file of this content.
    na_values
        Texts that mean "missing", beside the empty cell.
    lineage
        The view of the result that the file holds, as saved by an earlier program: answers then go down to its first files.
        For several files, the view of all their rows in order, or a list with one view each.
    in_memory
        False: the file is checked in one stream, and read again by each run, a batch at a time in functions traced with
        `batch_size=` (elsewhere whole). Where not given, a single file of more than an eighth of the memory that is free.

    Raises
    ------
    SourceError
        Names file, line and column: ragged rows, an unusable header, bytes that are not UTF-8, an empty or missing file, a
        key that is missing or there twice, files of other columns, a `lineage` of another shape.
    """
    paths = matching(path)
    if paths is None:
        kind = CsvTableSource if held(path, in_memory) else _streamed().StreamedCsvTable
        return _table(kind(path, source_id, na_values, key), lineage)
    if in_memory is False:
        named = zip(paths, ids_of(paths, source_id), strict=True)
        parts = [_streamed().StreamedCsvTable(each, name, na_values, key) for each, name in named]
        return _stacked(_alike(parts), lineage)
    return _stacked(csv_together(paths, ids_of(paths, source_id), na_values, key), lineage)


def read_parquet(
    path: str | Path | Sequence[str | Path],
    source_id: str | None = None,
    key: str | None = None,
    columns: Sequence[str] | None = None,
    lineage: Any = None,
    in_memory: bool | None = None,
) -> Table:
    """A Parquet file as a lazy table with the file's column types. Rows are numbered in file order; they have no lines.

    `path`, `source_id`, `key`, `lineage` and `in_memory` as in `read_csv`. `columns`: only these are read. A table format's own
    row id is a key where the file has it: `key="_row_id"` for Iceberg (format version 3), `"_ducklake_internal_row_id"` for
    DuckLake; where it is kept beside the file, let the format's reader give it, and take `tp.from_dataframe(…, key="rowid")`.

    Categories are read as text, decimals as float64, times with a zone as UTC without one. Raises `SourceError` that names
    the file and the column for a type that has no like (lists, structs, binary, times of day), and for decimals with more
    digits than a float64 holds.
    """
    paths = matching(path)
    if paths is None:
        kind = ParquetSource if held(path, in_memory) else _streamed_parquet()
        return _table(kind(path, source_id, key, columns), lineage)
    if in_memory is False:
        parts = [
            _streamed_parquet()(each, id, key, columns)
            for each, id in zip(paths, ids_of(paths, source_id), strict=True)
        ]
        return _stacked(_alike(parts), lineage)
    return _stacked(parquet_together(paths, ids_of(paths, source_id), key, columns), lineage)


def _streamed() -> Any:
    from traceprop.sources import streamed

    return streamed


def _streamed_parquet() -> Any:
    from traceprop.sources.streamed_parquet import StreamedParquet

    return StreamedParquet


def _alike(parts: Sequence[Source]) -> Sequence[Source]:
    """Files that are not held must have the same columns of the same types: nothing is cast behind the check."""
    first = parts[0]
    for part in parts[1:]:
        mine, theirs = ({f.name: f.dtype for f in each.type(0).fields} for each in (part, first))  # type: ignore[union-attr]
        if list(mine.items()) != list(theirs.items()):
            odd = next((name for name in mine if mine.get(name) != theirs.get(name)), next(iter(theirs), ""))
            raise SourceError(
                f"{part.path}: column {odd!r} is {mine.get(odd)} where it is {theirs.get(odd)} in {first.path}; files that are "
                "not held in memory and are one table have the same columns of the same types"
            )
    return parts


def _stacked(parts: Sequence[Source], lineage: Any) -> Table:
    """Several files as one table, each a source."""
    if lineage is not None and not isinstance(lineage, (list, tuple)):
        ends = np.cumsum([part.n_rows for part in parts])
        lineage = _view(lineage).cut(ends.tolist())
    if lineage is not None and len(lineage) != len(parts):
        raise SourceError(f"lineage= has {len(lineage)} views, but there are {len(parts)} files")
    tables = [_table(part, view) for part, view in zip(parts, lineage or [None] * len(parts), strict=True)]
    return concat(tables)


def from_dataframe(df: Any, source_id: str | None = None, key: str | None = None, lineage: Any = None) -> Table:
    """A lazy table of a pandas, polars or Arrow table, or of anything with `__arrow_c_stream__`; a pandas index is left out."""
    return _table(FrameSource(df, source_id, key=key), lineage)


def from_numpy(arr: np.ndarray, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of a NumPy array; axis 0 is its rows. It is not copied: a write to it before the run is an error then.

    `source_id` defaults to `array-<n>`.
    """
    return _array(ArraySource(arr, source_id), lineage)


def from_torch(t: Any, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of a PyTorch tensor, detached and on the CPU; `.compute()` gives a tensor. Axis 0 is its rows.

    Its memory is not copied: a write to it before the run is an error then. `source_id` defaults to `array-<n>`.
    """
    return _array(_of_world(t, source_id, "torch"), lineage)


def from_jax(a: Any, source_id: str | None = None, lineage: Any = None) -> LazyArray:
    """A lazy array of a JAX array; `.compute()` gives a JAX array. Axis 0 is its rows.

    float64 stays float64, whatever `jax_enable_x64` says. `source_id` defaults to `array-<n>`.
    """
    return _array(_of_world(a, source_id, "jax"), lineage)


def _of_world(value: Any, source_id: str | None, world: str) -> ArraySource:
    if world_of_value(value) == world:
        return array_of_world(value, source_id)
    source = ArraySource(to_numpy(value), source_id)
    source.world = world
    return source


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
    executor: Any = "local",
    passes: Sequence[Any] | None = None,
    batch_size: int | str | None = None,
) -> Any:
    """Turns a function over arrays and tables into a traced, lazy one: `@tp.trace`, or with options `@tp.trace(…)`.

    Calling the result runs nothing; it gives lazy values in the structure that the function returns. Arrays, dataframes
    and lists of numbers among the arguments become sources named after their parameter. The function is run once per kind
    of argument, on symbolic values, so it must not branch on values, write in place or draw random numbers: each is a
    `TraceError` that names the line and the way out.

    `granularity`: `"op"`, `"batch"` or `"epoch"`; `None` is the default in force (`tp.set_granularity`). "op" records
    every index array that the data decided; the others one composed array for a chain of them, which answers what rows of
    results come from, and a question that needs more is a `NotKeptError`. `passes`: instead of the default ones.
    A function that names jax or torch, or is given their arrays, is traced by that library and computes with it.
    `backend` says what computes with NumPy's arrays. `"numpy"`: NumPy, bit by bit what the function itself gives, and large
    arrays block by block. `"jax"`: segments of floating point in which the data decides no positions are compiled by XLA, once
    per number of rows rounded up; they equal NumPy's to rounding, and no `RuntimeWarning` comes from there. `"auto"`: that, for
    large arrays, where jax is imported already and sooner done, else NumPy. `"torch"`: as `"numpy"`; and a function over
    PyTorch's tensors, which else runs eagerly, goes through `torch.compile` where a C++ compiler is found.
    `f.compile(…).explain()` says which runs what, and why.
    `executor`: `"local"`, this machine; a `dask.distributed.Client`, or `"dask"` for the current one: rows are cut into
    partitions, which its workers read and work on, results stay there until somebody asks, and lineage is the same
    (docs/dask.md). A client that is closed or asynchronous is an `ExecutionError`, as is having none once a value is wanted.
    `batch_size`: so many rows are worked on at a time (`"auto"`: about 16 MiB of them), so that files may be larger than
    memory: statistics of all rows are found in passes of their own, results come by `.batches()` or go to a file by
    `.to_parquet(path)`, values are those of a run on all rows to rounding, and lineage is the same (docs/streaming.md). On
    Dask, the rows of a partition.

    Raises
    ------
    MissingExtraError
        The library of the backend is not installed.
    """
    checked(backend)
    if batch_size not in (None, "auto") and (type(batch_size) is not int or batch_size < 1):
        raise ValueError(f"batch_size is a number of rows, at least 1, or 'auto', not {batch_size!r}")
    if not isinstance(executor, str) or executor != "local":
        if backend == "jax":
            raise ValueError("Dask's workers compute with NumPy; leave backend='jax' out, or run with executor='local'")
        runs = _on_dask(executor, batch_size)
    else:
        runs = LOCAL if batch_size is None else _streaming(batch_size)

    def decorate(function: Callable[..., Any]) -> TracedFunction:
        return TracedFunction(function, runs, granularity, passes, backend)

    return decorate if function is None else decorate(function)


def _on_dask(executor: Any, batch_size: Any) -> Any:
    from traceprop.runtime.dask import executor_for

    return executor_for(executor, None if batch_size == "auto" else batch_size)


def _streaming(batch_size: Any) -> Any:
    from traceprop.runtime.streaming import StreamingExecutor

    return StreamingExecutor(None if batch_size == "auto" else batch_size)


def batches(*values: Any, rows: int | None = None) -> Iterator[tuple[Any, ...]]:
    """Several results with the same rows, a batch of rows at a time: `for x, y in tp.batches(X, Y): …`.

    Of one call of a function traced with `batch_size=`, the sources are read once for all of them, and nothing but a batch
    is held. `rows`: so many rows each, rather than as they come. See `.batches()` of one value.
    """
    return _batches(values, rows)


def reset_graph() -> None:
    """Fresh value ids: unnamed arrays and data-dependent sizes are numbered from 0 again.

    Compiled programs live with their traced function, so there is no global cache to empty.
    """
    reset_array_ids()
    reset_symbols()
