"""Runs with a stride: arithmetic progressions, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.positions import AbstractPositions, Facts, as_runs, joined, shrunk
from traceprop.passes.kernels import bits, dispatch
from traceprop.passes.kernels.reference import Ints, Runs


class Strided(AbstractPositions):
    """Runs of numbers with equal steps: positions begins[r] … begins[r + 1] - 1 hold first[r], first[r] + step[r], …

    All that is sorted, reversed, repeated, or cut from what is: a slice, a sort of sorted rows, a filter that keeps
    whole stretches. Numbers lie between -2**62 and 2**62, so that steps are no more than they seem. The algebra on runs
    (`image`, `where`, `then`, `inverse`) is done run by run and writes nothing out.
    """

    encoding: ClassVar[str] = "runs"

    def __init__(self, facts: Facts, begins: NDArray[Any], first: NDArray[Any], steps: NDArray[Any]) -> None:
        super().__init__(facts)
        count = len(begins)
        rising = begins.astype(np.int64)
        if not count == len(first) == len(steps) or (count == 0) != (self.length == 0):
            raise ValueError("runs need one beginning, first number and step each")
        if count and (rising[0] != 0 or (rising[1:] <= rising[:-1]).any() or rising[-1] >= self.length):
            raise ValueError("runs must begin one behind the other")
        self._begins = begins.astype(np.min_scalar_type(self.length), copy=False)  # searched without being converted
        self._first, self._steps = first, steps

    @classmethod
    def of(cls, facts: Facts, numbers: Ints) -> Strided:
        begins, steps = bits.arithmetic_runs(numbers)
        return cls(facts, begins, shrunk(numbers[begins]), shrunk(steps))

    @property
    def runs(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Per run: where it begins, where it ends, its first number and its step."""
        begins = self._begins.astype(np.int64)
        stops = np.append(begins[1:], self.length)[: len(begins)]
        return begins, stops, self._first.astype(np.int64), self._steps.astype(np.int64)

    def part(self, lo: int, hi: int) -> Ints:
        if lo >= hi:
            return np.empty(0, dtype=np.int64)
        first_run = int(self._run_of(np.array([lo]))[0])
        last_run = int(self._run_of(np.array([hi - 1]))[0]) + 1
        begins = self._begins[first_run:last_run].astype(np.int64)
        first = self._first[first_run:last_run].astype(np.int64)
        steps = self._steps[first_run:last_run].astype(np.int64)
        at = np.arange(lo, hi, dtype=np.int64)
        if len(begins) == 1:
            return first + steps * (at - begins)
        lengths = np.diff(np.append(np.maximum(begins, lo), hi))
        numbers: Ints = np.repeat(first - steps * begins, lengths) + np.repeat(steps, lengths) * at
        return numbers

    def _run_of(self, at: Ints) -> Ints:
        run = np.searchsorted(self._begins, at.astype(self._begins.dtype), side="right")
        return np.asarray(run - 1, dtype=np.int64)

    def _take(self, at: Ints) -> Ints:
        run = self._run_of(at)
        return self._first[run].astype(np.int64) + self._steps[run].astype(np.int64) * (
            at - self._begins[run].astype(np.int64)
        )

    def image(self, starts: Any, stops: Any) -> Runs:
        starts, stops = self._inside(starts, stops)
        return _as_set(*self._cut(starts, stops))

    def where(self, starts: Any, stops: Any) -> Runs:
        starts, stops = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        begins, ends, first, steps = self.runs
        if not len(begins) or not len(starts):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        last = first + steps * (ends - begins - 1)
        lowest, highest = np.minimum(first, last), np.maximum(first, last)
        low = np.searchsorted(stops, lowest, side="right")
        high = np.searchsorted(starts, highest, side="right")
        counts = np.maximum(high - low, 0)
        run = np.repeat(np.arange(len(begins)), counts)
        wanted = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(len(run))
        stride = np.abs(steps[run])
        fixed = stride == 0
        stride = np.where(fixed, 1, stride)
        # the k-th number from below, of a falling run the k-th from its end
        first_k = -((lowest[run] - np.maximum(starts[wanted], lowest[run])) // stride)
        stop_k = (np.minimum(stops[wanted] - 1, highest[run]) - lowest[run]) // stride + 1
        length = (ends - begins)[run]
        first_k, stop_k = np.where(fixed, 0, first_k), np.where(fixed, length, stop_k)
        falling = steps[run] < 0
        lows = begins[run] + np.where(falling, length - stop_k, first_k)
        highs = begins[run] + np.where(falling, length - first_k, stop_k)
        order = np.argsort(lows, kind="stable")
        return joined(lows[order], highs[order])

    def _cut(self, starts: Ints, stops: Ints) -> tuple[Ints, Ints, Ints]:
        """The progressions at some runs of positions: first number, step and length of each."""
        begins, ends, first, steps = self.runs
        low = np.searchsorted(ends, starts, side="right")
        high = np.searchsorted(begins, stops, side="left")
        counts = np.maximum(high - low, 0)
        piece = np.repeat(np.arange(len(starts)), counts)
        run = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(len(piece))
        lo, hi = np.maximum(starts[piece], begins[run]), np.minimum(stops[piece], ends[run])
        start = np.asarray(first[run] + steps[run] * (lo - begins[run]), dtype=np.int64)
        return start, steps[run], hi - lo

    def sliced(self, lo: int, hi: int) -> Strided:
        """The positions lo … hi - 1: the runs between, the first and the last of them cut."""
        if lo >= hi:
            return Strided(Facts((0,), self.dtype, 0, 0), *(np.empty(0, dtype=np.uint8),) * 3)
        first, steps, lengths = self._cut(np.array([lo]), np.array([hi]))
        last = first + steps * (lengths - 1)
        low, high = int(min(first.min(), last.min())), int(max(first.max(), last.max()))
        begins = np.cumsum(lengths) - lengths
        return Strided(Facts((hi - lo,), self.dtype, low, high), begins, shrunk(first), shrunk(steps))

    def then(self, later: Strided) -> Strided:
        """Positions of positions: what stands here at the numbers that `later` holds. Run by run.

        A progression of positions crosses the runs here at ascending (or descending) places, and is cut there.
        """
        begins, ends, first, steps = self.runs
        at, stop, number, stride = later.runs
        if not len(at):
            return later
        last = number + stride * (stop - at - 1)
        if min(number.min(), last.min()) < 0 or max(number.max(), last.max()) >= self.length:
            raise IndexError(f"positions out of range: there are {self.length}, numbered from 0")
        one, other = (np.searchsorted(begins, ends_of, side="right") - 1 for ends_of in (number, last))
        crossed = np.abs(other - one) + 1
        piece = np.repeat(np.arange(len(at)), crossed)
        nth = np.arange(len(piece)) - np.repeat(np.cumsum(crossed) - crossed, crossed)
        run = one[piece] + np.where(other < one, -1, 1)[piece] * nth
        forward = stride[piece] > 0
        pace = np.maximum(np.abs(stride[piece]), 1)
        # the first k whose position is in the run
        enter = np.where(
            forward,
            -((number[piece] - begins[run]) // pace),
            -((ends[run] - 1 - number[piece]) // pace),
        )
        enter = np.maximum(np.where(nth == 0, 0, enter), 0)
        leave = np.append(enter[1:], 0)
        ends_piece = np.append(piece[1:] != piece[:-1], True)
        leave = np.where(ends_piece, (stop - at)[piece], leave)
        some = enter < leave
        piece, run, enter = piece[some], run[some], enter[some]
        start = number[piece] + stride[piece] * enter
        values = first[run] + steps[run] * (start - begins[run])
        paces = steps[run] * stride[piece]
        facts = Facts(later.shape, self.dtype, self.facts.low, self.facts.high)
        return Strided(facts, at[piece] + enter, shrunk(values), shrunk(paces))

    def inverse(self) -> Strided | None:
        """Of a permutation in runs with steps of one: the positions by number. `None` where steps are longer."""
        begins, ends, first, steps = self.runs
        pair = (ends - begins == 2) & (np.abs(steps) != 1)  # of a lone number and what happens to stand behind it
        begins, first = np.append(begins, begins[pair] + 1), np.append(first, first[pair] + steps[pair])
        ends, steps = np.append(np.where(pair, ends - 1, ends), ends[pair]), np.append(steps, steps[pair])
        lengths = ends - begins
        steps = np.where(lengths == 1, 1, steps)
        if (np.abs(steps) != 1).any():
            return None
        lowest = np.where(steps > 0, first, first - lengths + 1)
        order = np.argsort(lowest, kind="stable")
        if not np.array_equal(lowest[order], np.cumsum(lengths[order]) - lengths[order]):
            raise ValueError("not a permutation: a number is missing, or comes twice")
        held = np.where(steps > 0, begins, ends - 1)
        facts = Facts(self.shape, self.dtype, 0, self.length - 1)
        return Strided(facts, lowest[order], shrunk(held[order]), shrunk(steps[order]))

    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        return (), (self._begins, self._first, self._steps)

    @classmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> Strided:
        begins, first, steps = parts
        return cls(facts, begins, first, steps)


def _as_set(first: Ints, steps: Ints, lengths: Ints) -> Runs:
    """The numbers of some progressions, as runs."""
    last = first + steps * (lengths - 1)
    dense = (np.abs(steps) <= 1) | (lengths == 1)
    lows, highs = np.minimum(first, last)[dense], np.maximum(first, last)[dense] + 1
    order = np.argsort(lows, kind="stable")
    lows, highs = lows[order], np.maximum.accumulate(highs[order]) if len(lows) else highs
    solid = joined_overlapping(lows, highs)
    if dense.all():
        return solid
    first, steps, lengths = first[~dense], steps[~dense], lengths[~dense]
    nth = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    loose = as_runs(np.repeat(first, lengths) + np.repeat(steps, lengths) * nth)
    return dispatch.union(*solid, *loose)


def joined_overlapping(lows: Ints, reach: Ints) -> Runs:
    """Ranges in ascending order, each with how far they have reached by then, as runs."""
    if not len(lows):
        return lows, reach
    apart = lows[1:] > reach[:-1]
    return lows[np.concatenate(([True], apart))], reach[np.concatenate((apart, [True]))]
