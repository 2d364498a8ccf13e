"""Attribution of networks: by factors, at checkpoints, against gradients written out and against retraining."""

from __future__ import annotations

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.explain.estimators import network

torch = pytest.importorskip("torch")
from traceprop.training.torch import margins  # noqa: E402

nn = torch.nn

N, T = 90, 60


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, one inside of a ring: nothing linear tells them apart."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)).astype(np.float32)
    return X, (np.square(X).sum(axis=1) + 0.2 * rng.normal(size=n) > 1.2).astype(np.int64)


def trained(X, y, classes: int = 2, epochs: int = 12, rows=None, seed: int = 0, **options):
    rows = np.arange(len(X)) if rows is None else rows
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, classes))
    loss = nn.CrossEntropyLoss() if classes > 1 else bce
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with tp.training_context(model, X[rows], y[rows], loss=loss, source_id="ring", **options) as ctx:
        for epoch in range(epochs):
            for xb, yb, at in ctx.batches(16, shuffle=True, seed=epoch):
                optimizer.zero_grad()
                value = loss(model(xb), yb)
                value.backward()
                optimizer.step()
                ctx.step(value, at)
    return model, ctx.gradient_store


def bce(out, y):
    return nn.functional.binary_cross_entropy_with_logits(out.squeeze(-1), y.float(), reduction="mean")


@pytest.fixture(scope="module")
def ring():
    X, y = points(N, 0)
    X_test, y_test = points(T, 1)
    return X, y, X_test, y_test


@pytest.fixture(scope="module")
def store(ring):
    return trained(*ring[:2])[1]


def retrained(X, y, seed: int):
    """The same training on fewer rows, from another start, without a context."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)
    for _ in range(12):
        for at in torch.randperm(len(X)).split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[at]), labels[at]).backward()
            optimizer.step()
    return model


def margin_gradients(model, X, y, values_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Margins (n,) and their gradients (n, p), one sample at a time."""
    model = model.double().eval()
    if values_only:
        with torch.no_grad():
            out = model(torch.from_numpy(X).double())
        return margins(out, torch.from_numpy(y)).numpy(), np.empty(0)
    values, rows = [], []
    for x, label in zip(torch.from_numpy(X).double(), y, strict=True):
        out = model(x[None])[0]
        others = torch.cat([out[:label], out[label + 1 :]])
        value = out[label] - torch.logsumexp(others, 0)
        values.append(value.item())
        rows.append(np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(value, list(model.parameters()))]))
    return np.array(values), np.array(rows)


class TestGaussNewton:
    def test_scores_are_those_of_the_matrix_written_out(self, ring):
        X, y, X_test, y_test = ring
        model, store = trained(X, y)
        found = tp.attribution_engine(store, checkpoints=1, damping=0.7).scores(X_test, y_test)
        f, J = margin_gradients(model, X, y)
        _, J_test = margin_gradients(model, X_test, y_test)
        p = 1 / (1 + np.exp(-f))
        scaled = J * np.sqrt(p * (1 - p))[:, None]
        matrix = scaled.T @ scaled + 0.7 * (scaled**2).sum() / N * np.eye(J.shape[1])
        expected = (J_test @ np.linalg.solve(matrix, J.T)) * (1 - p)
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3 * np.abs(expected).max())
        assert found.verdict == "estimated"
        assert "at the trained parameters" in found.why

    @pytest.mark.parametrize("name", ["influence", "newton"])
    @pytest.mark.parametrize("n", [N, 40])  # of 82 parameters
    def test_both_forms_of_the_matrix_give_the_same(self, ring, monkeypatch, name, n):
        X, y, X_test, y_test = ring[0][:n], ring[1][:n], *ring[2:]
        store = trained(X, y, epochs=3)[1]
        gradient = np.random.default_rng(0).normal(size=82)

        def ask():
            engine = tp.attribution_engine(store, name, damping=0.5)
            found = engine.scores(X_test, y_test), engine.effect([[0, 3], [7]], X_test, y_test)
            forms = {type(solver).__name__ for solver in engine._estimator._made.values()}
            return forms, [*map(np.asarray, found), np.asarray(engine.attribute(gradient).scores)]

        forms, found = ask()
        assert forms == {"PrimalGaussNewton" if n > 82 else "DualGaussNewton"}
        monkeypatch.setattr(network, "GRADIENTS", 0)
        forms, again = ask()
        assert forms == {"DualGaussNewton"}
        for mine, theirs in zip(found, again, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())

    def test_of_one_logit_and_of_two_it_is_the_same_kind_of_answer(self, ring):
        X, y, X_test, y_test = ring
        store = trained(X, y, classes=1)[1]
        engine = tp.attribution_engine(store, checkpoints=1)
        scores = engine.scores(X_test, y_test)
        assert engine.estimator == "influence"
        others = tp.attribution_engine(trained(X, y)[1], checkpoints=1).scores(X_test, y_test)
        assert np.corrcoef(scores.ravel(), others.ravel())[0, 1] > 0.5

    def test_it_predicts_what_retraining_does(self, ring):
        """A linear datamodeling score over really retrained models, against the dot product's."""
        from scipy.stats import spearmanr

        X, y, X_test, y_test = ring
        store = trained(X, y)[1]
        rng = np.random.default_rng(0)
        kept = np.stack([np.isin(np.arange(N), rng.permutation(N)[: N // 2]) for _ in range(16)])
        truth = [
            margin_gradients(retrained(X[stay], y[stay], seed), X_test, y_test, values_only=True)[0]
            for seed, stay in enumerate(kept)
        ]

        def lds(name):
            scores = np.asarray(tp.attribution_engine(store, name).scores(X_test, y_test))
            predicted = kept @ scores.T
            return np.mean([spearmanr(predicted[:, t], np.array(truth)[:, t])[0] for t in range(T)])

        found = {name: lds(name) for name in ("influence", "trak", "ekfac", "tracin")}
        assert found["influence"] > 0.3
        assert found["trak"] > 0.3
        assert found["ekfac"] > found["tracin"]
        assert found["influence"] > found["tracin"]

    def test_damping_comes_from_held_out_rows_and_not_from_training_rows(self, store, ring):
        X, y, X_test, y_test = ring
        assert "which training never saw" in tp.attribution_engine(store).scores(X_test, y_test).why
        assert "least residual" in tp.attribution_engine(store).scores(X, y).why
        assert "least residual" in tp.attribution_engine(store).scores(X_test[:5], y_test[:5]).why
        engine = tp.attribution_engine(store)
        assert "least residual" in engine.scores(X, y).why
        assert "which training never saw" in engine.scores(X_test, y_test).why  # training rows have settled nothing
        assert "as given" in tp.attribution_engine(store, damping=2.0).scores(X_test, y_test).why

    def test_the_dual_and_projected_forms_agree_where_nothing_is_lost(self, store, ring):
        """82 parameters projected to no fewer dimensions: another matrix, one answer."""
        X_test, y_test = ring[2:]
        dual = tp.attribution_engine(store, damping=1.0).scores(X_test, y_test)
        primal = tp.attribution_engine(store, "trak", damping=1.0).scores(X_test, y_test)
        assert np.corrcoef(dual.ravel(), primal.ravel())[0, 1] > 0.95

    def test_newton_leaves_one_row_out_as_its_set_of_one(self, store, ring):
        X_test, y_test = ring[2:]
        engine = tp.attribution_engine(store, "newton", checkpoints=2, damping=0.5)
        scores = engine.scores(X_test, y_test)
        effects = engine.effect([[3], [3, 4, 5]], X_test, y_test)
        np.testing.assert_allclose(-effects[0], scores[:, 3], rtol=1e-2, atol=1e-4)
        scores = tp.attribution_engine(store, "newton", checkpoints=1, damping=0.5).scores(X_test, y_test)
        influence = tp.attribution_engine(store, "influence", checkpoints=1, damping=0.5).scores(X_test, y_test)
        assert (np.abs(scores) >= np.abs(influence) * (1 - 1e-3)).all()


class TestAll:
    @pytest.mark.parametrize("name", ["influence", "newton", "tracin", "dot", "cosine"])
    def test_a_test_gradient_asks_the_same_as_the_test_row(self, name, ring):
        """engine.attribute(gradient of a test loss) is engine.scores of outcome "loss"."""
        X, y, X_test, y_test = ring
        model, store = trained(X, y)
        engine = tp.attribution_engine(
            store, name, outcome="loss", checkpoints=1, **({"damping": 1.0} if name in ("influence", "newton") else {})
        )
        model = model.float().eval()
        out = model(torch.from_numpy(X_test[:1]))
        value = nn.functional.cross_entropy(out, torch.from_numpy(y_test[:1]))
        gradient = torch.autograd.grad(value, list(model.parameters()))
        expected = np.asarray(engine.scores(X_test[:1], y_test[:1]))[0]
        np.testing.assert_allclose(
            engine.attribute(list(gradient)).scores, expected, rtol=2e-2, atol=1e-4 * np.abs(expected).max()
        )

    @pytest.mark.parametrize("name", ["influence", "newton", "trak", "ekfac", "tracin", "dot", "cosine", "last-layer"])
    def test_a_row_speaks_for_its_own_label(self, name, store, ring):
        X, y = ring[:2]
        scores = np.asarray(tp.attribution_engine(store, name).scores(X, y))
        assert (np.diagonal(scores) > 0).mean() > 0.95
        assert scores.dtype == np.float32

    def test_cosines_are_cosines(self, store, ring):
        scores = np.asarray(tp.attribution_engine(store, "cosine").scores(*ring[:2]))
        np.testing.assert_allclose(np.diagonal(scores), 1.0, atol=1e-4)
        assert np.abs(scores).max() <= 1 + 1e-4

    def test_the_answer_speaks_in_rows_of_sources(self, store, ring):
        result = tp.attribution_engine(store).explain(ring[2][0], ring[3][0], top_k=3)
        assert [entry["source_id"] for entry in result.top(3)] == ["ring"] * 3

    def test_a_network_of_one_output_and_another_loss(self, ring):
        X, _, X_test, _ = ring
        target = np.square(X).sum(axis=1)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        loss = lambda out, y: (out.squeeze(-1) - y) ** 2  # noqa: E731
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=50)

        def closure():
            optimizer.zero_grad()
            value = loss(model(torch.from_numpy(X)), torch.from_numpy(target)).mean()
            value.backward()
            return value

        with tp.training_context(model, X, target, loss=loss) as ctx:
            optimizer.step(closure)
        engine = tp.attribution_engine(ctx.gradient_store)
        assert engine.estimator == "influence"
        scores = engine.scores(X_test, np.square(X_test).sum(axis=1))
        assert np.isfinite(scores).all()

    def test_what_has_no_number_that_decides_is_refused_by_name(self, ring):
        X, _, _, _ = ring
        target = np.stack([X[:, 0], X[:, 1] ** 2], axis=1).astype(np.float32)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        with tp.training_context(model, X, target, loss=lambda out, y: ((out - y) ** 2).sum(dim=1)) as ctx:
            pass
        engine = tp.attribution_engine(ctx.gradient_store)
        assert engine.estimator == "dot"
        assert np.isfinite(engine.scores(X[:3], target[:3])).all()
        with pytest.raises(ModelError, match="one number per sample"):
            tp.attribution_engine(ctx.gradient_store, "influence").scores(X[:3], target[:3])
        with pytest.raises(ModelError, match="is unknown"):
            tp.attribution_engine(ctx.gradient_store, "magic")
        with pytest.raises(ModelError, match="at least 1"):
            tp.attribution_engine(ctx.gradient_store, "tracin", checkpoints=0)
        with pytest.raises(ModelError, match="above 0"):
            tp.attribution_engine(ctx.gradient_store, "influence", damping=-1)


class TestCheckpoints:
    def test_one_at_each_pass_and_no_more_when_nothing_changed(self, store):
        assert [c.epoch for c in store.checkpoints] == list(range(1, 13))
        assert len(tp.attribution_engine(store, "tracin", checkpoints=3)._estimator.checkpoints) == 3

    def test_a_loop_of_ones_own_keeps_them_by_hand(self, ring):
        X, y = ring[:2]
        model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
        with tp.training_context(model, X, y, loss=nn.CrossEntropyLoss()) as ctx:
            ctx.checkpoint()
            with torch.no_grad():
                model[0].weight.add_(1.0)
        first, last = (c.adapter.model[0].weight for c in ctx.gradient_store.checkpoints)
        np.testing.assert_allclose((last - first).detach().numpy(), 1.0, rtol=1e-5)

    def test_what_training_makes_of_the_model_afterwards_changes_no_answer(self, ring):
        X, y, X_test, y_test = ring
        model, store = trained(X, y, epochs=2)
        before = np.asarray(tp.attribution_engine(store, "dot").scores(X_test, y_test))
        with torch.no_grad():
            model[0].weight.zero_()
        np.testing.assert_array_equal(tp.attribution_engine(store, "dot").scores(X_test, y_test), before)

    def test_many_of_a_large_model_are_thinned(self, store):
        from traceprop.training import checkpoints

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "MANY_BYTES", 4 * 82 * 5)
            kept = checkpoints.kept(list(store.checkpoints))
        assert len(kept) <= 5
        assert (kept[0].epoch, kept[-1].epoch) == (1, 12)
