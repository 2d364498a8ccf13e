"""What a family's handlers work on: the ops so far, and one equation at a time."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from traceprop.errors import TypeRuleError
from traceprop.ir import ArrayType, Location, Op, OpDef, Param, Program, Value
from traceprop.ir.given_map import GivenMap, every_cell
from traceprop.ir.location import warn_at
from traceprop.ir.opset import constant, iota, opaque, reshape
from traceprop.ir.types import dtype_name, numpy_dtype

MANY_CELLS = 4096


class NoRule(Exception):
    """Raised for a case that a family's rule doesn't cover; the equation is then traced as `opaque`."""


class Known:
    """A value that hangs on no argument: a literal, a closed-over array, or what was computed of such while tracing."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def small(self) -> bool:
        return bool(np.size(self.array) <= MANY_CELLS)


Held = Value | Known
Handler = Callable[["Equation"], Sequence[Held]]


@dataclass
class Graph:
    """The ops so far, and the user's line that is being traced."""

    ops: list[Op] = field(default_factory=list)
    location: Location | None = None
    warned: set[tuple[str, Location | None]] = field(default_factory=set)
    _constants: dict[Any, Value] = field(default_factory=dict)

    def value(self, held: Held) -> Value:
        """A value of the program; what is known becomes a `constant`."""
        if isinstance(held, Value):
            return held
        if held not in self._constants:
            array = np.asarray(held.array)
            key = held if array.ndim else (array.dtype.str, array.tobytes())
            if key not in self._constants:
                self._constants[key] = self._constant(array)
            self._constants[held] = self._constants[key]
        return self._constants[held]

    def _constant(self, array: np.ndarray) -> Value:
        dtype = dtype_name(array.dtype)
        if array.ndim == 1 and dtype[0] in "iu" and len(array) > 1 and (array == np.arange(len(array))).all():
            definition, attrs = iota, {"size": len(array)}
        else:
            definition, attrs = constant, {"value": array if array.ndim else array.item()}
        op = Op(definition, (), attrs, None, dtype, self.location, native=lambda: jnp.asarray(array))
        self.ops.append(op)
        return op.result

    def add(
        self,
        definition: OpDef,
        operands: Sequence[Held],
        attrs: dict[str, Any],
        payload: str | None,
        dtype: str | None,
        native: Callable[..., Any],
        rule: Any = None,
        regions: Sequence[Program] = (),
    ) -> Value:
        """One more op; `native` takes the operands' arrays."""
        values = [operand if isinstance(operand, Value) else self.value(operand) for operand in operands]
        plain = {key: _plain(value) for key, value in attrs.items()} if attrs else attrs
        op = Op(definition, values, plain, payload, dtype, self.location, rule, native, regions)
        self.ops.append(op)
        return op.result

    def forget(self, mark: int) -> None:
        """Takes back the ops from number `mark` on."""
        gone = {op.result for op in self.ops[mark:]}
        del self.ops[mark:]
        self._constants = {key: value for key, value in self._constants.items() if value not in gone}

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """`x` in another shape; a reshape of a reshape is one."""
        shape = tuple(int(n) for n in shape)
        while x.op is not None and x.op.definition is reshape:
            x = x.op.operands[0]
        if x.type.dims == shape:
            return x
        if x.op is not None and x.op.definition is constant:
            return self.value(Known(np.asarray(x.op.attrs["value"], numpy_dtype(x.type.dtype)).reshape(shape)))
        return self.add(reshape, [x], {"shape": shape}, None, None, lambda t: t.reshape(shape))

    def warn(self, name: str, what: str) -> None:
        """Once per function and line."""
        key = (name, self.location)
        if key in self.warned:
            return
        self.warned.add(key)
        warn_at(self.location, f"{name} at {self.location or 'an unknown line'} {what}")


class Bodies(Protocol):
    """What can be done with the jaxprs among an equation's parameters, which handlers do not look into."""

    def inlined(self, jaxpr: Any, inputs: Sequence[Held]) -> list[Held]:
        """What a jaxpr gives on some inputs; its ops join the graph."""

    def mapped(self, jaxpr: Any, inputs: Sequence[Held], shared: int) -> list[Held]:
        """What a jaxpr gives row by row: for each row of the inputs behind the first `shared` ones."""

    def apart(self, name: str, jaxpr: Any, params: Sequence[Param], taken: Sequence[Param]) -> Program:
        """A jaxpr as a program of its own: a body with some parameters, of which it takes these."""

    def gives_last(self, jaxpr: Any) -> bool:
        """Whether a jaxpr gives its last input as it is; so does none at all."""

    def primitives(self, jaxpr: Any) -> list[str]:
        """The names of all its primitives, nested ones too."""


@dataclass(slots=True)
class Equation:
    """One equation of a jaxpr: primitive, parameters, inputs, and the types of what it gives.

    `bind` computes it on arrays, always giving a list, and knows what it is (`call_key`).
    """

    graph: Graph
    name: str
    params: dict[str, Any]
    inputs: list[Held]
    types: list[ArrayType]
    bind: Any
    bodies: Bodies

    def call_key(self) -> Hashable:
        """What the call is, whatever equation it stands in."""
        found: Hashable = self.bind.call_key()
        return found

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    @property
    def x(self) -> Value:
        """The first input."""
        return self.graph.value(self.inputs[0])

    @property
    def type(self) -> ArrayType:
        """The type of the first result."""
        return self.types[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return self.types[0].dims

    def native(self, *arrays: Any) -> Any:
        """The primitive itself, where it gives one array."""
        return self.bind(*arrays)[0]

    def emit(
        self,
        definition: OpDef,
        operands: Sequence[Held] | None = None,
        native: Any = None,
        name: str = "",
        dtype: str | None = None,
        rule: Any = None,
        regions: Sequence[Program] = (),
        **attrs: Any,
    ) -> Value:
        """An op under this primitive's name; without `native` it is the primitive itself."""
        if dtype is None and definition.payload != "never" and definition.name not in ("gather", "concat"):
            dtype = self.type.dtype
        payload = f"jax.{name or self.name.replace('-', '_')}" if definition.payload != "never" else None
        given = self.inputs if operands is None else operands
        return self.graph.add(definition, given, attrs, payload, dtype, native or self.native, rule, regions)

    def opaque(self, rule: GivenMap | Sequence[GivenMap] | None = None, **attrs: Any) -> list[Held]:
        """An `opaque` op per result, with an index map for all where there is one, or one for each."""
        rules = rule if isinstance(rule, Sequence) else [rule] * len(self.types)
        return [
            self.emit(opaque, native=native, dtype=type.dtype, rule=own, shape=type.dims, **attrs, **which)
            for type, own, (native, which) in zip(self.types, rules, self._results(), strict=True)
        ]

    def around(self, definition: OpDef, regions: Sequence[Program], **attrs: Any) -> list[Held]:
        """A `loop` or `branch` per result, around the same bodies."""
        return [
            self.emit(definition, native=native, dtype=type.dtype, regions=regions, **attrs, **which)
            for type, (native, which) in zip(self.types, self._results(), strict=True)
        ]

    def result_natives(self) -> list[Callable[..., Any]]:
        """For every result what computes it; the call runs once for all of them."""
        return [native for native, _ in self._results()]

    def _results(self) -> list[tuple[Callable[..., Any], dict[str, Any]]]:
        """For every result what picks it from the call, and which it is where there are several."""
        picks, several = _Picks(self.bind, len(self.types)), len(self.types) > 1
        return [(functools.partial(picks, k), {"result": k} if several else {}) for k in range(len(self.types))]

    def scalars(self, *left_out: str) -> dict[str, Any]:
        """The parameters that can be printed, as attributes."""
        return {
            key: _printable(value)
            for key, value in self.params.items()
            if value is not None and key not in left_out and key not in _NOT_SHOWN and _is_printable(value)
        }


def _plain(value: Any) -> Any:
    """NumPy's integers, which shapes are full of, as Python's."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return int(value) if isinstance(value, np.integer) else value


class _Picks:
    """One of several results of a call that runs once: kept until the last of them was taken."""

    def __init__(self, bind: Any, count: int) -> None:
        self.bind, self.count = bind, count
        self._local = threading.local()

    def call_key(self) -> Hashable:
        """What the call is."""
        return ("picks", self.bind.call_key(), self.count)

    def __call__(self, k: int, *arrays: Any) -> Any:
        given, results, left = getattr(self._local, "kept", ((), [], set()))
        if len(given) != len(arrays) or any(a is not b for a, b in zip(given, arrays, strict=True)) or k not in left:
            results, left = self.bind(*arrays), set(range(self.count))
        left.discard(k)
        self._local.kept = (arrays, results, left) if left else ((), [], set())
        return results[k]


_NOT_SHOWN = {"sharding", "out_sharding", "weak_type", "accuracy", "dimensions", "shape"}


def _is_printable(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_printable, value))
    return isinstance(value, (bool, int, float, str, np.dtype))


def _printable(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_printable, value))
    return dtype_name(value) if isinstance(value, np.dtype) else value


def all_cells(operands: Sequence[Value], exact: bool) -> GivenMap:
    """Every result cell reads every operand cell: `exact` where that is so, and not for want of a rule."""
    return GivenMap(every_cell(operands), exact)


def traced(equation: Equation, handlers: dict[str, Handler]) -> list[Held]:
    """The ops of one equation; `opaque`, with a warning, where no handler fits."""
    graph = equation.graph
    mark = len(graph.ops)
    handler = handlers.get(equation.name)
    if handler is not None:
        try:
            found = list(handler(equation))
            if _fits(found, equation):
                return found
        except (NoRule, TypeRuleError):
            pass
        graph.forget(mark)
    graph.warn(
        f"jax.{equation.name}",
        "has no lineage rule: every cell of its result is taken to depend on every cell of its operands, and view.exact is "
        "False",
    )
    return equation.opaque()


def _fits(found: Sequence[Held], equation: Equation) -> bool:
    if len(found) == 1 == len(equation.types) and isinstance(found[0], Value) and found[0].type is equation.types[0]:
        return True
    return len(found) == len(equation.types) and all(
        held.type == type
        if isinstance(held, Value)
        else (dtype_name(held.array.dtype), np.shape(held.array)) == (type.dtype, type.dims)
        for held, type in zip(found, equation.types, strict=True)
    )
