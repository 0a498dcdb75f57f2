// What norms multiply a row with, by all threads of a block, which all get it.

#pragma once

#include "numbers.cuh"

namespace norms {

// Σ (x - less), or of the squares; `room` is shared, a float a warp.
template <int THREADS>
__device__ float sum_of_row(const float *x, unsigned width, float less, bool squared, float *room) {
    float sum = 0.0f;
    for (unsigned at = threadIdx.x; at < width; at += THREADS) {
        const float value = x[at] - less;
        sum += squared ? value * value : value;
    }
    return sum_of_block<THREADS>(sum, room);
}

// 1 / √(mean((x - less)²) + ε)
template <int THREADS>
__device__ float factor_of_row(const float *x, unsigned width, float less, float epsilon, float *room) {
    return 1.0f / sqrtf(sum_of_row<THREADS>(x, width, less, true, room) / (float)width + epsilon);
}

} // namespace norms
