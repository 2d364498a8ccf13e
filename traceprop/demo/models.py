"""One model, fitted by either library: logistic regression, mean loss + ½‖w‖²/(C·n), the intercept left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from traceprop.errors import MissingExtraError, ModelError

C = 1.0


class AbstractLearner(ABC):
    """How to make a model, fit it to arrays, and ask it for log-odds."""

    name: str

    @abstractmethod
    def new(self, n_features: int) -> Any:
        """Return a model that has not been fitted."""

    @abstractmethod
    def fit(self, model: Any, X: np.ndarray, y: np.ndarray) -> Any:
        """Fit the model to features (n, d) and labels 0/1 (n,), to the optimum, and return it."""

    @abstractmethod
    def logits(self, model: Any, X: np.ndarray) -> np.ndarray:
        """Return the log-odds of label 1 for each row, float64 (n,)."""

    def context_arguments(self, n_rows: int) -> dict[str, Any]:
        """Return what `tp.training_context` needs beyond the model and its data of `n_rows` rows."""
        return {}


class SklearnLearner(AbstractLearner):
    """scikit-learn's LogisticRegression, solved by Newton's method: a few steps to machine precision."""

    name = "sklearn"

    def __init__(self) -> None:
        try:
            import sklearn.linear_model as linear_model
        except ImportError:
            raise MissingExtraError("--model sklearn needs scikit-learn: pip install 'traceprop[sklearn]'") from None
        self._class = linear_model.LogisticRegression

    def new(self, n_features: int) -> Any:
        return self._class(C=C, solver="newton-cholesky", tol=1e-10, max_iter=100)

    def fit(self, model: Any, X: np.ndarray, y: np.ndarray) -> Any:
        return model.fit(X, y)

    def logits(self, model: Any, X: np.ndarray) -> np.ndarray:
        return np.asarray(model.decision_function(X), dtype=np.float64)


class TorchLearner(AbstractLearner):
    """A torch Linear with two outputs under cross-entropy, fitted by L-BFGS with line search.

    At the optimum w₁ = -w₀, so with log-odds weights w = w₁ - w₀ the penalty ½·l2·(|w₀|² + |w₁|²) is ½·(l2/2)·|w|²:
    twice scikit-learn's coefficient gives scikit-learn's model.
    """

    name = "torch"

    def __init__(self) -> None:
        try:
            import torch
        except ImportError:
            raise MissingExtraError("--model torch needs PyTorch: pip install 'traceprop[torch]'") from None
        self._torch = torch
        self._loss = torch.nn.CrossEntropyLoss(reduction="none")
        self._l2 = 0.0

    def context_arguments(self, n_rows: int) -> dict[str, Any]:
        # A loop's penalty is a constant on the mean loss: it stays what it was when rows go.
        self._l2 = 2.0 / (C * n_rows)
        return {"loss": self._loss, "l2": self._l2}

    def new(self, n_features: int) -> Any:
        model = self._torch.nn.Linear(n_features, 2, dtype=self._torch.float64)
        with self._torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        return model

    def fit(self, model: Any, X: np.ndarray, y: np.ndarray) -> Any:
        torch = self._torch
        inputs, labels = torch.as_tensor(X, dtype=torch.float64), torch.as_tensor(y, dtype=torch.int64)
        optimizer = torch.optim.LBFGS(
            model.parameters(),
            max_iter=2000,
            history_size=100,
            tolerance_grad=1e-10,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Any:
            optimizer.zero_grad()
            objective = self._loss(model(inputs), labels).mean() + 0.5 * self._l2 * model.weight.square().sum()
            objective.backward()
            return objective

        optimizer.step(closure)
        return model

    def logits(self, model: Any, X: np.ndarray) -> np.ndarray:
        with self._torch.no_grad():
            scores = model(self._torch.as_tensor(X, dtype=self._torch.float64))
        return np.asarray((scores[:, 1] - scores[:, 0]).numpy(), dtype=np.float64)


class JaxLearner(AbstractLearner):
    """JAX params, weights and an intercept, under the logistic loss; SciPy's trust region with JAX's derivatives."""

    name = "jax"

    def __init__(self) -> None:
        try:
            import jax
        except ImportError:
            raise MissingExtraError("--model jax needs JAX: pip install 'traceprop[jax]'") from None
        self._jax = jax
        self._l2 = 0.0

    def context_arguments(self, n_rows: int) -> dict[str, Any]:
        self._l2 = 1.0 / (C * n_rows)
        return {"loss": self._loss, "l2": self._l2}

    def _loss(self, params: dict[str, Any], x: Any, y: Any) -> Any:
        return self._jax.numpy.logaddexp(0.0, (1 - 2 * y) * (x @ params["weights"] + params["intercept"]))

    def new(self, n_features: int) -> Any:
        return {"weights": np.zeros(n_features), "intercept": np.zeros(())}

    def fit(self, model: Any, X: np.ndarray, y: np.ndarray) -> Any:
        from scipy.optimize import minimize

        def objective(vector: Any, x: Any, labels: Any) -> Any:
            params = {"weights": vector[:-1], "intercept": vector[-1]}
            return self._loss(params, x, labels).mean() + 0.5 * self._l2 * (vector[:-1] ** 2).sum()

        with self._jax.enable_x64(True):
            value = self._jax.jit(self._jax.value_and_grad(objective))
            hessian = self._jax.jit(self._jax.hessian(objective))
            found = minimize(
                lambda vector: tuple(map(np.asarray, value(vector, X, y))),
                np.append(model["weights"], model["intercept"]),
                jac=True,
                hess=lambda vector: np.asarray(hessian(vector, X, y)),
                method="trust-exact",
                options={"gtol": 1e-10},
            )
        return {"weights": found.x[:-1], "intercept": found.x[-1:].reshape(())}

    def logits(self, model: Any, X: np.ndarray) -> np.ndarray:
        return np.asarray(X @ model["weights"] + model["intercept"], dtype=np.float64)


LEARNERS = {"sklearn": SklearnLearner, "torch": TorchLearner, "jax": JaxLearner}


def learner(name: str) -> AbstractLearner:
    """Return the learner called `name`; ModelError for any other name, MissingExtraError without its library."""
    if name not in LEARNERS:
        raise ModelError(f"no model called {name!r}; there are: {', '.join(LEARNERS)}")
    return LEARNERS[name]()


def losses(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Logistic loss of each row, float64 (n,): log(1 + exp(-margin))."""
    return np.logaddexp(0.0, -margins(logits, y))


def margins(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log-odds of the right label: logits for label 1, -logits for label 0."""
    return np.where(np.asarray(y) == 1, logits, -logits)


def probability(margin: float) -> float:
    """Log-odds → probability."""
    return float(1.0 / (1.0 + np.exp(-margin)))
