// Attention of a few tokens over a cache of keys and values: softmax(q·kᵀ·scale)·v, with groups of heads that share
// keys, a window, a cap of scores, and padding before rows. The last query sits at the last key. Keys are split over
// blocks (Dao et al., "Flash-Decoding", 2023): each has the sum of its part and by what it is scaled, and where there
// are several, the one that is done last adds them up.
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

// What a sum that is scaled by one number is multiplied with to be so by another; of nothing, which has none, nothing.
__device__ float factor_of(float scale, float other) {
    return scale == -INFINITY ? 0.0f : expf(scale - other);
}

// Whether a block is the last of its queries' splits to be done; all that the others have put is there then
// ("threadFenceReduction", CUDA samples).
__device__ bool is_last_of(const Attention &of) {
    __threadfence();
    __shared__ bool is_last;
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned *done = &of.done[blockIdx.y * gridDim.z + blockIdx.z];
        is_last = atomicAdd(done, 1u) == of.splits - 1;
        if (is_last) {
            *done = 0;
        }
    }
    __syncthreads();
    __threadfence();
    return is_last;
}

// So many numbers that lie beside each other, as they lie in memory.
template <int KIND, int COUNT> struct Raw {
    unsigned words[KIND == F32 ? COUNT : (COUNT + 1) / 2];

    // From a multiple of as many.
    __device__ void load(const void *from, size_t at) {
        if constexpr (KIND == F32) {
            const float *own = static_cast<const float *>(from) + at;
            if constexpr (COUNT == 4) {
                const uint4 four = *reinterpret_cast<const uint4 *>(own);
                words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
            } else if constexpr (COUNT == 2) {
                const uint2 two = *reinterpret_cast<const uint2 *>(own);
                words[0] = two.x, words[1] = two.y;
            } else {
                words[0] = __float_as_uint(*own);
            }
        } else {
            const unsigned short *own = static_cast<const unsigned short *>(from) + at;
            if constexpr (COUNT == 4) {
                const uint2 four = *reinterpret_cast<const uint2 *>(own);
                words[0] = four.x, words[1] = four.y;
            } else if constexpr (COUNT == 2) {
                words[0] = *reinterpret_cast<const unsigned *>(own);
            } else {
                words[0] = *own;
            }
        }
    }

    __device__ float value(int place) const {
        if (KIND == F32) {
            return __uint_as_float(words[place]);
        }
        return bits_as_float(words[place / 2] >> (16 * (place % 2)) & 0xffff, KIND);
    }
};

// `QUERIES` of those that share a head of keys, of dimensions up to 32 · `DIMS`, a multiple of four.
//
// A lane asks for several keys or values before it waits for the first: one load at a time has it wait for memory
// thirty-two times a tile. Behind them stands a barrier of the warp, or the compiler puts each where it is used.
template <int KIND, int DIMS, int QUERIES> __device__ void attend(const Attention &of) {
    __shared__ float queries[QUERIES][32 * DIMS];
    __shared__ float weights[WARPS][QUERIES][32];
    __shared__ float sums[WARPS][QUERIES][32 * DIMS];
    __shared__ float mosts[WARPS][QUERIES], totals[WARPS][QUERIES];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    // Fours of a key that a lane asks for at once, and keys whose values it does; its dimensions that lie together.
    constexpr unsigned FOURS = 8, KEYS = DIMS > 4 ? 4 : 8;
    constexpr int WIDE = DIMS % 4 == 0 ? 4 : DIMS % 2 == 0 ? 2 : 1;
    const auto dim_of = [&](int dim) { return (unsigned)(32 * WIDE * (dim / WIDE) + WIDE * lane + dim % WIDE); };
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
        // What is not there is no more seen than what is too late.
        const size_t at = head_start + (size_t)min(key, last - 1) * of.head_dim;
        // Behind their last dimension queries are zeros.
        for (unsigned start = 0; start < of.head_dim; start += 4 * FOURS) {
            Raw<KIND, 4> raws[FOURS];
#pragma unroll
            for (unsigned four = 0; four < FOURS; four++) {
                raws[four].load(cache.keys, at + min(start + 4 * four, of.head_dim - 4));
            }
            __syncwarp();
#pragma unroll
            for (unsigned four = 0; four < FOURS; four++) {
#pragma unroll
                for (int query = 0; query < QUERIES; query++) {
#pragma unroll
                    for (int place = 0; place < 4; place++) {
                        scores[query] += raws[four].value(place) * queries[query][start + 4 * four + place];
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
        for (unsigned start = 0; start < count; start += KEYS) {
            Raw<KIND, WIDE> raws[KEYS][DIMS / WIDE];
#pragma unroll
            for (unsigned other = 0; other < KEYS; other++) {
                // What is not there weighs nothing.
                const size_t at = head_start + (size_t)(tile + min(start + other, count - 1)) * of.head_dim;
#pragma unroll
                for (int part = 0; part < DIMS / WIDE; part++) {
                    const unsigned dim = dim_of(part * WIDE);
                    raws[other][part].load(cache.values, at + (dim < of.head_dim ? dim : 0));
                }
            }
            __syncwarp();
#pragma unroll
            for (unsigned other = 0; other < KEYS; other++) {
#pragma unroll
                for (int dim = 0; dim < DIMS; dim++) {
                    const float value = raws[other][dim / WIDE].value(dim % WIDE);
#pragma unroll
                    for (int query = 0; query < QUERIES; query++) {
                        mixed[query][dim] += weights[warp][query][start + other] * value;
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
            sums[warp][query][dim_of(dim)] = mixed[query][dim];
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
        of.parts[part * of.head_dim + dim] = value;
        if (dim == 0) {
            of.scales[2 * part] = largest;
            of.scales[2 * part + 1] = whole;
        }
    }
    if (of.splits == 1 || !is_last_of(of)) {
        return;
    }
    // A warp takes a query's scales, of which the largest and the sum are put where the block's own were.
    const auto place = [&](unsigned query) {
        const unsigned head = kv_head * group + query / of.tokens, token = query % of.tokens;
        return (size_t)(row * of.tokens + token) * of.heads + head;
    };
    const unsigned count = min((unsigned)QUERIES, shared - begin);
    for (unsigned index = warp; index < count; index += WARPS) {
        const float *scales = of.scales + 2 * place(begin + index) * of.splits;
        float largest = -INFINITY, whole = 0.0f;
        for (unsigned other = lane; other < of.splits; other += 32) {
            largest = fmaxf(largest, __ldcg(&scales[2 * other]));
        }
        largest = most_of_warp(largest);
        for (unsigned other = lane; other < of.splits; other += 32) {
            whole += factor_of(__ldcg(&scales[2 * other]), largest) * __ldcg(&scales[2 * other + 1]);
        }
        whole = sum_of_warp(whole);
        if (lane == 0) {
            mosts[0][index] = largest;
            totals[0][index] = whole;
        }
    }
    // Values of a thread, and splits whose factors there is room for at once.
    constexpr int OWN = (QUERIES * DIMS + WARPS - 1) / WARPS, AT_ONCE = 32 * WARPS;
    float values[OWN] = {};
    for (unsigned start = 0; start < of.splits; start += AT_ONCE) {
        const unsigned splits = min(of.splits - start, (unsigned)AT_ONCE);
        __syncthreads();
        for (unsigned at = thread; at < count * splits; at += 32 * WARPS) {
            const unsigned index = at / splits, other = start + at % splits;
            const float scale = __ldcg(&of.scales[2 * (place(begin + index) * of.splits + other)]);
            weights[at % splits / 32][index][at % splits % 32] = factor_of(scale, mosts[0][index]);
        }
        __syncthreads();
#pragma unroll
        for (int own_value = 0; own_value < OWN; own_value++) {
            const unsigned at = thread + 32 * WARPS * own_value, index = at / (32 * DIMS), dim = at % (32 * DIMS);
            if (index >= count || dim >= of.head_dim) {
                continue;
            }
            const float *parts = of.parts + (place(begin + index) * of.splits + start) * of.head_dim + dim;
#pragma unroll 8
            for (unsigned other = 0; other < splits; other++) {
                values[own_value] += weights[other / 32][index][other % 32] * __ldcg(&parts[(size_t)other * of.head_dim]);
            }
        }
    }
#pragma unroll
    for (int own_value = 0; own_value < OWN; own_value++) {
        const unsigned at = thread + 32 * WARPS * own_value, index = at / (32 * DIMS), dim = at % (32 * DIMS);
        if (index < count && dim < of.head_dim) {
            const float whole = totals[0][index];
            of.out[place(begin + index) * of.head_dim + dim] = whole > 0.0f ? values[own_value] / whole : 0.0f;
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
