# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Shapley values of nearest-neighbour games, row by row of distances; the twins in reference.py say what each one is.

A row is ordered by a radix sort of (key, position) pairs, 32 bits of the key at a time: stable, so that equal distances
keep the order of the training rows, and linear in them. knn.py checked the arguments.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from cython cimport floating

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Sort pairs by their upper 32 bits, stably; give whichever of the two arrays holds the result. */
    static uint64_t* tp_sort_pairs(uint64_t* from, uint64_t* to, int64_t n) {
        if (n <= 48) {
            for (int64_t i = 1; i < n; i++) {
                const uint64_t pair = from[i];
                int64_t j = i;
                for (; j > 0 && (from[j - 1] >> 32) > (pair >> 32); j--) from[j] = from[j - 1];
                from[j] = pair;
            }
            return from;
        }
        uint32_t counts[3][2048];
        memset(counts, 0, sizeof counts);
        for (int64_t i = 0; i < n; i++) {
            const uint64_t pair = from[i];
            counts[0][(pair >> 32) & 2047]++;
            counts[1][(pair >> 43) & 2047]++;
            counts[2][(pair >> 54) & 2047]++;
        }
        for (int digit = 0; digit < 3; digit++) {
            const int shift = 32 + 11 * digit;
            uint32_t* starts = counts[digit];
            if (starts[(from[0] >> shift) & 2047] == (uint64_t)n) continue;  /* all alike in this digit */
            uint32_t sum = 0;
            for (int bucket = 0; bucket < 2048; bucket++) {
                const uint32_t count = starts[bucket];
                starts[bucket] = sum;
                sum += count;
            }
            for (int64_t i = 0; i < n; i++) to[starts[(from[i] >> shift) & 2047]++] = from[i];
            uint64_t* other = from;
            from = to;
            to = other;
        }
        return from;
    }

    /* Unsigned keys in the order of the numbers; both zeros have one. */
    static inline uint32_t tp_key32(float value) {
        uint32_t bits;
        value += 0.0f;
        memcpy(&bits, &value, 4);
        return bits >> 31 ? ~bits : bits | UINT32_C(0x80000000);
    }
    static inline uint64_t tp_key64(double value) {
        uint64_t bits;
        value += 0.0;
        memcpy(&bits, &value, 8);
        return bits >> 63 ? ~bits : bits | UINT64_C(0x8000000000000000);
    }

    /* order: positions by value; tied[i]: whether the i-th of them is as far as the one before it. */
    static void tp_order_float(const float* row, int64_t n, uint64_t* a, uint64_t* b, int32_t* order, uint8_t* tied) {
        for (int64_t i = 0; i < n; i++) a[i] = ((uint64_t)tp_key32(row[i]) << 32) | (uint64_t)i;
        const uint64_t* sorted = tp_sort_pairs(a, b, n);
        for (int64_t i = 0; i < n; i++) {
            order[i] = (int32_t)(uint32_t)sorted[i];
            tied[i] = i && (sorted[i] >> 32) == (sorted[i - 1] >> 32);
        }
    }

    /* By the upper half of the keys first; runs that it leaves undecided, by the lower half. */
    static void tp_order_double(const double* row, int64_t n, uint64_t* a, uint64_t* b, int32_t* order, uint8_t* tied) {
        for (int64_t i = 0; i < n; i++) a[i] = (tp_key64(row[i]) & UINT64_C(0xFFFFFFFF00000000)) | (uint64_t)i;
        uint64_t* sorted = tp_sort_pairs(a, b, n);
        uint64_t* room = sorted == a ? b : a;
        for (int64_t first = 0; first < n;) {
            int64_t last = first + 1;
            while (last < n && (sorted[last] >> 32) == (sorted[first] >> 32)) last++;
            uint64_t* run = sorted + first;
            if (last - first > 1) {
                for (int64_t i = 0; i < last - first; i++) {
                    const uint64_t place = run[i] & UINT64_C(0xFFFFFFFF);
                    run[i] = (tp_key64(row[place]) << 32) | place;
                }
                run = tp_sort_pairs(run, room + first, last - first);
            }
            for (int64_t i = 0; i < last - first; i++) {
                order[first + i] = (int32_t)(uint32_t)run[i];
                tied[first + i] = i && (run[i] >> 32) == (run[i - 1] >> 32);
            }
            first = last;
        }
    }
    """
    void tp_order_float(const float*, int64_t, uint64_t*, uint64_t*, int32_t*, uint8_t*) noexcept nogil
    void tp_order_double(const double*, int64_t, uint64_t*, uint64_t*, int32_t*, uint8_t*) noexcept nogil


cdef struct Room:
    uint64_t* pairs
    int32_t* order
    uint8_t* tied


cdef Room _room(Py_ssize_t n) except *:
    """Set aside what ordering `n` distances takes."""
    cdef Room room
    room.pairs = <uint64_t*>malloc(2 * n * sizeof(uint64_t) + 8)
    room.order = <int32_t*>malloc(n * sizeof(int32_t) + 8)
    room.tied = <uint8_t*>malloc(n + 8)
    if room.pairs == NULL or room.order == NULL or room.tied == NULL:
        _leave(room)
        raise MemoryError(f"no room to order {n} distances")
    return room


cdef void _leave(Room room) noexcept nogil:
    free(room.pairs)
    free(room.order)
    free(room.tied)


cdef inline void _order(const floating* row, Py_ssize_t n, Room room) noexcept nogil:
    if floating is float:
        tp_order_float(row, n, room.pairs, room.pairs + n, room.order, room.tied)
    else:
        tp_order_double(row, n, room.pairs, room.pairs + n, room.order, room.tied)


cdef inline double _share(int64_t k, Py_ssize_t rank) noexcept nogil:
    """1 / max(k, rank)"""
    return 1.0 / (rank if rank > k else k)


def knn_classes(
    const floating[:, ::1] distances, const uint8_t[:, ::1] hits, int64_t k, const double[::1] shares, double[::1] values
):
    """reference.knn_classes, added to `values`; `shares[j]` is 1 / max(k, j), for j = 0 … n."""
    cdef Py_ssize_t n = distances.shape[1], row, i, first, last, right
    cdef const uint8_t* hit
    cdef double tail, mean, other, one, spread
    cdef Room room = _room(n)
    with nogil:
        for row in range(distances.shape[0]):
            _order(&distances[row, 0], n, room)
            hit = &hits[row, 0]
            tail = 0.0
            last = n - 1
            while last >= 0:
                if not room.tied[last]:
                    if hit[room.order[last]]:
                        values[room.order[last]] += shares[last + 1] - tail
                        tail += shares[last] - shares[last + 1]
                    else:
                        values[room.order[last]] -= tail
                    last -= 1
                    continue
                first = last
                right = hit[room.order[last]]
                mean = shares[last + 1]
                while room.tied[first]:
                    first -= 1
                    right += hit[room.order[first]]
                    mean += shares[first + 1]
                mean /= last - first + 1
                spread = (mean - shares[last + 1]) / (last - first)
                one = mean - (right - 1) * spread - tail
                other = -right * spread - tail
                for i in range(first, last + 1):
                    values[room.order[i]] += one if hit[room.order[i]] else other
                tail += (<double>right / (last - first + 1)) * (shares[first] - shares[last + 1])
                last = first - 1
    _leave(room)


def knn_numbers(
    const floating[:, ::1] distances, const double[::1] targets, const double[::1] wanted, int64_t k, double[::1] values
):
    """reference.knn_numbers, added to `values`."""
    cdef Py_ssize_t n = distances.shape[1], row, i
    cdef double y, before, plain, square, both, blocked, alone, share, previous, pair, block
    cdef double width = k, least
    cdef Room room = _room(n)
    with nogil:
        for row in range(distances.shape[0]):
            _order(&distances[row, 0], n, room)
            before = 0.0
            for i in range(n):
                before += targets[i]
            plain = square = both = blocked = alone = 0.0
            for i in range(n, 0, -1):  # ranks from 1
                y = targets[room.order[i - 1]]
                before -= y
                share, previous = width * _share(k, i), width * _share(k, i - 1)
                least = i if i < k else k
                pair = least * (least - 1) / (2.0 * i * (i - 1)) if i > 1 else 0.0
                block = width * (width - 1) / (<double>i * (i - 1) * (i - 2)) if i > k and i > 2 else 0.0
                values[room.order[i - 1]] += (
                    2.0 * wanted[row] / width * (y * share - plain)
                    - (y * y * share - square + 2.0 * (y * (pair * before + both + alone) - blocked)) / (width * width)
                )
                plain += y * (previous - share)
                square += y * y * (previous - share)
                both += y * pair
                alone += y * block
                blocked += block * y * before
    _leave(room)


cdef inline double _won(Py_ssize_t votes) noexcept nogil:
    """Whether a sum of votes carries the day: 1, 0, or 1/2 for a tie."""
    return 0.5 if votes == 0 else <double>(votes > 0)


def knn_votes(
    const floating[:, ::1] distances,
    const int16_t[:, ::1] votes,
    int64_t k,
    int64_t most,
    const double[::1] few,
    const double[::1] full,
    double[::1] values,
):
    """reference.knn_votes, added to `values`.

    `few[l]` is 1 / (n C(n-1, l)) for l below k, `full[m]` is 1 / (m C(m-1, k)) for m above k; |votes| are at most `most`.
    """
    cdef Py_ssize_t n = distances.shape[1], row, m, r, s, c, low, high, reach, width, sizes, kinds, cells, vote, own
    cdef int64_t depth = min(k, n)
    cdef double total
    cdef double* with_all
    cdef double* less
    cdef double* swapped
    cdef double* first_part
    cdef int64_t* there
    cdef const int16_t* cast
    reach = (depth - 1) * most  # the largest sum of depth - 1 votes
    width = 2 * reach + 1
    sizes, kinds = depth, 2 * most + 1
    cells = sizes * width
    cdef Room room = _room(n)
    cdef double* memory = <double*>malloc((2 * cells + kinds * (n + 2) + 8) * sizeof(double))
    there = <int64_t*>malloc(kinds * sizeof(int64_t))
    if memory == NULL or there == NULL:
        _leave(room)
        free(memory)
        free(there)
        raise MemoryError(f"no room to count the votes of {n} rows")
    with_all, less, first_part = memory, memory + cells, memory + 2 * cells
    swapped = first_part + kinds  # per kind: what the ranks from n down to m give
    with nogil:
        for row in range(distances.shape[0]):
            _order(&distances[row, 0], n, room)
            cast = &votes[row, 0]
            memset(with_all, 0, cells * sizeof(double))
            memset(there, 0, kinds * sizeof(int64_t))
            memset(first_part, 0, kinds * (n + 1) * sizeof(double))
            with_all[reach] = 1.0  # one way to choose nothing, with sum 0
            for m in range(1, n + 1):  # ranks from 1; with_all counts choices among those before m
                vote = cast[room.order[m - 1]]
                if m > k:
                    for c in range(kinds):
                        own = c - most
                        if not there[c] or own == vote:
                            continue
                        # One vote in the place of the other changes who wins for these sums alone.
                        low, high = max(-max(own, vote), -reach), min(-min(own, vote), reach)
                        total = 0.0
                        for s in range(low, high + 1):
                            total += _left(with_all, sizes, width, own, s + reach) * (_won(s + own) - _won(s + vote))
                        swapped[(m - 1) * kinds + c] = total * full[m]
                for r in range(sizes - 1, 0, -1):
                    for s in range(max(0, vote), min(width, width + vote)):
                        with_all[r * width + s] += with_all[(r - 1) * width + s - vote]
                there[vote + most] += 1
            for c in range(kinds):
                if there[c]:
                    own = c - most
                    _without(with_all, less, sizes, width, own)
                    total = 0.0
                    for r in range(sizes):
                        for s in range(width):
                            total += few[r] * less[r * width + s] * (_won(s - reach + own) - _won(s - reach))
                    first_part[c] = total
            for m in range(n, 0, -1):
                c = cast[room.order[m - 1]] + most
                values[room.order[m - 1]] += first_part[c]
                for s in range(kinds):
                    first_part[s] += swapped[(m - 1) * kinds + s]
    free(memory)
    free(there)
    _leave(room)


cdef inline double _left(
    const double* choices, Py_ssize_t sizes, Py_ssize_t width, Py_ssize_t own, Py_ssize_t s
) noexcept nogil:
    """One cell of the last row of `_without`: the quotient's alternating sum."""
    cdef Py_ssize_t r
    cdef double sum = 0.0, sign = 1.0
    for r in range(sizes - 1, -1, -1):
        if s < 0 or s >= width:
            break
        sum += sign * choices[r * width + s]
        sign = -sign
        s -= own
    return sum


cdef inline void _without(
    const double* choices, double* less, Py_ssize_t sizes, Py_ssize_t width, Py_ssize_t own
) noexcept nogil:
    """Count the choices that leave out one element with that vote: divide the polynomial by 1 + t x^own."""
    cdef Py_ssize_t r, s
    memcpy(less, choices, width * sizeof(double))
    for r in range(1, sizes):
        memcpy(less + r * width, choices + r * width, width * sizeof(double))
        for s in range(max(0, own), min(width, width + own)):
            less[r * width + s] -= less[(r - 1) * width + s - own]
