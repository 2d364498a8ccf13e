"""torch modules: single linear layers, by factors; any other module, by per-sample gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from traceprop.errors import ModelError
from traceprop.passes.attribution.losses import Floats, LogisticLoss, SampleLoss, SoftmaxLoss, Terms
from traceprop.passes.attribution.objective import LinearObjective, flat
from traceprop.training.adapter import (
    AbstractAdapter,
    AbstractGradientAdapter,
    AbstractLinearAdapter,
    check_width,
    with_ones,
)
from traceprop.training.data import check_finite
from traceprop.training.linearised import Captured, Linearised, of_losses, of_margins, of_outputs
from traceprop.training.loss import check_labels, cross_entropy_of
from traceprop.training.projection import Projection
from traceprop.training.torch_factors import Outcome, captured
from traceprop.training.torch_hooks import without_hooks
from traceprop.training.torch_loss import SingleLoss, find_single_loss

CHUNK = 64
ASKED = 1024
"""Samples on which a loss is tried for what it is."""


def adapt_module(module: nn.Module, loss: Any, l2: float, projection: Projection | None) -> AbstractAdapter:
    """Find the adapter for a module. Raises ModelError without a loss, or without a parameter to train."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise ModelError(
            f"{type(module).__name__} has no trainable parameter, so no training row can have influenced it"
            + ("; set requires_grad on what is trained" if any(True for _ in module.parameters()) else "")
        )
    if not callable(loss):
        raise ModelError(f"a torch module needs loss=, called as loss(model(x), y), not {loss!r}")
    name = _only_linear(module)
    if name is not None:
        return LinearModuleAdapter(module, loss, l2, name)
    return ModuleAdapter(module, loss, projection)


def _only_linear(module: nn.Module) -> str | None:
    """Name the one Linear layer that has all parameters of a module and sees its input as it is; None without one."""
    layers = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    if len(layers) != 1 or len(list(module.parameters())) != len(list(layers[0][1].parameters())):
        return None
    name, layer = layers[0]
    if not all(parameter.requires_grad for parameter in layer.parameters()):
        return None
    seen: list[torch.Tensor] = []
    probe = torch.linspace(-1.0, 2.0, 3 * layer.in_features, dtype=torch.float64).reshape(3, -1)
    copy = double(module)
    copy.get_submodule(name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            copy(probe)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return None
    return name if len(seen) == 1 and torch.equal(seen[0], probe) else None


def double(module: nn.Module) -> nn.Module:
    """Give a float64 copy in evaluation mode: dropout off, batch statistics fixed, so that samples are independent."""
    return without_hooks(deepcopy(module)).double().eval().cpu()


class _Given(nn.Module):
    """Stands in for the linear layer and gives the logits that it was told."""

    logits: torch.Tensor

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.logits


class LinearModuleAdapter(AbstractLinearAdapter):
    """A module whose parameters are those of one Linear on its input: Linear, Sequential(Linear), Linear and a sigmoid.

    Everything after the layer, the loss included, is a function of its outputs, the logits; its derivatives are taken
    per sample, in float64. Where it is the cross-entropy of those logits, which is tried out on all training rows,
    closed forms stand in for it.
    """

    def __init__(self, module: nn.Module, loss: Callable[..., Any], l2: float, layer: str) -> None:
        self.model = module
        self.l2 = l2
        self._loss = loss
        self._layer = layer
        self._single: SingleLoss | None = None
        self._loss_in_use: SampleLoss | None = None

    def check(self) -> None:
        return

    def _linear(self, module: nn.Module) -> nn.Linear:
        layer = module.get_submodule(self._layer)
        assert isinstance(layer, nn.Linear)
        return layer

    def theta(self, model: Any = None) -> Floats:
        layer = self._linear(self.model if model is None else model)
        weight = layer.weight.detach().cpu().double().numpy().T
        check_finite(weight, "the model's weights")
        if layer.bias is None:
            return np.array(weight)
        return np.vstack([weight, layer.bias.detach().cpu().double().numpy()])

    def features(self, X: np.ndarray) -> Floats:
        layer = self._linear(self.model)
        check_width(X, layer.in_features)
        return with_ones(X, layer.bias is not None)

    def objective(self, X: np.ndarray, y: np.ndarray) -> LinearObjective:
        features, layer = self.features(X), self._linear(self.model)
        logits = features @ self.theta()
        self._single = find_single_loss(self._after_layer(), self._loss, logits, y)
        targets = self._single.targets(y)
        self._loss_in_use = cross_entropy_of(self._single.many, logits, targets) or TorchLoss(self._single)
        penalised = np.ones(features.shape[1])
        if layer.bias is not None:
            penalised[-1] = 0.0
        return LinearObjective(
            features,
            self._encode(targets),
            self._loss_in_use,
            self.l2,
            penalised,
            "mean",
            layer.out_features,
        )

    def _after_layer(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Give what the module makes of its layer's outputs (b, k)."""
        if self._layer == "":
            return lambda logits: logits
        copy = double(self.model)
        given = _Given()
        parent, _, name = self._layer.rpartition(".")
        setattr(copy.get_submodule(parent), name, given)
        blank = torch.zeros(1, self._linear(self.model).in_features, dtype=torch.float64)

        def after(logits: torch.Tensor) -> torch.Tensor:
            given.logits = logits
            return copy(blank)

        return after

    def targets(self, y: np.ndarray) -> np.ndarray:
        assert self._single is not None
        targets = self._single.targets(y)
        if isinstance(self._loss_in_use, LogisticLoss | SoftmaxLoss):
            classes = max(2, self._linear(self.model).out_features)
            check_labels(targets, classes)
        return self._encode(targets)

    def _encode(self, targets: np.ndarray) -> np.ndarray:
        if isinstance(self._loss_in_use, LogisticLoss | SoftmaxLoss):
            return targets.reshape(len(targets)).astype(np.int64)
        return targets

    def corrected(self, theta: Floats, model: Any, inplace: bool) -> Any:
        out = model if inplace else deepcopy(model)
        layer = self._linear(out)
        width = layer.in_features
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(theta[:width].T)))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(theta[width])))
        return out

    def class_major(self, gradient: Any) -> Floats:
        """Take the gradients of the module's parameters in their order: flat, a sequence of tensors, or by name."""
        layer = self._linear(self.model)
        vector = _flattened(gradient, self.model)
        k, d = layer.out_features, layer.in_features
        expected = k * d + (k if layer.bias is not None else 0)
        if len(vector) != expected:
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {expected} parameters")
        weight = vector[: k * d].reshape(k, d)
        return flat(np.vstack([weight.T, vector[k * d :]]) if layer.bias is not None else weight.T)

    def tensors(self, X: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Give a batch as tensors of the model's dtype."""
        return _tensors(self._linear(self.model).weight.dtype, X, y)


@dataclass(frozen=True, eq=False)
class Deciding:
    """Samples of a network: inputs (n, …), targets (n,), and from outputs and targets the number per sample, and its loss."""

    inputs: torch.Tensor
    targets: torch.Tensor
    number: Outcome
    loss: Outcome

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def steps(self) -> Any:
        """The functions that move such a network."""
        import traceprop.training.torch_steps as steps

        return steps

    steps_seen = True
    """Whether a context sees the steps of such a network's training."""

    @property
    def labels(self) -> np.ndarray:
        """The targets (n,), which are classes under cross-entropy."""
        return np.asarray(self.targets.numpy())

    def unlabelled(self, module: nn.Module, X: np.ndarray) -> Deciding:
        """Other samples of the network, of which nothing but the outputs will be asked."""
        inputs = inputs_of(module, X)
        return Deciding(inputs, inputs[:, 0], self.number, self.loss)

    def __getitem__(self, rows: np.ndarray | slice) -> Deciding:
        at = torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        return Deciding(self.inputs[at], self.targets[at], self.number, self.loss)


class ModuleAdapter(AbstractGradientAdapter):
    """Any other module: gradients of each sample's loss in all trainable parameters."""

    def __init__(self, module: nn.Module, loss: Callable[..., Any], projection: Projection | None) -> None:
        super().__init__(projection)
        self.model = module
        self._loss = loss
        self._single: SingleLoss | None = None
        self._copy: nn.Module | None = None
        self._ids: bool | None = None
        self._outputs = 0

    def check(self) -> None:
        return

    @property
    def size(self) -> int:
        """How many trainable parameters there are."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def frozen(self) -> ModuleAdapter:
        return self.of(without_hooks(deepcopy(self.model)))

    def of(self, module: nn.Module) -> ModuleAdapter:
        """The adapter of another module of the same kind, with the same loss."""
        return ModuleAdapter(module, self._loss, self._projection)

    def _found_loss(self, X: np.ndarray, y: np.ndarray) -> tuple[nn.Module, SingleLoss]:
        """Find the loss of single samples, once; and the module as it was then, in float64 and evaluation mode."""
        if self._single is None or self._copy is None:
            self._copy = double(self.model)
            check_finite(np.concatenate([p.detach().numpy().ravel() for p in self._copy.parameters()]), "the weights")
            with torch.no_grad():
                outputs = torch.cat([self._copy(part) for part in inputs_of(self._copy, X[:ASKED]).split(CHUNK)])
            self._single = find_single_loss(lambda out: out, self._loss, outputs.numpy(), y[:ASKED])
            targets = self._single.targets(y[:ASKED])
            if outputs.ndim == 2:
                self.cross_entropy = cross_entropy_of(self._single.many, outputs.numpy(), targets) is not None
            self._outputs = int(np.prod(outputs.shape[1:]))
        return self._copy, self._single

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[Floats, Floats]:
        """Per-sample losses (m,) and gradients (m, p), projected where asked for, one chunk of samples at a time."""
        self.check_room(len(X))
        copy, single = self._found_loss(X, y)
        inputs = inputs_of(copy, X)
        frozen = {name: p.detach() for name, p in copy.named_parameters() if not p.requires_grad}
        frozen |= {name: b.detach() for name, b in copy.named_buffers()}
        trained = {name: p.detach() for name, p in copy.named_parameters() if p.requires_grad}

        def one(parameters: dict[str, torch.Tensor], x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            out = torch.func.functional_call(copy, {**parameters, **frozen}, (x[None],))
            return single.of_output(out, target[None])

        of_many = torch.func.vmap(torch.func.grad_and_value(one), in_dims=(None, 0, 0))
        targets = torch.from_numpy(single.targets(y))
        losses, rows = [], []
        for start in range(0, len(inputs), CHUNK):
            try:
                found, loss = of_many(trained, inputs[start : start + CHUNK], targets[start : start + CHUNK])
            except (RuntimeError, ValueError) as error:
                raise ModelError(
                    f"torch.func cannot take per-sample gradients of {type(self.model).__name__}: {error}"
                ) from error
            block = np.concatenate([g.reshape(len(loss), -1).numpy() for g in found.values()], axis=1)
            rows.append(self.projected(block))
            losses.append(loss.numpy())
        return np.concatenate(losses), np.concatenate(rows)

    def parameters(self) -> Floats:
        return _flattened([p for p in self.model.parameters() if p.requires_grad], self.model)

    def one_number(self, X: np.ndarray, y: np.ndarray) -> bool:
        self._found_loss(X, y)
        return self.cross_entropy or self._outputs == 1

    def linearised(self, X: np.ndarray, y: np.ndarray) -> Linearised:
        _, single = self._found_loss(X, y)
        targets = single.targets(y)
        if self.cross_entropy:
            classes = max(2, self._outputs)
            check_labels(targets, classes)
            return of_margins(self._captured(X, targets, margins))
        if self._outputs != 1:
            return super().linearised(X, y)
        found = self._captured(X, targets, lambda out, _: out.reshape(len(out)))
        loss = TorchLoss(single)

        def terms(values: Floats) -> tuple[Floats, Floats, Floats]:
            found = loss.terms(values[:, None], targets)
            return found.loss, found.gradient[:, 0], found.hessian[:, 0, 0]

        return of_outputs(found, terms)

    def of_losses(self, X: np.ndarray, y: np.ndarray) -> Linearised:
        _, single = self._found_loss(X, y)
        one_by_one = torch.func.vmap(lambda out, target: single.of_output(out[None], target[None]))
        return of_losses(self._captured(X, single.targets(y), lambda out, target: one_by_one(out.double(), target)))

    def deciding(self, X: np.ndarray, y: np.ndarray) -> Deciding:
        """Give samples as tensors, with the functions of the outputs that their losses are made of.

        Raises ModelError where no one number decides a sample's loss.
        """
        _, single = self._found_loss(X, y)
        if not (self.cross_entropy or self._outputs == 1):
            super().linearised(X, y)
        targets = torch.from_numpy(np.ascontiguousarray(single.targets(y)))
        inputs = inputs_of(self.model, X)
        if self.cross_entropy:
            check_labels(single.targets(y), max(2, self._outputs))
            return Deciding(inputs, targets, margins, cross_entropies)
        one_by_one = torch.func.vmap(lambda out, target: single.of_output(out[None], target[None]))
        return Deciding(inputs, targets, lambda out, _: out.reshape(len(out)), lambda out, at: one_by_one(out, at))

    def _captured(self, X: np.ndarray, targets: np.ndarray, outcome: Outcome) -> Captured:
        module = deepcopy(self.model).eval().cpu()
        return captured(module, inputs_of(module, X), torch.from_numpy(np.ascontiguousarray(targets)), outcome)

    def flattened(self, gradient: Any) -> Floats:
        return _flattened(gradient, self.model)

    def by_layers(self, gradient: Any, names: Sequence[tuple[str, ...]]) -> list[Floats]:
        vector = self.flattened(gradient)
        if len(vector) != self.size:
            raise ModelError(f"the gradient has {len(vector)} numbers, but the model has {self.size} parameters")
        trained = {name: p.numel() for name, p in self.model.named_parameters() if p.requires_grad}
        parts = dict(zip(trained, np.split(vector, np.cumsum(list(trained.values()))[:-1]), strict=True))
        return [np.concatenate([parts[name] for name in layer]) for layer in names]

    def tensors(self, X: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Give a batch as tensors of the model's dtype, or as the ids that its features are."""
        if self._ids is None:
            tried = without_hooks(deepcopy(self.model)).eval()
            self._ids = X.dtype.kind in "iu" and not inputs_of(tried, X[:1]).is_floating_point()
        return _tensors(next(self.model.parameters()).dtype, X, y, self._ids)


def margins(out: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give log p_y / (1 - p_y) of logits (b, k) or, of one logit per sample, (b, 1): (b,)."""
    if out[0].numel() == 1:
        return out.reshape(len(out)) * (2.0 * targets.reshape(len(out)) - 1.0)
    at = targets.reshape(len(out), 1).long()
    others = out.scatter(1, at, float("-inf"))
    return out.gather(1, at)[:, 0] - torch.logsumexp(others, dim=1)


def inputs_of(module: nn.Module, X: np.ndarray) -> torch.Tensor:
    """Give features as the module takes them: in its own dtype, or as the integers that they are (ids of an embedding)."""
    own = torch.from_numpy(np.ascontiguousarray(X))
    if X.dtype.kind in "iu":
        try:
            with torch.no_grad():
                module(own[:1].long())
        except (RuntimeError, ValueError, TypeError):
            pass
        else:
            return own.long()
    return own.to(next(module.parameters()).dtype)


def cross_entropies(out: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give log(1 + exp(-margin)): (b,)."""
    if out[0].numel() == 1:
        return nn.functional.softplus(-margins(out, targets))
    return nn.functional.cross_entropy(out, targets.reshape(len(out)).long(), reduction="none")


class TorchLoss:
    """A loss of the user's as a function of the logits, with derivatives by torch.func, in float64."""

    cross_entropy = False
    self_concordance = None

    def __init__(self, single: SingleLoss) -> None:
        self._single = single
        self._gradient = torch.func.vmap(torch.func.grad_and_value(single))
        self._hessian = torch.func.vmap(torch.func.hessian(single))

    def terms(self, logits: Floats, y: np.ndarray) -> Terms:
        """Evaluate at logits (n, k) with targets y."""
        if not len(logits):
            k = logits.shape[1]
            return Terms(np.empty(0), np.empty((0, k)), np.empty((0, k, k)))
        z, target = torch.from_numpy(np.ascontiguousarray(logits)), torch.from_numpy(np.ascontiguousarray(y))
        gradient, loss = self._gradient(z, target)
        hessian = self._hessian(z, target)
        return Terms(*(part.detach().numpy() for part in (loss, gradient, 0.5 * (hessian + hessian.mT))))


def _flattened(gradient: Any, module: nn.Module) -> Floats:
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if isinstance(gradient, dict):
        if missing := [name for name in names if name not in gradient]:
            raise ModelError(f"the gradient has no {', '.join(missing)}")
        gradient = [gradient[name] for name in names]
    parts = gradient if isinstance(gradient, list | tuple) else [gradient]
    return np.concatenate(
        [
            np.ravel(part.detach().cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)).astype(float)
            for part in parts
        ]
    )


def _tensors(dtype: torch.dtype, X: np.ndarray, y: np.ndarray, ids: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    targets = torch.as_tensor(y)
    inputs = torch.as_tensor(X).to(torch.int64 if ids else dtype)
    return inputs, targets.to(dtype) if targets.is_floating_point() else targets
