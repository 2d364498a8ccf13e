"""Squared distances from validation points to training points, a block of validation points at a time.

|x - v|^2 = |x|^2 + |v|^2 - 2 x.v: one matrix product a block. Equal training points are found first and share one
distance, so that rounding does not break ties that the data have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from traceprop.passes.kernels.reference import Floats, Ints

BLOCK_BYTES = 1 << 25


class AbstractDistances(ABC):
    """Distances between `n` training points and `m` validation points."""

    n: int
    m: int

    @abstractmethod
    def squared(self, part: slice) -> Floats:
        """Give the squared distances of some validation points to all training points: (b, n), none below 0."""

    @abstractmethod
    def products(self, part: slice) -> Floats:
        """Give the inner products with the training points as they are: (b, n)."""

    def blocks(self, block: int | None = None) -> Iterator[slice]:
        """Cut the validation points into blocks of `block`, or of what fits a fixed amount of memory."""
        size = block or max(8, BLOCK_BYTES // max(1, 8 * self.n))
        for start in range(0, self.m, size):
            yield slice(start, min(start + size, self.m))


class Points(AbstractDistances):
    """Rows of two matrices.

    Parameters
    ----------
    train, validation
        (n, d) and (m, d); both float32 stay so, anything else becomes float64.

    Raises
    ------
    ValueError
        Widths that differ; squared lengths that are no finite numbers in that dtype.
    """

    def __init__(self, train: Floats, validation: Floats) -> None:
        train, validation = _pair(train, validation)
        if train.ndim != 2 or validation.ndim != 2 or train.shape[1] != validation.shape[1]:
            raise ValueError(f"training points {train.shape} and validation points {validation.shape} differ in width")
        self.n, self.m = len(train), len(validation)
        self._centre = train.mean(axis=0) if self.n else np.zeros(train.shape[1], dtype=train.dtype)
        first, self._same = _distinct(train)
        # Distances do not change when all points move; small numbers lose less in the difference of large ones.
        self._train = np.ascontiguousarray((train if first is None else train[first]) - self._centre)
        self._validation = validation - self._centre
        self._lengths = _lengths(self._train, "training")
        self._asked = _lengths(self._validation, "validation")
        self._offset = self._train @ self._centre + self._centre @ self._centre

    def squared(self, part: slice) -> Floats:
        """See `AbstractDistances.squared`."""
        out = self._validation[part] @ self._train.T
        out *= -2
        out += self._lengths
        out += self._asked[part, None]
        return self._spread(np.maximum(out, 0, out=out))

    def products(self, part: slice) -> Floats:
        """See `AbstractDistances.products`."""
        out = self._validation[part] @ self._train.T
        out += self._offset
        out += (self._validation[part] @ self._centre)[:, None]
        return self._spread(out)

    def _spread(self, out: Floats) -> Floats:
        return out if self._same is None else out[:, self._same]


class OuterProducts(AbstractDistances):
    """Gradients of a linear model, features times logit gradients, compared without being formed.

    (x r^T) . (v s^T) = (x.v)(r.s): two matrix products of the factors take the place of one of their products.

    Parameters
    ----------
    train, validation
        Pairs of float64 (n, d) features and (n, k) logit gradients, and of m such rows.
    """

    def __init__(self, train: tuple[Floats, Floats], validation: tuple[Floats, Floats]) -> None:
        self._train, self._validation = train, validation
        self.n, self.m = len(train[0]), len(validation[0])
        self._lengths = _lengths(train[0], "training") * _lengths(train[1], "training")
        self._asked = _lengths(validation[0], "validation") * _lengths(validation[1], "validation")

    def squared(self, part: slice) -> Floats:
        """See `AbstractDistances.squared`."""
        out = self.products(part)
        out *= -2
        out += self._lengths
        out += self._asked[part, None]
        return np.maximum(out, 0, out=out)

    def products(self, part: slice) -> Floats:
        """See `AbstractDistances.products`."""
        out: Floats = self._validation[0][part] @ self._train[0].T
        out *= self._validation[1][part] @ self._train[1].T
        return out


def neighbour_radius(distances: AbstractDistances, k: int, block: int | None = None) -> float:
    """Give the median over validation points of the distance to the k-th nearest training point."""
    k = min(k, distances.n)
    found = [np.partition(distances.squared(part), k - 1, axis=1)[:, k - 1] for part in distances.blocks(block)]
    return float(np.sqrt(np.median(np.concatenate(found))))


def _pair(train: Floats, validation: Floats) -> tuple[Floats, Floats]:
    dtype = np.float32 if train.dtype == validation.dtype == np.float32 else np.float64
    return train.astype(dtype, copy=False), validation.astype(dtype, copy=False)


def _lengths(points: Floats, of: str) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        lengths: Floats = np.einsum("ij,ij->i", points, points)
    if not np.isfinite(lengths).all():
        row = int(np.flatnonzero(~np.isfinite(lengths))[0])
        raise ValueError(f"{of} point {row} has a squared length beyond {points.dtype}: scale the columns first")
    return lengths


def _distinct(points: Floats) -> tuple[Ints | None, Ints | None]:
    """Find the first of each kind of row, and for every row which of them it is; None where all rows differ."""
    if len(points) < 2 or not points.shape[1]:
        return None, None
    whole = np.ascontiguousarray(points + points.dtype.type(0))  # one zero, not two
    rows = whole.view(np.dtype((np.void, whole.strides[0])))[:, 0]
    # Sorting words is cheaper than sorting rows: only rows of one sum can be equal.
    sums = whole @ np.linspace(1, 2, whole.shape[1], dtype=whole.dtype)
    if len(np.unique(sums)) == len(rows):
        return None, None
    _, first, same = np.unique(rows, return_index=True, return_inverse=True)
    return (None, None) if len(first) == len(rows) else (first, same.reshape(-1))
