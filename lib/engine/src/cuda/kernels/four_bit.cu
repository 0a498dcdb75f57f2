// Matrices in 4 bits as bitsandbytes has them (nf4, fp4): their products with a few tokens, and their values.
//
// A matrix (rows, columns) lies row by row as one run of codes, two a byte, the first in the high half. Each block of
// so many codes has a scale: a plain one, or a code of 8 bits for it, whose value times the scale of every 256 codes,
// and an offset, is the block's. `book` has the values of the 16 codes, `map` those of the 256.

#include "numbers.cuh"

namespace {

// Codes that a lane takes at once: 16 bytes.
constexpr int CODES = 32;
// Codes that a warp takes at once.
constexpr int SEGMENT = 32 * CODES;
// Warps of a block.
constexpr int WARPS = 8;
// Rows of a warp: each value of a token that it loads serves all of them.
constexpr int ROWS = 4;
// Scales of a block of the second quantisation.
constexpr int NESTED = 256;

__device__ float scale_of(unsigned long long block, const float *plain, const unsigned char *codes,
                          const float *outer, const float *map, float offset) {
    if (codes == nullptr) {
        return plain[block];
    }
    // In steps, as bitsandbytes and the processor have it.
    return __fadd_rn(__fmul_rn(map[codes[block]], outer[block / NESTED]), offset);
}

// y (tokens, rows) = x (tokens, columns) · wᵀ. Columns are a multiple of 32, as blocks are. Tokens are rounded to
// `kind` as they are loaded and products as they are written; sums are f32. Where it `ROUNDS`, values are rounded to it
// too, as those that are made for more tokens; of f32, a block's scale multiplies the sum of its values.
template <int TOKENS, bool ROUNDS>
__device__ void multiply(const unsigned char *packed, const float *book, const float *plain,
                         const unsigned char *codes, const float *outer, const float *map, float offset,
                         unsigned block, unsigned rows, unsigned columns, int kind, const float *x, float *y) {
    __shared__ float values[16];
    // By places of a lane's codes, then by lanes: neighbours in neighbouring banks.
    __shared__ float inputs[TOKENS][CODES / 4][32][4];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned first = (blockIdx.x * WARPS + warp) * ROWS;
    if (thread < 16) {
        values[thread] = book[thread];
    }
    float sums[ROWS][TOKENS] = {};
    for (unsigned start = 0; start < columns; start += SEGMENT) {
        __syncthreads();
        for (int at = thread; at < TOKENS * SEGMENT; at += 32 * WARPS) {
            const int token = at / SEGMENT, place = at % SEGMENT;
            const unsigned column = start + place;
            const float value = column < columns ? x[(size_t)token * columns + column] : 0.0f;
            inputs[token][place % CODES / 4][place / CODES][place % 4] = rounded(value, kind);
        }
        __syncthreads();
        const unsigned column = start + lane * CODES;
        if (column >= columns) {
            continue;
        }
        uint4 bytes[ROWS];
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const size_t at = (size_t)min(first + row, rows - 1) * columns + column;
            bytes[row] = *reinterpret_cast<const uint4 *>(packed + at / 2);
        }
        float scales[ROWS], parts[ROWS][TOKENS] = {};
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const unsigned long long at = (unsigned long long)min(first + row, rows - 1) * columns + column;
            scales[row] = scale_of(at / block, plain, codes, outer, map, offset);
        }
#pragma unroll
        for (int word = 0; word < 4; word++) {
            float tokens[TOKENS][8];
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
#pragma unroll
                for (int place = 0; place < 8; place++) {
                    tokens[token][place] = inputs[token][2 * word + place / 4][lane][place % 4];
                }
            }
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                const unsigned four = word == 0   ? bytes[row].x
                                      : word == 1 ? bytes[row].y
                                      : word == 2 ? bytes[row].z
                                                  : bytes[row].w;
#pragma unroll
                for (int byte = 0; byte < 4; byte++) {
                    const unsigned both = four >> (8 * byte);
                    float high = values[both >> 4 & 15], low = values[both & 15];
                    if (ROUNDS) {
                        high = rounded(__fmul_rn(high, scales[row]), kind);
                        low = rounded(__fmul_rn(low, scales[row]), kind);
                    }
#pragma unroll
                    for (int token = 0; token < TOKENS; token++) {
                        parts[row][token] += high * tokens[token][2 * byte];
                        parts[row][token] += low * tokens[token][2 * byte + 1];
                    }
                }
            }
        }
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
                sums[row][token] += ROUNDS ? parts[row][token] : scales[row] * parts[row][token];
            }
        }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const float sum = sum_of_warp(sums[row][token]);
            if (lane == 0 && first + row < rows) {
                y[(size_t)token * rows + first + row] = rounded(sum, kind);
            }
        }
    }
}

} // namespace

#define MULTIPLY(NAME, TOKENS, ROUNDS)                                                                               \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) NAME##_##TOKENS(                                        \
        const unsigned char *packed, const float *book, const float *plain, const unsigned char *codes,              \
        const float *outer, const float *map, float offset, unsigned block, unsigned rows, unsigned columns,         \
        int kind, const float *x, float *y) {                                                                        \
        multiply<TOKENS, ROUNDS>(packed, book, plain, codes, outer, map, offset, block, rows, columns, kind, x, y);          \
    }

MULTIPLY(multiply_four_bit, 1, false)
MULTIPLY(multiply_four_bit, 2, false)
MULTIPLY(multiply_four_bit, 4, false)
MULTIPLY(multiply_four_bit, 8, false)
MULTIPLY(multiply_rounded_four_bit, 1, true)
MULTIPLY(multiply_rounded_four_bit, 2, true)
MULTIPLY(multiply_rounded_four_bit, 4, true)
MULTIPLY(multiply_rounded_four_bit, 8, true)

// The values of a matrix as `kind`: each a code's value times its block's scale, rounded once. A thread takes a byte.
extern "C" __global__ void values_of_four_bit(const unsigned char *packed, const float *book, const float *plain,
                                              const unsigned char *codes, const float *outer, const float *map,
                                              float offset, unsigned block, unsigned long long count, int kind,
                                              void *out) {
    const unsigned long long at = 2 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= count) {
        return;
    }
    const unsigned char both = packed[at / 2];
    for (int half = 0; half < 2 && at + half < count; half++) {
        const float scale = scale_of((at + half) / block, plain, codes, outer, map, offset);
        const float value = __fmul_rn(book[half == 0 ? both >> 4 : both & 15], scale);
        store(value, kind, out, at + half);
    }
}
