"""Arrays that are made of a few cells, or of a shape alone: ranges between values, fills, meshes of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from traceprop.ir.given_map import GivenRead
from traceprop.ir.index_map import Bound, axis
from traceprop.tracing.lazy import Lazy
from traceprop.tracing.numpy.basic import FUNCTIONS as BASIC
from traceprop.tracing.numpy.calls import NoRule
from traceprop.tracing.numpy.mapped import dims_of, mapped, number, sample, together


def _between(name: str) -> Callable[..., Any]:
    """`linspace` and its like, row by row: the first is made of the start alone, the last (if it is there) of the stop."""
    function = getattr(np, name)

    def handler(start: Any, stop: Any, num: int = 50, endpoint: bool = True, *args: Any, **options: Any) -> Any:
        place = options.pop("axis", 0)
        if (
            args
            or options.pop("retstep", False)
            or isinstance(num, Lazy)
            or any(isinstance(x, Lazy) for x in options.values())
        ):
            raise NoRule
        count, ends = [x if isinstance(x, Lazy) else np.asarray(x) for x in (start, stop)], bool(endpoint)
        wide = together(*map(dims_of, count))
        tried = function(*(sample(x, (1,) * np.ndim(x)) + k for k, x in enumerate(count)), int(num), ends, **options)

        def own(x: Any) -> tuple[Any, ...]:
            dims = dims_of(x)
            lead = len(wide) - len(dims)
            return tuple(0 if dim == 1 and wide[lead + k] != 1 else axis(1 + lead + k) for k, dim in enumerate(dims))

        reads = [
            GivenRead(0, own(count[0]), where=(Bound(0, None, int(num) - 1),) if ends and num > 1 else ()),
            GivenRead(1, own(count[1]), where=(Bound(0, 1, None),)),
        ]
        native = lambda low, high: function(low, high, int(num), ends, **options)  # noqa: E731
        found = mapped(name, count, reads, (int(num), *wide), np.asarray(tried).dtype, native)
        return found if place == 0 else np.moveaxis(found, 0, place)

    return handler


def full_like(a: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    """A fill that is data is repeated."""
    if not isinstance(fill_value, Lazy):
        return BASIC[np.full_like](a, fill_value, dtype, **options)
    return np.broadcast_to(fill_value.astype(dtype or a.dtype), np.shape(a))


def ix_(*args: Any) -> tuple[Any, ...]:
    """Each array along an axis of its own."""
    found = []
    for k, x in enumerate(args):
        if isinstance(x, Lazy) and (np.ndim(x) != 1 or x.dtype == bool):  # type: ignore[attr-defined]
            raise NoRule
        flat = x if isinstance(x, Lazy) else np.ix_(x)[0].ravel()
        found.append(np.expand_dims(flat, tuple(n for n in range(len(args)) if n != k)))
    return tuple(found)


def _of_the_shape(name: str) -> Callable[..., Any]:
    """Positions that hang on the shape alone: a trace is then one for it."""
    function = getattr(np, name)

    def handler(arr: Any, k: int = 0) -> Any:
        like = np.empty([number(arr, n, f"numpy.{name}") for n in range(np.ndim(arr))])
        return function(like, k) if k else function(like)

    return handler


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): _between(name) for name in ("linspace", "logspace", "geomspace")},
    np.full_like: full_like,
    np.ix_: ix_,
    **{
        getattr(np, name): _of_the_shape(name)
        for name in ("diag_indices_from", "tril_indices_from", "triu_indices_from")
    },
}
