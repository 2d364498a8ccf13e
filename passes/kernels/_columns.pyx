# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Means and spreads down the columns of a matrix, row after row as NumPy adds them; reference.column_means and column_spreads.

Each tells whether all that it found is finite: where it is not, NumPy has warnings to give that a kernel has not. Arrays come
as plain buffers, which take half the time of memoryviews; columns.py knows that they are in C order, and of `double` or float.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython cimport floating
from libc.math cimport isfinite, sqrt


cdef bint _finite(const floating* found, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(width):
        if not isfinite(found[j]):
            return False
    return True


cdef void _means(const floating* x, Py_ssize_t rows, Py_ssize_t width, double count, floating* out) noexcept nogil:
    cdef Py_ssize_t i, j
    for j in range(width):
        out[j] = 0.0  # as NumPy begins: a column of -0.0 adds up to 0.0
    for i in range(rows):
        for j in range(width):
            out[j] = out[j] + x[j]
        x += width
    for j in range(width):
        out[j] = <floating>(<double>out[j] / count)


cdef void _spreads(
    const floating* x, Py_ssize_t rows, Py_ssize_t width, double count, bint root, floating* mean, floating* out
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef floating apart
    _means(x, rows, width, rows, mean)
    for j in range(width):
        out[j] = 0.0
    for i in range(rows):
        for j in range(width):
            apart = x[j] - mean[j]
            out[j] = out[j] + apart * apart
        x += width
    for j in range(width):
        out[j] = <floating>(<double>out[j] / count)
        if root:
            out[j] = <floating>sqrt(<double>out[j])  # rounded twice to float32, and the same: 53 bits are twice 24 and two


def column_means(object x, double count, object out, bint double):
    cdef Py_buffer cells, found
    cdef Py_ssize_t rows, width
    cdef bint finite
    PyObject_GetBuffer(x, &cells, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(out, &found, PyBUF_WRITABLE)
        try:
            width = found.len // (8 if double else 4)
            rows = cells.len // found.len
            with nogil:
                if double:
                    _means(<const double*>cells.buf, rows, width, count, <double*>found.buf)
                    finite = _finite(<const double*>found.buf, width)
                else:
                    _means(<const float*>cells.buf, rows, width, count, <float*>found.buf)
                    finite = _finite(<const float*>found.buf, width)
        finally:
            PyBuffer_Release(&found)
    finally:
        PyBuffer_Release(&cells)
    return finite


def column_spreads(object x, double count, bint root, object out, bint double):
    cdef Py_buffer cells, found
    cdef Py_ssize_t rows, width
    cdef bint finite
    PyObject_GetBuffer(x, &cells, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(out, &found, PyBUF_WRITABLE)
        try:
            width = found.len // (16 if double else 8)
            rows = cells.len // (found.len // 2)
            with nogil:
                if double:
                    _spreads(<const double*>cells.buf, rows, width, count, root, <double*>found.buf + width, <double*>found.buf)
                    finite = _finite(<const double*>found.buf, width)
                else:
                    _spreads(<const float*>cells.buf, rows, width, count, root, <float*>found.buf + width, <float*>found.buf)
                    finite = _finite(<const float*>found.buf, width)
        finally:
            PyBuffer_Release(&found)
    finally:
        PyBuffer_Release(&cells)
    return finite
