"""Traced functions that call traced functions, and those that call themselves."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import TraceError

X = np.random.default_rng(0).normal(size=(30, 3))


@tp.trace
def scaled(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


@tp.trace
def positive(x):
    return x[x[:, 0] > 0]


@tp.trace
def both(x):
    return positive(scaled(x)), scaled(positive(x))


def test_inside_another_a_function_is_part_of_its_program():
    kept, again = both(X)
    np.testing.assert_array_equal(kept, positive.function(scaled.function(X)))
    np.testing.assert_array_equal(again, scaled.function(positive.function(X)))
    assert kept.call() is again.call()
    lines = {op.location.function for op in both.ir(X).ops if op.location}
    assert lines == {"scaled", "positive"}
    rows = np.flatnonzero(scaled.function(X)[:, 0] > 0)
    assert tp.provenance(kept).rows(slice(None))["x"].tolist() == rows.tolist()
    assert len(tp.provenance(kept).rows(0, "aggregate")["x"]) == len(X)


def test_one_after_the_other_they_are_a_chain():
    chained = scaled(positive(X))
    inside = tp.trace(lambda x: scaled(positive(x)))(X)
    np.testing.assert_array_equal(chained, inside)
    for kind in ("direct", "aggregate", "control", "any"):
        a, b = (tp.provenance(value).rows(2, kind)["x"].tolist() for value in (chained, inside))
        assert a == b


def test_of_two_libraries_each_is_its_own_program():
    torch = pytest.importorskip("torch")
    network = tp.trace(lambda x: torch.relu(x))
    result = network(positive(X))
    np.testing.assert_array_equal(result, np.maximum(X[X[:, 0] > 0], 0))
    assert tp.provenance(result).rows(1)["x"].tolist() == [int(np.flatnonzero(X[:, 0] > 0)[1])]


@tp.trace
def halved(x):
    return halved(x * 0.5)


def helper(x):
    return through(x)


@tp.trace
def through(x):
    return helper(x) + 1


@tp.trace
def ping(x):
    return pong(x)


@tp.trace
def pong(x):
    return ping(x)


@pytest.mark.parametrize(
    ("function", "line", "at"),
    [(halved, halved, 2), (through, helper, 1), (ping, pong, 2)],
    ids=["itself", "through a helper", "each other"],
)
def test_recursion_is_refused_with_the_line(function, line, at):
    plain = inspect.unwrap(line)
    number = plain.__code__.co_firstlineno + at
    for _ in range(2):  # and leaves nothing behind
        with pytest.raises(TraceError, match=rf"calls itself at test_must_not_break_nesting\.py:{number}; recursion"):
            function(X)
    np.testing.assert_array_equal(scaled(X), scaled.function(X))


def test_recursion_in_another_library_is_refused_with_the_line():
    torch = pytest.importorskip("torch")

    @tp.trace
    def again(x):
        return again(torch.relu(x))

    with pytest.raises(TraceError, match=r"'again' calls itself at test_must_not_break_nesting\.py:\d+"):
        again(X)


def test_a_plain_helper_may_call_itself():
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    np.testing.assert_array_equal(tp.trace(lambda x: power(x, 4))(X), X * (X * (X * X)))
