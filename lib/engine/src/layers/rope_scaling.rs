//! Ways to stretch the frequencies of rotary embeddings over a longer context than the trained one,
//! as transformers' `modeling_rope_utils.py` computes them.

use std::f64::consts::PI;

/// A way to stretch the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Plain,
    /// All divided by this.
    Linear(f64),
    /// Each divided by its own factor, as a GGUF file lists them in `rope_freqs.weight`.
    Factors(Vec<f32>),
    /// By a base that grows with the sequence past its trained length.
    Dynamic(DynamicScaling),
    /// Llama 3's: low frequencies divided, high ones kept, a ramp between.
    Llama3(Llama3Scaling),
    /// `YaRN` (Peng et al., 2023).
    Yarn(YarnScaling),
    /// `LongRoPE` (Ding et al., 2024): a divisor a frequency, others for sequences past a length.
    LongRope(LongRopeScaling),
}

/// Parameters of the dynamic scaling, named as in `config.json`. Frequencies change with each token past
/// the trained length; keys that were read before keep theirs, as in transformers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are config.json's own")]
pub struct DynamicScaling {
    pub factor: f64,
    pub max_position_embeddings: usize,
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

/// Parameters of `YaRN`, named as in `config.json`; `attention_factor` is resolved.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are config.json's own")]
pub struct YarnScaling {
    pub factor: f64,
    pub original_max_position_embeddings: f64,
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub truncate: bool,
    pub attention_factor: f64,
}

/// Parameters of `LongRoPE`, named as in `config.json`; `attention_factor` is resolved.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are config.json's own")]
pub struct LongRopeScaling {
    pub short_factor: Vec<f32>,
    pub long_factor: Vec<f32>,
    pub original_max_position_embeddings: usize,
    pub attention_factor: f64,
}

/// What a scaling makes of the frequencies.
pub(super) struct Frequencies {
    pub short: Vec<f32>,
    /// Those of sequences longer than a number of tokens, where they differ.
    pub long: Option<(usize, Vec<f32>)>,
    /// Multiplies cosine and sine.
    pub attention_factor: f32,
}

impl RopeScaling {
    /// The tokens that a model takes whose configuration names so many. The dynamic kind is the only one
    /// under which that is the length before it is stretched.
    pub fn context_length(&self, named: usize) -> usize {
        match self {
            Self::Dynamic(scaling) => (named as f64 * scaling.factor.max(1.0)) as usize,
            _ => named,
        }
    }

    /// Frequencies for `periods`: `theta^(2i / dim)` for each `i`.
    pub(super) fn frequencies(&self, periods: &[f32], theta: f64) -> Frequencies {
        let plain = || periods.iter().map(|period| 1.0 / period);
        let divided = |factors: &[f32]| {
            let pairs = periods.iter().zip(factors);
            pairs
                .map(|(period, factor)| 1.0 / (factor * period))
                .collect()
        };
        let mut long = None;
        let mut attention_factor = 1.0;
        let short = match self {
            Self::Plain | Self::Dynamic(_) => plain().collect(),
            Self::Linear(factor) => plain().map(|f| f / *factor as f32).collect(),
            Self::Factors(factors) => plain().zip(factors).map(|(f, factor)| f / factor).collect(),
            Self::Llama3(scaling) => plain().map(|f| scaling.apply(f)).collect(),
            Self::Yarn(scaling) => {
                attention_factor = scaling.attention_factor as f32;
                scaling.apply(periods, theta)
            }
            Self::LongRope(scaling) => {
                attention_factor = scaling.attention_factor as f32;
                long = Some((
                    scaling.original_max_position_embeddings,
                    divided(&scaling.long_factor),
                ));
                divided(&scaling.short_factor)
            }
        };
        Frequencies {
            short,
            long,
            attention_factor,
        }
    }
}

impl DynamicScaling {
    /// The base for a sequence of this many tokens, more than the trained ones:
    /// `_compute_dynamic_ntk_parameters` of transformers, which computes it in f32.
    pub(super) fn theta(&self, theta: f64, dim: usize, tokens: usize) -> f32 {
        let stretch = self.factor as f32 * tokens as f32 / self.max_position_embeddings as f32;
        let exponent = dim as f64 / (dim as f64 - 2.0);
        theta as f32 * (stretch - (self.factor as f32 - 1.0)).powf(exponent as f32)
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

impl LongRopeScaling {
    /// The attention factor of a context stretched by `factor` from `original` tokens.
    pub fn magnitude(factor: f64, original: usize) -> f64 {
        if factor <= 1.0 {
            1.0
        } else {
            (1.0 + factor.ln() / (original as f64).ln()).sqrt()
        }
    }
}

impl YarnScaling {
    /// The attention factor of a context stretched by `factor`; `weight` is 1 where a configuration
    /// says nothing else.
    pub fn magnitude(factor: f64, weight: f64) -> f64 {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * weight * factor.ln() + 1.0
        }
    }

    /// `_compute_yarn_parameters` of transformers.
    fn apply(&self, periods: &[f32], theta: f64) -> Vec<f32> {
        let dim = 2.0 * periods.len() as f64;
        let correction = |rotations: f64| {
            dim * (self.original_max_position_embeddings / (rotations * 2.0 * PI)).ln()
                / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (correction(self.beta_fast), correction(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let low = low.max(0.0) as f32;
        let mut high = high.min(dim - 1.0) as f32;
        if (high - low).abs() < f32::EPSILON {
            high += 0.001;
        }
        let factor = self.factor as f32;
        let frequency = |(i, period): (usize, &f32)| {
            let kept = 1.0 - ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / (factor * period)) * (1.0 - kept) + (1.0 / period) * kept
        };
        periods.iter().enumerate().map(frequency).collect()
    }
}
