"""How a loop's loss puts its samples' losses together, found out from the gradients at the module's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from traceprop.errors import ModelError
from traceprop.training.torch_loss import SingleLoss, find_single_loss

NEAR = 1e-3
KINDS = ("mean", "sum")


class Reduction:
    """What a sample's part of the loop's gradient is multiplied by to be the gradient of the sample's own loss.

    The batch's size for a mean, 1 for a sum. The gradients of `loss` of single samples in the outputs are taken beside those
    that the loop's backward pass brought, at the first step of each pass over the data: one number must lie between them.
    Where it is neither of the two (a scaler's, a share of accumulated steps), it is found anew in every step.
    """

    def __init__(self, loss: Callable[..., Any], targets: Callable[[], np.ndarray], kind: str | None) -> None:
        if kind is not None and kind not in KINDS:
            raise ModelError(f"reduction is 'mean', 'sum' or None, to find out, not {kind!r}")
        self._loss = loss
        self._targets = targets
        self.told = kind is not None
        self.kind = kind
        """"mean", "sum" or "other"; None before a step has shown it."""
        self._epoch = -1
        self._single: SingleLoss | None = None

    def __call__(self, output: Any, gradient: Any, samples: np.ndarray, epoch: int) -> float:
        """The factor for a pass with that output (b, …) and the gradient there."""
        if self.told or (self.kind in KINDS and epoch == self._epoch):
            return float(len(samples)) if self.kind == "mean" else 1.0
        return self._found(output.detach(), gradient.detach(), samples, epoch)

    def _found(self, output: torch.Tensor, gradient: torch.Tensor, samples: np.ndarray, epoch: int) -> float:
        y, count = self._targets()[samples], len(samples)
        if self._single is None:
            self._single = find_single_loss(lambda out: out, self._loss, output.double().numpy(), y)
        single = self._single
        targets = torch.from_numpy(np.ascontiguousarray(single.targets(y)))
        with torch.enable_grad():
            own = torch.func.vmap(torch.func.grad(single))(output.double(), targets)
        mine, theirs = gradient.double().reshape(-1), own.reshape(-1)
        square = float(theirs @ theirs)
        if square == 0.0 and not float(mine @ mine):
            return float(count) if self.kind != "sum" else 1.0  # nothing times anything
        ratio = float(mine @ theirs) / square if square else 0.0
        off = float((mine - ratio * theirs).norm())
        if ratio <= 0 or off > NEAR * float(mine.norm()) + 1e-7 * square**0.5 * ratio:
            raise ModelError(
                "the gradients that the loop's loss has in the outputs are not those of loss= times one number, so no reduction "
                "over the batch lies between the two (class weights, changed labels, another loss?): give loss= as the loop "
                "has it, or reduction='mean' or 'sum'"
            )
        if count > 1 and abs(ratio * count - 1) < NEAR:
            self.kind, self._epoch = "mean", epoch
            return float(count)
        if count > 1 and abs(ratio - 1) < NEAR:
            self.kind, self._epoch = "sum", epoch
            return 1.0
        if count > 1:
            self.kind = "other"
        return 1.0 / ratio
