"""Files read again as they were read before, in another process: what must be known of a source for that, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from traceprop.ir import TableType
from traceprop.sources.conform import ConformedSource, polars_dtype
from traceprop.sources.csv import CsvArraySource, CsvTableSource
from traceprop.sources.parquet import ParquetSource
from traceprop.sources.source import Source
from traceprop.sources.streamed import StreamedCsvArray, StreamedCsvTable, StreamedSource
from traceprop.sources.streamed_parquet import StreamedParquet
from traceprop.sources.watched import WatchedCsv


def how_read(source: Source) -> dict[str, Any] | None:
    """What `read_again` needs beside the path and the id; `None` for what was in memory."""
    if isinstance(source, ConformedSource):
        return how_read(source._base)
    if isinstance(source, (CsvArraySource, StreamedCsvArray)):
        return {"as": "csv numbers"}
    if isinstance(source, (CsvTableSource, ParquetSource, StreamedCsvTable, StreamedParquet)):
        kind = source.type(1)
        assert isinstance(kind, TableType)
        types = {field.name: field.dtype for field in kind.fields}
        if isinstance(source, (ParquetSource, StreamedParquet)):
            return {"as": "parquet", "types": types}
        return {"as": "csv", "types": types, "na_values": list(source._na_values)}
    return None


def read_again(path: str, source_id: str, how: Mapping[str, Any]) -> Source:
    """The file as a source. Raises `SourceError` where it cannot be read so."""
    if how["as"] == "csv numbers":
        return CsvArraySource(path, source_id)
    found: CsvTableSource | ParquetSource
    if how["as"] == "csv":
        found = CsvTableSource(path, source_id, how["na_values"])
    else:
        found = ParquetSource(path, source_id, columns=list(how["types"]))
    kind = found.type(1)
    assert isinstance(kind, TableType)
    if {field.name: field.dtype for field in kind.fields} != how["types"]:  # it was one of several files of one table
        found.as_types({name: polars_dtype(dtype) for name, dtype in how["types"].items()})
    return found


def lines_of(source: Source) -> np.ndarray | None:
    """int64: the 1-based line on which each row begins; `None` for what has no lines, or a file that is not what it was."""
    how = how_read(source)
    if how is None or how["as"] == "parquet" or isinstance(source, StreamedSource):  # too many to be held at once
        return None
    now = WatchedCsv(source.path or "", source.content_hash).now()
    if now.change is not None or now.scan is None:
        return None
    return np.searchsorted(now.scan.newlines, now.scan.starts) + 1
