//! Queries, keys or values out of the product that holds all three: heads are taken apart, normalised and
//! turned by their positions in one pass that the helpers share. Apart, each of these reads and writes all
//! values once more, on one core.

use std::slice;

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Result, Shape, bail};
use half::{bf16, f16};

use super::{
    given::Given,
    norm::RootMeanSquare,
    unsafe_blocks::{Blocks, new_pieces, share_blocks},
};

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

/// The same into a buffer `(batch, heads, positions, head_dim)` of f32, f16 or bf16, the first token at a position.
pub struct PutHeads<'a> {
    /// Which.
    pub heads: Heads<'a>,
    /// The first token's position.
    pub position: usize,
}

/// What heads are taken from.
struct Beside<'a> {
    /// `(batch, tokens, width)`.
    values: &'a [f32],
    batch: usize,
    tokens: usize,
    width: usize,
}

impl CustomOp1 for Heads<'_> {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = self.beside(x, layout)?;
        let (heads, dim) = (self.count, self.head_dim);
        let per_job = (VALUES_PER_JOB / dim).max(1);
        let whole = x.batch * heads * x.tokens * dim;
        let out = new_pieces(whole, per_job * dim, &|job, out: &mut [f32]| {
            for (at, out) in (job * per_job..).zip(out.chunks_exact_mut(dim)) {
                self.take(&x, (at / x.tokens, at % x.tokens), out);
            }
        });
        let shape = Shape::from((x.batch, heads, x.tokens, dim));
        Ok((CpuStorage::F32(out), shape))
    }
}

impl InplaceOp2 for PutHeads<'_> {
    fn name(&self) -> &'static str {
        "put-heads"
    }

    fn cpu_fwd(
        &self,
        buffer: &mut CpuStorage,
        buffer_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let x = self.heads.beside(x, layout)?;
        let (batch, heads, positions, dim) = buffer_layout.shape().dims4()?;
        let fits = (batch, heads, dim) == (x.batch, self.heads.count, self.heads.head_dim)
            && self.position + x.tokens <= positions
            && buffer_layout.contiguous_offsets() == Some((0, batch * heads * positions * dim));
        if !fits {
            bail!(
                "{} tokens of {:?} from position {} on are not in a buffer {:?}",
                x.tokens,
                (x.batch, self.heads.count, self.heads.head_dim),
                self.position,
                buffer_layout.shape()
            );
        }
        match buffer {
            CpuStorage::F16(_) => self.put::<f16>(buffer, positions, &x),
            CpuStorage::BF16(_) => self.put::<bf16>(buffer, positions, &x),
            _ => self.put::<f32>(buffer, positions, &x),
        }
    }
}

impl PutHeads<'_> {
    fn put<T: Given>(&self, buffer: &mut CpuStorage, positions: usize, x: &Beside) -> Result<()> {
        let dim = self.heads.head_dim;
        let all = 0..x.batch * self.heads.count;
        let per_job = (VALUES_PER_JOB / dim / all.len().max(1)).max(1);
        let blocks = Blocks {
            row_length: positions * dim,
            rows: slice::from_ref(&all),
            columns: self.position * dim..(self.position + x.tokens) * dim,
            width: per_job * dim,
        };
        share_blocks(T::of(buffer)?, &blocks, &|(_, job), stripe| {
            for head in all.clone() {
                let row = stripe.row(head);
                T::make(row, |values| {
                    let heads = values.chunks_exact_mut(dim);
                    for (token, out) in (job * per_job..).zip(heads) {
                        self.heads.take(x, (head, token), out);
                    }
                });
            }
        });
        Ok(())
    }
}

impl Heads<'_> {
    /// Fails where these heads are not in what they are to be taken from.
    fn beside<'x>(&self, x: &'x CpuStorage, layout: &Layout) -> Result<Beside<'x>> {
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
        Ok(Beside {
            values: &x.as_slice::<f32>()?[start..end],
            batch,
            tokens,
            width,
        })
    }

    /// Takes one head, of those of all rows, of a token.
    fn take(&self, x: &Beside, (head, token): (usize, usize), out: &mut [f32]) {
        let row = head / self.count * x.tokens + token;
        let from = row * x.width + self.first + head % self.count * self.head_dim;
        out.copy_from_slice(&x.values[from..][..self.head_dim]);
        if let Some(norm) = &self.norm {
            norm.row(out);
        }
        if let Some(turn) = self.turn {
            turn.apply(out, if turn.shared { token } else { row });
        }
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
                    gives: wire::model::DType::F32,
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
