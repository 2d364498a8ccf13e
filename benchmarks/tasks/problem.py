"""A trained model as any library may be asked about it: arrays, and a description that a network is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Problem:
    """Training rows, test rows, and a model of the training rows.

    Attributes
    ----------
    architecture
        What `architectures.build` makes a torch module of.
    weights, checkpoints
        The trained parameters by name, and those at moments of the same training run, the last of which are `weights`.
    training
        How a network was trained, for who trains more of them: optimizer, rate, batch, epochs.
    fit_cpu_seconds
        One training run on one thread.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    architecture: dict[str, Any]
    weights: Weights
    checkpoints: list[Weights]
    training: dict[str, Any]
    fit_cpu_seconds: float
