"""Segments in blocks: bit by bit what NumPy gives for the whole, whatever the shape, the layout, the block and the thread."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import traceprop as tp
from tests.lineage.programs import ANY, programs
from tests.lineage.test_values import same, traced
from traceprop.errors import ExecutionError
from traceprop.passes.optimize.cse import CSE
from traceprop.passes.optimize.dce import DCE
from traceprop.passes.pipeline import FOR_ARRAYS
from traceprop.runtime import blocks
from traceprop.runtime.executable import Executable

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*has no lineage rule")


def standardise(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def chain(x, y):
    return np.tanh((x - y) / (y + 2.0)) * 3 + np.abs(x)


def softmax(x):
    exp = np.exp(x - x.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True), exp.mean(axis=1)


def mixed(x, y):
    wide = np.sqrt(np.abs(x)) + y
    low, high = wide.min(axis=0), wide.max(axis=0)
    scaled = (wide - low) / (high - low + 1)
    return np.where(scaled > scaled.mean(axis=0), scaled, -wide), wide.sum(axis=0), scaled.var(axis=0, keepdims=True)


def spreads(x):
    y = np.sqrt(np.abs(x))
    apart = (y - y.mean(axis=0)) / y.std(axis=0)
    return apart, (y / y.std(axis=0, ddof=1)).sum(axis=0), y - y.var(axis=1, keepdims=True)


def arithmetic(x):
    for _ in range(5):
        x = np.sqrt(np.abs(x * 1.01 - 0.25) + 0.125)
    return x, (x - x.mean(axis=0)) / 3, 1 / (x + 2) * x


FUNCTIONS = [standardise, chain, softmax, mixed, spreads, arithmetic]


@pytest.fixture
def small_blocks(monkeypatch):
    """Every segment in blocks of a few rows, and on two threads."""
    monkeypatch.setattr(blocks, "LARGE", 1)
    monkeypatch.setattr(blocks, "BLOCK", 20)
    monkeypatch.setattr(blocks, "FOR_TWO", 40)
    monkeypatch.setattr(blocks, "_cores", lambda: 2)


def checked(function, *given):
    got, want = tp.trace(function, backend="numpy")(*given), function(*given)
    for ours, theirs in zip(*((v if isinstance(v, tuple) else (v,)) for v in (got, want)), strict=True):
        same(ours.compute(), np.asarray(theirs))
        assert ours.concrete().flags.f_contiguous == theirs.flags.f_contiguous


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(70_001, 5), (40_003, 2), (300, 401), (90_000, 1), (20, 30, 200)])
def test_blocks_are_the_whole(function, dtype, shape):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(dtype)
    checked(function, *([x, rng.random(shape[-1]).astype(dtype)] if function in (chain, mixed) else [x]))


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda x: x[::2], lambda x: x[:, ::-1], lambda x: x.T.copy().T])
def test_what_lies_otherwise_is_computed_at_once(layout):
    x = layout(np.random.default_rng(0).normal(size=(60_001, 6)))
    checked(standardise, x)
    checked(chain, x, np.arange(6.0))


def test_read_only_nan_and_infinite():
    x = np.random.default_rng(0).normal(size=(50_000, 4))
    x[7, 0], x[30_000, 1], x[40_000, 2], x[:, 3] = np.nan, np.inf, -0.0, 1.0
    x.setflags(write=False)
    for function in FUNCTIONS:
        checked(function, *([x, np.arange(4.0)] if function in (chain, mixed) else [x]))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(ANY))
def test_random_programs_in_small_blocks(small_blocks, program):
    for call in {lazy.call() for lazy in traced(program) if hasattr(lazy, "value")}:
        given = call.concrete_inputs()
        plain = Executable(call.program, record=True, passes=()).run(given)
        fused = Executable(call.program, record=True, passes=(CSE(), DCE(), *FOR_ARRAYS)).run(given)
        for got, want in zip(fused.results, plain.results, strict=True):
            same(got, np.asarray(want))
        for index, kept in plain.captures.items():
            np.testing.assert_array_equal(fused.captures[index], kept)


FLOATS = st.floats(-1e3, 1e3, width=32)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(FUNCTIONS), st.integers(2, 60), st.integers(1, 9), st.sampled_from(["f4", "f8"]), st.integers(0, 99)
)
def test_small_blocks_are_the_whole(small_blocks, function, rows, columns, dtype, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-9, 9, (rows, columns))).astype(dtype)
    x[rng.random(x.shape) < 0.02] = rng.choice([np.nan, np.inf, -0.0])
    checked(function, *([x, rng.random(columns).astype(dtype)] if function in (chain, mixed) else [x]))


UFUNCS = sorted(
    name
    for name, f in vars(np).items()
    if isinstance(f, np.ufunc)
    and f.nin <= 2
    and f.nout == 1
    and not f.signature
    and "d" * f.nin in "".join(t.split("->")[0] + " " for t in f.types)
)


@pytest.mark.parametrize("name", UFUNCS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_cell_is_the_same_whatever_stands_beside_it(name, dtype):
    """What blocks rest on, for every function of cells: no loop of NumPy's rounds the end of an array otherwise."""
    function, rng = getattr(np, name), np.random.default_rng(0)
    given = [(rng.normal(size=4_001) * 10.0 ** rng.integers(-6, 6, 4_001)).astype(dtype) for _ in range(function.nin)]
    whole = function(*given)
    out = np.empty(4_001, whole.dtype)
    for start, stop in zip([0, 1, 4, 9, 20, 53, 160, 1000], [1, 4, 9, 20, 53, 160, 1000, 4001], strict=True):
        function(*(g[start:stop] for g in given), out=out[start:stop])
    same(out, whole)


def test_the_code_of_blocks(golden):
    """A plain function; small arrays pass through the lines that they always had."""
    assert tp.trace(standardise, backend="numpy").compile(np.ones((4, 3))).code == golden


def test_arithmetic_warns_as_numpy_does():
    """The kernel has no warnings: where there is one to give, NumPy computes."""
    x = np.random.default_rng(0).normal(size=(20_000, 5))
    x[:, 1] = 2.0
    traced_once = tp.trace(standardise, backend="numpy")
    assert "chain_" in traced_once.compile(x).code
    with pytest.warns(RuntimeWarning, match="invalid value encountered in divide"):
        got = traced_once(x).compute()
    with np.errstate(all="ignore"):
        same(got, standardise(x))
        same(traced_once(x + 0).compute(), standardise(x))
    with np.errstate(invalid="raise"), pytest.raises(ExecutionError, match=r"numpy\.divide.*invalid"):
        traced_once(x + 0).compute()


@pytest.mark.filterwarnings("error")
def test_arithmetic_is_quiet_where_numpy_is():
    x = np.random.default_rng(0).normal(size=(20_000, 5))
    x[3, 1] = np.nan
    checked(arithmetic, x)


def test_an_error_in_a_block_names_the_users_line():
    def failing(x):
        return np.sqrt(np.subtract(x, 2)) + 1

    x = np.zeros((30_000, 4))
    line = failing.__code__.co_firstlineno + 1
    with (
        np.errstate(invalid="raise"),
        pytest.raises(ExecutionError, match=rf"numpy\.sqrt.*test_blocks\.py:{line}.*invalid"),
    ):
        tp.trace(failing, backend="numpy")(x).compute()


def test_the_second_half_runs_under_the_first_ones_context():
    """Also the error of the second thread is the callers', and no thread is left behind it."""

    def failing(x):
        return np.log(np.subtract(x, 2)) + 1

    x = np.full((200_000, 4), 3.0)
    x[-1] = 0
    with np.errstate(invalid="raise"), pytest.raises(ExecutionError, match="invalid"):
        tp.trace(failing, backend="numpy")(x).compute()
    assert not [thread for thread in threading.enumerate() if thread.name == "traceprop-rows"]


def test_what_is_between_sweeps_is_let_go_of():
    def f(x):
        once = np.exp(x)
        twice = np.log1p(once / once.mean(axis=0))
        return twice / twice.max(axis=0)

    code = tp.trace(f, backend="numpy").compile(np.ones((4, 3))).code
    (segment,) = re.findall(r"def segment_0.*", code, re.DOTALL)
    assert len(re.findall(r"^    del w\d+$", segment, re.MULTILINE)) == 2
    checked(f, np.random.default_rng(0).normal(size=(50_000, 3)))


def test_no_room_for_a_chain_names_the_op(monkeypatch):
    def no_room(*_):
        raise MemoryError("no room")

    x = np.zeros((30_000, 4))
    executable = tp.trace(lambda x: x * 2 + 1, backend="numpy").compile(x)
    monkeypatch.setattr("traceprop.runtime.chains.Chain.run", no_room)
    with pytest.raises(ExecutionError, match=r"numpy\.add.*test_blocks\.py.*no room"):
        executable(x)
