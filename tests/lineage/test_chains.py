"""Chains: a pipeline cut into programs that hand files on answers as the pipeline in one program does."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.table_programs import STEPS as TABLE_STEPS
from tests.lineage.table_programs import frames
from traceprop.errors import LineageError, SourceError

KINDS = ("direct", "aggregate", "control", "order", "any")

STEPS = {
    "filter": lambda x: x[x[:, 0] > -0.5],
    "centre": lambda x: x - x.mean(axis=0),
    "sort": lambda x: x[np.argsort(x[:, 1], kind="stable")],
    "reverse": lambda x: x[::-1],
    "mix": lambda x: x @ np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 3.0, 1.0]]),
    "cumulate": lambda x: np.cumsum(x, axis=0),
    "stack": lambda x: np.concatenate([x, x[:2] * 2.0]),
    "swap": lambda x: x[:, [2, 0, 1]],
    "take": lambda x: x[[1, 0, 1]],
}


def run(names, x):
    for name in names:
        x = STEPS[name](x)
    return x


def begin(plain: np.ndarray, folder: Path, name: str, form: str, view=None):
    """The array written to a file and read again as a source of the next program."""
    if form == "npy":
        np.save(folder / f"{name}.npy", plain)
        return tp.from_numpy(np.load(folder / f"{name}.npy"), name, lineage=view)
    if form == "csv":
        path = folder / f"{name}.csv"
        path.write_text("a,b,c\n" + "".join(",".join(map(repr, row)) + "\n" for row in plain.tolist()))
        return tp.from_csv(path, lineage=view)
    path = folder / f"{name}.parquet"
    pl.DataFrame(plain, schema=["a", "b", "c"]).write_parquet(path)
    return tp.read_parquet(path, lineage=view).to_numpy()


def assert_same_answers(chained, whole, rows: int, source: str, source_rows: int, kinds=KINDS):
    assert chained.sources() == whole.sources()
    assert chained.exact == whole.exact
    for kind in kinds:
        for i in (*range(min(rows, 3)), slice(None)):
            assert_equal(chained.rows(i, kind), whole.rows(i, kind))
        if rows:
            assert_equal(chained.cells((0, 1), kind), whole.cells((0, 1), kind))
        for row in range(source_rows):
            found = chained.affected_rows(source, row, kind)
            np.testing.assert_array_equal(found, whole.affected_rows(source, row, kind))
    assert chained.locate(slice(None)) == whole.locate(slice(None))
    for name, pairs in whole.row_pairs().items():
        np.testing.assert_array_equal(chained.row_pairs()[name], pairs)


def assert_equal(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=3, max_size=5),
    st.sets(st.integers(1, 4), max_size=2),
    st.lists(st.sampled_from(["npy", "csv", "parquet"]), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_a_pipeline_cut_anywhere_answers_as_one_program(tmp_path_factory, names, cuts, forms, seed):
    folder = tmp_path_factory.mktemp("chain")
    raw = np.random.default_rng(seed).normal(size=(6, 3)) + np.array([1.0, 0.0, 0.0])
    edges = [0, *sorted(cut for cut in cuts if cut < len(names)), len(names)]
    parts = [names[a:b] for a, b in itertools.pairwise(edges)]

    def part(part_names):
        return tp.trace(lambda x: run(part_names, x))

    first = begin(raw, folder, "raw", "csv")
    one, apart, chained = first, first, first
    try:
        for part_names in parts:
            one = part(part_names)(one)
        one.compute()
    except (tp.errors.TracepropError, IndexError):
        return  # a filter left too few rows for the step behind it
    for n, (part_names, form) in enumerate(zip(parts, forms, strict=False)):
        chained = part(part_names)(chained)
        if n + 1 < len(parts):
            chained = begin(np.asarray(chained), folder, f"step{n}", form, tp.provenance(chained))
    np.testing.assert_array_equal(np.asarray(chained), np.asarray(one))
    assert_same_answers(tp.provenance(chained), tp.provenance(one), len(one), "raw", len(raw))

    whole = part(names)(apart)  # within one program, `order` also knows what decided the sizes of earlier steps
    kinds = KINDS[:3]
    assert_same_answers(tp.provenance(chained), tp.provenance(whole), len(one), "raw", len(raw), kinds)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    frames(min_rows=1),
    frames(min_rows=1),
    st.lists(st.lists(st.sampled_from(sorted(TABLE_STEPS)), min_size=1, max_size=2), min_size=2, max_size=3),
)
def test_tables_handed_on_through_parquet_answer_as_tables_handed_on(tmp_path_factory, t, other, parts):
    """The second table is read by every program, and is one source all the same."""
    folder = tmp_path_factory.mktemp("chain")
    t.write_parquet(folder / "t.parquet")
    other.write_parquet(folder / "other.parquet")

    def part(names):
        return tp.trace(
            lambda t, other: functools.reduce(lambda found, name: TABLE_STEPS[name](found, other), names, t)
        )

    def read(name, view=None):
        return tp.read_parquet(folder / f"{name}.parquet", lineage=view)

    one = chained = read("t")
    second = read("other")
    for n, names in enumerate(parts):
        one = part(names)(one, second)
        chained = part(names)(chained, read("other"))
        if n + 1 < len(parts):
            chained.compute().write_parquet(folder / f"step{n}.parquet")
            chained = read(f"step{n}", tp.provenance(chained))
    plain = one.compute()
    assert chained.compute().equals(plain)
    whole, found = tp.provenance(one), tp.provenance(chained)
    assert found.sources() == whole.sources()
    for kind in KINDS:
        for i in range(min(plain.height, 3)):
            assert_equal(found.rows(i, kind), whole.rows(i, kind))
            assert_equal(found.cells((i, 0), kind), whole.cells((i, 0), kind))
        for source, frame in (("t", t), ("other", other)):
            for row in range(frame.height if source in whole.sources() else 0):
                got = found.affected_rows(source, row, kind)
                np.testing.assert_array_equal(got, whole.affected_rows(source, row, kind))


@pytest.fixture
def saved():
    """A lazy result of 4 rows of the source `loans`, and its plain value."""
    loans = tp.from_dataframe(pl.DataFrame({"id": [7, 8, 9, 10, 11], "amount": [1.0, 2.0, 3.0, 4.0, 5.0]}), "loans")
    kept = loans.filter(loans["amount"] > 1.5)
    return kept, kept.compute()


def test_tables_are_told_apart_by_their_columns(tmp_path, saved):
    kept, plain = saved
    plain.select("amount", "id").write_csv(tmp_path / "kept.csv")
    again = tp.read_csv(tmp_path / "kept.csv", lineage=tp.provenance(kept))
    view = tp.provenance(again["amount"])
    assert view.cells(0, kind="direct")["loans"].tolist() == [[1, 1]]
    assert view.affected_rows("loans", where="id = 9").tolist() == [1]
    with pytest.raises(SourceError, match=r"columns id, amount, but .* the columns id, debt"):
        tp.from_dataframe(plain.rename({"amount": "debt"}), "kept", lineage=tp.provenance(kept))


@pytest.mark.parametrize("make", ["from_numpy", "array", "from_torch", "from_jax", "from_dataframe"])
def test_every_source_call_continues_a_chain(make, saved):
    kept, plain = saved
    array = plain.to_numpy()
    if make == "from_torch":
        array = pytest.importorskip("torch").from_numpy(array)
    given = plain if make == "from_dataframe" else array
    again = getattr(tp, make)(given, source_id="kept", lineage=tp.provenance(kept))
    view = tp.provenance(again)
    assert view.sources() == ["loans"]
    assert view.rows(0) == {"loans": [1]}
    assert [step.name for step in view.ops()] == [step.name for step in tp.provenance(kept).ops()]


def test_another_shape_is_refused_with_both(saved):
    kept, plain = saved
    with pytest.raises(SourceError, match=r"shape \(4, 2\), but 'kept' has the shape \(3, 2\): not as many rows"):
        tp.from_numpy(plain.to_numpy()[1:], "kept", lineage=tp.provenance(kept))
    with pytest.raises(SourceError, match=r"shape \(4, 2\), but 'kept' has the shape \(4, 1\): not as many cells"):
        tp.from_numpy(plain.to_numpy()[:, 1:], "kept", lineage=tp.provenance(kept))
    again = tp.provenance(tp.from_numpy(plain.to_numpy(), "kept", lineage=tp.provenance(kept)) * 2)
    with pytest.raises(LineageError, match=r"no source 'kept' .* a saved result.*\(there are: loans\)"):
        again.affected_rows("kept", 0)
    with pytest.raises(LineageError, match=r"takes the view .* not ndarray"):
        tp.from_numpy(plain.to_numpy(), "kept", lineage=plain.to_numpy())


def test_cells_laid_out_otherwise_keep_their_place(tmp_path):
    cube = tp.from_numpy(np.arange(12.0).reshape(2, 2, 3), "cube")
    doubled = cube * 2.0
    flat = np.asarray(doubled).reshape(2, 6)
    again = tp.from_numpy(flat, "flat", lineage=tp.provenance(doubled))
    assert tp.provenance(again).cells((1, 4))["cube"].tolist() == [[1, 1, 1]]
    column = tp.from_dataframe(pl.DataFrame({"y": np.arange(2.0)}), "y", lineage=tp.provenance(cube[:, 0, 1]))
    assert tp.provenance(column["y"]).cells(1)["cube"].tolist() == [[1, 0, 1]]


def test_the_first_source_may_be_there_again_if_it_is_the_same(tmp_path, saved):
    kept, plain = saved
    again = tp.from_numpy(plain.to_numpy(), "kept", lineage=tp.provenance(kept))
    loans = tp.from_dataframe(pl.DataFrame({"id": [7, 8, 9, 10, 11], "amount": [1.0, 2.0, 3.0, 4.0, 5.0]}), "loans")

    @tp.trace
    def both(a, b):
        return a + b[:4]

    view = tp.provenance(both(again, loans.to_numpy()))
    assert view.sources() == ["loans"]
    assert view.rows(0)["loans"].tolist() == [0, 1]
    assert view.affected_rows("loans", 1).tolist() == [0, 1]
    other = tp.from_numpy(np.zeros((4, 2)), "loans")
    with pytest.raises(SourceError, match="have the id 'loans'"):
        both(again, other)


def test_results_of_several_programs_that_share_a_file(tmp_path):
    path = tmp_path / "loans.csv"
    path.write_text("id,a\n1,5\n2,6\n3,7\n4,8\n")
    large = tp.trace(lambda t: t.filter(t["a"] > 5)["a"])(tp.read_csv(path, key="id"))
    turned = tp.trace(lambda t: t["a"][::-1])(tp.read_csv(path, key="id"))
    for view in (tp.provenance([large, turned]), tp.provenance({"large": large, "turned": turned})):
        assert view.sources() == ["loans"]
        assert view.rows(0)["loans"].tolist() == [1, 3]
        assert view.keys(0)["loans"].tolist() == [2, 4]
        assert [place.text for place in view.locate(0)] == ["2,6", "4,8"]
        assert view.affected_rows("loans", 1).tolist() == [0, 2]
        assert view.affected_rows("loans", where="a = 8", kind="any").tolist() == [0, 1, 2]
        rows, owners = view.row_pairs()["loans"]
        assert list(zip(rows.tolist(), owners.tolist(), strict=True)) == [
            (0, 1),
            (0, 3),
            (1, 2),
            (2, 1),
            (2, 3),
            (3, 0),
        ]
    path.write_text("id,a\n1,5\n")
    other = tp.provenance([large, tp.read_csv(path)["a"]])
    with pytest.raises(LineageError, match=r"two different sources are called 'loans'"):
        other.rows(0)


def test_a_fitted_pipeline_on_its_own_rows_and_on_others_of_that_name():
    frame = pl.DataFrame({"x": [1.0, 3.0]})
    loans = tp.from_dataframe(frame, "loans")
    centred = tp.trace(lambda t: t["x"] - t["x"].mean()).fit(loans)
    again = centred(loans)
    assert np.asarray(again).tolist() == [-1.0, 1.0]
    assert tp.provenance(again).rows(0)["loans"].tolist() == [0]
    assert tp.provenance(again).rows(0, "aggregate")["loans"].tolist() == [0, 1]
    with pytest.raises(
        SourceError, match=r"called 'loans', as do the rows that it was fitted to.* source_id='new loans'"
    ):
        centred(tp.from_dataframe(frame * 2, "loans"))
    view = tp.provenance(centred(tp.from_dataframe(frame * 2, "new loans")))
    assert {name: rows.tolist() for name, rows in view.rows(0, "any").items()} == {"new loans": [0], "loans": [0, 1]}


def test_a_chain_goes_on_from_a_store(tmp_path):
    """Three programs; what the second and third know of those before is what a store kept, and the files are gone."""
    rows = "".join(f"{i},{(i * 7) % 10}\n" for i in range(10))
    (tmp_path / "loans.csv").write_text("id,a\n" + rows)
    store = tp.stores.SQLiteStore(tmp_path / "runs.db")
    kept = tp.trace(lambda t: t.filter(t["a"] > 2).sort("a"))(tp.read_csv(tmp_path / "loans.csv", key="id"))
    store.save(kept, "kept")
    kept.compute().select("a", "id").write_csv(tmp_path / "kept.csv")

    second = tp.read_csv(tmp_path / "kept.csv", lineage=store.load("kept"))
    centred = tp.trace(lambda t: t["a"] - t["a"].mean())(second)
    store.save(centred, "centred")
    np.save(tmp_path / "centred.npy", np.asarray(centred))

    third = tp.from_numpy(np.load(tmp_path / "centred.npy"), "centred", lineage=store.load("centred"))
    chained = tp.provenance(tp.trace(lambda x: x[::-1])(third))
    whole = tp.provenance(tp.trace(lambda x: x[::-1])(centred))
    (tmp_path / "kept.csv").unlink()
    assert chained.sources() == whole.sources() == ["loans"]
    for kind in KINDS:
        for i in (0, 3, slice(None)):
            assert_equal(chained.rows(i, kind), whole.rows(i, kind))
        for row in range(10):
            np.testing.assert_array_equal(
                chained.affected_rows("loans", row, kind), whole.affected_rows("loans", row, kind)
            )
    assert chained.locate(slice(None)) == whole.locate(slice(None))
    assert_equal(chained.keys(slice(None)), whole.keys(slice(None)))
    np.testing.assert_array_equal(
        chained.affected_rows("loans", where="a = 9"), whole.affected_rows("loans", where="a = 9")
    )
    (tmp_path / "loans.csv").unlink()
    assert_equal(chained.rows(0), whole.rows(0))
    with pytest.raises(LineageError, match=r"loans\.csv"):
        store.load("centred").affected_rows("loans", where="a = 9")
