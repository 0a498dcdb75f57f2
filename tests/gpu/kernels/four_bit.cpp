// The kernels of `four_bit.cu`, run on the processor, against sums in doubles: fresh numbers each time, outputs that
// are no numbers before, and shapes that fill no warp, no segment and no block.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/four_bit.cu"

struct Matrix {
    unsigned rows, columns, block;
    bool is_nested;
    std::vector<unsigned char> packed, codes;
    std::vector<float> book, plain, outer, map;
    float offset;

    Matrix(unsigned rows, unsigned columns, unsigned block, bool is_nested)
        : rows(rows), columns(columns), block(block), is_nested(is_nested) {
        const size_t count = (size_t)rows * columns, blocks = (count + block - 1) / block;
        for (size_t at = 0; at < (count + 1) / 2; at++) {
            packed.push_back(numbers() & 255);
        }
        for (int code = 0; code < 16; code++) {
            book.push_back(uniform(-1, 1));
        }
        for (size_t at = 0; at < blocks; at++) {
            plain.push_back(uniform(0.001f, 0.1f));
            codes.push_back(numbers() & 255);
        }
        for (size_t at = 0; at < (blocks + 255) / 256; at++) {
            outer.push_back(uniform(0.001f, 0.1f));
        }
        for (int code = 0; code < 256; code++) {
            map.push_back(uniform(-1, 1));
        }
        offset = uniform(0, 0.1f);
    }

    float scale(size_t at) const {
        const size_t number = at / block;
        return is_nested ? map[codes[number]] * outer[number / 256] + offset : plain[number];
    }

    float value(size_t at) const {
        const unsigned char both = packed[at / 2];
        return book[at % 2 ? both & 15 : both >> 4] * scale(at);
    }
};

static int failures = 0;

static void fail(const char *what, const Matrix &matrix, int kind, unsigned tokens, size_t at, double got,
                 double expected) {
    if (failures++ < 10) {
        std::printf("%s of (%u, %u) in blocks of %u, nested %d, kind %d, %u tokens: at %zu %g instead of %g\n", what,
                    matrix.rows, matrix.columns, matrix.block, matrix.is_nested, kind, tokens, at, got, expected);
    }
}

using Bytes = const unsigned char *;
using Floats = const float *;

struct Kernels {
    void (*multiply[4])(Bytes, Floats, Floats, Bytes, Floats, Floats, float, unsigned, unsigned, unsigned, int, Floats, Floats,
                        Floats, float *, unsigned);
    void (*values)(Bytes, Floats, Floats, Bytes, Floats, Floats, float, unsigned, unsigned long long, void *);
    // Of 16 bits.
    void (*arrange)(Floats, unsigned, unsigned, uint4 *);
    void (*tiles)(Bytes, Floats, Floats, Bytes, Floats, Floats, float, unsigned, unsigned, unsigned, unsigned, const uint4 *,
                  Floats, Floats, float *, unsigned);
};

#define OF(NAME, ARRANGE, TILES)                                                                                     \
    {{multiply_four_bit_##NAME##_1, multiply_four_bit_##NAME##_2, multiply_four_bit_##NAME##_4,                      \
      multiply_four_bit_##NAME##_8},                                                                                 \
     values_of_four_bit_##NAME,                                                                                      \
     ARRANGE,                                                                                                        \
     TILES}

static const Kernels KERNELS[] = {
    OF(f32, nullptr, nullptr),
    OF(f16, arrange_four_bit_f16, multiply_tiles_four_bit_f16),
#ifdef OLD_TENSOR_CORES
    OF(bf16, nullptr, nullptr),
#else
    OF(bf16, arrange_four_bit_bf16, multiply_tiles_four_bit_bf16),
#endif
};

static void check_products(const Matrix &matrix, int kind, unsigned tokens, bool by_tiles) {
    const unsigned guard = 8;
    std::vector<float> x, y(tokens * matrix.rows + guard, NAN);
    for (size_t at = 0; at < (size_t)tokens * matrix.columns; at++) {
        x.push_back(uniform(-1, 1));
    }
    const unsigned char *codes = matrix.is_nested ? matrix.codes.data() : nullptr;
    const Kernels &kernels = KERNELS[kind];
    if (tokens <= 8 && !by_tiles) {
        const auto kernel = kernels.multiply[tokens == 1 ? 0 : tokens == 2 ? 1 : tokens <= 4 ? 2 : 3];
        const unsigned per_block = product::WARPS * product::ROWS;
        emulated::launch((matrix.rows + per_block - 1) / per_block, 32 * product::WARPS, [&] {
            kernel(matrix.packed.data(), matrix.book.data(), matrix.plain.data(), codes, matrix.outer.data(),
                   matrix.map.data(), matrix.offset, matrix.block, matrix.rows, matrix.columns, (int)tokens, x.data(),
                   nullptr, nullptr, y.data(), matrix.rows);
        });
    } else {
        const unsigned steps = (matrix.columns + tiles::STEP - 1) / tiles::STEP;
        const unsigned count = (tokens + tiles::TILE - 1) / tiles::TILE;
        std::vector<uint4> laid(steps * count * tiles::EIGHTS * 32, uint4{~0u, ~0u, ~0u, ~0u});
        emulated::launch((unsigned)(laid.size() + 255) / 256, 256, [&] {
            kernels.arrange(x.data(), matrix.columns, tokens, laid.data());
        });
        const unsigned rows = (matrix.rows + tiles::ROWS - 1) / tiles::ROWS;
        emulated::launch({(tokens + tiles::TOKENS - 1) / tiles::TOKENS, rows, 1}, 32 * tiles::WARPS, [&] {
            kernels.tiles(matrix.packed.data(), matrix.book.data(), matrix.plain.data(), codes, matrix.outer.data(),
                          matrix.map.data(), matrix.offset, matrix.block, matrix.rows, matrix.columns, tokens,
                          laid.data(), nullptr, nullptr, y.data(), matrix.rows);
        });
    }
    for (unsigned token = 0; token < tokens; token++) {
        for (unsigned row = 0; row < matrix.rows; row++) {
            double sum = 0, size = 0;
            for (unsigned column = 0; column < matrix.columns; column++) {
                const float input = rounded(x[(size_t)token * matrix.columns + column], kind);
                const float value = rounded(matrix.value((size_t)row * matrix.columns + column), kind);
                const double product = (double)input * value;
                sum += product;
                size += std::fabs(product);
            }
            const double half_a_step = kind == F32 ? 0 : std::fabs(sum) / (kind == F16 ? 2048 : 256);
            const float got = y[(size_t)token * matrix.rows + row];
            // Written so that what is no number is none of the near ones.
            if (!(std::fabs(got - sum) <= 2e-6 * size + half_a_step + 1e-7)) {
                fail("product", matrix, kind, tokens, (size_t)token * matrix.rows + row, got, sum);
            }
        }
    }
    for (unsigned at = 0; at < guard; at++) {
        if (!std::isnan(y[tokens * matrix.rows + at])) {
            fail("what lies behind the product", matrix, kind, tokens, at, y[tokens * matrix.rows + at], NAN);
        }
    }
}

static void check_values(const Matrix &matrix, int kind) {
    const size_t count = (size_t)matrix.rows * matrix.columns, guard = 4;
    std::vector<float> wide(count + guard, NAN);
    std::vector<unsigned short> narrow(count + guard, 0xffff);
    void *out = kind == F32 ? (void *)wide.data() : narrow.data();
    const unsigned threads = 256;
    const unsigned char *codes = matrix.is_nested ? matrix.codes.data() : nullptr;
    emulated::launch((unsigned)((count + 8 * threads - 1) / (8 * threads)), threads, [&] {
        KERNELS[kind].values(matrix.packed.data(), matrix.book.data(), matrix.plain.data(), codes, matrix.outer.data(),
                             matrix.map.data(), matrix.offset, matrix.block, count, out);
    });
    for (size_t at = 0; at < count + guard; at++) {
        const float value = at < count ? matrix.value(at) : NAN;
        bool is_same;
        double got = wide[at];
        if (kind == F32) {
            is_same = at < count ? wide[at] == value : std::isnan(wide[at]);
        } else {
            const unsigned short expected = at >= count ? 0xffff : kind == F16 ? half_of(value) : brain_of(value);
            is_same = narrow[at] == expected;
            got = narrow[at];
        }
        if (!is_same) {
            fail("value", matrix, kind, 0, at, got, value);
        }
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    const unsigned shapes[][3] = {{1, 32, 64}, {3, 64, 64}, {33, 96, 32}, {70, 1056, 64}, {5, 2080, 128}, {40, 1024, 4096}};
    for (const auto &[rows, columns, block] : shapes) {
        for (const bool is_nested : {false, true}) {
            const Matrix matrix(rows, columns, block, is_nested);
            for (const int kind : {F32, F16, BF16}) {
                for (const unsigned tokens : {1, 2, 3, 4, 7, 8}) {
                    check_products(matrix, kind, tokens, false);
                }
                for (const unsigned tokens : {3, 8, 20, 32, 41}) {
                    if (KERNELS[kind].tiles != nullptr) {
                        check_products(matrix, kind, tokens, true);
                    }
                }
                check_values(matrix, kind);
            }
        }
    }
    // An odd number of values.
    const Matrix odd(3, 33, 64, true);
    for (const int kind : {F32, F16, BF16}) {
        check_values(odd, kind);
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
