"""Inputs of every shape and state: values are those of the plain function, and stay so when the user writes to the input."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

import traceprop as tp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4))


def standardise(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def chosen(x):
    return x[x[:, 0] > 0] * 2


def ranked(x):
    order = np.argsort(x[:, 1], kind="stable")
    return x[order], np.cumsum(x, axis=0)


def shapes(x):
    return x.T, x.reshape(-1), np.concatenate([x, x]), np.where(np.isnan(x), 0, x)


def extremes(x):
    return np.sort(x, axis=0), np.nan_to_num(x), np.isfinite(x), np.maximum(x, 0)


FUNCTIONS = [standardise, chosen, ranked, shapes, extremes]


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


def with_cells(*cells: float) -> np.ndarray:
    x = X.copy()
    x[[1, 5, 7], [0, 1, 2]] = (cells * 3)[:3]
    return x


INPUTS = {
    "plain": X,
    "no row": X[:0],
    "one row": X[:1],
    "no column": X[:, :0],
    "NaN": with_cells(np.nan),
    "inf": with_cells(np.inf, -np.inf, np.nan),
    "all NaN": np.full((3, 4), np.nan),
    "every other row": X[::2],
    "backwards": X[::-1, ::-1],
    "columns first": np.asfortranarray(X),
    "transposed": np.ascontiguousarray(X.T).T,
    "repeated": np.broadcast_to(X[0], (5, 4)),
    "read-only": read_only(X),
    "read-only, every third row": read_only(X)[::3],
    "other byte order": X.astype(">f8"),
    "half": X.astype(np.float16),
    "zeros of both signs": np.array([[0.0, -0.0, 1, -1], [-0.0, 0.0, 2, 3]]),
}


def flat(result) -> list:
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", INPUTS)
def test_values_are_those_of_the_plain_function_bit_by_bit(function, name):
    x = INPUTS[name]
    before = x.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            want = flat(function(x))
        except IndexError:
            with pytest.raises((IndexError, tp.errors.TracepropError)):
                [np.asarray(leaf) for leaf in flat(tp.trace(function)(x))]
            return
        got = flat(tp.trace(function)(x))
        for given, found in zip(want, got, strict=True):
            found = np.asarray(found)
            assert found.shape == given.shape
            assert found.dtype == given.dtype
            assert found.tobytes() == given.tobytes()
    np.testing.assert_array_equal(x, before)
    if "NaN" not in name and "inf" not in name:
        for leaf in got:  # and every row is answered for
            if leaf.shape and leaf.shape[0] == len(x):
                assert tp.provenance(leaf).rows(slice(None), "any").get("x", np.array([])).size <= len(x)


@pytest.mark.parametrize("x", [X[:0], X[:1], X[::-2], read_only(X), X.astype(">f8"), with_cells(np.nan)], ids=range(6))
def test_pytorch_and_jax(x):
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    by_torch = tp.trace(lambda a: torch.cat([a, torch.relu(a)]).cumsum(0))
    by_jax = tp.trace(lambda a: jnp.cumsum(jnp.concatenate([a, jnp.maximum(a, 0)]), axis=0))
    want = np.cumsum(np.concatenate([x, np.maximum(x, 0)]), axis=0)
    np.testing.assert_allclose(by_torch(x), want, rtol=1e-12)
    np.testing.assert_allclose(by_jax(x), want, rtol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_tables_of_few_rows(rows):
    frame = pl.DataFrame({"a": [1.5, None], "b": ["x", "y"]}, schema={"a": pl.Float64, "b": pl.String})[:rows]

    @tp.trace
    def prepared(t):
        kept = t.drop_nulls().sort("a")
        return kept, kept.one_hot(["b"]).to_numpy(), t.group_by("b").agg(m=("a", "mean"))

    kept, array, groups = prepared(frame)
    assert kept.compute().height == min(rows, 1)
    assert np.asarray(array).shape[0] == min(rows, 1)
    assert groups.compute().height == rows
    assert [len(tp.provenance(kept).rows(slice(None)).get("t", []))] == [min(rows, 1)]


VIEWS = {
    "itself": lambda x: x,
    "transposed": lambda x: x.T,
    "every other row": lambda x: x[::2],
    "a column": lambda x: x[:, 1],
    "reshaped": lambda x: x.reshape(-1),
    "repeated": lambda x: np.broadcast_to(x[0], (3, 4)),
    "real parts": np.real,
    "same dtype": lambda x: x.astype(np.float64),
    "two": lambda x: (x[:3], x + 1),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_result_is_no_view_of_the_input(name):
    x = X.copy()
    want = [np.array(leaf) for leaf in flat(VIEWS[name](x))]
    got = flat(tp.trace(VIEWS[name])(x))
    for leaf in got:
        np.asarray(leaf)
    x[:] = 99
    for leaf, given in zip(got, want, strict=True):
        np.testing.assert_array_equal(leaf, given)
        leaf.compute()[...] = 5
        np.testing.assert_array_equal(leaf, given)


@pytest.mark.parametrize("as_tensor", [True, False])
def test_a_result_of_pytorch_is_no_view_of_the_input(as_tensor):
    torch = pytest.importorskip("torch")
    x = X.copy()
    given = torch.from_numpy(x) if as_tensor else x
    results = [tp.trace(lambda a: torch.t(a))(given), tp.trace(lambda a: torch.narrow(a, 0, 2, 3))(given)]
    for result in results:
        result.compute()
    x[:] = 99
    np.testing.assert_array_equal(results[0], X.T)
    np.testing.assert_array_equal(results[1], X[2:5])
