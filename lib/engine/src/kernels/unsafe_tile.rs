//! The product of a tile of rows, the same for every width of registers. Unsafe for the loads.

/// A function `tile` of the form of [`super::Tile`] with these instructions: how many floats a register
/// has, and what clears, loads, multiplies and adds, and sums one.
macro_rules! tile {
    ($features:literal, $lanes:literal, $zero:ident, $load:ident, $multiply_add:ident, $total:ident) => {
        #[target_feature(enable = $features)]
        fn tile(rows: [&[f32]; TILE.0], inputs: [&[f32]; TILE.1]) -> [[f32; TILE.1]; TILE.0] {
            let length = rows[0].len();
            assert!(
                rows.iter().chain(&inputs).all(|row| row.len() == length),
                "rows of a tile have one length"
            );
            let mut sums = [[$zero(); TILE.1]; TILE.0];
            let whole = length - length % $lanes;
            for at in (0..whole).step_by($lanes) {
                // SAFETY: `at + $lanes <= whole <= length`, the length of every row.
                let [first, second] = unsafe {
                    [
                        $load(rows[0].as_ptr().add(at)),
                        $load(rows[1].as_ptr().add(at)),
                    ]
                };
                for (j, input) in inputs.iter().enumerate() {
                    // SAFETY: as above.
                    let input = unsafe { $load(input.as_ptr().add(at)) };
                    sums[0][j] = $multiply_add(first, input, sums[0][j]);
                    sums[1][j] = $multiply_add(second, input, sums[1][j]);
                }
            }
            let mut out = [[0.0; TILE.1]; TILE.0];
            for (out, sums) in out.iter_mut().zip(sums) {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = $total(sum);
                }
            }
            for at in whole..length {
                for (out, row) in out.iter_mut().zip(rows) {
                    for (out, input) in out.iter_mut().zip(inputs) {
                        *out += row[at] * input[at];
                    }
                }
            }
            out
        }
    };
}
