// Norms over the last dimension, in f32: by the root mean square (Zhang and Sennrich, 2019) and by mean and variance
// (Ba et al., 2016). A block takes a row.

#include "norm.cuh"

namespace {

constexpr int THREADS = 256;

} // namespace

// y = x / √(mean(x²) + ε) · w; x and y (rows, width), w (width).
extern "C" __global__ void __launch_bounds__(THREADS)
    root_mean_square(const float *x, const float *weight, float epsilon, unsigned width, float *y) {
    __shared__ float room[THREADS / 32];
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    const float factor = norms::factor_of_row<THREADS>(x, width, 0.0f, epsilon, room);
    for (unsigned at = threadIdx.x; at < width; at += THREADS) {
        y[at] = x[at] * factor * weight[at];
    }
}

// y = (x - mean(x)) / √(var(x) + ε) · w + b; x and y (rows, width), w and b (width).
extern "C" __global__ void __launch_bounds__(THREADS)
    layer_norm(const float *x, const float *weight, const float *bias, float epsilon, unsigned width, float *y) {
    __shared__ float room[THREADS / 32];
    x += (size_t)blockIdx.x * width;
    y += (size_t)blockIdx.x * width;
    const float mean = norms::sum_of_row<THREADS>(x, width, 0.0f, false, room) / (float)width;
    const float factor = norms::factor_of_row<THREADS>(x, width, mean, epsilon, room);
    for (unsigned at = threadIdx.x; at < width; at += THREADS) {
        y[at] = (x[at] - mean) * factor * weight[at] + bias[at];
    }
}
