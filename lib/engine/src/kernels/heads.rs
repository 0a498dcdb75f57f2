//! Queries, keys or values out of the product that holds all three: heads are taken apart, normalised and
//! turned by their positions in one pass that the helpers share. Apart, each of these reads and writes all
//! values once more, on one core.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};

use super::{norm::RootMeanSquare, unsafe_share::share_pieces};

/// Values of one job, at least.
const VALUES_PER_JOB: usize = 1 << 13;

/// From `(batch, tokens, width)` the values of some heads, as `(batch, heads, tokens, head_dim)`.
pub struct Heads<'a> {
    /// Where the first head begins in `width`.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// Values of each.
    pub head_dim: usize,
    /// What each is normalised by.
    pub norm: Option<RootMeanSquare<'a>>,
    /// How each is turned after that.
    pub turn: Option<Turn<'a>>,
}

/// Rotary embeddings of a step.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// `(tokens, pairs)`, or `(batch, tokens, pairs)` where rows differ.
    pub cos: &'a [f32],
    /// As `cos`.
    pub sin: &'a [f32],
    /// Pairs of values that turn; what is past them stays.
    pub pairs: usize,
    /// Neighbours turn together, not halves.
    pub interleaved: bool,
    /// All rows have the same angles.
    pub shared: bool,
}

impl CustomOp1 for Heads<'_> {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, tokens, width) = layout.shape().dims3()?;
        let (heads, head_dim) = (self.count, self.head_dim);
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("heads are taken from a contiguous tensor");
        };
        let rows = batch * tokens;
        let fits = self.first + heads * head_dim <= width
            && self
                .norm
                .as_ref()
                .is_none_or(|norm| norm.weight.len() == head_dim)
            && self
                .turn
                .is_none_or(|turn| turn.fits(head_dim, if turn.shared { tokens } else { rows }));
        if !fits {
            bail!(
                "{heads} heads of {head_dim} values are no part of {:?}",
                layout.shape()
            );
        }
        let x = &x.as_slice::<f32>()?[start..end];
        let mut out = vec![0.0; rows * heads * head_dim];
        let per_job = (VALUES_PER_JOB / head_dim).max(1);
        share_pieces(&mut out, per_job * head_dim, &|job, out| {
            for (at, out) in (job * per_job..).zip(out.chunks_exact_mut(head_dim)) {
                let (row, token) = (at / tokens / heads, at % tokens);
                let from = (row * tokens + token) * width;
                let head = self.first + at / tokens % heads * head_dim;
                out.copy_from_slice(&x[from + head..][..head_dim]);
                if let Some(norm) = &self.norm {
                    norm.row(out);
                }
                if let Some(turn) = self.turn {
                    let place = if turn.shared {
                        token
                    } else {
                        row * tokens + token
                    };
                    turn.apply(out, place);
                }
            }
        });
        let shape = Shape::from((batch, heads, tokens, head_dim));
        Ok((CpuStorage::F32(out), shape))
    }
}

impl Turn<'_> {
    /// Whether the angles are those of so many rows, and no head has fewer values.
    fn fits(&self, head_dim: usize, rows: usize) -> bool {
        let angles = [self.cos.len(), self.sin.len()];
        2 * self.pairs <= head_dim && angles == [rows * self.pairs; 2]
    }

    /// Turns a head of a token, by the angles at its place.
    fn apply(&self, head: &mut [f32], place: usize) {
        let at = place * self.pairs;
        let angles = self.cos[at..][..self.pairs].iter().zip(&self.sin[at..]);
        let turned = &mut head[..2 * self.pairs];
        if self.interleaved {
            for (pair, (cos, sin)) in turned.chunks_exact_mut(2).zip(angles) {
                [pair[0], pair[1]] = rotated([pair[0], pair[1]], *cos, *sin);
            }
        } else {
            let (first, second) = turned.split_at_mut(self.pairs);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                [*a, *b] = rotated([*a, *b], *cos, *sin);
            }
        }
    }
}

fn rotated([a, b]: [f32; 2], cos: f32, sin: f32) -> [f32; 2] {
    [a * cos - b * sin, a * sin + b * cos]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Heads, RootMeanSquare, Turn};

    /// Two rows of three tokens, eleven values each, of which two heads of four begin at the second.
    #[test]
    fn heads_are_taken_normalised_and_turned() {
        let value = |at: usize| (at as f32 * 0.7).sin();
        let values: Vec<f32> = (0..66).map(value).collect();
        let x = Tensor::from_vec(values, (2, 3, 11), &Device::Cpu).unwrap();
        let weight = [0.5, 1.0, 1.5, 2.0];
        let angles: Vec<f32> = (0..12).map(|at| at as f32).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        for (interleaved, shared, pairs) in [(false, false, 2), (true, true, 2), (false, false, 1)]
        {
            let rows = if shared { 3 } else { 6 };
            let turn = Turn {
                cos: &cos[..rows * pairs],
                sin: &sin[..rows * pairs],
                pairs,
                interleaved,
                shared,
            };
            let heads = Heads {
                first: 1,
                count: 2,
                head_dim: 4,
                norm: Some(RootMeanSquare {
                    weight: &weight,
                    epsilon: 1e-6,
                }),
                turn: Some(turn),
            };
            let got = x.apply_op1_no_bwd(&heads).unwrap();
            assert_eq!(got.dims(), [2, 2, 3, 4]);
            for (row, head, token) in (0..12).map(|i| (i / 6, i / 3 % 2, i % 3)) {
                let first = (row * 3 + token) * 11 + 1 + head * 4;
                let mut expected: Vec<f32> = (first..first + 4).map(value).collect();
                let mean = expected.iter().map(|x| x * x).sum::<f32>() / 4.0;
                for (x, weight) in expected.iter_mut().zip(weight) {
                    *x = *x / (mean + 1e-6).sqrt() * weight;
                }
                for pair in 0..pairs {
                    let (a, b) = if interleaved {
                        (2 * pair, 2 * pair + 1)
                    } else {
                        (pair, pair + pairs)
                    };
                    let place = if shared { token } else { row * 3 + token };
                    let (sin, cos) = angles[place * pairs + pair].sin_cos();
                    let (x, y) = (expected[a], expected[b]);
                    (expected[a], expected[b]) = (x * cos - y * sin, x * sin + y * cos);
                }
                let one = got.get(row).unwrap().get(head).unwrap().get(token).unwrap();
                for (got, expected) in one.to_vec1::<f32>().unwrap().iter().zip(expected) {
                    assert!((got - expected).abs() < 1e-5, "{row} {head} {token}");
                }
            }
        }
    }

    #[test]
    fn heads_that_are_not_there_are_refused() {
        let x = Tensor::zeros((1, 2, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        let heads = |first, pairs| Heads {
            first,
            count: 1,
            head_dim: 4,
            norm: None,
            turn: Some(Turn {
                cos: &[1.0; 4],
                sin: &[0.0; 4],
                pairs,
                interleaved: false,
                shared: true,
            }),
        };
        assert!(x.apply_op1_no_bwd(&heads(4, 2)).is_ok());
        assert!(x.apply_op1_no_bwd(&heads(5, 2)).is_err(), "past the end");
        assert!(
            x.apply_op1_no_bwd(&heads(4, 1)).is_err(),
            "angles of other tokens"
        );
    }
}
