// Products of packed matrices with fewer tokens than values are worth making for: weights are read once, as they lie, and
// become numbers of 16 bits in the registers that tensor cores multiply from.
//
// A product sums over columns, in whichever order: a lane has 32 of a row that lie together, as a `Source` of
// `product.cuh` gives them, and of the tokens the same ones, which were laid so: by `arrange`, or of a tile by each block.

#pragma once

#include "product.cuh"

namespace tiles {

// Warps of a block, which take turns at the columns.
constexpr int WARPS = product::WARPS;
// Rows of a block: two tiles' of 16, also of both matrices where one gates the other.
constexpr int ROWS = product::BLOCK_ROWS;
// Tokens of a tile, and of a block.
constexpr unsigned TILE = 8, TOKENS = 32;
// Columns that a warp takes at once: of each of four lanes.
constexpr unsigned STEP = 4 * product::VALUES;
// Eights of a lane's columns.
constexpr int EIGHTS = product::VALUES / 8;

// Two blocks at once are to hide more waiting than the few registers cost that are spilled for it (not measured); cards
// before 8.0 have no shared memory for two.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define TILED_BLOCKS 1
#else
#define TILED_BLOCKS 2
#endif
// Tensor cores before 8.0 take halves alone, eight columns at a time.
#if defined(OLD_TENSOR_CORES) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
constexpr bool IS_OLD = true;
#else
constexpr bool IS_OLD = false;
#endif

// sums (16, 8) += a (16, 16) · b (16, 8). Lane 4 · i + j has of a the columns 2 · j, 2 · j + 1 of the rows i and i + 8,
// then those eight columns later; of b these as rows, of the column i; of the sums the columns 2 · j and 2 · j + 1 of
// the rows i and i + 8 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
template <int KIND>
__device__ void multiply_whole(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef EMULATED
    emulated::multiply_tile<16>(sums, a, b, [](unsigned bits) { return bits_as_float(bits, KIND); });
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if (KIND == F16) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                     "{%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
#endif
}

// The same of eight columns of a and rows of b, of halves.
__device__ inline void multiply_half(float (&sums)[4], unsigned upper, unsigned lower, unsigned b) {
#ifdef EMULATED
    emulated::multiply_tile<8>(sums, {upper, lower, 0, 0}, {b, 0}, [](unsigned bits) { return bits_as_float(bits, F16); });
#elif defined(__CUDA_ARCH__)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(upper), "r"(lower), "r"(b));
#endif
}

template <int KIND>
__device__ void multiply_tile(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    if constexpr (IS_OLD) {
        static_assert(KIND == F16, "brain floats need 8.0");
        for (int half = 0; half < 2; half++) {
            multiply_half(sums, a[2 * half], a[2 * half + 1], b[half]);
        }
    } else {
        multiply_whole<KIND>(sums, a, b);
    }
}

// Of f32 x (tokens, columns) the tokens as `multiply` reads them, rounded to `KIND`, those that are not there zeros:
// out (steps, tiles, EIGHTS, 32) of eight numbers each. A thread makes eight.
template <int KIND, typename Source>
__device__ void arrange(const float *x, unsigned columns, unsigned tokens, uint4 *out) {
    const unsigned count = (tokens + TILE - 1) / TILE, at = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned lane = at % 32, eight = at / 32 % EIGHTS, tile = at / 32 / EIGHTS % count, step = at / 32 / EIGHTS / count;
    if (step >= (columns + STEP - 1) / STEP) {
        return;
    }
    const unsigned token = TILE * tile + lane / 4, owner = 4 * step + lane % 4;
    float values[8];
#pragma unroll
    for (int place = 0; place < 8; place++) {
        const unsigned column = Source::column((int)owner, 8 * (int)eight + place);
        values[place] = token < tokens && column < columns ? x[(size_t)token * columns + column] : 0.0f;
    }
    out[at] = {pair_of<KIND>(values[0], values[1]), pair_of<KIND>(values[2], values[3]),
               pair_of<KIND>(values[4], values[5]), pair_of<KIND>(values[6], values[7])};
}

// Where the rows of a lane lie.
template <typename Source>
__device__ void find_rows(const Source &source, const product::Share &share, typename Source::Row (&lies)[4]) {
#pragma unroll
    for (int row = 0; row < 4; row++) {
        lies[row] = source.row(min(share.first + threadIdx.x % 32 / 4 + 8 * row, share.rows - 1));
    }
}

// sums (2, tiles) += what a lane has of 32 rows and the `eight`th eight of their columns, times that of tiles of tokens.
template <int KIND, typename Source, int TILES, typename Inputs>
__device__ void multiply_eight(float (&sums)[2][TILES][4], const Source &source,
                               const typename Source::Ready (&readies)[4], int eight, unsigned tiles,
                               const Inputs &inputs_of) {
    // Of each row eight numbers, two by two.
    unsigned pairs[4][4];
#pragma unroll
    for (int row = 0; row < 4; row++) {
        float values[8];
        source.values(readies[row], eight, values);
#pragma unroll
        for (int pair = 0; pair < 4; pair++) {
            pairs[row][pair] = pair_of<KIND>(values[2 * pair], values[2 * pair + 1]);
        }
    }
#pragma unroll
    for (unsigned tile = 0; tile < TILES; tile++) {
        if (tile >= tiles) {
            continue;
        }
        const uint4 inputs = inputs_of(tile);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const unsigned b[2] = {word_of(inputs, 2 * half), word_of(inputs, 2 * half + 1)};
#pragma unroll
            for (int pair_of_rows = 0; pair_of_rows < 2; pair_of_rows++) {
                const int upper = 2 * pair_of_rows, lower = upper + 1;
                const unsigned a[4] = {pairs[upper][2 * half], pairs[lower][2 * half], pairs[upper][2 * half + 1],
                                       pairs[lower][2 * half + 1]};
                multiply_tile<KIND>(sums[pair_of_rows][tile], a, b);
            }
        }
    }
}

// Adds up what all warps of a block have of each row and token, and puts it.
template <int KIND, int TILES>
__device__ void put_all(const product::Product &of, const product::Share &share, unsigned first_token,
                        const float (&sums)[2][TILES][4]) {
    __shared__ float parts[WARPS][TILE * TILES][ROWS + 1];
    const unsigned thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int place = 0; place < 4; place++) {
#pragma unroll
            for (int pair_of_rows = 0; pair_of_rows < 2; pair_of_rows++) {
                const unsigned row = 16 * pair_of_rows + lane / 4 + 8 * (place / 2);
                const unsigned token = TILE * tile + 2 * (lane % 4) + place % 2;
                parts[warp][token][row] = sums[pair_of_rows][tile][place];
            }
        }
    }
    __syncthreads();
    for (unsigned at = thread; at < TILE * TILES * ROWS; at += 32 * WARPS) {
        const unsigned row = share.first + at % ROWS, token = first_token + at / ROWS;
        if (row >= share.rows || token >= of.tokens) {
            continue;
        }
        const auto made = [&](unsigned matrix, unsigned from) {
            float sum = 0.0f;
            for (unsigned other = from; other < from + share.turns; other++) {
                sum += parts[other][at / ROWS][at % ROWS];
            }
            return with_bias(of, matrix, row, rounded(sum, KIND));
        };
        float value;
        if (share.is_gated()) {
            value = activated(made(0, 0), of.gate) * made(1, share.turns);
        } else {
            value = made(share.matrix, 0);
        }
        put(of, share, row, token, value);
    }
}

// y (tokens, rows) = x (tokens, columns) · wᵀ, of tokens that `arrange` has laid. Values of the matrix, whose source
// scales them itself, and products before anything is added are rounded to `KIND`; sums are f32. Columns are as
// `product::multiply` has them.
template <int KIND, typename Source>
__device__ void multiply(const product::Product &of, const product::Share &share, const Source &source) {
    constexpr unsigned TILES = TOKENS / TILE;
    const unsigned lane = threadIdx.x % 32, columns = of.columns;
    const uint4 *x = static_cast<const uint4 *>(of.x);
    const unsigned count = (of.tokens + TILE - 1) / TILE, first_tile = blockIdx.x * TILES;
    typename Source::Row lies[4];
    find_rows(source, share, lies);
    float sums[2][TILES][4] = {};
    for (unsigned step = share.turn; step * STEP < columns; step += share.turns) {
        // All lanes of a warp multiply; those that have no columns the first ones, with zeros.
        const unsigned own_column = step * STEP + lane % 4 * product::VALUES;
        const unsigned column = own_column < columns ? own_column : 0;
        typename Source::Ready readies[4];
#pragma unroll
        for (int row = 0; row < 4; row++) {
            readies[row] = source.ready(source.piece(lies[row], column));
        }
#pragma unroll
        for (int eight = 0; eight < EIGHTS; eight++) {
            multiply_eight<KIND>(sums, source, readies, eight, count - first_tile, [&](unsigned tile) {
                return x[((step * count + first_tile + tile) * EIGHTS + eight) * 32 + lane];
            });
        }
    }
    put_all<KIND>(of, share, blockIdx.x * TOKENS, sums);
}

// Numbers of 16 bits of tokens that a block has at once, and eights of them that a thread asks memory for at once.
constexpr unsigned ROOM = 8192, AT_ONCE = 4;

// Eight numbers of a token, one after the other for each of four lanes; neighbours take what lies beside each other.
struct Eight {
    unsigned eight, owner, step, token;

    __device__ Eight(unsigned at, unsigned steps)
        : eight(at % EIGHTS), owner(at / EIGHTS % 4), step(at / 16 % steps), token(at / 16 / steps) {}

    template <typename Source> __device__ unsigned column() const {
        return Source::column((int)(4 * step + owner), 8 * (int)eight);
    }

    // Where they lie among those of so many tokens.
    __device__ unsigned place(unsigned tokens) const {
        return ((step * EIGHTS + eight) * tokens + token) * 4 + owner;
    }
};

// The same of tokens of one tile at most, f32 (tokens, columns), which a block lays for itself.
template <int KIND, typename Source>
__device__ void multiply_few(const product::Product &of, const product::Share &share, const Source &source) {
    // As `Eight` has them.
    __shared__ uint4 laid[ROOM / 8];
    const unsigned thread = threadIdx.x, lane = thread % 32, columns = of.columns, tokens = of.tokens;
    // So many that all warps have some, whoever they are.
    const unsigned width = ROOM / tokens / (WARPS * STEP) * (WARPS * STEP);
    // What is multiplied with a token that is not there goes nowhere.
    const unsigned own_token = min(lane / 4, tokens - 1);
    typename Source::Row lies[4];
    find_rows(source, share, lies);
    using Piece = typename Source::Piece;
    const auto take = [&](unsigned step, Piece (&pieces)[4]) {
        // All lanes of a warp multiply; those that have no columns the first ones, with zeros.
        const unsigned own = step * STEP + lane % 4 * product::VALUES, column = own < columns ? own : 0;
#pragma unroll
        for (int row = 0; row < 4; row++) {
            pieces[row] = source.piece(lies[row], column);
        }
    };
    // Memory is asked for weights before anything else, and for the next while these are multiplied.
    Piece pieces[4];
    take(share.turn, pieces);
    const float *x = static_cast<const float *>(of.x);
    __shared__ float room[WARPS];
    // Of a single token.
    float factor = 1.0f;
    if (of.norm != nullptr) {
        factor = norms::factor_of_row<32 * WARPS>(x, columns, 0.0f, of.epsilon, room);
    }
    float sums[2][1][4] = {};
    for (unsigned start = 0; start < columns; start += width) {
        const unsigned steps = (min(width, columns - start) + STEP - 1) / STEP;
        __syncthreads();
        const unsigned count = steps * tokens * 16;
        for (unsigned begin = 0; begin < count; begin += AT_ONCE * 32 * WARPS) {
            // Memory is asked for all of them before the first is waited for; without the barrier the compiler puts each
            // load where it is used.
            float4 fours[AT_ONCE][2];
#pragma unroll
            for (unsigned number = 0; number < AT_ONCE; number++) {
                const Eight own(min(begin + thread + number * 32 * WARPS, count - 1), steps);
                const unsigned column = start + own.template column<Source>();
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const size_t from = (size_t)own.token * columns + (column < columns ? column + 4 * half : 0);
                    fours[number][half] = *reinterpret_cast<const float4 *>(x + from);
                }
            }
            __syncwarp();
#pragma unroll
            for (unsigned number = 0; number < AT_ONCE; number++) {
                const unsigned at = begin + thread + number * 32 * WARPS;
                if (at >= count) {
                    continue;
                }
                const Eight own(at, steps);
                const unsigned column = start + own.template column<Source>();
                const float4(&two)[2] = fours[number];
                float values[8] = {two[0].x, two[0].y, two[0].z, two[0].w, two[1].x, two[1].y, two[1].z, two[1].w};
                if (of.norm != nullptr && column < columns) {
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const float4 weight = *reinterpret_cast<const float4 *>(of.norm + column + 4 * half);
                        values[4 * half] = values[4 * half] * factor * weight.x;
                        values[4 * half + 1] = values[4 * half + 1] * factor * weight.y;
                        values[4 * half + 2] = values[4 * half + 2] * factor * weight.z;
                        values[4 * half + 3] = values[4 * half + 3] * factor * weight.w;
                    }
                }
                const uint4 pairs = {pair_of<KIND>(values[0], values[1]), pair_of<KIND>(values[2], values[3]),
                                     pair_of<KIND>(values[4], values[5]), pair_of<KIND>(values[6], values[7])};
                laid[own.place(tokens)] = column < columns ? pairs : uint4{0, 0, 0, 0};
            }
        }
        __syncthreads();
        for (unsigned step = share.turn; step < steps; step += share.turns) {
            typename Source::Ready readies[4];
#pragma unroll
            for (int row = 0; row < 4; row++) {
                readies[row] = source.ready(pieces[row]);
            }
            // In the order in which they are multiplied: a whole width has steps for all.
            take(start / STEP + step + share.turns, pieces);
#pragma unroll
            for (int eight = 0; eight < EIGHTS; eight++) {
                multiply_eight<KIND>(sums, source, readies, eight, 1, [&](unsigned) {
                    return laid[((step * EIGHTS + eight) * tokens + own_token) * 4 + lane % 4];
                });
            }
        }
    }
    put_all<KIND>(of, share, 0, sums);
}

} // namespace tiles
