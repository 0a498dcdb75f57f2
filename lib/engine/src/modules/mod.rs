//! What `print(model)` of transformers 4.57 shows: parts that all trees of modules are made of. `families` puts
//! those of decoders together, [`outline`] those of encoders and encoder-decoders, from a text an architecture.

mod outline;
mod outlined;

pub(crate) use outlined::{Kind, outlined};
use serde_json::Value;
use wire::model::ModuleInfo;

/// A linear layer, or one of bitsandbytes' classes.
pub(crate) fn linear(class: &str, (rows, columns): (usize, usize), bias: bool) -> String {
    let bias = boolean(bias);
    format!("{class}(in_features={columns}, out_features={rows}, bias={bias})")
}

/// A token table, with the id of its row for padding.
pub(crate) fn embedding(
    class: &str,
    (rows, columns): (usize, usize),
    padding: Option<u64>,
) -> String {
    match padding {
        Some(id) => format!("{class}({rows}, {columns}, padding_idx={id})"),
        None => format!("{class}({rows}, {columns})"),
    }
}

/// A norm of mean and deviation.
pub(crate) fn layer_norm(size: usize, epsilon: f64, bias: bool) -> String {
    let (epsilon, bias) = (float(epsilon), boolean(bias));
    format!("LayerNorm(({size},), eps={epsilon}, elementwise_affine=True, bias={bias})")
}

/// A dropout, whose rate is the first of these keys that the configuration gives a number.
pub(crate) fn dropout(config: &Value, keys: &[&str], default: &str) -> String {
    let rate = keys
        .iter()
        .map(|key| &config[key])
        .find(|rate| rate.is_number());
    let rate = rate.map_or_else(|| default.to_owned(), Value::to_string);
    format!("Dropout(p={rate}, inplace=False)")
}

/// The class of the activation that a configuration calls so, by `ACT2FN`.
pub(crate) fn activation(name: &str) -> String {
    match name {
        "silu" => "SiLUActivation()",
        "swish" => "SiLU()",
        "gelu" | "gelu_python" => "GELUActivation()",
        "gelu_new" => "NewGELUActivation()",
        "gelu_fast" => "FastGELUActivation()",
        "gelu_accurate" => "AccurateGELUActivation()",
        "gelu_pytorch_tanh" | "gelu_python_tanh" => "GELUTanh()",
        "gelu_10" => "ClippedGELUActivation()",
        "laplace" => "LaplaceActivation()",
        "leaky_relu" => "LeakyReLU(negative_slope=0.01)",
        "linear" => "LinearActivation()",
        "mish" => "MishActivation()",
        "quick_gelu" => "QuickGELUActivation()",
        "relu" => "ReLU()",
        "relu2" => "ReLUSquaredActivation()",
        "relu6" => "ReLU6()",
        "sigmoid" => "Sigmoid()",
        "tanh" => "Tanh()",
        other => return format!("{other}()"),
    }
    .to_owned()
}

fn boolean(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// A number as Python writes it: the exponent has two digits.
pub(crate) fn float(value: f64) -> String {
    if (1e-4..1e16).contains(&value) {
        return format!("{value:?}");
    }
    // GGUF has floats of 32 bits, whose shortest digits are fewer.
    let single = value as f32;
    let text = if f64::from(single).to_bits() == value.to_bits() {
        format!("{single:e}")
    } else {
        format!("{value:e}")
    };
    match text.split_once("e-") {
        Some((digits, exponent)) if exponent.len() == 1 => format!("{digits}e-0{exponent}"),
        _ => text,
    }
}

/// A module without weights.
pub(crate) fn plain(name: &str, kind: String) -> ModuleInfo {
    ModuleInfo {
        name: name.to_owned(),
        class: kind,
        count: 1,
        ..ModuleInfo::default()
    }
}

/// A module of others; `None` when none of them has weights.
pub(crate) fn group(
    name: &str,
    kind: String,
    parts: impl IntoIterator<Item = Option<ModuleInfo>>,
) -> Option<ModuleInfo> {
    let parts: Vec<ModuleInfo> = parts.into_iter().flatten().collect();
    let total = |of: fn(&ModuleInfo) -> u64| -> u64 {
        parts
            .iter()
            .map(|part| of(part) * u64::from(part.count))
            .sum()
    };
    let (parameters, bytes) = (total(|part| part.parameters), total(|part| part.bytes));
    (parameters > 0).then_some(ModuleInfo {
        name: name.to_owned(),
        class: kind,
        count: 1,
        parameters,
        bytes,
        parts,
    })
}

/// A `ModuleList`; neighbours that are alike are shown once, as torch does.
pub(crate) fn list(name: &str, parts: Vec<ModuleInfo>) -> ModuleInfo {
    let mut shown: Vec<(usize, ModuleInfo)> = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        match shown.last_mut() {
            Some((first, last)) if (&last.class, &last.parts) == (&part.class, &part.parts) => {
                last.count += 1;
                last.name = format!("{first}-{index}");
            }
            _ => shown.push((index, part)),
        }
    }
    let parts = shown.into_iter().map(|(_, part)| Some(part));
    group(name, "ModuleList".to_owned(), parts)
        .unwrap_or_else(|| plain(name, "ModuleList()".to_owned()))
}
