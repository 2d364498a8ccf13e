"""One pipeline through three front doors: NumPy, jax.numpy and PyTorch give equal values, equal lineage, and text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jnp = jax.numpy

KINDS = ("direct", "aggregate", "control", "order", "any")
RNG = np.random.default_rng(11)
X = RNG.normal(size=(6, 3))
W = RNG.normal(size=(3, 2))
MASK = np.array([True, False, True, True, False, True])


@tp.trace
def with_numpy(x, w):
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    ordered = np.take(z, np.argsort(z[:, 0]), axis=0)
    return np.take(ordered, np.array([4, 0, 2]), axis=0) @ w


@tp.trace
def with_jax(x, w):
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    ordered = jnp.take(z, jnp.argsort(z[:, 0]), axis=0)
    return jnp.take(ordered, jnp.array([4, 0, 2]), axis=0) @ w


@tp.trace
def with_torch(x, w):
    z = (x - x.mean(0)) / x.std(0, correction=0)
    ordered = torch.index_select(z, 0, torch.argsort(z[:, 0]))
    return torch.index_select(ordered, 0, torch.tensor([4, 0, 2])) @ w


@tp.trace
def masked_numpy(x, mask, w):
    return ((x - x.mean(axis=0)) / x.std(axis=0))[mask] @ w


@tp.trace
def masked_torch(x, mask, w):
    assert torch.is_tensor(x)
    return ((x - x.mean(0)) / x.std(0, correction=0))[mask] @ w


def rows(lazy: Any) -> list[dict[str, list[int]]]:
    view = tp.provenance(lazy)
    return [{s: r.tolist() for s, r in view.rows(i, kind).items()} for i in range(len(lazy)) for kind in KINDS]


def same(left: Any, right: Any) -> None:
    assert np.asarray(left).dtype == np.asarray(right).dtype == np.float64
    np.testing.assert_allclose(np.asarray(right), np.asarray(left), rtol=1e-6)
    assert rows(left) == rows(right)


@pytest.mark.parametrize("function", [with_jax, with_torch], ids=["jax", "torch"])
def test_sorted_and_taken(function):
    same(with_numpy(X, W), function(X, W))


def test_masked():
    same(masked_numpy(X, MASK, W), masked_torch(X, MASK, W))


def test_what_the_rows_are():
    order = np.argsort(X[:, 0])

    for function in (with_numpy, with_jax, with_torch):
        found = [r["x"].tolist() for r in (tp.provenance(function(X, W)).rows(i) for i in range(3))]
        assert found == [[order[4]], [order[0]], [order[2]]]


@pytest.mark.parametrize(
    "function, args",
    [(with_numpy, (X, W)), (with_jax, (X, W)), (with_torch, (X, W)), (masked_numpy, (X, MASK, W)),
     (masked_torch, (X, MASK, W))],
    ids=["numpy", "jax", "torch", "numpy_masked", "torch_masked"],
)  # fmt: skip
@pytest.mark.parametrize("stage", ["traced", "optimized"])
def test_text(function, args, stage):
    program = function.ir(*args, stage=stage)

    assert tp.ir.parse(str(program), tp.ir.constants_of(program)) == program
