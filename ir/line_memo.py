"""Lines of a program's text that differ only in value names and line numbers are read by the grammar once."""

from __future__ import annotations

import re
from collections.abc import Callable

from lark import Token

from traceprop.ir.location import Location
from traceprop.ir.syntax import OpLine

# A string (with the line number of a location behind it), or a value's name.
_HOLES = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*+")(?::(?P<number>\d{1,9})\b)?|(?P<value>%\w+)')


class LineMemo:
    """Reads op lines through `read`, and lines of a known skeleton without it.

    A skeleton is the line with its holes blanked. It is kept only if the holes of the line at hand were exactly its result
    and operands; what leads up to a hole is the same in every line of that skeleton, so there they are again.
    """

    def __init__(self, read: Callable[[str], OpLine]) -> None:
        self._read = read
        self._known: dict[str, OpLine] = {}

    def __call__(self, code: str) -> OpLine:
        values: list[Token] = []
        numbers: list[int] = []

        def blank(found: re.Match[str]) -> str:
            if found["value"]:
                values.append(Token("VALUE", found["value"], line=1, column=found.start() + 1))
                return "%"
            if found["number"]:
                numbers.append(int(found["number"]))
                return found["string"] + ":"
            return found.group()

        skeleton = _HOLES.sub(blank, code)
        known = self._known.get(skeleton)
        if known is not None:
            return _filled(known, values, numbers)
        line = self._read(code)
        result = [] if line.result is None else [line.result]
        if values == [*result, *line.operands] and len(numbers) == (line.location is not None):
            self._known[skeleton] = line
        return line


def _filled(known: OpLine, values: list[Token], numbers: list[int]) -> OpLine:
    result, operands, shift = None, values, 0
    if known.result is not None:
        result, *operands = values
        shift = len(result) - len(known.result)
    name = Token("NAME", str(known.name), line=1, column=(known.name.column or 1) + shift)
    location = known.location
    if location is not None:
        location = Location(location.file, numbers[0], location.function)
    return OpLine(result, known.type, name, known.payload, operands, known.attrs, location)
