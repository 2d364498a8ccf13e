"""One ATen call: its arguments by name, and what its family's handler may make of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch

from traceprop.ir import ArrayType, Dim, Expr, Op, Value
from traceprop.ir.expr import evaluate
from traceprop.ir.given_map import GivenMap
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import broadcast, gather, opaque, reshape, slice
from traceprop.passes.optimize.same_call import Unlike, key_of
from traceprop.tracing.aten.graph import TORCH_DTYPES, Graph, NoRule, Sized, dtype_of, leaves, numbers

ALL = (None, None, None)
_RESERVED = {
    "size", "shape", "axis", "axes", "index", "control", "spread", "family", "along", "spec", "names", "keepdims",
    "self", "definition", "operands", "native", "name", "rule",
}  # fmt: skip
_NOT_SHOWN = {"layout", "device", "pin_memory", "memory_format", "non_blocking", "implicit"}


class Picks:
    """One of several results of a call that runs once: kept until the last of them was taken."""

    def __init__(self, call: Callable[..., Any], wanted: Sequence[int]) -> None:
        self.call, self.wanted = call, frozenset(wanted)
        self._local = threading.local()

    def call_key(self) -> Hashable:
        """What the call is."""
        return ("picks", key_of(self.call), self.wanted)

    def __call__(self, k: int, tensors: tuple[Any, ...]) -> Any:
        given, results, left = getattr(self._local, "kept", ((), (), set()))
        if len(given) != len(tensors) or any(a is not b for a, b in zip(given, tensors, strict=True)) or k not in left:
            results, left = self.call(*tensors), set(self.wanted)
        left.discard(k)
        self._local.kept = (tensors, results, left) if left else ((), (), set())
        return results[k]


def _printable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_printable(v) for v in value)
    if isinstance(value, torch.dtype):
        return dtype_of(value)
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _filled(value: Any, given: Iterator[Any], sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Value):
        return next(given)
    if isinstance(value, Expr):
        return int(evaluate(value, sizes))
    return [_filled(v, given, sizes) for v in value] if isinstance(value, (list, tuple)) else value


def _outlined(value: Any) -> Any:
    """Arguments, with a place held for each tensor."""
    if isinstance(value, Value):
        return Value
    if isinstance(value, dict):
        return {key: _outlined(item) for key, item in value.items()}
    return tuple(map(_outlined, value)) if isinstance(value, (list, tuple)) else value


class Aten:
    """One call of an overload: its arguments by name, values where tensors are, and what it gives (fake tensors).

    `fakes`: the fake tensors behind `tensors`, which know how they lie in memory.
    """

    def __init__(
        self, graph: Graph, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any, fakes: Sequence[Any] = ()
    ) -> None:
        self.graph, self.func, self.out, self.fakes = graph, func, out, fakes
        self.name = func._schema.name.removeprefix("aten::").replace("::", ".")
        self.args, self.kwargs = list(args), kwargs
        names = [argument.name for argument in func._schema.arguments]
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        self.given = {**given, **dict(zip(names, args, strict=False)), **kwargs}
        everything = leaves([self.args, list(kwargs.values())])
        self.tensors = [v for v in everything if isinstance(v, Value)]
        self.sizes = [v for v in everything if isinstance(v, Expr)]

    def call_key(self) -> Hashable:
        """What the call is: the overload, and its arguments, with a place held for each tensor.

        A draw that is switched off (dropout in eval) is none, but is left apart all the same; so is a library's own function.
        """
        if self.func.namespace != "aten" or torch.Tag.nondeterministic_seeded in self.func.tags:
            raise Unlike
        return (self.func, key_of(_outlined(self.args)), key_of(_outlined(self.kwargs)))

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name)

    @property
    def several(self) -> bool:
        """Whether the call gives a tuple of tensors."""
        return isinstance(self.out, (list, tuple))

    @property
    def x(self) -> Value:
        """The first tensor."""
        return self.tensors[0]

    @property
    def type(self) -> ArrayType:
        """The type of the (first) result."""
        return self.graph.type(self.out[0] if self.several else self.out)

    def axis(self, name: str = "dim", rank: int | None = None) -> int:
        """An axis from 0."""
        rank = self.x.rank if rank is None else rank
        return int(self[name]) % max(rank, 1)

    def number(self, name: str) -> int:
        """An argument that must be a number. Raises `NoRule` for a symbolic size."""
        if isinstance(self[name], Expr):
            raise NoRule
        return int(self[name])

    def native(self, *tensors: Any) -> Any:
        """The call itself, over tensors in place of the values."""
        return self._native(*tensors, {})

    def _native(self, *given: Any) -> Any:
        *tensors, sizes = given
        filled = iter(tensors)
        args = [_filled(value, filled, sizes) for value in self.args]
        kwargs = {key: _filled(value, filled, sizes) for key, value in self.kwargs.items()}
        return self.func(*args, **kwargs)

    def sized(self, pick: int | None = None) -> Callable[..., Any]:
        """The call itself, sizes that the data decides among its arguments; or one of its results."""
        if not self.sizes:
            return self.native if pick is None else lambda *tensors: self.native(*tensors)[pick]
        return Sized(lambda *given: self._native(*given) if pick is None else self._native(*given)[pick], self.sizes)

    def scalars(self, *left_out: str) -> dict[str, Any]:
        """The arguments that are no tensors and not left at their defaults, as attributes."""
        defaults = {argument.name: argument.default_value for argument in self.func._schema.arguments}
        return {
            f"{name}_" if name in _RESERVED else name: _printable(value)
            for name, value in self.given.items()
            if value is not None
            and name not in _NOT_SHOWN
            and name not in left_out
            and not any(isinstance(leaf, (Value, Expr)) for leaf in leaves(value))
            and value != defaults.get(name, self)
        }

    def emit(
        self,
        definition: OpDef,
        operands: Sequence[Value] | None = None,
        native: Callable[..., Any] | None = None,
        name: str = "",
        dtype: str | None = None,
        rule: GivenMap | None = None,
        **attrs: Any,
    ) -> Value:
        """An op under this call's name; without `native` it is the call itself.

        A symbolic size among the call's own arguments is a number to compute with as far as anyone knows: `NoRule`.
        """
        if native is None:
            if self.sizes:
                raise NoRule
            native = self.native
        if dtype is None and definition.payload == "needed" or definition.name == "concat":
            dtype = dtype or self.type.dtype
        payload = f"aten.{name or self.name.removesuffix('_copy')}" if definition.payload != "never" else None
        given = self.tensors if operands is None else operands
        op = Op(definition, given, attrs, payload, dtype, self.graph.location, rule, native)
        self.graph.ops.append(op)
        return op.result

    def mapped(self, *reads: Any, exact: bool = True, **attrs: Any) -> Any:
        """The call as one op per result whose index map is `reads`."""
        rule = GivenMap(tuple(reads), exact)
        return self.results(lambda out, n, native: self.emit(
            opaque, None, native, dtype=out.dtype, rule=rule, shape=out.dims, **self.scalars(), **attrs, **n
        ))  # fmt: skip

    def results(self, one: Callable[[ArrayType, dict[str, Any], Callable[..., Any] | None], Any]) -> Any:
        """`one(type, attributes, native)` for the result, or for each of several; the call itself runs once for all."""
        if not self.several:
            return one(self.type, {}, None) if isinstance(self.out, torch.Tensor) else self.out
        if self.sizes:
            raise NoRule
        tensors = [k for k, out in enumerate(self.out) if isinstance(out, torch.Tensor)]
        picks = Picks(self.native, tensors)
        return tuple(
            one(self.graph.type(out), {"result": k}, lambda *t, k=k: picks(k, t)) if k in tensors else out
            for k, out in enumerate(self.out)
        )

    # -- what several families need -----------------------------------------------------------------------------------

    def reshaped(self, x: Value, shape: Sequence[Dim]) -> Value:
        """`x` in another shape; a view of PyTorch's asks for a memory layout that the data may not have."""
        shape = tuple(shape)
        while x.op is not None and x.op.definition is reshape:
            x = x.op.operands[0]
        if x.type.dims == shape:
            return x
        free = [dim if isinstance(dim, int) else -1 for dim in shape]
        if free.count(-1) > 1 or 0 in shape:
            native: Any = Sized(lambda t, sizes: t.reshape(numbers(shape, sizes)), shape)
        else:
            native = lambda t: t.reshape(free)  # noqa: E731
        return self.emit(reshape, [x], native, shape=shape)

    def spread(self, x: Value, shape: Sequence[Dim]) -> Value:
        """`x` repeated to a shape that it broadcasts to."""
        shape = tuple(shape)
        if x.type.dims == shape:
            return x
        return self.emit(broadcast, [x], Sized(lambda t, sizes: t.expand(numbers(shape, sizes)), shape), shape=shape)

    def sliced(self, x: Value, k: int, item: Any, native: Callable[..., Any]) -> Value:
        """`x` with an int or a (start, stop, step) on one axis."""
        return self.emit(slice, [x], native, index=tuple(item if n == k else ALL for n in range(x.rank)))

    def narrowed(self, x: Value, k: int, start: int, stop: int) -> Value:
        """The cells of `x` from start to stop along an axis of known size."""
        if (start, stop) == (0, x.type.dims[k]):
            return x
        return self.sliced(x, k, (start, stop, 1), lambda t: t.narrow(k, start, stop - start))

    def held(self, value: Any, dtype: str | None = None) -> Value:
        """A number, or a tensor that hangs on no data, as a constant."""
        with torch._subclasses.fake_tensor.unset_fake_temporarily():
            tensor = torch.as_tensor(value)
            if dtype is not None:
                tensor = tensor.to(getattr(torch, TORCH_DTYPES[dtype]))
        return self.graph.constant(tensor)

    def taken(self, x: Value, index: Value, k: int, name: str) -> Value:
        """The cells at an index that lies along an axis."""
        if x.rank == 1:
            return self.emit(gather, [x, index], lambda t, i: t[i], name, axis=0)
        return self.emit(gather, [x, index], lambda t, i: torch.gather(t, k, i), name, axis=k, along=True)
