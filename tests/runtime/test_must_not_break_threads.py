"""Many threads and tasks at once: right answers, one trace and one compilation per kind of call."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.runtime.executable import Executable
from traceprop.tracing.function import TracedFunction

THREADS = 16
X = np.random.default_rng(0).normal(size=(200, 4))
FRAME = pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": ["x", "y"] * 100})


@pytest.fixture
def compiled(monkeypatch) -> Counter[str]:
    """How often each program was compiled."""
    seen: Counter[str] = Counter()
    begin = Executable.__init__

    def counted(self: Executable, program: Any, *given: Any, **named: Any) -> None:
        seen[program.name] += 1
        begin(self, program, *given, **named)

    monkeypatch.setattr(Executable, "__init__", counted)
    return seen


@pytest.fixture
def traced(monkeypatch) -> Counter[str]:
    """How often each function was traced."""
    seen: Counter[str] = Counter()
    trace = TracedFunction._trace

    def counted(self: TracedFunction, *given: Any) -> Any:
        seen[self.function.__name__] += 1
        return trace(self, *given)

    monkeypatch.setattr(TracedFunction, "_trace", counted)
    return seen


def together(work: Callable[[int], None]) -> None:
    """Runs `work` in all threads at once, which change places as often as Python lets them."""
    barrier, errors = threading.Barrier(THREADS), []

    def begin(k: int) -> None:
        try:
            barrier.wait()
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(k,)) for k in range(THREADS)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    if errors:
        raise errors[0]


def test_equal_and_different_functions_at_once(traced, compiled):
    @tp.trace
    def shared(x):
        scaled = (x - x.mean(axis=0)) / x.std(axis=0)
        return scaled[scaled[:, 0] > 0]

    @tp.trace
    def around(x):
        return shared(x) * 2

    def own(k: int) -> TracedFunction:
        def apart(x):
            return np.where(x > k / 10, x * k, -x).sum(axis=0)

        apart.__name__ = f"apart_{k}"
        return tp.trace(apart)

    functions = [own(k) for k in range(THREADS)]
    kept = np.flatnonzero((X - X.mean(axis=0))[:, 0] > 0)

    def work(k: int) -> None:
        for turn in range(6):
            want = shared.function(X)
            result = shared(X)
            np.testing.assert_array_equal(result, want)
            assert tp.provenance(result).rows(slice(None))["x"].tolist() == kept.tolist()
            np.testing.assert_array_equal(around(X), want * 2)
            other = functions[(k + turn) % THREADS]
            np.testing.assert_array_equal(other(X), other.function(X))

    together(work)
    names = ["shared", "around", *(f"apart_{k}" for k in range(THREADS))]
    assert traced == Counter(names)
    assert compiled == Counter(names)


def test_tables_at_once(traced, compiled):
    @tp.trace
    def chosen(t):
        return t[t["a"] > 0].sort("b").one_hot(["c"]).to_numpy()

    want = np.asarray(chosen(FRAME))
    rows = tp.provenance(chosen(FRAME)).rows(slice(None))["t"].tolist()

    def work(k: int) -> None:
        result = chosen(FRAME)
        np.testing.assert_array_equal(result, want)
        assert tp.provenance(result).rows(slice(None))["t"].tolist() == rows

    together(work)
    assert (traced["chosen"], compiled["chosen"]) == (1, 1)


def test_one_value_that_all_ask_for_is_computed_once(monkeypatch):
    runs = []
    run = Executable.run
    monkeypatch.setattr(Executable, "run", lambda self, values: runs.append(1) or run(self, values))
    result = tp.trace(lambda x: x[x[:, 0] > 0])(X)
    together(lambda k: np.testing.assert_array_equal(result, X[X[:, 0] > 0]))
    assert len(runs) == 1


def test_frameworks_at_once(traced, compiled):
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")

    @tp.trace
    def by_torch(x):
        return torch.softmax(x, 1)

    @tp.trace
    def by_jax(x):
        return jnp.tanh(x).sum(axis=0)

    def work(k: int) -> None:
        np.testing.assert_allclose(by_torch(X), torch.softmax(torch.from_numpy(X), 1), rtol=1e-12)
        np.testing.assert_allclose(by_jax(X), np.tanh(X).sum(axis=0), rtol=1e-12)

    together(work)
    assert traced == Counter(["by_torch", "by_jax"])
    assert max(compiled.values()) == 1


def test_granularity_is_a_tasks_own():
    @tp.trace
    def positive(x):
        return x[x[:, 0] > 0]

    async def task(level: str | None, steps: int) -> list[bool]:
        tp.set_granularity(level)
        answered = []
        for _ in range(steps):
            await asyncio.sleep(0)
            assert tp.get_granularity() == (level or None)
            result = positive(X)
            await asyncio.sleep(0)
            np.testing.assert_array_equal(result, X[X[:, 0] > 0])
            try:
                tp.provenance(result).rows(0)
                answered.append(True)
            except tp.errors.LineageError:
                answered.append(False)
        return answered

    async def main() -> list[list[bool]]:
        return await asyncio.gather(*(task(level, 5) for level in ("op", None, "batch", "epoch", None)))

    before = tp.get_granularity()
    assert asyncio.run(main()) == [[True] * 5, [False] * 5, [True] * 5, [True] * 5, [False] * 5]
    assert tp.get_granularity() == before


def test_values_may_be_asked_for_in_another_thread_than_the_calls():
    async def main() -> list[Any]:
        results = [tp.trace(lambda x: x * 2)(X + k) for k in range(8)]
        return await asyncio.gather(*(asyncio.to_thread(result.compute) for result in results))

    for k, found in enumerate(asyncio.run(main())):
        np.testing.assert_array_equal(found, (X + k) * 2)
