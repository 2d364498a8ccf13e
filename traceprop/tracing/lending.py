"""Large results that a caller gets without a copy, though they are the caller's own to write to.

A copy of a large result costs about as much as computing it. So the array itself is handed out, once, where nobody else holds
it, and its fingerprint kept (`Call.lend`); whoever reads the value later is given the array if it still holds what it held, and
the program runs again where the caller has written to it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

WORTH = 1 << 18
"""Bytes from which on a fingerprint is cheaper than a copy."""


def _references() -> int:
    results = (np.empty(1),)
    array = results[0]
    return sys.getrefcount(array)


ALONE = _references()
"""What `sys.getrefcount` says of an array that a tuple holds, and a local variable, and nothing else."""


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
