"""The model at some moments of its training."""

from __future__ import annotations

from dataclasses import dataclass

from traceprop.passes.attribution.losses import Floats
from traceprop.training.adapter import AbstractGradientAdapter

MANY_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model as it was after `epoch` passes over the data and `step` steps, by its own adapter."""

    adapter: AbstractGradientAdapter
    epoch: int
    step: int


@dataclass(frozen=True, eq=False)
class LinearPass:
    """The parameters float64 (d, k) of a linear model after `epoch` passes over the data and `step` steps."""

    theta: Floats
    epoch: int
    step: int


def kept(checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """As many as fit in memory: every other one goes where all would take too much; the first and last stay."""
    while len(checkpoints) > 2 and sum(4 * c.adapter.size for c in checkpoints) > MANY_BYTES:
        checkpoints = [*checkpoints[:-1:2], checkpoints[-1]]
    return checkpoints


def spread(checkpoints: list[Checkpoint], count: int) -> list[Checkpoint]:
    """The last, and others at equal distances before it, the first among them: `count` in all."""
    if count >= len(checkpoints):
        return checkpoints
    if count == 1:
        return checkpoints[-1:]
    last = len(checkpoints) - 1
    return [checkpoints[round(k * last / (count - 1))] for k in range(count)]
