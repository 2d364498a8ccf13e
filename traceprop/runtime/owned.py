"""Results that are their own: a view of an input would change when the user writes to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.tracing.worlds import world_of_value


def owned(results: tuple[Any, ...], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The results, with a copy of each that shares memory with an input: `x.T`, `x[::2]`, or `x` itself, written to later."""
    for result in results:
        if type(result) is not np.ndarray or result.base is not None or any(result is given for given in inputs):
            return tuple(_apart(result, inputs) for result in results)
    return results


def _apart(result: Any, inputs: Sequence[Any]) -> Any:
    seen = _memory(result)
    if seen is None or not any(np.may_share_memory(seen, other) for x in inputs if (other := _memory(x)) is not None):
        return result
    return result.copy() if isinstance(result, np.ndarray) else result.clone()


def _memory(value: Any) -> np.ndarray | None:
    """The memory that an array or a tensor of this machine shows; tables and JAX's arrays are never written to."""
    if isinstance(value, np.ndarray):
        return value
    if world_of_value(value) == "torch" and value.device.type == "cpu":
        held: np.ndarray = value.detach().resolve_conj().resolve_neg().numpy()
        return held
    return None
