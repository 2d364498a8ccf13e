"""Reductions without NumPy's wrappers give NumPy's bits, for whatever arrays and options there are."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import traceprop as tp
from traceprop.passes.kernels import columns, reference
from traceprop.runtime import reductions
from traceprop.runtime.payloads import resolve

NAMES = ("sum", "prod", "max", "min", "any", "all", "mean", "var", "std")
DTYPES = ("bool", "i1", "u2", "i4", "i8", "f2", "f4", "f8", ">f8", ">f4", "c8", "c16", "O")


def test_every_form_is_confirmed_by_this_numpy():
    assert all(reductions.reduction(name) is not None for name in NAMES)
    assert reductions.reduction("median") is None
    assert resolve("numpy.std") is reductions.std


@st.composite
def arrays(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cells = rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 5, shape)
    for odd in draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 1e300]), max_size=2)):
        cells = np.where(rng.random(shape) < 0.1, odd, cells)
    with np.errstate(all="ignore"):
        array = np.asarray(cells.astype(dtype))
    layout = draw(st.sampled_from(["as it is", "F", "steps", "read-only", "transposed"]))
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "steps" and array.ndim:
        array = array[::2]
    elif layout == "transposed":
        array = array.T
    elif layout == "read-only":
        array.flags.writeable = False
    return array


def outcome(call):
    """What a call gives or raises, with its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = call()
        except Exception as error:
            return type(error), str(error), []
    return type(found), found, sorted(str(each.message) for each in caught)


@given(arrays(), st.data())
def test_same_bits_and_warnings_as_numpy(array, data):
    name = data.draw(st.sampled_from(NAMES))
    axes = st.none()
    if array.ndim:
        axes |= st.integers(0, array.ndim - 1)
        axes |= st.lists(st.integers(0, array.ndim - 1), unique=True, min_size=1).map(
            lambda found: tuple(sorted(found))
        )
    options = {"axis": data.draw(axes)}
    if data.draw(st.booleans()):
        options["keepdims"] = data.draw(st.booleans())
    if name in ("var", "std") and data.draw(st.booleans()):
        options["ddof"] = data.draw(st.sampled_from([0, 1, 2, 0.5, -1]))
    if name in ("sum", "prod", "mean", "var", "std") and array.dtype.kind != "O" and data.draw(st.booleans()):
        options["where"] = np.random.default_rng(0).random(array.shape) < 0.6
    if name in ("sum", "prod", "mean") and data.draw(st.booleans()):
        options["dtype"] = data.draw(st.sampled_from([np.float32, np.complex128]))
    ours = outcome(lambda: reductions.reduction(name)(array, **options))
    own = outcome(lambda: getattr(np, name)(array, **options))
    assert ours[0] is own[0]
    assert ours[2] == own[2]
    if isinstance(own[1], (np.ndarray, np.generic)) and array.dtype.kind != "O":
        assert same(ours[1], own[1])
    else:
        assert repr(ours[1]) == repr(own[1])


def same(one, other):
    """Bits, and for NaN that it is one."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind in "fc":
        one, other = (
            (np.where(np.isnan(x), 0.0, x) for x in (one, other))
            if np.array_equal(np.isnan(one), np.isnan(other))
            else (np.zeros(1), np.ones(1))
        )
    return one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_columns_add_up_in_numpys_order_for_every_width(dtype):
    rng = np.random.default_rng(7)
    for rows in (1, 2, 3, 8, 9, 17, 127, 128, 129, 1000, 9001):
        for width in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 130):
            x = (rng.standard_normal((rows, width)) * 10.0 ** rng.integers(-5, 6, (rows, width))).astype(dtype)
            x[:, ::3] = -0.0
            for name in ("sum", "mean", "var", "std"):
                assert reductions.same_bits(reductions.reduction(name)(x, axis=0), getattr(np, name)(x, axis=0))


@given(st.integers(1, 40), st.integers(2, 20), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32))
def test_kernels_and_twins_give_the_same_bits(rows, width, dtype, seed):
    x = np.random.default_rng(seed).standard_normal((rows, width)).astype(dtype)
    x[x > 2.5] = np.inf
    double = dtype is np.float64
    if columns._columns is reference:
        pytest.skip("the extension is not built")
    found = []
    for module in (columns._columns, reference):
        mean, spread = np.empty(width, dtype), np.empty((2, width), dtype)
        with np.errstate(all="ignore"):
            finite = module.column_means(x, rows, mean, double), module.column_spreads(x, rows, True, spread, double)
        found.append((finite, mean.tobytes() if finite[0] else None, spread.tobytes() if finite[1] else None))
    assert found[0] == found[1]


def test_an_overflow_warns_as_in_numpy():
    x = np.full((50, 3), 1e200)
    x[0] = -1e200
    with pytest.warns(RuntimeWarning, match="overflow"):
        reductions.std(x, axis=0)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        reductions.std(x, axis=0)


def test_a_traced_function_gives_the_bits_of_the_plain_one():
    def standardise(x):
        return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)

    traced = tp.trace(standardise)
    for rows in (1, 10, 1000):
        x = np.random.default_rng(rows).standard_normal((rows, 10))
        assert np.asarray(traced(x)).tobytes() == standardise(x).tobytes()


def test_what_numpy_does_not_confirm_is_left_to_numpy(monkeypatch):
    monkeypatch.setattr(reductions, "same_bits", lambda one, other: False)
    reductions.reduction.cache_clear()
    try:
        assert reductions.reduction("mean") is None
        assert resolve("numpy.mean") is np.mean
    finally:
        reductions.reduction.cache_clear()
