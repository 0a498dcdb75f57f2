//! From a plan and the names of weights to an encoder-decoder: reads each weight, in the order data flows.

use candle_core::Tensor;
use wire::Failure;

use super::{
    Kind,
    embed::{Embed, Positions},
    encoder::{Encoder, EncoderLayer},
    model::{DecoderLayer, Seq2Seq},
    plan::{Half, LayerNames, Names, NormPlace, Plan, PositionPlan},
};
use crate::{
    failures,
    families::{ModelSizes, json::Json, plan::NormKind},
    layers::{
        Attention, AttentionShape, CrossAttention, Embedding, FeedForward, GateAndUp, GatedMlp,
        Linear, Norm, PlainMlp, Projections, RelativeBias,
    },
    weights::{Loader, Weights},
};

/// Builds the model, of a kind that has both halves.
pub fn assemble(
    (plan, names): (&Plan, &Names),
    kind: Kind,
    json: Json,
    loader: &mut Loader,
) -> Result<Seq2Seq, Failure> {
    let mut parts = Parts::new((plan, names), loader);
    let [source_words, target_words] = parts.words()?;
    let encoder = parts.encoder(source_words)?;
    let embed = parts.embed("decoder", target_words.clone())?;
    let bias = parts.bias("decoder", false)?;
    let layers = (0..plan.decoder.layers).map(|index| parts.decoder_layer(index));
    let layers = layers.collect::<Result<_, _>>()?;
    let norm = parts.last_norm("decoder")?;
    let (lm_head, logits_bias) = head((plan, names), kind, &target_words, loader)?;
    Ok(Seq2Seq {
        architecture: plan.architecture,
        sizes: ModelSizes {
            vocab_size: plan.decoder.vocab_size,
            context_length: plan.positions.trained(json),
            layers: plan.encoder.layers + plan.decoder.layers,
            hidden_size: plan.hidden,
        },
        encoder,
        source_vocabulary: plan.encoder.vocab_size,
        longest: plan.positions.limit(),
        embed,
        bias,
        layers,
        norm,
        norms: plan.norms,
        shape: AttentionShape {
            heads: plan.decoder.heads,
            kv_heads: plan.decoder.heads,
            head_dim: plan.decoder.head_dim,
        },
        head_scale: plan.tied.filter(|&scale| scale < 1.0),
        lm_head,
        logits_bias,
        cache_dtype: loader.cache_dtype(),
        bytes: loader.bytes(),
        mixes_tokens: loader.mixes_tokens(),
        modules: None,
    })
}

/// Builds the half that reads.
pub fn encoder(plan: &Plan, names: &Names, loader: &mut Loader) -> Result<Encoder, Failure> {
    let mut parts = Parts::new((plan, names), loader);
    let words = parts.source_words()?;
    parts.encoder(words)
}

/// What stands before the names of the weights in a file.
pub fn base(names: &Names, weights: &Weights) -> &'static str {
    let marks = [
        format!(
            "encoder.{}.0.{}.weight",
            names.layers, names.encoder_layer.attention[0]
        ),
        format!("{}.weight", names.shared),
    ];
    let base = names.bases.iter().find(|base| {
        let mut marks = marks.iter();
        marks.any(|mark| weights.tensors.contains_key(&format!("{base}{mark}")))
    });
    base.unwrap_or(&names.bases[0])
}

/// Names under which a file may have the token table that all share: safetensors writes it once.
pub fn tables((plan, names): (&Plan, &Names), base: &str) -> Vec<String> {
    let own = ["encoder", "decoder"].map(|half| format!("{base}{half}.embed_tokens"));
    let shared = format!("{base}{}", names.shared);
    let head = plan.tied.map(|_| "lm_head".to_owned());
    std::iter::once(shared).chain(own).chain(head).collect()
}

/// What makes logits of states: the token table or a layer of its own, and what is added. What labels texts has no use
/// for either: the table stands there.
fn head(
    (plan, names): (&Plan, &Names),
    kind: Kind,
    words: &Embedding,
    loader: &mut Loader,
) -> Result<(Linear, Option<Tensor>), Failure> {
    let vocabulary = plan.decoder.vocab_size;
    let writes = kind == Kind::Writer;
    let head = if writes && plan.tied.is_none() && loader.has("lm_head.weight") {
        loader.unbiased_linear("lm_head", (vocabulary, plan.hidden))?
    } else {
        if writes && plan.tied.is_none() {
            loader.notice(
                "its files have no `lm_head.weight`, and its configuration does not tie it: the table of tokens \
                 stands in for it, where transformers would draw one at random",
            );
        }
        let name = table_name((plan, names), loader);
        loader.tied_head(words, (&name, (vocabulary, plan.hidden)))?
    };
    let bias = if writes && plan.has_logits_bias() && loader.has("final_logits_bias") {
        let bias = loader.row("final_logits_bias", vocabulary)?;
        let device = loader.placement().head_device()?;
        Some(bias.to_device(&device).map_err(failures::internal)?)
    } else {
        None
    };
    Ok((head, bias))
}

/// What the files call the target's token table.
fn table_name((plan, names): (&Plan, &Names), loader: &Loader) -> String {
    let base = base(names, loader.weights());
    let mut tables = if plan.shares_words {
        tables((plan, names), base)
    } else {
        vec![format!("{base}decoder.embed_tokens")]
    };
    let found = tables
        .iter()
        .position(|name| loader.has(&format!("{name}.weight")));
    tables.swap_remove(found.unwrap_or(0))
}

/// Reads the parts of a model.
struct Parts<'a, 'b> {
    plan: &'a Plan,
    names: &'a Names,
    base: &'static str,
    loader: &'a mut Loader<'b>,
}

impl<'a, 'b> Parts<'a, 'b> {
    fn new((plan, names): (&'a Plan, &'a Names), loader: &'a mut Loader<'b>) -> Self {
        Self {
            plan,
            names,
            base: base(names, loader.weights()),
            loader,
        }
    }

    /// The token tables of the source and of the target.
    fn words(&mut self) -> Result<[Embedding; 2], Failure> {
        let source = self.source_words()?;
        if self.plan.shares_words {
            return Ok([source.clone(), source]);
        }
        let name = format!("{}decoder.embed_tokens", self.base);
        let shape = (self.plan.decoder.vocab_size, self.plan.hidden);
        Ok([source, self.loader.embedding(&name, shape)?])
    }

    fn source_words(&mut self) -> Result<Embedding, Failure> {
        let own = format!("{}encoder.embed_tokens", self.base);
        let names = if self.plan.shares_words {
            tables((self.plan, self.names), self.base)
        } else {
            vec![own]
        };
        let found = names
            .iter()
            .find(|name| self.loader.has(&format!("{name}.weight")));
        let shape = (self.plan.encoder.vocab_size, self.plan.hidden);
        self.loader.embedding(found.unwrap_or(&names[0]), shape)
    }

    fn embed(&mut self, half: &str, words: Embedding) -> Result<Embed, Failure> {
        let hidden = self.plan.hidden;
        let table = format!("{}{half}.embed_positions", self.base);
        let is_stored = self.loader.has(&format!("{table}.weight"));
        let positions = match self.plan.positions {
            PositionPlan::Relative { .. } => Positions::Relative,
            PositionPlan::Learned { count, offset } => Positions::Table {
                table: self.loader.embedding(&table, (count + offset, hidden))?,
                offset,
            },
            // Files of the first versions have the table, and transformers reads it.
            PositionPlan::Sinusoidal { count } if is_stored => Positions::Table {
                table: self.loader.embedding(&table, (count, hidden))?,
                offset: 0,
            },
            PositionPlan::Sinusoidal { .. } => Positions::Sinusoidal,
            PositionPlan::AfterPadding { padding, .. } => Positions::AfterPadding(padding),
        };
        let norm = format!("{}{half}.layernorm_embedding", self.base);
        let norm = if self.plan.embedding_norm {
            Some(self.loader.layer_norm(&norm, hidden, self.plan.epsilon)?)
        } else {
            None
        };
        Ok(Embed {
            words,
            scale: self.plan.embedding_scale,
            positions,
            norm,
            hidden,
            device: self.loader.device()?,
        })
    }

    /// What distances add to the scores of a half: its first layer has the table for all.
    fn bias(&mut self, half: &str, bidirectional: bool) -> Result<Option<RelativeBias>, Failure> {
        let PositionPlan::Relative {
            buckets,
            max_distance,
        } = self.plan.positions
        else {
            return Ok(None);
        };
        let heads = self.plan.encoder.heads;
        let name = format!(
            "{}{half}.{}.0.layer.0.SelfAttention.relative_attention_bias",
            self.base, self.names.layers
        );
        let table = self.loader.embedding(&name, (buckets, heads))?;
        let rows: Vec<u32> = (0..buckets as u32).collect();
        let table = table
            .forward(&rows)
            .and_then(|table| table.flatten_all()?.to_vec1());
        Ok(Some(RelativeBias {
            table: table.map_err(failures::internal)?,
            heads,
            max_distance,
            bidirectional,
        }))
    }

    fn encoder(&mut self, words: Embedding) -> Result<Encoder, Failure> {
        let half = self.plan.encoder;
        let embed = self.embed("encoder", words)?;
        let bias = self.bias("encoder", true)?;
        let layers = (0..half.layers).map(|index| {
            let names = self.names.encoder_layer;
            let prefix = self.prefix("encoder", index);
            let [q, k, v, output] = self.attention(&prefix, names.attention, half)?;
            Ok(EncoderLayer {
                projections: [q, k, v],
                output,
                attention_norm: self.norm(&format!("{prefix}{}", names.attention_norm))?,
                feed_forward: self.feed_forward(&prefix, &names, half)?,
                norm: self.norm(&format!("{prefix}{}", names.norm))?,
            })
        });
        Ok(Encoder {
            embed,
            bias,
            layers: layers.collect::<Result<_, Failure>>()?,
            norm: self.last_norm("encoder")?,
            heads: half.heads,
            scale: self.scale(half),
            norms: self.plan.norms,
        })
    }

    fn decoder_layer(&mut self, index: usize) -> Result<DecoderLayer, Failure> {
        let (half, names) = (self.plan.decoder, self.names.decoder_layer);
        let prefix = self.prefix("decoder", index);
        let [q, k, v, output] = self.attention(&prefix, names.attention, half)?;
        let [query, key, value, cross_output] = self.attention(&prefix, names.cross, half)?;
        let scale = self.scale(half);
        Ok(DecoderLayer {
            attention: Attention {
                projections: Projections::Separate([q, k, v]),
                output,
                q_norm: None,
                k_norm: None,
                shape: AttentionShape {
                    heads: half.heads,
                    kv_heads: half.heads,
                    head_dim: half.head_dim,
                },
                rotary: None,
                window: None,
                scale,
                cap: None,
                rounds_to_brain: false,
            },
            attention_norm: self.norm(&format!("{prefix}{}", names.attention_norm))?,
            cross: CrossAttention {
                query,
                key,
                value,
                output: cross_output,
                heads: half.heads,
                scale,
            },
            cross_norm: self.norm(&format!("{prefix}{}", names.cross_norm))?,
            feed_forward: self.feed_forward(&prefix, &names, half)?,
            norm: self.norm(&format!("{prefix}{}", names.norm))?,
        })
    }

    fn prefix(&self, half: &str, index: usize) -> String {
        format!("{}{half}.{}.{index}.", self.base, self.names.layers)
    }

    fn scale(&self, half: Half) -> f32 {
        match self.plan.positions {
            // T5's weights are made for scores as they are.
            PositionPlan::Relative { .. } => 1.0,
            _ => 1.0 / (half.head_dim as f32).sqrt(),
        }
    }

    fn attention(
        &mut self,
        prefix: &str,
        [q, k, v, output]: [&str; 4],
        half: Half,
    ) -> Result<[Linear; 4], Failure> {
        let (hidden, inner) = (self.plan.hidden, half.heads * half.head_dim);
        let mut linear = |name: &str, shape| self.linear(&format!("{prefix}{name}"), shape);
        Ok([
            linear(q, (inner, hidden))?,
            linear(k, (inner, hidden))?,
            linear(v, (inner, hidden))?,
            linear(output, (hidden, inner))?,
        ])
    }

    fn feed_forward(
        &mut self,
        prefix: &str,
        names: &LayerNames,
        half: Half,
    ) -> Result<FeedForward, Failure> {
        let (hidden, inner) = (self.plan.hidden, half.intermediate);
        let (activation, is_gated) = (self.plan.activation, self.plan.gated);
        let mut linear = |name: &str, shape| self.linear(&format!("{prefix}{name}"), shape);
        let [plain, gated] = names.up;
        if is_gated {
            let inputs = [
                linear(names.gate, (inner, hidden))?,
                linear(gated, (inner, hidden))?,
            ];
            return Ok(FeedForward::Gated(GatedMlp {
                inputs: GateAndUp::Separate(inputs),
                down: linear(names.down, (hidden, inner))?,
                activation,
            }));
        }
        Ok(FeedForward::Plain(PlainMlp {
            up: linear(plain, (inner, hidden))?,
            down: linear(names.down, (hidden, inner))?,
            activation,
        }))
    }

    /// A layer with the bias of its class: T5's have none.
    fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        if self.plan.is_t5() {
            return self.loader.unbiased_linear(name, shape);
        }
        self.loader.linear(name, shape)
    }

    fn last_norm(&mut self, half: &str) -> Result<Option<Norm>, Failure> {
        if self.plan.norms == NormPlace::Behind {
            return Ok(None);
        }
        let name = format!("{}{half}.{}", self.base, self.names.last_norm);
        self.norm(&name).map(Some)
    }

    fn norm(&mut self, name: &str) -> Result<Norm, Failure> {
        let (hidden, epsilon) = (self.plan.hidden, self.plan.epsilon);
        Ok(match self.plan.norm {
            NormKind::Layer => Norm::Layer(self.loader.layer_norm(name, hidden, epsilon)?),
            NormKind::Rms | NormKind::RmsPlusOne => {
                Norm::Rms(self.loader.rms_norm(name, hidden, epsilon)?)
            }
        })
    }
}
