"""Random projections of gradients: which there are, and when a gradient is projected at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.kernels.projection import masked_sjlt, sjlt, sparse_jl

SEED = 0
KINDS = ("sjlt", "sparse", "very-sparse", "masked", "gaussian")
KEPT = 4
"""Columns that a mask keeps for each dimension of the result."""


@dataclass(frozen=True)
class Projection:
    """A linear map to `dimensions` numbers, the same on every run, that keeps dot products in expectation.

    Its variance for <x, y> is at most that of a Gaussian matrix for "sjlt" and "sparse", (|x|^2 |y|^2 + <x, y>^2) / k;
    more for vectors with a few large numbers under "very-sparse", and for all under "masked".

    Raises
    ------
    ModelError
        The dimensions are not a positive integer, or there is no such kind.
    """

    dimensions: int
    kind: str = "sjlt"

    def __post_init__(self) -> None:
        whole = isinstance(self.dimensions, int | np.integer) and not isinstance(self.dimensions, bool)
        if not whole or self.dimensions < 1:
            raise ModelError(f"proj_dim is a positive number of dimensions, not {self.dimensions!r}")
        if self.kind not in KINDS:
            raise ModelError(f"there is no projection={self.kind!r}; there are: {', '.join(KINDS)}")

    def width(self, size: int) -> int:
        """How many numbers a gradient of `size` has afterwards: never more than before."""
        return min(size, int(self.dimensions))

    def matrix_cells(self, size: int) -> int:
        """How many numbers of a stored matrix it takes: none but for a Gaussian one."""
        return size * int(self.dimensions) if self.kind == "gaussian" and self.dimensions < size else 0

    def __call__(self, gradients: np.ndarray) -> np.ndarray:
        """Project gradients (…, size), of one or two axes, where that makes them shorter."""
        size, k = gradients.shape[-1], int(self.dimensions)
        if k >= size:
            return gradients
        if self.kind == "gaussian":
            return gradients @ gaussian(size, k)
        if self.kind == "masked":
            return masked_sjlt(gradients, k, SEED, kept=KEPT * k)
        if self.kind == "sjlt":
            return sjlt(gradients, k, SEED)
        return sparse_jl(gradients, k, SEED, sparsity=3.0 if self.kind == "sparse" else float(np.sqrt(size)))


@lru_cache(maxsize=1)
def gaussian(size: int, dimensions: int) -> np.ndarray:
    """Give a Gaussian (size, dimensions) matrix (Johnson & Lindenstrauss 1984; "TRAK", Park et al. 2023)."""
    return np.random.default_rng(SEED).normal(size=(size, dimensions)) / np.sqrt(dimensions)
