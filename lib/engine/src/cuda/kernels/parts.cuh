// Sequences that a launch serves, each with keys and values of its own.

#pragma once

// As many as travel with the arguments of a launch.
constexpr unsigned MOST_PARTS = 64;

// As `unsafe_launch.rs` has it.
struct Part {
    // (rows, kv_heads, capacity, head_dim) each, of a cache's type.
    void *keys, *values;
    // Positions that there is room for, and those that are taken: before what a launch writes, or with what it reads.
    unsigned capacity, count;
};

struct Parts {
    // One, which has all rows, or one a row.
    unsigned count, unused;
    Part all[MOST_PARTS];

    // The part of a row, and which of its rows it is.
    __device__ const Part &of(unsigned row, unsigned &own) const {
        own = count == 1 ? row : 0;
        return all[count == 1 ? 0 : row];
    }
};

static_assert(sizeof(Parts) == 8 + 24 * MOST_PARTS, "as in unsafe_launch.rs");
