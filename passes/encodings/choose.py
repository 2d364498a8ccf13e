"""The smallest of the encodings that hold some numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.encodings.bitmap import Bitmap
from traceprop.passes.encodings.blocks import Blocks, Repeated, matched
from traceprop.passes.encodings.columns import Columns
from traceprop.passes.encodings.complement import Complement, missing_from
from traceprop.passes.encodings.dictionary import Dictionary
from traceprop.passes.encodings.digits import Digits
from traceprop.passes.encodings.elias_fano import EliasFano
from traceprop.passes.encodings.frames import Frames, frames_bytes
from traceprop.passes.encodings.keyed import Quotients, Remainders
from traceprop.passes.encodings.packed import Packed
from traceprop.passes.encodings.positions import AbstractPositions, Facts
from traceprop.passes.encodings.rice import BLOCK, Rice
from traceprop.passes.encodings.strided import Strided
from traceprop.passes.kernels import bits
from traceprop.passes.kernels.reference import Ints

HINTS = ("ascending", "permutation", "pairs", "ordinals", "positions")
"""What a `record` op may say of a value: it saves a search, and is never believed against the numbers."""

_WIDEST = 1 << 62  # beyond, distances between numbers do not fit in an int64
_SLOWER = 1.05  # an encoding that takes longer to ask must be so much smaller
_MUCH_SLOWER = 1.12


def encode(numbers: Any, hint: str | None = None) -> AbstractPositions:
    """Index numbers in the smallest encoding of those that can hold them.

    Parameters
    ----------
    numbers
        Whole numbers in any shape, any integer dtype (what exceeds int64 has no encoding: `OverflowError`).
    hint
        One of `HINTS`, or `None`: what is known of the numbers without looking.

    Raises
    ------
    TypeError
        They are no integers.
    """
    array = np.asarray(numbers)
    if array.dtype.kind not in "iu":
        raise TypeError(f"positions are whole numbers, not {array.dtype}")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63:
        raise OverflowError("a position above 2**63 - 1 has no encoding")
    if array.ndim == 2 and 0 < array.shape[1] <= 8 and hint in (None, "pairs"):
        columns = _matched(array) or [encode(array[:, k]) for k in range(array.shape[1])]
        columns = _keyed(array, sum(column.nbytes for column in columns)) or columns
        if hint == "pairs" or sum(c.nbytes for c in columns) < _packed_bytes(array):
            low, high = (min(c.facts.low for c in columns), max(c.facts.high for c in columns))
            return Columns(Facts(array.shape, array.dtype, low, high), columns)
    flat = np.ascontiguousarray(array.reshape(-1), dtype=np.int64)
    low, high, falls, same, runs = bits.survey(flat)
    facts = Facts(array.shape, array.dtype, low, high)
    width = int(np.max([_bytes(len(flat)), _bytes(high), _bytes(low)]))
    strided = runs * 2 * width
    packed = _packed_bytes(flat, facts)
    if max(abs(low), abs(high)) >= _WIDEST:
        return Packed.of(facts, flat)
    if runs <= 2:
        return Strided.of(facts, flat)
    if falls and strided < packed:
        found = Strided.of(facts, flat)
        if found.nbytes <= packed:  # steps down and up may be as wide as the numbers
            return found
    if falls or high - low >= _WIDEST:
        return _unordered(facts, flat, hint)
    return _ascending(facts, flat, same, strided)


def _unordered(facts: Facts, numbers: Ints, hint: str | None) -> AbstractPositions:
    """The smallest encoding of numbers in no order."""
    span = facts.high - facts.low + 1
    packed, digits = _packed_bytes(numbers, facts), Digits.width(span) * len(numbers) / 8
    within, between = frames_bytes(numbers, False), frames_bytes(numbers, True)
    if min(within, between) < 0.9 * packed:
        return Frames.of(facts, numbers, between < within)
    if hint not in ("permutation", "ordinals") and (few := _few(numbers, span)) is not None:
        words, codes = few
        return Dictionary(facts, encode(words, "ascending"), encode(codes, "ordinals"))
    if digits * _MUCH_SLOWER < packed:
        return Digits.of(facts, numbers)
    return Packed.of(facts, numbers)


def _few(numbers: Ints, span: int) -> tuple[Ints, Ints] | None:
    """The different numbers and their codes, where they are few among many that there could be."""
    if span < 1 << 8 or len(numbers) < 64:
        return None
    some = np.unique(numbers[:: max(1, len(numbers) // 1024)])
    if len(some) > 256:
        return None
    words, codes = _coded(numbers, span)
    if len(words) * 8 * 8 + len(numbers) * int(len(words) - 1).bit_length() > 0.8 * len(numbers) * span.bit_length():
        return None
    return words, codes


def _coded(numbers: Ints, span: int) -> tuple[Ints, Ints]:
    """The different numbers, ascending, and which of them stands at each position."""
    if span > 64 * len(numbers):
        found, inverse = np.unique(numbers, return_inverse=True)
        return found, inverse.astype(np.int64)
    low = int(numbers.min())
    there = bits.set_bits(numbers - low, span)  # how many numbers stand before one is its code
    counts = bits.count_ones(there)
    return bits.ones_from(there, 0, int(np.bitwise_count(there).sum())) + low, bits.rank(there, counts, numbers - low)


def _matched(pairs: NDArray[Any]) -> list[AbstractPositions] | None:
    """Pairs of many to many, by group, where that is smaller than column by column."""
    if pairs.shape[1] != 2 or len(pairs) < 64 or max(abs(int(pairs.min())), abs(int(pairs.max()))) >= _WIDEST:
        return None
    left, right = (np.ascontiguousarray(pairs[:, k], dtype=np.int64) for k in (0, 1))
    found = matched(left, right)
    if found is None or 2 * len(found[2]) > len(right):  # blocks that do not come again save nothing
        return None
    rows, codes, words, begins = found
    facts = [Facts(side.shape, pairs.dtype, int(side.min()), int(side.max())) for side in (left, right)]
    blocks = Blocks(facts[1], encode(codes, "ordinals"), encode(words), encode(begins, "ascending"))
    return [Repeated(facts[0], encode(rows, "ascending"), blocks), blocks]


def _keyed(pairs: NDArray[Any], than: int) -> list[AbstractPositions] | None:
    """Pairs in lexicographic order as one number each, where that is smaller."""
    if pairs.shape[1] != 2 or len(pairs) < 64 or int(pairs.min()) < 0:
        return None
    left, right = (pairs[:, k].astype(np.int64) for k in (0, 1))
    last, width = int(left.max()), int(right.max()) + 1
    if (last + 1) * width >= _WIDEST or _elias_fano_bytes(
        len(pairs), (last + 1 - int(left.min())) * width
    ) > 0.9 * than:
        return None
    keys = left * width + right
    if (keys[1:] <= keys[:-1]).any():
        return None
    held = encode(keys, "ascending")
    if not held.ascending or held.nbytes > 0.9 * than:
        return None
    facts = [Facts(side.shape, pairs.dtype, int(side.min()), int(side.max())) for side in (left, right)]
    return [Quotients(facts[0], held, width), Remainders(facts[1], held, width)]


def _bytes(number: int) -> int:
    return int(np.min_scalar_type(number).itemsize)


def _packed_bytes(array: Any, facts: Facts | None = None) -> int:
    if not array.size:
        return 0
    low, high = (facts.low, facts.high) if facts else (int(array.min()), int(array.max()))
    return int((high - low).bit_length() * array.size // 8)


def _ascending(facts: Facts, numbers: Ints, same: int, strided: int) -> AbstractPositions:
    """The smallest encoding of numbers none of which is below the one before; `same` of them equal it."""
    count, span = len(numbers), facts.high - facts.low + 1
    costs: dict[str, float] = {"runs": strided}
    costs["elias-fano"] = _elias_fano_bytes(count, span)
    costs["rice"] = _rice_bytes(count, span, 0 if same else 1) * _SLOWER
    if not same:
        costs["bitmap"] = span / 8 * 1.04
        missing = span - count
        if missing < count:
            costs["all but elias-fano"] = _elias_fano_bytes(missing, span) * _SLOWER
            costs["all but rice"] = _rice_bytes(missing, span, 1) * _SLOWER * _SLOWER
    if (frames := frames_bytes(numbers, True)) < 0.9 * min(costs.values()):
        costs["frames"] = frames
    best = min(costs, key=costs.__getitem__)
    if best == "frames":
        return Frames.of(facts, numbers, steps=True)
    if best == "runs":
        return Strided.of(facts, numbers)
    if best == "bitmap":
        return Bitmap.of(facts, numbers)
    if best.startswith("all but"):
        gone_facts, gone = missing_from(facts, numbers)
        inner = Rice if best.endswith("rice") else EliasFano
        return Complement(facts, inner.of(gone_facts, gone))
    return (Rice if best == "rice" else EliasFano).of(facts, numbers)


def _elias_fano_bytes(count: int, span: int) -> float:
    width = EliasFano.best_width(count, span)
    return (count * width + (count + (span >> width)) * 1.04) / 8


def _rice_bytes(count: int, span: int, least: int) -> float:
    _, cost = Rice.best(count, max(0, span - count * least))
    return cost / 8 * 1.03 + count / BLOCK * 4
