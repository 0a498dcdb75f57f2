// The kernels of `blocks.cu`, run on the processor, against the loops by which ggml unpacks a block
// (`dequantize_row_*`), to the bit, and against sums in doubles of what these give.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/blocks.cu"

using Bytes = const unsigned char *;

static float half(Bytes at) {
    return float_of_half((unsigned short)(at[0] | at[1] << 8));
}

static void unpack_q4_0(Bytes block, float *y) {
    for (int i = 0; i < 16; i++) {
        y[i] = ((block[2 + i] & 15) - 8) * half(block);
        y[i + 16] = ((block[2 + i] >> 4) - 8) * half(block);
    }
}

static void unpack_q4_1(Bytes block, float *y) {
    for (int i = 0; i < 16; i++) {
        y[i] = (block[4 + i] & 15) * half(block) + half(block + 2);
        y[i + 16] = (block[4 + i] >> 4) * half(block) + half(block + 2);
    }
}

static int code_of_five(Bytes high, int at) {
    uint32_t bits;
    std::memcpy(&bits, high, 4);
    const unsigned char byte = high[4 + at % 16];
    return (at < 16 ? byte & 15 : byte >> 4) | (bits >> at & 1) << 4;
}

static void unpack_q5_0(Bytes block, float *y) {
    for (int i = 0; i < 32; i++) {
        y[i] = (code_of_five(block + 2, i) - 16) * half(block);
    }
}

static void unpack_q5_1(Bytes block, float *y) {
    for (int i = 0; i < 32; i++) {
        y[i] = code_of_five(block + 4, i) * half(block) + half(block + 2);
    }
}

static void unpack_q8_0(Bytes block, float *y) {
    for (int i = 0; i < 32; i++) {
        y[i] = (signed char)block[2 + i] * half(block);
    }
}

static void unpack_q2_k(Bytes block, float *y) {
    Bytes codes = block + 16;
    int scale = 0;
    for (int n = 0; n < 256; n += 128, codes += 32) {
        for (int shift = 0; shift < 8; shift += 2) {
            for (int side = 0; side < 32; side += 16) {
                const int both = block[scale++];
                const float step = half(block + 80) * (both & 15), minimum = half(block + 82) * (both >> 4);
                for (int l = 0; l < 16; l++) {
                    *y++ = step * (codes[side + l] >> shift & 3) - minimum;
                }
            }
        }
    }
}

static void unpack_q3_k(Bytes block, float *y) {
    // As ggml does it: twelve bytes to sixteen scales of six bits, by whole words.
    const uint32_t low_bits = 0x0f0f0f0f, high_bits = 0x03030303;
    uint32_t words[4];
    std::memcpy(words, block + 96, 12);
    const uint32_t last = words[2];
    words[2] = (words[0] >> 4 & low_bits) | (last >> 4 & high_bits) << 4;
    words[3] = (words[1] >> 4 & low_bits) | (last >> 6 & high_bits) << 4;
    words[0] = (words[0] & low_bits) | (last & high_bits) << 4;
    words[1] = (words[1] & low_bits) | (last >> 2 & high_bits) << 4;
    signed char scales[16];
    std::memcpy(scales, words, 16);
    Bytes codes = block + 32;
    int scale = 0, mask = 1;
    for (int n = 0; n < 256; n += 128, codes += 32) {
        for (int shift = 0; shift < 8; shift += 2, mask <<= 1) {
            for (int side = 0; side < 32; side += 16) {
                const float step = half(block + 108) * (scales[scale++] - 32);
                for (int l = 0; l < 16; l++) {
                    *y++ = step * ((codes[side + l] >> shift & 3) - (block[side + l] & mask ? 0 : 4));
                }
            }
        }
    }
}

static void scale_and_minimum(int j, Bytes q, int *scale, int *minimum) {
    if (j < 4) {
        *scale = q[j] & 63;
        *minimum = q[j + 4] & 63;
    } else {
        *scale = (q[j + 4] & 15) | (q[j - 4] >> 6) << 4;
        *minimum = q[j + 4] >> 4 | (q[j] >> 6) << 4;
    }
}

static void unpack_q45_k(Bytes block, Bytes high, Bytes codes, float *y) {
    int mask = 1;
    for (int j = 0; j < 8; j++, mask <<= 1) {
        int scale, minimum;
        scale_and_minimum(j, block + 4, &scale, &minimum);
        const float step = half(block) * scale, offset = half(block + 2) * minimum;
        for (int l = 0; l < 32; l++) {
            const int code = codes[32 * (j / 2) + l] >> 4 * (j % 2) & 15;
            *y++ = step * (code + (high && high[l] & mask ? 16 : 0)) - offset;
        }
    }
}

static void unpack_q4_k(Bytes block, float *y) {
    unpack_q45_k(block, nullptr, block + 16, y);
}

static void unpack_q5_k(Bytes block, float *y) {
    unpack_q45_k(block, block + 16, block + 48, y);
}

static void unpack_q6_k(Bytes block, float *y) {
    Bytes low = block, high = block + 128;
    auto scales = reinterpret_cast<const signed char *>(block + 192);
    for (int n = 0; n < 256; n += 128, y += 128, low += 64, high += 32, scales += 8) {
        for (int l = 0; l < 32; l++) {
            const int codes[4] = {(low[l] & 15) | (high[l] & 3) << 4, (low[l + 32] & 15) | (high[l] >> 2 & 3) << 4,
                                  low[l] >> 4 | (high[l] >> 4 & 3) << 4, low[l + 32] >> 4 | (high[l] >> 6) << 4};
            for (int part = 0; part < 4; part++) {
                y[l + 32 * part] = half(block + 208) * scales[l / 16 + 2 * part] * (codes[part] - 32);
            }
        }
    }
}

static void unpack_half(Bytes block, float *y) {
    for (int i = 0; i < 32; i++) {
        y[i] = half(block + 2 * i);
    }
}

static void unpack_brain(Bytes block, float *y) {
    for (int i = 0; i < 32; i++) {
        y[i] = __uint_as_float((unsigned)(block[2 * i] | block[2 * i + 1] << 8) << 16);
    }
}

// Floats that are numbers, wherever a block is all floats.
static void fill(std::vector<unsigned> &places, unsigned bytes) {
    for (unsigned at = 0; at < bytes; at += 2) {
        places.push_back(at);
    }
}

struct Kernels {
    const char *name;
    unsigned values, bytes;
    // Where the block has floats of two bytes.
    std::vector<unsigned> halves;
    void (*unpack)(Bytes, float *);
    void (*multiply[4])(Bytes, unsigned, unsigned, int, const float *, const float *, const float *, float *, unsigned);
    void (*make)(Bytes, unsigned long long, int, void *);
    // By tiles, in f16 and in brain floats.
    void (*arrange[2])(const float *, unsigned, unsigned, uint4 *);
    void (*tiles[2])(Bytes, unsigned, unsigned, unsigned, const uint4 *, const float *, const float *, float *, unsigned);
    // Of floats, with tokens and products rounded to their type.
    int kind = F32;
    void (*rounded[4])(Bytes, unsigned, unsigned, int, const float *, const float *, const float *, float *, unsigned) = {};
};

// Older tensor cores have none.
#ifdef OLD_TENSOR_CORES
#define IN_BRAINS(NAME) nullptr
#else
#define IN_BRAINS(NAME) NAME
#endif

#define OF(NAME, LOWER, VALUES, BYTES, ...)                                                                            \
    {#NAME,                                                                                                            \
     VALUES,                                                                                                           \
     BYTES,                                                                                                            \
     {__VA_ARGS__},                                                                                                    \
     unpack_##LOWER,                                                                                                   \
     {multiply_##NAME##_1, multiply_##NAME##_2, multiply_##NAME##_4, multiply_##NAME##_8},                             \
     values_of_##NAME,                                                                                                 \
     {arrange_##NAME##_f16, IN_BRAINS(arrange_##NAME##_bf16)},                                                         \
     {multiply_tiles_##NAME##_f16, IN_BRAINS(multiply_tiles_##NAME##_bf16)}}

static Kernels ALL[] = {
    OF(Half, half, 32, 64),           OF(Brain, brain, 32, 64),
    OF(Q4_0, q4_0, 32, 18, 0),        OF(Q4_1, q4_1, 32, 20, 0, 2),      OF(Q5_0, q5_0, 32, 22, 0),
    OF(Q5_1, q5_1, 32, 24, 0, 2),     OF(Q8_0, q8_0, 32, 34, 0),         OF(Q2_K, q2_k, 256, 84, 80, 82),
    OF(Q3_K, q3_k, 256, 110, 108),    OF(Q4_K, q4_k, 256, 144, 0, 2),    OF(Q5_K, q5_k, 256, 176, 0, 2),
    OF(Q6_K, q6_k, 256, 210, 208),
};

static int failures = 0;

static void fail(const char *what, const Kernels &kernels, unsigned rows, unsigned columns, unsigned tokens, size_t at,
                 double got, double expected) {
    if (failures++ < 10) {
        std::printf("%s of %s (%u, %u), %u tokens: at %zu %.9g instead of %.9g\n", what, kernels.name, rows, columns,
                    tokens, at, got, expected);
    }
}

// Values of a matrix, and its bytes.
struct Matrix {
    unsigned rows, columns;
    Bytes packed;
    std::vector<float> values;
};

// A product as `kind`: by the kernels of so few tokens, or by tiles.
static void check_product(const Kernels &kernels, const Matrix &matrix, unsigned tokens, int kind, bool by_tiles) {
    const auto [rows, columns, packed, values] = matrix;
    const size_t guard = 8;
    // Beside other columns, with what is added, or alone.
    const unsigned stride = tokens % 2 ? rows : rows + 5;
    const bool has_bias = tokens % 3 == 1, is_added = tokens % 4 != 0;
    std::vector<float> x, bias, added, y(tokens * stride + guard, NAN);
    for (unsigned row = 0; row < rows; row++) {
        bias.push_back(uniform(-1, 1));
    }
    for (size_t at = 0; at < (size_t)tokens * rows; at++) {
        added.push_back(uniform(-1, 1));
    }
    for (size_t at = 0; at < (size_t)tokens * columns; at++) {
        x.push_back(uniform(-1, 1));
    }
    const float *biases = has_bias ? bias.data() : nullptr, *summands = is_added ? added.data() : nullptr;
    if (!by_tiles) {
        const int power = tokens == 1 ? 0 : tokens == 2 ? 1 : tokens <= 4 ? 2 : 3;
        const unsigned per_block = product::WARPS * product::ROWS;
        emulated::launch((rows + per_block - 1) / per_block, 32 * product::WARPS, [&, rows = rows, columns = columns, packed = packed] {
            (kind == F32 ? kernels.multiply : kernels.rounded)[power](packed, rows, columns, (int)tokens, x.data(), biases, summands,
                                                                     y.data(), stride);
        });
    } else {
        const unsigned steps = (columns + tiles::STEP - 1) / tiles::STEP, count = (tokens + tiles::TILE - 1) / tiles::TILE;
        std::vector<uint4> laid(steps * count * tiles::EIGHTS * 32, uint4{~0u, ~0u, ~0u, ~0u});
        emulated::launch((unsigned)(laid.size() + 255) / 256, 256, [&, columns = columns] {
            kernels.arrange[kind == F16 ? 0 : 1](x.data(), columns, tokens, laid.data());
        });
        const Index blocks = {(tokens + tiles::TOKENS - 1) / tiles::TOKENS, (rows + tiles::ROWS - 1) / tiles::ROWS, 1};
        emulated::launch(blocks, 32 * tiles::WARPS, [&, rows = rows, columns = columns, packed = packed] {
            kernels.tiles[kind == F16 ? 0 : 1](packed, rows, columns, tokens, laid.data(), biases, summands, y.data(), stride);
        });
    }
    for (size_t at = 0; at < y.size(); at++) {
        if (at >= tokens * stride || at % stride >= rows) {
            if (!std::isnan(y[at])) {
                fail("what lies behind the product", kernels, rows, columns, tokens, at, y[at], NAN);
            }
            continue;
        }
        const size_t token = at / stride, row = at % stride;
        double sum = 0, size = 2;
        for (unsigned column = 0; column < columns; column++) {
            const double input = rounded(x[token * columns + column], kind);
            const double product = input * rounded(values[row * columns + column], kind);
            sum += product;
            size += std::fabs(product);
        }
        // Products are rounded, too.
        const double half_a_step = kind == F32 ? 0 : std::fabs(sum) / (kind == F16 ? 2048 : 256);
        sum += has_bias ? bias[row] : 0;
        sum += is_added ? added[token * rows + row] : 0;
        // Written so that what is no number is none of the near ones.
        if (!(std::fabs(y[at] - sum) <= 1e-6 * size + half_a_step)) {
            fail("product", kernels, rows, columns, tokens, at, y[at], sum);
        }
    }
}

static void check(const Kernels &kernels, unsigned rows, unsigned columns) {
    const size_t count = (size_t)rows * columns, blocks = count / kernels.values;
    // As aligned as memory of a card is.
    std::vector<uint4> memory(blocks * kernels.bytes / 16 + 1);
    auto *packed = reinterpret_cast<unsigned char *>(memory.data());
    std::vector<float> values(count);
    for (size_t block = 0; block < blocks; block++) {
        unsigned char *bytes = packed + block * kernels.bytes;
        for (unsigned at = 0; at < kernels.bytes; at++) {
            bytes[at] = numbers() & 255;
        }
        for (const unsigned at : kernels.halves) {
            const float number = uniform(-0.1f, 0.1f);
            const unsigned short bits = kernels.unpack == unpack_brain ? brain_of(number) : half_of(number);
            bytes[at] = bits & 255;
            bytes[at + 1] = bits >> 8;
        }
        kernels.unpack(bytes, &values[block * kernels.values]);
    }
    const size_t guard = 8;
    for (const int kind : {F32, F16, BF16}) {
        std::vector<float> wide(count + guard, NAN);
        std::vector<unsigned short> narrow(count + guard, 0xffff);
        void *out = kind == F32 ? (void *)wide.data() : narrow.data();
        emulated::launch((unsigned)(count / 32 + 255) / 256, 256, [&] { kernels.make(packed, count / 32, kind, out); });
        for (size_t at = 0; at < count + guard; at++) {
            if (kind == F32) {
                const bool is_same = at < count ? wide[at] == values[at] : std::isnan(wide[at]);
                if (!is_same) {
                    fail("value", kernels, rows, columns, 0, at, wide[at], at < count ? values[at] : NAN);
                }
            } else {
                const unsigned expected =
                    at >= count ? 0xffff : kind == F16 ? half_of(values[at]) : brain_of(values[at]);
                if (narrow[at] != expected) {
                    fail("rounded value", kernels, rows, columns, 0, at, narrow[at], expected);
                }
            }
        }
    }
    const Matrix matrix = {rows, columns, packed, std::move(values)};
    for (const unsigned tokens : {1, 2, 3, 4, 5, 8}) {
        check_product(kernels, matrix, tokens, F32, false);
        if (kernels.kind != F32) {
            check_product(kernels, matrix, tokens, kernels.kind, false);
        }
    }
    for (const unsigned tokens : {6, 16, 32, 45}) {
        for (const int kind : {F16, BF16}) {
            if (kernels.tiles[kind == F16 ? 0 : 1] != nullptr) {
                check_product(kernels, matrix, tokens, kind, true);
            }
        }
    }
}

#define ROUNDED(NAME)                                                                                                  \
    {multiply_rounded_##NAME##_1, multiply_rounded_##NAME##_2, multiply_rounded_##NAME##_4, multiply_rounded_##NAME##_8}

static void set_rounded(Kernels &kernels, int kind, decltype(multiply_rounded_Half_1) *const (&rounded)[4]) {
    kernels.kind = kind;
    std::copy(rounded, rounded + 4, kernels.rounded);
}

int main(int count, char **arguments) {
    seed(count, arguments);
    set_rounded(ALL[0], F16, ROUNDED(Half));
    set_rounded(ALL[1], BF16, ROUNDED(Brain));
    fill(ALL[0].halves, 64);
    fill(ALL[1].halves, 64);
    for (const Kernels &kernels : ALL) {
        const unsigned shapes[][2] = {{1, 1}, {3, 5}, {33, 3}, {70, 1}};
        for (const auto &[rows, blocks] : shapes) {
            check(kernels, rows, blocks * kernels.values);
        }
        // Rows that end within a segment of a warp, and after many.
        check(kernels, 40, kernels.values == 32 ? 33 * 32 : 256 * 9);
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
