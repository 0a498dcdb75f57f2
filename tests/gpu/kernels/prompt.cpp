// The kernels of `prompt.cu`, run on the processor, against softmax in doubles of numbers that are rounded as theirs are.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/prompt.cu"

static int failures = 0;

struct Cache {
    std::vector<uint4> memory;
    std::vector<double> values;
};

// Of the cache's `kind`, as `KIND` rounds it; what lies past the keys that are there no numbers.
static Cache cache(int cache_kind, int kind, unsigned heads, unsigned capacity, unsigned count, unsigned dim) {
    const size_t all = (size_t)heads * capacity * dim, size = cache_kind == F32 ? 4 : 2;
    Cache made{std::vector<uint4>(all * size / 16 + 1), std::vector<double>(all)};
    for (size_t at = 0; at < all; at++) {
        const float value = at / dim % capacity < count ? uniform(-1, 1) : NAN;
        store(value, cache_kind, made.memory.data(), at);
        made.values[at] = rounded(rounded(value, cache_kind), kind);
    }
    return made;
}

using Kernel = void (*)(const Attention);

static const Kernel KERNELS[2][3] = {
    {read_f16_64, read_f16_128, read_f16_256},
#ifndef OLD_TENSOR_CORES
    {read_bf16_64, read_bf16_128, read_bf16_256},
#endif
};

// `counts` has the keys of one cache of all rows, or of one each.
static void check(int kind, int cache_kind, Attention of, const std::vector<unsigned> &counts,
                  const std::vector<unsigned> &padding) {
    const unsigned group = of.heads / of.kv_heads, cache_rows = of.batch / (unsigned)counts.size();
    const size_t count = (size_t)of.batch * of.heads * of.tokens;
    std::vector<float> q, out(count * of.head_dim + 4, NAN);
    for (size_t at = 0; at < count * of.head_dim; at++) {
        q.push_back(uniform(-4, 4));
    }
    std::vector<Cache> all_keys, all_values;
    of.caches.count = (unsigned)counts.size();
    for (unsigned at = 0; at < counts.size(); at++) {
        const unsigned capacity = counts[at] + 5 + at, heads = cache_rows * of.kv_heads;
        all_keys.push_back(cache(cache_kind, kind, heads, capacity, counts[at], of.head_dim));
        all_values.push_back(cache(cache_kind, kind, heads, capacity, counts[at], of.head_dim));
        of.caches.all[at] = {all_keys[at].memory.data(), all_values[at].memory.data(), capacity, counts[at]};
    }
    of.kind = (unsigned)cache_kind;
    of.queries = q.data();
    of.padding = padding.empty() ? nullptr : padding.data();
    of.out = out.data();
    const Kernel kernel = KERNELS[kind == BF16][of.head_dim <= 64 ? 0 : of.head_dim <= 128 ? 1 : 2];
    emulated::launch(Index{(of.tokens + QUERIES - 1) / QUERIES, of.heads, of.batch}, 32 * WARPS, [&] { kernel(of); });
    const double step = kind == F16 ? 1.0 / 1024 : 1.0 / 128;
    for (size_t number = 0; number < count; number++) {
        const unsigned head = number % of.heads, token = number / of.heads % of.tokens;
        const unsigned row = (unsigned)(number / of.heads / of.tokens);
        const float *query = &q[((size_t)(row * of.heads + head) * of.tokens + token) * of.head_dim];
        const Cache &own_keys = all_keys[row / cache_rows], &own_values = all_values[row / cache_rows];
        const Part &part_of = of.caches.all[row / cache_rows];
        const unsigned keys = part_of.count;
        const size_t start = ((size_t)(row % cache_rows) * of.kv_heads + head / group) * part_of.capacity * of.head_dim;
        const unsigned place = keys - of.tokens + token, hidden = padding.empty() ? 0 : padding[row];
        const float factor = of.cap > 0 ? of.scale : of.scale * LOG2E;
        std::vector<double> weights(keys);
        double most = -INFINITY, total = 0;
        for (unsigned key = 0; key < keys; key++) {
            double score = 0;
            for (unsigned dim = 0; dim < of.head_dim; dim++) {
                score += (double)rounded(query[dim] * factor, kind) * own_keys.values[start + (size_t)key * of.head_dim + dim];
            }
            score = of.cap > 0 ? std::tanh(score / of.cap) * of.cap : score / LOG2E;
            const bool is_seen = key <= place && place - key < of.window && key >= hidden;
            weights[key] = is_seen ? score : -INFINITY;
            most = std::max(most, weights[key]);
        }
        for (double &weight : weights) {
            weight = most == -INFINITY ? 0 : std::exp(weight - most);
            total += weight;
        }
        for (unsigned dim = 0; dim < of.head_dim; dim++) {
            // Weights are rounded by half a step each.
            double expected = 0, bound = 1e-5;
            for (unsigned key = 0; key < keys && total > 0; key++) {
                if (weights[key] > 0) {
                    const double part = weights[key] / total * own_values.values[start + (size_t)key * of.head_dim + dim];
                    expected += part;
                    bound += std::fabs(part) * step / 2;
                }
            }
            const float got = out[number * of.head_dim + dim];
            if (!(std::fabs(got - expected) <= bound) && failures++ < 10) {
                std::printf("%d of %d, %u dimensions, %u keys, row %u, token %u, head %u: %g instead of %g\n", kind, cache_kind,
                            of.head_dim, keys, row, token, head, got, expected);
            }
        }
    }
    for (unsigned at = 0; at < 4; at++) {
        failures += !std::isnan(out[count * of.head_dim + at]);
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
#ifdef OLD_TENSOR_CORES
    const int kinds[] = {F16};
#else
    const int kinds[] = {F16, BF16};
#endif
    const unsigned dims[] = {8, 64, 96, 128, 256};
    for (const int kind : kinds) {
        for (int which = 0; which < 5; which++) {
            Attention of{};
            of.head_dim = dims[which];
            of.scale = 1 / std::sqrt((float)of.head_dim);
            of.window = 1000000;
            // Heads that do not share keys, and heads that do.
            of.heads = 2;
            of.kv_heads = 1 + which % 2;
            // A prompt from the beginning on, and one that goes on.
            of.batch = 1;
            of.tokens = 13 + 17 * which;
            check(kind, which % 3, of, {of.tokens}, {});
            check(kind, (which + 1) % 3, of, {of.tokens + 65}, {});
            // Sequences with caches of their own.
            of.batch = 2;
            check(kind, which % 3, of, {of.tokens + 3, of.tokens + 40}, {});
            // Rows with padding, one of nothing else, and a cap; the same with a window.
            of.tokens = 70;
            of.cap = 5;
            check(kind, (which + 2) % 3, of, {75}, {75, 3});
            of.window = 33;
            check(kind, which % 3, of, {70}, {0, 68});
            // A window alone, that leaves tiles of keys behind.
            of.batch = 1;
            of.cap = 0;
            of.kv_heads = 2 - which % 2;
            check(kind, (which + 1) % 3, of, {170}, {});
        }
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
