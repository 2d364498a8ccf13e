"""All of jax.numpy, each function with arrays to try it on."""
# ruff: noqa: B008 (the functions that lambdas in a loop hold on to are looked up in their defaults)

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp

from tests.lineage.case import Case, Draw, complexes, counts, few, floats, gaps, masks, mixed, wholes

A, V, X, S, SB = floats(3, 2), floats(4), floats(2, 3, 2), floats(3, 3), floats(2, 2, 2)
M, I, B, Z = mixed(3, 2), wholes(3, 2, low=0, high=6), masks(3, 2), complexes(3, 2)  # noqa: E741
F, G = few(3, 2), gaps(3, 2)
TRUE_NOW_AND_THEN = lambda rng: rng.random((3, 2)) < rng.choice([0.05, 0.95])  # noqa: E731
Cases = dict[str, dict[str, Case]]
ENDS = "the first and last are ends"
ROUNDS = "rounding hides some cells"


def each(module: Any, names: str, *draws: Draw, blind: str = "", **options: Any) -> Cases:
    found: Cases = {}
    for name in names.split():
        function = partial(getattr(module, name), **options) if options else getattr(module, name)
        found[f"{module.__name__}.{name}"] = {"": Case(_plainly(function), draws, blind)}
    return found


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: function(*given)


def called(module: Any, **cases: tuple[Any, ...]) -> Cases:
    """`name=(function of arrays, draws…)`; a text among them says what draws do not see."""
    found: Cases = {}
    for name, (function, *rest) in cases.items():
        blind = next((each for each in rest if isinstance(each, str)), "")
        found[f"{module.__name__}.{name}"] = {
            "": Case(function, tuple(each for each in rest if not isinstance(each, str)), blind)
        }
    return found


def _folds(names: str, *draws: Draw) -> Cases:
    return {
        f"jax.numpy.{name}": {
            "axis": Case(lambda a, f=getattr(jnp, name): f(a, axis=0), draws),
            "all": Case(lambda a, f=getattr(jnp, name): f(a), draws),
        }
        for name in names.split()
    }


CELL_BY_CELL: Cases = {
    **each(
        jnp,
        "abs acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh cbrt ceil conj "
        "copy cos cosh deg2rad degrees exp exp2 expm1 fabs floor isfinite isinf isnan isneginf isposinf log "
        "log10 log1p log2 nan_to_num negative positive rad2deg radians reciprocal rint sign signbit sin sinc "
        "sinh spacing sqrt square tan tanh trunc frexp modf i0 round around",
        M,
    ),
    **each(
        jnp,
        "angle conjugate imag real iscomplex isreal absolute",
        lambda rng: rng.choice([1 + 0j, 1j, 2 - 1j, -3], (3, 2)),
    ),
    **each(
        jnp,
        "add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 atan2 hypot logaddexp "
        "logaddexp2 copysign float_power fmod mod remainder floor_divide divmod nextafter power pow",
        M,
        M,
    ),
    **each(jnp, "equal not_equal less less_equal greater greater_equal heaviside isclose", F, F),
    **each(
        jnp,
        "bitwise_and bitwise_or bitwise_xor gcd lcm left_shift right_shift bitwise_left_shift bitwise_right_shift",
        I,
        I,
    ),
    **each(jnp, "invert bitwise_not bitwise_invert bitwise_count", I),
    **each(jnp, "logical_and logical_or logical_xor", B, B),
    **each(jnp, "logical_not", B),
    **called(
        jnp,
        ldexp=(jnp.ldexp, A, I),
        clip=(lambda a: jnp.clip(a, -0.5, 0.5), A),
        where=(jnp.where, B, A, A),
        astype=(lambda a: jnp.astype(a, jnp.float32), A),
        select=(lambda a, b: jnp.select([a > 1, a > 0], [b, a], -1.0), F, A),
        piecewise=(lambda v: jnp.piecewise(v, [v < 0, v >= 1], [lambda x: x * 2, lambda x: x - 1, 0.5]), F),
        choose=(lambda i, a, b: jnp.choose(i, [a, b], mode="clip"), counts(3, 2, high=2), A, A),
        vectorize=(lambda a: jnp.vectorize(lambda x: x * 2)(a), A),
    ),
}
SHAPES: Cases = {
    **each(
        jnp,
        "atleast_1d atleast_2d atleast_3d fliplr flip flipud matrix_transpose ravel rot90 squeeze transpose unstack",
        A,
    ),
    **each(jnp, "tril triu", S),
    **each(jnp, "diag diagflat", floats(3)),
    **called(
        jnp,
        array=(lambda a, b: jnp.array([a, b]), A, A),
        asarray=(jnp.asarray, A),
        append=(lambda a, b: jnp.append(a, b, axis=1), A, A),
        array_split=(lambda v: jnp.array_split(v, 2), V),
        block=(lambda a, b: jnp.block([[a, b], [b, a]]), A, A),
        broadcast_arrays=(jnp.broadcast_arrays, A, floats(2)),
        broadcast_to=(lambda v: jnp.broadcast_to(v, (2, 4)), V),
        column_stack=(lambda a, b: jnp.column_stack([a, b]), A, A),
        concatenate=(lambda a, b: jnp.concatenate([a, b]), A, A),
        concat=(lambda a, b: jnp.concat([a, b]), A, A),
        stack=(lambda a, b: jnp.stack([a, b], 1), A, A),
        hstack=(lambda a, b: jnp.hstack([a, b]), A, A),
        vstack=(lambda a, b: jnp.vstack([a, b]), A, A),
        dstack=(lambda a, b: jnp.dstack([a, b]), A, A),
        delete=(lambda a: jnp.delete(a, 1, axis=0), A),
        diagonal=(lambda x: jnp.diagonal(x, 0, 1, 2), SB),
        dsplit=(lambda x: jnp.dsplit(x, 2), X),
        hsplit=(lambda a: jnp.hsplit(a, 2), A),
        vsplit=(lambda x: jnp.vsplit(x, 2), X),
        split=(lambda a: jnp.split(a, 3), A),
        expand_dims=(lambda a: jnp.expand_dims(a, 1), A),
        insert=(lambda a: jnp.insert(a, 1, 7.0, axis=0), A),
        meshgrid=(jnp.meshgrid, V, floats(2)),
        moveaxis=(lambda x: jnp.moveaxis(x, 0, -1), X),
        pad=(lambda a: jnp.pad(a, 1, mode="reflect"), A),
        permute_dims=(lambda x: jnp.permute_dims(x, (2, 0, 1)), X),
        repeat=(lambda a: jnp.repeat(a, 2, axis=0), A),
        reshape=(lambda a: jnp.reshape(a, (2, 3)), A),
        resize=(lambda a: jnp.resize(a, (2, 4)), A),
        roll=(lambda a: jnp.roll(a, 1, 0), A),
        rollaxis=(lambda x: jnp.rollaxis(x, 2), X),
        swapaxes=(lambda x: jnp.swapaxes(x, 0, 2), X),
        tile=(lambda a: jnp.tile(a, (2, 1)), A),
        trim_zeros=(lambda v: v[1:], V),
    ),
}
MADE: Cases = called(
    jnp,
    arange=(lambda v: jnp.arange(1, 5) * v, V),
    bartlett=(lambda v: (jnp.bartlett(4) + 1) * v, V),
    blackman=(lambda v: (jnp.blackman(4) + 1) * v, V),
    hamming=(lambda v: jnp.hamming(4) * v, V),
    hanning=(lambda v: (jnp.hanning(4) + 1) * v, V),
    kaiser=(lambda v: jnp.kaiser(4, 5.0) * v, V),
    empty=(lambda v: jnp.empty(4) + v, V),
    empty_like=(lambda v: jnp.empty_like(v) + v, V),
    eye=(lambda s: (jnp.eye(3) + 1) @ s, S),
    identity=(lambda s: (jnp.identity(3) + 1) @ s, S),
    full=(lambda v: jnp.full((2, 2), v[0]), V),
    full_like=(lambda v: jnp.full_like(v, v[0]), V),
    fromfunction=(lambda a: jnp.fromfunction(lambda i, j: i + j, (3, 2)) + a, A),
    geomspace=(lambda v: jnp.geomspace(jnp.exp(v[0]), jnp.exp(v[1]), 4), V, ENDS),
    linspace=(lambda v: jnp.linspace(v[0], v[1], 4), V, ENDS),
    logspace=(lambda v: jnp.logspace(v[0], v[1], 4), V, ENDS),
    indices=(lambda a: jnp.indices((3, 2))[0] + a, A),
    ones=(lambda v: jnp.ones(4) + v, V),
    ones_like=(lambda v: jnp.ones_like(v) + v, V),
    zeros=(lambda v: jnp.zeros(4) + v, V),
    zeros_like=(lambda v: jnp.zeros_like(v) + v, V),
    tri=(lambda s: jnp.tri(3) + s, S),
    diag_indices=(lambda s: s[jnp.diag_indices(3)], S),
    diag_indices_from=(lambda s: s[jnp.diag_indices_from(s)], S),
    tril_indices=(lambda s: s[jnp.tril_indices(3)], S),
    triu_indices=(lambda s: s[jnp.triu_indices(3)], S),
    tril_indices_from=(lambda s: s[jnp.tril_indices_from(s)], S),
    triu_indices_from=(lambda s: s[jnp.triu_indices_from(s)], S),
    mask_indices=(lambda s: s[jnp.mask_indices(3, jnp.triu, size=6)], S),
    ix_=(lambda s: s[jnp.ix_(jnp.array([0, 2]), jnp.array([1]))], S),
)
FOLDS: Cases = {
    **_folds("sum prod mean std var min max amin amax median ptp count_nonzero", F),
    **_folds("any all", TRUE_NOW_AND_THEN),
    **_folds("nansum nanprod nanmean nanstd nanvar nanmin nanmax nanmedian", G),
    **_folds("argmax argmin cumsum cumprod nancumsum nancumprod", A),
    **_folds("nanargmax nanargmin", A),
    **each(jnp, "diff ediff1d gradient unwrap", floats(4)),
    **each(jnp, "cov", A),
    **each(jnp, "corrcoef", floats(2, 4), blind="an entry of the diagonal is 1 whatever the row holds"),
    **called(
        jnp,
        quantile=(lambda a: jnp.quantile(a, 0.3, axis=0), floats(4, 2)),
        percentile=(lambda a: jnp.percentile(a, 30.0, axis=0), floats(4, 2)),
        nanquantile=(lambda a: jnp.nanquantile(a, 0.3, axis=0), gaps(4, 2)),
        nanpercentile=(lambda a: jnp.nanpercentile(a, 30.0, axis=0), gaps(4, 2)),
        average=(lambda a, w: jnp.average(a, axis=0, weights=jnp.abs(w) + 1), A, floats(3)),
        cumulative_sum=(lambda v: jnp.cumulative_sum(v, include_initial=True), V),
        cumulative_prod=(lambda v: jnp.cumulative_prod(v, include_initial=True), V),
        trapezoid=(jnp.trapezoid, V, V),
        apply_along_axis=(lambda a: jnp.apply_along_axis(lambda r: r - r.mean(), 1, a), A),
        apply_over_axes=(lambda x: jnp.apply_over_axes(jnp.sum, x, [0, 2]), X),
        histogram=(lambda v: jnp.histogram(v, bins=jnp.array([-2.0, -1, 0, 1, 2]))[0], V),
        histogram2d=(
            lambda v, w: jnp.histogram2d(v, w, bins=[jnp.array([-1.0, 0, 1]), jnp.array([-1.0, 0.5, 2])])[0],
            V,
            V,
        ),
        histogramdd=(lambda a: jnp.histogramdd(a, bins=[jnp.array([-1.0, 0, 1])] * 2)[0], A),
        histogram_bin_edges=(lambda v: jnp.histogram_bin_edges(v, bins=3), V, ENDS),
        bincount=(lambda i: jnp.bincount(i, length=4), counts(5)),
    ),
}
SEARCH: Cases = {
    **each(jnp, "sort argsort", A),
    **each(jnp, "allclose array_equal array_equiv", few(2), few(2)),
    **each(jnp, "sort_complex", complexes(3)),
    **called(
        jnp,
        argpartition=(lambda v: jnp.argpartition(v, 1), V),
        partition=(lambda v: jnp.partition(v, 1), V),
        lexsort=(lambda v, w: jnp.lexsort((v, w)), V, few(4)),
        searchsorted=(lambda v, w: jnp.searchsorted(jnp.sort(v), w), V, V),
        digitize=(lambda v, b: jnp.digitize(v, jnp.sort(b)), V, floats(3)),
        interp=(lambda v, w: jnp.interp(v, jnp.array([-1.0, 0, 1]), w), V, floats(3)),
        take=(lambda a, i: jnp.take(a, i, axis=0), A, counts(2, high=3)),
        take_along_axis=(lambda a, i: jnp.take_along_axis(a, i, axis=0), A, counts(2, 2, high=3)),
        isin=(lambda i: jnp.isin(i, jnp.array([1, 2])), counts(5)),
        nonzero=(lambda m: jnp.nonzero(m, size=3), masks(4), "how many are true before"),
        flatnonzero=(lambda m: jnp.flatnonzero(m, size=3), masks(4), "how many are true before"),
        argwhere=(lambda m: jnp.argwhere(m, size=3), masks(4), "how many are true before"),
        compress=(lambda a: jnp.compress(jnp.array([True, False, True]), a, axis=0, size=2), A),
        extract=(lambda v, m: jnp.extract(m, v, size=3), V, masks(4), "how many are true before"),
        unique=(lambda i: jnp.unique(i, size=4), counts(4), "what the smallest are"),
        unique_values=(lambda i: jnp.unique_values(i, size=4), counts(4), "what the smallest are"),
        unique_counts=(lambda i: jnp.unique_counts(i, size=4), counts(4), "what the smallest are"),
        unique_inverse=(lambda i: jnp.unique_inverse(i, size=4), counts(4), "what the smallest are"),
        unique_all=(lambda i: jnp.unique_all(i, size=4), counts(4), "what the smallest are"),
        union1d=(lambda i, j: jnp.union1d(i, j, size=4), counts(3), counts(2), "what the smallest are"),
        intersect1d=(lambda i, j: jnp.intersect1d(i, j, size=3), counts(3), counts(3), "what the smallest are"),
        setdiff1d=(lambda i, j: jnp.setdiff1d(i, j, size=3), counts(3), counts(3), "what the smallest are"),
        setxor1d=(lambda i, j: jnp.setxor1d(i, j, size=4), counts(3), counts(3), "what the smallest are"),
        unravel_index=(lambda i: jnp.unravel_index(i, (2, 3)), counts(4)),
        ravel_multi_index=(lambda i, j: jnp.ravel_multi_index((i, j), (4, 4), mode="clip"), counts(4), counts(4)),
        packbits=(jnp.packbits, masks(10)),
        unpackbits=(lambda i: jnp.unpackbits(i.astype(jnp.uint8)), counts(2, high=256)),
        put=(lambda v, w: jnp.put(v, jnp.array([2, 0]), w[:2], inplace=False), V, V),
        put_along_axis=(lambda a, b: jnp.put_along_axis(a, jnp.array([[0, 1]]), b[:1], 0, inplace=False), A, A),
        place=(lambda v: jnp.place(v, jnp.array([True, False, True, False]), jnp.array([9.0]), inplace=False), V),
        fill_diagonal=(lambda s: jnp.fill_diagonal(s, 2.0, inplace=False), S),
    ),
}
LINEAR: Cases = {
    **each(jnp, "dot matmul inner", S, S),
    **each(jnp, "vdot vecdot outer convolve correlate polyadd polysub polymul", V, V),
    **each(jnp, "kron", floats(2, 2), floats(2, 2)),
    **each(jnp, "cross", floats(2, 3), floats(2, 3)),
    **each(jnp, "trace", S),
    **called(
        jnp,
        einsum=(lambda a, b: jnp.einsum("ij,kj->ik", a, b), A, A),
        tensordot=(lambda x, s: jnp.tensordot(x, s, axes=([1], [0])), X, S),
        matvec=(jnp.matvec, S, floats(3)),
        vecmat=(jnp.vecmat, floats(3), S),
        vander=(lambda v: jnp.vander(v, 3), V, "a power of 0"),
        poly=(jnp.poly, floats(3)),
        polyder=(jnp.polyder, V),
        polyint=(jnp.polyint, V),
        polyval=(jnp.polyval, floats(3), V),
        polydiv=(jnp.polydiv, V, floats(2)),
        polyfit=(lambda v: jnp.polyfit(jnp.arange(4.0), v, 1), V),
        roots=(lambda v: jnp.roots(v, strip_zeros=False), floats(3)),
    ),
}
LINEAR |= {
    **each(
        jnp.linalg,
        "inv det slogdet pinv cond eig eigvals svdvals matrix_norm norm trace diagonal matrix_transpose vector_norm",
        floats(2, 2),
    ),
    **each(jnp.linalg, "svd qr eigh eigvalsh", floats(3, 3), blind="triangles that are not read, and signs"),
    **each(jnp.linalg, "solve", S, floats(3)),
    **each(jnp.linalg, "matmul vecdot", floats(2, 2), floats(2, 2)),
    **called(
        jnp.linalg,
        cholesky=(lambda s: jnp.linalg.cholesky(s @ s.T + jnp.eye(3)), S, "the upper triangle is 0"),
        cross=(jnp.linalg.cross, floats(2, 3), floats(2, 3)),
        lstsq=(lambda a, v: jnp.linalg.lstsq(a, v)[0], A, floats(3)),
        matrix_power=(lambda s: jnp.linalg.matrix_power(s, 3), S),
        matrix_rank=(jnp.linalg.matrix_rank, lambda rng: rng.choice([0.0, 1.0], (2, 2))),
        multi_dot=(lambda a, s: jnp.linalg.multi_dot([s, s, a]), A, S),
        outer=(jnp.linalg.outer, V, V),
        tensordot=(jnp.linalg.tensordot, S, S),
        tensorinv=(lambda s: jnp.linalg.tensorinv(s.reshape(4, 2, 2), ind=1), floats(4, 4)),
        tensorsolve=(lambda s, b: jnp.linalg.tensorsolve(s.reshape(4, 2, 2), b), floats(4, 4), V),
    ),
    **each(jnp.fft, "fft ifft fft2 ifft2 fftn ifftn rfft rfft2 rfftn ihfft fftshift ifftshift", floats(2, 4)),
    **each(
        jnp.fft, "irfft irfft2 irfftn hfft", complexes(2, 3), blind="imaginary parts that a real result has none of"
    ),
    **called(
        jnp.fft,
        fftfreq=(lambda v: (jnp.fft.fftfreq(4) + 1) * v, V),
        rfftfreq=(lambda v: (jnp.fft.rfftfreq(4) + 1) * v[:3], V),
    ),
}
