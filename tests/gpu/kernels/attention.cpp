// The kernels of `attention.cu`, run on the processor, against softmax in doubles.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/attention.cu"

static int failures = 0;

struct Cache {
    std::vector<uint4> memory;
    std::vector<double> values;
};

// Of `kind`, what lies past the keys that are there no numbers.
static Cache cache(int kind, unsigned heads, unsigned capacity, unsigned count, unsigned dim) {
    const size_t all = (size_t)heads * capacity * dim, size = kind == F32 ? 4 : 2;
    Cache made{std::vector<uint4>(all * size / 16 + 1), std::vector<double>(all)};
    for (size_t at = 0; at < all; at++) {
        const float value = at / dim % capacity < count ? uniform(-1, 1) : NAN;
        store(value, kind, made.memory.data(), at);
        made.values[at] = rounded(value, kind);
    }
    return made;
}

using Kernel = void (*)(const Attention);

#define NAMED(NAME) {NAME##_1, NAME##_4, NAME##_8}
static const Kernel KERNELS[3][5][3] = {
    {NAMED(attend_f32_1), NAMED(attend_f32_2), NAMED(attend_f32_3), NAMED(attend_f32_4), NAMED(attend_f32_8)},
    {NAMED(attend_f16_1), NAMED(attend_f16_2), NAMED(attend_f16_3), NAMED(attend_f16_4), NAMED(attend_f16_8)},
    {NAMED(attend_bf16_1), NAMED(attend_bf16_2), NAMED(attend_bf16_3), NAMED(attend_bf16_4), NAMED(attend_bf16_8)},
};

// `counts` has the keys of one cache of all rows, or of one each.
static void check(int kind, Attention of, unsigned queries, const std::vector<unsigned> &padding,
                  const std::vector<unsigned> &counts) {
    const unsigned group = of.heads / of.kv_heads;
    const size_t count = (size_t)of.batch * of.heads * of.tokens;
    std::vector<float> q, out(count * of.head_dim + 4, NAN);
    for (size_t at = 0; at < count * of.head_dim; at++) {
        q.push_back(uniform(-4, 4));
    }
    const unsigned cache_rows = of.batch / (unsigned)counts.size();
    std::vector<Cache> all_keys, all_values;
    of.caches.count = (unsigned)counts.size();
    for (unsigned at = 0; at < counts.size(); at++) {
        const unsigned capacity = counts[at] + 10 + at;
        all_keys.push_back(cache(kind, cache_rows * of.kv_heads, capacity, counts[at], of.head_dim));
        all_values.push_back(cache(kind, cache_rows * of.kv_heads, capacity, counts[at], of.head_dim));
        of.caches.all[at] = {all_keys[at].memory.data(), all_values[at].memory.data(), capacity, counts[at]};
    }
    std::vector<float> parts(count * of.splits * of.head_dim, NAN), scales(2 * count * of.splits, NAN);
    of.queries = q.data();
    of.padding = padding.data();
    of.out = out.data();
    of.parts = parts.data();
    of.scales = scales.data();
    const unsigned dims = (of.head_dim + 31) / 32;
    const Kernel kernel = KERNELS[kind][dims <= 4 ? dims - 1 : 4][queries == 1 ? 0 : queries == 4 ? 1 : 2];
    const Index blocks{of.splits, of.batch * of.kv_heads, (group * of.tokens + queries - 1) / queries};
    std::vector<unsigned> done(blocks.y * blocks.z);
    of.done = done.data();
    emulated::launch(blocks, 32 * WARPS, [&] { kernel(of); });
    for (const unsigned left : done) {
        failures += left != 0;
    }
    for (size_t number = 0; number < count; number++) {
        // Outputs are by token, inputs by head.
        const unsigned head = number % of.heads, token = number / of.heads % of.tokens;
        const unsigned row = (unsigned)(number / of.heads / of.tokens);
        const float *query = &q[((size_t)(row * of.heads + head) * of.tokens + token) * of.head_dim];
        const Cache &keys = all_keys[row / cache_rows], &values = all_values[row / cache_rows];
        const Part &part = of.caches.all[row / cache_rows];
        const size_t start = ((size_t)(row % cache_rows) * of.kv_heads + head / group) * part.capacity * of.head_dim;
        const unsigned place = part.count - of.tokens + token;
        std::vector<double> weights(part.count);
        double most = -INFINITY, total = 0;
        for (unsigned key = 0; key < part.count; key++) {
            double score = 0;
            for (unsigned dim = 0; dim < of.head_dim; dim++) {
                score += (double)query[dim] * keys.values[start + (size_t)key * of.head_dim + dim];
            }
            score *= of.scale;
            if (of.cap > 0) {
                score = std::tanh(score / of.cap) * of.cap;
            }
            const bool is_seen = key <= place && place - key < of.window && key >= padding[row];
            weights[key] = is_seen ? score : -INFINITY;
            most = std::max(most, weights[key]);
        }
        if (most == -INFINITY) {
            continue;
        }
        for (double &weight : weights) {
            weight = std::exp(weight - most);
            total += weight;
        }
        for (unsigned dim = 0; dim < of.head_dim; dim++) {
            double expected = 0;
            for (unsigned key = 0; key < part.count; key++) {
                if (weights[key] > 0) {
                    expected += weights[key] / total * values.values[start + (size_t)key * of.head_dim + dim];
                }
            }
            const float got = out[number * of.head_dim + dim];
            if (!(std::fabs(got - expected) <= 4e-6) && failures++ < 10) {
                std::printf("kind %d, %u keys, %u splits, %u queries, row %u, token %u, head %u: %g instead of %g\n", kind,
                            part.count, of.splits, queries, row, token, head, got, expected);
            }
        }
    }
    for (unsigned at = 0; at < 4; at++) {
        failures += !std::isnan(out[count * of.head_dim + at]);
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    const unsigned dims[] = {8, 64, 96, 128, 256};
    for (const int kind : {F32, F16, BF16}) {
        for (int which = 0; which < 5; which++) {
            Attention of{};
            of.head_dim = dims[which];
            of.scale = 1 / std::sqrt((float)of.head_dim);
            of.window = 1000000;
            of.splits = 1;
            // One token of a sequence, some keys.
            of.batch = 1;
            of.heads = 6;
            of.kv_heads = 2;
            of.tokens = 1;
            of.split_keys = 1 + 40 * which;
            check(kind, of, 4, {0}, {of.split_keys});
            check(kind, of, 1, {0}, {of.split_keys});
            // Several, in splits of which the last is short, with a window, a cap, and padding.
            of.batch = 2;
            of.tokens = 3;
            of.splits = 3;
            of.split_keys = 128;
            of.window = 150;
            of.cap = 5;
            check(kind, of, 8, {0, 285}, {290});
            // Sequences with caches of their own, some of which end before the last splits.
            of.batch = 4;
            of.tokens = 1;
            check(kind, of, 4, {0, 0, 0, 0}, {290, 1, 128, 200});
        }
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
