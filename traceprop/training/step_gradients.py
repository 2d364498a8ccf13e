"""What a run keeps of its steps' gradients while it trains: one per sample at granularity "op", one per batch at "batch"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, LayerFactors, PlainGradients
from traceprop.stores import GradientBlocks
from traceprop.stores.gradient_factors import FactorLayout, layout_of
from traceprop.training.logged import told
from traceprop.training.projection import SEED, Projection

WAITING = 1 << 24
"""Bytes that steps may hold before they are written."""
WAITING_STEPS = 512
PROJECTED = 1 << 22

Schedule = list[tuple[float, np.ndarray]]
Places = dict[str, tuple[int, int]]
"""By parameter's name: where it begins in a gradient, and how many numbers it has."""


class AbstractStepGradients(ABC):
    """Takes what a step leaves behind by reference, and writes many steps at once into blocks."""

    def __init__(self, blocks: GradientBlocks, schedule: Schedule) -> None:
        self.blocks = blocks
        self._schedule = schedule
        self.epoch = 0
        """How many passes over the data have ended."""
        self._waiting: list[Any] = []
        self._held = 0

    def start(self) -> None:
        """The context was entered."""
        return

    def stop(self) -> None:
        """The context is left."""
        return

    def step(self, index: int) -> None:
        """The step at `index` of the schedule was taken: keep what it leaves behind."""
        if self._held > WAITING or len(self._waiting) >= WAITING_STEPS:
            self.flush()
        self._held += self._keep(index, self.epoch)

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._write(self._waiting)
        self._waiting, self._held = [], 0

    @abstractmethod
    def _keep(self, index: int, epoch: int) -> int:
        """Append to `_waiting`; give the bytes that this holds."""

    @abstractmethod
    def _write(self, waiting: list[Any]) -> None:
        """Append what waited to the blocks."""

    def _columns(self, steps: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
        """Epoch, step and loss of steps, given as (index, epoch)."""
        places = np.fromiter(chain.from_iterable(steps), np.int64, 2 * len(steps)).reshape(-1, 2)
        first, last = int(places[0, 0]), int(places[-1, 0])
        losses = np.array([loss for loss, _ in self._schedule[first : last + 1]])
        return {"epoch": places[:, 1], "step": places[:, 0], "loss": losses[places[:, 0] - first]}


class FactorWriter:
    """Writes factors of samples' gradients into blocks: as they are, or projected.

    Layers whose factors have more numbers than their gradients are written out.
    """

    def __init__(
        self, blocks: GradientBlocks, places: Places, projection: Projection | None, features: np.ndarray | None
    ) -> None:
        self.blocks = blocks
        self._places = places
        self.size = sum(count for _, count in places.values())
        shorter = projection is not None and projection.width(self.size) < self.size
        self.projection = projection if shorter else None
        self.features = features
        self._layout: FactorLayout | None = None

    def write(
        self,
        layers: dict[tuple[str, ...], LayerFactors],
        given: set[tuple[str, ...]],
        samples: np.ndarray,
        columns: dict[str, np.ndarray],
    ) -> None:
        """Append the gradients of samples (n,), by the names of the layers' parameters. `given`: layers that read features."""
        for _, layer in layers.items():
            if not all(np.isfinite(part).all() for part in _arrays(layer)):
                raise ModelError("a gradient is NaN or infinite: has the training diverged?")
        if self.projection is not None:
            if not len(self.blocks):
                self.blocks.describe(size=self.size, projection=told(self.projection))
            rows = self._projected(layers, len(samples))
        else:
            rows = self._packed(layers, given)
        self.blocks.append(rows, samples, **columns)

    def _packed(self, layers: dict[tuple[str, ...], LayerFactors], given: set[tuple[str, ...]]) -> np.ndarray:
        if self._layout is None:
            parts = []
            for names, layer in layers.items():
                at = [self._places[name] for name in names]
                known = layout_of(layer, at, names in given)
                if known.kind != "plain" and known.read + known.written >= known.size:
                    known = layout_of(PlainGradients(np.empty((0, layer.size), dtype=np.float32)), at, False)
                parts.append(known)
            self._layout = FactorLayout(tuple(parts), self.size, self.blocks.dtype == "float16")
            self.blocks.keep_factors(self._layout, self.features)
        found: list[LayerFactors] = []
        for known, layer in zip(self._layout.layers, layers.values(), strict=True):
            found.append(PlainGradients(layer.flat()) if known.kind == "plain" else layer)
        return self._layout.pack(found)

    def _projected(self, layers: dict[tuple[str, ...], LayerFactors], n: int) -> np.ndarray:
        """As `Projection` would make them of whole gradients."""
        from traceprop.passes.kernels.projection import factored_sjlt, sjlt

        assert self.projection is not None
        k = int(self.projection.dimensions)
        if self.projection.kind != "sjlt":
            step = max(1, PROJECTED // self.size)
            parts = []
            for first in range(0, n, step):
                whole = np.empty((min(step, n - first), self.size), dtype=np.float32)
                for names, layer in layers.items():
                    self._cut(whole, names, layer.rows(slice(first, first + step)).flat())
                parts.append(self.projection(whole).astype(np.float32))
            return np.concatenate(parts)
        out = np.zeros((n, k), dtype=np.float32)
        for names, layer in layers.items():
            first = self._places[names[0]][0]
            if isinstance(layer, DenseFactors):
                factored_sjlt(layer.inputs, layer.outputs, k, SEED, offset=first, out=out)
                if layer.bias:
                    sjlt(layer.outputs.sum(axis=1), k, SEED, offset=self._places[names[1]][0], out=out)
                continue
            step = max(1, PROJECTED // layer.size)
            for start in range(0, n, step):
                own, begin = layer.rows(slice(start, start + step)).flat(), 0
                for name in names:
                    offset, count = self._places[name]
                    part = np.ascontiguousarray(own[:, begin : begin + count])
                    sjlt(part, k, SEED, offset=offset, out=out[start : start + step])
                    begin += count
        return out

    def _cut(self, whole: np.ndarray, names: tuple[str, ...], own: np.ndarray) -> None:
        begin = 0
        for name in names:
            first, count = self._places[name]
            whole[:, first : first + count] = own[:, begin : begin + count]
            begin += count


def times(layer: LayerFactors, weights: np.ndarray) -> LayerFactors:
    """A layer's gradients, those of each sample times its weight (n,)."""
    if isinstance(layer, PlainGradients):
        return PlainGradients(layer.gradients * weights[:, None])
    return replace(layer, outputs=layer.outputs * weights[:, None, None])


def _arrays(layer: LayerFactors) -> list[np.ndarray]:
    if isinstance(layer, PlainGradients):
        return [layer.gradients]
    if isinstance(layer, EmbeddingFactors):
        return [layer.outputs]
    return [layer.outputs] if layer.inputs.strides[0] == 0 else [layer.outputs, layer.inputs]


def flat_places(parameters: Sequence[tuple[str, int]]) -> Places:
    """Where parameters of given sizes stand, one behind the other."""
    places: Places = {}
    first = 0
    for name, count in parameters:
        places[name] = (first, count)
        first += count
    return places
