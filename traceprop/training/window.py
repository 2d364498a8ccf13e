"""The last gradients of a stream, in memory that does not grow, and as one file that another process goes on from."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from traceprop.errors import CorruptError, ModelError, NewerVersionError, StoreError
from traceprop.stores import GradientBlocks
from traceprop.stores.durable import replace_file
from traceprop.training.owners import Owners

FORMAT, VERSION = "traceprop window", 1
ENTRIES = np.dtype([("row", "<i8"), ("source", "<i4"), ("epoch", "<i4"), ("step", "<i8"), ("loss", "<f4")])


class Window:
    """A ring of the last `size` gradients with the stream's row of each; `seen` counts all that ever came."""

    def __init__(self, size: int, about: dict[str, Any]) -> None:
        self.size = size
        self.about = about
        self.seen = 0
        self.sources: list[str] = []
        self._in_use = 8
        self._gradients: np.ndarray | None = None
        self._entries = np.zeros(size, dtype=ENTRIES)

    def __len__(self) -> int:
        """Give the number of gradients that it holds."""
        return min(self.seen, self.size)

    def add(self, gradients: np.ndarray, source_id: str, row: Any, epoch: Any, step: Any, loss: Any) -> None:
        """Put gradients (m, p) into the place of the oldest."""
        if self._gradients is None:
            self._gradients = np.empty((self.size, gradients.shape[1]), dtype=np.float32)
        with np.errstate(over="ignore"):
            single = gradients.astype(np.float32)
        if not np.isfinite(single).all():
            raise ModelError("a gradient is NaN, infinite, or too large for float32: has the training diverged?")
        entries = np.empty(len(single), dtype=ENTRIES)
        named = (
            ("row", row),
            ("source", self._numbered(source_id)),
            ("epoch", epoch),
            ("step", step),
            ("loss", loss),
        )
        for name, values in named:
            entries[name] = values
        last = slice(max(0, len(single) - self.size), None)
        places = (self.seen + np.arange(len(single)))[last] % self.size
        self._gradients[places], self._entries[places] = single[last], entries[last]
        self.seen += len(single)

    def _numbered(self, source_id: str) -> int:
        """The number of a source; those that nothing in the window is of any more are forgotten now and then."""
        if source_id not in self.sources:
            self.sources.append(source_id)
            if len(self.sources) > 2 * self._in_use:
                present, numbers = np.unique(self._entries["source"][: len(self)], return_inverse=True)
                self._entries["source"][: len(self)] = numbers
                self.sources = [*(self.sources[number] for number in present), source_id]
                self._in_use = len(self.sources)
        return self.sources.index(source_id)

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Gradients (m, p) and their entries (m,), the oldest first."""
        order = (self.seen + np.arange(-len(self), 0)) % self.size
        gradients = np.empty((0, 0), dtype=np.float32) if self._gradients is None else self._gradients[order]
        return gradients, self._entries[order]

    def blocks(self) -> GradientBlocks:
        """The gradients as a store in memory, in which a sample is a place in the window."""
        gradients, entries = self.held()
        blocks = GradientBlocks(about=self.about)
        blocks.append(gradients, np.arange(len(entries)), *(entries[name] for name in ("epoch", "step", "loss")))
        return blocks

    def owners(self) -> Owners:
        """Whose they are: rows of the stream's sources."""
        _, entries = self.held()
        pairs = {}
        for number, name in enumerate(self.sources):
            samples = np.flatnonzero(entries["source"] == number)
            if len(samples):
                pairs[name] = samples, entries["row"][samples]
        return Owners(len(entries), pairs)

    def save(self, path: Path) -> None:
        """Write it as one file, whole or not at all. Raises StoreError, and leaves what was there."""
        gradients, entries = self.held()
        told = {"format": FORMAT, "version": VERSION, "seen": self.seen, "sources": self.sources, "about": self.about}
        out = io.BytesIO()
        text = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
        np.savez(out, about=text, gradients=gradients, entries=entries)
        try:
            replace_file(path, out.getvalue())
        except OSError as error:
            raise StoreError(f"writing {path}: {error.strerror or error}; what was there is there still") from error

    @classmethod
    def load(cls, path: Path, size: int) -> Window:
        """Read what `save` wrote, the newest `size` of it. Raises CorruptError for a file that is damaged, or none of ours."""
        try:
            with np.load(path, allow_pickle=False) as found:
                told = json.loads(found["about"].tobytes())
                gradients, entries = found["gradients"], found["entries"]  # the archive checks each by its CRC
            if told["format"] != FORMAT:
                raise ValueError("it is of something else")
            version, seen, sources = int(told["version"]), int(told["seen"]), [str(name) for name in told["sources"]]
            window = cls(size, dict(told["about"]))
            fits = entries.dtype == ENTRIES and entries.ndim == 1 and gradients.dtype == np.float32
            if not fits or gradients.ndim != 2 or len(gradients) != len(entries) or len(entries) > seen:
                raise ValueError("its parts do not fit together")
            if len(entries) and not (entries["source"].min() >= 0 and entries["source"].max() < len(sources)):
                raise ValueError("it names sources that it does not list")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptError(f"the checkpoint {path} cannot be read ({error}); remove it to begin anew") from None
        if version > VERSION:
            raise NewerVersionError(f"the checkpoint {path} was written by a newer traceprop; upgrade to go on from it")
        kept = min(size, len(entries))
        window.seen, window.sources = seen, sources
        if kept:
            places = (seen + np.arange(-kept, 0)) % size
            window._gradients = np.empty((size, gradients.shape[1]), dtype=np.float32)
            window._gradients[places], window._entries[places] = gradients[-kept:], entries[-kept:]
        return window
