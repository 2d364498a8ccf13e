# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Run-list algebra by merging; reference.py says what each function means, dispatch.py checked the arguments.

`starts` and `stops` are the results' room; what is returned is how many runs were written.
"""

from libc.stdint cimport int64_t


def runs_from_indices(const int64_t[::1] indices, int64_t[::1] starts, int64_t[::1] stops):
    cdef Py_ssize_t i, n = indices.shape[0], last = -1
    with nogil:
        for i in range(n):
            if last >= 0 and indices[i] <= stops[last]:
                stops[last] = indices[i] + 1
            else:
                last += 1
                starts[last] = indices[i]
                stops[last] = indices[i] + 1
    return last + 1


def runs_to_indices(const int64_t[::1] starts, const int64_t[::1] stops, int64_t[::1] out):
    cdef Py_ssize_t run, at = 0
    cdef int64_t value
    with nogil:
        for run in range(starts.shape[0]):
            for value in range(starts[run], stops[run]):
                out[at] = value
                at += 1


cdef inline Py_ssize_t _append(
    int64_t start, int64_t stop, int64_t[::1] starts, int64_t[::1] stops, Py_ssize_t count
) noexcept nogil:
    """Add a run that starts no earlier than the last one; the two become one where they touch."""
    if count and start <= stops[count - 1]:
        if stop > stops[count - 1]:
            stops[count - 1] = stop
        return count
    starts[count] = start
    stops[count] = stop
    return count + 1


def union(
    const int64_t[::1] a_starts, const int64_t[::1] a_stops, const int64_t[::1] b_starts, const int64_t[::1] b_stops,
    int64_t[::1] starts, int64_t[::1] stops,
):
    cdef Py_ssize_t a = 0, b = 0, count = 0, n = a_starts.shape[0], m = b_starts.shape[0]
    with nogil:
        while a < n or b < m:
            if b == m or (a < n and a_starts[a] <= b_starts[b]):
                count = _append(a_starts[a], a_stops[a], starts, stops, count)
                a += 1
            else:
                count = _append(b_starts[b], b_stops[b], starts, stops, count)
                b += 1
    return count


def intersection(
    const int64_t[::1] a_starts, const int64_t[::1] a_stops, const int64_t[::1] b_starts, const int64_t[::1] b_stops,
    int64_t[::1] starts, int64_t[::1] stops,
):
    cdef Py_ssize_t a = 0, b = 0, count = 0, n = a_starts.shape[0], m = b_starts.shape[0]
    cdef int64_t low, high
    with nogil:
        while a < n and b < m:
            low = max(a_starts[a], b_starts[b])
            high = min(a_stops[a], b_stops[b])
            if low < high:
                count = _append(low, high, starts, stops, count)
            if a_stops[a] <= b_stops[b]:
                a += 1
            else:
                b += 1
    return count


def difference(
    const int64_t[::1] a_starts, const int64_t[::1] a_stops, const int64_t[::1] b_starts, const int64_t[::1] b_stops,
    int64_t[::1] starts, int64_t[::1] stops,
):
    cdef Py_ssize_t a, b = 0, count = 0, n = a_starts.shape[0], m = b_starts.shape[0]
    cdef int64_t at
    with nogil:
        for a in range(n):
            at = a_starts[a]
            while b < m and b_stops[b] <= at:
                b += 1
            while b < m and b_starts[b] < a_stops[a]:
                if at < b_starts[b]:
                    count = _append(at, b_starts[b], starts, stops, count)
                at = b_stops[b]
                if at >= a_stops[a]:
                    break
                b += 1
            if at < a_stops[a]:
                count = _append(at, a_stops[a], starts, stops, count)
    return count


def contains(
    const int64_t[::1] starts, const int64_t[::1] stops, const int64_t[::1] indices, unsigned char[::1] out
):
    """Gallop from the last answer, so that ascending questions cost little; other orders cost two bisections."""
    cdef Py_ssize_t i, low, high, middle, step, n = starts.shape[0], run = 0
    cdef int64_t value
    with nogil:
        for i in range(indices.shape[0]):
            value = indices[i]
            # `run` becomes the first run that stops above the value.
            if run < n and stops[run] <= value:
                low, step = run + 1, 1
                while low + step < n and stops[low + step - 1] <= value:
                    low += step
                    step *= 2
                high = min(low + step, n)
            else:
                low, high = 0, run
                if run and stops[run - 1] <= value:
                    low = run
            while low < high:
                middle = (low + high) // 2
                if stops[middle] <= value:
                    low = middle + 1
                else:
                    high = middle
            run = low
            out[i] = run < n and starts[run] <= value
