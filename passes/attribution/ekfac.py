"""EK-FAC: the Gauss-Newton matrix of a network, layer by layer, in Kronecker factors with corrected eigenvalues.

George et al. 2018, "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis"; for influence, Grosse et
al. 2023, "Studying large language model generalization with influence functions". A layer's block is diagonal in the basis
U_B (x) U_A of the second moments of its output gradients and of its inputs, and what stands on the diagonal is measured there.
What parameters without factors have is taken as diagonal as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, LayerFactors
from traceprop.passes.attribution.losses import Floats

Single = NDArray[np.float32]
_CELLS = 1 << 25


@dataclass(frozen=True, eq=False)
class _Basis:
    """Of one layer: eigenvectors of inputs (d, d) and of output gradients (o, o); None where it is the basis that it has."""

    inputs: Single | None
    outputs: Single | None

    def gradients(self, layer: LayerFactors) -> Single:
        """Gradients of the samples in the basis, float32 (n, o * d)."""
        if isinstance(layer, DenseFactors):
            assert self.inputs is not None
            assert self.outputs is not None
            rotated = DenseFactors(_with_ones(layer) @ self.inputs, layer.outputs @ self.outputs, bias=False)
            return rotated.flat()
        if isinstance(layer, EmbeddingFactors):
            assert self.outputs is not None
            return EmbeddingFactors(layer.ids, layer.outputs @ self.outputs, layer.vocabulary).flat()
        return layer.flat()


class EKFAC:
    """What removing training samples does, to first order, by a block-diagonal Gauss-Newton matrix.

    Parameters
    ----------
    layers
        Gradients of f of the training samples, as factors.
    curvature, residual
        float64 (n,), as of `AbstractGaussNewton`.
    """

    def __init__(self, layers: Sequence[LayerFactors], curvature: Floats, residual: Floats) -> None:
        self.layers = layers
        self.curvature = np.asarray(curvature, dtype=np.float32)
        self.residual = np.asarray(residual, dtype=np.float32)
        self._bases = [_basis(layer, self.curvature) for layer in layers]
        self._diagonals = [self._diagonal(layer, basis) for layer, basis in zip(layers, self._bases, strict=True)]
        self._level = 0.0

    def _diagonal(self, layer: LayerFactors, basis: _Basis) -> Floats:
        total = np.zeros(layer.size)
        for rows in _blocks(len(self.curvature), layer.size):
            part = basis.gradients(layer.rows(rows)) * self.curvature[rows, None]
            total += np.square(part).sum(axis=0, dtype=np.float64)
        return total

    @property
    def mean(self) -> float:
        """The mean diagonal of S J J^T S: what damping is measured in."""
        return float(sum(diagonal.sum() for diagonal in self._diagonals) / len(self.curvature))

    def leverages(self, level: float) -> Floats:
        """How much of each sample's own residual the fit of the others leaves to it: float64 (n,), below 1."""
        found = np.zeros(len(self.curvature))
        for layer, basis, diagonal in zip(self.layers, self._bases, self._diagonals, strict=True):
            weights = (1.0 / (diagonal + level)).astype(np.float32)
            for rows in _blocks(len(found), layer.size):
                found[rows] += np.square(basis.gradients(layer.rows(rows)) * self.curvature[rows, None]) @ weights
        limited: Floats = np.minimum(found, 1.0 - 1e-6)
        return limited

    def damp(self, strength: float) -> None:
        """Settle the damping, in units of `mean`."""
        self._level = strength * self.mean

    def scores(self, tests: Sequence[LayerFactors]) -> Single:
        """Minus the change of f of test samples when each training sample is removed: float32 (t, n)."""
        count = len(_first(tests[0]))
        out = np.zeros((count, len(self.residual)), dtype=np.float32)
        for mine, layer, basis, diagonal in zip(tests, self.layers, self._bases, self._diagonals, strict=True):
            moved = basis.gradients(mine) * (1.0 / (diagonal + self._level)).astype(np.float32)
            for rows in _blocks(len(self.residual), layer.size):
                out[:, rows] += moved @ basis.gradients(layer.rows(rows)).T
        return np.asarray(out * -(self.residual * self.curvature))


def _basis(layer: LayerFactors, curvature: Single) -> _Basis:
    if isinstance(layer, DenseFactors):
        inputs = _with_ones(layer).reshape(-1, layer.inputs.shape[2] + layer.bias)
        return _Basis(_eigenvectors(inputs), _eigenvectors(_scaled(layer.outputs, curvature)))
    if isinstance(layer, EmbeddingFactors):
        return _Basis(None, _eigenvectors(_scaled(layer.outputs, curvature)))
    return _Basis(None, None)


def _scaled(outputs: Single, curvature: Single) -> Single:
    return np.asarray(outputs * curvature[:, None, None]).reshape(-1, outputs.shape[2])


def _eigenvectors(rows: Single) -> Single:
    return np.linalg.eigh((rows.T @ rows).astype(np.float64))[1].astype(np.float32)


def _with_ones(layer: DenseFactors) -> Single:
    if not layer.bias:
        return layer.inputs
    return np.concatenate([layer.inputs, np.ones((*layer.inputs.shape[:2], 1), dtype=np.float32)], axis=2)


def _first(layer: LayerFactors) -> Single:
    return layer.gradients if not isinstance(layer, DenseFactors | EmbeddingFactors) else layer.outputs


def _blocks(count: int, width: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(width, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
