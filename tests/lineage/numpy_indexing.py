"""Every form of index that NumPy takes, read and written, each with arrays to try it on."""

from __future__ import annotations

from typing import Any

import numpy as np

import traceprop as tp
from tests.lineage.case import Case, counts, floats, masks

A, V, X = floats(4, 3), floats(5), floats(2, 3, 4)
GONE = "a row that is gone is no cell of it"
MASK = np.array([True, False, True, True])


def _masks_of(n: int) -> Any:
    """Masks with a true cell, so that there is a row to ask about."""
    return lambda rng: rng.random(n) < 0.7


READ: dict[str, Case] = {
    "int": Case(lambda a: a[2], (A,)),
    "int from the end": Case(lambda a: a[-1], (A,)),
    "ints": Case(lambda a: a[1, 2], (A,)),
    "NumPy int": Case(lambda a: a[np.int64(1)], (A,)),
    "slice": Case(lambda a: a[1:3], (A,)),
    "slices": Case(lambda a: a[1:, :-1], (A,)),
    "slice with a step": Case(lambda a: a[::2, 1::2], (A,)),
    "slice backwards": Case(lambda a: a[::-1, 2:0:-1], (A,)),
    "slice past the end": Case(lambda a: a[2:99], (A,)),
    "slice of nothing": Case(lambda a: a[3:1], (A,)),
    "None": Case(lambda v: v[:, None], (V,)),
    "Nones": Case(lambda a: a[None, :, None, 1], (A,)),
    "ellipsis": Case(lambda x: x[..., 1], (X,)),
    "ellipsis in the middle": Case(lambda x: x[0, ..., 2], (X,)),
    "ellipsis of no axis": Case(lambda a: a[1, 2, ...], (A,)),
    "ellipsis alone": Case(lambda a: a[...], (A,)),
    "empty tuple": Case(lambda a: a[()], (A,)),
    "boolean array": Case(lambda a: a[MASK], (A,)),
    "boolean array of another axis": Case(lambda a: a[:, np.array([True, False, True])], (A,)),
    "boolean array of two axes": Case(lambda a: a[np.eye(4, 3, dtype=bool)], (A,)),
    "boolean array of the first of three axes": Case(lambda x: x[np.eye(2, 3, dtype=bool)], (X,)),
    "boolean array behind an axis": Case(lambda x: x[:, np.eye(3, 4, dtype=bool)], (X,)),
    "boolean list": Case(lambda a: a[[True, False, False, True]], (A,)),
    "mask of the data": Case(lambda a, m: a[m], (A, _masks_of(4)), GONE),
    "mask by comparison": Case(lambda v: v[v > 0], (V,), GONE),
    "mask of a matrix by comparison": Case(lambda a: a[a > 0], (A,), GONE),
    "mask of rows and a column": Case(lambda a, m: a[m, 1], (A, _masks_of(4)), GONE),
    "mask of rows and slices": Case(lambda a, m: a[m, ::2], (A, _masks_of(4)), GONE),
    "mask of columns": Case(lambda a, m: a[:, m], (A, _masks_of(3)), GONE),
    "masks in a row": Case(lambda a, m: a[m][:, np.array([True, False, True])], (A, _masks_of(4)), GONE),
    "mask turned round": Case(lambda a, m: a[~m], (A, _masks_of(4)), GONE),
    "boolean scalar": Case(lambda a: a[True], (A,)),
    "integer array": Case(lambda a: a[np.array([2, 0, 2, -1])], (A,)),
    "integer list": Case(lambda a: a[[3, 1]], (A,)),
    "integer array of two axes": Case(lambda v: v[np.array([[0, 1], [4, -1]])], (V,)),
    "integer array of no axis": Case(lambda a: a[np.array(2)], (A,)),
    "integer array of unsigned numbers": Case(lambda a: a[np.array([1, 0], dtype=np.uint8)], (A,)),
    "empty integer array": Case(lambda a: a[np.array([], dtype=int)], (A,)),
    "empty list": Case(lambda a: a[[]], (A,)),
    "integer array of columns": Case(lambda a: a[:, [2, 0]], (A,)),
    "integer arrays": Case(lambda a: a[[0, 3], [1, 2]], (A,)),
    "integer arrays that broadcast": Case(lambda a: a[np.array([[0], [3]]), np.array([1, 2])], (A,)),
    "integer arrays apart": Case(lambda x: x[[0, 1], :, [1, 3]], (X,)),
    "integer array beside an int": Case(lambda x: x[1, [0, 2]], (X,)),
    "integer array apart from an int": Case(lambda x: x[1, :, [0, 2]], (X,)),
    "integer array beside None": Case(lambda a: a[[1, 2], None], (A,)),
    "integer array beside None and a slice": Case(lambda a: a[None, [1, 2], 1:], (A,)),
    "integer array behind an ellipsis": Case(lambda x: x[..., [0, 3]], (X,)),
    "integer array and boolean array": Case(lambda a: a[[0, 1], np.array([True, False, True])], (A,)),
    "boolean arrays": Case(lambda a: a[MASK, np.array([True, True, True])], (A,)),
    "integers of the data": Case(lambda a, i: a[i], (A, counts(3))),
    "integers of the data in two axes": Case(lambda v, i: v[i], (V, counts(2, 2))),
    "integers of the data for columns": Case(lambda a, i: a[:, i], (A, counts(2, high=3))),
    "integers of the data for rows and columns": Case(lambda a, i, j: a[i, j], (A, counts(2), counts(2, high=3))),
    "integers of the data beside a slice": Case(lambda a, i: a[i, 1:], (A, counts(2))),
    "integers of the data and an int": Case(lambda a, i: a[i, 1], (A, counts(2))),
    "one integer of the data": Case(lambda a, i: a[i[0]], (A, counts(1))),
    "integers by position from the data": Case(lambda a: a[np.argsort(a[:, 0])], (A,)),
    "open mesh": Case(lambda a: a[np.ix_([0, 2], [2, 1])], (A,)),
    "open mesh with a mask": Case(lambda a: a[np.ix_(MASK, [2, 1])], (A,)),
    "nonzero of plain": Case(lambda a: a[np.nonzero(np.eye(4, 3))], (A,)),
    "nonzero of the data": Case(lambda a, m: a[np.nonzero(m)], (A, masks(4, 3)), GONE),
    "where of the data": Case(lambda v: v[np.where(v > 0)], (V,), GONE),
    "take_along_axis": Case(lambda a: np.take_along_axis(a, np.argsort(a, axis=1), axis=1), (A,)),
    "field of a row of rows": Case(lambda x: x[1][2][0], (X,)),
}  # fmt: skip

WRITE: dict[str, Case] = {
    "int": Case(lambda a, b: tp.at(a)[1].set(b[0]), (A, A)),
    "ints": Case(lambda a, b: tp.at(a)[1, 2].set(b[0, 0]), (A, A)),
    "slice": Case(lambda a, b: tp.at(a)[1:3].set(b[:2]), (A, A)),
    "slice of columns": Case(lambda a: tp.at(a)[:, 0].set(0.0), (A,)),
    "slices": Case(lambda a: tp.at(a)[1:, 1:].add(1.0), (A,)),
    "slice with a step": Case(lambda a, b: tp.at(a)[::2].set(b[:2]), (A, A)),
    "slice with a step of columns": Case(lambda a, b: tp.at(a)[:, ::2].set(b[:, :2]), (A, A)),
    "slice backwards": Case(lambda a, b: tp.at(a)[::-1].set(b), (A, A)),
    "ellipsis": Case(lambda x: tp.at(x)[..., 0].set(2.0), (X,)),
    "boolean array": Case(lambda a: tp.at(a)[MASK].set(0.0), (A,)),
    "boolean array of two axes": Case(lambda a: tp.at(a)[np.eye(4, 3, dtype=bool)].set(0.0), (A,)),
    "mask of the data": Case(lambda a: tp.at(a)[a > 0].set(0.0), (A,)),
    "mask of rows": Case(lambda a, m, b: tp.at(a)[m].set(b[0]), (A, masks(4), A)),
    "mask of rows and a column": Case(lambda a, m: tp.at(a)[m, 1].set(0.0), (A, masks(4))),
    "integer array": Case(lambda a, b: tp.at(a)[[2, 0]].set(b[:2]), (A, A)),
    "integer array of columns": Case(lambda a, b: tp.at(a)[:, [2, 0]].set(b[:, :2]), (A, A)),
    "integer arrays": Case(lambda a, v: tp.at(a)[[0, 3], [1, 2]].set(v[:2]), (A, V)),
    "integer array added to": Case(lambda a, b: tp.at(a)[[2, 0]].add(b[:2]), (A, A)),
    "integers of the data": Case(lambda v, i, w: tp.at(v)[i].set(w[:2]), (V, counts(2, high=5), V)),
}  # fmt: skip
