"""NumPy functions one by one: values as plain, and lineage that is what changed cells show, over several draws."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.case import floats
from tests.lineage.judge import Verdict, judge
from tests.lineage.numpy_functions import CASES
from tests.lineage.numpy_surface import LEFT_OUT, families, public
from traceprop.errors import TraceError

FAMILIES = families()


@pytest.mark.parametrize("name", CASES)
def test_function(name):
    assert judge(CASES[name]) == Verdict("exact")


def test_no_public_function_is_left_out_silently():
    named = {name for each in FAMILIES.values() for name in each}
    assert [name for name in public() if name not in named and name not in LEFT_OUT] == []
    assert [name for name in LEFT_OUT if name in named or name not in public()] == []


@pytest.mark.parametrize("name", "array asarray asanyarray ascontiguousarray asfortranarray require fromiter".split())
def test_what_asks_for_a_plain_array_is_refused(name):
    more = (float,) if name == "fromiter" else ()
    with pytest.raises(TraceError, match=r"traced value.* at test_numpy_functions.py:\d+"):
        tp.trace(lambda a: getattr(np, name)(a, *more))(np.ones(3))


@pytest.mark.parametrize("name", ["copyto", "put", "place", "putmask", "fill_diagonal"])
def test_what_writes_in_place_is_refused(name):
    """NumPy gives None for these, so a trace would lose what they do."""
    more = {"copyto": (0,), "put": ([0], 1.0), "place": (True, [1.0]), "putmask": (True, 1.0), "fill_diagonal": (1.0,)}[
        name
    ]
    with pytest.raises(TraceError, match=rf"in-place write by numpy.{name} at .*test_numpy_functions.py"):
        tp.trace(lambda a: getattr(np, name)(a, *more))(np.ones((2, 2)))


def test_out_that_was_read_before_is_refused():
    """NumPy would change what was read as well."""

    @tp.trace
    def f(a):
        out = np.zeros_like(a)
        first = out[0]
        np.add(a, 1, out=out)
        return first, out

    with pytest.raises(TraceError, match="in-place write"):
        f(np.ones(3))


def test_the_name_behind_out_stands_for_the_result():
    @tp.trace
    def f(a, b):
        out = np.ones_like(a)
        np.divide(a, b, out=out, where=b != 0)
        return out

    result = f(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    np.testing.assert_array_equal(result, [1.0, 0.5])
    assert {s: r.tolist() for s, r in tp.provenance(result).rows(1, "any").items()} == {"a": [1], "b": [1]}


def test_where_without_out_is_refused():
    with pytest.raises(TraceError, match="leaves cells that nothing was written to"):
        tp.trace(lambda a: np.sqrt(a, where=a > 0))(np.ones(3))


def test_an_index_outside_of_an_inner_axis_is_an_error_in_the_run():
    f = tp.trace(lambda a, i: a[i, i])
    with pytest.raises(Exception, match="out of bounds"):
        np.asarray(f(np.ones((5, 3)), np.array([1, 4])))


def test_statistics_of_columns_keep_their_fitted_form():
    """The categories of `np.unique` are part of what a pipeline was fitted on."""
    encode = tp.trace(lambda t: (t[:, None] == np.unique(t)).astype(float))
    fitted = encode.fit(np.array(["b", "a", "c"]))
    np.testing.assert_array_equal(np.asarray(fitted(np.array(["c", "z"]))), [[0, 0, 1], [0, 0, 0]])


def test_rows_stay_rows_through_the_blocks():
    """A batch of matrices, one per row: row i of the inverse is row i of the file."""
    x = tp.from_numpy(floats(4, 2, 2)(np.random.default_rng(0)), source_id="x")
    for result in (np.linalg.inv(x), np.fft.fft(x), np.tril(x), np.linalg.qr(x).Q):
        assert {s: r.tolist() for s, r in tp.provenance(result).rows(2).items()} == {"x": [2]}
