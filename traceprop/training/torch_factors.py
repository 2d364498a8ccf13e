"""Per-sample gradients of a torch module as factors, from one forward and one backward pass over a batch.

Calls of `linear`, `conv1d`, `conv2d`, `embedding`, `layer_norm` and `batch_norm` are seen where they happen, whichever
module or function makes them, and by the parameter that they are given. What a layer read and the gradient at its output
are kept. Whether that gives the gradients of single samples is tried on some of them, alone; parameters for which it
does not (and those that are used in other ways) get theirs from `torch.func`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from traceprop.errors import ModelError
from traceprop.passes.attribution.factors import DenseFactors, EmbeddingFactors, LayerFactors, PlainGradients
from traceprop.training.linearised import Captured

CHUNK = 512
TRIED = 3
_TOLERANCE = 1e-3
VMAP_CHUNK = 64

Outcome = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From a module's output (b, …) and targets (b,) to one number per sample (b,)."""


@dataclass
class Seen:
    """One call of a layer: its parameters' names (weight, bias), what it read, and its output.

    `read` makes of the layer's inputs what its weights are multiplied by, once somebody wants to know.
    """

    kind: str
    names: tuple[str, ...]
    inputs: torch.Tensor
    output: torch.Tensor
    vocabulary: int = 0
    read: Callable[[torch.Tensor], torch.Tensor] | None = None
    edge: Any = None


@dataclass
class Watcher(TorchFunctionMode):
    """Sees the layers' calls inside its `with` block."""

    names: dict[int, str]
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.multi_head_attention_forward:
            return _attention(self)(*args, **kwargs)
        handler = _HANDLERS.get(function)
        return function(*args, **kwargs) if handler is None else handler(self, function, args, kwargs)

    def linear(self, function: Any, args: Any, kwargs: Any) -> torch.Tensor:
        inputs, weight, bias = _arguments(args, kwargs, "input", "weight", "bias")
        output = function(*args, **kwargs)
        self._keep("dense", (weight, bias), inputs, output)
        return output

    def convolution(self, function: Any, args: Any, kwargs: Any) -> torch.Tensor:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        inputs, weight, bias, stride, padding, dilation, groups = _arguments(args, kwargs, *names)
        output = function(*args, **kwargs)
        flat = function is torch.conv1d
        kernel = weight.shape[2:]
        if (groups or 1) != 1 or isinstance(padding, str) or inputs.ndim != len(kernel) + 2:
            return output
        steps = [
            _pair(value if value is not None else default, flat, default)
            for value, default in ((dilation, 1), (padding, 0), (stride, 1))
        ]
        size = (1, *kernel) if flat else tuple(kernel)

        def patches(read: torch.Tensor) -> torch.Tensor:
            read = read.unsqueeze(2) if flat else read
            return F.unfold(read, size, dilation=steps[0], padding=steps[1], stride=steps[2]).transpose(1, 2)

        self._keep("convolution", (weight, bias), inputs, output, read=patches)
        return output

    def embedding(self, function: Any, args: Any, kwargs: Any) -> torch.Tensor:
        ids, weight = _arguments(args, kwargs, "input", "weight")
        output = function(*args, **kwargs)
        self._keep("embedding", (weight,), ids, output, len(weight))
        return output

    def normalised(self, function: Any, args: Any, kwargs: Any) -> torch.Tensor:
        order = _NORMS[function]
        given = dict(zip(order, args, strict=False)) | kwargs
        weight, bias = given.get("weight"), given.get("bias")
        output = function(*args, **kwargs)
        if weight is not None and bias is not None and not given.get("training", False):
            plain = {**given, "weight": None, "bias": None}
            channels = function is not F.layer_norm

            def inner(read: torch.Tensor) -> torch.Tensor:
                with torch.no_grad():
                    found = function(**{**plain, "input": read})
                return found.movedim(1, -1) if channels else found

            kind = "channel scale" if channels else "scale"
            self._keep(kind, (weight, bias), plain.pop("input"), output, read=inner)
        return output

    def _keep(
        self,
        kind: str,
        parameters: Sequence[Any],
        inputs: torch.Tensor,
        output: torch.Tensor,
        vocabulary: int = 0,
        read: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """Keeps a call whose parameters are the module's own, as they are."""
        names = tuple([self.names.get(id(parameter), "") for parameter in parameters if parameter is not None])
        if all(names):
            self.saw(Seen(kind, names, inputs.detach(), output, vocabulary, read))

    def saw(self, seen: Seen) -> None:
        """A layer was called. Its place in the graph is kept, as what follows may write into its output."""
        if seen.output.requires_grad:
            seen.edge = get_gradient_edge(seen.output)
            self.seen.append(seen)


_HANDLERS: dict[Any, Callable[..., Any]] = {
    F.linear: Watcher.linear,
    torch.conv1d: Watcher.convolution,
    torch.conv2d: Watcher.convolution,
    F.embedding: Watcher.embedding,
    F.layer_norm: Watcher.normalised,
    F.batch_norm: Watcher.normalised,
}
_NORMS = {
    F.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
}


def _attention(watcher: Watcher) -> Callable[..., Any]:
    """PyTorch's attention function, its calls of `linear` seen: it is Python, and a mode is off inside of a call it sees."""

    def linear(*args: Any, **kwargs: Any) -> torch.Tensor:
        return watcher.linear(F.linear, args, kwargs)

    scope = {**F.multi_head_attention_forward.__globals__, "linear": linear, "has_torch_function": lambda _: False}
    packed = F._in_projection_packed
    scope["_in_projection_packed"] = FunctionType(packed.__code__, scope, packed.__name__, packed.__defaults__)
    whole = F.multi_head_attention_forward
    return FunctionType(whole.__code__, scope, whole.__name__, whole.__defaults__)


def _arguments(args: Any, kwargs: Any, *names: str) -> list[Any]:
    given = dict(zip(names, args, strict=False)) | kwargs
    return [given.get(name) for name in names]


def _pair(value: Any, flat: bool, first: int) -> tuple[int, int]:
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if flat:
        return (first, sizes[0])
    return (sizes[0], sizes[-1])


def captured(module: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, outcome: Outcome) -> Captured:
    """Values float64 (n,) of `outcome`, and their gradients in the trainable parameters, as factors in float32.

    The module must be in evaluation mode, where samples do not look at one another.
    """
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    known = known_layers(module, trained, inputs[:TRIED], targets[:TRIED], outcome)
    rest = [name for name in trained if not any(name in names for names in known)]
    values: list[np.ndarray] = []
    found: dict[tuple[str, ...], list[LayerFactors]] = {names: [] for names in known}
    plain: list[np.ndarray] = []
    for start in range(0, len(inputs), CHUNK):
        x, y = inputs[start : start + CHUNK], targets[start : start + CHUNK]
        value, layers = _batch(module, trained, x, y, outcome, lambda names: known.get(names, False))
        values.append(value)
        for names in known:
            found[names].append(layers[names])
        if rest:
            plain.append(_materialised(module, rest, x, y, outcome))
    layers_found = [joined(parts) for parts in found.values()]
    if rest:
        layers_found.append(PlainGradients(np.concatenate(plain)))
    return Captured(np.concatenate(values), layers_found, [*known, *([tuple(rest)] if rest else [])], tuple(rest))


def known_layers(
    module: nn.Module, trained: dict[str, nn.Parameter], x: torch.Tensor, y: torch.Tensor, outcome: Outcome
) -> dict[tuple[str, ...], bool]:
    """The layers whose factors give the gradients that single samples have, each passed through the module alone.

    And whether what a layer reads lies position by position, where samples and positions were made one axis.
    """
    alone = []
    for k in range(len(x)):
        found = torch.autograd.grad(
            outcome(module(x[k : k + 1]), y[k : k + 1]).sum(), list(trained.values()), allow_unused=True
        )
        alone.append(
            {
                name: np.zeros(p.numel()) if g is None else g.reshape(-1).numpy()
                for (name, p), g in zip(trained.items(), found, strict=True)
            }
        )
    right: dict[tuple[str, ...], bool] = {}
    for by_position in (False, True):
        for names, layer in _batch(module, trained, x, y, outcome, lambda _, first=by_position: first)[1].items():
            expected = np.stack([np.concatenate([one[name] for name in names]) for one in alone])
            close = _TOLERANCE * np.abs(expected).max(initial=0.0) + 1e-12
            if layer.size == expected.shape[1] and np.abs(layer.flat() - expected).max() <= close:
                right.setdefault(names, by_position)
    return right


def _batch(
    module: nn.Module,
    trained: dict[str, nn.Parameter],
    x: torch.Tensor,
    y: torch.Tensor,
    outcome: Outcome,
    by_position: Callable[[tuple[str, ...]], bool],
) -> tuple[np.ndarray, dict[tuple[str, ...], LayerFactors]]:
    watcher = Watcher({id(parameter): name for name, parameter in trained.items()})
    with watcher:
        out = module(x)
    value = outcome(out, y)
    calls = watcher.seen
    gradients = torch.autograd.grad(value.sum(), [seen.edge for seen in calls], allow_unused=True) if calls else ()
    grouped: dict[tuple[str, ...], list[LayerFactors]] = {}
    for seen, gradient in zip(calls, gradients, strict=True):
        gradient = torch.zeros_like(seen.output) if gradient is None else gradient
        layer = factors_of(seen, gradient, len(x), by_position(seen.names))
        if layer is not None:
            grouped.setdefault(seen.names, []).append(layer)
    times = Counter(name for names in grouped for name in names)
    layers = {names: together(parts) for names, parts in grouped.items() if all(times[name] == 1 for name in names)}
    return value.detach().double().numpy(), layers


def factors_of(seen: Seen, gradient: torch.Tensor, count: int, by_position: bool) -> LayerFactors | None:
    """The factors of one call; None where its shapes do not tell which part of them is a sample's."""
    made = seen.inputs if seen.read is None else seen.read(seen.inputs)
    if seen.kind == "convolution":
        outputs = gradient.reshape(*gradient.shape[:2], -1).transpose(1, 2)
        return DenseFactors(_single(made), _single(outputs), len(seen.names) == 2)
    if seen.kind == "channel scale":
        gradient = gradient.movedim(1, -1)
    read = made.unsqueeze(-1) if seen.kind == "embedding" else made
    inputs, outputs = _by_sample(read, count, by_position), _by_sample(gradient, count, by_position)
    if inputs is None or outputs is None:
        return None
    if seen.kind == "embedding":
        return EmbeddingFactors(inputs[:, :, 0].numpy().astype(np.int64), _single(outputs), seen.vocabulary)
    if seen.kind == "dense":
        return DenseFactors(_single(inputs), _single(outputs), len(seen.names) == 2)
    scale, shift = (outputs * inputs).sum(dim=1), outputs.sum(dim=1)
    return PlainGradients(np.concatenate([_single(scale), _single(shift)], axis=1))


def _by_sample(values: torch.Tensor, count: int, by_position: bool) -> torch.Tensor | None:
    """Values (…, features) as (samples, positions, features)."""
    *shape, width = values.shape
    positions, left = divmod(int(np.prod(shape)), count)
    if not shape or left or (len(shape) > 1 and shape[1 if by_position else 0] != count):
        return None
    if by_position and len(shape) > 1:
        values = values.transpose(0, 1)
    elif by_position:
        return values.reshape(positions, count, width).transpose(0, 1)
    return values.reshape(count, positions, width)


def together(parts: list[LayerFactors]) -> LayerFactors:
    """Several calls of one layer: their positions, side by side."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if all(isinstance(part, DenseFactors) for part in parts):
        return DenseFactors(
            np.concatenate([part.inputs for part in parts], axis=1),  # type: ignore[union-attr]
            np.concatenate([part.outputs for part in parts], axis=1),  # type: ignore[union-attr]
            first.bias,  # type: ignore[union-attr]
        )
    if all(isinstance(part, EmbeddingFactors) for part in parts):
        return EmbeddingFactors(
            np.concatenate([part.ids for part in parts], axis=1),  # type: ignore[union-attr]
            np.concatenate([part.outputs for part in parts], axis=1),  # type: ignore[union-attr]
            first.vocabulary,  # type: ignore[union-attr]
        )
    return PlainGradients(sum(part.flat() for part in parts))  # type: ignore[arg-type]


def joined(parts: list[LayerFactors]) -> LayerFactors:
    """The samples of several batches, one after another."""
    first = parts[0]
    if isinstance(first, DenseFactors):
        return DenseFactors(
            np.concatenate([part.inputs for part in parts]),  # type: ignore[union-attr]
            np.concatenate([part.outputs for part in parts]),  # type: ignore[union-attr]
            first.bias,
        )
    if isinstance(first, EmbeddingFactors):
        return EmbeddingFactors(
            np.concatenate([part.ids for part in parts]),  # type: ignore[union-attr]
            np.concatenate([part.outputs for part in parts]),  # type: ignore[union-attr]
            first.vocabulary,
        )
    return PlainGradients(np.concatenate([part.flat() for part in parts]))


def _materialised(
    module: nn.Module, names: Sequence[str], x: torch.Tensor, y: torch.Tensor, outcome: Outcome
) -> np.ndarray:
    """Gradients of single samples in some parameters, by torch.func: float32 (b, p)."""
    everything = {name: p.detach() for name, p in module.named_parameters()}
    everything |= {name: b.detach() for name, b in module.named_buffers()}
    wanted = {name: everything.pop(name) for name in names}

    def one(parameters: dict[str, torch.Tensor], sample: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        out = torch.func.functional_call(module, {**everything, **parameters}, (sample[None],))
        return outcome(out, target[None]).sum()

    of_many = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))
    blocks = []
    for start in range(0, len(x), VMAP_CHUNK):
        try:
            found = of_many(wanted, x[start : start + VMAP_CHUNK], y[start : start + VMAP_CHUNK])
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"torch.func cannot take per-sample gradients of {type(module).__name__} in {', '.join(names)}: {error}"
            ) from error
        blocks.append(np.concatenate([_single(found[name].flatten(1)) for name in names], axis=1))
    return np.concatenate(blocks)


def _single(values: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().numpy(), dtype=np.float32)
