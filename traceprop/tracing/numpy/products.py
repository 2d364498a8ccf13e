"""Sums of products: matrices and vectors over leading axes, convolutions, polynomials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from traceprop.ir.expr import maximum, minimum
from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import AxisRead, Full, Span, axis
from traceprop.ir.opset import broadcast, contract
from traceprop.ir.types import dtype_name
from traceprop.tracing.lazy import Lazy, emit
from traceprop.tracing.numpy.calls import LETTERS, NoRule, axis_of
from traceprop.tracing.numpy.composed import _product
from traceprop.tracing.numpy.mapped import blocks, dims_of, dtype_of, mapped, number, together


def gufunc(func: np.ufunc, inputs: Sequence[Any]) -> Any:
    """matmul, vecdot, matvec, vecmat: letters of the signature that the result has are its axes, the others summed over."""
    left, _, right = (func.signature or "").partition("->")
    terms = [term.strip("()").replace("?", "").split(",") for term in left.replace("),(", ")|(").split("|")]
    terms = [[letter for letter in term if letter] for term in terms]
    result = [letter for letter in right.strip("()").replace("?", "").split(",") if letter]
    if func is np.matmul:  # a missing axis of a vector
        terms = [
            terms[0][-np.ndim(inputs[0]) :],
            terms[1][: np.ndim(inputs[1])] if np.ndim(inputs[1]) < 2 else terms[1],
        ]
        result = [letter for letter in result if any(letter in term for term in terms)]

    def reads(_: int, batch: int) -> list[tuple[AxisRead, ...]]:
        return [
            tuple(axis(batch + result.index(letter)) if letter in result else Full() for letter in term)
            for term in terms
        ]

    return blocks(func.__name__, func, inputs, [len(term) for term in terms], reads)


def dot(a: Any, b: Any) -> Any:
    """The last axis of one and the last but one of the other, for arrays of any rank."""
    left, right = np.ndim(a), np.ndim(b)
    first = [*LETTERS[: left - 1], "z"]
    second = list(LETTERS[left - 1 : left + right - 2])
    second.insert(max(right - 2, 0) if right > 1 else 0, "z")
    kept = [c for c in (*first, *second) if c != "z"]
    return _product("dot", f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)


def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    names = LETTERS[: len(arrays) + 1]
    terms = [names[k : k + 2] for k in range(len(arrays))]
    if np.ndim(arrays[0]) == 1:
        terms[0] = terms[0][1:]
    if np.ndim(arrays[-1]) == 1:
        terms[-1] = terms[-1][:1]
    result = ("" if np.ndim(arrays[0]) == 1 else names[0]) + ("" if np.ndim(arrays[-1]) == 1 else names[-1])
    dtype = dtype_name(np.result_type(*map(dtype_of, arrays)))
    given = [x if isinstance(x, Lazy) else np.asarray(x) for x in arrays]
    spec = f"{','.join(terms)}->{result}"
    return emit(
        contract, given, {"spec": spec}, "numpy.linalg.multi_dot", dtype, native=lambda *xs: np.linalg.multi_dot(xs)
    )


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """Each component is made of the two others of both vectors."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if dims_of(a)[-1] != 3 or dims_of(b)[-1] != 3:
        raise NoRule
    parts = []
    for k in range(3):
        m, n = (k + 1) % 3, (k + 2) % 3
        parts.append(np.subtract(np.multiply(a[..., m], b[..., n]), np.multiply(a[..., n], b[..., m])))
    return np.stack(parts, axis=axis_of(axisc, np.ndim(parts[0]) + 1))


def kron(a: Any, b: Any) -> Any:
    rank = max(np.ndim(a), np.ndim(b))
    a = np.reshape(a, (*(1,) * (rank - np.ndim(a)), *np.shape(a)))
    b = np.reshape(b, (*(1,) * (rank - np.ndim(b)), *np.shape(b)))
    whole = [number(a, k, "numpy.kron") * number(b, k, "numpy.kron") for k in range(rank)]
    wide = np.multiply(np.expand_dims(a, tuple(range(1, 2 * rank, 2))), np.expand_dims(b, tuple(range(0, 2 * rank, 2))))
    return np.reshape(wide, tuple(whole))


def _correlated(name: str, a: Any, v: Any, mode: str, backwards: bool) -> Any:
    """full[i] = sum over k of a[k] v[i-k] (backwards: v from its end)."""
    modes = {"v": "valid", "s": "same", "f": "full"}
    mode = modes[str(mode).lower()[0]]
    if np.ndim(a) != 1 or np.ndim(v) != 1:
        raise NoRule
    n, m = number(a, 0, f"numpy.{name}"), number(v, 0, f"numpy.{name}")
    if not n or not m:
        raise ValueError("a cannot be empty" if not n else "v cannot be empty")
    function = getattr(np, name)
    size = len(function(np.ones(n), np.ones(m), mode))
    small = min(n, m)
    start = {"full": 0, "valid": small - 1, "same": _start_of_same(n, m) if backwards else (small - 1) // 2}[mode]
    i = axis(0) + start
    of_a = Span(maximum(0, i - (m - 1)), minimum(i + 1, n))
    low, high = maximum(0, i - (n - 1)), minimum(i + 1, m)
    of_v = Span(m - high, m - low) if backwards else Span(low, high)
    dtype = function(np.ones(1, dtype_of(a)), np.ones(1, dtype_of(v))).dtype
    reads = [GivenRead(0, (of_a,)), GivenRead(1, (of_v,))]
    return mapped(name, [a, v], reads, (size,), dtype, lambda x, y: function(x, y, mode))


def _start_of_same(n: int, m: int) -> int:
    """Where `np.correlate(…, "same")` begins in the full correlation: asked of NumPy, whose rule hangs on the parity."""
    a = np.arange(1, n + 1)
    v = np.zeros(m, dtype=int)
    v[0] = 1
    full, same = np.correlate(a, v, "full").tolist(), np.correlate(a, v, "same").tolist()
    return next(k for k in range(len(full)) if full[k : k + len(same)] == same)


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    return _correlated("convolve", a, v, mode, False)


def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    return _correlated("correlate", a, v, mode, True)


def polyval(p: Any, x: Any) -> Any:
    coefficients = [p[k] for k in range(number(p, 0, "numpy.polyval"))]
    y: Any = np.zeros_like(x)
    for c in coefficients:
        y = y * x + c
    return y


def broadcast_together(*arrays: Any, subok: bool = False) -> tuple[Any, ...]:
    shape = together(*map(dims_of, arrays))
    return tuple(
        emit(broadcast, [x], {"shape": shape}) if isinstance(x, Lazy) else np.broadcast_to(x, tuple(map(int, shape)))
        for x in arrays
    )


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.linalg.multi_dot: multi_dot, np.linalg.outer: lambda a, b, /: np.outer(a, b),
    np.linalg.cross: lambda a, b, /, *, axis=-1: cross(a, b, axis=axis), np.cross: cross, np.kron: kron,
    np.linalg.matmul: lambda a, b, /: np.matmul(a, b),
    np.linalg.vecdot: lambda a, b, /, *, axis=-1: np.vecdot(np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)),
    np.linalg.tensordot: lambda a, b, /, *, axes=2: np.tensordot(a, b, axes=axes),
    np.convolve: convolve, np.correlate: correlate, np.polyval: polyval, np.broadcast_arrays: broadcast_together,
}  # fmt: skip
