"""Whether what a function closes over holds what it held, seen by what is sooner compared than its content.

A network is the same while every name in it stands for the same object and PyTorch has counted no write to its tensors; that is
asked for at every call. Its content is looked at in depth (`contents.py`) where that says no.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Hashable
from typing import Any

import numpy as np

from traceprop.passes.kernels.dispatch import holds_same
from traceprop.sources.tensors import Watched
from traceprop.tracing.contents import PLAIN, attributes, content_key
from traceprop.tracing.worlds import as_it_is


class Watch:
    """A value that can change in place, and what it holds: `same` says whether it still does."""

    __slots__ = ("_key", "_seen", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._key = content_key(value)
        self._seen = _Seen(value)

    def same(self) -> bool:
        """Whether a function would compute the same with it."""
        if self._seen.same():
            return True
        if content_key(self.value) != self._key:
            return False
        self._seen = _Seen(self.value)  # written to, and what it was again
        return True


class _Seen:
    """The dicts and lists in a value and what stood in them, its tensors, and what has to be read to be compared."""

    __slots__ = ("_read", "_shelves", "_tensors")

    def __init__(self, value: Any) -> None:
        self._shelves: list[tuple[dict[Any, Any] | list[Any], tuple[Any, ...]]] = []
        self._tensors: list[Watched] = []
        self._read: list[tuple[Any, Hashable]] = []
        self._look(value, 0)

    def same(self) -> bool:
        if not holds_same(self._shelves):
            return False
        for watched in self._tensors:
            if not watched.same():
                return False
        for value, key in self._read:  # noqa: SIM110 (a generator costs more, and this runs on every call)
            if content_key(value) != key:
                return False
        return True

    def _look(self, value: Any, depth: int) -> None:
        """Into whatever `content_key` looks into."""
        torch = sys.modules.get("torch")
        if isinstance(value, PLAIN):
            return
        if isinstance(value, np.ndarray):
            self._read.append((value, content_key(value)))
        elif isinstance(value, (tuple, list, dict)):
            self._shelve(value)
            for item in value.values() if isinstance(value, dict) else value:
                self._look(item, depth + 1)
        elif isinstance(value, functools.partial):
            self._look((value.args, value.keywords), depth + 1)
        elif torch is not None and isinstance(value, torch.Tensor):
            if as_it_is(value) is None:
                self._read.append((value, content_key(value)))
            else:
                self._tensors.append(Watched(value))
        elif torch is not None and isinstance(value, torch.nn.Module):
            for part in value.modules():
                for shelf in (vars(part), part._parameters, part._buffers, part._modules):
                    self._shelve(shelf)
                held = (*part._parameters.values(), *part._buffers.values(), *vars(part).values())
                for item in held:
                    if isinstance(item, (torch.Tensor, tuple, list, np.ndarray)):
                        self._look(item, 1)
        else:
            found = attributes(value, depth)
            self._shelve(found)
            for item in found.values():
                self._look(item, depth + 1)

    def _shelve(self, shelf: Any) -> None:
        if isinstance(shelf, dict):
            self._shelves.append((shelf, tuple(itertools.chain.from_iterable(shelf.items()))))
        elif isinstance(shelf, list):
            self._shelves.append((shelf, tuple(shelf)))
