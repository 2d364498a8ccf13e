"""Cases for NumPy's public functions, by family; those of `numpy_functions.py` are counted beside them."""
# ruff: noqa: B008 (the functions that lambdas in a loop hold on to are looked up in their defaults)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.lineage.case import Case, complexes, counts, dates, few, floats, gaps, masks, texts

A, V, X, S, SB = floats(4, 3), floats(5), floats(2, 3, 4), floats(3, 3), floats(2, 3, 3)
F = few(4, 3)
G = gaps(4, 3)
SEVERAL_NANS = "where a line is all NaN the position is an error"
Cases = dict[str, Case]


def _each(names: str, apply: Callable[[Any], Callable[..., Any]], *draws: Any, **more: Any) -> dict[str, Cases]:
    return {name: {"": Case(apply(getattr(np, name)), draws, **more)} for name in names.split()}


def _folds(names: str, *draws: Any) -> dict[str, Cases]:
    """Along an axis, over all, over two, with the axis kept."""
    return {
        name: {
            "axis": Case(lambda a, f=getattr(np, name): f(a, axis=0), draws),
            "all": Case(lambda a, f=getattr(np, name): f(a), draws),
            "keepdims": Case(lambda a, f=getattr(np, name): f(a, axis=1, keepdims=True), draws),
        }
        for name in names.split()
    }


CREATION: dict[str, Cases] = {
    **_each("zeros_like ones_like", lambda f: lambda v: f(v) + v, V),
    "empty_like": {"": Case(lambda v: np.add(v, 1.0, out=np.empty_like(v)), (V,))},
    "full_like": {
        "": Case(lambda v: np.full_like(v, 2.0) * v, (V,)),
        "of data": Case(lambda v: np.full_like(v, v[0]), (V,)),
    },
    "copy": {"": Case(np.copy, (A,))},
    **_each("zeros ones", lambda f: lambda v: f(v.shape) + v, V),
    "empty": {"": Case(lambda v: np.empty(v.shape).shape[0] + v, (V,))},
    "full": {
        "": Case(lambda v: np.full(v.shape, 2.0) * v, (V,)),
        "of data": Case(lambda v: np.full((2, 2), v[0]), (V,)),
    },
    "eye": {"": Case(lambda a: np.eye(4) @ a, (A,), "off the diagonal it multiplies by 0")},
    "identity": {"": Case(lambda a: np.identity(4) @ a, (A,), "off the diagonal it multiplies by 0")},
    "arange": {
        "": Case(lambda v: np.arange(1, len(v) + 1) * v, (V,)),
        "of a size": Case(lambda v: v[np.arange(v.shape[0])[::-1]], (V,)),
    },
    "linspace": {
        "": Case(lambda v: np.linspace(1, 2, len(v)) * v, (V,)),
        "of data": Case(lambda v: np.linspace(v.min(), v.max(), 4), (V,), "the first and last are ends"),
        "of arrays": Case(lambda v, w: np.linspace(v, w, 3), (V, V), "the first and last are ends"),
    },
    "logspace": {
        "": Case(lambda v: np.logspace(0, 1, len(v)) * v, (V,)),
        "of data": Case(lambda v: np.logspace(v[0], v[1], 4), (V,), "the first and last are ends"),
    },
    "geomspace": {
        "": Case(lambda v: np.geomspace(1, 9, len(v)) * v, (V,)),
        "of data": Case(lambda v: np.geomspace(np.exp(v[0]), np.exp(v[1]), 4), (V,), "the first and last are ends"),
    },
    "tri": {"": Case(lambda a: np.where(np.tri(4, 3, dtype=bool), a, 0), (A,), "cells that the triangle leaves out")},
    "indices": {"": Case(lambda a: np.indices(a.shape)[0] + a, (A,))},
    "fromfunction": {"": Case(lambda a: np.fromfunction(lambda i, j: i + j, (4, 3)) + a, (A,))},
    "meshgrid": {"sparse": Case(lambda v, w: np.meshgrid(v, w, sparse=True, indexing="ij"), (floats(3), floats(2)))},
    "ix_": {"of data": Case(lambda a, i: a[np.ix_(i, [0, 1])], (A, counts(2)))},
    **_each("bartlett blackman hamming hanning", lambda f: lambda v: (f(len(v)) + 1) * v, V),
    "kaiser": {"": Case(lambda v: np.kaiser(len(v), 5.0) * v, (V,))},
    "diag_indices": {"": Case(lambda a: a[np.diag_indices(3)], (S,))},
    "diag_indices_from": {"": Case(lambda a: a[np.diag_indices_from(a)], (S,))},
    "tril_indices": {"": Case(lambda a: a[np.tril_indices(3)], (S,))},
    "triu_indices": {"": Case(lambda a: a[np.triu_indices(3, 1)], (S,))},
    "tril_indices_from": {"": Case(lambda a: a[np.tril_indices_from(a)], (S,))},
    "triu_indices_from": {"": Case(lambda a: a[np.triu_indices_from(a, 1)], (S,))},
    "mask_indices": {"": Case(lambda a: a[np.mask_indices(3, np.triu)], (S,))},
    "fft.fftfreq": {"": Case(lambda v: np.fft.fftfreq(len(v)) * v, (V,), "the frequency 0 multiplies by 0")},
    "fft.rfftfreq": {"": Case(lambda v: np.fft.rfftfreq(len(v))[1:] * v[1:3], (V,))},
}
SHAPES: dict[str, Cases] = {
    "shape": {"": Case(lambda a: a * np.shape(a)[0], (V,))},
    **_each("ndim size", lambda f: lambda a: a * f(a), V),
    "reshape": {"": Case(lambda a: np.reshape(a, (3, 4)), (A,)), "-1": Case(lambda x: x.reshape(len(x), -1), (X,))},
    "ravel": {"": Case(np.ravel, (A,))},
    **_each("transpose matrix_transpose flip flipud fliplr rot90 squeeze", lambda f: f, A),
    "permute_dims": {"": Case(lambda x: np.permute_dims(x, (2, 0, 1)), (X,))},
    "swapaxes": {"": Case(lambda x: np.swapaxes(x, 0, -1), (X,))},
    "moveaxis": {"": Case(lambda x: np.moveaxis(x, [0, 1], [-1, 0]), (X,))},
    "expand_dims": {"": Case(lambda a: np.expand_dims(a, (0, -1)), (A,))},
    "atleast_1d": {"": Case(np.atleast_1d, (floats(),)), "several": Case(np.atleast_1d, (floats(), V))},
    "atleast_2d": {"": Case(np.atleast_2d, (V,)), "several": Case(np.atleast_2d, (V, A))},
    "broadcast_to": {"": Case(lambda v: np.broadcast_to(v, (2, 5)), (V,))},
    "broadcast_shapes": {
        "": Case(lambda a, v: np.broadcast_to(v, np.broadcast_shapes(a.shape, v.shape)) + a, (A, floats(3)))
    },
    **{
        name: {"": Case(lambda a, b, f=getattr(np, name): f([a, b]), (A, A))}
        for name in "concatenate concat stack hstack vstack dstack column_stack row_stack".split()
        if hasattr(np, name)
    },
    "append": {"": Case(np.append, (A, V)), "axis": Case(lambda a, b: np.append(a, b, axis=1), (A, A))},
    "split": {"": Case(lambda a: np.split(a, 2), (A,)), "cuts": Case(lambda a: np.split(a, [1, 3]), (A,))},
    "array_split": {"": Case(lambda v: np.array_split(v, 2), (V,))},
    "hsplit": {"": Case(lambda a: np.hsplit(a, 3), (A,))},
    "vsplit": {"": Case(lambda a: np.vsplit(a, 2), (A,))},
    "dsplit": {"": Case(lambda x: np.dsplit(x, 2), (X,))},
    "tile": {"": Case(lambda a: np.tile(a, (2, 1, 2)), (A,))},
    "repeat": {"number": Case(lambda a: np.repeat(a, 2, axis=1), (A,))},
    "trim_zeros": {"": Case(np.trim_zeros, (few(5),), "what is trimmed is no cell of it")},
    "pad": {
        mode: Case(lambda a, mode=mode: np.pad(a, ((1, 1), (0, 2)), mode=mode), (A,))
        for mode in "constant edge reflect symmetric wrap maximum mean minimum median linear_ramp".split()
    },
    "astype": {"": Case(lambda a: np.astype(a, np.float32), (A,)), "whole": Case(lambda a: a.astype(int), (A,))},
    "delete": {
        "row": Case(lambda a: np.delete(a, 1, axis=0), (A,)),
        "slice": Case(lambda a: np.delete(a, slice(0, 2), axis=0), (A,)),
    },
    "insert": {
        "several": Case(lambda v: np.insert(v, [1, 3], [7.0, 8.0]), (V,)),
        "rows": Case(lambda a, b: np.insert(a, [1, 2], b[:2], axis=0), (A, A)),
    },
    "lib.stride_tricks.sliding_window_view": {
        "": Case(lambda v: np.lib.stride_tricks.sliding_window_view(v, 3), (V,)),
        "axis": Case(lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0), (A,)),
    },
    "lib.stride_tricks.as_strided": {"": Case(lambda v: np.lib.stride_tricks.as_strided(v, (4, 2), (8, 8)), (V,))},
}
REDUCTIONS: dict[str, Cases] = {
    **_folds("sum prod mean std var min max amin amax median ptp count_nonzero", F),
    **_folds("any all", lambda rng: rng.random((4, 3)) < rng.choice([0.05, 0.95])),
    **_folds("nansum nanprod nanmean nanstd nanvar nanmin nanmax nanmedian", G),
    **{
        name: {
            "linear": Case(
                lambda a, f=getattr(np, name), q=0.3 if "quantile" in name else 30: f(a, q, axis=0),
                (G if "nan" in name else A,),
            ),
            "all": Case(
                lambda a, f=getattr(np, name), q=[0.2, 0.9] if "quantile" in name else [20, 90]: f(a, q),
                (G if "nan" in name else A,),
            ),
            **{
                method: Case(
                    lambda a, f=getattr(np, name), method=method, q=0.4 if "quantile" in name else 40: f(
                        a, q, axis=0, method=method
                    ),
                    (A,),
                )
                for method in ("nearest", "lower", "hazen", "median_unbiased")
            },
        }
        for name in ("quantile", "percentile", "nanquantile", "nanpercentile")
    },
    "average": {
        "returned": Case(lambda a, w: np.average(a, axis=0, weights=np.abs(w) + 1, returned=True), (A, floats(4)))
    },
    "cumulative_prod": {"": Case(lambda v: np.cumulative_prod(v, include_initial=True), (V,))},
    **{
        name: {
            "axis": Case(lambda a, f=getattr(np, name): f(a, axis=0), (A,)),
            "flat": Case(lambda a, f=getattr(np, name): f(a), (A,)),
        }
        for name in "cumsum cumprod nancumsum nancumprod".split()
    },
    "quantile": {"of data": Case(lambda v, q: np.quantile(v, 1 / (1 + np.exp(q[0]))), (V, floats(1)))},
    "std": {
        "ddof": Case(lambda a: np.std(a, axis=0, ddof=1), (A,)),
        "mean=": Case(lambda a: np.std(a, axis=0, mean=a.mean(axis=0, keepdims=True)), (A,)),
    },
    "cov": {"weights": Case(lambda a, w: np.cov(a, aweights=np.abs(w) + 1), (A, floats(3)))},
    "histogram_bin_edges": {
        "rule": Case(lambda v: np.histogram_bin_edges(v, bins="sturges"), (V,), "the number of bins stays"),
        "range": Case(lambda v: np.histogram_bin_edges(v, bins=3, range=(0, 1)), (V,)),
    },
    "histogram": {
        "rule": Case(lambda v: np.histogram(v, bins="auto")[0], (V,), "whose number of bins the data decides"),
        "density": Case(lambda v: np.histogram(v, bins=[-2, -1, 0, 1.0, 2], density=True)[0], (V,)),
    },
    "histogram2d": {"edges": Case(lambda v, w: np.histogram2d(v, w, bins=[[-1, 0, 1.0], [-1, 0.5, 2]])[0], (V, V))},
    "histogramdd": {
        "": Case(lambda a: np.histogramdd(a, bins=[[-1, 0, 1.0]] * 3)[0], (A,)),
        "by number": Case(lambda a: np.histogramdd(a, bins=2)[0], (A,)),
    },
    "gradient": {
        "edge_order": Case(lambda v: np.gradient(v, edge_order=2), (V,)),
        "places": Case(lambda v: np.gradient(v, np.array([0.0, 1.0, 3.0, 4.0, 6.0])), (V,)),
    },
    "trapezoid": {"axis": Case(lambda a: np.trapezoid(a, dx=0.5, axis=0), (A,))},
    "corrcoef": {"of two": Case(lambda v, w: np.corrcoef(v, w)[0, 1], (V, V))},
}
SEARCH: dict[str, Cases] = {
    **{
        name: {
            "axis": Case(lambda a, f=getattr(np, name): f(a, axis=0), (A,)),
            "all": Case(lambda a, f=getattr(np, name): f(a), (A,)),
        }
        for name in ("argmax", "argmin")
    },
    **{
        name: {
            "axis": Case(
                lambda a, f=getattr(np, name): f(a, axis=0),
                (gaps(5, 2),),
                SEVERAL_NANS,
            )
        }
        for name in ("nanargmax", "nanargmin")
    },
    "sort": {
        "": Case(np.sort, (A,)),
        "axis": Case(lambda a: np.sort(a, axis=0), (A,)),
        "flat": Case(lambda a: np.sort(a, axis=None), (A,)),
        "stable": Case(lambda a: np.sort(a, axis=0, kind="stable"), (F,)),
    },
    "argsort": {
        "": Case(np.argsort, (A,)),
        "stable": Case(lambda v: np.argsort(v, kind="stable"), (few(5),)),
        "down": Case(lambda v: np.argsort(-v), (V,)),
    },
    "sort_complex": {"": Case(np.sort_complex, (complexes(4),))},
    "nonzero": {
        "": Case(np.nonzero, (masks(5),), "a row that is gone is no cell of it"),
        "axes": Case(np.nonzero, (masks(3, 2),), "a row that is gone is no cell of it"),
    },
    "flatnonzero": {"": Case(np.flatnonzero, (masks(3, 2),), "a row that is gone is no cell of it")},
    "argwhere": {"": Case(np.argwhere, (masks(3, 2),), "a row that is gone is no cell of it")},
    "where": {"": Case(np.where, (masks(4, 3), A, A)), "numbers": Case(lambda a: np.where(a > 0, 1.0, a), (A,))},
    "extract": {"": Case(lambda a: np.extract(a > 0, a), (A,), "a row that is gone is no cell of it")},
    "compress": {
        "": Case(lambda a: np.compress([True, False, True], a, axis=1), (A,)),
        "of data": Case(lambda a, m: np.compress(m, a, axis=0), (A, masks(4)), "a row that is gone is no cell of it"),
    },
    "take_along_axis": {"": Case(lambda a, i: np.take_along_axis(a, i, axis=0), (A, counts(2, 3)))},
    "select": {"": Case(lambda v, w: np.select([v > 1, v > 0], [w, v], -1.0), (few(5), V))},
    "piecewise": {
        "": Case(lambda v: np.piecewise(v, [v < 0, v >= 0], [-1.0, 2.0]), (few(5),)),
        "functions": Case(
            lambda v: np.piecewise(v, [v < 0, v >= 1], [lambda x: x * 2, lambda x: x - 1, 0.5]), (few(5),)
        ),
    },
    "partition": {"axis": Case(lambda a: np.partition(a, 1, axis=0), (A,))},
    **{
        name: {"": Case(getattr(np, name), (counts(5),), "the hash table decides the order")}
        for name in ("unique_values",)
    },
    **{name: {"": Case(getattr(np, name), (counts(5),))} for name in ("unique_counts", "unique_inverse", "unique_all")},
    "intersect1d": {
        "indices": Case(
            lambda v, w: np.intersect1d(v, w, return_indices=True), (counts(3), counts(3)), "positions of what is gone"
        )
    },
    "allclose": {"": Case(np.allclose, (few(2), few(2)))},
    "array_equiv": {"": Case(np.array_equiv, (few(2), few(2)))},
    "array_equal": {"": Case(np.array_equal, (few(2), few(2)))},
    "isclose": {"": Case(np.isclose, (few(5), few(5)))},
}
ELEMENTWISE: dict[str, Cases] = {
    **_each(
        "angle real imag real_if_close iscomplex isreal",
        lambda f: f,
        lambda rng: rng.choice([1 + 0j, 1j, 2 - 1j, -3], 4),
    ),
    **_each(
        "fix sinc i0 nan_to_num isposinf isneginf",
        lambda f: f,
        lambda rng: rng.choice([1.5, -0.2, np.inf, -np.inf, np.nan], 5),
    ),
    **_each("round around", lambda f: lambda v: f(v, 1), V),
    "clip": {
        "": Case(lambda v: np.clip(v, -0.5, 0.5), (V,)),
        "one side": Case(lambda v: np.clip(v, None, 0.5), (V,)),
        "of data": Case(lambda v, w: np.clip(v, w - 1, w + 1), (V, V)),
    },
    "packbits": {
        "": Case(lambda m: np.packbits(m), (masks(10),)),
        "axis": Case(lambda m: np.packbits(m, axis=1), (masks(2, 10),)),
    },
    "unpackbits": {"": Case(lambda i: np.unpackbits(i.astype(np.uint8)), (counts(2, high=256),))},
    "poly": {"": Case(lambda v: np.poly(v), (floats(3),))},
    "polyadd": {"": Case(np.polyadd, (floats(3), floats(2)))},
    "polysub": {"": Case(np.polysub, (floats(3), floats(2)))},
    "polymul": {"": Case(np.polymul, (floats(3), floats(2)))},
    "polyder": {"": Case(np.polyder, (floats(4),)), "twice": Case(lambda p: np.polyder(p, 2), (floats(4),))},
    "polyint": {"": Case(np.polyint, (floats(3),)), "constant": Case(lambda p: np.polyint(p, k=3.0), (floats(3),))},
    "polydiv": {"": Case(np.polydiv, (floats(4), floats(2)), "the remainder is trimmed")},
    "polyfit": {
        "": Case(lambda v: np.polyfit(np.arange(5.0), v, 1), (V,)),
        "of data": Case(lambda v, w: np.polyfit(v, w, 2), (V, V)),
    },
    "roots": {"": Case(lambda p: np.roots(p), (floats(3),))},
    "vectorize": {"": Case(lambda v: np.vectorize(lambda x: x * 2 if x > 0 else 0.0)(v), (V,), "0 below 0")},
    "frompyfunc": {"": Case(lambda v: np.frompyfunc(lambda x: x * 2, 1, 1)(v).astype(float), (V,))},
    "is_busday": {"": Case(np.is_busday, (dates(5),))},
    "busday_count": {"": Case(np.busday_count, (dates(5), dates(5)))},
    "busday_offset": {"": Case(lambda d: np.busday_offset(d, 2, roll="forward"), (dates(5),))},
    "datetime_as_string": {"": Case(np.datetime_as_string, (dates(4),))},
}
LINEAR: dict[str, Cases] = {
    **{
        f"linalg.{name}": {"": Case(getattr(np.linalg, name), draws)}
        for name, draws in {
            "matmul": (A, S),
            "outer": (floats(3), floats(2)),
            "vecdot": (A, A),
            "tensordot": (S, S),
            "trace": (SB,),
            "diagonal": (SB,),
            "matrix_transpose": (X,),
            "cross": (A, A),
        }.items()
    },
    "linalg.eig": {
        "": Case(np.linalg.eig, (S,), "made of complex pairs now and then"),
        "values": Case(lambda x: np.linalg.eig(x @ x.T)[0], (S,)),
    },
    "linalg.eigvals": {"": Case(lambda x: np.linalg.eigvals(x @ x.T), (S,))},
    "linalg.eigvalsh": {"": Case(np.linalg.eigvalsh, (S,))},
    "linalg.matrix_rank": {"": Case(np.linalg.matrix_rank, (lambda rng: rng.choice([0.0, 1.0], (2, 2)),))},
    "linalg.tensorinv": {"": Case(lambda x: np.linalg.tensorinv(x.reshape(4, 2, 2), ind=1), (floats(4, 4),))},
    "linalg.tensorsolve": {
        "": Case(lambda x, b: np.linalg.tensorsolve(x.reshape(4, 2, 2), b), (floats(4, 4), floats(4)))
    },
    "linalg.norm": {
        "all": Case(np.linalg.norm, (A,)),
        "axis": Case(lambda a: np.linalg.norm(a, axis=1, keepdims=True), (A,)),
        "2": Case(lambda a: np.linalg.norm(a, 2), (A,)),
        "nuc": Case(lambda a: np.linalg.norm(a, "nuc"), (A,)),
    },
    "linalg.vector_norm": {
        "all": Case(np.linalg.vector_norm, (A,)),
        "axes": Case(lambda x: np.linalg.vector_norm(x, axis=(0, 1)), (X,)),
        "keepdims": Case(lambda a: np.linalg.vector_norm(a, keepdims=True), (A,)),
    },
    "linalg.cholesky": {
        "upper": Case(lambda x: np.linalg.cholesky(np.multiply(x, 0.1) + np.eye(3), upper=True), (SB,))
    },
    "dot": {
        "": Case(np.dot, (A, floats(3))),
        "vectors": Case(np.dot, (V, V)),
        "numbers": Case(lambda a: np.dot(a, 2.0), (A,)),
    },
    "vdot": {"": Case(np.vdot, (A, A)), "complex": Case(np.vdot, (complexes(3), complexes(3)))},
    "inner": {"": Case(np.inner, (A, A))},
    "outer": {"": Case(np.outer, (floats(3), floats(2)))},
    "tensordot": {"": Case(lambda x, a: np.tensordot(x, a, axes=([2], [0])), (X, A))},
    "matmul": {
        "": Case(np.matmul, (A, S)),
        "batches": Case(np.matmul, (SB, SB)),
        "vector": Case(np.matmul, (A, floats(3))),
    },
    "vecdot": {"": Case(np.vecdot, (A, A))},
    "vecmat": {"": Case(np.vecmat, (floats(3), S))},
    "matvec": {"": Case(np.matvec, (A, floats(3)))},
    "einsum": {
        "": Case(lambda a, b: np.einsum("ij,kj->ik", a, b), (A, A)),
        "trace": Case(lambda s: np.einsum("ii", s), (S,)),
        "diagonal": Case(lambda s: np.einsum("ii->i", s), (S,)),
        "ellipsis": Case(lambda x, s: np.einsum("...ij,jk->...ik", x, s), (SB, S)),
        "implicit": Case(lambda a, v: np.einsum("ij,j", a, v), (A, floats(3))),
        "sum of a diagonal": Case(lambda x: np.einsum("kii->k", x), (SB,)),
    },
    "cross": {"plane": Case(lambda a, b: np.linalg.cross(a, b), (A, A))},
}
FOURIER: dict[str, Cases] = {
    **{
        f"fft.{name}": {"": Case(getattr(np.fft, name), (A,))}
        for name in "fft rfft ifft fft2 ifft2 fftn ifftn ihfft".split()
    },
    **{f"fft.{name}": {"": Case(getattr(np.fft, name), (A,))} for name in "rfft2 rfftn".split()},
    **{
        f"fft.{name}": {
            "": Case(getattr(np.fft, name), (complexes(4, 3),), "imaginary parts that a real result has none of")
        }
        for name in "irfft irfft2 irfftn hfft".split()
    },
}
FOURIER["fft.fft"]["n="] = Case(lambda a: np.fft.fft(a, 2, axis=0), (A,))
FOURIER["fft.rfft"]["n="] = Case(lambda a: np.fft.rfft(a, n=8), (A,))
T = texts(4)
TEXT: dict[str, Cases] = {
    **{
        f"strings.{name}": {"": Case(getattr(np.strings, name), (T,))}
        for name in "capitalize lower upper title swapcase strip lstrip rstrip".split()
    },
    **{
        f"strings.{name}": {
            "": Case(getattr(np.strings, name), (lambda rng: rng.choice(["a", "B", "1", " ", "Ab", "c3"], 4),))
        }
        for name in "isalnum isalpha isdigit isdecimal isnumeric isspace islower isupper istitle str_len".split()
    },
    **{
        f"strings.{name}": {
            "": Case(
                lambda t, f=getattr(np.strings, name): f(t, "b"), (lambda rng: rng.choice(["ab", "ba", "b", "cc"], 4),)
            )
        }
        for name in "count find rfind startswith endswith".split()
    },
    **{
        f"strings.{name}": {
            "": Case(lambda t, f=getattr(np.strings, name): f(t, "b"), (lambda rng: rng.choice(["ab", "ba", "bb"], 4),))
        }
        for name in "index rindex".split()
    },
    **{
        f"strings.{name}": {"": Case(lambda t, f=getattr(np.strings, name): f(t, 6), (T,))}
        for name in "center ljust rjust zfill".split()
    },
    **{
        f"strings.{name}": {
            "": Case(
                lambda t, f=getattr(np.strings, name): f(t, "b"),
                (lambda rng: rng.choice(["abc", "ba", "b", "ccb"], 4),),
                "the separator is the same in each",
            )
        }
        for name in "partition rpartition".split()
    },
    "strings.expandtabs": {"": Case(np.strings.expandtabs, (lambda rng: rng.choice(["a\tb", "c", "\td"], 4),))},
    "strings.multiply": {
        "": Case(lambda t: np.strings.multiply(t, 2), (T,)),
        "of data": Case(np.strings.multiply, (texts(3), counts(3, high=3))),
    },
    "strings.mod": {"": Case(lambda v: np.strings.mod(np.array(["%d"] * 5), v), (counts(5),))},
    "strings.replace": {"": Case(lambda t: np.strings.replace(t, "b", "xy"), (T,))},
    "strings.translate": {"": Case(lambda t: np.strings.translate(t, str.maketrans("ab", "xy")), (T,))},
    "strings.slice": {
        "": Case(lambda t: np.strings.slice(t, 1), (lambda rng: rng.choice(["ab", "cd", "a", "xyz"], 4),))
    },
    "strings.encode": {"": Case(lambda t: np.strings.decode(np.strings.encode(t)), (T,))},
    "strings.decode": {"": Case(lambda t: np.strings.decode(np.strings.encode(t, "utf-8"), "utf-8"), (T,))},
    **{
        f"strings.{name}": {"": Case(getattr(np.strings, name), (texts(4), texts(4)))}
        for name in "add equal not_equal less less_equal greater greater_equal".split()
    },
}
