//! Activations of feed-forward layers, alone and as the gate of a gated layer in one pass over both
//! halves.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail, cpu::erf::erf_f32};

use super::{primitives, unsafe_blocks::share_pieces};

/// Values of one job.
const VALUES_PER_JOB: usize = 1 << 13;

/// A non-linearity: those of `ACT2FN` of transformers 4.57.6 that have no weights of their own.
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
    /// `x·Φ(x)` within ±10.
    ClippedGelu,
    /// The distribution function of a normal variable, of MEGA.
    Laplace,
    /// `x`, or a hundredth of it below 0.
    LeakyRelu,
    /// `x`.
    Linear,
    /// `x·tanh(ln(1 + eˣ))`.
    Mish,
    /// `x·σ(1.702x)`.
    QuickGelu,
    /// `max(x, 0)²`.
    ReluSquared,
    /// `max(x, 0)`, 6 at most.
    Relu6,
    /// `σ(x)`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
}

/// Those that loops of each processor and kernels of cards have; the others are computed one value at a time, and on a
/// card by candle's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    /// [`Activation::Silu`].
    Silu,
    /// [`Activation::Gelu`].
    Gelu,
    /// [`Activation::GeluTanh`].
    GeluTanh,
    /// [`Activation::Relu`].
    Relu,
}

/// Names by `ACT2FN`, and what they mean.
const NAMED: [(&str, Activation); 20] = [
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("gelu_10", Activation::ClippedGelu),
    ("laplace", Activation::Laplace),
    ("leaky_relu", Activation::LeakyRelu),
    ("linear", Activation::Linear),
    ("mish", Activation::Mish),
    ("quick_gelu", Activation::QuickGelu),
    ("relu2", Activation::ReluSquared),
    ("relu6", Activation::Relu6),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
];

impl Activation {
    /// The activation that `config.json` calls so, by `ACT2FN` of transformers.
    pub fn named(name: &str) -> Option<Self> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        found.map(|(_, activation)| *activation)
    }

    /// All names that are known.
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// What `config.json` calls it, by the first of its names.
    pub(crate) fn name(self) -> &'static str {
        let found = NAMED.iter().find(|(_, activation)| *activation == self);
        found.map(|(name, _)| *name).expect("each has a name")
    }

    /// As loops of processors and kernels of cards have it; `None` where they do not.
    pub fn fused(self) -> Option<Fused> {
        Some(match self {
            Self::Silu => Fused::Silu,
            Self::Gelu => Fused::Gelu,
            Self::GeluTanh => Fused::GeluTanh,
            Self::Relu => Fused::Relu,
            Self::ClippedGelu
            | Self::Laplace
            | Self::LeakyRelu
            | Self::Linear
            | Self::Mish
            | Self::QuickGelu
            | Self::ReluSquared
            | Self::Relu6
            | Self::Sigmoid
            | Self::Tanh => return None,
        })
    }

    /// Of each value, in place.
    pub(super) fn apply(self, values: &mut [f32]) {
        if let Some(fused) = self.fused() {
            (primitives().activate)(fused, values);
            return;
        }
        for value in values {
            *value = self.of(*value);
        }
    }

    /// Of one value.
    fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => silu(x),
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Relu => relu(x),
            Self::ClippedGelu => gelu(x).clamp(-CLIP, CLIP),
            Self::Laplace => laplace(x),
            Self::LeakyRelu => x.max(LEAK * x),
            Self::Linear => x,
            Self::Mish => x * softplus(x).tanh(),
            Self::QuickGelu => x * sigmoid(STEEPNESS * x),
            Self::ReluSquared => relu(x) * relu(x),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
        }
    }
}

impl Fused {
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

/// Bound of [`Activation::ClippedGelu`].
pub(crate) const CLIP: f32 = 10.0;
/// Mean and deviation of [`Activation::Laplace`].
#[expect(
    clippy::approx_constant,
    reason = "transformers writes so many digits of it"
)]
pub(crate) const LAPLACE: [f32; 2] = [0.707_107, 0.282_095];
/// Slope of [`Activation::LeakyRelu`] below 0.
pub(crate) const LEAK: f32 = 0.01;
/// What [`Activation::QuickGelu`] multiplies its sigmoid's argument with.
pub(crate) const STEEPNESS: f32 = 1.702;

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

fn laplace(x: f32) -> f32 {
    let [mean, deviation] = LAPLACE;
    0.5 * (1.0 + erf_f32((x - mean) / (deviation * std::f32::consts::SQRT_2)))
}

/// `ln(1 + eˣ)`, which no large argument takes past what a float holds.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
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
            self.0.apply(values);
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
    activation.apply(gates);
    for (gate, up) in gates.iter_mut().zip(ups) {
        *gate *= up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `ACT2FN` of transformers 4.57.6, which writes two functions down in several ways.
    #[test]
    fn names_are_those_of_transformers() {
        for (name, activation) in [
            ("swish", Activation::Silu),
            ("gelu_python", Activation::Gelu),
            ("gelu_accurate", Activation::GeluTanh),
            ("gelu_10", Activation::ClippedGelu),
            ("relu2", Activation::ReluSquared),
        ] {
            assert_eq!(Activation::named(name), Some(activation), "{name}");
        }
        // The first two have weights of their own.
        for name in ["prelu", "xielu", "GELU", ""] {
            assert_eq!(Activation::named(name), None, "{name}");
        }
        let mut names = Activation::names();
        names.dedup();
        assert_eq!(names.len(), NAMED.len());
    }

    /// What processors' loops compute, the one value says, too.
    #[test]
    fn fused_activations_are_themselves() {
        let all = NAMED.iter().map(|(_, activation)| *activation);
        for (activation, fused) in all.filter_map(|one| Some((one, one.fused()?))) {
            for x in [-30.0, -1.5, 0.0, 0.3, 30.0] {
                assert_eq!(fused.of(x).to_bits(), activation.of(x).to_bits());
            }
        }
    }

    /// By `ACT2FN` of transformers 4.57.6 with torch 2.11, of -100, -3, -0.5, 0, 0.7, 5 and 100.
    #[test]
    fn values_are_those_of_transformers() {
        let inputs = [-100.0, -3.0, -0.5, 0.0, 0.7, 5.0, 100.0];
        for (name, expected) in VALUES {
            let activation = Activation::named(name).expect("is known");
            let mut values = inputs;
            activation.apply(&mut values);
            for ((x, value), expected) in inputs.iter().zip(values).zip(expected) {
                assert!(
                    (value - expected).abs() <= 2e-6 * expected.abs().max(1.0),
                    "{name} of {x}: {value} instead of {expected}"
                );
            }
            let mut lost = [f32::NAN];
            activation.apply(&mut lost);
            assert!(
                lost[0].is_nan()
                    || matches!(activation, Activation::Relu | Activation::ReluSquared),
                "{name}"
            );
        }
    }

    const VALUES: [(&str, [f32; 7]); 10] = [
        (
            "gelu_10",
            [
                0.0,
                -0.004_050_225,
                -0.154_268_77,
                0.0,
                0.530_625_46,
                4.999_999,
                10.0,
            ],
        ),
        (
            "laplace",
            [
                0.0,
                0.0,
                0.000_009_387_732,
                0.006_094_455_7,
                0.489_950_24,
                1.0,
                1.0,
            ],
        ),
        ("leaky_relu", [-1.0, -0.03, -0.005, 0.0, 0.7, 5.0, 100.0]),
        ("linear", [-100.0, -3.0, -0.5, 0.0, 0.7, 5.0, 100.0]),
        (
            "mish",
            [
                0.0,
                -0.145_647_47,
                -0.220_743_76,
                0.0,
                0.561_148_35,
                4.999_552_2,
                100.0,
            ],
        ),
        (
            "quick_gelu",
            [
                0.0,
                -0.018_071_31,
                -0.149_611_56,
                0.0,
                0.536_893_96,
                4.998_993,
                100.0,
            ],
        ),
        ("relu2", [0.0, 0.0, 0.0, 0.0, 0.489_999_98, 25.0, 10000.0]),
        ("relu6", [0.0, 0.0, 0.0, 0.0, 0.7, 5.0, 6.0]),
        (
            "sigmoid",
            [
                0.0,
                0.047_425_874,
                0.377_540_68,
                0.5,
                0.668_187_74,
                0.993_307_2,
                1.0,
            ],
        ),
        (
            "tanh",
            [
                -1.0,
                -0.995_054_8,
                -0.462_117_17,
                0.0,
                0.604_367_8,
                0.999_909_2,
                1.0,
            ],
        ),
    ];
}
