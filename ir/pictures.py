"""A program as a picture: Mermaid and DOT graphs, and a page on which clicking an op tells about it."""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from traceprop.ir.dump import map_text, op_text, value_names
from traceprop.ir.graph import Op, Param, Program, Value
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


# -- the page ---------------------------------------------------------------------------------------------------------


def to_html(program: Program, path: str | os.PathLike[str]) -> None:
    """Writes one self-contained page: the program's text, and beside it what is known of the op that was clicked."""
    Path(path).write_bytes(html_page(program).encode("utf-8", "xmlcharrefreplace"))


def html_page(program: Program) -> str:
    """The page that `to_html` writes."""
    names = value_names(program)
    users: dict[Value, list[int]] = {}
    at: dict[Value, int] = {param: number for number, param in enumerate(program.params)}
    first = len(program.params)
    for number, op in enumerate(program.ops, first):
        at[op.result] = number
        for operand in dict.fromkeys(op.operands):
            users.setdefault(operand, []).append(number)
    lines, notes = [], []
    for number, param in enumerate(program.params):
        lines.append(_line(number, f"%{word(param.name)}: {param.type}", (), users.get(param, [])))
        notes.append(_note(number, f"%{word(param.name)}", _param_facts(param)))
    for number, op in enumerate(program.ops, first):
        reads = [at[operand] for operand in dict.fromkeys(op.operands)]
        lines.append(_line(number, op_text(op, names, locations=False), reads, users.get(op.result, [])))
        notes.append(_note(number, op.label, _op_facts(op, map_text(op, names))))
    returned = ", ".join(names[value] for value in program.returns)
    head = f"func @{word(program.name)} → {', '.join(str(value.type) for value in program.returns)}"
    return _PAGE.format(
        title=escape(program.name), head=escape(head), lines="\n".join(lines), notes="\n".join(notes),
        returned=_coloured(returned),
    )  # fmt: skip


def _param_facts(param: Param) -> list[tuple[str, str]]:
    facts = [("type", str(param.type))]
    if param.source is not None:
        facts.append(("source", param.source))
    if param.fitted:
        facts.append(("fitted", "found by an earlier run, over its rows"))
    return facts


def _op_facts(op: Op, lineage: str) -> list[tuple[str, str]]:
    facts = [("what it does", op.definition.doc), ("type", str(op.result.type))]
    if lineage:
        facts.append(("index map", lineage.replace(" | ", "\n")))
    facts.append(("exact", "yes" if op.exact else "no: no rule is known, so every cell may matter"))
    if op.location:
        function = f" in {op.location.function}" if op.location.function else ""
        facts.append(("your line", f"{op.location}{function}"))
        source = linecache.getline(op.location.path, op.location.line).strip() if op.location.path else ""
        if source:
            facts.append(("code", source))
    return facts


def _line(number: int, text: str, reads: Iterable[int], users: Iterable[int]) -> str:
    data = f'data-reads="{" ".join(map(str, reads))}" data-users="{" ".join(map(str, users))}"'
    return f'<button type="button" class="op" id="op-{number}" {data}>{_coloured(text)}</button>'


def _note(number: int, title: str, facts: list[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<section id="note-{number}" hidden><h2>{escape(title)}</h2><dl>{rows}</dl></section>'


_TOKENS = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<value>%(?:\w+|"(?:[^"\\]|\\.)*"))|(?P<name>(?<== )[a-z]+(?:\[[^\]"]*\])?|^record)'
    r"|(?P<type>\b(?:table|bool|str|object|date|datetime|[iufc]\d+)(?=[\[<>,?]))|(?P<number>\b\d[\d.e+-]*)"
)


def _coloured(text: str) -> str:
    parts, end = [], 0
    for found in _TOKENS.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(f'<span class="{found.lastgroup}">{escape(found.group())}</span>')
        end = found.end()
    return "".join([*parts, escape(text[end:])])


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --mark: #fc03; --reads: #39f3; --users: #3b63; }}
body {{ margin: 0; font: 14px/1.5 system-ui, sans-serif; }}
main {{ display: grid; grid-template-columns: minmax(0, 3fr) minmax(18rem, 2fr); min-height: 100vh; }}
h1 {{ font: 600 15px/1.5 ui-monospace, monospace; margin: 1rem; overflow-wrap: anywhere; }}
.op, .returned {{ display: block; width: 100%; box-sizing: border-box; padding: .15rem 1rem; border: 0; background: none;
  color: inherit; font: 13px/1.6 ui-monospace, monospace; text-align: left; overflow-wrap: anywhere; }}
.op {{ cursor: pointer; }}
.op:hover, .op:focus-visible {{ background: var(--line); }}
.reads {{ background: var(--reads); }} .users {{ background: var(--users); }} .chosen {{ background: var(--mark); }}
aside {{ border-left: 1px solid var(--line); padding: 1rem; position: sticky; top: 0; align-self: start; }}
h2 {{ font: 600 15px/1.5 ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }}
dt {{ margin-top: .7rem; opacity: .7; }} dd {{ margin: 0; font-family: ui-monospace, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
.value {{ color: light-dark(#0550ae, #79c0ff); }} .name {{ color: light-dark(#8250df, #d2a8ff); font-weight: 600; }}
.type {{ color: light-dark(#116329, #7ee787); }} .string {{ color: light-dark(#953800, #ffa657); }}
.number {{ color: light-dark(#953800, #ffa657); }}
@media (max-width: 50rem) {{ main {{ display: block; }} aside {{ border: 0; border-top: 1px solid var(--line); bottom: 0;
  top: auto; background: Canvas; max-height: 45vh; overflow: auto; }} }}
</style>
</head>
<body>
<main>
<div>
<h1>{head}</h1>
{lines}
<div class="returned">return {returned}</div>
</div>
<aside aria-live="polite">
<p id="hint">Click a line: its type, which cells it reads, and your line of code. Blue: what it reads. Green: what reads it.</p>
{notes}
</aside>
</main>
<script>
"use strict";
const choose = (op) => {{
  for (const old of document.querySelectorAll(".op")) old.classList.remove("chosen", "reads", "users");
  for (const note of document.querySelectorAll("aside section")) note.hidden = true;
  const mark = (list, name) => {{
    for (const n of list.split(" ")) if (n) document.getElementById("op-" + n).classList.add(name);
  }};
  mark(op.dataset.reads, "reads");
  mark(op.dataset.users, "users");
  op.classList.add("chosen");
  document.getElementById("hint").hidden = true;
  document.getElementById("note-" + op.id.slice(3)).hidden = false;
}};
for (const op of document.querySelectorAll(".op")) op.addEventListener("click", () => choose(op));
</script>
</body>
</html>
"""
