"""Random projections of rows to fewer dimensions, by sparse matrices of signs that are hashed anew and never stored.

Every projection is a linear map R^p -> R^k that `seed` decides, and that keeps inner products and distances the better
the larger k is (Johnson & Lindenstrauss 1984). For any x, drawn anew from seed to seed, |projected x|^2 has the mean
|x|^2 and a variance of at most 2 |x|^4 / k (`sjlt`, and `sparse_jl` with `sparsity` 3).

Cells are sums in column order, each made by one thread: the bits depend neither on `threads` nor on the blocks of rows
or columns that a projection was made in. Columns of a longer vector come with `offset`, the number of the first one,
and add up in `out`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traceprop.passes.kernels import reference
from traceprop.passes.kernels.dispatch import _compiled, _finish
from traceprop.passes.kernels.reference import Floats, Ints, Words

_projection: ModuleType | None
try:
    from traceprop.passes.kernels import _projection
except ImportError:
    _projection = None

LANES = 16  # rows of a tile in _projection.pyx
_BLOCK = 4096  # columns drawn at once: long enough to be read ahead, and still in the second cache
_SCRATCH = 1 << 24  # bytes of projected tiles that a thread keeps at hand
_PER_THREAD = 1 << 21  # cells that are worth a thread
_PRODUCT, _PRODUCT_ROWS = 1 << 19, 64  # cells of gradients, and rows, that a thread of `factored_sjlt` forms at a time
_SPARSE, _MASK, _SJLT = range(1, 4)  # so that one seed gives them different words


def sjlt(
    x: ArrayLike,
    k: int,
    seed: int = 0,
    *,
    nonzeros: int = 1,
    offset: int = 0,
    out: Floats | None = None,
    threads: int | None = None,
) -> Floats:
    """Project by a sparse Johnson–Lindenstrauss transform: `nonzeros` signs a column, times 1/√nonzeros.

    Kane & Nelson 2014, "Sparser Johnson–Lindenstrauss transforms", the block construction; with one non-zero the
    Count-Sketch of Charikar, Chen & Farach-Colton 2002. More of them make large errors rarer, and cost as much more.

    Parameters
    ----------
    x
        (n, p) or (p,): float32 or float64; float16 is read as float32, other numbers as float64.
    k
        Dimensions of the result, any number above 0, more than p included.
    seed
        Decides the matrix, with `k` and `nonzeros`; at least 0.
    offset
        The number of the first column, where x is a block of the columns of something wider.
    out
        (n, k), contiguous, of x's dtype: is added to, and returned.
    threads
        At most so many; None for one per processor, fewer where there is little to do.

    Returns
    -------
    (n, k) or (k,), float32 or float64 as x.

    Raises
    ------
    ValueError
        Shapes, dtypes or numbers that do not fit.
    """
    values, rows = _rows(x)
    _check_places(k, nonzeros)
    weights = np.full(1, 1 / np.sqrt(nonzeros), dtype=rows.dtype)
    key = _key(seed, _SJLT)
    return _shaped(values, _project(rows, k, offset, nonzeros, key, weights, out, threads, per_column=float(nonzeros)))


def sparse_jl(
    x: ArrayLike,
    k: int,
    seed: int = 0,
    *,
    sparsity: float = 3.0,
    offset: int = 0,
    out: Floats | None = None,
    threads: int | None = None,
) -> Floats:
    """Project by independent cells: ±√(sparsity/k) with a chance of 1 / (2 sparsity) each, else 0.

    Achlioptas 2003, "Database-friendly random projections", with `sparsity` 3; Li, Hastie & Church 2006, "Very sparse
    random projections", with √p, for which the variance of |projected x|^2 is (2 |x|_2^4 + (√p - 3) |x|_4^4) / k. The
    cost is that of k / sparsity additions a cell. Parameters as of `sjlt`.
    """
    values, rows = _rows(x)
    if not (np.isfinite(sparsity) and sparsity >= 1):
        raise ValueError(f"sparsity is at least 1, and a cell is not 0 with a chance of 1 / sparsity; not {sparsity!r}")
    _at_least(k, 1, "k")
    weights = np.full(1, np.sqrt(sparsity / k), dtype=rows.dtype)
    thresholds = _thresholds(int(k), float(sparsity))
    return _shaped(
        values,
        _project(rows, k, offset, 0, _key(seed, _SPARSE), weights, out, threads, None, thresholds, k / sparsity),
    )


def masked_sjlt(
    x: ArrayLike,
    k: int,
    seed: int = 0,
    *,
    kept: int,
    size: int | None = None,
    nonzeros: int = 1,
    offset: int = 0,
    out: Floats | None = None,
    threads: int | None = None,
) -> Floats:
    """Keep `kept` random columns of `size`, scaled to keep inner products in the mean, and project those by `sjlt`.

    Mask, then project: Hu et al. 2025, "GraSS: scalable data attribution with gradient sparsification and sparse
    projection". One column is drawn from each of `kept` equal parts. What the mask leaves out is lost: it serves
    vectors whose length lies in many columns, and costs less memory traffic where few are kept. `size` is x's number of
    columns unless given; other parameters as of `sjlt`.
    """
    values, rows = _rows(x)
    total = rows.shape[1] if size is None else int(size)
    _check_places(k, nonzeros)
    _at_least(kept, 1, "kept")
    _at_least(offset, 0, "offset")
    if offset + rows.shape[1] > total:
        raise ValueError(f"columns {offset} to {offset + rows.shape[1]} of {total}: give size=, the width of all")
    columns, widths = _mask(total, min(int(kept), total), _key(seed, _MASK), offset, offset + rows.shape[1])
    weights = np.sqrt(widths / nonzeros).astype(rows.dtype)
    key = _key(seed, _SJLT)
    return _shaped(
        values,
        _project(rows, k, offset, nonzeros, key, weights, out, threads, columns - offset, per_column=float(nonzeros)),
    )


def masked_columns(size: int, kept: int, seed: int = 0) -> Ints:
    """The columns of `size` that `masked_sjlt` reads, ascending int64 (min(kept, size),)."""
    return _mask(size, min(int(kept), size), _key(seed, _MASK), 0, size)[0]


def factored_sjlt(
    inputs: ArrayLike,
    outputs: ArrayLike,
    k: int,
    seed: int = 0,
    *,
    nonzeros: int = 1,
    offset: int = 0,
    out: Floats | None = None,
    threads: int | None = None,
) -> Floats:
    """Project the weight gradients of a linear layer, known as factors, as `sjlt` would project them written out.

    Row i is the projection of the (d_out, d_in) matrix Σ_t outputs[i, t] inputs[i, t]ᵀ, read row by row: how PyTorch
    stores a `Linear`'s weight. At most a few MiB of gradients exist at a time.

    Parameters
    ----------
    inputs
        The layer's inputs, (n, t, d_in), or (n, d_in) for t = 1.
    outputs
        The gradients in its outputs, (n, t, d_out), or (n, d_out).
    offset
        The number of the weight's first element among all parameters.

    Returns
    -------
    (n, k); float32, or float64 where one of the factors is.
    """
    a, g = (part[:, None] if part.ndim == 2 else part for part in (_floats(inputs), _floats(outputs)))
    if a.ndim != 3 or g.ndim != 3 or a.shape[:2] != g.shape[:2]:
        raise ValueError(f"inputs (n, t, d_in) and outputs (n, t, d_out) do not fit: {a.shape} and {g.shape}")
    dtype = np.result_type(a, g)
    a, g = a.astype(dtype, copy=False), np.ascontiguousarray(g.astype(dtype, copy=False).swapaxes(1, 2))
    n, steps, d_in = a.shape
    d_out = g.shape[1]
    total = _room(out, n, k, dtype)
    if not (n and steps and d_in and d_out):
        return total
    width = max(1, max(2 * k, _PRODUCT // _PRODUCT_ROWS) // max(1, d_in))  # in blocks far narrower than k, k costs most

    def run(top: int) -> None:
        part = slice(top, top + _PRODUCT_ROWS)
        for first in range(0, d_out, width):
            factors = g[part, first : first + width], a[part]
            product = np.multiply(*factors) if steps == 1 else np.matmul(*factors)
            product = product.reshape(len(product), -1)
            at = offset + first * d_in
            sjlt(product, k, seed, nonzeros=nonzeros, offset=at, out=total[part], threads=1)

    _run_all(run, range(0, n, _PRODUCT_ROWS), _worth(threads, n * d_in * d_out * (steps + nonzeros)))
    return total


def _project(
    rows: Floats,
    k: int,
    offset: int,
    nonzeros: int,
    key: int,
    weights: Floats,
    out: Floats | None,
    threads: int | None,
    columns: Ints | None = None,
    thresholds: Words | None = None,
    per_column: float = 1.0,
) -> Floats:
    n, width = rows.shape
    total = _room(out, n, k, rows.dtype)
    several = _worth(threads, int(n * width * per_column))
    _at_least(offset, 0, "offset")
    if not n or not width or (columns is not None and not len(columns)):
        return total
    picked = np.empty(0, dtype=np.int64) if columns is None else columns
    limits = np.empty(0, dtype=np.uint64) if thresholds is None else thresholds
    if (module := _compiled(_projection)) is None:
        reference.project(rows, picked, weights, total, offset, nonzeros, key, limits)
        return total
    guide = _guide(limits)
    tiles = min(_SCRATCH // (LANES * k * rows.itemsize), 8 if nonzeros else 16)  # more leave the cache

    size = -(-n // (several * LANES)) * LANES

    def run(top: int) -> None:
        part = slice(top, top + size)
        module.project(
            rows[part], picked, weights, total[part], offset, nonzeros, key, limits, guide, max(1, tiles), _BLOCK
        )

    _run_all(run, range(0, n, size), several)
    return total


def _run_all(run: Callable[[int], None], tops: range, threads: int) -> None:
    if threads == 1 or len(tops) < 2:
        for top in tops:
            run(top)
        return
    with ThreadPoolExecutor(min(threads, len(tops))) as pool:
        list(pool.map(run, tops))


def _worth(threads: int | None, cells: int) -> int:
    """How many threads so much work is worth."""
    if threads is not None:
        _at_least(threads, 1, "threads")
    return min(threads or _processors(), 1 + cells // _PER_THREAD)


@functools.lru_cache(maxsize=8)
def _thresholds(k: int, sparsity: float) -> Words:
    """A number u < 2**63 skips as many places as there are thresholds up to it: geometric with a chance 1/sparsity."""
    limits = np.full(k + 1, (1 << 64) - 1, dtype=np.uint64)
    with np.errstate(divide="ignore"):
        ends = -np.expm1(np.arange(1, k + 1) * np.log1p(-1 / sparsity))
    limits[:k] = (ends * 2.0**63).astype(np.uint64)
    limits.flags.writeable = False
    return limits


def _guide(thresholds: Words) -> NDArray[np.int32]:
    """Where to begin looking, by the eight bits at the top."""
    if not len(thresholds):
        return np.empty(0, dtype=np.int32)
    tops = np.arange(256, dtype=np.uint64) << np.uint64(55)
    return np.searchsorted(thresholds, tops, side="right").astype(np.int32)


def _mask(size: int, kept: int, key: int, start: int, stop: int) -> tuple[Ints, Ints]:
    """Those of the kept columns that lie in start … stop - 1, ascending, and of how many each was drawn."""
    if not size:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    first, last = max(0, start * kept // size - 1), min(kept, stop * kept // size + 2)
    part = np.arange(first, last, dtype=np.int64)
    low = part * size // kept
    widths = (part + 1) * size // kept - low
    columns = low + reference.below(reference.hashed(key, part.astype(np.uint64)), widths)
    inside = (columns >= start) & (columns < stop)
    return columns[inside], widths[inside]


def _key(seed: int, kind: int) -> int:
    _at_least(seed, 0, "seed")
    return _finish((_finish(int(seed) & ((1 << 64) - 1)) + kind) & ((1 << 64) - 1))


def _floats(x: ArrayLike) -> Floats:
    values: NDArray[Any] = np.asarray(x)
    if values.dtype in (np.float32, np.float64):
        return values
    if values.dtype.kind not in "iufb":
        raise ValueError(f"a projection takes real numbers, not {values.dtype}")
    return values.astype(np.float32 if values.dtype == np.float16 else np.float64)


def _rows(x: ArrayLike) -> tuple[Floats, Floats]:
    """The array as it was given, and as rows whose columns lie side by side."""
    values = _floats(x)
    if values.ndim not in (1, 2):
        raise ValueError(f"x must have one or two axes, not {values.ndim}")
    rows = values[None] if values.ndim == 1 else values
    beside = rows.shape[1] < 2 or rows.strides[1] == rows.itemsize
    if not (beside and rows.strides[0] % rows.itemsize == 0 and rows.flags.aligned):
        rows = np.ascontiguousarray(rows)
    return values, rows


def _room(out: Floats | None, n: int, k: int, dtype: Any) -> Floats:
    _at_least(k, 1, "k")
    if k >= 1 << 31:
        raise ValueError(f"k is below 2**31, not {k}")
    if out is None:
        return np.zeros((n, k), dtype=dtype)
    whole = out[None] if out.ndim == 1 else out
    if whole.shape != (n, k) or whole.dtype != dtype or not whole.flags.c_contiguous:
        raise ValueError(
            f"out must be a contiguous {np.dtype(dtype)} array of shape {(n, k)}, not {out.dtype} {out.shape}"
        )
    return whole


def _shaped(values: Floats, total: Floats) -> Floats:
    return total[0] if values.ndim == 1 else total


def _check_places(k: int, nonzeros: int) -> None:
    _at_least(k, 1, "k")
    _at_least(nonzeros, 1, "nonzeros")
    if nonzeros > k:
        raise ValueError(f"a column has {k} places, fewer than {nonzeros} non-zeros")


def _at_least(value: int, least: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is an integer of at least {least}, not {value!r}")


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
