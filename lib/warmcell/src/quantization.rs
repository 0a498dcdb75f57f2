//! `BitsAndBytesConfig`: how the weights of a model are quantised while it is loaded.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

use wire::{
    FailureKind,
    model::{DType, FourBitType, Quantization, QuantizationMethod, Threshold},
};

use crate::{Error, Result};

/// Quantisation on load as bitsandbytes does it, under transformers' names and with its defaults.
///
/// ```
/// use warmcell::{BitsAndBytesConfig, DType, FourBitType};
///
/// let config = BitsAndBytesConfig {
///     load_in_4bit: true,
///     bnb_4bit_use_double_quant: true,
///     bnb_4bit_compute_dtype: DType::BF16,
///     bnb_4bit_quant_type: Some(FourBitType::Nf4),
///     ..Default::default()
/// };
/// ```
///
/// As in transformers, 4 bits without a type are `fp4`, and products are computed in f32 without
/// a compute type; `nf4` loses less of what weights look like, and is what the course uses.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "transformers' own fields, each by itself"
)]
pub struct BitsAndBytesConfig {
    /// Weights in 4 bits, in blocks of 64 with a scale each.
    pub load_in_4bit: bool,
    /// Weights in 8 bits with a scale a row: `LLM.int8()`.
    pub load_in_8bit: bool,
    /// What the sixteen values of 4 bits are; `fp4` when not given.
    pub bnb_4bit_quant_type: Option<FourBitType>,
    /// Quantise the scales of the blocks, too.
    pub bnb_4bit_use_double_quant: bool,
    /// The type that weights and activations are rounded to before they are multiplied.
    pub bnb_4bit_compute_dtype: DType,
    /// With 8 bits, activations from this magnitude on are multiplied in full; 0 for none.
    pub llm_int8_threshold: f32,
    /// Modules to leave as they are, in place of the output layer; in 4 bits, too.
    pub llm_int8_skip_modules: Option<Vec<String>>,
    /// Leave modules that a `device_map` puts on the CPU as they are. Models live on one device here, so that
    /// it changes nothing.
    pub llm_int8_enable_fp32_cpu_offload: bool,
    /// Keep 16-bit weights beside those in 8 bits, for training, which is not done here: an error.
    pub llm_int8_has_fp16_weight: bool,
    /// The type of the tensor that packed weights are viewed as; bytes when not given. Another one only
    /// matters to training that shards: an error.
    pub bnb_4bit_quant_storage: Option<DType>,
}

impl Default for BitsAndBytesConfig {
    fn default() -> Self {
        Self {
            load_in_4bit: false,
            load_in_8bit: false,
            bnb_4bit_quant_type: None,
            bnb_4bit_use_double_quant: false,
            bnb_4bit_compute_dtype: DType::F32,
            llm_int8_threshold: 6.0,
            llm_int8_skip_modules: None,
            llm_int8_enable_fp32_cpu_offload: false,
            llm_int8_has_fp16_weight: false,
            bnb_4bit_quant_storage: None,
        }
    }
}

impl BitsAndBytesConfig {
    /// What it is about, in a word.
    pub(crate) fn short(&self) -> &'static str {
        match (self.load_in_4bit, self.load_in_8bit) {
            (true, _) => "load_in_4bit",
            (_, true) => "load_in_8bit",
            _ => "neither 4 nor 8 bits",
        }
    }

    /// What it comes down to. Fails on what contradicts itself.
    pub(crate) fn resolve(self) -> Result<Quantization> {
        let invalid = |message: &str, hint: &str| {
            Error::new(FailureKind::InvalidArgument, message.to_owned()).with_hint(hint)
        };
        if self.llm_int8_has_fp16_weight {
            return Err(invalid(
                "`llm_int8_has_fp16_weight` keeps 16-bit weights for training, which is not done here",
                "leave it out: weights in 8 bits are enough to generate",
            ));
        }
        if let Some(dtype) = self.bnb_4bit_quant_storage {
            let message =
                format!("`bnb_4bit_quant_storage` is {dtype:?}: packed weights are bytes here");
            return Err(invalid(
                &message,
                "leave it out: it changes no number, only how training shards weights",
            ));
        }
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
                    "set `load_in_4bit: true` or `load_in_8bit: true`",
                ));
            }
            (true, false) => QuantizationMethod::FourBit {
                kind: self.bnb_4bit_quant_type.unwrap_or_default(),
                double_quant: self.bnb_4bit_use_double_quant,
                compute_dtype: self.bnb_4bit_compute_dtype,
            },
            (false, true) => {
                let threshold = self.llm_int8_threshold;
                if !threshold.is_finite() || threshold < 0.0 {
                    let message = format!("`llm_int8_threshold` is {threshold}");
                    return Err(invalid(&message, "use 6.0, transformers' default, or 0.0"));
                }
                QuantizationMethod::EightBit {
                    threshold: Threshold(threshold),
                }
            }
        };
        Ok(Quantization {
            method,
            skip_modules: self.llm_int8_skip_modules,
        })
    }

    /// What a user who named no type should know; `None` for those who did.
    fn note(&self) -> Option<String> {
        if !self.load_in_4bit || self.bnb_4bit_quant_type.is_some() {
            return None;
        }
        let compute = match self.bnb_4bit_compute_dtype {
            DType::F32 => " and computes in f32",
            DType::F16 | DType::BF16 => "",
        };
        Some(format!(
            "note: `load_in_4bit` without a type means fp4{compute}, as in transformers. The course uses \
             `bnb_4bit_quant_type: Some(FourBitType::Nf4)`, `bnb_4bit_use_double_quant: true` and \
             `bnb_4bit_compute_dtype: DType::BF16`."
        ))
    }

    /// Tells the user on standard error, the first time that there is something to tell.
    pub(crate) fn tell_defaults(&self) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if let Some(note) = self.note()
            && !TOLD.swap(true, Ordering::Relaxed)
        {
            let _ = writeln!(std::io::stderr(), "{note}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four_bits() -> BitsAndBytesConfig {
        BitsAndBytesConfig {
            load_in_4bit: true,
            ..Default::default()
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let both = BitsAndBytesConfig {
            load_in_8bit: true,
            ..four_bits()
        };
        assert!(both.resolve().is_err());
        assert!(BitsAndBytesConfig::default().resolve().is_err());
        let training = BitsAndBytesConfig {
            llm_int8_has_fp16_weight: true,
            ..four_bits()
        };
        assert!(training.resolve().is_err());
        let viewed = BitsAndBytesConfig {
            bnb_4bit_quant_storage: Some(DType::BF16),
            ..four_bits()
        };
        assert!(viewed.resolve().is_err());
        let offloaded = BitsAndBytesConfig {
            llm_int8_enable_fp32_cpu_offload: true,
            ..four_bits()
        };
        let resolved = |config: BitsAndBytesConfig| config.resolve().expect("is right");
        assert_eq!(resolved(offloaded), resolved(four_bits()));
        let negative = BitsAndBytesConfig {
            load_in_8bit: true,
            llm_int8_threshold: -1.0,
            ..Default::default()
        };
        assert!(negative.resolve().is_err());
    }

    #[test]
    fn the_defaults_are_those_of_transformers() {
        let method = QuantizationMethod::FourBit {
            kind: FourBitType::Fp4,
            double_quant: false,
            compute_dtype: DType::F32,
        };
        let expected = Quantization {
            method,
            skip_modules: None,
        };
        assert_eq!(four_bits().resolve().ok(), Some(expected));
    }

    #[test]
    fn only_who_names_no_type_is_told_of_the_default() {
        let note = four_bits().note().expect("names no type");
        assert!(note.contains("fp4 and computes in f32"), "{note}");
        let computes = BitsAndBytesConfig {
            bnb_4bit_compute_dtype: DType::BF16,
            ..four_bits()
        };
        let note = computes.note().expect("names no type");
        assert!(!note.contains("computes in f32"), "{note}");
        let named = BitsAndBytesConfig {
            bnb_4bit_quant_type: Some(FourBitType::Fp4),
            ..four_bits()
        };
        assert_eq!(named.note(), None);
        let eight = BitsAndBytesConfig {
            load_in_8bit: true,
            ..Default::default()
        };
        assert_eq!(eight.note(), None);
    }
}
