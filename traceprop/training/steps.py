"""Which steps a training loop took, on which rows: as the loop tells, and as its optimizer does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np


class Steps:
    """The steps in order, each with its loss and its samples, whoever tells of them first.

    A loop may call `ctx.step`, before its optimizer's step or after it, or leave it out; a torch optimizer of the model's
    parameters is seen to step. Of one batch, the k-th step that is told and the k-th that is seen are the same.

    Attributes
    ----------
    schedule
        (loss, samples) per step; the loss is NaN where the loop did not tell it.
    """

    def __init__(self) -> None:
        self.schedule: list[tuple[float, np.ndarray]] = []
        self.batch: Any = None
        """The features of the batch that the loop is at, as it got them."""
        self.recorded: Callable[[int], None] | None = None
        """Called with the place in the schedule of each new step."""
        self._rows: Any = None
        self._samples: np.ndarray | None = None
        self._before: list[np.ndarray] = []
        self._seen = 0
        self._told = 0
        self._hooks: list[Any] = []

    def begin(self) -> None:
        """A pass over the data begins, or has ended: no batch is being worked on."""
        self.batch = self._rows = self._samples = None
        self._before = []
        self._seen = self._told = 0

    def feed(self, rows: Any, samples: np.ndarray, batch: Any) -> None:
        """The loop gets a batch. Where it took no step on the one before, the next step is on both: gradients add up."""
        if self._samples is not None and not (self._seen or self._told):
            self._before.append(self._samples)
        self.batch, self._rows, self._samples = batch, rows, samples
        self._seen = self._told = 0

    def fed(self, rows: Any) -> bool:
        """Whether these are the rows that the loop just got."""
        return rows is self._rows and rows is not None

    def told(self, loss: Any, samples: np.ndarray | None) -> None:
        """The loop tells of a step; `samples` None: on the rows that it got."""
        value = float(loss.item() if hasattr(loss, "item") else loss)
        if self._told < self._seen:
            at = len(self.schedule) - self._seen + self._told
            self.schedule[at] = value, self.schedule[at][1] if samples is None else samples
        else:
            self._add(value, self._since() if samples is None else samples)
        self._told += 1

    def saw(self) -> None:
        """The optimizer has stepped."""
        if self._samples is None:
            return
        self._seen += 1
        if self._told < self._seen:
            self._add(float("nan"), self._since())

    def _add(self, loss: float, samples: np.ndarray) -> None:
        self.schedule.append((loss, samples))
        self._before = []
        if self.recorded is not None:
            self.recorded(len(self.schedule) - 1)

    def _since(self) -> np.ndarray:
        """The samples that the loop got since the step before."""
        assert self._samples is not None
        return np.concatenate([*self._before, self._samples]) if self._before else self._samples

    def watch(self, model: Any) -> None:
        """See the steps of torch optimizers that have a parameter of this model."""
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(model, torch.nn.Module):
            return
        from torch.optim.optimizer import register_optimizer_step_post_hook

        known: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()

        def stepped(optimizer: Any, *_: Any) -> None:
            ours = known.get(optimizer)
            if ours is None:
                own = {id(parameter) for parameter in model.parameters()}
                moved = (p for group in optimizer.param_groups for p in group["params"])
                ours = known[optimizer] = any(id(p) in own for p in moved)
            if ours:
                self.saw()

        self._hooks.append(register_optimizer_step_post_hook(stepped))

    def unwatch(self) -> None:
        """See nothing any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
