// The kernel of `gate.cu`, run on the processor, against the same in doubles.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/gate.cu"

static double exact(double x, int activation) {
    switch (activation) {
    case 0:
        return x / (1 + std::exp(-x));
    case 1:
        return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
    case 2:
        return x * 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
        return std::max(x, 0.0);
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    int failures = 0;
    const unsigned shapes[][2] = {{1, 1}, {3, 100}, {7, 513}};
    for (const auto &[rows, width] : shapes) {
        for (int activation = 0; activation < 4; activation++) {
            std::vector<float> both, y((size_t)rows * width + 4, NAN);
            for (size_t at = 0; at < 2ul * rows * width; at++) {
                both.push_back(uniform(-6, 6));
            }
            const unsigned blocks = (rows * width + 255) / 256;
            emulated::launch(blocks, 256, [&] { gate(both.data(), rows, width, activation, y.data()); });
            for (size_t at = 0; at < y.size(); at++) {
                if (at >= (size_t)rows * width) {
                    failures += !std::isnan(y[at]);
                    continue;
                }
                const float *own = &both[2 * (at / width) * width + at % width];
                const double expected = exact(own[0], activation) * own[width];
                if (!(std::fabs(y[at] - expected) <= 3e-6 * (1 + std::fabs(own[0] * own[width]))) && failures++ < 10) {
                    std::printf("activation %d of %g: %g instead of %g\n", activation, own[0], y[at], expected);
                }
            }
        }
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
