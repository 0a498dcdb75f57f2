//! Trees of modules from outlines and the layers that were loaded: which outline an architecture has, and what a
//! configuration makes of it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;
use wire::model::ModuleInfo;

use super::{
    activation, dropout, embedding, group, layer_norm, linear, list,
    outline::{Line, parse},
    plain,
};
use crate::weights::{Description, LoadedPart, Weights};

/// What is known of a model beside its files.
pub(crate) struct Kind<'a> {
    /// `model_type`.
    pub architecture: &'a str,
    /// The end of its class's name: `ForMaskedLM`, `Model`.
    pub class: &'a str,
    /// What stands before the names of its layers in the files, but for those of a head.
    pub base: &'a str,
    /// What the model is called in its head's class, with a point behind it.
    pub attribute: &'a str,
    /// Tokens and width of its token table.
    pub table: (usize, usize),
    /// What norms add to the variance.
    pub epsilon: f64,
}

/// The tree of a loaded encoder or encoder-decoder; `None` where it has no outline. `parts` are what was loaded.
pub(crate) fn outlined(
    kind: &Kind,
    weights: &Weights,
    parts: &BTreeMap<String, LoadedPart>,
) -> Option<ModuleInfo> {
    let Description::Json(config) = &weights.description else {
        return None;
    };
    let (prefix, text) = of_architecture(kind.architecture, config)?;
    let text = text.replace("{}", prefix);
    let blocks = parse(&text);
    let body = blocks.iter().find(|block| block.name == "body")?;
    let head = blocks.iter().find(|block| block.name == kind.class);
    let tree = Tree {
        kind,
        config,
        weights,
        parts,
        used: RefCell::default(),
    };
    let class = format!("{prefix}{}", kind.class);
    match (head, body.text("=")) {
        // Layers of a model without a name of its own stand in its head's class.
        (Some(head), None) => {
            let parts = tree.all(body, kind.base).into_iter();
            group("", class, parts.chain(tree.all(head, "")))
        }
        (Some(head), Some(own)) => {
            let name = kind.attribute.trim_end_matches('.');
            let own = || group(name, own.clone(), tree.all(body, kind.base));
            let is_body = |line: &&Line| line.name == "body";
            let first = if head.below.iter().any(|line| is_body(&line)) {
                None
            } else {
                own()
            };
            let parts = head.below.iter().map(|line| {
                if is_body(&line) {
                    own()
                } else {
                    tree.part(line, "")
                }
            });
            group("", class, std::iter::once(first).chain(parts))
        }
        (None, _) => group("", class, tree.all(body, kind.base)),
    }
}

/// The first letters of an architecture's classes and its outline, with what the configuration says filled in.
fn of_architecture(architecture: &str, config: &Value) -> Option<(&'static str, String)> {
    let (prefix, text) = match architecture {
        "bert" | "mean-pooled-bert" => ("Bert", include_str!("outlines/bert.txt")),
        "roberta" => ("Roberta", include_str!("outlines/roberta.txt")),
        "xlm-roberta" => ("XLMRoberta", include_str!("outlines/roberta.txt")),
        "camembert" => ("Camembert", include_str!("outlines/roberta.txt")),
        "electra" => ("Electra", include_str!("outlines/electra.txt")),
        "distilbert" => ("DistilBert", include_str!("outlines/distilbert.txt")),
        "albert" => ("Albert", include_str!("outlines/albert.txt")),
        "mpnet" => ("MPNet", include_str!("outlines/mpnet.txt")),
        "deberta-v2" => ("DebertaV2", include_str!("outlines/deberta_v2.txt")),
        "modernbert" => ("ModernBert", include_str!("outlines/modernbert.txt")),
        "t5" => return Some(("T5", of_t5(config, "relu"))),
        "mt5" => return Some(("MT5", of_t5(config, "gated-gelu"))),
        "bart" => return Some(("Bart", of_bart(config, (SCALED, LEARNED), "gelu"))),
        "mbart" => return Some(("MBart", of_bart(config, (SCALED, LEARNED), "gelu"))),
        "m2m_100" => {
            let counted = "is {}SinusoidalPositionalEmbedding()";
            return Some(("M2M100", of_bart(config, (SCALED, counted), "relu")));
        }
        "marian" => return Some(("Marian", of_bart(config, ("", SINUSOIDAL), "gelu"))),
        "pegasus" => return Some(("Pegasus", of_bart(config, ("", SINUSOIDAL), "gelu"))),
        _ => return None,
    };
    Some((prefix, text.to_owned()))
}

/// Token tables and positions of BART and its siblings.
const SCALED: &str = "as {}ScaledWordEmbedding";
const LEARNED: &str = "as {}LearnedPositionalEmbedding";
const SINUSOIDAL: &str = "as {}SinusoidalPositionalEmbedding \
    or {}SinusoidalPositionalEmbedding($positions, $width) counts $count";

fn of_bart(config: &Value, (words, positions): (&str, &str), activation: &str) -> String {
    let number = |key: &str| config[key].as_u64().unwrap_or(1024);
    let (count, width) = (number("max_position_embeddings"), number("d_model"));
    let is_one = config["share_encoder_decoder_embeddings"].as_bool();
    let shared = if is_one.unwrap_or(true) {
        format!("of encoder.embed_tokens decoder.embed_tokens lm_head {words} pads 1")
    } else {
        "is None".to_owned()
    };
    let positions = positions
        .replace("$positions", &count.to_string())
        .replace("$width", &width.to_string())
        .replace("$count", &count.saturating_mul(width).to_string());
    include_str!("outlines/bart.txt")
        .replace("$shared", &shared)
        .replace("$words", words)
        .replace("$positions", &positions)
        .replace("$act", activation)
}

fn of_t5(config: &Value, feed_forward: &str) -> String {
    let form = config["feed_forward_proj"].as_str().unwrap_or(feed_forward);
    let (class, name) = match form.strip_prefix("gated-") {
        Some("gelu") => ("DenseGatedActDense", "gelu_new"),
        Some(name) => ("DenseGatedActDense", name),
        None => ("DenseActDense", form),
    };
    include_str!("outlines/t5.txt")
        .replace("$dense", class)
        .replace("$act", &activation(name))
}

struct Tree<'a> {
    kind: &'a Kind<'a>,
    config: &'a Value,
    weights: &'a Weights,
    parts: &'a BTreeMap<String, LoadedPart>,
    /// Layers that stand somewhere already: a second place of theirs takes nothing.
    used: RefCell<BTreeSet<String>>,
}

impl Tree<'_> {
    /// The modules of the lines below one, whose layers' names begin with `at`.
    fn all(&self, line: &Line, at: &str) -> Vec<Option<ModuleInfo>> {
        line.below.iter().map(|line| self.part(line, at)).collect()
    }

    fn part(&self, line: &Line, at: &str) -> Option<ModuleInfo> {
        let lacks = |classes: &[&str]| !classes.contains(&self.kind.class);
        let is_off = |keys: &[&str]| keys.iter().any(|key| self.config[key] != true);
        let has = |layers: &[&str]| layers.iter().any(|layer| self.has(layer, "weight"));
        if line.words("for").is_some_and(lacks)
            || line.words("if").is_some_and(is_off)
            || line.words("unless").is_some_and(has)
        {
            return None;
        }
        let name = line.name;
        if let Some(class) = line.text("=") {
            return self.module(line, class, &format!("{at}{name}."));
        }
        if let Some(class) = line.text("list") {
            let parts = (0..).map_while(|index: usize| {
                let at = format!("{at}{name}.{index}.");
                group(&index.to_string(), class.clone(), self.all(line, &at))
            });
            let parts: Vec<ModuleInfo> = parts.collect();
            return (!parts.is_empty()).then(|| list(name, parts));
        }
        if let Some([keys @ .., default]) = line.words("~") {
            let text = dropout(self.config, keys, default);
            let is_none = text.starts_with("Dropout(p=0,") || text.starts_with("Dropout(p=0.0,");
            let other = line.text("or").filter(|_| is_none);
            return Some(plain(name, other.unwrap_or(text)));
        }
        if let Some([key, default]) = line.words("@") {
            let called = self.config[key].as_str().unwrap_or(default);
            return Some(plain(name, activation(called)));
        }
        match line.text("is") {
            Some(text) => Some(plain(name, text)),
            None => self.layer(line, at),
        }
    }

    fn module(&self, line: &Line, class: String, at: &str) -> Option<ModuleInfo> {
        let mut module = group(line.name, class, self.all(line, at))?;
        for own in line.words("plus").into_iter().flatten() {
            let entry = self.weights.tensors.get(&format!("{at}{own}"));
            let values = entry.map_or(0, |entry| entry.shape.iter().product::<usize>() as u64);
            module.parameters += values;
            module.bytes += values * 4;
        }
        Some(module)
    }

    /// A layer of the files, under its own name or that of one whose weights it has too.
    fn layer(&self, line: &Line, at: &str) -> Option<ModuleInfo> {
        let is_tied = line.words("tied").is_some();
        let others = line.words("of");
        let is_own = others.is_none() && !is_tied;
        // Tables stand before all names that begin with the base, and a head that may be one does not.
        let others = others.unwrap_or_default().iter();
        let others =
            others.flat_map(|other| [format!("{}{other}", self.kind.base), (*other).to_owned()]);
        let mut names = std::iter::once(format!("{at}{}", line.name)).chain(others);
        let found = names.find_map(|name| {
            let stored = || self.stored(&name).filter(|_| is_own);
            let layer = self.loaded(&name, line).or_else(stored)?;
            Some((name, layer))
        });
        let Some((name, mut layer)) = found else {
            return if is_tied {
                Some(self.tied(line, at))
            } else {
                absent(line)
            };
        };
        line.name.clone_into(&mut layer.name);
        if !self.used.borrow_mut().insert(name) {
            (layer.parameters, layer.bytes) = (0, 0);
        }
        Some(layer)
    }

    /// A layer that was loaded.
    fn loaded(&self, name: &str, line: &Line) -> Option<ModuleInfo> {
        let part = self.parts.get(name)?;
        let (rows, _) = part.shape;
        let beside = line.words("biased").is_some() && !part.bias;
        let class = match part.class {
            "Tensor" => {
                return self.stored(name).map(|layer| ModuleInfo {
                    bytes: part.bytes,
                    ..layer
                });
            }
            "Embedding" => embedding(
                line.text("as").as_deref().unwrap_or("Embedding"),
                part.shape,
                self.padding(line),
            ),
            "Norm" => match line.text("as") {
                Some(class) => class,
                None => layer_norm(rows, self.kind.epsilon, self.has(name, "bias")),
            },
            class => linear(class, part.shape, part.bias || beside),
        };
        let beside = if beside { rows as u64 } else { 0 };
        Some(ModuleInfo {
            parameters: part.parameters + beside,
            bytes: part.bytes + 4 * beside,
            ..plain(name, class)
        })
    }

    /// A layer that the files have, of which only their description is known: nothing asks for it, or it is no
    /// layer of its own here.
    fn stored(&self, name: &str) -> Option<ModuleInfo> {
        let entry = self.weights.tensors.get(&format!("{name}.weight"))?;
        let bias = self.weights.tensors.get(&format!("{name}.bias"));
        let class = match entry.shape[..] {
            [size] => layer_norm(size, self.kind.epsilon, bias.is_some()),
            [rows, columns] if self.parts.contains_key(name) => {
                embedding("Embedding", (rows, columns), None)
            }
            [rows, columns] => linear("Linear", (rows, columns), bias.is_some()),
            [outputs, inputs, width] => self.convolution(outputs, inputs, width),
            _ => return None,
        };
        let values = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        Some(ModuleInfo {
            parameters: values(&entry.shape) + bias.map_or(0, |bias| values(&bias.shape)),
            ..plain(name, class)
        })
    }

    fn convolution(&self, outputs: usize, inputs: usize, width: usize) -> String {
        let groups = self.config["conv_groups"].as_u64().unwrap_or(1);
        let inputs = inputs as u64 * groups;
        let groups = if groups == 1 {
            String::new()
        } else {
            format!(", groups={groups}")
        };
        let padding = width.saturating_sub(1) / 2;
        format!(
            "Conv1d({inputs}, {outputs}, kernel_size=({width},), stride=(1,), padding=({padding},){groups})"
        )
    }

    /// A head that is the token table: a view of it, which takes nothing of its own but for a bias.
    fn tied(&self, line: &Line, at: &str) -> ModuleInfo {
        let bias =
            line.words("biased").is_some() || self.has(&format!("{at}{}", line.name), "bias");
        let values = if bias { self.kind.table.0 as u64 } else { 0 };
        ModuleInfo {
            parameters: values,
            bytes: 4 * values,
            ..plain(line.name, linear("Linear", self.kind.table, bias))
        }
    }

    /// The id of a table's row for padding; `None` where the configuration says that there is none.
    fn padding(&self, line: &Line) -> Option<u64> {
        let [default] = line.words("pads")? else {
            return None;
        };
        match self.config.get("pad_token_id") {
            Some(id) => id.as_u64(),
            None => default.parse().ok(),
        }
    }

    fn has(&self, layer: &str, kind: &str) -> bool {
        self.weights
            .tensors
            .contains_key(&format!("{layer}.{kind}"))
    }
}

/// What stands in the place of a layer that the files do not have.
fn absent(line: &Line) -> Option<ModuleInfo> {
    let text = line.text("or")?;
    let count = line.text("counts").and_then(|count| count.parse().ok());
    Some(ModuleInfo {
        parameters: count.unwrap_or(0),
        ..plain(line.name, text)
    })
}
