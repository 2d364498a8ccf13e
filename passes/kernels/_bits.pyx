# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Packed numbers and bit vectors with counts; reference.py says what each function means, bits.py checked the arguments.

Every read stays inside `words`, whatever the counts say: they may come from a file.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline int tp_ones(uint64_t x) { return __builtin_popcountll(x); }
    static inline int tp_first(uint64_t x) { return __builtin_ctzll(x); }
    """
    int tp_ones(uint64_t) nogil
    int tp_first(uint64_t) nogil

ctypedef fused count_t:
    uint32_t
    uint64_t

cdef enum:
    BLOCK = 16  # words between two counts: bits.BLOCK_BITS


cdef inline uint64_t _mask(int width) noexcept nogil:
    return <uint64_t> -1 if width >= 64 else ((<uint64_t> 1) << width) - 1


cdef inline uint64_t _read(const uint64_t *words, int64_t bit, int width) noexcept nogil:
    cdef int64_t word = bit >> 6
    cdef int shift = bit & 63
    cdef uint64_t value
    if width == 0:
        return 0
    value = words[word] >> shift
    if shift + width > 64:
        value |= words[word + 1] << (64 - shift)
    return value & _mask(width)


def pack(const uint64_t[::1] values, int width, uint64_t[::1] words):
    cdef Py_ssize_t i, n = values.shape[0]
    cdef int64_t bit = 0
    cdef int shift
    if width == 0:
        return
    with nogil:
        for i in range(n):
            shift = bit & 63
            words[bit >> 6] |= values[i] << shift
            if shift + width > 64:
                words[(bit >> 6) + 1] |= values[i] >> (64 - shift)
            bit += width


def unpack(const uint64_t[::1] words, int width, int64_t start, uint64_t[::1] out):
    cdef Py_ssize_t i
    cdef int64_t bit = start * width
    cdef const uint64_t *source = &words[0] if words.shape[0] else NULL
    with nogil:
        for i in range(out.shape[0]):
            out[i] = _read(source, bit, width)
            bit += width


def unpack_at(const uint64_t[::1] words, int width, const int64_t[::1] at, uint64_t[::1] out):
    cdef Py_ssize_t i
    cdef const uint64_t *source = &words[0] if words.shape[0] else NULL
    with nogil:
        for i in range(at.shape[0]):
            out[i] = _read(source, at[i] * width, width)


def packed_sums(
    const uint64_t[::1] words, int width, const int64_t[::1] starts, const int64_t[::1] stops, uint64_t[::1] out
):
    cdef Py_ssize_t i
    cdef int64_t at
    cdef uint64_t total
    cdef const uint64_t *source = &words[0] if words.shape[0] else NULL
    with nogil:
        for i in range(starts.shape[0]):
            total = 0
            for at in range(starts[i], stops[i]):
                total += _read(source, at * width, width)
            out[i] = total


def read_at(const uint64_t[::1] words, const int64_t[::1] bits, const uint8_t[::1] widths, uint64_t[::1] out):
    cdef Py_ssize_t i
    cdef const uint64_t *source = &words[0] if words.shape[0] else NULL
    with nogil:
        for i in range(bits.shape[0]):
            out[i] = _read(source, bits[i], widths[i])


def sum_from(
    const uint64_t[::1] words, const int64_t[::1] bits, const uint8_t[::1] widths, const int64_t[::1] counts,
    uint64_t[::1] out,
):
    cdef Py_ssize_t i
    cdef int64_t k
    cdef uint64_t total
    cdef const uint64_t *source = &words[0] if words.shape[0] else NULL
    with nogil:
        for i in range(bits.shape[0]):
            total = 0
            for k in range(counts[i]):
                total += _read(source, bits[i] + k * widths[i], widths[i])
            out[i] = total


def digits(const uint64_t[::1] words, uint64_t base, int64_t per, int64_t start, uint64_t[::1] out):
    cdef Py_ssize_t i, n = out.shape[0]
    cdef int64_t word = start // per, left = per - start % per, k
    cdef uint64_t here
    with nogil:
        if n:
            here = words[word]
            for k in range(start % per):
                here //= base
            for i in range(n):
                if left == 0:
                    word, left = word + 1, per
                    here = words[word]
                out[i] = here % base
                here //= base
                left -= 1


def digits_at(const uint64_t[::1] words, uint64_t base, int64_t per, const int64_t[::1] at, uint64_t[::1] out):
    cdef Py_ssize_t i
    cdef int64_t k
    cdef uint64_t here
    with nogil:
        for i in range(at.shape[0]):
            here = words[at[i] // per]
            for k in range(at[i] % per):
                here //= base
            out[i] = here % base


def count_ones(const uint64_t[::1] words, uint64_t[::1] counts):
    cdef Py_ssize_t word, n = words.shape[0]
    cdef uint64_t total = 0
    with nogil:
        for word in range(n):
            if word % BLOCK == 0:
                counts[word // BLOCK] = total
            total += tp_ones(words[word])
    return total


cdef inline int64_t _select_in(uint64_t word, int64_t nth) noexcept nogil:
    """The place of the nth one in a word that has more than so many."""
    while nth > 0:
        word &= word - 1
        nth -= 1
    return tp_first(word)


cdef inline int64_t _place(
    const uint64_t *words, Py_ssize_t n, const count_t *counts, Py_ssize_t blocks, bint ones, int64_t nth
) noexcept nogil:
    cdef Py_ssize_t low = 0, high = blocks, middle, word
    cdef int64_t left, before = 0
    cdef uint64_t here = 0
    while high - low > 1:  # the last block before which at most so many were
        middle = (low + high) // 2
        before = counts[middle] if ones else middle * (BLOCK * 64) - counts[middle]
        if before <= nth:
            low = middle
        else:
            high = middle
    before = 0
    if blocks:
        before = counts[low] if ones else low * (BLOCK * 64) - counts[low]
    left, word = nth - before, low * BLOCK
    while word < n:
        here = words[word] if ones else ~words[word]
        before = tp_ones(here)
        if left < before:
            break
        left -= before
        word += 1
    return word * 64 + (_select_in(here, left) if word < n else 0)


def select(const uint64_t[::1] words, const count_t[::1] counts, bint ones, const int64_t[::1] nth, int64_t[::1] out):
    cdef Py_ssize_t i, n = words.shape[0], blocks = counts.shape[0]
    cdef const uint64_t *source = &words[0] if n else NULL
    cdef const count_t *count = &counts[0] if blocks else NULL
    with nogil:
        for i in range(nth.shape[0]):
            out[i] = _place(source, n, count, blocks, ones, nth[i])


def rank_gaps(
    const uint64_t[::1] upper, const count_t[::1] counts, const uint64_t[::1] lower, int width, int64_t slope,
    const int64_t[::1] sums, int64_t block, int64_t length, const int64_t[::1] numbers, int64_t[::1] out,
):
    """Bisect among the first numbers of blocks, then add up gaps from there."""
    cdef Py_ssize_t i, n = upper.shape[0], blocks = counts.shape[0], word
    cdef int64_t low, high, middle, at, place, value, total
    cdef uint64_t here
    cdef const uint64_t *source = &upper[0] if n else NULL
    cdef const uint64_t *packed = &lower[0] if lower.shape[0] else NULL
    cdef const count_t *count = &counts[0] if blocks else NULL
    with nogil:
        for i in range(numbers.shape[0]):
            low, high = 0, sums.shape[0]
            while low < high:  # the blocks that begin below the number
                middle = (low + high) // 2
                at = middle * block
                place = _place(source, n, count, blocks, True, at)
                value = ((place - at) << width) + sums[middle] + <int64_t> _read(packed, at * width, width) + at * slope
                if value < numbers[i]:
                    low = middle + 1
                else:
                    high = middle
            if low == 0:
                out[i] = 0
                continue
            at = (low - 1) * block
            total = sums[low - 1]
            place = _place(source, n, count, blocks, True, at)
            word = place >> 6
            here = upper[word] & ~_mask(place & 63) if word < n else 0
            while at < length and at < low * block:
                while here == 0 and word + 1 < n:
                    word += 1
                    here = upper[word]
                if here == 0:
                    break
                place = word * 64 + tp_first(here)
                here &= here - 1
                total += <int64_t> _read(packed, at * width, width)
                if ((place - at) << width) + total + at * slope >= numbers[i]:
                    break
                at += 1
            out[i] = at


def rank(const uint64_t[::1] words, const count_t[::1] counts, const int64_t[::1] bits, int64_t[::1] out):
    cdef Py_ssize_t i, word, last, block
    cdef int64_t total
    with nogil:
        for i in range(bits.shape[0]):
            last = bits[i] >> 6
            block = min(last // BLOCK, counts.shape[0] - 1)  # the vector's end may lie behind its last block
            total = counts[block] if block >= 0 else 0
            for word in range(max(block, 0) * BLOCK, last):
                total += tp_ones(words[word])
            if bits[i] & 63:
                total += tp_ones(words[last] & _mask(bits[i] & 63))
            out[i] = total


def ones_from(const uint64_t[::1] words, int64_t start, int64_t[::1] out):
    cdef Py_ssize_t word = start >> 6, n = words.shape[0], i = 0, room = out.shape[0]
    cdef uint64_t here
    with nogil:
        if word < n and room:
            here = words[word] & ~_mask(start & 63)
            while i < room:
                while here == 0 and word + 1 < n:
                    word += 1
                    here = words[word]
                if here == 0:
                    break
                out[i] = word * 64 + tp_first(here)
                here &= here - 1
                i += 1
    return i


def set_bits(const int64_t[::1] bits, uint64_t[::1] words):
    cdef Py_ssize_t i
    with nogil:
        for i in range(bits.shape[0]):
            words[bits[i] >> 6] |= (<uint64_t> 1) << (bits[i] & 63)


def set_runs(const int64_t[::1] starts, const int64_t[::1] stops, uint64_t[::1] words):
    cdef Py_ssize_t run, word
    cdef int64_t first, last
    with nogil:
        for run in range(starts.shape[0]):
            first, last = starts[run], stops[run] - 1
            if first >> 6 == last >> 6:
                words[first >> 6] |= _mask(last - first + 1) << (first & 63)
            else:
                words[first >> 6] |= (<uint64_t> -1) << (first & 63)
                for word in range((first >> 6) + 1, last >> 6):
                    words[word] = <uint64_t> -1
                words[last >> 6] |= _mask((last & 63) + 1)


def has_bits(const uint64_t[::1] words, int64_t base, int64_t size, const int64_t[::1] numbers, uint8_t[::1] out):
    cdef Py_ssize_t i
    cdef uint64_t bit
    with nogil:
        for i in range(numbers.shape[0]):
            bit = <uint64_t> numbers[i] - <uint64_t> base
            out[i] = bit < <uint64_t> size and (words[bit >> 6] >> (bit & 63)) & 1


def order_by_number(const int64_t[::1] numbers, int64_t[::1] begins, int64_t[::1] order):
    """Counting sort. Behind its first cell, `begins` holds counts, then where to write next, which ends as it shall."""
    cdef Py_ssize_t i
    cdef int64_t number, total = 0, count
    with nogil:
        for i in range(numbers.shape[0]):
            begins[numbers[i] + 1] += 1
        for i in range(1, begins.shape[0]):
            count = begins[i]
            begins[i] = total
            total += count
        for i in range(numbers.shape[0]):
            number = numbers[i] + 1
            order[begins[number]] = i
            begins[number] += 1


def survey(const int64_t[::1] numbers, int64_t[::1] found):
    """`found`: smallest, largest, descents, repeats of the number before, and arithmetic runs."""
    cdef Py_ssize_t i, n = numbers.shape[0]
    cdef int64_t low, high, falls = 0, same = 0, runs = 0, value, before
    cdef uint64_t step = 0, last = 0
    cdef bint open = False  # whether the run before has its step
    with nogil:
        if n:
            low = high = before = numbers[0]
            runs = 1
            for i in range(1, n):
                value = numbers[i]
                if value < low:
                    low = value
                if value > high:
                    high = value
                falls += value < before
                same += value == before
                step = <uint64_t> value - <uint64_t> before
                if not open:
                    open, last = True, step
                elif step != last:
                    runs += 1
                    open = False
                before = value
            found[0], found[1] = low, high
        found[2], found[3], found[4] = falls, same, runs


def arithmetic_runs(const int64_t[::1] numbers, int64_t[::1] begins, int64_t[::1] steps):
    """The runs that `survey` counts: where each begins, and its step (0 for a lone number)."""
    cdef Py_ssize_t i, n = numbers.shape[0], run = -1
    cdef uint64_t step
    cdef bint open = True
    with nogil:
        if n:
            run, open = 0, False
            begins[0], steps[0] = 0, 0
            for i in range(1, n):
                step = <uint64_t> numbers[i] - <uint64_t> numbers[i - 1]
                if not open:
                    open = True
                    steps[run] = <int64_t> step
                elif step != <uint64_t> steps[run]:
                    run += 1
                    open = False
                    begins[run], steps[run] = i, 0
    return run + 1
