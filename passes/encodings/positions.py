"""What every encoding of positions answers, and how it does where it knows no shorter way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import bits, dispatch
from traceprop.passes.kernels.reference import Ints, Runs

CHUNK = 1 << 16
"""How many numbers are decoded at once where a question has to look at all of them."""

_EMPTY: Ints = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an index array beside its numbers: shape, dtype, and the smallest and largest number (0, 0 if empty)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: int
    high: int

    @property
    def length(self) -> int:
        """How many numbers there are."""
        return int(np.prod(self.shape, dtype=object))

    def of_length(self, length: int) -> Facts:
        """The same for so many numbers in one row."""
        return Facts((length,), self.dtype, self.low, self.high)


class AbstractPositions(ABC):
    """An index array that is not written out: what the data decided at one op, in few bytes.

    Positions are places in the array, in row-major order where it has several axes; *numbers* are what stands there. Sets
    are run lists, `(starts, stops)`: int64 arrays, sorted, disjoint, half-open (`passes/kernels/reference.py`).

    A question reads what it asks about: `take` and `image` the places asked for, `where` a few places per run if numbers
    ascend, else all numbers in chunks. Only as many questions as a quarter of the numbers between the first and the last
    of them are answered by decoding all these.
    """

    encoding: ClassVar[str]
    ascending: ClassVar[bool] = False
    """Whether no number is below the one before it."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.length = facts.length
        self._asked = 0

    # -- what an encoding says of itself ------------------------------------------------------------------------------

    @abstractmethod
    def part(self, lo: int, hi: int) -> Ints:
        """The numbers at positions lo … hi - 1: int64 (hi - lo,). 0 <= lo <= hi <= length."""

    @abstractmethod
    def _take(self, at: Ints) -> Ints:
        """The numbers at some positions, which are in range."""

    @abstractmethod
    def state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any] | AbstractPositions, ...]]:
        """What `restored` needs beside the facts: whole numbers, and arrays or other positions."""

    @classmethod
    @abstractmethod
    def restored(cls, facts: Facts, numbers: tuple[int, ...], parts: Sequence[Any]) -> AbstractPositions:
        """The positions that had this state. Raises `ValueError` where it cannot be one: it may come from anywhere."""

    def rank(self, numbers: Ints) -> Ints:
        """How many positions hold less than each number; for ascending encodings."""
        return self._bisected(numbers, 0)

    def spread_rank(self, numbers: Ints) -> Ints:
        """How many positions p hold less than p plus each number; for ascending encodings without repeats."""
        return self._bisected(numbers, 1)

    def _bisected(self, numbers: Ints, slope: int) -> Ints:
        """How many positions p, from the first on, hold less than slope * p + each number: all bisected at once."""
        low, high = np.zeros(len(numbers), dtype=np.int64), np.full(len(numbers), self.length, dtype=np.int64)
        for _ in range(self.length.bit_length()):
            middle = (low + high) >> 1
            open_ = low < high
            below = open_.copy()
            some = middle[open_]
            below[open_] = self._take(some) - slope * some < numbers[open_]
            low = np.where(below, middle + 1, low)
            high = np.where(open_ & ~below, middle, high)
        return low

    # -- shape --------------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.facts.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the array that was encoded, and of the one that `np.asarray` gives."""
        return self.facts.dtype

    @property
    def ndim(self) -> int:
        return len(self.facts.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays that hold the encoding, directories among them."""
        return sum(part.nbytes for part in self.state()[1])

    def __len__(self) -> int:
        return self.facts.shape[0] if self.facts.shape else 1

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("encoded positions are written out anew: there is no array to share")
        whole = self.part(0, self.length).reshape(self.shape)
        return whole.astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"<{self.length} positions, {self.encoding}, {self.nbytes} bytes>"

    # -- questions ----------------------------------------------------------------------------------------------------

    def take(self, at: Any) -> Ints:
        """The numbers at some positions, in any order: int64, of the shape of `at`. Raises `IndexError` out of range."""
        asked = np.asarray(at, dtype=np.int64)
        flat = np.ascontiguousarray(asked.reshape(-1))
        if not len(flat):
            return np.empty(asked.shape, dtype=np.int64)
        first, last = int(flat.min()), int(flat.max())
        if first < 0 or last >= self.length:
            outside = first if first < 0 else last
            raise IndexError(f"position {outside} is out of range: there are {self.length}, numbered from 0")
        if len(flat) > 64 and len(flat) * 4 > last - first:
            return self.part(first, last + 1)[flat - first].reshape(asked.shape)
        return self._take(flat).reshape(asked.shape)

    def image(self, starts: Any, stops: Any) -> Runs:
        """The set of numbers that stand at a set of positions, as runs."""
        starts, stops = self._inside(starts, stops)
        numbers = self.part(int(starts[0]), int(stops[0])) if len(starts) == 1 else self._at_runs(starts, stops)
        return as_runs(numbers, self.ascending)

    def where(self, starts: Any, stops: Any) -> Runs:
        """The set of positions that hold a number of a set, as runs."""
        starts, stops = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        touched = (stops > self.facts.low) & (starts <= self.facts.high)
        starts, stops = starts[touched], stops[touched]
        if not len(starts) or not self.length:
            return _EMPTY, _EMPTY
        if self.ascending and len(starts) * 16 < self.length:
            return joined(self.rank(starts), self.rank(stops))
        return self._found(starts, stops)

    def _found(self, starts: Ints, stops: Ints) -> Runs:
        """`where`: by the inverted index, which the second question makes, or by a look at every number, a chunk at a time."""
        low, size = self.facts.low, self.facts.high - self.facts.low + 1
        self._asked += 1
        if self._asked > 1 and self.invertible:
            begins, order = self.inverted
            edges = np.clip(np.stack([starts, stops]), low, low + size) - low
            lows, highs = begins.take(edges)
            if 4 * int((highs - lows).sum()) < self.length:
                held = lows < highs
                if int(held.sum()) == 1:
                    return as_runs(order.part(int(lows[held][0]), int(highs[held][0])))
                return as_runs(order.take(dispatch.runs_to_indices(*joined(lows, highs))))
        wanted = None
        if len(starts) > 1 and size <= 64 * max(self.length, CHUNK):
            clipped = np.maximum(starts, low) - low, np.minimum(stops, low + size) - low
            wanted = bits.set_runs(*clipped, size)
        found = []
        for lo in range(0, self.length, CHUNK):
            numbers = self.part(lo, min(lo + CHUNK, self.length))
            if len(starts) == 1:
                held = (numbers >= starts[0]) & (numbers < stops[0])
            elif wanted is None:
                held = dispatch.contains(starts, stops, numbers)
            else:
                held = bits.has_bits(wanted, low, size, numbers)
            found.append(np.flatnonzero(held) + lo)
        return dispatch.runs_from_indices(np.concatenate(found))

    @property
    def invertible(self) -> bool:
        """Whether `inverted` is worth making: not for numbers far apart."""
        return self.facts.high - self.facts.low < 8 * max(self.length, 1024)

    @cached_property
    def inverted(self) -> tuple[AbstractPositions, AbstractPositions]:
        """The positions by the number that they hold: where those of number low + k begin, (span + 1,), and they, (length,).

        Made when it is first asked for, and encoded, too; it is no part of `nbytes`, since it follows from the rest.
        """
        from traceprop.passes.encodings.choose import encode

        span = self.facts.high - self.facts.low + 1
        begins, order = bits.order_by_number(self.part(0, self.length) - self.facts.low, span)
        return encode(begins, "ascending"), encode(order, "permutation")

    def _at_runs(self, starts: Ints, stops: Ints) -> Ints:
        at = dispatch.runs_to_indices(starts, stops)
        return self.take(at)

    def _inside(self, starts: Any, stops: Any) -> Runs:
        starts, stops = np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64)
        if len(starts) and (starts[0] < 0 or stops[-1] > self.length):
            outside = int(starts[0]) if starts[0] < 0 else int(stops[-1]) - 1
            raise IndexError(f"position {outside} is out of range: there are {self.length}, numbered from 0")
        return starts, stops


def joined(lows: Ints, highs: Ints) -> Runs:
    """Ascending ranges as runs: empty ones left out, those that touch made one."""
    filled = lows < highs
    lows, highs = lows[filled], highs[filled]
    if len(lows) < 2:
        return lows, highs
    apart = lows[1:] > highs[:-1]
    return lows[np.concatenate(([True], apart))], highs[np.concatenate((apart, [True]))]


def as_runs(numbers: Ints, ascending: bool = False) -> Runs:
    """A set of numbers, in any order and with repeats, as runs."""
    return dispatch.runs_from_indices(numbers if ascending else in_order(numbers))


def in_order(numbers: Ints) -> Ints:
    """Numbers in ascending order; where they were not, each once if that is quicker (see `distinct`)."""
    if len(numbers) < 2 or not (numbers[1:] < numbers[:-1]).any():
        return numbers
    low, high = int(numbers.min()), int(numbers.max())
    if len(numbers) > 256 and high - low < 32 * len(numbers):  # marking bits takes a tenth of what sorting does
        vector = bits.set_bits(numbers - low, high - low + 1)
        return bits.ones_from(vector, 0, int(np.bitwise_count(vector).sum())) + low
    return np.sort(numbers)


def distinct(numbers: Ints) -> Ints:
    """Numbers in ascending order, each once. (`np.unique` hashes, which takes many times as long.)"""
    ordered = in_order(numbers)
    repeated = ordered[1:] == ordered[:-1]
    return ordered[np.concatenate(([True], ~repeated))] if repeated.any() else ordered


def shrunk(numbers: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in the smallest dtype that holds them."""
    if not len(numbers):
        return numbers.astype(np.uint8)
    low, high = int(numbers.min()), int(numbers.max())
    return numbers.astype(np.min_scalar_type(high if low >= 0 else min(low, -high - 1)))
