//! Ways to load a checkpoint, and what they may change of what comes of it.

use wire::model::{
    Activations, DType, Device, FourBitType, GgmlType, ModelSource, ModelSpec, Quantization,
    QuantizationMethod,
};

/// A way to load a checkpoint.
pub struct Form {
    pub name: &'static str,
    /// `None` leaves it to the device.
    pub dtype: Option<DType>,
    pub four_bit: Option<(FourBitType, bool)>,
    pub blocks: Option<GgmlType>,
    /// How far logits may be apart: each, of the largest; of brain floats the root of all squares.
    pub tolerance: f32,
    /// Whether the same tokens must come of it.
    pub is_exact: bool,
}

/// Of GGUF files: everything in f32, and products of many tokens in what cards have for them.
pub const GGUF_FORMS: [Form; 2] = [
    form("f32", DType::F32, None, 1e-3),
    blocks("as it is", None),
];

/// Of a checkpoint whose rows hold several blocks.
pub const WIDE_FORMS: [Form; 3] = [
    blocks("q4_k", Some(GgmlType::Q4K)),
    blocks("q6_k", Some(GgmlType::Q6K)),
    blocks("q8_0", Some(GgmlType::Q8_0)),
];

pub const FORMS: [Form; 7] = [
    form("f32", DType::F32, None, 1e-3),
    form("bf16", DType::BF16, None, 2e-2),
    form("f16", DType::F16, None, 2e-2),
    form(
        "nf4, double",
        DType::F32,
        Some((FourBitType::Nf4, true)),
        1e-3,
    ),
    form("fp4", DType::F32, Some((FourBitType::Fp4, false)), 1e-3),
    form(
        "nf4, double, bf16",
        DType::BF16,
        Some((FourBitType::Nf4, true)),
        2e-2,
    ),
    form(
        "nf4, f16",
        DType::F16,
        Some((FourBitType::Nf4, false)),
        2e-2,
    ),
];

const fn form(
    name: &'static str,
    dtype: DType,
    four_bit: Option<(FourBitType, bool)>,
    tolerance: f32,
) -> Form {
    Form {
        name,
        dtype: Some(dtype),
        four_bit,
        blocks: None,
        tolerance,
        is_exact: matches!(dtype, DType::F32),
    }
}

/// In blocks, with products in what the device has for them.
const fn blocks(name: &'static str, blocks: Option<GgmlType>) -> Form {
    Form {
        name,
        dtype: None,
        four_bit: None,
        blocks,
        tolerance: 2e-2,
        is_exact: false,
    }
}

impl Form {
    /// A checkpoint in it, on a device.
    pub fn of(&self, folder: &str, device: Device) -> ModelSpec {
        let method = self
            .four_bit
            .map(|(kind, double_quant)| QuantizationMethod::FourBit {
                kind,
                double_quant,
                compute_dtype: self.dtype.unwrap_or(DType::F32),
            })
            .or(self.blocks.map(QuantizationMethod::Ggml));
        ModelSpec {
            source: ModelSource::new(folder),
            dtype: self.dtype,
            auto_dtype: false,
            device_map: device.into(),
            quantization: method.map(|method| Quantization {
                method,
                skip_modules: None,
            }),
            activations: Activations::F32,
            cache_dtype: None,
        }
    }
}
