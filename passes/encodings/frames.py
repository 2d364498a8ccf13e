"""Frames of reference: blocks of numbers in as few bits as the block needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts, shrunk
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints, Words

FRAME = 128
"""Numbers in a block."""

_POWERS = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))


class Frames(AbstractPositions):
    """Per block of 128: the distances from its smallest number, or (`steps`) the steps from number to number less the
    smallest of them, packed in as many bits as the largest takes (Goldstein, Ramakrishnan & Shaft 1998).

    For numbers that stay near one another for a while, and for what nearly ascends: rows joined to hours that pass.
    """

    encoding: ClassVar[str] = "frames"

    def __init__(
        self,
        facts: Facts,
        steps: bool,
        first: NDArray[Any],
        least: NDArray[Any],
        widths: NDArray[np.uint8],
        words: Words,
    ) -> None:
        super().__init__(facts)
        blocks = -(-self.length // FRAME)
        if not blocks == len(first) == len(widths) or len(least) != (blocks if steps else 0):
            raise ValueError(f"{self.length} numbers are {blocks} blocks")
        if widths.dtype != np.uint8 or widths.max(initial=0) > 64:
            raise ValueError("numbers have at most 64 bits")
        ends = np.cumsum(widths.astype(np.int64) * FRAME)
        if len(words) != bits.words_for(int(ends[-1]) if blocks else 0):
            raise ValueError(f"{len(words)} words are not {blocks} blocks")
        self._steps, self._first, self._least, self._widths, self._words = steps, first, least, widths, words
        self._begins = (ends - widths.astype(np.int64) * FRAME).astype(
            np.min_scalar_type(int(ends[-1]) if blocks else 0)
        )

    @classmethod
    def of(cls, facts: Facts, numbers: Ints, steps: bool) -> Frames:
        first, least, rest, widths = framed(numbers, steps)
        words = np.zeros(
            int((widths.astype(np.int64) * 2).sum()), dtype=np.uint64
        )  # 128 numbers of w bits are 2 w words
        begins = np.cumsum(widths.astype(np.int64) * 2) - widths.astype(np.int64) * 2
        for width in np.unique(widths[widths > 0]).tolist():
            of_width = np.flatnonzero(widths == width)
            packed = bits.pack(rest[of_width].reshape(-1), width).reshape(len(of_width), 2 * width)
            words[begins[of_width][:, None] + np.arange(2 * width)] = packed
        return cls(facts, steps, shrunk(first), shrunk(least), widths, words)

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        begin, end = lo // FRAME, -(-hi // FRAME)
        widths = np.repeat(self._widths[begin:end], FRAME)
        within = np.tile(np.arange(FRAME, dtype=np.int64), end - begin)
        places = np.repeat(self._begins[begin:end].astype(np.int64), FRAME) + widths * within
        rest = bits.read_at(self._words, places, widths).reshape(-1, FRAME).view(np.int64)
        if self._steps:
            rest = np.cumsum(rest, axis=1)
            rest += self._least[begin:end].astype(np.int64)[:, None] * np.arange(FRAME)
        rest += self._first[begin:end].astype(np.int64)[:, None]
        return rest.reshape(-1)[lo - begin * FRAME : hi - begin * FRAME]

    def _take(self, at: Ints) -> Ints:
        block, k = np.divmod(at, FRAME)
        begins, widths = self._begins[block].astype(np.int64), self._widths[block]
        first = self._first[block].astype(np.int64)
        if not self._steps:
            places = np.asarray(begins + k * widths, dtype=np.int64)
            return bits.read_at(self._words, places, widths).view(np.int64) + first
        sums = bits.sum_from(self._words, begins, widths, k + 1).view(np.int64)
        return sums + self._least[block].astype(np.int64) * k + first

    @property
    def nbytes(self) -> int:
        return super().nbytes + self._begins.nbytes

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (int(self._steps),), (self._first, self._least, self._widths, self._words)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Frames:
        (steps,), (first, least, widths, words) = numbers, parts
        return cls(facts, bool(steps), first, least, widths, words)


def framed(numbers: Ints, steps: bool) -> tuple[Ints, Ints, Words, NDArray[np.uint8]]:
    """Per block: its reference number, its smallest step, what is left of its numbers (blocks, 128), and how many bits it needs.

    With `steps` the reference is the first number, and step 0 is none.
    """
    blocks = -(-len(numbers) // FRAME)
    padded = np.empty(blocks * FRAME, dtype=np.int64)
    padded[: len(numbers)] = numbers
    padded[len(numbers) :] = numbers[-1] if len(numbers) else 0
    table: Ints = padded.reshape(blocks, FRAME)
    if steps:
        first: Ints = table[:, 0].copy()
        gaps = np.diff(table, axis=1)
        if len(numbers) % FRAME:  # behind the last number the smallest step goes on
            short = len(numbers) % FRAME - 1
            gaps[-1, short:] = gaps[-1, :short].min() if short else 0
        least = np.minimum.reduce(gaps, axis=1) if blocks else first
        rest = np.zeros((blocks, FRAME), dtype=np.int64)
        rest[:, 1:] = gaps - least[:, None]
    else:
        first = np.minimum.reduce(table, axis=1) if blocks else table[:, 0]
        least = np.empty(0, dtype=np.int64)
        rest = table - first[:, None]
    words = rest.view(np.uint64)
    top = words.max(axis=1) if blocks else np.empty(0, dtype=np.uint64)
    widths = np.searchsorted(_POWERS, top, side="right")
    return first, least, words, widths.astype(np.uint8)


def frames_bytes(numbers: Ints, steps: bool) -> float:
    """About how many bytes it would take: of a sample of blocks where there are many."""
    blocks = len(numbers) // FRAME
    if not blocks:
        return np.inf
    some = np.unique(np.linspace(0, blocks - 1, min(blocks, 64)).astype(np.int64))
    sampled = (some[:, None] * FRAME + np.arange(FRAME)).reshape(-1)
    *_, widths = framed(numbers[sampled], steps)
    return float(widths.mean()) * len(numbers) / 8 + (blocks + 1) * (14 if steps else 10)
