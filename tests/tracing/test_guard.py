"""Calls are served by an earlier trace exactly while nothing that the trace depends on has changed."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.tracing.function import TracedFunction

X = np.arange(12.0).reshape(4, 3)
FACTOR = 2.0
TABLE = np.ones(3)


def helper(x):
    return x * FACTOR


@tp.trace
def scaled(x):
    return helper(x) + TABLE


def traces(function: TracedFunction) -> int:
    return sum(map(len, function._traces.values()))


def test_a_call_of_the_same_kind_is_served_by_its_guard(monkeypatch):
    function = tp.trace(lambda x, y: x + y)
    a, b = tp.from_numpy(X, source_id="a"), tp.from_numpy(X, source_id="b")
    function(a, b)
    looked_up = []
    monkeypatch.setattr(function, "_looked_up", lambda *given: looked_up.append(given))
    np.testing.assert_array_equal(function(a, b), X + X)
    again = tp.from_numpy(X + 1, source_id="a"), tp.from_numpy(X, source_id="b")
    np.testing.assert_array_equal(function(*again), X + X + 1)
    assert not looked_up


def test_another_number_of_rows_is_the_same_kind(monkeypatch):
    function = tp.trace(lambda x: x - x.mean(axis=0))
    function(X)
    monkeypatch.setattr(function, "_looked_up", None)
    np.testing.assert_array_equal(function(X[:2]), X[:2] - X[:2].mean(axis=0))


@pytest.mark.parametrize(
    "other",
    [X.astype("float32"), X[:, :2], X[:1], X[0], tp.from_numpy(X, source_id="other")],
    ids=["dtype", "columns", "one row", "rank", "source id"],
)
def test_another_kind_of_argument_is_traced_anew(other):
    function = tp.trace(lambda x: x * 2)
    function(X)
    np.testing.assert_array_equal(function(other), np.asarray(other) * 2)
    assert traces(function) == 2


def test_sizes_that_had_to_be_equal_have_to_be_equal():
    function = tp.trace(lambda x, y: x + y)
    function(X, X)
    with pytest.raises(ValueError, match=r"4.*2|broadcast"):
        np.asarray(function(X, X[:2]))


def test_a_size_that_was_written_in_is_a_guard():
    function = tp.trace(lambda x: x * len(x))
    for rows in (4, 3, 4, 2):
        np.testing.assert_array_equal(function(X[:rows]), X[:rows] * rows)
    assert traces(function) == 3


def test_what_helpers_read_is_guarded(monkeypatch):
    np.testing.assert_array_equal(scaled(X), X * 2 + 1)
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "FACTOR", 3.0)
        np.testing.assert_array_equal(scaled(X), X * 3 + 1)
    np.testing.assert_array_equal(scaled(X), X * 2 + 1)


@pytest.mark.parametrize("array", [np.ones(3), np.ones(3000)], ids=["small", "large"])
def test_arrays_written_to_in_place_are_guarded_by_what_they_hold(array):
    function = tp.trace(lambda x: x + array[:3])
    np.testing.assert_array_equal(function(X), X + 1)
    array[1] = 5
    np.testing.assert_array_equal(function(X), X + array[:3])
    array[1] = 1
    np.testing.assert_array_equal(function(X), X + 1)


def test_rebound_closures_are_guarded():
    shift = 1.0
    function = tp.trace(lambda x: x + shift)
    np.testing.assert_array_equal(function(X), X + 1)
    shift = 4.0
    np.testing.assert_array_equal(function(X), X + 4)


def test_lists_are_guarded_by_what_they_hold():
    columns = [0, 1]
    function = tp.trace(lambda x: x[:, columns])
    np.testing.assert_array_equal(function(X), X[:, :2])
    columns[0] = 2
    np.testing.assert_array_equal(function(X), X[:, [2, 1]])


def test_two_arrays_of_one_id_are_still_refused():
    function = tp.trace(lambda x, y: x + y)
    a = tp.from_numpy(X, source_id="a")
    function(a, tp.from_numpy(X, source_id="b"))
    with pytest.raises(tp.errors.SourceError, match="id 'a'"):
        function(a, tp.from_numpy(X, source_id="a"))


def test_fewer_rows_than_a_trace_is_for():
    torch = pytest.importorskip("torch")
    function = tp.trace(lambda x: torch.softmax(x, 0))
    for rows in (4, 3, 1, 0, 2):
        want = torch.softmax(torch.from_numpy(X[:rows]), 0).numpy()
        got = function(torch.from_numpy(X[:rows]))
        assert len(got) == rows
        np.testing.assert_allclose(np.asarray(got), want)
        for row in range(rows):
            assert tp.provenance(got).rows(row, "aggregate")["x"].tolist() == list(range(rows))


@pytest.mark.parametrize("library", ["jax", "torch"])
def test_arrays_of_other_libraries_have_guards_and_are_run_as_they_are(monkeypatch, library):
    if library == "jax":
        jnp = pytest.importorskip("jax.numpy")
        x = jnp.asarray(X, dtype="float32")
    else:
        x = pytest.importorskip("torch").from_numpy(X.astype("float32"))
    function = tp.trace(lambda x: x * 2.0 - x.mean(0))
    expected = np.asarray(function(x))
    monkeypatch.setattr(function, "_looked_up", None)
    again = function(x)
    assert type(again.compute()) is type(x)
    np.testing.assert_array_equal(np.asarray(again), expected)
    (source,) = again.call().inputs
    assert source.native("numpy") is source.value()
    if library == "jax":
        assert source.native("jax") is x
        assert again.compute() is again.compute()
    else:
        assert source.native("torch").data_ptr() == x.data_ptr()
        mine = again.compute()
        mine.zero_()
        np.testing.assert_array_equal(np.asarray(again), expected)
        late = function(x)
        x[0] = 5.0
        with pytest.raises(tp.errors.ChangedSourceError):
            late.compute()


def test_a_jax_number_of_no_dtype_of_its_own_goes_by_way_of_numpy():
    jnp = pytest.importorskip("jax.numpy")
    weak = jnp.asarray(3.0)
    assert weak.weak_type
    function = tp.trace(lambda x, y: jnp.add(x, y))
    found = function(jnp.ones(3, dtype="float32"), weak)
    np.testing.assert_array_equal(np.asarray(found), np.full(3, 4.0, dtype="float32"))
    assert [source.native("jax") is source.value() for source in found.call().inputs] == [False, True]
