"""What training points and sources are worth: Shapley values on plain arrays, one method per file."""

from traceprop.passes.valuation.distances import AbstractDistances, OuterProducts, Points, neighbour_radius
from traceprop.passes.valuation.hits import AbstractHits, SameDirection, SameLabel
from traceprop.passes.valuation.knn_shapley import knn_regression_shapley, knn_shapley
from traceprop.passes.valuation.sampled_shapley import Estimate, sampled_shapley
from traceprop.passes.valuation.source_shapley import MOST_PLAYERS, coalition_shapley
from traceprop.passes.valuation.threshold import threshold_shapley
from traceprop.passes.valuation.weighted import weighted_shapley

__all__ = [
    "MOST_PLAYERS",
    "AbstractDistances",
    "AbstractHits",
    "Estimate",
    "OuterProducts",
    "Points",
    "SameDirection",
    "SameLabel",
    "coalition_shapley",
    "knn_regression_shapley",
    "knn_shapley",
    "neighbour_radius",
    "sampled_shapley",
    "threshold_shapley",
    "weighted_shapley",
]
