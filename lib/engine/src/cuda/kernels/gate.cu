// What lies between the layers of a gated feed-forward layer (Shazeer, 2020), in f32. A thread takes a value.

#include "numbers.cuh"

namespace {

// As `unsafe_gate.rs` has them.
constexpr int SILU = 0, GELU = 1, GELU_TANH = 2;

__device__ float activated(float x, int activation) {
    switch (activation) {
    case SILU:
        return x / (1.0f + expf(-x));
    case GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    default:
        return fmaxf(x, 0.0f);
    }
}

} // namespace

// From (rows, 2 · width), the gate first, to activation(gate) · up, (rows, width).
extern "C" __global__ void gate(const float *both, unsigned rows, unsigned width, int activation, float *y) {
    const unsigned long long at = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (unsigned long long)rows * width) {
        return;
    }
    const unsigned long long row = at / width, column = at % width;
    const float *own = both + 2 * row * width + column;
    y[at] = activated(own[0], activation) * own[width];
}
