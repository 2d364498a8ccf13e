"""The Parquet store against folders that are newer, someone else's, damaged or on a full disk; and read by others."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import polars as pl
import pytest

from tests.stores.asking import ROOT
from tests.stores.test_store import value
from traceprop.errors import CorruptError, NewerVersionError, StoreError
from traceprop.stores import ParquetStore, parquet


@pytest.fixture
def saved(tmp_path):
    ParquetStore(tmp_path / "runs").save(value(), "sorted", {"by": "me"})
    return tmp_path / "runs"


def run_folder(path):
    (folder,) = (path / "runs").iterdir()
    return folder


def test_any_dataframe_library_reads_it(saved):
    frame = pl.read_parquet(saved / "runs" / "*" / "lineage.parquet")
    assert frame.columns == ["kind", "digest", "content"]
    assert frame["kind"].to_list()[0] == "header"
    assert json.loads(frame["content"][0])["sources"][0]["id"] == "x"
    assert list((saved / "parts").iterdir()) == []


def test_a_newer_store_is_refused(saved):
    (saved / "store.json").write_text(json.dumps({"format": "traceprop store", "version": 99}))
    store = ParquetStore(saved)
    for attempt in (store.runs, lambda: store.save(value(), "x"), lambda: store.prune(keep=0), store.size):
        with pytest.raises(NewerVersionError, match="upgrade traceprop"):
            attempt()
    assert run_folder(saved).exists()


def test_an_older_store_is_brought_up_to_this_version(saved, monkeypatch):
    seen = []
    monkeypatch.setattr(parquet, "MIGRATIONS", (lambda folder: seen.append(folder.name),))
    monkeypatch.setattr(parquet, "VERSION", 2)
    assert [run.name for run in ParquetStore(saved).runs()] == ["sorted"]
    assert [run.name for run in ParquetStore(saved).runs()] == ["sorted"]
    assert seen == ["runs"]
    assert json.loads((saved / "store.json").read_text())["version"] == 2


def test_folders_of_something_else(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to whom it may concern.txt").write_text("hello")
    for attempt in (lambda s: s.runs(), lambda s: s.save(value(), "x")):
        with pytest.raises(StoreError, match="folder of something else"):
            attempt(ParquetStore(tmp_path / "letters"))
    assert len(list((tmp_path / "letters").iterdir())) == 1
    (tmp_path / "file").write_text("a")
    with pytest.raises(StoreError, match="file"):
        ParquetStore(tmp_path / "file").save(value(), "x")
    ParquetStore(tmp_path / "letters" / "new" / "store").save(value(), "x")


@pytest.mark.filterwarnings("ignore:.*it is left out here")
@pytest.mark.parametrize("file", ["run.json", "lineage.parquet"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_damage_is_named(saved, file, damage):
    path = run_folder(saved) / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        at = len(content) // 3
        path.write_bytes(
            content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] if damage == "flipped" else content[:-9]
        )
    store = ParquetStore(saved)
    with pytest.raises(CorruptError, match=r"run\.json" if file == "run.json" else "sorted"):
        store.check()
    with pytest.raises(CorruptError):
        store.load("sorted").rows(0)
    if file == "run.json":
        with pytest.warns(UserWarning, match="it is left out here"):
            assert store.runs() == []


def test_leftovers_of_killed_writers_are_swept(saved):
    left = saved / "parts" / "left"
    left.mkdir()
    (left / "run.json").write_text("{")
    store = ParquetStore(saved)
    store.save(value(), "another")
    store.prune(keep=1)
    assert left.exists()  # it may be a writer at work
    os.utime(left, (0, 0))
    store.save(value(), "another")
    store.prune(keep=1)
    assert not left.exists()
    assert [run.name for run in store.runs()] == ["another"]


CROWDED = """
import resource, signal, sys
from benchmarks.tasks.writers import value
from traceprop.errors import StoreError
from traceprop.stores import ParquetStore

store = ParquetStore(sys.argv[1])
store.save(value(0), "small")
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    store.save(value(1, 100_000), "large")
except StoreError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-c", CROWDED, str(tmp_path / "runs")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "nothing was changed" in done.stdout
    store = ParquetStore(tmp_path / "runs")
    assert [run.name for run in store.runs()] == ["small"]
    assert store.check().runs == 1
    assert list((tmp_path / "runs" / "parts").iterdir()) == []
