"""Factors of single samples' gradients, kept while the user's own loop goes forward and backward.

`torch_factors` goes over samples once more; here nothing is computed again. A hook on the module sees the calls of its
layers (what each read is kept as it is, by reference), and hooks on their outputs are handed the gradients there by the
user's `loss.backward()`. Parameters that no factors are known for get their gradients from `torch.func`, from the gradient
at the module's output: the vector-Jacobian product of each sample.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from traceprop.errors import ModelError
from traceprop.training.torch_factors import TRIED, VMAP_CHUNK, Seen, Watcher, known_layers

Mark = "_traceprop_hook"


@dataclass(eq=False)
class Read:
    """One call of a layer, and the gradient at its output once the loss went backward."""

    seen: Seen
    given: bool
    """Whether the layer read the batch itself, as the loop got it."""
    version: int
    """Of what it read: another one by the time it is asked for, and somebody wrote into it meanwhile."""
    shape: torch.Size
    gradient: torch.Tensor | None = None

    def take(self, gradient: torch.Tensor) -> None:
        """The loss went backward through the layer's output; through a graph that is kept, it may do so again."""
        self.gradient = gradient if self.gradient is None else self.gradient + gradient


@dataclass(eq=False)
class Pass:
    """One pass of a batch through the module, forward and backward.

    Attributes
    ----------
    count
        How many samples the batch has.
    output, gradient
        What the module gave, and the loss's gradient there; of a module that gives one tensor.
    reads
        Its layers' calls.
    rest
        By name: gradients (b, …) of single samples in the parameters that no factors are known for.
    """

    count: int
    inputs: torch.Tensor
    reads: list[Read] = field(default_factory=list)
    output: torch.Tensor | None = None
    gradient: torch.Tensor | None = None
    rest: dict[str, torch.Tensor] = field(default_factory=dict)


class _Hooked(Watcher):
    """Asks for the gradient at each layer's output as soon as there is one: what follows may change it in place."""

    def __init__(self, names: dict[int, str], batch: Any) -> None:
        super().__init__(names)
        self.reads: list[Read] = []
        self._batch = batch if isinstance(batch, torch.Tensor) and batch.is_contiguous() else None
        self._untouched = self._batch is not None and self._batch._version == 0

    def saw(self, seen: Seen) -> None:
        if not seen.output.requires_grad:
            return
        batch, inputs = self._batch, seen.inputs
        given = (
            self._untouched
            and batch is not None
            and inputs.data_ptr() == batch.data_ptr()
            and inputs.numel() == batch.numel()
            and inputs.is_contiguous()
        )
        read = Read(seen, given and seen.read is None, inputs._version, seen.output.shape)
        seen.output.register_hook(read.take)
        seen.output = _NOWHERE  # the graph is the user's, to be freed when they are done with it
        self.reads.append(read)


_NOWHERE = torch.empty(0)


class BackwardHooks:
    """Sees a module's passes. `batch()` gives the features that the loop got last, for layers that read them as they are."""

    def __init__(self, module: nn.Module, batch: Callable[[], Any]) -> None:
        self._module = module
        self._batch = batch
        self._done: list[Pass] = []
        self._watching: tuple[_Hooked, Any] | None = None
        self._own = False
        self._handles: list[Any] = []
        self._norms = [(name, part) for name, part in module.named_modules() if isinstance(part, _BatchNorm)]
        self.names = [name for name, p in module.named_parameters() if p.requires_grad]
        self._by_id = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
        self.known: dict[tuple[str, ...], bool] | None = None
        """The layers whose factors are the gradients, and whether positions come before samples."""
        self.rest: list[str] = []

    def install(self) -> None:
        """Begin."""

        def before(module: nn.Module, args: Any) -> None:
            if module is self._module and not self._own and self._watching is None and torch.is_grad_enabled():
                self._begin(args)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if module is self._module and not self._own and self._watching is not None and self._watching[1] is args:
                self._end(output)

        for hook in (before, after):
            setattr(hook, Mark, True)
        self._handles = [
            self._module.register_forward_pre_hook(before),
            self._module.register_forward_hook(after, always_call=True),
        ]

    def remove(self) -> None:
        """End, and forget what was not taken."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._done = [], []

    def take(self) -> list[Pass]:
        """The passes that the loss went backward through since the last call, in that order."""
        done, self._done = self._done, []
        return done

    def _begin(self, args: Any) -> None:
        if self._norms:
            self._check_norms()
        if self.known is None:
            self._try(args)
        watcher = _Hooked(self._by_id, self._batch())
        watcher.__enter__()
        self._watching = watcher, args

    def _end(self, output: Any) -> None:
        assert self._watching is not None
        watcher, args = self._watching
        self._watching = None
        watcher.__exit__(None, None, None)
        if not (isinstance(output, torch.Tensor) and output.requires_grad and output.ndim):
            return
        one = Pass(len(output), args[0], watcher.reads, output.detach())

        def begun(gradient: torch.Tensor) -> None:
            if one.gradient is None:
                self._done.append(one)
            one.gradient = gradient if one.gradient is None else one.gradient + gradient
            if self.rest:
                self._add_rest(one, args, gradient)

        output.register_hook(begun)

    def _check_norms(self) -> None:
        for name, norm in self._norms:
            if norm.training:
                raise ModelError(
                    f"{name or 'the module'} ({type(norm).__name__}) is in train mode, where it mixes the samples of a batch: "
                    "a sample has no gradient of its own. Put it in evaluation mode, or record at granularity='batch' or 'epoch'"
                )

    def _try(self, args: Any) -> None:
        """Find out which layers' factors are the gradients of single samples, on a copy in evaluation mode."""
        if len(args) != 1 or not isinstance(args[0], torch.Tensor):
            self.known, self.rest = {}, self.names
            raise ModelError(
                f"{type(self._module).__name__} is called with {len(args)} positional arguments that are not one tensor: single "
                "samples' gradients are known for model(x); record at granularity='batch' or 'epoch'"
            )
        copy = without_hooks(deepcopy(self._module)).eval()
        trained = {name: p for name, p in copy.named_parameters() if p.requires_grad}
        inputs = args[0].detach()[:TRIED]

        def some_number(out: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            flat = out.flatten(1) if out.ndim > 1 else out[:, None]
            return flat @ torch.cos(torch.arange(flat.shape[1], device=flat.device)).to(flat.dtype)

        self._own = True
        try:
            with torch.enable_grad():
                self.known = known_layers(copy, trained, inputs, torch.zeros(len(inputs)), some_number)
        finally:
            self._own = False
        self.rest = [name for name in self.names if not any(name in names for names in self.known)]

    def _add_rest(self, one: Pass, args: Any, gradient: torch.Tensor) -> None:
        module = self._module
        whole = {name: p.detach() for name, p in module.named_parameters()}
        whole |= {name: b.detach() for name, b in module.named_buffers()}
        wanted = {name: whole.pop(name) for name in self.rest}

        def number(parameters: dict[str, torch.Tensor], sample: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            return (torch.func.functional_call(module, {**whole, **parameters}, (sample[None],))[0] * at).sum()

        of_many = torch.func.vmap(torch.func.grad(number), in_dims=(None, 0, 0))
        self._own = True
        try:
            with torch.enable_grad():
                parts = [
                    of_many(wanted, x, g)
                    for x, g in zip(args[0].detach().split(VMAP_CHUNK), gradient.split(VMAP_CHUNK), strict=True)
                ]
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"no factors are known for {', '.join(self.rest)} of {type(module).__name__}, and torch.func cannot take single "
                f"samples' gradients in them: {error}"
            ) from error
        finally:
            self._own = False
        for name in self.rest:
            found = torch.cat([part[name] for part in parts])
            one.rest[name] = one.rest[name] + found if name in one.rest else found


def without_hooks(module: nn.Module) -> nn.Module:
    """A copy of a module that is being watched, watched no more."""
    for part in module.modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            for key in [key for key, hook in hooks.items() if hasattr(hook, Mark)]:
                del hooks[key]
                part._forward_hooks_always_called.pop(key, None)
    return module
