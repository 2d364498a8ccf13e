"""Estimators: from a gradient store and test rows to scores and effects. One small class each."""

from traceprop.explain.estimators.base import AbstractEstimator, Found, subset_effects
from traceprop.explain.estimators.choose import estimator
from traceprop.explain.estimators.linear import Banzhaf, Influence

__all__ = ["AbstractEstimator", "Banzhaf", "Found", "Influence", "estimator", "subset_effects"]
