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

// Tensor cores before 8.0 take halves alone, eight columns at a time.
#if defined(OLD_TENSOR_CORES) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
constexpr bool IS_OLD = true;
#else
constexpr bool IS_OLD = false;
#endif

// sums (16, 8) += a (16, 16) · b (16, 8). Lane 4 · i + j has of a the columns 2 · j, 2 · j + 1 of the rows i and i + 8,
// then those eight columns later; of b these as rows, of the column i; of the sums the columns 2 · j and 2 · j + 1 of
// the rows i and i + 8 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
template <int KIND>
__device__ void multiply_whole(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef EMULATED
    emulated::multiply_tile<16>(sums, a, b, [](unsigned bits) { return bits_as_float(bits, KIND); });
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
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
#endif
}

// The same of eight columns of a and rows of b, of halves.
__device__ inline void multiply_half(float (&sums)[4], unsigned upper, unsigned lower, unsigned b) {
#ifdef EMULATED
    emulated::multiply_tile<8>(sums, {upper, lower, 0, 0}, {b, 0}, [](unsigned bits) { return bits_as_float(bits, F16); });
#elif defined(__CUDA_ARCH__)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(upper), "r"(lower), "r"(b));
#endif
}

template <int KIND>
__device__ void multiply_tile(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    if constexpr (IS_OLD) {
        static_assert(KIND == F16, "brain floats need 8.0");
        for (int half = 0; half < 2; half++) {
            multiply_half(sums, a[2 * half], a[2 * half + 1], b[half]);
        }
    } else {
        multiply_whole<KIND>(sums, a, b);
    }
}

// Of f32 x (tokens, columns) the tokens as `multiply` reads them, rounded to `KIND`, those that are not there zeros:
// out (steps, tiles, EIGHTS, 32) of eight numbers each. A thread makes eight.
template <int KIND, typename Source>
__device__ void arrange(const float *x, unsigned columns, unsigned tokens, uint4 *out) {
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
    out[at] = {pair_of<KIND>(values[0], values[1]), pair_of<KIND>(values[2], values[3]),
               pair_of<KIND>(values[4], values[5]), pair_of<KIND>(values[6], values[7])};
}

// y (tokens, rows) = x (tokens, columns) · wᵀ, of tokens that `arrange` has laid. Values of the matrix, whose source
// scales them itself, and products before anything is added are rounded to `KIND`; sums are f32. Columns are as
// `product::multiply` has them.
template <int KIND, typename Source>
__device__ void multiply(const Source &source, unsigned rows, unsigned columns, unsigned tokens, const uint4 *x,
                         const product::Put &put) {
    __shared__ float parts[WARPS][TOKENS][ROWS + 1];
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned count = (tokens + TILE - 1) / TILE, first_tile = blockIdx.x * (TOKENS / TILE);
    const unsigned first = blockIdx.y * ROWS, own = lane / 4;
    float sums[2][TOKENS / TILE][4] = {};
    for (unsigned step = warp; step * STEP < columns; step += WARPS) {
        // All lanes of a warp multiply; those that have no columns the first ones, with zeros.
        const unsigned own_column = step * STEP + lane % 4 * product::VALUES;
        const unsigned column = own_column < columns ? own_column : 0;
        typename Source::Piece pieces[4];
#pragma unroll
        for (int row = 0; row < 4; row++) {
            pieces[row] = source.piece(min(first + own + 8 * row, rows - 1), column);
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
                    pairs[row][pair] = pair_of<KIND>(values[2 * pair], values[2 * pair + 1]);
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
        const unsigned row = first + at % ROWS, token = blockIdx.x * TOKENS + at / ROWS;
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
