"""Cats and dogs (CIFAR-2, of CIFAR-10; Krizhevsky 2009), and a small convolutional network that retrains in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.tasks.adult import folder
from benchmarks.tasks.network import AbstractNetworkTask

TRAIN_ROWS, TEST_ROWS, SIDE = 2_000, 500, 16


@dataclass(frozen=True)
class Images(AbstractNetworkTask):
    """Pixels float32 (n, 3, side, side), and the channels of the convolutions."""

    channels: tuple[int, ...]

    @property
    def architecture(self) -> dict[str, Any]:
        return {"kind": "cnn", "side": self.X.shape[-1], "channels": list(self.channels)}


def cats_and_dogs() -> Images:
    """2,000 and 500 images at random, halved to 16 x 16; two convolutions and a dense layer, SGD with momentum, 15 passes."""
    parts = []
    for name in ("cifar2_catdog_train_part0.npz", "cifar2_catdog_train_part1.npz"):
        path = folder() / name
        if not path.exists():
            raise SystemExit(f"no {path.name}: set TRACEPROP_DATA to the folder with the data sets")
        with np.load(path) as stored:
            parts.append((stored["x"], stored["y"]))
    x, y = (np.concatenate(of) for of in zip(*parts, strict=True))
    order = np.random.RandomState(42).permutation(len(x))[: TRAIN_ROWS + TEST_ROWS]
    x, y = x[order], y[order].astype(np.int64)
    small = x.reshape(len(x), SIDE, 2, SIDE, 2, 3).mean(axis=(2, 4))
    pixels = ((small / 255.0 - (0.4914, 0.4822, 0.4465)) / (0.247, 0.2435, 0.2616)).astype(np.float32)
    X = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    X_train, X_test = X[:TRAIN_ROWS], X[TRAIN_ROWS:]
    y_train, y_test = y[:TRAIN_ROWS], y[TRAIN_ROWS:]
    return Images("CIFAR-2", X_train, y_train, X_test, y_test, "sgd", 0.01, 64, 15, (1, 4, 8, 12, 15), (16, 32))
