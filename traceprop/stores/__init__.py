"""Where lineage and gradients stay when the process is gone: saved in one process and asked in another."""

from traceprop.stores.gradients import GradientBlocks
from traceprop.stores.parquet import ParquetStore
from traceprop.stores.postgres import PostgresStore
from traceprop.stores.run import Checked, Run, Size
from traceprop.stores.sqlite import SQLiteStore
from traceprop.stores.store import AbstractStore

__all__ = ["AbstractStore", "Checked", "GradientBlocks", "ParquetStore", "PostgresStore", "Run", "SQLiteStore", "Size"]
