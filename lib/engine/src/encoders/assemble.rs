//! From a plan and the names of weights to an encoder: reads each weight, in the order data flows.

use std::sync::OnceLock;

use candle_core::Tensor;
use wire::Failure;

use super::{
    convolution::ConvolutionLayer,
    encoder::{Encoder, EncoderLayer, Inputs, LayerProjections},
    heads::{Head, HeadKind, Transform},
    kinds,
    labels::Labels,
    plan::{
        Convolution, Counting, Disentangling, Keyed, Mixing, Names, PartNames, Plan,
        ProjectionNames, TransformNames,
    },
    relation::{DistanceRows, Distances, Relation, flat},
};
use crate::{
    failures,
    families::json::Json,
    layers::{Embedding, FeedForward, GateAndUp, GatedMlp, LayerNorm, Linear, PlainMlp},
    weights::Loader,
};

/// Builds the encoder, with the head that its configuration names.
pub fn assemble(
    plan: Plan,
    names: &Names,
    json: Json,
    loader: &mut Loader,
) -> Result<Encoder, Failure> {
    let base = kinds::base(names, loader.weights());
    let kinds = kinds::kinds((names, base), json, loader.weights());
    let labels = Labels::read(json);
    let mut parts = Parts {
        plan: &plan,
        names,
        base,
        labels: labels.names.len(),
        ties: json.flag("tie_word_embeddings").unwrap_or(true),
        loader,
    };
    let inputs = parts.inputs()?;
    let relation = parts.relation()?;
    let layers = (0..plan.stored_layers())
        .map(|index| parts.layer(index, &relation))
        .collect::<Result<_, _>>()?;
    let convolution = match plan.convolution {
        Some(convolution) => Some(parts.convolution(convolution)?),
        None => None,
    };
    let final_norm = if plan.norms_first {
        Some(parts.norm(&parts.of_base(names.final_norm), plan.hidden)?)
    } else {
        None
    };
    let [head, other_head] =
        kinds.map(|kind| kind.map(|kind| parts.head(kind, &inputs.words)).transpose());
    let (head, other_head) = (head?, other_head?);
    Ok(Encoder {
        bytes: loader.bytes(),
        mixes_tokens: loader.mixes_tokens(),
        device: loader.device()?,
        order: plan.order(),
        plan,
        inputs,
        layers,
        convolution,
        final_norm,
        head,
        other_head,
        labels,
        modules: None,
    })
}

/// What is the same in all layers, before their own projections.
enum Shared {
    Nothing,
    /// `(buckets, heads)`.
    Buckets(Vec<f32>),
    /// `(1, 2 * span, hidden)`.
    Distances(Tensor, Disentangling),
}

/// Reads parts.
struct Parts<'a, 'b> {
    plan: &'a Plan,
    names: &'a Names,
    base: &'a str,
    /// Outputs of a head with labels.
    labels: usize,
    /// Whether a head for masked tokens has the table of tokens.
    ties: bool,
    loader: &'a mut Loader<'b>,
}

impl Parts<'_, '_> {
    fn of_base(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// A layer with the bias of its class, where that has one.
    fn linear(
        &mut self,
        name: &str,
        shape: (usize, usize),
        biased: bool,
    ) -> Result<Linear, Failure> {
        if biased {
            return self.loader.linear(name, shape);
        }
        self.loader.unbiased_linear(name, shape)
    }

    fn norm(&mut self, name: &str, size: usize) -> Result<LayerNorm, Failure> {
        if self.plan.norm_bias {
            return self.loader.layer_norm(name, size, self.plan.epsilon);
        }
        let weight = self.loader.vector(&format!("{name}.weight"), size)?;
        let bias = weight.zeros_like().map_err(failures::internal)?;
        Ok(LayerNorm::new(weight, bias, self.plan.epsilon))
    }

    fn inputs(&mut self) -> Result<Inputs, Failure> {
        let (plan, names) = (self.plan, self.names);
        let (hidden, embedding) = (plan.hidden, plan.embedding);
        let words = self.of_base(names.words);
        let words = self
            .loader
            .embedding(&words, (plan.vocab_size, embedding))?;
        let table = |parts: &mut Self, name: &str, rows: usize| {
            let name = parts.of_base(name);
            parts.loader.embedding(&name, (rows, embedding))
        };
        let positions = match (plan.counting, plan.mixing) {
            (Counting::Nowhere, _) => None,
            // The class has the table all the same, and looks at none of it.
            (_, Mixing::Keyed(_)) => {
                if self
                    .loader
                    .has(&format!("{}.weight", self.of_base(names.positions)))
                {
                    table(self, names.positions, plan.positions)?;
                }
                None
            }
            _ => Some(table(self, names.positions, plan.positions)?),
        };
        let token_types = match plan.token_types {
            0 => None,
            count => Some(table(self, names.token_types, count)?),
        };
        let norm_size = if plan.projects_first {
            hidden
        } else {
            embedding
        };
        let norm = self.norm(&self.of_base(names.norm), norm_size)?;
        let projection = self.of_base(names.projection);
        let projects = embedding != hidden || self.loader.has(&format!("{projection}.weight"));
        let projection = if projects {
            Some(self.loader.linear(&projection, (hidden, embedding))?)
        } else {
            None
        };
        Ok(Inputs {
            words,
            positions,
            token_types,
            norm,
            projection,
        })
    }

    /// What layers share in their attention.
    fn relation(&mut self) -> Result<Shared, Failure> {
        let (heads, hidden) = (self.plan.heads, self.plan.hidden);
        Ok(match self.plan.mixing {
            Mixing::Bucketed(rows) => {
                let name = self.of_base("encoder.relative_attention_bias.weight");
                let table = self.loader.tensor(&name, &[rows, heads])?;
                Shared::Buckets(flat(&table).map_err(failures::internal)?)
            }
            Mixing::Disentangled(plan) if plan.relative => {
                let name = self.of_base("encoder.rel_embeddings.weight");
                let table = self.loader.tensor(&name, &[2 * plan.span, hidden])?;
                let device = self.loader.device()?;
                let table = table
                    .unsqueeze(0)
                    .and_then(|table| table.to_device(&device))
                    .map_err(failures::internal)?;
                let table = if plan.normed {
                    let norm = self.norm(&self.of_base("encoder.LayerNorm"), hidden)?;
                    norm.forward(&table).map_err(failures::internal)?
                } else {
                    table
                };
                Shared::Distances(table, plan)
            }
            Mixing::Plain | Mixing::Keyed(_) | Mixing::Rotary(_) | Mixing::Disentangled(_) => {
                Shared::Nothing
            }
        })
    }

    /// What stands before the names of a layer's parts.
    fn prefix(&self, index: usize) -> String {
        let layers = self.of_base(self.names.layers);
        match self.plan.groups {
            None => format!("{layers}.{index}."),
            Some(groups) => {
                let (group, index) = (index / groups.layers, index % groups.layers);
                format!("{layers}.{group}.{}.{index}.", groups.name)
            }
        }
    }

    fn layer(&mut self, index: usize, shared: &Shared) -> Result<EncoderLayer, Failure> {
        let prefix = self.prefix(index);
        let name = |part: &str| format!("{prefix}{part}");
        let (plan, names) = (self.plan, self.names.layer);
        let (hidden, inner) = (plan.hidden, plan.intermediate);
        let projections = self.projections(&prefix)?;
        let relation = match shared {
            Shared::Nothing => match plan.mixing {
                Mixing::Rotary(windows) if index.is_multiple_of(windows.every) => {
                    Relation::Rotary(windows.thetas[0], None)
                }
                Mixing::Rotary(windows) => Relation::Rotary(windows.thetas[1], Some(windows.reach)),
                Mixing::Keyed(keyed) => Relation::Distances(self.keyed(&prefix, keyed)?),
                _ if plan.is_causal => Relation::Causal,
                _ => Relation::Plain,
            },
            Shared::Buckets(table) => Relation::Bucketed(table.clone(), plan.is_causal),
            Shared::Distances(table, plan) => {
                Relation::Distances(self.distances(&prefix, (table, *plan), &projections)?)
            }
        };
        // The token vectors of `ModernBERT` have been through a norm already.
        let attention_norm = if plan.norms_first && index == 0 {
            None
        } else {
            Some(self.norm(&name(names.attention_norm), hidden)?)
        };
        Ok(EncoderLayer {
            projections,
            relation,
            output: self.linear(&name(names.output), (hidden, hidden), plan.biases.attention)?,
            attention_norm,
            feed_forward: self.feed_forward(&name(names.up), &name(names.down), (inner, hidden))?,
            norm: self.norm(&name(names.norm), hidden)?,
            norms_first: plan.norms_first,
        })
    }

    fn projections(&mut self, prefix: &str) -> Result<LayerProjections, Failure> {
        let (hidden, projections) = (self.plan.hidden, self.names.layer.projections);
        let biased = self.plan.biases.attention;
        let mut linear = |name: &str, width: usize| {
            self.linear(&format!("{prefix}{name}"), (width, hidden), biased)
        };
        Ok(match projections {
            ProjectionNames::Separate([q, k, v]) => LayerProjections::Separate([
                linear(q, hidden)?,
                linear(k, hidden)?,
                linear(v, hidden)?,
            ]),
            ProjectionNames::Fused(name) => LayerProjections::Fused(linear(name, 3 * hidden)?),
        })
    }

    /// A layer's own vectors of distances, which all heads share.
    fn keyed(&mut self, prefix: &str, keyed: Keyed) -> Result<Distances, Failure> {
        let rows = DistanceRows::Each(self.plan.positions);
        let (count, head_dim) = (rows.count(), self.plan.hidden / self.plan.heads);
        let name = format!("{prefix}{}", keyed.name);
        let table = self.loader.embedding(&name, (count, head_dim))?;
        let all: Vec<u32> = (0..count as u32).collect();
        let mut values = table
            .forward(&all)
            .and_then(|table| flat(&table))
            .map_err(failures::internal)?;
        if !keyed.scaled {
            // All that is added to scores is scaled here.
            let width = (head_dim as f32).sqrt();
            for value in &mut values {
                *value *= width;
            }
        }
        Ok(Distances {
            queries: keyed.by_keys.then(|| values.clone()),
            keys: Some(values),
            rows,
            placed: OnceLock::new(),
        })
    }

    /// The vectors of distances, through a layer's projections: the same for all that it will read.
    fn distances(
        &mut self,
        prefix: &str,
        (table, plan): (&Tensor, Disentangling),
        projections: &LayerProjections,
    ) -> Result<Distances, Failure> {
        let hidden = self.plan.hidden;
        let mut project = |wanted: bool, own: usize, name: &str| {
            if !wanted {
                return Ok(None);
            }
            let projected = match projections {
                LayerProjections::Separate(layers) if plan.shares_projections => {
                    layers[own].forward(table)
                }
                _ => {
                    let name = format!("{prefix}attention.self.{name}");
                    let layer = self.loader.linear(&name, (hidden, hidden))?;
                    layer.forward(table)
                }
            };
            projected
                .and_then(|projected| flat(&projected))
                .map(Some)
                .map_err(failures::internal)
        };
        Ok(Distances {
            keys: project(plan.content_to_position, 1, "pos_key_proj")?,
            queries: project(plan.position_to_content, 0, "pos_query_proj")?,
            rows: DistanceRows::Disentangled(plan),
            placed: OnceLock::new(),
        })
    }

    fn feed_forward(
        &mut self,
        up: &str,
        down: &str,
        (inner, hidden): (usize, usize),
    ) -> Result<FeedForward, Failure> {
        let activation = self.plan.activation;
        let width = if self.plan.gated { 2 * inner } else { inner };
        let biased = self.plan.biases.feed_forward;
        let up = self.linear(up, (width, hidden), biased)?;
        let down = self.linear(down, (hidden, inner), biased)?;
        Ok(if self.plan.gated {
            FeedForward::Gated(GatedMlp {
                inputs: GateAndUp::Fused(up),
                down,
                activation,
            })
        } else {
            FeedForward::Plain(PlainMlp {
                up,
                down,
                activation,
            })
        })
    }

    fn convolution(&mut self, plan: Convolution) -> Result<ConvolutionLayer, Failure> {
        let hidden = self.plan.hidden;
        let name = |part: &str| format!("{}encoder.conv.{part}", self.base);
        let shape = [hidden, hidden / plan.groups, plan.width];
        let kernel = self.loader.tensor(&name("conv.weight"), &shape)?;
        let device = self.loader.device()?;
        Ok(ConvolutionLayer {
            kernel: kernel.to_device(&device).map_err(failures::internal)?,
            bias: self.loader.vector(&name("conv.bias"), hidden)?,
            groups: plan.groups,
            activation: plan.activation,
            own: self.plan.activation,
            norm: self.norm(&name("LayerNorm"), hidden)?,
        })
    }

    fn head(&mut self, kind: HeadKind, words: &Embedding) -> Result<Head, Failure> {
        let hidden = self.plan.hidden;
        let names = self.names.heads.of(kind);
        let outputs = match kind {
            HeadKind::Sequence | HeadKind::Token => self.labels,
            HeadKind::Question => 2,
            HeadKind::Masked => return self.masked_head(names, words),
        };
        let transform = names
            .transform
            .map(|names| self.transform(&names, hidden))
            .transpose()?;
        Ok(Head {
            kind,
            transform,
            output: self.loader.linear(names.output, (outputs, hidden))?,
            bias: None,
        })
    }

    fn transform(&mut self, names: &TransformNames, width: usize) -> Result<Transform, Failure> {
        let dense = kinds::of_base(self.base, names.dense);
        Ok(Transform {
            dense: self.linear(
                &dense,
                (width, self.plan.hidden),
                self.plan.biases.transform,
            )?,
            activation: names.activation,
            own: self.plan.activation,
            norm: match names.norm {
                "" => None,
                norm => Some(self.norm(norm, width)?),
            },
        })
    }

    fn masked_head(&mut self, names: &PartNames, words: &Embedding) -> Result<Head, Failure> {
        let (embedding, vocab_size) = (self.plan.embedding, self.plan.vocab_size);
        let transform = names
            .transform
            .map(|names| self.transform(&names, embedding))
            .transpose()?;
        // transformers ties after it has loaded, so that a matrix of the file's own is lost.
        let output: Linear = if self.ties || names.output.is_empty() {
            let table = self.of_base(self.names.words);
            let shape = (vocab_size, embedding);
            self.loader.tied_head(words, (&table, shape))?
        } else {
            let biased = self.plan.biases.masked;
            self.linear(names.output, (vocab_size, embedding), biased)?
        };
        let beside = format!("{}.bias", names.output);
        let bias = [names.bias, &beside]
            .into_iter()
            .find(|name| self.plan.biases.masked && !output.has_bias() && self.loader.has(name))
            .map(|name| self.loader.vector(name, vocab_size))
            .transpose()?;
        Ok(Head {
            kind: HeadKind::Masked,
            transform,
            output,
            bias,
        })
    }
}
