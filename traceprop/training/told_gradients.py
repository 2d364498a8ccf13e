"""Gradients of steps that the loop itself tells of: loops in NumPy, and in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import DenseFactors, LayerFactors, PlainGradients
from traceprop.stores import GradientBlocks
from traceprop.training.data import plain_array
from traceprop.training.logged import told
from traceprop.training.projection import Projection
from traceprop.training.step_gradients import WAITING_STEPS, AbstractStepGradients, FactorWriter, Schedule

_ALL = "all"


class ToldBatchGradients(AbstractStepGradients):
    """One gradient per step: `ctx.step(loss, rows, gradient=g)`."""

    def __init__(self, blocks: GradientBlocks, schedule: Schedule, projection: Projection | None) -> None:
        super().__init__(blocks, schedule)
        self._projection = projection
        self.offered: tuple[Any, Any, Any] | None = None
        """What the step that is about to be told of leaves behind: gradient, outputs, model."""
        self._rows: np.ndarray | None = None

    def step(self, index: int) -> None:
        if self.offered is None or (gradient := self.offered[0]) is None:
            return
        waiting = self._waiting
        if len(waiting) == WAITING_STEPS:
            self.flush()
            waiting = self._waiting
        if self._rows is None:
            gradient = plain_array(gradient, "the gradient")
            self._rows = np.empty((WAITING_STEPS, gradient.size), dtype=np.float32)
        self._rows[len(waiting)] = gradient if gradient.ndim == 1 else np.ravel(gradient)
        waiting.append((index, self.epoch))
        self.offered = None

    def _keep(self, index: int, epoch: int) -> int:
        raise NotImplementedError  # `step` is all there is to it

    def _write(self, waiting: list[tuple[int, int]]) -> None:
        assert self._rows is not None
        rows = self._rows[: len(waiting)]
        size = rows.shape[1]
        shorter = self._projection is not None and self._projection.width(size) < size
        if not len(self.blocks):
            self.blocks.describe(of="batches", size=size, projection=told(self._projection) if shorter else None)
        if shorter:
            assert self._projection is not None
            rows = self._projection(rows)
        columns = self._columns(waiting)
        self.blocks.append(rows, columns["step"], **columns)


class ToldSampleGradients(AbstractStepGradients):
    """Every sample's gradient: `outputs=`, the factors of a linear layer on the features, `gradient=` (b, p), or, for JAX,
    `model=`, the params that the step was taken from."""

    def __init__(
        self,
        blocks: GradientBlocks,
        schedule: Schedule,
        projection: Projection | None,
        features: Callable[[], np.ndarray],
        of_model: Callable[[Any, np.ndarray], np.ndarray] | None = None,
    ) -> None:
        super().__init__(blocks, schedule)
        self._projection = projection
        self._features = features
        self._of_model = of_model
        self._writer: FactorWriter | None = None
        self.offered: tuple[Any, Any, Any] | None = None
        """What the step that is about to be told of leaves behind: gradient, outputs, model."""

    def _keep(self, index: int, epoch: int) -> int:
        if self.offered is None:
            return 0
        gradient, outputs, model = self.offered
        self.offered = None
        samples = self._schedule[index][1]
        if outputs is not None:
            kept = np.array(outputs, dtype=np.float32)  # the loop may use the array again
        elif model is not None and self._of_model is not None:
            kept = self._of_model(model, samples)
        elif gradient is not None and np.ndim(gradient) == 2:
            kept = np.array(plain_array(gradient, "the gradient"), dtype=np.float32)
        else:
            return 0
        if len(kept) != len(samples):
            raise ModelError(f"step {index} is on {len(samples)} samples, but gradients of {len(kept)} were given")
        self._waiting.append((index, epoch, samples, kept, outputs is not None))
        return kept.nbytes

    def _write(self, waiting: list[tuple[int, int, np.ndarray, np.ndarray, bool]]) -> None:
        if len({factors for *_, factors in waiting}) > 1:
            raise ModelError(
                "some steps were told with outputs=, and some without; all of a loop's steps are of one kind"
            )
        factors = waiting[0][4]
        samples = np.concatenate([some for _, _, some, _, _ in waiting])
        kept = np.concatenate([part for _, _, _, part, _ in waiting])
        kept = kept.reshape(len(kept), -1)
        steps = self._columns([(index, epoch) for index, epoch, _, _, _ in waiting])
        counts = np.array([len(part) for _, _, _, part, _ in waiting])
        columns = {name: np.repeat(values, counts) for name, values in steps.items()}
        layer: LayerFactors = PlainGradients(kept)
        if factors:
            features = self._features()
            features = features.reshape(len(features), -1)
            if self._projection is None:  # they stand beside the blocks
                read = np.broadcast_to(np.zeros(1, dtype=np.float32), (len(kept), 1, features.shape[1]))
            else:
                read = features[samples].astype(np.float32)[:, None]
            layer = DenseFactors(read, kept[:, None], False)
        if self._writer is None:
            places = {_ALL: (0, layer.size)}
            self._writer = FactorWriter(self.blocks, places, self._projection, self._features() if factors else None)
        self._writer.write({(_ALL,): layer}, {(_ALL,)} if factors else set(), samples, columns)
