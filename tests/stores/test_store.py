"""What a store promises of names, listings, retention, sizes and damage, whatever keeps the bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import LineageError, StoreError
from traceprop.stores import Run

STRANGE = (
    "it's", 'a "quoted" one', "'; DROP TABLE traceprop_runs; --", "ünïcødé 名前 🧮", "back\\slash/../..", "%s ? :name {x}",
    " ", "\n\t", "-", "x" * 10_000, "é" * 5_000,
)  # fmt: skip


def value(rows: int = 6, source: str = "x", seed: int = 0):
    x = tp.from_numpy(np.random.default_rng(seed).permutation(rows).astype(float), source_id=source)
    return x[np.argsort(x)][x[np.argsort(x)] > 1.0]


@pytest.mark.parametrize("name", STRANGE, ids=lambda name: ascii(name)[:24])
def test_any_text_is_a_name(store, make, name):
    store.save(value(), "another")
    saved = store.save(value(), name)
    (found,) = make().runs(name)
    assert found == saved
    assert make().load(name).run.id == saved.id
    assert len(make().runs()) == 2


@pytest.mark.parametrize("name", ["", None, 7, "a\0b", "\ud800", "x" * (1 << 20) + "y"], ids=ascii)
def test_what_is_no_name(store, name):
    with pytest.raises(StoreError, match="name"):
        store.save(value(), name)
    assert store.runs() == []


def test_of_one_name_the_newest_is_meant(store, make):
    first = store.save(value(6), "daily", {"day": 1})
    second = store.save(value(9), "daily", {"day": 2})
    assert [run.id for run in make().runs("daily")] == [first.id, second.id]
    assert make().load("daily").run == second
    assert make().load("daily", run=first.id).run == first
    assert make().load(run=first.id).values[0].concrete_shape() == (4,)
    with pytest.raises(StoreError, match="no run called 'nightly' with the id"):
        make().load("nightly", run=first.id)


def test_what_is_listed(store, make):
    before = datetime.now(UTC)
    saved = store.save(value(), "listed", {"model": "v3", "scores": [1, 2.5, None], "ü": {"a": True}})
    assert isinstance(saved, Run)
    (run,) = make().runs()
    assert run == saved
    assert before <= run.saved <= datetime.now(UTC)
    assert run.location.startswith("test_store.py:")
    assert run.metadata == {"model": "v3", "scores": [1, 2.5, None], "ü": {"a": True}}
    assert run.bytes > 0
    assert "listed" in repr(make().load("listed"))


@pytest.mark.parametrize("metadata", [{"a": object()}, {1: "a"}, {"a": (1, 2)}, ["a"], {"a": {1}}])
def test_metadata_is_what_json_holds(store, metadata):
    with pytest.raises(StoreError, match="metadata"):
        store.save(value(), "x", metadata)
    assert store.runs() == []


def test_an_empty_store_and_names_that_are_not_there(store, make):
    assert make().runs() == []
    assert make().check().runs == 0
    assert make().size().runs == 0
    with pytest.raises(StoreError, match="it is empty"):
        make().load("features")
    store.save(value(), "features")
    with pytest.raises(StoreError, match="did you mean 'features'"):
        make().load("faetures")
    with pytest.raises(StoreError, match="takes the name of a run"):
        make().load()


def test_what_has_no_lineage_is_not_saved(store):
    with pytest.raises(LineageError, match="plain ndarray"):
        store.save(np.arange(3), "plain")
    with pytest.raises(StoreError, match="texts as keys"):
        store.save({1: value()}, "keys")
    assert store.runs() == []


def test_pruning(store, make):
    runs = [store.save(value(6, seed=k), name) for k, name in enumerate("aabbc")]
    assert store.prune(older_than=timedelta(days=1)) == []
    assert make().prune(keep=2, name="a") == []
    assert [run.id for run in make().prune(keep=1, name="a")] == [runs[0].id]
    assert [run.id for run in make().prune(older_than=runs[3].saved)] == [runs[1].id, runs[2].id]
    assert [run.id for run in make().prune(older_than=0, keep=1)] == [runs[3].id]
    assert [run.name for run in make().runs()] == ["c"]
    assert make().load("c").rows(0)
    assert make().check().runs == 1
    for wrong in ({}, {"keep": -1}, {"keep": True}, {"older_than": "yesterday"}, {"older_than": timedelta(-1)}):
        with pytest.raises(StoreError):
            make().prune(**wrong)


def test_pruning_gives_room_back(store, make):
    for k in range(6):
        store.save(value(200_000, seed=k), f"run {k}")
    before = make().size()
    store.prune(keep=1)
    after = make().size()
    assert after.runs == 1
    if make.kind != "postgres":  # where the next runs have it, and the disk does not
        assert after < before / 3
    assert sum(after.by_kind.values()) < sum(before.by_kind.values()) / 3


def test_a_view_of_a_run_that_was_pruned(store, make):
    store.save(value(), "gone")
    view = make().load("gone")
    store.prune(keep=0)
    with pytest.raises(StoreError, match="'gone'"):
        view.rows(0)


def test_sizes(store, make):
    run = store.save(value(100_000), "large")
    size = make().size()
    assert isinstance(size, int)
    assert size > sum(size.by_kind.values()) >= run.bytes > 100_000
    assert size.by_kind["positions"] > 100_000
    assert "1 runs" in str(size)


def test_a_store_reads_only_the_header_to_open_a_run(store, make, monkeypatch):
    store.save(value(50_000), "lazy")
    opened = make()
    fetched = []
    fetch = opened._fetch
    monkeypatch.setattr(opened, "_fetch", lambda run, digest: fetched.append(digest) or fetch(run, digest))
    view = opened.load("lazy")
    assert view.run.name == "lazy"
    assert fetched == []
    view.sources()
    assert len(fetched) <= 1  # the text of the program, if it was not parsed before
    view.rows(0)
    assert len(fetched) > len(set(fetched)) - 1


def test_many_threads_share_a_store(store, make):
    from concurrent.futures import ThreadPoolExecutor

    def work(k: int) -> list[int]:
        store.save(value(20, seed=k), f"thread {k}")
        return store.load(f"thread {k}").rows(slice(None))["x"].tolist()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(24)))
    assert found == [tp.provenance(value(20, seed=k)).rows(slice(None))["x"].tolist() for k in range(24)]
    assert make().check().runs == 24
