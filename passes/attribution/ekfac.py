"""EK-FAC: the Gauss-Newton matrix of a network, layer by layer, in Kronecker factors with corrected eigenvalues.

George et al. 2018, "Fast approximate natural gradient descent in a Kronecker-factored eigenbasis"; for influence, Grosse et
al. 2023, "Studying large language model generalization with influence functions". A layer's block is diagonal in the basis
U_B (x) U_A of the second moments of its output gradients and of its inputs, and what stands on the diagonal is measured there.
What parameters without factors have is taken as diagonal as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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

    def gradients(self, layer: LayerFactors) -> Any:
        """Gradients of the samples in the basis, float32 (n, o * d); of an embedding table sparse."""
        if isinstance(layer, DenseFactors):
            return DenseFactors(*self.rotated(layer), bias=False).flat()
        if isinstance(layer, EmbeddingFactors):
            assert self.outputs is not None
            return EmbeddingFactors(layer.ids, layer.outputs @ self.outputs, layer.vocabulary).sparse()
        return layer.flat()

    def rotated(self, layer: DenseFactors) -> tuple[Single, Single]:
        """What a dense layer read (n, T, d), and the gradients at its outputs (n, T, o), in the basis."""
        assert self.inputs is not None
        assert self.outputs is not None
        return _with_ones(layer) @ self.inputs, layer.outputs @ self.outputs

    def squares(self, layer: LayerFactors) -> _Squares:
        """Squares of the samples' gradients in the basis, in the form that is cheap to multiply with."""
        if isinstance(layer, DenseFactors) and layer.inputs.shape[1] == 1:
            return _OuterSquares(*(np.square(part[:, 0]) for part in self.rotated(layer)))
        return _WrittenSquares(self, layer)


class _OuterSquares:
    """Of a dense layer at one position, where the square of an outer product is that of squares: (n, d) and (n, o)."""

    def __init__(self, inputs: Single, outputs: Single) -> None:
        self.inputs, self.outputs = inputs, outputs

    def down(self, weights: Single) -> Floats:
        """Sums over samples with weights (n,): float64 (size,)."""
        found: Floats = (self.outputs.T @ (self.inputs * weights[:, None])).reshape(-1).astype(np.float64)
        return found

    def along(self, weights: Single) -> Single:
        """Sums over parameters with weights (size,): float32 (n,)."""
        of_inputs = self.outputs @ weights.reshape(self.outputs.shape[1], -1)
        return np.asarray(np.einsum("nd,nd->n", of_inputs, self.inputs))


class _WrittenSquares:
    """Of any layer, formed for some samples at a time."""

    def __init__(self, basis: _Basis, layer: LayerFactors) -> None:
        self.basis, self.layer = basis, layer

    def down(self, weights: Single) -> Floats:
        """Sums over samples with weights (n,): float64 (size,)."""
        total = np.zeros(self.layer.size)
        for rows in _blocks(len(weights), self.layer.size):
            total += _squared(self.basis.gradients(self.layer.rows(rows))).T @ weights[rows]
        return total

    def along(self, weights: Single) -> Single:
        """Sums over parameters with weights (size,): float32 (n,)."""
        count = len(_first(self.layer))
        return np.concatenate(
            [
                _squared(self.basis.gradients(self.layer.rows(rows))) @ weights
                for rows in _blocks(count, self.layer.size)
            ]
        )


_Squares = _OuterSquares | _WrittenSquares


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
        self._squares = [basis.squares(layer) for layer, basis in zip(layers, self._bases, strict=True)]
        self._diagonals = [squares.down(np.square(self.curvature)) for squares in self._squares]
        self._level = 0.0

    @property
    def mean(self) -> float:
        """The mean diagonal of S J J^T S: what damping is measured in."""
        return float(sum(diagonal.sum() for diagonal in self._diagonals) / len(self.curvature))

    def leverages(self, level: float) -> Floats:
        """How much of each sample's own residual the fit of the others leaves to it: float64 (n,), below 1."""
        found = np.zeros(len(self.curvature))
        for squares, diagonal in zip(self._squares, self._diagonals, strict=True):
            found += squares.along((1.0 / (diagonal + level)).astype(np.float32))
        found *= np.square(self.curvature)
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
            weights = (1.0 / (diagonal + self._level)).astype(np.float32)
            if isinstance(layer, EmbeddingFactors):
                out += (basis.gradients(mine).multiply(weights).tocsr() @ basis.gradients(layer).T).toarray()
                continue
            moved = basis.gradients(mine) * weights
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


def _squared(gradients: Any) -> Any:
    return np.square(gradients) if isinstance(gradients, np.ndarray) else gradients.power(2)


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
