"""Which steps a training loop took, on which rows: as the loop tells, and as its optimizer does."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from traceprop.training.recipe import Recipe


class Steps:
    """The steps in order, each with its loss and its samples, whoever tells of them first.

    A loop may call `ctx.step`, before its optimizer's step or after it, or leave it out; a torch optimizer of the model's
    parameters is seen to step. Of one batch, the k-th step that is told and the k-th that is seen are the same.

    Attributes
    ----------
    schedule
        (loss, samples) per step; the loss is NaN where the loop did not tell it.
    """

    def __init__(self, samples: Callable[[Any], np.ndarray]) -> None:
        self.schedule: list[tuple[float, np.ndarray]] = []
        self.recorded: Callable[[int], None] | None = None
        """Called with the place in the schedule of each new step."""
        self.current: tuple[Any, Any, Any] | None = None
        """The batch that the loop is at, as it got it: features, targets and rows."""
        self.counted: tuple[Any, Any, Any] | None = None
        """The last batch that a step was taken on."""
        self.own = False
        """Whether the context itself cut the batches of this pass, so that their rows are samples and their features the data."""
        self.recipe: Recipe | None = None
        """The torch optimizer that was seen to step, and its rates."""
        self._samples = samples
        self._before: list[np.ndarray] = []
        self._seen = 0
        self._told = 0
        self._hooks: list[Any] = []

    def begin(self, own: bool = False) -> None:
        """A pass over the data begins, or has ended: no batch is being worked on."""
        self.current = self.counted = None
        self.own = own
        self._before = []
        self._seen = self._told = 0

    def feed(self, batch: tuple[Any, Any, Any]) -> None:
        """The loop gets a batch. Where it took no step on the one before, the next step is on both: gradients add up."""
        if self.current is not self.counted:
            self._before.append(self._here())
        self.current = batch

    def told(self, loss: Any, rows: Any) -> None:
        """The loop tells of a step on those rows."""
        batch = self.current
        if self.own and batch is not self.counted and batch is not None and rows is batch[2] and not self._before:
            # As most steps are: the first on the batch at hand, which the context cut.
            self.counted, self._seen, self._told = batch, 0, 1
            schedule = self.schedule
            schedule.append((math.nan if loss is None else _number(loss), rows))
            if self.recorded is not None:
                self.recorded(len(schedule) - 1)
            return
        value = math.nan if loss is None else _number(loss)
        if batch is None or rows is not batch[2]:
            samples = self._samples(rows)
        else:
            samples = None
        if self.counted is not batch:
            self.counted, self._seen, self._told = batch, 0, 0
        if self._told < self._seen:
            at = len(self.schedule) - self._seen + self._told
            self.schedule[at] = value, self.schedule[at][1] if samples is None else samples
        else:
            self._add(value, self._since() if samples is None else samples)
        self._told += 1

    def saw(self) -> None:
        """The optimizer has stepped."""
        batch = self.current
        if batch is None:
            return
        if self.counted is not batch:
            self.counted, self._seen, self._told = batch, 0, 0
        self._seen += 1
        if self._told < self._seen:
            self._add(math.nan, self._since())

    def _add(self, loss: float, samples: np.ndarray) -> None:
        self.schedule.append((loss, samples))
        self._before = []
        if self.recorded is not None:
            self.recorded(len(self.schedule) - 1)

    def features(self) -> Any:
        """The features of the batch that the loop is at, where they are the data's."""
        return self.current[0] if self.own and self.current is not None else None

    def _here(self) -> np.ndarray:
        """The samples of the batch that the loop is at."""
        assert self.current is not None
        rows = self.current[2]
        return rows if self.own else self._samples(rows)

    def _since(self) -> np.ndarray:
        """The samples that the loop got since the step before."""
        return np.concatenate([*self._before, self._here()]) if self._before else self._here()

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
                    self._met(optimizer, model)
            if ours:
                if self.recipe is not None:
                    self.recipe.stepped(optimizer)
                self.saw()

        self._hooks.append(register_optimizer_step_post_hook(stepped))

    def _met(self, optimizer: Any, model: Any) -> None:
        """Another optimizer steps parameters of the model."""
        if self.recipe is None:
            self.recipe = Recipe.of(optimizer, {id(parameter): name for name, parameter in model.named_parameters()})
        else:
            self.recipe.alone = False

    def unwatch(self) -> None:
        """See nothing any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _number(loss: Any) -> float:
    return float(loss.item() if hasattr(loss, "item") else loss)
