"""Workers that are forked or spawned, and what goes to them: names of functions, never code."""

from __future__ import annotations

import copy
import os
import pickle
import pickletools
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from tests.runtime import worked
from tests.runtime.worked import Batches, X, doubled, positive, standardised

ROOT = Path(__file__).parent.parent.parent


class TestPickling:
    @pytest.mark.parametrize("function", [standardised, doubled], ids=["decorated", "wrapped under another name"])
    def test_a_function_is_a_name(self, function):
        standardised(X)  # traces, locks and compiled code stay at home
        pickled = pickle.dumps(function)
        assert len(pickled) < 100
        texts = [value for _, value, _ in pickletools.genops(pickled) if isinstance(value, str)]
        assert texts[0] == worked.__name__
        assert pickle.loads(pickled) is function
        assert copy.deepcopy(function) is function
        assert copy.copy(function) is function

    def test_methods_go_by_their_class(self):
        assert pickle.loads(pickle.dumps(Scaler.scale)) is Scaler.scale

    def test_what_no_name_leads_to_is_refused(self):
        @tp.trace
        def local(x):
            return x

        for function in (local, tp.trace(lambda x: x)):
            with pytest.raises(
                pickle.PicklingError, match=r"test_must_not_break_processes\.py:\d+ is pickled by reference"
            ):
                pickle.dumps(function)

    def test_a_lazy_value_is_not_pickled_without_its_lineage(self):
        for value in (standardised(X), tp.from_numpy(X), tp.from_numpy(X) * 2):
            with pytest.raises(pickle.PicklingError, match=r"send the numbers, x\.compute\(\), or save it in a store"):
                pickle.dumps(value)
            assert copy.deepcopy(value) is value


class Scaler:
    @tp.trace
    def scale(self, x):
        return x * 3


class TestDataLoaders:
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
    @pytest.mark.parametrize("start", ["fork", "spawn"])
    def test_a_traced_function_is_called_in_workers(self, start):
        data = pytest.importorskip("torch.utils.data")
        np.asarray(standardised(X[:10]))  # a fork takes what was compiled along
        loader = data.DataLoader(
            Batches(X), batch_size=None, num_workers=1, multiprocessing_context=start, collate_fn=_as_they_are
        )
        found = list(loader)
        for k, (batch, rows) in enumerate(found):
            x = X[10 * k : 10 * k + 10]
            np.testing.assert_array_equal(batch, standardised.function(x))
            np.testing.assert_array_equal(rows, np.flatnonzero(x[:, 0] > 0))
        assert len(found) == 4


def _as_they_are(item):
    return item


def in_child(work, seconds: int = 20) -> int:
    """What a forked child's `work` returned; it is killed where it waits for ever."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(seconds)
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert not os.WIFSIGNALED(status), "the child waits for ever"
    return os.WEXITSTATUS(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork")
class TestForks:
    def test_locks_that_others_held_are_open(self):
        """Every lock there is, held by a thread of the parent's at the fork."""
        code = """
            import gc, os, signal, sys, threading
            import numpy as np
            import traceprop as tp
            from traceprop.ir.uncollected import uncollected
            from traceprop.runtime.captures import WAITING
            from traceprop.runtime.executor import LOCAL, LocalExecutor
            from traceprop.tracing import call, lazy, purity

            X = np.arange(12.0).reshape(4, 3)
            held, locked, forked = threading.Event(), threading.Event(), threading.Event()

            @tp.trace
            def kept(x):
                return x[x[:, 0] > 2]

            class Slow(LocalExecutor):
                def run(self, program, inputs, options):
                    if threading.current_thread() is not threading.main_thread() and os.getpid() == parent:
                        held.set()
                        forked.wait()
                    return super().run(program, inputs, options)

            parent = os.getpid()
            kept.executor = Slow()
            shared = kept(X)

            def hold():
                with (kept._lock, LOCAL._lock, WAITING._lock, lazy._making_calls, uncollected(),
                      purity.random_guarded("hold")):
                    with purity._lock:
                        locked.set()
                        forked.wait()

            threads = []
            for target, ready in ((shared.compute, held), (hold, locked)):
                threads.append(threading.Thread(target=target))
                threads[-1].start()
                ready.wait()
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                assert gc.isenabled()
                np.random.default_rng(0)
                np.testing.assert_array_equal(shared, X[1:])
                np.testing.assert_array_equal(kept(X[:, :2]), X[1:, :2])
                np.testing.assert_array_equal(tp.from_numpy(X) + 1, X + 1)
                assert tp.provenance(shared).rows(0)["x"].tolist() == [1]
                os._exit(7)
            status = os.waitpid(pid, 0)[1]
            forked.set()
            for thread in threads:
                thread.join()
            np.testing.assert_array_equal(shared, X[1:])
            sys.exit(os.waitstatus_to_exitcode(status))
        """
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, timeout=60
        )
        assert found.returncode == 7, found.stderr.decode()

    def test_numpy_programs_run_in_any_child(self):
        np.asarray(positive(X))

        def work() -> int:
            np.testing.assert_array_equal(positive(X), X[X[:, 0] > 0])
            np.testing.assert_array_equal(standardised(X[:7]), standardised.function(X[:7]))
            return 5

        assert in_child(work) == 5

    def test_a_table_in_a_child_raises_instead_of_waiting_for_ever(self):
        pl = pytest.importorskip("polars")
        frame = pl.DataFrame({"a": np.arange(1000), "b": np.arange(1000.0)})
        frame.sort("b")  # starts polars' threads
        source = tp.from_dataframe(frame, source_id="warm")
        chosen = tp.trace(lambda t: t[t["a"] > 3])
        later = chosen(source)

        def work() -> int:
            for needs in (
                lambda: later.compute(),
                lambda: chosen(source).compute(),
                lambda: tp.from_dataframe(frame),
                lambda: tp.read_csv(__file__),
                lambda: np.asarray(source),
            ):
                with pytest.raises(
                    tp.errors.ForkError, match=r"needs polars, whose threads .*multiprocessing_context='spawn'"
                ):
                    needs()
            np.testing.assert_array_equal(standardised(X), standardised.function(X))
            return 5

        assert in_child(work) == 5
        assert later.compute().height == 996  # the parent has its threads still

    def test_a_jax_function_in_a_child_raises_instead_of_waiting_for_ever(self):
        jnp = pytest.importorskip("jax.numpy")
        function = tp.trace(lambda x: jnp.tanh(x))
        np.asarray(function(X))

        def work() -> int:
            with pytest.raises(tp.errors.ForkError, match="needs jax, whose threads"):
                function(X).compute()
            np.testing.assert_array_equal(standardised(X), standardised.function(X))
            return 5

        assert in_child(work) == 5
        np.testing.assert_allclose(function(X), np.tanh(X), rtol=1e-12)

    def test_children_that_start_the_engine_themselves_may_use_it(self):
        code = """
            import os, signal, sys
            import numpy as np
            import traceprop as tp

            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                import polars as pl
                t = tp.from_dataframe(pl.DataFrame({"a": [3, 1, 2]}))
                assert t.sort("a").compute()["a"].to_list() == [1, 2, 3]
                grandchild = os.fork()
                if grandchild == 0:
                    try:
                        t.sort("a").compute()
                    except tp.errors.ForkError:
                        os._exit(7)
                    os._exit(1)
                code = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
                assert t.sort("a").compute().height == 3
                os._exit(code)
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, timeout=60
        )
        assert found.returncode == 7, found.stderr.decode()

    def test_pytorch_with_threads_in_a_child_warns(self):
        torch = pytest.importorskip("torch")
        function = tp.trace(lambda x: torch.relu(x))
        function(X[:2]).compute()

        def work() -> int:
            torch.set_num_threads(2)
            with pytest.warns(UserWarning, match=r"call torch\.set_num_threads\(1\)"):
                function(X[:2]).compute()
            return 5

        assert in_child(work) == 5
