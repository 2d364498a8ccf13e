"""From a fit to what attribution and unlearning need: per-sample gradients, whose they are, and the objective."""

from traceprop.training.batched import Dataset, dataset
from traceprop.training.context import TrainingContext, training_context
from traceprop.training.partitioned import PartitionedGradients, partitioned_gradients
from traceprop.training.perturbed import fit_perturbed, removal_budget
from traceprop.training.store import GradientStore
from traceprop.training.streaming import StreamingTrainingContext, streaming_training_context

__all__ = [
    "Dataset",
    "GradientStore",
    "PartitionedGradients",
    "StreamingTrainingContext",
    "TrainingContext",
    "dataset",
    "fit_perturbed",
    "partitioned_gradients",
    "removal_budget",
    "streaming_training_context",
    "training_context",
]
