# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""A sum of position-dependent bijections of 64-bit words; reference.hash_words, of which this gives every bit."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

cdef extern from *:
    """
    #include <stdint.h>
    #define TP_STEP UINT64_C(0x9E3779B97F4A7C15)
    #define TP_ODD_1 UINT64_C(0xFF51AFD7ED558CCD)
    #define TP_ODD_2 UINT64_C(0xC4CEB9FE1A85EC53)
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #error "words are read as little-endian; without this kernel its NumPy twin runs"
    #endif
    #include <string.h>
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    __attribute__((target_clones("avx512f", "avx2", "default")))
    #endif
    static void tp_quick(const unsigned char* at, size_t stripes, uint64_t* products, uint64_t* sums) {
        uint64_t product[8], sum[8], key[8], word[8];
        for (int j = 0; j < 8; j++) {
            product[j] = products[j];
            sum[j] = sums[j];
            key[j] = TP_STEP * (uint64_t)(j + 1);
        }
        for (size_t i = 0; i < stripes; i++) {
            memcpy(word, at + 64 * i, 64);
            for (int j = 0; j < 8; j++) {
                uint64_t x = word[j] ^ key[j];
                product[j] += (x & UINT64_C(0xFFFFFFFF)) * (x >> 32);
                sum[j] += word[j];
                key[j] += UINT64_C(8) * TP_STEP;
            }
        }
        memcpy(products, product, 64);
        memcpy(sums, sum, 64);
    }
    """
    void tp_quick(const unsigned char* at, size_t stripes, uint64_t* products, uint64_t* sums) noexcept nogil
    const uint64_t TP_STEP
    const uint64_t TP_ODD_1
    const uint64_t TP_ODD_2


cdef inline uint64_t _mix(uint64_t word, uint64_t key) noexcept nogil:
    cdef uint64_t x = (word ^ key) * TP_ODD_1
    return (x ^ (x >> 32)) * TP_ODD_2


cdef uint64_t _hash(const unsigned char* at, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i, whole = size // 8
    cdef uint64_t total = 0, word, key = 0
    for i in range(whole):
        memcpy(&word, at + 8 * i, 8)  # the bytes need not be aligned
        total += _mix(word, key)
        key += TP_STEP
    word = 0
    if size > 8 * whole:
        memcpy(&word, at + 8 * whole, size - 8 * whole)
    return total + _mix(word, key)


def hash_words(const unsigned char[::1] words):
    cdef Py_ssize_t size = words.shape[0]
    cdef const unsigned char* at = &words[0] if size else NULL
    cdef uint64_t total
    with nogil:
        total = _hash(at, size)
    return total


def sample(uint64_t address, Py_ssize_t size, Py_ssize_t count):
    """reference.sample_words of the bytes at an address, which the caller knows to be there."""
    cdef const unsigned char* at = <const unsigned char*><size_t>address
    cdef Py_ssize_t i, place, whole = size // 8
    cdef uint64_t total = 0, word
    if whole <= count:
        return _hash(at, size)
    for i in range(count):
        place = i * (whole - 1) // (count - 1)
        memcpy(&word, at + 8 * place, 8)
        total += _mix(word, <uint64_t>place * TP_STEP)
    word = 0
    if size > 8 * whole:
        memcpy(&word, at + 8 * whole, size - 8 * whole)
    return total + _mix(word, <uint64_t>whole * TP_STEP)


def quick(object array):
    """reference.quick_hash of a buffer in C order. Raises `BufferError` or `ValueError` for others, and for dates."""
    cdef Py_buffer buffer
    cdef uint64_t[8] products
    cdef uint64_t[8] sums
    cdef uint64_t total
    cdef const unsigned char* at
    cdef Py_ssize_t j, stripes
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    try:
        with nogil:
            at = <const unsigned char*>buffer.buf
            stripes = buffer.len // 64
            for j in range(8):
                products[j] = sums[j] = 0
            tp_quick(at, stripes, products, sums)
            total = _hash(at + 64 * stripes, buffer.len - 64 * stripes)
            for j in range(8):
                total += _mix(products[j], <uint64_t>(2 * j + 16) * TP_STEP)
                total += _mix(sums[j], <uint64_t>(2 * j + 17) * TP_STEP)
    finally:
        PyBuffer_Release(&buffer)
    return total


def fingerprint(object array, uint64_t header):
    """dispatch.fingerprint of a buffer in C order. Raises `BufferError` or `ValueError` for others, and for dates."""
    cdef Py_buffer buffer
    cdef uint64_t state
    PyObject_GetBuffer(array, &buffer, PyBUF_SIMPLE)
    try:
        with nogil:
            state = _hash(<const unsigned char*>buffer.buf, buffer.len)
    finally:
        PyBuffer_Release(&buffer)
    state = (state ^ header) + TP_STEP
    state = (state ^ (state >> 33)) * TP_ODD_1
    state = (state ^ (state >> 33)) * TP_ODD_2
    return state ^ (state >> 33)
