"""Loops in NumPy and JAX that tell of their steps, and models kept at the end of each pass."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.stores import GradientBlocks


def data(n=50, d=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    return X, (X[:, 0] + rng.normal(size=n) > 0).astype(np.int64)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def of_samples(w, X, y):
    z = X @ w
    return np.logaddexp(0, z) - y * z, (sigmoid(z) - y)[:, None] * X


def descend(ctx, w, X, y, passes=2):
    """The loop; gives every step's single gradients, one sample at a time."""
    expected = []
    for seed in range(passes):
        for xb, yb, rows in ctx.batches(8, shuffle=True, seed=seed):
            expected.append(np.array([of_samples(w, X[row : row + 1], y[row : row + 1])[1][0] for row in rows]))
            residual = sigmoid(xb @ w) - yb
            gradient = residual @ xb / len(rows)
            w -= 0.3 * gradient
            ctx.step(float(np.mean(residual**2)), rows, gradient=gradient, outputs=residual)
            residual[:], gradient[:] = np.nan, np.nan  # the loop may use its arrays again
    return expected


class TestNumpy:
    @pytest.mark.parametrize("proj_dim", [None, 3])
    def test_every_samples_gradient_from_outputs(self, tmp_path, proj_dim):
        from traceprop.training.projection import Projection

        X, y = data()
        options = {"granularity": "op", "gradients": of_samples, "store": tmp_path / "g", "proj_dim": proj_dim}
        with tp.training_context(np.zeros(4), X, y, **options) as ctx:
            expected = np.concatenate(descend(ctx, ctx.model, X, y))
        if proj_dim:
            expected = Projection(3)(expected)
        for steps in (ctx.gradient_store.steps, GradientBlocks(tmp_path / "g" / "steps")):
            np.testing.assert_allclose(steps.gradients(), expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(
                steps.columns()["sample"], np.concatenate([rows for _, rows in ctx.gradient_store.schedule])
            )
        top = tp.attribution_engine(GradientBlocks(tmp_path / "g" / "steps")).attribute(np.ones(4)).top(3)
        assert {entry["source_id"] for entry in top} == {"X_train"}

    def test_every_steps_gradient(self):
        X, y = data()
        with tp.training_context(np.zeros(4), X, y, granularity="batch", gradients=of_samples) as ctx:
            expected = descend(ctx, ctx.model, X, y)
        store = ctx.gradient_store
        np.testing.assert_allclose(store.steps.gradients(), [one.mean(0) for one in expected], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(store.steps.columns()["loss"], [loss for loss, _ in store.schedule], rtol=1e-6)
        assert store.steps.columns()["epoch"].tolist() == [0] * 7 + [1] * 7
        with pytest.raises(ModelError, match="of whole batches"):
            tp.attribution_engine(store.steps)

    def test_more_steps_than_wait_at_a_time(self, monkeypatch):
        monkeypatch.setattr("traceprop.training.step_gradients.WAITING_STEPS", 3)
        monkeypatch.setattr("traceprop.training.told_gradients.WAITING_STEPS", 3)
        X, y = data()
        for level in ("op", "batch"):
            with tp.training_context(np.zeros(4), X, y, granularity=level, gradients=of_samples) as ctx:
                expected = descend(ctx, ctx.model, X, y, 3)
            whole = np.concatenate(expected) if level == "op" else [one.mean(0) for one in expected]
            np.testing.assert_allclose(ctx.gradient_store.steps.gradients(), whole, rtol=1e-5, atol=1e-6)

    def test_the_gradients_at_the_end_of_each_pass(self):
        X, y = data()
        kept = []
        with tp.training_context(np.zeros(4), X, y, gradients=of_samples) as ctx:
            for _ in range(3):
                descend(ctx, ctx.model, X, y, 1)
                kept.append(ctx.model.copy())
        store = ctx.gradient_store
        assert store.steps is None, "what is not recorded is not there"
        assert [(one.epoch, one.step) for one in store.passes] == [(1, 7), (2, 14), (3, 21)]
        for position, w in enumerate(kept):
            np.testing.assert_array_equal(store.pass_gradients(position), of_samples(w, X, y)[1])
        scores = tp.attribution_engine(store, "tracin").scores(X[:2], y[:2])
        expected = np.mean([of_samples(w, X[:2], y[:2])[1] @ of_samples(w, X, y)[1].T for w in kept], axis=0)
        np.testing.assert_allclose(np.asarray(scores) / expected, np.asarray(scores)[0, 0] / expected[0, 0], rtol=1e-4)

    def test_without_a_model(self):
        X, y = data()
        with tp.training_context(X_train=X, y_train=y, granularity="op") as ctx:
            expected = np.concatenate(descend(ctx, np.zeros(4), X, y))
            ctx.log_gradient(np.ones((50, 4)), np.arange(50))
        np.testing.assert_allclose(ctx.gradient_store.steps.gradients(), expected, rtol=1e-5, atol=1e-6)

    def test_whole_gradients_and_what_does_not_fit(self):
        X, y = data()
        w = np.zeros(4)
        with tp.training_context(w, X, y, granularity="op", gradients=of_samples) as ctx:
            for _, _, rows in ctx.batches(10):
                ctx.step(None, rows, gradient=of_samples(w, X[rows], y[rows])[1])
        np.testing.assert_allclose(ctx.gradient_store.steps.gradients(), of_samples(w, X, y)[1], rtol=1e-6)
        with (
            pytest.raises(ModelError, match="gradients of 3 were given"),
            tp.training_context(w, X, y, granularity="op", gradients=of_samples) as ctx,
        ):
            ctx.step(None, np.arange(4), outputs=np.ones(3))
        for model, message in (([1, 2], "NumPy arrays of floats"), ("w", "NumPy arrays of floats")):
            with pytest.raises(ModelError, match=message):
                tp.training_context(model, X, y, gradients=of_samples)
        with tp.training_context(w, X, y, gradients=lambda w, X, y: (np.zeros(3), np.zeros(3))) as ctx:
            list(ctx.batches(25))
        with pytest.raises(ModelError, match=r"they are \(m,\)"):
            ctx.gradient_store.pass_gradients(0)
        with (
            pytest.raises(ModelError, match=r"a batch is \(xb, yb, rows\).*not 2 parts"),
            tp.training_context(w, X, y, gradients=of_samples) as ctx,
        ):
            list(ctx.batches([(X, y)]))


class TestLinearTorch:
    def test_the_gradients_at_the_end_of_each_pass(self):
        torch = pytest.importorskip("torch")
        X, y = data()
        model = torch.nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = torch.nn.CrossEntropyLoss()
        alone = []
        with tp.training_context(model, X, y, loss=loss) as ctx:
            for _ in range(2):
                for xb, yb, _ in ctx.batches(16):
                    optimizer.zero_grad()
                    loss(model(xb), yb).backward()
                    optimizer.step()
                rows = []
                for k in range(50):
                    value = loss(model(torch.from_numpy(X[k : k + 1]).float()), torch.from_numpy(y[k : k + 1]))
                    rows.append(np.concatenate([g.reshape(-1) for g in torch.autograd.grad(value, model.parameters())]))
                alone.append(np.array(rows))
        store = ctx.gradient_store
        assert [(one.epoch, one.step) for one in store.passes] == [(1, 4), (2, 8)]
        for position, expected in enumerate(alone):
            np.testing.assert_allclose(store.pass_gradients(position), expected, rtol=1e-3, atol=1e-5)
        with tp.training_context(model, X, y, loss=loss, granularity="batch") as ctx:
            pass
        with pytest.raises(ModelError, match="no passes were kept"):
            ctx.gradient_store.pass_gradients(0)


def test_jax_params():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    X, y = data()
    X = X.astype(np.float32)
    rng = np.random.default_rng(1)
    params = {
        "a": jnp.asarray(rng.normal(size=(4, 3)), dtype="float32"),
        "b": jnp.asarray(rng.normal(size=3), dtype="float32"),
    }

    def loss(params, x, y):
        z = jnp.tanh(x @ params["a"]) @ params["b"]
        return jnp.mean(jnp.logaddexp(0, z) - y * z)

    step = jax.jit(jax.value_and_grad(loss))
    alone, batches, ends = [], [], []
    store = {}
    for level in ("op", "batch", "epoch"):
        now = params
        with tp.training_context(params, data=tp.dataset(X, y), loss=loss, granularity=level) as ctx:
            for seed in range(2):
                for xb, yb, rows in ctx.batches(20, shuffle=True, seed=seed):
                    value, found = step(now, xb, yb)
                    flat = np.concatenate([np.ravel(part) for part in jax.tree_util.tree_leaves(found)])
                    ctx.step(value, rows, gradient=flat, model=now)
                    if level == "op":
                        alone += [
                            np.concatenate(
                                [
                                    np.ravel(g)
                                    for g in jax.tree_util.tree_leaves(step(now, xb[k : k + 1], yb[k : k + 1])[1])
                                ]
                            )
                            for k in range(len(rows))
                        ]
                        batches.append(flat)
                    now = jax.tree_util.tree_map(lambda p, g: p - 0.1 * g, now, found)
                ctx.model = now
                if level == "op":
                    ends.append(now)
        store[level] = ctx.gradient_store
    np.testing.assert_allclose(store["op"].steps.gradients(), np.array(alone), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(store["batch"].steps.gradients(), np.array(batches), rtol=1e-5, atol=1e-7)
    assert len(store["epoch"].checkpoints) == 2
    for level in ("op", "epoch"):
        for position in range(2):
            found = store[level].pass_gradients(position)
            assert found.shape == (50, 15)
        np.testing.assert_array_equal(store[level].gradients, found)
