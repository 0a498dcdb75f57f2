//! Checkpoints that hold quantised weights, as `save_pretrained` of transformers writes them: what
//! `config.json` says, and the tensors beside each `weight` (`QuantState.as_dict` of bitsandbytes).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::{
    Failure,
    model::{DType, FourBitType, Quantization, QuantizationMethod, Threshold},
};

use super::{Absmax, EightBit, FourBit, Quantized4, four_bit::NESTED_BLOCK};
use crate::{failures, weights::Loader};

/// The start of the name of a 4-bit state.
const STATE: &str = "quant_state.bitsandbytes__";

/// What a configuration says about bitsandbytes; `None` where it names no quantisation, or names bitsandbytes and no
/// number of bits, which transformers passes over. Fails on another method.
pub(crate) fn read_config(config: &Value) -> Result<Option<Quantization>, Failure> {
    let section = &config["quantization_config"];
    if section.is_null() {
        return Ok(None);
    }
    let Some(method) = method(section)? else {
        return Ok(None);
    };
    let skip_modules = section["llm_int8_skip_modules"].as_array().map(|names| {
        let names = names.iter().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    });
    Ok(Some(Quantization {
        method,
        skip_modules,
    }))
}

fn method(section: &Value) -> Result<Option<QuantizationMethod>, Failure> {
    let is_on = |key: &str| section[key].as_bool().unwrap_or(false);
    let (four, eight) = (is_on("load_in_4bit"), is_on("load_in_8bit"));
    // Bits name bitsandbytes without a method, too.
    let by_bits = (four || eight).then_some("bitsandbytes");
    let method = section["quant_method"].as_str().or(by_bits);
    Ok(Some(match (method, four, eight) {
        (Some("bitsandbytes"), true, false) => QuantizationMethod::FourBit {
            kind: match section["bnb_4bit_quant_type"].as_str() {
                Some("nf4") => FourBitType::Nf4,
                _ => FourBitType::Fp4,
            },
            double_quant: is_on("bnb_4bit_use_double_quant"),
            compute_dtype: match section["bnb_4bit_compute_dtype"].as_str() {
                Some("bfloat16") => DType::BF16,
                Some("float16") => DType::F16,
                _ => DType::F32,
            },
        },
        (Some("bitsandbytes"), false, true) => QuantizationMethod::EightBit {
            threshold: Threshold(section["llm_int8_threshold"].as_f64().unwrap_or(6.0) as f32),
        },
        (Some("bitsandbytes"), false, false) => return Ok(None),
        (method, ..) => return Err(unreadable(method)),
    }))
}

/// Why a section with this method says nothing that is understood.
fn unreadable(method: Option<&str>) -> Failure {
    match method {
        Some("bitsandbytes") => failures::invalid(
            "its `quantization_config` sets both `load_in_4bit` and `load_in_8bit`, and only one can be used at the \
             same time",
        )
        .hint("set to false in its `config.json` what its weights are not"),
        Some(other) => failures::unsupported(format!(
            "its weights are quantised by `{other}` in a way that is not supported"
        ))
        .hint("4-bit and 8-bit checkpoints of bitsandbytes load, and GGUF files"),
        None => failures::invalid(
            "its `quantization_config` has no `quant_method`: nothing says how its weights are quantised",
        )
        .hint("take it out of its `config.json` where they are not quantised"),
    }
}

/// The JSON that is kept as bytes in `quant_state`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct State {
    pub quant_type: String,
    pub blocksize: usize,
    pub dtype: String,
    pub shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested_blocksize: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested_dtype: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested_offset: Option<f64>,
}

/// A linear layer whose weight is stored quantised.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Module {
    /// In 4 bits, with the name of its state.
    FourBit(String),
    /// In 8 bits.
    EightBit,
}

impl Module {
    /// What the files have of a layer; `None` where its weight is plain.
    pub fn find(loader: &Loader, name: &str) -> Option<Self> {
        for kind in [FourBitType::Nf4, FourBitType::Fp4] {
            let state = format!("{name}.weight.{STATE}{}", kind.name());
            if loader.has(&state) {
                return Some(Self::FourBit(state));
            }
        }
        loader.has(&format!("{name}.SCB")).then_some(Self::EightBit)
    }
}

/// Type and shape that a layer of 4 bits had before.
pub(crate) fn shape_4bit(
    loader: &mut Loader,
    (name, state): (&str, &str),
) -> Result<(String, (usize, usize)), Failure> {
    let state = read_state(loader, (name, state))?;
    match state.shape[..] {
        [rows, columns] => Ok((state.quant_type, (rows, columns))),
        _ => Err(wrong_state(name, "is not that of a matrix")),
    }
}

fn read_state(loader: &mut Loader, (name, state): (&str, &str)) -> Result<State, Failure> {
    serde_json::from_slice(&loader.bytes_of(state)?)
        .map_err(|error| wrong_state(name, &format!("cannot be read: {error}")))
}

fn wrong_state(name: &str, what: &str) -> Failure {
    failures::invalid(format!("the 4-bit state of `{name}` {what}"))
}

/// Reads a layer of 4 bits.
pub(crate) fn load_4bit(
    loader: &mut Loader,
    (name, state): (&str, &str),
    shape: (usize, usize),
    compute: DType,
) -> Result<FourBit, Failure> {
    let wrong = |what: &str| wrong_state(name, what);
    let state = read_state(loader, (name, state))?;
    if state.shape != [shape.0, shape.1] {
        return Err(wrong(&format!(
            "is of shape {:?}, not {shape:?}",
            state.shape
        )));
    }
    if !(32..=4096).contains(&state.blocksize) || !state.blocksize.is_power_of_two() {
        return Err(wrong(&format!("has blocks of {}", state.blocksize)));
    }
    let tensor = |part: &str| format!("{name}.weight{part}");
    let values = shape.0 * shape.1;
    let blocks = values.div_ceil(state.blocksize);
    let book = loader.floats_of(&tensor(".quant_map"))?;
    let book = book.try_into().map_err(|_| wrong("has no 16 values"))?;
    let absmax = match state.nested_offset {
        None => Absmax::Plain(loader.floats_of(&tensor(".absmax"))?),
        Some(offset) => Absmax::Nested {
            codes: loader.bytes_of(&tensor(".absmax"))?,
            absmax: loader.floats_of(&tensor(".nested_absmax"))?,
            map: loader.floats_of(&tensor(".nested_quant_map"))?,
            offset: offset as f32,
        },
    };
    let fits = match &absmax {
        Absmax::Plain(absmax) => absmax.len() == blocks,
        Absmax::Nested {
            codes, absmax, map, ..
        } => {
            codes.len() == blocks
                && absmax.len() == blocks.div_ceil(NESTED_BLOCK)
                && map.len() == 256
                && state.nested_blocksize.unwrap_or(NESTED_BLOCK) == NESTED_BLOCK
        }
    };
    let packed = loader.bytes_of(&tensor(""))?;
    if !fits || packed.len() != values.div_ceil(2) {
        return Err(wrong("is of another size than its weight"));
    }
    let values = Quantized4 { packed, absmax };
    Ok(FourBit::new(shape, values, book, state.blocksize, compute))
}

/// Reads a layer of 8 bits.
pub(crate) fn load_8bit(
    loader: &mut Loader,
    name: &str,
    (rows, columns): (usize, usize),
    threshold: f32,
) -> Result<EightBit, Failure> {
    let codes = loader.bytes_of(&format!("{name}.weight"))?;
    let scales = loader.floats_of(&format!("{name}.SCB"))?;
    if codes.len() != rows * columns || scales.len() != rows {
        return Err(failures::invalid(format!(
            "the 8-bit weight of `{name}` is not of shape {rows} × {columns}"
        )));
    }
    Ok(EightBit {
        rows,
        columns,
        codes: codes.into_iter().map(u8::cast_signed).collect(),
        scales,
        threshold,
    })
}
