// What lies between the layers of a gated feed-forward layer (Shazeer, 2020), in f32. A thread takes a value.

#include "activation.cuh"

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
