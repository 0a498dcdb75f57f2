//! `BitsAndBytesConfig`: how the weights of a model are quantised while it is loaded.

use wire::{
    FailureKind,
    model::{DType, FourBitType, Quantization, QuantizationMethod, Threshold},
};

use crate::{Error, Result};

/// Quantisation on load as bitsandbytes does it, under transformers' names and with its defaults.
///
/// ```
/// use warmcell::{BitsAndBytesConfig, DType};
///
/// let config = BitsAndBytesConfig::new()
///     .load_in_4bit(true)
///     .bnb_4bit_quant_type("nf4")
///     .bnb_4bit_use_double_quant(true)
///     .bnb_4bit_compute_dtype(DType::BF16);
/// ```
///
/// As in transformers, 4 bits without a type are `fp4`, and products are computed in f32 without
/// a compute type; `nf4` loses less of what weights look like, and is what the course uses.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "hand it to `quantization_config`"]
pub struct BitsAndBytesConfig {
    load_in_4bit: bool,
    load_in_8bit: bool,
    quant_type: String,
    double_quant: bool,
    compute_dtype: DType,
    threshold: f32,
    skip_modules: Option<Vec<String>>,
}

impl Default for BitsAndBytesConfig {
    fn default() -> Self {
        Self {
            load_in_4bit: false,
            load_in_8bit: false,
            quant_type: FourBitType::default().name().to_owned(),
            double_quant: false,
            compute_dtype: DType::F32,
            threshold: 6.0,
            skip_modules: None,
        }
    }
}

impl BitsAndBytesConfig {
    /// Transformers' defaults; choose 4 or 8 bits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Weights in 4 bits, in blocks of 64 with a scale each.
    pub fn load_in_4bit(mut self, on: bool) -> Self {
        self.load_in_4bit = on;
        self
    }

    /// Weights in 8 bits with a scale a row: `LLM.int8()`.
    pub fn load_in_8bit(mut self, on: bool) -> Self {
        self.load_in_8bit = on;
        self
    }

    /// `"nf4"` or `"fp4"`.
    pub fn bnb_4bit_quant_type(mut self, kind: impl Into<String>) -> Self {
        self.quant_type = kind.into();
        self
    }

    /// Quantise the scales of the blocks, too.
    pub fn bnb_4bit_use_double_quant(mut self, on: bool) -> Self {
        self.double_quant = on;
        self
    }

    /// The type that weights and activations are rounded to before they are multiplied.
    pub fn bnb_4bit_compute_dtype(mut self, dtype: DType) -> Self {
        self.compute_dtype = dtype;
        self
    }

    /// With 8 bits, activations from this magnitude on are multiplied in full; 0 for none.
    pub fn llm_int8_threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// Modules to leave as they are, in place of the output layer; in 4 bits, too.
    pub fn llm_int8_skip_modules<T: Into<String>>(
        mut self,
        modules: impl IntoIterator<Item = T>,
    ) -> Self {
        self.skip_modules = Some(modules.into_iter().map(Into::into).collect());
        self
    }

    /// What it comes down to. Fails on what contradicts itself.
    pub(crate) fn resolve(self) -> Result<Quantization> {
        let invalid = |message: &str, hint: &str| {
            Error::new(FailureKind::InvalidArgument, message.to_owned()).with_hint(hint)
        };
        let method = match (self.load_in_4bit, self.load_in_8bit) {
            (true, true) => {
                return Err(invalid(
                    "`load_in_4bit` and `load_in_8bit` are both set",
                    "choose one of them",
                ));
            }
            (false, false) => {
                return Err(invalid(
                    "the `BitsAndBytesConfig` quantises nothing",
                    "set `load_in_4bit(true)` or `load_in_8bit(true)`",
                ));
            }
            (true, false) => QuantizationMethod::FourBit {
                kind: match self.quant_type.as_str() {
                    "nf4" => FourBitType::Nf4,
                    "fp4" => FourBitType::Fp4,
                    other => {
                        let message = format!("there is no 4-bit type `{other}`");
                        return Err(invalid(&message, "use \"nf4\" or \"fp4\""));
                    }
                },
                double_quant: self.double_quant,
                compute_dtype: self.compute_dtype,
            },
            (false, true) => {
                if !self.threshold.is_finite() || self.threshold < 0.0 {
                    let message = format!("`llm_int8_threshold` is {}", self.threshold);
                    return Err(invalid(&message, "use 6.0, transformers' default, or 0.0"));
                }
                QuantizationMethod::EightBit {
                    threshold: Threshold(self.threshold),
                }
            }
        };
        Ok(Quantization {
            method,
            skip_modules: self.skip_modules,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused() {
        let both = BitsAndBytesConfig::new()
            .load_in_4bit(true)
            .load_in_8bit(true);
        assert!(both.resolve().is_err());
        assert!(BitsAndBytesConfig::new().resolve().is_err());
        let unknown = BitsAndBytesConfig::new()
            .load_in_4bit(true)
            .bnb_4bit_quant_type("q4");
        assert!(unknown.resolve().is_err());
    }

    #[test]
    fn the_defaults_are_those_of_transformers() {
        let plain = BitsAndBytesConfig::new().load_in_4bit(true).resolve();
        let method = QuantizationMethod::FourBit {
            kind: FourBitType::Fp4,
            double_quant: false,
            compute_dtype: DType::F32,
        };
        let expected = Quantization {
            method,
            skip_modules: None,
        };
        assert_eq!(plain.ok(), Some(expected));
    }
}
