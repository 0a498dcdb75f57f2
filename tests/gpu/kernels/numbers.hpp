// Fresh numbers, or those of a seed.

#pragma once

#include <cinttypes>
#include <ctime>
#include <random>

#define EMULATED

inline std::mt19937 numbers;

inline float uniform(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(numbers);
}

// By the first argument, where there is one.
inline void seed(int count, char **arguments) {
    const uint64_t seed = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : (uint64_t)std::time(nullptr);
    std::printf("seed %" PRIu64 "\n", seed);
    numbers.seed(seed);
}
