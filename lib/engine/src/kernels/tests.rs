//! The fast primitives against the portable ones, and the packed product against a plain one.

use candle_core::{Device, Tensor};

use super::{
    BLOCK, Bounds, Matrix, Primitives, exactly,
    panels::{self, PANEL},
    portable, primitives, rounded,
};
use crate::weights::Format;
use wire::model::Activations;

/// The set that runs here, and AVX2's own where that runs wider registers.
pub(super) fn sets() -> Vec<Primitives> {
    #[cfg(target_arch = "x86_64")]
    let narrow = super::unsafe_avx2::detect();
    #[cfg(not(target_arch = "x86_64"))]
    let narrow = None;
    [*primitives()].into_iter().chain(narrow).collect()
}

/// A reproducible stream of bytes.
pub(super) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let step = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(step).collect()
}

pub(super) fn floats(length: usize, seed: u64) -> Vec<f32> {
    noise(length, seed)
        .iter()
        .map(|&byte| f32::from(byte) / 128.0 - 1.0)
        .collect()
}

/// Packed rows of a format with finite scales: every byte but the scales' exponents is noise.
pub(super) fn packed(format: Format, blocks: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(blocks * format.block_bytes(), seed);
    let halves: &[usize] = match format {
        Format::F32 | Format::F16 | Format::BF16 => {
            let values = floats(blocks, seed);
            return match format {
                Format::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Format::F16 => values
                    .iter()
                    .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                    .collect(),
                _ => values
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                    .collect(),
            };
        }
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q2K => &[80, 82],
        Format::Q3K => &[108],
        Format::Q6K => &[208],
        Format::Byte => &[],
    };
    for (number, block) in bytes.chunks_exact_mut(format.block_bytes()).enumerate() {
        for &at in halves {
            let scale = half::f16::from_f32(0.01 * (1 + number % 7) as f32);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

#[test]
fn unpacking_is_the_same_bit_for_bit() {
    for format in Format::ALL {
        let bytes = packed(format, 9, 7);
        let mut expected = vec![0.0; 9 * format.block_values()];
        let mut got = expected.clone();
        format.unpack(&bytes, &mut expected);
        (primitives().unpack)(format, &bytes, &mut got);
        assert_eq!(got, expected, "{format:?}");
    }
}

/// Rows of floats need not fill registers.
#[test]
fn floats_of_any_number_are_multiplied() {
    for format in [Format::F32, Format::F16, Format::BF16] {
        for columns in [1, 7, 8, 31, 33, 95, 100] {
            let (bytes, input) = (packed(format, columns, 13), floats(columns, 17));
            let (mut plain, mut got) = (vec![0.0; columns], vec![0.0; columns]);
            format.unpack(&bytes, &mut plain);
            (primitives().unpack)(format, &bytes, &mut got);
            assert_eq!(got, plain, "{format:?}, {columns}");
            let product = (primitives().packed_dot)(format, &bytes, &input, &mut got);
            let expected: f32 = plain.iter().zip(&input).map(|(a, b)| a * b).sum();
            assert!(
                (product - expected).abs() < 1e-4,
                "{format:?}, {columns}: {product} {expected}"
            );
        }
    }
}

#[test]
fn unpacking_is_what_candle_reads() {
    use candle_core::quantized::{GgmlDType, QStorage, QTensor};
    let pairs = [
        (Format::Q4_0, GgmlDType::Q4_0),
        (Format::Q4_1, GgmlDType::Q4_1),
        (Format::Q5_0, GgmlDType::Q5_0),
        (Format::Q5_1, GgmlDType::Q5_1),
        (Format::Q8_0, GgmlDType::Q8_0),
        (Format::Q2K, GgmlDType::Q2K),
        (Format::Q3K, GgmlDType::Q3K),
        (Format::Q4K, GgmlDType::Q4K),
        (Format::Q5K, GgmlDType::Q5K),
        (Format::Q6K, GgmlDType::Q6K),
    ];
    for (format, dtype) in pairs {
        let values = 4 * format.block_values();
        let bytes = packed(format, 4, 11);
        let mut got = vec![0.0; values];
        format.unpack(&bytes, &mut got);
        let storage = QStorage::from_data(bytes.into(), &Device::Cpu, dtype).unwrap();
        let tensor = QTensor::new(storage, values).unwrap();
        let expected: Vec<f32> = tensor.dequantize(&Device::Cpu).unwrap().to_vec1().unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            assert!(
                (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                "{format:?}: {got} {expected}"
            );
        }
    }
}

#[test]
fn the_product_with_a_packed_matrix_is_the_plain_product() {
    for format in Format::ALL {
        let columns = 256 * 2;
        let rows = 35;
        let bytes = packed(format, rows * columns / format.block_values(), 3);
        let mut plain = vec![0.0; rows * columns];
        format.unpack(&bytes, &mut plain);
        let matrix = Matrix::new(format, rows, columns, bytes).unwrap();
        for tokens in [1, 2, 4, 7, 19] {
            let input = floats(tokens * columns, 5);
            let x = Tensor::from_slice(&input, (1, tokens, columns), &Device::Cpu).unwrap();
            let got: Vec<f32> = matrix
                .multiply(&x)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            for (index, got) in got.iter().enumerate() {
                let (token, row) = (index / rows, index % rows);
                let pairs = plain[row * columns..][..columns]
                    .iter()
                    .zip(&input[token * columns..]);
                let expected: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let error = (f64::from(*got) - expected).abs();
                assert!(
                    error < 1e-3,
                    "{format:?}, {tokens} tokens: {got} instead of {expected}"
                );
            }
        }
    }
}

#[test]
fn products_are_the_portable_ones() {
    let columns = 512;
    let input = floats(columns, 5);
    for format in Format::ALL {
        let row = packed(format, columns / format.block_values(), 3);
        let mut scratch = vec![0.0; columns];
        let expected = (portable::PRIMITIVES.packed_dot)(format, &row, &input, &mut scratch);
        for set in sets() {
            let got = (set.packed_dot)(format, &row, &input, &mut scratch);
            assert!(
                (got - expected).abs() < 1e-3,
                "{format:?}: {got} {expected}"
            );
        }
    }
}

#[test]
fn panels_hold_their_rows() {
    for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0] {
        let blocks = 6;
        let rows = packed(format, PANEL * blocks, 3);
        let row_length = rows.len() / PANEL;
        let mut panel = vec![0; rows.len()];
        panels::pack(format, &rows, &mut panel);
        let mut expected = vec![0.0; PANEL * blocks * 32];
        let mut values = vec![0.0; blocks * 32];
        for (lane, row) in rows.chunks_exact(row_length).enumerate() {
            assert_eq!(panels::row(format, &panel, lane), row, "{format:?}");
            format.unpack(row, &mut values);
            for (column, value) in values.iter().enumerate() {
                expected[column * PANEL + lane] = *value;
            }
        }
        for set in sets().into_iter().chain([portable::PRIMITIVES]) {
            let mut got = vec![0.0; expected.len()];
            (set.panel_unpack)(format, &panel, &mut got);
            assert_eq!(got, expected, "{format:?}");
        }
        let input = floats(blocks * 32, 5);
        let sums = panels::block_sums(&input);
        let expected = (portable::PRIMITIVES.panel_dot)(format, &panel, &input, &sums);
        for set in sets() {
            let got = (set.panel_dot)(format, &panel, &input, &sums);
            for (got, expected) in got.iter().zip(&expected) {
                assert!(
                    (got - expected).abs() < 1e-4,
                    "{format:?}: {got} {expected}"
                );
            }
        }
    }
}

#[test]
fn rounded_products_are_the_portable_ones() {
    for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0] {
        let blocks = 5;
        let rows = packed(format, PANEL * blocks, 3);
        let mut panel = vec![0; rows.len()];
        panels::pack(format, &rows, &mut panel);
        for tokens in 1..=rounded::TOKENS {
            let inputs = floats(tokens * blocks * 32, 5);
            let (inputs, _) = inputs.as_chunks::<32>();
            let round = |set: &Primitives| -> Vec<_> { inputs.iter().map(set.round).collect() };
            let blocks = round(&portable::PRIMITIVES);
            let mut expected = vec![[0.0; PANEL]; tokens];
            (portable::PRIMITIVES.rounded)(format, &panel, &blocks, &mut expected);
            for set in sets() {
                for (got, expected) in round(&set).iter().zip(&blocks) {
                    assert_eq!(got.codes, expected.codes);
                    assert_eq!((got.scale, got.sum), (expected.scale, expected.sum));
                }
                let mut got = vec![[9.0; PANEL]; tokens];
                (set.rounded)(format, &panel, &blocks, &mut got);
                for (got, expected) in got.as_flattened().iter().zip(expected.as_flattened()) {
                    assert!(
                        (got - expected).abs() < 1e-4,
                        "{format:?}: {got} {expected}"
                    );
                }
            }
        }
    }
}

/// Rounded products are near the exact ones, and give way to them where that is asked for.
#[test]
fn a_matrix_rounds_where_it_is_to() {
    let (rows, columns) = (48, 96);
    for format in [Format::Q4_0, Format::Q4_1, Format::Q8_0] {
        let bytes = packed(format, rows * columns / 32, 3);
        let exact = Matrix::new(format, rows, columns, bytes.clone()).unwrap();
        let rounding = Matrix::new(format, rows, columns, bytes).unwrap();
        let rounding = rounding.taking(Activations::Int8);
        for tokens in [1, 3, 20] {
            let input = floats(tokens * columns, 5);
            let x = Tensor::from_slice(&input, (tokens, columns), &Device::Cpu).unwrap();
            let values = |matrix: &Matrix| -> Vec<f32> {
                let product = matrix.multiply(&x).unwrap();
                product.flatten_all().unwrap().to_vec1().unwrap()
            };
            let (expected, got) = (values(&exact), values(&rounding));
            assert_ne!(got, expected, "{format:?}");
            let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>();
            let errors: Vec<f32> = got.iter().zip(&expected).map(|(a, b)| a - b).collect();
            assert!(norm(&errors) < 1e-4 * norm(&expected), "{format:?}");
            assert_eq!(exactly(|| values(&rounding)), expected, "{format:?}");
        }
    }
}

/// Products in brain floats are those of rounded inputs, but for the order of their sums.
#[test]
fn a_matrix_of_brain_floats_takes_them() {
    for (rows, columns) in [(48, 96), (70, 130), (5, 31)] {
        let bytes = packed(Format::BF16, rows * columns, 3);
        let exact = Matrix::new(Format::BF16, rows, columns, bytes.clone()).unwrap();
        let rounding = Matrix::new(Format::BF16, rows, columns, bytes)
            .unwrap()
            .taking(Activations::BF16);
        for tokens in [1, 3, 20, 43] {
            // More digits than brain floats have.
            let input: Vec<f32> = (0..tokens * columns)
                .map(|i| (i as f32 * 0.37).sin())
                .collect();
            let of = |matrix: &Matrix, input: &[f32]| -> Vec<f32> {
                let x = Tensor::from_slice(input, (tokens, columns), &Device::Cpu).unwrap();
                let product = matrix.multiply(&x).unwrap();
                product.flatten_all().unwrap().to_vec1().unwrap()
            };
            let rounded: Vec<f32> = input
                .iter()
                .map(|x| half::bf16::from_f32(*x).to_f32())
                .collect();
            let (expected, got) = (of(&exact, &rounded), of(&rounding, &input));
            for (got, expected) in got.iter().zip(&expected) {
                assert!(
                    (got - expected).abs() < 1e-4,
                    "{rows} {columns} {tokens}: {got} {expected}"
                );
            }
            assert_ne!(got, of(&exact, &input), "nothing is rounded");
            assert_eq!(exactly(|| of(&rounding, &input)), of(&exact, &input));
        }
    }
}

#[test]
fn tiles_of_any_size_are_multiplied() {
    for (depth, stride) in [(1, 16), (7, 16), (64, 20), (100, 33)] {
        let (panel, inputs) = (floats(depth * PANEL, 9), floats(depth * stride, 10));
        for width in 1..=panels::WIDTH {
            let mut expected = vec![[0.5; PANEL]; width];
            (portable::PRIMITIVES.tile)(&panel, &inputs, stride, &mut expected);
            for set in sets() {
                let mut got = vec![[0.5; PANEL]; width];
                (set.tile)(&panel, &inputs, stride, &mut got);
                for (got, expected) in got.as_flattened().iter().zip(expected.as_flattened()) {
                    assert!((got - expected).abs() < 1e-4, "{width}: {got} {expected}");
                }
            }
        }
    }
}

#[test]
fn exponentials_are_those_of_the_library() {
    for length in [1, 8, 16, 31, 4096] {
        let values: Vec<f32> = (0..length).map(|i| i as f32 * 0.05 - 150.0).collect();
        let values = [&values[..], &[f32::NEG_INFINITY, -1e-9, 3.0]].concat();
        let mut expected = values.clone();
        let sum = (portable::PRIMITIVES.exponentials)(&mut expected, 3.0);
        for set in sets() {
            let mut got = values.clone();
            let got_sum = (set.exponentials)(&mut got, 3.0);
            assert!((got_sum - sum).abs() <= 1e-6 * sum, "{got_sum} {sum}");
            for (got, expected) in got.iter().zip(&expected) {
                assert!(
                    (got - expected).abs() <= 4e-7 * expected + 1e-37,
                    "{got:e} {expected:e}"
                );
            }
            let mut lost = [f32::NAN];
            assert!((set.exponentials)(&mut lost, 0.0).is_nan());
        }
    }
}

#[test]
fn exponentials_by_lanes_and_gates_are_the_portable_ones() {
    let values = floats(5 * PANEL, 4);
    let (lanes, _) = values.as_chunks::<PANEL>();
    let largest = std::array::from_fn(|lane| lane as f32 / 3.0);
    let (gates, ups) = (
        floats(83, 6).iter().map(|v| v * 40.0).collect::<Vec<_>>(),
        floats(83, 7),
    );
    let run = |set: &Primitives| {
        let mut lanes = lanes.to_vec();
        let sums = (set.lane_exponentials)(&mut lanes, &largest);
        let mut gates = gates.clone();
        (set.silu_gate)(&mut gates, &ups);
        [lanes.as_flattened(), &sums, &gates].concat()
    };
    let expected = run(&portable::PRIMITIVES);
    for set in sets() {
        for (got, expected) in run(&set).iter().zip(&expected) {
            assert!(
                (got - expected).abs() <= 1e-6 * expected.abs() + 1e-12,
                "{got} {expected}"
            );
        }
    }
}

#[test]
fn activations_are_the_portable_ones() {
    use super::Fused::{Gelu, GeluTanh, Relu, Silu};
    for activation in [Silu, Gelu, GeluTanh, Relu] {
        for length in [1, 7, 16, 33, 400] {
            let values: Vec<f32> = (0..length).map(|i| i as f32 * 0.11 - 20.0).collect();
            let values = [&values[..], &[0.0, -0.3, 0.7, 25.0]].concat();
            let mut expected = values.clone();
            (portable::PRIMITIVES.activate)(activation, &mut expected);
            for set in sets() {
                let mut got = values.clone();
                (set.activate)(activation, &mut got);
                for (got, expected) in got.iter().zip(&expected) {
                    let error = (got - expected).abs();
                    assert!(
                        error <= 1e-6 * expected.abs() + 3e-7,
                        "{activation:?}: {got} instead of {expected}"
                    );
                }
                let mut lost = [f32::NAN];
                (set.activate)(activation, &mut lost);
                let is_lost = lost[0].is_nan() || activation == Relu;
                assert!(is_lost, "{activation:?} of NaN is {}", lost[0]);
            }
        }
    }
}

#[test]
fn attention_loops_are_the_portable_ones() {
    for dim in [8, 20, 33, 64, 80, 96, 128, 200, 256] {
        let (vector, rows) = (floats(dim, 1), floats(dim * 5, 2));
        let (mut got, mut expected) = (vec![0.0; 5], vec![0.0; 5]);
        (portable::PRIMITIVES.dots)(&vector, &rows, &mut expected);
        let mut expected_sum = vec![0.5; dim];
        (portable::PRIMITIVES.weighted_sum)(&expected, &rows, &mut expected_sum);
        for set in sets() {
            (set.dots)(&vector, &rows, &mut got);
            let mut got_sum = vec![0.5; dim];
            (set.weighted_sum)(&expected, &rows, &mut got_sum);
            let pairs = got
                .iter()
                .chain(&got_sum)
                .zip(expected.iter().chain(&expected_sum));
            for (got, expected) in pairs {
                assert!((got - expected).abs() < 1e-4, "{dim}: {got} {expected}");
            }
        }
    }
}

/// Codes in whole parts of 64 go another way than others; both give the book's values times the scale.
#[test]
fn nibbles_are_looked_up_and_multiplied() {
    use super::{Book, Input, Nibbles, Rows};
    use crate::bitsandbytes::{Absmax, code_book};
    use wire::model::{DType, FourBitType};

    for (rows, columns, block) in [
        (3_usize, 128_usize, 64_usize),
        (5, 32, 64),
        (3, 33, 64),
        (4, 192, 128),
        (9, 64, 32),
    ] {
        for rounding in [DType::F32, DType::F16, DType::BF16] {
            let values = rows * columns;
            let packed: Vec<u8> = (0..values.div_ceil(2))
                .map(|i| (i * 37 + 11) as u8)
                .collect();
            let absmax: Vec<f32> = floats(values.div_ceil(block), 5)
                .iter()
                .map(|v| v.abs())
                .collect();
            let book = Book {
                values: code_book(FourBitType::Nf4),
                rounding,
            };
            let expected: Vec<f32> = (0..values)
                .map(|at| {
                    let byte = packed[at / 2];
                    let code = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
                    book.scaled(absmax[at / block])[usize::from(code)]
                })
                .collect();
            let absmax = Absmax::Plain(absmax);
            let matrix = Nibbles {
                rows,
                columns,
                block,
                book,
                packed,
                absmax,
            };
            let input = floats(columns, 3);
            for (row, expected) in expected.chunks_exact(columns).enumerate() {
                let mut got = vec![0.0; columns];
                matrix.unpack(row, &mut got);
                assert_eq!(got, expected, "({rows}, {columns}) by {block}");
                let mut product = [0.0];
                matrix.dots(row, &Input::new(&input, matrix.spreads()), &mut product);
                let [product] = product;
                let plain: f32 = expected.iter().zip(&input).map(|(a, b)| a * b).sum();
                assert!((product - plain).abs() < 1e-4, "{product} {plain}");
            }
        }
    }
}

#[test]
fn bytes_are_multiplied_exactly() {
    for length in [0, 1, 15, 16, 33, 200] {
        let a: Vec<i8> = (0..length).map(|i| (i * 77 % 256 - 128) as i8).collect();
        let b: Vec<i8> = (0..length).map(|i| (i * 31 % 256 - 128) as i8).collect();
        let expected: i32 = a
            .iter()
            .zip(&b)
            .map(|(a, b)| i32::from(*a) * i32::from(*b))
            .sum();
        for set in sets() {
            let mut sums = [0];
            if length > 0 {
                (set.byte_products)(&a, &b, length, &mut sums);
            }
            assert_eq!(sums, [expected], "{length}");
        }
    }
}

/// The largest magnitudes, more rows and tokens than fit the registers, and counts of columns beside a
/// register's.
#[test]
fn rows_of_bytes_meet_tokens_exactly() {
    for (rows, tokens, columns) in [(9, 7, 130), (4, 4, 64), (5, 1, 63), (1, 9, 4097), (3, 2, 1)] {
        let bytes = |count: usize, step: usize| -> Vec<i8> {
            let value = |i: usize| {
                if i.is_multiple_of(3) {
                    -128
                } else {
                    i32::from((i * step % 256) as u8) - 128
                }
            };
            (0..count).map(|i| value(i) as i8).collect()
        };
        let (weights, inputs) = (bytes(rows * columns, 77), bytes(tokens * columns, 31));
        let exact = |row: usize, token: usize| -> i32 {
            let row = &weights[row * columns..][..columns];
            let input = &inputs[token * columns..][..columns];
            row.iter()
                .zip(input)
                .map(|(a, b)| i32::from(*a) * i32::from(*b))
                .sum()
        };
        for set in sets() {
            let mut sums = vec![0; rows * tokens];
            (set.byte_products)(&weights, &inputs, columns, &mut sums);
            for (at, sum) in sums.iter().enumerate() {
                assert_eq!(
                    *sum,
                    exact(at / tokens, at % tokens),
                    "({rows}, {tokens}, {columns}) {at}"
                );
            }
        }
        let out = super::byte_products((rows, columns), &weights, &inputs, &|token, row, sum| {
            assert_eq!(sum, exact(row, token));
            (token * rows + row) as f32
        });
        assert!(
            out.iter()
                .enumerate()
                .all(|(at, value)| *value as usize == at)
        );
    }
}

/// Values on and beside the bounds, NaN, infinities, zeros and subnormals included.
#[test]
fn blocks_are_packed_alike() {
    let bounds = Bounds {
        bounds: std::array::from_fn(|i| (i as f32 - 7.0) / 8.0),
        order: [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3],
    };
    let special = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e-40,
        3e38,
    ];
    for seed in 0..500 {
        let mut values: [f32; BLOCK] = floats(BLOCK, seed).try_into().unwrap();
        match seed % 4 {
            0 => values[seed as usize % 63] = special[seed as usize / 4 % special.len()],
            1 => {
                values[0] = 1.0;
                values[1..16].copy_from_slice(&bounds.bounds);
                values[16..31].copy_from_slice(&bounds.bounds.map(f32::next_up));
                values[31..46].copy_from_slice(&bounds.bounds.map(f32::next_down));
            }
            2 => values = values.map(|value| value * 1e-39),
            _ => {}
        }
        let (mut got, mut expected) = ([0; BLOCK / 2], [0; BLOCK / 2]);
        let scale = (primitives().pack_block)(&values, &bounds, &mut got);
        let plain = (portable::PRIMITIVES.pack_block)(&values, &bounds, &mut expected);
        assert_eq!(scale.to_bits(), plain.to_bits(), "{seed}");
        assert_eq!(got, expected, "{seed}");
    }
}
