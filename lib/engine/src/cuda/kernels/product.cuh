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
// `Source` packs together. Tokens are rounded to `kind` as they are loaded and products before anything is added; sums
// are f32. A source has
//   column(lane, index)        the column of a lane's value, from the segment's first on;
//   Piece, piece(row, column)  what a lane takes of a row, of which the column from whose multiple of 32 on is given;
//   values(piece, eight, out)  eight values of it, the first of which is the 8 · `eight`th;
//   factor(piece)              what multiplies the sum of their products.
template <int TOKENS, typename Source>
__device__ void multiply(const Source &source, unsigned rows, unsigned columns, int tokens, int kind, const float *x,
                         const Put &put) {
    // By places of a lane's values, then by lanes: neighbours in neighbouring banks.
    __shared__ float inputs[TOKENS][VALUES / 4][32][4];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned first = (blockIdx.x * WARPS + warp) * ROWS;
    float sums[ROWS][TOKENS] = {};
    for (unsigned start = 0; start < columns; start += SEGMENT) {
        __syncthreads();
        for (int at = thread; at < TOKENS * SEGMENT; at += 32 * WARPS) {
            const int token = at / SEGMENT, four = at % SEGMENT / 128, owner = at % 128 / 4, place = at % 4;
            const unsigned column = start + Source::column(owner, 4 * four + place);
            const bool is_there = token < tokens && column < columns;
            const float value = is_there ? x[(size_t)token * columns + column] : 0.0f;
            inputs[token][four][owner][place] = rounded(value, kind);
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
                for (int place = 0; place < 8; place++) {
                    inputs_of[token][place] = inputs[token][2 * eight + place / 4][lane][place % 4];
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
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const float sum = sum_of_warp(sums[row][token]);
            if (lane == 0 && first + row < rows && token < tokens) {
                put.store(first + row, token, rows, rounded(sum, kind));
            }
        }
    }
}

} // namespace product
