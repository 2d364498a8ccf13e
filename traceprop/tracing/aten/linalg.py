"""Contractions: sums of products over shared axes, and distances, which read alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from traceprop.ir import Expr, Value
from traceprop.ir.given_map import GivenLook, GivenMap, GivenRead
from traceprop.ir.index_map import Full, axes, axis
from traceprop.ir.opset import contract, elementwise, opaque
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule

Handler = Callable[[Aten], Any]


def _contraction(spec: str) -> Handler:
    return lambda a: a.emit(contract, spec=spec)


def _added(spec: str, product: Any) -> Handler:
    """beta*%bias + alpha*product; with beta=0 the bias is not read at all."""

    def handler(a: Aten) -> Value:
        bias, left, right = a.tensors
        alpha, beta = a["alpha"], a["beta"]
        if a.sizes:
            raise NoRule
        made = a.emit(contract, [left, right], product, product.__name__, spec=spec)
        scaled = {key: value for key, value in (("alpha", alpha), ("beta", beta)) if value != 1}

        def total(m: Any, b: Any = 0) -> Any:
            return (b if beta == 1 else beta * b) + (m if alpha == 1 else alpha * m)

        if beta == 0:
            return made if alpha == 1 else a.emit(elementwise, [made], lambda m: alpha * m, "mul", **scaled)
        return a.emit(elementwise, [made, bias], total, "add", **scaled)

    return handler


def _cdist(a: Aten) -> Any:
    """(i, j) <- %x1[i, *], %x2[j, *]"""
    left, right = a.tensors
    if left.rank != right.rank or left.type.dims[:-2] != right.type.dims[:-2]:
        raise NoRule
    *lead, i, j = axes(left.rank)
    return a.mapped(GivenRead(0, (*lead, i, Full())), GivenRead(1, (*lead, j, Full())))


def _pdist(a: Aten) -> Any:
    """(p) <- %x[first[p], *], %x[second[p], *], for every pair of rows."""
    rows = a.x.type.dims[0]
    if isinstance(rows, Expr):
        raise NoRule
    first, second = (a.held(side, "i64") for side in torch.triu_indices(rows, rows, 1).unbind())
    reads = tuple(GivenRead(0, (GivenLook(k, (axis(0),)), Full())) for k in (1, 2))
    native = lambda x, i, j: a.native(x)  # noqa: E731
    return a.emit(opaque, [a.x, first, second], native, rule=GivenMap(reads), shape=a.type.dims, **a.scalars())


def _fourier(a: Aten) -> Any:
    """(i, j) <- %x[i, *]: all along the axes of the transform."""
    along = {int(k) % a.x.rank for k in a["dim"]}
    return a.mapped(GivenRead(0, tuple(Full() if k in along else axis(k) for k in range(a.x.rank))))


HANDLERS: dict[str, Handler] = {
    "mm": _contraction("ab,bc->ac"),
    "bmm": _contraction("zab,zbc->zac"),
    "mv": _contraction("ab,b->a"),
    "dot": _contraction("a,a->"),
    "vdot": _contraction("a,a->"),
    "addmm": _added("ab,bc->ac", torch.mm),
    "baddbmm": _added("zab,zbc->zac", torch.bmm),
    "addmv": _added("ab,b->a", torch.mv),
    "_cdist_forward": _cdist,
    "_pdist_forward": _pdist,
    **dict.fromkeys("_fft_r2c _fft_c2r _fft_c2c".split(), _fourier),
}
