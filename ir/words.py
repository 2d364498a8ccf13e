"""How names and strings are written in the IR's text, and read back."""

from __future__ import annotations

import json
import re
from functools import lru_cache

_BARE = re.compile(r"[^\W\d]\w*", re.ASCII)


@lru_cache(maxsize=4096)
def quote(text: str) -> str:
    """A string literal of the IR: JSON's, with printable letters of all alphabets left as they are."""
    literal = json.dumps(text, ensure_ascii=False)
    return literal if literal.isprintable() else json.dumps(text)


def word(name: str) -> str:
    """A name as it is where it is a plain ASCII one, else as a string literal."""
    return name if _BARE.fullmatch(name) else quote(name)


def unquote(text: str) -> str:
    """What `quote` or `word` wrote. Raises `ValueError` for a broken escape."""
    return str(json.loads(text)) if text.startswith('"') else text
