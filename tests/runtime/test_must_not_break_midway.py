"""What stops a run midway leaves everything as it was: Ctrl-C, too little memory, a file that is written to."""

from __future__ import annotations

import gc
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import traceprop as tp
from traceprop.errors import ChangedSourceError, ChangedSourceWarning, ExecutionError, OutOfMemoryError
from traceprop.tracing import purity
from traceprop.tracing.trace import active_trace

X = np.random.default_rng(0).normal(size=(5000, 8))
ROOT = Path(__file__).parent.parent.parent


def long_function() -> tp.TracedFunction:
    @tp.trace
    def long(x):
        for _ in range(12):
            x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)
            x = np.where(x > 0, x, x * 0.5)
        return x[x[:, 0] > 0], x.sum(axis=0)

    return long


class TestInterrupts:
    @pytest.fixture(autouse=True)
    def alarm_is_ctrl_c(self):
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
            pytest.skip("signals reach the main thread alone")
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_at_any_moment(self):
        """Of tracing, compiling, running and asking; then everything is as before, and the same call works."""
        draw, stopped = random.Random(0), 0
        kept, total = long_function().function(X)
        rows = np.flatnonzero(_last(X)[:, 0] > 0)
        begun = time.perf_counter()
        tp.provenance(long_function()(X)[0]).rows(0)
        lasts = time.perf_counter() - begun
        for _ in range(40):
            function, results = long_function(), None
            signal.setitimer(signal.ITIMER_REAL, draw.random() * lasts + 1e-5)
            try:
                results = function(X)
                np.asarray(results[0])
                tp.provenance(results[0]).rows(0)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stopped += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert gc.isenabled()
            assert active_trace() is None
            assert not isinstance(np.random, purity._RandomGuard)
            results = results or function(X)
            np.testing.assert_array_equal(results[0], kept)
            np.testing.assert_array_equal(results[1], total)
            assert tp.provenance(results[0]).rows(slice(None))["x"].tolist() == rows.tolist()
            assert sum(map(len, function._traces.values())) == 1
        assert stopped > 4

    def test_in_an_op_nothing_of_the_run_is_kept(self, monkeypatch):
        calls = []
        function = tp.trace(lambda x: x[x[:, 0] > 0] * 2)
        result = function(X)
        executable = function.compile(X)
        scope = executable._function.__globals__
        name = next(name for name in scope if name.startswith("numpy_multiply"))
        whole = scope[name]

        def once(*given):
            calls.append(1)
            if len(calls) == 1:
                raise KeyboardInterrupt
            return whole(*given)

        monkeypatch.setitem(scope, name, once)
        with pytest.raises(KeyboardInterrupt):
            np.asarray(result)
        assert not result.call().done
        np.testing.assert_array_equal(result, X[X[:, 0] > 0] * 2)
        assert tp.provenance(result).rows(0)["x"].tolist() == [int(np.flatnonzero(X[:, 0] > 0)[0])]


def _last(x: np.ndarray) -> np.ndarray:
    for _ in range(12):
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)
        x = np.where(x > 0, x, x * 0.5)
    return x


class TestMemory:
    def test_an_op_that_asks_for_too_much(self):
        @tp.trace
        def huge(x):
            kept = x[x[:, 0] > 0]
            return np.broadcast_to(kept.sum(), (1 << 45,)) + 1

        result = huge(X)
        line = huge.function.__code__.co_firstlineno + 3
        with pytest.raises(
            OutOfMemoryError, match=rf"numpy\.add\] at test_must_not_break_midway\.py:{line} ran out of memory"
        ):
            np.asarray(result)
        assert not result.call().done
        for kind in (MemoryError, ExecutionError):
            with pytest.raises(kind):
                np.asarray(result)

    def test_in_pytorch(self):
        torch = pytest.importorskip("torch")

        @tp.trace
        def huge(x):
            return torch.sum(x).expand(1 << 45) + 1

        line = huge.function.__code__.co_firstlineno + 2
        with pytest.raises(OutOfMemoryError, match=rf"test_must_not_break_midway\.py:{line} ran out of memory"):
            np.asarray(huge(X))

    def test_with_little_memory_left(self):
        """A real limit on the process: the error comes, and what fits runs afterwards."""
        pytest.importorskip("resource")
        code = """
            import resource
            import numpy as np
            import traceprop as tp

            def three(x):
                return np.multiply.outer(x, x)

            function = tp.trace(three)
            small, large = np.arange(10.0), np.arange(12000.0)
            np.asarray(function(small))
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29), used + (1 << 29)))
            result = function(large)
            for _ in range(3):
                try:
                    np.asarray(result)
                except tp.errors.OutOfMemoryError as error:
                    assert "<string>:7" in str(error), error
                else:
                    raise AssertionError("a gigabyte in half of one")
            assert not result.call().done
            np.testing.assert_array_equal(function(small), three(small))
            print("as before")
        """
        if not Path("/proc/self/statm").exists():
            pytest.skip("how much is used is not known here")
        found = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert found.stdout.strip() == "as before", found.stderr


class TestSourcesThatChange:
    def test_files_are_as_they_were_read_and_what_changed_is_named(self, tmp_path):
        path = tmp_path / "loans.parquet"
        pl.DataFrame({"a": [1, 2, 3]}).write_parquet(path)
        doubled = tp.trace(lambda t: t["a"] * 2)
        first = tp.read_parquet(path)
        result = doubled(first)
        pl.DataFrame({"a": [7, 8, 9]}).write_parquet(path)
        np.testing.assert_array_equal(result, [2, 4, 6])
        second = tp.read_parquet(path)
        np.testing.assert_array_equal(doubled(second), [14, 16, 18])
        assert "loans.parquet has changed" in str(first.source.changed())
        assert second.source.changed() is None

    def test_one_file_read_twice_of_two_contents_is_two_sources(self, tmp_path):
        path = tmp_path / "loans.csv"
        path.write_text("a\n1\n2\n")
        before = tp.from_csv(path)
        path.write_text("a\n1\n5\n")
        after = tp.from_csv(path)
        with pytest.raises(tp.errors.SourceError, match="two sources of one program have the id 'loans'"):
            np.asarray(before + after)
        with pytest.warns(ChangedSourceWarning, match=r"loans\.csv has changed since it was read"):
            tp.provenance(before * 1).locate(1)

    def test_a_pandas_table_that_is_written_to_is_named(self):
        pd = pytest.importorskip("pandas")
        for numbers in (np.arange(5.0), np.array([0, np.nan, 2, 3, 4])):
            frame = pd.DataFrame({"a": numbers, "c": list("vwxyz")}, copy=False)
            result = tp.from_dataframe(frame, source_id="people")["a"] * 2
            numbers[3] = 77
            with pytest.raises(ChangedSourceError, match="'people' was written to between the call and the run"):
                np.asarray(result)
