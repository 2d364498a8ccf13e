"""Attribution and unlearning as a user calls them."""

from traceprop.explain.engine import AttributionEngine, attribution_engine
from traceprop.explain.result import AttributionResult
from traceprop.explain.scores import Scores
from traceprop.explain.unlearn import UnlearningResult, unlearn

__all__ = [
    "AttributionEngine",
    "AttributionResult",
    "Scores",
    "UnlearningResult",
    "attribution_engine",
    "unlearn",
]
