//! What follows on a product in the same pass, against the same in passes of their own: to the bit.

use candle_core::{Device, Tensor};
use half::bf16;
use wire::model::{Activations, DType, FourBitType};

use super::{
    Activation, Book, Finish, Gate, Heads, Matrix, Nibbles, PutHeads, RootMeanSquare, Rows,
    Stacked, Sum, Turn, multiply, multiply_adding, multiply_then,
    tests::{floats, noise, packed, sets},
};
use crate::{
    bitsandbytes::{Absmax, code_book},
    layers::Dense,
    weights::Format,
};

/// From none to more than a few, and more than two tiles.
const TOKENS: [usize; 6] = [0, 1, 5, 7, 33, 70];

/// Two matrices of each kind, `(rows, 128)`.
fn matrices(rows: usize) -> Vec<[Box<dyn Rows>; 2]> {
    let columns = 128;
    let nibbles = |seed: u64, rounding| Nibbles {
        rows,
        columns,
        block: 64,
        book: Book {
            values: code_book(FourBitType::Nf4),
            rounding,
        },
        packed: noise(rows * columns / 2, seed),
        absmax: Absmax::Plain(floats(rows * columns / 64, seed)),
    };
    let matrix = |format, seed, activations| {
        let bytes = packed(format, rows * columns / format.block_values(), seed);
        let matrix = Matrix::new(format, rows, columns, bytes).unwrap();
        Box::new(matrix.taking(activations)) as Box<dyn Rows>
    };
    let dense = |seed| {
        let values = floats(rows * columns, seed);
        Dense::new(rows, columns, values).unwrap().in_panels()
    };
    let of = |format, activations| [3, 4].map(|seed| matrix(format, seed, activations));
    vec![
        of(Format::F32, Activations::F32),
        of(Format::Q4_1, Activations::F32),
        of(Format::Q4_1, Activations::Int8),
        of(Format::BF16, Activations::F32),
        of(Format::BF16, Activations::BF16),
        [1, 2].map(|seed| Box::new(nibbles(seed, DType::F32)) as _),
        [1, 2].map(|seed| Box::new(nibbles(seed, DType::BF16)) as _),
        [1, 2].map(|seed| Box::new(nibbles(seed, DType::F16)) as _),
        [5, 6].map(|seed| Box::new(dense(seed)) as _),
    ]
}

fn input(tokens: usize, width: usize) -> Tensor {
    let values = floats(tokens * width, 11 + tokens as u64);
    Tensor::from_vec(values, (1, tokens, width), &Device::Cpu).unwrap()
}

fn bits(x: &Tensor) -> Vec<u32> {
    let x = x.to_dtype(candle_core::DType::F32).unwrap();
    let values: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
    values.iter().map(|value| value.to_bits()).collect()
}

/// As they are, and as brain floats.
fn assert_given(made: impl Fn(DType) -> Tensor, expected: &Tensor, what: &dyn std::fmt::Debug) {
    let wide = made(DType::F32);
    assert_eq!(wide.dims(), expected.dims(), "{what:?}");
    assert_eq!(bits(&wide), bits(expected), "{what:?}");
    for (gives, dtype) in [
        (DType::BF16, candle_core::DType::BF16),
        (DType::F16, candle_core::DType::F16),
    ] {
        let narrow = made(gives);
        assert_eq!(narrow.dtype(), dtype);
        assert_eq!(
            bits(&narrow),
            bits(&expected.to_dtype(dtype).unwrap()),
            "{what:?}"
        );
    }
}

#[test]
fn gates_follow_on_products() {
    for rows in [16, 48, 80] {
        for (kind, [gate, up]) in matrices(rows).iter().enumerate() {
            let both = Stacked::of(vec![&**gate, &**up]).unwrap();
            for tokens in TOKENS {
                let x = input(tokens, 128);
                for activation in [Activation::Silu, Activation::GeluTanh] {
                    let apart = multiply(&both, &x).unwrap();
                    let apart = apart.apply_op1_no_bwd(&Gate(activation)).unwrap();
                    let made = |gives| {
                        let finish = Finish {
                            gate: Some(activation),
                            gives,
                            ..Finish::default()
                        };
                        multiply_then(&both, &x, finish).unwrap()
                    };
                    assert_given(made, &apart, &(kind, rows, tokens, activation));
                }
            }
        }
    }
}

#[test]
fn gates_of_halves_of_panels_are_refused() {
    let [matrix, _] = &matrices(40)[0];
    let finish = Finish {
        gate: Some(Activation::Silu),
        ..Finish::default()
    };
    assert!(multiply_then(&**matrix, &input(3, 128), finish).is_err());
}

#[test]
fn sums_follow_on_products() {
    for rows in [7, 16, 41, 96] {
        for (kind, [matrix, _]) in matrices(rows).iter().enumerate() {
            let bias = floats(rows, 5);
            for tokens in TOKENS {
                let (x, before) = (input(tokens, 128), input(tokens, rows));
                let finish = Finish {
                    bias: Some(&bias),
                    ..Finish::default()
                };
                let apart = multiply_then(&**matrix, &x, finish).unwrap();
                let apart = before.apply_op2_no_bwd(&apart, &Sum).unwrap();
                let made = |gives| {
                    let finish = Finish { gives, ..finish };
                    multiply_adding(&**matrix, &x, finish, Some(&before)).unwrap()
                };
                assert_given(made, &apart, &(kind, rows, tokens));
            }
            let other = input(3, rows + 1);
            let refused =
                multiply_adding(&**matrix, &input(3, 128), Finish::default(), Some(&other));
            assert!(refused.is_err(), "a sum of two shapes");
        }
    }
}

/// What is rounded already is taken as it is.
#[test]
fn brain_floats_are_multiplied_as_what_they_are() {
    for (kind, [matrix, _]) in matrices(41).iter().enumerate() {
        for tokens in TOKENS {
            let narrow = input(tokens, 128)
                .to_dtype(candle_core::DType::BF16)
                .unwrap();
            let wide = narrow.to_dtype(candle_core::DType::F32).unwrap();
            let [narrow, wide] = [narrow, wide].map(|x| multiply(&**matrix, &x).unwrap());
            assert_eq!(bits(&narrow), bits(&wide), "{kind} {tokens}");
        }
    }
}

#[test]
fn norms_are_given_in_brain_floats() {
    let (weight, x) = (floats(576, 3), input(70, 576));
    let norm = |gives| RootMeanSquare {
        weight: &weight,
        epsilon: 1e-5,
        gives,
    };
    let apart = x.apply_op1_no_bwd(&norm(DType::F32)).unwrap();
    assert_given(
        |gives| x.apply_op1_no_bwd(&norm(gives)).unwrap(),
        &apart,
        &"",
    );
}

#[test]
fn brain_floats_are_the_nearest() {
    let mut values = floats(1000, 1);
    // Between two, past the largest, and what is none.
    values.extend(
        [
            0x3f80_8000,
            0x3f81_8000,
            0x7f7f_ffff,
            0x7fc0_0001,
            0x7f80_0001,
        ]
        .map(f32::from_bits),
    );
    values.extend([f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-40, f32::NAN]);
    for count in [0, 1, 15, 16, 17, values.len()] {
        let values = &values[values.len() - count..];
        let expected: Vec<u16> = values
            .iter()
            .map(|value| bf16::from_f32(*value).to_bits())
            .collect();
        for set in sets() {
            let mut got = vec![bf16::MAX; count];
            (set.narrow)(values, &mut got);
            let got: Vec<u16> = got.iter().map(|value| value.to_bits()).collect();
            assert_eq!(got, expected, "{count}");
        }
    }
}

/// Into the middle of buffers of each type, by rows of a batch; what is beside them stays.
#[test]
fn heads_are_put_where_they_belong() {
    let angles = floats(2 * 300 * 2, 7);
    let weight = floats(4, 9);
    for tokens in [1, 3, 300] {
        let values = floats(2 * tokens * 40, 3);
        let x = Tensor::from_vec(values, (2, tokens, 40), &Device::Cpu).unwrap();
        let heads = || Heads {
            first: 8,
            count: 3,
            head_dim: 4,
            norm: Some(RootMeanSquare {
                weight: &weight,
                epsilon: 1e-6,
                gives: DType::F32,
            }),
            turn: Some(Turn {
                cos: &angles[..2 * tokens * 2],
                sin: &angles[..2 * tokens * 2],
                pairs: 2,
                interleaved: false,
                shared: false,
            }),
        };
        let taken = x.apply_op1_no_bwd(&heads()).unwrap();
        for dtype in [
            candle_core::DType::F32,
            candle_core::DType::F16,
            candle_core::DType::BF16,
        ] {
            let positions = tokens + 7;
            let buffer = Tensor::full(2.5_f32, (2, 3, positions, 4), &Device::Cpu).unwrap();
            let buffer = buffer.to_dtype(dtype).unwrap();
            let expected = buffer.copy().unwrap();
            expected
                .slice_set(&taken.to_dtype(dtype).unwrap(), 2, 5)
                .unwrap();
            let put = |position| PutHeads {
                heads: heads(),
                position,
            };
            buffer.inplace_op2(&x, &put(5)).unwrap();
            assert_eq!(bits(&buffer), bits(&expected), "{tokens} {dtype:?}");
            assert!(buffer.inplace_op2(&x, &put(8)).is_err(), "past the end");
        }
    }
}
