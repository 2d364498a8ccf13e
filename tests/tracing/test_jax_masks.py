"""Triangles and diagonals of JAX arrays: a cell that a mask of positions leaves out is not named, in small and large arrays."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jax")
import jax
import jax.numpy as jnp

import traceprop as tp
from tests.lineage.case import Case, floats
from tests.lineage.judge_jax import judge_arrays

LOWER = np.tri(3, dtype=bool)
CASES = {
    "tril": Case(jnp.tril, (floats(3, 4),)),
    "triu of several": Case(lambda x: jnp.triu(x, 1), (floats(2, 3, 3),)),
    "trace": Case(jnp.trace, (floats(3, 3),)),
    "diag": Case(lambda v: jnp.diag(v, 1), (floats(3),)),
    "either": Case(lambda a, b: jnp.where(LOWER, a, b), (floats(3, 3), floats(3, 3))),
    "off the diagonal": Case(lambda a: jnp.where(jnp.eye(3, dtype=bool), 0, a), (floats(3, 3),)),
    "any mask": Case(lambda a: jnp.where(np.array([[True, False], [False, False]]), a, a * 2), (floats(2, 2),)),
}
LARGE = 70
"""More cells than are computed while tracing: masks are ops here."""


@pytest.mark.parametrize("name", CASES)
def test_exact(name):
    verdict, _ = judge_arrays(CASES[name])
    assert (verdict.outcome, verdict.why) == ("exact", "")


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (jnp.tril, lambda i, j: j <= i),
        (lambda x: jnp.tril(x, -2), lambda i, j: j <= i - 2),
        (lambda x: jnp.triu(x, 3), lambda i, j: j >= i + 3),
        (lambda x: jnp.where(jnp.eye(LARGE, k=1, dtype=bool), x, 0), lambda i, j: j == i + 1),
        (lambda x: jnp.where(jnp.arange(LARGE)[:, None] < jnp.arange(LARGE), 0, x), lambda i, j: i >= j),
    ],
)
def test_large(function, kept):
    x = np.random.default_rng(4).normal(size=(LARGE, LARGE))
    with jax.enable_x64(True):
        lazy = tp.trace(lambda x: function(x))(jnp.asarray(x))
        view = tp.provenance(lazy)
        np.testing.assert_array_equal(np.asarray(lazy), function(x))
    for i, j in [(0, 0), (0, 1), (1, 0), (5, 3), (3, 5), (5, 6), (4, 7), (69, 0), (69, 67), (69, 68), (0, 69)]:
        named = {tuple(cell) for cells in view.cells((i, j)).values() for cell in cells.tolist()}
        assert named == ({(i, j)} if kept(i, j) else set()), (i, j)
    assert view.exact
