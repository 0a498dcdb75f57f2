// Products of packed matrices with a few tokens: weights are read once, as they lie, and become numbers in registers.

#pragma once

#include "numbers.cuh"

namespace product {

// Where a product goes and what is added to it.
struct Put {
    // (rows) and (tokens, rows), or none.
    const float *bias, *added;
    // (tokens, `stride`), of which the first `rows` columns are written.
    float *y;
    unsigned stride;

    __device__ void store(unsigned row, unsigned token, unsigned rows, float value) const {
        if (bias != nullptr) {
            value += bias[row];
        }
        if (added != nullptr) {
            value += added[(size_t)token * rows + row];
        }
        y[(size_t)token * stride + row] = value;
    }
};

// Values that a lane takes at once.
constexpr int VALUES = 32;
// Values that a warp takes at once.
constexpr int SEGMENT = 32 * VALUES;
// Warps of a block.
constexpr int WARPS = 8;
// Rows of a warp: each value of a token that it loads serves all of them.
constexpr int ROWS = 4;

// y (tokens, rows) = x (tokens, columns) · wᵀ, of `TOKENS` tokens at most. Columns are a multiple of 32, and of what a
// `Source` packs together. Tokens are rounded to `KIND` as they are loaded and products before anything is added; sums
// are f32. A source has
//   column(lane, index)        the column of a lane's value, from the segment's first on;
//   Piece, piece(row, column)  what a lane takes of a row: the 32 values at `column`, a multiple of 32;
//   values(piece, eight, out)  eight values of it, the first of which is the 8 · `eight`th;
//   factor(piece)              what multiplies the sum of their products.
template <int TOKENS, int KIND, typename Source>
__device__ void multiply(const Source &source, unsigned rows, unsigned columns, int tokens, const float *x,
                         const Put &put) {
    static_assert(ROWS * TOKENS <= 32, "a lane puts a sum");
    static_assert(VALUES / 4 == WARPS, "a warp brings four of each lane's values");
    // By places of a lane's values, then by lanes: neighbours in neighbouring banks.
    __shared__ float4 inputs[TOKENS][VALUES / 4][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned first = (blockIdx.x * WARPS + warp) * ROWS;
    float sums[ROWS][TOKENS] = {};
    for (unsigned start = 0; start < columns; start += SEGMENT) {
        __syncthreads();
        // Four that follow each other in a source's order lie beside each other.
        const unsigned from = start + Source::column(lane, 4 * warp);
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            float4 four = {0.0f, 0.0f, 0.0f, 0.0f};
            if (token < tokens && from < columns) {
                four = *reinterpret_cast<const float4 *>(x + (size_t)token * columns + from);
            }
            inputs[token][warp][lane] = {rounded(four.x, KIND), rounded(four.y, KIND), rounded(four.z, KIND),
                                         rounded(four.w, KIND)};
        }
        __syncthreads();
        const unsigned column = start + lane * VALUES;
        if (column >= columns) {
            continue;
        }
        typename Source::Piece pieces[ROWS];
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            pieces[row] = source.piece(min(first + row, rows - 1), column);
        }
        float parts[ROWS][TOKENS] = {};
#pragma unroll
        for (int eight = 0; eight < VALUES / 8; eight++) {
            float inputs_of[TOKENS][8];
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const float4 four = inputs[token][2 * eight + half][lane];
                    inputs_of[token][4 * half] = four.x;
                    inputs_of[token][4 * half + 1] = four.y;
                    inputs_of[token][4 * half + 2] = four.z;
                    inputs_of[token][4 * half + 3] = four.w;
                }
            }
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                float values[8];
                source.values(pieces[row], eight, values);
#pragma unroll
                for (int place = 0; place < 8; place++) {
#pragma unroll
                    for (int token = 0; token < TOKENS; token++) {
                        parts[row][token] += values[place] * inputs_of[token][place];
                    }
                }
            }
        }
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const float factor = source.factor(pieces[row]);
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
                sums[row][token] += factor * parts[row][token];
            }
        }
    }
    // Each lane keeps one, so that all are put at once.
    float own = 0.0f;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const float sum = sum_of_warp(sums[row][token]);
            own = lane == row * TOKENS + token ? sum : own;
        }
    }
    const unsigned row = first + lane / TOKENS;
    const int token = lane % TOKENS;
    if (lane < ROWS * TOKENS && row < rows && token < tokens) {
        put.store(row, token, rows, rounded(own, KIND));
    }
}

} // namespace product
