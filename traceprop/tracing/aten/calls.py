"""The one table of all families, and what becomes of a call that is in none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from traceprop.errors import TypeRuleError
from traceprop.ir import Value
from traceprop.ir.expr import symbols_of
from traceprop.ir.opset import opaque
from traceprop.tracing.aten import elementwise, indexing, linalg, reduce, scatter, shape, windows
from traceprop.tracing.aten.call import Aten
from traceprop.tracing.aten.graph import NoRule

HANDLERS: dict[str, Callable[[Aten], Any]] = {
    name: handler
    for family in (elementwise, shape, indexing, scatter, reduce, linalg, windows)
    for name, handler in family.HANDLERS.items()
}


def values(a: Aten) -> Any:
    """The value, or tuple of values, that a call gives; its ops join the graph.

    Without a rule the call is `opaque`, with a warning; where rows are symbols, that is where they become numbers, since a
    rule may hold for these (raises `Retrace`).
    """
    if a.out is None:
        return None
    handler: Callable[[Aten], Any] | None = None
    draws = torch.Tag.nondeterministic_seeded in a.func.tags and a.name != "native_dropout"
    if not draws and a.func.namespace == "aten":
        handler = HANDLERS.get(a.name)
        if handler is None and torch.Tag.pointwise in a.func.tags:
            handler = elementwise.pointwise
    mark = len(a.graph.ops)
    if handler is not None:
        try:
            found = handler(a)
            if _fits(a, found):
                return found
        except (NoRule, TypeRuleError):
            pass
        del a.graph.ops[mark:]
    dims = [dim for value in a.tensors for dim in value.type.dims] + [*a.sizes]
    for out in a.out if a.several else [a.out]:
        dims += a.graph.type(out).dims if isinstance(out, torch.Tensor) else ()
    a.graph.specialize_names(frozenset().union(*map(symbols_of, dims)))
    a.graph.warn(
        str(a.func).rsplit(".", 1)[0],
        "has no lineage rule: every cell of its result is taken to depend on every cell of its operands, and view.exact is "
        "False",
    )
    if not a.several:
        return _unknown(a, a.out, {})
    return tuple(_unknown(a, out, {"result": k}) for k, out in enumerate(a.out))


def _unknown(a: Aten, out: Any, which: dict[str, int]) -> Any:
    if not isinstance(out, torch.Tensor):
        return out
    type = a.graph.type(out)
    attrs: dict[str, Any] = {"shape": type.dims, **a.scalars("dtype"), **which}
    return a.emit(opaque, None, a.sized(which.get("result")), dtype=type.dtype, **attrs)


def _fits(a: Aten, found: Any) -> bool:
    given, outs = (found, a.out) if a.several else ([found], [a.out])
    return all(
        isinstance(value, Value) and value.type == a.graph.type(out) if isinstance(out, torch.Tensor) else True
        for value, out in zip(given, outs, strict=True)
    )
