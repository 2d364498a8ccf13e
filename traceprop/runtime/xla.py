"""Segments by XLA: compiled once per number of rows rounded up, NumPy arrays in and NumPy arrays out.

XLA compiles for shapes, and a pipeline meets another number of rows every day. So rows are filled up to one of four numbers per
doubling, how many of them count is an argument of the compiled function, and folds leave the others out. Nothing here
imports JAX before a segment is compiled, and the user's own `jax_enable_x64` is not touched.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir.forks import lost
from traceprop.ir.graph import Op, Program, Value, payload_dtype
from traceprop.ir.opset import constant, elementwise, reduce
from traceprop.passes.optimize.fuse import FOLDS

FUNCTIONS = frozenset(
    f"numpy.{name}"
    for name in "abs absolute fabs add subtract multiply divide true_divide negative positive square sqrt reciprocal sign "
    "exp expm1 log log2 log10 power pow sin cos tan arcsin arccos arctan arctan2 arcsinh arccosh tanh hypot cbrt "
    "maximum minimum fmax fmin mod remainder fmod floor ceil trunc rint copysign deg2rad rad2deg "
    "equal not_equal less less_equal greater greater_equal isfinite isinf isnan signbit where".split()
)
"""What XLA computes to within 4 eps of NumPy (`tests/runtime/test_xla.py`); `log1p`, `cosh` and a few more it does not."""

_BY_NUMPY = frozenset(
    f"numpy.{name}"
    for name in "exp expm1 log log2 log10 power pow tan arcsin arccos arctan arctan2 arcsinh arccosh tanh cbrt".split()
)
"""What NumPy computes eight cells at a time where a processor has AVX-512, in 0.1 to 0.5 of XLA's time."""
_ALIGNED = 64
"""XLA reads arrays that begin at such an address where they are, and copies others."""


def may_run() -> bool:
    """Whether XLA may be called in this process: not in one that was forked while it had threads, for there they are missing."""
    return not lost("jax")


def refusal(body: Program) -> str:
    """Why a segment is not for XLA; nothing where it is."""
    for op in body.ops:
        dtypes = {payload_dtype(value.type) for value in (*op.operands, op.result) if not _is_literal(value)}
        if not dtypes <= {"f32", "f64", "bool"}:
            return f"{op.label} computes with {', '.join(sorted(str(d) for d in dtypes))}"
        if op.definition is elementwise and op.payload not in FUNCTIONS:
            return f"XLA's {op.payload} is further from NumPy's than rounding"
        floats = [payload_dtype(v.type) for v in op.operands if payload_dtype(v.type) != "bool" and not _is_literal(v)]
        if len(set(floats)) > 1 or op.definition is reduce and not floats:
            return f"{op.label} mixes {' and '.join(sorted(set(map(str, dtypes))))}"
    return ""


def loss(body: Program) -> str:
    """Why XLA would take longer over a segment than NumPy block by block; nothing where it would not."""
    slow = [op.payload for op in body.ops if op.payload in _BY_NUMPY]
    return f"{slow[0]} is faster in NumPy on this processor" if slow and _has_avx512() else ""


@functools.cache
def _has_avx512() -> bool:
    from numpy._core._multiarray_umath import __cpu_features__

    return bool(__cpu_features__.get("AVX512_SKX"))


def _is_literal(value: Value) -> bool:
    return value.op is not None and value.op.definition is constant


def room_for(rows: int) -> int:
    """The number of rows that so many are filled up to: at most a quarter more, one of four per doubling."""
    step = max(8, 1 << max(0, rows.bit_length() - 3))
    return -(-rows // step) * step


def by_xla(rowed: Sequence[bool], kept: Sequence[bool]) -> Callable[[Callable[..., Any]], ByXla]:
    """Decorator: a function of `rows` and arrays, compiled. `rowed` and `kept`: which operands and results have the rows."""
    return lambda function: ByXla(function, tuple(rowed), tuple(kept))


class ByXla:
    """A segment's function as XLA runs it; `.compilations` counts the numbers of rows that it was compiled for."""

    def __init__(self, function: Callable[..., Any], rowed: tuple[bool, ...], kept: tuple[bool, ...]) -> None:
        self._function = function
        self._rowed, self._kept = rowed, kept
        self._first = rowed.index(True)
        self._lock = threading.Lock()
        self._compiled: Callable[..., Any] | None = None
        self.compilations = 0

    def __call__(self, *operands: np.ndarray) -> tuple[np.ndarray, ...]:
        import jax

        rows = len(operands[self._first])
        room = room_for(rows)
        given = [filled_up(x, room) if has else x for x, has in zip(operands, self._rowed, strict=True)]
        with jax.enable_x64(True), jax.default_device(_cpu()):
            found = self._jitted()(np.int64(rows), *given)
        return tuple(
            as_numpy(array, rows) if has else np.array(array) for array, has in zip(found, self._kept, strict=True)
        )

    def _jitted(self) -> Callable[..., Any]:
        import jax

        with self._lock:
            if self._compiled is None:

                def traced(rows: Any, *operands: Any) -> Any:
                    self.compilations += 1
                    return self._function(rows, *operands)

                self._compiled = jax.jit(traced)
            return self._compiled


@functools.cache
def _cpu() -> Any:
    import jax

    return jax.local_devices(backend="cpu")[0]


def filled_up(array: np.ndarray, room: int) -> np.ndarray:
    """The rows of an array and zeros behind them, where XLA reads them in place; the array itself where none are missing."""
    if len(array) == room:
        return array
    shape = (room, *array.shape[1:])
    size = int(np.prod(shape)) * array.dtype.itemsize
    raw = np.empty(size + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    filled = raw[start : start + size].view(array.dtype).reshape(shape)
    filled[: len(array)] = array
    filled[len(array) :] = 0
    return filled


class Memory:
    """The memory of an array of XLA's that nobody else has, for NumPy to read and write its first `rows`."""

    alone = True
    """No other array sees these cells, so that the one may be handed over without a copy (`tracing/lending.py`)."""

    def __init__(self, array: Any, rows: int) -> None:
        self.array = array
        self.__array_interface__ = {
            "data": (array.unsafe_buffer_pointer(), False),
            "shape": (rows, *array.shape[1:]),
            "typestr": np.dtype(array.dtype).str,
            "version": 3,
        }


def as_numpy(array: Any, rows: int) -> np.ndarray:
    """The first rows of a result of XLA's as a writable NumPy array over the same memory."""
    array.block_until_ready()
    return np.asarray(Memory(array, rows)) if array.size else np.array(array)[:rows]


# -- what the generated code calls ------------------------------------------------------------------------------------


def _counted(x: Any, rows: Any, otherwise: float) -> Any:
    """The rows that count; of the others, what a fold leaves as it is."""
    import jax
    import jax.numpy as jnp

    counts = jax.lax.broadcasted_iota(np.int64, x.shape, 0) < rows
    return jnp.where(counts, x, jnp.asarray(otherwise, x.dtype))


def counted_sum(x: Any, rows: Any) -> Any:
    """The sum of the rows that count."""
    return _counted(x, rows, 0.0).sum(axis=0)


def counted_mean(x: Any, rows: Any) -> Any:
    """The mean of the rows that count."""
    return _divided(counted_sum(x, rows), rows)


def counted_var(x: Any, rows: Any, ddof: int = 0) -> Any:
    """The squares around the mean of the rows that count, over `ddof` fewer than there are."""
    apart = x - counted_mean(x, rows)
    return _divided(counted_sum(apart * apart, rows), rows - ddof)


def counted_std(x: Any, rows: Any, ddof: int = 0) -> Any:
    """The root of their variance."""
    import jax.numpy as jnp

    return jnp.sqrt(counted_var(x, rows, ddof))


def _divided(total: Any, count: Any) -> Any:
    """A sum over a count that is at least 0, rounded once.

    XLA would multiply by 1 / count instead, and a column of ones would have a mean beside 1 and a deviation above 0. Behind
    a barrier it does not; what stands there is as small as a row.
    """
    import jax
    import jax.numpy as jnp

    counts = jnp.broadcast_to(jnp.maximum(count, 0).astype(total.dtype), total.shape)
    return jax.lax.optimization_barrier(total / jax.lax.optimization_barrier(counts))


def counted_max(x: Any, rows: Any) -> Any:
    """The largest of the rows that count."""
    return _counted(x, rows, -np.inf).max(axis=0)


def counted_min(x: Any, rows: Any) -> Any:
    """The smallest of the rows that count."""
    return _counted(x, rows, np.inf).min(axis=0)


NAMES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (counted_sum, counted_mean, counted_var, counted_std, counted_max, counted_min)
}


def op_text(op: Op, operands: Sequence[str], call: Callable[[str], str]) -> str:
    """An op of a segment as a line for JAX: `call` gives the name by which the code calls a function of `jax.numpy`."""
    if op.definition is elementwise:
        return f"{call((op.payload or '').removeprefix('numpy.'))}({', '.join(operands)})"
    fold = _FOLDS[op.payload or ""]
    (axis,), keep, ddof = op.attrs["axes"], bool(op.attrs.get("keepdims")), op.attrs.get("ddof", 0)
    less = f", ddof={ddof}" if ddof else ""
    if axis == 0:
        return f"counted_{fold}({operands[0]}, rows{less}){'[None]' if keep else ''}"
    return f"{call(fold)}({operands[0]}, axis={axis}{less}{', keepdims=True' if keep else ''})"


_FOLDS = {name: {"add": "sum", "maximum": "max", "minimum": "min"}[fold] for name, fold in FOLDS.items()}
_FOLDS |= {"numpy.mean": "mean", "numpy.std": "std", "numpy.var": "var"}
