"""NumPy functions whose result cells read a known part of their operands: `opaque` ops that carry that map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.errors import DimMismatchError, TraceError
from traceprop.ir import ArrayType, Dim, GivenMap
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import AxisRead, Full, axis
from traceprop.ir.location import user_location
from traceprop.ir.opset import opaque
from traceprop.ir.opset.elementwise import broadcast_dims
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.trace import active_trace

Reads = Sequence[GivenRead]


def dims_of(x: Any) -> tuple[Dim, ...]:
    """The dims of a lazy value or of a plain array; outside a trace, numbers where they are known."""
    if not isinstance(x, Lazy):
        return np.shape(x)
    if x.trace is not None:
        return x.type.dims
    return tuple(dim if size is None else size for size, dim in zip(x.known_shape(), x.type.dims, strict=True))


def dtype_of(x: Any) -> np.dtype:
    """The dtype of a lazy array or of what NumPy takes for one."""
    if isinstance(x, Lazy):
        assert isinstance(x.type, ArrayType)
        return numpy_dtype(x.type.dtype)
    return np.asarray(x).dtype


def number(x: Any, k: int, what: str) -> int:
    """The number of positions on an axis; the trace becomes one for it."""
    dim = dims_of(x)[k]
    if isinstance(dim, int):
        return dim
    trace = active_trace()
    return x.concrete_shape()[k] if trace is None else trace.number(dim, what)


def together(*shapes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The dims that shapes broadcast to; in a trace, sizes that are equal in this call are made one."""
    try:
        return broadcast_dims(*map(tuple, shapes))
    except DimMismatchError as error:
        trace = active_trace()
        if trace is not None:
            trace.unify(error.left, error.right)
        message = f"{error} at {user_location() or 'an unknown line'}"
        raise DimMismatchError(message, error.left, error.right) from None


def own(x: Any, result: Sequence[Dim]) -> tuple[AxisRead, ...]:
    """Of an operand that is broadcast to the last axes of the result: the cell at the same place."""
    dims = dims_of(x)
    lead = len(result) - len(dims)
    return tuple(0 if dim == 1 and result[lead + k] != 1 else axis(lead + k) for k, dim in enumerate(dims))


def whole(x: Any) -> tuple[AxisRead, ...]:
    """Every cell of an operand."""
    return (Full(),) * len(dims_of(x))


def mapped(
    name: str,
    operands: Sequence[Any],
    reads: Reads,
    dims: Sequence[Dim],
    dtype: Any,
    native: Callable[..., Any],
    **attrs: Any,
) -> Any:
    """An op that computes `native(*operands)`, of these dims and dtype, and reads what `reads` say and nothing else."""
    result = {"shape": tuple(dims), **attrs}
    arrays = [x if isinstance(x, Lazy) else np.asarray(x) for x in operands]

    def run(*given: Any) -> np.ndarray:
        return np.asarray(native(*given))

    return emit(opaque, arrays, result, f"numpy.{name}", dtype_name(dtype), native=run, rule=GivenMap(tuple(reads)))


def sample(x: Any, shape: Sequence[int]) -> np.ndarray:
    """A stand-in of the operand's dtype: an identity matrix where it can be one, so that no decomposition fails."""
    dtype = dtype_of(x)
    made = np.ones(shape, dtype) if dtype.kind not in "UTO" else np.full(shape, "", "U1")
    if len(shape) >= 2 and dtype.kind in "biufc":
        made = np.broadcast_to(np.eye(*shape[-2:]), shape).astype(dtype)
    return made


def blocks(
    name: str,
    function: Callable[..., Any],
    operands: Sequence[Any],
    cores: Sequence[int],
    reads: Callable[[int, int], Sequence[Sequence[AxisRead]]] | None = None,
) -> Any:
    """A function of matrices (or vectors) in the last `cores` axes, block by block over the axes before, which broadcast.

    `reads(result, batch)` gives for one result the core axes that its cells read of each operand, as functions of the result's
    axes from number `batch` on; by default all of a block. Gives as many results as the function does.
    """
    operands = [x if isinstance(x, Lazy) else np.asarray(x) for x in operands]
    if any(len(dims_of(x)) < core for x, core in zip(operands, cores, strict=True)):
        raise np.linalg.LinAlgError(
            f"numpy.{name} at {user_location() or 'an unknown line'} takes arrays of at least {max(cores)} axes"
        )
    leads = [dims_of(x)[: len(dims_of(x)) - core] for x, core in zip(operands, cores, strict=True)]
    batch = together(*leads)
    tried = []
    for x, core, lead in zip(operands, cores, leads, strict=True):
        rank = len(dims_of(x))
        tried.append(sample(x, (*(1,) * len(lead), *(number(x, k, f"numpy.{name}") for k in range(rank - core, rank)))))
    with np.errstate(all="ignore"):
        found = function(*tried)
    several = isinstance(found, tuple)
    results = []
    for position, one in enumerate(found if several else (found,)):
        array = np.asarray(one)
        dims = (*batch, *array.shape[len(batch) :])
        parts = [(Full(),) * core for core in cores] if reads is None else reads(position, len(batch))
        given = []
        for k, (lead, part) in enumerate(zip(leads, parts, strict=True)):
            outer = [0 if dim == 1 and batch[len(batch) - len(lead) + n] != 1 else axis(len(batch) - len(lead) + n)
                     for n, dim in enumerate(lead)]  # fmt: skip
            given.append(GivenRead(k, (*outer, *part)))
        attrs = {"result": position} if several else {}

        def native(*values: Any, position: int = position) -> Any:
            answer = function(*values)
            return answer[position] if several else answer

        results.append(mapped(name, operands, given, dims, array.dtype, native, **attrs))
    if not several:
        return results[0]
    return type(found)(*results) if hasattr(found, "_fields") else tuple(results)


def refused(name: str, instead: str) -> TraceError:
    """What to raise for a function that cannot be traced, with the way out."""
    return TraceError(f"numpy.{name} at {user_location() or 'an unknown line'}: {instead}")
