"""How a training loop stepped: its optimizer and rates, as its own steps told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.errors import ModelError


@dataclass(eq=False)
class Recipe:
    """The optimizer that was seen to step a torch module.

    Attributes
    ----------
    kind
        Its class.
    groups
        Of each parameter group: the names of the module's parameters in it, and its options as they were at the first step.
    rates
        The first group's learning rate at each step that was seen.
    alone
        Whether it is the only optimizer that stepped parameters of the module, and stepped no others.
    batch, passes
        Samples per step, and passes over all samples; None where neither batches nor passes were told.
    """

    kind: type
    groups: list[tuple[tuple[str, ...], dict[str, Any]]]
    rates: list[float] = field(default_factory=list)
    alone: bool = True
    batch: int | None = None
    passes: float | None = None

    @staticmethod
    def of(optimizer: Any, names: dict[int, str]) -> Recipe:
        """Put down an optimizer; `names` are those of the module's parameters by their ids."""
        groups, alone = [], True
        for group in optimizer.param_groups:
            known = [names.get(id(parameter)) for parameter in group["params"]]
            alone = alone and None not in known
            options = {name: value for name, value in group.items() if name != "params"}
            groups.append((tuple(name for name in known if name is not None), options))
        return Recipe(type(optimizer), groups, alone=alone)

    def stepped(self, optimizer: Any) -> None:
        """Put down a step."""
        self.rates.append(float(optimizer.param_groups[0]["lr"]) if "lr" in optimizer.param_groups[0] else 1.0)

    def lasted(self, n: int, schedule: list[tuple[float, np.ndarray]], epochs: int) -> None:
        """Training on n samples is over: its recorded steps and its passes, as many as were told."""
        sizes = [len(rows) for _, rows in schedule]
        if sizes and sum(sizes) >= n // 2:
            self.batch, self.passes = int(np.median(sizes)), sum(sizes) / n
        elif epochs and self.rates:
            self.batch, self.passes = max(round(n * epochs / len(self.rates)), 1), float(epochs)

    @cached_property
    def highest(self) -> float:
        """The highest rate, which others are told against: a run may begin at 0. Asked for once training is over."""
        return max(self.rates, default=0.0)

    def maker(self, names: list[str]) -> Callable[[list[Any]], Any] | None:
        """Give a function from parameters, whose names are those, to such an optimizer, new; None where that is not known.

        Its rates are the highest of the run.
        """
        if not self.alone or self.kind.__name__ == "LBFGS" or not self.highest > 0:
            return None
        raised = self.highest / self.rates[0] if self.rates[0] else 0.0

        def make(parameters: list[Any]) -> Any:
            at = dict(zip(names, parameters, strict=True))
            groups = []
            for own, options in self.groups:
                given = {name: value for name, value in options.items() if name != "initial_lr"}
                if "lr" in given:
                    given["lr"] = float(given["lr"]) * raised or self.highest
                groups.append({"params": [at[name] for name in own if name in at], **given})
            try:
                return self.kind(groups, lr=self.highest)
            except (TypeError, ValueError) as error:
                raise ModelError(
                    f"{self.kind.__name__}, which trained the network, cannot be made again from its options: {error}; give "
                    "optimizer="
                ) from error

        return make

    def share(self, moment: float) -> float:
        """The learning rate at a moment of the run, 0 to 1, over its highest."""
        at = min(int(moment * len(self.rates)), len(self.rates) - 1)
        return self.rates[at] / self.highest if self.highest else 1.0
