"""A program as a picture: Mermaid and DOT graphs."""

from __future__ import annotations

from collections.abc import Iterator

from traceprop.ir.graph import Program, Value
from traceprop.ir.words import word

# -- graphs -----------------------------------------------------------------------------------------------------------

_Edge = tuple[str, str]


def _nodes(program: Program) -> Iterator[tuple[str, tuple[str, ...], str, Value]]:
    """For every value its id in the picture, the lines of its label, its shape's name, and itself; effects are left out."""
    for number, param in enumerate(program.params):
        origin = f"from {param.source}" if param.source is not None else "fitted" if param.fitted else ""
        yield f"p{number}", (f"%{word(param.name)}", str(param.type), origin), "param", param
    shown = [op for op in program.ops if not op.definition.effect]
    for number, op in enumerate(shown):
        where = str(op.location) if op.location else ""
        yield f"v{number}", (f"%{number} {op.label}", str(op.result.type), where), "op", op.result


def _edges(program: Program, ids: dict[Value, str]) -> Iterator[_Edge]:
    for op in program.ops:
        if not op.definition.effect:
            for operand in dict.fromkeys(op.operands):
                yield ids[operand], ids[op.result]
    for value in dict.fromkeys(program.returns):
        yield ids[value], "returned"


_MERMAID = {"param": ('[/"', '"/]'), "op": ('["', '"]')}


def to_mermaid(program: Program) -> str:
    """The program as a Mermaid flowchart: sources on top, returned values at the bottom."""
    ids: dict[Value, str] = {}
    lines = ["flowchart TD"]
    for id, label, shape, value in _nodes(program):
        ids[value] = id
        left, right = _MERMAID[shape]
        lines.append(f"  {id}{left}{'<br/>'.join(_mermaid(text) for text in label if text)}{right}")
    lines.append(f'  returned(["{_mermaid(f"@{program.name}")} returns"])')
    lines.extend(f"  {start} --> {end}" for start, end in _edges(program, ids))
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    """Signs that mean something to Mermaid or to HTML, by their number."""
    return "".join(c if c.isalnum() or c in " _-+*/.,:()[]=?@'" else f"#{ord(c)};" for c in text)


def to_dot(program: Program) -> str:
    """The program as a Graphviz digraph."""
    ids: dict[Value, str] = {}
    lines = [f"digraph {_dot(program.name)} {{", '  node [shape=box, fontname="monospace"];']
    for id, label, shape, value in _nodes(program):
        ids[value] = id
        style = ", shape=parallelogram" if shape == "param" else ""
        lines.append(f"  {id} [label={_dot(*(text for text in label if text))}{style}];")
    lines.append(f"  returned [label={_dot(f'@{program.name} returns')}, shape=oval];")
    lines.extend(f"  {start} -> {end};" for start, end in _edges(program, ids))
    return "\n".join([*lines, "}"]) + "\n"


def _dot(*lines: str) -> str:
    """A quoted string of DOT; a backslash in a name stays one."""
    plain = (
        "".join(c if c.isprintable() else " " for c in line).replace("\\", "\\\\").replace('"', '\\"') for line in lines
    )
    return '"' + "\\n".join(plain) + '"'
