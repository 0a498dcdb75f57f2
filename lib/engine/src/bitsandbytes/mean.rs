//! The mean of floats in the order in which torch adds them up on one thread of a processor with
//! AVX2 (`aten/src/ATen/native/cpu/SumKernel.cpp`). Nested quantisation subtracts this mean, so that
//! another order of sums can give other codes.

/// Lanes of a vector.
const LANES: usize = 8;
/// Sums that run side by side.
const STREAMS: usize = 4;
/// Levels of the cascade.
const LEVELS: usize = 4;

/// `torch.mean`; NaN for no values.
pub fn mean(values: &[f32]) -> f32 {
    sum(values) / values.len() as f32
}

fn sum(values: &[f32]) -> f32 {
    if values.len() < LANES {
        let ones: Vec<[f32; 1]> = values.iter().map(|&value| [value]).collect();
        return row_sum(&ones)[0];
    }
    let (vectors, rest) = values.as_chunks::<LANES>();
    let lanes = row_sum(vectors);
    rest.iter().chain(&lanes).sum()
}

/// Sums of the lanes: four streams in cascades, then what is left, then the streams together.
fn row_sum<const N: usize>(vectors: &[[f32; N]]) -> [f32; N] {
    let (rows, rest) = vectors.as_chunks::<STREAMS>();
    let [mut sum, others @ ..] = cascade(rows);
    for vector in rest.iter().chain(&others) {
        add(&mut sum, vector);
    }
    sum
}

/// Sums that carry into the next level every few rows, so that no sum grows far beyond its terms.
fn cascade<const N: usize>(rows: &[[[f32; N]; STREAMS]]) -> [[f32; N]; STREAMS] {
    let power = (ceil_log2(rows.len()) / LEVELS).max(4);
    let step = 1 << power;
    let mut levels = [[[0.0; N]; STREAMS]; LEVELS];
    let whole = rows.len() - rows.len() % step;
    for (index, row) in rows.iter().enumerate() {
        add_all(&mut levels[0], row);
        let done = index + 1;
        if !done.is_multiple_of(step) || done > whole {
            continue;
        }
        for level in 1..LEVELS {
            let carried = std::mem::replace(&mut levels[level - 1], [[0.0; N]; STREAMS]);
            add_all(&mut levels[level], &carried);
            if done & ((step - 1) << (level * power)) != 0 {
                break;
            }
        }
    }
    let [mut sums, others @ ..] = levels;
    for other in &others {
        add_all(&mut sums, other);
    }
    sums
}

fn ceil_log2(value: usize) -> usize {
    value.max(1).next_power_of_two().trailing_zeros() as usize
}

fn add_all<const N: usize>(sums: &mut [[f32; N]; STREAMS], row: &[[f32; N]; STREAMS]) {
    for (sum, vector) in sums.iter_mut().zip(row) {
        add(sum, vector);
    }
}

fn add<const N: usize>(sum: &mut [f32; N], vector: &[f32; N]) {
    for (sum, value) in sum.iter_mut().zip(vector) {
        *sum += value;
    }
}
