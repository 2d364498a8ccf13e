"""The estimator that differentiates the recorded training run itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.training.store import GradientStore

if TYPE_CHECKING:
    from traceprop.training.torch_unrolled import Unrolled


class Replay(AbstractEstimator):
    """What a sample's weight does to the end of the run that was recorded, by reverse mode through all of its steps.

    Ilyas & Engstrom 2025, "MAGIC: Near-optimal data attribution for deep learning". It speaks of this run: of the same
    start, order and batches, without the sample. Other estimators speak of what training does on average.
    """

    name = "replay"
    why = (
        "the recorded run was run again to its end and differentiated, step by step: the first-order effect of a sample's "
        "weight on this run, with its start and order of samples; of a run that would differ in those it says little"
    )

    def __init__(
        self,
        store: GradientStore,
        outcome: str,
        optimizer: Callable[..., Any] | None = None,
        curvature: str | None = None,
    ) -> None:
        super().__init__(store, outcome)
        if optimizer is None:
            raise ModelError(
                "estimator='replay' needs optimizer=, called with the parameters for the optimizer of the run: "
                "optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3)"
            )
        if curvature not in (None, "gauss-newton", "hessian"):
            raise ModelError(f"curvature is 'gauss-newton' or 'hessian', not {curvature!r}")
        self._make = optimizer
        self._curvature = curvature
        self._found: Unrolled | None = None

    @property
    def _run(self) -> Unrolled:
        if self._found is None:
            from traceprop.training.torch import ModuleAdapter
            from traceprop.training.torch_unrolled import Unrolled

            adapter = self.store.checkpoints[-1].adapter
            if not isinstance(adapter, ModuleAdapter):
                raise ModelError(
                    "estimator='replay' differentiates the steps of a torch optimizer, and the steps of other loops are not "
                    "seen; estimator='influence' over checkpoints (ctx.checkpoint() on the way) follows training without them"
                )
            assert self.store.X is not None
            assert self.store.y is not None
            self._found = Unrolled(
                self.store, adapter.deciding(self.store.X, self.store.y), self._make, self._curvature
            )
        return self._found

    def scores(self, X: np.ndarray, y: np.ndarray) -> Found:
        run = self._run
        adapter: Any = self.store.checkpoints[-1].adapter
        tests = adapter.deciding(X, y)
        if self.outcome(adapter.cross_entropy) == "margin":
            gradients = run.gradients(tests, tests.number)
        else:
            gradients = -run.gradients(tests, tests.loss)
        return run.by_weights(gradients), "estimated", self.why

    def effect(self, subsets: Sequence[np.ndarray], X: np.ndarray, y: np.ndarray) -> Found:
        return subset_effects(self.scores(X, y)[0], subsets), "estimated", self.why

    def of_gradient(self, gradient: Any) -> Found:
        import torch

        run = self._run
        adapter: Any = self.store.checkpoints[-1].adapter
        vector = adapter.flattened(gradient)
        if len(vector) != len(run.end):
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {len(run.end)} parameters")
        return run.by_weights(-torch.from_numpy(vector).to(run.end.dtype)[None])[0], "estimated", self.why
