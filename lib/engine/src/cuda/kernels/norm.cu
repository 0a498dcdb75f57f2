// Norms over the last dimension, in f32: by the root mean square (Zhang and Sennrich, 2019) and by mean and variance
// (Ba et al., 2016). A block takes a row.

#include "numbers.cuh"

namespace {

constexpr int THREADS = 256;

__device__ float sum_of_row(const float *x, unsigned width, float less, bool squared, float *room) {
    float sum = 0.0f;
    for (unsigned at = threadIdx.x; at < width; at += THREADS) {
        const float value = x[at] - less;
        sum += squared ? value * value : value;
    }
    return sum_of_block<THREADS>(sum, room);
}

} // namespace

// y = x / √(mean(x²) + ε) · w; x and y (rows, width), w (width).
extern "C" __global__ void __launch_bounds__(THREADS)
    root_mean_square(const float *x, const float *weight, float epsilon, unsigned width, float *y) {
    __shared__ float room[THREADS / 32];
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    const float root = sqrtf(sum_of_row(x, width, 0.0f, true, room) / (float)width + epsilon);
    for (unsigned at = threadIdx.x; at < width; at += THREADS) {
        y[at] = x[at] / root * weight[at];
    }
}

// y = (x - mean(x)) / √(var(x) + ε) · w + b; x and y (rows, width), w and b (width).
extern "C" __global__ void __launch_bounds__(THREADS)
    layer_norm(const float *x, const float *weight, const float *bias, float epsilon, unsigned width, float *y) {
    __shared__ float room[THREADS / 32];
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    const float mean = sum_of_row(x, width, 0.0f, false, room) / (float)width;
    const float deviation = sqrtf(sum_of_row(x, width, mean, true, room) / (float)width + epsilon);
    for (unsigned at = threadIdx.x; at < width; at += THREADS) {
        y[at] = (x[at] - mean) / deviation * weight[at] + bias[at];
    }
}
