# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Rows of halves, each with a scale, as float32: reference.widen to the bit, and half.py checked the arguments."""

from libc.stdint cimport int64_t, uint16_t

cdef extern from *:
    """
    #include <stdint.h>
    /* Chosen when the module is loaded, which takes glibc's loader. */
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #define TP_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
    #else
    #define TP_WIDE
    #endif

    /* Sixteen at a time, in integers: what GCC and Clang make of these needs no instructions for halves. */
    typedef uint16_t tp_halves __attribute__((vector_size(32), aligned(2), may_alias));
    typedef uint32_t tp_words __attribute__((vector_size(64), aligned(4), may_alias));
    typedef int32_t tp_ints __attribute__((vector_size(64), aligned(4), may_alias));
    typedef float tp_floats __attribute__((vector_size(64), aligned(4), may_alias));

    TP_WIDE static void tp_widen(const uint16_t* from, float scale, float* to, int64_t count) {
        for (int64_t i = 0; i < count; i += 16) {
            uint16_t last[16] = {0};
            float room[16];
            const int64_t left = count - i;
            if (left < 16) for (int64_t j = 0; j < left; j++) last[j] = from[i + j];
            const tp_words half = __builtin_convertvector(*(const tp_halves*)(left < 16 ? last : from + i), tp_words);
            const tp_words size = half & 0x7fffu;
            const tp_floats tiny = __builtin_convertvector((tp_ints)size, tp_floats) * 0x1p-24f;
            const tp_words below = (tp_words)((tp_ints)size < 0x400); /* too small for an exponent of its own */
            const tp_words above = (tp_words)((tp_ints)size >= 0x7c00); /* infinite, or no number */
            const tp_words whole = (size << 13) + 0x38000000u + (above & 0x38000000u);
            const tp_words bits = ((tp_words)tiny & below) | (whole & ~below) | ((half & 0x8000u) << 16);
            *(tp_floats*)(left < 16 ? room : to + i) = (tp_floats)bits * scale;
            if (left < 16) for (int64_t j = 0; j < left; j++) to[i + j] = room[j];
        }
    }
    """
    void tp_widen(const uint16_t* source, float scale, float* to, int64_t count) noexcept nogil


def widen(const uint16_t[:, ::1] stored, const float[:] scale, float[:, ::1] out):
    """Write the rows of `stored`, which holds the bits of halves, times their scales into `out`."""
    cdef Py_ssize_t row
    if not stored.shape[1]:
        return
    with nogil:
        for row in range(stored.shape[0]):
            tp_widen(&stored[row, 0], scale[row], &out[row, 0], stored.shape[1])
