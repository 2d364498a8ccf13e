"""A pipeline cut in two by a saved file is unlearned and explained as the pipeline in one program is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import traceprop as tp

N = 60


def prepare(t):
    t = t.filter(t["a"] > -1)
    x = t[["a", "b"]].to_numpy()
    return x - np.log1p(np.abs(x)).mean(axis=0), t["y"]


def scale(x):
    return x / x.std(axis=0)


def stored(X, y):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(np.asarray(X), np.asarray(y))
    with tp.training_context(model, X, y) as ctx:
        pass
    return ctx.gradient_store


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Lazy features and labels of the file `clients`, and a folder."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 2)) * 3 + 1
    y = (X.sum(axis=1) + 4 * rng.normal(size=N) > 2).astype(int)
    folder = tmp_path_factory.mktemp("chain")
    pl.DataFrame({"id": np.arange(N)[::-1], "a": X[:, 0], "b": X[:, 1], "y": y}).write_csv(folder / "clients.csv")
    return *tp.trace(prepare)(tp.read_csv(folder / "clients.csv", key="id")), folder


@pytest.fixture(scope="module")
def whole(first):
    x, y, _ = first
    return stored(tp.trace(scale)(x), y)


def saved(first, form):
    x, y, folder = first
    if form == "npy":
        np.save(folder / "x.npy", np.asarray(x))
        again = tp.from_numpy(np.load(folder / "x.npy"), "x", lineage=tp.provenance(x))
    else:
        pl.DataFrame(np.asarray(x), schema=["a", "b"]).write_parquet(folder / "x.parquet")
        again = tp.read_parquet(folder / "x.parquet", lineage=tp.provenance(x)).to_numpy()
    labels = tp.from_numpy(np.asarray(y), "labels", lineage=tp.provenance(y))
    return stored(tp.trace(scale)(again), labels)


REQUESTS = [{"source_id": "clients", "rows": [1, 2, 3]}, {"source_id": "clients", "where": "b > 5"}, {"key": ("id", 3)}]


@pytest.mark.parametrize("request_", REQUESTS, ids=["rows", "where", "key"])
@pytest.mark.parametrize("through", ["features", "pipeline"])
def test_rows_of_the_first_file_are_unlearned(first, whole, request_, through):
    store = saved(first, "npy")
    assert store.owners.source_ids == ["clients"]
    want = tp.unlearn(gradient_store=whole, through=through, **request_)
    found = tp.unlearn(gradient_store=store, through=through, **request_)
    np.testing.assert_allclose(found.model.coef_, want.model.coef_, rtol=1e-9)
    assert found.verdict == want.verdict == "certified"


def test_a_result_read_as_another_type_is_held_and_named(first, whole):
    """The centre stays as it was with all rows; the scale, which the second program takes, does not."""
    store = saved(first, "parquet")
    found = tp.unlearn(gradient_store=store, source_id="clients", rows=range(8), through="pipeline")
    assert found.verdict == "estimated"
    assert "the cells of the saved result 'x' (it was computed as f64" in found.why
    x, y, _ = first
    stays = np.setdiff1d(
        np.arange(len(y)), [i for i, row in zip(*tp.provenance(x).row_pairs()["clients"], strict=True) if row < 8]
    )
    from sklearn.linear_model import LogisticRegression

    kept = np.asarray(x)[stays]
    want = LogisticRegression(solver="newton-cholesky", tol=1e-12).fit(scale(kept), np.asarray(y)[stays])
    np.testing.assert_allclose(found.model.coef_, want.coef_, rtol=1e-6)


def test_influence_goes_through_both_programs(first, whole):
    x, y, _ = first
    test = np.asarray(tp.trace(scale)(x))[:3], np.asarray(y)[:3]
    engines = [tp.attribution_engine(store, through="pipeline") for store in (whole, saved(first, "npy"))]
    one, two = (engine.scores(*test) for engine in engines)
    np.testing.assert_allclose(two, one, rtol=1e-6)
    best = engines[1].explain(test[0][:1], test[1][:1]).top(1)[0]
    assert (best["source_id"], best["text"].split(",")[0]) == ("clients", str(N - 1 - best["row"]))


def test_weights_of_the_first_file_reach_the_second_program(first):
    x, _, folder = first
    np.save(folder / "w.npy", np.asarray(x))
    again = tp.from_numpy(np.load(folder / "w.npy"), "x", lineage=tp.provenance(x))
    weights = {"clients": np.where(np.arange(N) < 10, 0.0, 1.0)}
    found = tp.reweight(tp.trace(scale))(again, weights=weights)
    want = tp.reweight(tp.trace(lambda t: scale(prepare(t)[0])))(tp.read_csv(folder / "clients.csv"), weights=weights)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    with pytest.raises(tp.errors.TraceError, match="no source 'client' with rows"):
        tp.reweight(tp.trace(scale))(again, weights={"client": weights["clients"]})
