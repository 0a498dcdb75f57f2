// From what makes queries, keys and values to the heads of an attention layer: each is normalised where there are
// weights for it, turned by its position (Su et al., 2021), and put where attention reads it: keys and values straight
// into the cache. A warp takes a head of a token.

#include "numbers.cuh"
#include "parts.cuh"

// As `unsafe_heads.rs` has it.
struct Heads {
    // (batch, tokens, (heads + 2 · kv_heads) · head_dim)
    const float *qkv;
    // (head_dim) each, or none.
    const float *q_norm, *k_norm;
    // (1 or batch, tokens, pairs) each, or none.
    const float *cos, *sin;
    // (batch, heads, tokens, head_dim)
    float *queries;
    float epsilon;
    unsigned batch, tokens, heads, kv_heads, head_dim, pairs;
    // Of caches.
    int kind;
    int interleaved, shared_angles;
    Parts parts;
};

static_assert(sizeof(Heads) == 88 + sizeof(Parts), "as in unsafe_heads.rs");

namespace {

constexpr int WARPS = 4;

} // namespace

extern "C" __global__ void __launch_bounds__(32 * WARPS) put_heads(const __grid_constant__ Heads of) {
    const unsigned all = of.heads + 2 * of.kv_heads, lane = threadIdx.x % 32;
    const unsigned number = blockIdx.x * WARPS + threadIdx.x / 32;
    if (number >= of.batch * of.tokens * all) {
        return;
    }
    const unsigned head = number % all, token = number / all % of.tokens, row = number / all / of.tokens;
    const bool is_query = head < of.heads, is_value = head >= of.heads + of.kv_heads;
    const float *x = of.qkv + (size_t)number * of.head_dim;
    const float *norm = is_query ? of.q_norm : is_value ? nullptr : of.k_norm;
    float root = 1.0f;
    if (norm != nullptr) {
        float sum = 0.0f;
        for (unsigned at = lane; at < of.head_dim; at += 32) {
            sum += x[at] * x[at];
        }
        root = sqrtf(sum_of_warp(sum) / (float)of.head_dim + of.epsilon);
    }
    void *out;
    unsigned long long start;
    if (is_query) {
        out = of.queries;
        start = ((unsigned long long)(row * of.heads + head) * of.tokens + token) * of.head_dim;
    } else {
        unsigned own_row;
        const Part &part = of.parts.of(row, own_row);
        out = is_value ? part.values : part.keys;
        const unsigned own = head - of.heads - (is_value ? of.kv_heads : 0);
        const unsigned long long place = (unsigned long long)(own_row * of.kv_heads + own) * part.capacity;
        start = (place + part.count + token) * of.head_dim;
    }
    const int kind = is_query ? F32 : of.kind;
    const unsigned pairs = is_value || of.cos == nullptr ? 0 : of.pairs;
    const auto value = [&](unsigned at) { return norm == nullptr ? x[at] : x[at] / root * norm[at]; };
    const size_t angles = ((size_t)(of.shared_angles ? 0 : row) * of.tokens + token) * of.pairs;
    for (unsigned pair = lane; pair < pairs; pair += 32) {
        const unsigned first = of.interleaved ? 2 * pair : pair, second = of.interleaved ? first + 1 : pair + pairs;
        const float a = value(first), b = value(second);
        const float cos = of.cos[angles + pair], sin = of.sin[angles + pair];
        store(a * cos - b * sin, kind, out, start + first);
        store(a * sin + b * cos, kind, out, start + second);
    }
    for (unsigned at = 2 * pairs + lane; at < of.head_dim; at += 32) {
        store(value(at), kind, out, start + at);
    }
}
