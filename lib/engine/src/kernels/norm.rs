//! Layer norms (Ba et al., 2016), of a tensor or of the sum of two, such sums alone, and norms by the root
//! mean square (Zhang and Sennrich, 2019): each in one pass
//! that the helpers share, where candle's own operations would wake pools of theirs.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, bail};

use wire::model::DType;

use super::{
    given::{Given, given},
    unsafe_blocks::new_pieces,
};

/// Values of one job.
const VALUES_PER_JOB: usize = 1 << 13;
/// Sums that are kept beside each other, so that they fill registers.
const LANES: usize = 16;

/// `(x - mean(x)) / √(var(x) + ε) · w + b` over the last dimension; of two tensors, of their sum.
pub struct Normalize<'a> {
    /// `w`.
    pub weight: &'a [f32],
    /// `b`.
    pub bias: &'a [f32],
    /// `ε`.
    pub epsilon: f32,
    /// What it gives.
    pub gives: DType,
}

/// `x / √(mean(x²) + ε) · w` over the last dimension.
#[derive(Clone, Copy)]
pub struct RootMeanSquare<'a> {
    /// `w`.
    pub weight: &'a [f32],
    /// `ε`.
    pub epsilon: f32,
    /// What it gives.
    pub gives: DType,
}

/// `x + y` of two tensors of one shape.
pub struct Sum;

impl CustomOp1 for Normalize<'_> {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.check(layout)?;
        let x = values(x, layout)?;
        let pieces = (x.len(), self.weight.len(), self.gives);
        let out = made(pieces, &|start, out| {
            out.copy_from_slice(&x[start..][..out.len()]);
            self.rows(out);
        });
        Ok((out, layout.shape().clone()))
    }
}

impl CustomOp2 for Normalize<'_> {
    fn name(&self) -> &'static str {
        "normalize-sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.check(x_layout)?;
        let (x, y) = both((x, x_layout), (y, y_layout))?;
        let pieces = (x.len(), self.weight.len(), self.gives);
        let out = made(pieces, &|start, out| {
            add(&x[start..], &y[start..], out);
            self.rows(out);
        });
        Ok((out, x_layout.shape().clone()))
    }
}

impl CustomOp1 for RootMeanSquare<'_> {
    fn name(&self) -> &'static str {
        "root-mean-square"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = self.weight.len();
        if width == 0 || layout.dims().last() != Some(&width) {
            bail!("a norm of {width} values got {:?}", layout.shape());
        }
        let x = values(x, layout)?;
        let out = made((x.len(), width, self.gives), &|start, out| {
            out.copy_from_slice(&x[start..][..out.len()]);
            out.chunks_exact_mut(width).for_each(|row| self.row(row));
        });
        Ok((out, layout.shape().clone()))
    }
}

impl RootMeanSquare<'_> {
    /// Normalises a row.
    pub(super) fn row(&self, row: &mut [f32]) {
        let mean = sum(row, |value| value * value) / row.len() as f32;
        let root = (mean + self.epsilon).sqrt();
        for (value, weight) in row.iter_mut().zip(self.weight) {
            *value = *value / root * weight;
        }
    }
}

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, y) = both((x, x_layout), (y, y_layout))?;
        let out = made((x.len(), 1, DType::F32), &|start, out| {
            add(&x[start..], &y[start..], out);
        });
        Ok((out, x_layout.shape().clone()))
    }
}

impl Normalize<'_> {
    fn check(&self, layout: &Layout) -> Result<()> {
        let width = self.weight.len();
        if width == 0 || self.bias.len() != width || layout.dims().last() != Some(&width) {
            bail!("a norm of {width} values got {:?}", layout.shape());
        }
        Ok(())
    }

    fn rows(&self, values: &mut [f32]) {
        let width = self.weight.len();
        for row in values.chunks_exact_mut(width) {
            let mean = sum(row, |value| value) / width as f32;
            let variance = sum(row, |value| (value - mean) * (value - mean)) / width as f32;
            let factor = 1.0 / (variance + self.epsilon).sqrt();
            let parameters = self.weight.iter().zip(self.bias);
            for (value, (weight, bias)) in row.iter_mut().zip(parameters) {
                *value = (*value - mean) * factor * weight + bias;
            }
        }
    }
}

fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += of(*value);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| of(*value)).sum::<f32>()
}

fn add(x: &[f32], y: &[f32], out: &mut [f32]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = x + y;
    }
}

/// An output of so many values, in rows of so many, of a type; made by jobs of whole rows that get their first
/// value's place.
fn made(
    (count, row, gives): (usize, usize, DType),
    work: &(dyn Fn(usize, &mut [f32]) + Sync),
) -> CpuStorage {
    given!(gives, T => pieces::<T>((count, row), work))
}

fn pieces<T: Given>(
    (count, row): (usize, usize),
    work: &(dyn Fn(usize, &mut [f32]) + Sync),
) -> Vec<T> {
    let length = VALUES_PER_JOB.next_multiple_of(row);
    new_pieces(count, length, &|job, out| {
        T::make(out, |values| work(job * length, values));
    })
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a norm or sum takes contiguous tensors");
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The values of two tensors, which have to be of one shape.
fn both<'a>(
    (x, x_layout): (&'a CpuStorage, &Layout),
    (y, y_layout): (&'a CpuStorage, &Layout),
) -> Result<(&'a [f32], &'a [f32])> {
    if x_layout.shape() != y_layout.shape() {
        bail!("a sum of {:?} and {:?}", x_layout.shape(), y_layout.shape());
    }
    Ok((values(x, x_layout)?, values(y, y_layout)?))
}
