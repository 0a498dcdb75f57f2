// Products of `LLM.int8()` (Dettmers et al., 2022; `int8_vectorwise_quant` and `MatMul8bitLt` of bitsandbytes):
// activations are rounded to f16 and quantised token by token, columns with outliers are multiplied in full, as they
// are.

#include "numbers.cuh"

namespace {

// 1/127² and 1/127 as bitsandbytes writes them.
constexpr float SCALE = 6.200124e-5f, WEIGHT_SCALE = 7.874016e-3f;

constexpr int THREADS = 256;
// Codes that a lane takes of a row at once, and a warp.
constexpr int CODES = 16, SEGMENT = 32 * CODES;
constexpr int WARPS = 8, ROWS = 4;

__device__ float half_near(float value) {
    return float_of_half(half_of(value));
}

// To even of two as near, within a byte; nothing of what is no number.
__device__ int nearest(float value) {
    if (value != value) {
        return 0;
    }
    return (int)rintf(fminf(fmaxf(value, -128.0f), 127.0f));
}

} // namespace

// Marks columns that hold a magnitude of the threshold or more. A thread takes a column; marks are zero before.
extern "C" __global__ void mark_outliers(const float *x, unsigned tokens, unsigned columns, float threshold,
                                         unsigned char *marks) {
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) {
        return;
    }
    bool is_outlier = false;
    for (unsigned token = 0; token < tokens; token++) {
        is_outlier |= fabsf(half_near(x[(size_t)token * columns + column])) >= threshold;
    }
    marks[column] = is_outlier;
}

// Lists marked columns in order, by which sums are the same each time: their number first. Of one warp.
extern "C" __global__ void __launch_bounds__(32)
    list_outliers(const unsigned char *marks, unsigned columns, unsigned *list) {
    const unsigned lane = threadIdx.x;
    unsigned count = 0;
    for (unsigned start = 0; start < columns; start += 32) {
        const unsigned column = start + lane;
        const bool is_marked = column < columns && marks[column];
        const unsigned all = __ballot_sync(0xffffffffu, is_marked);
        if (is_marked) {
            list[1 + count + __popc(all & ((1u << lane) - 1))] = column;
        }
        count += __popc(all);
    }
    if (lane == 0) {
        list[0] = count;
    }
}

// Codes (tokens, columns) and scales (tokens) of activations. A block takes a token. `marks` may be none.
extern "C" __global__ void __launch_bounds__(THREADS)
    quantize_rows(const float *x, const unsigned char *marks, unsigned columns, float threshold, signed char *codes,
                  float *scales) {
    __shared__ float room[THREADS / 32];
    const float *own = x + (size_t)blockIdx.x * columns;
    float largest = 0.0f;
    for (unsigned column = threadIdx.x; column < columns; column += THREADS) {
        const float size = fabsf(half_near(own[column]));
        // Of a column with outliers what is none counts.
        if (size > largest && !(marks != nullptr && marks[column] && size >= threshold)) {
            largest = size;
        }
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
    }
    if (threadIdx.x % 32 == 0) {
        room[threadIdx.x / 32] = largest;
    }
    __syncthreads();
    for (int warp = 0; warp < THREADS / 32; warp++) {
        largest = fmaxf(largest, room[warp]);
    }
    // Two roundings: torch divides a number by a tensor so.
    const float inverse = __fmul_rn(__fdiv_rn(1.0f, largest), 127.0f);
    for (unsigned column = threadIdx.x; column < columns; column += THREADS) {
        const bool is_marked = marks != nullptr && marks[column];
        const int code = is_marked ? 0 : nearest(__fmul_rn(half_near(own[column]), inverse));
        codes[(size_t)blockIdx.x * columns + column] = (signed char)code;
    }
    if (threadIdx.x == 0) {
        scales[blockIdx.x] = largest;
    }
}

namespace {

// y (tokens, rows) of codes (tokens, columns) and weights (rows, columns), both of 8 bits with a scale a row, and of
// activations x in listed columns. Columns are a multiple of 16. A block takes `TOKENS` tokens and 32 rows.
template <int TOKENS>
__device__ void multiply(const signed char *weights, const float *weight_scales, unsigned rows, unsigned columns,
                         const signed char *codes, const float *scales, unsigned tokens, const float *x,
                         const unsigned *list, float *y) {
    __shared__ uint4 inputs[TOKENS][32];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned first = (blockIdx.y * WARPS + warp) * ROWS, token = blockIdx.x * TOKENS;
    int sums[ROWS][TOKENS] = {};
    for (unsigned start = 0; start < columns; start += SEGMENT) {
        __syncthreads();
        for (int at = thread; at < TOKENS * 32; at += 32 * WARPS) {
            const unsigned own = token + at / 32, column = start + at % 32 * CODES;
            const bool is_there = own < tokens && column < columns;
            const size_t place = (size_t)own * columns + column;
            inputs[at / 32][at % 32] = is_there ? *reinterpret_cast<const uint4 *>(codes + place) : uint4{0, 0, 0, 0};
        }
        __syncthreads();
        const unsigned column = start + lane * CODES;
        if (column >= columns) {
            continue;
        }
        uint4 bytes[ROWS];
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const size_t place = (size_t)min(first + row, rows - 1) * columns + column;
            bytes[row] = *reinterpret_cast<const uint4 *>(weights + place);
        }
#pragma unroll
        for (int other = 0; other < TOKENS; other++) {
            const uint4 input = inputs[other][lane];
#pragma unroll
            for (int row = 0; row < ROWS; row++) {
#pragma unroll
                for (int word = 0; word < 4; word++) {
                    const int weight = (int)word_of(bytes[row], word), own = (int)word_of(input, word);
                    sums[row][other] = __dp4a(weight, own, sums[row][other]);
                }
            }
        }
    }
    const unsigned count = list == nullptr ? 0 : list[0];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        const unsigned at = min(first + row, rows - 1);
        const float scale = weight_scales[at];
#pragma unroll
        for (int other = 0; other < TOKENS; other++) {
            int sum = sums[row][other];
            for (int distance = 16; distance > 0; distance /= 2) {
                sum += __shfl_xor_sync(0xffffffffu, sum, distance);
            }
            const unsigned own = min(token + other, tokens - 1);
            float full = 0.0f;
            for (unsigned place = lane; place < count; place += 32) {
                const unsigned column = list[1 + place];
                const float weight = (float)weights[(size_t)at * columns + column] * scale * WEIGHT_SCALE;
                full += x[(size_t)own * columns + column] * weight;
            }
            full = sum_of_warp(full);
            if (lane == 0 && first + row < rows && token + other < tokens) {
                y[(size_t)own * rows + at] = (float)sum * (scales[own] * scale) * SCALE + full;
            }
        }
    }
}

} // namespace

#define MULTIPLY(TOKENS)                                                                                             \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) multiply_eight_bit_##TOKENS(                            \
        const signed char *weights, const float *weight_scales, unsigned rows, unsigned columns,                     \
        const signed char *codes, const float *scales, unsigned tokens, const float *x, const unsigned *list,        \
        float *y) {                                                                                                  \
        multiply<TOKENS>(weights, weight_scales, rows, columns, codes, scales, tokens, x, list, y);                  \
    }

MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(4)
MULTIPLY(8)
MULTIPLY(16)
