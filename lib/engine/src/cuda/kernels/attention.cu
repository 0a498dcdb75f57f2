// Attention of a few tokens over a cache of keys and values: softmax(q·kᵀ·scale)·v, with groups of heads that share
// keys, a window, a cap of scores, and padding before rows. The last query sits at the last key. Keys are split over
// blocks (Dao et al., "Flash-Decoding", 2023): each has the sum of its part and by what it is scaled, and where there
// are several, `merge` adds them up.
//
// A lane takes a key for its scores, and some of a head's dimensions for what they weigh; each key is read once for all
// queries of a block.

#include "attention.cuh"

namespace {

constexpr int WARPS = 4;

__device__ float most_of_warp(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, distance));
    }
    return value;
}

// `QUERIES` of those that share a head of keys, of dimensions up to 32 · `DIMS`, a multiple of four.
template <int KIND, int DIMS, int QUERIES> __device__ void attend(const Attention &of) {
    __shared__ float queries[QUERIES][32 * DIMS];
    __shared__ float weights[WARPS][QUERIES][32];
    __shared__ float sums[WARPS][QUERIES][32 * DIMS];
    __shared__ float mosts[WARPS][QUERIES], totals[WARPS][QUERIES];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const unsigned split = blockIdx.x, row = blockIdx.y / of.kv_heads, kv_head = blockIdx.y % of.kv_heads;
    const unsigned group = of.heads / of.kv_heads, shared = group * of.tokens, begin = blockIdx.z * QUERIES;
    // Queries of a group lie one after the other, its heads first.
    const float *own = of.queries + ((size_t)row * of.heads + kv_head * group) * of.tokens * of.head_dim;
    for (unsigned at = thread; at < QUERIES * 32 * DIMS; at += 32 * WARPS) {
        const unsigned query = begin + at / (32 * DIMS), dim = at % (32 * DIMS);
        const bool is_there = query < shared && dim < of.head_dim;
        queries[at / (32 * DIMS)][dim] = is_there ? own[(size_t)query * of.head_dim + dim] * of.scale : 0.0f;
    }
    __syncthreads();
    unsigned own_row;
    const Part &cache = of.caches.of(row, own_row);
    const size_t head_start = ((size_t)own_row * of.kv_heads + kv_head) * cache.capacity * of.head_dim;
    // Shorter sequences have nothing in the last splits.
    const unsigned first = split * of.split_keys, last = min(first + of.split_keys, cache.count);
    float most[QUERIES], total[QUERIES], mixed[QUERIES][DIMS];
#pragma unroll
    for (int query = 0; query < QUERIES; query++) {
        most[query] = -INFINITY;
        total[query] = 0.0f;
#pragma unroll
        for (int dim = 0; dim < DIMS; dim++) {
            mixed[query][dim] = 0.0f;
        }
    }
    for (unsigned tile = first + 32 * warp; tile < last; tile += 32 * WARPS) {
        const unsigned key = tile + lane;
        float scores[QUERIES] = {};
        if (key < last) {
            const size_t at = head_start + (size_t)key * of.head_dim;
            for (unsigned dim = 0; dim < of.head_dim; dim += 4) {
                float part[4];
                load_four<KIND>(cache.keys, at + dim, part);
#pragma unroll
                for (int query = 0; query < QUERIES; query++) {
#pragma unroll
                    for (int place = 0; place < 4; place++) {
                        scores[query] += part[place] * queries[query][dim + place];
                    }
                }
            }
        }
#pragma unroll
        for (int query = 0; query < QUERIES; query++) {
            const unsigned place = cache.count - of.tokens + (begin + query) % of.tokens;
            float score = scores[query];
            if (of.cap > 0.0f) {
                score = tanhf(score / of.cap) * of.cap;
            }
            const bool is_padding = of.padding != nullptr && key < of.padding[row];
            const bool is_seen = key < last && key <= place && place - key < of.window && !is_padding;
            const float largest = most_of_warp(is_seen ? score : -INFINITY);
            const float now = fmaxf(most[query], largest);
            // Nothing seen so far: there is no number to subtract.
            const float weight = is_seen ? expf(score - now) : 0.0f;
            const float before = most[query] == -INFINITY ? 0.0f : expf(most[query] - now);
            most[query] = now;
            total[query] = total[query] * before + sum_of_warp(weight);
            weights[warp][query][lane] = weight;
#pragma unroll
            for (int dim = 0; dim < DIMS; dim++) {
                mixed[query][dim] *= before;
            }
        }
        __syncwarp();
        const unsigned count = min(last - tile, 32u);
        for (unsigned other = 0; other < count; other++) {
            const size_t at = head_start + (size_t)(tile + other) * of.head_dim;
#pragma unroll
            for (int dim = 0; dim < DIMS; dim++) {
                if (32u * dim + lane < of.head_dim) {
                    const float value = load(cache.values, KIND, at + 32 * dim + lane);
#pragma unroll
                    for (int query = 0; query < QUERIES; query++) {
                        mixed[query][dim] += weights[warp][query][other] * value;
                    }
                }
            }
        }
        __syncwarp();
    }
#pragma unroll
    for (int query = 0; query < QUERIES; query++) {
        if (lane == 0) {
            mosts[warp][query] = most[query];
            totals[warp][query] = total[query];
        }
#pragma unroll
        for (int dim = 0; dim < DIMS; dim++) {
            sums[warp][query][32 * dim + lane] = mixed[query][dim];
        }
    }
    __syncthreads();
    for (unsigned at = thread; at < QUERIES * 32 * DIMS; at += 32 * WARPS) {
        const unsigned index = at / (32 * DIMS), query = begin + index, dim = at % (32 * DIMS);
        if (query >= shared || dim >= of.head_dim) {
            continue;
        }
        float largest = -INFINITY, whole = 0.0f, value = 0.0f;
        for (int other = 0; other < WARPS; other++) {
            largest = fmaxf(largest, mosts[other][index]);
        }
        for (int other = 0; other < WARPS; other++) {
            if (mosts[other][index] != -INFINITY) {
                const float factor = expf(mosts[other][index] - largest);
                whole += factor * totals[other][index];
                value += factor * sums[other][index][dim];
            }
        }
        const unsigned head = kv_head * group + query / of.tokens, token = query % of.tokens;
        if (of.splits == 1) {
            const size_t to = ((size_t)(row * of.tokens + token) * of.heads + head) * of.head_dim + dim;
            of.out[to] = whole > 0.0f ? value / whole : 0.0f;
            continue;
        }
        const size_t part = ((size_t)(row * of.tokens + token) * of.heads + head) * of.splits + split;
        // Of nothing no more than that it is nothing.
        if (largest != -INFINITY) {
            of.parts[part * of.head_dim + dim] = value;
        }
        if (dim == 0) {
            of.scales[2 * part] = largest;
            of.scales[2 * part + 1] = whole;
        }
    }
}

} // namespace

#define ATTEND(NAME, KIND, DIMS, QUERIES)                                                                            \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) attend_##NAME##_##DIMS##_##QUERIES(              \
        const __grid_constant__ Attention of) {                                                                      \
        attend<KIND, DIMS, QUERIES>(of);                                                                             \
    }

#define OF_DIMS(NAME, KIND, DIMS)                                                                                    \
    ATTEND(NAME, KIND, DIMS, 1)                                                                                      \
    ATTEND(NAME, KIND, DIMS, 4)                                                                                      \
    ATTEND(NAME, KIND, DIMS, 8)

#define OF_KIND(NAME, KIND)                                                                                          \
    OF_DIMS(NAME, KIND, 1)                                                                                           \
    OF_DIMS(NAME, KIND, 2)                                                                                           \
    OF_DIMS(NAME, KIND, 3)                                                                                           \
    OF_DIMS(NAME, KIND, 4)                                                                                           \
    OF_DIMS(NAME, KIND, 8)

// A card's driver compiles all kernels of a text before it runs one: there is a text for each type of cache.
#ifdef ONLY
#define KIND_f32 F32
#define KIND_f16 F16
#define KIND_bf16 BF16
#define PASTED(NAME) OF_KIND(NAME, KIND_##NAME)
#define EXPANDED(NAME) PASTED(NAME)
EXPANDED(ONLY)
#else
OF_KIND(f32, F32)
OF_KIND(f16, F16)
OF_KIND(bf16, BF16)
#endif

// The parts of all splits of a head of a token, which a block takes.
extern "C" __global__ void merge(const __grid_constant__ Attention of) {
    const size_t number = blockIdx.x;
    const float *scales = of.scales + 2 * number * of.splits;
    float largest = -INFINITY;
    for (unsigned split = 0; split < of.splits; split++) {
        largest = fmaxf(largest, scales[2 * split]);
    }
    for (unsigned dim = threadIdx.x; dim < of.head_dim; dim += blockDim.x) {
        float whole = 0.0f, value = 0.0f;
        for (unsigned split = 0; split < of.splits; split++) {
            if (scales[2 * split] != -INFINITY) {
                const float factor = expf(scales[2 * split] - largest);
                whole += factor * scales[2 * split + 1];
                value += factor * of.parts[(number * of.splits + split) * of.head_dim + dim];
            }
        }
        of.out[number * of.head_dim + dim] = whole > 0.0f ? value / whole : 0.0f;
    }
}
