//! The gate of a gated feed-forward layer in one pass over both halves.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, bail};
use rayon::prelude::*;

/// Values of one job.
const VALUES_PER_JOB: usize = 1 << 13;

/// `silu(gate) * up`, elementwise, for two tensors of one shape.
pub struct SiluMul;

impl CustomOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu-mul"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let offsets = (
            gate_layout.contiguous_offsets(),
            up_layout.contiguous_offsets(),
        );
        let (Some(gate_at), Some(up_at)) = offsets else {
            bail!("silu-mul takes contiguous tensors");
        };
        if gate_layout.shape() != up_layout.shape() {
            bail!(
                "silu-mul got {:?} and {:?}",
                gate_layout.shape(),
                up_layout.shape()
            );
        }
        let mut out = gate.as_slice::<f32>()?[gate_at.0..gate_at.1].to_vec();
        let up = &up.as_slice::<f32>()?[up_at.0..up_at.1];
        out.par_chunks_mut(VALUES_PER_JOB)
            .zip(up.par_chunks(VALUES_PER_JOB))
            .for_each(|(gate, up)| {
                for (gate, up) in gate.iter_mut().zip(up) {
                    *gate = *gate / (1.0 + (-*gate).exp()) * up;
                }
            });
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}
