"""Networks trained independently on the same rows, asked as one: means of what each says, or of TRAK's two factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.passes.kernels.projection import sjlt

torch = pytest.importorskip("torch")
nn = torch.nn

N, T = 50, 60
NAMES = ["trak", "influence", "newton", "ekfac", "tracin", "dot", "cosine", "last-layer"]


def points(n, seed):
    """Two classes, one inside of a ring."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)).astype(np.float32)
    return X, (np.square(X).sum(axis=1) + 0.2 * rng.normal(size=n) > 1.2).astype(np.int64)


X, Y = points(N, 0)
X_TEST, Y_TEST = points(T, 1)


def trained(seed, X=X, y=Y, epochs=4, source_id="ring", loss=None, outputs=2, **options):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs))
    loss = loss or nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with tp.training_context(model, X, y, loss=loss, source_id=source_id, **options) as ctx:
        for epoch in range(epochs):
            for xb, yb, _ in ctx.batches(10, shuffle=True, seed=seed * 100 + epoch):
                optimizer.zero_grad()
                loss(model(xb), yb).mean().backward()
                optimizer.step()
    return ctx.gradient_store


@pytest.fixture(scope="module")
def stores():
    return [trained(seed) for seed in range(3)]


def written_out(adapter, X, y):
    """Margins (n,) and their gradients (n, p), one sample at a time."""
    model = adapter.model.double()
    values, rows = [], []
    for x, label in zip(torch.from_numpy(X).double(), y, strict=True):
        out = model(x[None])[0]
        value = out[label] - out[1 - label]
        values.append(value.item())
        rows.append(np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(value, list(model.parameters()))]))
    model.float()
    return np.array(values), np.array(rows)


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_trak_is_the_mean_of_its_scores_or_of_both_factors_written_out(stores, checkpoints):
    asked = {"checkpoints": checkpoints, "damping": 0.7}
    found = tp.attribution_engine(stores, "trak", average="factors", **asked).scores(X_TEST, Y_TEST)
    means = tp.attribution_engine(stores, "trak", **asked).scores(X_TEST, Y_TEST)
    kernels, pulls = [], []
    for store in stores:
        kept = [store.checkpoints[-1]] if checkpoints == 1 else [store.checkpoints[0], store.checkpoints[-1]]
        for checkpoint in kept:
            f, J = written_out(checkpoint.adapter, X, Y)
            phi, phi_test = (sjlt(rows, J.shape[1]) for rows in (J, written_out(checkpoint.adapter, X_TEST, Y_TEST)[1]))
            p = 1 / (1 + np.exp(-f))
            scaled = phi * np.sqrt(p * (1 - p))[:, None]
            matrix = scaled.T @ scaled + 0.7 * (scaled**2).sum() / N * np.eye(J.shape[1])
            kernels.append(phi_test @ np.linalg.solve(matrix, phi.T))
            pulls.append(1 - p)
    expected = np.mean(kernels, axis=0) * np.mean(pulls, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    mean = np.mean([kernel * pull for kernel, pull in zip(kernels, pulls, strict=True)], axis=0)
    np.testing.assert_allclose(means, mean, rtol=1e-3, atol=1e-4 * np.abs(mean).max())
    assert np.abs(mean - expected).max() > 0.01 * np.abs(expected).max()  # they are not the same
    assert f"averaged over 3 networks, {3 * checkpoints} checkpoints in all" in found.why


@pytest.mark.parametrize("name", NAMES)
def test_the_others_are_the_mean_of_single_stores(stores, name):
    found = tp.attribution_engine(stores, name).scores(X_TEST, Y_TEST)
    single = [np.asarray(tp.attribution_engine(store, name).scores(X_TEST, Y_TEST)) for store in stores]
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=1e-4, atol=1e-4 * np.abs(single).max())
    assert (found.dtype, found.verdict) == (np.float32, "estimated")
    assert "3 networks" in found.why


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outcome", ["margin", "loss"])
def test_one_alone_is_itself_and_their_order_says_nothing(stores, name, outcome):
    def asked(given):
        return np.asarray(tp.attribution_engine(given, name, outcome=outcome).scores(X_TEST, Y_TEST))

    np.testing.assert_array_equal(asked(stores[:1]), asked(stores[0]))
    forth = asked(stores)
    np.testing.assert_allclose(asked(tuple(reversed(stores))), forth, rtol=1e-4, atol=1e-5 * np.abs(forth).max())
    twice = asked([stores[1], stores[1]])
    np.testing.assert_allclose(twice, asked(stores[1]), rtol=1e-4, atol=1e-5 * np.abs(twice).max())


def test_each_network_counts_as_much_however_many_checkpoints_it_kept(stores):
    longer = trained(9, epochs=7)
    found = tp.attribution_engine([longer, stores[0]], "tracin").scores(X_TEST, Y_TEST)
    single = [np.asarray(tp.attribution_engine(one, "tracin").scores(X_TEST, Y_TEST)) for one in (longer, stores[0])]
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=1e-4, atol=1e-5)


def test_every_question_but_a_gradient_is_answered(stores):
    engine = tp.attribution_engine(stores, "trak")
    scores = np.asarray(engine.scores(X_TEST, Y_TEST))
    np.testing.assert_allclose(
        engine.effect([[1, 2, 5]], X_TEST, Y_TEST)[0], -scores[:, [1, 2, 5]].sum(axis=1), rtol=1e-4, atol=1e-5
    )
    found = engine.top_k(X_TEST, Y_TEST, 4)
    np.testing.assert_allclose(np.asarray(found.scores), -np.sort(-scores, axis=1)[:, :4], rtol=1e-4)
    assert engine.explain(X_TEST[0], Y_TEST[0], top_k=3).top(3)[0]["source_id"] == "ring"
    effects = tp.attribution_engine(stores, "newton").effect([[1, 2, 5]], X_TEST, Y_TEST)
    single = [np.asarray(tp.attribution_engine(s, "newton").effect([[1, 2, 5]], X_TEST, Y_TEST)) for s in stores]
    np.testing.assert_allclose(effects, np.mean(single, axis=0), rtol=1e-3, atol=1e-4)
    with pytest.raises(ModelError, match="in the parameters of one model, and this is an ensemble"):
        tp.attribution_engine(stores, "influence").attribute(np.zeros(42))
    assert tp.attribution_engine(stores).estimator == "influence"


def test_forgotten_rows_score_nothing(stores):
    gone = [replace(store, forgotten=np.array([3, 7])) for store in stores[:2]]
    scores = np.asarray(tp.attribution_engine(gone, "trak", damping=1.0).scores(X_TEST, Y_TEST))
    assert np.flatnonzero(~scores.any(axis=0)).tolist() == [3, 7]
    with pytest.raises(ModelError, match="store 1 forgot 0 rows, and store 0 2, or others"):
        tp.attribution_engine([gone[0], stores[1]], "trak")


def test_stores_that_do_not_belong_together(stores, tmp_path):
    from sklearn.linear_model import LogisticRegression

    with tp.training_context(LogisticRegression().fit(X, Y), X, Y) as ctx:
        pass
    linear = ctx.gradient_store
    with tp.training_context(X_train=X, source_id="ring") as ctx:
        ctx.log_gradient(np.ones(3), 0)
    logged = ctx.gradient_store
    other_x, other_y = X.copy(), Y.copy()
    other_x[11, 0] += 1
    other_y[4] = 1 - other_y[4]
    wide = np.concatenate([X, X], axis=1)
    for others, message in (
        ([trained(0, X[:40], Y[:40])], "store 1 has 40 training rows, and store 0 50"),
        ([stores[1], trained(0, source_id="disc")], "store 2 is of the sources disc, and store 0 ring"),
        ([replace(stores[1], X=wide)], r"store 1 has features of shape \(50, 4\), and store 0 \(50, 2\)"),
        ([trained(0, other_x)], "store 1 has other features, first in training row 11"),
        ([trained(0, X, other_y)], "store 1 has other labels, first in training row 4"),
        ([trained(0, proj_dim=16)], "store 1 has a 'sjlt' projection to 16 dimensions, and store 0 no projection"),
        ([linear], "store 1 is of a linear model"),
        ([logged], "store 1 holds gradients without their model"),
        (["run/gradients"], "ctx.gradient_store, or a sequence of them, not str"),
    ):
        with pytest.raises(ModelError, match=message):
            tp.attribution_engine([stores[0], *others], "trak")
    pairs = {"ring": (np.arange(N), np.arange(N)[::-1].copy())}
    with pytest.raises(ModelError, match="other rows of 'ring'"):
        tp.attribution_engine([stores[0], replace(stores[0], owners=replace(stores[0].owners, pairs=pairs))], "trak")
    with pytest.raises(ModelError, match="an empty sequence"):
        tp.attribution_engine([], "trak")
    with pytest.raises(ModelError, match="is of one store; those that average over an ensemble are 'influence', "):
        tp.attribution_engine(stores, "replay")
    with pytest.raises(ModelError, match="'scores' or 'factors', not 'margins'"):
        tp.attribution_engine(stores, "trak", average="margins")
    with pytest.raises(ModelError, match="average= is for estimator='trak'"):
        tp.attribution_engine(stores, "influence", average="factors")
    with pytest.raises(ModelError, match="leave it out"):
        tp.attribution_engine(stores, "trak", model=stores[0].model)


def test_losses_of_different_kinds_have_no_mean(stores):
    squared = trained(0, loss=lambda out, y: (out.squeeze(-1) - y) ** 2, outputs=1)
    with pytest.raises(ModelError, match="losses of different kinds"):
        tp.attribution_engine([stores[0], squared], "trak").scores(X_TEST, Y_TEST)


@pytest.mark.parametrize("average", ["scores", "factors"])
def test_checkpoints_of_one_run_are_averaged_as_networks_are(stores, average):
    store = stores[0]
    options = {"damping": 1.0, "average": average}
    found = tp.attribution_engine(store, "trak", checkpoints=2, **options).scores(X_TEST, Y_TEST)
    ends = [replace(store, checkpoints=[store.checkpoints[place]]) for place in (0, -1)]
    apart = tp.attribution_engine(ends, "trak", **options).scores(X_TEST, Y_TEST)
    np.testing.assert_allclose(found, apart, rtol=1e-4, atol=1e-5)
