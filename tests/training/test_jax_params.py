"""JAX params: the forms that are linear are found, and their influence and removal are those of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.training.adapter import AbstractLinearAdapter

jax = pytest.importorskip("jax")
jnp, nn = jax.numpy, jax.nn

RNG = np.random.default_rng(0)
N, D, L2 = 240, 4, 0.02
X = RNG.normal(size=(N, D))
Y = (X @ RNG.normal(size=D) + RNG.normal(size=N) > 0).astype(int)
Y3 = (X @ RNG.normal(size=(D, 3)) + RNG.normal(size=(N, 3))).argmax(axis=1)
TARGET = X @ RNG.normal(size=D) + 0.1 * RNG.normal(size=N)


def logistic(params: Any, x: Any, y: Any) -> Any:
    return jnp.logaddexp(0.0, (1 - 2 * y) * (x @ params["w"] + params["b"]))


def squared(params: Any, x: Any, y: Any) -> Any:
    return 0.5 * (x @ params[0] + params[1] - y) ** 2


def softmax(params: Any, x: Any, y: Any) -> Any:
    logits = jnp.einsum("kd,nd->nk", params["kernel"], x) + params["bias"]
    return -jnp.take_along_axis(nn.log_softmax(logits), y[:, None], axis=1)[:, 0]


def network(params: Any, x: Any, y: Any) -> Any:
    hidden = jnp.tanh(x @ params[0]["w"] + params[0]["b"])
    logits = hidden @ params[1]["w"] + params[1]["b"]
    return -jnp.take_along_axis(nn.log_softmax(logits), y[:, None], axis=1)[:, 0]


def fitted(loss: Any, params: Any, y: np.ndarray, weights: Any, rows: Any = slice(None)) -> Any:
    """The params at the minimum of mean loss and penalty; `weights` picks what is penalised."""
    leaves, tree = jax.tree_util.tree_flatten(params)
    sizes = np.cumsum([leaf.size for leaf in leaves])[:-1]

    def placed(vector: Any) -> Any:
        parts = jnp.split(vector, sizes)
        return jax.tree_util.tree_unflatten(
            tree, [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
        )

    def objective(vector: Any) -> Any:
        tried = placed(vector)
        return loss(tried, X[rows], y[rows]).mean() + 0.5 * L2 * (weights(tried) ** 2).sum()

    with jax.enable_x64(True):
        value, hessian = jax.jit(jax.value_and_grad(objective)), jax.jit(jax.hessian(objective))
        found = minimize(
            lambda v: tuple(map(np.asarray, value(v))),
            np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(float),
            jac=True,
            hess=lambda v: np.asarray(hessian(v)),
            method="trust-exact",
            options={"gtol": 1e-11},
        )
        return placed(jnp.asarray(found.x))


def kept(loss: Any, params: Any, y: np.ndarray, weights: Any, **options: Any) -> Any:
    with tp.training_context(params, X, y, loss=loss, l2=L2, source_id="people", **options) as ctx:
        ctx.model = fitted(loss, params, y, weights)
    return ctx.gradient_store


LOGISTIC = {"w": jnp.zeros(D), "b": jnp.zeros(())}
SQUARED = (np.zeros((D,)), np.zeros((1,)))
SOFTMAX = {"kernel": jnp.zeros((3, D)), "bias": jnp.zeros(3)}


def scores_of(model: Any, y: np.ndarray) -> np.ndarray:
    with tp.training_context(model, X, y, source_id="people") as ctx:
        model.fit(X, y)
    return np.asarray(tp.attribution_engine(ctx.gradient_store).scores(X[:20], y[:20]))


@pytest.mark.parametrize(
    ("loss", "params", "y", "weights", "other"),
    [
        (logistic, LOGISTIC, Y, lambda p: p["w"], LogisticRegression(C=1 / (L2 * N), tol=1e-12, max_iter=10_000)),
        (softmax, SOFTMAX, Y3, lambda p: p["kernel"], LogisticRegression(C=1 / (L2 * N), tol=1e-12, max_iter=10_000)),
        (squared, SQUARED, TARGET, lambda p: p[0], Ridge(alpha=L2 * N, tol=1e-12)),
    ],
    ids=["logistic", "softmax, kernel transposed", "squared, numpy leaves"],
)
def test_scores_are_those_of_scikit_learn(loss, params, y, weights, other):
    store = kept(loss, params, y, weights)
    assert isinstance(store.adapter, AbstractLinearAdapter)
    scores = tp.attribution_engine(store).scores(X[:20], y[:20])
    assert scores.verdict == "exact", scores.why
    theirs = scores_of(other, y)
    assert np.abs(np.asarray(scores) - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_reductions_are_undone(reduce):
    store = kept(lambda p, x, y: getattr(logistic(p, x, y), reduce)(), LOGISTIC, Y, lambda p: p["w"])
    plain = kept(logistic, LOGISTIC, Y, lambda p: p["w"])
    np.testing.assert_allclose(store.objective.row_terms(plain.theta).loss, plain.objective.row_terms(plain.theta).loss)


def test_removal_is_retraining():
    gone = list(range(24))
    store = kept(logistic, LOGISTIC, Y, lambda p: p["w"])
    result = tp.unlearn(gradient_store=store, source_id="people", rows=gone)
    assert result.verdict == "certified"
    assert jax.tree_util.tree_structure(result.model) == jax.tree_util.tree_structure(LOGISTIC)
    want = fitted(logistic, LOGISTIC, Y, lambda p: p["w"], slice(24, None))
    for name in LOGISTIC:
        np.testing.assert_allclose(result.model[name], want[name], atol=1e-7)
        assert result.model[name].dtype == store.model[name].dtype
    with pytest.raises(ModelError, match="cannot be changed in place"):
        tp.unlearn(gradient_store=store, source_id="people", rows=gone, inplace=True)


def test_params_that_are_not_linear_keep_gradients():
    params = [
        {"w": jnp.asarray(RNG.normal(size=(D, 5))), "b": jnp.zeros(5)},
        {"w": jnp.asarray(RNG.normal(size=(5, 3))), "b": jnp.zeros(3)},
    ]
    with tp.training_context(params, X, Y3, loss=network, source_id="people") as ctx:
        pass
    store = ctx.gradient_store
    with jax.enable_x64(True):
        wide = jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        for row in (0, 7, N - 1):
            one = jax.grad(lambda p, row=row: network(p, X[row : row + 1], Y3[row : row + 1])[0])(wide)
            vector = np.concatenate([np.ravel(leaf) for leaf in jax.tree_util.tree_leaves(one)])
            np.testing.assert_allclose(store.gradients[row], vector, rtol=1e-9, atol=1e-12)
    scores = tp.attribution_engine(store, estimator="dot").scores(X[:5], Y3[:5])
    assert np.asarray(scores).shape == (5, N)


def test_the_flag_of_jax_is_left_alone():
    before = jax.config.jax_enable_x64
    kept(logistic, LOGISTIC, Y, lambda p: p["w"])
    assert jax.config.jax_enable_x64 == before


def test_refusals():
    with pytest.raises(ModelError, match="need loss="):
        tp.training_context(LOGISTIC, X, Y)
    with pytest.raises(ModelError, match="no trainable parameter"):
        tp.training_context({"w": jnp.zeros(3, int)}, X, Y, loss=logistic)
    with pytest.raises(ModelError, match="handed back"), tp.training_context(LOGISTIC, X, Y, loss=logistic) as ctx:
        ctx.model = [jnp.zeros(D)]
    mixed = lambda p, x, y: logistic(p, x, y) * (1 + x.mean())  # noqa: E731
    with (
        pytest.raises(ModelError, match="neither one value per sample"),
        tp.training_context(LOGISTIC, X, Y, loss=mixed),
    ):
        pass
    with pytest.raises(ModelError, match="NaN"), tp.training_context(LOGISTIC, X, Y, loss=logistic) as ctx:
        ctx.model = {"w": jnp.full(D, jnp.nan), "b": jnp.zeros(())}


def test_other_models_are_trained_in_place():
    model = LogisticRegression()
    with pytest.raises(ModelError, match="cannot become another"), tp.training_context(model, X, Y) as ctx:
        ctx.model = LogisticRegression().fit(X, Y)


def test_scores_and_removal_are_those_of_torch():
    torch = pytest.importorskip("torch")
    store = kept(logistic, LOGISTIC, Y, lambda p: p["w"])
    layer = torch.nn.Linear(D, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.array(store.model["w"]))[None])
        layer.bias.copy_(torch.tensor(np.array(store.model["b"])).reshape(1))

    def loss(logits, y):
        return torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.double(), reduction="none")

    with tp.training_context(layer, X, Y, loss=loss, l2=L2, source_id="people") as ctx:
        pass
    ours, theirs = (np.asarray(tp.attribution_engine(s).scores(X[:20], Y[:20])) for s in (store, ctx.gradient_store))
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
    mine, other = (
        tp.unlearn(gradient_store=s, source_id="people", rows=[0, 5]).model for s in (store, ctx.gradient_store)
    )
    np.testing.assert_allclose(mine["w"], other.weight.detach().numpy()[0], atol=1e-7)
