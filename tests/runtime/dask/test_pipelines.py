"""Real tables, files of every kind, and small partitions: on a cluster as on this machine."""

from __future__ import annotations

import gzip

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from tests.runtime.dask.beside import check_call, check_lineage, on_cluster
from traceprop.errors import TraceError
from traceprop.runtime.dask.gathered import ClusterResults
from traceprop.sources import streamed
from traceprop.sources.blocks import row_blocks


def call_of(function, *sources):
    return tp.trace(function)(*sources).call()


def test_adult(client, data_dir):
    """Missing cells dropped, standardised, one-hot and target-encoded, joined with what a group has: two passes and more."""
    adult = tp.read_csv(data_dir / "adult.csv.gz", na_values="?")

    def prepare(adult):
        whole = adult.drop_nulls()
        whole = whole[whole["age"] >= 21]
        whole = whole.assign(rich=(whole["income"] == ">50K") * 1.0)
        hours = whole.group_by("occupation").agg(hours=("hours-per-week", "mean"))
        whole = whole.target_encode(["native-country"], "rich", smoothing=20.0).join(hours, on="occupation")
        numbers = whole.select(["age", "education-num", "hours-per-week", "hours", "native-country"]).to_numpy()
        scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
        return np.concatenate([scaled, whole.select(["sex", "race"]).one_hot(["sex", "race"]).to_numpy()], axis=1)

    call = call_of(prepare, adult)
    there = check_call(call, client, rows=9_000)
    check_lineage(call, there)
    assert "on one worker" not in there.executor.compile(call.program, call.options).explain()


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_files_are_read_by_the_workers(client, tmp_path, kind, held):
    for name, words in (("north", ["a", "b", None]), ("south", ["b", "c,\nd"])):
        table = pl.DataFrame({"x": np.arange(7.0), "n": range(7), "w": [words[k % len(words)] for k in range(7)]})
        if kind == "parquet":
            table.write_parquet(tmp_path / f"{name}.parquet", row_group_size=3)
        elif kind == "csv":
            table.write_csv(tmp_path / f"{name}.csv", include_bom=True)
        else:
            (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(table.write_csv().encode()))
    read = tp.read_parquet if kind == "parquet" else tp.read_csv
    tables = [read(tmp_path / f"{name}.{kind}", in_memory=held) for name in ("north", "south")]

    def prepare(north, south):
        both = tp.concat([north.drop_nulls(), south])
        return both.one_hot(["w"]).to_numpy()

    call = call_of(prepare, *tables)
    there = check_call(call, client, rows=3)
    check_lineage(call, there)
    assert there.outcome().results.held[0].run.bytes_sent == 0
    lines = [tp.provenance(each).locate(range(4)) for each in (lazy_of(call), lazy_of(there))]
    assert lines[0] == lines[1]


def test_a_file_that_nobody_holds_goes_to_a_file_a_partition_at_a_time(client, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"a": rng.normal(size=5_000), "w": rng.choice(["x", "y,", 'z"'], 5_000)})
    table.write_csv(tmp_path / "big.csv")
    monkeypatch.setattr(streamed, "row_blocks", lambda path, file: row_blocks(path, file, 1 << 14))
    source = tp.read_csv(tmp_path / "big.csv", in_memory=False)
    assert len(source.source.blocks) > 5
    monkeypatch.setattr(type(source.source), "value", None)  # which would read all of it here

    @tp.trace(executor=client)
    def kept(t):
        t = t[t["a"] > t["a"].mean()]
        return t.assign(a=t["a"] * 2)

    result = kept(source)
    result.to_parquet(tmp_path / "kept.parquet")
    want = table.filter(pl.col("a") > table["a"].mean()).with_columns(pl.col("a") * 2)
    assert pl.read_parquet(tmp_path / "kept.parquet").equals(want)
    pieces = list(result.batches())
    assert pl.concat(pieces).equals(want)
    assert len(pieces) == 2
    assert not result.call().outcome().results._here
    row = tp.provenance(result).rows(1_000)["big"].tolist()
    assert row == np.flatnonzero(table["a"].to_numpy() > table["a"].mean())[[1_000]].tolist()


def lazy_of(call):
    from traceprop.tracing.lazy import Lazy

    return Lazy.of(call.program.returns[0], call=call)


def test_empty_partitions_and_no_rows_at_all(client):
    x = np.arange(40.0).reshape(20, 2)

    def f(x):
        kept = x[x[:, 0] >= 30]  # none of the first partitions
        return kept - kept.mean(axis=0), kept.max(axis=0)

    for rows in (1, 3):
        call = tp.trace(f)(x)[0].call()
        check_lineage(call, check_call(call, client, rows))
    nothing = tp.trace(lambda x: x[x[:, 0] > 2] * 2 - x.sum(axis=0))(np.empty((0, 2))).call()
    check_call(nothing, client)


def test_runs_go_on_from_one_another_on_the_cluster(client):
    x = np.arange(60.0).reshape(30, 2)
    kept = tp.trace(executor=client)(lambda x: x[x[:, 0] % 3 > 0] + 1)(x)
    result = tp.trace(executor=client)(lambda x: x / x.std(axis=0))(kept) * 2
    plain = x[x[:, 0] % 3 > 0] + 1
    np.testing.assert_allclose(np.asarray(result), plain / plain.std(axis=0) * 2, rtol=1e-12)
    assert isinstance(kept.call().outcome().results, ClusterResults)
    assert not kept.call().outcome().results._here  # it was never gathered
    here = tp.trace(lambda x: x[x[:, 0] % 3 > 0] + 1)(x)
    for row in (0, 19):
        assert tp.provenance(result).rows(row)["x"].tolist() == tp.provenance(here).rows(row)["x"].tolist()


def test_results_are_collections_of_dask_without_being_gathered(client):
    x = np.arange(60.0).reshape(30, 2)
    kept = tp.trace(executor=client)(lambda x: (x[x[:, 0] % 3 > 0] + 1, x.sum(axis=0)))(x)
    wide, total = (each.to_dask() for each in kept)
    assert wide.chunks == ((10, 10), (2,))
    np.testing.assert_array_equal((wide * 2).sum(axis=0).compute(), 2 * (x[x[:, 0] % 3 > 0] + 1).sum(axis=0))
    np.testing.assert_array_equal(total.compute(), x.sum(axis=0))
    table = pl.DataFrame({"a": range(9), "w": list("abcabcabc")})
    rows = tp.trace(executor=client)(lambda t: t[t["w"] != "b"])(tp.from_dataframe(table, "t"))
    assert rows.to_dask().groupby("w")["a"].sum().compute().to_dict() == {"a": 9, "c": 15}
    assert not kept[0].call().outcome().results._here
    with pytest.raises(TraceError, match="results of functions traced with executor"):
        tp.trace(lambda x: x + 1)(x).to_dask()


def test_what_needs_all_rows_runs_on_one_worker_and_says_so(client):
    def f(t):
        return t.sort("b").select(["a", "b"]).to_numpy() - np.median(t["b"].to_numpy())

    table = pl.DataFrame({"a": range(9), "b": [3.0, 1.0, 2.0] * 3})
    call = call_of(f, tp.from_dataframe(table, "t"))
    check_lineage(call, check_call(call, client, 2))
    executable = tp.trace(executor=client)(f).compile(tp.from_dataframe(table, "t"))
    said = executable.explain()
    assert "the rows of t are cut into partitions and gone over once" in said
    assert "sort[table.argsort] at test_pipelines.py" in said
    assert "reduce[numpy.median] at test_pipelines.py" in said
    assert said.count("needs all rows at once: they are gathered on one worker") >= 2
    assert "def f_once1(captures" in executable.code
    np.testing.assert_array_equal(executable(table), np.asarray(tp.trace(f)(table)))


def test_a_program_that_counts_its_rows_runs_on_one_worker(client):
    def f(x):
        return x + np.arange(len(x))

    call = call_of(f, tp.from_numpy(np.ones(5), "x"))
    there = check_call(call, client)
    said = there.executor.compile(call.program, call.options).explain()
    assert "all of it runs on one worker" in said


def test_functions_and_their_options_travel(client):
    x = np.array([0.5, 2.5, 1.0, 3.5])
    call = call_of(lambda x: np.interp(np.clip(x, 0, 3), [0, 1, 3], [0.0, 10.0, 20.0]), tp.from_numpy(x, "x"))
    check_lineage(call, check_call(call, client, 2))


def test_a_fitted_pipeline_warns_here_of_what_a_worker_has_not_seen(client):
    function = tp.trace(executor=client)(lambda t: t.one_hot(["w"]).to_numpy())
    fitted = function.fit(tp.from_dataframe(pl.DataFrame({"w": ["a", "b", "a"]}), "t"))
    with pytest.warns(UserWarning, match="'z' was not among the fitting rows") as warned:
        found = np.asarray(fitted(pl.DataFrame({"w": ["b", "z", "z", "a"]})))
    np.testing.assert_array_equal(found, [[0, 1], [0, 0], [0, 0], [1, 0]])
    assert [each.filename for each in warned] == [__file__]


def test_granularities_record_what_they_do_here(client):
    def f(x):
        some = x[x[:, 0] > 2]
        return some[some[:, 1] < 30]

    x = np.arange(40.0).reshape(20, 2)
    for level in ("op", "batch", "epoch", None):
        call = tp.trace(f)(x).call()
        call.options["granularity"] = level
        there = on_cluster(call, client, 4)
        np.testing.assert_array_equal(np.asarray(there.outcome().results[0]), np.asarray(call.outcome().results[0]))
        assert len(there.outcome().captures) == len(call.outcome().captures)
        check_lineage(call, there)  # what a level does not keep is refused alike
