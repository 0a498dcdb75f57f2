// Matrices in 4 bits as bitsandbytes has them (nf4, fp4): their products with a few tokens, and their values.
//
// A matrix (rows, columns) lies row by row as one run of codes, two a byte, the first in the high half. Each block of
// so many codes has a scale: a plain one, or a code of 8 bits for it, whose value times the scale of every 256 codes,
// and an offset, is the block's. `book` has the values of the 16 codes, `map` those of the 256.

#include "tiles.cuh"

namespace {

// Scales of a block of the second quantisation.
constexpr int NESTED = 256;

// In steps, as bitsandbytes and the processor have it.
__device__ float nested(float value, float outer, float offset) {
    return __fadd_rn(__fmul_rn(value, outer), offset);
}

__device__ float scale_of(unsigned long long block, const float *plain, const unsigned char *codes,
                          const float *outer, const float *map, float offset) {
    if (codes == nullptr) {
        return plain[block];
    }
    return nested(map[codes[block]], outer[block / NESTED], offset);
}

// Of eight codes in four bytes; the first of a byte is in its high half.
__device__ unsigned code_of(unsigned four, int place) {
    return four >> (4 * (place ^ 1)) & 15;
}

// Which block a code is in.
__device__ unsigned long long block_of(unsigned long long at, unsigned block) {
    return at >> (__ffs((int)block) - 1);
}

// Blocks are a multiple of 32 codes. Values are scaled, and rounded to `KIND` as those that are made for more tokens; or
// they are not, and a block's scale multiplies the sum of their products.
template <int KIND, bool SCALES> struct FourBit {
    const product::Matrix &of;
    // What one of the codes stands for: of each lane its own, twice over.
    float book;
    // By how many bits the number of a lane's values is moved to give that of their block.
    unsigned shift, columns;

    struct Piece {
        uint4 bytes;
        // Of a block of the second quantisation, or the block's own.
        float scale;
        unsigned char code;
    };

    struct Ready {
        uint4 bytes;
        float scale;
    };

    static __device__ int column(int lane, int index) {
        return lane * product::VALUES + index;
    }

    // The number of its first 32 values.
    using Row = unsigned;
    __device__ Row row(unsigned number) const {
        return (of.from + number) * (columns / product::VALUES);
    }

    __device__ Piece piece(Row row, unsigned column) const {
        const unsigned number = row + column / product::VALUES;
        const unsigned block = number >> shift;
        const uint4 bytes = reinterpret_cast<const uint4 *>(of.packed)[number];
        if (of.codes == nullptr) {
            return {bytes, of.scales[block], 0};
        }
        return {bytes, of.scales[block / NESTED], of.codes[block]};
    }

    __device__ Ready ready(const Piece &piece) const {
        return {piece.bytes, of.codes == nullptr ? piece.scale : nested(of.map[piece.code], piece.scale, of.offset)};
    }

    __device__ void values(const Ready &ready, int eight, float (&out)[8]) const {
        const unsigned four = word_of(ready.bytes, eight);
#pragma unroll
        for (int place = 0; place < 8; place++) {
            // Of what stands there the last four bits count: a mask is saved, and a table in memory.
            const float value = __shfl_sync(0xffffffffu, book, (int)(four >> (4 * (place ^ 1))), 16);
            out[place] = SCALES ? __fmul_rn(value, ready.scale) : value;
        }
        if (KIND != F32) {
#pragma unroll
            for (int place = 0; place < 8; place += 2) {
                round_pair<KIND>(out[place], out[place + 1]);
            }
        }
    }

    __device__ float sum(const Ready &ready, int, float of, float) const {
        return SCALES ? of : ready.scale * of;
    }
};

// A warp's.
template <int KIND, bool SCALES>
__device__ FourBit<KIND, SCALES> four_bit_of(const product::Product &of, const product::Share &share) {
    const product::Matrix &matrix = of.all[share.matrix];
    const unsigned shift = __ffs((int)(matrix.block / product::VALUES)) - 1;
    return {matrix, matrix.book[threadIdx.x % 16], shift, of.columns};
}

} // namespace

#define MULTIPLY(NAME, KIND, TOKENS)                                                                                 \
    extern "C" __global__ void __launch_bounds__(32 * product::WARPS)                                                \
        multiply_four_bit_##NAME##_##TOKENS(const __grid_constant__ product::Product of) {                           \
        const product::Share share = product::share_of(of, blockIdx.x, product::GATED_ROWS);                         \
        product::multiply<TOKENS, KIND>(of, share, four_bit_of<KIND, KIND != F32>(of, share));                       \
    }

#define MULTIPLY_FEW(NAME, KIND)                                                                                     \
    MULTIPLY(NAME, KIND, 1)                                                                                          \
    MULTIPLY(NAME, KIND, 2)                                                                                          \
    MULTIPLY(NAME, KIND, 4)                                                                                          \
    MULTIPLY(NAME, KIND, 8)

#define MULTIPLY_TILES(NAME, KIND)                                                                                   \
    extern "C" __global__ void __launch_bounds__(32 * tiles::WARPS, 2)                                               \
        multiply_tile_four_bit_##NAME(const __grid_constant__ product::Product of) {                                 \
        const product::Share share = product::share_of(of, blockIdx.x, tiles::ROWS);                                 \
        tiles::multiply_few<KIND>(of, share, four_bit_of<F32, true>(of, share));                                     \
    }                                                                                                                \
    extern "C" __global__ void arrange_four_bit_##NAME(const float *x, unsigned columns, unsigned tokens,            \
                                                       uint4 *out) {                                                 \
        tiles::arrange<KIND, FourBit<KIND, true>>(x, columns, tokens, out);                                          \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(32 * tiles::WARPS, TILED_BLOCKS)                                    \
        multiply_tiles_four_bit_##NAME(const __grid_constant__ product::Product of) {                                \
        const product::Share share = product::share_of(of, blockIdx.y, tiles::ROWS);                                 \
        tiles::multiply<KIND>(of, share, four_bit_of<F32, true>(of, share));                                         \
    }

// Values of a matrix from the number `first` on, a multiple of eight, to that of `end`: each a code's value times its
// block's scale, rounded once. A thread takes eight codes.
#define VALUES_OF(NAME, KIND)                                                                                        \
    extern "C" __global__ void values_of_four_bit_##NAME(                                                            \
        const unsigned char *packed, const float *book, const float *plain, const unsigned char *codes,              \
        const float *outer, const float *map, float offset, unsigned block, unsigned long long first,                \
        unsigned long long end, void *out) {                                                                         \
        const unsigned long long own = 8 * ((unsigned long long)blockIdx.x * blockDim.x + threadIdx.x);              \
        const unsigned long long at = first + own;                                                                   \
        if (at >= end) {                                                                                             \
            return;                                                                                                  \
        }                                                                                                            \
        const float scale = scale_of(block_of(at, block), plain, codes, outer, map, offset);                         \
        if (at + 8 > end) {                                                                                          \
            for (unsigned place = 0; at + place < end; place++) {                                                    \
                const unsigned code = packed[(at + place) / 2] >> (place % 2 ? 0 : 4) & 15;                          \
                store(__fmul_rn(book[code], scale), KIND, out, own + place);                                         \
            }                                                                                                        \
            return;                                                                                                  \
        }                                                                                                            \
        const unsigned four = *reinterpret_cast<const unsigned *>(packed + at / 2);                                  \
        float values[8];                                                                                             \
        for (int place = 0; place < 8; place++) {                                                                    \
            values[place] = __fmul_rn(book[code_of(four, place)], scale);                                            \
        }                                                                                                            \
        store_eight(values, KIND, out, own);                                                                         \
    }

#define OF_f32                                                                                                       \
    MULTIPLY_FEW(f32, F32)                                                                                           \
    VALUES_OF(f32, F32)
#define OF_f16                                                                                                       \
    MULTIPLY_TILES(f16, F16)                                                                                         \
    VALUES_OF(f16, F16)
#if !defined(OLD_TENSOR_CORES) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define OF_bf16                                                                                                      \
    MULTIPLY_TILES(bf16, BF16)                                                                                       \
    VALUES_OF(bf16, BF16)
#else
#define OF_bf16                                                                                                      \
    MULTIPLY_FEW(bf16, BF16)                                                                                         \
    VALUES_OF(bf16, BF16)
#endif

// A card's driver compiles all kernels of a text before it runs one: there is a text for each type.
#ifdef ONLY
#define PASTED(NAME) OF_##NAME
#define EXPANDED(NAME) PASTED(NAME)
EXPANDED(ONLY)
#else
OF_f32
OF_f16
OF_bf16
#endif
