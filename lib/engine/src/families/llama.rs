//! Llama 2 and 3, and what is built like them (`SmolLM2`, `TinyLlama`, …); `modeling_llama.py` of
//! transformers is the reference.

use candle_core::{Result, Tensor};
use serde_json::Value;
use wire::{Failure, FailureKind};

use super::{CausalLm, ModelSizes};
use crate::{
    failures,
    layers::{
        Attention, AttentionShape, Embedding, GatedMlp, KvCache, LayerCache, Linear, Llama3Scaling,
        Positions, RmsNorm, RopeConfig, RopeScaling, Rotary, RotaryLayout,
    },
    weights::{Description, Loader, Metadata, Weights},
};

/// What determines the shapes and the arithmetic.
#[derive(Clone, Debug)]
struct Config {
    sizes: ModelSizes,
    intermediate_size: usize,
    attention: AttentionShape,
    rms_norm_eps: f64,
    rope: RopeConfig,
    layout: RotaryLayout,
}

/// A loaded model.
struct Llama {
    config: Config,
    embed_tokens: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    lm_head: Linear,
    rotary: Rotary,
    bytes: u64,
}

struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

impl CausalLm for Llama {
    fn architecture(&self) -> &'static str {
        "llama"
    }

    fn sizes(&self) -> &ModelSizes {
        &self.config.sizes
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn new_cache(&self) -> KvCache {
        let AttentionShape {
            kv_heads, head_dim, ..
        } = self.config.attention;
        KvCache::new(self.layers.len(), kv_heads, head_dim)
    }

    fn hidden_states(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor> {
        let positions = self.rotary.positions(cache.len(), ids.len())?;
        // (1, tokens, hidden)
        let mut x = self.embed_tokens.forward(ids)?;
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(&x, &self.rotary, &positions, cache)?;
        }
        self.norm.forward(&x)
    }

    fn logits(&self, hidden_states: &Tensor) -> Result<Tensor> {
        self.lm_head.forward(hidden_states)
    }
}

impl DecoderLayer {
    /// From `(1, tokens, hidden)` to the same shape.
    fn forward(
        &self,
        x: &Tensor,
        rotary: &Rotary,
        positions: &Positions,
        cache: &mut LayerCache,
    ) -> Result<Tensor> {
        let normed = self.input_layernorm.forward(x)?;
        let x = (x + self.self_attn.forward(&normed, rotary, positions, cache)?)?;
        let normed = self.post_attention_layernorm.forward(&x)?;
        &x + self.mlp.forward(&normed)?
    }
}

/// Loads a llama from a GGUF file or a folder.
pub fn load(
    weights: &Weights,
    mut loader: Loader,
    name: &str,
) -> std::result::Result<impl CausalLm + use<>, Failure> {
    let (config, names) = match &weights.description {
        Description::Gguf(metadata) => (Config::from_gguf(metadata, weights), &GGUF),
        Description::Json(json) => (Config::from_json(json), &TRANSFORMERS),
    };
    let config = config.map_err(|failure| Failure {
        message: format!("cannot load `{name}`: {}", failure.message),
        ..failure
    })?;
    build(config, names, &mut loader, weights.bytes())
}

fn build(
    config: Config,
    names: &Names,
    loader: &mut Loader,
    bytes: u64,
) -> std::result::Result<Llama, Failure> {
    let (vocab, hidden) = (config.sizes.vocab_size, config.sizes.hidden_size);
    let embed_tokens = loader.embedding(names.embed_tokens, (vocab, hidden))?;
    let layers = (0..config.sizes.layers)
        .map(|layer| load_layer(&config, names, layer, loader))
        .collect::<std::result::Result<_, _>>()?;
    let norm = loader.rms_norm(names.norm, hidden, config.rms_norm_eps)?;
    let lm_head = if loader.has(&format!("{}.weight", names.lm_head)) {
        loader.linear(names.lm_head, (vocab, hidden))?
    } else {
        embed_tokens.tied_head()
    };
    let head_dim = config.attention.head_dim;
    let mut rotary = Rotary::new(head_dim, &config.rope, config.layout);
    if loader.has(ROPE_FACTORS) {
        let factors = loader.vector(ROPE_FACTORS, head_dim / 2)?;
        rotary = rotary.with_factors(&factors.to_vec1::<f32>().map_err(failures::internal)?);
    }
    Ok(Llama {
        config,
        embed_tokens,
        layers,
        norm,
        lm_head,
        rotary,
        bytes,
    })
}

fn load_layer(
    config: &Config,
    names: &Names,
    layer: usize,
    loader: &mut Loader,
) -> std::result::Result<DecoderLayer, Failure> {
    let (hidden, intermediate) = (config.sizes.hidden_size, config.intermediate_size);
    let AttentionShape {
        heads,
        kv_heads,
        head_dim,
    } = config.attention;
    let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
    let name = |part: &str| format!("{}.{layer}.{part}", names.layers);
    Ok(DecoderLayer {
        input_layernorm: loader.rms_norm(
            &name(names.input_layernorm),
            hidden,
            config.rms_norm_eps,
        )?,
        self_attn: Attention {
            q_proj: loader.linear(&name(names.q_proj), (queries, hidden))?,
            k_proj: loader.linear(&name(names.k_proj), (keys, hidden))?,
            v_proj: loader.linear(&name(names.v_proj), (keys, hidden))?,
            o_proj: loader.linear(&name(names.o_proj), (hidden, queries))?,
            shape: config.attention,
        },
        post_attention_layernorm: loader.rms_norm(
            &name(names.post_attention_layernorm),
            hidden,
            config.rms_norm_eps,
        )?,
        mlp: GatedMlp {
            gate: loader.linear(&name(names.gate_proj), (intermediate, hidden))?,
            up: loader.linear(&name(names.up_proj), (intermediate, hidden))?,
            down: loader.linear(&name(names.down_proj), (hidden, intermediate))?,
        },
    })
}

impl Config {
    fn from_gguf(metadata: &Metadata, weights: &Weights) -> std::result::Result<Self, Failure> {
        let count = |key: &str| {
            let key = format!("llama.{key}");
            metadata.count(&key).ok_or_else(|| missing(&key))
        };
        if metadata.count("llama.expert_count").unwrap_or(0) > 0 {
            return Err(failures::unsupported(
                "mixtures of experts are not supported",
            ));
        }
        let (hidden_size, heads) = (count("embedding_length")?, count("attention.head_count")?);
        let head_dim = metadata
            .count("llama.attention.key_length")
            .unwrap_or(hidden_size / heads.max(1));
        let vocab_size = match weights.tensors.get("token_embd.weight") {
            Some(entry) => entry.shape[0],
            None => count("vocab_size")?,
        };
        let rotary_dim = metadata
            .count("llama.rope.dimension_count")
            .unwrap_or(head_dim);
        let config = Self {
            sizes: ModelSizes {
                vocab_size,
                context_length: count("context_length")?,
                layers: count("block_count")?,
                hidden_size,
            },
            intermediate_size: count("feed_forward_length")?,
            attention: AttentionShape {
                heads,
                kv_heads: metadata
                    .count("llama.attention.head_count_kv")
                    .unwrap_or(heads),
                head_dim,
            },
            rms_norm_eps: metadata
                .float("llama.attention.layer_norm_rms_epsilon")
                .ok_or_else(|| missing("llama.attention.layer_norm_rms_epsilon"))?,
            rope: RopeConfig {
                theta: metadata.float("llama.rope.freq_base").unwrap_or(10_000.0),
                scaling: gguf_scaling(metadata)?,
            },
            layout: RotaryLayout::Interleaved,
        };
        config.checked(rotary_dim)
    }

    fn from_json(json: &Value) -> std::result::Result<Self, Failure> {
        let number = |key: &str| json[key].as_u64().map(|number| number as usize);
        let count = |key: &str| number(key).ok_or_else(|| missing(key));
        let (hidden_size, heads) = (count("hidden_size")?, count("num_attention_heads")?);
        let head_dim = number("head_dim").unwrap_or(hidden_size / heads.max(1));
        // Checkpoints saved by transformers 5 keep the base beside the scaling.
        let theta = [&json["rope_theta"], &json["rope_parameters"]["rope_theta"]]
            .iter()
            .find_map(|value| value.as_f64());
        if !matches!(json["hidden_act"].as_str(), None | Some("silu")) {
            return Err(failures::unsupported(format!(
                "activation {} is not supported in a llama",
                json["hidden_act"]
            )));
        }
        let config = Self {
            sizes: ModelSizes {
                vocab_size: count("vocab_size")?,
                context_length: number("max_position_embeddings").unwrap_or(2048),
                layers: count("num_hidden_layers")?,
                hidden_size,
            },
            intermediate_size: count("intermediate_size")?,
            attention: AttentionShape {
                heads,
                kv_heads: number("num_key_value_heads").unwrap_or(heads),
                head_dim,
            },
            rms_norm_eps: json["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            rope: RopeConfig {
                theta: theta.unwrap_or(10_000.0),
                scaling: json_scaling(json)?,
            },
            layout: RotaryLayout::Halves,
        };
        config.checked(head_dim)
    }

    /// Refuses sizes that no layer could have, so that a damaged file fails here and by name.
    fn checked(self, rotary_dim: usize) -> std::result::Result<Self, Failure> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.attention;
        let sound = heads > 0
            && kv_heads > 0
            && heads.is_multiple_of(kv_heads)
            && head_dim > 0
            && head_dim.is_multiple_of(2)
            && self.sizes.hidden_size > 0
            && self.sizes.layers > 0;
        if !sound {
            return Err(Failure::new(
                FailureKind::Corrupt,
                format!("{heads} heads over {kv_heads} of {head_dim} values are impossible"),
            ));
        }
        if rotary_dim != head_dim {
            return Err(failures::unsupported(format!(
                "rotary embedding of {rotary_dim} out of {head_dim} values is not supported"
            )));
        }
        Ok(self)
    }
}

fn missing(key: &str) -> Failure {
    Failure::new(
        FailureKind::Corrupt,
        format!("its configuration has no `{key}`"),
    )
}

fn gguf_scaling(metadata: &Metadata) -> std::result::Result<RopeScaling, Failure> {
    let factor = metadata.float("llama.rope.scaling.factor").unwrap_or(1.0);
    match metadata.text("llama.rope.scaling.type") {
        None | Some("none") => Ok(RopeScaling::Plain),
        Some("linear") => Ok(RopeScaling::Linear(factor)),
        Some(other) => Err(unknown_scaling(other)),
    }
}

fn json_scaling(json: &Value) -> std::result::Result<RopeScaling, Failure> {
    let scaling = if json["rope_scaling"].is_object() {
        &json["rope_scaling"]
    } else {
        &json["rope_parameters"]
    };
    let kind = scaling["rope_type"].as_str().or(scaling["type"].as_str());
    let number = |key: &str| scaling[key].as_f64().ok_or_else(|| missing(key));
    match kind {
        None | Some("default") => Ok(RopeScaling::Plain),
        Some("linear") => Ok(RopeScaling::Linear(number("factor")?)),
        Some("llama3") => Ok(RopeScaling::Llama3(Llama3Scaling {
            factor: number("factor")? as f32,
            low_freq_factor: number("low_freq_factor")? as f32,
            high_freq_factor: number("high_freq_factor")? as f32,
            original_max_position_embeddings: number("original_max_position_embeddings")? as f32,
        })),
        Some(other) => Err(unknown_scaling(other)),
    }
}

fn unknown_scaling(kind: &str) -> Failure {
    failures::unsupported(format!("rope scaling `{kind}` is not supported"))
        .hint("scalings that load: default, linear, llama3")
}

/// GGUF's per-frequency divisors, which stand for Llama 3's scaling.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// What the weights are called.
struct Names {
    embed_tokens: &'static str,
    layers: &'static str,
    input_layernorm: &'static str,
    q_proj: &'static str,
    k_proj: &'static str,
    v_proj: &'static str,
    o_proj: &'static str,
    post_attention_layernorm: &'static str,
    gate_proj: &'static str,
    up_proj: &'static str,
    down_proj: &'static str,
    norm: &'static str,
    lm_head: &'static str,
}

const TRANSFORMERS: Names = Names {
    embed_tokens: "model.embed_tokens",
    layers: "model.layers",
    input_layernorm: "input_layernorm",
    q_proj: "self_attn.q_proj",
    k_proj: "self_attn.k_proj",
    v_proj: "self_attn.v_proj",
    o_proj: "self_attn.o_proj",
    post_attention_layernorm: "post_attention_layernorm",
    gate_proj: "mlp.gate_proj",
    up_proj: "mlp.up_proj",
    down_proj: "mlp.down_proj",
    norm: "model.norm",
    lm_head: "lm_head",
};

const GGUF: Names = Names {
    embed_tokens: "token_embd",
    layers: "blk",
    input_layernorm: "attn_norm",
    q_proj: "attn_q",
    k_proj: "attn_k",
    v_proj: "attn_v",
    o_proj: "attn_output",
    post_attention_layernorm: "ffn_norm",
    gate_proj: "ffn_gate",
    up_proj: "ffn_up",
    down_proj: "ffn_down",
    norm: "output_norm",
    lm_head: "output",
};
