"""TRAK as its authors' library computes it (Park et al. 2023): projected gradients of the margin, an ensemble of models."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import numpy as np

from benchmarks.peers.given import Given, margins
from benchmarks.peers.method import NETWORKS, Method, Work

DISTRIBUTION = "traker"
DIMENSIONS, MODELS, BATCH = 512, 5, 500


def prepare(given: Given) -> Work:
    from torch.func import functional_call
    from trak import TRAKer
    from trak.modelout_functions import AbstractModelOutput

    class Margin(AbstractModelOutput):  # type: ignore[misc, unused-ignore]
        """The library's own output function has no case for one logit."""

        def __init__(self) -> None:
            pass

        def get_output(self, model: Any, weights: Any, buffers: Any, x: Any, y: Any) -> Any:
            return margins(functional_call(model, (weights, buffers), x.unsqueeze(0)), y.unsqueeze(0)).sum()

        def get_out_to_loss_grad(self, model: Any, weights: Any, buffers: Any, batch: Any) -> Any:
            x, y = batch
            return (-margins(functional_call(model, (weights, buffers), x), y)).sigmoid().detach().unsqueeze(-1)

    train, test = given.train_rows(), given.test_rows()
    further = range(1, MODELS)

    def scores(_: Any, setting: tuple[str, float]) -> np.ndarray:
        chosen, damping = setting
        states = {
            "model": lambda: [given.state(given.weights)],
            "checkpoints": lambda: [given.state(each) for each in given.checkpoints],
            "models": lambda: [given.state(given.weights), *(given.trained(1_000 + k).state_dict() for k in further)],
        }[chosen]()
        with tempfile.TemporaryDirectory() as folder:
            traker = TRAKer(
                model=given.module(),
                task=Margin(),
                train_set_size=len(given.y),
                save_dir=folder,
                device="cpu",
                proj_dim=DIMENSIONS,
                use_half_precision=False,
                logging_level=logging.ERROR,
                lambda_reg=damping,
            )
            for number, state in enumerate(states):
                traker.load_checkpoint(state, model_id=number)
                for x, y in zip(*(each.split(BATCH) for each in train), strict=True):
                    traker.featurize(batch=(x, y), num_samples=len(y))
            traker.finalize_features()
            for number, state in enumerate(states):
                traker.start_scoring_checkpoint("test", state, model_id=number, num_targets=len(given.y_test))
                for x, y in zip(*(each.split(BATCH) for each in test), strict=True):
                    traker.score(batch=(x, y), num_samples=len(y))
            return np.array(traker.finalize_scores("test")).T

    return Work(scores)


PROJECTED = f"{DIMENSIONS} dimensions, float32"
METHODS = (
    # Fewer weights than dimensions: the library's X'X has no inverse until something is added to it.
    Method(
        "traker",
        prepare,
        {
            f"{PROJECTED}, nothing added to the diagonal, the default": ("model", 0.0),
            **{
                f"{PROJECTED}, {each} added to the diagonal": ("model", float(each))
                for each in ("1e-4", "1e-2", "1", "100")
            },
        },
        ("linear",),
        quick=True,
    ),
    Method("traker", prepare, {f"the trained model, {PROJECTED}": ("model", 0.0)}, NETWORKS, quick=True),
    Method(
        "traker, checkpoints", prepare, {f"5 checkpoints of the training, {PROJECTED}": ("checkpoints", 0.0)}, NETWORKS
    ),
    Method("traker, 5 models", prepare, {f"{MODELS} models trained apart, {PROJECTED}": ("models", 0.0)}, NETWORKS),
)
