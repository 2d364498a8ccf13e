"""The ops so far, and PyTorch's sizes as ours."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from traceprop.errors import TraceError
from traceprop.ir import ArrayType, Dim, Expr, Location, Op, Value, symbol
from traceprop.ir.expr import evaluate, floordiv, maximum, minimum, mod, product, symbols_of
from traceprop.ir.location import warn_at
from traceprop.ir.opset import constant
from traceprop.ir.types import dtype_name
from traceprop.passes.optimize.same_call import key_of
from traceprop.sources.tensors import seen_as_numpy
from traceprop.tracing.trace import Retrace

_FUNCTIONS: dict[str, Callable[..., Dim]] = {
    "FloorDiv": floordiv, "CleanDiv": floordiv, "Mod": mod, "PythonMod": mod, "Max": maximum, "Min": minimum,
}  # fmt: skip


class NoRule(Exception):
    """Raised for a case that a family's rule doesn't cover; the call is then traced as `opaque`."""


class Sized:
    """A native call that needs sizes beside its tensors: `function(*tensors, sizes)`; generated code passes `names`' numbers."""

    __slots__ = ("function", "sizes")

    def __init__(self, function: Callable[..., Any], dims: Sequence[Dim]) -> None:
        self.function = function
        self.sizes = tuple(sorted(frozenset().union(*map(symbols_of, dims))))

    def __call__(self, *given: Any) -> Any:
        count = len(given) - len(self.sizes)
        return self.function(*given[:count], dict(zip(self.sizes, given[count:], strict=True)))

    def call_key(self) -> Hashable:
        """What the call is."""
        return ("sized", key_of(self.function), self.sizes)


def numbers(dims: Sequence[Dim], sizes: Mapping[str, int]) -> list[int]:
    """The numbers behind a shape."""
    return [int(evaluate(dim, sizes)) for dim in dims]


@dataclass
class Graph:
    """The ops so far, the line that is being traced, and our symbol for each of PyTorch's.

    `hints`: what each row symbol stands for in the call at hand; other symbols are sizes that the data decides.
    """

    symbols: dict[str, Expr] = field(default_factory=dict)
    hints: Mapping[str, int] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    location: Location | None = None
    warned: set[tuple[str, Location | None]] = field(default_factory=set)
    _fresh: int = 0

    def dim(self, size: Any) -> Dim:
        """A size of PyTorch's as one of ours."""
        return self._expr(size.node.expr) if isinstance(size, torch.SymInt) else int(size)

    def _expr(self, expr: Any) -> Dim:
        if expr.is_Integer:
            return int(expr)
        if expr.is_Symbol:
            name = str(expr)
            if name not in self.symbols:
                self.symbols[name] = symbol(f"K{self._fresh or ''}")
                self._fresh += 1
            return self.symbols[name]
        if expr.is_Add:
            total: Dim = 0
            for part in expr.args:
                total = total + self._expr(part)
            return total
        if expr.is_Mul:
            return product(map(self._expr, expr.args))
        if expr.is_Pow and expr.args[1].is_Integer and int(expr.args[1]) > 0:
            return product([self._expr(expr.args[0])] * int(expr.args[1]))
        if type(expr).__name__ in _FUNCTIONS:
            return _FUNCTIONS[type(expr).__name__](*map(self._expr, expr.args))
        self.specialize(expr)
        raise TraceError(f"a size {expr} that the data decides, at {self.location}: sizes have no such expressions")

    def specialize(self, expr: Any) -> None:
        """Begins the trace again with a number for each row symbol in an expression of PyTorch's; returns if it has none."""
        names = {name for free in expr.free_symbols for name in symbols_of(self.symbols.get(str(free), 0))}
        self.specialize_names(names)

    def specialize_names(self, names: set[str] | frozenset[str]) -> None:
        """Begins the trace again with numbers for those names that are row symbols; returns if none is."""
        known = {name: self.hints[name] for name in names if name in self.hints}
        if known:
            raise Retrace(dict(known))

    def type(self, tensor: Any) -> ArrayType:
        """The type of a (fake) tensor."""
        return ArrayType(dtype_of(tensor.dtype), tuple(self.dim(size) for size in tensor.shape))

    def constant(self, tensor: Any) -> Value:
        """A tensor that the function closes over; one without axes is a number."""
        held = tensor.detach()
        array = seen_as_numpy(held.cpu().resolve_conj().resolve_neg())
        value = array.item() if not array.ndim and array.dtype.kind in "biuf" else array
        attrs = {"value": value}
        op = Op(constant, (), attrs, None, dtype_name(array.dtype), self.location, native=lambda: held)
        self.ops.append(op)
        return op.result

    def warn(self, name: str, what: str) -> None:
        """Once per function and line, at the user's line."""
        key = (name, self.location)
        if key in self.warned:
            return
        self.warned.add(key)
        warn_at(self.location, f"{name} at {self.location or 'an unknown line'} {what}")


def dtype_of(dtype: torch.dtype) -> str:
    """Our name of a dtype of PyTorch's. Raises `TraceError` for one that NumPy lacks."""
    try:
        return dtype_name(torch.empty(0, dtype=dtype).numpy().dtype)
    except TypeError:
        raise TraceError(
            f"{dtype} has no NumPy counterpart; use .float() or .half() before the traced function"
        ) from None


def leaves(value: Any) -> list[Any]:
    """What is in nested lists."""
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


TORCH_DTYPES = {
    "f16": "float16", "f32": "float32", "f64": "float64", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "bool": "bool", "c64": "complex64",
    "c128": "complex128",
}  # fmt: skip
