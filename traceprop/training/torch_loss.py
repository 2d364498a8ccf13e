"""The loss of one sample, found in a loss that was written for batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from traceprop.errors import ModelError
from traceprop.training.loss import check_batch, exact_targets

PROBED = 16

# What a loss may expect instead of outputs (b, 1) and targets (b,) as they are; tried in this order, after an error.
_OUTPUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as they are": lambda out: out,
    "squeezed": lambda out: out.squeeze(-1),
}


@dataclass(frozen=True, eq=False)
class SingleLoss:
    """loss(after(z[None]), y[None]) as a scalar, for logits z (k,) and one target; works under vmap and grad."""

    after: Callable[[torch.Tensor], torch.Tensor]
    loss: Callable[..., Any]
    outputs: str
    dtype: np.dtype[Any]

    def __call__(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.of_output(self.after(logits[None]), target[None])

    def of_output(self, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Give the loss of a batch of one, from the module's output."""
        return self.loss(_OUTPUTS[self.outputs](out), target).reshape(())

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Give targets in the type that the loss takes. Raises ModelError where that would change them."""
        return exact_targets(y, self.dtype)

    def many(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Give the losses of (n, k) logits: float64 (n,)."""
        z, target = torch.from_numpy(np.ascontiguousarray(logits)), torch.from_numpy(np.ascontiguousarray(targets))
        return torch.func.vmap(self)(z, target).detach().numpy()


def find_single_loss(
    after: Callable[[torch.Tensor], torch.Tensor], loss: Callable[..., Any], logits: np.ndarray, y: np.ndarray
) -> SingleLoss:
    """Find how to call a loss on single samples, and check that batches give those values, their mean or their sum.

    Raises
    ------
    ModelError
        The loss fails, gives other shapes than one value per sample, or mixes the samples of a batch.
    """
    if y.dtype.kind not in "biuf":
        raise ModelError(f"y holds {y.dtype}, and a torch loss needs numbers; encode the labels first")
    some = logits[:PROBED].astype(np.float64)
    own = np.dtype(np.float64) if y.dtype.kind == "f" else y.dtype
    first: Exception | None = None
    for outputs in _OUTPUTS if some.ndim == 2 and some.shape[1] == 1 else ["as they are"]:
        for dtype in dict.fromkeys([own, np.dtype(np.int64), np.dtype(np.float64)]):
            single = SingleLoss(after, loss, outputs, dtype)
            targets = y.astype(dtype)
            if not np.array_equal(targets, y):
                continue
            try:
                losses = single.many(some, targets[:PROBED])
                value = _of_batch(single, some, targets[:PROBED])
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                first = first or error
                continue
            check_batch(value, losses, some.shape, targets[:PROBED].shape, float(np.abs(some).max(initial=0.0)))
            return single
    raise ModelError(
        f"loss(model(x), y) fails on a single sample, with outputs of shape (1, {', '.join(map(str, some.shape[1:]))}) "
        f"and a target of {y.dtype} {('1', *map(str, y.shape[1:]))}: {first}; give one value per sample "
        "(reduction='none') of matching shapes"
    ) from first


def _of_batch(single: SingleLoss, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Call the loss on several samples at once, as a training loop does."""
    with torch.no_grad():
        out = torch.cat([single.after(torch.from_numpy(row[None])) for row in logits])
        return single.loss(_OUTPUTS[single.outputs](out), torch.from_numpy(targets)).numpy()
