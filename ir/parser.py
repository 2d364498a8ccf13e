"""A program from its text: `parse(dump(p)) == p`.

Each line is read by the grammar (grammar.lark, through syntax.py) and becomes an op at once, so that a mistake is
reported where it stands and long programs need no recursion. Importing this module loads lark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
from lark import Token

from traceprop.errors import IRError, ParseError, VerifyError
from traceprop.ir.dump import MapTexts, constant_digest, reads_text
from traceprop.ir.expr import Dim
from traceprop.ir.given_map import OWN_RESULT, GivenLook, GivenMap, GivenMembers, GivenRead, every_cell
from traceprop.ir.graph import Op, Param, Program, Value, payload_dtype
from traceprop.ir.index_map import AXIS_NAMES, Bound, Kind
from traceprop.ir.line_memo import LineMemo
from traceprop.ir.ops import OpDef
from traceprop.ir.opset import OPSET
from traceprop.ir.syntax import (
    BoundText,
    LookText,
    MapText,
    MembersText,
    Mistake,
    Name,
    OpLine,
    nearest,
    read_line,
    value_name,
)
from traceprop.ir.types import Type
from traceprop.ir.uncollected import uncollected
from traceprop.ir.verify import verify

# The op, and the map in the comment behind it: a `#` inside a string begins no comment.
_OP_AND_MAP = re.compile(r'((?:[^"#]|"(?:[^"\\]|\\.)*+"?)*+)(#.*)?', re.DOTALL)

_RETURN = re.compile(r"\s*return\b")
_BODY = re.compile(r"\s*func\b")
_DEEPEST = 20


def parse(text: str, constants: Mapping[str, np.ndarray] | None = None) -> Program:
    """The program that a text describes: what `dump` prints, or the same written by hand.

    A result's type may be left out where the op's rule gives it, and so may maps and locations. `constants` holds the
    arrays behind `constant[sha256:…]`, as `constants_of(program)` gives them. Lines that begin with `#` are skipped.
    Raises `ParseError` with line, column and a hint; the program that is returned has been verified.
    """
    if not isinstance(text, str):
        raise ParseError(f"the text of a program is a str, not {type(text).__name__}")
    with uncollected():
        return _Reading(text, constants or {}).program()


class _Reading:
    """One text on its way to a program."""

    def __init__(self, text: str, constants: Mapping[str, np.ndarray]) -> None:
        self.lines = text.split("\n")
        self.constants = constants
        self.line = 0  # the line at hand, from 0
        self.read_op = LineMemo(lambda code: self._read(code, "op"))
        self.map_text = MapTexts()
        self.values: dict[str, Value] = {}
        self.names: dict[Value, str] = {}
        self.result_types: list[Type] = []
        self.bodies: dict[Value, tuple[Program, ...]] = {}
        self.depth = 0

    def program(self) -> Program:
        program = self._function()
        self.line += 1
        self._skip()
        if self.line < len(self.lines):
            self._fail("expected nothing after the closing '}'", None)
        return program

    def _function(self) -> Program:
        """A program from its head to its closing brace, verified: the whole one, or a body."""
        first = self.line
        name, params = self._head()
        ops: list[Op] = []
        where: dict[Op, int] = {}
        for text in self._body():
            if _RETURN.match(text):
                break
            start = self.line
            op = self._op(text)
            ops.append(op)
            where[op] = start
        else:
            self._fail("the program has no return", None)
        returns = self._returned(text)
        self._end()
        program = Program(name, tuple(params), tuple(ops), returns)
        try:
            verify(program, bodies=False)  # they were read, and verified, before it
        except VerifyError as error:
            self.line = where.get(getattr(error, "op", None), first)  # type: ignore[arg-type]
            self._fail(str(error).split("\n", 1)[0], None)
        return program

    def _regions(self) -> tuple[Program, ...]:
        """The bodies that stand behind the op at hand, each with names of its own."""
        found = []
        while (start := self._next()) < len(self.lines) and _BODY.match(self.lines[start]):
            outer = self.values, self.names, self.result_types, self.bodies
            self.values, self.names, self.result_types, self.bodies = {}, {}, [], {}
            self.line, self.depth = start, self.depth + 1
            if self.depth > _DEEPEST:
                self._fail(f"bodies are nested more than {_DEEPEST} deep", None)
            found.append(self._function())
            self.depth -= 1
            self.values, self.names, self.result_types, self.bodies = outer
        return tuple(found)

    # -- lines --------------------------------------------------------------------------------------------------------

    def _head(self) -> tuple[str, list[Param]]:
        self._skip()
        start, joined = self.line, ""
        for line in self.lines[start:]:
            joined += line.rstrip("\r") + "\n"
            if joined.rstrip().endswith("{"):
                break
        head = self._read(joined, "head")
        self.result_types = head.results
        params = []
        for given in head.params:
            param = Param(self._name(given.name), given.type, given.source, given.fitted)
            self._define(given.name, param)
            params.append(param)
        self.line = start + joined.count("\n") - 1
        return head.name, params

    def _body(self) -> Iterator[str]:
        while True:
            self.line += 1
            self._skip()
            if self.line >= len(self.lines) or self.lines[self.line].strip() == "}":
                return
            yield self.lines[self.line].rstrip("\r")

    def _skip(self) -> None:
        """On to the next line that is neither empty nor a comment."""
        self.line = self._next(self.line)

    def _next(self, line: int | None = None) -> int:
        """The first line from `line` on, or behind the one at hand, that is neither empty nor a comment."""
        line = self.line + 1 if line is None else line
        while line < len(self.lines) and self.lines[line].strip()[:1] in ("", "#"):
            line += 1
        return line

    def _returned(self, text: str) -> tuple[Value, ...]:
        tokens = self._read(text, "returned")
        returns = tuple(self._used(token) for token in tokens)
        types = [value.type for value in returns]
        if types != self.result_types:
            declared, given = (", ".join(map(str, some)) or "nothing" for some in (self.result_types, types))
            self._fail(f"the head says that the function returns {declared}, but this returns {given}", None)
        return returns

    def _end(self) -> None:
        self.line += 1
        self._skip()
        if self.line >= len(self.lines) or self.lines[self.line].strip() != "}":
            self._fail("expected '}' after the return", None)

    # -- ops ----------------------------------------------------------------------------------------------------------

    def _op(self, text: str) -> Op:
        matched = _OP_AND_MAP.match(text)
        code, comment = matched.groups() if matched else (text, None)
        line = self.read_op(code)
        definition = OPSET.get(line.name)
        if definition is None:
            hint = nearest(line.name, OPSET) or f"; there are {', '.join(OPSET)}"
            self._fail(f"there is no op {str(line.name)!r}{hint}", line.name)
        if definition.effect != (line.result is None):
            gives = "no result" if definition.effect else f"a result: write %0 = {definition}"
            self._fail(f"{definition} gives {gives}", line.name)
        operands = [self._used(token) for token in line.operands]
        attrs, payload = line.attrs, line.payload
        if definition.name == "constant" and payload is not None:
            attrs, payload = {"value": self._constant(payload, line), **attrs}, None
        self._check_payload(definition, payload, line)
        start = self.line
        regions = self._bodies_of(line)
        self.line, end = start, self.line
        given = None
        if comment is not None and definition.lineage is None:
            parsed = self._map(comment, len(code))
            given = self._numbered(parsed, line)
            if parsed.inexact and given.reads == every_cell(operands):
                given = None
        op = self._built(definition, operands, attrs, payload, line, given, regions)
        if line.result is not None:
            self._define(line.result, op.result)
        if comment is not None:
            self._compare_map(op, comment, len(code), line, given)
        if regions:
            self.bodies[op.result] = regions
            self.line = end
        return op

    def _bodies_of(self, line: OpLine) -> tuple[Program, ...]:
        if line.alike is None:
            return self._regions()
        regions = self.bodies.get(self._used(line.alike), ())
        if not regions:
            self._fail(f"{line.alike} has no bodies that {line.name} could share", line.alike)
        return regions

    def _check_payload(self, definition: OpDef, payload: str | None, line: OpLine) -> None:
        if definition.payload == "needed" and payload is None:
            self._fail(f"{definition} needs the function that computes it: {definition}[numpy.…]", line.name)
        if definition.payload == "never" and payload is not None:
            self._fail(f"{definition} takes no function in brackets", line.name)
        if definition.payload == "needed" and line.type is None:
            self._fail(
                f"the result of {definition}[{payload}] needs a type: write {line.result}: f64[…] = …", line.name
            )

    def _built(
        self, definition: OpDef, operands: list[Value], attrs: dict[str, Any], payload: str | None, line: OpLine,
        rule: GivenMap | None, regions: tuple[Program, ...],
    ) -> Op:  # fmt: skip
        dtype = None if line.type is None else payload_dtype(line.type)
        try:
            op = Op(definition, operands, attrs, payload, dtype, line.location, rule, None, regions)
        except IRError as error:
            self._fail(str(error), line.name)
        except KeyError as error:
            self._fail(f"{definition} needs the attribute {error.args[0]!s}", line.name)
        except (ValueError, TypeError, IndexError, AttributeError, ArithmeticError, StopIteration) as error:
            self._fail(f"the operands or attributes do not fit {definition} ({error})", line.name)
        if line.type is not None and op.result.type != line.type:
            self._fail(f"{op.label} gives {op.result.type}, not {line.type}", line.result or line.name)
        return op

    def _constant(self, digest: str, line: OpLine) -> np.ndarray:
        if digest not in self.constants:
            self._fail(
                f"the array {digest} is not in the text; pass it in constants= (constants_of(program) gives them)",
                line.name,
            )
        array = self.constants[digest]
        if not isinstance(array, np.ndarray) or constant_digest(array) != digest:
            self._fail(f"the array given for {digest} has another content", line.name)
        return array

    # -- maps ---------------------------------------------------------------------------------------------------------

    def _compare_map(self, op: Op, comment: str, column: int, line: OpLine, given: GivenMap | None) -> None:
        """The map in the comment must be that of the op's rule, however it is spaced."""
        try:
            expected = self.map_text(op, self.names)
        except IndexError:
            self._fail(f"{op.label} has more than {len(AXIS_NAMES)} axes", line.name)
        if comment[1:].strip() == expected:
            return
        parsed = self._map(comment, column)
        rank = op.result.rank
        reads = (given or self._numbered(parsed, line))(op)
        same = reads_text(reads, rank, self.names) == reads_text(op.reads, rank, self.names)
        whole = all(len(piece.places) == rank for piece in parsed.pieces)
        if not (same and whole) or parsed.inexact == op.exact:
            hint = f"expected # {expected}" if expected else "it has none"
            self._fail(f"the map is not that of {op.label}; {hint}", column + 1)

    def _map(self, comment: str, column: int) -> MapText:
        parsed: MapText = self._read(" " * (column + 1) + comment[1:], "map")
        return parsed

    def _numbered(self, parsed: MapText, line: OpLine) -> GivenMap:
        """The map with numbers of operands for their names."""
        reads = []
        for piece in parsed.pieces:
            where = tuple(bound for k, place in enumerate(piece.places) if (bound := self._bound(k, place, line)))
            for read in piece.reads:
                axes = tuple(self._given(place, line) for place in read.axes)
                kind = Kind.DATA if read.kind is None else Kind(read.kind)
                reads.append(GivenRead(self._operand_number(read.operand, line), axes, kind, where))
        return GivenMap(tuple(reads), not parsed.inexact)

    def _given(self, place: Any, line: OpLine) -> Any:
        if isinstance(place, LookText):
            return GivenLook(self._operand_number(place.index, line, own=True), place.at)
        if isinstance(place, MembersText):
            return GivenMembers(self._operand_number(place.index, line, own=True), place.at)
        return place

    def _operand_number(self, name: Token | Name, line: OpLine, own: bool = False) -> int:
        if own and name == line.result:
            return OWN_RESULT
        if name not in line.operands:
            self._fail(f"the map reads {name}, which is no operand of {line.name}", name)
        return line.operands.index(name)

    def _bound(self, position: int, place: Dim | BoundText, line: OpLine) -> Bound | None:
        name = place.name if isinstance(place, BoundText) else place
        if position >= len(AXIS_NAMES) or str(name) != AXIS_NAMES[position]:
            expected = AXIS_NAMES[position] if position < len(AXIS_NAMES) else "fewer axes"
            self._fail(f"axis {position} of the map is {name}; expected {expected}", line.name)
        return Bound(position, place.lo, place.hi) if isinstance(place, BoundText) else None

    # -- names and errors ---------------------------------------------------------------------------------------------

    def _read(self, text: str, rule: str) -> Any:
        try:
            return read_line(text, rule)
        except Mistake as mistake:
            self._fail(str(mistake), mistake.at)

    def _name(self, token: Token | Name) -> str:
        try:
            return value_name(token)
        except Mistake as mistake:
            self._fail(str(mistake), mistake.at)

    def _define(self, token: Token | Name, value: Value) -> None:
        name = self._name(token)
        if name in self.values:
            self._fail(f"{token} is defined twice", token)
        if isinstance(value, Param) and name.isdecimal():
            self._fail(f"a parameter cannot be called {token}: numbers name results", token)
        self.values[name] = value
        self.names[value] = str(token)

    def _used(self, token: Token | Name) -> Value:
        value = self.values.get(self._name(token))
        if value is None:
            self._fail(f"{token} is not defined before this line{nearest(token, self.names.values())}", token)
        return value

    def _fail(self, message: str, at: Token | Name | int | None) -> NoReturn:
        """Raises a `ParseError` at a token or column (from 1) of the line at hand."""
        line, column = min(self.line, len(self.lines) - 1), 1
        if isinstance(at, (Token, Name)):
            line, column = line + (at.line or 1) - 1, at.column or 1
        elif at is not None:
            column = at
        text = self.lines[line].rstrip("\r")
        if at is None:
            column = len(text) - len(text.lstrip()) + 1
        shown, caret = _window(text, column)
        raise ParseError(
            f"line {line + 1}, column {column}: {message}\n  {shown}\n  {caret}", line + 1, column
        ) from None


def _window(text: str, column: int, width: int = 100) -> tuple[str, str]:
    """The part of a long line around a column, and a caret below it."""
    start = max(0, column - 1 - width // 2)
    return text[start : start + width].replace("\t", " "), " " * (column - 1 - start) + "^"
