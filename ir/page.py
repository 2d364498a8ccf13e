"""A program as a page on which clicking an op tells about it, and in colours: in a notebook, in a terminal."""

from __future__ import annotations

import itertools
import linecache
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traceprop.ir.dump import bodies_alike, dump, map_text, op_text, value_names
from traceprop.ir.graph import Op, Param, Program, Value
from traceprop.ir.words import word

if TYPE_CHECKING:
    from rich.text import Text

History = Sequence[tuple[str, Program]]


def to_html(program: Program, path: str | os.PathLike[str]) -> None:
    """Writes one self-contained page: the program's text, and beside it what is known of the op that was clicked.

    Of a program behind passes (`f.ir(…, stage="optimized")`) also what each op was before them.
    """
    Path(path).write_bytes(html_page(program).encode("utf-8", "xmlcharrefreplace"))


def html_page(program: Program) -> str:
    """The page that `to_html` writes."""
    sheet = _Sheet(_earlier(program, program.memo.get("history", ())))
    returned = sheet.add(program)
    head = f"func {_head(program)}"
    return _PAGE.format(
        title=escape(program.name), head=escape(head), lines="\n".join(sheet.lines), notes="\n".join(sheet.notes),
        returned=_coloured(returned),
    )  # fmt: skip


def _head(program: Program) -> str:
    return f"@{word(program.name)} → {', '.join(str(value.type) for value in program.returns)}"


class _Sheet:
    """The lines of a page and what is told of each, by number; bodies stand below their op."""

    def __init__(self, before: dict[Op, list[tuple[str, str]]]) -> None:
        self.before = before
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.count = 0

    def add(self, program: Program, depth: int = 0) -> str:
        """Adds all lines of a program, and gives the names that it returns."""
        names, alike = value_names(program), bodies_alike(program)
        at = {value: number for number, value in enumerate(program.values, self.count)}
        self.count += len(program.values)
        users: dict[Value, list[int]] = {}
        for op in program.ops:
            for operand in dict.fromkeys(op.operands):
                users.setdefault(operand, []).append(at[op.result])
        for param in program.params:
            text = f"%{word(param.name)}: {param.type}"
            self.lines.append(_line(at[param], text, (), users.get(param, []), depth))
            self.notes.append(_note(at[param], f"%{word(param.name)}", _param_facts(param)))
        for op in program.ops:
            text = op_text(op, names, locations=False, alike=alike.get(op))
            reads = [at[operand] for operand in dict.fromkeys(op.operands)]
            self.lines.append(_line(at[op.result], text, reads, users.get(op.result, []), depth))
            facts = _op_facts(op, map_text(op, names), self.before.get(op, []))
            self.notes.append(_note(at[op.result], op.label, facts))
            for region in op.regions if op not in alike else ():
                self._body(region, depth + 1)
        return ", ".join(names[value] for value in program.returns)

    def _body(self, region: Program, depth: int) -> None:
        self.lines.append(_still(f"func {_head(region)}", depth))
        returned = self.add(region, depth + 1)
        self.lines.append(_still(f"return {returned}", depth + 1))


def _earlier(program: Program, history: History) -> dict[Op, list[tuple[str, str]]]:
    """For every op what it was before each pass that made it something else.

    `history`: the program as traced and behind each pass up to this one's, by name. An op keeps its payload, attributes
    and user's line through a pass; of several alike, the first is the first.
    """
    found: dict[Op, list[tuple[str, str]]] = {op: [] for op in program.ops}
    now = value_names(program)
    last = {op: _texts(op, now) for op in program.ops}
    for (_, earlier), (changer, _) in reversed(list(itertools.pairwise(history))):
        names, there = value_names(earlier), dict(_keyed(earlier))
        for key, op in _keyed(program):
            old = there.get(key)
            text = _texts(old, names) if old is not None else "not there"
            if text != last[op]:
                found[op].append((f"before {changer}", text))
                last[op] = text
    return found


def _texts(op: Op, names: dict[Value, str]) -> str:
    lineage = map_text(op, names)
    bodies = (dump(region, maps=False, locations=False) for region in op.regions)
    return "\n".join([op_text(op, names, locations=False), *([lineage] if lineage else []), *bodies])


def _keyed(program: Program) -> Iterator[tuple[Any, Op]]:
    seen: Counter[Any] = Counter()
    for op in program.ops:
        key = (op.definition, op.payload, op.location, tuple(map(repr, op.attrs.items())))
        seen[key] += 1
        yield (key, seen[key]), op


def _param_facts(param: Param) -> list[tuple[str, str]]:
    facts = [("type", str(param.type))]
    if param.source is not None:
        facts.append(("source", param.source))
    if param.fitted:
        facts.append(("fitted", "found by an earlier run, over its rows"))
    return facts


def _op_facts(op: Op, lineage: str, before: list[tuple[str, str]]) -> list[tuple[str, str]]:
    facts = [] if op.definition.effect else [("type", str(op.result.type))]
    if lineage:
        facts.append(("index map", lineage.replace(" | ", "\n")))
    facts.append(("exact", "yes" if op.exact else "no: it may name more cells than are read"))
    if op.location:
        function = f" in {op.location.function}" if op.location.function else ""
        facts.append(("your line", f"{op.location}{function}"))
        source = linecache.getline(op.location.path, op.location.line).strip() if op.location.path else ""
        if source:
            facts.append(("code", source))
    return [*facts, *before, (f"what {op.definition.name} does", op.definition.doc)]


def _line(number: int, text: str, reads: Iterable[int], users: Iterable[int], depth: int) -> str:
    data = f'data-reads="{" ".join(map(str, reads))}" data-users="{" ".join(map(str, users))}"{_indent(depth)}'
    return f'<button type="button" class="op" id="op-{number}" {data}>{_coloured(text)}</button>'


def _still(text: str, depth: int) -> str:
    """A line that there is nothing more to tell of."""
    return f'<div class="returned"{_indent(depth)}>{_coloured(text)}</div>'


def _indent(depth: int) -> str:
    return f' style="padding-left:{1 + 1.5 * depth}rem"' if depth else ""


def _note(number: int, title: str, facts: list[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<section id="note-{number}" hidden><h2>{escape(title)}</h2><dl>{rows}</dl></section>'


_TOKENS = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<value>%(?:\w+|"(?:[^"\\]|\\.)*"))|(?P<name>(?<== )[a-z]+(?:\[[^\]"]*\])?|^record)'
    r"|(?P<type>\b(?:table|bool|str|object|date|datetime|days|duration|[iufc]\d+)(?=[\[<>,?]))|(?P<number>\b\d[\d.e+-]*)"
)


def _coloured(text: str) -> str:
    parts, end = [], 0
    for found in _TOKENS.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(f'<span class="{found.lastgroup}">{escape(found.group())}</span>')
        end = found.end()
    return "".join([*parts, escape(text[end:])])


_STYLES = {
    "string": "#953800",
    "value": "#0550ae",
    "name": "#8250df",
    "type": "#116329",
    "number": "#953800",
    "map": "#777",
}


def notebook_html(program: Program) -> str:
    """The program's text in colours, as notebooks show it."""

    def styled(kind: str, text: str) -> str:
        weight = ";font-weight:600" if kind == "name" else ""
        return f'<span style="color:{_STYLES[kind]}{weight}">{text}</span>'

    lines = []
    for line in dump(program, locations=False).splitlines():
        code, comment, lineage = line.partition("  # ")
        coloured = re.sub(r'<span class="(\w+)">(.*?)</span>', lambda m: styled(m[1], m[2]), _coloured(code))
        lines.append(coloured + (styled("map", escape(comment + lineage)) if comment else ""))
    text = "\n".join(lines)
    return f'<pre style="line-height:1.5">{text}</pre>'


def rich_text(text: str) -> Text:
    """A program's text in a terminal's colours."""
    from rich.text import Text

    styles = {"string": "yellow", "value": "blue", "name": "bold magenta", "type": "green", "number": "yellow"}
    result = Text()
    for line in text.splitlines(keepends=True):
        code, comment, lineage = line.partition("  # ")
        end = 0
        for found in _TOKENS.finditer(code):
            result.append(code[end : found.start()])
            result.append(found.group(), style=styles[found.lastgroup or "name"])
            end = found.end()
        result.append(code[end:])
        result.append(comment + lineage, style="dim")
    return result


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
