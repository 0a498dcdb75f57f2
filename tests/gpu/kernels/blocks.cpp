// The kernels of `blocks.cu`, run on the processor, against the loops by which ggml unpacks a block
// (`dequantize_row_*`), to the bit, and against sums in doubles of what these give.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/blocks.cu"

#include "products.hpp"

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
    void (*make)(Bytes, unsigned long long, int, void *);
    std::vector<products::Kernels> products;
};

#define FEW(NAME) {multiply_##NAME##_1, multiply_##NAME##_2, multiply_##NAME##_4, multiply_##NAME##_8}
#define BY_TILES(NAME, KIND, TYPE)                                                                                     \
    {#NAME " by tiles", KIND, {}, nullptr, arrange_##NAME##_##TYPE, multiply_tiles_##NAME##_##TYPE}

// Older tensor cores have none.
#ifdef OLD_TENSOR_CORES
#define IN_BRAINS(NAME)
#else
#define IN_BRAINS(NAME) , BY_TILES(NAME, BF16, bf16)
#endif

#define OF(NAME, LOWER, VALUES, BYTES, ...)                                                                            \
    {#NAME,                                                                                                            \
     VALUES,                                                                                                           \
     BYTES,                                                                                                            \
     {__VA_ARGS__},                                                                                                    \
     unpack_##LOWER,                                                                                                   \
     values_of_##NAME,                                                                                                 \
     {{#NAME, F32, FEW(NAME), nullptr, nullptr, nullptr}, BY_TILES(NAME, F16, f16) IN_BRAINS(NAME)}}

static Kernels ALL[] = {
    OF(Half, half, 32, 64),           OF(Brain, brain, 32, 64),
    OF(Q4_0, q4_0, 32, 18, 0),        OF(Q4_1, q4_1, 32, 20, 0, 2),      OF(Q5_0, q5_0, 32, 22, 0),
    OF(Q5_1, q5_1, 32, 24, 0, 2),     OF(Q8_0, q8_0, 32, 34, 0),         OF(Q2_K, q2_k, 256, 84, 80, 82),
    OF(Q3_K, q3_k, 256, 110, 108),    OF(Q4_K, q4_k, 256, 144, 0, 2),    OF(Q5_K, q5_k, 256, 176, 0, 2),
    OF(Q6_K, q6_k, 256, 210, 208),
};

using products::failures;

static void fail(const char *what, const Kernels &kernels, unsigned rows, unsigned columns, size_t at, double got,
                 double expected) {
    if (failures++ < 10) {
        std::printf("%s of %s (%u, %u): at %zu %.9g instead of %.9g\n", what, kernels.name, rows, columns, at, got,
                    expected);
    }
}

// Bytes of a matrix, as aligned as memory of a card is, and its values.
struct Matrix {
    std::vector<uint4> memory;
    std::vector<float> values;

    Matrix(const Kernels &kernels, size_t blocks)
        : memory(blocks * kernels.bytes / 16 + 1), values(blocks * kernels.values) {
        auto *packed = reinterpret_cast<unsigned char *>(memory.data());
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
    }

    Bytes packed() const {
        return reinterpret_cast<Bytes>(memory.data());
    }
};

static void check_values(const Kernels &kernels, unsigned rows, unsigned columns) {
    const size_t count = (size_t)rows * columns, guard = 8;
    const Matrix matrix(kernels, count / kernels.values);
    const std::vector<float> &values = matrix.values;
    for (const int kind : {F32, F16, BF16}) {
        std::vector<float> wide(count + guard, NAN);
        std::vector<unsigned short> narrow(count + guard, 0xffff);
        void *out = kind == F32 ? (void *)wide.data() : narrow.data();
        emulated::launch((unsigned)(count / 32 + 255) / 256, 256,
                         [&] { kernels.make(matrix.packed(), count / 32, kind, out); });
        for (size_t at = 0; at < count + guard; at++) {
            if (kind == F32) {
                const bool is_same = at < count ? wide[at] == values[at] : std::isnan(wide[at]);
                if (!is_same) {
                    fail("value", kernels, rows, columns, at, wide[at], at < count ? values[at] : NAN);
                }
            } else {
                const unsigned expected =
                    at >= count ? 0xffff : kind == F16 ? half_of(values[at]) : brain_of(values[at]);
                if (narrow[at] != expected) {
                    fail("rounded value", kernels, rows, columns, at, narrow[at], expected);
                }
            }
        }
    }
}

static void check(const Kernels &kernels, unsigned rows, unsigned columns) {
    check_values(kernels, rows, columns);
    for (const products::Kernels &own : kernels.products) {
        std::vector<std::unique_ptr<Matrix>> all;
        products::check_all(own, rows, columns, [&](unsigned own_rows) {
            // Some of its rows, behind others.
            const unsigned from = numbers() % 3;
            all.emplace_back(new Matrix(kernels, (size_t)(from + own_rows) * columns / kernels.values));
            const Matrix &matrix = *all.back();
            products::Operand operand = {};
            operand.matrix.packed = matrix.packed();
            operand.matrix.rows = own_rows;
            operand.matrix.from = from;
            operand.values = {matrix.values.begin() + (size_t)from * columns, matrix.values.end()};
            return operand;
        });
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    // Of floats tokens and products are rounded to their type, too, where they are computed in it.
    ALL[0].products.push_back({"rounded Half", F16, FEW(rounded_Half), nullptr, nullptr, nullptr});
    ALL[1].products.push_back({"rounded Brain", BF16, FEW(rounded_Brain), nullptr, nullptr, nullptr});
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
