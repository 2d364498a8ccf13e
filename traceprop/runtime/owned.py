"""Results that are their own: a view of an input would change when the user writes to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.sources.tensors import seen_as_numpy
from traceprop.tracing.worlds import world_of_value


def owned(results: tuple[Any, ...], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The results, with a copy of each that shares memory with an input: `x.T`, `x[::2]`, or `x` itself, written to later."""
    for result in results:
        if type(result) is not np.ndarray or result.base is not None or any(result is given for given in inputs):
            return tuple(_apart(result, inputs) for result in results)
    return results


def _apart(result: Any, inputs: Sequence[Any]) -> Any:
    if isinstance(result, np.ndarray):
        shared = any(np.may_share_memory(result, other) for x in inputs if (other := _memory(x)) is not None)
        return result.copy() if shared else result
    if world_of_value(result) != "torch" or not result.is_cpu:  # tables and JAX's arrays are never written to
        return result
    held = result.untyped_storage()
    first = held.data_ptr()
    last = first + held.nbytes()
    for given in inputs:
        if isinstance(given, np.ndarray):
            low, high = np.lib.array_utils.byte_bounds(given)
        elif world_of_value(given) == "torch" and given.is_cpu:
            memory = given.untyped_storage()
            low = memory.data_ptr()
            high = low + memory.nbytes()
        else:
            continue
        if low < last and first < high:
            return result.clone()
    return result


def _memory(value: Any) -> np.ndarray | None:
    """The memory that an array or a tensor of this machine shows, as far as it is NumPy's to compare."""
    if isinstance(value, np.ndarray):
        return value
    if world_of_value(value) == "torch" and value.is_cpu:
        held: np.ndarray = seen_as_numpy(value.detach().resolve_conj().resolve_neg())
        return held
    return None
