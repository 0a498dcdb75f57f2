// Non-linearities of feed-forward layers, in f32.

#pragma once

#include "numbers.cuh"

// As `unsafe_gate.rs` has them.
constexpr int SILU = 0, GELU = 1, GELU_TANH = 2;

__device__ inline float activated(float x, int activation) {
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
