"""Scores from one gradient per step: against the same sums made by hand from gradients of single samples."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional


def made(kind, n=24):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=n) > 0).astype(np.int64)
    model = nn.Linear(4, 2) if kind == "linear" else nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    return model, X, y


def gradients_now(model, X, y):
    found = []
    for x, label in zip(X, y, strict=True):
        loss = F.cross_entropy(model(torch.from_numpy(x[None])), torch.tensor([label]))
        found.append(
            np.concatenate([g.reshape(-1).numpy() for g in torch.autograd.grad(loss, list(model.parameters()))])
        )
    return np.stack(found).astype(np.float64)


@pytest.mark.parametrize("kind", ["linear", "network"])
@pytest.mark.parametrize("size", [1, 6])
def test_scores_are_sums_over_the_steps_of_a_row(kind, size):
    model, X, y = made(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    steps = []
    with tp.training_context(model, X, y, loss=F.cross_entropy, granularity="batch", source_id="rows") as ctx:
        for epoch in range(2):
            for xb, yb, rows in ctx.batches(size, shuffle=True, seed=epoch):
                steps.append((rows.copy(), gradients_now(model, X[rows], y[rows]).mean(axis=0)))
                optimizer.zero_grad()
                loss = F.cross_entropy(model(xb), yb)
                loss.backward()
                optimizer.step()
                ctx.step(loss, rows)
    expected = np.zeros((3, len(X)))
    asked = gradients_now(model, X[:3], y[:3])
    for rows, gradient in steps:
        expected[:, rows] += (asked @ gradient)[:, None] / len(rows)
    engine = tp.attribution_engine(ctx.gradient_store, "batch-mean", outcome="loss")
    scores = engine.scores(X[:3], y[:3])
    np.testing.assert_allclose(np.asarray(scores), expected, rtol=1e-3, atol=1e-6)
    assert scores.verdict == "estimated"
    margins = np.asarray(tp.attribution_engine(ctx.gradient_store, "batch-mean").scores(X[:3], y[:3]))
    with torch.no_grad():
        p = torch.softmax(model(torch.from_numpy(X[:3])), 1).numpy()[np.arange(3), y[:3]]
    np.testing.assert_allclose(margins, expected / (1 - p)[:, None], rtol=1e-3, atol=1e-5)
    best = engine.explain(X[0], y[0]).top(1)[0]
    assert best["source_id"] == "rows"
    assert best["row"] == int(np.argmax(expected[0])) or size > 1


def test_other_granularities_say_what_is_missing():
    model, X, y = made("network")
    with tp.training_context(model, X, y, loss=F.cross_entropy, granularity="epoch") as ctx:
        pass
    with pytest.raises(ModelError, match='granularity="batch"'):
        tp.attribution_engine(ctx.gradient_store, "batch-mean")
