// The kernels of `norm.cu`, run on the processor, against sums in doubles.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/norm.cu"

static int failures = 0;

static void check(unsigned rows, unsigned width) {
    const size_t count = (size_t)rows * width;
    const float epsilon = 1e-5f, shift = uniform(-3, 3);
    std::vector<float> x, weight, bias;
    for (size_t at = 0; at < count; at++) {
        x.push_back(uniform(-1, 1) + shift);
    }
    for (unsigned at = 0; at < width; at++) {
        weight.push_back(uniform(-1, 1));
        bias.push_back(uniform(-1, 1));
    }
    for (const bool is_centred : {false, true}) {
        std::vector<float> y(count + 4, NAN);
        emulated::launch(rows, THREADS, [&] {
            if (is_centred) {
                layer_norm(x.data(), weight.data(), bias.data(), epsilon, width, y.data());
            } else {
                root_mean_square(x.data(), weight.data(), epsilon, width, y.data());
            }
        });
        for (unsigned row = 0; row < rows; row++) {
            const float *own = &x[(size_t)row * width];
            double mean = 0, square = 0;
            for (unsigned at = 0; at < width; at++) {
                mean += own[at] / (double)width;
            }
            for (unsigned at = 0; at < width; at++) {
                const double value = is_centred ? own[at] - mean : own[at];
                square += value * value / width;
            }
            for (unsigned at = 0; at < width; at++) {
                const double value = (is_centred ? own[at] - mean : own[at]) / std::sqrt(square + epsilon);
                const double expected = value * weight[at] + (is_centred ? bias[at] : 0);
                const float got = y[(size_t)row * width + at];
                if (!(std::fabs(got - expected) <= 4e-6 * (1 + std::fabs(value))) && failures++ < 10) {
                    std::printf("(%u, %u), centred %d: at %u, %u %g instead of %g\n", rows, width, is_centred, row, at,
                                got, expected);
                }
            }
        }
        for (unsigned at = 0; at < 4; at++) {
            failures += !std::isnan(y[count + at]);
        }
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    const unsigned shapes[][2] = {{1, 1024}, {3, 8}, {2, 257}, {5, 600}, {1, 1}};
    for (const auto &[rows, width] : shapes) {
        check(rows, width);
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
