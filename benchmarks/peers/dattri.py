"""dattri (Deng et al. 2024): influence by the explicit Hessian, TRAK, EK-FAC."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.given import Given, losses, margins
from benchmarks.peers.method import EVERY, NETWORKS, Method, Work

DISTRIBUTION = "dattri"
DIMENSIONS = 512


def _loader(rows: tuple[Any, Any], batch: int) -> Any:
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*rows), batch_size=batch, shuffle=False)


def _function(module: Any, of_rows: Any, reduction: str = "sum") -> Any:
    """A function of parameters and rows, in the library's style."""
    from torch.func import functional_call

    def function(parameters: Any, rows: Any) -> Any:
        x, y = rows
        return getattr(of_rows(functional_call(module, parameters, x), y), reduction)()

    return function


def explicit(given: Given) -> Work:
    """The Hessian of the sum of losses, inverted: of all weights, or of a network's last layer, as a model of what it reads.

    Left to itself the library differentiates through the whole network for each weight of the layer, in tens of gigabytes.
    """
    from dattri.algorithm.influence_function import IFAttributorExplicit
    from dattri.task import AttributionTask
    from torch import nn

    module = given.module()
    *_, last = (each for each in module.modules() if isinstance(each, nn.Linear))
    layer = nn.Sequential(last)

    def fit() -> Any:
        return [_whole((_read_by(module, last, x), y)) for x, y in (given.train_rows(), given.test_rows())]

    def scores(loaders: Any, damping: float) -> np.ndarray:
        task = AttributionTask(
            loss_func=_function(layer, losses),
            target_func=_function(layer, margins),
            model=layer,
            checkpoints={name: value.detach().clone() for name, value in layer.state_dict().items()},
        )
        attributor = IFAttributorExplicit(task, regularization=given.penalty + damping)
        attributor.cache(loaders[0])
        return -attributor.attribute(*loaders).detach().numpy().T  # the effect of a row's loss on the margin

    return Work(scores, fit)


def _read_by(module: Any, last: Any, x: Any) -> Any:
    """What the last layer reads."""
    import torch

    read: list[Any] = []
    handle = last.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    with torch.no_grad():
        module(x)
    handle.remove()
    return read[0]


def _whole(rows: tuple[Any, Any]) -> Any:
    return _loader(rows, len(rows[1]))


def trak(given: Given) -> Work:
    from dattri.algorithm.trak import TRAKAttributor
    from dattri.task import AttributionTask
    from torch.func import functional_call

    module = given.module()
    train, test = (_loader(rows, 500) for rows in (given.train_rows(), given.test_rows()))

    def right(parameters: Any, row: Any) -> Any:
        x, y = row
        out = functional_call(module, parameters, x.unsqueeze(0))
        return margins(out, y.unsqueeze(0)).sigmoid()

    def one_by_one(parameters: Any, row: Any) -> Any:
        x, y = row
        return margins(functional_call(module, parameters, x.unsqueeze(0)), y.unsqueeze(0)).sum()

    def scores(_: Any, __: Any) -> np.ndarray:
        task = AttributionTask(loss_func=one_by_one, model=module, checkpoints=given.state(given.weights))
        attributor = TRAKAttributor(task, right, projector_kwargs={"proj_dim": DIMENSIONS, "device": "cpu"})
        attributor.cache(train)
        return attributor.attribute(test).detach().numpy().T

    return Work(scores)


def ekfac(given: Given) -> Work:
    """Its curvature, and so its target too, is that of the mean loss."""
    from dattri.algorithm.influence_function import IFAttributorEKFAC
    from dattri.task import AttributionTask

    module = given.module()
    train, test = _loader(given.train_rows(), 1_000), _loader(given.test_rows(), len(given.y_test))

    def fit() -> Any:
        task = AttributionTask(
            loss_func=_function(module, losses, "mean"), model=module, checkpoints=given.state(given.weights)
        )
        attributor = IFAttributorEKFAC(task)
        attributor.cache(train)
        return attributor

    def scores(attributor: Any, damping: float) -> np.ndarray:
        attributor.damping = damping
        return attributor.attribute(train, test).detach().numpy().T

    return Work(scores, fit)


DAMPINGS = {f"damping {each}": float(each) for each in ("1e-2", "1")}
LAST = {"no damping, the default": 0.0} | {f"damping {each:g}": each for each in (1.0, 10.0, 100.0, 1e3, 1e4)}
METHODS = (
    Method("dattri, explicit influence", explicit, {"no damping beside the penalty": 0.0}, ("linear",)),
    Method("dattri, explicit influence of the last layer", explicit, LAST, NETWORKS),
    Method("dattri, TRAK", trak, {f"the trained model, {DIMENSIONS} dimensions": None}, EVERY, quick=True),
    Method("dattri, EK-FAC", ekfac, {"no damping, the default": 0.0, **DAMPINGS}, EVERY),
)
