//! Reads `config.json` in the spellings of transformers 4 and 5: the base of rotary frequencies by
//! itself or among `rope_parameters`, `rope_scaling` or `rope_parameters`, windows by a flag or by
//! `layer_types`, GPT-2's short names. What only one family has, that family asks for by key.

use serde_json::Value;
use wire::Failure;

use super::{
    ModelSizes,
    plan::{Biases, NormKind, Plan, impossible, missing, unknown_scaling},
    types::{check, check_reader, check_rope, unfit},
};
use crate::{
    failures,
    layers::{
        Activation, AttentionShape, DynamicScaling, Llama3Scaling, LongRopeScaling, RopeConfig,
        RopeScaling, RotaryLayout, YarnScaling,
    },
};

/// Most factors of a list that are believed: half of the widest head.
const MOST_FACTORS: usize = 1 << 15;

/// A `config.json`, or the part of it that describes the language model.
#[derive(Clone, Copy)]
pub struct Json<'a> {
    values: &'a Value,
    /// Values of keys that are not there.
    defaults: &'a Value,
}

impl<'a> Json<'a> {
    /// The language model's part.
    pub fn new(json: &'a Value) -> Self {
        let values = match &json["text_config"] {
            text @ Value::Object(_) => text,
            _ => json,
        };
        let defaults = &Value::Null;
        Self { values, defaults }
    }

    /// The same with a family's own values for keys that are not there. A key that is there as `null`
    /// stays `null`, as in transformers.
    pub fn with_defaults(self, defaults: &'a Value) -> Self {
        Self { defaults, ..self }
    }

    fn value(self, key: &str) -> &'a Value {
        self.values.get(key).unwrap_or(&self.defaults[key])
    }

    /// Whether there is such a key, be its value `null`.
    pub fn has(self, key: &str) -> bool {
        self.values.get(key).is_some()
    }

    /// Whether transformers 5 wrote it, by its version or by a key that earlier ones do not know.
    fn is_of_transformers_5(self) -> bool {
        let version = self.text("transformers_version").unwrap_or_default();
        let major = version.split('.').next().unwrap_or_default();
        major.parse().is_ok_and(|major: u32| major >= 5) || self.object("rope_parameters").is_some()
    }

    /// What the configuration calls the family.
    pub fn model_type(self) -> Option<&'a str> {
        self.text("model_type")
    }

    /// A number that is not negative.
    pub fn number(self, key: &str) -> Option<usize> {
        self.value(key).as_u64().map(|number| number as usize)
    }

    /// The id of a token, or a place in a table of so many; `None` where there is none. Fails on one past the end.
    pub fn id(self, key: &str, count: usize) -> Result<Option<u32>, Failure> {
        let value = self.value(key);
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        match id.filter(|&id| (id as usize) < count) {
            None if value.is_number() => {
                let what = format!("a whole number from 0 to {}", count.saturating_sub(1));
                Err(unfit(key, value.clone(), &what))
            }
            id => Ok(id),
        }
    }

    /// A number that must be there.
    pub fn count(self, key: &str) -> Result<usize, Failure> {
        self.number(key).ok_or_else(|| missing(key))
    }

    /// A number.
    pub fn float(self, key: &str) -> Option<f64> {
        self.value(key).as_f64()
    }

    /// A truth value.
    pub fn flag(self, key: &str) -> Option<bool> {
        self.value(key).as_bool()
    }

    /// A text.
    pub fn text(self, key: &str) -> Option<&'a str> {
        self.value(key).as_str()
    }

    /// A list.
    pub fn list(self, key: &str) -> Option<&'a [Value]> {
        self.value(key).as_array().map(Vec::as_slice)
    }

    /// An object.
    pub fn object(self, key: &str) -> Option<&'a serde_json::Map<String, Value>> {
        self.value(key).as_object()
    }

    /// The first of these keys that has a number; one must.
    pub fn any(self, keys: &[&str]) -> Result<usize, Failure> {
        let found = keys.iter().find_map(|key| self.number(key));
        found.ok_or_else(|| missing(keys[0]))
    }

    /// The first of these keys that is there; the first of all where none is.
    pub fn key_of<'k>(self, keys: &[&'k str]) -> &'k str {
        let found = keys.iter().find(|key| self.has(key));
        found.or(keys.first()).copied().unwrap_or_default()
    }

    /// Fails on a value of a wrong type in the configuration of an encoder or an encoder-decoder.
    pub fn check_reader(self) -> Result<(), Failure> {
        check_reader(self.values)
    }

    /// The plan of a decoder with RMS norms and rotary embeddings on every layer, as the keys that
    /// most families share describe it.
    pub fn plan(self, architecture: &'static str) -> Result<Plan, Failure> {
        check(self.values)?;
        let hidden_size = self.any(&["hidden_size", "n_embd"])?;
        let heads = self.any(&["num_attention_heads", "n_head"])?;
        let head_dim = self.number("head_dim");
        let head_dim = head_dim.unwrap_or(hidden_size / heads.max(1));
        let layers = self.any(&["num_hidden_layers", "n_layer"])?;
        let context = self.any(&["max_position_embeddings", "n_positions"]);
        let context_length = context.unwrap_or(2048);
        let inner = self.any(&["intermediate_size", "n_inner"]);
        let rope = self.rope(self.rope_values(None), head_dim, context_length)?;
        Ok(Plan {
            architecture,
            sizes: ModelSizes {
                vocab_size: self.count("vocab_size")?,
                context_length: rope.scaling.context_length(context_length),
                layers,
                hidden_size,
            },
            intermediate_size: inner.or_else(|failure| match architecture {
                "gpt2" => Ok(hidden_size.saturating_mul(4)),
                _ => Err(failure),
            })?,
            attention: AttentionShape {
                heads,
                kv_heads: self.number("num_key_value_heads").unwrap_or(heads),
                head_dim,
            },
            norm: NormKind::Rms,
            norm_epsilon: self.float("rms_norm_eps").unwrap_or(1e-6),
            activation: self.activation(&["hidden_act"], "silu")?,
            scale: 1.0 / (head_dim as f32).sqrt(),
            score_cap: None,
            logit_cap: None,
            embedding_scale: None,
            ropes: vec![rope],
            layout: RotaryLayout::Halves,
            layers: Plan::plain_layers(layers)?,
            tied: self.flag("tie_word_embeddings").unwrap_or(false),
            biases: Biases::NONE,
        })
    }

    /// Whether this key is there, and true.
    pub fn is_set(self, key: &str) -> bool {
        self.flag(key) == Some(true)
    }

    /// The activation that the first of these keys names.
    pub fn activation(self, keys: &[&str], default: &str) -> Result<Activation, Failure> {
        let name = keys
            .iter()
            .find_map(|key| self.text(key))
            .unwrap_or(default);
        Activation::named(name).ok_or_else(|| {
            failures::unsupported(format!("activation `{name}` is not supported")).hint(format!(
                "activations that load: {}",
                Activation::names().join(", ")
            ))
        })
    }

    /// Gives all layers their window: of a class that knows no kinds of layers, and does not look at `layer_types`.
    pub fn slide_all(self, plan: &mut Plan) {
        if let Some(window) = self.number("sliding_window") {
            plan.slide(window, |_| true);
        }
    }

    /// Gives layers their windows: by `layer_types`, or where there is no such list by `slides`.
    pub fn slide(self, plan: &mut Plan, slides: impl Fn(usize) -> bool) {
        if let Some(window) = self.number("sliding_window") {
            plan.slide(window, |layer| self.slides(layer, &slides));
        }
    }

    /// Whether a layer is local: by `layer_types`, or where there is no such list by `slides`.
    pub fn slides(self, layer: usize, slides: &impl Fn(usize) -> bool) -> bool {
        match self.list("layer_types") {
            Some(types) => types.get(layer).and_then(Value::as_str) == Some("sliding_attention"),
            None => slides(layer),
        }
    }

    /// The object that describes the rotary embedding, of one kind of layers where kinds differ.
    pub fn rope_values(self, layer_type: Option<&str>) -> &'a Value {
        let (scaling, parameters) = (self.value("rope_scaling"), self.value("rope_parameters"));
        match layer_type.map(|name| &parameters[name]) {
            Some(values) if values.is_object() => values,
            _ if scaling.is_object() => scaling,
            _ => parameters,
        }
    }

    /// The rotary embedding of these values.
    pub fn rope(
        self,
        values: &Value,
        head_dim: usize,
        context_length: usize,
    ) -> Result<RopeConfig, Failure> {
        check_rope(values)?;
        let either = |key: &str| values[key].as_f64().or(self.float(key));
        let theta = either("rope_theta").unwrap_or(10_000.0);
        let share = either("partial_rotary_factor").unwrap_or(1.0);
        let dim = (head_dim as f64 * share) as usize;
        Ok(RopeConfig {
            theta,
            dim,
            scaling: self.scaling(values, dim, context_length)?,
        })
    }

    fn scaling(
        self,
        values: &Value,
        dim: usize,
        context_length: usize,
    ) -> Result<RopeScaling, Failure> {
        let kind = values["rope_type"].as_str().or(values["type"].as_str());
        let optional = |key: &str| values[key].as_f64();
        let number = |key: &str| optional(key).ok_or_else(|| missing(key));
        let original = || optional("original_max_position_embeddings").filter(|&n| n > 0.0);
        // A zero is as good as nothing where Python says `or`.
        let nonzero = |key: &str| optional(key).filter(|&n| n != 0.0);
        // Phi-3's first files call their kind of LongRoPE `su` or `yarn`; only LongRoPE has two lists.
        if values["long_factor"].is_array() {
            return self.long_rope(values, dim, context_length);
        }
        Ok(match kind {
            None | Some("default") => RopeScaling::Plain,
            Some("linear") => RopeScaling::Linear(number("factor")?),
            // A single pair has no base to stretch.
            Some("dynamic") if dim > 2 => RopeScaling::Dynamic(DynamicScaling {
                factor: number("factor")?,
                max_position_embeddings: context_length,
            }),
            Some("llama3") => RopeScaling::Llama3(Llama3Scaling {
                factor: number("factor")? as f32,
                low_freq_factor: number("low_freq_factor")? as f32,
                high_freq_factor: number("high_freq_factor")? as f32,
                original_max_position_embeddings: number("original_max_position_embeddings")?
                    as f32,
            }),
            Some("yarn") => {
                let factor = number("factor")?;
                let mscale = |by: f64| YarnScaling::magnitude(factor, by);
                let inferred = match (optional("mscale"), optional("mscale_all_dim")) {
                    (Some(one), Some(all)) if one != 0.0 && all != 0.0 => mscale(one) / mscale(all),
                    _ => mscale(1.0),
                };
                RopeScaling::Yarn(YarnScaling {
                    factor,
                    original_max_position_embeddings: original().unwrap_or(context_length as f64),
                    beta_fast: nonzero("beta_fast").unwrap_or(32.0),
                    beta_slow: nonzero("beta_slow").unwrap_or(1.0),
                    truncate: values["truncate"].as_bool().unwrap_or(true),
                    attention_factor: optional("attention_factor").unwrap_or(inferred),
                })
            }
            Some(other) => return Err(unknown_scaling(other)),
        })
    }

    fn long_rope(
        self,
        values: &Value,
        dim: usize,
        context_length: usize,
    ) -> Result<RopeScaling, Failure> {
        let factors = |key: &str| {
            let list = values[key].as_array().ok_or_else(|| missing(key))?;
            if list.len() != dim / 2 || list.len() > MOST_FACTORS {
                return Err(impossible(&format!(
                    "{} values of `{key}` for a rotary embedding of {dim}",
                    list.len()
                )));
            }
            let floats = list.iter().map(|value| value.as_f64().map(|f| f as f32));
            floats
                .collect::<Option<Vec<f32>>>()
                .ok_or_else(|| missing(key))
        };
        // Transformers 4 looks for the trained length beside the scaling alone, transformers 5 in it.
        let key = "original_max_position_embeddings";
        let inside = values[key].as_u64().map(|n| n as usize);
        let inside = inside.filter(|_| self.is_of_transformers_5());
        let original = inside.or(self.number(key)).filter(|&n| n > 0);
        let factor = match original {
            Some(original) => context_length as f64 / original as f64,
            None => values["factor"].as_f64().unwrap_or(1.0),
        };
        let original = original.unwrap_or(context_length);
        let attention_factor = values["attention_factor"].as_f64();
        Ok(RopeScaling::LongRope(LongRopeScaling {
            short_factor: factors("short_factor")?,
            long_factor: factors("long_factor")?,
            original_max_position_embeddings: original,
            attention_factor: attention_factor
                .unwrap_or_else(|| LongRopeScaling::magnitude(factor, original)),
        }))
    }
}
