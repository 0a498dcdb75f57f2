//! Rotary position embeddings (Su et al., 2021), with the frequencies that transformers'
//! `modeling_rope_utils.py` computes. Angles are f32 whatever the model's type: in 16 bits positions
//! past a few hundred run together. They are computed a step, not kept as a table of the context.

use candle_core::{Device, Result, Tensor};

/// Which values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryLayout {
    /// The first half with the second: transformers' checkpoints.
    Halves,
    /// Neighbours: llama models in GGUF, whose conversion reorders the rows of `q` and `k`.
    Interleaved,
}

/// How frequencies depend on the position.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base.
    pub theta: f64,
    /// How a longer context than the trained one is fitted.
    pub scaling: RopeScaling,
}

/// Ways to stretch the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Plain,
    /// All divided by this.
    Linear(f64),
    /// Llama 3's: low frequencies divided, high ones kept, a ramp between.
    Llama3(Llama3Scaling),
}

/// Parameters of Llama 3's scaling, named as in `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are config.json's own")]
pub struct Llama3Scaling {
    pub factor: f32,
    pub low_freq_factor: f32,
    pub high_freq_factor: f32,
    pub original_max_position_embeddings: f32,
}

/// Turns queries and keys by their positions.
#[derive(Clone, Debug)]
pub struct Rotary {
    inverse_frequencies: Vec<f32>,
    layout: RotaryLayout,
}

/// Angles of a run of positions, for all layers of one step.
#[derive(Clone, Debug)]
pub struct Positions {
    /// `(tokens, head_dim / 2)`.
    cos: Tensor,
    /// `(tokens, head_dim / 2)`.
    sin: Tensor,
}

impl Rotary {
    /// Frequencies for heads of `head_dim` values.
    pub fn new(head_dim: usize, config: &RopeConfig, layout: RotaryLayout) -> Self {
        let theta = config.theta as f32;
        let scale = |frequency: f32| match &config.scaling {
            RopeScaling::Plain => frequency,
            RopeScaling::Linear(factor) => frequency / *factor as f32,
            RopeScaling::Llama3(scaling) => scaling.apply(frequency),
        };
        let exponents = (0..head_dim).step_by(2).map(|i| i as f32 / head_dim as f32);
        let inverse_frequencies = exponents.map(|e| scale(1.0 / theta.powf(e))).collect();
        Self {
            inverse_frequencies,
            layout,
        }
    }

    /// Divides each frequency by its factor, as a GGUF file lists them in `rope_freqs.weight`.
    #[must_use]
    pub fn with_factors(mut self, factors: &[f32]) -> Self {
        for (frequency, factor) in self.inverse_frequencies.iter_mut().zip(factors) {
            *frequency /= factor;
        }
        self
    }

    /// The angles of `tokens` positions from `start` on.
    pub fn positions(&self, start: usize, tokens: usize) -> Result<Positions> {
        let angles: Vec<f32> = (start..start + tokens)
            .flat_map(|position| {
                self.inverse_frequencies
                    .iter()
                    .map(move |f| position as f32 * f)
            })
            .collect();
        let shape = (tokens, self.inverse_frequencies.len());
        let table = |function: fn(f32) -> f32| {
            Tensor::from_vec(
                angles.iter().map(|&a| function(a)).collect(),
                shape,
                &Device::Cpu,
            )
        };
        Ok(Positions {
            cos: table(f32::cos)?,
            sin: table(f32::sin)?,
        })
    }

    /// Turns `x` `(batch, heads, tokens, head_dim)`, contiguous.
    pub fn apply(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        match self.layout {
            RotaryLayout::Halves => candle_nn::rotary_emb::rope(x, &positions.cos, &positions.sin),
            RotaryLayout::Interleaved => {
                candle_nn::rotary_emb::rope_i(x, &positions.cos, &positions.sin)
            }
        }
    }
}

impl Llama3Scaling {
    /// `_compute_llama3_parameters` of transformers.
    fn apply(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        let original = self.original_max_position_embeddings;
        if wavelength < original / self.high_freq_factor {
            frequency
        } else if wavelength > original / self.low_freq_factor {
            frequency / self.factor
        } else {
            let smooth = (original / wavelength - self.low_freq_factor)
                / (self.high_freq_factor - self.low_freq_factor);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}
