// The kernels of `eight_bit.cu`, run on the processor, against the same written plainly: codes and scales to the bit,
// products against doubles.

#include <set>

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/eight_bit.cu"

static int failures = 0;

static void expect(bool is_right, const char *what, size_t at, double got, double expected) {
    if (!is_right && failures++ < 10) {
        std::printf("%s at %zu: %g instead of %g\n", what, at, got, expected);
    }
}

static void check(unsigned tokens, unsigned rows, unsigned columns, float threshold) {
    std::vector<float> x, weight_scales;
    for (size_t at = 0; at < (size_t)tokens * columns; at++) {
        const bool is_large = numbers() % 97 == 0;
        x.push_back(is_large ? uniform(-9, 9) : uniform(-1, 1));
    }
    // A token of zeros has no scale, and what is no number no code.
    for (unsigned column = 0; tokens > 2 && column < columns; column++) {
        x[columns + column] = 0;
    }
    std::vector<uint4> weight_memory((size_t)rows * columns / 16), code_memory((size_t)tokens * columns / 16);
    auto *weights = reinterpret_cast<signed char *>(weight_memory.data());
    auto *codes = reinterpret_cast<signed char *>(code_memory.data());
    for (size_t at = 0; at < (size_t)rows * columns; at++) {
        weights[at] = (signed char)((int)(numbers() % 255) - 127);
    }
    for (unsigned row = 0; row < rows; row++) {
        weight_scales.push_back(uniform(0.01f, 2));
    }
    std::vector<unsigned char> marks(columns + 1, 7);
    std::vector<unsigned> list(columns + 2, ~0u);
    std::vector<float> scales(tokens + 1, NAN), y((size_t)tokens * rows + 1, NAN);
    const bool has_outliers = threshold > 0;
    if (has_outliers) {
        emulated::launch((columns + 255) / 256, 256,
                         [&] { mark_outliers(x.data(), tokens, columns, threshold, marks.data()); });
        emulated::launch(1, MOST_THREADS, [&] { list_outliers(marks.data(), columns, list.data()); });
        expect(marks[columns] == 7, "mark", columns, marks[columns], 7);
    }
    const unsigned char *marked = has_outliers ? marks.data() : nullptr;
    emulated::launch(tokens, THREADS,
                     [&] { quantize_rows(x.data(), marked, columns, threshold, codes, scales.data()); });
    if (tokens == 1) {
        // The same at once.
        std::vector<signed char> own(columns + 1, 99);
        std::vector<unsigned> listed(columns + 2, ~0u);
        float scale = NAN;
        emulated::launch(1, MOST_THREADS, [&] {
            quantize_token(x.data(), columns, threshold, own.data(), &scale, has_outliers ? listed.data() : nullptr);
        });
        expect(scale == scales[0], "scale at once", 0, scale, scales[0]);
        expect(listed == list, "list at once", 0, listed[0], list[0]);
        for (unsigned column = 0; column <= columns; column++) {
            const int expected = column < columns ? codes[column] : 99;
            expect(own[column] == expected, "code at once", column, own[column], expected);
        }
    }
    const auto at_half = [&](unsigned token, unsigned column) {
        return float_of_half(half_of(x[(size_t)token * columns + column]));
    };
    std::set<unsigned> outliers;
    for (unsigned column = 0; has_outliers && column < columns; column++) {
        for (unsigned token = 0; token < tokens; token++) {
            if (std::fabs(at_half(token, column)) >= threshold) {
                outliers.insert(column);
            }
        }
    }
    if (has_outliers) {
        const std::set<unsigned> listed(list.begin() + 1, list.begin() + 1 + list[0]);
        const bool is_sorted = std::is_sorted(list.begin() + 1, list.begin() + 1 + list[0]);
        expect(listed == outliers && list[0] == outliers.size() && is_sorted, "list", 0, list[0], (double)outliers.size());
    }
    for (unsigned token = 0; token < tokens; token++) {
        float largest = 0;
        for (unsigned column = 0; column < columns; column++) {
            const float size = std::fabs(at_half(token, column));
            if (!(has_outliers && size >= threshold)) {
                largest = std::max(largest, size);
            }
        }
        expect(scales[token] == largest, "scale", token, scales[token], largest);
        const float inverse = 1.0f / largest * 127.0f;
        for (unsigned column = 0; column < columns; column++) {
            const float value = at_half(token, column) * inverse;
            const int code = outliers.count(column) || std::isnan(value) ? 0 : (int)std::nearbyint(value);
            const int got = codes[(size_t)token * columns + column];
            expect(got == std::min(127, std::max(-128, code)), "code", column, got, code);
        }
    }
    const unsigned together = tokens == 1 ? 1 : tokens == 2 ? 2 : tokens <= 4 ? 4 : tokens <= 8 ? 8 : 16;
    auto *kernel = together == 1   ? multiply_eight_bit_1
                   : together == 2 ? multiply_eight_bit_2
                   : together == 4 ? multiply_eight_bit_4
                   : together == 8 ? multiply_eight_bit_8
                                   : multiply_eight_bit_16;
    const Index blocks{(tokens + together - 1) / together, (rows + WARPS * ROWS - 1) / (WARPS * ROWS), 1};
    emulated::launch(blocks, 32 * WARPS, [&] {
        kernel(weights, weight_scales.data(), rows, columns, codes, scales.data(), tokens, x.data(),
               has_outliers ? list.data() : nullptr, y.data());
    });
    for (size_t at = 0; at < (size_t)tokens * rows; at++) {
        const unsigned token = at / rows, row = at % rows;
        double sum = 0, size = 0;
        for (unsigned column = 0; column < columns; column++) {
            const double weight = weights[(size_t)row * columns + column];
            double part = codes[(size_t)token * columns + column] * weight * scales[token] * SCALE;
            if (outliers.count(column)) {
                part = x[(size_t)token * columns + column] * weight * WEIGHT_SCALE;
            }
            sum += part * weight_scales[row];
            size += std::fabs(part * weight_scales[row]);
        }
        expect(std::fabs(y[at] - sum) <= 3e-6 * size, "product", at, y[at], sum);
    }
    expect(std::isnan(y[(size_t)tokens * rows]), "what lies behind", 0, y[(size_t)tokens * rows], NAN);
}

int main(int count, char **arguments) {
    seed(count, arguments);
    const unsigned shapes[][3] = {{1, 3, 16}, {1, 5, 2608}, {2, 9, 1040}, {2, 33, 528}, {3, 40, 64}, {7, 70, 1040}, {19, 37, 96}};
    for (const auto &[tokens, rows, columns] : shapes) {
        check(tokens, rows, columns, 6);
        check(tokens, rows, columns, 0);
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
