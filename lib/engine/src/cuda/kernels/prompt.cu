// Attention of the tokens of a prompt over a cache of keys and values, as `attention.cu` has it of a few tokens, by tensor
// cores: queries with their scale, keys, values and their weights are rounded to 16 bits; sums and the softmax are f32.
// Scores stay in registers, and the softmax is kept up to date as keys come (Dao, "FlashAttention-2", 2023).
//
// A block takes 64 queries of a head, a warp 16 of them, and all of them the same keys in turn.

#include "attention.cuh"
#include "tiles.cuh"

namespace {

constexpr int WARPS = 4;
// Queries of a warp, and of a block.
constexpr int ROWS = 16, QUERIES = WARPS * ROWS;
constexpr float LOG2E = 1.44269504088896340736f;

// Four as two words of `KIND`, of a cache of the type `FROM`.
template <int KIND, int FROM> __device__ uint2 load_pairs(const void *from, size_t at) {
    if constexpr (FROM == KIND) {
        return *reinterpret_cast<const uint2 *>(static_cast<const unsigned short *>(from) + at);
    } else {
        float values[4];
        load_four<FROM>(from, at, values);
        return {pair_of<KIND>(values[0], values[1]), pair_of<KIND>(values[2], values[3])};
    }
}

// Two numbers of 16 bits that lie beside each other, the first at an even place.
__device__ unsigned pair_at(const unsigned short *row, int place) {
    return *reinterpret_cast<const unsigned *>(row + place);
}

// A block's queries of a head, of up to `DIMS` dimensions, a multiple of four; a lane has numbers of two of its warp's rows.
template <int KIND, int DIMS> struct Prompt {
    // Keys at once: as many as shared memory has room for.
    static constexpr int KEYS = DIMS > 128 ? 32 : 64;
    static constexpr int STEPS = DIMS / 16, TILES = KEYS / 8;
    // Rows are eight longer, so that those of a tile begin in banks of their own.
    struct alignas(16) Keys {
        unsigned short rows[KEYS][DIMS + 8];
    };
    struct alignas(16) Values {
        unsigned short columns[DIMS][KEYS + 8];
    };
    using Scores = float[TILES][4];

    const Attention &of;
    const Part &cache;
    // Of the head in the cache.
    size_t start;
    // The row of the batch, the head, and the block's first query.
    unsigned row, head, first;
    // The first key that a row sees, and the place of the block's first query among keys.
    unsigned padding, first_place;
    // What a lane has: queries, sums of what they weigh, and by row what weights are scaled by and add up to.
    unsigned queries[STEPS][4] = {};
    float sums[DIMS / 8][4] = {};
    float most[2] = {-INFINITY, -INFINITY}, total[2] = {};

    __device__ static unsigned lane() {
        return threadIdx.x % 32;
    }

    // The first of a lane's two rows.
    __device__ static unsigned own() {
        return threadIdx.x / 32 * ROWS + lane() / 4;
    }

    // Queries, scaled so that scores are powers of two where they are not bent first.
    __device__ void begin() {
        const float factor = of.cap > 0.0f ? of.scale : of.scale * LOG2E;
        const float *all = of.queries + ((size_t)row * of.heads + head) * of.tokens * of.head_dim;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
#pragma unroll
            for (int place = 0; place < 4; place++) {
                const unsigned query = first + own() + 8 * (place % 2);
                const unsigned dim = 16 * step + 2 * (lane() % 4) + 8 * (place / 2);
                float2 two = {0.0f, 0.0f};
                if (query < of.tokens && dim < of.head_dim) {
                    two = *reinterpret_cast<const float2 *>(all + (size_t)query * of.head_dim + dim);
                }
                queries[step][place] = pair_of<KIND>(two.x * factor, two.y * factor);
            }
        }
    }

    // Keys as rows, values as columns: of both a lane multiplies two that lie beside each other.
    __device__ void bring(unsigned tile, Keys &keys, Values &values) const {
        if (of.kind == KIND) {
            bring_of<KIND>(tile, keys, values);
        } else if (of.kind == F32) {
            bring_of<F32>(tile, keys, values);
        } else {
            bring_of<KIND == F16 ? BF16 : F16>(tile, keys, values);
        }
    }

    // Four dimensions of a key or its value. What is not there must be numbers: it is multiplied by zeros.
    template <int FROM> __device__ uint2 load(const void *from, unsigned key, unsigned dim) const {
        const unsigned last = cache.count - 1;
        const bool is_there = key <= last && dim < of.head_dim;
        const uint2 four = load_pairs<KIND, FROM>(from, start + (size_t)min(key, last) * of.head_dim + (is_there ? dim : 0));
        return is_there ? four : uint2{0, 0};
    }

    // A thread asks memory for several before it waits for the first. Behind them stands a barrier of the warp, or the compiler
    // puts each where it is used.
    template <int FROM> __device__ void bring_of(unsigned tile, Keys &keys, Values &values) const {
        constexpr unsigned THREADS = 32 * WARPS, FOURS = KEYS * DIMS / 4 / THREADS, AT_ONCE = 8;
        static_assert(FOURS % AT_ONCE == 0, "all threads have as many");
#pragma unroll
        for (unsigned begin = 0; begin < FOURS; begin += AT_ONCE) {
            uint2 fours[AT_ONCE];
#pragma unroll
            for (unsigned number = 0; number < AT_ONCE; number++) {
                const unsigned at = threadIdx.x + THREADS * (begin + number);
                fours[number] = load<FROM>(cache.keys, tile + at / (DIMS / 4), at % (DIMS / 4) * 4);
            }
            __syncwarp();
#pragma unroll
            for (unsigned number = 0; number < AT_ONCE; number++) {
                const unsigned at = threadIdx.x + THREADS * (begin + number);
                *reinterpret_cast<uint2 *>(&keys.rows[at / (DIMS / 4)][at % (DIMS / 4) * 4]) = fours[number];
            }
        }
        // Of two keys at a time.
#pragma unroll
        for (unsigned begin = 0; begin < FOURS / 2; begin += AT_ONCE / 2) {
            uint2 fours[AT_ONCE / 2][2];
#pragma unroll
            for (unsigned number = 0; number < AT_ONCE / 2; number++) {
                const unsigned at = threadIdx.x + THREADS * (begin + number);
#pragma unroll
                for (unsigned other = 0; other < 2; other++) {
                    const unsigned key = tile + at % (KEYS / 2) * 2 + other;
                    fours[number][other] = load<FROM>(cache.values, key, at / (KEYS / 2) * 4);
                }
            }
            __syncwarp();
#pragma unroll
            for (unsigned number = 0; number < AT_ONCE / 2; number++) {
                const unsigned at = threadIdx.x + THREADS * (begin + number);
                const unsigned key = at % (KEYS / 2) * 2, dim = at / (KEYS / 2) * 4;
                const uint2(&two)[2] = fours[number];
                const unsigned words[4] = {
                    __byte_perm(two[0].x, two[1].x, 0x5410), __byte_perm(two[0].x, two[1].x, 0x7632),
                    __byte_perm(two[0].y, two[1].y, 0x5410), __byte_perm(two[0].y, two[1].y, 0x7632)};
#pragma unroll
                for (int place = 0; place < 4; place++) {
                    *reinterpret_cast<unsigned *>(&values.columns[dim + place][key]) = words[place];
                }
            }
        }
    }

    // Scores of the keys, as powers of two; of what is not seen, as nothing.
    __device__ void score(unsigned tile, const Keys &keys, Scores &scores) const {
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
#pragma unroll
            for (int part = 0; part < TILES; part++) {
                const unsigned short *key = keys.rows[8 * part + lane() / 4];
                const int dim = 16 * step + 2 * (int)(lane() % 4);
                const unsigned b[2] = {pair_at(key, dim), pair_at(key, dim + 8)};
                tiles::multiply_tile<KIND>(scores[part], queries[step], b);
            }
        }
#pragma unroll
        for (int part = 0; part < TILES; part++) {
#pragma unroll
            for (int place = 0; place < 4; place++) {
                const unsigned key = tile + 8 * part + 2 * (lane() % 4) + place % 2;
                const unsigned query = first_place + own() + 8 * (place / 2);
                float &score = scores[part][place];
                if (of.cap > 0.0f) {
                    score = tanhf(score / of.cap) * of.cap * LOG2E;
                }
                const bool is_seen = key < cache.count && key <= query && query - key < of.window && key >= padding;
                score = is_seen ? score : -INFINITY;
            }
        }
    }

    // Makes weights of scores, and scales what there was before as they are.
    __device__ void weigh(Scores &scores) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float largest = most[half];
#pragma unroll
            for (int part = 0; part < TILES; part++) {
                largest = fmaxf(largest, fmaxf(scores[part][2 * half], scores[part][2 * half + 1]));
            }
            // Four lanes have the numbers of a row.
            largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
            // Nothing seen so far: there is no number to subtract.
            const float base = largest == -INFINITY ? 0.0f : largest;
            const float before = exp2f(most[half] - base);
            most[half] = largest;
            total[half] *= before;
#pragma unroll
            for (int part = 0; part < TILES; part++) {
#pragma unroll
                for (int place = 2 * half; place < 2 * half + 2; place++) {
                    scores[part][place] = exp2f(scores[part][place] - base);
                    total[half] += scores[part][place];
                }
            }
#pragma unroll
            for (int part = 0; part < DIMS / 8; part++) {
                sums[part][2 * half] *= before;
                sums[part][2 * half + 1] *= before;
            }
        }
    }

    // Adds the values, each times its weight.
    __device__ void mix(const Scores &weights, const Values &values) {
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            // Where a product has its sums, the next has its factors.
            const float(&lower)[4] = weights[2 * step], (&upper)[4] = weights[2 * step + 1];
            const unsigned a[4] = {pair_of<KIND>(lower[0], lower[1]), pair_of<KIND>(lower[2], lower[3]),
                                   pair_of<KIND>(upper[0], upper[1]), pair_of<KIND>(upper[2], upper[3])};
#pragma unroll
            for (int part = 0; part < DIMS / 8; part++) {
                const unsigned short *value = values.columns[8 * part + lane() / 4];
                const int key = 16 * step + 2 * (int)(lane() % 4);
                const unsigned b[2] = {pair_at(value, key), pair_at(value, key + 8)};
                tiles::multiply_tile<KIND>(sums[part], a, b);
            }
        }
    }

    __device__ void put() const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float whole = total[half] + __shfl_xor_sync(0xffffffffu, total[half], 1);
            whole += __shfl_xor_sync(0xffffffffu, whole, 2);
            // Of a row of padding nothing is seen.
            const float share = whole > 0.0f ? 1.0f / whole : 0.0f;
            const unsigned query = first + own() + 8 * half;
#pragma unroll
            for (int part = 0; part < DIMS / 8; part++) {
                const unsigned dim = 8 * part + 2 * (lane() % 4);
                if (query < of.tokens && dim < of.head_dim) {
                    float *out = of.out + ((size_t)(row * of.tokens + query) * of.heads + head) * of.head_dim + dim;
                    *reinterpret_cast<float2 *>(out) = {sums[part][2 * half] * share, sums[part][2 * half + 1] * share};
                }
            }
        }
    }
};

template <int KIND, int DIMS> __device__ void read(const Attention &of) {
    using Of = Prompt<KIND, DIMS>;
    __shared__ typename Of::Keys keys;
    __shared__ typename Of::Values values;
    // Late queries see most keys: they begin first.
    const unsigned first = (gridDim.x - 1 - blockIdx.x) * QUERIES, head = blockIdx.y, row = blockIdx.z;
    const unsigned kv_head = head / (of.heads / of.kv_heads);
    unsigned own_row;
    const Part &cache = of.caches.of(row, own_row);
    const size_t start = ((size_t)own_row * of.kv_heads + kv_head) * cache.capacity * of.head_dim;
    const unsigned padding = of.padding != nullptr ? of.padding[row] : 0;
    Of prompt{of, cache, start, row, head, first, padding, cache.count - of.tokens + first};
    prompt.begin();
    const unsigned last_place = min(prompt.first_place + QUERIES, cache.count);
    const unsigned behind = prompt.first_place + 1 > of.window ? prompt.first_place + 1 - of.window : 0;
    for (unsigned tile = max(behind, padding) / Of::KEYS * Of::KEYS; tile < last_place; tile += Of::KEYS) {
        __syncthreads();
        prompt.bring(tile, keys, values);
        __syncthreads();
        typename Of::Scores scores = {};
        prompt.score(tile, keys, scores);
        prompt.weigh(scores);
        prompt.mix(scores, values);
    }
    prompt.put();
}

} // namespace

#define READ(NAME, KIND, DIMS)                                                                                       \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) read_##NAME##_##DIMS(                                   \
        const __grid_constant__ Attention of) {                                                                      \
        read<KIND, DIMS>(of);                                                                                        \
    }

#define OF_KIND(NAME, KIND)                                                                                          \
    READ(NAME, KIND, 64)                                                                                             \
    READ(NAME, KIND, 128)                                                                                            \
    READ(NAME, KIND, 256)

#define OF_f16 OF_KIND(f16, F16)
// Tensor cores before 8.0 have no brain floats.
#if !defined(OLD_TENSOR_CORES) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define OF_bf16 OF_KIND(bf16, BF16)
#else
#define OF_bf16
#endif

// A card's driver compiles all kernels of a text before it runs one: there is a text for each type.
#ifdef ONLY
#define PASTED(NAME) OF_##NAME
#define EXPANDED(NAME) PASTED(NAME)
EXPANDED(ONLY)
#else
OF_f16
OF_bf16
#endif
