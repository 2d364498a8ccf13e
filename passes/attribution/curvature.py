"""The inverse of a Hessian, said honestly: by Cholesky where it is positive, and not at all where it is flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from traceprop.passes.attribution.losses import Floats


@dataclass(frozen=True, eq=False)
class Curvature:
    """A factored positive semi-definite matrix H (p, p).

    H is scaled to a unit diagonal first, so that what counts as flat does not depend on the units of the features.
    Directions of relative curvature below `p` rounding errors are the null space: `solve` leaves them out, as a
    generalised inverse does. Softmax parameters have one by construction (adding a constant to all logits changes
    nothing), and there no answer depends on it; `flatness` tells of other vectors whether theirs does.

    Attributes
    ----------
    negative
        Whether H has a direction of negative curvature: not a minimum, and no answer below means anything.
    condition
        The condition number of the scaled H, flat directions left out: how much of the digits an answer can lose.
    null
        float64 (p, q): an orthonormal basis of the flat directions of H itself.
    """

    scale: Floats
    cholesky: Floats | None
    vectors: Floats
    values: Floats
    null: Floats
    negative: bool
    condition: float

    @staticmethod
    def of(hessian: Floats) -> Curvature:
        """Factor a symmetric matrix; costs p^3 / 3, or about 10 p^3 where it is singular."""
        p = len(hessian)
        diagonal = hessian.diagonal()
        scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        scaled = hessian * scale[:, None] * scale
        none = np.empty((p, 0))
        factor, failed = scipy.linalg.lapack.dpotrf(scaled, lower=1, clean=1)
        if not failed:
            rcond, _ = scipy.linalg.lapack.dpocon(factor, np.abs(scaled).sum(axis=0).max(), uplo="L")
            if rcond > 8 * p * np.finfo(np.float64).eps:
                return Curvature(scale, factor, none, np.empty(0), none, negative=False, condition=1.0 / rcond)
        values, vectors = np.linalg.eigh(scaled)
        threshold = 8 * p * np.finfo(np.float64).eps * max(float(values[-1]), 1.0)
        flat = np.abs(values) <= threshold
        null, _ = np.linalg.qr(scale[:, None] * vectors[:, flat])
        negative, sizes = bool((values < -threshold).any()), np.abs(values[~flat])
        condition = float(sizes.max(initial=1.0) / sizes.min(initial=np.inf)) if len(sizes) else 1.0
        return Curvature(scale, None, vectors[:, ~flat], values[~flat], null, negative, condition)

    def solve(self, right: Floats) -> Floats:
        """Give H^-1 right for right (p,) or (p, m); where H is flat, the shortest solution."""
        scale: Floats = self.scale if right.ndim == 1 else self.scale[:, None]
        if self.cholesky is not None:
            solved = scipy.linalg.cho_solve((self.cholesky, True), scale * right, check_finite=False)
        else:
            values = self.values if right.ndim == 1 else self.values[:, None]
            solved = self.vectors @ ((self.vectors.T @ (scale * right)) / values)
        result: Floats = scale * solved
        return result - self.null @ (self.null.T @ result)

    @property
    def root(self) -> Floats:
        """R (q, p), such that R^T R is the inverse of H, up to flat directions; not where H is negative."""
        if self.cholesky is None:
            along: Floats = (self.vectors / np.sqrt(self.values)).T * self.scale
            return along
        whole = np.diag(self.scale)
        solved: Floats = scipy.linalg.solve_triangular(self.cholesky, whole, lower=True, check_finite=False)
        return solved

    def flatness(self, vectors: Floats) -> Floats:
        """Tell how much of each vector (m, p) lies in flat directions: 0 for none of it, 1 for all."""
        if not self.null.shape[1]:
            return np.zeros(len(vectors))
        length = np.sqrt((vectors**2).sum(axis=1))
        inside = np.sqrt(((vectors @ self.null) ** 2).sum(axis=1))
        share: Floats = inside / np.where(length > 0, length, 1.0)
        return share


def smallest_curvature(hessian: Floats) -> tuple[float, Floats]:
    """Give the least eigenvalue of a positive semi-definite matrix (p, p) that is not 0 up to rounding, else 0.

    And, (q, p), the directions in which it is.
    """
    values, vectors = np.linalg.eigh(hessian)
    positive = values > 8 * len(values) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    return float(values[positive].min(initial=np.inf)) if positive.any() else 0.0, vectors[:, ~positive].T
