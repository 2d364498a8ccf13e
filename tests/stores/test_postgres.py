"""The PostgreSQL store against lost connections, other versions, no server, and what is not its own."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from tests.stores.test_store import value
from traceprop.errors import CorruptError, MissingExtraError, NewerVersionError, StoreError
from traceprop.stores import PostgresStore, schema


@pytest.fixture
def admin(dsn):
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(dsn):
    with PostgresStore(dsn) as store:
        yield store


def backend(store) -> int:
    return store._open("reading").info.backend_pid


def test_a_connection_lost_between_calls_is_opened_again(store, admin):
    store.save(value(), "first")
    view = store.load("first")
    admin.execute("SELECT pg_terminate_backend(%s)", [backend(store)])
    assert view.rows(0)
    admin.execute("SELECT pg_terminate_backend(%s)", [backend(store)])
    store.save(value(), "second")
    assert [run.name for run in store.runs()] == ["first", "second"]
    assert store.check().runs == 2


def test_a_connection_lost_while_saving_saves_once_or_not_at_all(store, admin):
    store.save(value(), "first")
    admin.execute("BEGIN; LOCK TABLE traceprop_uses IN ACCESS EXCLUSIVE MODE")  # the save gets half-way, and waits
    pid = backend(store)
    saving = threading.Thread(target=store.save, args=(value(9), "second"))
    saving.start()
    import psycopg

    with psycopg.connect(store._dsn, autocommit=True) as watch:
        for _ in range(500):
            if watch.execute(
                "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", [pid]
            ).fetchall():
                break
            saving.join(0.01)
        else:
            pytest.fail("the save never waited")
        watch.execute("SELECT pg_terminate_backend(%s)", [pid])
        admin.execute("ROLLBACK")
    saving.join(60)
    assert [run.name for run in store.runs()] == ["first", "second"]
    assert store.check().runs == 2


def test_a_connection_that_is_always_lost_is_told_of(store, admin, monkeypatch):
    store.save(value(), "first")

    def lost(execute):
        admin.execute("SELECT pg_terminate_backend(%s)", [backend(store)])
        execute("SELECT 1")

    with pytest.raises(StoreError, match="was lost again and again while writing"):
        store._writing(lost)
    assert [run.name for run in store.runs()] == ["first"]


def test_an_error_half_way_leaves_nothing(store, admin):
    store.save(value(), "first")
    before = admin.execute("SELECT digest FROM traceprop_blobs ORDER BY digest").fetchall()
    admin.execute("ALTER TABLE traceprop_uses ADD CONSTRAINT full_disk CHECK (run < 2)")
    with pytest.raises(StoreError, match=r"full_disk.*; nothing was changed"):
        store.save(value(9), "second")
    assert [run.name for run in store.runs()] == ["first"]
    assert store.check().runs == 1
    assert admin.execute("SELECT digest FROM traceprop_blobs ORDER BY digest").fetchall() == before


def test_no_server_no_database_no_driver(dsn, monkeypatch):
    with pytest.raises(StoreError, match="there is no connection") as told:
        PostgresStore("postgresql://me:s3cret@127.0.0.1:1/none?connect_timeout=2").runs()
    assert "s3cret" not in str(told.value)
    assert "s3cret" not in repr(PostgresStore("postgresql://me:s3cret@127.0.0.1:1/none"))
    with pytest.raises(StoreError, match="a DSN such as"):
        PostgresStore("postgresql://[")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"traceprop\[postgres\]"):
        PostgresStore(dsn)


def test_a_newer_store_is_refused(store, admin):
    store.save(value(), "first")
    admin.execute("UPDATE traceprop_schema SET version = 99")
    for attempt in (store.runs, lambda: store.save(value(), "x"), lambda: store.prune(keep=0), store.check):
        with pytest.raises(NewerVersionError, match="upgrade traceprop"):
            attempt()
    assert admin.execute("SELECT count(*) FROM traceprop_runs").fetchone() == (1,)


def test_a_store_of_the_first_version_is_brought_up_to_this_one(store, admin):
    """The rows are those of the SQLite store of the first version, in the tables of this database's."""
    import sqlite3

    old = sqlite3.connect(":memory:")
    old.executescript((Path(__file__).parent / "v1.sql").read_text())
    words = PostgresStore._words
    schema.MIGRATIONS[0](lambda statement: admin.execute(statement.format(**words)))
    admin.execute("UPDATE traceprop_schema SET version = 1")
    for table in ("runs", "headers", "blobs", "parts", "uses"):
        rows = old.execute(f"SELECT * FROM traceprop_{table}").fetchall()
        for row in rows:
            admin.execute(f"INSERT INTO traceprop_{table} VALUES ({', '.join(['%s'] * len(row))})", row)
    admin.execute("SELECT setval('traceprop_runs_number_seq', 2)")
    assert [run.name for run in store.runs()] == ["it's kept", "sorted"]
    assert all(run.bytes > 500 for run in store.runs())
    assert store.load("sorted")["kept"].rows(0)["loans"].tolist() == [0]
    store.save(value(), "new")
    assert store.check().runs == 3


@pytest.mark.parametrize(
    "damage", ["content || 'x'::bytea", "substring(content FROM 2)", "set_byte(content, 9, 255)", None]
)
def test_damaged_bytes_are_named_and_not_returned(store, admin, damage):
    store.save(value(), "sorted")
    for table in ("traceprop_parts", "traceprop_headers"):
        admin.execute(f"UPDATE {table} SET content = {damage}" if damage else f"DELETE FROM {table}")
        with pytest.raises(CorruptError, match="'sorted'"):
            store.load("sorted").rows(0)
        with pytest.raises(CorruptError, match="'sorted'"):
            store.check()


def test_blobs_in_several_parts(store, admin, monkeypatch):
    monkeypatch.setattr("traceprop.stores.sql._PART", 1000)
    x = tp.from_numpy(np.random.default_rng(0).permutation(5000), source_id="x")
    store.save(x[np.argsort(x)], "large")
    assert admin.execute("SELECT max(part) FROM traceprop_parts").fetchone()[0] > 3
    assert (
        store.load("large").row_pairs()["x"][1].tolist() == tp.provenance(x[np.argsort(x)]).row_pairs()["x"][1].tolist()
    )
    assert store.check().runs == 1
