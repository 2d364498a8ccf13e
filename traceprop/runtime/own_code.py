"""Runs of a PyTorch function by its own code, once it was seen to give what its program gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.tracing.worlds import to_world

CLOSE = {"float16": 2e-2, "bfloat16": 2e-2}
"""Of the largest value; 1e-4 in other types. PyTorch adds a layer's bias in its product, and the program behind it."""

Found = tuple[tuple[Any, ...], dict[str, int]]


class ByOwnCode:
    """The function's own code in place of generated code; at its first run both run, and have to agree."""

    def __init__(self, own: Callable[[Sequence[Any]], Found | None]) -> None:
        self._own: Callable[[Sequence[Any]], Found | None] | None = own
        self._agreed = False

    @property
    def in_use(self) -> bool:
        """Whether runs go by it: it was not seen to give anything else."""
        return self._own is not None

    def run(self, values: Sequence[Any], generated: Callable[..., Any]) -> Found | None:
        """Results and sizes; `None` where the generated code is to run, which also says what fails and where.

        An error of the function's own is raised as it is where the program has none: `torch.linalg.inv` of a singular matrix,
        which call by call is infinite.
        """
        if self._own is None:
            return None
        tensors = values
        if any(type(value) is np.ndarray for value in values):
            tensors = [to_world(value, "torch") for value in values]
        try:
            found = self._own(tensors)
        except Exception:
            if _fails(generated, values):
                return None
            raise
        if found is None or self._agreed:
            return found
        expected, _ = generated([], *values)
        if not all(map(_same, found[0], expected)):
            self._own = None
            return None
        self._agreed = True
        return found


def _fails(generated: Callable[..., Any], values: Sequence[Any]) -> bool:
    try:
        generated([], *values)
    except Exception:
        return True
    return False


def _same(one: Any, other: Any) -> bool:
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return bool(torch.equal(one, other))
    finite = other[torch.isfinite(other)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    close = CLOSE.get(str(one.dtype).removeprefix("torch."), 1e-4) * largest
    return bool(torch.allclose(one, other, rtol=0.0, atol=close, equal_nan=True))
