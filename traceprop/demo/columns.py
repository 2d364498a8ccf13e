"""Tables of one line per row, whose long columns give way to the short ones."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

LEAST = 12


def shorten(text: str, width: int) -> str:
    """Return `text`, cut to `width` characters with … at its end where it is longer."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def widths(rows: Sequence[Sequence[str]], flexible: Sequence[int], room: int) -> list[int]:
    """The width of each column: its longest text, the widest of the flexible ones cut until all fit into `room`."""
    found = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(found) > room:
        widest = max(flexible, key=lambda column: found[column])
        if found[widest] <= LEAST:
            break
        found[widest] -= 1
    return found


def line_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    flexible: Sequence[int],
    styles: Sequence[str] = (),
    right: Sequence[int] = (),
    title: str | None = None,
) -> Table:
    """Return a table without frames, at most `width` wide; `right` names the columns of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=title, title_justify="left")
    table.title_style = "bold"
    found = widths([head, *rows], flexible, width - 2 * len(head))
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        cells = (shorten(text, cell) for text, cell in zip(row, found, strict=True))
        table.add_row(*(Text(text, style=styles[k] if styles else "") for k, text in enumerate(cells)))
    return table
