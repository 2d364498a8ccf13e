"""Integer expressions over symbols, in canonical form: sizes of dims, and positions in index maps.

One algebra serves both. A size is an expression over size symbols (`N+M`); a position in an index map is an
expression over result axes (`i`, `j`, …) and size symbols (`i-N`, `i//28`). Equal values that the algebra can see to be
equal print, compare and hash alike: sums and products are expanded and sorted, constants are folded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Union

import numpy as np

Dim = Union[int, "Expr"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named integer that is at least zero. Size symbols begin with a capital, axis symbols with a small letter."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Call:
    """`floordiv`, `mod`, `min` or `max` of expressions that could not be folded."""

    function: str
    arguments: tuple[Dim, ...]

    def __str__(self) -> str:
        if self.function in _INFIX:
            left, right = self.arguments
            return f"{_atomic(left)}{_INFIX[self.function]}{_atomic(right)}"
        return f"{self.function}({', '.join(map(str, self.arguments))})"


Atom = Symbol | Call
Monomial = tuple[Atom, ...]

_INFIX = {"floordiv": "//", "mod": "%"}
_EVALUATE: dict[str, Callable[..., Any]] = {
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "min": np.minimum,
    "max": np.maximum,
}
_FOLD: dict[str, Callable[..., int]] = {
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
}


def _atomic(dim: Dim) -> str:
    text = str(dim)
    return text if text.replace("_", "").isalnum() else f"({text})"


def _order(monomial: Monomial) -> tuple[int, bool, str]:
    """Highest degree first, axes before sizes, then by name."""
    text = "*".join(map(str, monomial))
    return (-len(monomial), not text[:1].islower(), text)


@dataclass(frozen=True, slots=True)
class Expr:
    """A polynomial: sorted (monomial, coefficient) pairs; the empty monomial is the constant."""

    terms: tuple[tuple[Monomial, int], ...]
    # Both are asked for again and again: text and hash, once they were.
    _text: str | None = field(default=None, init=False, repr=False, compare=False)
    _hash: int | None = field(default=None, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        if self._hash is None:
            object.__setattr__(self, "_hash", hash(self.terms))
        return self._hash  # type: ignore[return-value]

    def __reduce__(self) -> tuple[Any, ...]:
        return Expr, (self.terms,)  # a hash is one of this process

    def __str__(self) -> str:
        if self._text is None:
            object.__setattr__(self, "_text", self._written())
        return self._text  # type: ignore[return-value]

    def _written(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            factors = [_atomic(_lift(atom)) if isinstance(atom, Call) and len(monomial) > 1 else str(atom)
                       for atom in monomial]  # fmt: skip
            if coefficient != 1 and not (coefficient == -1 and text):  # -(N//2) is not (-N)//2
                factors = [f"({f})" if "/" in f or "%" in f else f for f in factors]
            if abs(coefficient) != 1 or not monomial:
                factors = [str(abs(coefficient)), *factors]
            text += ("-" if coefficient < 0 else "+" if text else "") + "*".join(factors)
        return text

    def __add__(self, other: Dim) -> Dim:
        return _collect([*self.terms, *_terms(other)])

    def __radd__(self, other: int) -> Dim:
        return self + other

    def __mul__(self, other: Dim) -> Dim:
        return _collect(
            (tuple(sorted(a + b, key=str)), p * q) for a, p in self.terms for b, q in _terms(other)
        )  # fmt: skip

    def __rmul__(self, other: int) -> Dim:
        return self * other

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other)


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, Expr):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, 0) + coefficient
    kept = sorted(((m, c) for m, c in total.items() if c), key=lambda term: _order(term[0]))
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return Expr(tuple(kept))


def _lift(atom: Atom) -> Expr:
    return Expr((((atom,), 1),))


@lru_cache(maxsize=4096)
def symbol(name: str) -> Expr:
    """The expression that is one symbol."""
    return _lift(Symbol(name))


def _call(function: str, *arguments: Dim) -> Dim:
    if all(isinstance(argument, int) for argument in arguments):
        return _FOLD[function](*arguments)
    return _lift(Call(function, arguments))


def floordiv(left: Dim, right: Dim) -> Dim:
    """`left // right`; multiples of a constant divisor come out exactly (`(4*i+3)//4` is `i` for `0 <= 3 < 4`)."""
    if right == 1:
        return left
    if isinstance(right, int) and isinstance(left, Expr):
        whole = _collect((m, c // right) for m, c in left.terms if c % right == 0)
        rest = _collect((m, c) for m, c in left.terms if c % right)
        if whole != 0:
            return whole + floordiv(rest, right)
    return _call("floordiv", left, right)


def mod(left: Dim, right: Dim) -> Dim:
    """`left % right`; multiples of a constant divisor fall away."""
    if right == 1:
        return 0
    if isinstance(right, int) and isinstance(left, Expr):
        rest = _collect((m, c % right) for m, c in left.terms)
        if rest != left:
            return mod(rest, right)
    return _call("mod", left, right)


def minimum(*dims: Dim) -> Dim:
    """The least of some sizes; equal ones are counted once, constants are folded."""
    return _extreme("min", min, dims)


def maximum(*dims: Dim) -> Dim:
    """The greatest of some sizes; equal ones are counted once, constants are folded."""
    return _extreme("max", max, dims)


def _extreme(name: str, fold: Callable[[Iterable[int]], int], dims: tuple[Dim, ...]) -> Dim:
    numbers = [dim for dim in dims if isinstance(dim, int)]
    others = sorted({dim for dim in dims if isinstance(dim, Expr)}, key=str)
    kept: list[Dim] = [*others, *([fold(numbers)] if numbers else [])]
    return kept[0] if len(kept) == 1 else _call(name, *kept)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of some sizes; 1 for none."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def symbols_of(dim: Dim) -> frozenset[str]:
    """The names of all symbols in an expression."""
    if isinstance(dim, int):
        return frozenset()
    names: set[str] = set()
    for monomial, _ in dim.terms:
        for atom in monomial:
            names.update([atom.name] if isinstance(atom, Symbol) else set().union(*map(symbols_of, atom.arguments)))
    return frozenset(names)


def evaluate(dim: Dim, values: Mapping[str, Any]) -> Any:
    """The number that an expression stands for, or an int64 array where `values` holds arrays (they broadcast).

    Raises `KeyError` with the symbol's name where `values` lacks it.
    """
    if isinstance(dim, int):
        return dim
    total: Any = 0
    for monomial, coefficient in dim.terms:
        factors = [
            values[atom.name]
            if isinstance(atom, Symbol)
            else _EVALUATE[atom.function](*(evaluate(argument, values) for argument in atom.arguments))
            for atom in monomial
        ]
        total = total + (math.prod(factors) * coefficient if factors else coefficient)
    return int(total) if isinstance(total, np.integer) else total


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """The expression with symbols replaced by expressions."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        factors: list[Dim] = []
        for atom in monomial:
            if isinstance(atom, Symbol):
                factors.append(values.get(atom.name, _lift(atom)))
            else:
                arguments = tuple(substitute(argument, values) for argument in atom.arguments)
                factors.append(_REBUILD[atom.function](*arguments))
        total = total + product(factors) * coefficient
    return total


_REBUILD: dict[str, Callable[..., Dim]] = {"floordiv": floordiv, "mod": mod, "min": minimum, "max": maximum}
