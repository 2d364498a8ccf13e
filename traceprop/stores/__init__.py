"""Where lineage stays when the process is gone: runs, saved in one process and asked in another."""

from traceprop.stores.parquet import ParquetStore
from traceprop.stores.postgres import PostgresStore
from traceprop.stores.run import Checked, Run, Size
from traceprop.stores.sqlite import SQLiteStore
from traceprop.stores.store import AbstractStore

__all__ = ["AbstractStore", "Checked", "ParquetStore", "PostgresStore", "Run", "SQLiteStore", "Size"]
