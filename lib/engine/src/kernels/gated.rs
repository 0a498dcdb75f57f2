//! Activations of feed-forward layers, alone and as the gate of a gated layer in one pass over both
//! halves.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail, cpu::erf::erf_f32};

use super::{primitives, unsafe_blocks::share_pieces};

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
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_pytorch_tanh"
            | "gelu_python_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            _ => return None,
        })
    }

    /// All names that are known.
    pub const NAMES: [&str; 10] = [
        "silu",
        "swish",
        "gelu",
        "gelu_python",
        "gelu_new",
        "gelu_fast",
        "gelu_accurate",
        "gelu_pytorch_tanh",
        "gelu_python_tanh",
        "relu",
    ];
}

impl Activation {
    /// Of one value.
    pub(super) fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => silu(x),
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Relu => relu(x),
        }
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
        share_pieces(&mut out, VALUES_PER_JOB, &|_, values| {
            (primitives().activate)(self.0, values);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// From gate and up in one, `(…, 2 * intermediate)` with the gate first, to `activation(gate) * up`
/// `(…, intermediate)`.
pub struct Gate(pub Activation);

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, both: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a gate takes a contiguous tensor");
        };
        let mut shape = layout.dims().to_vec();
        let width = shape.pop().unwrap_or(0);
        if !width.is_multiple_of(2) || width == 0 {
            bail!("a gate got {:?}", layout.shape());
        }
        let both = &both.as_slice::<f32>()?[start..end];
        let mut out = vec![0.0; both.len() / 2];
        let one = |row: usize, out: &mut [f32]| {
            let (gates, ups) = both[row * width..][..width].split_at(width / 2);
            out.copy_from_slice(gates);
            gate(self.0, out, ups);
        };
        if out.len() <= VALUES_PER_JOB {
            let rows = out.chunks_exact_mut(width / 2).enumerate();
            rows.for_each(|(row, out)| one(row, out));
        } else {
            share_pieces(&mut out, width / 2, &one);
        }
        shape.push(width / 2);
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }
}

/// `activation(gate) * up` in the place of the gate.
pub(super) fn gate(activation: Activation, gates: &mut [f32], ups: &[f32]) {
    if activation == Activation::Silu {
        (primitives().silu_gate)(gates, ups);
        return;
    }
    (primitives().activate)(activation, gates);
    for (gate, up) in gates.iter_mut().zip(ups) {
        *gate *= up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `ACT2FN` of transformers 4.57.6, which writes two functions down in several ways.
    #[test]
    fn all_names_are_known() {
        for name in Activation::NAMES {
            let expected = match name {
                "silu" | "swish" => Activation::Silu,
                "gelu" | "gelu_python" => Activation::Gelu,
                "relu" => Activation::Relu,
                _ => Activation::GeluTanh,
            };
            assert_eq!(Activation::named(name), Some(expected), "{name}");
        }
        assert_eq!(Activation::named("gelu_10"), None);
    }
}
