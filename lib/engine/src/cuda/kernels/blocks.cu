// Matrices in the block formats of ggml, and of floats of 16 bits: their products with a few tokens, and their values,
// which equal those of `weights/format.rs` to the bit where they are numbers. A row is a whole number of blocks, or of 32
// floats. A lane takes 32 values of one: two runs of 16, so chosen that what it reads of the block it reads alone.

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
//   BITS                 bits of a code;
//   ZERO                 the code of nothing;
//   HAS_OFFSET           whether something is added.
struct Q4_0 : Plain {
    static constexpr int BYTES = 18, BITS = 4;
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
    static constexpr int BYTES = 20, BITS = 4;
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
    static constexpr int BITS = 5, BYTES = HAS_MINIMUM ? 24 : 22, START = HAS_MINIMUM ? 4 : 2, ALIGN = HAS_MINIMUM ? 4 : 2;
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
    static constexpr int BYTES = 34, BITS = 8;
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
    static constexpr int BYTES = 84, BITS = 2;
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
    static constexpr int BYTES = 110, BITS = 3;
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
    // Step and offset of both runs, which are neighbours: the 6 bits that `get_scale_min_k4` of ggml takes apart, of
    // two numbers at once.
    static __device__ void scales(const unsigned char *block, int part, Codes &piece) {
        const unsigned both = *reinterpret_cast<const unsigned *>(block);
        const float scale = float_of_half((unsigned short)both), minimum = float_of_half((unsigned short)(both >> 16));
        const auto *packed = reinterpret_cast<const unsigned short *>(block + 4);
        const int pair = part / 2;
        const unsigned first = packed[pair % 2], own = packed[pair], behind = packed[pair + 2];
        const bool is_split = pair >= 2;
        const unsigned steps = is_split ? (behind & 0x0f0f) | (first & 0xc0c0) >> 2 : first & 0x3f3f;
        const unsigned offsets = is_split ? (behind >> 4 & 0x0f0f) | (own & 0xc0c0) >> 2 : behind & 0x3f3f;
#pragma unroll
        for (int run = 0; run < 2; run++) {
            piece.step[run] = __fmul_rn(scale, number_of(steps, run, 0));
            piece.offset[run] = -__fmul_rn(minimum, number_of(offsets, run, 0));
        }
    }
};

struct Q4_K : Pairs {
    static constexpr int BYTES = 144, BITS = 4;
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
    static constexpr int BYTES = 176, BITS = 5;
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
    static constexpr int PARTS = 8, BYTES = 210, BITS = 6;
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

// Eight values of a piece, the `eight`th, in two roundings each, as the processor has it.
template <typename Format>
__device__ void eight_values(const Format &, const typename Format::Piece &piece, int eight, float (&out)[8]) {
    const int run = eight / 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const unsigned codes = Format::codes(piece, 2 * eight + half);
#pragma unroll
        for (int place = 0; place < 4; place++) {
            float &value = out[4 * half + place];
            value = __fmul_rn(number_of(codes, place, Format::ZERO), piece.step[run]);
            if constexpr (Format::HAS_OFFSET) {
                value = __fadd_rn(value, piece.offset[run]);
            }
        }
    }
}

// Codes of so few bits lie, as the first ones behind a float's point, in a byte of it: what becomes of the code c is
// 1 + c / 2^BITS. There are too many of those of a byte.
template <typename Format> constexpr bool IS_FRACTION = Format::BITS < 8;

// Numbers of eight values, one instruction each.
template <typename Format>
__device__ void eight_numbers(const Format &, const typename Format::Piece &piece, int eight, float (&out)[8]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const unsigned codes = Format::codes(piece, 2 * eight + half);
        const unsigned fractions = codes << (IS_FRACTION<Format> ? 7 - Format::BITS : 0) | 0x80808080u;
#pragma unroll
        for (int place = 0; place < 4; place++) {
            out[4 * half + place] = IS_FRACTION<Format>
                                        ? __uint_as_float(__byte_perm(fractions, 0x3f000000u, 0x7044u | place << 8))
                                        : number_of(codes, place, Format::ZERO);
        }
    }
}

// The sum of products of a run's values with what its numbers were multiplied with, whose total is known.
template <typename Format>
__device__ float sum_of_values(const Format &, const typename Format::Piece &piece, int run, float of, float total) {
    constexpr float WHOLE = IS_FRACTION<Format> ? 1 << Format::BITS : 1;
    constexpr float NOTHING = IS_FRACTION<Format> ? 1.0f + Format::ZERO / WHOLE : 0.0f;
    const float sum = piece.step[run] * WHOLE * (of - NOTHING * total);
    if constexpr (Format::HAS_OFFSET) {
        return sum + piece.offset[run] * total;
    } else {
        return sum;
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

template <bool IS_BRAIN>
__device__ void eight_values(const Floats<IS_BRAIN> &, const typename Floats<IS_BRAIN>::Piece &piece, int eight,
                             float (&out)[8]) {
#pragma unroll
    for (int place = 0; place < 8; place++) {
        const unsigned bits = piece.words[eight][place / 2] >> (16 * (place % 2)) & 0xffff;
        out[place] = bits_as_float(bits, IS_BRAIN ? BF16 : F16);
    }
}

template <bool IS_BRAIN>
__device__ void eight_numbers(const Floats<IS_BRAIN> &floats, const typename Floats<IS_BRAIN>::Piece &piece, int eight,
                              float (&out)[8]) {
    eight_values(floats, piece, eight, out);
}

template <bool IS_BRAIN>
__device__ float sum_of_values(const Floats<IS_BRAIN> &, const typename Floats<IS_BRAIN>::Piece &, int, float of, float) {
    return of;
}

// Where it is `EXACT`, numbers are the values themselves, those that are made for more tokens.
template <typename Format, bool EXACT> struct Blocks {
    const unsigned char *packed;
    unsigned columns, from;

    using Piece = typename Format::Piece;

    static __device__ int column(int lane, int index) {
        const int block = lane / Format::PARTS * Format::PARTS * product::VALUES;
        return block + Format::column(lane % Format::PARTS, index);
    }

    using Row = const unsigned char *;
    __device__ Row row(unsigned number) const {
        const unsigned blocks = columns / product::VALUES / Format::PARTS;
        return packed + (unsigned long long)(from + number) * blocks * Format::BYTES;
    }

    __device__ Piece piece(Row row, unsigned column) const {
        const unsigned number = column / product::VALUES;
        return Format::piece(row + number / Format::PARTS * Format::BYTES, number % Format::PARTS);
    }

    using Ready = Piece;
    __device__ Ready ready(const Piece &piece) const {
        return piece;
    }

    __device__ void values(const Piece &piece, int eight, float (&out)[8]) const {
        if (EXACT) {
            eight_values(Format(), piece, eight, out);
        } else {
            eight_numbers(Format(), piece, eight, out);
        }
    }

    __device__ float sum(const Piece &piece, int run, float of, float total) const {
        return EXACT ? of : sum_of_values(Format(), piece, run, of, total);
    }
};

// A warp's.
template <typename Format, bool EXACT>
__device__ Blocks<Format, EXACT> blocks_of(const product::Product &of, const product::Share &share) {
    const product::Matrix &matrix = of.all[share.matrix];
    return {matrix.packed, of.columns, matrix.from};
}

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
        eight_values(Format(), piece, eight, values);
        // Runs of 16 lie together.
        const int column = Format::column(part, 8 * eight);
        store_eight(values, kind, out, block * Format::PARTS * product::VALUES + column);
    }
}

} // namespace

#define MULTIPLY(NAME, FORMAT, KIND, TOKENS)                                                                         \
    extern "C" __global__ void __launch_bounds__(32 * product::WARPS)                                                \
        multiply_##NAME##_##TOKENS(const __grid_constant__ product::Product of) {                                    \
        const product::Share share = product::share_of(of, blockIdx.x, product::GATED_ROWS);                         \
        product::multiply<TOKENS, KIND>(of, share, blocks_of<FORMAT, false>(of, share));                             \
    }

#define MULTIPLY_FEW(NAME, FORMAT, KIND)                                                                             \
    MULTIPLY(NAME, FORMAT, KIND, 1)                                                                                  \
    MULTIPLY(NAME, FORMAT, KIND, 2)                                                                                  \
    MULTIPLY(NAME, FORMAT, KIND, 4)                                                                                  \
    MULTIPLY(NAME, FORMAT, KIND, 8)

#define MULTIPLY_TILES(FORMAT, NAME, KIND)                                                                           \
    extern "C" __global__ void arrange_##FORMAT##_##NAME(const float *x, unsigned columns, unsigned tokens,          \
                                                         uint4 *out) {                                               \
        tiles::arrange<KIND, Blocks<FORMAT, true>>(x, columns, tokens, out);                                         \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(32 * tiles::WARPS, TILED_BLOCKS)                                    \
        multiply_tiles_##FORMAT##_##NAME(const __grid_constant__ product::Product of) {                              \
        const product::Share share = product::share_of(of, blockIdx.y, tiles::ROWS);                                 \
        tiles::multiply<KIND>(of, share, blocks_of<FORMAT, true>(of, share));                                        \
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
