"""Lines of a program's text that differ only in value names, line numbers and a constant are read by the grammar once."""

from __future__ import annotations

import re
from collections.abc import Callable

from traceprop.ir.location import Location
from traceprop.ir.syntax import Name, OpLine

# Strings, with the line number of a location behind them; names of values; the number that a constant is.
_PARTS = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*+")(?::(?P<number>\d{1,9})\b)?|(?P<value>%\w+)'
    r"|(?<=\{value=)(?:(?P<real>-?\d{1,20}\.\d{1,20}(?:[eE][+-]?\d{1,3})?)|(?P<whole>-?\d{1,18}))(?=\})"
)


class LineMemo:
    """Reads op lines through `read`, and lines of a known skeleton without it.

    A skeleton is the line with its holes blanked. It is kept only if the holes of the line at hand were exactly its result,
    its operands, its line number and its constant; what leads up to a hole is the same in every line of that skeleton, so
    there they are again.
    """

    def __init__(self, read: Callable[[str], OpLine]) -> None:
        self._read = read
        self._known: dict[tuple[str, int, int, int], OpLine] = {}

    def __call__(self, code: str) -> OpLine:
        values: list[Name] = []
        numbers: list[int] = []
        constants: list[int | float] = []
        skeleton, end = "", 0
        for found in _PARTS.finditer(code):
            kind = found.lastgroup
            if kind == "string":
                continue
            start, stop = found.span(kind)  # type: ignore[arg-type]
            if kind == "value":
                values.append(Name(code[start:stop], start + 1))
                hole = "%"
            elif kind == "number":
                numbers.append(int(code[start:stop]))
                hole = "\0"
            else:
                constants.append(float(code[start:stop]) if kind == "real" else int(code[start:stop]))
                hole = "\1" if kind == "real" else "\2"
            skeleton += code[end:start] + hole
            end = stop
        # With the counts, so that what merely looks like a hole (a lone %) is none.
        key = (skeleton + code[end:].rstrip(), len(values), len(numbers), len(constants))
        known = self._known.get(key)
        if known is not None:
            return _filled(known, values, numbers, constants)
        line = self._read(code)
        result = [] if line.result is None else [line.result]
        fits = values == [*result, *line.operands] and len(numbers) == (line.location is not None)
        if fits and (not constants or line.attrs == {"value": constants[0]}):
            self._known[key] = line
        return line


def _filled(known: OpLine, values: list[Name], numbers: list[int], constants: list[int | float]) -> OpLine:
    result: Name | None = None
    shift = 0
    if known.result is not None:
        result, *values = values
        shift = len(result) - len(known.result)
    name = Name(known.name, (known.name.column or 1) + shift)
    location = known.location
    if location is not None:
        location = Location(location.file, numbers[0], location.function)
    attrs = {"value": constants[0]} if constants else known.attrs
    return OpLine(result, known.type, name, known.payload, values, attrs, location)
