"""What a training context leaves behind: gradients, as factors where they can be, with their owners."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.fit import FitCheck, check_fit
from traceprop.passes.attribution.leverage import leverages
from traceprop.passes.attribution.losses import Floats
from traceprop.passes.attribution.objective import LinearObjective
from traceprop.passes.attribution.separable import separable_half
from traceprop.passes.unlearning.certificate import Ledger
from traceprop.stores import GradientBlocks
from traceprop.training.adapter import AbstractAdapter, AbstractLinearAdapter
from traceprop.training.checkpoints import Checkpoint, LinearPass
from traceprop.training.logged import final_gradients, summed
from traceprop.training.owners import Owners
from traceprop.training.recipe import Recipe


@dataclass(eq=False)
class GradientStore:
    """Per-sample gradients of one fitted model, in memory, each with its (source, row).

    For a linear model the gradients are kept as factors, logit gradients and features, that the objective gives
    again at `theta`: exact, and smaller than any projection. For other models `gradients` holds them.

    Attributes
    ----------
    owners
        The source rows behind every sample.
    adapter
        The model's adapter; None with gradients logged by hand.
    X, y
        The training data as plain arrays; None with gradients logged by hand.
    objective, theta
        Of a linear model: what its fit minimises, and its parameters (d, k) when the context exited.
    blocks
        Gradients that were logged by hand, or of every sample of the final model where `store=` was given.
    checkpoints
        Of other models: the model at each epoch's end, and last as training left it.
    schedule
        What `ctx.step` recorded: (loss, samples) per optimizer step.
    steps
        What was recorded of the steps at granularity "op", a gradient per sample and step, or "batch", one per step;
        `columns()["step"]` is the step's place in `schedule`.
    passes
        The model at the end of each pass, of networks the same as `checkpoints`; `pass_gradients` has its gradients.
    lazies
        The training data as they were given, X and y: lazy values lead to the pipeline behind them.
    weights
        By source id, 0 for every source row that was taken out of the pipeline too.
    ledger
        What the removals from this store, and from the stores that they left, have spent of their common budget.
    forgotten
        int64: the samples that a network was made to forget, sorted. (A linear model's objective knows its own.)
    initial
        A torch module as it was when the context began, before it saw any of these samples.
    recipe
        The torch optimizer that was seen to train it.
    """

    owners: Owners
    adapter: AbstractAdapter | None = None
    X: np.ndarray | None = None
    y: np.ndarray | None = None
    objective: LinearObjective | None = None
    theta: Floats | None = None
    blocks: GradientBlocks | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list, repr=False)
    granularity: str | None = "epoch"
    schedule: list[tuple[float, np.ndarray]] = field(default_factory=list)
    steps: GradientBlocks | None = field(default=None, repr=False)
    passes: list[Checkpoint] | list[LinearPass] = field(default_factory=list, repr=False)
    lazies: tuple[Any, Any] | None = field(default=None, repr=False)
    weights: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    ledger: Ledger | None = field(default=None, repr=False)
    forgotten: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False)
    initial: Checkpoint | None = field(default=None, repr=False)
    recipe: Recipe | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Give the number of training samples, forgotten ones included."""
        return self.owners.n

    def __repr__(self) -> str:
        kind = "factors" if self.objective is not None else "gradients"
        kind += "" if self.blocks is None or self.blocks.path is None else f" in {self.blocks.path}"
        gone = len(self.forgotten) if self.objective is None else len(self) - self.objective.count
        forgotten = f", {gone} forgotten" if gone else ""
        return f"GradientStore({len(self)} samples{forgotten}, {kind}, sources: {', '.join(self.owners.source_ids)})"

    @cached_property
    def gradients(self) -> np.ndarray | None:
        """float64 (n, p), of gradients logged by hand and of models that are not linear, as training left them.

        Taken when first asked for; estimators that do with factors never do. Raises ModelError where they would not fit
        in memory.
        """
        if not self.checkpoints:
            return None if self.blocks is None else summed(self.blocks, len(self))
        assert self.X is not None
        assert self.y is not None
        return self.checkpoints[-1].adapter.gradients(self.X, self.y)[1]

    def pass_gradients(self, position: int) -> Floats:
        """Every sample's gradient at the end of a pass, `passes[position]`, taken now: float64 (n, p).

        In the order of the framework's parameters, projected where the context projects. Raises ModelError where the context
        kept no passes (granularity "batch"), or where they would not fit in memory.
        """
        if not self.passes or self.X is None or self.y is None or self.adapter is None:
            raise ModelError("no passes were kept: granularity='epoch' keeps one at the end of each ctx.batches")
        one = self.passes[position]
        if isinstance(one, Checkpoint):
            return one.adapter.gradients(self.X, self.y)[1]
        return np.concatenate([rows for *_, rows in final_gradients(self.adapter, self.X, self.y, one.theta)])

    def columns(self) -> Any:
        """Whose each gradient in `blocks` is, or where there are none in `steps`, and how it was logged: a polars DataFrame.

        Columns: gradient (its position among those stored), source and row (int64; null where nothing is behind a sample),
        sample, epoch, step, loss. A sample made of several rows has a line for each. Raises ModelError where no single samples'
        gradients were stored.
        """
        from traceprop.training.columns import with_owners

        blocks = self.steps if self.blocks is None else self.blocks
        if blocks is None or blocks.about.get("of") == "batches":
            raise ModelError(
                "no single samples' gradients were stored: store= streams those of the final model, ctx.log_gradient one's own, "
                "and granularity='op' those of every step"
            )
        return with_owners(blocks, self.owners)

    @property
    def model(self) -> Any:
        """The user's model, or None."""
        return None if self.adapter is None else self.adapter.model

    @property
    def view(self) -> Any:
        """The lineage of the features, as `traceprop.provenance` gives it."""
        return self.owners.view

    def linear(self, purpose: str) -> tuple[AbstractLinearAdapter, LinearObjective, Floats]:
        """Give adapter, objective and parameters of a linear model. Raises ModelError for anything else."""
        if self.objective is None or self.theta is None or not isinstance(self.adapter, AbstractLinearAdapter):
            what = "gradients logged by hand" if self.adapter is None else f"a {type(self.model).__name__}"
            raise ModelError(
                f"{purpose} needs the exact Hessian of a linear model (scikit-learn's LogisticRegression, Ridge, "
                f"LinearRegression; a torch Linear), and this store holds {what}; estimator='dot' works with it"
            )
        return self.adapter, self.objective, self.theta

    @cached_property
    def fit(self) -> FitCheck:
        """How near the fit is to the minimum of its objective."""
        _, objective, theta = self.linear("judging the fit")
        return check_fit(objective, theta)

    @cached_property
    def undecided(self) -> str | None:
        """Why no scores follow from the fit although it is at its minimum; None where they do."""
        _, objective, theta = self.linear("judging the fit")
        return separable_half(objective, theta)

    @cached_property
    def leverages(self) -> Floats:
        """How much each row of a linear model holds of its own fit: float64 (n,), 0 to 1; of low ones the first digits."""
        _, objective, _ = self.linear("judging the fit")
        return leverages(objective, self.fit.terms, self.fit.curvature, rough=True)

    @property
    def gradient_norm(self) -> float:
        """Norm of the gradient of the mean loss, penalty included, at the fitted parameters."""
        return self.fit.gradient_norm

    def after(self, objective: LinearObjective, theta: Floats, model: Any, **changed: Any) -> GradientStore:
        """Give the store of a corrected model: same samples, the forgotten ones counted out.

        `changed`: other attributes that the correction changed.
        """
        from copy import copy

        adapter = copy(self.adapter)
        assert adapter is not None
        adapter.model = model
        corrected = replace(
            self, adapter=adapter, objective=objective, theta=theta, blocks=None, schedule=list(self.schedule)
        )
        return replace(corrected, **changed)

    def become(self, other: GradientStore) -> None:
        """Take over what another store holds, for a model that was corrected in place."""
        self.__dict__.clear()
        self.__dict__.update(other.__dict__)
