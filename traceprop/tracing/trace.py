"""What is known while a function is being traced: its ops so far, its sizes, and what the sizes turned out to need."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from traceprop.errors import TraceError
from traceprop.ir import Dim, Expr, Op, Param, Value, symbol
from traceprop.ir.expr import evaluate, symbols_of
from traceprop.ir.location import user_location
from traceprop.passes.optimize.cse import identity

ROW_SYMBOLS = "NMPQRSTUW"


class Retrace(Exception):
    """The trace must begin again with some row symbols replaced: by a number, or by a symbol of equal size."""

    def __init__(self, replaced: dict[str, Dim]) -> None:
        super().__init__(f"retrace with {replaced}")
        self.replaced = replaced


@dataclass(frozen=True, slots=True)
class Mark:
    """A trace as it was: how many ops it had, and what it had found equal."""

    ops: int
    compared: int
    first: dict[Hashable, Value]
    same: dict[Value, Value]
    shared: dict[Value, Any]


class Trace:
    """One run of a user's function on symbolic values.

    `hints`: what each row symbol stands for in the call at hand (missing where only a run could tell). `inside`: values of
    bodies, which no op outside of them can use.
    """

    def __init__(self, name: str, hints: dict[str, int]) -> None:
        self.name = name
        self.hints = hints
        self.ops: list[Op] = []
        self.params: list[Param] = []
        self.inputs: list[Any] = []
        self._captured: dict[int, Param] = {}
        self._fresh: dict[str, int] = {}
        self._first: dict[Hashable, Value] = {}
        self._same: dict[Value, Value] = {}
        self._compared = 0
        self._shared: dict[Value, Any] = {}
        self.inside: set[Value] = set()

    def fresh(self, letter: str) -> Expr:
        """A symbol for a size that the data decides: K, K1, K2, …"""
        number = self._fresh.get(letter, 0)
        self._fresh[letter] = number + 1
        return symbol(f"{letter}{number or ''}")

    def capture(self, lazy: Any) -> Param:
        """The parameter for a lazy value from outside that the function closes over."""
        if id(lazy) not in self._captured:
            param = Param(f"captured_{len(self._captured)}", lazy.boundary().type, lazy.source_id)
            self._captured[id(lazy)] = param
            self.params.append(param)
            self.inputs.append(lazy)
        return self._captured[id(lazy)]

    def shared(self, lazy: Any, make: Callable[[], Any]) -> Any:
        """What `make` gave the first time for this value, or for another that the same ops compute."""
        value = self.capture(lazy) if lazy.trace is None else lazy.value
        for op in self.ops[self._compared :]:
            operands = tuple(self._same.get(operand, operand) for operand in op.operands)
            self._same[op.result] = self._first.setdefault(identity(op, operands), op.result)
        self._compared = len(self.ops)
        value = self._same.get(value, value)
        if value not in self._shared:
            self._shared[value] = make()
        return self._shared[value]

    def mark(self) -> Mark:
        """What has been traced so far, to come back to."""
        return Mark(len(self.ops), self._compared, dict(self._first), dict(self._same), dict(self._shared))

    def take_back(self, mark: Mark) -> list[Op]:
        """Forgets the ops since the mark, and gives them: they go into bodies."""
        made = self.ops[mark.ops :]
        del self.ops[mark.ops :]
        self._compared, self._first = mark.compared, dict(mark.first)
        self._same, self._shared = dict(mark.same), dict(mark.shared)
        return made

    def number(self, dim: Dim, why: str) -> int:
        """The number behind a size, which makes the trace one for that number: it begins again with it written in."""
        if isinstance(dim, int):
            return dim
        unknown = symbols_of(dim) - self.hints.keys()
        if unknown:
            raise TraceError(
                f"{why} at {user_location() or 'an unknown line'} needs the number behind {dim}, which the data decides "
                "in the run; use a reduction (x.sum(axis=0), x.mean(axis=0)), or do this outside the traced function"
            )
        raise Retrace({name: self.hints[name] for name in symbols_of(dim)})

    def unify(self, left: object, right: object) -> None:
        """Begins again with two unequal dims made one, if in the call at hand they are equal; else returns."""
        if not isinstance(left, (int, Expr)) or not isinstance(right, (int, Expr)):
            return
        names = symbols_of(left) | symbols_of(right)
        if not names or names - self.hints.keys() or evaluate(left, self.hints) != evaluate(right, self.hints):
            return
        if isinstance(left, Expr) and isinstance(right, Expr):
            (a, *rest_a), (b, *rest_b) = sorted(symbols_of(left)), sorted(symbols_of(right))
            if not rest_a and not rest_b and left == symbol(a) and right == symbol(b):
                raise Retrace({max(a, b): symbol(min(a, b))})
        raise Retrace({name: self.hints[name] for name in names})


_active: ContextVar[Trace | None] = ContextVar("traceprop_trace", default=None)


def active_trace() -> Trace | None:
    """The trace that this thread or task is in."""
    return _active.get()


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Makes a trace the active one of this thread or task."""
    token = _active.set(trace)
    try:
        yield trace
    finally:
        _active.reset(token)


class Size:
    """A symbolic size, as `x.shape[0]` gives it inside a traced function.

    Used in a shape it stays symbolic. Used as a number it becomes one, and the trace is then for that number of rows.
    """

    __slots__ = ("dim", "trace")

    def __init__(self, dim: Dim, trace: Trace) -> None:
        self.dim = dim
        self.trace = trace

    def __index__(self) -> int:
        return self.trace.number(self.dim, "a size used as a number")

    __int__ = __index__
    __hash__ = object.__hash__

    def __float__(self) -> float:
        return float(int(self))

    def __repr__(self) -> str:
        return str(self.dim)


def _delegated(name: str) -> Any:
    def method(self: Size, *others: Any) -> Any:
        plain = [int(other) if isinstance(other, Size) else other for other in others]
        return getattr(int(self), name)(*plain)

    method.__name__ = name
    return method


for _name in (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg abs eq ne lt le gt ge bool divmod"
).split():
    setattr(Size, f"__{_name}__", _delegated(f"__{_name}__"))


def dim_of(size: Any) -> Dim:
    """The dim behind an int, a NumPy integer or a `Size`."""
    return size.dim if isinstance(size, Size) else int(size)
