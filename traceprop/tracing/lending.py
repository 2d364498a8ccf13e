"""Large results that a caller gets without a copy, though they are the caller's own to write to.

A copy of a large result costs about as much as computing it. So the array itself is handed out, once, where nobody else holds
it, and its fingerprint kept (`Call.lend`); whoever reads the value later is given the array if it still holds what it held, and
the program runs again where the caller has written to it. A tensor of PyTorch's goes by the writes that PyTorch counts, and runs
again where it was shown to NumPy, whose writes nobody counts.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from traceprop.passes.kernels.dispatch import quick_hash
from traceprop.sources.tensors import Watched

WORTH = 1 << 18
"""Bytes from which on a fingerprint is cheaper than a copy."""


def _references() -> int:
    results = (np.empty(1),)
    array = results[0]
    return sys.getrefcount(array)


ALONE = _references()
"""What `sys.getrefcount` says of an array that a tuple holds, and a local variable, and nothing else."""


class Loan:
    """What was lent, and whether it holds what it held."""

    __slots__ = ("_fingerprint", "_watched", "array")

    def __init__(self, array: Any) -> None:
        self.array = array
        self._fingerprint = quick_hash(array) if type(array) is np.ndarray else None
        self._watched = Watched(array) if self._fingerprint is None else None

    def same(self) -> bool:
        """Whether nobody has written to it, as far as can be told."""
        if self._watched is None:
            return quick_hash(self.array) == self._fingerprint
        return self.array.untyped_storage().resizable() and self._watched.same()


def is_large_and_own(array: Any) -> bool:
    """Whether an array is large, has its cells to itself, and may be written to.

    What holds cells that another library made for this array alone says so: `.base.alone`.
    """
    return (
        type(array) is np.ndarray
        and array.nbytes >= WORTH
        and (array.flags.owndata or getattr(array.base, "alone", False))
        and array.flags.writeable
        and not array.dtype.hasobject
    )


def is_large_and_own_tensor(tensor: Any) -> bool:
    """The same of a tensor: no other has its memory, and NumPy has not seen it."""
    import torch

    if type(tensor) is not torch.Tensor or tensor.nbytes < WORTH or not tensor.is_cpu or not _used(torch):
        return False
    memory = tensor.untyped_storage()
    alone = memory.resizable() and torch._C._storage_Use_Count(memory._cdata) == _used(torch)
    return bool(alone and tensor.is_contiguous() and not (tensor.requires_grad or tensor.is_inference()))


@functools.cache
def _used(torch: Any) -> int:
    """How often PyTorch counts the memory of a tensor as used that no other has; 0 where it does not tell."""
    if not hasattr(torch._C, "_storage_Use_Count"):
        return 0
    tensor = torch.empty(1)
    memory = tensor.untyped_storage()
    return int(torch._C._storage_Use_Count(memory._cdata))
