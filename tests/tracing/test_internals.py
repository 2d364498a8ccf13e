"""Where other libraries' insides are spoken of: JAX's in one file, by `jax.extend.core` alone; PyTorch's graphs in another."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def mentions(pattern: str) -> dict[str, set[str]]:
    """What matches a pattern in the package's files, file by file."""
    found: dict[str, set[str]] = {}
    for folder in ("ir", "passes", "traceprop"):
        for path in (ROOT / folder).rglob("*.py"):
            hits = set(re.findall(pattern, path.read_text(encoding="utf-8")))
            if hits:
                found[path.resolve().relative_to(ROOT).as_posix()] = hits
    return found


def test_jax_internals_stand_in_one_file():
    assert mentions(r"jax\.extend|jax\._src|jax\.interpreters|jax\.core\b|jax\.linear_util|from jaxlib") == {
        "traceprop/tracing/jax.py": {"jax.extend"}
    }
    text = (ROOT / "traceprop/tracing/jax.py").read_text(encoding="utf-8")
    assert re.findall(r".*jax\.extend.*", text) == ["from jax.extend import core"]


def test_only_that_file_opens_jaxprs():
    assert set(mentions(r"\.eqns\b|\.invars\b|make_jaxpr\(")) == {"traceprop/tracing/jax.py"}


def test_fx_nodes_stand_in_one_file():
    assert set(mentions(r"torch\.fx|make_fx\(")) == {"traceprop/tracing/torch.py"}
