// Of each row of logits those that are among the largest: what a choice by the largest or by `top_k` depends on, so
// that a token costs a copy of some hundred bytes and not of the vocabulary.
//
// A thread keeps the largest of the values that it sees. The `count`th of these maxima is not more than the `count`th of
// all, so that whatever reaches it is wanted, and little else.

#include "numbers.cuh"

namespace {

constexpr unsigned THREADS = 1024;

} // namespace

// For each of the rows, logits (rows, width): how many reach the bound, then ids and logits of `capacity` of them at
// most, in any order; out (rows, 1 + 2 · capacity). A block takes a row; `count` is at most its threads.
extern "C" __global__ void __launch_bounds__(THREADS)
    candidates(const float *logits, unsigned width, unsigned count, unsigned capacity, unsigned *out) {
    __shared__ float largest[THREADS];
    __shared__ unsigned found;
    logits += (size_t)blockIdx.x * width;
    out += (size_t)blockIdx.x * (1 + 2 * capacity);
    const unsigned thread = threadIdx.x;
    float own = -INFINITY;
    for (unsigned at = thread; at < width; at += THREADS) {
        own = fmaxf(own, logits[at]);
    }
    largest[thread] = own;
    if (thread == 0) {
        found = 0;
    }
    // Sorted by Batcher's bitonic network.
    for (unsigned size = 2; size <= THREADS; size *= 2) {
        for (unsigned step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            const unsigned other = thread ^ step;
            if (other > thread) {
                const bool descends = (thread & size) == 0;
                const float a = largest[thread], b = largest[other];
                if (a != b && (b > a) == descends) {
                    largest[thread] = b;
                    largest[other] = a;
                }
            }
        }
    }
    __syncthreads();
    const float bound = largest[min(count, THREADS) - 1];
    for (unsigned at = thread; at < width; at += THREADS) {
        if (logits[at] >= bound) {
            const unsigned place = atomicAdd(&found, 1u);
            if (place < capacity) {
                out[1 + place] = at;
                out[1 + capacity + place] = __float_as_uint(logits[at]);
            }
        }
    }
    __syncthreads();
    if (thread == 0) {
        out[0] = found;
    }
}
