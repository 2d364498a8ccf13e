# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Hashed sparse projections, reference.sjlt and reference.sparse_jl to the bit; projection.py checked the arguments.

Rows go in tiles of `TP_LANES`, transposed, so that one entry of the matrix moves a whole vector. The entries of a block
of columns are drawn once for several tiles and forgotten. Every cell is a sum in column order, whatever the tiles are.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from cython cimport floating

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    #define TP_LANES 16
    #define TP_STEP UINT64_C(0x9E3779B97F4A7C15)
    #define TP_ODD_1 UINT64_C(0xFF51AFD7ED558CCD)
    #define TP_ODD_2 UINT64_C(0xC4CEB9FE1A85EC53)
    /* Chosen when the module is loaded, which takes glibc's loader. */
    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #define TP_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
    #else
    #define TP_WIDE
    #endif

    static inline uint64_t tp_word(uint64_t key, uint64_t counter) {
        uint64_t x = key + counter * TP_STEP;
        x = (x ^ (x >> 33)) * TP_ODD_1;
        x = (x ^ (x >> 33)) * TP_ODD_2;
        return x ^ (x >> 33);
    }

    /* The lanes of one column, or of one bucket: what GCC and Clang make of them on any processor. */
    typedef float tp_floats __attribute__((vector_size(64), aligned(64), may_alias));
    typedef double tp_doubles __attribute__((vector_size(128), aligned(64), may_alias));

    /* The entries of columns with one non-zero, from the number `first` on. */
    static void tp_draw_one(uint64_t key, uint64_t first, uint64_t k, uint32_t* entries, int64_t* ends, int64_t count) {
        for (int64_t j = 0; j < count; j++) {
            const uint64_t word = tp_word(key, first + (uint64_t)j);
            entries[j] = (uint32_t)(2 * (((word >> 32) * k) >> 32) + (word & 1));
            ends[j] = j + 1;
        }
    }

    /* acc[position] += or -= the tile's column, for every entry 2 * position + sign of every column. The positions are fetched
       some entries ahead, which lie beyond the last in the end: there is room for TP_AHEAD more. */
    #define TP_AHEAD 16
    #define TP_ADD(NAME, REAL, LANES)                                                                                \\
    TP_WIDE static void NAME(REAL* acc, const REAL* tile, const uint32_t* entries, const int64_t* ends,              \\
                             int64_t columns) {                                                                      \\
        static const REAL signs[2] = {1, -1};                                                                        \\
        int64_t e = 0;                                                                                               \\
        LANES* cells = (LANES*)acc;                                                                                  \\
        const LANES* column = (const LANES*)tile;                                                                    \\
        for (int64_t j = 0; j < columns; j++) {                                                                      \\
            const LANES values = column[j];                                                                          \\
            for (; e < ends[j]; e++) {                                                                               \\
                __builtin_prefetch(cells + (entries[e + TP_AHEAD] >> 1), 1);                                         \\
                cells[entries[e] >> 1] += values * signs[entries[e] & 1];                                            \\
            }                                                                                                        \\
        }                                                                                                            \\
    }
    TP_ADD(tp_add_float, float, tp_floats)
    TP_ADD(tp_add_double, double, tp_doubles)

    /* to[j][r] = from[r][j] for 4 x 4 cells */
    static inline void tp_transpose4(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    #if defined(__SSE2__)
        __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_stride);
        __m128 c = _mm_loadu_ps(from + 2 * from_stride), d = _mm_loadu_ps(from + 3 * from_stride);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps(to, a);
        _mm_storeu_ps(to + to_stride, b);
        _mm_storeu_ps(to + 2 * to_stride, c);
        _mm_storeu_ps(to + 3 * to_stride, d);
    #else
        for (int r = 0; r < 4; r++)
            for (int j = 0; j < 4; j++) to[j * to_stride + r] = from[r * from_stride + j];
    #endif
    }

    /* tile[j][r] = x[r][j] for the rows of one tile. Sixteen rows are more streams than a processor reads ahead alone. */
    TP_WIDE static void tp_tile_float(const float* x, int64_t stride, float* tile, int64_t columns) {
        int64_t j = 0;
        for (; j + 16 <= columns; j += 16) {
            for (int r = 0; r < TP_LANES; r++) __builtin_prefetch(x + r * stride + j + 192);
            for (int c = 0; c < 16; c += 4)
                for (int r = 0; r < TP_LANES; r += 4)
                    tp_transpose4(x + r * stride + j + c, stride, tile + (j + c) * TP_LANES + r, TP_LANES);
        }
        for (; j < columns; j++)
            for (int r = 0; r < TP_LANES; r++) tile[j * TP_LANES + r] = x[r * stride + j];
    }

    static void tp_tile_double(const double* x, int64_t stride, double* tile, int64_t columns) {
        for (int64_t j = 0; j < columns; j++)
            for (int r = 0; r < TP_LANES; r++) tile[j * TP_LANES + r] = x[r * stride + j];
    }

    /* Both for columns with one entry each, sixteen columns at a time: rows are read while cells are waited for. `tile` is room. */
    TP_WIDE static void tp_project_float(const float* x, int64_t stride, float* tile, float* acc, const uint32_t* entries,
                                         int64_t columns) {
        static const float signs[2] = {1, -1};
        tp_floats* cells = (tp_floats*)acc;
        const tp_floats* column = (const tp_floats*)tile;
        int64_t j = 0;
        for (; j + 16 <= columns; j += 16) {
            for (int r = 0; r < TP_LANES; r++) __builtin_prefetch(x + r * stride + j + 192);
            for (int c = 0; c < 16; c += 4)
                for (int r = 0; r < TP_LANES; r += 4)
                    tp_transpose4(x + r * stride + j + c, stride, tile + c * TP_LANES + r, TP_LANES);
            for (int c = 0; c < 16; c++) {
                __builtin_prefetch(cells + (entries[j + c + TP_AHEAD] >> 1), 1);
                cells[entries[j + c] >> 1] += column[c] * signs[entries[j + c] & 1];
            }
        }
        for (; j < columns; j++) {
            for (int r = 0; r < TP_LANES; r++) tile[r] = x[r * stride + j];
            cells[entries[j] >> 1] += column[0] * signs[entries[j] & 1];
        }
    }

    /* out[r][j] = tile[j][r] */
    TP_WIDE static void tp_untile_float(const float* tile, float* out, int64_t stride, int64_t columns) {
        int64_t j = 0;
        for (; j + 4 <= columns; j += 4)
            for (int r = 0; r < TP_LANES; r += 4)
                tp_transpose4(tile + j * TP_LANES + r, TP_LANES, out + r * stride + j, stride);
        for (; j < columns; j++)
            for (int r = 0; r < TP_LANES; r++) out[r * stride + j] = tile[j * TP_LANES + r];
    }

    static void tp_untile_double(const double* tile, double* out, int64_t stride, int64_t columns) {
        for (int64_t j = 0; j < columns; j++)
            for (int r = 0; r < TP_LANES; r++) out[r * stride + j] = tile[j * TP_LANES + r];
    }
    """
    const int TP_LANES
    const int TP_AHEAD
    uint64_t tp_word(uint64_t key, uint64_t counter) noexcept nogil
    void tp_draw_one(
        uint64_t key, uint64_t first, uint64_t k, uint32_t* entries, int64_t* ends, int64_t count
    ) noexcept nogil
    void tp_add_float(
        float* acc, const float* tile, const uint32_t* entries, const int64_t* ends, int64_t columns
    ) noexcept nogil
    void tp_add_double(
        double* acc, const double* tile, const uint32_t* entries, const int64_t* ends, int64_t columns
    ) noexcept nogil
    void tp_project_float(
        const float* x, int64_t stride, float* tile, float* acc, const uint32_t* entries, int64_t columns
    ) noexcept nogil
    void tp_tile_float(const float* x, int64_t stride, float* tile, int64_t columns) noexcept nogil
    void tp_tile_double(const double* x, int64_t stride, double* tile, int64_t columns) noexcept nogil
    void tp_untile_float(const float* tile, float* out, int64_t stride, int64_t columns) noexcept nogil
    void tp_untile_double(const double* tile, double* out, int64_t stride, int64_t columns) noexcept nogil

cdef struct Matrix:
    int64_t k
    int64_t offset  # the number of the first column
    int64_t nonzeros  # per column; 0: as the thresholds say
    int64_t* bounds  # of the parts of the k that they lie in
    uint64_t key
    const uint64_t* thresholds
    const int32_t* guide
    const int64_t* columns  # those to read; NULL: all of them


cdef int64_t _draw(
    Matrix* matrix, int64_t first, int64_t most, int64_t room, uint32_t* entries, int64_t* ends
) noexcept nogil:
    """Write the entries of up to `most` columns from `first` on, while there is room for a full one; give how many."""
    cdef int64_t j = 0, t, low, width, count = 0, k = matrix.k, position
    cdef int32_t skip
    cdef uint64_t word, counter, number
    if matrix.nonzeros == 1 and not matrix.columns:
        most = min(most, room)
        tp_draw_one(matrix.key, <uint64_t> (matrix.offset + first), <uint64_t> k, entries, ends, most)
        return most
    while j < most and count + k <= room:
        number = <uint64_t> (matrix.offset + (matrix.columns[first + j] if matrix.columns else first + j))
        if matrix.nonzeros:
            for t in range(matrix.nonzeros):
                low = matrix.bounds[t]
                width = matrix.bounds[t + 1] - low
                word = tp_word(matrix.key, number * <uint64_t> matrix.nonzeros + <uint64_t> t)
                entries[count] = <uint32_t> (2 * (low + (((word >> 32) * <uint64_t> width) >> 32)) + (word & 1))
                count += 1
        else:
            counter = number * <uint64_t> (k + 1)
            position = -1
            while True:
                word = tp_word(matrix.key, counter)
                counter += 1
                skip = matrix.guide[word >> 56]
                while matrix.thresholds[skip] <= word >> 1:
                    skip += 1
                position += skip + 1
                if position >= k:
                    break
                entries[count] = <uint32_t> (2 * position + (word & 1))
                count += 1
        ends[j] = count
        j += 1
    return j


cdef void _fill(
    const floating* x, int64_t stride, const int64_t* columns, const floating* weights, int64_t step,
    floating* tile, int64_t count
) noexcept nogil:
    """Write one tile of rows transposed, every column times its weight."""
    cdef int64_t j, r, start, stop
    if columns:
        for start in range(0, count, 128):
            stop = min(start + 128, count)
            for r in range(TP_LANES):
                for j in range(start, stop):
                    tile[j * TP_LANES + r] = x[r * stride + columns[j]]
    elif floating is float:
        tp_tile_float(x, stride, tile, count)
    else:
        tp_tile_double(x, stride, tile, count)
    if step == 0 and weights[0] == 1:
        return
    for j in range(count):
        for r in range(TP_LANES):
            tile[j * TP_LANES + r] *= weights[j * step]


cdef void _rows(
    const floating* x, int64_t stride, const int64_t* columns, const floating* weights, int64_t step, int64_t rows,
    floating* out, int64_t k, const uint32_t* entries, const int64_t* ends, int64_t count
) noexcept nogil:
    """The same for rows that fill no tile, one at a time."""
    cdef int64_t r, j, e
    cdef floating value
    cdef floating[2] signs
    signs[0], signs[1] = 1, -1
    for r in range(rows):
        e = 0
        for j in range(count):
            value = x[r * stride + (columns[j] if columns else j)] * weights[j * step]
            while e < ends[j]:
                out[r * k + (entries[e] >> 1)] += value * signs[entries[e] & 1]
                e += 1


def project(
    const floating[:, :] x, const int64_t[::1] columns, const floating[::1] weights, floating[:, ::1] out,
    int64_t offset, int64_t nonzeros, uint64_t key, const uint64_t[::1] thresholds, const int32_t[::1] guide,
    int64_t tiles, int64_t block,
):
    """Add the projection of the rows of x (n, m), whose columns lie side by side, to out (n, k); neither is empty."""
    cdef Matrix matrix
    cdef int64_t n = x.shape[0], k = out.shape[1], m = columns.shape[0] if columns.shape[0] else x.shape[1]
    cdef int64_t stride = x.strides[0] // <int64_t> sizeof(floating), step = 1 if weights.shape[0] > 1 else 0
    cdef int64_t top, rows, full, first, count, i, most = min(block, m)
    cdef int64_t room = k * 2 + (1 << 16)
    cdef const int64_t* picked
    cdef floating* cells
    matrix.k, matrix.offset, matrix.nonzeros, matrix.key = k, offset, nonzeros, key
    matrix.thresholds = &thresholds[0] if thresholds.shape[0] else NULL
    matrix.guide = &guide[0] if guide.shape[0] else NULL
    matrix.columns = &columns[0] if columns.shape[0] else NULL
    tiles = max(1, min(tiles, n // TP_LANES))
    cdef bint plain = nonzeros == 1 and matrix.columns == NULL and step == 0 and weights[0] == 1
    cdef uint32_t* entries = <uint32_t*> calloc(room + TP_AHEAD, sizeof(uint32_t))
    cdef int64_t* ends = <int64_t*> malloc(most * sizeof(int64_t))
    # Room for one cache line more, so that a bucket's lanes lie in as few lines as they can.
    cdef void* raw = malloc((tiles * k + most) * TP_LANES * sizeof(floating) + 64)
    cdef floating* acc = <floating*> ((<size_t> raw + 63) & ~<size_t> 63)
    cdef floating* tile = acc + tiles * k * TP_LANES
    matrix.bounds = <int64_t*> malloc((nonzeros + 1) * sizeof(int64_t))
    if not entries or not ends or not raw or not matrix.bounds:
        free(entries)
        free(ends)
        free(matrix.bounds)
        free(raw)
        raise MemoryError(f"no room for {tiles * TP_LANES} projected rows of {k}")
    with nogil:
        for i in range(nonzeros + 1):
            matrix.bounds[i] = i * k // nonzeros if nonzeros else 0
        top = 0
        while top < n:
            rows = min(tiles * TP_LANES, n - top)
            full = rows // TP_LANES
            for i in range(full):
                if floating is float:
                    tp_tile_float(&out[top + i * TP_LANES, 0], k, acc + i * k * TP_LANES, k)
                else:
                    tp_tile_double(&out[top + i * TP_LANES, 0], k, acc + i * k * TP_LANES, k)
            first = 0
            while first < m:
                count = _draw(&matrix, first, min(most, m - first), room, entries, ends)
                picked = matrix.columns + first if matrix.columns else NULL
                for i in range(full):
                    cells = acc + i * k * TP_LANES
                    if floating is float:
                        if plain:
                            tp_project_float(
                                &x[top + i * TP_LANES, first], stride, tile, cells, entries, count
                            )
                            continue
                    _fill(
                        &x[top + i * TP_LANES, 0 if picked else first], stride, picked, &weights[first * step], step,
                        tile, count,
                    )
                    if floating is float:
                        tp_add_float(cells, tile, entries, ends, count)
                    else:
                        tp_add_double(cells, tile, entries, ends, count)
                if rows > full * TP_LANES:
                    _rows(
                        &x[top + full * TP_LANES, 0 if picked else first], stride, picked, &weights[first * step], step,
                        rows - full * TP_LANES, &out[top + full * TP_LANES, 0], k, entries, ends, count,
                    )
                first += count
            for i in range(full):
                if floating is float:
                    tp_untile_float(acc + i * k * TP_LANES, &out[top + i * TP_LANES, 0], k, k)
                else:
                    tp_untile_double(acc + i * k * TP_LANES, &out[top + i * TP_LANES, 0], k, k)
            top += rows
    free(entries)
    free(ends)
    free(matrix.bounds)
    free(raw)
