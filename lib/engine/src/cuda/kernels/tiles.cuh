// Products of packed matrices with more tokens than `product.cuh` takes and fewer than values are worth making for:
// weights are read once, as they lie, and become numbers of 16 bits in the registers that tensor cores multiply from.
//
// A product sums over columns, in whichever order: a lane has 32 of a row that lie together, as a `Source` of
// `product.cuh` gives them, and of the tokens the same ones, which `arrange` has laid so.

#pragma once

#include "product.cuh"

namespace tiles {

// Warps of a block, which take turns at the columns.
constexpr int WARPS = 8;
// Rows of a block: two tiles' of 16.
constexpr int ROWS = 32;
// Tokens of a tile, and of a block.
constexpr unsigned TILE = 8, TOKENS = 32;
// Columns that a warp takes at once: of each of four lanes.
constexpr unsigned STEP = 4 * product::VALUES;
// Eights of a lane's columns.
constexpr int EIGHTS = product::VALUES / 8;

// Two numbers of 16 bits, the first in the low half.
__device__ inline unsigned pair_of(float first, float second, int kind) {
    return kind == F16 ? half_of(first) | (unsigned)half_of(second) << 16
                       : brain_of(first) | (unsigned)brain_of(second) << 16;
}

template <int KIND> __device__ unsigned pair_of(float first, float second) {
#if !defined(EMULATED) && __CUDA_ARCH__ >= 800
    unsigned both;
    if (KIND == F16) {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    } else {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    }
    return both;
#else
    return pair_of(first, second, KIND);
#endif
}

// sums (16, 8) += a (16, 16) · b (16, 8). Lane 4 · i + j has of a the columns 2 · j, 2 · j + 1 of the rows i and i + 8,
// then those eight columns later; of b these as rows, of the column i; of the sums the columns 2 · j and 2 · j + 1 of
// the rows i and i + 8 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
#ifdef EMULATED
template <int KIND> void multiply_tile(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    emulated::multiply_tile(sums, a, b, [](unsigned bits) {
        return KIND == F16 ? float_of_half((unsigned short)bits) : __uint_as_float(bits << 16);
    });
}
#else
template <int KIND>
__device__ inline void multiply_tile(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    if (KIND == F16) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                     "{%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
#elif defined(__CUDA_ARCH__)
    // Older tensor cores take halves alone, eight columns at a time.
    static_assert(KIND == F16, "brain floats need 8.0");
    for (int half = 0; half < 2; half++) {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
    }
#endif
}
#endif

// Of f32 x (tokens, columns) the tokens as `multiply` reads them, rounded to `kind`, those that are not there zeros:
// out (steps, tiles, EIGHTS, 32) of eight numbers each. A thread makes eight.
template <typename Source>
__device__ void arrange(const float *x, unsigned columns, unsigned tokens, int kind, uint4 *out) {
    const unsigned count = (tokens + TILE - 1) / TILE, at = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned lane = at % 32, eight = at / 32 % EIGHTS, tile = at / 32 / EIGHTS % count, step = at / 32 / EIGHTS / count;
    if (step >= (columns + STEP - 1) / STEP) {
        return;
    }
    const unsigned token = TILE * tile + lane / 4, owner = 4 * step + lane % 4;
    float values[8];
#pragma unroll
    for (int place = 0; place < 8; place++) {
        const unsigned column = Source::column((int)owner, 8 * (int)eight + place);
        values[place] = token < tokens && column < columns ? x[(size_t)token * columns + column] : 0.0f;
    }
    out[at] = {pair_of(values[0], values[1], kind), pair_of(values[2], values[3], kind),
               pair_of(values[4], values[5], kind), pair_of(values[6], values[7], kind)};
}

// y (tokens, rows) = x (tokens, columns) · wᵀ, of tokens that `arrange` has laid. Values of the matrix, whose source
// scales them itself, and products before anything is added are rounded to `KIND`; sums are f32. Columns are as
// `product::multiply` has them.
template <int KIND, typename Source>
__device__ void multiply(const Source &source, unsigned rows, unsigned columns, unsigned tokens, const uint4 *x,
                         const product::Put &put) {
    __shared__ float parts[WARPS][TOKENS][ROWS + 1];
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned count = (tokens + TILE - 1) / TILE, first_tile = blockIdx.y * (TOKENS / TILE);
    const unsigned first = blockIdx.x * ROWS, own = lane / 4;
    float sums[2][TOKENS / TILE][4] = {};
    for (unsigned step = warp; step * STEP < columns; step += WARPS) {
        // All lanes of a warp multiply, also those that have no columns.
        const unsigned column = step * STEP + lane % 4 * product::VALUES;
        const bool is_there = column < columns;
        typename Source::Piece pieces[4];
#pragma unroll
        for (int row = 0; row < 4; row++) {
            pieces[row] = source.piece(min(first + own + 8 * row, rows - 1), is_there ? column : 0);
        }
#pragma unroll
        for (int eight = 0; eight < EIGHTS; eight++) {
            // Of each row eight numbers, two by two.
            unsigned pairs[4][4];
#pragma unroll
            for (int row = 0; row < 4; row++) {
                float values[8];
                source.values(pieces[row], eight, values);
#pragma unroll
                for (int pair = 0; pair < 4; pair++) {
                    pairs[row][pair] = is_there ? pair_of<KIND>(values[2 * pair], values[2 * pair + 1]) : 0;
                }
            }
#pragma unroll
            for (unsigned tile = 0; tile < TOKENS / TILE; tile++) {
                if (first_tile + tile >= count) {
                    continue;
                }
                const uint4 inputs = x[((step * count + first_tile + tile) * EIGHTS + eight) * 32 + lane];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const unsigned b[2] = {word_of(inputs, 2 * half), word_of(inputs, 2 * half + 1)};
#pragma unroll
                    for (int pair_of_rows = 0; pair_of_rows < 2; pair_of_rows++) {
                        const int upper = 2 * pair_of_rows, lower = upper + 1;
                        const unsigned a[4] = {pairs[upper][2 * half], pairs[lower][2 * half],
                                               pairs[upper][2 * half + 1], pairs[lower][2 * half + 1]};
                        multiply_tile<KIND>(sums[pair_of_rows][tile], a, b);
                    }
                }
            }
        }
    }
#pragma unroll
    for (int tile = 0; tile < (int)(TOKENS / TILE); tile++) {
#pragma unroll
        for (int place = 0; place < 4; place++) {
#pragma unroll
            for (int pair_of_rows = 0; pair_of_rows < 2; pair_of_rows++) {
                const unsigned row = 16 * pair_of_rows + own + 8 * (place / 2);
                const unsigned token = TILE * tile + 2 * (lane % 4) + place % 2;
                parts[warp][token][row] = sums[pair_of_rows][tile][place];
            }
        }
    }
    __syncthreads();
    for (unsigned at = thread; at < TOKENS * ROWS; at += 32 * WARPS) {
        const unsigned row = first + at % ROWS, token = blockIdx.y * TOKENS + at / ROWS;
        if (row >= rows || token >= tokens) {
            continue;
        }
        float sum = 0.0f;
        for (int other = 0; other < WARPS; other++) {
            sum += parts[other][at / ROWS][at % ROWS];
        }
        put.store(row, token, rows, rounded(sum, KIND));
    }
}

} // namespace tiles
