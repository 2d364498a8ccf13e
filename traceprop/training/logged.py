"""Gradients on their way into blocks: checked, weighted, projected, and those of a whole model a chunk at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats
from traceprop.runtime.progress import progress
from traceprop.stores import GradientBlocks
from traceprop.training.adapter import GRADIENT_BYTES, AbstractAdapter, AbstractGradientAdapter, AbstractLinearAdapter
from traceprop.training.data import plain_array
from traceprop.training.projection import SEED, Projection

CHUNK_BYTES = 1 << 26


class GradientLog:
    """Appends gradients to blocks, projected where that makes them shorter."""

    def __init__(self, blocks: GradientBlocks, projection: Projection | None) -> None:
        self.blocks = blocks
        self._projection = projection
        self._size: int | None = None

    def add(self, g: Any, rows: np.ndarray, weight: float, epoch: Any, step: Any, loss: Any) -> None:
        """Append `weight` times the gradients (b, p) of samples (b,). Raises ModelError for other lengths, or NaN."""
        gradient = plain_array(g, "the gradient").astype(np.float64)
        gradient = gradient.reshape(len(rows), -1)
        if not np.isfinite(gradient).all():
            raise ModelError(f"the gradient of sample {int(rows[0])} is NaN or infinite: has the training diverged?")
        self._settle(gradient.shape[1])
        shorter = gradient if self._projection is None else self._projection(gradient)
        self.blocks.append(shorter if weight == 1.0 else weight * shorter, rows, epoch, step, loss)

    def add_final(self, adapter: AbstractAdapter, X: np.ndarray, y: np.ndarray, epoch: int, step: int) -> None:
        """Append the gradients of all samples as the model is now, in the order of the framework's parameters."""
        with progress("gradients", len(X)) as advance:
            for first, losses, gradients in final_gradients(adapter, X, y):
                if isinstance(adapter, AbstractGradientAdapter):
                    self._settle(adapter.size)  # the adapter projects by itself
                else:
                    self._settle(gradients.shape[1])
                    gradients = gradients if self._projection is None else self._projection(gradients)
                self.blocks.append(gradients, np.arange(first, first + len(losses)), epoch, step, losses)
                advance(len(losses))

    def _settle(self, size: int) -> None:
        if self._size is None:
            self._size = size
            shorter = self._projection is not None and self._projection.width(size) < size
            self.blocks.describe(size=size, projection=told(self._projection) if shorter else None)
        if size != self._size:
            raise ModelError(f"a gradient of {size} numbers was logged after one of {self._size}")


def blocks_at(store: Any) -> GradientBlocks:
    """Blocks where `store=` says: in memory for None."""
    if isinstance(store, GradientBlocks):
        return store
    if store is None:
        return GradientBlocks(dtype="float64")
    if isinstance(store, str | os.PathLike):
        return GradientBlocks(store)
    raise ModelError(f"store= is a folder or a tp.stores.GradientBlocks, not {type(store).__name__}")


def final_gradients(
    adapter: AbstractAdapter, X: np.ndarray, y: np.ndarray, theta: Floats | None = None
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield (first sample, losses (m,), gradients (m, p)) a chunk of samples at a time; of a linear model also at `theta`."""
    if isinstance(adapter, AbstractGradientAdapter):
        for rows in _chunks(len(X), adapter.size):
            yield rows.start, *adapter.gradients(X[rows], y[rows])
        return
    assert isinstance(adapter, AbstractLinearAdapter)
    objective, theta = adapter.objective(X, y), adapter.theta() if theta is None else theta
    terms = objective.row_terms(theta)
    place, factor = parameter_order(adapter, theta.size)
    for rows in _chunks(len(X), theta.size):
        gradients = by_parameters(objective.features[rows], terms.gradient[rows], place, factor)
        yield rows.start, terms.loss[rows], gradients


def by_parameters(features: Floats, slopes: Floats, place: np.ndarray, factor: Floats) -> Floats:
    """Gradients (m, p) in the framework's parameters, of features (m, d) and derivatives (m, k) in the logits."""
    outer = slopes[:, :, None] * features[:, None, :]
    gradients = np.empty((len(outer), len(place)))
    gradients[:, place] = outer.reshape(len(outer), -1) / factor
    return gradients


def parameter_order(adapter: AbstractLinearAdapter, size: int) -> tuple[np.ndarray, Floats]:
    """Where the class-major parameters stand among the framework's, and by what `class_major` multiplies each."""
    factor = adapter.class_major(np.ones(size))
    place = np.rint(adapter.class_major(np.arange(size, dtype=np.float64)) / factor).astype(np.int64)
    return place, factor


def _chunks(n: int, size: int) -> Iterator[slice]:
    rows = min(max(1, CHUNK_BYTES // (8 * size)), 4096)
    for first in range(0, n, rows):
        yield slice(first, min(first + rows, n))


def told(projection: Projection | None) -> dict[str, Any] | None:
    """What a store says of a projection, so that test gradients can be projected in the same way."""
    if projection is None:
        return None
    return {"kind": projection.kind, "dimensions": int(projection.dimensions), "seed": SEED}


def as_stored(blocks: GradientBlocks, gradients: Any) -> Floats:
    """Test gradients, flat or in the parameters' shapes, as the store's are: float64 (p,), or (t, p) from an array of them.

    Raises
    ------
    ModelError
        They have another number of numbers, or were projected in a way that this version does not know.
    """
    parts = list(gradients.values()) if isinstance(gradients, Mapping) else gradients
    if isinstance(parts, list | tuple) and parts and np.ndim(parts[0]):
        vector = np.concatenate([np.ravel(plain_array(part, "the gradient")) for part in parts]).astype(np.float64)
    else:
        vector = plain_array(parts, "the gradient").astype(np.float64)
    size, how, width = blocks.about.get("size"), blocks.about.get("projection"), blocks.width
    if vector.shape[-1:] == (width,):
        return vector
    if how is not None and vector.shape[-1:] == (size,):
        if how.get("seed") != SEED:
            raise ModelError(
                f"{blocks.place} were projected with the seed {how.get('seed')}, which is not this version's"
            )
        return Projection(how["dimensions"], how["kind"])(vector)
    found = vector.shape[-1] if vector.ndim else 1
    whole = f", or {size} before their projection" if how is not None else ""
    raise ModelError(f"the gradient has {found} numbers, but those in the store {width}{whole}")


def summed(blocks: GradientBlocks, n: int) -> Floats:
    """The gradients of each sample, added up: float64 (n, p). Raises ModelError where that would not fit in memory."""
    width = blocks.width or 0
    if 8 * n * width > GRADIENT_BYTES:
        raise ModelError(
            f"{n:,} gradients of {width:,} numbers take {8 * n * width / 2**30:.1f} GiB at once; estimator='dot' and "
            "engine.top_k read them block by block"
        )
    total = np.zeros((n, width))
    for samples, gradients in (part for block in blocks for part in block.parts()):
        if (samples[1:] > samples[:-1]).all():  # each once: no need for the slow way
            total[samples] += gradients
        else:
            np.add.at(total, samples, gradients)
    return total
