// Matrices in 4 bits as bitsandbytes has them (nf4, fp4): their products with a few tokens, and their values.
//
// A matrix (rows, columns) lies row by row as one run of codes, two a byte, the first in the high half. Each block of
// so many codes has a scale: a plain one, or a code of 8 bits for it, whose value times the scale of every 256 codes,
// and an offset, is the block's. `book` has the values of the 16 codes, `map` those of the 256.

#include "tiles.cuh"

namespace {

// Scales of a block of the second quantisation.
constexpr int NESTED = 256;

__device__ float scale_of(unsigned long long block, const float *plain, const unsigned char *codes,
                          const float *outer, const float *map, float offset) {
    if (codes == nullptr) {
        return plain[block];
    }
    // In steps, as bitsandbytes and the processor have it.
    return __fadd_rn(__fmul_rn(map[codes[block]], outer[block / NESTED]), offset);
}

// Blocks are a multiple of 32 codes. Where it `ROUNDS`, values are rounded to `kind` as those that are made for more
// tokens; of f32, a block's scale multiplies the sum of its values.
template <bool ROUNDS> struct FourBit {
    const unsigned char *packed;
    const float *book, *plain;
    const unsigned char *codes;
    const float *outer, *map;
    float offset;
    unsigned block, columns;
    int kind;

    struct Piece {
        uint4 bytes;
        float scale;
    };

    static __device__ int column(int lane, int index) {
        return lane * product::VALUES + index;
    }

    __device__ Piece piece(unsigned row, unsigned column) const {
        const unsigned long long at = (unsigned long long)row * columns + column;
        return {*reinterpret_cast<const uint4 *>(packed + at / 2),
                scale_of(at / block, plain, codes, outer, map, offset)};
    }

    __device__ void values(const Piece &piece, int eight, float (&out)[8]) const {
        const unsigned four = word_of(piece.bytes, eight);
#pragma unroll
        for (int place = 0; place < 8; place++) {
            // The first of a byte is in its high half.
            const float value = book[four >> (4 * (place ^ 1)) & 15];
            out[place] = ROUNDS ? rounded(__fmul_rn(value, piece.scale), kind) : value;
        }
    }

    __device__ float factor(const Piece &piece) const {
        return ROUNDS ? 1.0f : piece.scale;
    }
};

} // namespace

#define MULTIPLY(NAME, TOKENS, ROUNDS)                                                                               \
    extern "C" __global__ void __launch_bounds__(32 * product::WARPS) NAME##_##TOKENS(                               \
        const unsigned char *packed, const float *book, const float *plain, const unsigned char *codes,              \
        const float *outer, const float *map, float offset, unsigned block, unsigned rows, unsigned columns,         \
        int tokens, int kind, const float *x, const float *bias, const float *added, float *y, unsigned stride) {    \
        __shared__ float values[16];                                                                                 \
        if (threadIdx.x < 16) {                                                                                      \
            values[threadIdx.x] = book[threadIdx.x];                                                                 \
        }                                                                                                            \
        const FourBit<ROUNDS> source = {packed, values, plain, codes, outer, map, offset, block, columns, kind};     \
        product::multiply<TOKENS>(source, rows, columns, tokens, kind, x, {bias, added, y, stride});                 \
    }

MULTIPLY(multiply_four_bit, 1, false)
MULTIPLY(multiply_four_bit, 2, false)
MULTIPLY(multiply_four_bit, 4, false)
MULTIPLY(multiply_four_bit, 8, false)
MULTIPLY(multiply_rounded_four_bit, 1, true)
MULTIPLY(multiply_rounded_four_bit, 2, true)
MULTIPLY(multiply_rounded_four_bit, 4, true)
MULTIPLY(multiply_rounded_four_bit, 8, true)

extern "C" __global__ void arrange_four_bit(const float *x, unsigned columns, unsigned tokens, int kind, uint4 *out) {
    tiles::arrange<FourBit<true>>(x, columns, tokens, kind, out);
}

#define MULTIPLY_TILES(NAME, KIND)                                                                                   \
    extern "C" __global__ void __launch_bounds__(32 * tiles::WARPS) multiply_tiles_four_bit_##NAME(                  \
        const unsigned char *packed, const float *book, const float *plain, const unsigned char *codes,              \
        const float *outer, const float *map, float offset, unsigned block, unsigned rows, unsigned columns,         \
        unsigned tokens, const uint4 *x, const float *bias, const float *added, float *y, unsigned stride) {         \
        __shared__ float values[16];                                                                                 \
        if (threadIdx.x < 16) {                                                                                      \
            values[threadIdx.x] = book[threadIdx.x];                                                                 \
        }                                                                                                            \
        __syncthreads();                                                                                             \
        const FourBit<true> source = {packed, values, plain, codes, outer, map, offset, block, columns, F32};        \
        tiles::multiply<KIND>(source, rows, columns, tokens, x, {bias, added, y, stride});                           \
    }

MULTIPLY_TILES(f16, F16)
#if defined(EMULATED) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
MULTIPLY_TILES(bf16, BF16)
#endif

// The values of a matrix as `kind`: each a code's value times its block's scale, rounded once. A thread takes a byte.
extern "C" __global__ void values_of_four_bit(const unsigned char *packed, const float *book, const float *plain,
                                              const unsigned char *codes, const float *outer, const float *map,
                                              float offset, unsigned block, unsigned long long count, int kind,
                                              void *out) {
    const unsigned long long at = 2 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= count) {
        return;
    }
    const unsigned char both = packed[at / 2];
    for (int half = 0; half < 2 && at + half < count; half++) {
        const float scale = scale_of((at + half) / block, plain, codes, outer, map, offset);
        const float value = __fmul_rn(book[half == 0 ? both >> 4 : both & 15], scale);
        store(value, kind, out, at + half);
    }
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
        // What is no number is no largest.
        largest = fabsf(two[place]) > largest ? fabsf(two[place]) : largest;
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
    }
    const bool is_whole = (block + 1) * BLOCK <= count;
    const float divisor = fmaxf(largest, LEAST), inverse = __fdiv_rn(1.0f, divisor);
    unsigned codes[2];
    for (int place = 0; place < 2; place++) {
        // The short block at the end is divided, and keeps the divisor.
        float value = is_whole ? __fmul_rn(two[place], inverse) : __fdiv_rn(two[place], divisor);
        value = value > 1.0f ? 1.0f : value < -1.0f ? -1.0f : value;
        unsigned below = 0;
        for (int bound = 0; bound < 15; bound++) {
            below += value > bounds[bound];
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
