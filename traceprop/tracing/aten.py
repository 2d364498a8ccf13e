"""Which ops each ATen call is. A call is listed once, under the family that says how it reads; the rest is opaque."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from traceprop.errors import TraceError, TypeRuleError
from traceprop.ir import ArrayType, Dim, Expr, Location, Op, Value, symbol
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import (
    broadcast,
    concat,
    constant,
    contract,
    elementwise,
    filter,
    gather,
    opaque,
    reduce,
    reshape,
    scan,
    slice,
    sort,
    transpose,
)
from traceprop.ir.types import dtype_name

Handler = Callable[["Aten"], Any]
_aten = torch.ops.aten
_ALL = (None, None, None)
_RESERVED = {
    "size",
    "shape",
    "axis",
    "axes",
    "index",
    "control",
    "spread",
    "family",
    "along",
    "spec",
    "names",
    "keepdims",
}


class NoRule(Exception):
    """Raised for a case that a family's rule doesn't cover; the call is then traced as `opaque`."""


@dataclass
class Graph:
    """The ops so far, the line that is being traced, and a symbol for every size that the data decides."""

    ops: list[Op]
    location: Location | None
    symbols: dict[str, Expr]
    warned: set[tuple[str, Location | None]]

    def dim(self, size: Any) -> Dim:
        """A size of PyTorch's as one of ours."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        return self._expr(size.node.expr)

    def _expr(self, expr: Any) -> Dim:
        if expr.is_Integer:
            return int(expr)
        if expr.is_Symbol:
            number = len(self.symbols)
            return self.symbols.setdefault(str(expr), symbol(f"K{number}" if number else "K"))
        parts = [self._expr(part) for part in expr.args]
        total = parts[0]
        for part in parts[1:]:
            if not (expr.is_Add or expr.is_Mul):
                raise TraceError(f"a size {expr} that the data decides, at {self.location}: it is no sum or product")
            total = total + part if expr.is_Add else total * part
        return total

    def type(self, tensor: Any) -> ArrayType:
        """The type of a (fake) tensor."""
        return ArrayType(_dtype(tensor.dtype), tuple(self.dim(size) for size in tensor.shape))

    def constant(self, tensor: Any) -> Value:
        """A tensor that the function closes over; a scalar is an array without axes."""
        held = tensor.detach()
        op = Op(constant, (), {"value": held.cpu().numpy()}, location=self.location, native=lambda: held)
        self.ops.append(op)
        return op.result

    def add(
        self,
        definition: OpDef,
        operands: Sequence[Value],
        attrs: dict[str, Any],
        payload: str,
        dtype: str | None,
        native: Callable[..., Any],
    ) -> Value:
        """One more op; `native` takes the operands' tensors."""
        op = Op(definition, operands, attrs, payload, dtype, self.location, native=native)
        self.ops.append(op)
        return op.result


def _dtype(dtype: torch.dtype) -> str:
    try:
        return dtype_name(torch.empty(0, dtype=dtype).numpy().dtype)
    except TypeError:
        raise TraceError(f"{dtype} has no NumPy counterpart") from None


def _printable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_printable(v) for v in value)
    if isinstance(value, torch.dtype):
        return _dtype(value)
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


class Aten:
    """One call of an overload: its arguments by name, values where tensors are, and what it gives (fake tensors)."""

    def __init__(self, graph: Graph, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        self.graph, self.func, self.out = graph, func, out
        self.name = func._schema.name.removeprefix("aten::")
        self.args, self.kwargs = list(args), kwargs
        names = [argument.name for argument in func._schema.arguments]
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        self.given = {**given, **dict(zip(names, args, strict=False)), **kwargs}
        self.tensors = [v for v in _leaves([self.args, list(kwargs.values())]) if isinstance(v, Value)]

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)

    @property
    def x(self) -> Value:
        """The first tensor."""
        return self.tensors[0]

    @property
    def type(self) -> ArrayType:
        """The type of the (first) result."""
        return self.graph.type(self.out[0] if isinstance(self.out, (list, tuple)) else self.out)

    def axis(self, name: str = "dim", rank: int | None = None) -> int:
        """An axis from 0."""
        rank = self.x.rank if rank is None else rank
        return int(self[name]) % max(rank, 1)

    def native(self, *tensors: Any) -> Any:
        """The call itself, over tensors in place of the values."""
        given = iter(tensors)
        args = [_filled(value, given) for value in self.args]
        kwargs = {key: _filled(value, given) for key, value in self.kwargs.items()}
        sizes = {name: size for value, t in zip(self.tensors, tensors, strict=True) for name, size in _sizes(value, t)}
        if any(isinstance(v, torch.SymInt) for v in _leaves([args, list(kwargs.values())])):
            args = [self._sized(v, sizes) for v in args]
            kwargs = {key: self._sized(v, sizes) for key, v in kwargs.items()}
        return self.func(*args, **kwargs)

    def _sized(self, value: Any, sizes: dict[str, int]) -> Any:
        if isinstance(value, list):
            return [self._sized(v, sizes) for v in value]
        if not isinstance(value, torch.SymInt):
            return value
        from traceprop.ir.expr import evaluate

        return int(evaluate(self.graph.dim(value), sizes))

    def scalars(self) -> dict[str, Any]:
        """The arguments that are no tensors and not left at their defaults, as attributes."""
        defaults = {argument.name: argument.default_value for argument in self.func._schema.arguments}
        return {
            f"{name}_" if name in _RESERVED else name: _printable(value)
            for name, value in self.given.items()
            if value != defaults.get(name, self)
            and value is not None
            and name not in ("layout", "device", "pin_memory", "memory_format", "non_blocking", "implicit")
            and not any(isinstance(leaf, (Value, torch.SymInt)) for leaf in _leaves(value))
        }

    def emit(
        self,
        definition: OpDef,
        operands: Sequence[Value] | None = None,
        native: Any = None,
        name: str = "",
        dtype: str | None = None,
        **attrs: Any,
    ) -> Value:
        """An op under this call's name; without `native` it is the call itself."""
        if dtype is None and definition in (elementwise, reduce, scan, contract, concat):
            dtype = self.type.dtype
        payload = f"aten.{name or self.name.removesuffix('_copy')}" if definition.payload != "never" else None
        return self.graph.add(
            definition, self.tensors if operands is None else operands, attrs, payload, dtype, native or self.native  # type: ignore[arg-type]
        )  # fmt: skip

    def values(self) -> Any:
        """The value, or tuple of values, that the call gives."""
        if torch.Tag.nondeterministic_seeded in self.func.tags:
            handler: Handler | None = None
        else:
            handler = _HANDLERS.get(self.name)
            if handler is None and torch.Tag.pointwise in self.func.tags:
                handler = _elementwise
        mark = len(self.graph.ops)
        if handler is not None:
            try:
                found = handler(self)
                if self._fits(found):
                    return found
            except (NoRule, TypeRuleError):
                pass
            del self.graph.ops[mark:]
        return self._opaque()

    def _fits(self, found: Any) -> bool:
        several = isinstance(self.out, (list, tuple))
        values, outs = (found, self.out) if several else ([found], [self.out])
        return all(value.type == self.graph.type(out) for value, out in zip(values, outs, strict=True))

    def _opaque(self) -> Any:
        key = (self.name, self.graph.location)
        if key not in self.graph.warned:
            self.graph.warned.add(key)
            warnings.warn(
                f"aten.{self.name} at {self.graph.location or 'an unknown line'} has no lineage rule: every cell of its result "
                "is taken to depend on every cell of its operands",
                UserWarning,
                stacklevel=2,
            )

        def one(out: Any, pick: int | None) -> Any:
            if not isinstance(out, torch.Tensor):
                return out
            type = self.graph.type(out)
            native = self.native if pick is None else lambda *tensors: self.native(*tensors)[pick]
            which = {} if pick is None else {"result": pick}
            return self.emit(opaque, None, native, dtype=type.dtype, shape=type.dims, **self.scalars(), **which)

        if isinstance(self.out, (list, tuple)):
            return tuple(one(out, k) for k, out in enumerate(self.out))
        return one(self.out, None)


def _filled(value: Any, given: Any) -> Any:
    if isinstance(value, Value):
        return next(given)
    return [_filled(v, given) for v in value] if isinstance(value, (list, tuple)) else value


def _sizes(value: Value, tensor: Any) -> list[tuple[str, int]]:
    return [(str(dim), size) for dim, size in zip(value.type.dims, tensor.shape, strict=True) if isinstance(dim, Expr)]


# -- families ---------------------------------------------------------------------------------------------------------


def _elementwise(a: Aten) -> Value:
    return a.emit(elementwise, **a.scalars())


def _where(a: Aten) -> Value:
    return a.emit(elementwise, control=(0,))


def _same(a: Aten) -> Value:
    return a.x if a.x.type == a.type else _elementwise(a)


def _copy(a: Aten) -> Value:
    """(i) <- %src[i]: what was there before is gone."""
    dtype, shape = a.out.dtype, a.type.dims
    source = a.tensors[1]
    if source.type.dtype != a.type.dtype:  # type: ignore[union-attr]
        source = a.emit(elementwise, [source], lambda t: t.to(dtype), "_to_copy")
    return source if source.type.dims == shape else _expanded(a, source, shape)


def _expanded(a: Aten, x: Value, shape: tuple[Dim, ...]) -> Value:
    if any(isinstance(dim, Expr) for dim in shape):
        raise NoRule
    return a.emit(broadcast, [x], lambda t: t.expand(shape), shape=shape)


def _expand(a: Aten) -> Value:
    return a.x if a.x.type == a.type else a.emit(broadcast, shape=a.type.dims)


def _shaped(a: Aten, x: Value, shape: Sequence[Dim]) -> Value:
    """`x` in another shape; a view of PyTorch's asks for a memory layout that the data may not have."""
    if x.type.dims == tuple(shape):
        return x
    free = [dim if isinstance(dim, int) else -1 for dim in shape]
    if free.count(-1) > 1:
        raise NoRule
    return a.emit(reshape, [x], lambda t: t.reshape(free), shape=tuple(shape))


def _reshape(a: Aten) -> Value:
    if a.type.dtype != a.x.type.dtype:  # type: ignore[union-attr]
        raise NoRule
    return _shaped(a, a.x, a.type.dims)


def _permute(a: Aten) -> Value:
    rank = a.x.rank
    order = list(range(rank))
    if a.name.startswith("permute"):
        order = [int(k) % rank for k in a["dims"]]
    elif a.name.startswith("transpose"):
        i, j = a.axis("dim0"), a.axis("dim1")
        if rank:
            order[i], order[j] = order[j], order[i]
    else:
        order.reverse()
    return a.emit(transpose, axes=tuple(order))


def _sliced(a: Aten, x: Value, k: int, item: Any, native: Any = None) -> Value:
    index = tuple(item if position == k else _ALL for position in range(x.rank))
    return a.emit(slice, [x], native or a.native, index=index)


def _slice(a: Aten) -> Value:
    k = a.axis()
    start, stop = a["start"] or 0, a["end"]
    if isinstance(start, torch.SymInt) or isinstance(stop, torch.SymInt) or isinstance(a["step"], torch.SymInt):
        raise NoRule
    stop = None if stop is None or stop >= 2**62 else stop
    if a.x.type == a.type and start == 0:
        return a.x
    return _sliced(a, a.x, k, (start, stop, a["step"]))


def _select(a: Aten) -> Value:
    if isinstance(a["index"], torch.SymInt):
        raise NoRule
    return _sliced(a, a.x, a.axis(), int(a["index"]))


def _flip(a: Aten) -> Value:
    places = {int(k) % max(a.x.rank, 1) for k in a["dims"]}
    return a.emit(slice, index=tuple((None, None, -1) if k in places else _ALL for k in range(a.x.rank)))


def _split(a: Aten) -> tuple[Value, ...]:
    k, start, parts = a.axis(), 0, []
    for position, out in enumerate(a.out):
        stop = start + int(out.shape[k])
        parts.append(_sliced(a, a.x, k, (start, stop, 1), lambda t, n=position: a.native(t)[n]))
        start = stop
    return tuple(parts)


def _unbind(a: Aten) -> tuple[Value, ...]:
    k = a.axis()
    return tuple(_sliced(a, a.x, k, n, lambda t, n=n: t.select(k, n)) for n in range(len(a.out)))


def _cat(a: Aten) -> Value:
    k = a.axis(rank=len(a.type.dims))
    parts = [x for x in a.tensors if not (x.rank == 1 and x.type.dims[0] == 0)] or a.tensors
    return a.emit(concat, parts, lambda *tensors: torch.cat(tensors, k), axis=k)


def _stack(a: Aten) -> Value:
    k = a.axis(rank=a.x.rank + 1)
    wide = [_shaped(a, x, (*x.type.dims[:k], 1, *x.type.dims[k:])) for x in a.tensors]
    return a.emit(concat, wide, lambda *tensors: torch.cat(tensors, k), axis=k)


def _reduction(a: Aten) -> Any:
    """(j) <- %x[*, j]; of two results, one fold each."""
    if len(a.tensors) != 1:
        raise NoRule
    rank = a.x.rank
    given = a["dim"]
    places = range(rank) if given is None or given == [] else (given if isinstance(given, list) else [given])
    axes = tuple(sorted({int(k) % max(rank, 1) for k in places})) if rank else ()
    extra = {k: v for k, v in a.scalars().items() if k not in ("dim", "keepdim")}
    if a["keepdim"]:
        extra["keepdims"] = True
    if not isinstance(a.out, (list, tuple)):
        return a.emit(reduce, axes=axes, **extra)
    return tuple(
        a.emit(reduce, None, lambda t, n=n: a.native(t)[n], dtype=_dtype(out.dtype), axes=axes, result=n, **extra)
        for n, out in enumerate(a.out)
    )


def _scan(a: Aten) -> Any:
    if not a.x.rank:
        raise NoRule
    if not isinstance(a.out, (list, tuple)):
        return a.emit(scan, axis=a.axis())
    return tuple(
        a.emit(scan, None, lambda t, n=n: a.native(t)[n], dtype=_dtype(out.dtype), axis=a.axis(), result=n)
        for n, out in enumerate(a.out)
    )


def _softmax(a: Aten) -> Value:
    """exp(x - logsumexp(x)): a fold along the axis, and each cell beside it."""
    if not a.x.rank or a.x.type.dtype != a.type.dtype:  # type: ignore[union-attr]
        raise NoRule
    k = a.axis()
    total = a.emit(reduce, [a.x], lambda t: torch.logsumexp(t, k, keepdim=True), "logsumexp", axes=(k,), keepdims=True)
    if a.name == "_log_softmax":
        return a.emit(elementwise, [a.x, total], torch.sub, "sub")
    return a.emit(elementwise, [a.x, total], lambda t, s: torch.exp(t - s), "softmax")


def _contraction(spec: str) -> Handler:
    return lambda a: a.emit(contract, spec=spec)


def _added(spec: str, product: Any) -> Handler:
    def handler(a: Aten) -> Value:
        bias, left, right = a.tensors
        alpha, beta = a["alpha"], a["beta"]
        made = a.emit(contract, [left, right], product, product.__name__, spec=spec)
        scaled = {key: value for key, value in (("alpha", alpha), ("beta", beta)) if value != 1}

        def total(b: Any, m: Any) -> Any:
            return (b if beta == 1 else beta * b) + (m if alpha == 1 else alpha * m)

        return a.emit(elementwise, [bias, made], total, "add", **scaled)

    return handler


def _sort(a: Aten) -> tuple[Value, Value]:
    if not a.x.rank:
        raise NoRule
    k, down = a.axis(), {"descending": True} if a["descending"] else {}
    order = a.emit(sort, [a.x], lambda t: a.native(t)[1], axis=k, **down)
    return _taken(a, a.x, order, k, "sort"), order


def _topk(a: Aten) -> tuple[Value, Value]:
    if not a.x.rank:
        raise NoRule
    k, count, largest = a.axis(), int(a["k"]), bool(a["largest"])
    down = {"descending": True} if largest else {}
    order = a.emit(
        sort, [a.x], lambda t: torch.sort(t, dim=k, descending=largest, stable=True)[1], "sort", axis=k, **down
    )
    first = _sliced(a, order, k, (0, count, 1), lambda t: t.narrow(k, 0, count))
    return _taken(a, a.x, first, k, "topk"), first


def _taken(a: Aten, x: Value, index: Value, k: int, name: str) -> Value:
    """The cells at an index that lies along an axis."""
    if x.rank == 1:
        return a.emit(gather, [x, index], lambda t, i: t[i], name, axis=0)
    return a.emit(gather, [x, index], lambda t, i: torch.gather(t, k, i), name, axis=k, along=True)


def _gather(a: Aten) -> Value:
    k, x, index = a.axis(), *a.tensors
    if not x.rank:
        raise NoRule
    for other, (have, want) in enumerate(zip(x.type.dims, index.type.dims, strict=True)):
        if other != k and have != want:
            x = _sliced(a, x, other, (0, want, 1), lambda t, o=other, n=want: t.narrow(o, 0, n))
    return _taken(a, x, index, k, "gather")


def _index_select(a: Aten) -> Value:
    if not a.x.rank or a.tensors[1].rank != 1:
        raise NoRule
    return a.emit(gather, axis=a.axis())


def _embedding(a: Aten) -> Value:
    return a.emit(gather, axis=0)


def _positions(a: Aten, mask: Value) -> Value:
    """Where a mask of any rank is true, as positions in row-major order."""
    flat = _shaped(a, mask, (_cells(mask.type.dims),))
    first = a.out.shape[next(n for n, size in enumerate(a.out.shape) if isinstance(size, torch.SymInt))]
    return a.emit(filter, [flat], lambda m: torch.nonzero(m).squeeze(1), size=a.graph.dim(first))


def _cells(dims: Sequence[Dim]) -> Dim:
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def _index(a: Aten) -> Value:
    """One index array, whole numbers or a mask, or neighbouring ones of whole numbers, as one into their joined axes."""
    x, given = a.x, a["indices"]
    places = [k for k, index in enumerate(given) if index is not None]
    k, index = places[0], given[places[0]]
    if len(places) > 1:
        return _joined(a, x, k, [given[n] for n in places]) if places == list(range(k, k + len(places))) else _refuse()
    if index.type.dtype != "bool":
        return a.emit(gather, [x, index], lambda t, i: t[(np.s_[:],) * k + (i,)], axis=k)
    joined = _shaped(a, x, (*x.type.dims[:k], _cells(index.type.dims), *x.type.dims[k + index.rank :]))
    return a.emit(gather, [joined, _positions(a, index)], lambda t, i: t.index_select(k, i), axis=k)


def _refuse() -> Value:
    raise NoRule


def _joined(a: Aten, x: Value, k: int, indices: list[Value]) -> Value:
    sizes = x.type.dims[k : k + len(indices)]
    if not all(isinstance(n, int) for n in sizes) or any(i.type.dtype == "bool" for i in indices):  # type: ignore[union-attr]
        raise NoRule

    def flat(*tensors: Any) -> Any:
        total: Any = 0
        for t, n in zip(tensors, sizes, strict=True):
            if t.numel() and bool(((t < -n) | (t >= n)).any()):
                raise IndexError(f"an index is out of bounds for an axis of size {n}")
            total = total * n + torch.where(t < 0, t + n, t)
        return total

    at = a.emit(elementwise, indices, flat, "ravel_index", "i64", sizes=tuple(sizes))
    joined = _shaped(a, x, (*x.type.dims[:k], _cells(sizes), *x.type.dims[k + len(sizes) :]))
    return a.emit(gather, [joined, at], lambda t, i: t[(np.s_[:],) * k + (i,)], axis=k)


def _nonzero(a: Aten) -> Value:
    mask = a.x
    if mask.type.dtype != "bool":  # type: ignore[union-attr]
        mask = a.emit(elementwise, [mask], lambda t: t != 0, "ne", "bool")
    if mask.rank != 1:
        raise NoRule
    found = _positions(a, mask)
    return _shaped(a, found, (*found.type.dims, 1))


def _made(a: Aten) -> Value:
    """What hangs on no data is computed while tracing."""
    if any(isinstance(dim, Expr) for dim in a.type.dims):
        raise NoRule
    out = a.out
    with torch._subclasses.fake_tensor.unset_fake_temporarily():
        empty = [torch.zeros([int(d) for d in x.type.dims]) for x in a.tensors]
        made = a.native(*empty).to(out.dtype)
    return a.graph.constant(made)


def _table(**families: tuple[Handler, str]) -> dict[str, Handler]:
    return {name: handler for handler, names in families.values() for name in names.split()}


_HANDLERS: dict[str, Handler] = _table(
    elementwise=(_elementwise, "triu tril gelu masked_fill fill clamp _to_copy_ addcmul addcdiv"),
    where=(_where, "where"),
    same=(_same, "alias detach clone contiguous lift_fresh lift_fresh_copy lift _to_copy alias_copy detach_copy"),
    copy=(_copy, "copy"),
    reshape=(
        _reshape,
        "view view_copy _unsafe_view reshape _reshape_alias unsqueeze unsqueeze_copy squeeze squeeze_copy",
    ),
    expand=(_expand, "expand expand_copy"),
    permute=(_permute, "permute permute_copy t t_copy transpose transpose_copy"),
    slice=(_slice, "slice slice_copy"),
    select=(_select, "select select_copy"),
    flip=(_flip, "flip"),
    split=(_split, "split split_copy split_with_sizes split_with_sizes_copy chunk"),
    unbind=(_unbind, "unbind unbind_copy"),
    cat=(_cat, "cat"),
    stack=(_stack, "stack"),
    reduction=(
        _reduction,
        "sum mean var std amax amin max min any all prod argmax argmin logsumexp var_mean std_mean median nanmedian mode "
        "nansum count_nonzero linalg_vector_norm norm aminmax kthvalue",
    ),
    scan=(_scan, "cumsum cumprod cummax cummin logcumsumexp"),
    softmax=(_softmax, "_softmax _log_softmax"),
    mm=(_contraction("ab,bc->ac"), "mm"),
    bmm=(_contraction("zab,zbc->zac"), "bmm"),
    mv=(_contraction("ab,b->a"), "mv"),
    dot=(_contraction("a,a->"), "dot vdot"),
    addmm=(_added("ab,bc->ac", torch.mm), "addmm"),
    baddbmm=(_added("zab,zbc->zac", torch.bmm), "baddbmm"),
    addmv=(_added("ab,b->a", torch.mv), "addmv"),
    sort=(_sort, "sort"),
    topk=(_topk, "topk"),
    gather=(_gather, "gather"),
    index_select=(_index_select, "index_select"),
    embedding=(_embedding, "embedding"),
    index=(_index, "index"),
    nonzero=(_nonzero, "nonzero"),
    made=(
        _made,
        "arange full zeros ones empty scalar_tensor full_like zeros_like ones_like empty_like new_zeros new_ones new_full "
        "new_empty eye linspace tril_indices triu_indices",
    ),
)
