// Products of packed matrices with a few tokens: weights are read once, as they lie, and become numbers in registers.
// A launch does what belongs together around them, for each costs as long as a small matrix takes to be read.

#pragma once

#include "activation.cuh"
#include "norm.cuh"

namespace product {

// Matrices of a launch.
constexpr unsigned MOST = 3;
// Warps of a block. Where one matrix gates another, half of them multiply with either.
constexpr unsigned WARPS = 8;
// Rows that all warps make together of one matrix.
constexpr unsigned BLOCK_ROWS = 32;
// No gate.
constexpr int NONE = -1;

// A matrix; as `unsafe_product.rs` has it.
struct Matrix {
    // Its codes or blocks.
    const unsigned char *packed;
    // Of 4 bits what codes stand for, and scales of blocks; or codes for those, what they stand for, and the scales of
    // every 256 of them.
    const float *book, *scales;
    const unsigned char *codes;
    const float *map;
    // (rows), or none.
    const float *bias;
    float offset;
    // Codes of a block.
    unsigned block;
    // How many rows are multiplied, and the first of them.
    unsigned rows, from;
};

// What is multiplied, and what becomes of it: products side by side; or where there is a gate, what comes of the first
// matrix goes through that and multiplies what comes of the second. As `unsafe_product.rs` has it.
struct Product {
    Matrix all[MOST];
    // (tokens, columns), f32 or as `arrange` has laid them.
    const void *x;
    // (columns), the weights of a norm by the root mean square that a single token goes through first; or none.
    const float *norm;
    // Of a single matrix (tokens, rows), or none.
    const float *added;
    // (tokens, stride), of which as many columns are written as come of the matrices.
    float *y;
    // Added under that root.
    float epsilon;
    int gate;
    unsigned count, columns, tokens, stride;
};

static_assert(sizeof(Product) == 248, "as in unsafe_product.rs");

// What a warp makes, with others.
struct Share {
    unsigned matrix;
    // The first of the matrix' rows that its block makes, how many there are, and where in `y` what comes of it begins.
    unsigned first, rows, column;
    // Which it is of the warps that have its matrix, and how many they are.
    unsigned turn, turns;

    __device__ bool is_gated() const {
        return turns != WARPS;
    }
};

// A block makes so many rows where one matrix gates another, of either.
__device__ inline Share share_of(const Product &of, unsigned block, unsigned gated_rows) {
    const unsigned warp = threadIdx.x / 32;
    if (of.gate != NONE) {
        const unsigned half = WARPS / 2;
        return {warp / half, block * gated_rows, of.all[0].rows, 0, warp % half, half};
    }
    unsigned matrix = 0, column = 0;
    for (unsigned next = 1; next < of.count; next++) {
        const unsigned rows = of.all[next - 1].rows, blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
        if (matrix + 1 == next && block >= blocks) {
            block -= blocks;
            column += rows;
            matrix = next;
        }
    }
    return {matrix, block * BLOCK_ROWS, of.all[matrix].rows, column, warp, WARPS};
}

// A row's product with a token, with its bias.
__device__ inline float with_bias(const Product &of, unsigned matrix, unsigned row, float value) {
    const float *bias = of.all[matrix].bias;
    return bias == nullptr ? value : value + bias[row];
}

__device__ inline void put(const Product &of, const Share &share, unsigned row, unsigned token, float value) {
    if (of.added != nullptr) {
        value += of.added[(size_t)token * share.rows + row];
    }
    of.y[(size_t)token * of.stride + share.column + row] = value;
}

// Values that a lane takes at once, and those of a half of them.
constexpr int VALUES = 32, RUN = VALUES / 2;
// Values that a warp takes at once.
constexpr int SEGMENT = 32 * VALUES;
// Rows of a warp: each value of a token that it loads serves all of them.
constexpr int ROWS = 4;

// Of a block whose matrix gates another.
constexpr unsigned GATED_ROWS = ROWS * WARPS / 2;

static_assert(WARPS * ROWS == BLOCK_ROWS, "a block makes its rows at once");

// y (tokens, rows) = x (tokens, columns) · wᵀ, of `TOKENS` tokens at most. Columns are a multiple of 32, and of what a
// `Source` packs together. Tokens are rounded to `KIND` as they are loaded and products before anything is added; sums
// are f32. A source has
//   column(lane, index)        the column of a lane's value, from the segment's first on;
//   Row, row(number)           where a row lies;
//   Piece, piece(row, column)  what a lane takes of it: the 32 values at `column`, a multiple of 32;
//   Ready, ready(piece)        the same once it is there;
//   values(piece, eight, out)  eight numbers of one that is, the first of which is the 8 · `eight`th;
//   sum(piece, run, of, total) of either half of them: the sum of products of values, from that of products of their
//                              numbers and the total of what these were multiplied with.
// All lanes of a warp ask for numbers together.
template <int TOKENS, int KIND, typename Source>
__device__ void multiply(const Product &of, const Share &share, const Source &source) {
    static_assert(ROWS * TOKENS <= 32, "a lane puts a sum");
    static_assert(VALUES / 4 == (int)WARPS, "a warp brings four of each lane's values");
    // Where there is room for the next segment's, nobody waits for those who still read this one's.
    constexpr int TURNS = TOKENS <= 2 ? 2 : 1;
    // By places of a lane's values, then by lanes: neighbours in neighbouring banks.
    __shared__ float4 inputs[TURNS][TOKENS][VALUES / 4][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned columns = of.columns, first = share.first + share.turn * ROWS;
    typename Source::Row lies[ROWS];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        lies[row] = source.row(min(first + row, share.rows - 1));
    }
    typename Source::Piece pieces[ROWS];
    const auto take = [&](unsigned start) {
        const unsigned own = start + lane * VALUES, column = own < columns ? own : 0;
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            pieces[row] = source.piece(lies[row], column);
        }
    };
    // Memory is asked for weights before anything else.
    take(0);
    const float *x = static_cast<const float *>(of.x);
    float factor = 1.0f;
    if constexpr (TOKENS == 1) {
        __shared__ float room[WARPS];
        if (of.norm != nullptr) {
            factor = norms::factor_of_row<32 * WARPS>(x, columns, 0.0f, of.epsilon, room);
        }
    }
    float sums[ROWS][TOKENS] = {};
    int turn = 0;
    for (unsigned start = 0; start < columns; start += SEGMENT) {
        // Four that follow each other in a source's order lie beside each other.
        const unsigned from = start + Source::column(lane, 4 * warp);
        float4 fours[TOKENS];
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            float4 &four = fours[token] = {0.0f, 0.0f, 0.0f, 0.0f};
            if (token < (int)of.tokens && from < columns) {
                four = *reinterpret_cast<const float4 *>(x + (size_t)token * columns + from);
                if (TOKENS == 1 && of.norm != nullptr) {
                    const float4 weight = *reinterpret_cast<const float4 *>(of.norm + from);
                    four = {four.x * factor * weight.x, four.y * factor * weight.y, four.z * factor * weight.z,
                            four.w * factor * weight.w};
                }
            }
        }
        if (TURNS == 1) {
            __syncthreads();
        }
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const float4 four = fours[token];
            inputs[turn][token][warp][lane] = {rounded(four.x, KIND), rounded(four.y, KIND), rounded(four.z, KIND),
                                               rounded(four.w, KIND)};
        }
        __syncthreads();
        typename Source::Ready readies[ROWS];
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            readies[row] = source.ready(pieces[row]);
        }
        // Behind the last column are the first ones' weights, which may be no numbers.
        const bool is_there = start + lane * VALUES < columns;
        float parts[ROWS][TOKENS] = {}, totals[TOKENS] = {};
#pragma unroll
        for (int eight = 0; eight < VALUES / 8; eight++) {
            float inputs_of[TOKENS][8];
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const float4 four = inputs[turn][token][2 * eight + half][lane];
                    inputs_of[token][4 * half] = four.x;
                    inputs_of[token][4 * half + 1] = four.y;
                    inputs_of[token][4 * half + 2] = four.z;
                    inputs_of[token][4 * half + 3] = four.w;
                    totals[token] += (four.x + four.y) + (four.z + four.w);
                }
            }
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
                float values[8];
                source.values(readies[row], eight, values);
#pragma unroll
                for (int place = 0; place < 8; place++) {
#pragma unroll
                    for (int token = 0; token < TOKENS; token++) {
                        parts[row][token] += values[place] * inputs_of[token][place];
                    }
                }
            }
            if (eight % (RUN / 8) != RUN / 8 - 1) {
                continue;
            }
#pragma unroll
            for (int token = 0; token < TOKENS; token++) {
#pragma unroll
                for (int row = 0; row < ROWS; row++) {
                    const float sum = source.sum(readies[row], 8 * eight / RUN, parts[row][token], totals[token]);
                    sums[row][token] += is_there ? sum : 0.0f;
                    parts[row][token] = 0.0f;
                }
                totals[token] = 0.0f;
            }
        }
        if (start + SEGMENT < columns) {
            take(start + SEGMENT);
        }
        turn = (turn + 1) % TURNS;
    }
    // Each lane keeps one, so that all are put at once.
    float result = 0.0f;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
#pragma unroll
        for (int token = 0; token < TOKENS; token++) {
            const float sum = sum_of_warp(sums[row][token]);
            result = lane == row * TOKENS + token ? sum : result;
        }
    }
    const unsigned row = first + lane / TOKENS, token = lane % TOKENS;
    const bool is_own = lane < ROWS * TOKENS && row < share.rows && token < of.tokens;
    float value = rounded(result, KIND);
    if (is_own) {
        value = with_bias(of, share.matrix, row, value);
    }
    if (share.is_gated()) {
        __shared__ float ups[WARPS / 2][32];
        if (share.matrix == 1) {
            ups[share.turn][lane] = value;
        }
        __syncthreads();
        if (share.matrix == 1) {
            return;
        }
        value = activated(value, of.gate) * ups[share.turn][lane];
    }
    if (is_own) {
        put(of, share, row, token, value);
    }
}

} // namespace product
