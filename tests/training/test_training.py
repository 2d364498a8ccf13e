"""Training contexts: what they keep, for which models, and what they refuse."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import traceprop as tp
from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import LogisticLoss, SoftmaxLoss

torch = pytest.importorskip("torch")
F = torch.nn.functional


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def data(n=120, d=5, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = (X[:, :classes] + rng.normal(size=(n, classes))).argmax(axis=1)
    return X, y


def bce(out, y):
    return F.binary_cross_entropy_with_logits(out.squeeze(-1), y.to(out.dtype), reduction="none")


def fit_torch(model, X, y, loss, l2):
    """Fit in float64 to a gradient norm near rounding."""
    X, y = torch.as_tensor(X, dtype=torch.float64), torch.as_tensor(y)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=200,
        history_size=30,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        weights = sum((p**2).sum() for name, p in model.named_parameters() if name.endswith("weight"))
        objective = loss(model(X), y).mean() + 0.5 * l2 * weights
        objective.backward()
        return objective

    optimizer.step(closure)
    return model


class TestSklearn:
    @pytest.mark.parametrize(
        "model",
        [
            LogisticRegression(C=2.0, tol=1e-10, max_iter=1000),
            LogisticRegression(C=2.0, tol=1e-10, max_iter=1000, fit_intercept=False),
            LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10),
            LogisticRegression(C=0.5, solver="liblinear", tol=1e-10, max_iter=1000, intercept_scaling=3.0),
            LogisticRegression(C=0.5, solver="newton-cg", tol=1e-10, max_iter=1000),
        ],
        ids=["l2", "no-intercept", "no-penalty", "liblinear", "newton-cg"],
    )
    @pytest.mark.parametrize("classes", [2, 3])
    def test_the_objective_is_the_one_that_was_minimised(self, model, classes):
        if classes == 3 and model.solver == "liblinear":
            pytest.skip("liblinear has two classes")
        X, y = data(classes=classes)
        labels = np.array(["a", "b", "c"])[y]
        with tp.training_context(model, X, labels) as ctx:
            model.fit(X, labels)
        store = ctx.gradient_store
        assert store.gradient_norm < 2e-7
        assert store.fit.verdict == "exact"
        assert isinstance(store.objective.loss, LogisticLoss if classes == 2 else SoftmaxLoss)
        assert store.theta.shape == (5 + model.fit_intercept, 1 if classes == 2 else 3)

    @pytest.mark.parametrize("model", [Ridge(alpha=3.0), LinearRegression(), Ridge(alpha=1.0, fit_intercept=False)])
    @pytest.mark.parametrize("targets", [1, 2])
    def test_least_squares(self, model, targets):
        X, _ = data()
        y = (X[:, :targets] + 1.0).squeeze()
        with tp.training_context(model, X, y) as ctx:
            model.fit(X, y)
        assert ctx.gradient_store.gradient_norm < 1e-10

    def test_data_frames_and_their_text(self):
        pd = pytest.importorskip("pandas")
        X, y = data()
        frame, labels = pd.DataFrame(X), pd.Series(np.where(y, "yes", "no"), dtype=object)
        model = LogisticRegression().fit(frame, labels)
        with tp.training_context(model, frame, labels) as ctx:
            pass
        assert ctx.gradient_store.objective.y.tolist() == y.tolist()
        mixed = labels.copy()
        mixed[3] = 1
        with pytest.raises(ModelError, match="mixed"), tp.training_context(model, frame, mixed):
            pass

    def test_what_is_refused_and_why(self):
        X, y = data()
        for model, message in (
            (LogisticRegression(class_weight="balanced"), "class_weight"),
            (LogisticRegression(l1_ratio=1.0, solver="saga"), "L1"),
            (Lasso(), "Lasso has no known objective"),
            (make_pipeline(StandardScaler(), LogisticRegression()), "last step"),
        ):
            with pytest.raises(ModelError, match=message):
                tp.training_context(model, X, y)
        with pytest.raises(ModelError, match="brings its own loss"):
            tp.training_context(LogisticRegression(), X, y, l2=1.0)

    def test_an_unfitted_model(self):
        X, y = data()
        with pytest.raises(ModelError, match="not fitted"), tp.training_context(LogisticRegression(), X, y):
            pass

    def test_other_data_than_the_fit(self):
        X, y = data()
        model = LogisticRegression().fit(X, y)
        with pytest.raises(ModelError, match="takes 5 columns"), tp.training_context(model, X[:, :3], y):
            pass
        with pytest.raises(ModelError, match="label 7 of row 0"), tp.training_context(model, X, np.full(120, 7)):
            pass


class TestTorch:
    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("shape", ["linear", "sequential", "no-bias"])
    def test_cross_entropies_are_recognised(self, reduction, classes, shape):
        X, y = data(classes=classes)
        layer = torch.nn.Linear(5, classes, bias=shape != "no-bias", dtype=torch.float64)
        model = torch.nn.Sequential(layer) if shape == "sequential" else layer
        with tp.training_context(model, X, y, loss=torch.nn.CrossEntropyLoss(reduction=reduction), l2=1e-2) as ctx:
            if reduction == "none":
                fit_torch(model, X, y, torch.nn.CrossEntropyLoss(), 1e-2)
        assert isinstance(ctx.gradient_store.objective.loss, SoftmaxLoss)
        if reduction == "none":
            assert ctx.gradient_store.gradient_norm < 1e-8

    @pytest.mark.parametrize("targets", [np.int64, np.float64, np.float32, bool, np.uint8])
    def test_targets_may_be_of_any_type(self, targets):
        X, y = data()
        model = torch.nn.Linear(5, 1)
        for loss in (bce, torch.nn.BCEWithLogitsLoss(reduction="none"), torch.nn.BCEWithLogitsLoss()):
            with tp.training_context(model, X, y.astype(targets), loss=loss) as ctx:
                pass
            assert isinstance(ctx.gradient_store.objective.loss, LogisticLoss)

    def test_a_sigmoid_behind_the_layer_is_part_of_the_loss(self):
        X, y = data()
        layer = torch.nn.Linear(5, 1, dtype=torch.float64)
        model = torch.nn.Sequential(layer, torch.nn.Sigmoid(), torch.nn.Flatten(0))
        with tp.training_context(model, X, y.astype(float), loss=torch.nn.BCELoss(), l2=1e-2) as ctx:
            fit_torch(model, X, y.astype(float), torch.nn.BCELoss(), 1e-2)
        assert isinstance(ctx.gradient_store.objective.loss, LogisticLoss)
        assert ctx.gradient_store.gradient_norm < 1e-8

    def test_any_smooth_loss_of_the_logits(self):
        X, y = data(classes=3)
        model = torch.nn.Linear(5, 3, dtype=torch.float64)
        loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
        with tp.training_context(model, X, y, loss=loss, l2=1e-2) as ctx:
            fit_torch(model, X, y, loss, 1e-2)
        store = ctx.gradient_store
        assert not store.objective.loss.cross_entropy
        assert store.gradient_norm < 1e-8
        logits = store.objective.features @ store.theta
        terms = store.objective.loss.terms(logits, store.objective.y)
        step = 1e-5
        for label in range(3):
            up = store.objective.loss.terms(logits + step * np.eye(3)[label], store.objective.y)
            np.testing.assert_allclose(terms.gradient[:, label], (up.loss - terms.loss) / step, atol=1e-4)
            np.testing.assert_allclose(terms.hessian[:, label], (up.gradient - terms.gradient) / step, atol=1e-4)

    def test_gradients_of_other_modules_are_those_of_a_loop(self):
        X, y = data(n=130)
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Linear(4, 2)
        )
        with tp.training_context(model, X, y, loss=torch.nn.CrossEntropyLoss()) as ctx:
            pass
        store = ctx.gradient_store
        assert store.gradients.shape == (130, 5 * 4 + 4 + 4 * 2 + 2)
        assert store.adapter.cross_entropy
        model = model.double().eval()
        for row in (0, 64, 129):
            model.zero_grad()
            out = model(torch.as_tensor(X[row : row + 1]))
            F.cross_entropy(out, torch.as_tensor(y[row : row + 1])).backward()
            single = np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])
            np.testing.assert_allclose(store.gradients[row], single, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("kind", ["sjlt", "sparse", "very-sparse", "masked", "gaussian"])
    def test_projected_gradients_keep_dot_products_about_right(self, kind):
        X, y = data()
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 30), torch.nn.Tanh(), torch.nn.Linear(30, 1))
        grams = []
        for proj_dim in (None, 150, 10_000):
            with tp.training_context(model, X, y, loss=bce, proj_dim=proj_dim, projection=kind) as ctx:
                pass
            grams.append(ctx.gradient_store.gradients @ ctx.gradient_store.gradients.T)
        assert ctx.gradient_store.gradients.shape[1] == 211
        np.testing.assert_array_equal(grams[0], grams[2])
        assert np.corrcoef(grams[0].ravel(), grams[1].ravel())[0, 1] > 0.9

    @pytest.mark.parametrize("kind", ["sjlt", "sparse", "very-sparse", "masked", "gaussian"])
    def test_what_is_asked_is_projected_as_what_is_kept(self, kind):
        X, y = data()
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 30), torch.nn.Tanh(), torch.nn.Linear(30, 1))
        with tp.training_context(model, X, y, loss=bce, proj_dim=40, projection=kind) as ctx:
            pass
        with tp.training_context(model, X, y, loss=bce) as whole:
            pass
        gradients = whole.gradient_store.gradients
        kept = ctx.gradient_store.gradients
        assert kept.shape == (len(X), 40)
        for row in (0, 7):
            np.testing.assert_allclose(ctx.adapter.project(gradients[row]), kept[row], rtol=0, atol=1e-12)
        with tp.training_context(proj_dim=40, projection=kind) as logged:
            logged.log_gradient(gradients, np.arange(len(X)))
        np.testing.assert_allclose(logged.gradient_store.gradients, kept, rtol=0, atol=1e-12)

    def test_projections_that_store_no_matrix_serve_models_of_any_size(self):
        X, y = data()
        model = torch.nn.Sequential(torch.nn.Linear(5, 200), torch.nn.Tanh(), torch.nn.Linear(200, 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("traceprop.training.adapter.GRADIENT_BYTES", 8 * 20 * len(X))
            for given, message in (
                ({"proj_dim": 20, "projection": "gaussian"}, r'Gaussian projection of 1,401.*projection="sjlt"'),
                ({}, "give proj_dim=20"),
            ):
                with tp.training_context(model, X, y, loss=bce, **given) as ctx:
                    pass
                with pytest.raises(ModelError, match=message):
                    _ = ctx.gradient_store.gradients
            with tp.training_context(model, X, y, loss=bce, proj_dim=20) as ctx:
                pass
            assert ctx.gradient_store.gradients.shape == (len(X), 20)

    def test_what_is_refused_and_why(self):
        X, y = data()
        frozen = torch.nn.Linear(5, 1).requires_grad_(False)
        with pytest.raises(ModelError, match="no trainable parameter"):
            tp.training_context(torch.nn.ReLU(), X, y, loss=bce)
        with pytest.raises(ModelError, match=r"no trainable parameter.*requires_grad"):
            tp.training_context(frozen, X, y, loss=bce)
        with pytest.raises(ModelError, match="needs loss="):
            tp.training_context(torch.nn.Linear(5, 1), X, y)

    def test_losses_that_mix_samples(self):
        X, y = data()
        model = torch.nn.Linear(5, 1)
        weighted = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0], dtype=torch.float64))
        for module, loss, message in (
            (model, lambda out, y: (out - y) ** 2, r"shape \(16, 16\)"),
            (model, lambda out, y: out.norm(dim=0).max() + (out.squeeze(-1) - y).sum() * 0, "fails on|neither"),
            (torch.nn.Linear(5, 2), weighted, "neither"),
            (model, lambda out, y: out.nope, "fails|nope"),
        ):
            with (
                pytest.raises((ModelError, AttributeError), match=message),
                tp.training_context(module, X, y, loss=loss),
            ):
                pass

    def test_weights_that_diverged(self):
        X, y = data()
        model = torch.nn.Linear(5, 1)
        diverged = pytest.raises(ModelError, match="weights has 5 values that are NaN")
        with diverged, tp.training_context(model, X, y, loss=bce):
            torch.nn.init.constant_(model.weight, float("nan"))


class TestData:
    def test_owners_of_a_plain_array(self):
        X, y = data()
        model = LogisticRegression().fit(X, y)
        for source_id in (None, "clinic"):
            with tp.training_context(model, X, y, source_id=source_id) as ctx:
                pass
            assert ctx.gradient_store.owners.source_ids == [source_id or "X_train"]
            assert ctx.gradient_store.owners.rows_of(7) == [(source_id or "X_train", 7)]

    def test_owners_of_lazy_values(self):
        X, y = data()
        a, b = tp.from_numpy(X[:50], source_id="a"), tp.from_numpy(X[50:], source_id="b")
        x = np.concatenate([b[a.shape[0] - 40 :], a])  # rows of b from 10 on, then all of a
        labels = np.concatenate([y[60:], y[:50]])
        model = LogisticRegression().fit(np.asarray(x), labels)
        with tp.training_context(model, x, labels) as ctx:
            pass
        owners = ctx.gradient_store.owners
        assert owners.rows_of(0) == [("b", 10)]
        assert owners.rows_of(60) == [("a", 0)]
        assert owners.samples_of("a", np.array([0, 49])).tolist() == [60, 109]
        assert owners.samples_of("b", np.array([3])).tolist() == []

    def test_labels_of_another_source_own_their_rows_too(self):
        X, y = data()
        x, labels = tp.from_numpy(X, source_id="features"), tp.from_numpy(y.astype(float), source_id="labels") * 1.0
        with tp.training_context(LogisticRegression().fit(X, y), x, labels) as ctx:
            pass
        assert ctx.gradient_store.owners.rows_of(3) == [("features", 3), ("labels", 3)]

    def test_bad_data(self):
        X, y = data()
        model = LogisticRegression().fit(X, y)
        nan = X.copy()
        nan[11, 2] = np.nan
        for features, labels, message in (
            (X, y[:-1], "120 rows but y_train has 119"),
            (nan, y, "row 11, column 2"),
            (X[:0], y[:0], "no rows"),
            (X[:, 0], y, "rows and columns"),
            (X.astype(str), y, "needs numbers"),
        ):
            with pytest.raises(ModelError, match=message), tp.training_context(model, features, labels):
                pass
            lazy = tp.from_numpy(features), tp.from_numpy(labels)
            with pytest.raises(ModelError, match=message), tp.training_context(model, *lazy):
                pass
        for kwargs, message in (
            ({"X_train": None}, "X_train and y_train"),
            ({"store": 7}, "store= is a folder"),
            ({"proj_dim": 0}, "positive"),
            ({"proj_dim": 2.5}, "positive"),
            ({"projection": "fft"}, "there are: sjlt, sparse"),
            ({"l2": -1.0}, "at least 0"),
        ):
            with pytest.raises(ModelError, match=message):
                tp.training_context(**{"model": model, "X_train": X, "y_train": y, **kwargs})
        with pytest.raises(ModelError, match="known are torch modules, JAX params"):
            tp.training_context({"w": "text"}, X, y)

    def test_an_error_in_the_loop_is_the_users_own(self):
        X, y = data()
        with pytest.raises(KeyError, match="mine"), tp.training_context(LogisticRegression(), X, y) as ctx:
            raise KeyError("mine")
        with pytest.raises(ModelError, match="when the training context exits"):
            _ = ctx.gradient_store

    def test_with_tracking_off_nothing_is_kept(self):
        X, y = data()
        with tp.granularity(None), tp.training_context(LogisticRegression().fit(X, y), X, y) as ctx:
            pass
        with pytest.raises(ModelError, match="tracking is off"):
            _ = ctx.gradient_store

    def test_batches_cover_the_rows_once(self):
        X, y = data()
        model = torch.nn.Linear(5, 1)
        with tp.training_context(model, tp.from_numpy(X), y, loss=bce) as ctx:
            batches = list(ctx.batches(50, shuffle=True, seed=3))
            for xb, yb, rows in batches:
                assert xb.dtype == torch.float32
                np.testing.assert_array_equal(xb, X[rows].astype(np.float32))
                np.testing.assert_array_equal(yb, y[rows])
                ctx.step(bce(model(xb), yb).mean(), rows)
            again = [rows for _, _, rows in ctx.batches(50, shuffle=True, seed=3)]
        assert [len(rows) for *_, rows in batches] == [50, 50, 20]
        assert sorted(np.concatenate(again)) == list(range(120))
        np.testing.assert_array_equal(np.concatenate(again), np.concatenate([rows for *_, rows in batches]))
        assert len(ctx.gradient_store.schedule) == 3


class TestByHand:
    def test_gradients_add_up_whatever_the_order_and_batches(self):
        rng = np.random.default_rng(0)
        gradients = rng.normal(size=(6, 3))
        stores = []
        for schedule in ([[0, 1, 2], [3, 4, 5]], [[5], [1, 0], [2, 4, 3]]):
            with tp.training_context(source_id="logs") as ctx:
                for rows in schedule:
                    ctx.log_gradient(gradients[rows], rows)
                ctx.log_gradient(gradients[0], 0, weight=0.5)
            stores.append(ctx.gradient_store)
        expected = gradients * np.array([1.5, 1, 1, 1, 1, 1])[:, None]
        for store in stores:
            np.testing.assert_allclose(store.gradients, expected)
            assert store.owners.source_ids == ["logs"]

    def test_with_data_they_have_its_owners(self):
        X, _ = data()
        with tp.training_context(X_train=tp.from_numpy(X, source_id="file")) as ctx:
            ctx.log_gradient(np.ones((120, 2)), np.arange(120))
        assert ctx.gradient_store.owners.rows_of(119) == [("file", 119)]

    def test_bad_gradients(self):
        with pytest.raises(ModelError, match="nothing to keep"), tp.training_context():
            pass
        for arguments, message in (
            ((np.ones(3), -1), "out of range"),
            ((np.ones(3), 0.5), "integers"),
            ((np.array([np.nan, 1, 1]), 0), "diverged"),
            ((np.ones(4), 0), "4 numbers was logged after one of 3"),
        ):
            with pytest.raises(ModelError, match=message), tp.training_context() as ctx:
                ctx.log_gradient(np.ones(3), 0)
                ctx.log_gradient(*arguments)
