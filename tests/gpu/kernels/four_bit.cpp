// The kernels of `four_bit.cu`, run on the processor, against sums in doubles: fresh numbers each time, outputs that
// are no numbers before, and shapes that fill no warp, no segment and no block.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/four_bit.cu"

#include "products.hpp"

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

using products::failures;

static void fail(const Matrix &matrix, int kind, size_t at, double got, double expected) {
    if (failures++ < 10) {
        std::printf("value of (%u, %u) in blocks of %u, nested %d, kind %d: at %zu %g instead of %g\n", matrix.rows,
                    matrix.columns, matrix.block, matrix.is_nested, kind, at, got, expected);
    }
}

using Bytes = const unsigned char *;
using Floats = const float *;
using Values = void (*)(Bytes, Floats, Floats, Bytes, Floats, Floats, float, unsigned, unsigned long long,
                        unsigned long long, void *);

#define FEW(NAME)                                                                                                    \
    {multiply_four_bit_##NAME##_1, multiply_four_bit_##NAME##_2, multiply_four_bit_##NAME##_4,                       \
     multiply_four_bit_##NAME##_8}
#define BY_TILES(NAME) multiply_tile_four_bit_##NAME, arrange_four_bit_##NAME, multiply_tiles_four_bit_##NAME

static const products::Kernels KERNELS[] = {
    {"f32", F32, FEW(f32), nullptr, nullptr, nullptr},
    {"f16", F16, {}, BY_TILES(f16)},
#ifdef OLD_TENSOR_CORES
    {"bf16", BF16, FEW(bf16), nullptr, nullptr, nullptr},
#else
    {"bf16", BF16, {}, BY_TILES(bf16)},
#endif
};

static const Values VALUES[] = {values_of_four_bit_f32, values_of_four_bit_f16, values_of_four_bit_bf16};

static void check_products(const products::Kernels &kernels, unsigned rows, unsigned columns, unsigned block, bool is_nested) {
    std::vector<std::unique_ptr<Matrix>> all;
    products::check_all(kernels, rows, columns, [&](unsigned own) {
        // Some of its rows, behind others.
        const unsigned from = numbers() % 3;
        const Matrix &matrix = *all.emplace_back(new Matrix(from + own, columns, block, is_nested));
        products::Operand operand = {};
        operand.matrix.packed = matrix.packed.data();
        operand.matrix.book = matrix.book.data();
        operand.matrix.scales = is_nested ? matrix.outer.data() : matrix.plain.data();
        operand.matrix.codes = is_nested ? matrix.codes.data() : nullptr;
        operand.matrix.map = is_nested ? matrix.map.data() : nullptr;
        operand.matrix.offset = is_nested ? matrix.offset : NAN;
        operand.matrix.block = block;
        operand.matrix.rows = own;
        operand.matrix.from = from;
        for (size_t at = (size_t)from * columns; at < (size_t)(from + own) * columns; at++) {
            operand.values.push_back(matrix.value(at));
        }
        return operand;
    });
}

// All of them, or some in the middle.
static void check_values(const Matrix &matrix, int kind, bool is_whole) {
    const size_t all = (size_t)matrix.rows * matrix.columns, guard = 4;
    const size_t first = is_whole ? 0 : numbers() % ((all + 7) / 8) * 8;
    const size_t count = is_whole ? all : 1 + numbers() % (all - first);
    std::vector<float> wide(count + guard, NAN);
    std::vector<unsigned short> narrow(count + guard, 0xffff);
    void *out = kind == F32 ? (void *)wide.data() : narrow.data();
    const unsigned threads = 256;
    const unsigned char *codes = matrix.is_nested ? matrix.codes.data() : nullptr;
    emulated::launch((unsigned)((count + 8 * threads - 1) / (8 * threads)), threads, [&] {
        VALUES[kind](matrix.packed.data(), matrix.book.data(), matrix.plain.data(), codes, matrix.outer.data(),
                             matrix.map.data(), matrix.offset, matrix.block, first, first + count, out);
    });
    for (size_t at = 0; at < count + guard; at++) {
        const float value = at < count ? matrix.value(first + at) : NAN;
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
            fail(matrix, kind, first + at, got, value);
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
                check_products(KERNELS[kind], rows, columns, block, is_nested);
                check_values(matrix, kind, true);
                check_values(matrix, kind, false);
            }
        }
    }
    // More columns than a block has of a token at once.
    for (const int kind : {F16, BF16}) {
        check_products(KERNELS[kind], 2, 8192 + 96, 64, true);
    }
    // An odd number of values.
    const Matrix odd(3, 33, 64, true);
    for (const int kind : {F32, F16, BF16}) {
        check_values(odd, kind, true);
        check_values(odd, kind, false);
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
