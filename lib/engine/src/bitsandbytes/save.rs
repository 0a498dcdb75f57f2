//! `save_pretrained` of a model that is quantised on load: the same weights are read and quantised
//! again, tensor by tensor, into a folder that transformers reads.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use serde_json::{Map, Value, json};
use wire::{
    Failure,
    model::{DType, FourBitType, Quantization, QuantizationMethod},
};

use super::{
    Absmax, Plan, Source, code_book, four_bit::NESTED_BLOCK, quantize_4bit, quantize_8bit,
    source::format_of, stored::State,
};
use crate::{
    failures,
    kernels::BLOCK,
    weights::{Description, Loader, Weights},
};

/// Writes `config.json` and `model.safetensors` of the quantised model into a folder.
///
/// # Errors
/// The weights are quantised already, or a file cannot be read or written.
pub fn save(
    weights: &Weights,
    plan: &Plan,
    loader: &mut Loader,
    folder: &Path,
) -> Result<(), Failure> {
    let Description::Json(config) = &weights.description else {
        return Err(failures::unsupported("only safetensors can be quantised"));
    };
    if plan.stored {
        return Err(failures::unsupported(
            "its weights are quantised already: copy its files",
        ));
    }
    if let Some(QuantizationMethod::Ggml(kind)) = plan.method() {
        return Err(failures::unsupported(format!(
            "weights in {} cannot be saved",
            kind.name()
        ))
        .hint("quantise with `BitsAndBytesConfig` to save, or load the original with `quantize` again"));
    }
    let io = |error: std::io::Error| failures::unwritable(folder, &error);
    fs::create_dir_all(folder).map_err(io)?;
    let mut file = Output::new(folder).map_err(io)?;
    for (name, entry) in weights.tensors.iter().filter(|(name, _)| plan.has(name)) {
        let Some(module) = plan.module(name, entry) else {
            let dtype = plan.dtype_of(name);
            let source = loader.source(name, dtype, false)?;
            let bytes = source.as_source().converted();
            file.add(name, dtype_name(dtype), &entry.shape, &bytes)
                .map_err(io)?;
            continue;
        };
        let turned = plan.turns(name);
        let source = loader.source(name, plan.dtype, turned)?;
        let shape = if turned {
            [entry.shape[1], entry.shape[0]]
        } else {
            [entry.shape[0], entry.shape[1]]
        };
        let written = match plan.method() {
            Some(&QuantizationMethod::FourBit {
                kind, double_quant, ..
            }) => file.add_4bit(module, source.as_source(), shape, (kind, double_quant)),
            Some(QuantizationMethod::EightBit { .. }) => {
                let (codes, scales) = quantize_8bit(source.as_source(), shape[1]);
                let codes: Vec<u8> = codes.into_iter().map(i8::cast_unsigned).collect();
                file.add(name, "I8", &shape, &codes)
                    .and_then(|()| file.add_floats(&format!("{module}.SCB"), &scales))
                    .and_then(|()| file.add(&format!("{module}.weight_format"), "U8", &[], &[0]))
            }
            None | Some(QuantizationMethod::Ggml(_)) => Ok(()),
        };
        written.map_err(io)?;
    }
    file.finish(folder).map_err(io)?;
    let config = configuration(config, plan, plan.tied_outputs(weights));
    let text = serde_json::to_vec_pretty(&config).map_err(|error| io(error.into()))?;
    fs::write(folder.join("config.json"), text).map_err(io)
}

/// The model's configuration with its type, and with what `BitsAndBytesConfig.to_dict` adds.
/// The list of what is not quantised gets what is tied.
fn configuration(config: &Value, plan: &Plan, tied: Vec<&str>) -> Value {
    let mut config = config.clone();
    if let Some(fields) = config.as_object_mut() {
        fields.remove("torch_dtype");
        fields.insert("dtype".to_owned(), torch_name(plan.dtype).into());
        if let Some(quantization) = &plan.quantization {
            let mut quantization = quantization.clone();
            if let Some(skipped) = &mut quantization.skip_modules {
                skipped.extend(tied.into_iter().map(str::to_owned));
            }
            fields.insert("quantization_config".to_owned(), section(&quantization));
        }
    }
    config
}

fn section(quantization: &Quantization) -> Value {
    let mut section = json!({
        "_load_in_4bit": false,
        "_load_in_8bit": false,
        "bnb_4bit_compute_dtype": "float32",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": false,
        "llm_int8_enable_fp32_cpu_offload": false,
        "llm_int8_has_fp16_weight": false,
        "llm_int8_skip_modules": quantization.skip_modules,
        "llm_int8_threshold": 6.0,
        "load_in_4bit": false,
        "load_in_8bit": false,
        "quant_method": "bitsandbytes",
    });
    match &quantization.method {
        QuantizationMethod::FourBit {
            kind,
            double_quant,
            compute_dtype,
        } => {
            section["load_in_4bit"] = true.into();
            section["_load_in_4bit"] = true.into();
            section["bnb_4bit_quant_type"] = kind.name().into();
            section["bnb_4bit_use_double_quant"] = (*double_quant).into();
            section["bnb_4bit_compute_dtype"] = torch_name(*compute_dtype).into();
        }
        QuantizationMethod::EightBit { threshold } => {
            section["load_in_8bit"] = true.into();
            section["_load_in_8bit"] = true.into();
            section["llm_int8_threshold"] = threshold.0.into();
        }
        QuantizationMethod::Ggml(_) => {}
    }
    section
}

/// A safetensors file in the making. Data of each width goes to a file of its own, widest first in the
/// end: readers take slices at multiples of the width only.
struct Output {
    /// For widths of 4, 2 and 1 bytes.
    parts: [Part; 3],
}

struct Part {
    data: File,
    length: usize,
    /// Name, type, shape and bytes.
    tensors: Vec<(String, &'static str, Vec<usize>, usize)>,
}

impl Output {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let part = |width: usize| {
            let path = folder.join(format!(".model.safetensors.{width}"));
            let data = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            // Without a name it goes when the process does.
            fs::remove_file(path)?;
            Ok::<_, std::io::Error>(Part {
                data,
                length: 0,
                tensors: Vec::new(),
            })
        };
        Ok(Self {
            parts: [part(4)?, part(2)?, part(1)?],
        })
    }

    fn add(
        &mut self,
        name: &str,
        dtype: &'static str,
        shape: &[usize],
        bytes: &[u8],
    ) -> std::io::Result<()> {
        let part = match dtype {
            "F32" => &mut self.parts[0],
            "F16" | "BF16" => &mut self.parts[1],
            _ => &mut self.parts[2],
        };
        part.data.write_all(bytes)?;
        part.length += bytes.len();
        part.tensors
            .push((name.to_owned(), dtype, shape.to_vec(), bytes.len()));
        Ok(())
    }

    fn add_floats(&mut self, name: &str, values: &[f32]) -> std::io::Result<()> {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.add(name, "F32", &[values.len()], &bytes)
    }

    fn add_4bit(
        &mut self,
        module: &str,
        source: Source<'_>,
        shape: [usize; 2],
        (kind, double): (FourBitType, bool),
    ) -> std::io::Result<()> {
        let values = quantize_4bit(source, kind, double);
        let name = |part: &str| format!("{module}.weight{part}");
        self.add(&name(""), "U8", &[values.packed.len(), 1], &values.packed)?;
        self.add_floats(&name(".quant_map"), &code_book(kind))?;
        let mut state = State {
            quant_type: kind.name().to_owned(),
            blocksize: BLOCK,
            dtype: torch_name(source.dtype).to_owned(),
            shape: shape.to_vec(),
            nested_blocksize: None,
            nested_dtype: None,
            nested_offset: None,
        };
        match &values.absmax {
            Absmax::Plain(absmax) => self.add_floats(&name(".absmax"), absmax)?,
            Absmax::Nested {
                codes,
                absmax,
                map,
                offset,
            } => {
                self.add(&name(".absmax"), "U8", &[codes.len()], codes)?;
                self.add_floats(&name(".nested_absmax"), absmax)?;
                self.add_floats(&name(".nested_quant_map"), map)?;
                state.nested_blocksize = Some(NESTED_BLOCK);
                state.nested_dtype = Some("float32".to_owned());
                state.nested_offset = Some(f64::from(*offset));
            }
        }
        let state = serde_json::to_vec(&state).map_err(std::io::Error::other)?;
        let name = name(&format!(".quant_state.bitsandbytes__{}", kind.name()));
        self.add(&name, "U8", &[state.len()], &state)
    }

    fn finish(mut self, folder: &Path) -> std::io::Result<()> {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        let mut start = 0;
        for part in &self.parts {
            for (name, dtype, shape, bytes) in &part.tensors {
                let place = [start, start + bytes];
                start += bytes;
                let tensor = json!({"dtype": dtype, "shape": shape, "data_offsets": place});
                header.insert(name.clone(), tensor);
            }
        }
        let mut header = serde_json::to_vec(&header).map_err(std::io::Error::other)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = File::create(folder.join("model.safetensors"))?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for part in &mut self.parts {
            part.data.seek(SeekFrom::Start(0))?;
            std::io::copy(&mut part.data, &mut file)?;
        }
        file.sync_all()
    }
}

fn dtype_name(dtype: DType) -> &'static str {
    format_of(dtype).name()
}

fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
    }
}
