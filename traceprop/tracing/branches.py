"""A choice between two computations that the data decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType
from traceprop.ir.location import user_location
from traceprop.tracing.lazy import Lazy
from traceprop.tracing.structure import flatten, rebuild
from traceprop.tracing.worlds import world_of_value


def cond(pred: Any, f: Callable[..., Any], g: Callable[..., Any], /, *args: Any) -> Any:
    """`f(*args)` where `pred` is true, else `g(*args)`: instead of Python's `if` in a traced function.

    `pred` is a single boolean. Both functions are traced and computed, and must give arrays of the same structure and
    shape; the result is chosen. In its lineage both branches are `direct`, and what `pred` hangs on is `control`.
    In a JAX function this is `jax.lax.cond`; with a plain `pred`, outside a trace, only one of the two is called.

        tp.cond(x.mean() > 0, lambda x: x, lambda x: -x, x)

    Raises `TraceError` for a `pred` that is no single boolean, and for branches that differ in structure or shape.
    """
    where = user_location() or "an unknown line"
    world = world_of_value(pred)
    if world == "jax":
        import jax

        return jax.lax.cond(pred, f, g, *args)
    if world == "torch":
        import torch

        return _chosen(lambda a, b: torch.where(pred, a, b), f(*args), g(*args), where)
    if not isinstance(pred, Lazy):
        return f(*args) if pred else g(*args)
    if pred.value.rank or not isinstance(pred.type, ArrayType) or pred.type.dtype != "bool":
        raise TraceError(
            f"tp.cond at {where} chooses by a single boolean, not by {pred.type}; np.where chooses cell by cell"
        )
    return _chosen(lambda a, b: np.where(pred, a, b), f(*args), g(*args), where)


def _chosen(choose: Callable[[Any, Any], Any], yes: Any, no: Any, where: str) -> Any:
    others = [leaf for _, leaf in flatten(no, "", _is_leaf)]
    structures = [repr(rebuild(each, lambda _: None, _is_leaf)) for each in (yes, no)]
    if structures[0] != structures[1]:
        raise TraceError(f"the branches of tp.cond at {where} give {structures[0]} and {structures[1]}")
    rest = iter(others)

    def leaf(value: Any) -> Any:
        other = next(rest)
        if hasattr(value, "columns") or hasattr(other, "columns"):
            raise TraceError(f"the branches of tp.cond at {where} give tables; choose between columns or arrays")
        shapes = [_shape(each) for each in (value, other)]
        if shapes[0] != shapes[1]:
            raise TraceError(f"the branches of tp.cond at {where} give shapes {shapes[0]} and {shapes[1]}")
        return choose(value, other)

    return rebuild(yes, leaf, _is_leaf)


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _shape(value: Any) -> str:
    dims = value.type.dims if isinstance(value, Lazy) else np.shape(value)
    return f"({', '.join(map(str, dims))})"
