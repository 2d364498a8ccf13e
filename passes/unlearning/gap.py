"""How near an unlearned model is to one that was really retrained."""

from __future__ import annotations

import math

import numpy as np

from traceprop.passes.attribution.losses import Floats


def gap_closed(original: Floats, unlearned: Floats, retrained: Floats) -> float:
    """Give 100 (L_unlearned - L_original) / (L_retrained - L_original), L the mean of losses (m,) on forgotten rows.

    In percent; both under- and overshoot are error. NaN where retraining left the loss as it was. One row can carry a
    third of it, so it is always told beside the logit distances.
    """
    whole = float(retrained.mean() - original.mean())
    return 100.0 * float(unlearned.mean() - original.mean()) / whole if whole else math.nan


def logit_distance(a: Floats, b: Floats) -> float:
    """Root mean square over rows of the Euclidean distance of logits (m, k)."""
    return float(np.sqrt(((a - b) ** 2).sum(axis=1).mean())) if len(a) else 0.0


def of_the_way(original: Floats, unlearned: Floats, retrained: Floats) -> float:
    """Logit distance to the retrained model, as a fraction of the original model's.

    0 for the retrained model, 1 for one that was left alone; NaN where retraining changed nothing.
    """
    whole = logit_distance(original, retrained)
    return logit_distance(unlearned, retrained) / whole if whole else math.nan
