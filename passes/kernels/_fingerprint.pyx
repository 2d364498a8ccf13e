# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""A sum of position-dependent bijections of 64-bit words; reference.hash_words, of which this gives every bit."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    #define TP_STEP UINT64_C(0x9E3779B97F4A7C15)
    #define TP_ODD_1 UINT64_C(0xFF51AFD7ED558CCD)
    #define TP_ODD_2 UINT64_C(0xC4CEB9FE1A85EC53)
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #error "words are read as little-endian; without this kernel its NumPy twin runs"
    #endif
    """
    const uint64_t TP_STEP
    const uint64_t TP_ODD_1
    const uint64_t TP_ODD_2


cdef inline uint64_t _mix(uint64_t word, uint64_t key) noexcept nogil:
    cdef uint64_t x = (word ^ key) * TP_ODD_1
    return (x ^ (x >> 32)) * TP_ODD_2


def hash_words(const unsigned char[::1] words):
    cdef Py_ssize_t i, size = words.shape[0], whole = size // 8
    cdef uint64_t total = 0, word, key = 0
    cdef const unsigned char* at = &words[0] if size else NULL
    with nogil:
        for i in range(whole):
            memcpy(&word, at + 8 * i, 8)  # the bytes need not be aligned
            total += _mix(word, key)
            key += TP_STEP
        word = 0
        if size > 8 * whole:
            memcpy(&word, at + 8 * whole, size - 8 * whole)
        total += _mix(word, key)
    return total
