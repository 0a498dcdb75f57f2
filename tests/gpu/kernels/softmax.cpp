// The kernel of `softmax.cu`, run on the processor, against sums in doubles.

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/softmax.cu"

static int failures = 0;

struct Case {
    unsigned rows, heads, queries, keys, first, before, after;
    bool is_bounded;
    float scale, cap;
    // Of the bias of a head; 0 for none.
    unsigned distances;
};

static void check(const Case &own) {
    const auto [rows, heads, queries, keys, first, before, after, is_bounded, scale, cap, distances] = own;
    const size_t lines = (size_t)rows * heads * queries, count = lines * keys;
    std::vector<float> scores, bias;
    std::vector<unsigned> bounds;
    for (size_t at = 0; at < count; at++) {
        scores.push_back(uniform(-30, 30));
    }
    for (unsigned row = 0; row < rows; row++) {
        const unsigned start = numbers() % keys;
        bounds.push_back(start);
        bounds.push_back(start + numbers() % (keys + 1 - start));
    }
    for (size_t at = 0; at < (size_t)heads * distances; at++) {
        bias.push_back(uniform(-3, 3));
    }
    std::vector<float> out = scores;
    out.resize(count + 4, NAN);
    emulated::launch((unsigned)(lines + THREADS / 32 - 1) / (THREADS / 32), THREADS, [&] {
        softmax(out.data(), lines, heads, queries, keys, first, before, after, is_bounded ? bounds.data() : nullptr,
                scale, cap, distances > 0 ? bias.data() : nullptr, distances);
    });
    for (size_t line = 0; line < lines; line++) {
        const long place = first + line % queries;
        const size_t head = line / queries % heads, row = line / queries / heads;
        std::vector<double> expected(keys, -INFINITY);
        double largest = -INFINITY, sum = 0;
        for (long key = 0; key < keys; key++) {
            if (key < place - (long)before || key > place + (long)after ||
                (is_bounded && (key < bounds[2 * row] || key >= bounds[2 * row + 1]))) {
                continue;
            }
            double score = (double)scores[line * keys + key] * scale;
            score = cap > 0 ? cap * std::tanh(score / cap) : score;
            expected[key] = distances > 0 ? score + bias[head * distances + (keys - 1 + key - place)] : score;
            largest = std::max(largest, expected[key]);
        }
        for (const double score : expected) {
            sum += score == -INFINITY ? 0 : std::exp(score - largest);
        }
        for (unsigned key = 0; key < keys; key++) {
            const double weight = expected[key] == -INFINITY ? 0 : std::exp(expected[key] - largest) / sum;
            const float got = out[line * keys + key];
            // Scores of up to 64 are rounded to a part in 2^24.
            if (!(std::fabs(got - weight) <= 1.5e-5 * weight + 1e-30) && failures++ < 10) {
                std::printf("(%u, %u, %u, %u) from %u: line %zu, key %u is %g instead of %g\n", rows, heads, queries,
                            keys, first, line, key, got, weight);
            }
        }
    }
    for (size_t at = 0; at < 4; at++) {
        failures += !std::isnan(out[count + at]);
    }
}

int main(int count, char **arguments) {
    seed(count, arguments);
    const Case cases[] = {
        // All see all, more keys than lanes and fewer.
        {1, 2, 3, 77, 0, 77, 77, false, 0.125f, 0, 0},
        {2, 3, 5, 5, 0, 5, 5, false, 1, 0, 0},
        {1, 1, 1, 1, 0, 0, 0, false, 1, 0, 0},
        // Rows of different lengths, biased by distance.
        {4, 3, 41, 41, 0, 41, 41, true, 0.25f, 0, 81},
        // Some queries of a window to both sides.
        {2, 2, 9, 70, 33, 8, 8, false, 0.5f, 0, 0},
        {3, 1, 50, 50, 0, 5, 5, true, 0.5f, 0, 99},
        // The last tokens of a decoder: padded, in a window, bent, and biased as far as they see.
        {3, 4, 12, 100, 88, 100, 0, true, 0.1f, 0, 0},
        {1, 2, 40, 130, 90, 31, 0, false, 0.2f, 5, 0},
        {2, 2, 7, 37, 30, 37, 0, false, 1, 0, 37},
    };
    for (const Case &own : cases) {
        check(own);
    }
    if (failures > 0) {
        std::printf("%d weights are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
