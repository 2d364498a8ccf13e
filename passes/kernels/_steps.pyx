# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Chains of arithmetic over cells, a chunk in the nearest cache at a time; steps.py checked the arguments.

Each step is one IEEE operation on each cell, rounded as NumPy rounds it (no product and sum are contracted), on as wide vectors
as the processor at hand has.
"""

from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #include <math.h>
    #include <stddef.h>
    #if defined(__GNUC__) && !defined(__clang__)
    #pragma GCC push_options
    #pragma GCC optimize ("O3", "no-math-errno")
    #endif
    #if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
    #define TP_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
    #else
    #define TP_WIDE
    #endif
    #if defined(__GNUC__) && !defined(__clang__)
    #define TP_EACH _Pragma("GCC ivdep") for (i = 0; i < n; i++)
    #else
    #define TP_EACH for (i = 0; i < n; i++)
    #endif
    #define TP_TWO(SIGN) \
        if (l && r) { TP_EACH o[i] = l[i] SIGN r[i]; } \
        else if (l) { TP_EACH o[i] = l[i] SIGN y; } \
        else { TP_EACH o[i] = x SIGN r[i]; } \
        break;
    #define TP_STEP(NAME, REAL, FABS, SQRT) \
        TP_WIDE static void NAME(int op, const REAL *l, const REAL *r, REAL x, REAL y, REAL *o, ptrdiff_t n) { \
            ptrdiff_t i; \
            switch (op) { \
            case 0: TP_TWO(+) \
            case 1: TP_TWO(-) \
            case 2: TP_TWO(*) \
            case 3: TP_TWO(/) \
            case 4: TP_EACH o[i] = FABS(l[i]); break; \
            case 5: TP_EACH o[i] = -l[i]; break; \
            case 6: TP_EACH o[i] = l[i] * l[i]; break; \
            case 7: TP_EACH o[i] = SQRT(l[i]); break; \
            case 8: TP_EACH o[i] = (REAL)1 / l[i]; break; \
            } \
        }
    TP_STEP(tp_step_double, double, fabs, sqrt)
    TP_STEP(tp_step_float, float, fabsf, sqrtf)
    #if defined(__GNUC__) && !defined(__clang__)
    #pragma GCC pop_options
    #endif
    """
    void tp_step_double(int, const double*, const double*, double, double, double*, Py_ssize_t) noexcept nogil
    void tp_step_float(int, const float*, const float*, float, float, float*, Py_ssize_t) noexcept nogil

cdef extern from "<fenv.h>" nogil:
    int FE_DIVBYZERO, FE_OVERFLOW, FE_INVALID
    int feclearexcept(int)
    int fetestexcept(int)

cdef enum:
    WHOLE, TILE, NUMBER, BUFFER


cdef inline char* _at(int32_t kind, int64_t place, Py_ssize_t start, Py_ssize_t chunk, Py_ssize_t width, char* room) noexcept nogil:
    """Where the cells of a chunk stand: in an array, in a tile that every chunk meets, in a buffer; nowhere for a number."""
    if kind == WHOLE:
        return <char*><uintptr_t>place + start * width
    if kind == TILE:
        return <char*><uintptr_t>place
    return room + place * chunk * width if kind == BUFFER else NULL


def run_steps(
    const int32_t[:, ::1] steps,
    const int32_t[::1] kinds,
    const int64_t[::1] places,
    const double[::1] numbers,
    Py_ssize_t first,
    Py_ssize_t last,
    Py_ssize_t chunk,
    Py_ssize_t buffers,
    bint double_,
):
    """Run all steps for the cells from `first` to `last`; tells whether NumPy would have warned of none of them."""
    cdef Py_ssize_t start = first, here, width = 8 if double_ else 4, k
    cdef int32_t left, right, out
    cdef char* l
    cdef char* r
    cdef char* o
    cdef char* room = <char*>malloc(max(1, buffers) * chunk * width)
    cdef int flags
    if room == NULL:
        raise MemoryError
    with nogil:
        feclearexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_INVALID)
        while start < last:
            here = min(chunk, last - start)
            for k in range(steps.shape[0]):
                left, right, out = steps[k, 1], steps[k, 2], steps[k, 3]
                l = _at(kinds[left], places[left], start, chunk, width, room)
                r = _at(kinds[right], places[right], start, chunk, width, room)
                o = _at(kinds[out], places[out], start, chunk, width, room)
                if double_:
                    tp_step_double(
                        steps[k, 0], <double*>l, <double*>r, numbers[left], numbers[right], <double*>o, here
                    )
                else:
                    tp_step_float(
                        steps[k, 0], <float*>l, <float*>r, <float>numbers[left], <float>numbers[right], <float*>o, here
                    )
            start += here
        flags = fetestexcept(FE_DIVBYZERO | FE_OVERFLOW | FE_INVALID)
        free(room)
    return flags == 0
