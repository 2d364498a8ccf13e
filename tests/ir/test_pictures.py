"""Pictures of programs: valid, complete and escaped, whatever things are called."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

from tests.ir.examples import PREPARE, PROGRAMS
from tests.strategies import programs
from traceprop.ir import ArrayType, Location, Op, Param, Program, parse
from traceprop.ir.opset import elementwise
from traceprop.ir.page import html_page

MERMAID_ID = r"(v\d+b\d+)*([pv]\d+|returned)"
MERMAID_LINE = re.compile(
    rf'flowchart TD|(  )+({MERMAID_ID}\[/?"[^"<>\\]*(<br/>[^"<>\\]*)*"/?\]|{MERMAID_ID}\(\["[^"<>\\]*"\]\)'
    rf'|{MERMAID_ID} (-->|-\.-) {MERMAID_ID}|subgraph \w+\["[^"<>\\]*"\]|end)'
)
DOT_STRING = r'"(?:[^"\\\n]|\\.)*"'
DOT_LINE = re.compile(
    rf"digraph {DOT_STRING} {{|  node \[.*\];|(  )+(\w+ \[label={DOT_STRING}(, shape=\w+)?\];|\w+ -> \w+( \[style=dotted\])?;"
    rf"|subgraph cluster_\w+ {{|label={DOT_STRING};|}})|}}"
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_mermaid(name, golden):
    assert parse(PROGRAMS[name]).to_mermaid() == golden


@pytest.mark.parametrize("name", PROGRAMS)
def test_dot(name, golden):
    assert parse(PROGRAMS[name]).to_dot() == golden


@settings(max_examples=50)
@given(program=programs(max_ops=6))
def test_graphs_are_valid_for_all_names(program):
    for line in program.to_mermaid().splitlines():
        assert MERMAID_LINE.fullmatch(line), line
    for line in program.to_dot().splitlines():
        assert DOT_LINE.fullmatch(line), line


def test_bodies_are_frames_that_close():
    turns = parse(PROGRAMS["turns"])
    mermaid, dot = turns.to_mermaid(), turns.to_dot()
    assert mermaid.count("  subgraph ") == mermaid.count("  end\n") == 7
    assert dot.count("{\n") == dot.count("}\n") == 8
    for nodes in (
        re.findall(r"^ *(\w+)[\[(]", mermaid, re.MULTILINE),
        re.findall(r"^ *(\w+) \[label", dot, re.MULTILINE),
    ):
        assert len(nodes) == len(set(nodes))
        assert {"v0b0v2", "v4b1v1b0p0", "v4b1returned"} <= set(nodes)
    assert "v1" in re.findall(r"v0b0returned -\.- (\w+)", mermaid)


class Page(HTMLParser):
    """Checks that tags nest, and collects scripts, texts and ids."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.texts, self.scripts = [], [], [], 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        self.scripts += tag == "script"
        self.ids += [value for name, value in attrs if name == "id"]
        assert not any(name in ("src", "href") for name, _ in attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_tells_about_every_op(tmp_path):
    program = parse(PREPARE)
    program.to_html(tmp_path / "prepare.html")
    page = Page((tmp_path / "prepare.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert {f"{part}-{k}" for part in ("op", "note") for k in range(11)} <= set(page.ids)
    text = "".join(page.texts)
    assert "(i<N, j) <- %1[i, j]\n(i>=N, j) <- %b[i-N, j]" in text
    assert "prep.py:12 in prepare" in text


def test_the_page_shows_bodies():
    page = Page(html_page(parse(PROGRAMS["turns"])))
    assert page.open == []
    program = parse(PROGRAMS["turns"])
    lines = (
        len(program.params)
        + len(program.ops)
        + sum(len(r.params) + len(r.ops) for op in shown_once(program) for r in op.regions)
    )
    assert (
        len([id for id in page.ids if id.startswith("op-")])
        == len([id for id in page.ids if id.startswith("note-")])
        == lines
    )
    assert len(set(page.ids)) == len(page.ids)
    text = "".join(page.texts)
    assert text.count("func @body →") == 2
    assert "as %0" in text


def shown_once(program):
    seen = set()
    for op in program.walk():
        if op.regions and op.regions not in seen:
            seen.add(op.regions)
            yield op


def test_the_users_line_is_quoted_where_the_file_is_there(tmp_path):
    (tmp_path / "prep.py").write_text("\ny = x < 3  # <b>\n")
    x = Param("x", ArrayType("f64", ()))
    location = Location("prep.py", 2, "", str(tmp_path / "prep.py"))
    op = Op(elementwise, [x], {}, "numpy.f", location=location)
    assert "y = x &lt; 3  # &lt;b&gt;" in html_page(Program("f", (x,), (op,), (op.result,)))


@settings(max_examples=50)
@given(program=programs(max_ops=6))
def test_the_page_is_well_formed_for_all_names(program):
    page = Page(html_page(program))
    assert page.open == []
    assert page.scripts == 1


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img onerror=x>', "{braces}", "</script>", "&amp;"])
def test_names_cannot_become_markup(name):
    x = Param(name, ArrayType("f64", ()), source=name)
    op = Op(elementwise, [x], {"how": name}, name, location=Location(name, 1, name))
    program = Program(name, (x,), (op,), (op.result,))
    page = Page(html_page(program))
    assert page.scripts == 1
    assert not set(page.open)
    assert name in "".join(page.texts)
    assert "<script" not in program.to_mermaid()
