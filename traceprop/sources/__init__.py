"""Files and arrays with row identity: what enters a program."""

from traceprop.sources.array import ArraySource
from traceprop.sources.csv import CsvArraySource, CsvTableSource
from traceprop.sources.declared import DeclaredSource, declared_type
from traceprop.sources.frame import FrameSource
from traceprop.sources.parquet import ParquetSource
from traceprop.sources.source import Location, Source, next_array_id, reset_array_ids

__all__ = [
    "ArraySource",
    "CsvArraySource",
    "CsvTableSource",
    "DeclaredSource",
    "FrameSource",
    "Location",
    "ParquetSource",
    "Source",
    "declared_type",
    "next_array_id",
    "reset_array_ids",
]
