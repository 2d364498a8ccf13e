"""Handwritten digits (MNIST): fours against nines, and all ten; small networks that retrain in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks.adult import folder
from benchmarks.tasks.network import AbstractNetworkTask

TEST_ROWS = 500


@dataclass(frozen=True)
class Digits(AbstractNetworkTask):
    """Pixels float32 (n, 784 or 64), and dense layers of these widths."""

    layers: tuple[int, ...]
    activation: str = "ReLU"

    @property
    def architecture(self) -> dict[str, Any]:
        return {"kind": "mlp", "layers": list(self.layers), "activation": self.activation}


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
        "adam",
        1e-3,
        128,
        20,
        (1, 5, 10, 15, 20),
        (784, 256, 1),
    )


def ten_digits() -> Digits:
    """5,000 and 500 at random; 784-128-64-10, SGD with momentum, 25 passes."""
    X, y = images()
    order = np.random.RandomState(7)
    train, test = order.permutation(60_000)[:5_000], 60_000 + order.permutation(10_000)[:TEST_ROWS]
    return Digits(
        "MNIST-10", X[train], y[train], X[test], y[test], "sgd", 0.01, 64, 25, (1, 5, 10, 15, 25), (784, 128, 64, 10)
    )


def small_digits() -> Digits:
    """scikit-learn's 8x8 digits, 1,397 and 400 at random; 64-64-10, SGD with momentum, 60 passes."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X, order = (X / 16.0).astype(np.float32), np.random.RandomState(3).permutation(len(X))
    train, test = order[:1_397], order[1_397:]
    return Digits(
        "digits", X[train], y[train], X[test], y[test], "sgd", 0.05, 64, 60, tuple(range(5, 65, 5)), (64, 64, 10)
    )
