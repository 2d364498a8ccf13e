"""A program as a picture: Mermaid and DOT graphs. The bodies of an op are graphs in a frame, tied to it by a dotted line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from traceprop.ir.graph import Op, Program, Value
from traceprop.ir.words import word


@dataclass
class _Graph:
    """Nodes, edges and frames of a program, or of a body, whose ids begin with a prefix of their own."""

    program: Program
    prefix: str = ""
    ids: dict[Value, str] = field(default_factory=dict)
    bodies: dict[tuple[Program, ...], list[_Graph]] = field(default_factory=dict)
    ties: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, param in enumerate(self.program.params):
            self.ids[param] = f"{self.prefix}p{number}"
        for number, op in enumerate(self._shown()):
            own = self.ids[op.result] = f"{self.prefix}v{number}"
            if op.regions and op.regions not in self.bodies:
                self.bodies[op.regions] = [_Graph(body, f"{own}b{k}") for k, body in enumerate(op.regions)]
            self.ties += [(own, body.returned) for body in self.bodies.get(op.regions, ())]

    def _shown(self) -> list[Op]:
        return [op for op in self.program.ops if not op.definition.effect]

    @property
    def returned(self) -> str:
        return f"{self.prefix}returned"

    def nodes(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """For every value its id, the lines of its label, and its shape's name; effects are left out."""
        for param in self.program.params:
            origin = f"from {param.source}" if param.source is not None else "fitted" if param.fitted else ""
            yield self.ids[param], (f"%{word(param.name)}", str(param.type), origin), "param"
        for number, op in enumerate(self._shown()):
            where = str(op.location) if op.location else ""
            yield self.ids[op.result], (f"%{number} {op.label}", str(op.result.type), where), "op"

    def edges(self) -> Iterator[tuple[str, str]]:
        for op in self._shown():
            for operand in dict.fromkeys(op.operands):
                yield self.ids[operand], self.ids[op.result]
        for value in dict.fromkeys(self.program.returns):
            yield self.ids[value], self.returned

    def frames(self) -> Iterator[_Graph]:
        for bodies in self.bodies.values():
            yield from bodies


_MERMAID = {"param": ('[/"', '"/]'), "op": ('["', '"]')}


def to_mermaid(program: Program) -> str:
    """The program as a Mermaid flowchart: sources on top, returned values at the bottom."""
    return "\n".join(["flowchart TD", *_mermaid_lines(_Graph(program), "  ")]) + "\n"


def _mermaid_lines(graph: _Graph, indent: str) -> Iterator[str]:
    for id, label, shape in graph.nodes():
        left, right = _MERMAID[shape]
        yield f"{indent}{id}{left}{'<br/>'.join(_mermaid(text) for text in label if text)}{right}"
    yield f'{indent}{graph.returned}(["{_mermaid(f"@{graph.program.name}")} returns"])'
    for body in graph.frames():
        yield f'{indent}subgraph {body.prefix}["{_mermaid(f"@{body.program.name}")}"]'
        yield from _mermaid_lines(body, indent + "  ")
        yield f"{indent}end"
    yield from (f"{indent}{start} --> {end}" for start, end in graph.edges())
    yield from (f"{indent}{returned} -.- {op}" for op, returned in graph.ties)


def _mermaid(text: str) -> str:
    """Signs that mean something to Mermaid or to HTML, by their number."""
    return "".join(c if c.isalnum() or c in " _-+*/.,:()[]=?@'" else f"#{ord(c)};" for c in text)


def to_dot(program: Program) -> str:
    """The program as a Graphviz digraph."""
    head = [f"digraph {_dot(program.name)} {{", '  node [shape=box, fontname="monospace"];']
    return "\n".join([*head, *_dot_lines(_Graph(program), "  "), "}"]) + "\n"


def _dot_lines(graph: _Graph, indent: str) -> Iterator[str]:
    for id, label, shape in graph.nodes():
        style = ", shape=parallelogram" if shape == "param" else ""
        yield f"{indent}{id} [label={_dot(*(text for text in label if text))}{style}];"
    yield f"{indent}{graph.returned} [label={_dot(f'@{graph.program.name} returns')}, shape=oval];"
    for body in graph.frames():
        yield f"{indent}subgraph cluster_{body.prefix} {{"
        yield f"{indent}  label={_dot(f'@{body.program.name}')};"
        yield from _dot_lines(body, indent + "  ")
        yield f"{indent}}}"
    yield from (f"{indent}{start} -> {end};" for start, end in graph.edges())
    yield from (f"{indent}{returned} -> {op} [style=dotted];" for op, returned in graph.ties)


def _dot(*lines: str) -> str:
    """A quoted string of DOT; a backslash in a name stays one."""
    plain = (
        "".join(c if c.isprintable() else " " for c in line).replace("\\", "\\\\").replace('"', '\\"') for line in lines
    )
    return '"' + "\\n".join(plain) + '"'
