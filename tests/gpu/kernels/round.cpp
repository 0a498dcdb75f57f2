// The kernel of `round.cu`, run on the processor, to the bit.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/round.cu"

int main(int count, char **arguments) {
    seed(count, arguments);
    int failures = 0;
    for (const int kind : {F32, F16, BF16}) {
        for (const int to : {F32, F16, BF16}) {
            for (const size_t numbers_of : {1, 255, 1000}) {
                std::vector<unsigned char> from(4 * numbers_of);
                std::vector<float> out(numbers_of + 4, NAN), expected;
                for (size_t at = 0; at < numbers_of; at++) {
                    const float value = at % 5 ? uniform(-3, 3) : 0.0f;
                    store(value, kind, from.data(), at);
                    const float kept = kind == F32    ? value
                                       : kind == F16  ? float_of_half(half_of(value))
                                                      : __uint_as_float((unsigned)brain_of(value) << 16);
                    expected.push_back(to == F32   ? kept
                                       : to == F16 ? float_of_half(half_of(kept))
                                                   : __uint_as_float((unsigned)brain_of(kept) << 16));
                }
                emulated::launch((unsigned)(numbers_of + 255) / 256, 256,
                                 [&] { round_to(from.data(), kind, to, numbers_of, out.data()); });
                for (size_t at = 0; at < out.size(); at++) {
                    const bool is_right = at >= numbers_of ? std::isnan(out[at])
                                          : out[at] == expected[at] && (at % 5 > 0 || out[at] == 0);
                    if (!is_right && failures++ < 10) {
                        std::printf("kind %d to %d: at %zu %g\n", kind, to, at, out[at]);
                    }
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
