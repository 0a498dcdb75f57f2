//! Products by squares in plain Rust against sums in f64, and the processor's own squares against those.

use candle_core::{Device, Tensor};
use half::bf16;
use wire::model::{Activations, DType, FourBitType};

use super::{
    Activation, Book, Finish, Matrix, Nibbles, Rows,
    attention_squares::{self, KEYS, Softmax},
    panels::{Lanes, PANEL},
    primitives,
    rows::Inputs,
    squares::{COLUMNS, Products, SQUARE, Square, Squares, Two},
    tests::{floats, noise, packed},
};
use crate::{
    bitsandbytes::{Absmax, code_book, round},
    weights::Format,
};

/// What squares mean.
pub(super) const PLAIN: Squares = Squares {
    take_apart,
    enter: || {},
    leave: || {},
    multiply: |tokens, weights, out| {
        *out = [[[[0.0; PANEL]; PANEL]; 2]; 2];
        add_products(tokens, weights, out);
    },
    add_products,
    weigh,
    lay_out_values: attention_squares::lay_out_values,
};

/// The nearest brain float, and what is left.
fn next_part(rest: &mut f32) -> u32 {
    let bits = rest.to_bits();
    let is_past = |bits: u32| bits & 0x7f80_0000 == 0x7f80_0000;
    let near = bits.wrapping_add(0x8000);
    let part = if is_past(near) { bits } else { near } & 0xffff_0000;
    *rest = if is_past(part) {
        0.0
    } else {
        *rest - f32::from_bits(part)
    };
    part >> 16
}

fn take_apart(rows: &[f32], columns: usize, out: &mut [Square]) {
    let parts = out.len() / columns.div_ceil(COLUMNS);
    out.as_flattened_mut().fill(0.0);
    for (at, value) in rows.iter().enumerate() {
        let (lane, column) = (at / columns, at % columns);
        let mut rest = *value;
        for part in 0..parts {
            let square = &mut out[column / COLUMNS * parts + part];
            let pair = &mut square[lane * PANEL + column % COLUMNS / 2];
            let shifted = next_part(&mut rest) << (16 * (column % 2));
            *pair = f32::from_bits(pair.to_bits() | shifted);
        }
    }
}

fn add_products(tokens: Two, weights: Two, out: &mut Products) {
    let parts = tokens[0].len() / weights[0].len();
    for (tokens, out) in tokens.iter().zip(out) {
        for (weights, out) in weights.iter().zip(out) {
            for (tokens, weights) in tokens.chunks_exact(parts).zip(*weights) {
                for part in tokens {
                    add_square(part, weights, out);
                }
            }
        }
    }
}

fn add_square(tokens: &Square, weights: &Square, out: &mut [Lanes; PANEL]) {
    for (at, out) in out.as_flattened_mut().iter_mut().enumerate() {
        let (token, lane) = (at / PANEL, at % PANEL);
        for pair in 0..PANEL {
            let (a, b) = (tokens[token * PANEL + pair], weights[pair * PANEL + lane]);
            let halves = |both: f32| [both.to_bits() << 16, both.to_bits() & 0xffff_0000];
            for (a, b) in halves(a).into_iter().zip(halves(b)) {
                *out += f32::from_bits(a) * f32::from_bits(b);
            }
        }
    }
}

fn weigh(
    scores: &[Products; 2],
    scale: f32,
    (tile, softmax): (usize, &mut Softmax),
    out: &mut [Square; 2],
) -> Lanes {
    let mut factors = [0.0; PANEL];
    for (row, factor) in factors.iter_mut().enumerate() {
        let score = |key: usize| {
            let panel = &scores[key / COLUMNS][tile][key % COLUMNS / PANEL];
            panel[row][key % PANEL] * scale
        };
        let sees = |key: &usize| softmax.seen[row] >> key & 1 == 1;
        let before = softmax.largest[row];
        let found = (0..KEYS).filter(sees).map(score);
        let largest = found.fold(before, f32::max);
        let base = if largest.is_finite() { largest } else { 0.0 };
        *factor = (before - base).exp2();
        softmax.largest[row] = largest;
        softmax.sums[row] = softmax.sums[row].map(|sum| sum * *factor);
        for key in 0..KEYS {
            let weight = if sees(&key) {
                (score(key) - base).exp2()
            } else {
                0.0
            };
            softmax.sums[row][key % PANEL] += weight;
            let bits = u32::from(bf16::from_f32(weight).to_bits()) << (16 * (key % 2));
            let pair = &mut out[key / COLUMNS][row * PANEL + key % COLUMNS / 2];
            let other = if key % 2 == 0 { 0 } else { pair.to_bits() };
            *pair = f32::from_bits(other | bits);
        }
    }
    factors
}

/// The plain squares, and the processor's where it has some.
pub(super) fn squares() -> Vec<Squares> {
    [PLAIN]
        .into_iter()
        .chain(primitives().squares.copied())
        .collect()
}

/// Values of all magnitudes, with every bit of an f32 in use.
fn fine(length: usize, seed: u64) -> Vec<f32> {
    let bytes = noise(4 * length, seed);
    let (words, _) = bytes.as_chunks::<4>();
    let values = words.iter().map(|word| {
        let bits = u32::from_le_bytes(*word);
        let exponent = 120 + (bits >> 24) % 12;
        f32::from_bits(bits & 0x807f_ffff | exponent << 23)
    });
    values.collect()
}

#[test]
fn an_f32_is_the_sum_of_its_parts() {
    let mut values = fine(4096, 3);
    values.extend([0.0, -0.0, 1.0, f32::MAX, f32::MIN, 3.39e38, 1e-30, -1e-30]);
    for value in values {
        let mut rest = value;
        let parts = [0; 3].map(|_: u32| f32::from_bits(next_part(&mut rest) << 16));
        let sum: f64 = parts.iter().map(|part| f64::from(*part)).sum();
        assert_eq!(
            sum.to_bits(),
            (f64::from(value) + 0.0).to_bits(),
            "{parts:?}"
        );
    }
    for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let mut rest = value;
        let first = next_part(&mut rest) << 16;
        assert_eq!(first, value.to_bits(), "{value}");
        assert_eq!(rest.to_bits(), 0, "so that a sum with it is what it is");
    }
}

#[test]
fn the_processor_takes_apart_alike() {
    let Some(squares) = primitives().squares else {
        return;
    };
    for columns in [1_usize, 2, 15, 16, 17, 31, 32, 33, 100, 192] {
        let blocks = columns.div_ceil(COLUMNS);
        let mut values = fine(PANEL * columns, 5);
        for (place, odd) in values
            .iter_mut()
            .zip([f32::MAX, f32::INFINITY, -0.0, 1e-42])
        {
            *place = odd;
        }
        for (count, parts) in [(16, 3), (16, 1), (7, 2), (1, 3)] {
            let rows = &values[..count * columns];
            let (mut got, mut expected) = (
                vec![[9.0; SQUARE]; blocks * parts],
                vec![[8.0; SQUARE]; blocks * parts],
            );
            (squares.take_apart)(rows, columns, &mut got);
            (PLAIN.take_apart)(rows, columns, &mut expected);
            assert_eq!(bits(&got), bits(&expected), "{count} rows of {columns}");
        }
    }
}

fn bits(squares: &[Square]) -> Vec<u32> {
    squares
        .as_flattened()
        .iter()
        .map(|value| value.to_bits())
        .collect()
}

/// Scores of all sizes, some seen by nobody, and one that is no number.
#[test]
fn the_processor_weighs_alike() {
    let Some(squares) = primitives().squares else {
        return;
    };
    for tile in [0, 1] {
        let mut scores = [[[[[0.0; PANEL]; PANEL]; 2]; 2]; 2];
        let places = scores.as_flattened_mut().as_flattened_mut();
        let places = places.as_flattened_mut().as_flattened_mut();
        for (place, value) in places.iter_mut().zip(floats(8 * SQUARE, 9)) {
            *place = 20.0 * value;
        }
        scores[0][tile][1][5][2] = f32::NAN;
        scores[1][tile][0][7][2] = f32::NEG_INFINITY;
        let run = |squares: &Squares| {
            let (mut softmax, mut out) = (half_way(), [[9.0; SQUARE]; 2]);
            let factors = (squares.weigh)(&scores, 0.3, (tile, &mut softmax), &mut out);
            (factors, softmax, out)
        };
        let (got, expected) = (run(squares), run(&PLAIN));
        assert_alike(&got.0, &expected.0, 1e-5);
        assert_alike(&got.1.largest, &expected.1.largest, 1e-5);
        let sums = [&got.1, &expected.1].map(|softmax| softmax.sums.as_flattened());
        assert_alike(sums[0], sums[1], 1e-5);
        let lost = got.1.sums[5].iter().all(|sum| !sum.is_nan());
        assert!(!lost, "what is no number is seen");
        for shift in [0, 16] {
            let halves = |pairs: &[Square; 2]| -> Vec<f32> {
                let pairs = pairs.as_flattened().iter();
                let half = |both: &f32| bf16::from_bits((both.to_bits() >> shift) as u16);
                pairs.map(|both| half(both).to_f32()).collect()
            };
            assert_alike(&halves(&got.2), &halves(&expected.2), 1.0 / 128.0);
        }
    }
}

/// Queries that have found something, or nothing yet, and see all keys that follow, some or none.
fn half_way() -> Softmax {
    Softmax {
        seen: std::array::from_fn(|row| match row {
            0 => 0,
            1 => u64::MAX,
            _ => u64::MAX.unbounded_shr(row as u32 * 4) & !(row as u64),
        }),
        largest: std::array::from_fn(|row| if row % 3 == 0 { f32::NEG_INFINITY } else { 0.5 }),
        sums: std::array::from_fn(|row| std::array::from_fn(|lane| (row + lane) as f32)),
    }
}

/// To a part of each value, or both no numbers, or the same infinity.
fn assert_alike(got: &[f32], expected: &[f32], part: f32) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        let is_near = (got - expected).abs() <= part * expected.abs() + 1e-30;
        let is_same = got.total_cmp(expected).is_eq() || got.is_nan() && expected.is_nan();
        assert!(is_near || is_same, "{got} {expected}");
    }
}

/// As near as an f32 allows, at shapes that fill no square, no tile and no pair of panels.
#[test]
fn products_by_squares_are_those_of_f32() {
    for (rows, columns) in [(53, 192), (16, 64), (33, 128), (1, 64)] {
        let nibbles = Nibbles {
            rows,
            columns,
            block: 64,
            book: Book {
                values: code_book(FourBitType::Nf4),
                rounding: DType::BF16,
            },
            packed: noise(rows * columns / 2, 1),
            absmax: Absmax::Plain(floats(rows * columns / 64, 2)),
        };
        let matrix = |columns: usize| {
            let bytes = packed(Format::BF16, rows * columns, 3);
            Matrix::new(Format::BF16, rows, columns, bytes).unwrap()
        };
        let narrow = columns - 18;
        let matrices: [(&dyn Rows, usize); 4] = [
            (&nibbles, columns),
            (&matrix(columns), columns),
            (&matrix(narrow), narrow),
            (&matrix(columns).taking(Activations::BF16), columns),
        ];
        for (number, (matrix, columns)) in matrices.into_iter().enumerate() {
            for tokens in [1, 7, 16, 17, 33, 70] {
                let inputs = fine(tokens * columns, 7);
                for squares in squares() {
                    let values = Inputs::F32(&inputs);
                    let got: Vec<f32> = squares.products(matrix, values, Finish::default());
                    assert_near(matrix, &inputs, &got, &(number, rows, columns, tokens));
                }
            }
        }
    }
}

/// Gates, sums, types and brain floats to the bit as in passes of their own, where columns fill no square.
#[test]
fn what_follows_on_squares_is_the_same_apart() {
    for (rows, columns) in [(32, 33), (64, 46), (96, 64)] {
        let bytes = packed(Format::BF16, rows * columns, 3);
        let matrix = Matrix::new(Format::BF16, rows, columns, bytes).unwrap();
        for tokens in [7, 33, 70] {
            let mut values = fine(tokens * columns, 7);
            round(&mut values, DType::BF16);
            let narrow: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
            let before = floats(tokens * rows, 5);
            for squares in squares() {
                let made =
                    |inputs, finish| -> Vec<f32> { squares.products(&matrix, inputs, finish) };
                let plain = made(Inputs::F32(&values), Finish::default());
                let what = (rows, columns, tokens);
                assert_eq!(
                    made(Inputs::Brain(&narrow), Finish::default()),
                    plain,
                    "{what:?}"
                );
                let gate = Finish {
                    gate: Some(Activation::Relu),
                    ..Finish::default()
                };
                let gated = made(Inputs::Brain(&narrow), gate);
                let expected: Vec<f32> = plain
                    .chunks_exact(rows)
                    .flat_map(|row| {
                        let halves = row.split_at(rows / 2);
                        halves
                            .0
                            .iter()
                            .zip(halves.1)
                            .map(|(first, second)| first.max(0.0) * second)
                    })
                    .collect();
                assert_eq!(gated, expected, "{what:?}");
                let sum = Finish {
                    sum: Some(&before),
                    ..Finish::default()
                };
                let added = made(Inputs::F32(&values), sum);
                let expected: Vec<f32> = plain.iter().zip(&before).map(|(a, b)| a + b).collect();
                assert_eq!(added, expected, "{what:?}");
                let given: Vec<bf16> =
                    squares.products(&matrix, Inputs::F32(&values), Finish::default());
                let expected: Vec<bf16> =
                    plain.iter().map(|value| bf16::from_f32(*value)).collect();
                assert_eq!(given, expected, "{what:?}");
            }
        }
    }
}

/// Against sums in f64, by the size of what is added up.
fn assert_near(matrix: &dyn Rows, inputs: &[f32], got: &[f32], what: &dyn std::fmt::Debug) {
    let (rows, columns) = matrix.shape();
    let mut inputs = inputs.to_vec();
    round(&mut inputs, super::rows::input_dtype(matrix));
    let mut panel = vec![0.0; PANEL * columns];
    for first in (0..rows).step_by(PANEL) {
        matrix.panel(first, &mut panel);
        for (token, inputs) in inputs.chunks_exact(columns).enumerate() {
            for lane in 0..PANEL.min(rows - first) {
                let products = panel.chunks_exact(PANEL).zip(inputs);
                let products =
                    products.map(|(weights, input)| f64::from(weights[lane]) * f64::from(*input));
                let (sum, size) = products.fold((0.0, 0.0), |(sum, size), product| {
                    (sum + product, size + product.abs())
                });
                let got = f64::from(got[token * rows + first + lane]);
                let bound = size * 8.0 * f64::from(f32::EPSILON);
                assert!(
                    (got - sum).abs() <= bound,
                    "{what:?}: {got} instead of {sum}, {bound}"
                );
            }
        }
    }
}

/// Through the layers' own way in, with a bias.
#[test]
fn tokens_of_any_number_meet_brain_floats() {
    let (rows, columns) = (53, 96);
    let weights = packed(Format::BF16, rows * columns, 11);
    let matrix = Matrix::new(Format::BF16, rows, columns, weights.clone()).unwrap();
    let mut plain = vec![0.0; rows * columns];
    Format::BF16.unpack(&weights, &mut plain);
    assert_eq!(matrix.bytes(), weights.len());
    for row in [0, 15, 16, 52] {
        let mut got = vec![0.0; columns];
        matrix.unpack_row(row, &mut got).unwrap();
        assert_eq!(got, plain[row * columns..][..columns]);
    }
    for tokens in [1, 2, 6, 7, 14, 16, 31, 40] {
        let inputs = floats(tokens * columns, 3);
        let x = Tensor::from_slice(&inputs, (tokens, columns), &Device::Cpu).unwrap();
        let got = matrix.multiply(&x).unwrap();
        let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        assert_near(&matrix, &inputs, &got, &tokens);
    }
}
