"""Models on their way to workers: arrays, numbers, and the import paths of classes and functions; no pickled code.

A network is taken apart into what `torch.nn.Module` keeps: parameters and buffers as arrays, plain attributes, and the
modules inside, each under the import path of its class. Whoever gets it puts it together without running a constructor.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, LogisticLoss, SampleLoss, SoftmaxLoss, SquaredLoss
from traceprop.training.adapter import AbstractAdapter, AbstractGradientAdapter, AbstractLinearAdapter, with_ones
from traceprop.training.logged import by_parameters, final_gradients, parameter_order
from traceprop.training.projection import Projection
from traceprop.training.store import GradientStore

_CLOSED = (LogisticLoss, SoftmaxLoss, SquaredLoss)
_PLAIN = (type(None), bool, int, float, complex, str)


@dataclass(frozen=True)
class Path:
    """Where a class or a function is imported from."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def found(self) -> Any:
        """What is there. Raises `ModelError` where there is no such thing on this machine."""
        try:
            value: Any = importlib.import_module(self.module)
            for part in self.name.split("."):
                value = getattr(value, part)
        except (ImportError, AttributeError) as error:
            raise ModelError(
                f"{self} cannot be imported where the gradients are taken ({error}); install its module on the workers"
            ) from None
        return value


@dataclass(frozen=True)
class Taken:
    """A module taken apart."""

    kind: Path
    plain: dict[str, Any]
    parameters: dict[str, tuple[np.ndarray, bool] | None]
    buffers: dict[str, np.ndarray | None]
    modules: dict[str, Taken | None]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear model with a loss in closed form: parameters (d, k), and where each stands among the framework's."""

    theta: Floats
    loss: SampleLoss
    intercept: bool
    place: np.ndarray
    factor: Floats
    projection: Projection | None

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Losses (m,) of samples, and gradients (m, p), projected where asked for; `y` as the loss takes targets."""
        features = with_ones(X, self.intercept)
        terms = self.loss.terms(features @ self.theta, y)
        found = by_parameters(features, terms.gradient, self.place, self.factor)
        return terms.loss, found if self.projection is None else self.projection(found)


@dataclass(frozen=True, eq=False)
class Network:
    """A torch module with its loss, taken apart."""

    module: Taken
    loss: Any
    l2: float
    projection: Projection | None

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Losses (m,) of samples, and gradients (m, p), projected where asked for."""
        from traceprop.training.torch import adapt_module

        adapter = adapt_module(put_together(self.module), _whole(self.loss), self.l2, self.projection)
        projected = isinstance(adapter, AbstractGradientAdapter) or self.projection is None
        parts = [
            (losses, found if projected else self.projection(found))  # type: ignore[misc]
            for _, losses, found in final_gradients(adapter, X, y)
        ]
        return np.concatenate([losses for losses, _ in parts]), np.concatenate([found for _, found in parts])


def model_to_send(store: GradientStore, projection: Projection | None) -> tuple[LinearModel | Network, np.ndarray]:
    """The final model of a store, and the targets that it takes. Raises `ModelError` for one that does not travel."""
    adapter = store.checkpoints[-1].adapter if store.checkpoints else store.adapter
    if adapter is None or store.y is None:
        raise ModelError("the store has no model, and its gradients are logged already: they are read where they are")
    objective = store.objective
    if isinstance(adapter, AbstractLinearAdapter) and objective is not None and isinstance(objective.loss, _CLOSED):
        assert store.theta is not None
        place, factor = parameter_order(adapter, store.theta.size)
        intercept = len(store.theta) > (0 if store.X is None else store.X.shape[1])
        return LinearModel(store.theta, objective.loss, intercept, place, factor, projection), objective.y
    return _network(adapter, projection), store.y


def _network(adapter: AbstractAdapter, projection: Projection | None) -> Network:
    loss = getattr(adapter, "_loss", None)
    if not _is_module(adapter.model):
        raise ModelError(
            f"gradients of a {type(adapter.model).__name__} are taken on this machine only: what travels to workers are "
            "scikit-learn's linear models and torch modules"
        )
    chosen = projection if projection is not None else getattr(adapter, "_projection", None)
    return Network(take_apart(adapter.model), _parts(loss, "the loss"), float(getattr(adapter, "l2", 0.0)), chosen)


# -- torch modules ----------------------------------------------------------------------------------------------------


def take_apart(module: Any) -> Taken:
    """A module as arrays, plain attributes and import paths. Raises `ModelError` for what is none of these."""
    from torch import nn

    kind = _path(type(module), f"the module {type(module).__name__}")
    own = set(nn.Module().__dict__)
    hooks = [name for name in own if name.endswith("hooks") and getattr(module, name, None)]
    if hooks:
        raise ModelError(
            f"{type(module).__name__} has hooks ({hooks[0]}), which are code and do not travel; remove them"
        )
    plain = {
        name: _parts(value, f"the attribute {name!r} of {type(module).__name__}")
        for name, value in module.__dict__.items()
        if name not in own
    }
    plain["training"] = module.training
    return Taken(
        kind,
        plain,
        {name: None if p is None else (_array(p), p.requires_grad) for name, p in module._parameters.items()},
        {name: None if b is None else _array(b) for name, b in module._buffers.items()},
        {name: None if m is None else take_apart(m) for name, m in module._modules.items()},
    )


def put_together(taken: Taken) -> Any:
    """The module again."""
    import torch
    from torch import nn

    kind = taken.kind.found()
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    module.__dict__.update({name: _whole(value) for name, value in taken.plain.items()})
    for name, held in taken.parameters.items():
        parameter = None if held is None else nn.Parameter(torch.from_numpy(held[0].copy()), requires_grad=held[1])
        module.register_parameter(name, parameter)
    for name, buffer in taken.buffers.items():
        module.register_buffer(name, None if buffer is None else torch.from_numpy(np.array(buffer)))
    for name, inner in taken.modules.items():
        module.add_module(name, None if inner is None else put_together(inner))
    return module


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())


def _parts(value: Any, what: str) -> Any:
    """A value of plain parts, functions and classes by their path, and modules taken apart."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(_parts(each, what) for each in value)
    if isinstance(value, Mapping) and type(value) is dict:
        return {key: _parts(each, what) for key, each in value.items()}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if _is_module(value):
        return take_apart(value)
    if callable(value):
        return _path(value, what)
    raise ModelError(f"{what} is a {type(value).__name__}, which is neither data nor importable, so it does not travel")


def _whole(value: Any) -> Any:
    if isinstance(value, Taken):
        return put_together(value)
    if isinstance(value, Path):
        return value.found()
    if isinstance(value, (tuple, list)):
        return type(value)(_whole(each) for each in value)
    return {key: _whole(each) for key, each in value.items()} if isinstance(value, dict) else value


def _path(value: Any, what: str) -> Path:
    """Where a class or function is imported from. Raises `ModelError` for one that can be had from nowhere."""
    path = Path(getattr(value, "__module__", None) or "", getattr(value, "__qualname__", None) or "")
    if path.module == "__main__" or "<" in path.name or not path.module:
        raise ModelError(
            f"{what} is defined in {path.module or 'no module'} as {path.name or type(value).__name__}, which workers cannot "
            "import; code is not sent to them: put it into a module that they have"
        )
    if path.found() is not value:
        raise ModelError(f"{what} is not what {path} is, so workers would get another")
    return path


def _is_module(value: Any) -> bool:
    return any(
        kind.__module__ == "torch.nn.modules.module" and kind.__name__ == "Module" for kind in type(value).__mro__
    )
