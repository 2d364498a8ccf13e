"""Gradients of a torch loop's steps, taken from the user's own backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import DenseFactors, LayerFactors, PlainGradients
from traceprop.passes.kernels.projection import masked_columns
from traceprop.stores import GradientBlocks
from traceprop.training.logged import told
from traceprop.training.projection import KEPT, SEED, Projection
from traceprop.training.step_gradients import AbstractStepGradients, FactorWriter, Schedule, flat_places, times
from traceprop.training.torch_factors import Seen, factors_of, joined, together
from traceprop.training.torch_hooks import BackwardHooks, Pass, Read
from traceprop.training.torch_reduction import Reduction

EXACT = 1 << 14
"""Longer gradients of batches are kept by some of their numbers: copying all of them would cost as much as a layer."""
DIMENSIONS = 512
_ROWS = 16


@dataclass(eq=False)
class _Unit:
    """One pass of samples within a step, and what their gradients are multiplied by to be of each sample's own loss."""

    index: int
    epoch: int
    samples: np.ndarray
    passed: Pass
    factor: float


class TorchSampleGradients(AbstractStepGradients):
    """Every sample's gradient at every step, as factors, by hooks on the user's backward pass."""

    def __init__(
        self,
        module: nn.Module,
        blocks: GradientBlocks,
        schedule: Schedule,
        projection: Projection | None,
        reduction: Reduction,
        features: Callable[[], np.ndarray],
        batch: Callable[[], Any],
    ) -> None:
        super().__init__(blocks, schedule)
        self._hooks = BackwardHooks(module, batch)
        self._places = flat_places([(name, p.numel()) for name, p in module.named_parameters() if p.requires_grad])
        self._projection = projection
        self._features = features
        self._writer: FactorWriter | None = None
        self._given: dict[tuple[str, ...], bool] = {}
        self._reduction = reduction
        self._module = type(module).__name__

    def start(self) -> None:
        self._hooks.install()

    def stop(self) -> None:
        self._hooks.remove()

    def _keep(self, index: int, epoch: int) -> int:
        passes, samples = self._hooks.take(), self._schedule[index][1]
        counts = [one.count for one in passes]
        if not passes:
            raise ModelError(
                f"step {index} was taken without a backward pass through {self._module} as a whole: granularity='op' sees "
                "model(x) and loss.backward() inside the training context"
            )
        if len(passes) > 1 and all(count == len(samples) for count in counts):
            if not self._reduction.told:
                raise ModelError(
                    f"the samples of step {index} went through {self._module} {len(passes)} times, so how its loss puts them "
                    "together cannot be found out: say reduction='mean' or 'sum'"
                )
            passes, counts = [_merged(passes)], counts[:1]
        if sum(counts) != len(samples):
            raise ModelError(f"step {index} is said to be on {len(samples)} samples, but the model saw {sum(counts)}")
        held, first = 0, 0
        for one in passes:
            own = samples[first : first + one.count]
            first += one.count
            factor = self._reduction(one.output, one.gradient, own, epoch)
            calls = Counter(read.seen.names for read in one.reads)
            for read in one.reads:
                read.given = self._reads_features(read, own, calls[read.seen.names] == 1)
                held += self._settle(read, one)
            one.output = one.gradient = None
            one.inputs = _NOTHING
            self._waiting.append(_Unit(index, epoch, own, one, factor))
        return held

    def _reads_features(self, read: Read, samples: np.ndarray, once: bool) -> bool:
        """Whether a layer reads the samples' features, which then need not be kept with every step: as in the first step."""
        names = read.seen.names
        if self._given.setdefault(names, read.given and once and self._projection is None):
            if not (once and (read.given or self._are_features(read.seen.inputs, samples))):
                raise ModelError(
                    f"the layer of {', '.join(names)} read the batches of ctx.batches as they came, and now reads others: what "
                    "changes batches on the way (augmentation) belongs into a loader, ctx.batches(data.loader(augment=))"
                )
            return True
        return False

    def _are_features(self, inputs: torch.Tensor, samples: np.ndarray) -> bool:
        features = self._features()
        if inputs.numel() != len(samples) * features[0].size:
            return False
        return torch.equal(inputs.reshape(-1), torch.from_numpy(features[samples]).to(inputs.dtype).reshape(-1))

    def _settle(self, read: Read, one: Pass) -> int:
        """Keep what nobody may change any more: not the batch, which is the user's; give the bytes."""
        seen, gradient = read.seen, read.gradient
        held = 0 if gradient is None else gradient.numel()
        if read.given:
            seen.inputs = _NOTHING.expand(seen.inputs.shape)
        elif seen.inputs.untyped_storage().data_ptr() == one.inputs.untyped_storage().data_ptr():
            seen.inputs = seen.inputs.clone()
            read.version = seen.inputs._version
            held += seen.inputs.numel()
        else:
            held += seen.inputs.numel()
        return 4 * held

    def _write(self, waiting: list[_Unit]) -> None:
        if self._writer is None:
            self._writer = FactorWriter(self.blocks, self._places, self._projection, self._features())
        samples = np.concatenate([unit.samples for unit in waiting])
        weights = np.concatenate([np.full(len(unit.samples), unit.factor, dtype=np.float32) for unit in waiting])
        of_steps = self._columns([(unit.index, unit.epoch) for unit in waiting])
        counts = [len(unit.samples) for unit in waiting]
        columns = {name: np.repeat(values, counts) for name, values in of_steps.items()}
        layers: dict[tuple[str, ...], LayerFactors] = {}
        given = set()
        for names, by_position in (self._hooks.known or {}).items():
            reads = [[read for read in unit.passed.reads if read.seen.names == names] for unit in waiting]
            layer = self._layer(reads, counts, by_position, names)
            layers[names] = times(layer, weights)
            if self._given.get(names):
                given.add(names)
        if self._hooks.rest:
            parts = [
                torch.cat([unit.passed.rest[name].flatten(1) for name in self._hooks.rest], dim=1) for unit in waiting
            ]
            rest = PlainGradients(torch.cat(parts).detach().float().numpy())
            layers[tuple(self._hooks.rest)] = times(rest, weights)
        self._writer.write(layers, given, samples, columns)

    def _layer(
        self, reads: Sequence[Sequence[Read]], counts: Sequence[int], by_position: bool, names: tuple[str, ...]
    ) -> LayerFactors:
        """One layer's factors of the samples of many steps, joined before they are cut by sample where that can be."""
        for one in reads:
            if not one:
                raise ModelError(f"the layer of {', '.join(names)} took part in the first step, but not in a later one")
            for read in one:
                if read.seen.inputs._version != read.version and not read.given:
                    raise ModelError(
                        f"what the layer of {', '.join(names)} read was written into after the backward pass; leave it as it is, "
                        "or record at granularity='batch' or 'epoch'"
                    )
        calls = {len(one) for one in reads}
        if by_position or len(calls) > 1 or _shapes_differ(reads):
            return joined([_own(one, count, by_position, names) for one, count in zip(reads, counts, strict=True)])
        whole = [
            Read(
                Seen(
                    first.seen.kind,
                    names,
                    _cat([one[k].seen.inputs for one in reads]),
                    _NOTHING,
                    first.seen.vocabulary,
                    first.seen.read,
                ),
                first.given,
                0,
                first.shape,
                torch.cat([_gradient(one[k]) for one in reads]),
            )
            for k, first in enumerate(reads[0])
        ]
        return _own(whole, sum(counts), False, names)


_NOTHING = torch.zeros(1)


def _cat(parts: list[torch.Tensor]) -> torch.Tensor:
    if parts[0].ndim and not any(parts[0].stride()):  # stands for features that are kept elsewhere
        return _NOTHING.expand(sum(len(part) for part in parts), *parts[0].shape[1:])
    return torch.cat(parts)


def _gradient(read: Read) -> torch.Tensor:
    if read.gradient is None:  # the loss did not depend on this call
        return _NOTHING.expand(read.shape)
    return read.gradient


def _own(reads: Sequence[Read], count: int, by_position: bool, names: tuple[str, ...]) -> LayerFactors:
    parts: list[LayerFactors] = []
    for read in reads:
        gradient, seen = _gradient(read), read.seen
        if seen.kind == "dense" and not any(seen.inputs.stride()):
            outputs = gradient.reshape(count, -1, gradient.shape[-1]).numpy()
            zeros = np.broadcast_to(np.zeros(1, dtype=np.float32), (*outputs.shape[:2], seen.inputs.shape[-1]))
            parts.append(DenseFactors(zeros, np.ascontiguousarray(outputs, dtype=np.float32), len(names) == 2))
            continue
        found = factors_of(seen, gradient, count, by_position)
        if found is None:
            raise ModelError(f"the layer of {', '.join(names)} has other axes than in the first step")
        parts.append(found)
    return together(parts)


def _shapes_differ(reads: Sequence[Sequence[Read]]) -> bool:
    return len({tuple(read.seen.inputs.shape[1:] for read in one) for one in reads}) > 1 or any(
        len(one[0].seen.inputs) != len(_gradient(one[0])) for one in reads
    )


def _merged(passes: list[Pass]) -> Pass:
    """Several passes of the same samples in one step: their gradients add up."""
    first = passes[0]
    for other in passes[1:]:
        first.reads += other.reads
        for name, value in other.rest.items():
            first.rest[name] = first.rest[name] + value if name in first.rest else value
    return first


class TorchBatchGradients(AbstractStepGradients):
    """One gradient per step, as the backward pass left it in `.grad`; long ones by a projection that reads a few numbers."""

    def __init__(
        self, module: nn.Module, blocks: GradientBlocks, schedule: Schedule, projection: Projection | None
    ) -> None:
        super().__init__(blocks, schedule)
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self.size = sum(p.numel() for p in self._parameters)
        self._projection = projection
        if projection is None and self.size > EXACT:
            self._projection = Projection(DIMENSIONS, "masked")
        if self._projection is not None and self._projection.width(self.size) >= self.size:
            self._projection = None
        self._columns_read: np.ndarray | None = None
        self._read: list[torch.Tensor] = []
        if self._projection is not None and self._projection.kind == "masked":
            self._columns_read = masked_columns(self.size, KEPT * int(self._projection.dimensions), SEED)
            ends = np.cumsum([0, *[p.numel() for p in self._parameters]])
            for first, stop in pairwise(ends):
                low, high = np.searchsorted(self._columns_read, [first, stop])
                self._read.append(torch.from_numpy(self._columns_read[low:high] - first))

    def _keep(self, index: int, epoch: int) -> int:
        parts = []
        for position, parameter in enumerate(self._parameters):
            gradient = parameter.grad
            if gradient is None:
                gradient = torch.zeros_like(parameter)
            flat = gradient.reshape(-1)
            parts.append(flat.index_select(0, self._read[position]) if self._read else flat)
        kept = torch.cat(parts) if len(parts) > 1 or self._read else parts[0].clone()
        self._waiting.append((index, epoch, kept))
        return 4 * len(kept)

    def _write(self, waiting: list[tuple[int, int, torch.Tensor]]) -> None:
        if not len(self.blocks):
            self.blocks.describe(of="batches", size=self.size, projection=told(self._projection))
        rows = torch.stack([kept for *_, kept in waiting]).float().numpy()
        steps = [(index, epoch) for index, epoch, _ in waiting]
        if self._projection is not None:
            rows = np.concatenate([self._projected(rows[k : k + _ROWS]) for k in range(0, len(rows), _ROWS)])
        self.blocks.append(rows, np.array([index for index, _ in steps]), **self._columns(steps))

    def _projected(self, rows: np.ndarray) -> np.ndarray:
        assert self._projection is not None
        if self._columns_read is not None:
            whole = np.zeros((len(rows), self.size), dtype=np.float32)
            whole[:, self._columns_read] = rows
            rows = whole
        return self._projection(rows).astype(np.float32)
