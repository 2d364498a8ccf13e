"""JAX primitives over matrices, and others that data steers: lineage is what changed cells show, no more and no less."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jax")
import jax.numpy as jnp
from jax import lax

from tests.lineage.case import Case, complexes, counts, floats
from tests.lineage.judge_jax import judge_arrays


def definite_or_not(rng):
    half = rng.normal(size=(3, 3))
    return half @ half.T + (3 * np.eye(3) if rng.random() < 0.7 else -np.eye(3))


def solved(left, lower, transposed, unit):
    def function(a, b):
        options = {"left_side": left, "lower": lower, "transpose_a": transposed, "unit_diagonal": unit}
        return lax.linalg.triangular_solve(a, b, **options)

    return Case(function, (floats(3, 3), floats(3, 2) if left else floats(2, 3)))


def doubled(v, n):
    return lax.while_loop(lambda c: c[0] < n[0], lambda c: (c[0] + 1, c[1] * 2), (0, v))[1]


CASES = {
    "mulhi": Case(lambda a, b: lax.mulhi(a << 40, b << 40), (counts(3, high=9000), counts(3, high=9000))),
    "cholesky": Case(lambda s: lax.linalg.cholesky(s, symmetrize_input=False), (definite_or_not,)),
    "lu": Case(lax.linalg.lu, (floats(3, 3),)),
    "lu wide": Case(lax.linalg.lu, (floats(2, 3),)),
    "lu of several": Case(lax.linalg.lu, (floats(2, 3, 2),)),
    "qr": Case(jnp.linalg.qr, (floats(3, 3),)),
    "qr complete": Case(lambda a: jnp.linalg.qr(a, mode="complete"), (floats(3, 2),)),
    "qr of complex numbers": Case(jnp.linalg.qr, (complexes(2, 3),)),
    "solve": Case(jnp.linalg.solve, (floats(3, 3), floats(3))),
    "triangle": solved(True, True, False, False),
    "triangle transposed": solved(True, True, True, True),
    "triangle from the right": solved(False, False, False, True),
    "approx_max_k": Case(lambda v: lax.approx_max_k(v, 2, reduction_dimension=0), (floats(4, 2),)),
    "apply": Case(lambda a, i: a.at[i].apply(jnp.exp), (floats(3, 2), counts(2, high=3))),
    "apply across": Case(lambda a, i: a.at[:, i].apply(jnp.exp), (floats(2, 3), counts(2, high=4))),
    "ragged_dot": Case(lambda a, w: lax.ragged_dot(a, w, jnp.array([1, 0, 2])), (floats(3, 2), floats(3, 2, 2))),
    "while": Case(doubled, (floats(3), counts(2, high=4))),
    "while on the carry": Case(lambda v: lax.while_loop(lambda c: c.sum() < 3, lambda c: c + 1, v), (floats(3),)),
}


@pytest.mark.parametrize("name", CASES)
def test_exact(name):
    verdict, parts = judge_arrays(CASES[name])
    assert (verdict.outcome, verdict.why) == ("exact", "")
    assert not any(parts.values())


NAMES_MORE = {
    "sizes of data": Case(lax.ragged_dot, (floats(3, 2), floats(2, 2, 2), lambda rng: rng.permutation([1, 2]))),
    "a while that moves cells": Case(
        lambda v: lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, jnp.roll(c[1], 1)), (0, v))[1], (floats(4),)
    ),
}


@pytest.mark.parametrize("name", NAMES_MORE)
@pytest.mark.filterwarnings("ignore:.*while_loop")
def test_what_names_more_says_so(name):
    verdict, _ = judge_arrays(NAMES_MORE[name])
    assert (verdict.outcome, verdict.why) == ("inexact", "view.exact is False")


def test_wide_factors_are_those_of_the_plain_call():
    """Rows are put in order beside the computation, which stays the library's own, to the bit."""
    import traceprop as tp

    a = np.random.default_rng(2).normal(size=(150, 90)).astype(np.float32)
    for got, want in zip(tp.trace(lambda x: lax.linalg.lu(x))(a), lax.linalg.lu(a), strict=True):
        np.testing.assert_array_equal(got, want)
