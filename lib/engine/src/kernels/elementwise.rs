//! Sums and norms of activations, on the threads that products run on: candle's own are other ones,
//! and two sets of threads that wait for each other's cores cost more than the sums.

use candle_core::{CpuStorage, CustomOp3, InplaceOp2, Layout, Result, Shape, Tensor, bail};

use super::unsafe_share::share_pieces;

/// Values of one job.
const VALUES_PER_JOB: usize = 1 << 14;
/// Sums of a norm that run side by side.
const LANES: usize = 16;

/// `x + y`, written into `y`, which nobody else may hold. Either `x` has the shape of `y`, or it is what
/// is added to each row of it.
pub(crate) fn add(y: Tensor, x: &Tensor) -> Result<Tensor> {
    y.inplace_op2(&x.contiguous()?, &Add)?;
    Ok(y)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let offsets = (y_layout.contiguous_offsets(), x_layout.contiguous_offsets());
        let ((Some(y_at), Some(x_at)), CpuStorage::F32(y)) = (offsets, y) else {
            bail!("a sum takes contiguous f32");
        };
        let (y, x) = (
            &mut y[y_at.0..y_at.1],
            &x.as_slice::<f32>()?[x_at.0..x_at.1],
        );
        if x.is_empty() || !y.len().is_multiple_of(x.len()) {
            bail!("a sum of {:?} and {:?}", y_layout.shape(), x_layout.shape());
        }
        let is_row = x.len() < y.len();
        let length = if is_row {
            x.len() * (VALUES_PER_JOB / x.len()).max(1)
        } else {
            VALUES_PER_JOB
        };
        share_pieces(y, length, &|piece, y| {
            let x = if is_row { x } else { &x[piece * length..] };
            for y in y.chunks_mut(x.len()) {
                for (y, x) in y.iter_mut().zip(x) {
                    *y += x;
                }
            }
        });
        Ok(())
    }
}

/// `(x - mean(x)) / √(var(x) + ε) · w + b` over the last dimension: of f32 `(…, hidden)`, `(hidden)` and
/// `(hidden)`.
pub(crate) struct Normalize {
    /// ε.
    pub epsilon: f32,
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = x_layout.dims().last().copied().unwrap_or(0);
        let fits = [weight_layout, bias_layout]
            .iter()
            .all(|layout| layout.dims() == [width]);
        let offsets = [x_layout, weight_layout, bias_layout].map(Layout::contiguous_offsets);
        let (true, [Some(x_at), Some(weight_at), Some(bias_at)]) = (fits && width > 0, offsets)
        else {
            bail!(
                "a norm of {:?} by {:?}",
                x_layout.shape(),
                weight_layout.shape()
            );
        };
        let x = &x.as_slice::<f32>()?[x_at.0..x_at.1];
        let weight = &weight.as_slice::<f32>()?[weight_at.0..weight_at.1];
        let bias = &bias.as_slice::<f32>()?[bias_at.0..bias_at.1];
        let mut out = vec![0.0; x.len()];
        let rows = (VALUES_PER_JOB / width).max(1);
        share_pieces(&mut out, rows * width, &|piece, out| {
            let x = &x[piece * rows * width..][..out.len()];
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                let mean = sum(x, |value| value) / width as f32;
                let variance = sum(x, |value| (value - mean) * (value - mean)) / width as f32;
                let scale = 1.0 / (variance + self.epsilon).sqrt();
                let parameters = weight.iter().zip(bias);
                for ((out, x), (weight, bias)) in out.iter_mut().zip(x).zip(parameters) {
                    *out = (x - mean) * scale * weight + bias;
                }
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += of(*value);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&value| of(value)).sum::<f32>()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(rows: usize, width: usize, step: f32) -> Tensor {
        let values = (0..rows * width).map(|index| (index as f32 * step).sin() * 3.0);
        Tensor::from_vec(values.collect::<Vec<f32>>(), (1, rows, width), &Device::Cpu).unwrap()
    }

    fn furthest(left: &Tensor, right: &Tensor) -> f32 {
        let apart = (left - right)
            .unwrap()
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap();
        apart.max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn sums_are_candles_of_whole_tensors_and_of_rows() {
        for (rows, width) in [(1, 5), (3, 64), (700, 384), (5, 40_000)] {
            let (x, y) = (tensor(rows, width, 0.3), tensor(rows, width, 0.7));
            let row = tensor(1, width, 1.1).flatten_all().unwrap();
            let (whole, by_row) = ((&x + &y).unwrap(), y.broadcast_add(&row).unwrap());
            assert!(furthest(&add(y.copy().unwrap(), &x).unwrap(), &whole) == 0.0);
            assert!(furthest(&add(y.copy().unwrap(), &row).unwrap(), &by_row) == 0.0);
        }
        assert!(add(tensor(1, 4, 0.1), &tensor(1, 3, 0.1)).is_err());
    }

    #[test]
    fn norms_are_candles() {
        for (rows, width) in [(1, 3), (7, 33), (700, 384)] {
            let x = tensor(rows, width, 0.9);
            let weight = tensor(1, width, 0.2).flatten_all().unwrap();
            let bias = tensor(1, width, 0.4).flatten_all().unwrap();
            let expected = candle_nn::ops::layer_norm(&x, &weight, &bias, 1e-5).unwrap();
            let norm = Normalize { epsilon: 1e-5 };
            let got = x.apply_op3_no_bwd(&weight, &bias, &norm).unwrap();
            assert!(furthest(&got, &expected) < 2e-5, "{rows} {width}");
        }
    }
}
