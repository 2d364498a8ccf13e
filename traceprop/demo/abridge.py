"""A program's text, short enough for a terminal: op, cells read and line, types and attributes left out."""

from __future__ import annotations

import difflib
import re

_OP = re.compile(
    r"^\s*(?:(?P<name>%\d+)(?:: .*?)? = )?(?P<op>\w+(?:\[[\w.]+\])?(?:\([^)]*\))?).*?"
    r'(?:loc\("(?P<file>[^"]+)":(?P<line>\d+)[^)]*\))?\s*(?:# (?P<map>.*))?$'
)


def op_rows(text: str) -> list[tuple[str, str, str]]:
    """(op, cells that it reads, user's line) of each op of a program's text."""
    rows = []
    for line in text.splitlines():
        match = _OP.match(line)
        if match and not line.lstrip().startswith(("func ", "return ")):
            name = f"{match['name']} = " if match["name"] else ""
            where = f"{match['file']}:{match['line']}" if match["file"] else ""
            rows.append((name + match["op"], match["map"] or "", where))
    return rows


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """The ops that passes removed (`-`) and added (`+`), as (sign, op)."""
    old, new = ([row[0] for row in op_rows(text)] for text in (before, after))
    lines = difflib.ndiff(old, new)
    return [(line[0], line[2:]) for line in lines if line[0] in "+-"]
