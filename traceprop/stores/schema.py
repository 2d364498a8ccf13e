"""The tables of the SQL stores, and how each version became the next: one function per step, run in order, once.

`{bytes}` and `{number}` stand for what a database calls a column of bytes, and one that counts by itself.
"""

from __future__ import annotations

from collections.abc import Callable

Execute = Callable[[str], object]


def _first_tables(execute: Execute) -> None:
    """Runs, their headers, the blobs that they use, and which run uses which; large blobs stand in several parts."""
    execute("CREATE TABLE traceprop_schema (version INTEGER NOT NULL)")
    execute("INSERT INTO traceprop_schema (version) VALUES (0)")
    execute(
        "CREATE TABLE traceprop_runs (number {number}, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, saved TEXT NOT NULL, "
        "location TEXT NOT NULL, metadata TEXT NOT NULL)"
    )
    execute("CREATE INDEX traceprop_runs_by_name ON traceprop_runs {by_hash}(name)")
    execute(
        "CREATE TABLE traceprop_headers (run BIGINT PRIMARY KEY REFERENCES traceprop_runs (number) ON DELETE CASCADE, "
        "checksum TEXT NOT NULL, content {bytes} NOT NULL)"
    )
    execute("CREATE TABLE traceprop_blobs (digest TEXT PRIMARY KEY, kind TEXT NOT NULL, size BIGINT NOT NULL)")
    execute(
        "CREATE TABLE traceprop_parts (digest TEXT NOT NULL REFERENCES traceprop_blobs (digest) ON DELETE CASCADE, "
        "part INTEGER NOT NULL, content {bytes} NOT NULL, PRIMARY KEY (digest, part))"
    )
    execute(
        "CREATE TABLE traceprop_uses (run BIGINT NOT NULL REFERENCES traceprop_runs (number) ON DELETE CASCADE, "
        "digest TEXT NOT NULL REFERENCES traceprop_blobs (digest), PRIMARY KEY (run, digest))"
    )
    execute("CREATE INDEX traceprop_uses_by_digest ON traceprop_uses (digest)")


def _sizes_in_listings(execute: Execute) -> None:
    """Adds to a run how many bytes it has, so that a listing need not add up its blobs."""
    execute("ALTER TABLE traceprop_runs ADD COLUMN size BIGINT NOT NULL DEFAULT 0")
    execute(
        "UPDATE traceprop_runs SET size = "
        "(SELECT length(content) FROM traceprop_headers WHERE run = number) + "
        "(SELECT coalesce(sum(traceprop_blobs.size), 0) FROM traceprop_uses JOIN traceprop_blobs USING (digest) "
        "WHERE traceprop_uses.run = number)"
    )


MIGRATIONS: tuple[Callable[[Execute], None], ...] = (_first_tables, _sizes_in_listings)
"""The nth leads from version n to n + 1."""

VERSION = len(MIGRATIONS)
