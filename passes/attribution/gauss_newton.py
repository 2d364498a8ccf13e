"""Influence in a network: the damped Gauss-Newton matrix at the trained parameters, in its smaller form.

One number f_i per sample decides its loss: the margin log p_y / (1 - p_y) under cross-entropy, or a single output. With
J (n, p) the gradients of the f_i, s_i^2 the second derivatives of the losses by them and r_i s_i the first, the damped
Gauss-Newton matrix is J^T S^2 J + l. Asked by way of M = S J J^T S, (n, n), no gradient is formed; of projected gradients
the matrix itself is smaller. Schraudolph 2002 for the matrix; Park et al. 2023, "TRAK", for one output that is linear
in the parameters; Jacot et al. 2018 for J J^T.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.damping import Spectrum
from traceprop.passes.attribution.losses import Floats

Single = NDArray[np.float32]
_EXACT = 1_000
_DIRECTIONS = 256


class AbstractGaussNewton(ABC):
    """What removing training samples does, to first order.

    Parameters
    ----------
    curvature
        float64 (n,): s, the root of the second derivative of each loss by f; above 0, also in float32.
    residual
        float64 (n,): r, the first derivative divided by s.
    """

    def __init__(self, curvature: Floats, residual: Floats) -> None:
        self.curvature = np.asarray(curvature, dtype=np.float32)
        self.residual = np.asarray(residual, dtype=np.float32)
        self._level = -1.0

    @property
    @abstractmethod
    def mean(self) -> float:
        """The mean diagonal of M: what damping is measured in."""

    @abstractmethod
    def spectrum(self) -> Spectrum:
        """The leading eigenvalues and eigenvectors of M."""

    @abstractmethod
    def _factor(self, level: float) -> None:
        """Prepare for `_across` at a level of damping."""

    @abstractmethod
    def _across(self, tests: Single) -> Single:
        """K_t S (M + l)^-1 for test samples: float32 (t, n)."""

    @abstractmethod
    def _inverse(self) -> Single:
        """l (M + l)^-1: float32 (n, n), one minus the leverages."""

    def damp(self, strength: float) -> None:
        """Settle the damping, in units of `mean`. It is there to be asked from then on."""
        level = max(strength * self.mean, float(np.finfo(np.float32).tiny))
        if level != self._level:
            self._factor(level)
            self._level = level

    def scores(self, tests: Single) -> Single:
        """Minus the change of f of test samples when each training sample is removed: float32 (t, n)."""
        return np.asarray(self._across(tests) * -self.residual)

    def products(self, tests: Single) -> Single:
        """g_t^T (J^T S^2 J + l)^-1 g_i of the gradients g of test and training samples: float32 (t, n)."""
        return np.asarray(self._across(tests) / self.curvature)

    def scores_left_out(self, tests: Single) -> Single:
        """`scores` by one Newton step on the samples that stay: each is divided by one minus its leverage."""
        return np.asarray(self.scores(tests) / np.maximum(np.diagonal(self._inverse()), np.float32(1e-6)))

    def effects(self, tests: Single, subsets: Sequence[NDArray[np.int64]]) -> Single:
        """The change of f of test samples when each set is removed as a whole: float32 (s, t).

        One Newton step on the samples that stay (Koh et al. 2019): those of a set stand in for one another, and once
        all are gone (I - their leverages)^-1 says how much they did (Woodbury).
        """
        from scipy.linalg import cho_factor, cho_solve

        across, stay = self._across(tests), self._inverse()
        out = np.zeros((len(subsets), len(across)), dtype=np.float32)
        for position, rows in enumerate(subsets):
            if len(rows):
                alone = cho_factor(stay[np.ix_(rows, rows)], lower=True, check_finite=False)
                out[position] = across[:, rows] @ cho_solve(alone, self.residual[rows], check_finite=False)
        return out


class DualGaussNewton(AbstractGaussNewton):
    """By the kernel J J^T, float32 (n, n), which becomes this object's and is written to. Tests are asked by K_t = J_t J^T."""

    def __init__(self, kernel: Single, curvature: Floats, residual: Floats) -> None:
        super().__init__(curvature, residual)
        self._scaled = kernel
        self._scaled *= self.curvature[:, None]
        self._scaled *= self.curvature

    @property
    def mean(self) -> float:
        return float(np.diagonal(self._scaled).mean(dtype=np.float64))

    def spectrum(self) -> Spectrum:
        """All of it for few samples; else of a subspace found by block power steps (Halko, Martinsson & Tropp 2011)."""
        n = len(self._scaled)
        if n <= _EXACT:
            values, vectors = np.linalg.eigh(self._scaled.astype(np.float64))
            return Spectrum(values.clip(0.0), vectors, np.zeros(n))
        block: Single = np.random.default_rng(0).normal(size=(n, _DIRECTIONS)).astype(np.float32)
        for _ in range(2):
            block, _triangle = np.linalg.qr(self._scaled @ block)
        values, rotation = np.linalg.eigh((block.T @ (self._scaled @ block)).astype(np.float64))
        vectors = (block @ rotation.astype(np.float32)).astype(np.float64)
        rest = np.diagonal(self._scaled) - vectors**2 @ values.clip(0.0)
        return Spectrum(values.clip(0.0), vectors, rest.clip(0.0))

    def _factor(self, level: float) -> None:
        from scipy.linalg import cho_factor

        damped = self._scaled.copy()
        damped.flat[:: len(damped) + 1] += np.float32(level)
        self._lower = cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)

    def _across(self, tests: Single) -> Single:
        from scipy.linalg import cho_solve

        right = np.asfortranarray((tests * self.curvature).T)
        solved: Single = cho_solve(self._lower, right, overwrite_b=True, check_finite=False).T
        return solved

    def _inverse(self) -> Single:
        from scipy.linalg import cho_solve

        whole = np.zeros_like(self._scaled, order="F")
        np.fill_diagonal(whole, np.float32(self._level))
        found: Single = cho_solve(self._lower, whole, overwrite_b=True, check_finite=False)
        return found

    def step_weights(self, rows: NDArray[np.int64]) -> Single:
        """c (n,), such that J^T c is the step in the parameters that `effects` answers of: removing `rows` as a whole."""
        from scipy.linalg import cho_factor, cho_solve

        stay = self._inverse()
        alone = cho_factor(stay[np.ix_(rows, rows)], lower=True, check_finite=False)
        found = stay[:, rows] @ cho_solve(alone, self.residual[rows], check_finite=False)
        return np.asarray(self.curvature * found / np.float32(self._level))


class PrimalGaussNewton(AbstractGaussNewton):
    """By (projected) gradients J, float32 (n, k), k below n. Tests are asked by their gradients (t, k)."""

    def __init__(self, gradients: Single, curvature: Floats, residual: Floats) -> None:
        super().__init__(curvature, residual)
        self._scaled = gradients * self.curvature[:, None]

    @property
    def mean(self) -> float:
        return float(np.square(self._scaled, dtype=np.float64).sum() / max(len(self._scaled), 1))

    def spectrum(self) -> Spectrum:
        values, vectors = np.linalg.eigh((self._scaled.T @ self._scaled).astype(np.float64))
        values = values.clip(0.0)
        kept = values > values.max(initial=0.0) * 1e-7
        along = self._scaled @ (vectors[:, kept] / np.sqrt(values[kept]))
        return Spectrum(values[kept], along, np.zeros(len(self._scaled)))

    def _factor(self, level: float) -> None:
        from scipy.linalg import cho_factor

        matrix = self._scaled.T @ self._scaled
        matrix.flat[:: len(matrix) + 1] += np.float32(level)
        self._lower = cho_factor(matrix, lower=True, check_finite=False)

    def _across(self, tests: Single) -> Single:
        from scipy.linalg import cho_solve

        found: Single = cho_solve(self._lower, tests.T, check_finite=False).T @ self._scaled.T
        return found

    def _inverse(self) -> Single:
        stay = -self._across(self._scaled)
        stay.flat[:: len(stay) + 1] += np.float32(1)
        return stay
