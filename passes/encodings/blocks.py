"""Blocks of numbers that come again and again: the right rows of a join of many to many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from traceprop.passes.encodings.positions import AbstractPositions, Facts, shrunk
from traceprop.passes.kernels.reference import Ints

EVERY = 64
"""Blocks between two entries of the directory of where they begin."""

_FAR = np.iinfo(np.int64).max


class Blocks(AbstractPositions):
    """Block number `codes[0]`, then `codes[1]`, …; block g is words[begins[g]] … words[begins[g + 1] - 1].

    Every left row of a group of equal keys is joined to all right rows of the group: to write the group down once, and its
    number per left row, takes what the groups take, however many pairs there are.
    """

    encoding: ClassVar[str] = "blocks"

    def __init__(
        self, facts: Facts, codes: AbstractPositions, words: AbstractPositions, begins: AbstractPositions
    ) -> None:
        super().__init__(facts)
        edges = begins.part(0, begins.length)
        if not len(edges) or edges[0] != 0 or edges[-1] != words.length or (edges[1:] <= edges[:-1]).any():
            raise ValueError("blocks must lie one behind the other")
        self.codes, self._words, self._begins = codes, words, begins
        held = codes.part(0, codes.length)
        if len(held) and not 0 <= int(held.min()) <= int(held.max()) < len(edges) - 1:
            raise ValueError(f"codes outside of {len(edges) - 1} blocks")
        lengths = np.diff(edges)[held]
        if int(lengths.sum()) != self.length:
            raise ValueError(f"the blocks are {int(lengths.sum())} numbers, not {self.length}")
        self._directory = shrunk((np.cumsum(lengths) - lengths)[::EVERY])

    def start_of(self, block: Ints) -> Ints:
        """Where the blocks with these ordinals begin; the length for the one behind the last."""
        starts = self._starts_near(np.minimum(block, max(self.codes.length - 1, 0)) // EVERY)
        found = (
            starts[np.arange(len(block)), block % EVERY] if self.codes.length else np.zeros(len(block), dtype=np.int64)
        )
        return np.where(block >= self.codes.length, self.length, found)

    def block_of(self, at: Ints) -> tuple[Ints, Ints]:
        """In which block, by ordinal, some positions are, and how far behind its beginning."""
        near = np.searchsorted(self._directory, at.astype(self._directory.dtype), side="right") - 1
        starts = self._starts_near(near)
        nth = (starts <= at[:, None]).sum(axis=1) - 1
        return near * EVERY + nth, at - starts[np.arange(len(at)), nth]

    def _starts_near(self, near: Ints) -> Ints:
        """Where the blocks between two entries of the directory begin, (n, 64); far away for those that there are not."""
        ordinals = near[:, None] * EVERY + np.arange(EVERY)
        there = ordinals < self.codes.length
        lengths = np.where(there, self._lengths(self.codes.take(np.where(there, ordinals, 0))), 0)
        starts = np.cumsum(lengths, axis=1) - lengths + self._directory[near].astype(np.int64)[:, None]
        return np.where(there, starts, _FAR)

    def _lengths(self, codes: Ints) -> Ints:
        return self._begins.take(codes + 1) - self._begins.take(codes)

    def blocks_between(self, lo: int, hi: int) -> tuple[int, Ints, Ints, Ints]:
        """The first block of a stretch of positions, lo < hi; the codes from there on; how much of each lies in the stretch,
        and how much of it before."""
        (first, last), (skipped, _) = self.block_of(np.array([lo, hi - 1]))
        codes = self.codes.part(int(first), int(last) + 1)
        before = np.zeros(len(codes), dtype=np.int64)
        before[0] = skipped
        lengths = self._lengths(codes) - before
        lengths[-1] -= int(lengths.sum()) - (hi - lo)
        return int(first), codes, lengths, before

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        _, codes, lengths, before = self.blocks_between(lo, hi)
        start = self._begins.take(codes) + before - (np.cumsum(lengths) - lengths)
        return self._words.take(np.repeat(start, lengths) + np.arange(hi - lo))

    def _take(self, at: Ints) -> Ints:
        block, offset = self.block_of(at)
        return self._words.take(self._begins.take(self.codes.take(block)) + offset)

    @property
    def nbytes(self) -> int:
        return super().nbytes + self._directory.nbytes

    def state(self) -> tuple[tuple[int, ...], tuple[AbstractPositions, ...]]:
        return (), (self.codes, self._words, self._begins)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Blocks:
        codes, words, begins = parts
        return cls(facts, codes, words, begins)


class Repeated(AbstractPositions):
    """Ascending rows, each as often as its block is long: the left rows of a join of many to many."""

    encoding: ClassVar[str] = "repeated"
    ascending: ClassVar[bool] = True

    def __init__(self, facts: Facts, rows: AbstractPositions, blocks: Blocks) -> None:
        super().__init__(facts)
        if not isinstance(blocks, Blocks) or blocks.length != self.length or rows.length != blocks.codes.length:
            raise ValueError(f"{self.length} numbers are not {rows.length} rows by their blocks")
        self.rows, self.blocks = rows, blocks

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        first, _, lengths, _ = self.blocks.blocks_between(lo, hi)
        return np.repeat(self.rows.part(first, first + len(lengths)), lengths)

    def _take(self, at: Ints) -> Ints:
        return self.rows.take(self.blocks.block_of(at)[0])

    def rank(self, numbers: Ints) -> Ints:
        if not self.length:
            return np.zeros(len(numbers), dtype=np.int64)
        ranked = np.searchsorted(self.rows.part(0, self.rows.length), numbers) if not self.rows.ascending else None
        return self.blocks.start_of(self.rows.rank(numbers) if ranked is None else ranked.astype(np.int64))

    def state(self) -> tuple[tuple[int, ...], tuple[AbstractPositions, ...]]:
        return (), (self.rows, self.blocks)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Repeated:
        rows, blocks = parts
        return cls(facts, rows, blocks)


def matched(left: Ints, right: Ints) -> tuple[Ints, Ints, Ints, Ints] | None:
    """Pairs as their left rows, each once, the code of each, and the blocks of right rows behind the codes: words, begins.

    `None` where left rows do not ascend, hardly repeat, or share a right row without sharing all.
    """
    starts = np.flatnonzero(np.diff(left, prepend=left[:1] - 1))
    if len(left) < 1.25 * len(starts) or (left[1:] < left[:-1]).any():
        return None
    lengths = np.diff(np.append(starts, len(left)))
    _, example, codes = np.unique(right[starts], return_index=True, return_inverse=True)
    if not np.array_equal(lengths[example][codes], lengths):
        return None
    begin = starts[example]
    offset = np.arange(len(left)) - np.repeat(starts, lengths)
    if not np.array_equal(right[np.repeat(begin[codes], lengths) + offset], right):
        return None
    begins = np.concatenate(([0], np.cumsum(lengths[example])))
    words = right[np.repeat(begin - begins[:-1], lengths[example]) + np.arange(begins[-1])]
    return left[starts], codes.astype(np.int64), words, begins
