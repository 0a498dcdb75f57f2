//! Activations of feed-forward layers, alone and as the gate of a gated layer in one pass over both
//! halves.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, bail, cpu::erf::erf_f32,
};
use rayon::prelude::*;

/// Values of one job.
const VALUES_PER_JOB: usize = 1 << 13;

/// A non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·σ(x)`.
    Silu,
    /// `x·Φ(x)`, by the error function.
    Gelu,
    /// The same by its approximation with tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The activation that `config.json` calls so, by `ACT2FN` of transformers.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "silu" | "swish" => Self::Silu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            _ => return None,
        })
    }
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn gelu_tanh(x: f32) -> f32 {
    const SCALE: f32 = 0.797_884_6; // √(2/π)
    0.5 * x * (1.0 + (SCALE * (x + 0.044_715 * x * x * x)).tanh())
}

fn relu(x: f32) -> f32 {
    x.max(0.0)
}

/// `activation(x)`, elementwise.
pub struct Activate(pub Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("an activation takes a contiguous tensor");
        };
        let mut out = x.as_slice::<f32>()?[start..end].to_vec();
        match self.0 {
            Activation::Silu => each(&mut out, silu),
            Activation::Gelu => each(&mut out, gelu),
            Activation::GeluTanh => each(&mut out, gelu_tanh),
            Activation::Relu => each(&mut out, relu),
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// `activation(gate) * up`, elementwise, for two tensors of one shape.
pub struct Gate(pub Activation);

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
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
            bail!("a gate takes contiguous tensors");
        };
        if gate_layout.shape() != up_layout.shape() {
            bail!(
                "a gate got {:?} and {:?}",
                gate_layout.shape(),
                up_layout.shape()
            );
        }
        let mut out = gate.as_slice::<f32>()?[gate_at.0..gate_at.1].to_vec();
        let up = &up.as_slice::<f32>()?[up_at.0..up_at.1];
        match self.0 {
            Activation::Silu => each_pair(&mut out, up, silu),
            Activation::Gelu => each_pair(&mut out, up, gelu),
            Activation::GeluTanh => each_pair(&mut out, up, gelu_tanh),
            Activation::Relu => each_pair(&mut out, up, relu),
        }
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}

/// The function is a type parameter, so that it is inlined into the loop.
fn each(out: &mut [f32], function: impl Fn(f32) -> f32 + Sync) {
    out.par_chunks_mut(VALUES_PER_JOB).for_each(|values| {
        for value in values {
            *value = function(*value);
        }
    });
}

fn each_pair(out: &mut [f32], up: &[f32], function: impl Fn(f32) -> f32 + Sync) {
    out.par_chunks_mut(VALUES_PER_JOB)
        .zip(up.par_chunks(VALUES_PER_JOB))
        .for_each(|(gate, up)| {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = function(*gate) * up;
            }
        });
}
