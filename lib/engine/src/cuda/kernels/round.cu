// Numbers rounded to a type and kept as f32, for cards that do not compute in it. A thread takes a number.

#include "numbers.cuh"

// `count` numbers of `kind`, rounded to `to`.
extern "C" __global__ void round_to(const void *from, int kind, int to, unsigned long long count, float *out) {
    const unsigned long long at = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = rounded(load(from, kind, at), to);
    }
}
