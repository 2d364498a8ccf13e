"""A choice between two computations that the data decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Op, Value
from traceprop.ir.location import user_location
from traceprop.ir.opset import branch
from traceprop.ir.outline import outlined
from traceprop.ir.types import numpy_dtype
from traceprop.tracing.lazy import Lazy, in_trace
from traceprop.tracing.numpy import astype
from traceprop.tracing.structure import flatten, rebuild
from traceprop.tracing.trace import Trace, active_trace
from traceprop.tracing.worlds import world_of_value


def cond(pred: Any, f: Callable[..., Any], g: Callable[..., Any], /, *args: Any) -> Any:
    """`f(*args)` where `pred` is true, else `g(*args)`: instead of Python's `if` in a traced function.

    `pred` is a single boolean. Both functions are traced, and must give arrays of the same structure and shape. A traced
    NumPy function holds them as the bodies of a `branch`, and computes the one that is chosen; where the data decides positions
    in one of them (a mask, a sort), so that they have to be recorded, it computes both. In the lineage of the result
    both branches are `direct`, and what `pred` hangs on is `control`. In a JAX function this is `jax.lax.cond`; with a plain
    `pred`, outside a trace, only one of the two is called.

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
    trace = active_trace()
    if trace is None:
        return _chosen(lambda a, b: np.where(pred, a, b), f(*args), g(*args), where)
    return _branch(trace, pred, lambda: (f(*args), g(*args)), where)


def _branch(trace: Trace, pred: Lazy, both: Callable[[], tuple[Any, Any]], where: str) -> Any:
    """The two functions as bodies, if an op around them has as exact a map as a choice between what both give."""
    mark = trace.mark()
    yes, no = both()
    leaves: list[tuple[Any, Any, ArrayType]] = []

    def choose(a: Any, b: Any) -> Any:
        chosen = np.where(pred, a, b)
        leaves.append((a, b, chosen.type))
        return chosen

    written = _chosen(choose, yes, no, where)
    unlike = trace.mark()
    if not leaves or not all(type.dtype[0] in "biufc" for *_, type in leaves):
        return written
    bodies = {
        name: [_of_type(leaf[k], leaf[2], trace) for leaf in leaves] for name, k in (("otherwise", 1), ("then", 0))
    }
    regions, taken = outlined(trace.ops[mark.ops :], bodies)
    operands = [in_trace(pred, trace), *taken]
    numbers: list[dict[str, int]] = [{"result": k} if len(leaves) > 1 else {} for k in range(len(leaves))]
    ops = [Op(branch, operands, which, "numpy.cond", location=user_location(), regions=regions) for which in numbers]
    if not all(op.exact for op in ops):
        trace.take_back(unlike)
        return written
    trace.inside.update(op.result for op in trace.take_back(mark))
    trace.ops += ops
    results = iter(ops)
    return rebuild(written, lambda _: Lazy.of(next(results).result, trace=trace), _is_leaf)


def _of_type(leaf: Any, type: ArrayType, trace: Trace) -> Value:
    """What a branch gives, in the type that both are brought to."""
    if not isinstance(leaf, Lazy):
        array = np.asarray(leaf, numpy_dtype(type.dtype))
        plain = array.ndim == 0 and type.dtype in ("bool", "i64", "f64")
        return in_trace(array.item() if plain else array, trace)
    return in_trace(leaf if leaf.type == type else astype(leaf, numpy_dtype(type.dtype)), trace)


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
        if shapes[0] != shapes[1] and active_trace() is None:  # sizes that the data decided are numbers here
            shapes = [str(np.shape(each)) for each in (value, other)]
        if shapes[0] != shapes[1]:
            raise TraceError(f"the branches of tp.cond at {where} give shapes {shapes[0]} and {shapes[1]}")
        return choose(value, other)

    return rebuild(yes, leaf, _is_leaf)


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (tuple, list, dict))


def _shape(value: Any) -> str:
    dims = value.type.dims if isinstance(value, Lazy) else np.shape(value)
    return f"({', '.join(map(str, dims))})"
