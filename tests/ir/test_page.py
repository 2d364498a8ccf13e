"""The page, opened and clicked in a real browser; and the colours of notebook and terminal."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import traceprop as tp
from tests.ir.examples import PROGRAMS
from traceprop.ir import parse
from traceprop.ir.page import rich_text

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000", "--window-size=1200,700",
]  # fmt: skip


@tp.trace
def scaled(x):
    kept = x[x[:, 0] > 0]
    center = kept.mean(axis=0)
    return (kept - kept.mean(axis=0)) / kept.std(axis=0), center


@pytest.fixture
def program():
    return scaled.ir(np.arange(12.0).reshape(4, 3) - 3, stage="optimized")


def clicked(page: Path, number: int, folder: Path) -> str:
    """The page's document in Chromium after a click on that line. A browser that cannot start skips the test."""
    click = f'<script>document.getElementById("op-{number}").click()</script></body>'
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", click), encoding="utf-8")
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)})
    if done.returncode or "<html" not in done.stdout:
        pytest.skip(f"the browser does not start here: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def shown(document: str) -> str:
    """The text of the sections that are not hidden."""
    sections = re.findall(r'<section id="note-\d+">(.*?)</section>', document, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "\n", "".join(sections)))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_click_tells_type_map_line_and_what_it_was_before(program, tmp_path):
    page = tmp_path / "page.html"
    program.to_html(page)
    number = next(k for k, op in enumerate(program.ops) if op.payload == "numpy.divide") + len(program.params)
    document = clicked(page, number, tmp_path)
    text = shown(document)
    assert "elementwise[numpy.divide]" in text
    assert "f64[K,3]" in text
    assert "test_page.py:" in text
    assert "return (kept - kept.mean(axis=0)) / kept.std(axis=0), center" in text
    assert re.search(r"before cse\n+%\d+: f64\[K,3\] = elementwise\[numpy\.divide\]\(%\d+, %\d+\)", text)
    assert re.search(rf'class="op chosen"[^>]* id="op-{number}"', document) or re.search(
        rf'id="op-{number}"[^>]*class="op chosen"', document
    )
    assert len(re.findall(r'class="op reads"', document)) == 2


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_names_stay_text_in_the_browser(tmp_path):
    evil = '"><img src=x onerror="document.title=\'taken\'">'
    program = tp.trace(lambda x: x * 2).ir(tp.from_numpy(np.ones((2, 2)), source_id=evil))
    page = tmp_path / "page.html"
    program.to_html(page)
    document = clicked(page, 0, tmp_path)
    assert evil in shown(document)
    assert "<title>taken" not in document


def test_what_an_op_was_is_told_only_where_it_changed(program, tmp_path):
    program.to_html(tmp_path / "page.html")
    notes = re.findall(r"<section.*?</section>", (tmp_path / "page.html").read_text(encoding="utf-8"), re.DOTALL)
    assert 0 < sum("<dt>before cse</dt>" in note for note in notes) < len(notes)
    assert not any("<dt>before fold</dt>" in note for note in notes)
    traced = scaled.ir(np.ones((4, 3)))
    traced.to_html(tmp_path / "traced.html")
    assert "<dt>before" not in (tmp_path / "traced.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROGRAMS)
def test_colours_change_no_letter(name):
    program = parse(PROGRAMS[name])
    assert rich_text(str(program)).plain == str(program)
    plain = html.unescape(re.sub(r"<[^>]+>", "", program._repr_html_()))
    assert plain == tp.ir.dump(program, locations=False)
    assert 'style="color:' in program._repr_html_()


def test_rich_prints_programs_in_colours(program):
    from rich.console import Console

    console = Console(force_terminal=True, width=400, color_system="standard")
    with console.capture() as taken:
        console.print(program)
    assert "\x1b[" in taken.get()
    assert re.sub(r"\x1b\[[0-9;]*m", "", taken.get()).strip() == str(program)
