"""A profile as a page: blocks as wide as what they stand for takes, function above line above op, and a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceprop.runtime.profiling import Profile, ProfileRow

COLOURS = ("#e8a87c", "#e27d60", "#85cdca", "#c38d9e", "#41b3a3", "#d9b44a", "#8fa3bf", "#b5a886")


def page(found: Profile) -> str:
    """The page as HTML, without anything from elsewhere."""
    whole = sum(row.seconds for row in found.rows) or 1.0
    levels: list[Callable[[ProfileRow], str]] = [
        lambda row: row.location.function if row.location else "sources",
        lambda row: row.where or row.code,
        lambda row: row.op,
    ]
    picture = "".join(_level(found.rows, levels[: depth + 1], whole) for depth in range(len(levels)))
    head = "".join(
        f"<th>{title}" for title in ("line", "op", "seconds", "share", "result, bytes", "captured, bytes", "code")
    )
    body = "".join(
        f"<tr><td>{escape(row.where)}<td>{escape(row.op)}<td>{row.seconds:.6f}<td>{row.seconds / whole:.1%}"
        f"<td>{row.bytes:,}<td>{row.captured:,}<td><code>{escape(row.code)}</code>"
        for row in found.rows
    )
    return _PAGE.format(
        title=escape(f"profile of {found.name}"),
        summary=escape(str(found).splitlines()[0]),
        picture=picture,
        table=f"<table><thead><tr>{head}</thead><tbody>{body}</tbody></table>",
    )


def _level(rows: Iterable[ProfileRow], path: list[Callable[[ProfileRow], str]], whole: float) -> str:
    """One row of blocks: neighbours of one function, line or op are one block."""
    blocks = []
    for names, together in groupby(rows, key=lambda row: tuple(level(row) for level in path)):
        members = list(together)
        seconds = sum(row.seconds for row in members)
        said = f"{names[-1]}: {1e3 * seconds:.3f} ms, {seconds / whole:.1%}"
        colour = COLOURS[sum(map(ord, names[-1])) % len(COLOURS)]
        blocks.append(
            f'<div class="block" style="flex-grow:{seconds / whole:.6f};background:{colour}" title="{escape(said, True)}">'
            f"{escape(names[-1])}</div>"
        )
    return f'<div class="level">{"".join(blocks)}</div>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }}
.level {{ display: flex; height: 2.2rem; margin-bottom: 2px; }}
.block {{ flex-basis: 0; min-width: 0; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; padding: .35rem 0 0 .3rem;
  box-sizing: border-box; border-right: 1px solid #fff; font-size: 13px; }}
.block:hover {{ filter: brightness(1.12); }}
table {{ border-collapse: collapse; margin-top: 1.5rem; width: 100%; }}
th, td {{ text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }}
td:nth-child(n+3):nth-child(-n+6) {{ text-align: right; font-variant-numeric: tabular-nums; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #1b1b1b; color: #ddd; }} .block {{ color: #111; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<p>From left to right in the order in which it ran; as wide as it took long.
Above the function, below its lines, below those the ops.</p>
{picture}
{table}
</body>
</html>
"""
