"""Primitives over whole matrices, batch by batch, transforms, and random bits."""

from __future__ import annotations

from collections.abc import Sequence

from traceprop.ir.given_map import GivenMap, GivenRead
from traceprop.ir.index_map import AxisRead, Full, axes, axis
from traceprop.tracing.jaxpr.graph import Equation, Handler, Held, NoRule, all_cells


def _matrices(exact: bool, cells: int = 2) -> Handler:
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


def _triangular_solve(e: Equation) -> Sequence[Held]:
    """A column (row, from the right) of the solution reads the matrix and the same column (row) of the other operand."""
    a, b = e.x, e.graph.value(e.inputs[1])
    batch = b.rank - 2
    lead: tuple[AxisRead, ...] = tuple(axis(k) for k in range(batch))
    own = (Full(), axis(batch + 1)) if e["left_side"] else (axis(batch), Full())
    if a.type.dims[:batch] != b.type.dims[:batch]:
        raise NoRule
    reads = (GivenRead(0, (*lead, Full(), Full())), GivenRead(1, (*lead, *own)))
    return e.opaque(GivenMap(reads, False), **e.scalars())


def _linear_solve(e: Equation) -> Sequence[Held]:
    """`lax.custom_linear_solve` computes what its own `solve` does."""
    lengths, bodies = e["const_lengths"], e["jaxprs"]
    skipped = lengths.matvec + lengths.vecmat
    constants = e.inputs[skipped : skipped + lengths.solve]
    right = e.inputs[sum(lengths) :]
    return e.bodies.inlined(bodies.solve, [*constants, *right])


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
    **dict.fromkeys("eigh svd eig schur".split(), _matrices(True)),
    **dict.fromkeys("cholesky geqrf lu qr householder_product hessenberg tridiagonal".split(), _matrices(False)),
    "lu_pivots_to_permutation": _matrices(True, 1),
    "triangular_solve": _triangular_solve,
    "custom_linear_solve": _linear_solve,
    "fft": _fft,
    "random_gamma": _gamma,
    **dict.fromkeys("random_bits random_split random_fold_in".split(), _drawn),
    "random_seed": _seeded,
    "threefry2x32": _scrambled,
    "rng_bit_generator": _generated,
}
