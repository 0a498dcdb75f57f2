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

// Two bytes as they lie.
__device__ unsigned two_at(const unsigned char *place) {
    return *reinterpret_cast<const unsigned short *>(place);
}

__device__ float half_of_word(unsigned word, int place) {
    return float_of_half((unsigned short)(word >> 16 * place));
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

template <typename Raw> __device__ Codes codes_of(const Raw &raw, float step, float offset) {
    return {{raw.low[0], raw.low[1], raw.low[2], raw.low[3]}, {step, step}, {offset, offset}};
}

// Blocks of 32: the first run in the low halves of 16 bytes, the second in the high ones.
struct Plain {
    static constexpr int PARTS = 1;
    static __device__ int column(int, int index) {
        return index;
    }
};

// A format of blocks has
//   Raw, raw(block, part)      what a lane takes, as it lies: nothing that would wait for it;
//   Piece, piece(raw, part)    the same, its scales numbers;
//   codes(piece, four)         codes of four values in bytes;
//   BITS                       bits of a code;
//   ZERO                       the code of nothing;
//   HAS_OFFSET                 whether something is added.
template <bool HAS_MINIMUM> struct Q4 : Plain {
    static constexpr int BITS = 4, BYTES = HAS_MINIMUM ? 20 : 18, START = HAS_MINIMUM ? 4 : 2;
    static constexpr unsigned ZERO = HAS_MINIMUM ? 0 : 8;
    static constexpr bool HAS_OFFSET = HAS_MINIMUM;
    struct Raw {
        unsigned low[4], scales[1];
    };
    using Piece = Codes;
    static __device__ Raw raw(const unsigned char *block, int) {
        Raw raw;
        load<START>(block + START, raw.low);
        raw.scales[0] = HAS_MINIMUM ? *reinterpret_cast<const unsigned *>(block) : two_at(block);
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int) {
        return codes_of(raw, half_of_word(raw.scales[0], 0), HAS_MINIMUM ? half_of_word(raw.scales[0], 1) : 0.0f);
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        return nibbles_of(piece.low, four);
    }
};

// The fifth bit of each value is in a field before the others.
template <bool HAS_MINIMUM> struct Q5 : Plain {
    static constexpr int BITS = 5, BYTES = HAS_MINIMUM ? 24 : 22, START = HAS_MINIMUM ? 4 : 2;
    static constexpr unsigned ZERO = HAS_MINIMUM ? 0 : 16;
    static constexpr bool HAS_OFFSET = HAS_MINIMUM;
    struct Raw {
        unsigned low[4], high[1], scales[1];
    };
    struct Piece : Codes {
        unsigned high;
    };
    static __device__ Raw raw(const unsigned char *block, int) {
        Raw raw;
        load<START>(block + START, raw.high);
        load<START>(block + START + 4, raw.low);
        raw.scales[0] = HAS_MINIMUM ? *reinterpret_cast<const unsigned *>(block) : two_at(block);
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int) {
        const float offset = HAS_MINIMUM ? half_of_word(raw.scales[0], 1) : 0.0f;
        return {codes_of(raw, half_of_word(raw.scales[0], 0), offset), raw.high[0]};
    }
    static __device__ unsigned codes(const Piece &piece, int four) {
        // Four bits beside each other, moved on by none, 7, 14 and 21, come to be the first of a byte each.
        const unsigned fifths = (piece.high >> (4 * four) & 15) * 0x00204081u & 0x01010101u;
        return nibbles_of(piece.low, four) | fifths << 4;
    }
};

struct Q8_0 : Plain {
    static constexpr int BYTES = 34, BITS = 8;
    // A byte's sign bit turned round counts from -128.
    static constexpr unsigned ZERO = 128;
    static constexpr bool HAS_OFFSET = false;
    struct Raw {
        unsigned bytes[2][4], scale;
    };
    struct Piece {
        unsigned bytes[2][4];
        float step[2];
    };
    static __device__ Raw raw(const unsigned char *block, int) {
        Raw raw;
        load<2>(block + 2, raw.bytes[0]);
        load<2>(block + 18, raw.bytes[1]);
        raw.scale = two_at(block);
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int) {
        Piece piece;
#pragma unroll
        for (int word = 0; word < 8; word++) {
            piece.bytes[word / 4][word % 4] = raw.bytes[word / 4][word % 4];
        }
        piece.step[0] = piece.step[1] = half_of_word(raw.scale, 0);
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
    struct Raw {
        unsigned low[4], scales, runs[2];
    };
    struct Piece : Codes {
        int shift;
    };
    static __device__ Raw raw(const unsigned char *block, int part) {
        Raw raw;
        load<4>(block + 16 + 32 * half(part) + 16 * side(part), raw.low);
        raw.scales = *reinterpret_cast<const unsigned *>(block + 80);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            raw.runs[run] = block[8 * half(part) + 2 * (quarter(part) + run) + side(part)];
        }
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int part) {
        Piece piece{codes_of(raw, 0.0f, 0.0f), 2 * quarter(part)};
        const float scale = half_of_word(raw.scales, 0), minimum = half_of_word(raw.scales, 1);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            piece.step[run] = __fmul_rn(scale, number_of(raw.runs[run] & 15));
            piece.offset[run] = -__fmul_rn(minimum, number_of(raw.runs[run] >> 4));
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
    struct Raw {
        unsigned low[4], high[4], scale, lows[2], highs[2];
    };
    struct Piece : Codes {
        unsigned high[4];
        int shift, bit;
    };
    // The number of a run's scale.
    static __device__ int index_of(int part, int run) {
        return 8 * half(part) + 2 * (quarter(part) + run) + side(part);
    }
    static __device__ Raw raw(const unsigned char *block, int part) {
        Raw raw;
        load<2>(block + 16 * side(part), raw.high);
        load<2>(block + 32 + 32 * half(part) + 16 * side(part), raw.low);
        const unsigned char *scales = block + 96;
        raw.scale = two_at(block + 108);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            const int index = index_of(part, run);
            raw.lows[run] = scales[index % 8];
            raw.highs[run] = scales[8 + index % 4];
        }
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int part) {
        Piece piece{codes_of(raw, 0.0f, 0.0f),
                    {raw.high[0], raw.high[1], raw.high[2], raw.high[3]},
                    2 * quarter(part),
                    4 * half(part) + quarter(part)};
        const float scale = half_of_word(raw.scale, 0);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            const int index = index_of(part, run);
            const unsigned low = raw.lows[run] >> (index < 8 ? 0 : 4) & 15, high = raw.highs[run] >> (2 * (index / 4)) & 3;
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
    // Step and offset of both runs, which are neighbours, from a block's first 16 bytes: the 6 bits that
    // `get_scale_min_k4` of ggml takes apart, of two numbers at once.
    static __device__ void scales(const unsigned (&words)[4], int part, Codes &piece) {
        const float scale = half_of_word(words[0], 0), minimum = half_of_word(words[0], 1);
        const int pair = part / 2, shift = 16 * (pair % 2);
        const bool is_split = pair >= 2;
        const unsigned first = words[1] >> shift, own = (is_split ? words[2] : words[1]) >> shift;
        const unsigned behind = (is_split ? words[3] : words[2]) >> shift;
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
    struct Raw {
        unsigned low[4], scales[4];
    };
    using Piece = Codes;
    static __device__ Raw raw(const unsigned char *block, int part) {
        Raw raw;
        load<16>(block + 16 + 16 * part, raw.low);
        load<16>(block, raw.scales);
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int part) {
        Piece piece = codes_of(raw, 0.0f, 0.0f);
        scales(raw.scales, part, piece);
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
    struct Raw {
        unsigned low[4], high[4], scales[4];
    };
    struct Piece : Codes {
        unsigned high[4];
        int shift;
    };
    static __device__ Raw raw(const unsigned char *block, int part) {
        Raw raw;
        load<16>(block + 16 + 16 * (part % 2), raw.high);
        load<16>(block + 48 + 16 * part, raw.low);
        load<16>(block, raw.scales);
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int part) {
        Piece piece{codes_of(raw, 0.0f, 0.0f), {raw.high[0], raw.high[1], raw.high[2], raw.high[3]}, part / 2 * 2};
        scales(raw.scales, part, piece);
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
    struct Raw {
        unsigned low[4], high[4], scale, runs[2];
    };
    struct Piece : Codes {
        unsigned high[4];
        int shift;
    };
    // Runs are the quarters of 128 that share 16 bytes: the first and third, or the second and fourth.
    static __device__ int column(int part, int index) {
        return 128 * (part / 4) + 32 * (part % 2 + 2 * (index / 16)) + 16 * (part / 2 % 2) + index % 16;
    }
    static __device__ Raw raw(const unsigned char *block, int part) {
        const int half = part / 4, side = part / 2 % 2, first = part % 2;
        Raw raw;
        load<2>(block + 64 * half + 32 * first + 16 * side, raw.low);
        load<2>(block + 128 + 32 * half + 16 * side, raw.high);
        raw.scale = two_at(block + 208);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            raw.runs[run] = block[192 + 8 * half + side + 2 * (first + 2 * run)];
        }
        return raw;
    }
    static __device__ Piece piece(const Raw &raw, int part) {
        Piece piece{codes_of(raw, 0.0f, 0.0f), {raw.high[0], raw.high[1], raw.high[2], raw.high[3]}, part % 2 * 2};
        const float scale = half_of_word(raw.scale, 0);
#pragma unroll
        for (int run = 0; run < 2; run++) {
            piece.step[run] = __fmul_rn(scale, number_of(raw.runs[run] ^ 128, 128));
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
    struct Raw {
        unsigned words[4][4];
    };
    using Piece = Raw;
    static __device__ Raw raw(const unsigned char *block, int) {
        Raw raw;
#pragma unroll
        for (int quarter = 0; quarter < 4; quarter++) {
            load<16>(block + 16 * quarter, raw.words[quarter]);
        }
        return raw;
    }
    static __device__ const Piece &piece(const Raw &raw, int) {
        return raw;
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

    struct Piece {
        typename Format::Raw raw;
        int part;
    };
    using Ready = typename Format::Piece;

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
        const unsigned number = column / product::VALUES, part = number % Format::PARTS;
        return {Format::raw(row + number / Format::PARTS * Format::BYTES, (int)part), (int)part};
    }

    __device__ Ready ready(const Piece &piece) const {
        return Format::piece(piece.raw, piece.part);
    }

    __device__ void values(const Ready &ready, int eight, float (&out)[8]) const {
        if (EXACT) {
            eight_values(Format(), ready, eight, out);
        } else {
            eight_numbers(Format(), ready, eight, out);
        }
    }

    __device__ float sum(const Ready &ready, int run, float of, float total) const {
        return EXACT ? of : sum_of_values(Format(), ready, run, of, total);
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
    const auto piece = Format::piece(Format::raw(packed + block * Format::BYTES, part), part);
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
using Q4_0 = Q4<false>;
using Q4_1 = Q4<true>;
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
