// What kernels of attention take.

#pragma once

#include "numbers.cuh"
#include "parts.cuh"

// As `unsafe_attention.rs` has it.
struct Attention {
    // (batch, heads, tokens, head_dim)
    const float *queries;
    // (batch), or none.
    const unsigned *padding;
    // (batch, tokens, heads · head_dim)
    float *out;
    // (batch · heads · tokens, splits, head_dim), and twice as many as its first two say: what a part's sums are
    // scaled by and what they add up to. Of several splits.
    float *parts, *scales;
    // (batch · kv_heads, groups of queries that a block takes), zeros before and after.
    unsigned *done;
    float scale, cap;
    unsigned batch, heads, kv_heads, tokens, head_dim, window, splits, split_keys;
    // Of keys and values, as `numbers.cuh` has it, where kernels take any.
    unsigned kind, unused;
    Parts caches;
};

static_assert(sizeof(Attention) == 96 + sizeof(Parts), "as in unsafe_attention.rs");

// Four, the first of which is at a multiple of four.
template <int KIND> __device__ void load_four(const void *from, size_t at, float (&values)[4]) {
    if (KIND == F32) {
        const float4 four = *reinterpret_cast<const float4 *>(static_cast<const float *>(from) + at);
        values[0] = four.x;
        values[1] = four.y;
        values[2] = four.z;
        values[3] = four.w;
        return;
    }
    const uint2 four = *reinterpret_cast<const uint2 *>(static_cast<const unsigned short *>(from) + at);
#pragma unroll
    for (int place = 0; place < 4; place++) {
        const unsigned both = place < 2 ? four.x : four.y;
        const unsigned short bits = (unsigned short)(both >> (16 * (place % 2)));
        values[place] = KIND == F16 ? float_of_half(bits) : __uint_as_float((unsigned)bits << 16);
    }
}
