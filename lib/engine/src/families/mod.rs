//! Model families, one file each: what its configuration means, and the names of its weights. All
//! are decoders of the same parts: a family gives a [`Plan`] and [`Names`], `assemble` reads the
//! weights, `decoder` runs. [`load`] picks the family that a file says it is of.

mod assemble;
mod decoder;
mod gguf;
pub(crate) mod json;
mod modules;
mod names;
pub(crate) mod plan;

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
mod llama;
mod mistral;
mod mixtral;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod smollm3;
mod starcoder2;
pub(crate) mod types;

use candle_core::{Result, Tensor};
pub(crate) use decoder::check_room;
use gguf::Gguf;
use json::Json;
pub(crate) use modules::{HEAD, class_name, parameter_names};
use names::Names;
use plan::Plan;
use serde_json::Value;
use wire::{Failure, host::Event, model::ModuleInfo};

use crate::{
    Cancel,
    class::Class,
    failures,
    layers::{KvCache, Memory, Size},
    weights::{Description, Loader, Weights},
};

/// What is known of a model before its weights are read.
type Blueprint = (Plan, Names);

/// How files name a family, and what reads its configuration.
struct Family {
    /// `model_type` of `config.json`.
    model_types: &'static [&'static str],
    /// `general.architecture` of GGUF, where the family has a name of its own there.
    gguf: Option<(&'static str, FromGguf)>,
    from_json: fn(Json) -> std::result::Result<Blueprint, Failure>,
    /// What the family takes for keys that `config.json` leaves out: the defaults of its configuration's
    /// class.
    defaults: fn() -> Value,
}

type FromGguf = fn(Gguf, &mut Loader) -> std::result::Result<Blueprint, Failure>;

const FAMILIES: &[Family] = &[
    Family {
        model_types: &["llama"],
        gguf: Some(("llama", llama::from_gguf)),
        from_json: llama::from_json,
        defaults: llama::defaults,
    },
    Family {
        model_types: &["mistral"],
        gguf: None,
        from_json: mistral::from_json,
        defaults: mistral::defaults,
    },
    Family {
        model_types: &["mixtral"],
        gguf: None,
        from_json: mixtral::from_json,
        defaults: mixtral::defaults,
    },
    Family {
        model_types: &["qwen2"],
        gguf: Some(("qwen2", qwen2::from_gguf)),
        from_json: qwen2::from_json,
        defaults: qwen2::defaults,
    },
    Family {
        model_types: &["qwen3"],
        gguf: Some(("qwen3", qwen3::from_gguf)),
        from_json: qwen3::from_json,
        defaults: qwen3::defaults,
    },
    Family {
        model_types: &["qwen3_moe"],
        gguf: Some(("qwen3moe", qwen3_moe::from_gguf)),
        from_json: qwen3_moe::from_json,
        defaults: qwen3_moe::defaults,
    },
    Family {
        model_types: &["phi3"],
        gguf: Some(("phi3", phi3::from_gguf)),
        from_json: phi3::from_json,
        defaults: phi3::defaults,
    },
    Family {
        model_types: &["gemma"],
        gguf: Some(("gemma", gemma::from_gguf)),
        from_json: gemma::from_json,
        defaults: gemma::defaults,
    },
    Family {
        model_types: &["gemma2"],
        gguf: Some(("gemma2", gemma2::from_gguf)),
        from_json: gemma2::from_json,
        defaults: gemma2::defaults,
    },
    Family {
        model_types: &["gemma3_text", "gemma3"],
        gguf: Some(("gemma3", gemma3::from_gguf)),
        from_json: gemma3::from_json,
        defaults: gemma3::defaults,
    },
    Family {
        model_types: &["smollm3"],
        gguf: Some(("smollm3", smollm3::from_gguf)),
        from_json: smollm3::from_json,
        defaults: smollm3::defaults,
    },
    Family {
        model_types: &["gpt2"],
        gguf: Some(("gpt2", gpt2::from_gguf)),
        from_json: gpt2::from_json,
        defaults: gpt2::defaults,
    },
    Family {
        model_types: &["starcoder2"],
        gguf: Some(("starcoder2", starcoder2::from_gguf)),
        from_json: starcoder2::from_json,
        defaults: starcoder2::defaults,
    },
];

/// Sizes of a loaded model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSizes {
    /// Tokens it knows.
    pub vocab_size: usize,
    /// Longest context, in tokens.
    pub context_length: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
}

/// New tokens of one sequence, or of a batch of them.
pub struct Part<'a> {
    /// `(batch, tokens)`, row by row.
    pub ids: &'a [u32],
    /// What was read before.
    pub cache: &'a mut KvCache,
}

/// A decoder that predicts the next token. It holds weights only: what belongs to a sequence is in
/// its [`KvCache`], so that several sequences can share one model.
pub trait CausalLm: Send + Sync {
    /// The family's name.
    fn architecture(&self) -> &'static str;

    /// Its sizes.
    fn sizes(&self) -> &ModelSizes;

    /// Bytes that the weights take.
    fn bytes(&self) -> u64;

    /// Its modules, as transformers prints them; `None` where they are not known.
    fn modules(&self) -> Option<&ModuleInfo>;

    /// What reads its sources, of a decoder that writes about what an encoder has read. Its caches are to be
    /// [`KvCache::about`] some.
    fn source_reader(&self) -> Option<&dyn SourceReader> {
        None
    }

    /// Tokens of a sequence at most; `None` where no table of positions ends.
    fn position_limit(&self) -> Option<usize> {
        None
    }

    /// Tokens of a sequence up to which what is cached of one does not depend on how many come after it.
    fn settled_length(&self) -> usize {
        usize::MAX
    }

    /// An empty cache that fits it, for one sequence.
    fn new_cache(&self) -> KvCache {
        self.new_batch_cache(&[0])
    }

    /// An empty cache for several sequences of one length, padded on the left; `padding` has the
    /// number of padding tokens of each, which no token will look at.
    fn new_batch_cache(&self, padding: &[usize]) -> KvCache;

    /// Whether a card computes it, or some of it.
    fn is_on_card(&self) -> bool {
        false
    }

    /// Reads new tokens of several sequences or batches in one pass over the weights; gives the last
    /// hidden states of all parts, joined as by [`crate::layers::join`], with their sizes. Those of padding mean
    /// nothing. After a failure some of the caches may have larger buffers, but no more tokens.
    fn read(&self, parts: &mut [Part]) -> Result<(Tensor, Vec<Size>)>;

    /// The same of one part, `(batch, tokens, hidden)`.
    fn hidden_states(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor> {
        let (states, _) = self.read(&mut [Part { ids, cache }])?;
        Ok(states)
    }

    /// As [`Self::hidden_states`], with what comes before: the token vectors, then what each layer gives,
    /// each `(batch, tokens, hidden)`. The last one is what `hidden_states` gives.
    fn layer_states(&self, ids: &[u32], cache: &mut KvCache) -> Result<Vec<Tensor>>;

    /// From hidden states `(batch, tokens, hidden)` to logits `(batch, tokens, vocabulary)`.
    fn logits(&self, hidden_states: &Tensor) -> Result<Tensor>;
}

/// The half of an encoder-decoder that reads.
pub trait SourceReader: Send + Sync {
    /// Tokens it knows.
    fn vocab_size(&self) -> usize;

    /// Tokens that it reads at most, and that its decoder writes at most; `None` for any number.
    fn longest(&self) -> Option<usize>;

    /// The last states of source texts, one behind the other, `(1, tokens, hidden)`.
    fn states(&self, sources: &[&[u32]]) -> Result<Tensor>;

    /// Reads source texts, at least one token each.
    fn memory(&self, sources: &[&[u32]]) -> Result<Memory>;
}

/// Loads a model of any supported family. `name` is what progress and failures call it.
pub fn load(
    weights: &Weights,
    name: &str,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Event),
) -> std::result::Result<Box<dyn CausalLm>, Failure> {
    build(weights, name, Loader::new(weights, name, cancel, sink))
}

/// The same by a loader of these weights, which may quantise.
pub fn build(
    weights: &Weights,
    name: &str,
    mut loader: Loader,
) -> std::result::Result<Box<dyn CausalLm>, Failure> {
    let loader = &mut loader;
    let blueprint = match &weights.description {
        Description::Json(json) => by_json(Json::new(json)),
        Description::Gguf(metadata) => by_gguf(Gguf::new(metadata, weights), loader),
    };
    let blueprint = blueprint.and_then(|(plan, names)| Ok((plan.checked()?, names)));
    let (plan, names) = blueprint.map_err(|failure| named(failure, name))?;
    let mut model = assemble::assemble(plan.clone(), &names, loader)?;
    let config = match &weights.description {
        Description::Json(json) => json,
        Description::Gguf(_) => &Value::Null,
    };
    model.modules = modules::tree(&plan, loader.parts(), config);
    Ok(Box::new(model))
}

/// What transformers' class of a decoder has. Its buffers are the rotary frequencies, the causal masks of
/// GPT-2 with the score of what they hide, and Gemma 3's scale of token vectors.
pub(crate) fn class(weights: &Weights) -> Class {
    let class = Class {
        base: base(&weights.description),
        kept: vec![HEAD.to_owned()],
        ..Class::default()
    };
    let Some(plan) = plan_of(&weights.description) else {
        return class;
    };
    let frequencies: usize = plan.ropes.iter().map(|rope| rope.dim / 2 * 4).sum();
    let (computed, masks) = match plan.architecture {
        "gpt2" => {
            let layers = plan.layers.len();
            (layers, layers * plan.sizes.context_length.pow(2))
        }
        "gemma3_text" | "gemma3" => (1, 0),
        _ => (0, 0),
    };
    let second = plan.tied.then(|| format!("{HEAD}.weight"));
    Class {
        foreign: second.into_iter().collect(),
        computed,
        buffer_bytes: frequencies + masks,
        ..class
    }
}

/// What the names of layers begin with in the class that transformers has for a decoder's `config.json`;
/// nothing for other models.
fn base(description: &Description) -> &'static str {
    let Description::Json(config) = description else {
        return "";
    };
    let model_type = config["model_type"].as_str().unwrap_or_default();
    let is_decoder = FAMILIES
        .iter()
        .any(|family| family.model_types.contains(&model_type));
    match model_type {
        "gpt2" => "transformer.",
        _ if is_decoder && config["text_config"].is_object() => "model.language_model.",
        _ if is_decoder => "model.",
        _ => "",
    }
}

/// Layers, heads of keys and values, their width, and the longest context, by `config.json` as the family
/// reads it.
pub(crate) fn cache_shape(description: &Description) -> Option<[usize; 4]> {
    let plan = plan_of(description)?;
    let attention = plan.attention;
    Some([
        plan.layers.len(),
        attention.kv_heads,
        attention.head_dim,
        plan.sizes.context_length,
    ])
}

fn plan_of(description: &Description) -> Option<plan::Plan> {
    let Description::Json(json) = description else {
        return None;
    };
    let (plan, _) = by_json(Json::new(json)).ok()?;
    plan.checked().ok()
}

fn by_json(json: Json) -> std::result::Result<Blueprint, Failure> {
    let model_type = json.model_type().ok_or_else(nameless)?;
    let family = FAMILIES
        .iter()
        .find(|family| family.model_types.contains(&model_type));
    match family {
        Some(family) => (family.from_json)(json.with_defaults(&(family.defaults)())),
        None => Err(unknown(
            model_type,
            FAMILIES.iter().map(|family| family.model_types[0]),
        )),
    }
}

fn by_gguf(gguf: Gguf, loader: &mut Loader) -> std::result::Result<Blueprint, Failure> {
    let known = || FAMILIES.iter().filter_map(|family| family.gguf);
    match gguf.architecture() {
        "" => Err(nameless()),
        name => match known().find(|(known, _)| *known == name) {
            Some((_, from_gguf)) => from_gguf(gguf, loader),
            None => Err(unknown(name, known().map(|(name, _)| name))),
        },
    }
}

fn nameless() -> Failure {
    failures::invalid("it names no architecture")
}

fn unknown(architecture: &str, known: impl Iterator<Item = &'static str>) -> Failure {
    let known: Vec<&str> = known.collect();
    failures::unsupported(format!("architecture `{architecture}` is not supported"))
        .hint(format!("architectures that load: {}", known.join(", ")))
}

/// The failure with the model's name, which failures of the loader have already.
pub(crate) fn named(failure: Failure, name: &str) -> Failure {
    let start = format!("cannot load `{name}`: ");
    if failure.message.starts_with(&start) {
        return failure;
    }
    Failure {
        message: format!("{start}{}", failure.message),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    /// A configuration that says nothing is one that says what transformers would take for it (fixture by
    /// `make_config_defaults.py`).
    #[test]
    fn what_a_configuration_leaves_out_is_what_transformers_takes() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config_defaults.json");
        let text = std::fs::read(path).expect("the fixture is there");
        let fixture: Value = serde_json::from_slice(&text).expect("is JSON");
        let configs = fixture["configs"].as_object().expect("by types");
        assert_eq!(configs.len(), FAMILIES.len());
        for (kind, full) in configs {
            let plan = |config: &Value| {
                let (plan, _) = by_json(Json::new(config)).expect("is a model");
                format!("{plan:#?}")
            };
            let bare = serde_json::json!({ "model_type": kind });
            similar(&plan(&bare), &plan(full), kind);
            // And key by key, beside all others.
            for key in full.as_object().expect("an object").keys() {
                let mut without = full.clone();
                without.as_object_mut().expect("an object").remove(key);
                if key != "model_type" {
                    similar(
                        &plan(&without),
                        &plan(full),
                        &format!("{kind} without {key}"),
                    );
                }
            }
        }
    }

    /// The plan of a family's defaults with these keys.
    fn planned(kind: &str, keys: &Value) -> String {
        let mut config = keys.clone();
        config["model_type"] = kind.into();
        let (plan, _) = by_json(Json::new(&config)).expect("is a model");
        format!("{plan:#?}")
    }

    /// Keys that classes of transformers 4.57.6 know by name, or from other classes, and do not look at.
    #[test]
    fn what_a_class_does_not_look_at_changes_nothing() {
        let full = || vec!["full_attention"; 32];
        for kind in ["mistral", "mixtral", "phi3", "starcoder2"] {
            let window = json!({ "num_hidden_layers": 32, "sliding_window": 8 });
            let mut kinds = window.clone();
            kinds["layer_types"] = full().into();
            similar(&planned(kind, &kinds), &planned(kind, &window), kind);
        }
        let window = json!({ "num_hidden_layers": 32, "use_sliding_window": true });
        let mut kinds = window.clone();
        kinds["layer_types"] = full().into();
        let kind = "qwen3_moe";
        similar(&planned(kind, &kinds), &planned(kind, &window), kind);
        let (kind, cap) = ("gemma3_text", json!({ "attn_logit_softcapping": 1.5 }));
        similar(&planned(kind, &cap), &planned(kind, &json!({})), kind);
    }

    #[test]
    fn a_window_that_is_switched_on_has_a_width_by_itself() {
        for kind in ["qwen2", "qwen3", "qwen3_moe"] {
            let mut bare = json!({ "use_sliding_window": true, "max_window_layers": 1 });
            let plan = planned(kind, &bare);
            bare["sliding_window"] = 4096.into();
            similar(&plan, &planned(kind, &bare), kind);
            bare["sliding_window"] = Value::Null;
            assert_ne!(plan, planned(kind, &bare), "a null is none");
        }
    }

    #[test]
    fn a_zero_in_yarn_is_as_good_as_nothing() {
        let mut scaling = json!({ "rope_type": "yarn", "factor": 4.0 });
        let plan = |scaling: &Value| planned("llama", &json!({ "rope_scaling": scaling }));
        let bare = plan(&scaling);
        scaling["beta_fast"] = 0.into();
        scaling["beta_slow"] = 0.0.into();
        similar(&plan(&scaling), &bare, "zeros");
        scaling["beta_fast"] = 16.into();
        assert_ne!(plan(&scaling), bare);
    }

    /// Transformers 4 looks for the trained length of `LongRoPE` beside its values, 5 among them.
    #[test]
    fn the_trained_length_is_where_the_version_has_it() {
        let factors = vec![1.5; 64];
        let mut config = json!({
            "max_position_embeddings": 8192,
            "rope_scaling": {
                "rope_type": "longrope", "factor": 8.0, "short_factor": factors, "long_factor": factors,
            },
        });
        let bare = planned("llama", &config);
        config["rope_scaling"]["original_max_position_embeddings"] = 1024.into();
        let unknown = planned("llama", &config);
        similar(&unknown, &bare, "of an unknown version");
        config["transformers_version"] = "4.57.6".into();
        similar(&planned("llama", &config), &bare, "of 4.57.6");
        config["transformers_version"] = "5.2.0".into();
        let inside = planned("llama", &config);
        assert_ne!(inside, bare);
        config["transformers_version"] = Value::Null;
        config["original_max_position_embeddings"] = 1024.into();
        similar(&planned("llama", &config), &inside, "beside");
    }

    fn similar(one: &str, other: &str, what: &str) {
        for (one, other) in one.lines().zip(other.lines()) {
            assert_eq!(one, other, "{what}");
        }
        assert_eq!(one.lines().count(), other.lines().count(), "{what}");
    }
}
