"""NumPy functions that preprocessing uses, each with arrays to try it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import traceprop as tp

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A function, and for each source how an array for it is drawn. `blind`: why draws do not see all that is read."""

    apply: Callable[..., Any]
    draws: tuple[Draw, ...]
    blind: str = ""


def floats(*shape: int) -> Draw:
    return lambda rng: rng.normal(size=shape)


def few(*shape: int) -> Draw:
    """Few different numbers, so that ties and equal keys are common."""
    return lambda rng: rng.choice([-1.0, 0.0, 0.5, 1.0, 2.0], size=shape)


def counts(*shape: int, high: int = 4) -> Draw:
    return lambda rng: rng.integers(0, high, size=shape)


def masks(*shape: int) -> Draw:
    return lambda rng: rng.random(shape) < 0.5


def gaps(*shape: int) -> Draw:
    return lambda rng: np.where(rng.random(shape) < 0.3, np.nan, rng.normal(size=shape))


def complexes(*shape: int) -> Draw:
    return lambda rng: rng.normal(size=shape) + 1j * rng.normal(size=shape)


def texts(*shape: int) -> Draw:
    return lambda rng: rng.choice(["a", "b ", "Ab", "C", " ", " d"], size=shape)


def dates(*shape: int) -> Draw:
    return lambda rng: np.datetime64("2020-01-01") + rng.integers(0, 60, size=shape).astype("m8[D]")


def times(*shape: int) -> Draw:
    return lambda rng: (
        np.datetime64("2020-01-01T00:00:00.000000") + rng.integers(0, 10**12, size=shape).astype("m8[us]")
    )


A, V, X, S, SB = floats(4, 3), floats(5), floats(2, 3, 4), floats(3, 3), floats(2, 3, 3)
I = counts(5)  # noqa: E741
DAY = np.timedelta64(1, "D")
MODES = ("full", "same", "valid")
windows = np.lib.stride_tricks.sliding_window_view


def _positive(x: Any) -> Any:
    return np.matmul(x, np.swapaxes(x, -1, -2)) + np.eye(3)


def _of(module: Any, names: str, *draws: Draw) -> dict[str, Case]:
    return {
        f"{module.__name__.removeprefix('numpy.')} {name}": Case(getattr(module, name), draws) for name in names.split()
    }


CASES: dict[str, Case] = {
    # distinct values, sets, lookups, bins
    "unique": Case(np.unique, (I,)),
    "unique inverse": Case(lambda v: np.unique(v, return_inverse=True)[1], (I,)),
    "unique counts": Case(lambda v: np.unique(v, return_counts=True)[1], (I,)),
    "unique index": Case(lambda v: np.unique(v, return_index=True)[1], (I,)),
    "unique rows": Case(lambda v: np.unique(v, axis=0), (counts(4, 2, high=2),), "the first cell is the minimum of its column"),
    "unique of a matrix": Case(np.unique, (counts(3, 2),)),
    "isin": Case(lambda v, w: np.isin(v, w), (I, counts(3))),
    "isin plain": Case(lambda v: np.isin(v, [1, 2]), (I,)),
    **{name: Case(getattr(np, name), (counts(3), counts(3))) for name in ("intersect1d", "union1d", "setdiff1d", "setxor1d")},
    "searchsorted": Case(lambda a, v: np.searchsorted(np.sort(a), v), (V, floats(3))),
    "searchsorted a number": Case(lambda a: np.searchsorted(np.sort(a), 0.3), (V,)),
    "searchsorted in plain": Case(lambda v: np.searchsorted(np.array([-1.0, 0, 1]), v), (V,)),
    "digitize": Case(lambda v, b: np.digitize(v, np.sort(b)), (V, floats(3))),
    "interp": Case(lambda v, w: np.interp(v, [-1.0, 0, 1.0], w), (V, floats(3))),
    "interp axes": Case(lambda v, xs, w: np.interp(v, np.sort(xs), w), (V, floats(3), floats(3))),
    "histogram": Case(lambda v: np.histogram(v, bins=[-2, -1, 0, 1.0, 2])[0], (V,)),
    "histogram edges": Case(lambda v: np.histogram(v, bins=[-1, 0, 1.0])[1], (V,)),
    "histogram by number": Case(lambda v: np.histogram(v, bins=3), (V,)),
    "histogram weights": Case(lambda v, w: np.histogram(v, bins=[-1, 0, 1.0], weights=w)[0], (V, V)),
    "histogram2d": Case(lambda v, w: np.histogram2d(v, w, bins=2), (V, V)),
    "histogram_bin_edges": Case(lambda v: np.histogram_bin_edges(v, bins=2), (V,)),
    "bincount": Case(lambda v: np.bincount(v, minlength=4), (I,)),
    "bincount weights": Case(lambda v, w: np.bincount(v, w, minlength=4), (I, V)),
    # statistics
    "percentiles": Case(lambda a: np.percentile(a, [25, 50], axis=0), (A,)),
    "quantiles": Case(lambda a: np.quantile(a, [[0.2], [0.9]]), (A,)),
    "quantiles of few bits": Case(lambda a: np.quantile(a.astype("f4"), [0.2, 0.9], axis=(0, 2)), (X,)),
    "nanpercentile": Case(lambda a: np.nanpercentile(a, 30, axis=0), (A,)),
    "average": Case(lambda a: np.average(a, axis=0), (A,)),
    "average weights": Case(lambda a, w: np.average(a, axis=0, weights=np.abs(w)), (A, floats(4))),
    "average wide weights": Case(lambda a, w: np.average(a, axis=1, weights=np.exp(w)), (A, A)),
    "nanargmax": Case(lambda a: np.nanargmax(a, axis=0), (A,)),
    "nanmedian": Case(lambda a: np.nanmedian(a, axis=1), (A,)),
    "nancumsum": Case(lambda a: np.nancumsum(a, axis=1), (A,)),
    "cov": Case(np.cov, (A,)),
    "cov of columns": Case(lambda a: np.cov(a, rowvar=False), (A,)),
    "cov of two": Case(lambda v, w: np.cov(v, w), (V, V)),
    "corrcoef": Case(lambda a: np.corrcoef(a), (floats(3, 5),), "an entry of the diagonal is 1 whatever the row holds"),
    "where sum": Case(lambda a, m: np.sum(a, axis=0, where=m), (A, masks(4, 3))),
    "where mean": Case(lambda a: np.mean(a, axis=1, where=np.abs(a) > 0.3), (A,)),
    "where std": Case(lambda a, m: np.std(a, axis=0, where=m), (A, masks(4, 1))),
    "where max": Case(lambda a, m: np.max(a, axis=0, where=m, initial=-1.0), (A, masks(4, 3))),
    "where any": Case(lambda a, m: np.any(a > 0, axis=0, where=m), (A, masks(4, 3))),
    "initial": Case(lambda a: np.max(a, axis=0, initial=0.0), (A,)),
    "add.reduce where": Case(lambda a, m: np.add.reduce(a, axis=0, where=m), (A, masks(4, 3))),
    "add.reduce initial": Case(lambda a: np.add.reduce(a, axis=0, initial=5.0), (A,)),
    "accumulate": Case(lambda a: np.multiply.accumulate(a, axis=1), (A,)),
    "outer": Case(np.subtract.outer, (V, floats(2))),
    "outer wide": Case(np.less.outer, (floats(2), A)),
    "out": Case(lambda a, b: np.divide(a, b, out=np.zeros_like(a), where=b > 0), (A, A)),
    "modf": Case(np.modf, (V,)),
    "divmod": Case(lambda v: np.divmod(v, 0.3), (V,)),
    "diff": Case(lambda v: np.diff(v, n=2, prepend=0.0), (V,)),
    "diff append": Case(lambda a, b: np.diff(a, axis=0, append=b[:1]), (A, A)),
    "ediff1d": Case(lambda v: np.ediff1d(v, to_begin=0.0, to_end=[1.0, 2.0]), (V,)),
    "gradient": Case(np.gradient, (V,)),
    "gradient of axes": Case(lambda a: np.gradient(a, 2.0), (A,)),
    "trapezoid": Case(lambda v, x: np.trapezoid(v, x), (V, V)),
    "unwrap": Case(lambda v: np.unwrap(v * 9), (V,)),
    "cumulative_sum": Case(lambda a: np.cumulative_sum(a, axis=0, include_initial=True), (A,)),
    "apply_along_axis": Case(lambda a: np.apply_along_axis(lambda row: row - row.mean(), 1, a), (A,)),
    "apply_over_axes": Case(lambda x: np.apply_over_axes(np.sum, x, [0, 2]), (X,)),
    # linear algebra over leading axes
    **_of(np.linalg, "inv det slogdet cond pinv", S),
    **{f"many {name}": case for name, case in _of(np.linalg, "inv det", SB).items()},
    "solve": Case(np.linalg.solve, (S, floats(3))),
    "solve many": Case(np.linalg.solve, (SB, floats(2, 3, 2))),
    "solve beside one": Case(np.linalg.solve, (SB, floats(3, 2))),
    "svd": Case(lambda x: np.linalg.svd(x, full_matrices=False), (floats(4, 3),)),
    "svd many": Case(lambda x: np.linalg.svd(x, full_matrices=False)[1], (X,)),
    "svdvals": Case(np.linalg.svdvals, (X,)),
    "eigh": Case(np.linalg.eigh, (SB,)),
    "eigvalsh upper": Case(lambda x: np.linalg.eigvalsh(x, UPLO="U"), (SB,)),
    "qr": Case(np.linalg.qr, (floats(4, 3),)),
    "qr wide": Case(lambda x: np.linalg.qr(x), (floats(2, 4),)),
    "qr complex": Case(lambda x: np.linalg.qr(x), (complexes(2, 3),)),
    "qr complete": Case(lambda x: np.linalg.qr(x, mode="complete"), (floats(2, 4, 2),)),
    "qr r": Case(lambda x: np.linalg.qr(x, mode="r"), (floats(4, 3),)),
    "cholesky": Case(lambda x: np.linalg.cholesky(np.multiply(x, 0.1) + np.eye(3)), (SB,)),
    "matrix_power": Case(lambda x: np.linalg.matrix_power(x, 2), (SB,)),
    "matrix_power 5": Case(lambda x: np.linalg.matrix_power(x, 5), (SB,)),
    "lstsq": Case(lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0], (floats(4, 3), floats(4, 2))),
    "lstsq singular values": Case(lambda a, b: np.linalg.lstsq(a, b, rcond=None)[3], (floats(4, 3), floats(4))),
    "norm": Case(lambda a: np.linalg.norm(a, ord=1, axis=1), (A,)),
    "vector_norm": Case(lambda a: np.linalg.vector_norm(a, axis=1), (A,)),
    "matrix_norm": Case(np.linalg.matrix_norm, (X,)),
    "multi_dot": Case(lambda a, b, c: np.linalg.multi_dot([a, b, c]), (A, S, floats(3, 2))),
    "cross": Case(np.cross, (A, A)),
    "vecdot": Case(np.vecdot, (A, A)),
    "matvec": Case(np.matvec, (SB, floats(3))),
    "matmul beside one": Case(np.matmul, (floats(1, 3, 3), SB)),
    "matmul more axes": Case(np.matmul, (floats(2, 1, 2, 3), floats(3, 3, 2))),
    "dot of three axes": Case(np.dot, (X, floats(2, 4, 2))),
    "einsum by numbers": Case(lambda a, b: np.einsum(a, [0, 1], b, [2, 1], [0, 2]), (A, A)),
    "einsum optimized": Case(lambda a, b, c: np.einsum("ij,jk,kl->il", a, b, c, optimize=True), (A, S, S)),
    "kron": Case(np.kron, (floats(2, 2), floats(2, 3))),
    "kron of ranks": Case(np.kron, (floats(2), floats(2, 2))),
    **{f"convolve {mode}": Case(lambda v, w, mode=mode: np.convolve(v, w, mode), (V, floats(2))) for mode in MODES},
    "convolve long": Case(lambda v, w: np.convolve(v, w, "same"), (floats(3), floats(4))),
    **{f"correlate {mode}": Case(lambda v, w, mode=mode: np.correlate(v, w, mode), (V, floats(2))) for mode in MODES},
    "correlate odd": Case(lambda v, w: np.correlate(v, w, "same"), (floats(6), floats(3))),
    "correlate long": Case(lambda v, w: np.correlate(v, w, "same"), (floats(3), floats(4))),
    "polyval": Case(np.polyval, (floats(3), V)),
    "vander": Case(lambda v: np.vander(v, 3), (V,)),
    # transforms
    "fft": Case(np.fft.fft, (X,)),
    "rfft axis": Case(lambda x: np.fft.rfft(x, axis=0), (floats(4, 3),)),
    "irfft": Case(np.fft.irfft, (complexes(2, 3),)),
    "fft2": Case(np.fft.fft2, (X,)),
    "fftn": Case(lambda x: np.fft.fftn(x, axes=(0, 2)), (X,)),
    "fftshift": Case(np.fft.fftshift, (floats(3, 4),)),
    "ifftshift": Case(lambda x: np.fft.ifftshift(x, axes=0), (floats(3, 4),)),
    # triangles and diagonals
    "tril": Case(lambda a: np.tril(a, -1), (A,)),
    "triu": Case(np.triu, (X,)),
    "diag of a vector": Case(lambda v: np.diag(v, 1), (floats(3),)),
    "diag below": Case(lambda v: np.diag(v, -2), (floats(3),)),
    "diagflat": Case(np.diagflat, (floats(2, 2),)),
    "diag of a matrix": Case(lambda a: np.diag(a, 1), (A,)),
    "diagonal": Case(lambda x: np.diagonal(x, offset=-1, axis1=1, axis2=2), (X,)),
    "trace": Case(lambda x: np.trace(x, axis1=0, axis2=2), (X,)),
    # places
    "roll flat": Case(lambda a: np.roll(a, 2), (A,)),
    "roll axes": Case(lambda a: np.roll(a, (1, -1), axis=(0, 1)), (A,)),
    "repeat each": Case(lambda v: np.repeat(v, [1, 2, 0, 1, 1]), (V,)),
    "repeat as the data says": Case(lambda v, n: np.repeat(v, n), (V, counts(5, high=3)), "a row that is gone is no cell of it"),
    "resize": Case(lambda v: np.resize(v, (2, 4)), (V,)),
    "insert": Case(lambda a: np.insert(a, 1, 9.0, axis=1), (A,)),
    "insert a row": Case(lambda a, b: np.insert(a, -1, b[0], axis=0), (A, A)),
    "delete": Case(lambda a: np.delete(a, [0, 2], axis=0), (A,)),
    "block": Case(lambda a, b: np.block([[a, b], [b, a]]), (floats(2, 2), floats(2, 2))),
    "unstack": Case(lambda x: np.unstack(x, axis=1), (X,)),
    "atleast_3d": Case(np.atleast_3d, (A,)),
    "rollaxis": Case(lambda x: np.rollaxis(x, 2), (X,)),
    "meshgrid": Case(np.meshgrid, (floats(3), floats(2))),
    "broadcast_arrays": Case(np.broadcast_arrays, (A, floats(3))),
    "take clip": Case(lambda a: np.take(a, [0, 9], axis=0, mode="clip"), (A,)),
    "take wrap": Case(lambda a, i: np.take(a, i, axis=0, mode="wrap"), (A, counts(3, high=9))),
    "choose": Case(lambda i, a, b: np.choose(i, [a, b]), (counts(5, high=2), V, V)),
    "partition": Case(lambda v: np.partition(v, 2), (V,)),
    "argpartition": Case(lambda v: np.argpartition(v, 1), (V,)),
    "lexsort": Case(lambda v, w: np.lexsort((v, w)), (V, few(5))),
    "unravel_index": Case(lambda i: np.unravel_index(i, (2, 3)), (I,)),
    "ravel_multi_index": Case(lambda i, j: np.ravel_multi_index((i, j), (5, 5)), (I, I)),
    "pad values": Case(lambda a: np.pad(a, ((1, 0), (0, 2)), constant_values=((1, 2), (3, 4))), (A,)),
    "windows": Case(lambda a: windows(a, (2, 2)), (A,)),
    "reshape by columns": Case(lambda a: np.reshape(a, (3, 4), order="F"), (A,)),
    "ravel by columns": Case(lambda a: np.ravel(a, order="F"), (A,)),
    "fix": Case(np.fix, (V,)),
    "iscomplex": Case(np.iscomplex, (lambda rng: rng.choice([1 + 0j, 1j], 4),)),
    "array_equal": Case(lambda a, b: np.array_equal(a, b, equal_nan=True), (lambda rng: rng.choice([1.0, 1, 1, np.nan], 3),) * 2),
    # indexing
    "index of three": Case(lambda x: x[np.array([0, 1]), np.array([0, -1]), np.array([1, 2])], (X,)),
    "index around a slice": Case(lambda x: x[np.array([0, 1]), :, np.array([1, 2])], (X,)),
    "index behind a slice": Case(lambda x: x[:, np.array([[0], [1]]), np.array([1, 2])], (X,)),
    "index of a slice and a number": Case(lambda x: x[0, :, np.array([1, 2])], (X,)),
    "index by data": Case(lambda a, i, j: a[i, j], (A, counts(2, high=4), counts(2, high=3))),
    "index by data in the middle": Case(lambda x, i: x[:, i, np.array([0, 1])], (X, counts(2, high=3))),
    "index and mask": Case(lambda a: a[np.array([True, False, True, False]), np.array([1, 2])], (A,)),
    "ix_": Case(lambda a: a[np.ix_([0, 2], [1, 2])], (A,)),
    "index by a number of the data": Case(lambda a: a[np.argmax(a[:, 0])], (A,)),
    "index by a number behind a slice": Case(lambda a, i: a[:, i[0]], (A, counts(1, high=3))),
    "mask and columns": Case(lambda a: a[a[:, 0] > -9, 1:], (A,), "the mask is true in every draw"),
    # writes
    "at positions": Case(lambda a: tp.at(a)[np.array([0, 2])].set(0.0), (A,)),
    "at positions twice": Case(lambda a, b: tp.at(a)[np.array([2, 2])].set(b[:2]), (A, A)),
    "at positions add": Case(lambda a: tp.at(a)[np.array([0, -1])].add(a[0]), (A,)),
    "at every other": Case(lambda a: tp.at(a)[::2].set(1.0), (A,)),
    "at positions of data": Case(lambda a, i: tp.at(a)[i].set(5.0), (V, counts(2, high=5))),
    # text
    "text at positions": Case(lambda t: np.strings.strip(tp.at(t)[np.array([0])].set(t[1:2])), (texts(3),)),
    "text equal": Case(lambda t, u: t == u, (texts(4), texts(4))),
    "text less": Case(lambda t: t < "b", (texts(4),)),
    "text of no axis": Case(lambda t, u: (t == u, u == t, u < u, t[:1] == u), (texts(3), texts()), "u < u"),
    "text wide": Case(lambda t, u: t[:, None] == u, (texts(4), texts(2))),
    "text sort": Case(np.sort, (texts(4),)),
    "text unique": Case(np.unique, (texts(4),)),
    "text isin": Case(lambda t: np.isin(t, ["a", "cc"]), (texts(4),)),
    "text where": Case(lambda t, u: np.where(t == "a", t, u), (texts(4), texts(4))),
    "text concatenate": Case(lambda t, u: np.concatenate([t, u]), (texts(2), texts(3))),
    "text add": Case(np.strings.add, (texts(3), texts(3))),
    "text replace": Case(lambda t: np.strings.replace(t, "b", "xyz"), (texts(4),)),
    "text multiply": Case(lambda t: np.strings.multiply(t, 2), (texts(4),)),
    "text find": Case(lambda t: np.strings.find(t, "b"), (texts(4),)),
    "text startswith": Case(lambda t: np.char.startswith(t, "a"), (texts(4),)),
    "text zfill": Case(lambda t: np.char.zfill(t, 3), (texts(4),)),
    "text strip": Case(np.strings.strip, (texts(4),)),
    "text number": Case(lambda v: v.astype(str), (I,)),
    "number text": Case(lambda v: v.astype(str).astype(float), (I,)),
    "text searchsorted": Case(lambda t: np.searchsorted(np.array(["a", "b"]), t), (texts(4),)),
    **_of(np.strings, "upper lower title swapcase str_len isalpha isupper isspace", texts(4)),
    # dates
    "days between": Case(lambda d: np.diff(d), (dates(4),)),
    "days since": Case(lambda d: (d - d.min()) / DAY, (dates(4),)),
    "days since a date": Case(lambda d: (d - np.datetime64("2020-01-01")).astype(int), (dates(4),)),
    "days later": Case(lambda d: d + 3 * DAY, (dates(4),)),
    "days compared": Case(lambda d, e: (d > e) | (d == np.datetime64("2020-01-05")), (dates(4), dates(4))),
    "days sorted": Case(np.sort, (dates(4),)),
    "days unique": Case(np.unique, (dates(4),)),
    "days mean": Case(lambda d, e: np.mean(d - e), (dates(4), dates(4))),
    "days total": Case(lambda d, e: np.cumsum(np.abs(d - e)), (dates(4), dates(4))),
    "days to times": Case(lambda d: d.astype("M8[us]") + np.timedelta64(90, "m"), (dates(4),)),
    "times": Case(lambda d: (d - d.max()) / np.timedelta64(1, "s"), (times(4),)),
    "times floor": Case(lambda d: d.astype("M8[D]"), (times(4),)),
    "isnat": Case(np.isnat, (lambda rng: rng.choice(np.array(["NaT", "2020-01-01"], "M8[D]"), 3),)),
    "complex": Case(lambda z: (np.conj(z), z.real, z.imag, np.abs(z), np.angle(z)), (complexes(3),)),
}  # fmt: skip
