"""Segments by XLA: NumPy's values to rounding, few compilations for many numbers of rows, and nothing of JAX left outside."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.programs import FINITE, programs
from tests.lineage.test_values import traced
from tests.runtime.test_blocks import FUNCTIONS, chain, mixed, standardise
from traceprop.errors import MissingExtraError
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.pipeline import FOR_ARRAYS
from traceprop.runtime import backends, xla
from traceprop.runtime.backends import Choice
from traceprop.runtime.executable import Executable

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")
EVERYTHING = Choice("jax", 1, 1, 1 << 40, "asked for")


def compiled_by_xla(function, *given):
    """The executable of a function, of which XLA runs every segment that it may, however small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "ASKED", 1)
        return tp.trace(function, backend="jax").compile(*given)


def segments(executable):
    """The compiled segments of an executable."""
    scope = executable._function.__globals__
    return [value for value in scope.values() if isinstance(value, xla.ByXla)]


def close(got, want):
    """To rounding: 1e-6 of the largest value in 64 bits (what whole programs are held to), 1e-3 in 32."""
    assert type(got) is np.ndarray
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert got.flags.writeable
    scale = np.abs(want[np.isfinite(want)]).max(initial=0) if want.dtype.kind == "f" else 0
    np.testing.assert_allclose(got, want, rtol=0, atol=scale * (1e-6 if want.dtype == np.float64 else 1e-3))


def given_to(function, x):
    return (x, np.linspace(0.5, 1, x.shape[-1]).astype(x.dtype)) if function in (chain, mixed) else (x,)


def results(function, *given):
    found = function(*given)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 3), (37, 5), (60, 7, 3)])
def test_values(function, dtype, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    given = given_to(function, x)
    executable = compiled_by_xla(function, *given)
    for got, want in zip(results(executable, *given), results(function, *given), strict=True):
        close(got, np.asarray(want))
    if shape[0] > 1:  # one row is a size of its own, and no axis of rows
        assert sum(segment.compilations for segment in segments(executable)) >= 1


def test_no_rows_nan_and_infinite():
    x = np.random.default_rng(0).normal(size=(50, 4))
    x[7, 0], x[30, 1], x[40, 2], x[:, 3] = np.nan, np.inf, -0.0, 1.0
    for function in FUNCTIONS:
        given = given_to(function, x)
        executable = compiled_by_xla(function, *given)
        for got, want in zip(results(executable, *given), results(function, *given), strict=True):
            close(got, want)
        if function in (standardise, chain):
            assert executable(*(g[:0] if g.ndim == 2 else g for g in given)).shape == (0, 4)


def test_padding_counts_nowhere():
    """Rows that are filled up with would be the smallest, the largest, and a NaN in every mean."""
    x = np.full((9, 3), 5.0)
    for fold in (np.min, np.max, np.sum, np.mean):
        function = lambda x, fold=fold: fold(np.log(x) * 2, axis=0)  # noqa: E731
        close(compiled_by_xla(function, x)(x), function(x))
        close(compiled_by_xla(lambda x, f=function: f(x) * -1, x)(x), -function(x))


def test_another_number_of_rows_does_not_compile_again():
    x = np.random.default_rng(0).normal(size=(4_096, 3))
    executable = compiled_by_xla(standardise, x)
    (segment,) = segments(executable)
    for rows in range(2_049, 4_097, 61):
        close(executable(x[:rows]), standardise(x[:rows]))
    assert segment.compilations == 4
    executable(x[:2_500])
    assert segment.compilations == 4


@given(st.integers(1, 1 << 40))
def test_rooms_are_few_and_not_much_larger(rows):
    room = xla.room_for(rows)
    assert rows <= room <= max(8, rows * 1.25 + 8)
    assert room % 8 == 0
    assert xla.room_for(room) == room


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(FINITE, max_steps=8))
def test_random_programs(program):
    """To rounding, unless NumPy's value was at a step, where rounding decides."""
    for call in {lazy.call() for lazy in traced(program) if hasattr(lazy, "value")}:
        given = call.concrete_inputs()
        plain = Executable(call.program, record=True, passes=()).run(given)
        ours = Executable(call.program, True, (CSE(), DCE(), *FOR_ARRAYS), chosen=EVERYTHING).run(given)
        for got, want in zip(ours.results, plain.results, strict=True):
            want = np.asarray(want)
            assert (np.asarray(got).dtype, np.shape(got)) == (want.dtype, want.shape)
            if want.dtype.kind == "f":
                same = np.isclose(got, want, rtol=1e-3 if want.dtype != np.float64 else 1e-9, atol=1e-6, equal_nan=True)
                assert same.mean() > 0.5 or want.size < 8
        assert set(ours.captures) == set(plain.captures)


EPS = {"f4": np.finfo("f4").eps, "f8": np.finfo("f8").eps}


@pytest.mark.parametrize("name", sorted(xla.FUNCTIONS - {"numpy.where"}))
def test_functions_are_as_exact_as_promised(name):
    """|Δ| ≤ 4·eps·log₂(n + 1)·the op on absolute values, with n = 1: for a function of cells that is 4 eps of the result."""
    function = getattr(np, name.removeprefix("numpy."))
    theirs = getattr(jax.numpy, name.removeprefix("numpy."))
    rng = np.random.default_rng(0)
    for dtype, eps in EPS.items():
        for x in (
            rng.normal(size=4_000),
            rng.normal(size=4_000) * 10.0 ** rng.uniform(-3, 3, 4_000),
            rng.uniform(-1, 1, 4_000),
        ):
            given = [x.astype(dtype), x[::-1].astype(dtype)][: function.nin]
            with jax.enable_x64(True):
                got = np.asarray(jax.jit(theirs)(*given))
            want = function(*given)
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
            ok = (
                np.isfinite(want) & (np.abs(want) > 4 * np.finfo(dtype).tiny)
                if want.dtype.kind == "f"
                else want == want
            )
            limit = 4 * eps * np.abs(want[ok]) if want.dtype.kind == "f" else 0
            assert (np.abs(got[ok].astype("f8") - want[ok]) <= limit).all()


@pytest.mark.parametrize("rows", [100, 3_000, 50_000])
@pytest.mark.parametrize("kind", ["normal", "wide", "positive"])
def test_sums_are_as_exact_as_promised(rows, kind):
    """Against sums without rounding: 4·eps·log₂(n + 1)·Σ|x|."""
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=(rows, 3)),
        "wide": rng.normal(size=(rows, 3)) * 10.0 ** rng.uniform(-8, 8, (rows, 3)),
        "positive": rng.random((rows, 3)),
    }[kind]
    function = lambda x: (np.negative(x).sum(axis=0), np.negative(x) * 2)  # noqa: E731
    got, _ = compiled_by_xla(function, x)(x)
    exact = np.array([math.fsum(-column) for column in x.T])
    assert (np.abs(got - exact) <= 4 * EPS["f8"] * np.log2(rows + 1) * np.abs(x).sum(axis=0)).all()


def test_nothing_of_jax_is_left_outside():
    before = jax.config.jax_enable_x64
    x = np.random.default_rng(0).normal(size=(100, 4))
    x.setflags(write=False)
    lazy = tp.trace(standardise, backend="jax")(x)
    executable = compiled_by_xla(standardise, x)
    first, second = executable(x), executable(x)
    kept = first.copy()
    second += 1  # writable, and nobody else's
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(executable(x), kept)
    assert jax.config.jax_enable_x64 == before
    assert type(lazy.compute()) is np.ndarray
    assert jax.numpy.ones(2).dtype == (np.float64 if before else np.float32)


def test_a_large_result_is_handed_over():
    x = np.random.default_rng(0).normal(size=(20_000, 4))
    lazy = tp.trace(standardise, backend="jax")(x)
    assert "xla_0" in tp.trace(standardise, backend="jax").compile(x).code
    array = lazy.compute()
    assert array is lazy.concrete()
    assert array.base.alone
    array += 1
    close(lazy.compute(), standardise(x))


def test_results_outlive_what_made_them():
    x = np.random.default_rng(0).normal(size=(5_000, 4))
    found = [compiled_by_xla(standardise, x)(x) for _ in range(3)]
    jax.clear_caches()
    for array in found:
        close(array, standardise(x))


def test_lineage_is_untouched():
    x = np.random.default_rng(0).normal(size=(30_000, 4))

    def f(x):
        z = standardise(x)
        return z[z[:, 0] > 0]

    got, want = tp.trace(f, backend="jax")(x), tp.trace(f, backend="numpy")(x)
    assert "xla_0" in tp.trace(f, backend="jax").compile(x).code
    for kind in ("direct", "aggregate", "control", "order"):
        ours, theirs = (tp.provenance(v).rows(5, kind=kind) for v in (got, want))
        assert {k: r.tolist() for k, r in ours.items()} == {k: r.tolist() for k, r in theirs.items()}


def test_threads():
    x = [np.random.default_rng(k).normal(size=(17_000 + k, 4)) for k in range(16)]
    traced_once = tp.trace(standardise, backend="jax")
    with ThreadPoolExecutor(16) as pool:
        for got, given in zip(pool.map(lambda v: traced_once(v).compute(), x), x, strict=True):
            close(got, standardise(given))


def test_the_code(golden):
    assert tp.trace(standardise, backend="jax").compile(np.ones((4, 3))).code == golden


def chosen(x):
    return np.where(x > 0, x * 2, x)


SAID = {
    "numpy": "op by op in NumPy below 65,536, block by block above (backend='numpy': asked for)",
    "torch": "block by block above (backend='torch': NumPy's functions stay NumPy's",
    "jax": "below 65,536, compiled by XLA from 65,536 to 4,194,304 (asked for), in NumPy block by block otherwise",
    "auto": "below 65,536, compiled by XLA from 131,072 to 4,194,304 (jax is imported)",
}


@pytest.mark.parametrize("backend", SAID)
def test_explain(backend):
    said = tp.trace(chosen, backend=backend).compile(np.ones((4, 3))).explain()
    assert "segment of 3 ops at test_xla.py:" in said
    assert SAID[backend] in said


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: np.log1p(x) * 2, "XLA's numpy.log1p is further from NumPy's than rounding"),
        (lambda x: x * np.arange(3) * 2, "computes with f64, i64"),
        (lambda x: x.astype("f4") * x * 2, "mixes f32 and f64"),
    ],
)
def test_what_is_not_for_xla_says_why(function, why):
    x = np.random.default_rng(0).random((10_000, 3))
    executable = tp.trace(function, backend="jax").compile(x)
    assert "not by XLA: " in executable.explain()
    assert why in executable.explain()
    np.testing.assert_array_equal(executable(x), function(x))


@pytest.mark.parametrize("avx512", [False, True])
def test_what_numpy_does_sooner_is_left_to_it(monkeypatch, avx512):
    """Unless XLA was asked for."""
    monkeypatch.setattr(xla, "_has_avx512", lambda: avx512)
    said = {b: tp.trace(lambda x: np.exp(x) * 2, backend=b).compile(np.ones((4, 3))).explain() for b in ("auto", "jax")}
    assert ("not by XLA: numpy.exp is faster in NumPy on this processor" in said["auto"]) == avx512
    assert "compiled by XLA" in said["jax"]
    said = tp.trace(standardise).compile(np.ones((4, 3))).explain()
    assert "not by XLA: arithmetic is sooner done by the kernel for chains" in said


def test_a_backend_there_is_not():
    with pytest.raises(ValueError, match="backend is one of 'auto', 'numpy', 'jax', 'torch', not 'cuda'"):
        tp.trace(standardise, backend="cuda")


@pytest.mark.parametrize("library", ["jax", "torch"])
def test_a_library_that_is_missing(monkeypatch, library):
    monkeypatch.delitem(sys.modules, library, raising=False)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'traceprop\[{library}\]'"):
        tp.trace(standardise, backend=library)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_jax_is_imported_for_those_who_ask_alone():
    code = """
import sys, numpy as np, traceprop as tp
x = np.random.default_rng(0).normal(size=(20_000, 5))
f = tp.trace(lambda x: (x - x.mean(axis=0)) / x.std(axis=0){option})
f(x).compute()
print("jax" in sys.modules, "jax is not imported" in f.compile(x).explain())
"""
    assert run_python(code.format(option="")) == "False True"
    assert run_python(code.format(option=", backend='jax'")) == "True False"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_does_without():
    """XLA's threads do not survive a fork, and who calls it there waits for ever; blocks give the same to rounding."""
    code = """
import os, warnings, numpy as np, traceprop as tp
warnings.simplefilter("ignore")
x = np.random.default_rng(0).normal(size=(20_000, 5))
f = tp.trace(lambda x: (x - x.mean(axis=0)) / x.std(axis=0), backend="jax")
here = f(x).compute()
pid = os.fork()
if not pid:
    os._exit(0 if np.allclose(f(x + 0).compute(), here, atol=1e-9) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    ended = [run_python(code)]
    while (
        ended[-1] == "-11" and len(ended) < 3
    ):  # a fork amid XLA's threads is not always survived by NumPy's libraries
        ended.append(run_python(code))
    assert ended[-1] == "0"
