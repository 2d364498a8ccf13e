"""What a network's forgotten rows would be without them, predicted two ways that know nothing of one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.passes.attribution.factors import kernel
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.unlearning.group_step import GroupStep
from traceprop.passes.unlearning.prediction import Prediction, average
from traceprop.training.checkpoints import Checkpoint
from traceprop.training.linearised import Linearised
from traceprop.training.network_steps import numbers, numbers_and_losses, trained
from traceprop.training.store import GradientStore

SAMPLE = 1_500
"""Rows that stay, of which the curvature is taken and to whose numbers the steps hold."""
DAMPING = 1.0
REWOUND_TO, PASSES = 0.25, 0.35
"""Of all passes over the data: where the short run starts, and how long it is."""
RATE = 2e-3
TRIES = 3
BATCH = 128


@dataclass(eq=False)
class Forgetting:
    """One request on one network: the rows that go, those that stay, a sample of these, and the tools for all methods."""

    store: GradientStore
    gone: np.ndarray
    stay: np.ndarray
    seed: int
    make: Any = None
    test: tuple[np.ndarray, np.ndarray | None] | None = None
    costs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.sample = np.sort(rng.choice(self.stay, min(SAMPLE, len(self.stay)), replace=False))

    @property
    def last(self) -> Checkpoint:
        """The network as training left it."""
        return self.store.checkpoints[-1]

    @property
    def module(self) -> Any:
        """The network as training left it."""
        return self.last.adapter.model

    @cached_property
    def data(self) -> Any:
        """All samples, as tensors."""
        adapter: Any = self.last.adapter
        return adapter.deciding(self.store.X, self.store.y)

    @cached_property
    def tests(self) -> Any:
        """Test samples with their targets, as tensors; None where none were given."""
        adapter: Any = self.last.adapter
        return None if self.test is None or self.test[1] is None else adapter.deciding(*self.test)

    @property
    def maker(self) -> Any:
        """A function from parameters to the run's optimizer, new: the one that was given, or that was seen; or None."""
        recipe = self.store.recipe
        if self.make is not None or recipe is None:
            return self.make
        return recipe.maker([name for name, p in self.module.named_parameters() if p.requires_grad])

    @property
    def watched(self) -> np.ndarray:
        """The samples that go, first, and the sample of those that stay."""
        return np.concatenate([self.gone, self.sample])

    @cached_property
    def batch(self) -> int:
        """As large as the run's own batches, where they were recorded."""
        if self.store.schedule:
            return int(np.median([len(rows) for _, rows in self.store.schedule]))
        if self.store.recipe is not None and self.store.recipe.batch is not None:
            return self.store.recipe.batch
        return min(BATCH, max(len(self.stay) // 8, 1))

    @property
    def steps_of_a_pass(self) -> int:
        """Over the rows that stay."""
        return -(-len(self.stay) // self.batch)

    @cached_property
    def passes(self) -> int:
        """Passes over the data that training took, as far as is known; else 20."""
        return self.last.epoch or 20

    @cached_property
    def numbers(self) -> Floats:
        """Of the watched samples, as training left them."""
        return self.facts[0]

    @cached_property
    def facts(self) -> tuple[Floats, Floats]:
        """Numbers and losses of the watched samples, as training left them."""
        return numbers_and_losses(self.module, self.data[self.watched])

    @cached_property
    def linearised(self) -> Linearised:
        """The watched samples at the trained parameters."""
        assert self.store.X is not None
        assert self.store.y is not None
        return self.last.adapter.linearised(self.store.X[self.watched], self.store.y[self.watched])

    @cached_property
    def group_step(self) -> GroupStep:
        """One Gauss-Newton step on the rows that stay, by the sample of them."""
        return GroupStep(
            self.kernel.copy(),
            self.linearised.roots,
            self.linearised.residuals,
            len(self.gone),
            len(self.stay),
            DAMPING,
        )

    @cached_property
    def kernel(self) -> np.ndarray:
        """J J^T of the watched samples."""
        layers, m = self.linearised.layers, len(self.linearised)
        return kernel(layers, layers, m, m)

    @property
    def curved(self) -> bool:
        """Whether there is a Gauss-Newton matrix."""
        return bool((self.linearised.curvatures > 0).any() and not (self.linearised.curvatures < 0).any())

    def by_attribution(self) -> Floats:
        """Numbers of the watched samples by the group effect of the Gauss-Newton step."""
        return self.numbers + self.group_step.effect(self.kernel).astype(np.float64)

    @cached_property
    def earlier(self) -> Checkpoint | None:
        """The checkpoint nearest to a quarter of the run; None where only the trained network is known."""
        before = self.store.checkpoints[:-1]
        if not before:
            return None
        of = [self._moment(one, place) for place, one in enumerate(before)]
        return before[int(np.argmin(np.abs(np.array(of) - REWOUND_TO)))]

    def _moment(self, one: Checkpoint, place: int) -> float:
        if self.last.step:
            return one.step / self.last.step
        if self.last.epoch:
            return one.epoch / self.last.epoch
        return place / (len(self.store.checkpoints) - 1)

    @cached_property
    def rewound(self) -> Any:
        """The network of `earlier`, after a short run on the rows that stay.

        The rate is doubled from Adam's usual one, and fourfold at each try for which the run does not get the rows that
        stay half of the way from where they were to where training left them.
        """
        assert self.earlier is not None
        begin, data, sample = self.earlier.adapter.model, self.data[self.stay], self.data[self.sample]
        steps = max(round(PASSES * self.passes), 1) * self.steps_of_a_pass
        goal = self.numbers[len(self.gone) :]
        before = float(np.abs(numbers(begin, sample) - goal).mean())
        found: list[tuple[float, float, Any]] = []
        for attempt in range(1 if self.make is not None else TRIES):
            rate = RATE * 4**attempt
            module = trained(begin, data, steps, self.batch, self.seed, rate, self.make)
            left = float(np.abs(numbers(module, sample) - goal).mean())
            found.append((left if np.isfinite(left) else np.inf, rate, module))
            if left <= 0.5 * before:
                break
        _, rate, module = min(found, key=lambda one: one[0])
        self.costs["rewound_steps"] = steps * len(found)
        self.costs["rewound_rate"] = None if self.make is not None else rate
        return module

    def by_rewinding(self) -> Floats:
        """Numbers of the watched samples in the rewound network; those that stay as training left them."""
        out = self.numbers.copy()
        k = len(self.gone)
        out[:k] = numbers(self.rewound, self.data[self.gone])
        return out

    def prediction(self, attribution: bool = True, rewinding: bool = True) -> Prediction:
        """The mean of what both ways say of the rows that go, and of those that stay, by whichever there is."""
        k = len(self.gone)
        ways = []
        if attribution:
            ways.append(self.by_attribution()[:k])
        if rewinding:
            ways.append(self.by_rewinding()[:k])
        staying = self.numbers[k:]
        return average(self.numbers[:k], ways, staying, [staying])
