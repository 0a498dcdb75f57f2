// The kernel of `pack.cu`, run on the processor, against the same a block at a time, to the bit.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/pack.cu"

static int failures = 0;

// Against a block at a time, as the processor has it.
static void check_packing(int format, int dtype, size_t count) {
    std::vector<unsigned char> source((count + 1) * 4), packed((count + 1) / 2 + 1, 0xee), order(16);
    std::vector<float> values, absmax((count + 63) / 64 + 1, NAN), bounds;
    for (size_t at = 0; at < count; at++) {
        const unsigned kind = numbers() % 400;
        float value = kind < 8 ? 0.0f : kind == 8 ? NAN : kind == 9 ? -INFINITY : uniform(-2, 2);
        // A block of zeros.
        value = at / 64 == 1 ? 0.0f : value;
        store(value, format, source.data(), at);
        values.push_back(rounded(load(source.data(), format, at), dtype));
    }
    for (int code = 0; code < 16; code++) {
        order[code] = (unsigned char)(15 - code);
    }
    for (int bound = 0; bound < 15; bound++) {
        bounds.push_back(-0.9f + 0.13f * bound);
    }
    const unsigned blocks = (unsigned)((count + 63) / 64);
    emulated::launch((blocks + 7) / 8, 256, [&] {
        pack_four_bit(source.data(), format, dtype, count, bounds.data(), order.data(), packed.data(), absmax.data());
    });
    for (unsigned block = 0; block < blocks; block++) {
        const size_t first = 64ul * block, last = std::min(count, first + 64);
        float largest = 0;
        for (size_t at = first; at < last; at++) {
            // One that is no number stays the largest.
            if (!(std::fabs(values[at]) <= largest) && !std::isnan(largest)) {
                largest = std::fabs(values[at]);
            }
        }
        const float divisor = largest < 1e-38f ? 1e-38f : largest, scale = last - first == 64 ? largest : divisor;
        bool is_right = absmax[block] == scale || (std::isnan(absmax[block]) && std::isnan(scale));
        for (size_t at = first; at < last; at++) {
            const float scaled = last - first == 64 ? values[at] * (1.0f / divisor) : values[at] / divisor;
            int below = 0;
            for (const float bound : bounds) {
                below += std::isnan(scaled) || std::min(1.0f, std::max(-1.0f, scaled)) > bound;
            }
            const unsigned code = at % 2 ? packed[at / 2] & 15 : packed[at / 2] >> 4;
            is_right &= code == order[below];
        }
        if (!is_right && failures++ < 10) {
            std::printf("block %u of %zu values, format %d, dtype %d\n", block, count, format, dtype);
        }
    }
    if (count % 2 && (packed[count / 2] & 15) != order[std::isnan(absmax[blocks - 1]) ? 15 : 7]) {
        std::printf("an odd end is not padded with a zero\n");
        failures++;
    }
    failures += packed[(count + 1) / 2] != 0xee || !std::isnan(absmax[blocks]);
}

int main(int count, char **arguments) {
    seed(count, arguments);
    for (const int format : {F32, F16, BF16}) {
        for (const int dtype : {F32, F16, BF16}) {
            for (const size_t values : {1, 64, 129, 640, 1001}) {
                check_packing(format, dtype, values);
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
