"""When a training point says what is right for a validation point."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels.reference import Ints
from traceprop.passes.valuation.distances import AbstractDistances


class AbstractHits(ABC):
    """A yes or no for each pair of a validation and a training point."""

    @abstractmethod
    def of(self, part: slice) -> NDArray[np.bool_]:
        """Tell of some validation points and all training points: bool (b, n)."""


class SameLabel(AbstractHits):
    """A hit where both have one label, given as integer codes (n,) and (m,)."""

    def __init__(self, train: Ints, validation: Ints) -> None:
        self._train, self._validation = train.astype(np.int32), validation.astype(np.int32)

    def of(self, part: slice) -> NDArray[np.bool_]:
        """See `AbstractHits.of`."""
        same: NDArray[np.bool_] = self._validation[part, None] == self._train
        return same


class SameDirection(AbstractHits):
    """A hit where two gradients have a positive product: a step down the one loss goes down the other too."""

    def __init__(self, gradients: AbstractDistances) -> None:
        self._gradients = gradients

    def of(self, part: slice) -> NDArray[np.bool_]:
        """See `AbstractHits.of`."""
        agree: NDArray[np.bool_] = self._gradients.products(part) > 0
        return agree
