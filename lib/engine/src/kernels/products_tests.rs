//! The products of rows and of tiles that the fast sets have of their own, against the portable ones, at
//! shapes that fill no register.

use candle_core::{Device, Tensor};
use wire::model::{DType, FourBitType};

use super::{
    Book, FEW, Input, Nibbles, Rows, TilePair, brain, multiply,
    panels::PANEL,
    portable, primitives,
    tests::{floats, noise, packed, sets},
};
use crate::{
    bitsandbytes::{Absmax, code_book},
    weights::Format,
};

fn assert_near(got: &[f32], expected: &[f32], what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), expected.len(), "{what:?}");
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() <= 1e-5 * expected.abs() + 1e-4,
            "{what:?}: {got} instead of {expected}"
        );
    }
}

#[test]
fn rows_of_floats_are_multiplied_together() {
    for format in [Format::F32, Format::F16, Format::BF16] {
        for (rows, columns) in [(1, 16), (3, 1), (4, 17), (5, 100), (11, 31), (16, 576)] {
            let (bytes, input) = (packed(format, rows * columns, 13), floats(columns, 17));
            let mut expected = vec![0.0; rows];
            (portable::PRIMITIVES.float_dots)(format, &bytes, &input, &mut expected);
            for set in sets() {
                let mut got = vec![9.0; rows];
                (set.float_dots)(format, &bytes, &input, &mut got);
                assert_near(&got, &expected, &(format, rows, columns));
                // Whatever rows are beside it: several requests' tokens are cut otherwise.
                let length = bytes.len() / rows;
                for (row, got) in got.iter().enumerate() {
                    let mut alone = [0.0];
                    let bytes = &bytes[row * length..][..length];
                    (set.float_dots)(format, bytes, &input, &mut alone);
                    assert_eq!(alone[0].to_bits(), got.to_bits());
                }
            }
        }
    }
}

#[test]
fn a_few_vectors_are_multiplied_as_each_alone() {
    for (rows, columns) in [(1, 16), (3, 1), (4, 17), (5, 100), (11, 31), (16, 576)] {
        let weights = floats(rows * columns, 7);
        for count in 1..=FEW {
            let values = floats(count * columns, 9);
            let vectors: Vec<&[f32]> = values.chunks_exact(columns).collect();
            for set in sets() {
                let mut got = vec![[9.0; PANEL]; count];
                (set.dots_of_few)(&vectors, &weights, &mut got);
                for (vector, got) in vectors.iter().zip(&got) {
                    let mut alone = vec![0.0; rows];
                    (set.dots)(vector, &weights, &mut alone);
                    assert_eq!(got[..rows], alone[..], "{count} of {rows} x {columns}");
                    assert_eq!(got[rows..], [9.0; PANEL][rows..], "past the rows");
                }
            }
        }
    }
}

#[test]
fn rows_of_nibbles_are_multiplied_together() {
    for kind in [FourBitType::Nf4, FourBitType::Fp4] {
        for rounding in [DType::F32, DType::F16, DType::BF16] {
            for (rows, columns) in [(1, 64), (3, 128), (4, 192), (7, 576), (16, 1536)] {
                let book = Book {
                    values: code_book(kind),
                    rounding,
                };
                let codes = noise(rows * columns / 2, 3);
                let scales: Vec<f32> = floats(rows * columns / 64, 4)
                    .iter()
                    .map(|scale| scale.abs())
                    .collect();
                let values = floats(columns, 5);
                let input = Input::new(&values, true);
                let mut expected = vec![0.0; rows];
                let portable = portable::PRIMITIVES.nibbles_dots;
                portable(&book, &codes, &scales, &input, &mut expected);
                for set in sets() {
                    let mut got = vec![9.0; rows];
                    (set.nibbles_dots)(&book, &codes, &scales, &input, &mut got);
                    assert_near(&got, &expected, &(kind, rounding, rows, columns));
                }
            }
        }
    }
}

/// Scales of stretches that begin and end inside a block of the second quantisation.
#[test]
fn nested_scales_are_read_as_each_is() {
    let absmax = Absmax::Nested {
        codes: noise(1000, 3),
        absmax: vec![0.5, 1.5, 0.25, 3.0],
        map: floats(256, 7),
        offset: 0.125,
    };
    for (first, count) in [
        (0, 1000),
        (3, 9),
        (250, 300),
        (255, 1),
        (256, 256),
        (999, 0),
    ] {
        let mut got = vec![0.0; count];
        absmax.read(first, &mut got);
        let expected: Vec<f32> = (first..first + count).map(|at| absmax.get(at)).collect();
        assert_eq!(got, expected, "{first}, {count}");
    }
}

#[test]
fn panels_of_brain_floats_are_their_rows() {
    for columns in [2, 64, 66, 576] {
        let rows = packed(Format::BF16, PANEL * columns, 13);
        let mut panel = rows.clone();
        let start = brain::pack(&mut panel, columns);
        let panel = &panel[start..][..rows.len()];
        let mut plain = vec![0.0; PANEL * columns];
        Format::BF16.unpack(&rows, &mut plain);
        let mut turned = vec![0.0; PANEL * columns];
        for (lane, row) in plain.chunks_exact(columns).enumerate() {
            let mut got = vec![0.0; columns];
            brain::unpack_row(panel, lane, &mut got);
            assert_eq!(got, row, "{columns}");
            for (column, value) in row.iter().enumerate() {
                turned[column * PANEL + lane] = *value;
            }
        }
        let values = floats(FEW * columns, 5);
        let vectors: Vec<&[f32]> = values.chunks_exact(columns).collect();
        for set in sets().into_iter().chain([portable::PRIMITIVES]) {
            let mut got = vec![9.0; PANEL * columns];
            (set.brain_unpack)(panel, &mut got);
            assert_eq!(got, turned, "{columns}");
            for count in 1..=FEW {
                let mut got = vec![[9.0; PANEL]; count];
                (set.brain_dots)(panel, &vectors[..count], &mut got);
                for (vector, got) in vectors.iter().zip(&got) {
                    let mut alone = [[9.0; PANEL]];
                    (set.brain_dots)(panel, &[vector], &mut alone);
                    assert_eq!(
                        alone.as_flattened(),
                        got.as_slice(),
                        "{count} beside each other"
                    );
                    let mut expected = [0.0; PANEL];
                    (portable::PRIMITIVES.dots)(vector, &plain, &mut expected);
                    assert_near(got, &expected, &(count, columns));
                }
            }
        }
    }
}

#[test]
fn pairs_of_panels_are_multiplied() {
    for depth in [1, 7, 64, 65, 200] {
        let (first, second) = (floats(depth * PANEL, 9), floats(depth * PANEL, 10));
        for set in sets() {
            for width in 1..=set.tile_tokens {
                let inputs = floats(depth * width, 11);
                let products = |pair: TilePair| {
                    let mut out = vec![[0.5; PANEL]; 2 * width];
                    let (low, high) = out.split_at_mut(width);
                    pair([&first, &second], &inputs, [low, high]);
                    out.concat()
                };
                let expected = products(portable::PRIMITIVES.tile_pair);
                assert_near(&products(set.tile_pair), &expected, &(depth, width));
            }
        }
    }
}

#[test]
fn rows_are_turned_round() {
    for (rows, columns, stride) in [
        (16, 64, 16),
        (1, 5, 1),
        (14, 33, 14),
        (9, 16, 16),
        (3, 100, 7),
    ] {
        let values = floats(rows * columns, 3);
        let mut expected = vec![7.0; columns * stride];
        for (at, value) in values.iter().enumerate() {
            expected[at % columns * stride + at / columns] = *value;
        }
        for set in sets().into_iter().chain([portable::PRIMITIVES]) {
            let mut got = vec![7.0; columns * stride];
            (set.turn)(&values, columns, stride, &mut got);
            assert_eq!(got, expected, "({rows}, {columns}) by {stride}");
        }
    }
}

/// From one token to more than a tile, over rows that end inside a pair of panels.
#[test]
fn tokens_of_any_number_meet_codes() {
    let (rows, columns) = (53, 192);
    let matrix = Nibbles {
        rows,
        columns,
        block: 64,
        book: Book {
            values: code_book(FourBitType::Nf4),
            rounding: DType::F32,
        },
        packed: noise(rows * columns / 2, 1),
        absmax: Absmax::Plain(floats(rows * columns / 64, 2)),
    };
    let mut weights = vec![0.0; rows * columns];
    for (row, weights) in weights.chunks_exact_mut(columns).enumerate() {
        matrix.unpack(row, weights);
    }
    for tokens in [1, 2, 6, 7, 14, 15, 16, 29, 43] {
        let input = floats(tokens * columns, 3);
        let x = Tensor::from_slice(&input, (tokens, columns), &Device::Cpu).unwrap();
        let got = multiply(&matrix, &x).unwrap();
        let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        let mut expected = vec![0.0; tokens * rows];
        for (token, out) in expected.chunks_exact_mut(rows).enumerate() {
            let input = &input[token * columns..][..columns];
            (portable::PRIMITIVES.dots)(input, &weights, out);
        }
        assert_near(&got, &expected, &tokens);
    }
    assert_eq!(primitives().spreads, matrix.spreads());
}
