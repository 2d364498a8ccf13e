"""NumPy functions that are made of others, or of every cell: values bit for bit, lineage against changed cells."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from tests.lineage.oracle import check
from traceprop.tracing.numpy.composed import explicit

X = np.arange(24.0).reshape(6, 4) - 7
SMALL = X[:3, :3].copy()
windows = np.lib.stride_tricks.sliding_window_view

MOVES = {
    "sliding_window_view": lambda x: windows(x[:, 0], 3),
    "sliding_window_view of an axis": lambda x: windows(x, 2, axis=1),
    "pad": lambda x: np.pad(x, 1),
    "pad with a number": lambda x: np.pad(x, ((0, 1), (2, 0)), constant_values=7.0),
    "pad edge": lambda x: np.pad(x, ((1, 2), (0, 1)), mode="edge"),
    "pad reflect": lambda x: np.pad(x, 1, mode="reflect"),
    "pad symmetric": lambda x: np.pad(x, 2, mode="symmetric"),
    "pad wrap": lambda x: np.pad(x, 1, mode="wrap"),
    "split": lambda x: np.split(x, 3),
    "array_split": lambda x: np.array_split(x, 2, axis=1),
    "split at": lambda x: np.hsplit(x, [1, 2]),
    "vsplit": lambda x: np.vsplit(x, 3),
    "delete": lambda x: np.delete(x, -2, axis=0),
    "append": lambda x: np.append(x, x[:1], axis=0),
    "append flat": lambda x: np.append(x, [1.0, 2.0]),
    "rot90": np.rot90,
    "rot90 twice": lambda x: np.rot90(x, 2),
    "rot90 back": lambda x: np.rot90(x, -1),
    "dstack": lambda x: np.dstack([x, x + 1]),
    "flipud": lambda x: np.flipud(x),
    "fliplr": lambda x: np.fliplr(x),
    "diag": lambda x: np.diag(x, 1),
    "diagonal below": lambda x: np.diagonal(x, -1),
    "two arrays of positions": lambda x: x[[0, 1, -1], [2, 0, -1]],
    "two arrays that broadcast": lambda x: x[[[0], [1]], [1, 2]],
    "mask from outside over two axes": lambda x: x[np.eye(3, dtype=bool)],
    "compress": lambda x: np.compress([True, False, True], x, axis=1),
    "trace": lambda x: np.trace(x),
    "tensordot": lambda x: np.tensordot(x, np.ones((3, 2)), axes=([0], [0])),
    "einsum implicit": lambda x: np.einsum("ij", x),
    "einsum with an ellipsis": lambda x: np.einsum("...j->...", x),
    "einsum of a diagonal": lambda x: np.einsum("ii->i", x),
    "ediff1d": lambda x: np.ediff1d(x),
    "interp": lambda x: np.interp(x, [-90.0, 90.0], [0.0, 1.0]),
}


@pytest.mark.parametrize("name", MOVES)
def test_cells_go_where_they_are_said_to(name):
    function = MOVES[name]
    check((lambda x: function(x)) if not hasattr(function, "__code__") else function, SMALL)


CHOICES = {
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1),
    "select": lambda x: np.select([x > 5, x > 0], [x, x * 2], -1.0),
    "isin": lambda x: np.isin(x, [1.0, 2.0]),
    "digitize": lambda x: np.digitize(x, [0.0, 5.0]),
    "searchsorted": lambda x: np.searchsorted([0.0, 3.0], x),
    "allclose": lambda x: np.allclose(x, 0.5),
    "array_equal": lambda x: np.array_equal(x, x * 1),
    "inner": lambda x: np.inner(x, x),
    "vdot": lambda x: np.vdot(x, x),
    "rows found by the data": lambda x: x[np.argmax(x, axis=0), np.arange(3)],
    "inverse": lambda x: np.linalg.inv(x + np.eye(3) * 9),
    "determinant": lambda x: np.linalg.det(x),
    "decomposition": lambda x: np.linalg.qr(x)[1],
    "singular values": lambda x: np.linalg.svd(x)[1],
    "fft": lambda x: np.fft.fft(x[:, 0]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_reported_holds_what_matters(name, recwarn):
    check(CHOICES[name], SMALL, exactly=False)
    assert not [warning for warning in recwarn if "no lineage rule" in str(warning.message)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[x > 0],
        lambda x: np.nonzero(x > 0),
        lambda x: np.argwhere(x > 0),
        lambda x: np.where(x > 0),
        lambda x: np.extract(x > 0, x),
    ],
    ids=["mask", "nonzero", "argwhere", "where", "extract"],
)
def test_cells_that_the_data_chooses(function):
    want, got = function(X), tp.trace(function)(X)
    for plain, lazy in zip(*((each,) if not isinstance(each, tuple) else each for each in (want, got)), strict=True):
        np.testing.assert_array_equal(lazy, plain)
    chosen = np.argwhere(X > 0)
    first = got[0] if isinstance(got, tuple) else got
    view = tp.provenance(first)
    assert view.exact
    for i, cell in enumerate(chosen[:5]):
        kind = "direct" if not isinstance(got, tuple) and np.asarray(first).dtype == float else "control"
        named = view.cells(i if first.ndim == 1 else (i, 0), kind=kind)["x"].tolist()
        assert cell.tolist() in named


def test_rows_stay_open():
    program = tp.trace(lambda x: (np.isin(x, [1.0]), np.pad(x, ((0, 0), (1, 1))), x[x > 0], np.fliplr(x))).ir(X)
    assert [str(value.type) for value in program.returns] == ["bool[N,4]", "f64[N,6]", "f64[K]", "f64[N,4]"]


@pytest.mark.parametrize("subscripts", ["ij,jk", "ij,jk->ik", "...i,i...", "i...,ij->j...", "ij,ij", "ba"])
def test_subscripts_written_out_mean_the_same(subscripts):
    operands = [SMALL] * (subscripts.count(",") + 1)
    np.testing.assert_array_equal(
        np.einsum(subscripts, *operands), np.einsum(explicit(subscripts, [x.ndim for x in operands]), *operands)
    )


@pytest.mark.parametrize(
    "function",
    [lambda x: x[[0], [9]], lambda x: x[np.ones((6, 3), bool)], lambda x: np.split(x, 4)],
    ids=["index", "mask", "split"],
)
def test_what_numpy_refuses_is_refused(function):
    with pytest.raises((IndexError, ValueError)):
        function(X)
    with pytest.raises((IndexError, ValueError)):
        tp.trace(function)(X)
