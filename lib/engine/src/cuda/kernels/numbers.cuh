// Types of numbers that kernels take and give, and sums over a warp.

#pragma once

// As `kind` of `mod.rs` has them.
constexpr int F32 = 0, F16 = 1, BF16 = 2;

#ifdef EMULATED
#include "emulated.hpp"
#else
__device__ inline unsigned short half_of(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ inline float float_of_half(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif

// The nearest brain float, of two as near the even one; what is no number stays none.
__device__ inline unsigned short brain_of(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (unsigned short)(bits >> 16 | 0x40u);
    }
    return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

__device__ inline float rounded(float value, int kind) {
    if (kind == F16) {
        return float_of_half(half_of(value));
    }
    if (kind == BF16) {
        return __uint_as_float((unsigned)brain_of(value) << 16);
    }
    return value;
}

// Two numbers rounded to 16 bits, the first in the low half.
__device__ inline unsigned pair_of(float first, float second, int kind) {
    return kind == F16 ? half_of(first) | (unsigned)half_of(second) << 16
                       : brain_of(first) | (unsigned)brain_of(second) << 16;
}

template <int KIND> __device__ unsigned pair_of(float first, float second) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    unsigned both;
    if (KIND == F16) {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    } else {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    }
    return both;
#else
    return pair_of(first, second, KIND);
#endif
}

// Rounds both.
template <int KIND> __device__ void round_pair(float &first, float &second) {
    const unsigned both = pair_of<KIND>(first, second);
    if (KIND == F16) {
        first = float_of_half((unsigned short)both);
        second = float_of_half((unsigned short)(both >> 16));
    } else {
        first = __uint_as_float(both << 16);
        second = __uint_as_float(both & 0xffff0000u);
    }
}

// A number of 16 bits.
__device__ inline float bits_as_float(unsigned bits, int kind) {
    return kind == F16 ? float_of_half((unsigned short)bits) : __uint_as_float(bits << 16);
}

__device__ inline float load(const void *from, int kind, unsigned long long at) {
    if (kind == F32) {
        return static_cast<const float *>(from)[at];
    }
    return bits_as_float(static_cast<const unsigned short *>(from)[at], kind);
}

__device__ inline void store(float value, int kind, void *out, unsigned long long at) {
    if (kind == F32) {
        static_cast<float *>(out)[at] = value;
    } else {
        static_cast<unsigned short *>(out)[at] = kind == F16 ? half_of(value) : brain_of(value);
    }
}

// Eight, the first of which goes to a multiple of eight: a store of 2 bytes takes a card as long as one of 16.
__device__ inline void store_eight(const float (&values)[8], int kind, void *out, unsigned long long at) {
    if (kind == F32) {
        auto *fours = reinterpret_cast<float4 *>(static_cast<float *>(out) + at);
        fours[0] = {values[0], values[1], values[2], values[3]};
        fours[1] = {values[4], values[5], values[6], values[7]};
        return;
    }
    unsigned pairs[4];
#pragma unroll
    for (int pair = 0; pair < 4; pair++) {
        const float first = values[2 * pair], second = values[2 * pair + 1];
        pairs[pair] = kind == F16 ? pair_of<F16>(first, second) : pair_of<BF16>(first, second);
    }
    *reinterpret_cast<uint4 *>(static_cast<unsigned short *>(out) + at) = {pairs[0], pairs[1], pairs[2], pairs[3]};
}

__device__ inline unsigned word_of(const uint4 &words, int index) {
    return index == 0 ? words.x : index == 1 ? words.y : index == 2 ? words.z : words.w;
}

// The sum of what all lanes of a warp have; all of them must take part.
__device__ inline float sum_of_warp(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
    return value;
}

// The sum of what all threads of a block have, which all of them get; `room` is shared, a float a warp.
template <int THREADS> __device__ inline float sum_of_block(float value, float *room) {
    value = sum_of_warp(value);
    // Whoever is still at the last sum reads from it.
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        room[threadIdx.x / 32] = value;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < THREADS / 32; warp++) {
        sum += room[warp];
    }
    return sum;
}
