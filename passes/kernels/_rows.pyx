# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Sums of rows in row order; reference.sum_of_rows, and rows.py checked the arguments."""

from cython cimport floating

cdef enum:
    TOGETHER = 8


cdef inline void _eight(const floating* row, Py_ssize_t n, Py_ssize_t width, floating* total) noexcept nogil:
    """Add eight neighbouring columns of n rows: as many sums as stay in registers."""
    cdef floating sums[TOGETHER]
    cdef Py_ssize_t i, k
    for k in range(TOGETHER):
        sums[k] = total[k]
    for i in range(n):
        for k in range(TOGETHER):
            sums[k] += row[k]
        row += width
    for k in range(TOGETHER):
        total[k] = sums[k]


cdef inline void _one(const floating* row, Py_ssize_t n, Py_ssize_t width, floating* total) noexcept nogil:
    cdef floating sum = total[0]
    cdef Py_ssize_t i
    for i in range(n):
        sum += row[0]
        row += width
    total[0] = sum


def add_rows(const floating[:, ::1] rows, floating[::1] total, Py_ssize_t panel):
    """Add rows to `total` in place, in panels of so many rows, which stay in the cache while their columns are gone through."""
    cdef Py_ssize_t n = rows.shape[0], width = rows.shape[1]
    cdef Py_ssize_t first = 0, here, j
    if n == 0 or width == 0:
        return
    with nogil:
        while first < n:
            here = min(panel, n - first)
            j = 0
            while j + TOGETHER <= width:
                _eight(&rows[first, j], here, width, &total[j])
                j += TOGETHER
            while j < width:
                _one(&rows[first, j], here, width, &total[j])
                j += 1
            first += here
