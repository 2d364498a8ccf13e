"""A network trained again from its start, on fewer rows, by its own recipe in less than half of the work.

Three things make it shorter, and none is tuned to what is forgotten:

- two batches are taken as one, at twice the rate: half of the steps, with the noise that the run had (Goyal et al. 2017,
  "Accurate, large minibatch SGD", whose warm-up it takes too);
- where a step's arithmetic is what costs, from the second pass on three eighths of each batch stand for all of it
  (`passes/unlearning/sampled_batch.py`); elsewhere a quarter of the passes is left out;
- all parameters are stepped in one call, where the optimizer has one.

The rate falls to half over the last quarter, which makes up for a little of the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from traceprop.passes.unlearning.sampled_batch import inclusion, taken
from traceprop.runtime.progress import progress
from traceprop.training.torch import Deciding
from traceprop.training.torch_steps import MakeOptimizer

MERGED = 2
FEWER = 0.75
WARMING, FALLING, LEAST = 0.15, 0.25, 0.5
SHARE = 0.375
AHEAD = 8
"""How many batches are gathered at once."""
ARITHMETIC = 1 << 22
"""From how many parameters times rows of a step on its arithmetic outweighs the calls around it."""


def compressed(
    module: nn.Module,
    data: Deciding,
    passes: float,
    batch: int,
    seed: int,
    make: MakeOptimizer,
    share: Callable[[float], float],
    rise: float = MERGED,
) -> tuple[nn.Module, int]:
    """Train a copy of a module on samples, as a run of so many passes in such batches did.

    Parameters
    ----------
    module
        Where the run began. The copy is trained on the processor in training mode, and given in evaluation mode.
    passes, batch
        Of the run. Two of its batches make one here.
    make
        Gives the run's optimizer, with its highest rates.
    share
        The run's learning rate at a moment of it, 0 to 1, over the highest.
    rise
        How much the rate is raised for the larger batches.

    Returns
    -------
    The module, and the number of steps.
    """
    module = deepcopy(module).train().cpu()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = _fused(make(parameters))
    highest = [group["lr"] for group in optimizer.param_groups]
    rng, size = np.random.default_rng(seed), min(MERGED * batch, len(data))
    part = _may_be_sampled(module, sum(p.numel() for p in parameters) * size)
    total = max(round((1.0 if part else FEWER) * passes * len(data)), size)
    step = _sampled_step(len(data), rng) if part else _whole_step
    seen = steps = 0
    with torch.random.fork_rng(devices=[]), progress("rows, from the start", total) as done:
        torch.manual_seed(seed)
        while seen < total:
            for at in np.split(rng.permutation(len(data)), range(AHEAD * size, len(data), AHEAD * size)):
                begin, ahead = seen, data[at]
                for start in range(0, len(at), size):
                    if seen >= total:
                        break
                    moment = seen / total
                    for group, rate in zip(optimizer.param_groups, highest, strict=True):
                        group["lr"] = rate * share(moment) * raised(moment, rise)
                    for parameter in parameters:
                        parameter.grad = None
                    step(module, ahead[start : start + size], at[start : start + size])
                    optimizer.step()
                    seen += min(size, len(at) - start)
                    steps += 1
                done(seen - begin)
    return module.eval(), steps


def raised(moment: float, rise: float) -> float:
    """Over the run's own rate, at a moment of the shorter one."""
    warm = 1.0 + (rise - 1.0) * min(moment / WARMING, 1.0)
    return warm * min(LEAST + (1.0 - LEAST) * (1.0 - moment) / FALLING, 1.0)


def _whole_step(module: nn.Module, some: Deciding, _: np.ndarray) -> None:
    some.loss(module(some.inputs), some.targets).mean().backward()


def _sampled_step(n: int, rng: np.random.Generator) -> Callable[[nn.Module, Deciding, np.ndarray], None]:
    """A step on a part of its batch, by what the losses' gradients in the outputs were when a row was last looked at."""
    sizes = np.full(n, np.nan, dtype=np.float32)

    def step(module: nn.Module, some: Deciding, at: np.ndarray) -> None:
        known = sizes[at]
        weights = np.full(len(at), 1.0 / len(at), dtype=np.float32)
        if not np.isnan(known).any():
            odds = inclusion(known, max(round(SHARE * len(at)), 1))
            chosen = taken(odds, rng.random())
            some, at, weights = some[chosen], at[chosen], weights[chosen] / odds[chosen]
        outputs = module(some.inputs)
        given = outputs.detach().requires_grad_()
        losses = some.loss(given, some.targets)
        (gradient,) = torch.autograd.grad((losses * torch.from_numpy(weights).to(losses.dtype)).sum(), given)
        outputs.backward(gradient)
        sizes[at] = gradient.reshape(len(at), -1).norm(dim=1).numpy() / weights

    return step


def _may_be_sampled(module: nn.Module, arithmetic: int) -> bool:
    """Whether parts of batches stand for them: not where a batch's rows meet, in its statistics."""
    meets = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    return arithmetic >= ARITHMETIC and not meets


def _fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let one call step all parameters, where the optimizer can and nobody wanted otherwise: the same steps, in less time."""
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        for group in optimizer.param_groups:
            plain = all(p.dtype in (torch.float32, torch.float64) and p.device.type == "cpu" for p in group["params"])
            if plain and not any(group.get(name) for name in ("foreach", "capturable", "differentiable")):
                group["fused"] = True
    return optimizer
