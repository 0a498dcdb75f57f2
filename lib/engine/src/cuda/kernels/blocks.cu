// Matrices in the block formats of ggml, and of floats of 16 bits: their products with a few tokens, and their values,
// which equal those of `weights/format.rs` to the bit where they are numbers. A row is a whole number of blocks, or of 32 floats. A lane takes
// 32 values of one: two runs of 16, so chosen that what it reads of the block it reads alone.

#include "tiles.cuh"

namespace {

// The numbers of four codes in bytes, less `zero`. By way of floats whose last bits they are: conversions are slow on
// cards, and bytes are put there by one instruction.
__device__ float number_of(unsigned codes, int place, unsigned zero) {
    return __uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7440u | place)) - (float)(0x800000u + zero);
}

__device__ float number_of(unsigned code, unsigned zero = 0) {
    return __uint_as_float(0x4b000000u | code) - (float)(0x800000u + zero);
}

__device__ float half_at(const unsigned char *place) {
    return float_of_half(*reinterpret_cast<const unsigned short *>(place));
}

// So many bytes, of which no more is known than by what their address can be divided.
template <int ALIGN, int WORDS> __device__ void load(const unsigned char *place, unsigned (&words)[WORDS]) {
    if constexpr (ALIGN == 16 && WORDS == 4) {
        const uint4 all = *reinterpret_cast<const uint4 *>(place);
#pragma unroll
        for (int word = 0; word < WORDS; word++) {
            words[word] = word_of(all, word);
        }
    } else if constexpr (ALIGN >= 4) {
#pragma unroll
        for (int word = 0; word < WORDS; word++) {
            words[word] = reinterpret_cast<const unsigned *>(place)[word];
        }
    } else {
#pragma unroll
        for (int word = 0; word < WORDS; word++) {
            const auto *halves = reinterpret_cast<const unsigned short *>(place) + 2 * word;
            words[word] = halves[0] | (unsigned)halves[1] << 16;
        }
    }
}

// Bits of each byte, as a run of 16 has them in four words: of four values, the `four`th of a lane.
template <unsigned BITS> __device__ unsigned bits_of(const unsigned (&words)[4], int four, int shift) {
    return words[four % 4] >> shift & BITS * 0x01010101u;
}

// Nibbles: the first run's in the low halves, the second's in the high ones.
__device__ unsigned nibbles_of(const unsigned (&words)[4], int four) {
    return bits_of<15>(words, four, four / 4 * 4);
}

// What is common to a lane's pieces: codes, and for each run what a number is multiplied with and what is added.
struct Codes {
    unsigned low[4];
    float step[2], offset[2];
};

// In two roundings, as the processor has it, or in one.
template <bool EXACT> __device__ float scaled(float number, float step, float offset) {
    return EXACT ? __fadd_rn(__fmul_rn(number, step), offset) : fmaf(number, step, offset);
}

// Blocks of 32: the first run in the low halves of 16 bytes, the second in the high ones.
struct Plain {
    static constexpr int PARTS = 1;
    static __device__ int column(int, int index) {
        return index;
    }
};

// A format of blocks has
//   piece(block, part)   what a lane takes;
//   codes(piece, four)   codes of four values in bytes;
//   ZERO                 the code of nothing;
//   HAS_OFFSET           whether something is added.
struct Q4_0 : Plain {
    static constexpr int BYTES = 18;
    static constexpr unsigned ZERO = 8;
    static constexpr bool HAS_OFFSET = false;
    using Piece = Codes;
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<2>(block + 2, piece.low);
        piece.step[0] = piece.step[1] = half_at(block);
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        return nibbles_of(piece.low, four);
    }
};

struct Q4_1 : Plain {
    static constexpr int BYTES = 20;
    static constexpr unsigned ZERO = 0;
    static constexpr bool HAS_OFFSET = true;
    using Piece = Codes;
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<4>(block + 4, piece.low);
        piece.step[0] = piece.step[1] = half_at(block);
        piece.offset[0] = piece.offset[1] = half_at(block + 2);
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        return nibbles_of(piece.low, four);
    }
};

// The fifth bit of each value is in a field before the others.
template <bool HAS_MINIMUM> struct Q5 : Plain {
    static constexpr int BYTES = HAS_MINIMUM ? 24 : 22, START = HAS_MINIMUM ? 4 : 2, ALIGN = HAS_MINIMUM ? 4 : 2;
    static constexpr unsigned ZERO = HAS_MINIMUM ? 0 : 16;
    static constexpr bool HAS_OFFSET = HAS_MINIMUM;
    struct Piece : Codes {
        unsigned high[1];
    };
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<ALIGN>(block + START, piece.high);
        load<ALIGN>(block + START + 4, piece.low);
        piece.step[0] = piece.step[1] = half_at(block);
        piece.offset[0] = piece.offset[1] = HAS_MINIMUM ? half_at(block + 2) : 0.0f;
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        // Four bits beside each other, moved on by none, 7, 14 and 21, come to be the first of a byte each.
        const unsigned fifths = (piece.high[0] >> (4 * four) & 15) * 0x00204081u & 0x01010101u;
        return nibbles_of(piece.low, four) | fifths << 4;
    }
};

struct Q8_0 : Plain {
    static constexpr int BYTES = 34;
    // A byte's sign bit turned round counts from -128.
    static constexpr unsigned ZERO = 128;
    static constexpr bool HAS_OFFSET = false;
    struct Piece {
        unsigned bytes[2][4];
        float step[2];
    };
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<2>(block + 2, piece.bytes[0]);
        load<2>(block + 18, piece.bytes[1]);
        piece.step[0] = piece.step[1] = half_at(block);
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        return piece.bytes[four / 4][four % 4] ^ 0x80808080u;
    }
};

// Blocks of 256 whose codes of two bits lie four a byte: a lane has two of the four, of 16 bytes.
struct Quarters {
    static constexpr int PARTS = 8;
    // Which 128 values, which 16 of every 32, and which of the four the first run is.
    static __device__ int half(int part) {
        return part / 4;
    }
    static __device__ int side(int part) {
        return part / 2 % 2;
    }
    static __device__ int quarter(int part) {
        return part % 2 * 2;
    }
    static __device__ int column(int part, int index) {
        return 128 * half(part) + 32 * (quarter(part) + index / 16) + 16 * side(part) + index % 16;
    }
};

struct Q2_K : Quarters {
    static constexpr int BYTES = 84;
    static constexpr unsigned ZERO = 0;
    static constexpr bool HAS_OFFSET = true;
    struct Piece : Codes {
        int shift;
    };
    static __device__ Piece piece(const unsigned char *block, int part) {
        Piece piece;
        load<4>(block + 16 + 32 * half(part) + 16 * side(part), piece.low);
        piece.shift = 2 * quarter(part);
        const float scale = half_at(block + 80), minimum = half_at(block + 82);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            const unsigned both = block[8 * half(part) + 2 * (quarter(part) + run) + side(part)];
            piece.step[run] = __fmul_rn(scale, number_of(both & 15));
            piece.offset[run] = -__fmul_rn(minimum, number_of(both >> 4));
        }
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        return bits_of<3>(piece.low, four, piece.shift + four / 4 * 2);
    }
};

struct Q3_K : Quarters {
    static constexpr int BYTES = 110;
    static constexpr unsigned ZERO = 4;
    static constexpr bool HAS_OFFSET = false;
    struct Piece : Codes {
        unsigned high[4];
        int shift, bit;
    };
    static __device__ Piece piece(const unsigned char *block, int part) {
        Piece piece;
        load<2>(block + 16 * side(part), piece.high);
        load<2>(block + 32 + 32 * half(part) + 16 * side(part), piece.low);
        piece.shift = 2 * quarter(part);
        piece.bit = 4 * half(part) + quarter(part);
        const unsigned char *scales = block + 96;
        const float scale = half_at(block + 108);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            const int index = 8 * half(part) + 2 * (quarter(part) + run) + side(part);
            const unsigned low = index < 8 ? scales[index] & 15 : scales[index - 8] >> 4;
            const unsigned high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
            piece.step[run] = __fmul_rn(scale, number_of(low | high << 4, 32));
        }
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        const unsigned thirds = bits_of<1>(piece.high, four, piece.bit + four / 4);
        return bits_of<3>(piece.low, four, piece.shift + four / 4 * 2) | thirds << 2;
    }
};

// Blocks of 256 whose low bits lie as 32 values in the low halves of 32 bytes and the next 32 in the high ones.
struct Pairs {
    static constexpr int PARTS = 8;
    static __device__ int column(int part, int index) {
        return 64 * (part / 2) + 32 * (index / 16) + 16 * (part % 2) + index % 16;
    }
    // Step and offset of both runs, by the 6-bit pairs that `get_scale_min_k4` of ggml takes apart.
    static __device__ void scales(const unsigned char *block, int part, Codes &piece) {
        const float scale = half_at(block), minimum = half_at(block + 2);
        const unsigned char *packed = block + 4;
#pragma unroll
        for (int run = 0; run < 2; run++) {
            const int index = 2 * (part / 2) + run;
            unsigned step = packed[index + (index < 4 ? 0 : 4)], offset = packed[index + 4];
            if (index < 4) {
                step &= 63;
                offset &= 63;
            } else {
                step = (step & 15) | (packed[index - 4] >> 6 << 4);
                offset = (offset >> 4) | (packed[index] >> 6 << 4);
            }
            piece.step[run] = __fmul_rn(scale, number_of(step));
            piece.offset[run] = -__fmul_rn(minimum, number_of(offset));
        }
    }
};

struct Q4_K : Pairs {
    static constexpr int BYTES = 144;
    static constexpr unsigned ZERO = 0;
    static constexpr bool HAS_OFFSET = true;
    using Piece = Codes;
    static __device__ Piece piece(const unsigned char *block, int part) {
        Piece piece;
        load<16>(block + 16 + 16 * part, piece.low);
        scales(block, part, piece);
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        return nibbles_of(piece.low, four);
    }
};

struct Q5_K : Pairs {
    static constexpr int BYTES = 176;
    static constexpr unsigned ZERO = 0;
    static constexpr bool HAS_OFFSET = true;
    struct Piece : Codes {
        unsigned high[4];
        int shift;
    };
    static __device__ Piece piece(const unsigned char *block, int part) {
        Piece piece;
        load<16>(block + 16 + 16 * (part % 2), piece.high);
        load<16>(block + 48 + 16 * part, piece.low);
        piece.shift = part / 2 * 2;
        scales(block, part, piece);
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        const unsigned fifths = bits_of<1>(piece.high, four, piece.shift + four / 4);
        return nibbles_of(piece.low, four) | fifths << 4;
    }
};

struct Q6_K {
    static constexpr int PARTS = 8, BYTES = 210;
    static constexpr unsigned ZERO = 32;
    static constexpr bool HAS_OFFSET = false;
    struct Piece : Codes {
        unsigned high[4];
        int shift;
    };
    // Runs are the quarters of 128 that share 16 bytes: the first and third, or the second and fourth.
    static __device__ int column(int part, int index) {
        return 128 * (part / 4) + 32 * (part % 2 + 2 * (index / 16)) + 16 * (part / 2 % 2) + index % 16;
    }
    static __device__ Piece piece(const unsigned char *block, int part) {
        const int half = part / 4, side = part / 2 % 2, first = part % 2;
        Piece piece;
        load<2>(block + 64 * half + 32 * first + 16 * side, piece.low);
        load<2>(block + 128 + 32 * half + 16 * side, piece.high);
        piece.shift = 2 * first;
        const float scale = half_at(block + 208);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            const unsigned step = block[192 + 8 * half + side + 2 * (first + 2 * run)];
            piece.step[run] = __fmul_rn(scale, number_of(step ^ 128, 128));
        }
        return piece;
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        const unsigned high = bits_of<3>(piece.high, four, piece.shift + four / 4 * 4);
        return nibbles_of(piece.low, four) | high << 4;
    }
};

// Eight values of a piece, the `eight`th; in two roundings each, as the processor has it, or in one.
template <bool EXACT, typename Format>
__device__ void eight_values(const Format &, const typename Format::Piece &piece, int eight, float (&out)[8]) {
    const int run = eight / 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const unsigned codes = Format::codes(piece, 2 * eight + half);
#pragma unroll
        for (int place = 0; place < 4; place++) {
            const float number = number_of(codes, place, Format::ZERO);
            if constexpr (Format::HAS_OFFSET) {
                out[4 * half + place] = scaled<EXACT>(number, piece.step[run], piece.offset[run]);
            } else {
                out[4 * half + place] = __fmul_rn(number, piece.step[run]);
            }
        }
    }
}

// 32 floats of 16 bits.
template <bool IS_BRAIN> struct Floats : Plain {
    static constexpr int BYTES = 64;
    struct Piece {
        unsigned words[4][4];
    };
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
#pragma unroll
        for (int quarter = 0; quarter < 4; quarter++) {
            load<16>(block + 16 * quarter, piece.words[quarter]);
        }
        return piece;
    }
};

template <bool EXACT, bool IS_BRAIN>
__device__ void eight_values(const Floats<IS_BRAIN> &, const typename Floats<IS_BRAIN>::Piece &piece, int eight,
                             float (&out)[8]) {
#pragma unroll
    for (int place = 0; place < 8; place++) {
        const unsigned bits = piece.words[eight][place / 2] >> (16 * (place % 2)) & 0xffff;
        out[place] = bits_as_float(bits, IS_BRAIN ? BF16 : F16);
    }
}

// Where it is `EXACT`, values are those that are made for more tokens.
template <typename Format, bool EXACT> struct Blocks {
    const unsigned char *packed;
    unsigned columns;

    using Piece = typename Format::Piece;

    static __device__ int column(int lane, int index) {
        const int block = lane / Format::PARTS * Format::PARTS * product::VALUES;
        return block + Format::column(lane % Format::PARTS, index);
    }

    __device__ Piece piece(unsigned row, unsigned column) const {
        const unsigned number = column / product::VALUES;
        const unsigned long long block = (unsigned long long)row * (columns / product::VALUES / Format::PARTS);
        return Format::piece(packed + (block + number / Format::PARTS) * Format::BYTES, number % Format::PARTS);
    }

    __device__ void values(const Piece &piece, int eight, float (&out)[8]) const {
        eight_values<EXACT>(Format(), piece, eight, out);
    }

    __device__ float factor(const Piece &) const {
        return 1.0f;
    }
};

// The values of so many pieces of 32. A thread takes a piece.
template <typename Format>
__device__ void values_of(const unsigned char *packed, unsigned long long pieces, int kind, void *out) {
    const unsigned long long number = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (number >= pieces) {
        return;
    }
    const int part = (int)(number % Format::PARTS);
    const unsigned long long block = number / Format::PARTS;
    const auto piece = Format::piece(packed + block * Format::BYTES, part);
#pragma unroll
    for (int eight = 0; eight < product::VALUES / 8; eight++) {
        float values[8];
        eight_values<true>(Format(), piece, eight, values);
        // Runs of 16 lie together.
        const int column = Format::column(part, 8 * eight);
        store_eight(values, kind, out, block * Format::PARTS * product::VALUES + column);
    }
}

} // namespace

#define MULTIPLY(NAME, FORMAT, KIND, TOKENS)                                                                         \
    extern "C" __global__ void __launch_bounds__(32 * product::WARPS) multiply_##NAME##_##TOKENS(                    \
        const unsigned char *packed, unsigned rows, unsigned columns, int tokens, const float *x,                    \
        const float *bias, const float *added, float *y, unsigned stride) {                                          \
        const Blocks<FORMAT, false> source = {packed, columns};                                                      \
        product::multiply<TOKENS, KIND>(source, rows, columns, tokens, x, {bias, added, y, stride});                 \
    }

#define MULTIPLY_FEW(NAME, FORMAT, KIND)                                                                             \
    MULTIPLY(NAME, FORMAT, KIND, 1)                                                                                  \
    MULTIPLY(NAME, FORMAT, KIND, 2)                                                                                  \
    MULTIPLY(NAME, FORMAT, KIND, 4)                                                                                  \
    MULTIPLY(NAME, FORMAT, KIND, 8)

// Two blocks at once are to hide more waiting than the few registers cost that are spilled for it (not measured); cards
// before 8.0 have no shared memory for two.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define TILED_BLOCKS 1
#else
#define TILED_BLOCKS 2
#endif
#define MULTIPLY_TILES(FORMAT, NAME, KIND)                                                                           \
    extern "C" __global__ void arrange_##FORMAT##_##NAME(const float *x, unsigned columns, unsigned tokens,          \
                                                         uint4 *out) {                                               \
        tiles::arrange<KIND, Blocks<FORMAT, true>>(x, columns, tokens, out);                                         \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(32 * tiles::WARPS, TILED_BLOCKS)                               \
        multiply_tiles_##FORMAT##_##NAME(                                                                            \
            const unsigned char *packed, unsigned rows, unsigned columns, unsigned tokens, const uint4 *x,           \
            const float *bias, const float *added, float *y, unsigned stride) {                                      \
        const Blocks<FORMAT, true> source = {packed, columns};                                                       \
        tiles::multiply<KIND>(source, rows, columns, tokens, x, {bias, added, y, stride});                           \
    }

#if !defined(OLD_TENSOR_CORES) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define MULTIPLY_BRAINS(FORMAT) MULTIPLY_TILES(FORMAT, bf16, BF16)
#else
#define MULTIPLY_BRAINS(FORMAT)
#endif

#define FORMAT(FORMAT)                                                                                               \
    MULTIPLY_FEW(FORMAT, FORMAT, F32)                                                                                \
    MULTIPLY_TILES(FORMAT, f16, F16)                                                                                 \
    MULTIPLY_BRAINS(FORMAT)                                                                                          \
    extern "C" __global__ void values_of_##FORMAT(const unsigned char *packed, unsigned long long pieces, int kind,  \
                                                  void *out) {                                                       \
        values_of<FORMAT>(packed, pieces, kind, out);                                                                \
    }

// Of floats tokens and products are rounded to their type, too, where they are computed in it.
#define OF_Half                                                                                                      \
    FORMAT(Half)                                                                                                     \
    MULTIPLY_FEW(rounded_Half, Half, F16)
#define OF_Brain                                                                                                     \
    FORMAT(Brain)                                                                                                    \
    MULTIPLY_FEW(rounded_Brain, Brain, BF16)
#define OF_Q4_0 FORMAT(Q4_0)
#define OF_Q4_1 FORMAT(Q4_1)
#define OF_Q5_0 FORMAT(Q5_0)
#define OF_Q5_1 FORMAT(Q5_1)
#define OF_Q8_0 FORMAT(Q8_0)
#define OF_Q2_K FORMAT(Q2_K)
#define OF_Q3_K FORMAT(Q3_K)
#define OF_Q4_K FORMAT(Q4_K)
#define OF_Q5_K FORMAT(Q5_K)
#define OF_Q6_K FORMAT(Q6_K)

namespace {
using Q5_0 = Q5<false>;
using Q5_1 = Q5<true>;
using Half = Floats<false>;
using Brain = Floats<true>;
} // namespace

// A card's driver compiles all kernels of a text before it runs one: there is a text for each format.
#ifdef ONLY
#define PASTED(NAME) OF_##NAME
#define EXPANDED(NAME) PASTED(NAME)
EXPANDED(ONLY)
#else
OF_Half
OF_Brain
OF_Q4_0
OF_Q4_1
OF_Q5_0
OF_Q5_1
OF_Q8_0
OF_Q2_K
OF_Q3_K
OF_Q4_K
OF_Q5_K
OF_Q6_K
#endif
