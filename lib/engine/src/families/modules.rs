//! The tree of modules that `print(model)` of transformers 4.57 shows, from the layers that were
//! loaded. Names and classes are transformers' own, also for GGUF files; the format of packed blocks,
//! which it does not have, stands behind the sizes.

use std::collections::BTreeMap;

use serde_json::Value;
use wire::model::ModuleInfo;

use super::plan::{NormKind, Plan};
use crate::{
    layers::Activation,
    modules::{activation, dropout, embedding, float, group, layer_norm, linear, list, plain},
    weights::{Description, LoadedPart, Weights},
};

/// The head, which stands beside the model.
pub const HEAD: &str = "lm_head";

/// What stands before the names of layers in some files.
const BASES: [&str; 4] = [
    "language_model.model.",
    "model.language_model.",
    "model.",
    "transformer.",
];

/// The tree; `None` for what has layers under names of its own. `config` is `config.json`, null for
/// GGUF.
pub(super) fn tree(
    plan: &Plan,
    parts: &BTreeMap<String, LoadedPart>,
    config: &Value,
) -> Option<ModuleInfo> {
    let parts = parts
        .iter()
        .map(|(name, part)| (canonical(name, &|other| parts.contains_key(other)), part));
    let tree = Tree {
        plan,
        config,
        parts: parts.collect(),
        prefix: prefix(plan.architecture)?,
    };
    if plan.architecture == "gpt2" {
        tree.gpt2()
    } else {
        tree.decoder()
    }
}

/// What the classes of a family begin with.
fn prefix(architecture: &str) -> Option<&'static str> {
    Some(match architecture {
        "llama" => "Llama",
        "mistral" => "Mistral",
        "mixtral" => "Mixtral",
        "qwen2" => "Qwen2",
        "qwen3" => "Qwen3",
        "qwen3_moe" | "qwen3moe" => "Qwen3Moe",
        "phi3" => "Phi3",
        "gemma" => "Gemma",
        "gemma2" => "Gemma2",
        "gemma3" | "gemma3_text" => "Gemma3",
        "smollm3" => "SmolLM3",
        "gpt2" => "GPT2",
        "starcoder2" => "Starcoder2",
        _ => return None,
    })
}

/// A module's name without what stands before all names.
fn bare(module: &str) -> &str {
    let bare = BASES.iter().find_map(|base| module.strip_prefix(base));
    bare.unwrap_or(module)
}

/// A module's name as the class has it, whose layers' names begin with `base`; as it is where none is known.
pub fn class_name(base: &str, module: &str) -> String {
    if base.is_empty() {
        return module.to_owned();
    }
    format!("{base}{}", bare(module))
}

/// Names of a model's parameters as its class has them, whatever its files call them. A tied head is one
/// of them, as in `state_dict`.
pub fn parameter_names(weights: &Weights) -> Vec<String> {
    let (base, is_gpt2) = match &weights.description {
        Description::Json(_) => (super::base(&weights.description), false),
        Description::Gguf(metadata) => match metadata.text("general.architecture") {
            Some("gpt2") => ("transformer.", true),
            _ => ("model.", false),
        },
    };
    let tensors = weights.tensors.keys();
    if base.is_empty() {
        return tensors.cloned().collect();
    }
    let of_class = |tensor: &String| {
        let (module, kind) = tensor.rsplit_once('.')?;
        let module = if is_gpt2 {
            gpt2_module(module)?
        } else {
            canonical(module, &|other| {
                weights.tensors.contains_key(&format!("{other}.weight"))
            })
        };
        let module = module.strip_prefix("language_model.").unwrap_or(&module);
        match module.split('.').next()? {
            HEAD => Some(format!("{module}.{kind}")),
            "embed_tokens" | "layers" | "norm" | "wte" | "wpe" | "h" | "ln_f" => {
                Some(format!("{base}{module}.{kind}"))
            }
            _ => None,
        }
    };
    let mut names: Vec<String> = tensors.filter_map(of_class).collect();
    if !names.iter().any(|name| name.starts_with("lm_head.")) {
        names.push(format!("{HEAD}.weight"));
    }
    names
}

/// A module of GPT-2 by its name in GGUF.
fn gpt2_module(name: &str) -> Option<String> {
    let Some((layer, part)) = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
    else {
        let name = match name {
            "token_embd" => "wte",
            "position_embd" => "wpe",
            "output_norm" => "ln_f",
            "output" => HEAD,
            _ => return None,
        };
        return Some(name.to_owned());
    };
    let part = match part {
        "attn_qkv" => "attn.c_attn",
        "attn_output" => "attn.c_proj",
        "attn_norm" => "ln_1",
        "ffn_norm" => "ln_2",
        "ffn_up" => "mlp.c_fc",
        "ffn_down" => "mlp.c_proj",
        other => other,
    };
    Some(format!("h.{layer}.{part}"))
}

/// A layer's name as transformers has it, without what stands before all names; `has` tells which other
/// modules the files have.
fn canonical(name: &str, has: &dyn Fn(&str) -> bool) -> String {
    let Some((layer, part)) = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return match name {
            "token_embd" => "embed_tokens",
            "output_norm" => "norm",
            "output" => HEAD,
            _ => bare(name),
        }
        .to_owned();
    };
    let has = |part: &str| has(&format!("blk.{layer}.{part}"));
    let part = match part {
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" => "self_attn.qkv_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "attn_norm" => "input_layernorm",
        "ffn_norm" if has("post_attention_norm") => "pre_feedforward_layernorm",
        "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if has("attn_qkv") => "mlp.gate_up_proj",
        "ffn_up" if !has("ffn_gate") => "mlp.c_fc",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" if !has("ffn_gate") && !has("attn_qkv") => "mlp.c_proj",
        "ffn_down" => "mlp.down_proj",
        // Of families with experts Mixtral alone has no norms of heads.
        "ffn_gate_inp" if has("attn_q_norm") => "mlp.gate",
        "ffn_gate_exps" | "ffn_up_exps" | "ffn_down_exps" if has("attn_q_norm") => "mlp.experts",
        "ffn_gate_inp" => "block_sparse_moe.gate",
        "ffn_gate_exps" | "ffn_up_exps" | "ffn_down_exps" => "block_sparse_moe.experts",
        other => return format!("layers.{layer}.{}", expert(other)),
    };
    format!("layers.{layer}.{part}")
}

/// The name of one of Mixtral's experts by itself, as files from before April 2024 have them.
fn expert(part: &str) -> String {
    let own = part.rsplit_once('.').and_then(|(kind, number)| {
        let weights = match kind {
            "ffn_gate" => "w1",
            "ffn_down" => "w2",
            "ffn_up" => "w3",
            _ => return None,
        };
        Some(format!("block_sparse_moe.experts.{number}.{weights}"))
    });
    own.unwrap_or_else(|| part.to_owned())
}

struct Tree<'a> {
    plan: &'a Plan,
    config: &'a Value,
    parts: BTreeMap<String, &'a LoadedPart>,
    prefix: &'static str,
}

impl Tree<'_> {
    fn decoder(&self) -> Option<ModuleInfo> {
        let is_gemma3 = self.prefix == "Gemma3";
        let class = if is_gemma3 {
            "Gemma3TextModel".to_owned()
        } else {
            self.class("Model")
        };
        let layers = (0..self.plan.layers.len()).map(|layer| self.layer(layer));
        let model = [
            self.leaf("", "embed_tokens"),
            Some(list("layers", layers.collect::<Option<_>>()?)),
            self.leaf("", "norm"),
            Some(plain("rotary_emb", self.class("RotaryEmbedding()"))),
            is_gemma3.then(|| plain("rotary_emb_local", self.class("RotaryEmbedding()"))),
        ];
        let parts = [group("model", class, model), self.head()];
        group("", self.class("ForCausalLM"), parts)
    }

    fn layer(&self, index: usize) -> Option<ModuleInfo> {
        let at = format!("layers.{index}.");
        let leaf = |name| self.leaf(&at, name);
        let attention = format!("{at}self_attn.");
        let attention = [
            "q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "q_norm", "k_norm",
        ]
        .map(|name| self.leaf(&attention, name));
        let is_phi = self.prefix == "Phi3";
        let dropout = |name: &str| is_phi.then(|| plain(name, self.dropout("resid_pdrop", "0.0")));
        group(
            &index.to_string(),
            self.class("DecoderLayer"),
            [
                group("self_attn", self.class("Attention"), attention),
                self.feed_forward(&at),
                leaf("input_layernorm"),
                leaf("post_attention_layernorm"),
                leaf("pre_feedforward_layernorm"),
                leaf("post_feedforward_layernorm"),
                dropout("resid_attn_dropout"),
                dropout("resid_mlp_dropout"),
            ],
        )
    }

    fn feed_forward(&self, at: &str) -> Option<ModuleInfo> {
        for (name, expert, parts) in [
            ("block_sparse_moe", "BlockSparseTop2MLP", ["w1", "w2", "w3"]),
            ("mlp", "MLP", ["gate_proj", "up_proj", "down_proj"]),
        ] {
            let at = format!("{at}{name}.");
            let Some(gate) = self.leaf(&at, "gate") else {
                continue;
            };
            let experts = (0..).map_while(|index| {
                let at = format!("{at}experts.{index}.");
                let parts = parts.map(|part| self.leaf(&at, part)).into_iter();
                let parts = parts.chain([Some(plain("act_fn", self.activation()))]);
                group(&index.to_string(), self.class(expert), parts)
            });
            let experts = list("experts", experts.collect());
            return group(
                name,
                self.class("SparseMoeBlock"),
                [Some(gate), Some(experts)],
            );
        }
        let at = format!("{at}mlp.");
        let names = [
            "gate_proj",
            "up_proj",
            "gate_up_proj",
            "down_proj",
            "c_fc",
            "c_proj",
        ];
        let activation = match self.prefix {
            "Phi3" => "activation_fn",
            "Starcoder2" => "act",
            _ => "act_fn",
        };
        let parts = names.map(|name| self.leaf(&at, name)).into_iter();
        let parts = parts.chain([Some(plain(activation, self.activation()))]);
        group("mlp", self.class("MLP"), parts)
    }

    fn gpt2(&self) -> Option<ModuleInfo> {
        let blocks = (0..self.plan.layers.len()).map(|index| {
            let at = format!("h.{index}.");
            let (attention, mlp) = (format!("{at}attn."), format!("{at}mlp."));
            let attention = [
                self.leaf(&attention, "c_attn"),
                self.leaf(&attention, "c_proj"),
                Some(plain("attn_dropout", self.dropout("attn_pdrop", "0.1"))),
                Some(plain("resid_dropout", self.dropout("resid_pdrop", "0.1"))),
            ];
            let mlp = [
                self.leaf(&mlp, "c_fc"),
                self.leaf(&mlp, "c_proj"),
                Some(plain("act", self.activation())),
                Some(plain("dropout", self.dropout("resid_pdrop", "0.1"))),
            ];
            group(
                &index.to_string(),
                self.class("Block"),
                [
                    self.leaf(&at, "ln_1"),
                    group("attn", self.class("Attention"), attention),
                    self.leaf(&at, "ln_2"),
                    group("mlp", self.class("MLP"), mlp),
                ],
            )
        });
        let model = [
            self.leaf("", "wte"),
            self.leaf("", "wpe"),
            Some(plain("drop", self.dropout("embd_pdrop", "0.1"))),
            Some(list("h", blocks.collect::<Option<_>>()?)),
            self.leaf("", "ln_f"),
        ];
        let parts = [
            group("transformer", self.class("Model"), model),
            self.head(),
        ];
        group("", self.class("LMHeadModel"), parts)
    }

    /// The head; a tied one is a view of the token table and takes nothing of its own.
    fn head(&self) -> Option<ModuleInfo> {
        self.leaf("", "lm_head").or_else(|| {
            let sizes = &self.plan.sizes;
            let kind = linear("Linear", (sizes.vocab_size, sizes.hidden_size), false);
            Some(plain("lm_head", kind))
        })
    }

    fn leaf(&self, at: &str, name: &str) -> Option<ModuleInfo> {
        let part = self.parts.get(&format!("{at}{name}"))?;
        let (rows, columns) = part.shape;
        let mut kind = match part.class {
            "Embedding" => self.embedding(name, part.shape),
            "Norm" => self.norm(rows),
            "Linear" if self.prefix == "GPT2" && name != "lm_head" => {
                format!("Conv1D(nf={rows}, nx={columns})")
            }
            class => linear(class, part.shape, part.bias),
        };
        if part.format.is_some_and(|format| format.block_values() > 1) {
            kind.truncate(kind.len() - 1);
            kind = format!(
                "{kind}, {})",
                part.format.map_or("", |format| format.name())
            );
        }
        Some(ModuleInfo {
            name: name.to_owned(),
            class: kind,
            count: 1,
            parameters: part.parameters,
            bytes: part.bytes,
            parts: Vec::new(),
        })
    }

    fn embedding(&self, name: &str, shape: (usize, usize)) -> String {
        let class = if self.prefix == "Gemma3" {
            "Gemma3TextScaledWordEmbedding"
        } else {
            "Embedding"
        };
        let padding = self.config["pad_token_id"].as_u64();
        embedding(class, shape, padding.filter(|_| name == "embed_tokens"))
    }

    fn norm(&self, size: usize) -> String {
        match self.plan.norm {
            NormKind::Layer => layer_norm(size, self.plan.norm_epsilon, true),
            NormKind::Rms | NormKind::RmsPlusOne => {
                let epsilon = float(self.plan.norm_epsilon);
                format!("{}RMSNorm(({size},), eps={epsilon})", self.prefix)
            }
        }
    }

    /// As the configuration calls it: one function has several classes.
    fn activation(&self) -> String {
        let config = match &self.config["text_config"] {
            text @ Value::Object(_) => text,
            _ => self.config,
        };
        let key = match self.prefix {
            "GPT2" => "activation_function",
            "Gemma2" | "Gemma3" => "hidden_activation",
            _ => "hidden_act",
        };
        if let Some(name) = config[key].as_str() {
            return activation(name);
        }
        activation(match (self.plan.activation, self.prefix) {
            (Activation::GeluTanh, "GPT2") => "gelu_new",
            (Activation::GeluTanh, _) => "gelu_pytorch_tanh",
            (other, _) => other.name(),
        })
    }

    fn dropout(&self, key: &str, default: &str) -> String {
        dropout(self.config, &[key], default)
    }

    fn class(&self, end: &str) -> String {
        format!("{}{end}", self.prefix)
    }
}
