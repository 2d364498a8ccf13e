"""Polynomials as arrays of coefficients, the highest power first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.tracing.lazy import Lazy
from traceprop.tracing.numpy.calls import NoRule
from traceprop.tracing.numpy.mapped import dtype_of, number


def _beside(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Sums and differences: the shorter one has zeros in front."""

    def handler(a1: Any, a2: Any) -> Any:
        given = [x if isinstance(x, Lazy) else np.asarray(x) for x in (a1, a2)]
        if any(np.ndim(x) != 1 for x in given):
            raise NoRule
        sizes = [number(x, 0, "numpy.polyadd") for x in given]
        longer = max(sizes)
        wide = [
            x if size == longer else np.concatenate([np.zeros(longer - size, dtype_of(x)), x])
            for x, size in zip(given, sizes, strict=True)
        ]
        return operation(*wide)

    return handler


def polyder(p: Any, m: int = 1) -> Any:
    size = number(p, 0, "numpy.polyder")
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    for step in range(m):
        degree = size - 1 - step
        p = np.multiply(p[:-1], np.arange(degree, 0, -1))
    return p


def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    if m != 1 or isinstance(k, Lazy) or np.size(0 if k is None else k) != 1:
        raise NoRule
    size = number(p, 0, "numpy.polyint")
    constant = np.ravel(np.zeros(1) if k is None else np.asarray(k, float))
    return np.concatenate([np.true_divide(p, np.arange(size, 0, -1)), constant])


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.polyadd: _beside(np.add),
    np.polysub: _beside(np.subtract),
    np.polyder: polyder,
    np.polyint: polyint,
}
