"""Which back end runs what: what a user may ask for, and what it comes to for a program over arrays."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass

from traceprop.errors import MissingExtraError
from traceprop.ir.forks import lost
from traceprop.runtime import blocks

BACKENDS = ("auto", "numpy", "jax", "torch")

ASKED = 1 << 16
"""From so many cells on a segment that is to run by XLA does: below, calling it takes longer than NumPy takes in all."""
UNASKED = 1 << 17
"""From so many cells on it does where nobody asked, and NumPy in blocks would take longer."""
MOST = 1 << 22
"""Up to so many cells: beyond, what blocks keep in the cache outweighs what XLA fuses, and needs no room for a second copy."""


@dataclass(frozen=True)
class Choice:
    """Where segments run: by XLA from `xla_from` cells up to `xla_to`, in blocks from `blocks_from` on, else op by op."""

    backend: str
    blocks_from: int
    xla_from: int = 0
    xla_to: int = 0
    why: str = ""

    @property
    def xla(self) -> bool:
        """Whether XLA runs anything."""
        return self.xla_to > self.xla_from


def checked(backend: str) -> str:
    """The backend, if it is one and its library is there. Raises `ValueError` or `MissingExtraError`."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is one of {', '.join(map(repr, BACKENDS))}, not {backend!r}")
    if backend in ("jax", "torch") and backend not in sys.modules and importlib.util.find_spec(backend) is None:
        raise MissingExtraError(f"backend={backend!r} needs {backend}: pip install 'traceprop[{backend}]'")
    return backend


def jax_is_there() -> bool:
    """Whether the user has imported JAX, which is never imported for them unless they ask, and its threads are here."""
    return getattr(sys.modules.get("jax"), "jit", None) is not None and not lost("jax")


def choice(backend: str) -> Choice:
    """What a backend comes to in this process, now."""
    if backend == "jax":
        return Choice(backend, blocks.LARGE, ASKED, MOST, "asked for")
    if backend == "auto" and jax_is_there():
        return Choice(backend, blocks.LARGE, UNASKED, MOST, "jax is imported")
    why = {
        "auto": "jax is not imported",
        "numpy": "asked for",
        "torch": "NumPy's functions stay NumPy's: sending arrays to PyTorch gains nothing on a CPU",
    }
    return Choice(backend, blocks.LARGE, why=why[backend])
