"""What can be told of a network that was made to forget without training one again for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.explain.network_predictions import Forgetting
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.unlearning.outcome import CHANCE, Held, area, shift
from traceprop.training.network_steps import numbers_and_losses


@dataclass(eq=False)
class Outcome:
    """A changed network beside the trained one, on the forgotten rows, a sample of those that stay and on test rows.

    A class that no row is left of may be got wrong: test rows of it do not count.
    """

    task: Forgetting
    module: Any

    @cached_property
    def refusal(self) -> str | None:
        """Why the network is not one to hand out: rows that were not to be forgotten are worse off."""
        return "; ".join(found for held in (self._staying, self._tests) if held and (found := held.worse())) or None

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Means before and after, by what is known; see docs/unlearning.md."""
        found: dict[str, float] = {}
        k = len(self.task.gone)
        losses = self.task.facts[1][:k], self._facts[1][:k]
        for name, held in (("staying", self._staying), ("test", self._tests)):
            if held is None:
                continue
            found |= {f"{name}_loss_before": float(held.before.mean()), f"{name}_loss_after": float(held.after.mean())}
            if held.right_before is not None and held.right_after is not None:
                found[f"{name}_accuracy_before"] = float(held.right_before.mean())
                found[f"{name}_accuracy_after"] = float(held.right_after.mean())
        if self._tests is not None:
            found["membership_before"] = area(-losses[0], -self._tests.before)
            found["membership_after"] = area(-losses[1], -self._tests.after)
        found["forget_loss_before"], found["forget_loss_after"] = (float(one.mean()) for one in losses)
        found["shift_area"], found["shift_p"] = self._shift
        return found

    @property
    def said(self) -> str:
        """What the numbers say, for `.why`."""
        area_, p = self._shift
        if p > CHANCE:
            return (
                "the forgotten rows changed no more than rows that stay (their changes tell them apart with an area of "
                f"{area_:.2f}, p = {p:.2f}): what forgetting them did cannot be told from the noise of training"
            )
        return f"the forgotten rows' changes stand out from those of rows that stay (area {area_:.2f}, p = {p:.1g})"

    @cached_property
    def _facts(self) -> tuple[Floats, Floats]:
        """Numbers and losses of the watched samples in the changed network."""
        return numbers_and_losses(self.module, self.task.data[self.task.watched])

    @property
    def _classes(self) -> bool:
        return bool(self.task.last.adapter.cross_entropy)

    @cached_property
    def _shift(self) -> tuple[float, float]:
        which = 0 if self._classes else 1  # an output may move either way
        change, k = self._facts[which] - self.task.facts[which], len(self.task.gone)
        return shift(change[:k], change[k:])

    @cached_property
    def _staying(self) -> Held:
        k = len(self.task.gone)
        (was, before), (now, after) = ((of[0][k:], of[1][k:]) for of in (self.task.facts, self._facts))
        return self._held("the rows that stay", was, before, now, after)

    @cached_property
    def _tests(self) -> Held | None:
        tests = self.task.tests
        if tests is None:
            return None
        if self._classes:
            left = np.unique(self.task.data.labels[self.task.stay])
            tests = tests[np.flatnonzero(np.isin(tests.labels, left))]
        both = (numbers_and_losses(one, tests) for one in (self.task.module, self.module))
        return self._held("the test rows", *next(both), *next(both)) if len(tests) else None

    def _held(self, what: str, was: Floats, before: Floats, now: Floats, after: Floats) -> Held:
        return Held(what, before, after, *((was > 0, now > 0) if self._classes else ()))
