//! Attention against its definition in f64: few tokens and many, grouped heads, windows, caps, padding,
//! types of the cache.

use std::sync::Arc;

use candle_core::{DType, Device, Storage, Tensor};

use super::{
    CausalAttention, attention::Call, attention_squares, exactly, primitives,
    squares_tests::squares,
};
use crate::bitsandbytes::round;

/// One call.
struct Case {
    /// `(batch, heads, kv_heads, tokens, keys, head_dim)`.
    sizes: [usize; 6],
    window: Option<usize>,
    cap: Option<f32>,
    padding: Vec<usize>,
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    let one = |i: usize| ((i * 2_654_435_761 + seed * 97) % 2003) as f32 / 1001.5 - 1.0;
    (0..count).map(one).collect()
}

fn tensor(values: &[f32], shape: (usize, usize, usize, usize)) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

impl Case {
    fn attention(&self, rounds_to_brain: bool) -> CausalAttention {
        CausalAttention {
            scale: 3.0 / (self.sizes[5] as f32).sqrt(),
            cap: self.cap,
            window: self.window,
            padding: Arc::from(self.padding.clone()),
            rounds_to_brain,
            gives: wire::model::DType::F32,
            card_dtype: candle_core::DType::F32,
        }
    }

    /// Where a query's output lies: its row, its token and its head.
    fn place(&self, index: usize) -> (usize, usize, usize) {
        let [_, heads, _, tokens, ..] = self.sizes;
        (
            index / heads / tokens,
            index / heads % tokens,
            index % heads,
        )
    }

    fn check(&self, dtype: DType) {
        let [batch, heads, kv_heads, tokens, keys, dim] = self.sizes;
        let q = values(batch * heads * tokens * dim, 1);
        // A longer buffer, as a cache has it, of which the first keys count.
        let buffer = (batch, kv_heads, keys + 5, dim);
        let stored = |seed| {
            let all = values(batch * kv_heads * (keys + 5) * dim, seed);
            let all = tensor(&all, buffer).to_dtype(dtype).unwrap();
            all.narrow(2, 0, keys).unwrap()
        };
        let (k, v) = (stored(2), stored(3));
        let attention = self.attention(false);
        let got = tensor(&q, (batch, heads, tokens, dim))
            .apply_op3_no_bwd(&k, &v, &attention)
            .unwrap();
        let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        let read = |tensor: &Tensor| -> Vec<f32> {
            let floats = tensor.to_dtype(DType::F32).unwrap();
            floats.flatten_all().unwrap().to_vec1().unwrap()
        };
        let (k, v) = (read(&k), read(&v));
        for (index, got) in got.chunks_exact(dim).enumerate() {
            let place = self.place(index);
            let expected = self.expected(&attention, (&q, &k, &v), place);
            for (got, expected) in got.iter().zip(expected) {
                let error = (f64::from(*got) - expected).abs();
                assert!(error < 2e-6, "{:?} {dtype:?}: {got} {expected}", self.sizes);
            }
        }
    }

    fn expected(
        &self,
        attention: &CausalAttention,
        (q, k, v): (&[f32], &[f32], &[f32]),
        (batch, token, head): (usize, usize, usize),
    ) -> Vec<f64> {
        let [_, heads, kv_heads, tokens, keys, dim] = self.sizes;
        let query = &q[((batch * heads + head) * tokens + token) * dim..][..dim];
        let kv_head = batch * kv_heads + head / (heads / kv_heads);
        let position = keys - tokens + token;
        let seen = (0..=position).filter(|key| {
            *key >= self.padding[batch] && self.window.is_none_or(|window| key + window > position)
        });
        let scores = seen.map(|key| {
            let row = &k[(kv_head * keys + key) * dim..][..dim];
            let pairs = query.iter().zip(row);
            let score: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let score = score * f64::from(attention.scale);
            let bent = |cap: f32| (score / f64::from(cap)).tanh() * f64::from(cap);
            (key, self.cap.map_or(score, bent).exp())
        });
        let scores: Vec<(usize, f64)> = scores.collect();
        let sum: f64 = scores.iter().map(|(_, weight)| weight).sum();
        let mut out = vec![0.0; dim];
        for (key, weight) in scores {
            for (out, value) in out.iter_mut().zip(&v[(kv_head * keys + key) * dim..]) {
                *out += weight / sum * f64::from(*value);
            }
        }
        out
    }
}

impl Case {
    /// By squares, where queries, keys and values are brain floats and so are the weights of the values: each at
    /// most half a unit in its last place off.
    fn check_squares(&self, dtype: DType) {
        let [batch, heads, kv_heads, tokens, keys, dim] = self.sizes;
        let brain = |count: usize, seed: usize| {
            let mut values = values(count, seed);
            round(&mut values, wire::model::DType::BF16);
            values
        };
        let q = brain(batch * heads * tokens * dim, 1);
        let k = brain(batch * kv_heads * keys * dim, 2);
        let v = brain(batch * kv_heads * keys * dim, 3);
        let attention = self.attention(true);
        let query = tensor(&q, (batch, heads, tokens, dim));
        let stored = |values: &[f32]| {
            let values = tensor(values, (batch, kv_heads, keys, dim));
            values.to_dtype(dtype).unwrap()
        };
        let (stored_k, stored_v) = (stored(&k), stored(&v));
        let parts = [&query, &stored_k, &stored_v].map(Tensor::storage_and_layout);
        let [q_part, k_part, v_part] = parts.each_ref().map(|(storage, layout)| match &**storage {
            Storage::Cpu(storage) => (storage, *layout),
            _ => unreachable!("all is on the CPU"),
        });
        let call = Call::of(&attention, q_part, k_part, v_part).unwrap();
        assert!(attention_squares::serves(&attention, &call));
        let outputs = squares().into_iter();
        let outputs = outputs
            .map(|squares| -> Vec<f32> { attention_squares::attend(&squares, &attention, &call) });
        let sizes: Vec<f32> = v.iter().map(|value| value.abs()).collect();
        for got in outputs {
            for (index, got) in got.chunks_exact(dim).enumerate() {
                let place = self.place(index);
                let expected = self.expected(&attention, (&q, &k, &v), place);
                let sizes = self.expected(&attention, (&q, &k, &sizes), place);
                for ((got, expected), size) in got.iter().zip(expected).zip(sizes) {
                    let error = (f64::from(*got) - expected).abs();
                    assert!(
                        error <= size / 256.0 + 1e-6,
                        "{:?}: {got} {expected}",
                        self.sizes
                    );
                }
            }
        }
    }
}

#[test]
fn attention_is_what_it_is_defined_as() {
    let cases = [
        ([1, 9, 3, 1, 700, 64], None, None),
        ([1, 4, 4, 1, 3, 20], None, None),
        ([1, 9, 3, 40, 40, 64], None, None),
        ([1, 9, 3, 61, 300, 64], None, None),
        ([1, 8, 1, 17, 130, 80], Some(9), None),
        ([1, 8, 2, 5, 200, 96], Some(64), Some(2.0)),
        ([1, 2, 2, 150, 150, 33], Some(70), Some(5.0)),
    ];
    for (sizes, window, cap) in cases {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let case = Case {
                sizes,
                window,
                cap,
                padding: vec![0],
            };
            case.check(dtype);
        }
    }
}

/// A query in the padding sees nothing, and gives zeros.
#[test]
fn padding_is_not_seen() {
    for tokens in [1, 30] {
        let case = Case {
            sizes: [3, 4, 2, tokens, 30, 16],
            window: None,
            cap: None,
            padding: vec![0, 7, 12],
        };
        case.check(DType::F32);
    }
}

#[test]
fn attention_by_squares_rounds_no_more_than_it_says() {
    let cases = [
        ([1, 9, 3, 40, 40, 64], None, vec![0]),
        ([1, 9, 3, 61, 300, 64], None, vec![0]),
        ([1, 8, 1, 17, 130, 96], Some(9), vec![0]),
        ([1, 2, 2, 150, 150, 32], Some(70), vec![0]),
        ([1, 4, 2, 300, 333, 128], None, vec![0]),
        ([3, 4, 2, 30, 30, 32], None, vec![0, 7, 29]),
    ];
    for (sizes, window, padding) in cases {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let case = Case {
                sizes,
                window,
                cap: None,
                padding: padding.clone(),
            };
            case.check_squares(dtype);
        }
    }
}

/// Only where it is asked for, the processor has squares, and the heads can be laid out so.
#[test]
fn attention_rounds_where_it_may() {
    let run = |(dim, cap, rounds_to_brain): (usize, Option<f32>, bool)| -> Vec<f32> {
        let shape = (1, 4, 40, dim);
        let [q, k, v] = [1, 2, 3].map(|seed| tensor(&values(160 * dim, seed), shape));
        let attention = CausalAttention {
            scale: 0.2,
            cap,
            window: None,
            padding: Arc::from([0]),
            rounds_to_brain,
            gives: wire::model::DType::F32,
            card_dtype: candle_core::DType::F32,
        };
        let out = q.apply_op3_no_bwd(&k, &v, &attention).unwrap();
        out.flatten_all().unwrap().to_vec1().unwrap()
    };
    let has_squares = primitives().squares.is_some();
    assert_eq!(run((64, None, true)) != run((64, None, false)), has_squares);
    assert_eq!(exactly(|| run((64, None, true))), run((64, None, false)));
    for (dim, cap) in [(48, None), (64, Some(30.0))] {
        assert_eq!(
            run((dim, cap, true)),
            run((dim, cap, false)),
            "{dim} {cap:?}"
        );
    }
}

#[test]
fn attention_is_given_in_the_type_that_is_asked_for() {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(&values(160 * 64, seed), (1, 4, 40, 64)));
    for tokens in [1, 40] {
        let q = q
            .narrow(2, 40 - tokens, tokens)
            .unwrap()
            .contiguous()
            .unwrap();
        for rounds_to_brain in [false, true] {
            let attend = |gives| {
                let attention = CausalAttention {
                    scale: 0.2,
                    cap: None,
                    window: None,
                    padding: Arc::from([0]),
                    rounds_to_brain,
                    gives,
                    card_dtype: candle_core::DType::F32,
                };
                q.apply_op3_no_bwd(&k, &v, &attention).unwrap()
            };
            let bits = |x: Tensor| -> Vec<u32> {
                let x: Vec<f32> = x
                    .to_dtype(DType::F32)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1()
                    .unwrap();
                x.iter().map(|value| value.to_bits()).collect()
            };
            let narrow = attend(wire::model::DType::BF16);
            assert_eq!(
                (narrow.dims(), narrow.dtype()),
                (&[1, tokens, 256][..], DType::BF16)
            );
            let wide = attend(wire::model::DType::F32)
                .to_dtype(DType::BF16)
                .unwrap();
            assert_eq!(bits(narrow), bits(wide));
        }
    }
}
