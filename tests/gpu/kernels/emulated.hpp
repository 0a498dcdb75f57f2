// Runs kernels of cards on the processor, so that what they compute can be tested where there is no card: the
// threads of a block are fibers that take turns, and give way where threads of a card would wait for each other.
// One block after the other; nothing is said of speed, nor of what a card does without a barrier between.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include <csetjmp>
#include <ucontext.h>

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__

using std::max;
using std::min;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(8) float2 {
    float x, y;
};

struct alignas(16) float4 {
    float x, y, z, w;
};

struct Index {
    unsigned x, y, z;
};

inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

constexpr unsigned WARP = 32;
constexpr size_t STACK = 128 * 1024;

// Those that have to arrive before any goes on.
struct Barrier {
    unsigned members = 0, arrived = 0, passed = 0;
};

// Where a fiber begins, and where it gave way: to jump there asks nothing of the system.
struct Fiber {
    ucontext_t context;
    std::jmp_buf place;
    std::unique_ptr<char[]> stack{new char[STACK]};
    bool is_begun = false, is_done = false;
};

inline std::vector<Fiber> fibers;
inline std::vector<Barrier> warps;
inline Barrier block;
inline std::jmp_buf scheduler;
inline std::function<void()> kernel;
// What lanes give each other, in turns: who is at the next exchange has left none behind that is not read at the last.
inline std::vector<std::array<unsigned, 2>> exchanged;
inline std::vector<unsigned> turns;
// Of the four and the two registers that a thread multiplies a tile from.
inline std::vector<std::array<unsigned, 6>> multiplied;

inline void give_way() {
    const unsigned thread = threadIdx.x;
    if (_setjmp(fibers[thread].place) == 0) {
        _longjmp(scheduler, 1);
    }
    threadIdx.x = thread;
}

inline void arrive(Barrier &barrier) {
    const unsigned before = barrier.passed;
    barrier.arrived++;
    while (barrier.passed == before) {
        if (barrier.arrived == barrier.members) {
            barrier.arrived = 0;
            barrier.passed++;
        } else {
            give_way();
        }
    }
}

inline void run_fiber() {
    kernel();
    // Who has ended is waited for no longer.
    block.members--;
    warps[threadIdx.x / WARP].members--;
    fibers[threadIdx.x].is_done = true;
    _longjmp(scheduler, 1);
}

// Goes on with a thread until it gives way.
inline void go_on(unsigned thread) {
    threadIdx.x = thread;
    Fiber &fiber = fibers[thread];
    if (_setjmp(scheduler) != 0) {
        return;
    }
    if (fiber.is_begun) {
        _longjmp(fiber.place, 1);
    }
    fiber.is_begun = true;
    setcontext(&fiber.context);
}

// Calls `body` as blocks of so many threads would, so many in each direction. A kernel that waits for ever ends the
// program.
inline void launch(Index blocks, unsigned threads, std::function<void()> body) {
    kernel = std::move(body);
    blockDim.x = threads;
    gridDim = blocks;
    if (fibers.size() < threads) {
        fibers = std::vector<Fiber>(threads);
    }
    exchanged.resize(threads);
    turns.resize(threads);
    multiplied.resize(threads);
    for (unsigned number = 0; number < blocks.x * blocks.y * blocks.z; number++) {
        blockIdx = {number % blocks.x, number / blocks.x % blocks.y, number / blocks.x / blocks.y};
        block = Barrier{threads};
        std::fill(turns.begin(), turns.end(), 0);
        warps.assign((threads + WARP - 1) / WARP, Barrier{});
        for (unsigned thread = 0; thread < threads; thread++) {
            warps[thread / WARP].members++;
            Fiber &fiber = fibers[thread];
            fiber.is_begun = fiber.is_done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = STACK;
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, run_fiber, 0);
        }
        for (unsigned rounds = 0;; rounds++) {
            bool is_done = true;
            for (unsigned thread = 0; thread < threads; thread++) {
                if (!fibers[thread].is_done) {
                    is_done = false;
                    go_on(thread);
                }
            }
            if (is_done) {
                break;
            }
            if (rounds > 1000000) {
                std::fprintf(stderr, "a kernel waits for threads that do not come\n");
                std::abort();
            }
        }
    }
}

inline void launch(unsigned blocks, unsigned threads, std::function<void()> body) {
    launch(Index{blocks, 1, 1}, threads, std::move(body));
}

} // namespace emulated

inline void __syncthreads() {
    emulated::arrive(emulated::block);
}

inline void __syncwarp() {
    emulated::arrive(emulated::warps[threadIdx.x / emulated::WARP]);
}

namespace emulated {

// What another thread of the warp gives.
template <typename T> T exchange(T value, unsigned from) {
    static_assert(sizeof(T) == sizeof(unsigned), "a register");
    const unsigned turn = turns[threadIdx.x]++ % 2;
    std::memcpy(&exchanged[threadIdx.x][turn], &value, sizeof value);
    arrive(warps[threadIdx.x / WARP]);
    T other;
    std::memcpy(&other, &exchanged[from][turn], sizeof other);
    return other;
}

} // namespace emulated

template <typename T> T __shfl_xor_sync(unsigned, T value, int distance) {
    return emulated::exchange(value, threadIdx.x ^ (unsigned)distance);
}

// What another lane of a group of so many has, by the last bits of its number.
template <typename T> T __shfl_sync(unsigned, T value, int lane, int width) {
    const unsigned group = threadIdx.x / (unsigned)width * (unsigned)width;
    return emulated::exchange(value, group + (unsigned)lane % (unsigned)width);
}

namespace emulated {

// What a warp makes of its registers by `mma.m16n8k16` or `mma.m16n8k8`, from numbers of 16 bits that `value` reads: an
// element at a time, by the tables of the PTX ISA.
template <unsigned COLUMNS, typename Value>
void multiply_tile(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2], const Value &value) {
    Barrier &warp = warps[threadIdx.x / WARP];
    multiplied[threadIdx.x] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    arrive(warp);
    const auto *all = &multiplied[threadIdx.x / WARP * WARP];
    // The register that has an element of a, or of b, and in which half.
    const auto a_at = [&](unsigned row, unsigned column) {
        const unsigned lane = row % 8 * 4 + column % 8 / 2, place = row / 8 + 2 * (column / 8);
        return value(all[lane][place] >> (16 * (column % 2)) & 0xffff);
    };
    const auto b_at = [&](unsigned row, unsigned column) {
        const unsigned lane = column * 4 + row % 8 / 2, place = row / 8;
        return value(all[lane][4 + place] >> (16 * (row % 2)) & 0xffff);
    };
    const unsigned lane = threadIdx.x % WARP;
    for (unsigned place = 0; place < 4; place++) {
        const unsigned row = lane / 4 + 8 * (place / 2), column = 2 * (lane % 4) + place % 2;
        for (unsigned at = 0; at < COLUMNS; at++) {
            sums[place] += a_at(row, at) * b_at(at, column);
        }
    }
    arrive(warp);
}

} // namespace emulated

// Bytes of two words, the first's before the second's, by the nibbles of a selector.
inline unsigned __byte_perm(unsigned first, unsigned second, unsigned selector) {
    const uint64_t both = (uint64_t)second << 32 | first;
    unsigned chosen = 0;
    for (int place = 0; place < 4; place++) {
        chosen |= (unsigned)(both >> (8 * (selector >> (4 * place) & 7)) & 255) << (8 * place);
    }
    return chosen;
}

// The place of the lowest bit that is set, from 1 on.
inline int __ffs(int bits) {
    return __builtin_ffs(bits);
}

inline unsigned __popc(unsigned bits) {
    unsigned count = 0;
    for (; bits != 0; bits &= bits - 1) {
        count++;
    }
    return count;
}

inline unsigned __ballot_sync(unsigned, bool vote) {
    unsigned all = vote ? 1u << (threadIdx.x % emulated::WARP) : 0;
    for (int distance = 16; distance > 0; distance /= 2) {
        all |= __shfl_xor_sync(0xffffffffu, all, distance);
    }
    return all;
}

// Threads take turns only where they wait.
inline unsigned atomicAdd(unsigned *place, unsigned value) {
    const unsigned before = *place;
    *place += value;
    return before;
}

inline void __threadfence() {}

template <typename T> T __ldcg(const T *place) {
    return *place;
}

inline int __dp4a(int a, int b, int sum) {
    for (int shift = 0; shift < 32; shift += 8) {
        sum += (signed char)(a >> shift) * (signed char)(b >> shift);
    }
    return sum;
}

inline float __fdiv_rn(float a, float b) {
    return a / b;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline float __fmul_rn(float a, float b) {
    return a * b;
}

inline float __fadd_rn(float a, float b) {
    return a + b;
}

inline float float_of_half(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value;
    if (exponent == 31) {
        value = fraction ? NAN : INFINITY;
    } else if (exponent == 0) {
        value = std::ldexp((float)fraction, -24);
    } else {
        value = std::ldexp((float)(fraction | 1024), exponent - 25);
    }
    return bits >> 15 ? -value : value;
}

// The nearest, of two as near the even one.
inline unsigned short half_of(float value) {
    const unsigned short sign = std::signbit(value) ? 0x8000 : 0;
    const float size = std::fabs(value);
    if (std::isnan(value)) {
        return sign | 0x7e00;
    }
    if (size >= 65520.0f) {
        return sign | 0x7c00;
    }
    if (size == 0) {
        return sign;
    }
    int exponent;
    std::frexp(size, &exponent);
    // Eleven bits of those that are normal, fewer below.
    const int last = std::max(exponent - 11, -24);
    const float steps = std::nearbyint(std::ldexp(size, -last));
    if (last == -24 && steps < 1024) {
        return sign | (unsigned short)steps;
    }
    return sign | (unsigned short)((last + 24) * 1024 + (int)steps);
}
