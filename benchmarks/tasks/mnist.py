"""Handwritten digits (MNIST): fours against nines, and all ten; small networks that retrain in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks.adult import folder

TEST_ROWS = 500


@dataclass(frozen=True)
class Digits:
    """A task: features float32 (n, 784), labels int64 (n,), and how its network is trained."""

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    layers: tuple[int, ...]
    optimizer: str
    rate: float
    batch: int
    epochs: int
    checkpoints: tuple[int, ...]
    activation: str = "ReLU"

    def model(self, seed: int) -> Any:
        """An untrained network."""
        import torch
        from torch import nn

        torch.manual_seed(seed)
        parts: list[Any] = []
        for here, there in zip(self.layers, self.layers[1:], strict=False):
            parts += [nn.Linear(here, there), getattr(nn, self.activation)()]
        return nn.Sequential(*parts[:-1])

    def loss(self, reduction: str = "mean") -> Any:
        """The loss of the network's outputs: of one logit, or of ten."""
        from torch.nn import functional

        if self.layers[-1] > 1:
            return lambda out, y: functional.cross_entropy(out, y, reduction=reduction)
        return lambda out, y: functional.binary_cross_entropy_with_logits(
            out.squeeze(-1), y.float(), reduction=reduction
        )

    def train(self, rows: np.ndarray, seed: int) -> Any:
        """A network trained on some rows."""
        model = self.model(seed)
        for _ in self.passes(model, rows):
            pass
        return model

    def make_optimizer(self, parameters: Any) -> Any:
        """The optimizer of a training run."""
        import torch

        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.rate)
        return torch.optim.SGD(parameters, lr=self.rate, momentum=0.9)

    def passes(self, model: Any, rows: np.ndarray) -> Iterator[int]:
        """Train pass by pass over the rows; yields the number of passes behind."""
        import torch

        torch.set_flush_denormal(True)  # what Adam keeps of inputs that are always 0 would slow everything down
        optimizer = self.make_optimizer(model.parameters())
        X, y, loss = torch.from_numpy(self.X[rows]), torch.from_numpy(self.y[rows]), self.loss()
        for epoch in range(self.epochs):
            for at in torch.randperm(len(X)).split(self.batch):
                optimizer.zero_grad()
                loss(model(X[at]), y[at]).backward()
                optimizer.step()
            yield epoch + 1

    def margins(self, model: Any) -> np.ndarray:
        """log p_y / (1 - p_y) of the test rows: float64 (t,)."""
        import torch

        with torch.no_grad():
            out = model(torch.from_numpy(self.X_test)).double().numpy()
        if out.shape[1] == 1:
            return out[:, 0] * (2 * self.y_test - 1)
        own = out[np.arange(len(out)), self.y_test]
        out[np.arange(len(out)), self.y_test] = -np.inf
        top = out.max(axis=1)
        return own - top - np.log(np.exp(out - top[:, None]).sum(axis=1))


def images() -> tuple[np.ndarray, np.ndarray]:
    path = folder() / "mnist.npz"
    if not path.exists():
        raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
    with np.load(path) as stored:
        x, y = stored["x"], stored["y"]
    return ((x.reshape(len(x), -1) / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)), y.astype(np.int64)


def fours_and_nines() -> Digits:
    """The first 6,000 and 500 of them, in the order of the training and test files; 784-256-1, Adam, 20 passes."""
    X, y = images()
    chosen = np.isin(y, (4, 9))
    train, test = np.flatnonzero(chosen[:60_000])[:6_000], 60_000 + np.flatnonzero(chosen[60_000:])[:TEST_ROWS]
    nine = (y == 9).astype(np.int64)
    return Digits(
        "MNIST 4 v 9",
        X[train],
        nine[train],
        X[test],
        nine[test],
        (784, 256, 1),
        "adam",
        1e-3,
        128,
        20,
        (1, 5, 10, 15, 20),
    )


def ten_digits() -> Digits:
    """5,000 and 500 at random; 784-128-64-10, SGD with momentum, 25 passes."""
    X, y = images()
    order = np.random.RandomState(7)
    train, test = order.permutation(60_000)[:5_000], 60_000 + order.permutation(10_000)[:TEST_ROWS]
    return Digits(
        "MNIST-10", X[train], y[train], X[test], y[test], (784, 128, 64, 10), "sgd", 0.01, 64, 25, (1, 5, 10, 15, 25)
    )


def small_digits() -> Digits:
    """scikit-learn's 8x8 digits, 1,397 and 400 at random; 64-64-10, SGD with momentum, 60 passes."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X, order = (X / 16.0).astype(np.float32), np.random.RandomState(3).permutation(len(X))
    train, test = order[:1_397], order[1_397:]
    return Digits(
        "digits", X[train], y[train], X[test], y[test], (64, 64, 10), "sgd", 0.05, 64, 60, tuple(range(5, 65, 5))
    )
