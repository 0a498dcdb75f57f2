// The kernel of `heads.cu`, run on the processor, against the same in doubles, value by value of its outputs.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/heads.cu"

static int failures = 0;

static std::vector<float> some(size_t count) {
    std::vector<float> values;
    for (size_t at = 0; at < count; at++) {
        values.push_back(uniform(-1, 1));
    }
    return values;
}

static double value_of(const std::vector<unsigned char> &bytes, int kind, size_t at) {
    if (kind == F32) {
        return reinterpret_cast<const float *>(bytes.data())[at];
    }
    const unsigned short bits = reinterpret_cast<const unsigned short *>(bytes.data())[at];
    return kind == F16 ? float_of_half(bits) : __uint_as_float((unsigned)bits << 16);
}

// Keys and values of a sequence, or of all rows.
struct Cache {
    std::vector<unsigned char> keys, values;
    unsigned capacity, position;
};

static void check(Heads of, unsigned caches, bool is_normed, bool is_turned) {
    const unsigned all = of.heads + 2 * of.kv_heads, rows = of.shared_angles ? 1 : of.batch;
    const auto qkv = some((size_t)of.batch * of.tokens * all * of.head_dim);
    const auto q_norm = some(of.head_dim), k_norm = some(of.head_dim);
    const auto cos = some((size_t)rows * of.tokens * of.pairs), sin = some((size_t)rows * of.tokens * of.pairs);
    const size_t query_count = (size_t)of.batch * of.heads * of.tokens * of.head_dim;
    const size_t size = of.kind == F32 ? 4 : 2;
    const unsigned cache_rows = of.batch / caches;
    // All bits set are no number of any kind.
    std::vector<unsigned char> queries(4 * query_count, 255);
    std::vector<Cache> all_caches(caches);
    size_t cache_count = 0;
    of.parts.count = caches;
    for (unsigned at = 0; at < caches; at++) {
        Cache &cache = all_caches[at];
        cache.position = 3 + 2 * at;
        cache.capacity = cache.position + of.tokens + 4;
        const size_t own = (size_t)cache_rows * of.kv_heads * cache.capacity * of.head_dim;
        cache_count += own;
        cache.keys.assign(size * own, 255);
        cache.values = cache.keys;
        of.parts.all[at] = {cache.keys.data(), cache.values.data(), cache.capacity, cache.position};
    }
    of.qkv = qkv.data();
    of.q_norm = is_normed ? q_norm.data() : nullptr;
    of.k_norm = is_normed ? k_norm.data() : nullptr;
    of.cos = is_turned ? cos.data() : nullptr;
    of.sin = is_turned ? sin.data() : nullptr;
    of.queries = reinterpret_cast<float *>(queries.data());
    emulated::launch((of.batch * of.tokens * all + WARPS - 1) / WARPS, 32 * WARPS, [&] { put_heads(of); });

    size_t written = 0;
    for (unsigned row = 0; row < of.batch; row++) {
        for (unsigned token = 0; token < of.tokens; token++) {
            for (unsigned head = 0; head < all; head++) {
                const float *x = &qkv[((size_t)(row * of.tokens + token) * all + head) * of.head_dim];
                const bool is_query = head < of.heads, is_value = head >= of.heads + of.kv_heads;
                std::vector<double> expected(x, x + of.head_dim);
                if (is_normed && !is_value) {
                    double square = 0;
                    for (const double value : expected) {
                        square += value * value / of.head_dim;
                    }
                    for (unsigned at = 0; at < of.head_dim; at++) {
                        expected[at] *= (is_query ? q_norm : k_norm)[at] / std::sqrt(square + of.epsilon);
                    }
                }
                for (unsigned pair = 0; is_turned && !is_value && pair < of.pairs; pair++) {
                    const unsigned first = of.interleaved ? 2 * pair : pair;
                    const unsigned second = of.interleaved ? 2 * pair + 1 : pair + of.pairs;
                    const size_t at = ((of.shared_angles ? 0 : row) * of.tokens + token) * of.pairs + pair;
                    const double a = expected[first], b = expected[second];
                    expected[first] = a * cos[at] - b * sin[at];
                    expected[second] = a * sin[at] + b * cos[at];
                }
                const unsigned own = head - (is_query ? 0 : of.heads) - (is_value ? of.kv_heads : 0);
                const Cache &cache = all_caches[row / cache_rows];
                const unsigned in_cache = row % cache_rows * of.kv_heads + own;
                const size_t place = is_query ? (row * of.heads + own) * of.tokens + token
                                              : in_cache * cache.capacity + cache.position + token;
                const auto &out = is_query ? queries : is_value ? cache.values : cache.keys;
                const int kind = is_query ? F32 : of.kind;
                const double step = kind == F32 ? 4e-6 : kind == F16 ? 1.0 / 2048 : 1.0 / 256;
                for (unsigned at = 0; at < of.head_dim; at++, written++) {
                    const double got = value_of(out, kind, place * of.head_dim + at);
                    if (!(std::fabs(got - expected[at]) <= step * std::fabs(expected[at]) + 5e-7) && failures++ < 10) {
                        std::printf("row %u, token %u, head %u: at %u %g instead of %g\n", row, token, head, at, got,
                                    expected[at]);
                    }
                }
            }
        }
    }
    // The rest of the cache is as it was.
    size_t untouched = 0;
    for (const Cache &cache : all_caches) {
        for (size_t at = 0; at < cache.keys.size() / size; at++) {
            untouched += std::isnan(value_of(cache.keys, of.kind, at)) + std::isnan(value_of(cache.values, of.kind, at));
        }
    }
    if (written + untouched != query_count + 2 * cache_count) {
        std::printf("%zu of %zu values are untouched\n", untouched, 2 * cache_count);
        failures++;
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    for (const int kind : {F32, F16, BF16}) {
        for (const int mode : {0, 1, 2, 3}) {
            Heads of{};
            of.epsilon = 1e-6f;
            of.batch = mode == 3 ? 3 : 1 + mode % 3;
            of.tokens = 1 + mode;
            of.heads = mode == 0 ? 9 : 4;
            of.kv_heads = mode == 0 ? 3 : 2;
            of.head_dim = mode == 1 ? 20 : 64;
            of.pairs = mode == 1 ? 5 : 32;
            of.kind = kind;
            of.interleaved = mode == 2;
            of.shared_angles = mode != 3;
            for (const bool is_normed : {false, true}) {
                for (const bool is_turned : {false, true}) {
                    check(of, 1, is_normed, is_turned);
                    check(of, of.batch, is_normed, is_turned);
                }
            }
            // As many sequences as there is room for.
            if (mode == 3) {
                of.batch = MOST_PARTS;
                of.tokens = 1;
                check(of, MOST_PARTS, true, true);
            }
        }
    }
    if (failures > 0) {
        std::printf("%d values are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
