// The kernel of `candidates.cu`, run on the processor, against a sorted row.

#include <set>

#include "numbers.hpp"

#include "../../../lib/engine/src/cuda/kernels/candidates.cu"

static int failures = 0;

static void check(unsigned rows, unsigned width, unsigned count, bool has_ties) {
    const unsigned capacity = 300;
    std::vector<float> logits;
    for (size_t at = 0; at < (size_t)rows * width; at++) {
        const float value = uniform(-20, 20);
        logits.push_back(has_ties ? std::nearbyint(value) : numbers() % 100 == 0 ? -INFINITY : value);
    }
    const size_t stride = 1 + 2 * capacity;
    std::vector<unsigned> out(rows * stride + 1, 0xeeeeeeee);
    emulated::launch(rows, THREADS, [&] { candidates(logits.data(), width, count, capacity, out.data()); });
    for (unsigned row = 0; row < rows; row++) {
        const float *own = &logits[(size_t)row * width];
        const unsigned *found = &out[row * stride];
        std::vector<float> sorted(own, own + width);
        std::sort(sorted.begin(), sorted.end(), std::greater<float>());
        const float last = sorted[std::min(count, width) - 1];
        std::set<unsigned> ids;
        bool is_right = true;
        for (unsigned place = 0; place < std::min(found[0], capacity); place++) {
            const unsigned id = found[1 + place];
            is_right &= id < width && own[id] == __uint_as_float(found[1 + capacity + place]);
            ids.insert(id);
        }
        is_right &= ids.size() == std::min(found[0], capacity);
        // All that are as large as the last one wanted.
        for (unsigned id = 0; found[0] <= capacity && id < width; id++) {
            is_right &= own[id] < last || ids.count(id);
        }
        // And little else, where none are the same.
        is_right &= has_ties || found[0] <= 4 * count + 32;
        if (!is_right) {
            std::printf("row %u of (%u, %u), the largest %u: %u found\n", row, rows, width, count, found[0]);
            failures++;
        }
    }
    failures += out[rows * stride] != 0xeeeeeeee;
}

int main(int count, char **arguments) {
    seed(count, arguments);
    for (const bool has_ties : {false, true}) {
        check(2, 5000, 50, has_ties);
        check(1, 1, 1, has_ties);
        check(3, 900, 1, has_ties);
        check(1, 40000, 200, has_ties);
        check(1, 30, 50, has_ties);
    }
    if (failures > 0) {
        std::printf("%d rows are wrong\n", failures);
        return 1;
    }
    std::printf("all as expected\n");
    return 0;
}
