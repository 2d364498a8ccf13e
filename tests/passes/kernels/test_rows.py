"""Sums of rows, compiled and by NumPy: the same bits, and the same warnings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lineage.test_values import same
from traceprop.passes.kernels import reference, rows
from traceprop.passes.kernels.rows import sum_of_rows


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(["f4", "f8"]), st.integers(0, 99), st.integers(1, 40))
def test_twins(n, width, dtype, seed, panel):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, width)) * 10.0 ** rng.integers(-9, 9, (n, width))).astype(dtype)
    x[rng.random(x.shape) < 0.05] = -0.0
    total = rng.normal(size=width).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_PANEL", panel)
        same(sum_of_rows(x), reference.sum_of_rows(x, None))
        before = total.copy()
        same(sum_of_rows(x, total), reference.sum_of_rows(x, total))
        same(total, before)


@pytest.mark.parametrize("shape", [(5, 2, 3), (0, 3), (3, 0), (1, 7), (2, 100)])
def test_shapes(shape):
    x = np.random.default_rng(0).normal(size=shape)
    x.setflags(write=False)
    same(sum_of_rows(x), np.add.reduce(x, axis=0))


def test_what_is_not_finite_warns_as_numpy_does():
    x = np.full((4, 2), np.finfo(float).max)
    with pytest.warns(RuntimeWarning, match="overflow encountered in reduce"):
        same(sum_of_rows(x), np.array([np.inf, np.inf]))
    x[0, 0] = np.nan
    x[:, 1] = 1
    same(sum_of_rows(x), np.array([np.nan, 4.0]))
