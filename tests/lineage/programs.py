"""Random programs over NumPy: drawn while they run on concrete arrays, then run again plain, traced or lazy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import traceprop as tp

Draw = Callable[[st.SearchStrategy[Any]], Any]
Params = tuple[Any, ...]

DTYPES = ("f64", "f64", "f64", "f32", "i64", "bool")
_NUMPY = {"f64": np.float64, "f32": np.float32, "i64": np.int64, "bool": np.bool_}

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
        return any(step.name.startswith("mask") or step.name == "flatnonzero" for step in self.steps)

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
        _unary(st.sampled_from(["float32", "float64", "bool"]), fits=lambda v: v.dtype.kind in "fbi"),
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
}  # fmt: skip


@st.composite
def arrays(draw: st.DrawFn, numbers: Sequence[float] = FINITE) -> np.ndarray:
    """A small array; its values come from a short list."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 2, 3, 0]))
    shape = tuple(draw(st.sampled_from([3, 4, 2, 5, 1, 0])) for _ in range(rank))
    dtype = draw(st.sampled_from(DTYPES))
    cells = draw(st.lists(st.sampled_from(numbers), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    array = np.array(cells, dtype=np.float64).reshape(shape)
    if dtype[0] != "f":
        array = np.asarray(np.nan_to_num(array, posinf=1, neginf=0))
    return array.astype(_NUMPY[dtype])


@st.composite
def programs(
    draw: st.DrawFn,
    numbers: Sequence[float] = FINITE,
    names: Sequence[str] = tuple(OPS),
    max_steps: int = 12,
    max_cells: int = 200,
) -> RandomProgram:
    """1–3 sources and up to `max_steps` ops that NumPy takes; the last value and up to one more are returned."""

    def value(name: str, *given: Any) -> np.ndarray:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(OPS[name].apply(*given))

    sources = tuple(draw(arrays(numbers)) for _ in range(draw(st.integers(1, 3))))
    return RandomProgram(sources, *drawn_steps(draw, OPS, names, sources, value, max_steps, max_cells))


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
        except (ValueError, TypeError, IndexError, ZeroDivisionError):
            continue
        if found.size > max_cells or found.ndim > _BIG or found.dtype.kind not in kinds or found.dtype == np.float16:
            continue
        steps.append(Step(name, operands, params))
        values.append(found)
    last = len(values) - 1
    return tuple(steps), tuple(dict.fromkeys([last, draw(st.integers(0, last))]))
