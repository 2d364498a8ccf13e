"""Steps that move a trained torch network: towards given numbers, down and up losses, and by a vector.

Every function gives a changed copy. The copy runs in evaluation mode (no dropout, batch statistics fixed) and on the
processor, with the same steps for the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from traceprop.passes.attribution.losses import Floats
from traceprop.runtime.progress import progress
from traceprop.training.batches import batches_of
from traceprop.training.torch import Deciding

CHUNK = 4096
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def start(module: nn.Module) -> nn.Module:
    """Give a copy to be changed."""
    return deepcopy(module).eval().cpu()


def outputs(module: nn.Module, data: Deciding) -> torch.Tensor:
    """Give what a module makes of samples, in its own dtype: (n, …)."""
    module = start(module)
    with torch.no_grad():
        return torch.cat([module(part) for part in data.inputs.split(CHUNK)])


def numbers(module: nn.Module, data: Deciding) -> Floats:
    """Give the numbers that decide the samples' losses: float64 (n,)."""
    return np.asarray(data.number(outputs(module, data), data.targets).double().numpy())


def losses(module: nn.Module, data: Deciding) -> Floats:
    """Give the samples' losses: float64 (n,)."""
    return np.asarray(data.loss(outputs(module, data), data.targets).double().numpy())


def numbers_and_losses(module: nn.Module, data: Deciding) -> tuple[Floats, Floats]:
    """Give both, by one pass over the samples."""
    out = outputs(module, data)
    return tuple(np.asarray(of(out, data.targets).double().numpy()) for of in (data.number, data.loss))  # type: ignore[return-value]


def fits_already(module: nn.Module, data: Deciding, seed: int) -> bool:
    """Whether a module knows which target is whose: its mean loss is less than half of that with targets exchanged."""
    out = outputs(module, data)
    others = data.targets[torch.from_numpy(np.random.default_rng(seed).permutation(len(data)))]
    own, exchanged = (float(data.loss(out, targets).double().mean()) for targets in (data.targets, others))
    return own < 0.5 * exchanged


def trained(
    module: nn.Module,
    data: Deciding,
    steps: int,
    batch: int,
    seed: int,
    rate: float,
    make: MakeOptimizer | None = None,
    sign: float = 1.0,
) -> nn.Module:
    """Go down the samples' mean loss; up it with sign -1. `make` gives the optimizer; Adam at `rate` without it."""
    module = start(module)
    optimizer = (make or _adam(rate))(_trainable(module))
    with progress("training steps", steps) as done:
        for at in batches_of(len(data), batch, steps, seed):
            some = data[at]
            optimizer.zero_grad()
            (sign * data.loss(module(some.inputs), some.targets).mean()).backward()
            optimizer.step()
            done(1)
    return module


def towards(
    module: nn.Module,
    data: Deciding,
    wanted: Floats,
    first: int,
    steps: int,
    seed: int,
    rate: float,
    sizes: tuple[int, int] = (32, 64),
) -> nn.Module:
    """Move the samples' numbers towards `wanted` (n,), by Adam with a rate that falls to 0 on a cosine.

    The `first` samples and the others weigh the same in every step; `sizes` of each make a batch. Huber's loss, so that
    a number that is far off does not drown the rest.
    """
    module = start(module)
    optimizer = torch.optim.Adam(_trainable(module), lr=rate)
    goals = torch.from_numpy(wanted).to(next(module.parameters()).dtype)
    parts = (
        batches_of(first, sizes[0], steps, seed),
        batches_of(len(data) - first, sizes[1], steps, seed + 1),
    )
    for step, (here, there) in enumerate(zip(*parts, strict=True)):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        at = np.concatenate([here, there + first])
        some = data[at]
        off = functional.smooth_l1_loss(
            data.number(module(some.inputs), some.targets), goals[torch.from_numpy(at)], reduction="none"
        )
        optimizer.zero_grad()
        (off[: len(here)].mean() + off[len(here) :].mean()).backward()
        optimizer.step()
    return module


def scrubbed(
    module: nn.Module, forgotten: Deciding, staying: Deciding, rounds: int, batch: int, seed: int, rate: float
) -> nn.Module:
    """Away from the teacher, the module as it is, on forgotten samples, and near to it on those that stay, in turns.

    SCRUB, Kurmanji et al. 2023, "Towards unbounded machine unlearning": rounds of a pass up the divergence on the
    forgotten samples, for the first two thirds of the rounds, then a pass down divergence and loss on the others.
    """
    teacher, module = start(module), start(module)
    optimizer = torch.optim.Adam(_trainable(module), lr=rate)

    def divergence(some: Deciding) -> torch.Tensor:
        with torch.no_grad():
            before = teacher(some.inputs)
        return _divergence(module(some.inputs), before)

    for one in range(rounds):
        if 3 * one < 2 * rounds:
            for at in batches_of(len(forgotten), batch, math.ceil(len(forgotten) / batch), seed + one):
                optimizer.zero_grad()
                (-divergence(forgotten[at])).backward()
                optimizer.step()
        for at in batches_of(len(staying), batch, math.ceil(len(staying) / batch), seed + one):
            some = staying[at]
            optimizer.zero_grad()
            (divergence(some) + staying.loss(module(some.inputs), some.targets).mean()).backward()
            optimizer.step()
    return module


def importances(module: nn.Module, data: Deciding) -> Floats:
    """Give the mean squared gradient of single samples' losses in each trainable parameter: float64 (p,)."""
    module = start(module)
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    whole = {name: value.detach() for name, value in (*module.named_parameters(), *module.named_buffers())}

    def one(parameters: dict[str, torch.Tensor], x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        out = torch.func.functional_call(module, {**whole, **parameters}, (x[None],))
        return data.loss(out, target[None])[0]

    of_many = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))
    chosen = {name: whole[name] for name in names}
    total = torch.zeros(sum(value.numel() for value in chosen.values()), dtype=torch.float64)
    for inputs, targets in zip(data.inputs.split(64), data.targets.split(64), strict=True):
        found = of_many(chosen, inputs, targets)
        total += torch.cat([found[name].double().square().sum(0).reshape(-1) for name in names])
    return np.asarray((total / len(data)).numpy())


def along(module: nn.Module, data: Deciding, weights: np.ndarray) -> nn.Module:
    """Add to the parameters the gradient of the weighted sum (n,) of the samples' numbers."""
    module = start(module)
    scaled = torch.from_numpy(weights).to(next(module.parameters()).dtype)
    (data.number(module(data.inputs), data.targets) * scaled).sum().backward()
    with torch.no_grad():
        for parameter in _trainable(module):
            if parameter.grad is not None:
                parameter += parameter.grad
                parameter.grad = None
    return module


def with_parameters(module: nn.Module, vector: Floats) -> nn.Module:
    """Give a copy with those trainable parameters (p,)."""
    module = start(module)
    with torch.no_grad():
        nn.utils.vector_to_parameters(torch.from_numpy(vector).to(next(module.parameters()).dtype), _trainable(module))
    return module


def carried_over(source: nn.Module, module: nn.Module, inplace: bool) -> nn.Module:
    """Give `module`, or a copy of it, with the state of `source`; its device, dtype and mode stay its own."""
    out = module if inplace else deepcopy(module)
    out.load_state_dict(source.state_dict())
    return out


def _divergence(out: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """KL(before, out) of the classes' probabilities; of single outputs half the squared difference."""
    if out[0].numel() == 1:
        return 0.5 * (out - before).square().mean()
    return functional.kl_div(
        functional.log_softmax(out, 1), functional.log_softmax(before, 1), reduction="batchmean", log_target=True
    )


def _adam(rate: float) -> MakeOptimizer:
    return lambda parameters: torch.optim.Adam(parameters, lr=rate)


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
