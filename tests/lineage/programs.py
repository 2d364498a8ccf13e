"""Random programs over NumPy: drawn while they run on concrete arrays, then run again plain, traced or lazy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import traceprop as tp
from traceprop.ir.types import dtype_name, numpy_dtype
from traceprop.tracing.lazy import is_lazy

Draw = Callable[[st.SearchStrategy[Any]], Any]
Params = tuple[Any, ...]

# The first half are what most programs compute with; then every width, text, dates and the time between them.
DTYPES = (
    *("f64",) * 8, *("f32",) * 2, *("i64",) * 2, *("bool",) * 2,
    "f16", "i8", "i16", "i32", "u8", "u16", "u32", "u64", "c64", "c128", "str", "str", "date", "datetime", "days", "duration",
)  # fmt: skip
TEXTS = ["a", "b ", "Ab", " ", "", "cc"]

# Few and small, so that ties, equal keys and repeated masks are common.
FINITE = [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0]
ANY = [*FINITE, float("nan"), float("inf"), -float("inf"), -0.0]


@dataclass(frozen=True)
class Step:
    """One op: its name in `OPS`, which earlier values it takes, and its parameters."""

    name: str
    operands: tuple[int, ...]
    params: Params

    def __repr__(self) -> str:
        return f"{self.name}({', '.join([*(f'v{k}' for k in self.operands), *map(repr, self.params)])})"


@dataclass(frozen=True)
class RandomProgram:
    """Sources, steps, and which values are returned. Called with one value per source it gives a tuple of values."""

    sources: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    returns: tuple[int, ...]

    @property
    def ops(self) -> Mapping[str, Kind]:
        """What the steps' names stand for."""
        return OPS

    @property
    def data_decides_sizes(self) -> bool:
        """Whether a size hangs on the data: such sizes cannot always be shown equal while a function is traced."""
        return any(step.name.startswith("mask") or step.name in DATA_DECIDES for step in self.steps)

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        found = list(values)
        for step in self.steps:
            found.append(self.ops[step.name].apply(*(found[k] for k in step.operands), *step.params))
        return tuple(found[k] for k in self.returns)

    def plain(self, *sources: np.ndarray) -> tuple[np.ndarray, ...]:
        """The values on plain arrays."""
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(np.asarray(value) for value in self(*(sources or self.sources)))


@dataclass(frozen=True)
class Kind:
    """How an op is drawn: `draw` gives operand positions and parameters, or None where no value fits."""

    apply: Callable[..., Any]
    draw: Callable[[Draw, Sequence[np.ndarray]], tuple[tuple[int, ...], Params] | None]


def _some(draw: Draw, values: Sequence[Any], fits: Callable[[Any], bool] = lambda v: True) -> int | None:
    """A position of a fitting value; later ones are likelier, so that programs grow deep."""
    fitting = [k for k, v in enumerate(values) if fits(v)]
    return draw(st.sampled_from(fitting[-3:] + fitting)) if fitting else None


def _unary(*params: st.SearchStrategy[Any], fits: Callable[[Any], bool] = lambda v: True) -> Any:
    def drawn(draw: Draw, values: Sequence[Any]) -> Any:
        k = _some(draw, values, fits)
        return None if k is None else ((k,), tuple(draw(p) for p in params))

    return drawn


def _broadcasts(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    return True


def _binary(draw: Draw, values: Sequence[Any]) -> Any:
    a = _some(draw, values)
    b = _some(draw, values, lambda v: _broadcasts(values[a], v))
    return None if b is None else ((a, b), ())


def _axis(draw: Draw, rank: int, none: bool = True) -> Any:
    choices = [*range(-rank, rank)]
    return draw(st.sampled_from([None, *choices] if none or not choices else choices))


def _over_axis(rank: int = 0, none: bool = True, keepdims: bool = False) -> Any:
    def drawn(draw: Draw, values: Sequence[Any]) -> Any:
        k = _some(draw, values, lambda v: v.ndim >= rank)
        if k is None:
            return None
        params: Params = (_axis(draw, values[k].ndim, none),)
        return (k,), (*params, draw(st.booleans())) if keepdims else params

    return drawn


def _together(draw: Draw, values: Sequence[Any]) -> Any:
    """Two or three values that agree on all axes but one."""
    a = _some(draw, values, lambda v: v.ndim)
    if a is None:
        return None
    axis = draw(st.integers(0, values[a].ndim - 1))

    def agrees(v: Any) -> bool:
        rest = [n for k, n in enumerate(values[a].shape) if k != axis]
        return v.ndim == values[a].ndim and [n for k, n in enumerate(v.shape) if k != axis] == rest

    others = [_some(draw, values, agrees) for _ in range(draw(st.integers(0, 2)))]
    return (a, *others), (axis,)


def _alike(draw: Draw, values: Sequence[Any]) -> Any:
    a = _some(draw, values)
    others = [_some(draw, values, lambda v: v.shape == values[a].shape) for _ in range(draw(st.integers(0, 2)))]
    return (a, *others), (draw(st.integers(0, values[a].ndim)),)


def _listed(name: str) -> Callable[..., Any]:
    """`np.name([a, b, …], axis)`."""
    function = getattr(np, name)
    return lambda *given: function(list(given[:-1]), axis=given[-1])


def _columns(draw: Draw, values: Sequence[Any]) -> Any:
    a = _some(draw, values, lambda v: v.ndim in (1, 2))
    if a is None:
        return None
    n = len(values[a])
    others = [_some(draw, values, lambda v: v.ndim in (1, 2) and len(v) == n) for _ in range(draw(st.integers(0, 2)))]
    return (a, *others), ()


def _index_item(draw: Draw, size: int) -> Any:
    bound = st.one_of(st.none(), st.integers(-size - 1, size + 1))
    kind = draw(st.sampled_from(["slice", "slice", "all", "int"] if size else ["slice", "all"]))
    if kind == "int":
        return draw(st.integers(-size, size - 1))
    return (
        slice(None) if kind == "all" else slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, -1, -2])))
    )


def _basic_index(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values)
    shape = values[k].shape
    items: list[Any] = [_index_item(draw, size) for size in shape[: draw(st.integers(0, len(shape)))]]
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), None)
    if draw(st.integers(0, 4)) == 0:
        items.append(Ellipsis)
    return (k,), (tuple(items),)


def _positions(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values, lambda v: v.ndim and all(v.shape))
    if k is None:
        return None
    axis = draw(st.integers(0, values[k].ndim - 1))
    size = values[k].shape[axis]
    index = draw(st.lists(st.integers(-size, size - 1), max_size=5))
    return (k,), (axis, tuple(index))


def _mask(draw: Draw, values: Sequence[Any]) -> Any:
    m = _some(draw, values, lambda v: v.ndim == 1 and v.dtype == bool)
    if m is None:
        return None
    k = _some(draw, values, lambda v: v.ndim and len(v) == len(values[m]))
    return (k, m), ()


def _compared(draw: Draw, values: Sequence[Any]) -> Any:
    """A mask over the rows of one value, made of one of its columns."""
    k = _some(draw, values, lambda v: v.ndim in (1, 2) and (v.ndim == 1 or v.shape[1]) and v.dtype != bool)
    if k is None:
        return None
    return (k,), (draw(st.integers(0, max(values[k].shape[1] - 1, 0))) if values[k].ndim == 2 else None, draw(NUMBER))


def _row_mask(x: Any, column: int | None, than: float) -> Any:
    return x[(x if column is None else x[:, column]) > than]


def _constant_mask(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values, lambda v: v.ndim)
    return None if k is None else ((k,), (tuple(draw(st.booleans()) for _ in range(len(values[k]))),))


def _looked_up(draw: Draw, values: Sequence[Any]) -> Any:
    """x[argsort(y)], of equal lengths."""
    y = _some(draw, values, lambda v: v.ndim == 1)
    if y is None:
        return None
    x = _some(draw, values, lambda v: v.ndim and len(v) == len(values[y]))
    return (x, y), ()


def _contracted(draw: Draw, values: Sequence[Any]) -> Any:
    a = _some(draw, values, lambda v: v.ndim in (1, 2) and v.dtype != bool)
    if a is None:
        return None
    b = _some(draw, values, lambda v: v.ndim in (1, 2) and v.dtype != bool and v.shape[0] == values[a].shape[-1])
    return None if b is None else ((a, b), ())


def _shapes(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values, lambda v: v.size)
    size = values[k].size if k is not None else 0
    if k is None:
        return None
    divisors = [d for d in range(1, size + 1) if size % d == 0]
    first = draw(st.sampled_from(divisors))
    return (k,), (draw(st.sampled_from([(-1,), (-1, first), (first, -1), (first, 1, -1)])),)


def _keep_rows(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values, lambda v: v.ndim and v.size)
    return None if k is None else ((k,), ())


def _permuted(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values)
    return (k,), (tuple(draw(st.permutations(range(values[k].ndim)))),)


def _diagonal(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values, lambda v: v.ndim == 2 and v.shape[0] == v.shape[1] and v.dtype != bool)
    return None if k is None else ((k,), (draw(st.sampled_from(["ii->i", "ii->", "ij->ji", "ij->i", "ij->"])),))


def _rows(v: Any) -> bool:
    return bool(v.ndim) and v.dtype != bool


NUMBER = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 1, 2, -1])
_ARRAYS = [np.array([[1.0], [2.0]]), np.array([0.5]), np.float64(2.0), np.float32(1.5), np.array(3)]
_BIG = 4  # axes at most


def real(v: Any) -> bool:
    return v.dtype.kind in "fiu"


def number(v: Any) -> bool:
    return v.dtype.kind in "fiuc"


def floating(v: Any) -> bool:
    return v.dtype.kind == "f" and v.dtype != np.float16


def text(v: Any) -> bool:
    return v.dtype.kind == "U"


def time(v: Any) -> bool:
    return v.dtype.kind in "mM"


def vector(v: Any) -> bool:
    return v.ndim == 1 and v.size and floating(v)


def square(v: Any) -> bool:
    return v.ndim in (2, 3) and v.size and v.shape[-1] == v.shape[-2] and floating(v)


def _two(fits: Callable[[Any], bool], rank: int | None = None) -> Any:
    """Two values of one kind."""

    def drawn(draw: Draw, values: Sequence[Any]) -> Any:
        a = _some(draw, values, lambda v: fits(v) and (rank is None or v.ndim == rank))
        if a is None:
            return None
        b = _some(
            draw, values, lambda v: fits(v) and (v.ndim == rank if rank is not None else _broadcasts(values[a], v))
        )
        return None if b is None else ((a, b), ())

    return drawn


def _masked_fold(draw: Draw, values: Sequence[Any]) -> Any:
    """A value, a mask that is broadcast to it, and one of its axes."""
    a = _some(draw, values, lambda v: v.ndim and number(v))
    if a is None:
        return None
    m = _some(draw, values, lambda v: v.dtype == bool and v.ndim <= values[a].ndim and _fits(v.shape, values[a].shape))
    return None if m is None else ((a, m), (draw(st.integers(0, values[a].ndim - 1)),))


def _fits(shape: Sequence[int], wide: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(tuple(shape), wide) == wide
    except ValueError:
        return False


def _counted(draw: Draw, values: Sequence[Any]) -> Any:
    """A value with rows, and small whole numbers made of a vector of as many."""
    n = _some(draw, values, lambda v: v.ndim == 1 and v.dtype.kind in "biu")
    if n is None:
        return None
    x = _some(draw, values, lambda v: v.ndim and len(v) == len(values[n]))
    return (x, n), ()


def _among(drawn: Any, fits: Callable[[Any], bool]) -> Any:
    """The same, where the values that do not fit look as if they had no axes."""
    return lambda draw, values: drawn(draw, [v if fits(v) else np.empty(()) for v in values])


def _small(n: Any) -> Any:
    return n.astype("int64") % 3


def _two_indices(draw: Draw, values: Sequence[Any]) -> Any:
    k = _some(draw, values, lambda v: v.ndim >= 2 and all(v.shape))
    if k is None:
        return None
    first, second = draw(st.permutations(range(values[k].ndim)))[:2]
    count = draw(st.integers(1, 3))
    places = [
        tuple(draw(st.integers(-values[k].shape[axis], values[k].shape[axis] - 1)) for _ in range(count))
        for axis in (first, second)
    ]
    return (k,), (first, second, *places)


def _by_two_indices(x: Any, first: int, second: int, here: tuple[int, ...], there: tuple[int, ...]) -> Any:
    items: list[Any] = [slice(None)] * x.ndim
    items[first], items[second] = np.array(here), np.array(there)
    return x[tuple(items)]


def _divided(a: Any, b: Any) -> Any:
    """The usual way round a division by zero; lazy values outside a traced function take no `out=`."""
    wide = np.multiply(a, b)
    if is_lazy(wide) and wide.trace is None:
        return np.where(b != 0, np.true_divide(wide, b), 0)
    return np.divide(wide, b, out=np.zeros_like(np.true_divide(wide, b)), where=b != 0)


def _scaled(x: Any) -> Any:
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)


UNARY = (
    "negative abs sign square sqrt exp log1p floor ceil rint isnan isfinite sin tanh reciprocal positive logical_not "
    "nan_to_num round real"
).split()
BINARY = (
    "add subtract multiply true_divide floor_divide mod power maximum minimum fmax hypot arctan2 equal not_equal less "
    "less_equal greater greater_equal logical_and logical_or logical_xor copysign heaviside"
).split()
REDUCTIONS = ("sum mean std var max min prod any all median ptp count_nonzero nansum nanmean nanmax").split()

DATA_DECIDES = {
    "flatnonzero",
    "unique",
    "union1d",
    "intersect1d",
    "setdiff1d",
    "bincount",
    "repeat_rows",
    "text_one_hot",
}
TEXT = "upper lower strip str_len isalpha title".split()
DAY = np.timedelta64(1, "D")

OPS: dict[str, Kind] = {
    **{name: Kind(getattr(np, name), _unary(fits=lambda v: v.dtype != bool)) for name in UNARY},
    **{name: Kind(getattr(np, name), _binary) for name in BINARY},
    "add_number": Kind(lambda x, c: x + c, _unary(NUMBER)),
    "number_minus": Kind(lambda x, c: c - x, _unary(NUMBER, fits=lambda v: v.dtype != bool)),
    "times_array": Kind(
        lambda x, k: np.multiply(_ARRAYS[k], x), _unary(st.integers(0, len(_ARRAYS) - 1), fits=lambda v: v.ndim < _BIG)
    ),
    "compare": Kind(lambda x, c: x > c, _unary(NUMBER)),
    "invert": Kind(lambda x: ~x, _unary(fits=lambda v: v.dtype == bool)),
    "clip": Kind(lambda x, lo, hi: np.clip(x, lo, hi), _unary(NUMBER, NUMBER, fits=lambda v: v.dtype != bool)),
    "astype": Kind(
        lambda x, dtype: x.astype(dtype),
        _unary(
            st.sampled_from(["float32", "float64", "bool", "float16", "int8", "int32", "uint8", "uint64", "complex64"]),
            fits=lambda v: v.dtype.kind in "fbiuc" and bool(np.all((v == v) & (np.abs(v) < 100))),
        ),
    ),
    "where": Kind(
        lambda x, c: np.where(x > c, x, -1.0), _unary(NUMBER)
    ),
    "cond": Kind(lambda x, c: tp.cond(x.sum() > c, lambda v: v + 1, lambda v: v[::-1], x), _unary(NUMBER, fits=_rows)),
    "cond_folded": Kind(
        lambda x, c: tp.cond((x > c).any(), lambda: x - x.mean(axis=0), lambda: x * 1.0), _unary(NUMBER, fits=_rows)),
    "cond_sorted": Kind(lambda x, c: tp.cond(x.sum() > c, lambda v: np.sort(v, 0), lambda v: v, x), _unary(NUMBER, fits=_rows)),
    "where_three": Kind(
        lambda m, a, b: np.where(m, a, b),
        lambda draw, values: None
        if (pair := _binary(draw, values)) is None
        else ((c := _some(draw, values, lambda v: _broadcasts(v, np.broadcast(*(values[k] for k in pair[0]))))),) and (
            None if c is None else ((c, *pair[0]), ())
        ),
    ),
    **{
        name: Kind(
            lambda x, axis, keepdims, name=name: getattr(np, name)(x, axis=axis, keepdims=keepdims),
            _over_axis(keepdims=True),
        )
        for name in REDUCTIONS
    },
    "quantile": Kind(lambda x, axis: np.quantile(x, 0.3, axis=axis), _over_axis()),
    "norm": Kind(lambda x, axis: np.linalg.norm(x, axis=axis), _over_axis(1, none=False)),
    "argmax": Kind(lambda x, axis: np.argmax(x, axis=axis), _over_axis(1)),
    "argmin": Kind(lambda x, axis: np.argmin(x, axis=axis), _over_axis(1)),
    "add.reduce": Kind(lambda x, axis: np.add.reduce(x, axis=axis), _over_axis(1)),
    "maximum.accumulate": Kind(lambda x, axis: np.maximum.accumulate(x, axis=axis), _over_axis(1, none=False)),
    "cumsum": Kind(lambda x, axis: np.cumsum(x, axis=axis), _over_axis()),
    "cumprod": Kind(lambda x, axis: x.cumprod(axis=axis), _over_axis()),
    "diff": Kind(lambda x, axis: np.diff(x, axis=axis), _over_axis(1, none=False)),
    "scaled": Kind(_scaled, _unary(fits=lambda v: v.ndim and v.dtype != bool)),
    "reshape": Kind(lambda x, shape: np.reshape(x, shape), _shapes),
    "rows_flat": Kind(lambda x: x.reshape(x.shape[0], -1), _keep_rows),
    "ravel": Kind(np.ravel, _unary()),
    "transpose": Kind(lambda x, axes: np.transpose(x, axes), _permuted),
    "T": Kind(lambda x: x.T, _unary()),
    "swapaxes": Kind(lambda x: np.swapaxes(x, 0, -1), _unary(fits=lambda v: v.ndim)),
    "expand_dims": Kind(lambda x, axis: np.expand_dims(x, axis), _unary(st.sampled_from([0, -1]), fits=lambda v: v.ndim < _BIG)),
    "squeeze": Kind(np.squeeze, _unary()),
    "broadcast_to": Kind(lambda x, n: np.broadcast_to(x, (n, *x.shape)), _unary(st.integers(0, 3), fits=lambda v: v.ndim < _BIG)),
    "flip": Kind(lambda x, axis: np.flip(x, axis), _over_axis()),
    "roll": Kind(lambda x, shift: np.roll(x, shift, axis=-1), _unary(st.integers(-3, 3), fits=lambda v: v.ndim > 1)),
    "repeat": Kind(
        lambda x, n, axis: np.repeat(x, n, axis=axis),
        _unary(st.integers(0, 3), st.sampled_from([None, 0, -1]), fits=lambda v: v.ndim),
    ),
    "tile": Kind(lambda x, n: np.tile(x, n), _unary(st.integers(0, 3), fits=lambda v: v.ndim)),
    "concatenate": Kind(_listed("concatenate"), _together),
    "stack": Kind(_listed("stack"), _alike),
    "hstack": Kind(lambda *xs: np.hstack(xs), _columns),
    "vstack": Kind(lambda *xs: np.vstack(xs), lambda draw, values: (_alike(draw, values)[0], ())),
    "column_stack": Kind(lambda *xs: np.column_stack(xs), _columns),
    "index": Kind(lambda x, index: x[index], _basic_index),
    "mask": Kind(lambda x, m: x[m], _mask),
    "mask_compared": Kind(_row_mask, _compared),
    "mask_constant": Kind(lambda x, m: x[np.array(m, dtype=bool)], _constant_mask),
    "flatnonzero": Kind(np.flatnonzero, _unary(fits=lambda v: v.ndim == 1)),
    "take_rows": Kind(
        lambda x, axis, index: x[(slice(None),) * axis + (np.array(index, dtype=np.int64),)], _positions
    ),
    "take": Kind(lambda x, axis, index: np.take(x, np.array(index, dtype=np.int64), axis=axis), _positions),
    "sort": Kind(np.sort, _unary(fits=lambda v: v.ndim)),
    "argsort": Kind(np.argsort, _unary(fits=lambda v: v.ndim == 1)),
    "by_argsort": Kind(lambda x, y: x[np.argsort(y)], _looked_up),
    "matmul": Kind(lambda a, b: a @ b, _contracted),
    "dot": Kind(np.dot, _contracted),
    "outer": Kind(np.outer, lambda draw, values: (lambda a, b: None if a is None or b is None else ((a, b), ()))(
        _some(draw, values, lambda v: v.ndim == 1), _some(draw, values, lambda v: v.ndim == 1))),
    "einsum": Kind(lambda x, spec: np.einsum(spec, x), _diagonal),
    # more of NumPy
    "conj": Kind(np.conj, _unary(fits=number)),
    "parts": Kind(lambda z: z.real + 2 * z.imag, _unary(fits=lambda v: v.dtype.kind == "c")),
    "bits": Kind(lambda x: (x & 3) ^ 1, _unary(fits=lambda v: v.dtype.kind in "iu")),
    "modf": Kind(lambda x: np.modf(x)[0], _unary(fits=real)),
    "divided": Kind(_divided, _two(floating)),
    "sum_where": Kind(lambda x, m, axis: np.sum(x, axis=axis, where=m), _masked_fold),
    "max_where": Kind(lambda x, m, axis: np.max(x, axis=axis, where=m, initial=0), _masked_fold),
    "percentiles": Kind(lambda x, axis: np.percentile(x, [20, 70], axis=axis), _over_axis()),
    "average": Kind(lambda x, w: np.average(x, axis=0, weights=np.abs(w) + 1),
                    _among(_looked_up, real)),
    "cov": Kind(
        lambda x: np.cov(x, rowvar=False), _unary(fits=lambda v: v.ndim == 2 and v.shape[0] > 1 and v.shape[1] and floating(v))
    ),
    "outer_less": Kind(np.less.outer, _two(real, 1)),
    "gradient": Kind(lambda x: np.gradient(x, axis=0), _unary(fits=lambda v: v.ndim and v.shape[0] > 1 and number(v))),
    "diff_prepend": Kind(lambda x: np.diff(x, axis=-1, prepend=0), _unary(fits=lambda v: v.ndim and number(v))),
    "tril": Kind(np.tril, _unary(st.integers(-1, 1), fits=lambda v: v.ndim > 1 and number(v))),
    "triu": Kind(np.triu, _unary(st.integers(-1, 1), fits=lambda v: v.ndim > 1 and number(v))),
    "diag": Kind(np.diag, _unary(st.integers(-1, 1), fits=lambda v: v.ndim in (1, 2) and all(v.shape) and number(v))),
    "trace": Kind(lambda x: np.trace(x, axis1=-2, axis2=-1), _unary(fits=lambda v: v.ndim > 1 and number(v))),
    "inv": Kind(lambda x: np.linalg.inv(x + 9 * np.eye(x.shape[-1])), _unary(fits=square)),
    "solve": Kind(lambda x: np.linalg.solve(x + 9 * np.eye(x.shape[-1]), x), _unary(fits=square)),
    "qr": Kind(lambda x: np.linalg.qr(x)[1], _unary(fits=lambda v: v.ndim in (2, 3) and v.size and floating(v))),
    "cholesky": Kind(lambda x: np.linalg.cholesky(x / 9 + 9 * np.eye(x.shape[-1])), _unary(fits=square)),
    "fft": Kind(
        lambda x, axis: np.fft.fft(x, axis=axis), _among(_over_axis(1, none=False), lambda v: number(v) and all(v.shape))
    ),
    "rfftn": Kind(np.fft.rfftn, _unary(fits=lambda v: v.ndim and v.size and real(v))),
    "convolve": Kind(lambda v, w: np.convolve(v, w, "same"), _two(vector, 1)),
    "kron": Kind(np.kron, _two(lambda v: v.ndim and number(v))),
    "roll_flat": Kind(np.roll, _unary(st.integers(-3, 3), fits=lambda v: v.ndim)),
    "delete": Kind(lambda x: np.delete(x, [0, -1], axis=0), _unary(fits=lambda v: v.ndim and v.shape[0] > 1)),
    "insert": Kind(
        lambda x, k: np.insert(x, k, 1, axis=0), _unary(st.integers(0, 1), fits=lambda v: v.ndim and len(v) and number(v))
    ),
    "repeat_rows": Kind(lambda x, n: np.repeat(x, _small(n), axis=0), _counted),
    "by_row": Kind(lambda x, n: x[_small(n) % max(len(x), 1)], _counted),
    "first_largest": Kind(lambda x: x[np.argmax(x, axis=0)], _unary(fits=lambda v: v.ndim == 1 and v.size and real(v))),
    "two_indices": Kind(_by_two_indices, _two_indices),
    "take_clip": Kind(lambda x, n: np.take(x, n.astype("int64"), axis=0, mode="clip"), _counted),
    "choose": Kind(lambda x, n: np.choose(_small(n) % 2, [x, -x]),
                   _among(_counted, lambda v: v.ndim == 1 and v.dtype.kind in "bif")),
    "set_rows": Kind(lambda x, n: tp.at(x)[_small(n) % max(len(x), 1)].set(x[::-1]), _counted),
    "unique": Kind(np.unique, _unary()),
    "unique_inverse": Kind(lambda x: np.unique(x, return_inverse=True)[1], _unary()),
    "isin": Kind(np.isin, _two(lambda v: v.dtype.kind in "fiu")),
    **{name: Kind(getattr(np, name), _two(real, 1)) for name in ("union1d", "intersect1d", "setdiff1d")},
    "searchsorted": Kind(lambda a, v: np.searchsorted(np.sort(a), v), _two(real, 1)),
    "digitize": Kind(lambda v: np.digitize(v, [-1.0, 0.5, 1.0]), _unary(fits=real)),
    "histogram": Kind(lambda v: np.histogram(v, bins=[-2, 0, 1, 3])[0], _unary(fits=real)),
    "bincount": Kind(lambda n: np.bincount(_small(n)), _unary(fits=lambda v: v.ndim == 1 and v.dtype.kind in "biu")),
    "interp": Kind(lambda v, w: np.interp(v, np.arange(len(w)), w), _two(vector, 1)),
    "partition": Kind(lambda x: np.partition(x, 0), _unary(fits=lambda v: v.ndim and v.shape[-1] and real(v))),
    "lexsort": Kind(lambda v, w: np.lexsort((v, w)), _among(_looked_up, lambda v: v.ndim == 1)),
    # text
    **{f"text_{name}": Kind(getattr(np.strings, name), _unary(fits=text)) for name in TEXT},
    "text_add": Kind(np.strings.add, _two(text)),
    "text_replace": Kind(lambda t: np.strings.replace(t, "b", "xy"), _unary(fits=text)),
    "text_find": Kind(lambda t: np.strings.find(t, "b"), _unary(fits=text)),
    "text_is": Kind(lambda t: t == "a", _unary(fits=text)),
    "text_of": Kind(lambda x: x.astype(str), _unary(fits=lambda v: v.dtype.kind in "iub")),
    "text_one_hot": Kind(
        lambda t: (t[:, None] == np.unique(t)).astype("float64"), _unary(fits=lambda v: text(v) and v.ndim == 1)
    ),
    "text_isin": Kind(lambda t: np.isin(t, ["a", "cc"]), _unary(fits=text)),
    # dates, and the time between them
    "since": Kind(lambda d: d - d.min(), _unary(fits=lambda v: time(v) and v.size)),
    "days": Kind(lambda d: d / DAY, _unary(fits=lambda v: v.dtype.kind == "m")),
    "later": Kind(lambda d, n: d + n * DAY, _unary(st.integers(-3, 3), fits=time)),
    "to_days": Kind(lambda d: d.astype(f"{d.dtype.kind}8[D]"), _unary(fits=time)),
    "to_time": Kind(lambda d: d.astype(f"{d.dtype.kind}8[us]"), _unary(fits=time)),
    "ordinal": Kind(lambda d: d.astype("int64"), _unary(fits=time)),
    "isnat": Kind(np.isnat, _unary(fits=time)),
    "after": Kind(lambda d: d > np.datetime64("2020-01-02"), _unary(fits=lambda v: v.dtype.kind == "M")),
}  # fmt: skip

SMOOTH = (
    "sin add multiply sum mean cumsum add_number number_minus reshape rows_flat ravel transpose T swapaxes "
    "expand_dims squeeze broadcast_to flip roll repeat tile concatenate stack hstack vstack column_stack index take_rows take "
    "matmul dot outer add.reduce roll_flat delete two_indices tril triu diag convolve kron inv solve "
    "mask_constant insert"
).split()
"""Ops that random draws see fully: a change of any cell that is read changes what is written, and nothing cancels."""


@st.composite
def arrays(draw: st.DrawFn, numbers: Sequence[float] = FINITE, dtypes: Sequence[str] = DTYPES) -> np.ndarray:
    """A small array; its values come from a short list."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 2, 3, 0]))
    shape = tuple(draw(st.sampled_from([3, 4, 2, 5, 1, 0])) for _ in range(rank))
    dtype = draw(st.sampled_from(dtypes))
    count = int(np.prod(shape))
    if dtype == "str":
        return np.array(draw(st.lists(st.sampled_from(TEXTS), min_size=count, max_size=count)), dtype="U2").reshape(
            shape
        )
    cells = draw(st.lists(st.sampled_from(numbers), min_size=count, max_size=count))
    return as_dtype(np.array(cells, dtype=np.float64).reshape(shape), dtype)


def as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as cells of a dtype: unsigned ones from 0, dates around 2020, times half a day apart."""
    if dtype[0] not in "fc":
        array = np.asarray(np.nan_to_num(array, posinf=1, neginf=0))
    if dtype in ("date", "days"):
        spans = np.floor(array).astype("m8[D]")
        return np.asarray(spans if dtype == "days" else np.datetime64("2020-01-01", "D") + spans)
    if dtype in ("datetime", "duration"):
        spans = (array * 43_200_000_000).astype("m8[us]")
        return np.asarray(spans if dtype == "duration" else np.datetime64("2020-01-01", "us") + spans)
    if dtype[0] == "u":
        array = np.asarray(np.floor(np.abs(array)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return array.astype(numpy_dtype(dtype))


@st.composite
def programs(
    draw: st.DrawFn,
    numbers: Sequence[float] = FINITE,
    names: Sequence[str] = tuple(OPS),
    max_steps: int = 12,
    max_cells: int = 200,
    dtypes: Sequence[str] = DTYPES,
) -> RandomProgram:
    """1–3 sources and up to `max_steps` ops that NumPy takes; the last value and up to one more are returned."""

    def value(name: str, *given: Any) -> np.ndarray:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(OPS[name].apply(*given))

    sources = tuple(draw(arrays(numbers, dtypes)) for _ in range(draw(st.integers(1, 3))))
    return RandomProgram(sources, *drawn_steps(draw, OPS, names, sources, value, max_steps, max_cells, "fiubcUmM"))


def _known(dtype: Any) -> bool:
    """Whether the IR has the dtype: times come in days and microseconds alone, and no wider number than 64 bits."""
    try:
        dtype_name(dtype)
    except TypeError:
        return False
    return True


def drawn_steps(
    draw: Draw,
    ops: Mapping[str, Kind],
    names: Sequence[str],
    sources: Sequence[Any],
    value: Callable[..., Any],
    max_steps: int,
    max_cells: int,
    kinds: str = "fib",
) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    """Steps that the library takes, and which values are returned; `value(name, *operands, *params)` is what a step gives."""
    values = list(sources)
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, max_steps))):
        name = draw(st.sampled_from(names))
        drawn = ops[name].draw(draw, values)
        if drawn is None or any(k is None for k in drawn[0]):
            continue
        operands, params = drawn
        try:
            found = value(name, *(values[k] for k in operands), *params)
        except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError):
            continue
        if found.size > max_cells or found.ndim > _BIG or found.dtype.kind not in kinds or not _known(found.dtype):
            continue
        steps.append(Step(name, operands, params))
        values.append(found)
    last = len(values) - 1
    return tuple(steps), tuple(dict.fromkeys([last, draw(st.integers(0, last))]))
