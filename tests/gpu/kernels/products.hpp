// Products by kernels of cards, run on the processor, against sums in doubles: fresh numbers each time, outputs that are
// no numbers before, and shapes that fill no warp, no segment and no block. Included behind the kernels.

#pragma once

#include "numbers.hpp"

namespace products {

using Kernel = void (*)(const product::Product);

// Those of a format that compute in a type; of what it has not, none.
struct Kernels {
    const char *name;
    int kind;
    // Of 1, 2, 4 and 8 tokens.
    Kernel few[4];
    Kernel tile;
    void (*arrange)(const float *, unsigned, unsigned, uint4 *);
    Kernel tiles;
};

// Some rows of a matrix, and their values, (rows, columns).
struct Operand {
    product::Matrix matrix;
    std::vector<float> values;
};

// What is done around a product.
struct Around {
    bool norm = false, bias = false, added = false;
    int gate = product::NONE;
    // Columns behind those that are written.
    unsigned beside = 0;
};

inline int failures = 0;

inline double activated_exactly(double x, int activation) {
    switch (activation) {
    case SILU:
        return x / (1 + std::exp(-x));
    case GELU:
        return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
    case GELU_TANH:
        return x * 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
        return std::max(x, 0.0);
    }
}

inline void factor_kernel(const float *x, unsigned width, float epsilon, float *out) {
    __shared__ float room[8];
    *out = norms::factor_of_row<256>(x, width, 0.0f, epsilon, room);
}

// What a token is multiplied with by its norm, as kernels have it to the bit, near what doubles say.
inline float factor_of(const std::vector<float> &x, float epsilon) {
    float factor = NAN;
    emulated::launch(1, 256, [&] { factor_kernel(x.data(), (unsigned)x.size(), epsilon, &factor); });
    double square = 0;
    for (const float value : x) {
        square += (double)value * value / (double)x.size();
    }
    const double expected = 1 / std::sqrt(square + epsilon);
    if (!(std::fabs(factor - expected) <= 1e-6 * expected) && failures++ < 10) {
        std::printf("a norm of %zu: %g instead of %g\n", x.size(), factor, expected);
    }
    return factor;
}

enum How { FEW, TILE, TILES };

inline std::vector<float> filled(size_t count, float low, float high) {
    std::vector<float> values(count);
    for (float &value : values) {
        value = uniform(low, high);
    }
    return values;
}

// A product with one to three matrices that have their columns in common.
inline void check(const Kernels &kernels, How how, std::vector<Operand> operands, unsigned columns, unsigned tokens,
                  const Around &around) {
    const bool is_gated = around.gate != product::NONE;
    const int kind = kernels.kind;
    const float epsilon = 1e-5f;
    const std::vector<float> x = filled((size_t)tokens * columns, -1, 1), norm = filled(columns, -2, 2);
    std::vector<std::vector<float>> biases;
    product::Product of = {};
    unsigned rows = 0, blocks = 0;
    const unsigned gated_rows = how == FEW ? product::GATED_ROWS : tiles::ROWS;
    for (Operand &operand : operands) {
        biases.push_back(filled(operand.matrix.rows, -1, 1));
        operand.matrix.bias = around.bias ? biases.back().data() : nullptr;
        of.all[of.count++] = operand.matrix;
        if (!is_gated || of.count == 1) {
            const unsigned height = is_gated ? gated_rows : product::BLOCK_ROWS;
            rows += operand.matrix.rows;
            blocks += (operand.matrix.rows + height - 1) / height;
        }
    }
    const unsigned stride = rows + around.beside;
    const size_t guard = 8;
    std::vector<float> y((size_t)tokens * stride + guard, NAN);
    const std::vector<float> added = filled((size_t)tokens * rows, -1, 1);
    of.x = x.data();
    of.norm = around.norm ? norm.data() : nullptr;
    of.added = around.added ? added.data() : nullptr;
    of.y = y.data();
    of.epsilon = epsilon;
    of.gate = around.gate;
    of.columns = columns;
    of.tokens = tokens;
    of.stride = stride;
    if (how == TILES) {
        const unsigned steps = (columns + tiles::STEP - 1) / tiles::STEP, count = (tokens + tiles::TILE - 1) / tiles::TILE;
        std::vector<uint4> laid(steps * count * tiles::EIGHTS * 32, uint4{~0u, ~0u, ~0u, ~0u});
        emulated::launch((unsigned)(laid.size() + 255) / 256, 256,
                         [&] { kernels.arrange(x.data(), columns, tokens, laid.data()); });
        of.x = laid.data();
        const Index grid = {(tokens + tiles::TOKENS - 1) / tiles::TOKENS, blocks, 1};
        emulated::launch(grid, 32 * product::WARPS, [&] { kernels.tiles(of); });
    } else {
        const int power = tokens == 1 ? 0 : tokens == 2 ? 1 : tokens <= 4 ? 2 : 3;
        const Kernel kernel = how == TILE ? kernels.tile : kernels.few[power];
        emulated::launch(blocks, 32 * product::WARPS, [&] { kernel(of); });
    }
    std::vector<float> inputs = x;
    if (around.norm) {
        const float factor = factor_of(x, epsilon);
        for (unsigned column = 0; column < columns; column++) {
            inputs[column] = x[column] * factor * norm[column];
        }
    }
    // What comes of a row, and how far off it may be.
    const auto made = [&](unsigned matrix, unsigned row, unsigned token) {
        const Operand &operand = operands[matrix];
        double sum = 0, size = 0;
        for (unsigned column = 0; column < columns; column++) {
            const float input = rounded(inputs[(size_t)token * columns + column], kind);
            const double product = (double)input * rounded(operand.values[(size_t)row * columns + column], kind);
            sum += product;
            size += std::fabs(product);
        }
        const double half_a_step = kind == F32 ? 0 : std::fabs(sum) / (kind == F16 ? 2048 : 256);
        if (around.bias) {
            sum += biases[matrix][row];
        }
        return std::pair(sum, 1e-6 * size + 5e-7 + half_a_step);
    };
    for (size_t at = 0; at < y.size(); at++) {
        const size_t token = at / stride, place = at % stride;
        if (at >= (size_t)tokens * stride || place >= rows) {
            if (!std::isnan(y[at]) && failures++ < 10) {
                std::printf("%s wrote behind its product: %g at %zu\n", kernels.name, y[at], at);
            }
            continue;
        }
        unsigned matrix = 0, row = (unsigned)place;
        while (row >= operands[matrix].matrix.rows) {
            row -= operands[matrix++].matrix.rows;
        }
        auto [expected, off] = made(matrix, row, (unsigned)token);
        if (is_gated) {
            const auto [up, up_off] = made(1, row, (unsigned)token);
            const double gate = activated_exactly(expected, around.gate);
            // None of them rises by more than 1.13.
            off = 1.2 * off * (std::fabs(up) + up_off) + std::fabs(gate) * up_off + 3e-6 * (1 + std::fabs(expected * up));
            expected = gate * up;
        }
        expected += around.added ? added[token * rows + place] : 0;
        // Written so that what is no number is none of the near ones.
        if (!(std::fabs(y[at] - expected) <= off) && failures++ < 10) {
            std::printf("%s (kind %d, way %d, gate %d, norm %d, matrix %u of %u, %u columns): token %zu of %u, row %u: %.9g "
                        "instead of %.9g\n",
                        kernels.name, kind, how, around.gate, around.norm, matrix, of.count, columns, token, tokens, row, y[at],
                        expected);
        }
    }
}

// All ways that there are, alone and with what is done around them; `operand` gives so many rows of a new matrix.
template <typename New> void check_all(const Kernels &kernels, unsigned rows, unsigned columns, const New &operand) {
    const auto some = [&](unsigned count) {
        std::vector<Operand> operands;
        for (unsigned matrix = 0; matrix < count; matrix++) {
            operands.push_back(operand(matrix == 1 ? rows / 2 + 1 : rows));
        }
        return operands;
    };
    const auto pair = [&] { return std::vector<Operand>{operand(rows), operand(rows)}; };
    const auto ways = [&](How how, std::initializer_list<unsigned> counts) {
        for (const unsigned tokens : counts) {
            const bool is_odd = tokens % 2;
            check(kernels, how, some(1), columns, tokens, {.bias = is_odd, .added = tokens % 4 != 0, .beside = is_odd ? 0u : 5u});
            if (is_odd) {
                check(kernels, how, some(tokens == 1 ? 2 : 3), columns, tokens, {.bias = tokens == 3});
            }
            if (!is_odd || tokens == 3) {
                check(kernels, how, pair(), columns, tokens, {.bias = tokens <= 3, .gate = (int)(tokens / 2 % 4)});
            }
        }
        if (how != TILES) {
            check(kernels, how, some(3), columns, 1, {.norm = true});
            check(kernels, how, pair(), columns, 1, {.norm = true, .gate = SILU});
        }
    };
    if (kernels.few[0] != nullptr) {
        ways(FEW, {1, 2, 3, 4, 5, 8});
    }
    if (kernels.tile != nullptr) {
        ways(TILE, {1, 2, 3, 5, 8});
    }
    if (kernels.tiles != nullptr) {
        ways(TILES, {6, 16, 32, 45});
    }
}

} // namespace products
