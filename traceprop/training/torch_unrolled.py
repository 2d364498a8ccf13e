"""A recorded training run as one function of how much each sample counts, and its derivative (reverse mode).

Ilyas and Engstrom 2025, "MAGIC: Near-optimal data attribution for deep learning": what a model is after training is
a smooth function of the samples' weights where training is deterministic, and its gradient is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from traceprop.errors import ModelError
from traceprop.runtime.progress import progress
from traceprop.training.store import GradientStore
from traceprop.training.torch import Deciding
from traceprop.training.torch_rules import AbstractRule, State, Vector, rule_of
from traceprop.training.torch_steps import MakeOptimizer

DRIFT, LATER = 0.01, 0.1
"""How far the run may be from the recorded one, over how far training moved: at the first checkpoint, and at later ones,
since rounding grows with the steps."""
AT_ONCE = 1 << 27
"""Numbers of derivatives that are carried back at a time: 512 MiB in float32, a few times over."""


@dataclass(frozen=True)
class Moment:
    """The run before a step: parameters (p,), and what the optimizer remembers."""

    theta: Vector
    memory: State


class Unrolled:
    """The recorded steps of a store, from a checkpoint before the first of them, ready to be differentiated.

    `curvature` "hessian" gives the exact derivative; "gauss-newton" leaves out how the network itself bends. The exact one
    is that of a function with a step wherever some unit of a ReLU network changes sides, which no row's removal is
    small enough for; without the bends it foretells removals better there, and a little worse elsewhere. None: by the
    module's activations.

    Only every so many moments are kept, about the root of the number of steps; those between are computed again on the
    way back.
    """

    def __init__(self, store: GradientStore, data: Deciding, make: MakeOptimizer, curvature: str | None) -> None:
        if not store.schedule:
            raise ModelError(
                "the recorded run is needed: feed it by ctx.batches and call ctx.step(loss, rows) after each step"
            )
        first = store.checkpoints[0]
        if first.step != 0:
            raise ModelError(
                "the recorded run is needed from its start: call ctx.checkpoint() before the first step of training"
            )
        module = first.adapter.model
        _check_deterministic(module)
        self._module: nn.Module = module
        self._data = data
        self._curvature = curvature or ("gauss-newton" if _has_kinks(module) else "hessian")
        self._rows = [rows for _, rows in store.schedule]
        self._names = [name for name, value in module.named_parameters() if value.requires_grad]
        parameters = dict(module.named_parameters())
        self._shapes = [parameters[name].shape for name in self._names]
        self._fixed = {
            name: value.detach().cpu()
            for name, value in (*module.named_parameters(), *module.named_buffers())
            if name not in set(self._names)
        }
        self._rule: AbstractRule = rule_of(make, [parameters[name] for name in self._names])
        self._every = max(1, math.isqrt(len(self._rows)))
        self.drift, self._checked = 0.0, False
        start = torch.cat([parameters[name].detach().cpu().reshape(-1) for name in self._names]).clone()
        self._kept: dict[int, Moment] = {0: Moment(start, (torch.zeros_like(start),) * self._rule.memories)}
        self._run(store)

    @property
    def end(self) -> Vector:
        """The parameters at the end of the run, (p,)."""
        return self._kept[len(self._rows)].theta

    def gradients(self, tests: Deciding, numbers: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Give the derivatives of test samples' numbers by the trained parameters, (t, p)."""

        def one(theta: Vector, x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return numbers(self._called(theta, x[None]), target[None]).reshape(())

        of_one = torch.func.grad(one)
        return torch.func.vmap(of_one, in_dims=(None, 0, 0))(self.end, tests.inputs, tests.targets)

    def by_weights(self, by_theta: torch.Tensor) -> np.ndarray:
        """Carry derivatives by the trained parameters (m, p) back to the samples' weights: float32 (m, n)."""
        parts = max(1, AT_ONCE // by_theta.shape[1])
        found = np.zeros((len(by_theta), len(self._data)), dtype=np.float32)
        with progress("steps, backwards", len(self._rows) * -(-len(by_theta) // parts)) as done:
            for start in range(0, len(by_theta), parts):
                self._back(by_theta[start : start + parts], found[start : start + parts], done)
        return found

    def _back(self, by_theta: torch.Tensor, found: np.ndarray, done: Callable[[int], None]) -> None:
        by_memory: State = tuple(torch.zeros_like(by_theta) for _ in range(self._rule.memories))
        total = torch.zeros(found.shape, dtype=by_theta.dtype)
        for start in sorted((step for step in self._kept if step < len(self._rows)), reverse=True):
            stop = min(start + self._every, len(self._rows))
            moments = [self._kept[start]]
            gradients = []
            for step in range(start, stop):
                moment = moments[-1]
                gradients.append(self._gradient(moment.theta, step))
                moments.append(Moment(*self._rule.step(moment.theta, moment.memory, gradients[-1], step + 1)))
            for step in range(stop - 1, start - 1, -1):
                moment, gradient = moments[step - start], gradients[step - start]
                by_theta, by_memory, by_gradient = self._rule.back(
                    moment.theta, moment.memory, gradient, step + 1, by_theta, by_memory
                )
                curved, own = self._along(moment.theta, step, by_gradient)
                by_theta = curved.add_(by_theta)
                # Of a mean over the batch's samples: one that counts less also makes the others count more.
                share = (own - own.mean(dim=1, keepdim=True)) / own.shape[1]
                total.index_add_(1, torch.from_numpy(self._rows[step]), share)
                done(1)
        found += total.float().numpy()

    def _run(self, store: GradientStore) -> None:
        """Run the recorded steps, which have to lead to what was recorded."""
        wanted = {one.step: one.adapter.parameters() for one in store.checkpoints}
        moment = self._kept[0]
        with progress("recorded steps", len(self._rows)) as done:
            for step in range(len(self._rows)):
                gradient = self._gradient(moment.theta, step)
                moment = Moment(*self._rule.step(moment.theta, moment.memory, gradient, step + 1))
                done(1)
                if (step + 1) % self._every == 0 or step + 1 == len(self._rows):
                    self._kept[step + 1] = moment
                if step + 1 in wanted:
                    self._check_there(moment.theta, wanted[step + 1], step + 1)

    def _check_there(self, theta: Vector, wanted: np.ndarray, step: int) -> None:
        moved = float(np.linalg.norm(wanted - self._kept[0].theta.double().numpy()))
        self.drift = float(np.linalg.norm(theta.double().numpy() - wanted)) / (moved or 1.0)
        if not self.drift <= (LATER if self._checked else DRIFT):
            raise ModelError(
                f"the recorded run leads elsewhere when it is run again: after {step} steps it is {self.drift:.1%} of the way "
                "away from the checkpoint there; optimizer= must make the optimizer of the run, the steps be its mean loss "
                "and nothing else, and all of them be recorded; of a long run, where rounding grows, ctx.checkpoint() after "
                "the first pass lets it be told"
            )
        self._checked = True

    def _called(self, theta: Vector, inputs: torch.Tensor) -> Any:
        parts = theta.split([shape.numel() for shape in self._shapes])
        own = {name: part.view(shape) for name, part, shape in zip(self._names, parts, self._shapes, strict=True)}
        return torch.func.functional_call(self._module, {**self._fixed, **own}, (inputs,))

    def _losses(self, theta: Vector, step: int) -> torch.Tensor:
        some = self._data[self._rows[step]]
        return some.loss(self._called(theta, some.inputs), some.targets)

    def _gradient(self, theta: Vector, step: int) -> Vector:
        return torch.func.grad(lambda at: self._losses(at, step).mean())(theta)

    def _along(self, theta: Vector, step: int, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the mean curvature times each direction, (m, p), and the slopes of the samples' losses along it, (m, b)."""
        some = self._data[self._rows[step]]

        def losses(outputs: torch.Tensor) -> torch.Tensor:
            return some.loss(outputs, some.targets)

        def mean(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = losses(outputs)
            return found.mean(), found

        def called(at: Vector) -> torch.Tensor:
            outputs: torch.Tensor = self._called(at, some.inputs)
            return outputs

        def newton(direction: Vector) -> tuple[torch.Tensor, torch.Tensor]:
            slope = torch.func.grad(lambda at: mean(called(at)), has_aux=True)
            moved: tuple[torch.Tensor, torch.Tensor] = torch.func.jvp(slope, (theta,), (direction,))[1]
            return moved

        outputs, pull = torch.func.vjp(called, theta)

        def gauss_newton(direction: Vector) -> tuple[torch.Tensor, torch.Tensor]:
            _, moved = torch.func.jvp(called, (theta,), (direction,))
            _, (turned, own) = torch.func.jvp(torch.func.grad(mean, has_aux=True), (outputs,), (moved,))
            return pull(turned)[0], own

        found: tuple[torch.Tensor, torch.Tensor] = torch.func.vmap(
            newton if self._curvature == "hessian" else gauss_newton
        )(directions)
        return found


def _has_kinks(module: nn.Module) -> bool:
    kinked = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid)
    return any(isinstance(part, kinked) for part in module.modules())


def _check_deterministic(module: nn.Module) -> None:
    """Raise ModelError for layers that make a step more than a function of parameters and samples."""
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
            raise ModelError(
                f"{name or 'the model'} is a {type(part).__name__} in training mode, under which a sample has no loss of its "
                "own; train it in evaluation mode, or take estimator='influence'"
            )
        if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p:
            raise ModelError(
                f"{name or 'the model'} is a {type(part).__name__}: its draws are not recorded, so the run cannot be "
                "differentiated; take estimator='influence'"
            )
