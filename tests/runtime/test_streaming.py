"""Functions over files larger than they may hold: batch by batch, the values, files and lineage of a whole run."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import traceprop as tp
from tests.lineage import table_programs
from tests.passes.optimize.in_parts import alike
from traceprop.errors import ChangedSourceError, ExecutionError, TraceError, TracepropError
from traceprop.runtime import partials, streaming
from traceprop.runtime.streamed_results import Spool
from traceprop.sources import blocks, streamed

KINDS = ("direct", "aggregate", "control", "order")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    cut = blocks.row_blocks
    monkeypatch.setattr(streamed, "row_blocks", lambda path, file: cut(path, file, 2000))


def people(rows, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows).astype(float)
    return pl.DataFrame(
        {
            "age": pl.Series(age).replace(35.0, None),
            "job": rng.choice(["cook", "miner, or\nsmith", "nurse", ""], rows).tolist(),
            "pay": rng.normal(size=rows).round(4),
            "left": rng.integers(0, 2, rows),
        }
    )


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "people.csv"
    people(900).write_csv(path)
    return path


def prepare(t):
    t = t.drop_nulls(["age"])
    t = t[t["pay"] < 1.5]
    known = t.target_encode("job", "left", smoothing=3.0)
    x = t[["age", "pay"]].to_numpy()
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    jobs = t.one_hot("job").drop(["age", "pay", "left"]).to_numpy()
    features = np.concatenate([np.clip(x, -1, 1), known[["job"]].to_numpy(), jobs], axis=1)
    return features, t["left"], known, t["pay"].mean()


def both(function, *paths, batch_size=128, **options):
    """The results of a whole run, and of one in batches of files that are not held."""
    whole = tp.trace(function)(*(tp.read_csv(path) for path in paths))
    found = tp.trace(batch_size=batch_size, **options)(function)(
        *(tp.read_csv(path, in_memory=False) for path in paths)
    )
    return whole, found


def same_answers(found, whole, rows):
    ours, theirs = tp.provenance(found), tp.provenance(whole)
    for row in rows:
        for kind in KINDS:
            a, b = ours.rows(row, kind), theirs.rows(row, kind)
            assert a.keys() == b.keys()
            assert all(np.array_equal(a[name], b[name]) for name in a), (row, kind)
        assert ours.locate(row) == theirs.locate(row)


def test_values_and_lineage_are_those_of_a_whole_run(csv):
    whole, found = both(prepare, csv)
    features, left, known, mean = found
    pieces = list(features.batches())
    assert len(pieces) == 8
    np.testing.assert_allclose(np.concatenate(pieces), whole[0], rtol=1e-12)
    same_answers(features, whole[0], [0, 17, len(whole[0]) - 1])
    np.testing.assert_array_equal(
        tp.provenance(features).affected_rows("people", [100, 700]),
        tp.provenance(whole[0]).affected_rows("people", [100, 700]),
    )
    np.testing.assert_allclose(features, whole[0], rtol=1e-12)
    np.testing.assert_array_equal(left, whole[1])
    assert_frame_equal(known.compute(), whole[2].compute())
    assert float(mean) == pytest.approx(float(whole[3]), rel=1e-12)
    assert features.shape == whole[0].shape


def test_several_results_come_together(csv):
    whole, (features, left, *_) = both(prepare, csv)
    pairs = list(tp.batches(features, left, rows=250))
    assert [len(x) for x, _ in pairs[:-1]] == [250] * (len(pairs) - 1)
    assert [len(y) for _, y in pairs] == [len(x) for x, _ in pairs]
    np.testing.assert_array_equal(np.concatenate([y for _, y in pairs]), whole[1])
    np.testing.assert_allclose(np.concatenate([x for x, _ in pairs]), whole[0], rtol=1e-12)


def test_files(csv, tmp_path):
    whole, (features, left, known, _) = both(prepare, csv)
    features.to_npy(tmp_path / "x.npy")
    np.testing.assert_allclose(np.load(tmp_path / "x.npy", mmap_mode="r"), whole[0], rtol=1e-12)
    known.to_parquet(tmp_path / "known.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "known.parquet"), whole[2].compute())
    left.to_parquet(tmp_path / "left.parquet")
    np.testing.assert_array_equal(pl.read_parquet(tmp_path / "left.parquet")["0"], whole[1])
    with pytest.raises(ExecutionError, match="text has no place"):
        tp.trace(batch_size=50)(lambda t: t["job"])(tp.read_csv(csv)).to_npy(tmp_path / "job.npy")
    assert not (tmp_path / "job.npy").exists()


def test_an_interrupted_write_leaves_what_was_there(csv, tmp_path):
    target = tmp_path / "x.npy"
    target.write_bytes(b"before")
    features = tp.trace(batch_size=100)(prepare)(tp.read_csv(csv, in_memory=False))[0]

    def interrupted():
        for n, piece in enumerate(features.batches()):
            if n == 2:
                raise KeyboardInterrupt
            yield piece

    for write in (features.executor.write_npy, features.executor.write_parquet):
        with pytest.raises(KeyboardInterrupt):
            write(target, interrupted())
        assert target.read_bytes() == b"before"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["people.csv", "x.npy"]
    assert len(list(features.batches())) == 9  # and the call is as it was


def test_a_file_that_changes_between_passes_is_named(csv):
    features = tp.trace(batch_size=100)(prepare)(tp.read_csv(csv, in_memory=False))[0]
    pieces = features.batches()
    next(pieces)
    csv.write_bytes(csv.read_bytes().replace(b"nurse", b"norse"))
    with pytest.raises(ChangedSourceError, match=r"people\.csv changed"):
        list(pieces)


@pytest.mark.parametrize("rows", [0, 1, 2, 127, 128, 129, 256])
def test_short_files(tmp_path, rows):
    path = tmp_path / "people.csv"
    people(rows).write_csv(path)

    def scaled(t):
        t = t[t["pay"] > -9]
        return t["pay"] - t["pay"].min() if rows else t["pay"] * 2, t[["pay", "left"]].one_hot("left")

    if rows == 0:
        path.write_text("age,job,pay,left\n")
        scaled = lambda t: (t[["pay"]].one_hot("pay"), t["job"] == "x")  # noqa: E731
    whole, found = both(scaled, path)
    np.testing.assert_allclose(np.asarray(found[0]), np.asarray(whole[0]))
    np.testing.assert_array_equal(np.asarray(found[1]), np.asarray(whole[1]))
    again = both(scaled, path)[1]
    sizes = [len(piece) for piece in again[0].batches(128)]
    assert sizes == [128] * (rows // 128) + [rows % 128] * (rows % 128 > 0)
    if rows:
        same_answers(found[0], whole[0], [0, rows - 1])


def test_two_files_one_after_the_other(tmp_path):
    paths = [tmp_path / "north.csv", tmp_path / "south.csv"]
    for n, path in enumerate(paths):
        people(300 + n, seed=n).write_csv(path)

    def stacked(north, south):
        t = tp.concat([north, south]).drop_nulls()
        return t[["pay"]].to_numpy() - t["pay"].mean()

    whole, found = both(stacked, *paths)
    np.testing.assert_allclose(np.concatenate(list(found.batches())), whole, rtol=1e-12)
    same_answers(found, whole, [0, len(whole) - 1])


def test_a_table_of_names_is_joined_batch_by_batch(csv, tmp_path):
    names = tmp_path / "names.csv"
    pl.DataFrame({"job": ["nurse", "cook", "nurse"], "n": [1, 2, 3]}).write_csv(names)
    join = lambda t, names: t.join(names, on="job", how="inner")  # noqa: E731
    whole, found = both(join, csv, names)
    assert len(list(found.batches())) > 3
    assert_frame_equal(pl.concat(list(found.batches())), whole.compute())
    same_answers(found, whole, [0, len(whole) - 1])


@pytest.mark.parametrize(
    "function",
    [
        lambda t: t.sort(["pay", "age"]),
        lambda t: t.unique("job"),
        lambda t: t.group_by("job").agg(mean=("pay", "mean"), middle=("pay", "median")),
        lambda t: t.fill_nulls({"age": "median"}),
        lambda t: t[t["age"] > 40].sort("pay", descending=True)[["pay", "job"]],
        lambda t: t.sample(20, seed=3),
    ],
    ids=["sort", "unique", "group", "median", "filter and sort", "sample"],
)
def test_what_needs_all_rows(csv, function):
    whole, found = both(function, csv)
    assert_frame_equal(found.compute(), whole.compute())
    same_answers(found, whole, [0, len(whole) - 1])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(table_programs.programs(), table_programs.frames(9), table_programs.frames(9), st.integers(1, 4))
def test_random_tables(program, t, other, rows):
    """In batches of few rows, sorts cut into ranges of few: the values, and a question of each kind about the last row."""
    whole = tp.trace(lambda a, b: table_programs.run(program, a, b))
    found = tp.trace(batch_size=rows)(whole.function)
    given = [tp.from_dataframe(t, "a"), tp.from_dataframe(other, "b")]
    try:
        want = whole(*given)
        expected = want.compute()
    except (TracepropError, ValueError):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partials, "ROWS_SORTED_AT_ONCE", 2)
        got = found(*given)
        alike(got.compute(), expected)
        if len(expected):
            same_answers(got, want, [len(expected) - 1])


def test_a_sort_goes_to_disk_and_comes_back_in_ranges(csv, monkeypatch):
    monkeypatch.setattr(partials, "ROWS_SORTED_AT_ONCE", 50)
    function = lambda t: (s := t.drop_nulls().sort(["job", "pay"]))[s["pay"] > s["pay"].mean()]  # noqa: E731
    whole, found = both(function, csv)
    outcome = found.call().outcome()
    assert not outcome.plan.gathered
    (sort,) = outcome.plan.sorted
    assert sort.form == "sorted"
    assert len(list(found.batches())) > 5
    assert_frame_equal(pl.concat(list(found.batches())), whole.compute())
    same_answers(found, whole, [0, 7, len(whole) - 1])
    down, down_here = both(lambda t: t.sort("age", descending=True), csv)
    assert_frame_equal(pl.concat(list(down_here.batches())), down.compute())
    folder = outcome._stages.sorted[0]._folder
    assert folder.exists()
    del outcome, found
    gc.collect()
    assert not folder.exists()


def test_rows_that_do_not_fit_at_once_are_refused(csv, monkeypatch):
    found = both(lambda t: t["pay"] - np.median(t["pay"]), csv)[1]
    monkeypatch.setattr(streaming, "available", lambda: 1000)
    with pytest.raises(TraceError, match=r"median.* at .*test_streaming.* needs all rows of .* at once, about"):
        list(found.batches())
    assert both(prepare, csv)[1][0].shape[1] == 6  # which needs none


def test_memory_holds_one_batch(tmp_path, monkeypatch):
    """Of all batches that were read, no more than two are alive at any time: the one at hand, and the next."""
    path = tmp_path / "n.csv"
    np.savetxt(path, np.arange(6000.0).reshape(-1, 3), delimiter=",", header="a,b,c", comments="")
    alive, most = set(), 0
    read = streamed.StreamedCsvArray.read

    def watched(self, rows, columns=None):
        nonlocal most
        for piece in read(self, rows, columns):
            alive.add(id(piece))
            weakref.finalize(piece, alive.discard, id(piece))
            most = max(most, len(alive))
            yield piece

    monkeypatch.setattr(streamed.StreamedCsvArray, "read", watched)
    scale = tp.trace(batch_size=100)(lambda x: (x[x[:, 0] > 50] - x.mean(axis=0)) / x.std(axis=0))
    found = scale(tp.from_csv(path, in_memory=False))
    for _ in found.batches():
        pass
    gc.collect()
    assert most <= 2
    (positions,) = found.call().outcome().captures.values()
    assert positions.nbytes < 2000  # 1,983 rows of 2,000, which are 15,864 bytes as they are


def test_a_large_result_is_mapped():
    spool = Spool(0, room=1000)
    whole = np.arange(3000.0).reshape(-1, 3)
    for start in range(0, 1000, 70):
        spool.add(whole[start : start + 70])
    found = spool.whole()
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, whole)
    spool = Spool(0, room=1000)
    spool.add(whole)
    path = Path(spool._file.path)
    assert path.exists()
    spool.abandon()
    assert not path.exists()
    with pytest.raises(ExecutionError, match=r"\.to_parquet"):
        Spool(0, room=10).add(pl.DataFrame({"a": range(100)}))


def test_results_without_rows_are_no_batches(csv):
    mean = both(prepare, csv)[1][3]
    with pytest.raises(ExecutionError, match="batches are of results that have rows"):
        list(mean.batches())


def test_a_streamed_result_goes_on_into_another_function(csv):
    first, second = lambda t: t[t["pay"] > 0].sort("pay"), lambda t: t["pay"] - t["age"].min()
    whole = tp.trace(second)(tp.trace(first)(tp.read_csv(csv)))
    found = tp.trace(batch_size=50)(second)(tp.trace(batch_size=60)(first)(tp.read_csv(csv, in_memory=False)))
    assert len(list(found.batches())) > 5
    np.testing.assert_allclose(np.concatenate(list(found.batches())), whole)
    same_answers(found, whole, [0, len(whole) - 1])
    np.testing.assert_allclose(np.asarray(found * 2), np.asarray(whole) * 2)


def test_values_at_hand_have_batches_too(csv):
    t = tp.read_csv(csv)
    assert [piece.height for piece in t.batches(400)] == [400, 400, 100]
    assert [len(piece) for piece in (t["pay"] * 2).batches(500)] == [500, 400]
    assert [piece.height for piece in tp.read_csv(csv, in_memory=False).batches(600)] == [600, 300]


def test_a_file_that_is_not_held_is_read_whole_where_nothing_streams(csv):
    whole, lazy = tp.read_csv(csv), tp.read_csv(csv, in_memory=False)
    assert_frame_equal(tp.trace(lambda t: t.sort("pay"))(lazy).compute(), whole.sort("pay").compute())
    assert float(lazy["pay"].mean()) == float(whole["pay"].mean())
    assert tp.provenance(lazy).locate(899) == tp.provenance(whole).locate(899)


def test_fitted_pipelines_are_fitted_in_batches(csv):
    def scaled(t):
        return (t["pay"] - t["pay"].mean()) / t["pay"].std()

    ours = tp.trace(batch_size=100)(scaled).fit(tp.read_csv(csv, in_memory=False))
    theirs = tp.trace(scaled).fit(tp.read_csv(csv))
    new = people(5, seed=9)
    np.testing.assert_allclose(ours(tp.from_dataframe(new, "new")), theirs(tp.from_dataframe(new, "new")), rtol=1e-12)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "many"])
def test_batch_sizes_are_rows(size):
    with pytest.raises(ValueError, match="batch_size is a number of rows"):
        tp.trace(batch_size=size)


def test_functions_of_torch_and_jax_stream_where_they_go_row_by_row():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    x = np.arange(300.0, dtype=np.float32).reshape(-1, 3)
    relu = tp.trace(batch_size=16)(lambda x: torch.relu(x - x.mean(0)) @ torch.ones(3, 2))
    found = relu(tp.from_torch(torch.from_numpy(x), source_id="x"))
    pieces = list(found.batches())
    assert len(pieces) == 7
    np.testing.assert_allclose(torch.cat(pieces), np.maximum(x - x.mean(0), 0) @ np.ones((3, 2)), rtol=1e-5)
    assert tp.provenance(found).rows(70)["x"].tolist() == [70]
    tanh = tp.trace(batch_size=16)(lambda x: jax.numpy.tanh(x) * 2)
    pieces = list(tanh(tp.from_jax(jax.numpy.asarray(x), source_id="x")).batches())
    np.testing.assert_allclose(np.concatenate(pieces), np.tanh(x) * 2, rtol=1e-5)


def test_what_is_kept_can_be_counted(csv):
    whole, found = both(prepare, csv)
    ours, theirs = (tp.provenance(each[0]).footprint() for each in (found, whole))
    assert [step.name for step in ours] == [step.name for step in theirs]
    assert sum(step.bytes for step in ours) < 1000 + sum(step.bytes for step in theirs)


def test_batches_of_about_so_many_bytes(csv):
    whole, found = both(prepare, csv, batch_size="auto")
    (piece,) = found[0].batches()
    np.testing.assert_allclose(piece, whole[0], rtol=1e-12)


def test_saved_runs_answer(csv, tmp_path):
    whole, (features, *_) = both(prepare, csv)
    store = tp.stores.SQLiteStore(tmp_path / "runs.db")
    store.save(features, "features")
    np.testing.assert_array_equal(store.load("features").rows(5)["people"], tp.provenance(whole[0]).rows(5)["people"])
