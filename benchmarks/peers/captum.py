"""captum: TracInCP (Pruthi et al. 2020) and influence by Arnoldi iteration (Schioppa et al. 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.given import Given, Weights, by_rows, losses, margins
from benchmarks.peers.method import EVERY, NETWORKS, Method, Work

DISTRIBUTION = "captum"
BATCH = 500


def _options(given: Given) -> dict[str, Any]:
    """Gradients of rows all at once, for the layers for which the library can, and one by one for the others."""
    at_once = given.kind != "text"
    reduction = "sum" if at_once else "none"

    def load(module: Any, weights: Weights) -> float:
        """Weights into a module; the learning rate that they were trained with weighs nothing where it never changed."""
        module.load_state_dict(given.state(weights))
        return 1.0

    return {
        "loss_fn": by_rows(losses, reduction),
        "test_loss_fn": by_rows(margins, reduction),
        "sample_wise_grads_per_batch": at_once,
        "checkpoints_load_func": load,
        "batch_size": BATCH,
    }


def tracin(given: Given) -> Work:
    from captum.influence import TracInCP
    from torch.utils.data import TensorDataset

    train, module, options = TensorDataset(*given.train_rows()), given.module(), _options(given)

    def scores(_: Any, __: Any) -> np.ndarray:
        found = TracInCP(module, train, given.checkpoints, **options).influence(given.test_rows())
        return -found.detach().numpy()  # the effect of a row's loss on the margin

    return Work(scores)


def arnoldi(given: Given) -> Work:
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
    from torch.utils.data import TensorDataset

    train, module, options = TensorDataset(*given.train_rows()), given.module(), _options(given)

    def scores(_: Any, settings: dict[str, Any]) -> np.ndarray:
        function = ArnoldiInfluenceFunction(module, train, given.weights, **settings, **options)
        return -function.influence(given.test_rows()).detach().numpy()

    return Work(scores)


DEFAULT: dict[str, Any] = {"50 of 200 dimensions, the default": {}}
# A logistic regression of a hundred weights: all of them fit, and the penalty can be told.
WHOLE: dict[str, Any] = {
    "100 of 200 dimensions": {"projection_dim": 100},
    "100 of 200 dimensions, the penalty on the diagonal": {"projection_dim": 100, "hessian_reg": 0.1},
}
METHODS = (
    Method("captum, TracInCP", tracin, {"the checkpoints of the training": None}, EVERY, quick=True),
    Method("captum, Arnoldi influence", arnoldi, DEFAULT | WHOLE, ("linear",)),
    Method("captum, Arnoldi influence", arnoldi, DEFAULT, NETWORKS),
)
