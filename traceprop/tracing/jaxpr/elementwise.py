"""Primitives whose result cells each read one cell of each operand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from traceprop.ir import Kind, Value
from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import Full, Span, axes
from traceprop.ir.opset import elementwise, opaque
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known
from traceprop.tracing.jaxpr.masks import Counts, by_position


def _elementwise(e: Equation) -> Sequence[Held]:
    return [e.emit(elementwise, **e.scalars())]


def _select(e: Equation) -> Sequence[Held]:
    which, *cases = e.inputs
    if isinstance(which, Known) and np.size(which.array) == 1 and len(set(map(id, cases))):
        case = cases[int(np.asarray(which.array).reshape(()))]
        if isinstance(case, Known) or case.type.dims == e.shape:
            return [case]
    counts = by_position(which, len(e.shape)) if len(cases) == 2 else None
    if counts is not None and all(e.graph.value(held).type.dims == e.shape for held in e.inputs):
        return [_chosen_by_position(e, counts)]
    return [e.emit(elementwise, control=(0,))]


def _chosen_by_position(e: Equation, counts: Counts) -> Value:
    """Of triangles and diagonals: (i, j) <- %x[i, j..j+1] where the mask takes it from there, and j..j elsewhere."""
    own = axes(len(e.shape))
    cases = tuple(GivenRead(1 + k, (*own[:-1], Span(own[-1], own[-1] + count))) for k, count in enumerate(counts))
    return e.emit(opaque, rule=GivenMap((GivenRead(0, own, Kind.CONTROL), *cases)), shape=e.shape)


def _convert(e: Equation) -> Sequence[Held]:
    if e.x.type == e.type:
        return [e.x]
    return [e.emit(elementwise, dtype_=e.type.dtype)]


def _bitcast(e: Equation) -> Sequence[Held]:
    """To narrower numbers a cell becomes several, along a last axis; to wider ones several become one."""
    rank = min(e.x.rank, len(e.shape))
    if e.x.rank == len(e.shape):
        return [e.emit(elementwise, dtype_=e.type.dtype)]
    return e.opaque(GivenMap((GivenRead(0, (*axes(rank), *[Full()] * (e.x.rank - rank))),)), dtype_=e.type.dtype)


def _same(e: Equation) -> Sequence[Held]:
    return e.inputs


_CALLS = (
    "neg sign floor ceil round is_finite exp exp2 expm1 log log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh "
    "atanh logistic sqrt rsqrt cbrt abs real imag conj integer_pow pow square add sub mul div rem max min atan2 nextafter "
    "and or xor not shift_left shift_right_logical shift_right_arithmetic eq ne lt le gt ge eq_to le_to lt_to complex erf "
    "erfc mulhi erf_inv lgamma digamma polygamma igamma igammac igamma_grad_a random_gamma_grad bessel_i0e bessel_i1e zeta "
    "regularized_incomplete_beta population_count clz reduce_precision clamp add_any"
).split()
_PASSED_ON = (
    "copy copy_p stop_gradient optimization_barrier device_put name sharding_constraint pvary pcast random_wrap "
    "random_unwrap"
).split()

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_CALLS, _elementwise),
    **dict.fromkeys(_PASSED_ON, _same),
    "select_n": _select,
    "convert_element_type": _convert,
    "bitcast_convert_type": _bitcast,
}
