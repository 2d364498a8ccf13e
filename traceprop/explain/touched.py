"""What forgetting some rows touched, and what it spent of the removal budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.explain.refit import Refit
from traceprop.passes.attribution.fit import row_gradient_size
from traceprop.passes.unlearning.certificate import BUDGET_PER_GRADIENT, Ledger
from traceprop.training.store import GradientStore


@dataclass(frozen=True, eq=False)
class Touched:
    """What is another now that rows are forgotten.

    Attributes
    ----------
    source_rows
        int64 by source id: the rows that were asked for.
    training_rows
        int64: the samples that are gone.
    statistics
        The reductions over rows that were computed anew without them, each with the user's line: means, scalers,
        imputers, encodings, vocabularies. Empty where the features were held fixed.
    models
        The models that were corrected.
    """

    source_rows: dict[str, np.ndarray]
    training_rows: np.ndarray
    statistics: tuple[str, ...]
    models: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's own types."""
        return {
            "source_rows": {name: rows.tolist() for name, rows in self.source_rows.items()},
            "training_rows": self.training_rows.tolist(),
            "statistics": list(self.statistics),
            "models": list(self.models),
        }


def touched(
    source_rows: dict[str, np.ndarray], training_rows: np.ndarray, again: Refit | None, model: Any, changed: bool
) -> Touched:
    """Say it of one call of `unlearn`; `changed` is whether the model's parameters are others now."""
    statistics = () if again is None else tuple(again.work.followed)
    return Touched(source_rows, training_rows, statistics, (type(model).__name__,) if changed else ())


def ledger_of(store: GradientStore, budget: float | None) -> Ledger:
    """Give the ledger of a store and of all stores that removals from it left; opened at its first removal.

    `budget`: what the removals may leave together, from now on; None for what it is, by default a ten-thousandth of
    the summed norms of the training rows' gradients. Raises ModelError for one that is not above 0.
    """
    if budget is not None and not budget > 0:
        raise ModelError(f"a removal budget is a number above 0, not {budget!r}")
    if store.ledger is None:
        if budget is None:
            _, objective, theta = store.linear("a removal budget")
            size = row_gradient_size(objective, theta) * objective.count
            budget = BUDGET_PER_GRADIENT * max(size, float(np.finfo(np.float64).tiny))
        store.ledger = Ledger(float(budget))
    elif budget is not None:
        store.ledger.budget = float(budget)
    return store.ledger


def too_much(ledger: Ledger, residual: float) -> str | None:
    """Say why a removal that leaves such a residual would not be certified any more; None where it is."""
    if ledger.affords(residual):
        return None
    past = f"{len(ledger.entries)} removals before left {ledger.spent:.1e}"
    return (
        f"the removal budget is spent: of {ledger.budget:.1e}, {past} of the gradient, and this one would leave "
        f"{residual:.1e}; train again without the rows, which opens a new ledger, or give a larger budget="
    )
