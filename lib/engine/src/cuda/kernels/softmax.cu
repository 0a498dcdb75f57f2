// Softmax over the scores of what queries see of keys, in place, in f32: one pass finds the largest and the sum of
// exponentials together (Milakov and Gimelshein, 2018), another writes. A warp takes a query of a head.

#include "numbers.cuh"

namespace {

constexpr unsigned THREADS = 256;

} // namespace

// Scores (lines / (heads · queries), heads, queries, keys), each of which becomes cap · tanh(score · scale / cap), or
// without a cap score · scale, plus bias (heads, distances), by the key's place less the query's, where there is one. The
// first query is at the place `first`, and sees keys from `before` before it to `after` after it, of those that its row
// has: from bounds (rows, 2) to before these, or all. What is not seen becomes zero.
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax(float *scores, unsigned long long lines, unsigned heads, unsigned queries, unsigned keys, unsigned first,
            unsigned before, unsigned after, const unsigned *bounds, float scale, float cap, const float *bias,
            unsigned distances) {
    const unsigned long long line = (unsigned long long)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const unsigned lane = threadIdx.x % 32;
    if (line >= lines) {
        return;
    }
    const unsigned place = first + (unsigned)(line % queries), head = (unsigned)(line / queries % heads);
    unsigned start = place > before ? place - before : 0, end = min(place + 1 + after, keys);
    if (bounds != nullptr) {
        const unsigned long long row = line / queries / heads;
        start = max(start, bounds[2 * row]);
        end = min(end, bounds[2 * row + 1]);
    }
    scores += line * keys;
    if (bias != nullptr) {
        bias += (size_t)head * distances + (keys - 1 - place);
    }
    const auto scaled = [&](unsigned key) {
        float score = scores[key] * scale;
        if (cap > 0.0f) {
            score = cap * tanhf(score / cap);
        }
        return bias == nullptr ? score : score + bias[key];
    };
    float largest = -INFINITY, sum = 0.0f;
    for (unsigned key = start + lane; key < end; key += 32) {
        const float score = scaled(key);
        if (score > largest) {
            sum *= expf(largest - score);
            largest = score;
        }
        sum += expf(score - largest);
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, largest, distance);
        const float others = __shfl_xor_sync(0xffffffffu, sum, distance);
        const float both = fmaxf(largest, other);
        // Of a lane that has seen nothing there is nothing, and no difference of infinities.
        sum = (largest == both ? sum : sum * expf(largest - both)) +
              (other == both ? others : others * expf(other - both));
        largest = both;
    }
    for (unsigned key = lane; key < keys; key += 32) {
        scores[key] = key >= start && key < end ? expf(scaled(key) - largest) / sum : 0.0f;
    }
}
