// Matrices in the block formats of ggml, and of floats of 16 bits: their products with a few tokens, and their values,
// which equal those of `weights/format.rs` to the bit. A row is a whole number of blocks, or of 32 floats. A lane takes
// 32 values of one: two runs of 16, so chosen that what it reads of the block it reads alone.

#include "tiles.cuh"

namespace {

// A number of few bits, less `zero`. By way of a float whose last bits it is: conversions are slow on cards.
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

__device__ unsigned byte_of(const unsigned (&words)[4], int index) {
    return words[index / 4] >> (8 * (index % 4)) & 255;
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

struct Q4_0 : Plain {
    static constexpr int BYTES = 18;
    using Piece = Codes;
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<2>(block + 2, piece.low);
        piece.step[0] = piece.step[1] = half_at(block);
        return piece;
    }
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const unsigned byte = byte_of(piece.low, index % 16);
        return __fmul_rn(number_of(index < 16 ? byte & 15 : byte >> 4, 8), piece.step[0]);
    }
};

struct Q4_1 : Plain {
    static constexpr int BYTES = 20;
    using Piece = Codes;
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<4>(block + 4, piece.low);
        piece.step[0] = half_at(block);
        piece.offset[0] = half_at(block + 2);
        return piece;
    }
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const unsigned byte = byte_of(piece.low, index % 16);
        return scaled<EXACT>(number_of(index < 16 ? byte & 15 : byte >> 4), piece.step[0], piece.offset[0]);
    }
};

// The fifth bit of each value is in a field before the others.
template <bool HAS_MINIMUM> struct Q5 : Plain {
    static constexpr int BYTES = HAS_MINIMUM ? 24 : 22, START = HAS_MINIMUM ? 4 : 2, ALIGN = HAS_MINIMUM ? 4 : 2;
    struct Piece : Codes {
        unsigned high[1];
    };
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<ALIGN>(block + START, piece.high);
        load<ALIGN>(block + START + 4, piece.low);
        piece.step[0] = half_at(block);
        piece.offset[0] = HAS_MINIMUM ? half_at(block + 2) : 0.0f;
        return piece;
    }
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const unsigned byte = byte_of(piece.low, index % 16);
        const unsigned code = (index < 16 ? byte & 15 : byte >> 4) | (piece.high[0] >> index & 1) << 4;
        if (HAS_MINIMUM) {
            return scaled<EXACT>(number_of(code), piece.step[0], piece.offset[0]);
        }
        return __fmul_rn(number_of(code, 16), piece.step[0]);
    }
};

struct Q8_0 : Plain {
    static constexpr int BYTES = 34;
    struct Piece {
        unsigned bytes[2][4];
        float step;
    };
    static __device__ Piece piece(const unsigned char *block, int) {
        Piece piece;
        load<2>(block + 2, piece.bytes[0]);
        load<2>(block + 18, piece.bytes[1]);
        piece.step = half_at(block);
        return piece;
    }
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        // A byte's sign bit turned round counts from -128.
        const unsigned byte = byte_of(piece.bytes[index / 16], index % 16);
        return __fmul_rn(number_of(byte ^ 128, 128), piece.step);
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
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const int run = index / 16;
        const unsigned code = byte_of(piece.low, index % 16) >> (piece.shift + 2 * run) & 3;
        return scaled<EXACT>(number_of(code), piece.step[run], piece.offset[run]);
    }
};

struct Q3_K : Quarters {
    static constexpr int BYTES = 110;
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
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const int run = index / 16;
        const unsigned low = byte_of(piece.low, index % 16) >> (piece.shift + 2 * run) & 3;
        const unsigned third = byte_of(piece.high, index % 16) >> (piece.bit + run) & 1;
        return __fmul_rn(number_of(low | third << 2, 4), piece.step[run]);
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
    using Piece = Codes;
    static __device__ Piece piece(const unsigned char *block, int part) {
        Piece piece;
        load<16>(block + 16 + 16 * part, piece.low);
        scales(block, part, piece);
        return piece;
    }
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const int run = index / 16;
        const unsigned byte = byte_of(piece.low, index % 16);
        return scaled<EXACT>(number_of(run == 0 ? byte & 15 : byte >> 4), piece.step[run], piece.offset[run]);
    }
};

struct Q5_K : Pairs {
    static constexpr int BYTES = 176;
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
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const int run = index / 16;
        const unsigned byte = byte_of(piece.low, index % 16);
        const unsigned fifth = byte_of(piece.high, index % 16) >> (piece.shift + run) & 1;
        const unsigned code = (run == 0 ? byte & 15 : byte >> 4) | fifth << 4;
        return scaled<EXACT>(number_of(code), piece.step[run], piece.offset[run]);
    }
};

struct Q6_K {
    static constexpr int PARTS = 8, BYTES = 210;
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
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const int run = index / 16;
        const unsigned low = byte_of(piece.low, index % 16), high = byte_of(piece.high, index % 16);
        const unsigned code = (run == 0 ? low & 15 : low >> 4) | (high >> (piece.shift + 4 * run) & 3) << 4;
        return __fmul_rn(number_of(code, 32), piece.step[run]);
    }
};

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
    template <bool EXACT> static __device__ float value(const Piece &piece, int index) {
        const unsigned bits = piece.words[index / 8][index / 2 % 4] >> (16 * (index % 2)) & 0xffff;
        return IS_BRAIN ? __uint_as_float(bits << 16) : float_of_half((unsigned short)bits);
    }
};

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
#pragma unroll
        for (int place = 0; place < 8; place++) {
            out[place] = Format::template value<EXACT>(piece, 8 * eight + place);
        }
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
    for (int index = 0; index < product::VALUES; index++) {
        const unsigned long long at = block * Format::PARTS * product::VALUES + Format::column(part, index);
        store(Format::template value<true>(piece, index), kind, out, at);
    }
}

} // namespace

#define MULTIPLY(FORMAT, TOKENS)                                                                                     \
    extern "C" __global__ void __launch_bounds__(32 * product::WARPS) multiply_##FORMAT##_##TOKENS(                  \
        const unsigned char *packed, unsigned rows, unsigned columns, int tokens, int kind, const float *x,          \
        const float *bias, const float *added, float *y, unsigned stride) {                                          \
        const Blocks<FORMAT, false> source = {packed, columns};                                                      \
        product::multiply<TOKENS>(source, rows, columns, tokens, kind, x, {bias, added, y, stride});                 \
    }

// Two blocks at once hide more waiting than the few registers that are spilled for it cost.
#define MULTIPLY_TILES(FORMAT, NAME, KIND)                                                                           \
    extern "C" __global__ void __launch_bounds__(32 * tiles::WARPS, 2) multiply_tiles_##FORMAT##_##NAME(             \
        const unsigned char *packed, unsigned rows, unsigned columns, unsigned tokens, const uint4 *x,               \
        const float *bias, const float *added, float *y, unsigned stride) {                                          \
        const Blocks<FORMAT, true> source = {packed, columns};                                                       \
        tiles::multiply<KIND>(source, rows, columns, tokens, x, {bias, added, y, stride});                           \
    }

#if defined(EMULATED) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define MULTIPLY_BRAINS(FORMAT) MULTIPLY_TILES(FORMAT, bf16, BF16)
#else
#define MULTIPLY_BRAINS(FORMAT)
#endif

#define FORMAT(FORMAT)                                                                                               \
    MULTIPLY(FORMAT, 1)                                                                                              \
    MULTIPLY(FORMAT, 2)                                                                                              \
    MULTIPLY(FORMAT, 4)                                                                                              \
    MULTIPLY(FORMAT, 8)                                                                                              \
    MULTIPLY_TILES(FORMAT, f16, F16)                                                                                 \
    MULTIPLY_BRAINS(FORMAT)                                                                                          \
    extern "C" __global__ void arrange_##FORMAT(const float *x, unsigned columns, unsigned tokens, int kind,         \
                                                uint4 *out) {                                                        \
        tiles::arrange<Blocks<FORMAT, true>>(x, columns, tokens, kind, out);                                         \
    }                                                                                                                \
    extern "C" __global__ void values_of_##FORMAT(const unsigned char *packed, unsigned long long pieces, int kind,  \
                                                  void *out) {                                                       \
        values_of<FORMAT>(packed, pieces, kind, out);                                                                \
    }

namespace {
using Q5_0 = Q5<false>;
using Q5_1 = Q5<true>;
using Half = Floats<false>;
using Brain = Floats<true>;
} // namespace

// A card's driver compiles all kernels of a text before it runs one: there is a text for each format.
#ifdef ONLY
#define EXPANDED(NAME) FORMAT(NAME)
EXPANDED(ONLY)
#else
FORMAT(Half)
FORMAT(Brain)
FORMAT(Q4_0)
FORMAT(Q4_1)
FORMAT(Q5_0)
FORMAT(Q5_1)
FORMAT(Q8_0)
FORMAT(Q2_K)
FORMAT(Q3_K)
FORMAT(Q4_K)
FORMAT(Q5_K)
FORMAT(Q6_K)
#endif
