//! A model and its options, as the commands write them: `MODEL --dtype bf16 --load-in-4bit`. The names are
//! the library's, with hyphens.

use wire::model::{
    Activations, DType, Device, FourBitType, GgmlType, ModelSource, ModelSpec, Quantization,
    QuantizationMethod, Threshold,
};

/// What `%help` says of them.
macro_rules! options_help {
    () => {
        "`--file GGUF`, `--revision REVISION`, `--dtype f32|f16|bf16`, `--activations f32|int8|bf16`, \
`--cache-dtype f32|f16|bf16`, `--device auto|cpu|cuda:N`; to quantise, as `BitsAndBytesConfig`, `--load-in-4bit` with \
`--quant-type fp4|nf4` (fp4), `--double-quant` and `--compute-dtype f32|f16|bf16` (f32), or `--load-in-8bit`, or \
as GGUF files, `--quantize q4_k`"
    };
}
pub(super) use options_help;

/// Those of a tokenizer alone.
pub(super) const OF_FILES: [&str; 2] = ["--file", "--revision"];

const NAMES: [&str; 12] = [
    "--file",
    "--revision",
    "--dtype",
    "--activations",
    "--cache-dtype",
    "--device",
    "--load-in-4bit",
    "--load-in-8bit",
    "--quant-type",
    "--double-quant",
    "--compute-dtype",
    "--quantize",
];

/// transformers' `llm_int8_threshold`, when it is not set.
const THRESHOLD: Threshold = Threshold(6.0);

/// What could stand behind a model and these words.
pub(super) fn complete(before: &[&str]) -> Vec<String> {
    let values: Vec<&str> = match before.last() {
        Some(&("--dtype" | "--cache-dtype" | "--compute-dtype")) => vec!["f32", "f16", "bf16"],
        Some(&"--activations") => Activations::ALL.map(Activations::name).to_vec(),
        Some(&"--device") => vec!["auto", "cpu", "cuda:0"],
        Some(&"--quant-type") => vec!["nf4", "fp4"],
        Some(&"--quantize") => GgmlType::ALL.map(GgmlType::name).to_vec(),
        Some(&("--file" | "--revision")) => Vec::new(),
        _ => NAMES.to_vec(),
    };
    let fresh = values.into_iter().filter(|value| !before.contains(value));
    fresh.map(str::to_owned).collect()
}

/// A model as its files have it.
pub(super) fn plain(model: &str) -> ModelSpec {
    ModelSpec {
        source: ModelSource::new(model),
        dtype: None,
        auto_dtype: false,
        device_map: Device::Auto.into(),
        quantization: None,
        activations: Activations::F32,
        cache_dtype: None,
    }
}

/// A model and its options.
pub(super) fn spec(arguments: &str) -> Result<ModelSpec, String> {
    let mut words = arguments.split_whitespace();
    let mut spec = plain(words.next().ok_or("which model?")?);
    let mut bits = Bits::default();
    while let Some(option) = words.next() {
        let mut value = || {
            words
                .next()
                .ok_or_else(|| format!("`{option}` needs a value"))
        };
        match option {
            "--file" => spec.source.gguf_file = Some(value()?.to_owned()),
            "--revision" => spec.source.revision = Some(value()?.to_owned()),
            "--dtype" => spec.dtype = Some(dtype(value()?)?),
            "--cache-dtype" => spec.cache_dtype = Some(dtype(value()?)?),
            "--activations" => spec.activations = activations(value()?)?,
            "--device" => spec.device_map = device(value()?)?.into(),
            "--load-in-4bit" => bits.four = true,
            "--load-in-8bit" => bits.eight = true,
            "--double-quant" => bits.double_quant = true,
            "--quant-type" => bits.kind = Some(four_bit(value()?)?),
            "--compute-dtype" => bits.compute = Some(dtype(value()?)?),
            "--quantize" => bits.blocks = Some(blocks(value()?)?),
            _ => return Err(format!("`{option}` is no option")),
        }
    }
    spec.quantization = bits.resolve()?;
    Ok(spec)
}

/// A tokenizer's files, and the words behind them.
pub(super) fn source(arguments: &str) -> Result<(ModelSource, &str), String> {
    let (model, mut rest) = first_word(arguments);
    if model.is_empty() {
        return Err("which model?".to_owned());
    }
    let mut source = ModelSource::new(model);
    while let (option @ ("--file" | "--revision"), behind) = first_word(rest) {
        let (value, behind) = first_word(behind);
        if value.is_empty() {
            return Err(format!("`{option}` needs a value"));
        }
        match option {
            "--file" => source.gguf_file = Some(value.to_owned()),
            _ => source.revision = Some(value.to_owned()),
        }
        rest = behind;
    }
    Ok((source, rest))
}

/// What was said of quantisation.
#[derive(Default)]
struct Bits {
    four: bool,
    eight: bool,
    double_quant: bool,
    kind: Option<FourBitType>,
    compute: Option<DType>,
    blocks: Option<GgmlType>,
}

impl Bits {
    fn resolve(self) -> Result<Option<Quantization>, String> {
        let ways = [self.four, self.eight, self.blocks.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            let ways = "`--load-in-4bit`, `--load-in-8bit` and `--quantize`";
            return Err(format!("{ways} exclude each other"));
        }
        let of_four = [
            ("--quant-type", self.kind.is_some()),
            ("--double-quant", self.double_quant),
            ("--compute-dtype", self.compute.is_some()),
        ];
        if let Some((name, _)) = of_four.iter().find(|(_, is_set)| *is_set && !self.four) {
            return Err(format!("`{name}` goes with `--load-in-4bit`"));
        }
        let method = if self.four {
            QuantizationMethod::FourBit {
                kind: self.kind.unwrap_or_default(),
                double_quant: self.double_quant,
                compute_dtype: self.compute.unwrap_or(DType::F32),
            }
        } else if self.eight {
            let threshold = THRESHOLD;
            QuantizationMethod::EightBit { threshold }
        } else if let Some(kind) = self.blocks {
            QuantizationMethod::Ggml(kind)
        } else {
            return Ok(None);
        };
        Ok(Some(Quantization {
            method,
            skip_modules: None,
        }))
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

pub(super) fn dtype(name: &str) -> Result<DType, String> {
    match name {
        "f32" | "float32" => Ok(DType::F32),
        "f16" | "float16" => Ok(DType::F16),
        "bf16" | "bfloat16" => Ok(DType::BF16),
        _ => Err(format!("`{name}` is no element type")),
    }
}

fn activations(name: &str) -> Result<Activations, String> {
    Activations::from_name(name).ok_or_else(|| format!("there are no activations in `{name}`"))
}

fn four_bit(name: &str) -> Result<FourBitType, String> {
    let mut all = [FourBitType::Fp4, FourBitType::Nf4].into_iter();
    all.find(|kind| kind.name() == name)
        .ok_or_else(|| format!("`{name}` is no type of 4 bits"))
}

fn blocks(name: &str) -> Result<GgmlType, String> {
    GgmlType::from_name(name).ok_or_else(|| format!("`{name}` is no type of blocks"))
}

pub(super) fn device(name: &str) -> Result<Device, String> {
    let ordinal = |text: &str| text.parse().map(Device::Cuda).ok();
    match name {
        "auto" => Some(Device::Auto),
        "cpu" => Some(Device::Cpu),
        "cuda" => Some(Device::Cuda(0)),
        _ => name.strip_prefix("cuda:").and_then(ordinal),
    }
    .ok_or_else(|| format!("`{name}` is no device"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_is_loaded() {
        let spec = spec("a/b --dtype bf16 --device cuda:1 --file x.gguf").expect("is right");
        assert_eq!(spec.source.repo, "a/b");
        assert_eq!(spec.source.gguf_file.as_deref(), Some("x.gguf"));
        assert_eq!(
            (spec.dtype, spec.device_map),
            (Some(DType::BF16), Device::Cuda(1).into())
        );
        assert_eq!(spec.activations, Activations::F32);
        assert_eq!(spec.quantization, None);
        let rounding = super::spec("a/b --activations int8").expect("is right");
        assert_eq!(rounding.activations, Activations::Int8);
        let halved = super::spec("a/b --cache-dtype f16").expect("is right");
        assert_eq!((halved.dtype, halved.cache_dtype), (None, Some(DType::F16)));
    }

    #[test]
    fn options_say_how_it_is_quantised() {
        let method = |options: &str| {
            let spec = spec(&format!("a/b {options}")).expect("is right");
            spec.quantization.expect("is quantised").method
        };
        let four = |kind, double_quant, compute_dtype| QuantizationMethod::FourBit {
            kind,
            double_quant,
            compute_dtype,
        };
        assert_eq!(
            method("--load-in-4bit"),
            four(FourBitType::Fp4, false, DType::F32),
            "transformers' defaults"
        );
        assert_eq!(
            method("--load-in-4bit --quant-type nf4 --double-quant --compute-dtype bf16"),
            four(FourBitType::Nf4, true, DType::BF16)
        );
        let threshold = Threshold(6.0);
        assert_eq!(
            method("--load-in-8bit"),
            QuantizationMethod::EightBit { threshold }
        );
        assert_eq!(
            method("--quantize q4_k"),
            QuantizationMethod::Ggml(GgmlType::Q4K)
        );
    }

    #[test]
    fn wrong_options_are_named() {
        let exclude = "`--load-in-4bit`, `--load-in-8bit` and `--quantize` exclude each other";
        for (arguments, complaint) in [
            ("", "which model?"),
            ("a/b --dtype", "`--dtype` needs a value"),
            ("a/b --dtype int4", "`int4` is no element type"),
            ("a/b --device tpu", "`tpu` is no device"),
            (
                "a/b --activations int4",
                "there are no activations in `int4`",
            ),
            ("a/b fast", "`fast` is no option"),
            ("a/b --load-in-4bit --load-in-8bit", exclude),
            ("a/b --load-in-8bit --quantize q8_0", exclude),
            (
                "a/b --quant-type nf4",
                "`--quant-type` goes with `--load-in-4bit`",
            ),
            (
                "a/b --load-in-8bit --double-quant",
                "`--double-quant` goes with `--load-in-4bit`",
            ),
            (
                "a/b --load-in-4bit --quant-type q4",
                "`q4` is no type of 4 bits",
            ),
            ("a/b --quantize nf4", "`nf4` is no type of blocks"),
        ] {
            assert_eq!(spec(arguments), Err(complaint.to_owned()), "{arguments}");
        }
    }

    #[test]
    fn a_tokenizers_options_end_where_its_text_begins() {
        let (files, text) =
            source("a/b --revision v1  --file x.gguf  a --file  text").expect("is right");
        assert_eq!(files.repo, "a/b");
        assert_eq!(files.revision.as_deref(), Some("v1"));
        assert_eq!(files.gguf_file.as_deref(), Some("x.gguf"));
        assert_eq!(text, "a --file  text");
        assert_eq!(source("a/b").expect("is right").1, "");
        assert!(source("a/b --file").is_err() && source(" ").is_err());
    }

    #[test]
    fn options_are_offered_once() {
        let offered = complete(&["a/b", "--load-in-4bit"]);
        assert!(offered.contains(&"--quant-type".to_owned()));
        assert!(!offered.contains(&"--load-in-4bit".to_owned()));
        assert_eq!(complete(&["a/b", "--quant-type"]), ["nf4", "fp4"]);
    }
}
