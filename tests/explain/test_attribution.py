"""Attribution as a user calls it: shapes and verdicts, both frameworks alike, and the direction that is right."""

from itertools import pairwise

import numpy as np
import pytest

import traceprop as tp
from traceprop.errors import LineageError, ModelError, RefusedError


def losses(model, X, y):
    return np.logaddexp(0, -model.decision_function(X) * (2 * y - 1))


class TestScores:
    def test_shape_dtype_and_verdict(self, clinics, store):
        scores = tp.attribution_engine(store).scores(clinics.X_test, clinics.y_test)
        assert scores.shape == (40, 138)
        assert scores.dtype == np.float32
        assert scores.verdict == "exact"
        assert "gradient norm" in scores.why
        assert scores[0].verdict == "exact"
        assert type(np.asarray(scores)) is np.ndarray

    def test_one_row_and_many_agree_and_lazy_rows_are_taken(self, clinics, store):
        engine = tp.attribution_engine(store)
        many = engine.scores(clinics.X_test, clinics.y_test)
        lazy = engine.scores(tp.from_numpy(clinics.X_test), tp.from_numpy(clinics.y_test))
        np.testing.assert_array_equal(many, lazy)
        for row in (0, 39):
            one = engine.explain(clinics.X_test[row], clinics.y_test[row])
            np.testing.assert_allclose(one.scores, many[row], rtol=1e-5, atol=1e-8)

    def test_an_unconverged_fit_is_estimated_with_its_gradient_norm(self, clinics):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        with pytest.warns(ConvergenceWarning):
            model = LogisticRegression(max_iter=2).fit(clinics.features, clinics.y)
        with tp.training_context(model, clinics.X, clinics.y) as ctx:
            pass
        scores = tp.attribution_engine(ctx.gradient_store).scores(clinics.X_test, clinics.y_test)
        assert scores.verdict == "estimated"
        assert f"{ctx.gradient_store.gradient_norm:.1e}" in scores.why

    def test_scores_of_a_fit_with_too_few_rows_are_refused(self):
        from sklearn.linear_model import LogisticRegression

        rng = np.random.default_rng(0)
        X = rng.normal(size=(1_000, 301))
        y = (X[:, :5].sum(axis=1) + 2 * rng.normal(size=1_000) > 0).astype(int)
        model = LogisticRegression(C=0.1, max_iter=1_000, tol=1e-8).fit(X, y)
        with tp.training_context(model, X, y) as ctx:
            pass
        for estimator in ("influence", "newton", "dot", "cosine"):
            engine = tp.attribution_engine(ctx.gradient_store, estimator)
            scores = engine.scores(X[:3], y[:3])
            assert scores.verdict == "refused"
            assert "half of the 1,000 training rows is linearly separable" in scores.why
            assert np.isnan(scores).all()
            for result in (engine.explain(X[0], y[0]), engine.attribute(np.ones(302))):
                with pytest.raises(RefusedError, match="linearly separable"):
                    result.top(3)
            assert engine.top_k(X[:3], y[:3], k=2).verdict == "refused"
        effect = tp.attribution_engine(ctx.gradient_store).effect([[0]], X[:3], y[:3])
        assert effect.verdict == "estimated"
        assert "small sets alone" in effect.why

    def test_a_linear_module_with_too_few_rows_is_refused_whatever_is_asked(self):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(0)
        X = rng.normal(size=(120, 60)).astype(np.float32)
        y = (X[:, 0] + 0.5 * rng.normal(size=120) > 0).astype(int)
        layer, loss = torch.nn.Linear(60, 2), torch.nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        with tp.training_context(layer, X, y, loss=loss, l2=0.1, granularity="batch") as ctx:
            for xb, yb, _ in ctx.batches(40):
                optimizer.zero_grad()
                loss(layer(xb), yb).backward()
                optimizer.step()
        for estimator in ("influence", "newton", "dot", "cosine", "batch-mean"):
            engine = tp.attribution_engine(ctx.gradient_store, estimator)
            scores = engine.scores(X[:2], y[:2])
            assert (scores.verdict, np.isnan(scores).all()) == ("refused", True)
            assert "linearly separable" in scores.why

    def test_separable_rows_without_a_penalty_are_refused(self):
        from sklearn.linear_model import LogisticRegression

        X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
        y = np.array([0, 0, 1, 1])
        model = LogisticRegression(C=np.inf, max_iter=50).fit(X, y)
        with tp.training_context(model, X, y) as ctx:
            pass
        engine = tp.attribution_engine(ctx.gradient_store)
        scores = engine.scores(X, y)
        assert scores.verdict == "refused"
        assert np.isnan(scores).all()
        assert engine.effect([[0]], X, y).verdict == "refused"
        result = engine.explain(X[0], y[0])
        for ask in (result.top, result.most_harmful, result.by_source, result.trace_to_file, result.to_pandas):
            with pytest.raises(RefusedError, match="separable"):
                ask()
        refused = tp.unlearn(gradient_store=ctx.gradient_store, rows=[0])
        assert refused.verdict == "refused"
        assert refused.model is None
        assert not refused.verified

    def test_a_column_that_never_varies_does_no_harm(self, clinics):
        from sklearn.linear_model import LogisticRegression

        X = np.hstack([clinics.features, np.zeros((138, 1))])
        model = LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-10).fit(X, clinics.y)
        with tp.training_context(model, X, clinics.y) as ctx:
            pass
        engine = tp.attribution_engine(ctx.gradient_store)
        same = np.hstack([clinics.X_test, np.zeros((40, 1))])
        assert engine.scores(same, clinics.y_test).verdict == "exact"
        varies = engine.scores(same + 1.0, clinics.y_test)
        assert varies.verdict == "estimated"
        assert "open" in varies.why

    def test_outcomes(self, clinics, store):
        margin, loss = (
            tp.attribution_engine(store, outcome=outcome).scores(clinics.X_test, clinics.y_test)
            for outcome in ("margin", "loss")
        )
        np.testing.assert_array_equal(margin, tp.attribution_engine(store).scores(clinics.X_test, clinics.y_test))
        miss = 1 - np.exp(-losses(store.model, clinics.X_test, clinics.y_test))
        np.testing.assert_allclose(loss, miss[:, None] * margin, rtol=1e-4, atol=1e-8)

    def test_regressions_explain_the_loss(self, clinics):
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1.0).fit(clinics.features, clinics.features[:, 0])
        with tp.training_context(model, clinics.X, clinics.features[:, 0]) as ctx:
            pass
        assert tp.attribution_engine(ctx.gradient_store).scores(clinics.X_test, clinics.X_test[:, 0]).verdict == "exact"
        with pytest.raises(ModelError, match="no cross-entropy"):
            tp.attribution_engine(ctx.gradient_store, outcome="margin")

    @pytest.mark.parametrize("alpha", [0.0, 2.0])
    def test_influence_on_squares_is_leverage(self, alpha):
        """Row i moves the prediction of z by zᵀ(AᵀA + αI)⁻¹ a_i times its residual."""
        from sklearn.linear_model import LinearRegression, Ridge

        rng = np.random.default_rng(1)
        X, test, truth = rng.normal(size=(50, 3)), rng.normal(size=(6, 3)), rng.normal(size=6)
        y = X @ rng.normal(size=3) + rng.normal(size=50)
        model = (Ridge(alpha=alpha) if alpha else LinearRegression()).fit(X, y)
        with tp.training_context(model, X, y) as ctx:
            pass
        A, Z = (np.column_stack([part, np.ones(len(part))]) for part in (X, test))
        gram = A.T @ A + alpha * np.diag([1.0, 1.0, 1.0, 0.0])
        hat = Z @ np.linalg.solve(gram, A.T)
        moved = hat * (y - model.predict(X))
        ours = tp.attribution_engine(ctx.gradient_store).scores(test, truth)
        expected = (truth - model.predict(test))[:, None] * moved
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())

    def test_effects_are_of_removal(self, clinics, store):
        engine = tp.attribution_engine(store)
        scores = engine.scores(clinics.X_test, clinics.y_test)
        effects = engine.effect([[3], np.arange(20)], clinics.X_test, clinics.y_test)
        assert effects.shape == (2, 40)
        assert np.corrcoef(effects[0], -np.asarray(scores)[:, 3])[0, 1] > 0.999
        rest = clinics.sklearn(slice(20, None))
        sign = 2 * clinics.y_test - 1
        truth = (rest.decision_function(clinics.X_test) - store.model.decision_function(clinics.X_test)) * sign
        np.testing.assert_allclose(effects[1], truth, atol=0.05 * np.abs(truth).max())
        mask = np.zeros((2, 138), dtype=bool)
        mask[0, 3], mask[1, :20] = True, True
        np.testing.assert_array_equal(engine.effect(mask, clinics.X_test, clinics.y_test), effects)

    def test_attribute_takes_the_gradient_of_a_loss(self, clinics, store):
        engine = tp.attribution_engine(store, outcome="loss")
        x, y = clinics.X_test[4], clinics.y_test[4]
        p = 1 / (1 + np.exp(-store.model.decision_function(x[None])[0]))
        gradient = (p - y) * np.append(x, 1.0)
        for given in (gradient, [gradient[None, :3], gradient[3:]]):
            result = engine.attribute(given, top_k=4)
            np.testing.assert_allclose(result.scores, engine.explain(x, y).scores, rtol=1e-4, atol=1e-8)
        with pytest.raises(ModelError, match="3 numbers, but the model has 4"):
            engine.attribute(gradient[:3])

    def test_bad_test_rows(self, clinics, store):
        engine = tp.attribution_engine(store)
        X, y = clinics.X_test, clinics.y_test
        nan = X.copy()
        nan[2, 1] = np.inf
        for features, labels, message in (
            (X[:, :2], y, "takes 3 columns"),
            (X, y[:3], "40 rows but y_test has 3"),
            (nan, y, "row 2, column 1"),
            (X, np.full(40, 2), "label 2 of row 0"),
        ):
            with pytest.raises(ModelError, match=message):
                engine.scores(features, labels)
        with pytest.raises(ModelError, match="one row"):
            engine.explain(X, y)
        for subsets, error, message in (
            ([[138]], LineageError, "row 138 .* out of range"),
            ([[-1]], LineageError, "row -1"),
            ([[0.5]], ModelError, "positions"),
            (np.zeros((1, 3), bool), ModelError, "expected"),
        ):
            with pytest.raises(error, match=message):
                engine.effect(subsets, X, y)

    def test_what_there_is_not(self, store):
        for kwargs, message in (
            ({"estimator": "trak"}, "not for a linear model; there are 'auto', 'influence'"),
            ({"checkpoints": 3}, "checkpoints= is for networks"),
            ({"damping": 1.0}, "damping= is for the Gauss-Newton"),
            ({"estimator": "magic"}, "unknown"),
            ({"through": "pipeline", "estimator": "dot"}, "is for estimator='influence'"),
            ({"through": "both"}, "None, 'features' or 'pipeline'"),
            ({"outcome": "logit"}, "'auto', 'margin' or 'loss'"),
            ({"model": object()}, "not the one"),
        ):
            with pytest.raises(ModelError, match=message):
                tp.attribution_engine(store, **kwargs)
        with pytest.raises(ModelError, match=r"ctx\.gradient_store"):
            tp.attribution_engine({})
        assert tp.attribution_engine(store, through="features", model=store.model).estimator == "influence"


class TestFrameworks:
    @pytest.mark.parametrize("outputs", [1, 2])
    def test_sklearn_and_torch_agree(self, clinics, store, outputs):
        torch = pytest.importorskip("torch")
        l2 = outputs / (1.0 * len(clinics.y))  # two logits share the weight, and each pays for half of it
        model = torch.nn.Linear(3, outputs, dtype=torch.float64)
        X, y = torch.as_tensor(clinics.features), torch.as_tensor(clinics.y)
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=300, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
        )
        F = torch.nn.functional

        def loss(out, y):
            if outputs == 2:
                return F.cross_entropy(out, y.long(), reduction="none")
            return F.binary_cross_entropy_with_logits(out.squeeze(-1), y.double(), reduction="none")

        def closure():
            optimizer.zero_grad()
            objective = loss(model(X), y).mean() + 0.5 * l2 * model.weight.square().sum()
            objective.backward()
            return objective

        torch.manual_seed(0)
        with tp.training_context(model, clinics.X, clinics.y, loss=loss, l2=l2) as ctx:
            optimizer.step(closure)
        assert ctx.gradient_store.gradient_norm < 1e-8
        mine = tp.attribution_engine(ctx.gradient_store).scores(clinics.X_test, clinics.y_test)
        theirs = tp.attribution_engine(store).scores(clinics.X_test, clinics.y_test)
        assert mine.verdict == "exact"
        assert np.abs(mine - theirs).max() <= 1e-4 * np.abs(theirs).max()

    def test_dot_by_factors_is_dot_by_gradients(self, clinics, store):
        torch = pytest.importorskip("torch")
        layer = torch.nn.Linear(3, 1, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(store.model.coef_))
            layer.bias.copy_(torch.as_tensor(store.model.intercept_))

        class TwoUses(torch.nn.Module):
            """The same function, in a shape that is not taken apart."""

            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return self.layer(x / 2) + self.layer(x / 2) - self.layer.bias

        def loss(out, y):
            return torch.nn.functional.binary_cross_entropy_with_logits(out.squeeze(-1), y.double(), reduction="none")

        found = []
        for model in (layer, TwoUses()):
            with tp.training_context(model, clinics.X, clinics.y, loss=loss) as ctx:
                pass
            found.append(tp.attribution_engine(ctx.gradient_store, "dot").scores(clinics.X_test, clinics.y_test))
        assert tp.attribution_engine(ctx.gradient_store).estimator == "influence"
        np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            tp.attribution_engine(store, "dot").scores(clinics.X_test, clinics.y_test), found[0], rtol=1e-4, atol=1e-5
        )
        assert found[0].verdict == "estimated"

    def test_gradients_by_hand(self):
        rng = np.random.default_rng(0)
        gradients, test = rng.normal(size=(9, 4)), rng.normal(size=4)
        with tp.training_context() as ctx:
            ctx.log_gradient(gradients, np.arange(9))
        engine = tp.attribution_engine(ctx.gradient_store)
        result = engine.attribute(test, top_k=3)
        np.testing.assert_allclose(result.scores, gradients @ test, rtol=1e-5)
        assert [entry["row"] for entry in result.top()] == np.argsort(-(gradients @ test))[:3].tolist()
        with pytest.raises(ModelError, match="attribute"):
            engine.scores(np.zeros((1, 4)), [0])


def test_the_direction_is_right(clinics, store):
    """Without the rows that help most a right prediction gets worse; without the most harmful a wrong one gets better."""
    engine = tp.attribution_engine(store)
    margin = store.model.decision_function(clinics.X_test) * (2 * clinics.y_test - 1)
    before = losses(store.model, clinics.X_test, clinics.y_test)
    right, wrong = np.flatnonzero(margin > 0)[:13], np.flatnonzero(margin < 0)[:7]
    assert len(right) + len(wrong) == 20
    for test in np.concatenate([right, wrong]):
        result = engine.explain(clinics.X_test[test], clinics.y_test[test], top_k=10)
        entries = result.top(10) if margin[test] > 0 else result.most_harmful(10)
        stay = np.setdiff1d(np.arange(138), [entry["sample_index"] for entry in entries])
        after = losses(clinics.sklearn(stay), clinics.X_test, clinics.y_test)
        assert (after[test] > before[test]) == (margin[test] > 0)
        assert after[test] != before[test]


class TestResult:
    def test_entries_name_files_and_lines(self, clinics, store):
        result = tp.attribution_engine(store).explain(clinics.X_test[0], clinics.y_test[0], top_k=5)
        top, harmful = result.top(), result.most_harmful(3)
        assert len(top) == 5
        assert [entry["rank"] for entry in harmful] == [0, 1, 2]
        assert all(a["influence_score"] >= b["influence_score"] for a, b in pairwise(top))
        assert top[0]["influence_score"] == result.scores.max() > 0 > harmful[0]["influence_score"]
        for entry in top + harmful:
            source_id, row = clinics.rows[entry["sample_index"]]
            assert (entry["source_id"], entry["row"]) == (source_id, row)
            assert entry["line"] == row + 2
            lines = clinics.paths[source_id].read_text(encoding="utf-8").splitlines()
            assert entry["file"] == str(clinics.paths[source_id])
            assert entry["text"] == lines[entry["line"] - 1]
            assert entry["owners"] == [(source_id, row)]

    def test_trace_to_file(self, clinics, store):
        result = tp.attribution_engine(store).explain(clinics.X_test[0], clinics.y_test[0])
        for rank in (0, 7):
            trace = result.trace_to_file(rank)
            entry = result.top(8)[rank]
            assert (trace["path"], trace["line"], trace["text"]) == (entry["file"], entry["line"], entry["text"])
            assert trace["rank"] == rank
            assert all("conftest.py:" in op["location"] for op in trace["ops"])
            inputs = {name for op in trace["ops"] for name in op["inputs"]}
            assert trace["source_id"] in inputs
        names = [op["name"] for op in trace["ops"]]
        assert any("mean" in name for name in names)
        assert result.trace_to_file(0, harmful=True)["influence_score"] == result.most_harmful(1)[0]["influence_score"]
        with pytest.raises(LineageError, match="rank 138"):
            result.trace_to_file(138)

    def test_steps_of_the_other_source_are_left_out(self, store):
        result = tp.attribution_engine(store).explain(np.zeros(3), 1)
        north = [step.output for step in result._steps("north")]
        south = [step.output for step in result._steps("south")]
        assert north != south
        assert set(north) | set(south) == {step.output for step in store.view.ops()}

    def test_totals(self, clinics, store):
        result = tp.attribution_engine(store).explain(clinics.X_test[0], clinics.y_test[0])
        by_source = result.by_source()
        assert list(by_source) == ["north", "south"]
        assert by_source["north"] == pytest.approx(float(result.scores[:58].sum()), rel=1e-4)
        by_op = result.by_op()
        total = float(result.scores.astype(float).sum())
        assert any(value == pytest.approx(total, rel=1e-4, abs=1e-9) for value in by_op.values())
        assert all(" at " in name for name in by_op)

    def test_to_pandas(self, clinics, store):
        pytest.importorskip("pandas")
        result = tp.attribution_engine(store).explain(clinics.X_test[0], clinics.y_test[0], top_k=4)
        frame = result.to_pandas()
        assert frame["influence_score"].tolist() == [entry["influence_score"] for entry in result.top()]
        assert len(result.to_pandas(k=138)) == 138
