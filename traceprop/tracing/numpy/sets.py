"""Distinct values, sets, bins and lookups in sorted arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir import Dim
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import Kind
from traceprop.ir.opset import reduce
from traceprop.ir.types import dtype_name
from traceprop.tracing.lazy import Lazy, emit, fresh_symbol
from traceprop.tracing.numpy.calls import NoRule, constant_like
from traceprop.tracing.numpy.mapped import dims_of, dtype_of, mapped, number, own, sample, together, whole


def _everything(
    name: str, operands: Sequence[Any], dims: Sequence[Dim], dtype: Any, native: Callable[..., Any], **attrs: Any
) -> Any:
    """A result whose every cell is made of every operand's every cell."""
    reads = [GivenRead(k, whole(x)) for k, x in enumerate(operands)]
    return mapped(name, operands, reads, dims, dtype, native, **attrs)


def _cell_by_cell(name: str, operands: Sequence[Any], moving: int, dtype: Any, native: Callable[..., Any]) -> Any:
    """Each result cell reads one cell of the operand `moving`, and the others whole."""
    dims = dims_of(operands[moving])
    reads = [GivenRead(k, own(x, dims) if k == moving else whole(x)) for k, x in enumerate(operands)]
    return mapped(name, operands, reads, dims, dtype, native)


# -- distinct values and sets -------------------------------------------------------------------------------------------------


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    **options: Any,
) -> Any:
    """The sorted distinct values: a statistic of all cells. The inverse is a group number, as of the op `group`."""
    wanted = (True, return_index, return_inverse, return_counts)
    size = fresh_symbol("V")
    dims = dims_of(ar)
    along = None if axis is None else int(np.lib.array_utils.normalize_axis_index(axis, len(dims)))

    def part(k: int) -> Callable[..., Any]:
        asked = [k == n for n in range(4)]

        def native(x: Any) -> Any:
            found = np.unique(x, *asked[1:], axis=axis, **options)
            return found if k == 0 else found[1]

        return native

    def result(k: int) -> Any:
        dtype = dtype_of(ar) if k == 0 else np.int64
        if k == 2:
            given = dims if along is None else (dims[along],)
            if along is not None:
                return _everything("unique", [ar], given, dtype, part(k), result=k)
            reads = [GivenRead(0, own(ar, dims), Kind.CONTROL), GivenRead(0, whole(ar), Kind.ORDER)]
            return mapped("unique", [ar], reads, given, dtype, part(k), result=k)
        if along is not None and k == 0:
            shape = (*dims[:along], size, *dims[along + 1 :])
            return _everything("unique", [ar], shape, dtype, part(k), result=k)
        attrs = {"axes": tuple(range(len(dims))), "size": size, "result": k}
        return emit(reduce, [ar], attrs, "numpy.unique", dtype_name(dtype), native=part(k))

    found = [result(k) for k, want in enumerate(wanted) if want]
    return found[0] if len(found) == 1 else tuple(found)


def _unique_of(*wanted: int) -> Callable[..., Any]:
    """`unique_values`, `unique_counts`, …: NaNs count as different there."""

    def handler(x: Any, /, **options: Any) -> Any:
        asked = {
            name: k in wanted for k, name in enumerate(("", "return_index", "return_inverse", "return_counts")) if k
        }
        hashed = {} if wanted or options else {"sorted": False}  # values alone come in the order of NumPy's hash table
        return unique(x, **asked, equal_nan=False, **hashed, **options)

    return handler


def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Any:
    options = {"assume_unique": assume_unique, "invert": invert, "kind": kind}
    return _cell_by_cell("isin", [element, test_elements], 0, bool, lambda x, known: np.isin(x, known, **options))


def _set_operation(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def handler(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
        if return_indices:
            return _with_positions(ar1, ar2, assume_unique)
        dtype = function(sample(ar1, (1,)), sample(ar2, (1,))).dtype
        native = lambda x, y: function(x, y, assume_unique)  # noqa: E731
        return _everything(name, [ar1, ar2], (fresh_symbol("K"),), dtype, native)

    return handler


def _with_positions(ar1: Any, ar2: Any, assume_unique: bool) -> tuple[Any, ...]:
    """What two arrays share, and where it stands in both."""
    size = fresh_symbol("K")
    dtypes = (np.intersect1d(sample(ar1, (1,)), sample(ar2, (1,))).dtype, np.intp, np.intp)

    def one(k: int) -> Any:
        native = lambda x, y: np.intersect1d(x, y, assume_unique, return_indices=True)[k]  # noqa: E731
        return _everything("intersect1d", [ar1, ar2], (size,), dtypes[k], native, result=k)

    return tuple(map(one, (0, 1, 2)))


def union1d(ar1: Any, ar2: Any) -> Any:
    return np.unique(np.concatenate([np.ravel(ar1), np.ravel(ar2)]))


# -- lookups ----------------------------------------------------------------------------------------------------------------


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """A lookup reads its own value and the whole sorted array."""
    more = [] if sorter is None else [sorter]
    native = lambda x, y, *order: np.searchsorted(x, y, side, *order)  # noqa: E731
    return _cell_by_cell("searchsorted", [a, v, *more], 1, np.intp, native)


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    return _cell_by_cell("digitize", [x, bins], 0, np.intp, lambda cells, edges: np.digitize(cells, edges, right))


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if any(isinstance(value, Lazy) for value in (left, right, period)):
        raise NoRule
    dtype = np.complex128 if dtype_of(fp).kind == "c" else np.float64
    native = lambda cells, xs, ys: np.interp(cells, xs, ys, left, right, period)  # noqa: E731
    return _cell_by_cell("interp", [x, xp, fp], 0, dtype, native)


# -- bins -------------------------------------------------------------------------------------------------------------------


def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Any cell can fall into any bin."""
    more = [] if weights is None else [weights]
    native = lambda cells, *given: np.bincount(cells, *given, minlength=minlength)  # noqa: E731
    return _everything("bincount", [x, *more], (fresh_symbol("K"),), np.float64 if more else np.intp, native)


def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    """Counts read every cell; the edges too, unless they are given."""
    if isinstance(bins, str):
        return _by_a_rule(a, bins, range, density, weights)
    fixed = isinstance(bins, Lazy) or np.ndim(bins) == 1 or range is not None
    if isinstance(bins, Lazy):
        edges: Any = bins
    elif fixed:
        edges = constant_like(np.histogram_bin_edges(np.zeros(0), bins, range), a)
    else:
        size = int(bins) + 1
        float_edges = np.histogram_bin_edges(sample(a, (1,)), bins).dtype
        edges = _everything("histogram", [a], (size,), float_edges, lambda x: np.histogram_bin_edges(x, bins), result=1)
    more = [] if weights is None else [weights]
    lazy_bins = [bins] if isinstance(bins, Lazy) else []

    def native(*given: Any) -> Any:
        values, *rest = given
        own_bins = rest.pop() if lazy_bins else bins
        return np.histogram(values, own_bins, range, density=density, weights=rest[0] if rest else None)[0]

    count = edges.type.dims[0] - 1
    dtype = np.float64 if density else dtype_of(weights) if more else np.dtype(np.intp)
    return _everything("histogram", [a, *more, *lazy_bins], (count,), dtype, native, result=0), edges


def _by_a_rule(a: Any, rule: str, range: Any, density: Any, weights: Any) -> Any:
    """As many bins as the data says."""
    if weights is not None:
        raise TypeError("Automated estimation of the number of bins is not supported for weighted data")
    count = lambda x: np.histogram(x, rule, range, density)[0]  # noqa: E731
    edges = lambda x: np.histogram_bin_edges(x, rule, range)  # noqa: E731
    dtype = np.float64 if density else np.intp
    return (
        _everything("histogram", [a], (fresh_symbol("K"),), dtype, count, result=0),
        _everything("histogram", [a], (fresh_symbol("K"),), np.float64, edges, result=1),
    )


def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    if isinstance(bins, Lazy) or weights is not None:
        raise NoRule
    if isinstance(bins, str):
        return _by_a_rule(a, bins, range, None, None)[1]
    if range is not None or np.ndim(bins):
        return constant_like(np.histogram_bin_edges(np.zeros(0), bins, range), a)
    dtype = np.histogram_bin_edges(sample(a, (1,)), bins).dtype
    return _everything("histogram_bin_edges", [a], (int(bins) + 1,), dtype, lambda x: np.histogram_bin_edges(x, bins))


def histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    each = (
        [bins, bins]
        if not np.ndim(bins[0] if isinstance(bins, (list, tuple)) else bins) and np.ndim(bins) == 0
        else bins
    )
    if len(each) not in (1, 2):
        each = [bins, bins]
    counts, edges = _counted_in_boxes("histogram2d", [x, y], list(each), range, density, weights)
    return (counts, *edges)


def histogramdd(sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    """Counts in boxes: of columns, or of the arrays that are given for them."""
    columns = (
        list(sample)
        if isinstance(sample, (list, tuple))
        else [sample[:, k] for k in np.arange(number(sample, 1, "numpy.histogramdd")).tolist()]
    )
    each = list(bins) if np.ndim(bins) or isinstance(bins, (list, tuple)) else [bins] * len(columns)
    return _counted_in_boxes("histogramdd", columns, each, range, density, weights)


def _counted_in_boxes(
    name: str, columns: Sequence[Any], bins: Sequence[Any], range: Any, density: Any, weights: Any
) -> tuple[Any, tuple[Any, ...]]:
    """Any row can fall into any box; edges that are given hang on no data, others on their own column."""
    if any(isinstance(each, (Lazy, str)) for each in bins) or len(bins) != len(columns):
        raise NoRule
    spans = [None] * len(columns) if range is None else list(range)
    edges: list[Any] = []
    for k, (column, each, span) in enumerate(zip(columns, bins, spans, strict=True)):
        if np.ndim(each) or span is not None:
            found = np.histogramdd([np.zeros(1)], [each], None if span is None else [span])[1][0]
            edges.append(constant_like(found, column))
            continue
        native = lambda x, each=each: np.histogramdd([x], [each])[1][0]  # noqa: E731
        edges.append(_everything(name, [column], (int(each) + 1,), np.float64, native, result=k + 1))
    more = [] if weights is None else [weights]

    def counted(*given: Any) -> Any:
        weighed = given[len(columns)] if more else None
        return np.histogramdd(list(given[: len(columns)]), list(bins), range, density, weighed)[0]

    size = tuple(edge.type.dims[0] - 1 for edge in edges)
    return _everything(name, [*columns, *more], size, np.float64, counted, result=0), tuple(edges)


def lexsort(keys: Any, axis: int = -1) -> Any:
    """The permutation by several keys, the last of them first."""
    from traceprop.ir.opset import sort

    listed = list(keys) if isinstance(keys, (tuple, list)) else [keys[k] for k in range(int(np.shape(keys)[0]))]
    arrays = [key if isinstance(key, Lazy) else np.asarray(key) for key in listed]
    rank = np.ndim(arrays[0])
    together(*map(dims_of, arrays))
    along = int(np.lib.array_utils.normalize_axis_index(axis, rank))
    attrs = {"axis": along, "kind": "lexsort"}
    return emit(sort, arrays[::-1], attrs, native=lambda *given: np.lexsort(given[::-1], along))


def _partitioned(name: str) -> Callable[..., Any]:
    """Any cell along the axis can come to any place."""
    function = getattr(np, name)

    def handler(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Any:
        if isinstance(kth, Lazy):
            raise NoRule
        if axis is None:
            a, axis = np.ravel(a), -1
        dims = dims_of(a)
        along = int(np.lib.array_utils.normalize_axis_index(axis, len(dims)))
        places = tuple(
            every if k == along else here for k, (here, every) in enumerate(zip(own(a, dims), whole(a), strict=True))
        )
        dtype = dtype_of(a) if name == "partition" else np.intp
        return mapped(name, [a], [GivenRead(0, places)], dims, dtype, lambda x: function(x, kth, along, kind))

    return handler


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.unique: unique, np.unique_values: _unique_of(), np.unique_counts: _unique_of(3), np.unique_inverse: _unique_of(2),
    np.unique_all: _unique_of(1, 2, 3),
    np.isin: isin, np.union1d: union1d,
    **{getattr(np, name): _set_operation(name) for name in ("intersect1d", "setdiff1d", "setxor1d")},
    np.searchsorted: searchsorted, np.digitize: digitize, np.interp: interp,
    np.bincount: bincount, np.histogram: histogram, np.histogram_bin_edges: histogram_bin_edges, np.histogram2d: histogram2d,
    np.histogramdd: histogramdd, np.sort_complex: lambda a: np.sort(a).astype(complex),
    np.lexsort: lexsort, np.partition: _partitioned("partition"), np.argpartition: _partitioned("argpartition"),
}  # fmt: skip
