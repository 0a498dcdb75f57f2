// Matrices in 4 bits as bitsandbytes has them (nf4, fp4): their products with a few tokens, and their values.
//
// A matrix (rows, columns) lies row by row as one run of codes, two a byte, the first in the high half. Each block of
// so many codes has a scale: a plain one, or a code of 8 bits for it, whose value times the scale of every 256 codes,
// and an offset, is the block's. `book` has the values of the 16 codes, `map` those of the 256.

#include "product.cuh"

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
