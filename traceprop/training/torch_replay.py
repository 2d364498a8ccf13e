"""A recorded training run, run again without some rows."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from torch import nn

from traceprop.errors import ModelError
from traceprop.runtime.progress import progress
from traceprop.training.checkpoints import Checkpoint
from traceprop.training.store import GradientStore
from traceprop.training.torch import Deciding
from traceprop.training.torch_steps import MakeOptimizer

SAME = 1e-5


def replayed(store: GradientStore, data: Deciding, gone: np.ndarray, make: MakeOptimizer) -> tuple[nn.Module, int, int]:
    """Run the recorded steps again from the last checkpoint before the first of them that used a row of `gone`.

    Every step takes its recorded samples but those, and the mean of their losses. Before that, the run is tried: with
    all rows, from the same checkpoint to the next one, it must lead to that one's parameters.

    Returns
    -------
    The module, the step that it started from and the number of steps.

    Raises
    ------
    ModelError
        The context did not record the steps, no checkpoint is from before the rows were used, or the run that was
        tried leads elsewhere: another optimizer, a schedule, dropout, an optimizer's memory from before the checkpoint.
    """
    if not store.schedule:
        raise ModelError("exact replay needs the recorded run: call ctx.step(loss, rows) after each optimizer step")
    touched = np.array([bool(np.isin(rows, gone).any()) for _, rows in store.schedule])
    first = int(np.argmax(touched)) if touched.any() else len(touched)
    before = [one for one in store.checkpoints if one.step <= first]
    if not before:
        raise ModelError(
            f"exact replay needs a checkpoint from before the rows were used, at step {first}; call ctx.checkpoint() before "
            "training starts"
        )
    here = before[-1]
    after = next((one for one in store.checkpoints if one.step > here.step), None)
    if after is None:
        return deepcopy(here.adapter.model).eval().cpu(), here.step, 0
    nobody = np.empty(0, dtype=np.int64)
    tried = _run(store, data, here, after.step, nobody, make)
    wanted = after.adapter.parameters()
    found = nn.utils.parameters_to_vector([p for p in tried.parameters() if p.requires_grad]).detach().double().numpy()
    if not np.allclose(found, wanted, rtol=0, atol=SAME * max(float(np.abs(wanted).max()), 1.0)):
        raise ModelError(
            f"exact replay does not find its way: with all rows, steps {here.step} to {after.step} lead "
            f"{float(np.abs(found - wanted).max()):.1e} away from the checkpoint there; optimizer= must make the optimizer of "
            "the run, new at that checkpoint, and the steps be its mean loss and nothing else"
        )
    return _run(store, data, here, len(store.schedule), gone, make), here.step, len(store.schedule) - here.step


def _run(
    store: GradientStore, data: Deciding, here: Checkpoint, until: int, gone: np.ndarray, make: MakeOptimizer
) -> nn.Module:
    module: nn.Module = deepcopy(here.adapter.model).train().cpu()
    optimizer = make([p for p in module.parameters() if p.requires_grad])
    with progress("recorded steps", until - here.step) as done:
        for _, rows in store.schedule[here.step : until]:
            done(1)
            stay = rows[~np.isin(rows, gone)]
            if not len(stay):
                continue
            some = data[stay]
            optimizer.zero_grad()
            data.loss(module(some.inputs), some.targets).mean().backward()
            optimizer.step()
    return module.eval()
