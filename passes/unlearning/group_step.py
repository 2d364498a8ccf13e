"""What removing rows does to a network, from some of the rows that stay: to the numbers of any rows, and to the parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.gauss_newton import DualGaussNewton, Single
from traceprop.passes.attribution.losses import Floats


class GroupStep:
    """One damped Gauss-Newton step on the rows that stay (Koh et al. 2019), the rows being a sample of them.

    Parameters
    ----------
    kernel
        float32 (m, m): J J^T of the rows that go, first, and of the sample; becomes this object's and is written to.
    roots, residuals
        float64 (m,): as in `passes.attribution.gauss_newton`.
    going
        How many rows go.
    staying
        How many rows stay in all: each row of the sample counts for `staying / (m - going)`.
    damping
        In units of the mean diagonal of the scaled kernel.
    """

    def __init__(
        self, kernel: Single, roots: Floats, residuals: Floats, going: int, staying: int, damping: float
    ) -> None:
        counts = np.ones(len(roots))
        counts[going:] = np.sqrt(staying / max(len(roots) - going, 1))
        self._gone = np.arange(going)
        self._solver = DualGaussNewton(kernel, roots * counts, residuals * counts)
        self._solver.damp(damping)

    def effect(self, tests: Single) -> Single:
        """The change of the numbers of test rows, asked by K_t (t, m): float32 (t,)."""
        change: Single = self._solver.effects(tests, [self._gone])[0]
        return change

    def weights(self) -> NDArray[np.float32]:
        """c (m,): the step in the parameters is J^T c."""
        return self._solver.step_weights(self._gone)
