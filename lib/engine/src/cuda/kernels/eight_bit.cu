// Products of `LLM.int8()` (Dettmers et al., 2022; `int8_vectorwise_quant` and `MatMul8bitLt` of bitsandbytes):
// activations are rounded to f16 and quantised token by token, columns with outliers are multiplied in full, as they
// are.

#include "numbers.cuh"

namespace {

// 1/127² and 1/127 as bitsandbytes writes them.
constexpr float SCALE = 6.200124e-5f, WEIGHT_SCALE = 7.874016e-3f;

constexpr int THREADS = 256;
// Of a block that is alone.
constexpr int MOST_THREADS = 1024;
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

namespace {

// Lists marked columns in order, by which sums are the same each time: their number first. A block does it.
template <class Marked> __device__ void enlist(unsigned columns, unsigned *list, const Marked &is_marked) {
    __shared__ unsigned counts[MOST_THREADS / 32];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned total = 0;
    for (unsigned start = 0; start < columns; start += MOST_THREADS) {
        const unsigned column = start + threadIdx.x;
        const bool is_own = column < columns && is_marked(column);
        const unsigned all = __ballot_sync(0xffffffffu, is_own);
        if (lane == 0) {
            counts[warp] = __popc(all);
        }
        __syncthreads();
        unsigned before = 0, sum = 0;
        for (unsigned other = 0; other < MOST_THREADS / 32; other++) {
            before += other < warp ? counts[other] : 0;
            sum += counts[other];
        }
        if (is_own) {
            list[1 + total + before + __popc(all & ((1u << lane) - 1))] = column;
        }
        total += sum;
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        list[0] = total;
    }
}

// Codes (columns) of a token and its scale, for which of a column with outliers what is none counts. A block does it.
template <int THREADS, class Marked>
__device__ void quantize(const float *x, unsigned columns, float threshold, signed char *codes, float *scale,
                         const Marked &is_marked) {
    __shared__ float room[THREADS / 32];
    float largest = 0.0f;
    for (unsigned column = threadIdx.x; column < columns; column += THREADS) {
        const float size = fabsf(half_near(x[column]));
        if (size > largest && !(is_marked(column) && size >= threshold)) {
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
        const int code = is_marked(column) ? 0 : nearest(__fmul_rn(half_near(x[column]), inverse));
        codes[column] = (signed char)code;
    }
    if (threadIdx.x == 0) {
        *scale = largest;
    }
}

} // namespace

// Lists marked columns. Of one block.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    list_outliers(const unsigned char *marks, unsigned columns, unsigned *list) {
    enlist(columns, list, [&](unsigned column) { return marks[column] != 0; });
}

// Codes (tokens, columns) and scales (tokens) of activations. A block takes a token. `marks` may be none.
extern "C" __global__ void __launch_bounds__(THREADS)
    quantize_rows(const float *x, const unsigned char *marks, unsigned columns, float threshold, signed char *codes,
                  float *scales) {
    const size_t place = (size_t)blockIdx.x * columns;
    const auto is_marked = [&](unsigned column) { return marks != nullptr && marks[column]; };
    quantize<THREADS>(x + place, columns, threshold, codes + place, scales + blockIdx.x, is_marked);
}

// All of it for a single token: the list, where there is one, codes and the scale. Of one block.
extern "C" __global__ void __launch_bounds__(MOST_THREADS)
    quantize_token(const float *x, unsigned columns, float threshold, signed char *codes, float *scale,
                   unsigned *list) {
    const auto is_outlier = [&](unsigned column) {
        return list != nullptr && fabsf(half_near(x[column])) >= threshold;
    };
    if (list != nullptr) {
        enlist(columns, list, is_outlier);
    }
    quantize<MOST_THREADS>(x, columns, threshold, codes, scale, is_outlier);
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
