"""Per-sample gradients of a network by layers, as factors: no gradient is formed where a product of two can do without.

The gradient of a linear layer's weight is a sum over positions of an outer product, of what the layer read and of the
gradient at its output; two such gradients have the dot product sum_{t,u} <a_t, a'_u> <b_t, b'_u>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.attribution.losses import Floats

Single = NDArray[np.float32]
_CELLS = 1 << 24


@dataclass(frozen=True, eq=False)
class DenseFactors:
    """Of a layer that is linear at each of `T` positions: inputs float32 (n, T, d) and output gradients (n, T, o).

    The gradient of the weight (o, d) is sum_t outputs_t inputs_t^T, and of the bias sum_t outputs_t.
    """

    inputs: Single
    outputs: Single
    bias: bool

    @property
    def size(self) -> int:
        """How many parameters the layer has."""
        return int(self.outputs.shape[2] * (self.inputs.shape[2] + self.bias))

    @property
    def nbytes(self) -> int:
        return int(self.inputs.nbytes + self.outputs.nbytes)

    def rows(self, chosen: slice) -> DenseFactors:
        return DenseFactors(self.inputs[chosen], self.outputs[chosen], self.bias)

    def gram(self, other: DenseFactors) -> Single:
        """Dot products of the gradients of two sets of samples: float32 (n, m)."""
        (n, here, d), (m, there, o) = self.inputs.shape, other.outputs.shape
        if here == there == 1:
            inputs = self.inputs[:, 0] @ other.inputs[:, 0].T
            if self.bias:
                inputs += 1
            inputs *= self.outputs[:, 0] @ other.outputs[:, 0].T
            return inputs
        if self.is_shorter_written_out(other):
            return self.flat() @ other.flat().T
        inputs = self.inputs.reshape(n * here, d) @ other.inputs.reshape(m * there, d).T
        if self.bias:
            inputs += 1
        inputs *= self.outputs.reshape(n * here, o) @ other.outputs.reshape(m * there, o).T
        summed: Single = inputs.reshape(n, here, m, there).sum(axis=(1, 3))
        return summed

    def is_shorter_written_out(self, other: DenseFactors) -> bool:
        """Whether products of the gradients themselves take less than those of all pairs of positions."""
        (_, here, d), (_, there, o) = self.inputs.shape, other.outputs.shape
        return bool(here * there > 1 and here * there * (d + o) >= d * o)

    def columns(self, chosen: slice) -> DenseFactors:
        """The part of the layer that makes some of its outputs."""
        return DenseFactors(self.inputs, np.ascontiguousarray(self.outputs[:, :, chosen]), self.bias)

    def flat(self) -> Single:
        """The gradients themselves, float32 (n, size): weight in row-major order, then bias."""
        weight = np.matmul(self.outputs.transpose(0, 2, 1), self.inputs).reshape(len(self.inputs), -1)
        return np.concatenate([weight, self.outputs.sum(axis=1)], axis=1) if self.bias else weight


@dataclass(frozen=True, eq=False)
class EmbeddingFactors:
    """Of an embedding table (`vocabulary`, o): ids int64 (n, T), and the gradients at its outputs float32 (n, T, o)."""

    ids: NDArray[np.int64]
    outputs: Single
    vocabulary: int

    @property
    def size(self) -> int:
        return int(self.vocabulary * self.outputs.shape[2])

    @property
    def nbytes(self) -> int:
        return int(self.ids.nbytes + self.outputs.nbytes)

    def rows(self, chosen: slice) -> EmbeddingFactors:
        return EmbeddingFactors(self.ids[chosen], self.outputs[chosen], self.vocabulary)

    def gram(self, other: EmbeddingFactors) -> Single:
        """Dot products of the gradients of two sets of samples: float32 (n, m), by the ids that they share.

        Where what follows adds up embeddings (a mean over words), the gradient is one at all of a sample's ids, and the
        product is that of two gradients, times how often ids meet.
        """
        mine = self._summed()
        theirs = mine if other is self else other._summed()
        if mine is None or theirs is None:
            return np.asarray((self.sparse() @ other.sparse().T).toarray(), dtype=np.float32)
        found = np.asarray((mine[0] @ theirs[0].T).toarray(), dtype=np.float32)
        found *= mine[1] @ theirs[1].T
        return found

    def _summed(self) -> tuple[Any, Single] | None:
        """How often each id is read, sparse (n, vocabulary), and the one gradient at all of them (n, o); else None."""
        from scipy.sparse import csr_array

        at = np.abs(self.outputs).max(axis=2, initial=0.0) > 0
        alike = self.outputs[np.arange(len(at)), at.argmax(axis=1)]
        if not (self.outputs == np.where(at[:, :, None], alike[:, None], 0.0)).all():
            return None
        ends = np.concatenate([[0], at.sum(axis=1).cumsum()])
        ones = np.ones(ends[-1], dtype=np.float32)
        return csr_array((ones, self.ids[at], ends), shape=(len(at), self.vocabulary)), alike

    def sparse(self) -> Any:
        """The gradients as a sparse (n, size) matrix; repeats of an id add up."""
        from scipy.sparse import csr_array

        n, positions, o = self.outputs.shape
        columns = (self.ids[:, :, None] * o + np.arange(o)).reshape(-1)
        found = csr_array((self.outputs.flatten(), columns, np.arange(n + 1) * positions * o), shape=(n, self.size))
        found.sum_duplicates()
        return found

    def flat(self) -> Single:
        return np.asarray(self.sparse().toarray(), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class PlainGradients:
    """Of parameters that no factors are known for: the gradients themselves, float32 (n, size)."""

    gradients: Single

    @property
    def size(self) -> int:
        return int(self.gradients.shape[1])

    @property
    def nbytes(self) -> int:
        return int(self.gradients.nbytes)

    def rows(self, chosen: slice) -> PlainGradients:
        return PlainGradients(self.gradients[chosen])

    def gram(self, other: PlainGradients) -> Single:
        return self.gradients @ other.gradients.T

    def flat(self) -> Single:
        return self.gradients


LayerFactors = DenseFactors | EmbeddingFactors | PlainGradients


def kernel(left: Sequence[LayerFactors], right: Sequence[LayerFactors], count: int, others: int) -> Single:
    """Dot products of whole gradients, all layers together, of `count` and `others` samples: float32 (count, others).

    Formed in blocks, so that nothing larger than the result and a block is in memory; of samples with themselves, half.
    Where the gradients themselves are shorter than their factors (of a convolution's many positions), some at a time are formed.
    """
    out = np.zeros((count, others), dtype=np.float32)
    symmetric = left is right
    pairs: list[tuple[LayerFactors, LayerFactors]] = []
    for mine, theirs in zip(left, right, strict=True):
        if isinstance(mine, DenseFactors) and isinstance(theirs, DenseFactors) and mine.is_shorter_written_out(theirs):
            _add_written_out(out, mine, theirs)
        else:
            pairs.append((mine, theirs))
    widest = max((_wide(*pair, others) for pair in pairs), default=1)
    step = max(1, min(_CELLS // max(widest, 1), -(-count // 8) if symmetric else count))
    for start in range(0, count, step):
        chosen = slice(start, min(start + step, count))
        across = slice(start, others) if symmetric else slice(0, others)
        for mine, theirs in pairs:
            out[chosen, across] += mine.rows(chosen).gram(theirs.rows(across))  # type: ignore[arg-type]
        if symmetric:
            out[chosen.stop :, chosen] = out[chosen, chosen.stop :].T
    return out


def _add_written_out(out: Single, mine: DenseFactors, theirs: DenseFactors) -> None:
    """Add products of one layer's gradients, formed for as many of its outputs at a time as a block holds."""
    width = mine.size // mine.outputs.shape[2]
    step = max(1, _CELLS // (width * max(out.shape)))
    for start in range(0, mine.outputs.shape[2], step):
        chosen = slice(start, start + step)
        here = mine.columns(chosen).flat()
        out += here @ (here if mine is theirs else theirs.columns(chosen).flat()).T


def _wide(mine: LayerFactors, theirs: LayerFactors, others: int) -> int:
    """How many numbers one row of a gram matrix takes on its way."""
    if isinstance(mine, DenseFactors) and isinstance(theirs, DenseFactors):
        return int(others * mine.inputs.shape[1] * theirs.inputs.shape[1])
    return others


def squares(layers: Sequence[LayerFactors], count: int) -> Floats:
    """Squared lengths of whole gradients: float64 (count,)."""
    total = np.zeros(count)
    for layer in layers:
        if isinstance(layer, DenseFactors) and layer.inputs.shape[1] == 1:
            lengths = np.square(layer.inputs[:, 0], dtype=np.float64).sum(axis=1) + layer.bias
            total += lengths * np.square(layer.outputs[:, 0], dtype=np.float64).sum(axis=1)
        else:
            step = max(1, _CELLS // max(layer.size, 1))
            for start in range(0, count, step):
                chosen = slice(start, start + step)
                total[chosen] += np.square(layer.rows(chosen).flat(), dtype=np.float64).sum(axis=1)
    return total


def products(layers: Sequence[LayerFactors], vectors: Sequence[Floats], count: int) -> Single:
    """Dot products of whole gradients with one vector, which is given by layers: float32 (count,)."""
    total = np.zeros(count, dtype=np.float32)
    for layer, vector in zip(layers, vectors, strict=True):
        vector = vector.astype(np.float32)
        if isinstance(layer, DenseFactors):
            o, d = layer.outputs.shape[2], layer.inputs.shape[2]
            moved = layer.inputs @ vector[: o * d].reshape(o, d).T
            if layer.bias:
                moved += vector[o * d :]
            total += np.einsum("nto,nto->n", moved, layer.outputs, optimize=True)
        elif isinstance(layer, EmbeddingFactors):
            total += np.einsum("nto,nto->n", vector.reshape(layer.vocabulary, -1)[layer.ids], layer.outputs)
        else:
            total += layer.gradients @ vector
    return total


def whole(layers: Sequence[LayerFactors]) -> Single:
    """Whole gradients, layer behind layer: float32 (count, size), as they are where there are few parameters."""
    return np.concatenate([layer.flat() for layer in layers], axis=1)


def projected(layers: Sequence[LayerFactors], count: int, dimensions: int, seed: int = 0) -> Single:
    """Whole gradients projected by one SJLT, layer behind layer: float32 (count, dimensions); none is formed whole."""
    from traceprop.passes.kernels.projection import factored_sjlt, sjlt

    out = np.zeros((count, dimensions), dtype=np.float32)
    offset = 0
    for layer in layers:
        if isinstance(layer, DenseFactors):
            factored_sjlt(layer.inputs, layer.outputs, dimensions, seed, offset=offset, out=out)
            if layer.bias:
                sums = layer.outputs.sum(axis=1)
                sjlt(sums, dimensions, seed, offset=offset + layer.size - sums.shape[1], out=out)
        else:
            step = max(1, _CELLS // max(layer.size, 1))
            for start in range(0, count, step):
                chosen = slice(start, start + step)
                sjlt(layer.rows(chosen).flat(), dimensions, seed, offset=offset, out=out[chosen])
        offset += layer.size
    return out
