# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""The k largest of each row by a heap of k; reference.topk, and dispatch.py checked the arguments."""

from libc.stdint cimport int64_t
from cython cimport floating

cdef extern from *:
    """
    #include <stdint.h>
    /* Chosen when the module is loaded, which takes glibc's loader. */
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #define TP_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
    #else
    #define TP_WIDE
    #endif

    /* The first place from `from` on where a value is not below its bar, which few are; `count` if there is none. */
    #define TP_NEXT(NAME, REAL, FLAG)                                                                \\
    TP_WIDE static int64_t NAME(const REAL* values, const REAL* bars, int64_t from, int64_t count) { \\
        int64_t j = from;                                                                            \\
        for (; j + 32 <= count; j += 32) {                                                           \\
            FLAG any = 0;                                                                            \\
            for (int i = 0; i < 32; i++) any |= !(values[j + i] < bars[j + i]);                      \\
            if (any) break;                                                                          \\
        }                                                                                            \\
        while (j < count && values[j] < bars[j]) j++;                                                \\
        return j;                                                                                    \\
    }
    TP_NEXT(tp_next_float, float, int32_t)
    TP_NEXT(tp_next_double, double, int64_t)
    """
    int64_t tp_next_float(const float* values, const float* bars, int64_t start, int64_t count) noexcept nogil
    int64_t tp_next_double(const double* values, const double* bars, int64_t start, int64_t count) noexcept nogil


cdef inline bint _before(floating a, int64_t i, floating b, int64_t j) noexcept nogil:
    """Whether score `a` at position `i` ranks before `b` at `j`: larger first, ties by position, NaN last."""
    if a > b:
        return True
    if a < b:
        return False
    if a != a:
        return b != b and i < j
    return b != b or i < j


cdef inline void _sift(floating* score, int64_t* place, Py_ssize_t at, Py_ssize_t k) noexcept nogil:
    """Restore a heap, its lowest-ranked entry on top, of which only `at` may be out of order."""
    cdef Py_ssize_t child
    cdef floating value = score[at]
    cdef int64_t position = place[at]
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and _before(score[child], place[child], score[child + 1], place[child + 1]):
            child += 1
        if not _before(value, position, score[child], place[child]):
            break
        score[at] = score[child]
        place[at] = place[child]
        at = child
    score[at] = value
    place[at] = position


def topk(const floating[:, ::1] scores, int64_t[:, ::1] order, floating[::1] heap):
    """Write the positions of each row's `order.shape[1]` (at least one) largest scores; `heap` is working room."""
    cdef Py_ssize_t row, i, n = scores.shape[1], k = order.shape[1]
    cdef floating* score = &heap[0]
    cdef int64_t* place
    cdef floating value
    with nogil:
        for row in range(scores.shape[0]):
            place = &order[row, 0]
            for i in range(k):
                score[i] = scores[row, i]
                place[i] = i
            for i in range(k // 2 - 1, -1, -1):
                _sift(score, place, i, k)
            for i in range(k, n):
                value = scores[row, i]
                if value > score[0] or (score[0] != score[0] and value == value):
                    score[0] = value
                    place[0] = i
                    _sift(score, place, 0, k)
            for i in range(k - 1, 0, -1):  # the lowest-ranked goes to the end, again and again
                score[0], score[i] = score[i], score[0]
                place[0], place[i] = place[i], place[0]
                _sift(score, place, 0, i)


def keep_largest(
    const floating[:, ::1] scores, const int64_t[::1] positions, floating[:, ::1] best, int64_t[:, ::1] places,
    floating[::1] bars,
):
    """reference.keep_largest; each row of `best` and `places` is a heap of at least one entry, the lowest on top."""
    cdef Py_ssize_t row, column, k = best.shape[1], columns = scores.shape[1]
    cdef const floating* values
    cdef floating* score
    cdef int64_t* place
    with nogil:
        for column in range(columns):
            bars[column] = best[column, 0]
        for row in range(scores.shape[0]):
            values = &scores[row, 0]
            column = 0
            while True:
                if floating is float:
                    column = tp_next_float(values, &bars[0], column, columns)
                else:
                    column = tp_next_double(values, &bars[0], column, columns)
                if column == columns:
                    break
                score = &best[column, 0]
                place = &places[column, 0]
                if _before(values[column], positions[row], score[0], place[0]):
                    score[0] = values[column]
                    place[0] = positions[row]
                    _sift(score, place, 0, k)
                    bars[column] = score[0]
                column += 1


def merge_kept(floating[:, ::1] best, int64_t[:, ::1] places, const floating[:, ::1] others, const int64_t[:, ::1] theirs):
    """reference.merge_kept; rows are heaps as those of keep_largest."""
    cdef Py_ssize_t row, i, k = best.shape[1]
    with nogil:
        for row in range(best.shape[0]):
            for i in range(k):
                if _before(others[row, i], theirs[row, i], best[row, 0], places[row, 0]):
                    best[row, 0] = others[row, i]
                    places[row, 0] = theirs[row, i]
                    _sift(&best[row, 0], &places[row, 0], 0, k)


def sort_kept(floating[:, ::1] best, int64_t[:, ::1] places):
    """Order the heaps of keep_largest: the first-ranked first."""
    cdef Py_ssize_t row, i, k = best.shape[1]
    cdef floating* score
    cdef int64_t* place
    with nogil:
        for row in range(best.shape[0]):
            score = &best[row, 0]
            place = &places[row, 0]
            for i in range(k - 1, 0, -1):
                score[0], score[i] = score[i], score[0]
                place[0], place[i] = place[i], place[0]
                _sift(score, place, 0, i)
