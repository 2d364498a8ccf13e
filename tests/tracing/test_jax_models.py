"""Whole JAX programs: equal to the plain run, asked for lineage, printed as agreed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import traceprop as tp
from traceprop.ir import dump

jax = pytest.importorskip("jax")

from tests.tracing.test_jax import check  # noqa: E402 (which needs JAX)

jnp, lax, nn = jax.numpy, jax.lax, jax.nn

RNG = np.random.default_rng(3)


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) / 2


def mlp(params, x):
    """Two layers and a softmax, over a batch."""
    *hidden, last = params
    for layer in hidden:
        x = nn.relu(x @ layer["w"] + layer["b"])
    return nn.softmax(x @ last["w"] + last["b"])


MLP = [{"w": weights(3, 5), "b": weights(5)}, {"w": weights(5, 2), "b": weights(2)}]


def layer_norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) * scale + shift


def encoder(p, x):
    """A transformer encoder block, pre-norm, two heads: (batch, length, width) to the same."""
    batch, length, width = x.shape
    normed = layer_norm(x, p["scale1"], p["shift1"])
    q, k, v = (
        (normed @ p[name]).reshape(batch, length, 2, width // 2).transpose(0, 2, 1, 3) for name in ("wq", "wk", "wv")
    )
    scores = jnp.einsum("bhid,bhjd->bhij", q, k) / jnp.sqrt(width / 2)
    mixed = jnp.einsum("bhij,bhjd->bhid", nn.softmax(scores, axis=-1), v)
    x = x + mixed.transpose(0, 2, 1, 3).reshape(batch, length, width) @ p["wo"]
    hidden = nn.gelu(layer_norm(x, p["scale2"], p["shift2"]) @ p["w1"] + p["b1"])
    return x + hidden @ p["w2"] + p["b2"]


SHAPES = {
    **dict.fromkeys(("wq", "wk", "wv", "wo"), (4, 4)),
    **dict.fromkeys(("scale1", "shift1", "scale2", "shift2", "b2"), (4,)),
    "w1": (4, 6), "b1": (6,), "w2": (6, 4),
}  # fmt: skip
BLOCK = {name: weights(*shape) for name, shape in SHAPES.items()}


def windows(series):
    """A sliding mean and spread of a series, scaled by all of it, and the last window's place among the sorted."""
    scaled = (series - series.mean()) / series.std()
    cut = scaled[jnp.arange(series.shape[0] - 2)[:, None] + jnp.arange(3)]
    features = jnp.stack([cut.mean(1), cut.std(1), jnp.cumsum(cut[:, -1])], axis=1)
    return features[jnp.argsort(features[:, 0])]


def shown(program: Any) -> str:
    return dump(program, locations=False)


def test_mlp(golden):
    x = weights(4, 3)
    lazy = tp.trace(mlp)(MLP, x)
    with jax.enable_x64(True):
        np.testing.assert_allclose(lazy, mlp(jax.tree.map(jnp.asarray, MLP), jnp.asarray(x)), rtol=1e-6)
    view = tp.provenance(lazy)
    assert view.exact
    assert [view.rows(i)["x"].tolist() for i in range(4)] == [[0], [1], [2], [3]]
    assert view.rows(0, "any")["params_0_w"].tolist() == [0, 1, 2]
    assert shown(view.program) == golden


def test_transformer_block(golden):
    x = weights(2, 3, 4)
    lazy = tp.trace(encoder)(BLOCK, x)
    with jax.enable_x64(True):
        np.testing.assert_allclose(lazy, encoder(jax.tree.map(jnp.asarray, BLOCK), jnp.asarray(x)), rtol=1e-6)
    view = tp.provenance(lazy)
    assert view.exact
    assert view.rows(1, "any")["x"].tolist() == [1]
    assert view.cells((1, 2, 0))["x"].tolist() == [[1, i, j] for i in range(3) for j in range(4)]
    assert shown(view.program) == golden


def test_gradient_of_a_model_names_rows():
    """A gradient summed over a batch reads every row; one per row, its own."""

    def loss(params, x, y):
        return -jnp.sum(y * jnp.log(mlp(params, x)), axis=-1)

    x, y = weights(4, 3), np.eye(2)[[0, 1, 1, 0]]
    total = tp.trace(lambda p, x, y: jax.grad(lambda q: loss(q, x, y).mean())(p))(MLP, x, y)
    apart = tp.trace(lambda p, x, y: jax.vmap(lambda r, t: jax.grad(lambda q: loss(q, r, t))(p)[1]["w"])(x, y))(
        MLP, x, y
    )

    view = tp.provenance(total[1]["w"])
    assert view.rows(0, "any")["x"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(np.asarray(apart).mean(0), total[1]["w"], rtol=1e-6)
    assert tp.provenance(apart).rows(2, "any")["x"].tolist() == [2]


def test_sliding_windows(golden):
    view = check(windows, (RNG.normal(size=7),))

    assert len(view.rows(0, "any")["series"]) == 7
    assert shown(view.program) == golden
