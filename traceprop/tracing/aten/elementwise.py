"""Calls that compute each result cell from one cell of each operand, and values that hang on no data."""

from __future__ import annotations

from typing import Any

import torch

from traceprop.ir import Value
from traceprop.ir.opset import elementwise, iota
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import TORCH_DTYPES, NoRule, Sized, numbers


def pointwise(a: Aten) -> Value:
    """Any call that PyTorch itself tags as pointwise."""
    if a.several or not a.tensors:
        raise NoRule
    return a.emit(elementwise, **a.scalars())


def _where(a: Aten) -> Value:
    return a.emit(elementwise, control=(0,))


def _masked_fill(a: Aten) -> Value:
    """(i) <- %x[i], control %mask[i]"""
    return a.emit(elementwise, control=(1,), **a.scalars())


def _same(a: Aten) -> Value:
    return a.x if a.x.type == a.type else pointwise(a)


def _copy(a: Aten) -> Value:
    """(i) <- %src[i]: what was there before is gone."""
    dtype = a.out.dtype
    source = a.tensors[1]
    if source.type.dtype != a.type.dtype:  # type: ignore[union-attr]
        source = a.emit(elementwise, [source], lambda t: t.to(dtype), "_to_copy")
    return a.spread(source, a.type.dims)


def _fill(a: Aten) -> Value:
    if len(a.tensors) == 2:
        return _copy(a)
    return a.spread(a.held(a["value"], a.type.dtype), a.type.dims)


def _full(a: Aten) -> Value:
    value: Any = {"ones": 1, "ones_like": 1, "new_ones": 1}.get(
        a.name, a["fill_value"] if a["fill_value"] is not None else 0
    )
    if isinstance(value, Value):
        return _copied(a, value)
    if a.sizes and value in a.sizes:
        raise NoRule
    return a.spread(a.held(value, a.type.dtype), a.type.dims)


def _copied(a: Aten, value: Value) -> Value:
    dtype = getattr(torch, TORCH_DTYPES[a.type.dtype])
    return a.spread(a.emit(elementwise, [value], lambda t: t.to(dtype), "_to_copy"), a.type.dims)


def _scalar(a: Aten) -> Value:
    if isinstance(a["s"], Value) or a.sizes:
        raise NoRule
    return a.held(a["s"], a.type.dtype)


def _made(a: Aten) -> Value:
    """What hangs on no data is computed while tracing."""
    if a.sizes or a.tensors:
        raise NoRule
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        made = a.native().to(a.out.dtype)
    return a.graph.constant(made)


def _arange(a: Aten) -> Value:
    """As many as there are rows: a counter; else a constant."""
    if not a.sizes:
        return _made(a)
    (size,) = a.type.dims
    if (a["start"] or 0) != 0 or (a["step"] or 1) != 1 or a["end"] != size:
        raise NoRule
    dtype = a.out.dtype
    native = Sized(lambda sizes: torch.arange(numbers([size], sizes)[0], dtype=dtype), [size])
    return a.emit(iota, [], native, dtype=a.type.dtype, size=size)


def _dropped(a: Aten) -> tuple[Value, Value]:
    """Dropout that is switched off: the cells as they are, and a mask that keeps them all."""
    if a["train"] is not False:
        raise NoRule
    return a.x, a.spread(a.held(True, "bool"), a.x.type.dims)


HANDLERS = {
    "native_dropout": _dropped,
    "where": _where,
    "masked_fill": _masked_fill,
    "copy": _copy,
    "fill": _fill,
    "arange": _arange,
    "scalar_tensor": _scalar,
    **dict.fromkeys("gelu clamp _to_copy addcmul addcdiv nan_to_num complex polar".split(), pointwise),
    **dict.fromkeys(
        "alias detach clone contiguous lift_fresh lift_fresh_copy lift _to_copy alias_copy detach_copy".split(), _same
    ),
    **dict.fromkeys(
        "full zeros ones empty full_like zeros_like ones_like empty_like new_zeros new_ones new_full new_empty "
        "empty_strided new_empty_strided empty_permuted".split(),
        _full,
    ),
    **dict.fromkeys("eye linspace logspace tril_indices triu_indices".split(), _made),
}
