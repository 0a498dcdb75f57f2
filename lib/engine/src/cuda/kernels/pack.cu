// Quantising to 4 bits, as bitsandbytes has it (nf4, fp4).

#include "numbers.cuh"

// The larger of two magnitudes; what is no number is larger than infinity, as its bits are.
__device__ inline float larger(float one, float other) {
    return __float_as_uint(one) > __float_as_uint(other) ? one : other;
}

// Quantises values in blocks of 64, as bitsandbytes and `kernels/pack.rs` do, to the bit: codes, and the largest
// magnitude of each block. Values are of `format`, and rounded to `dtype` first. Between the values of neighbouring
// codes stand `bounds`, 15 of them, and `order` has the codes by their values. A warp takes a block.
extern "C" __global__ void __launch_bounds__(256)
    pack_four_bit(const void *values, int format, int dtype, unsigned long long count, const float *bounds,
                  const unsigned char *order, unsigned char *packed, float *absmax) {
    constexpr unsigned BLOCK = 64;
    // The least divisor.
    constexpr float LEAST = 1e-38f;
    const unsigned lane = threadIdx.x % 32;
    const unsigned long long block = (unsigned long long)blockIdx.x * (256 / 32) + threadIdx.x / 32;
    if (block * BLOCK >= count) {
        return;
    }
    const unsigned long long at = block * BLOCK + 2 * lane;
    float two[2];
    float largest = 0.0f;
    for (int place = 0; place < 2; place++) {
        two[place] = at + place < count ? rounded(load(values, format, at + place), dtype) : 0.0f;
        largest = larger(fabsf(two[place]), largest);
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        largest = larger(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
    }
    const bool is_whole = (block + 1) * BLOCK <= count;
    const float divisor = largest < LEAST ? LEAST : largest, inverse = __fdiv_rn(1.0f, divisor);
    unsigned codes[2];
    for (int place = 0; place < 2; place++) {
        // The short block at the end is divided, and keeps the divisor.
        float value = is_whole ? __fmul_rn(two[place], inverse) : __fdiv_rn(two[place], divisor);
        value = value > 1.0f ? 1.0f : value < -1.0f ? -1.0f : value;
        unsigned below = 0;
        for (int bound = 0; bound < 15; bound++) {
            // What is no number is above all.
            below += !(value <= bounds[bound]);
        }
        codes[place] = order[below];
    }
    if (at < count) {
        packed[at / 2] = (unsigned char)(codes[0] << 4 | codes[1]);
    }
    if (lane == 0) {
        absmax[block] = is_whole ? largest : divisor;
    }
}
