"""Primitives over whole matrices, batch by batch, transforms, and random bits."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from traceprop.ir import Kind
from traceprop.ir.given_map import GivenLook, GivenMap, GivenRead
from traceprop.ir.index_map import Full, axes, axis
from traceprop.ir.opset import opaque
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, Known, NoRule, all_cells


def matrices(exact: bool, cells: int = 2) -> Handler:
    """Each result matrix reads all of its operands' matrices, whose axes are their last ones."""

    def handler(e: Equation) -> Sequence[Held]:
        batch = e.x.rank - cells
        values = [e.graph.value(held) for held in e.inputs]
        if batch < 0 or any(len(type.dims) < batch or type.dims[:batch] != e.x.type.dims[:batch] for type in e.types):
            raise NoRule
        if any(value.type.dims[:batch] != e.x.type.dims[:batch] for value in values):
            raise NoRule
        lead = tuple(axis(k) for k in range(batch))
        reads = tuple(GivenRead(k, (*lead, *(Full(),) * (v.rank - batch))) for k, v in enumerate(values))
        return e.opaque(GivenMap(reads, exact), **e.scalars())

    return handler


def _linear_solve(e: Equation) -> Sequence[Held]:
    """`lax.custom_linear_solve` computes what its own `solve` does."""
    lengths, bodies = e["const_lengths"], e["jaxprs"]
    skipped = lengths.matvec + lengths.vecmat
    constants = e.inputs[skipped : skipped + lengths.solve]
    right = e.inputs[sum(lengths) :]
    return e.bodies.inlined(bodies.solve, [*constants, *right])


def _ragged_dot(e: Equation) -> Sequence[Held]:
    """(i, j) <- %left[i, *], %right[%groups[i], *, j]: rows in runs, each run multiplied by the matrix of its group."""
    numbers = e["ragged_dot_dimension_numbers"]
    plain = numbers.dot_dimension_numbers == (((1,), (1,)), ((), ()))
    runs = (tuple(numbers.lhs_ragged_dimensions), tuple(numbers.rhs_group_dimensions)) == ((0,), (0,))
    rows, count = e.x.type.dims[0], e.graph.value(e.inputs[1]).type.dims[0]
    if not plain or not runs or len(e.inputs) != 3 or not count:
        raise NoRule
    sizes, exact = e.inputs[2], False
    groups: Held
    if isinstance(sizes, Known) and int(np.sum(sizes.array)) == rows:
        groups, exact = Known(np.repeat(np.arange(count, dtype=np.int32), np.asarray(sizes.array))), True
    else:  # rows behind the last run are 0, and named with the last group
        native = functools.partial(_group_of_row, rows, count)
        groups = e.emit(
            opaque, [sizes], native, "group_of_row", "i32", all_cells([e.graph.value(sizes)], False), shape=(rows,)
        )
    i, j = axes(2)
    reads = (
        GivenRead(0, (i, Full())),
        GivenRead(1, (GivenLook(2, (i,)), Full(), j)),
        GivenRead(2, (i,), Kind.CONTROL),
    )
    operands = [e.inputs[0], e.inputs[1], groups, sizes]
    return [e.emit(opaque, operands, functools.partial(_dotted, e.native), rule=GivenMap(reads, exact), shape=e.shape)]


def _group_of_row(rows: int, count: int, sizes: Any) -> Any:
    ends = jnp.cumsum(sizes)
    return jnp.clip(jnp.searchsorted(ends, jnp.arange(rows), side="right"), 0, count - 1).astype(jnp.int32)


def _dotted(native: Any, left: Any, right: Any, groups: Any, sizes: Any) -> Any:
    return native(left, right, sizes)


def _fft(e: Equation) -> Sequence[Held]:
    """Each frequency reads all cells along the transformed axes, which are the last ones."""
    cells = len(e["fft_lengths"])
    rank = e.x.rank
    places = tuple(axis(k) if k < rank - cells else Full() for k in range(rank))
    return e.opaque(GivenMap((GivenRead(0, places),), True), **e.scalars())


def _drawn(e: Equation) -> Sequence[Held]:
    """Every bit hangs on all of its own key, and on the number folded into that; of threefry's keys, which have two words.

    Other generators take several keys together as they see fit.
    """
    operands = [e.graph.value(held) for held in e.inputs]
    key, batch = operands[0], operands[0].type.dims[:-1]
    if key.type.dims[-1:] != (2,) or e.shape[: len(batch)] != batch or any(v.type.dims != batch for v in operands[1:]):
        return e.opaque(all_cells(operands, not batch))
    own = axes(len(batch))
    return e.opaque(GivenMap((GivenRead(0, (*own, Full())), *(GivenRead(k, own) for k in range(1, len(operands))))))


def _seeded(e: Equation) -> Sequence[Held]:
    """A key of each seed."""
    return e.opaque(GivenMap((GivenRead(0, axes(e.x.rank)),)))


def _scrambled(e: Equation) -> Sequence[Held]:
    """Cell by cell: two words of a counter, by two of a key, which both results hang on."""
    operands = [e.graph.value(held) for held in e.inputs]
    if any(value.type.dims != e.shape for value in operands):
        return e.opaque(all_cells(operands, False))
    return e.opaque(GivenMap(tuple(GivenRead(k, axes(len(e.shape))) for k in range(len(operands)))))


def _generated(e: Equation) -> Sequence[Held]:
    return e.opaque(all_cells([e.graph.value(held) for held in e.inputs], True), **e.scalars())


def _gamma(e: Equation) -> Sequence[Held]:
    """A cell is drawn by its own key, or the one for all, with its own parameter."""
    key, shape = (e.graph.value(held) for held in e.inputs)
    own = axes(shape.rank)
    keys = (*own, Full()) if key.type.dims[:-1] == shape.type.dims else (Full(),) * key.rank
    return e.opaque(GivenMap((GivenRead(0, keys), GivenRead(1, own))), **e.scalars())


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys("eigh svd eig schur".split(), matrices(True)),
    **dict.fromkeys("geqrf householder_product hessenberg tridiagonal".split(), matrices(False)),
    "lu_pivots_to_permutation": matrices(True, 1),
    "custom_linear_solve": _linear_solve,
    "ragged_dot_general": _ragged_dot,
    "fft": _fft,
    "random_gamma": _gamma,
    **dict.fromkeys("random_bits random_split random_fold_in".split(), _drawn),
    "random_seed": _seeded,
    "threefry2x32": _scrambled,
    "rng_bit_generator": _generated,
}
