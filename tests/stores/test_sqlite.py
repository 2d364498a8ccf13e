"""The SQLite store against files that are old, newer, someone else's, damaged, locked or on a full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from tests.stores.asking import ROOT
from traceprop.errors import CorruptError, NewerVersionError, StoreError
from traceprop.stores import SQLiteStore, schema

FIRST = Path(__file__).parent / "v1.sql"


def value(rows: int = 50):
    x = tp.from_numpy(np.random.default_rng(0).permutation(rows).astype(float), source_id="x")
    return x[np.argsort(x)]


@pytest.fixture
def saved(tmp_path):
    with SQLiteStore(tmp_path / "runs.db") as store:
        store.save(value(), "sorted")
    return tmp_path / "runs.db"


def changed(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def test_a_store_of_the_first_version_is_brought_up_to_this_one(tmp_path):
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text())
    connection.close()
    store = SQLiteStore(path)
    assert [run.name for run in store.runs()] == ["it's kept", "sorted"]
    assert [run.bytes for run in store.runs()] == [run.bytes for run in SQLiteStore(path).runs()]
    assert all(run.bytes > 500 for run in store.runs())
    assert store.runs()[0].metadata == {"by": "version 1"}
    loans = tp.array([[1.0, 5.0], [2.0, 1.0], [3.0, 4.0], [4.0, 2.0]], source_id="loans")
    kept = loans[loans[:, 1] > 1.5]
    found = {"sorted": kept[np.argsort(kept[:, 1])], "kept": kept}
    for kind in ("direct", "control", "any"):
        for view, live in ((store.load("it's kept"), kept), (store.load("sorted"), found)):
            for i in range(3):
                assert {name: rows.tolist() for name, rows in view.rows(i, kind).items()} == {
                    name: rows.tolist() for name, rows in tp.provenance(live).rows(i, kind).items()
                }
    store.save(value(), "new")
    assert store.check().runs == 3
    ((version,),) = sqlite3.connect(path).execute("SELECT version FROM traceprop_schema")
    assert version == schema.VERSION


def test_a_step_that_fails_leaves_the_old_version(tmp_path, monkeypatch):
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST.read_text())
    before = list(connection.iterdump())

    def half(execute):
        execute("ALTER TABLE traceprop_runs ADD COLUMN half TEXT")
        execute("SELECT nonsense")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, half))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(StoreError, match="nonsense"):
        SQLiteStore(path).runs()
    assert list(connection.iterdump()) == before
    connection.close()


def test_a_newer_store_is_refused_and_left_alone(saved):
    changed(saved, "UPDATE traceprop_schema SET version = 99")
    before = saved.read_bytes()
    store = SQLiteStore(saved)
    for attempt in (store.runs, lambda: store.save(value(), "x"), store.check, lambda: store.prune(keep=0), store.size):
        with pytest.raises(NewerVersionError, match="upgrade traceprop"):
            attempt()
    store.close()
    assert saved.read_bytes() == before


def test_a_newer_header_is_refused(saved):
    ((content,),) = sqlite3.connect(saved).execute("SELECT content FROM traceprop_headers")
    from traceprop.stores.sql import _HEADER, digest_of

    newer = content.replace(b'"format":1', b'"format":7')
    changed(saved, "UPDATE traceprop_headers SET content = ?, checksum = ?", newer, digest_of(_HEADER, newer))
    with pytest.raises(NewerVersionError, match="format 7"):
        SQLiteStore(saved).load("sorted")


def test_files_of_something_else(tmp_path):
    other = tmp_path / "other.db"
    changed(other, "CREATE TABLE accounts (a)")
    before = other.read_bytes()
    for attempt in (lambda s: s.runs(), lambda s: s.save(value(), "x")):
        with pytest.raises(StoreError, match=r"something else.*'accounts'"):
            attempt(SQLiteStore(other))
    assert other.read_bytes() == before
    text = tmp_path / "text.csv"
    text.write_text("a,b\n" * 500)
    for attempt in (lambda s: s.runs(), lambda s: s.save(value(), "x")):
        with pytest.raises(CorruptError, match="not a SQLite database"):
            attempt(SQLiteStore(text))
    assert text.read_text() == "a,b\n" * 500
    with pytest.raises(StoreError, match=str(tmp_path)):
        SQLiteStore(tmp_path).runs()


def test_reading_makes_no_file(tmp_path):
    store = SQLiteStore(tmp_path / "deep" / "runs.db")
    assert store.runs() == []
    assert not (tmp_path / "deep").exists()
    store.save(value(), "x")
    assert store.load("x").rows(0)


@pytest.mark.parametrize("table", ["traceprop_parts", "traceprop_headers"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_damaged_bytes_are_named_and_not_returned(saved, table, damage):
    rows = sqlite3.connect(saved).execute(f"SELECT rowid, content FROM {table}").fetchall()
    store = SQLiteStore(saved)
    for rowid, content in rows:
        if damage == "missing":
            changed(saved, f"DELETE FROM {table} WHERE rowid = ?", rowid)
        else:
            middle = len(content) // 2
            bad = (
                content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
                if damage == "flipped"
                else content[:-1]
            )
            changed(saved, f"UPDATE {table} SET content = ? WHERE rowid = ?", bad, rowid)
    with pytest.raises(CorruptError, match="'sorted'") as told:
        store.load("sorted").rows(0)
    if table == "traceprop_parts":
        assert "text of a program" in str(told.value) or "positions of sort at test_sqlite.py" in str(told.value)
    with pytest.raises(CorruptError, match="'sorted'") as told:
        store.check()
    assert len(told.value.problems) == len(rows)


def test_every_flipped_byte_of_a_small_file_is_seen_or_does_not_matter(saved, tmp_path):
    """Whatever byte of the file changes, answers are the right ones or there is an error."""
    whole = bytearray(saved.read_bytes())
    wanted = {name: rows.tolist() for name, rows in SQLiteStore(saved).load("sorted").rows(3, "any").items()}
    SQLiteStore(saved).close()
    rng = np.random.default_rng(0)
    for n, at in enumerate(rng.choice(len(whole), 120, replace=False)):
        path = tmp_path / f"{n}.db"
        bad = bytearray(whole)
        bad[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with SQLiteStore(path) as store:
            try:
                found = store.load("sorted").rows(3, "any")
            except (StoreError, OSError):
                continue
            assert {name: rows.tolist() for name, rows in found.items()} == wanted


def test_a_writer_that_holds_the_file_is_told_of(saved, monkeypatch):
    monkeypatch.setattr("traceprop.stores.sqlite._PATIENCE", 0.2)
    other = sqlite3.connect(saved, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="held by another writer"):
        SQLiteStore(saved).save(value(), "waiting")
    assert [run.name for run in SQLiteStore(saved).runs()] == ["sorted"]  # readers need not wait
    other.execute("ROLLBACK")
    SQLiteStore(saved).save(value(), "waiting")
    assert len(SQLiteStore(saved).runs()) == 2


CROWDED = """
import resource, sys
import numpy as np
import traceprop as tp
from traceprop.errors import StoreError
from traceprop.stores import SQLiteStore

store = SQLiteStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
k = 0
try:
    for k in range(100):
        x = tp.from_numpy(np.random.default_rng(k).permutation(20_000), source_id="x")
        store.save(x[np.argsort(x)], f"run {k}")
        print(f"run {k}", flush=True)
except StoreError as error:
    sys.stderr.write(str(error))
    sys.exit(3)
"""


def test_a_full_disk_loses_nothing_that_was_saved(tmp_path):
    path = tmp_path / "runs.db"
    done = subprocess.run(
        [sys.executable, "-c", CROWDED, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3, done.stderr
    assert "nothing was changed" in done.stderr
    told = done.stdout.splitlines()
    assert 0 < len(told) < 100
    with SQLiteStore(path) as store:
        assert [run.name for run in store.runs()] == told
        assert store.check().runs == len(told)
        store.save(value(), "room again")


AS_NOBODY = """
import os, sys
import numpy as np
import traceprop as tp
from traceprop.errors import StoreError
from traceprop.stores import SQLiteStore
with SQLiteStore(sys.argv[2]) as own:  # what is imported late is imported while it may be read
    x = tp.from_numpy(np.arange(3.0), source_id="x")
    own.save(x[np.argsort(x)], "own")
    own.load("own").rows(0)
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = SQLiteStore(sys.argv[1])
print(store.load("sorted").rows(0)["x"].tolist())
x = tp.from_numpy(np.arange(3.0), source_id="x")
try:
    store.save(x[np.argsort(x)], "more")
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="file modes of POSIX")
@pytest.mark.parametrize("folder_too", [False, True])
def test_a_file_that_may_only_be_read(saved, folder_too):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are for their owner alone
        folder = Path(name)
        path = folder / "runs.db"
        shutil.copy(saved, path)
        path.chmod(0o444)
        folder.chmod(0o555 if folder_too else 0o777)
        command = [sys.executable, "-c", AS_NOBODY, str(path), str(saved.with_name("own.db"))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        folder.chmod(0o755)
        assert done.returncode == 0, done.stderr
        rows, refused = done.stdout.splitlines()
        assert rows == str(tp.provenance(value()).rows(0)["x"].tolist())
        assert "cannot be opened for writing" in refused
        assert "nothing was changed" in refused
        assert path.read_bytes() == saved.read_bytes()


FORKED = """
import os, sys
import numpy as np
import traceprop as tp
from traceprop.stores import SQLiteStore

store = SQLiteStore(sys.argv[1])
store.runs()
x = tp.from_numpy(np.arange(5.0), source_id="x")
child = os.fork()
store.save(x[np.argsort(x)], "the child" if child == 0 else "the parent")
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.save(x, "the parent again")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that fork")
def test_a_child_process_has_a_connection_of_its_own(saved):
    command = [sys.executable, "-c", FORKED, str(saved)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    store = SQLiteStore(saved)
    assert {run.name for run in store.runs()} == {"sorted", "the child", "the parent", "the parent again"}
    assert store.check().runs == 4
