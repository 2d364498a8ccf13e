"""What unlearning gives back, of linear models and of networks alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from traceprop.explain.forgetting import Request
from traceprop.explain.refit import Refit
from traceprop.explain.touched import Touched
from traceprop.training.store import GradientStore


@dataclass(eq=False)
class UnlearningResult:
    """A model without the rows that were to be forgotten, and what is known of how well.

    Attributes
    ----------
    model
        The corrected model: a copy, or the model itself with `inplace=True`; None where the verdict is "refused".
    verified
        Whether it was shown that the model is the one that the rows that stay give: by a bound on its distance to it; of
        networks because the rows had no part in its training (a replay); and with verify="retrain" by a model really
        retrained. Never True for a model that was left as it was.
    influence_before, influence_after
        How far the forgotten rows' logits stand, root mean square, from where they would be without those rows: in the
        original model, and in the corrected one. Measured against the retrained model with verify="retrain", else
        against the minimum as the last Newton step sees it; of networks against what predicts them.
    metrics
        Numbers; see docs/unlearning.md. With verify="retrain" among them gap_closed (percent) and the logit distances.
    verdict, why
        "certified" with a bound, "estimated" without one, "refused" with no model, and the reason in a sentence.
    compliance_report
        What was asked, done and shown, as a dict for records.
    gradient_store
        The store of the corrected model, for questions about it and for forgetting more; None where refused.
    touched
        The source rows, training rows, fitted statistics and models that the removal reached; None where refused.
    weights
        Through the pipeline, 0 for every source row that is gone, by source id: what `tp.reweight` takes.
    """

    model: Any
    verified: bool
    influence_before: float
    influence_after: float
    metrics: dict[str, Any]
    verdict: str
    why: str
    compliance_report: dict[str, Any] = field(repr=False)
    gradient_store: GradientStore | None = field(repr=False, default=None)
    refit: Refit | None = field(repr=False, default=None)
    touched: Touched | None = field(repr=False, default=None)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """float64 per row of each source that lost some; empty where the features were held fixed."""
        return {} if self.refit is None else self.refit.weights

    def refitted(self, value: Any) -> Any:
        """Give a lazy value as the pipeline without the forgotten rows gives it: new rows for the corrected model.

        With features held fixed, and for plain arrays, it is the value itself.
        """
        return value if self.refit is None else self.refit.value(value)


def record(
    request: Request, method: str, metrics: dict[str, Any], verdict: str, why: str, verified: bool, inplace: bool
) -> dict[str, Any]:
    """What was asked, done and shown, as a dict for records."""
    return {
        "action": "unlearning",
        "asked": request.asked,
        "source_rows": {name: rows.tolist() for name, rows in request.rows.items()},
        "source_rows_not_in_training": dict(request.untrained),
        "training_rows": request.samples.tolist(),
        "method": method,
        "held_fixed": "features, as the pipeline fitted to all rows computes them",
        "model_changed": "in place" if inplace else "a copy",
        "verdict": verdict,
        "why": why,
        "verified": verified,
        "metrics": dict(metrics),
    }


def refused(request: Request, method: str, reason: str, metrics: dict[str, Any]) -> UnlearningResult:
    """No model, and the reason."""
    metrics = {"forgotten": len(request.samples)} | metrics
    report = record(request, method, metrics, "refused", reason, verified=False, inplace=False)
    return UnlearningResult(None, False, np.nan, np.nan, metrics, "refused", reason, report)
