"""Packed numbers and bit vectors: arguments checked once, then the compiled kernel or its NumPy twin.

Bit b of a vector is bit b % 64 of its 64-bit word b // 64. A vector with counts (`count_ones`, one per 1,024 bits, 3 % of
its size) finds its nth one, and how many ones lie before a place, without being read from the start (Jacobson 1989).
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traceprop.passes.kernels import reference
from traceprop.passes.kernels.dispatch import _compiled
from traceprop.passes.kernels.reference import Ints, Words

_bits: ModuleType | None
try:
    from traceprop.passes.kernels import _bits
except ImportError:
    _bits = None

BLOCK_BITS = 1024
Counts = NDArray[Any]  # uint32, or uint64 where there are more ones than that holds


def words_for(bits: int) -> int:
    """How many words hold so many bits."""
    return -(-bits // 64)


def pack(values: Words, width: int) -> Words:
    """Write uint64 numbers (n,) below 2**width, 0 <= width <= 64, in n * width bits."""
    if (module := _compiled(_bits)) is None:
        return reference.pack(values, width)
    words = np.zeros(words_for(len(values) * width), dtype=np.uint64)
    module.pack(np.ascontiguousarray(values), width, words)
    return words


def unpack(words: Words, width: int, start: int, stop: int) -> Words:
    """Read the packed numbers from `start` up to, not including, `stop`."""
    _check_packed(words, width, start, stop)
    if (module := _compiled(_bits)) is None:
        return reference.unpack_at(words, width, np.arange(start, stop))
    out = np.empty(max(stop - start, 0), dtype=np.uint64)
    module.unpack(words, width, start, out)
    return out


def unpack_at(words: Words, width: int, at: Ints) -> Words:
    """Read the packed numbers at some places (n,), in any order."""
    if len(at):
        _check_packed(words, width, int(at.min()), int(at.max()) + 1)
    if (module := _compiled(_bits)) is None:
        return reference.unpack_at(words, width, at)
    out = np.empty(len(at), dtype=np.uint64)
    module.unpack_at(words, width, at, out)
    return out


def packed_sums(words: Words, width: int, starts: Ints, stops: Ints) -> Words:
    """Add up the packed numbers between pairs of places: uint64 (n,), modulo 2**64."""
    if len(starts):
        _check_packed(words, width, int(starts.min()), int(stops.max()))
    if (module := _compiled(_bits)) is None:
        return reference.packed_sums(words, width, starts, stops)
    out = np.empty(len(starts), dtype=np.uint64)
    module.packed_sums(words, width, starts, stops, out)
    return out


def read_at(words: Words, places: Ints, widths: NDArray[np.uint8]) -> Words:
    """Read a number at each bit place (n,), of so many bits (n,), at most 64."""
    if len(places) and (places.min() < 0 or (places + widths).max() > 64 * len(words) or widths.max() > 64):
        raise ValueError(f"numbers outside {len(words)} words")
    if (module := _compiled(_bits)) is None:
        return reference.read_at(words, places, widths)
    out = np.empty(len(places), dtype=np.uint64)
    module.read_at(words, places, widths, out)
    return out


def sum_from(words: Words, places: Ints, widths: NDArray[np.uint8], counts: Ints) -> Words:
    """Add up `counts` numbers, one behind the other from each bit place on: uint64 (n,), modulo 2**64."""
    if len(places) and (
        places.min() < 0 or counts.min() < 0 or widths.max() > 64 or (places + counts * widths).max() > 64 * len(words)
    ):
        raise ValueError(f"numbers outside {len(words)} words")
    if (module := _compiled(_bits)) is None:
        return reference.sum_from(words, places, widths, counts)
    out = np.empty(len(places), dtype=np.uint64)
    module.sum_from(words, places, widths, counts, out)
    return out


def digits(words: Words, base: int, start: int, stop: int) -> Words:
    """Read digits of a base, as many to a word as fit, from `start` up to, not including, `stop`."""
    per = digits_per_word(base)
    _check_digits(words, per, start, stop)
    if (module := _compiled(_bits)) is None:
        return reference.digits_at(words, base, per, np.arange(start, stop))
    out = np.empty(max(stop - start, 0), dtype=np.uint64)
    module.digits(words, base, per, start, out)
    return out


def digits_at(words: Words, base: int, at: Ints) -> Words:
    """Read the digits at some places (n,), in any order."""
    per = digits_per_word(base)
    if len(at):
        _check_digits(words, per, int(at.min()), int(at.max()) + 1)
    if (module := _compiled(_bits)) is None:
        return reference.digits_at(words, base, per, at)
    out = np.empty(len(at), dtype=np.uint64)
    module.digits_at(words, base, per, at, out)
    return out


@functools.cache
def digits_per_word(base: int) -> int:
    """How many digits of a base, 2 to 2**32, a word of 64 bits holds."""
    if not 2 <= base <= 1 << 32:
        raise ValueError(f"{base} is no base")
    per = 2
    while base ** (per + 1) <= 1 << 64:
        per += 1
    return per


def count_ones(words: Words) -> Counts:
    """Count the ones before every 1,024th bit: what `select` and `rank` need beside the vector."""
    if (module := _compiled(_bits)) is None:
        counts = reference.count_ones(words)
    else:
        counts = np.empty(-(-len(words) * 64 // BLOCK_BITS), dtype=np.uint64)
        module.count_ones(words, counts)
    return counts.astype(np.uint32) if len(words) < 1 << 26 else counts


def select(words: Words, counts: Counts, nth: Ints, ones: bool = True) -> Ints:
    """Find the places of the nth ones, or zeros, from 0; the vector's length for those that there are not."""
    if len(nth) and nth.min() < 0:
        raise ValueError("there is no bit before the first")
    if (module := _compiled(_bits)) is None:
        return reference.select(words, ones, nth)
    out = np.empty(len(nth), dtype=np.int64)
    module.select(words, counts, ones, nth, out)
    return out


def rank(words: Words, counts: Counts, places: Ints) -> Ints:
    """Count the ones before each place, 0 to the vector's length."""
    if len(places) and (places.min() < 0 or places.max() > 64 * len(words)):
        raise ValueError(f"places outside a vector of {64 * len(words)} bits")
    if (module := _compiled(_bits)) is None:
        return reference.rank(words, places)
    out = np.empty(len(places), dtype=np.int64)
    module.rank(words, counts, places, out)
    return out


def rank_gaps(
    upper: Words,
    counts: Counts,
    lower: Words,
    width: int,
    slope: int,
    sums: Ints,
    block: int,
    length: int,
    numbers: Ints,
) -> Ints:
    """Count the values below each number (n,) among the gaps that `encodings.rice` writes.

    `sums`: the low bits added up before each block of `block` of the `length` values.
    """
    if len(sums) != -(-length // block) or words_for(length * width) > len(lower):
        raise ValueError(f"{len(sums)} blocks of {block} are not {length} values")
    if (module := _compiled(_bits)) is None:
        return reference.rank_gaps(upper, lower, width, slope, length, numbers)
    out = np.empty(len(numbers), dtype=np.int64)
    module.rank_gaps(upper, counts, lower, width, slope, sums, block, length, numbers, out)
    return out


def ones_from(words: Words, start: int, count: int) -> Ints:
    """List the places of the first `count` ones from place `start` on; fewer where there are fewer."""
    if not 0 <= start <= 64 * len(words):
        raise ValueError(f"place {start} is outside a vector of {64 * len(words)} bits")
    if (module := _compiled(_bits)) is None:
        return reference.ones_from(words, start, count)
    out = np.empty(count, dtype=np.int64)
    return out[: module.ones_from(words, start, out)]


def set_bits(places: Ints, length: int) -> Words:
    """Make a vector of `length` bits with ones at some places, in any order and with repeats."""
    if len(places) and (places.min() < 0 or places.max() >= length):
        raise ValueError(f"places outside a vector of {length} bits")
    if (module := _compiled(_bits)) is None:
        return reference.set_bits(places, length)
    words = np.zeros(words_for(length), dtype=np.uint64)
    module.set_bits(places, words)
    return words


def set_runs(starts: Ints, stops: Ints, length: int) -> Words:
    """Make a vector of `length` bits with ones in some runs, none of which is empty."""
    if len(starts) and (starts.min() < 0 or stops.max() > length or (starts >= stops).any()):
        raise ValueError(f"runs that are empty, or outside a vector of {length} bits")
    if (module := _compiled(_bits)) is None:
        return reference.set_runs(starts, stops, length)
    words = np.zeros(words_for(length), dtype=np.uint64)
    module.set_runs(starts, stops, words)
    return words


def has_bits(words: Words, base: int, size: int, numbers: Ints) -> NDArray[np.bool_]:
    """Tell of each number (n,) whether the vector, of `size` bits, the first of which stands for `base`, has a one there."""
    if size > 64 * len(words):
        raise ValueError(f"the vector has {64 * len(words)} bits, not {size}")
    if (module := _compiled(_bits)) is None:
        return reference.has_bits(words, base, size, numbers)
    out = np.empty(len(numbers), dtype=np.uint8)
    module.has_bits(words, base, size, numbers, out)
    return out.view(np.bool_)


def order_by_number(numbers: Ints, count: int) -> tuple[Ints, Ints]:
    """List positions by the number, 0 <= number < count, that they hold: where each number's begin (count + 1), and they (n,)."""
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= count):
        raise ValueError(f"numbers outside 0 … {count - 1}")
    if (module := _compiled(_bits)) is None:
        return reference.order_by_number(numbers, count)
    begins, order = np.zeros(count + 1, dtype=np.int64), np.empty(len(numbers), dtype=np.int64)
    module.order_by_number(numbers, begins, order)
    return begins, order


def survey(numbers: Ints) -> tuple[int, int, int, int, int]:
    """Give the smallest and largest number, how many are below and equal to the one before, and the arithmetic runs."""
    if (module := _compiled(_bits)) is None:
        return reference.survey(numbers)
    found = np.zeros(5, dtype=np.int64)
    module.survey(numbers, found)
    low, high, falls, same, runs = found.tolist()
    return low, high, falls, same, runs


def arithmetic_runs(numbers: Ints) -> tuple[Ints, Ints]:
    """Cut numbers into runs of equal steps (modulo 2**64): where they begin, and their steps, 0 for a lone number."""
    if (module := _compiled(_bits)) is None:
        return reference.arithmetic_runs(numbers)
    begins, steps = np.empty(len(numbers), dtype=np.int64), np.empty(len(numbers), dtype=np.int64)
    count = module.arithmetic_runs(numbers, begins, steps)
    return begins[:count].copy(), steps[:count].copy()


def _check_packed(words: Words, width: int, start: int, stop: int) -> None:
    if start < 0 or words_for(stop * width) > len(words):
        raise ValueError(f"places {start} … {stop - 1} are outside {len(words)} words of {width}-bit numbers")


def _check_digits(words: Words, per: int, start: int, stop: int) -> None:
    if start < 0 or -(-stop // per) > len(words):
        raise ValueError(f"places {start} … {stop - 1} are outside {len(words)} words of {per} digits")
