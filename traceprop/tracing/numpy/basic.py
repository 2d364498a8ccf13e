"""Functions that are one op each, or a few: shapes, stacks, positions, products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from traceprop.ir import Dim
from traceprop.ir.expr import floordiv, product
from traceprop.ir.location import user_location
from traceprop.ir.opset import broadcast, concat, contract, gather, reshape, sort, transpose
from traceprop.ir.types import dtype_name
from traceprop.tracing import indexing
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy import products, text
from traceprop.tracing.numpy.calls import (
    Handler,
    NoRule,
    apply,
    axes_of,
    constant_like,
    empty_sample,
    lazy,
    rank_of,
)
from traceprop.tracing.numpy.composed import explicit
from traceprop.tracing.numpy.mapped import dims_of
from traceprop.tracing.trace import dim_of

ELEMENTWISE = "clip nan_to_num real imag round around isclose angle sinc i0".split()


# -- families ---------------------------------------------------------------------------------------------------------


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """(i) <- %x[i // repeats]"""
    if not isinstance(repeats, (int, np.integer)) or isinstance(a, np.ndarray):
        raise NoRule
    if axis is None:
        a, axis = _ravel(a), 0
    along = np.lib.array_utils.normalize_axis_index(axis, rank_of(a))
    dims = a.type.dims
    shape = (*dims[: along + 1], int(repeats), *dims[along + 1 :])
    wide = emit(broadcast, [_expand_dims(a, along + 1)], {"shape": shape})
    return emit(reshape, [wide], {"shape": (*dims[:along], dims[along] * int(repeats), *dims[along + 1 :])})


def _tile(A: Any, reps: Any) -> Any:
    """(i) <- %x[i % n]"""
    counts = tuple(reps) if isinstance(reps, (tuple, list)) else (reps,)
    rank = max(rank_of(A), len(counts))
    A = _at_least(rank)(A)
    counts = (1,) * (rank - len(counts)) + counts
    for k, count in enumerate(counts):
        if count != 1:
            A = _concatenate([A] * count, k) if count else A[(np.s_[:],) * k + (np.s_[:0],)]
    return A


def _elementwise_of(name: str) -> Handler:
    func = getattr(np, name)

    def handler(*args: Any, **kwargs: Any) -> Any:
        kwargs = {k: v for k, v in kwargs.items() if v is not None and v is not np._NoValue}
        args = tuple(x for x in args if x is not None) if name != "clip" else args
        if name == "clip":
            return _clip(*args, **kwargs)
        if name == "nan_to_num" and getattr(getattr(args[0], "type", None), "dtype", "") == "str":
            return args[0]  # no text is NaN
        return apply(func, f"numpy.{name}", args, kwargs)

    return handler


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None, **options: Any) -> Any:
    # NumPy's own rule tells 0.0 from -0.0 otherwise than its maximum and minimum do.
    low = a_min if a_min is not None and a_min is not np._NoValue else min
    high = a_max if a_max is not None and a_max is not np._NoValue else max
    if low is not None and high is not None:
        return apply(np.clip, "numpy.clip", (a, low, high), options)
    if low is not None:
        a = np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


def _where(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.nonzero(condition)
    return apply(np.where, "numpy.where", (condition, *choices), {}, control=(0,))


def _concatenate(arrays: Sequence[Any], axis: Any = 0, dtype: Any = None, casting: str = "same_kind") -> Any:
    arrays = [lazy(array) for array in arrays]
    if axis is None:
        arrays, axis = [_ravel(array) for array in arrays], 0
    (along,) = axes_of(axis, rank_of(arrays[0]))
    result = dtype_name(np.concatenate([empty_sample(array).ravel() for array in arrays], dtype=dtype).dtype)
    if dtype is None and all(text.is_text(x) or getattr(x.dtype, "kind", "") == "U" for x in arrays):
        result = "str"
    return emit(concat, arrays, {"axis": along}, None, result)


def _stack(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    arrays = list(arrays)
    along = np.lib.array_utils.normalize_axis_index(axis, rank_of(arrays[0]) + 1)
    return _concatenate([_expand_dims(array, along) for array in arrays], along, **options)


def _hstack(arrays: Sequence[Any], **options: Any) -> Any:
    arrays = [_at_least(1)(array) for array in arrays]
    return _concatenate(arrays, 0 if rank_of(arrays[0]) == 1 else 1, **options)


def _vstack(arrays: Sequence[Any], **options: Any) -> Any:
    return _concatenate([_at_least(2)(array) for array in arrays], 0, **options)


def _column_stack(arrays: Sequence[Any]) -> Any:
    return _concatenate([_expand_dims(array, 1) if rank_of(array) == 1 else array for array in arrays], 1)


def _at_least(rank: int) -> Handler:
    def handler(*arrays: Any) -> Any:
        if len(arrays) != 1:
            return tuple(map(handler, arrays))
        array = lazy(arrays[0])
        while rank_of(array) < rank:
            array = _expand_dims(array, 0)
        return array

    return handler


def _expand_dims(a: Any, axis: Any) -> Any:
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    rank = rank_of(a) + len(axes)
    places = set(np.lib.array_utils.normalize_axis_tuple(axes, rank))
    return indexing.getitem(a, tuple(None if k in places else np.s_[:] for k in range(rank)))


def _squeeze(a: Any, axis: Any = None) -> Any:
    dims = dims_of(a)
    places = {k for k, dim in enumerate(dims) if dim == 1} if axis is None else set(axes_of(axis, len(dims)))
    if any(dims[k] != 1 for k in places):
        raise ValueError(f"cannot squeeze an axis that is not of size 1 (shape {dims}) at {user_location()}")
    return indexing.getitem(a, tuple(0 if k in places else np.s_[:] for k in range(len(dims))))


def _reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: Any = None) -> Any:
    shape = newshape if shape is None else shape
    if order != "C":
        if order != "F":
            raise NoRule
        return in_fortran_order(a, shape if isinstance(shape, (tuple, list)) else (shape,))
    sizes = [dim_of(size) for size in (shape if isinstance(shape, (tuple, list)) else (shape,))]
    if -1 in sizes:
        at = sizes.index(-1)
        rest = product(size for k, size in enumerate(sizes) if k != at)
        sizes[at] = _divided(product(dims_of(a)), rest)
    return emit(reshape, [a], {"shape": tuple(sizes)})


def in_fortran_order(a: Any, shape: Sequence[Any]) -> Any:
    """A reshape that counts the first axis fastest: the transpose of the transpose's."""
    turned = np.reshape(np.transpose(a), tuple(reversed(shape)))
    return np.transpose(turned)


def _divided(total: Dim, part: Dim) -> Dim:
    """total / part where the algebra sees that it comes out whole; monomials are divided by a common symbol."""
    if isinstance(total, int) or isinstance(part, int):
        return floordiv(total, part) if part != 0 else 0
    if total == part:
        return 1
    for factor in range(1, 65537):
        if part * factor == total:
            return factor
    return floordiv(total, part)


def _ravel(a: Any, order: str = "C") -> Any:
    if not isinstance(a, Lazy):
        return np.ravel(a)
    if order not in ("C", "F"):
        raise NoRule
    a = _transpose(a) if order == "F" else a
    return emit(reshape, [a], {"shape": (product(a.type.dims),)})


def _transpose(a: Any, axes: Any = None) -> Any:
    rank = rank_of(a)
    order = tuple(reversed(range(rank))) if axes is None else np.lib.array_utils.normalize_axis_tuple(axes, rank)
    return emit(transpose, [a], {"axes": tuple(order)})


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(rank_of(a)))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _transpose(a, order)


def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    rank = rank_of(a)
    sources = np.lib.array_utils.normalize_axis_tuple(source, rank)
    order = [k for k in range(rank) if k not in sources]
    for to, frm in sorted(zip(np.lib.array_utils.normalize_axis_tuple(destination, rank), sources, strict=True)):
        order.insert(to, frm)
    return _transpose(a, order)


def _broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return emit(broadcast, [array], {"shape": tuple(map(dim_of, sizes))})


def _flip(m: Any, axis: Any = None) -> Any:
    axes = axes_of(axis, rank_of(m))
    return indexing.getitem(m, tuple(np.s_[::-1] if k in axes else np.s_[:] for k in range(rank_of(m))))


def _full_like(a: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    fill = np.asarray(fill_value, dtype or a.dtype)
    return emit(broadcast, [constant_like(fill, a)], {"shape": a.type.dims})


def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    if mode != "raise":
        raise NoRule
    if axis is None:
        a, axis = _ravel(a), 0
    indices = indices if isinstance(indices, Lazy) else np.asarray(indices)
    (along,) = axes_of(axis, rank_of(a))
    return emit(gather, [lazy(a), indices], {"axis": along})


def _argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    if axis is None:
        a, axis = _ravel(a), 0
    (along,) = axes_of(axis, rank_of(a))
    kind = "stable" if stable else kind or "quicksort"
    return emit(sort, [a], {"axis": along} if kind == "stable" else {"axis": along, "kind": kind})


def _sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    if axis is None:
        a, axis = _ravel(a), 0
    (along,) = axes_of(axis, rank_of(a))
    lies_along = {"along": True} if rank_of(a) > 1 else {}
    return emit(gather, [a, _argsort(a, along, kind, stable=stable)], {"axis": along, **lies_along})


def _flatnonzero(a: Any) -> Any:
    mask = _ravel(a) if rank_of(a) != 1 else a
    if mask.dtype == bool:
        return indexing.positions(mask)
    if text.is_text(mask):
        return indexing.positions(mask != "")
    return indexing.positions(mask != np.zeros((), mask.dtype))


def _nonzero(a: Any) -> Any:
    if rank_of(a) != 1:
        raise NoRule
    return (_flatnonzero(a),)


LETTERS = "abcdefghijklmnopqrstuvwxyz"


def matmul(a: Any, b: Any) -> Any:
    left, right = rank_of(a), rank_of(b)
    if not left or not right:
        raise ValueError(f"matmul of a scalar at {user_location()}; use *")
    batch = max(left, right) - 2
    if (
        left > 2
        and right > 2
        and dims_of(a)[:-2] != dims_of(b)[:-2]
        and (left != right or 1 in (*dims_of(a)[:-2], *dims_of(b)[:-2]))
    ):
        return products.gufunc(np.matmul, [a, b])  # leading axes that broadcast
    lead = LETTERS[3 : 3 + max(batch, 0)]
    first = (lead if left > 2 else "") + ("a" if left > 1 else "") + "b"
    second = (lead if right > 2 else "") + "b" + ("c" if right > 1 else "")
    result = lead + ("a" if left > 1 else "") + ("c" if right > 1 else "")
    return _contract("numpy.matmul", f"{first},{second}->{result}", a, b)


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if not rank_of(a) or not rank_of(b):
        return np.multiply(a, b)
    if rank_of(a) > 2 or rank_of(b) > 2:
        return products.dot(a, b)
    first, second = "ab"[2 - rank_of(a) :], "bc"[: rank_of(b)]
    return _contract("numpy.dot", f"{first},{second}->{(first + second).replace('b', '')}", a, b)


def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return _contract("numpy.outer", "a,b->ab", _ravel(a), _ravel(b))


def _einsum(subscripts: str, *operands: Any, **options: Any) -> Any:
    if not isinstance(subscripts, str):  # operands, each followed by numbers for its axes
        given = (subscripts, *operands)
        listed = given[: len(given) // 2 * 2]
        terms = ["".join(LETTERS[k] for k in numbers) for numbers in listed[1::2]]
        result = "->" + "".join(LETTERS[k] for k in given[-1]) if len(given) % 2 else ""
        return _einsum(",".join(terms) + result, *listed[::2], **options)
    subscripts = explicit(subscripts, [rank_of(x) for x in operands])
    left, _, result = subscripts.partition("->")
    if any(term.count(c) > 1 and c not in result for term in left.split(",") for c in term):
        return _einsum_of_diagonals(left.split(","), result, operands, options)
    if options.get("optimize"):
        return _contract(
            "numpy.einsum", subscripts, *operands, native=lambda *given: np.einsum(subscripts, *given, **options)
        )
    return _contract("numpy.einsum", subscripts, *operands)


def _einsum_of_diagonals(terms: Sequence[str], result: str, operands: Sequence[Any], options: dict[str, Any]) -> Any:
    """Sums along diagonals: first the diagonals, each an axis of its own, then the sums."""
    once = ["".join(dict.fromkeys(term)) for term in terms]
    taken = [
        x if term == kept else _einsum(f"{term}->{kept}", x)
        for term, kept, x in zip(terms, once, operands, strict=True)
    ]
    return _einsum(f"{','.join(once)}->{result}", *taken, **options)


def _contract(payload: str, spec: str, *operands: Any, native: Handler | None = None) -> Any:
    dtype = dtype_name(np.result_type(*(empty_sample(x).dtype if not np.isscalar(x) else x for x in operands)))
    return emit(contract, [lazy(x) for x in operands], {"spec": spec}, payload, dtype, native=native)


FUNCTIONS: dict[Any, Handler] = {
    **{getattr(np, name): _elementwise_of(name) for name in ELEMENTWISE},
    np.repeat: _repeat, np.tile: _tile,
    np.where: _where,
    np.concatenate: _concatenate, np.stack: _stack, np.hstack: _hstack, np.vstack: _vstack, np.column_stack: _column_stack,
    np.atleast_1d: _at_least(1), np.atleast_2d: _at_least(2), np.expand_dims: _expand_dims, np.squeeze: _squeeze,
    np.reshape: _reshape, np.ravel: _ravel, np.transpose: _transpose, np.swapaxes: _swapaxes, np.moveaxis: _moveaxis,
    np.broadcast_to: _broadcast_to, np.flip: _flip, np.full_like: _full_like,
    np.zeros_like: lambda a, dtype=None, **options: _full_like(a, 0, dtype),
    np.empty_like: lambda a, dtype=None, **options: _full_like(a, 0, dtype),
    np.ones_like: lambda a, dtype=None, **options: _full_like(a, 1, dtype),
    np.copy: lambda a, **options: a,
    np.astype: lambda x, dtype, /, *, copy=True, device=None: x.astype(dtype),
    np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis],
    np.take: take, np.argsort: _argsort, np.sort: _sort, np.flatnonzero: _flatnonzero, np.nonzero: _nonzero,
    np.dot: _dot, np.outer: _outer, np.einsum: _einsum,
}  # fmt: skip
