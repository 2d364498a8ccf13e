"""Traced functions: when they are traced again, what they take and give, and what they refuse."""

from __future__ import annotations

import gc
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ExecutionError, TraceError
from traceprop.ir import Program
from traceprop.runtime.executable import Executable

X = np.arange(6.0).reshape(3, 2)


class Count(list):
    """How often a body ran. No plain list: what a function closes over counts by content, and a change traces it again."""

    __hash__ = object.__hash__


def counted(function):
    """The function and how often it was traced, told by how often its body ran."""
    calls = Count()
    note = calls.append

    def body(*args, **kwargs):
        note(1)
        return function(*args, **kwargs)

    return tp.trace(body), calls


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the mean of no rows
def test_one_trace_serves_every_row_count():
    f, calls = counted(lambda x: x - x.mean(axis=0))
    for n in (3, 5, 2, 0, 3):
        x = np.arange(2.0 * n).reshape(n, 2)
        np.testing.assert_array_equal(f(x), x - (x.mean(axis=0) if n else 0))
    assert len(calls) == 1


def test_one_row_is_traced_apart_since_it_broadcasts():
    f, calls = counted(lambda x, y: x + y)
    np.testing.assert_array_equal(f(X, X), X + X)
    np.testing.assert_array_equal(f(X, X[:1]), X + X[:1])
    np.testing.assert_array_equal(f(X[:1], X), X + X[:1])
    f, calls = counted(lambda x: x * 2)
    f(X), f(X[:1]), f(X[:1])
    assert len(calls) == 2


def test_len_makes_the_trace_one_for_that_length():
    f, calls = counted(lambda x: x / len(x))
    np.testing.assert_array_equal(f(X), X / 3)
    np.testing.assert_array_equal(f(X[:2]), X[:2] / 2)
    np.testing.assert_array_equal(f(X), X / 3)
    assert len(calls) == 4  # each length begins once without the number, and once with it


def test_a_size_in_a_shape_stays_symbolic_and_in_arithmetic_becomes_a_number():
    f, calls = counted(lambda x: x.reshape(x.shape[0], 2))
    f(X), f(X[:2])
    assert len(calls) == 1
    g = tp.trace(lambda x: x.sum(axis=0) / x.shape[0])
    np.testing.assert_array_equal(g(X), X.sum(axis=0) / 3)
    np.testing.assert_array_equal(g(X[:2]), X[:2].sum(axis=0) / 2)


def test_equal_sizes_are_made_one_and_unequal_ones_refused():
    f, calls = counted(lambda x, y: x + y)
    np.testing.assert_array_equal(f(X, 2 * X), 3 * X)
    f(X[:2], X[:2])
    assert len(calls) == 2
    with pytest.raises(ValueError, match="cannot broadcast"):
        f(X, X[:2])
    np.testing.assert_array_equal(f(X, X), 2 * X)


def test_two_sizes_concatenate_symbolically():
    f, calls = counted(lambda x, y: np.concatenate([x, y]))
    assert f(X, X[:2]).shape == (5, 2)
    assert f(X, X).shape == (6, 2)
    assert len(calls) == 1


def test_dtype_columns_scalars_and_closures_are_part_of_the_trace():
    factor = [2.0]

    @tp.trace
    def f(x, k=1):
        return x * k * factor[0]

    np.testing.assert_array_equal(f(X), X * 2)
    np.testing.assert_array_equal(f(X, 3), X * 6)
    np.testing.assert_array_equal(f(X, k=3.5), X * 7)
    assert f(X.astype("f4")).dtype == np.float32
    assert f(np.ones((2, 5))).shape == (2, 5)
    factor[0] = 10.0
    np.testing.assert_array_equal(f(X), X * 10)


Pair = namedtuple("Pair", "left right")


def test_structures_in_and_out():
    @tp.trace
    def f(batch, *, names=("a", "b"), scale=1.0):
        out = {name: batch["x"] * (k + 1) * scale for k, name in enumerate(names)}
        return Pair(out, [batch["pair"][0] + batch["pair"][1], 7, "text", None]), batch["x"]

    batch = {"x": X, "pair": (X, X + 1)}
    pair, same = f(batch, scale=2.0)
    assert isinstance(pair, Pair)
    np.testing.assert_array_equal(pair.left["b"], X * 4)
    np.testing.assert_array_equal(pair.right[0], 2 * X + 1)
    assert pair.right[1:] == [7, "text", None]
    np.testing.assert_array_equal(same, X)
    assert tp.provenance(pair.right[0]).sources() == ["batch_pair_0", "batch_pair_1"]
    assert tp.provenance(pair.left["a"]).rows(2)["batch_x"].tolist() == [2]


def test_traced_functions_inside_one_another_are_one_program():
    @tp.trace
    def inner(x):
        return x - x.mean(axis=0)

    @tp.trace
    def outer(x):
        return inner(x) * 2 + inner(x * 3)

    np.testing.assert_array_equal(outer(X), (X - X.mean(axis=0)) * 2 + (X * 3 - (X * 3).mean(axis=0)))
    assert tp.provenance(outer(X)).sources() == ["x"]


def test_recursion_is_refused_and_leaves_the_function_usable():
    @tp.trace
    def f(x, deep=True):
        return f(x) if deep else x + 1

    for _ in range(2):
        with pytest.raises(TraceError, match="recursion"):
            f(X)
    np.testing.assert_array_equal(f(X, deep=False), X + 1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (lambda x: x if x.sum() > 0 else -x, "np.where"),
        (lambda x: np.asarray(x), "plain array"),
        (lambda x: np.array([x, x]), "plain array"),
        (lambda x: x + np.random.rand(3, 1), "np.random"),  # noqa: NPY002
        (lambda x: x.__setitem__(0, 1), "in-place"),
        (lambda x: np.add(x, 1, out=x), "in-place"),
        (lambda x: list(x), "iterating"),
        (lambda x: np.poly(x[:, 0]), "NumPy iterates"),
        (lambda x: np.roots(x[:, 0]), "NumPy iterates"),
        (lambda x: float(x.sum()), "float"),
        (lambda x: np.arange(3)[x[:, 0] > 0], "plain array"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_the_line(body, says):
    with pytest.raises((TraceError, IndexError), match=says) as caught:
        tp.trace(body)(X)
    assert "test_functions.py:" in str(caught.value)
    assert np.random.rand(1).shape == (1,)  # noqa: NPY002  (the guard is gone)


def test_an_op_that_fails_names_itself_and_the_line():
    @tp.trace
    def f(x, index):
        return x[index]

    with pytest.raises(ExecutionError, match=r"gather at test_functions.py:\d+ failed: index 9"):
        np.asarray(f(X, np.array([0, 9])))


def test_sixteen_threads():
    functions = [tp.trace(lambda x, k=k: (x * k)[x[:, 0] > k]) for k in range(4)]
    barrier = threading.Barrier(16)

    def work(n: int) -> bool:
        barrier.wait()
        good = True
        for turn in range(5):
            x = np.arange(2.0 * (n + turn + 2)).reshape(-1, 2)
            y = functions[n % 4](x)
            good &= np.array_equal(np.asarray(y), (x * (n % 4))[x[:, 0] > n % 4])
            good &= len(tp.provenance(y).rows(slice(None)).get("x", ())) == len(y)
        return good

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))


def test_many_threads_ask_one_value_and_it_runs_once(monkeypatch):
    runs = []
    run = Executable.run
    monkeypatch.setattr(Executable, "run", lambda self, values: (runs.append(1), run(self, values))[1])
    for turn in range(20):
        y = tp.from_numpy(X, source_id="x") + turn
        barrier = threading.Barrier(8)

        def ask(_: int, y: Any = y, barrier: threading.Barrier = barrier) -> np.ndarray:
            barrier.wait()
            return np.asarray(y)

        with ThreadPoolExecutor(8) as pool:
            assert all(np.array_equal(result, X + turn) for result in pool.map(ask, range(8)))
    assert len(runs) == 20


def test_repeated_calls_keep_one_program():
    f = tp.trace(lambda x: (x + 1)[x[:, 0] > 1])
    np.asarray(f(X))
    gc.collect()
    before = sum(type(thing) is Program for thing in gc.get_objects())
    for n in range(10_000):
        y = f(X)
        if n % 100 == 0:
            np.asarray(y)
    del y
    gc.collect()
    assert sum(type(thing) is Program for thing in gc.get_objects()) <= before
