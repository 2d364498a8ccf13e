"""Attribution, unlearning and valuation as a user calls them."""

from traceprop.explain.engine import AttributionEngine, attribution_engine
from traceprop.explain.result import AttributionResult
from traceprop.explain.scores import Scores
from traceprop.explain.unlearn import unlearn
from traceprop.explain.unlearned import UnlearningResult
from traceprop.explain.valuation import data_valuation
from traceprop.explain.valued import ValuationResult

__all__ = [
    "AttributionEngine",
    "AttributionResult",
    "Scores",
    "UnlearningResult",
    "ValuationResult",
    "attribution_engine",
    "data_valuation",
    "unlearn",
]
