"""From a fit to what attribution and unlearning need: per-sample gradients, whose they are, and the objective."""

from traceprop.training.context import TrainingContext, training_context
from traceprop.training.store import GradientStore

__all__ = ["GradientStore", "TrainingContext", "training_context"]
