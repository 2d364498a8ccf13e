"""Windows of convolution and pooling read exactly the cells, and weigh them by exactly the weights, that the Jacobian shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from tests.tracing.test_jax import check, quickly  # noqa: F401

jax = pytest.importorskip("jax")
jnp, lax = jax.numpy, jax.lax

RNG = np.random.default_rng(11)


def ones(*shape: int) -> np.ndarray:
    """Numbers without zeros, which would hide a dependence."""
    return (RNG.integers(1, 5, size=shape) + RNG.random(shape)).astype(np.float32)


def assert_exact(function: Any, *args: np.ndarray) -> None:
    """The reported cells are those whose derivative is not zero, for every result cell."""
    lazy = tp.trace(function)(*map(jnp.asarray, args))
    view = tp.provenance(lazy)
    assert view.exact
    found = jax.jacobian(function, argnums=tuple(range(len(args))))(*args)
    names = [param.source for param in view.program.params]
    for cell in np.ndindex(lazy.shape):
        cells = view.cells(cell)
        for name, jacobian in zip(names, found, strict=True):
            expected = set(map(tuple, np.argwhere(np.asarray(jacobian[cell])).tolist()))
            assert set(map(tuple, cells.get(name, np.empty((0, 0))).tolist())) == expected, (cell, name)


# (stride, padding, dilation, distance between cells)
LINES = [
    (1, (0, 0), 1, 1), (2, (2, 1), 1, 1), (3, (-1, 0), 1, 1), (1, (2, 1), 2, 1), (2, (-1, 0), 2, 1),
    (1, (0, 0), 1, 3), (2, (2, 1), 1, 3), (3, (-1, 0), 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=str)
def test_convolution_along_a_line(line):
    stride, pad, dilation, base = line

    def convolved(x, w):
        return lax.conv_general_dilated(x, w, (stride,), (pad,), (base,), (dilation,))

    assert_exact(convolved, ones(1, 1, 6), ones(1, 1, 3))


@pytest.mark.parametrize("line", LINES, ids=str)
def test_pooling_along_a_line(line):
    stride, pad, dilation, base = line

    def pooled(x):
        return lax.reduce_window(x, 0.0, lax.add, (3,), (stride,), (pad,), (base,), (dilation,))

    assert_exact(pooled, ones(6))


@pytest.mark.parametrize(("features", "batches"), [(1, 1), (2, 1), (4, 1), (1, 2)])
def test_groups(features, batches):
    def convolved(x, w):
        return lax.conv_general_dilated(
            x, w, (2, 1), "SAME", feature_group_count=features, batch_group_count=batches,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    assert_exact(convolved, ones(2, 3, 2, 4), ones(2, 2, 4 // features, 4))


def test_gaps_in_windows_and_between_cells_are_coarse():
    def convolved(x, w):
        return lax.conv_general_dilated(x, w, (1,), ((2, 2),), (2,), (2,))

    check(convolved, (ones(1, 1, 4).astype(float), ones(1, 1, 2).astype(float)), exact=False)


POOLS = {
    "halves": ((2, 2), (2, 2), "VALID"),
    "overlapping": ((3, 2), (1, 1), "VALID"),
    "padded": ((3, 3), (2, 2), "SAME"),
    "gaps": ((1, 2), (2, 3), "VALID"),
}


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("name", POOLS)
def test_gradients_of_pooling(name):
    widths, strides, padding = POOLS[name]
    x = RNG.normal(size=(4, 3))

    def back(x):
        return jax.grad(lambda y: (lax.reduce_window(y, -jnp.inf, lax.max, widths, strides, padding) ** 2).sum())(x)

    def along(x):
        def pooled(y):
            return lax.reduce_window(y, -jnp.inf, lax.max, widths, strides, padding)

        return jax.jvp(pooled, (x,), (jnp.sin(x),))[1]

    check(back, (x,))
    check(along, (x,))
    assert_exact(lambda x: lax.reduce_window(x, 0.0, lax.add, widths, strides, padding), ones(4, 3))


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_gradients_of_convolution(padding):
    w = RNG.normal(size=(2, 1, 2, 2))

    def back(x):
        return jax.grad(lambda y: (lax.conv_general_dilated(y, w, (2, 1), padding) ** 2).sum())(x)

    check(back, (RNG.normal(size=(1, 1, 4, 3)),))
