//! Ways to load a checkpoint, and what they may change of what comes of it.

use wire::model::{
    Activations, DType, Device, FourBitType, GgmlType, ModelSource, ModelSpec, Quantization,
    QuantizationMethod, Threshold,
};

/// A way to load a checkpoint.
pub struct Form {
    pub name: &'static str,
    /// `None` leaves it to the device.
    pub dtype: Option<DType>,
    pub method: Option<QuantizationMethod>,
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
    blocks("q4_k", Some(QuantizationMethod::Ggml(GgmlType::Q4K))),
    blocks("q6_k", Some(QuantizationMethod::Ggml(GgmlType::Q6K))),
    blocks("q8_0", Some(QuantizationMethod::Ggml(GgmlType::Q8_0))),
];

pub const FORMS: [Form; 8] = [
    form("f32", DType::F32, None, 1e-3),
    form("bf16", DType::BF16, None, 2e-2),
    form("f16", DType::F16, None, 2e-2),
    four_bits("nf4, double", DType::F32, (FourBitType::Nf4, true)),
    four_bits("fp4", DType::F32, (FourBitType::Fp4, false)),
    four_bits("nf4, double, bf16", DType::BF16, (FourBitType::Nf4, true)),
    four_bits("nf4, f16", DType::F16, (FourBitType::Nf4, false)),
    EIGHT_BITS,
];

/// A code may be the next one, where an activation lies between two.
const EIGHT_BITS: Form = Form {
    method: Some(QuantizationMethod::EightBit {
        threshold: Threshold(6.0),
    }),
    tolerance: 2e-2,
    is_exact: false,
    ..form("int8", DType::F32, None, 0.0)
};

const fn form(
    name: &'static str,
    dtype: DType,
    method: Option<QuantizationMethod>,
    tolerance: f32,
) -> Form {
    Form {
        name,
        dtype: Some(dtype),
        method,
        tolerance,
        is_exact: matches!(dtype, DType::F32),
    }
}

/// In 4 bits, doubly quantised or not, computed in the type.
const fn four_bits(
    name: &'static str,
    dtype: DType,
    (kind, double_quant): (FourBitType, bool),
) -> Form {
    let method = QuantizationMethod::FourBit {
        kind,
        double_quant,
        compute_dtype: dtype,
    };
    let tolerance = if matches!(dtype, DType::F32) {
        1e-3
    } else {
        2e-2
    };
    form(name, dtype, Some(method), tolerance)
}

/// In blocks, with products in what the device has for them.
const fn blocks(name: &'static str, method: Option<QuantizationMethod>) -> Form {
    Form {
        name,
        dtype: None,
        method,
        tolerance: 2e-2,
        is_exact: false,
    }
}

impl Form {
    /// A checkpoint in it, on a device.
    pub fn of(&self, folder: &str, device: Device) -> ModelSpec {
        ModelSpec {
            source: ModelSource::new(folder),
            dtype: self.dtype,
            auto_dtype: false,
            device_map: device.into(),
            quantization: self.method.clone().map(|method| Quantization {
                method,
                skip_modules: None,
            }),
            activations: Activations::F32,
            cache_dtype: None,
        }
    }
}
