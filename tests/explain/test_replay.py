"""The recorded run, differentiated: against runs with a little more of a row, and against runs without rows."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional

N, BATCH, EPOCHS = 60, 8, 4
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.2, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.02),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.9)),
}


def smooth():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N + 12, 4))
    y = (X @ rng.normal(size=(4, 3)) + rng.normal(size=(N + 12, 3))).argmax(axis=1)
    return X[:N], y[:N], X[N:], y[N:]


def trained(rows, make, weights=None, ctx=None, model=None):
    X, y = torch.from_numpy(rows[0]), torch.from_numpy(rows[1])
    weights = torch.ones(N).double() if weights is None else torch.from_numpy(weights)
    model = model or smooth()
    optimizer = make(list(model.parameters()))
    rng = np.random.default_rng(1)
    for _ in range(EPOCHS):
        order = rng.permutation(N)
        for start in range(0, N, BATCH):
            at = order[start : start + BATCH]
            optimizer.zero_grad()
            losses = F.cross_entropy(model(X[at]), y[at], reduction="none")
            loss = (losses * weights[at]).sum() / weights[at].sum()
            loss.backward()
            optimizer.step()
            if ctx is not None:
                ctx.step(loss, at)
    return model


def recorded(rows, make, model=None, start=True):
    model = model or smooth()
    with tp.training_context(model, rows[0], rows[1], loss=F.cross_entropy, source_id="rows") as ctx:
        if start:
            ctx.checkpoint()
        trained(rows, make, ctx=ctx, model=model)
    return ctx.gradient_store


def margins(model, rows):
    with torch.no_grad():
        out = model(torch.from_numpy(rows[2])).numpy()
    own = out[np.arange(len(out)), rows[3]].copy()
    out[np.arange(len(out)), rows[3]] = -np.inf
    return own - np.log(np.exp(out).sum(axis=1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_derivative_is_that_of_runs_with_a_little_more(rows, name):
    make = OPTIMIZERS[name]
    engine = tp.attribution_engine(recorded(rows, make), "replay", optimizer=make, curvature="hessian")
    scores = np.asarray(engine.scores(rows[2], rows[3]), dtype=np.float64)
    rng = np.random.default_rng(2)
    for _ in range(2):
        direction, step = rng.normal(size=N), 1e-5
        more, less = (margins(trained(rows, make, 1 + sign * step * direction), rows) for sign in (1, -1))
        np.testing.assert_allclose(scores @ direction, (more - less) / (2 * step), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("curvature", ["hessian", "gauss-newton"])
def test_effects_are_those_of_runs_without_rows(rows, curvature):
    make = OPTIMIZERS["momentum"]
    store = recorded(rows, make)
    engine = tp.attribution_engine(store, "replay", optimizer=make, curvature=curvature)
    sets = [[k] for k in range(0, N, 4)]
    predicted = np.asarray(engine.effect(sets, rows[2], rows[3]))
    before = margins(store.model, rows)
    actual = []
    for gone in sets:
        weights = np.ones(N)
        weights[gone] = 0.0
        actual.append(margins(trained(rows, make, weights), rows) - before)
    assert np.corrcoef(predicted.ravel(), np.concatenate(actual))[0, 1] > 0.97


def test_a_gradient_asks_as_its_row_does(rows):
    make = OPTIMIZERS["adam"]
    store = recorded(rows, make)
    engine = tp.attribution_engine(store, "replay", optimizer=make, outcome="loss")
    scores = np.asarray(engine.scores(rows[2][:1], rows[3][:1]))[0]
    loss = F.cross_entropy(store.model(torch.from_numpy(rows[2][:1])), torch.from_numpy(rows[3][:1]))
    gradient = torch.autograd.grad(loss, list(store.model.parameters()))
    found = engine.attribute(list(gradient), top_k=N)
    np.testing.assert_allclose([row["influence_score"] for row in found.top(N)], np.sort(scores)[::-1], rtol=1e-5)
    assert found.verdict == "estimated"


def test_a_run_that_is_not_the_recorded_one_is_refused(rows):
    make = OPTIMIZERS["sgd"]
    store = recorded(rows, make)

    def other(parameters):
        return torch.optim.SGD(parameters, lr=0.2)

    def ask(**options):
        return tp.attribution_engine(store, "replay", **options).scores(rows[2], rows[3])

    with pytest.raises(ModelError, match="leads elsewhere"):
        ask(optimizer=other)
    with pytest.raises(ModelError, match="needs optimizer="):
        ask()
    with pytest.raises(ModelError, match="SGD, Adam and AdamW"):
        ask(optimizer=lambda p: torch.optim.RMSprop(p))
    with pytest.raises(ModelError, match="amsgrad"):
        ask(optimizer=lambda p: torch.optim.Adam(p, amsgrad=True))
    with pytest.raises(ModelError, match="'gauss-newton' or 'hessian'"):
        ask(optimizer=make, curvature="none")
    with pytest.raises(ModelError, match="optimizer= is for"):
        tp.attribution_engine(store, "influence", optimizer=make)
    late = recorded(rows, make, start=False)
    with pytest.raises(ModelError, match="from its start"):
        tp.attribution_engine(late, "replay", optimizer=make).scores(rows[2], rows[3])


@pytest.mark.parametrize(
    ("layer", "why"), [(nn.Dropout(0.5), "draws are not recorded"), (nn.BatchNorm1d(6), "loss of its")]
)
def test_layers_that_a_run_cannot_be_replayed_through_are_named(rows, layer, why):
    model = nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(6, 3)).double()
    store = recorded(rows, OPTIMIZERS["sgd"], model=model)
    with pytest.raises(ModelError, match=why):
        tp.attribution_engine(store, "replay", optimizer=OPTIMIZERS["sgd"]).scores(rows[2], rows[3])
