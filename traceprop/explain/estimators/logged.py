"""Gradient dot products of gradients that were logged by hand, or that another process wrote: read block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.passes.attribution.top import NUMBERS, Piece, top_products
from traceprop.passes.kernels.dispatch import topk
from traceprop.runtime.progress import progress
from traceprop.stores import GradientBlocks
from traceprop.training.logged import as_stored

SUMS = 1 << 25
"""Sums that are there at a time: 128 MiB."""


class LoggedDot(AbstractEstimator):
    """Dot products of gradients logged by hand with a test gradient that is given too."""

    name = "dot"
    why = "gradient dot products ignore curvature: their order means something, their size does not"

    @property
    def blocks(self) -> GradientBlocks:
        """The gradients."""
        assert self.store.blocks is not None
        return self.store.blocks

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        raise ModelError(
            "gradients were logged by hand, so those of test rows have to be given too: engine.attribute(test_gradient)"
        )

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.why

    def of_gradient(self, gradient: Any) -> Found:
        vector = np.ravel(as_stored(self.blocks, gradient))
        if len(vector) != self.blocks.width:
            raise ModelError(f"the gradient has {len(vector)} numbers, but those in the store {self.blocks.width}")
        return self._products(vector).astype(np.float32), "estimated", self.why

    def top_of_gradients(self, gradients: Any, k: int, sign: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        """In one pass over the blocks, where each sample has one gradient; else a pass for as many as fit at a time."""
        asked = as_stored(self.blocks, np.atleast_2d(gradients) if isinstance(gradients, np.ndarray) else gradients)
        asked = self._queries(np.atleast_2d(asked)) * sign
        asked = np.ascontiguousarray(asked, dtype=np.float64 if self.blocks.dtype == "float64" else np.float32)
        samples = self.blocks.columns()["sample"]
        rows = len(samples)
        once = rows == len(self.store) and bool((np.bincount(samples, minlength=rows) == 1).all())
        del samples
        passes = 1 if once else -(-len(asked) * len(self.store) // SUMS)
        with progress("top rows", passes * len(self.blocks)) as advance:
            if once:
                scores, found = top_products(self._pieces(), asked, k, advance, rows)
            else:
                scores, found = self._top_sums(asked, k, advance)
        return (scores * sign).astype(np.float32), found, "estimated", self.why

    def _pieces(self) -> Iterator[Piece]:
        """The samples of a few rows at a time, and what gives their gradients."""
        rows = max(256, NUMBERS // (self.blocks.width or 1))
        for block in self.blocks:
            yield from block.pieces(rows)

    def _queries(self, gradients: np.ndarray) -> np.ndarray:
        """Test gradients as products are taken with them."""
        return gradients

    def _top_sums(self, asked: np.ndarray, k: int, advance: Callable[[int], None]) -> tuple[np.ndarray, np.ndarray]:
        """`top_products` of samples whose gradients were logged several times, or never: products add up."""
        scores = np.empty((len(asked), k), dtype=asked.dtype)
        found = np.empty((len(asked), k), dtype=np.int64)
        step = max(1, SUMS // len(self.store))
        for start in range(0, len(asked), step):
            part = slice(start, start + step)
            total = np.zeros((len(self.store), len(asked[part])), dtype=asked.dtype)
            for samples, given in self._pieces():
                np.add.at(total, samples, given() @ asked[part].T)
                advance(len(samples))
            found[part] = topk(total.T, k)
            scores[part] = np.take_along_axis(total.T, found[part], axis=1)
        return scores, found

    def _products(self, vector: np.ndarray) -> np.ndarray:
        """Products with each sample's gradients, which add up: float64 (n,)."""
        total = np.zeros(len(self.store))
        with progress("gradients", len(self.blocks)) as advance:
            for block in self.blocks:
                np.add.at(total, block.columns["sample"], block.products(vector))
                advance(len(block))
        return total

    def lengths(self) -> np.ndarray:
        """The length of each sample's gradient: float64 (n,)."""
        samples = self.blocks.columns()["sample"]
        if len(np.unique(samples)) < len(samples):  # what is logged again adds up before it has a length
            return np.linalg.norm(self._whole(), axis=1)
        squares = np.zeros(len(self.store))
        with progress("lengths of gradients", len(self.blocks)) as advance:
            for block in self.blocks:
                for found, rows in block.parts():
                    squares[found] = np.einsum("ij,ij->i", rows, rows)
                advance(len(block))
        return np.sqrt(squares)

    def _whole(self) -> np.ndarray:
        found = self.store.gradients
        assert found is not None
        return found


class LoggedCosine(LoggedDot):
    """Cosines between gradients logged by hand and a test gradient."""

    name = "cosine"
    why = "cosines between gradients ignore curvature and size: only their order means something"

    def _pieces(self) -> Iterator[Piece]:
        lengths = self.lengths()
        lengths = np.where(lengths > 0, lengths, 1.0)

        def turned(samples: np.ndarray, given: Callable[[], np.ndarray]) -> np.ndarray:
            gradients = given()
            return gradients / lengths[samples, None].astype(gradients.dtype)

        for samples, given in super()._pieces():
            yield samples, partial(turned, samples, given)

    def _queries(self, gradients: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
        return gradients / np.where(lengths > 0, lengths, 1.0)

    def _products(self, vector: np.ndarray) -> np.ndarray:
        lengths = self.lengths() * np.linalg.norm(vector)
        return super()._products(vector) / np.where(lengths > 0, lengths, 1.0)
