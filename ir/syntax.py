"""One line of the IR's text, read by lark's LALR parser: grammar.lark, and what each of its rules builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from traceprop.ir.expr import Dim, Expr, floordiv, maximum, minimum, mod, symbol
from traceprop.ir.index_map import AXIS_NAMES, Full, Span
from traceprop.ir.location import Location
from traceprop.ir.types import DTYPES, ArrayType, Field, TableType, Type
from traceprop.ir.words import unquote

# What a hand-written program never needs and a broken text must not make us compute.
MAX_NESTING = 60
_MAX_DIGITS = 600
_MAX_TERMS = 2000


class Name(str):
    """A name that was read without the grammar, at a column (from 1) of its line."""

    __slots__ = ("column",)
    column: int
    line = 1

    def __new__(cls, text: str, column: int) -> Name:
        found = super().__new__(cls, text)
        found.column = column
        return found


class Mistake(Exception):
    """What is wrong with a line, and the token or column (from 1) at which it shows."""

    def __init__(self, message: str, at: Token | Name | int | None = None) -> None:
        super().__init__(message)
        self.at = at


@dataclass(slots=True)
class ParamLine:
    name: Token
    type: Type
    source: str | None
    fitted: bool


@dataclass(slots=True)
class HeadLine:
    name: str
    params: list[ParamLine]
    results: list[Type]


@dataclass(slots=True)
class OpLine:
    result: Token | Name | None
    type: Type | None
    name: Token | Name
    payload: str | None
    operands: Sequence[Token | Name]
    attrs: dict[str, Any]
    location: Location | None
    alike: Token | None = None


@dataclass(slots=True)
class LookText:
    """A position looked up in the value of that name."""

    index: Token
    at: tuple[Dim, ...]


@dataclass(slots=True)
class MembersText:
    """The positions at which the value of that name holds a number."""

    index: Token
    at: Dim


@dataclass(slots=True)
class BoundText:
    """lo <= name < hi."""

    name: Dim
    lo: Dim | None
    hi: Dim | None


@dataclass(slots=True)
class ReadText:
    kind: str | None
    operand: Token
    axes: list[Dim | Full | Span | LookText | MembersText]


@dataclass(slots=True)
class PieceText:
    places: list[Dim | BoundText]
    reads: list[ReadText]


@dataclass(slots=True)
class MapText:
    inexact: bool
    pieces: list[PieceText]


def read_line(text: str, rule: str) -> Any:
    """Reads one line as `rule` of the grammar: `head`, `op`, `returned` or `map`. Raises `Mistake`, and nothing else."""
    if len(text) > 2 * MAX_NESTING and _nesting(text) > MAX_NESTING:
        raise Mistake(f"brackets are nested more than {MAX_NESTING} deep")
    try:
        return _parser().parse(text, start=rule)
    except UnexpectedInput as error:
        raise _explained(error, text) from None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest


@cache
def _parser() -> Lark:
    grammar = files("traceprop.ir").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", start=["head", "op", "returned", "map"], transformer=_Build(), maybe_placeholders=True
    )


# -- what rules build -------------------------------------------------------------------------------------------------


def _text(token: Token | Name, start: int = 0) -> str:
    try:
        return unquote(token[start:])
    except ValueError:
        raise Mistake(f"{token} has an escape that strings don't have; use \\n, \\\", \\\\ or \\u1234", token) from None


def value_name(token: Token | Name) -> str:
    """The name in `%name` or `%"any name"`."""
    return _text(token, 1)


def _limited(result: Dim) -> Dim:
    if isinstance(result, Expr):
        if len(result.terms) > _MAX_TERMS:
            raise Mistake(f"an expression of more than {_MAX_TERMS} terms")
        if any(abs(coefficient) >= 2**63 for _, coefficient in result.terms):
            raise Mistake("a number in an expression does not fit 64 bits")
    elif abs(result) >= 2**63:
        raise Mistake("a number in an expression does not fit 64 bits")
    return result


def _terms(dim: Dim) -> int:
    return len(dim.terms) if isinstance(dim, Expr) else 1


def _divisor(dim: Dim) -> Dim:
    if isinstance(dim, int) and dim == 0:
        raise Mistake("division by zero")
    return dim


def _dtype(token: Token) -> str:
    if token not in DTYPES:
        raise Mistake(f"there is no dtype {str(token)!r}{nearest(token, DTYPES)}", token)
    return str(token)


def nearest(name: str, known: Any) -> str:
    """`; did you mean 'gather'?`, or nothing where no known name is near."""
    import difflib

    near = difflib.get_close_matches(name, [str(candidate) for candidate in known], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _size_of(dim: Dim) -> Dim:
    if isinstance(dim, int) and not 0 <= dim < 2**63:
        raise Mistake(f"a dim cannot be {dim}" if dim < 0 else "a dim does not fit 64 bits")
    return dim


@v_args(inline=True)
class _Build(Transformer[Token, Any]):
    """A method for each rule; it is given what the rule's parts built."""

    def head(self, name: Token, *rest: Any) -> HeadLine:
        *params, results = rest
        return HeadLine(value_name(name), [param for param in params if param is not None], results)

    def param(self, name: Token, type: Type, source: Token | None, fitted: Token | None) -> ParamLine:
        return ParamLine(name, type, None if source is None else _text(source), fitted is not None)

    def results(self, *types: Type | None) -> list[Type]:
        return [type for type in types if type is not None]

    def op(
        self,
        result: Token | None,
        type: Type | None,
        name: Token,
        payload: str | None,
        operands: list[Token] | None,
        attrs: dict[str, Any] | None,
        alike: Token | None,
        location: Location | None,
    ) -> OpLine:
        return OpLine(result, type, name, payload, operands or [], attrs or {}, location, alike)

    def payload(self, token: Token) -> str:
        return _text(token)

    def operands(self, *values: Token | None) -> list[Token]:
        return [value for value in values if value is not None]

    returned = operands

    def attrs(self, *pairs: tuple[Token, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise Mistake(f"the attribute {name!s} is given twice", name)
            found[str(name)] = value
        return found

    def attr(self, name: Token, value: Any) -> tuple[Token, Any]:
        return name, value

    def location(self, file: Token, line: Token, function: Token | None) -> Location:
        return Location(_text(file), self.integer(line), "" if function is None else _text(function))

    # types

    def array(self, dtype: Token, *dims: Dim | None) -> Type:
        return ArrayType(_dtype(dtype), tuple(_size_of(dim) for dim in dims if dim is not None))

    def table(self, *parts: Any) -> Type:
        *fields, rows = parts
        named = [field for field in fields if field is not None]
        names = [field.name for field in named]
        for name in names:
            if names.count(name) > 1:
                raise Mistake(f"the table has two columns named {name!r}")
        return TableType(tuple(named), _size_of(rows))

    def field(self, name: Token, dtype: Token, nullable: Token | None, width: Dim | None) -> Field:
        return Field(_text(name), _dtype(dtype), nullable is not None, None if width is None else _size_of(width))

    # expressions

    def integer(self, token: Token) -> int:
        if len(token) > _MAX_DIGITS:
            raise Mistake(f"a number of more than {_MAX_DIGITS} digits", token)
        return int(token)

    def size(self, name: Token) -> Dim:
        return symbol(str(name))

    def negated(self, dim: Dim) -> Dim:
        return -dim

    def plus(self, left: Dim, right: Dim) -> Dim:
        return _limited(left + right)

    def minus(self, left: Dim, right: Dim) -> Dim:
        return _limited(left - right)

    def times(self, left: Dim, right: Dim) -> Dim:
        if _terms(left) * _terms(right) > _MAX_TERMS:
            raise Mistake(f"an expression of more than {_MAX_TERMS} terms")
        return _limited(left * right)

    def divided(self, left: Dim, right: Dim) -> Dim:
        return floordiv(left, _divisor(right))

    def modulo(self, left: Dim, right: Dim) -> Dim:
        return mod(left, _divisor(right))

    def least(self, *dims: Dim) -> Dim:
        return minimum(*dims)

    def greatest(self, *dims: Dim) -> Dim:
        return maximum(*dims)

    # attributes

    def tuple(self, *values: Any) -> tuple[Any, ...]:
        return values

    def real(self, token: Token) -> float:
        return float(token)

    def negated_real(self, token: Token) -> float:
        return -float(token)

    def complex(self, real: float, imaginary: float) -> complex:
        return complex(real, imaginary)

    def string(self, token: Token) -> str:
        return _text(token)

    def none(self) -> None:
        return None

    def true(self) -> bool:
        return True

    def false(self) -> bool:
        return False

    # index maps

    def map(self, inexact: Token | None, *pieces: PieceText) -> MapText:
        return MapText(inexact is not None, list(pieces))

    def piece(self, *parts: Any) -> PieceText:
        *places, reads = parts
        return PieceText([place for place in places if place is not None], reads)

    def reads(self, *reads: ReadText) -> list[ReadText]:
        return list(reads)

    def read(self, kind: Token | None, operand: Token, *axes: Any) -> ReadText:
        return ReadText(None if kind is None else str(kind), operand, [axis for axis in axes if axis is not None])

    def below(self, name: Dim, hi: Dim) -> BoundText:
        return BoundText(name, None, hi)

    def at_least(self, name: Dim, lo: Dim) -> BoundText:
        return BoundText(name, lo, None)

    def between(self, lo: Dim, name: Dim, hi: Dim) -> BoundText:
        return BoundText(name, lo, hi)

    def full(self) -> Full:
        return Full()

    def span(self, lo: Dim, hi: Dim, step: Token | None) -> Span:
        return Span(lo, hi, 1 if step is None else self.integer(step))

    def look(self, index: Token, *at: Dim | None) -> LookText:
        return LookText(index, tuple(dim for dim in at if dim is not None))

    def members(self, index: Token, at: Dim) -> MembersText:
        return MembersText(index, at)


def axis_number(name: Dim) -> int | None:
    """Which result axis an expression names: 1 for `j`; `None` where it is no plain axis."""
    text = str(name)
    return AXIS_NAMES.index(text) if text in AXIS_NAMES else None


# -- errors in words --------------------------------------------------------------------------------------------------

_WORDS: dict[str, str] = {
    "VALUE": "a value such as %0", "NAME": "a name", "STRING": "a quoted string", "INT": "a whole number",
    "FLOAT": "a number", "AT_NAME": "a function's name such as @prep", "PAYLOAD": "a function's name such as numpy.mean",
    "FITTED": "'fitted'", "NULLABLE": "'?'", "KIND": "'control' or 'order'", "INEXACT": "'inexact'",
    "$END": "the end of the line",
}  # fmt: skip


def _explained(error: UnexpectedInput, text: str) -> Mistake:
    expected = sorted(error.accepts or error.expected) if isinstance(error, UnexpectedToken) else []
    if isinstance(error, UnexpectedCharacters):
        expected = sorted(error.allowed or ())
        found, column = repr(text[error.pos_in_stream or 0]), (error.pos_in_stream or 0) + 1
    elif isinstance(error, UnexpectedToken) and error.token.type != "$END":
        found = repr(str(error.token))
        column = (error.token.start_pos or 0) + 1
    else:
        found, column = "the end of the line", len(text.rstrip()) + 1
    hint = _listed([_in_words(name) for name in expected])
    return Mistake(f"unexpected {found}" + (f"; expected {hint}" if hint else ""), column)


def _in_words(terminal: str) -> str:
    if terminal in _WORDS:
        return _WORDS[terminal]
    pattern = _literals().get(terminal)
    return repr(pattern) if pattern else terminal.lower()


@cache
def _literals() -> dict[str, str]:
    return {
        terminal.name: str(terminal.pattern.value) for terminal in _parser().terminals if terminal.pattern.type == "str"
    }


def _listed(words: list[str]) -> str:
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else ""
