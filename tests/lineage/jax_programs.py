"""Random programs over jax.numpy and jax.lax: drawn on shapes alone, then run plain (compiled) or traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

from tests.lineage import programs as base
from tests.lineage.programs import _BIG as MANY_AXES
from tests.lineage.programs import FINITE, NUMBER, Kind, RandomProgram, drawn_steps

DTYPES = (
    *("float64",) * 6, "float32", "float32", "float16", "int64", "int64", "int32", "int8", "uint8", "uint32", "bool", "bool",
    "complex128", "complex64",
)  # fmt: skip
QUICKLY = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True)
class JaxProgram(RandomProgram):
    """A random program whose ops are JAX's."""

    compiled: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def ops(self) -> Mapping[str, Kind]:
        return OPS

    @property
    def data_decides_sizes(self) -> bool:
        return False

    def plain(self, *sources: np.ndarray) -> tuple[np.ndarray, ...]:
        with jax.enable_x64(True):
            if not self.compiled:
                self.compiled.append(jax.jit(lambda *given: self(*given), compiler_options=QUICKLY))
            return tuple(np.asarray(value) for value in self.compiled[0](*(sources or self.sources)))


def real(v: Any) -> bool:
    return v.dtype.kind in "fi"


def number(v: Any) -> bool:
    return v.dtype.kind != "b"


def floats(v: Any) -> bool:
    return v.dtype.kind == "f"


def vector(v: Any) -> bool:
    return floats(v) and v.ndim == 1 and v.size


def rows(v: Any) -> bool:
    return floats(v) and v.ndim and v.shape[0]


def anything(v: Any) -> bool:
    return True


def narrow(v: Any) -> bool:
    return v.ndim < MANY_AXES


def _unary(*params: st.SearchStrategy[Any], fits: Callable[[Any], bool] = real) -> Any:
    return base._unary(*params, fits=fits)


def _along(rank: int = 1, fits: Callable[[Any], bool] = real) -> Any:
    """A value of at least `rank` axes, and one of them."""

    def drawn(draw: base.Draw, values: Sequence[Any]) -> Any:
        k = base._some(draw, values, lambda v: v.ndim >= rank and fits(v))
        return None if k is None else ((k,), (draw(st.integers(0, values[k].ndim - 1)),))

    return drawn


def _reduced(fits: Callable[[Any], bool]) -> Any:
    def drawn(draw: base.Draw, values: Sequence[Any]) -> Any:
        k = base._some(draw, values, fits)
        return None if k is None else ((k,), (base._axis(draw, values[k].ndim), draw(st.booleans())))

    return drawn


def _index_of(draw: base.Draw, values: Sequence[Any]) -> Any:
    """A value with rows, and a vector of whole numbers that may lie outside."""
    x = base._some(draw, values, lambda v: v.ndim and v.shape[0])
    i = base._some(draw, values, lambda v: v.ndim == 1 and v.dtype.kind == "i")
    return None if x is None or i is None else ((x, i), ())


def _square(v: Any) -> bool:
    return v.ndim >= 2 and v.shape[-1] == v.shape[-2] and bool(v.size) and v.dtype.kind == "f"


def _mixed(draw: base.Draw, values: Sequence[Any]) -> Any:
    """A mask and two values to choose from."""
    pair = base._binary(draw, values)
    if pair is None:
        return None
    shape = np.broadcast_shapes(*(values[k].shape for k in pair[0]))
    m = base._some(draw, values, lambda v: v.dtype.kind == "b" and fits_in(v.shape, shape))
    return None if m is None else ((m, *pair[0]), ())


def fits_in(shape: Sequence[int], wide: Sequence[int]) -> bool:
    try:
        np.broadcast_shapes(shape, wide)
    except ValueError:
        return False
    return True


def _contracted(draw: base.Draw, values: Sequence[Any]) -> Any:
    a = base._some(draw, values, lambda v: v.ndim in (1, 2, 3) and number(v))
    if a is None:
        return None
    x = values[a]
    b = base._some(draw, values, lambda v: number(v) and v.ndim in (1, 2) and v.shape[0] == x.shape[-1])
    return None if b is None else ((a, b), ())


def _folding(name: str) -> Callable[..., Any]:
    function = getattr(jnp, name)
    return lambda x, axis, keep: function(x, axis=axis, keepdims=keep)


def _added(draw: base.Draw, values: Sequence[Any]) -> Any:
    drawn = _index_of(draw, values)
    return drawn if drawn is not None and number(values[drawn[0][0]]) else None


def _turned(x: Any) -> Any:
    """As many turns as the data says."""
    return lax.fori_loop(0, jnp.isfinite(x).sum() % 3, lambda k, c: c[::-1] + k, x)


def _carried(x: Any) -> Any:
    """More turns than are written out."""
    return _steps_of(jnp.tile(x, (12,) + (1,) * (x.ndim - 1)))[0]


def _rolled(x: Any) -> Any:
    """A carry that another turn finds elsewhere, so that what it reads never settles."""
    return lax.scan(lambda c, row: (jnp.roll(c, 1) + row, c), x[0], jnp.tile(x, (12,) + (1,) * (x.ndim - 1)))[1][:4]


def _mixed_turns(x: Any) -> Any:
    """Turns that mix a row's cells, backwards, with a branch in each."""

    def step(c: Any, row: Any) -> Any:
        c = lax.cond(c.sum() > 0, lambda v: v * 0.5 + row, lambda v: row - v[::-1], c)
        return c, jnp.stack([c.sum(), row[0]])

    return lax.scan(step, x[0] * 0, jnp.tile(x, (12, 1)), reverse=True)[1][:4]


def _until(x: Any, c: Any) -> Any:
    """Turns counted by what they carry."""
    return lax.while_loop(lambda s: (s[0] < 3) & (s[1].sum() > c), lambda s: (s[0] + 1, jnp.roll(s[1], 1) - 1), (0, x))[
        1
    ]


def _pooled(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (2,), (1,), "SAME")


def _chosen(x: Any) -> Any:
    return lax.cond(x.sum() > 0, lambda v: v + 1, lambda v: v[::-1], x)


def _steps_of(x: Any) -> Any:
    return lax.scan(lambda c, row: (c * 0.5 + row, c - row), x[0] * 0, x)


COMPLEX = "negative abs square exp".split()
UNARY = "sign log1p floor tanh sin reciprocal sqrt isnan nan_to_num".split()
ACTIVATIONS = "relu sigmoid gelu silu elu softplus".split()
BINARY = (
    "add subtract multiply true_divide floor_divide mod power maximum minimum arctan2 hypot logaddexp copysign".split()
)
COMPARED = "equal not_equal less less_equal greater greater_equal".split()
SUMS = "sum mean prod var std".split()
FOLDS = "max min any all nansum nanmax ptp median count_nonzero".split()

OPS: dict[str, Kind] = {
    **{name: Kind(getattr(jnp, name), _unary()) for name in UNARY},
    **{name: Kind(getattr(jnp, name), _unary(fits=number)) for name in COMPLEX},
    **{name: Kind(getattr(jax.nn, name), _unary(fits=floats)) for name in ACTIVATIONS},
    **{name: Kind(getattr(jnp, name), base._binary) for name in BINARY + COMPARED},
    **{name: Kind(_folding(name), _reduced(number)) for name in SUMS},
    **{name: Kind(_folding(name), _reduced(real)) for name in FOLDS},
    "add_number": Kind(lambda x, c: x + c, _unary(NUMBER, fits=number)),
    "compare": Kind(lambda x, c: x > c, _unary(NUMBER)),
    "invert": Kind(lambda x: ~x, _unary(fits=lambda v: v.dtype.kind == "b")),
    "where": Kind(jnp.where, _mixed),
    "clip": Kind(lambda x: jnp.clip(x, -1, 1), _unary()),
    "astype": Kind(lambda x, dtype: x.astype(dtype), _unary(st.sampled_from(["float32", "float64", "bool"]))),
    "to_int": Kind(lambda x: jnp.nan_to_num(x, posinf=9, neginf=-9).clip(-9, 9).astype(int), _unary()),
    "real": Kind(lambda x: jnp.real(x) + jnp.imag(x), _unary(fits=lambda v: v.dtype.kind == "c")),
    "argmax": Kind(lambda x, axis: jnp.argmax(x, axis), _along(fits=lambda v: real(v) and v.size)),
    "argmin": Kind(lambda x, axis: jnp.argmin(x, axis), _along(fits=lambda v: real(v) and v.size)),
    "softmax": Kind(lambda x, axis: jax.nn.softmax(x, axis), _along(fits=floats)),
    "logsumexp": Kind(lambda x, axis: jax.nn.logsumexp(x, axis), _along(fits=lambda v: floats(v) and v.size)),
    "cumsum": Kind(lambda x, axis: jnp.cumsum(x, axis), _along(fits=number)),
    "cumprod": Kind(lambda x, axis: jnp.cumprod(x, axis), _along()),
    "cummax_back": Kind(lambda x, axis: lax.cummax(x, axis, reverse=True), _along()),
    "diff": Kind(lambda x, axis: jnp.diff(x, axis=axis), _along(fits=number)),
    "sort": Kind(lambda x, axis: jnp.sort(x, axis), _along()),
    "sort_down": Kind(lambda x, axis: jnp.sort(x, axis, descending=True), _along()),
    "argsort": Kind(lambda x, axis: jnp.argsort(x, axis), _along()),
    "top_k": Kind(lambda x: lax.top_k(x, 1)[0], _unary(fits=lambda v: real(v) and v.ndim and v.size)),
    "scaled": Kind(base._scaled, _unary(fits=lambda v: floats(v) and v.ndim)),
    "by_argsort": Kind(lambda x, y: x[jnp.argsort(y)], base._looked_up),
    "take": Kind(lambda x, i: jnp.take(x, i, axis=0), _index_of),
    "take_clipped": Kind(lambda x, i: x.at[i].get(mode="clip"), _index_of),
    "row": Kind(lambda x, i: x[i.sum()], _index_of),
    "dynamic_rows": Kind(lambda x, i: lax.dynamic_slice_in_dim(x, i.sum(), 1), _index_of),
    "vmapped_take": Kind(lambda x, i: jax.vmap(lambda k: x[k] * 2)(i), _index_of),
    "add_rows": Kind(lambda x, i: x.at[i].add(x[:1]), _added),
    "set_row": Kind(lambda x: x.at[0].set(x[-1]), _unary(fits=lambda v: v.ndim and v.shape[0])),
    "take_rows": Kind(lambda x, axis, index: x[(slice(None),) * axis + (jnp.array(index, dtype=int),)], base._positions),
    "index": Kind(lambda x, index: x[index], base._basic_index),
    "reshape": Kind(lambda x, shape: jnp.reshape(x, shape), base._shapes),
    "ravel": Kind(jnp.ravel, _unary(fits=anything)),
    "transpose": Kind(lambda x, axes: jnp.transpose(x, axes), base._permuted),
    "expand_dims": Kind(lambda x: jnp.expand_dims(x, 0), _unary(fits=narrow)),
    "broadcast_to": Kind(lambda x, n: jnp.broadcast_to(x, (n, *x.shape)), _unary(st.integers(0, 2), fits=narrow)),
    "flip": Kind(lambda x, axis: jnp.flip(x, axis), _along(fits=anything)),
    "roll": Kind(lambda x, shift: jnp.roll(x, shift, 0), _unary(st.integers(-2, 2), fits=lambda v: v.ndim)),
    "repeat": Kind(lambda x, axis: jnp.repeat(x, 2, axis), _along(fits=anything)),
    "tile": Kind(lambda x: jnp.tile(x, 2), _unary(fits=lambda v: v.ndim)),
    "pad": Kind(lambda x, low, high, inner: lax.pad(x, x.dtype.type(2), [(low, high, inner), *[(0, 0, 0)] * (x.ndim - 1)]),
                _unary(st.integers(-1, 2), st.integers(-1, 1), st.integers(0, 1), fits=lambda v: v.ndim and v.shape[0])),
    "concatenate": Kind(lambda *given: jnp.concatenate(given[:-1], given[-1]), base._together),
    "stack": Kind(lambda *given: jnp.stack(given[:-1], given[-1]), base._alike),
    "matmul": Kind(lambda a, b: a @ b, _contracted),
    "gram": Kind(lambda x: jnp.einsum("ij,kj->ik", x, x), _unary(fits=lambda v: v.ndim == 2 and number(v))),
    "triu": Kind(jnp.triu, _unary(fits=lambda v: v.ndim == 2)),
    "pool": Kind(_pooled, _unary(fits=vector)),
    "convolve": Kind(lambda x: jnp.convolve(x, jnp.array([1.0, -1.0]), mode="same"), _unary(fits=vector)),
    "inverse": Kind(lambda x: jnp.linalg.inv(x + 7 * jnp.eye(x.shape[-1])), _unary(fits=_square)),
    "cholesky": Kind(lambda x: jnp.linalg.cholesky(x @ x.swapaxes(-1, -2) + jnp.eye(x.shape[-1])), _unary(fits=_square)),
    "scan": Kind(lambda x: _steps_of(x)[1], _unary(fits=rows)),
    "carry": Kind(_carried, _unary(fits=lambda v: rows(v) and v.shape[0] > 2)),
    "cond": Kind(_chosen, _unary(fits=lambda v: floats(v) and v.ndim)),
    "switch": Kind(
        lambda x: lax.switch(jnp.isfinite(x).sum() % 3, [lambda v: v * 2, lambda v: v[::-1], lambda v: v - v.sum(0)], x),
        _unary(fits=lambda v: floats(v) and v.ndim)),
    "cond_sorted": Kind(
        lambda x: lax.cond(x.sum() > 0, lambda v: jnp.sort(v, 0), lambda v: v, x), _unary(fits=lambda v: floats(v) and v.ndim)),
    "rolled": Kind(_rolled, _unary(fits=lambda v: rows(v) and v.shape[0] > 2)),
    "mixed_turns": Kind(_mixed_turns, _unary(fits=lambda v: rows(v) and v.ndim == 2 and v.shape[0] > 2 and v.shape[1])),
    "until": Kind(_until, _unary(NUMBER, fits=lambda v: floats(v) and v.ndim)),
    "while": Kind(_turned, _unary(fits=lambda v: floats(v) and v.ndim)),
    "vmap": Kind(lambda x: jax.vmap(lambda row: row - row.max())(x), _unary(fits=lambda v: v.ndim == 2 and v.shape[1])),
    "grad": Kind(lambda x: jax.grad(lambda y: (jnp.tanh(y) ** 2).sum())(x), _unary(fits=floats)),
}  # fmt: skip


@st.composite
def given_arrays(draw: st.DrawFn, numbers: Sequence[float] = FINITE, dtypes: Sequence[str] = DTYPES) -> np.ndarray:
    """A small array; its values come from a short list."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 2, 3, 0]))
    shape = tuple(draw(st.sampled_from([3, 4, 2, 1, 0])) for _ in range(rank))
    dtype = draw(st.sampled_from(dtypes))
    cells = draw(st.lists(st.sampled_from(numbers), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    array = np.array(cells, dtype=np.float64).reshape(shape)
    return np.asarray(np.abs(array) if dtype[0] == "u" else array).astype(dtype)


SMOOTH = (
    "sin add multiply sum mean cumsum add_number index reshape ravel transpose expand_dims broadcast_to flip roll repeat tile "
    "concatenate stack matmul take_rows set_row triu inverse"
).split()
"""Ops that random draws see fully: a change of any cell that is read changes what is written, and nothing cancels."""


@st.composite
def programs(
    draw: st.DrawFn,
    names: Sequence[str] = tuple(OPS),
    max_steps: int = 30,
    max_cells: int = 40,
    dtypes: Sequence[str] = DTYPES,
) -> JaxProgram:
    """1–3 sources and up to `max_steps` ops that JAX takes; nothing is computed while drawing."""

    def value(name: str, *given: Any) -> Any:
        arrays = [k for k, x in enumerate(given) if isinstance(x, (np.ndarray, jax.ShapeDtypeStruct))]

        def applied(*found: Any) -> Any:
            filled = list(given)
            for k, x in zip(arrays, found, strict=True):
                filled[k] = x
            return OPS[name].apply(*filled)

        with jax.enable_x64(True):
            return jax.eval_shape(applied, *(given[k] for k in arrays))

    sources = tuple(draw(given_arrays(dtypes=dtypes)) for _ in range(draw(st.integers(1, 3))))
    return JaxProgram(sources, *drawn_steps(draw, OPS, names, sources, value, max_steps, max_cells, "fibc"))
