//! From a plan and the names of weights to a model: reads each weight, in the order data flows.

use wire::Failure;

use super::{
    decoder::{Decoder, DecoderLayer},
    names::{ExpertNames, FeedForwardNames, LayerNames, Names, ProjectionNames},
    plan::{Biases, ExpertsPlan, LayerPlan, NormKind, Plan},
};
use crate::{
    layers::{
        Attention, AttentionShape, Experts, FeedForward, GateAndUp, GatedMlp, Linear, Norm,
        PlainMlp, Projections, RmsNorm, Rotary,
    },
    weights::{Description, Loader},
};

/// Builds the model.
pub fn assemble(plan: Plan, names: &Names, loader: &mut Loader) -> Result<Decoder, Failure> {
    let (vocab, hidden) = (plan.sizes.vocab_size, plan.sizes.hidden_size);
    let base = names
        .bases
        .iter()
        .find(|base| loader.has(&format!("{base}{}.weight", names.embed_tokens)))
        .unwrap_or(&names.bases[0]);
    let name = |part: &str| format!("{base}{part}");
    let embed_tokens = loader.embedding(&name(names.embed_tokens), (vocab, hidden))?;
    let embed_positions = names
        .embed_positions
        .map(|part| loader.embedding(&name(part), (plan.sizes.context_length, hidden)))
        .transpose()?;
    let mut layers = Vec::with_capacity(plan.layers.len());
    for (index, layer) in plan.layers.iter().enumerate() {
        let mut parts = Parts {
            plan: &plan,
            layer,
            turned: names.turned,
            prefix: format!("{base}{}.{index}.", names.layers),
            loader,
        };
        layers.push(parts.layer(&names.layer)?);
    }
    let norm = load_norm(loader, &plan, &name(names.norm))?;
    let own_head = names
        .heads
        .iter()
        .find(|head| !plan.tied && loader.has(&format!("{head}.weight")));
    let lm_head = match own_head {
        Some(head) if plan.biases == Biases::Stored => loader.linear(head, (vocab, hidden))?,
        Some(head) => loader.unbiased_linear(head, (vocab, hidden))?,
        None => {
            if !plan.tied && expects_head(loader, base) {
                loader.notice(format_args!(
                    "its files have no `{}.weight`, and its configuration does not tie it: the table of tokens \
                     stands in for it, where transformers would draw one at random",
                    names.heads[0]
                ));
            }
            loader.tied_head(&embed_tokens, (&name(names.embed_tokens), (vocab, hidden)))?
        }
    };
    loader.tell_passed_over();
    let rotaries = plan.ropes.iter();
    let devices = loader.placement().devices(layers.len())?;
    Ok(Decoder {
        devices,
        architecture: plan.architecture,
        shape: plan.attention,
        embed_tokens,
        embedding_scale: plan.embedding_scale,
        embed_positions,
        layers,
        norm,
        lm_head,
        logit_cap: plan.logit_cap.map(f64::from),
        rotaries: rotaries
            .map(|rope| Rotary::new(rope, plan.layout))
            .collect(),
        bytes: loader.bytes(),
        cache_dtype: loader.cache_dtype(),
        modules: None,
        sizes: plan.sizes,
    })
}

/// Whether files should have a head of their own where it is not tied: those of GGUF leave it out to say that it is,
/// and those of a bare model, which has no base before its names, are for states of tokens.
fn expects_head(loader: &Loader, base: &str) -> bool {
    matches!(loader.weights().description, Description::Json(_)) && !base.is_empty()
}

fn load_norm(loader: &mut Loader, plan: &Plan, name: &str) -> Result<Norm, Failure> {
    let (size, epsilon) = (plan.sizes.hidden_size, plan.norm_epsilon);
    Ok(match plan.norm {
        NormKind::Rms => Norm::Rms(loader.rms_norm(name, size, epsilon)?),
        NormKind::RmsPlusOne => Norm::Rms(loader.rms_norm_plus_one(name, size, epsilon)?),
        NormKind::Layer => Norm::Layer(loader.layer_norm(name, size, epsilon)?),
    })
}

/// Reads the parts of one layer.
struct Parts<'a, 'b> {
    plan: &'a Plan,
    layer: &'a LayerPlan,
    turned: bool,
    prefix: String,
    loader: &'a mut Loader<'b>,
}

impl Parts<'_, '_> {
    fn layer(&mut self, names: &LayerNames) -> Result<DecoderLayer, Failure> {
        Ok(DecoderLayer {
            input_norm: self.norm(names.input_norm)?,
            attention: self.attention(names)?,
            post_attention_norm: names
                .post_attention_norm
                .map(|name| self.norm(name))
                .transpose()?,
            feed_forward_norm: self.norm(names.feed_forward_norm)?,
            feed_forward: self.feed_forward(names)?,
            post_feed_forward_norm: names
                .post_feed_forward_norm
                .map(|name| self.norm(name))
                .transpose()?,
        })
    }

    fn attention(&mut self, names: &LayerNames) -> Result<Attention, Failure> {
        let hidden = self.plan.sizes.hidden_size;
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
        } = self.plan.attention;
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let (biased, output_biased) = match self.plan.biases {
            Biases::Stored => (true, true),
            Biases::OfClass {
                projections,
                output,
                ..
            } => (projections, output),
        };
        let projections = match names.projections {
            ProjectionNames::Separate([q, k, v]) => Projections::Separate([
                self.linear(q, (queries, hidden), biased)?,
                self.linear(k, (keys, hidden), biased)?,
                self.linear(v, (keys, hidden), biased)?,
            ]),
            ProjectionNames::Fused(qkv) => {
                Projections::Fused(self.linear(qkv, (queries + 2 * keys, hidden), biased)?)
            }
        };
        let [q_norm, k_norm] = match names.head_norms {
            Some([q, k]) => [Some(self.head_norm(q)?), Some(self.head_norm(k)?)],
            None => [None, None],
        };
        Ok(Attention {
            projections,
            output: self.linear(names.output, (hidden, queries), output_biased)?,
            q_norm,
            k_norm,
            shape: self.plan.attention,
            rotary: self.layer.rope,
            window: self.layer.window,
            scale: self.layer.scale.unwrap_or(self.plan.scale),
            cap: self.plan.score_cap,
            rounds_to_brain: self.loader.rounds_to_brain(),
        })
    }

    fn feed_forward(&mut self, names: &LayerNames) -> Result<FeedForward, Failure> {
        let (hidden, inner) = (self.plan.sizes.hidden_size, self.plan.intermediate_size);
        let activation = self.plan.activation;
        let biased = match self.plan.biases {
            Biases::Stored => true,
            Biases::OfClass { feed_forward, .. } => feed_forward,
        };
        if let (Some(plan), Some(names)) = (self.layer.experts, names.experts) {
            return Ok(FeedForward::Experts(self.experts(&plan, &names)?));
        }
        Ok(match names.feed_forward {
            FeedForwardNames::Gated(parts) => FeedForward::Gated(self.gated(parts, inner, biased)?),
            FeedForwardNames::FusedGated([both, down]) => FeedForward::Gated(GatedMlp {
                inputs: GateAndUp::Fused(self.linear(both, (2 * inner, hidden), biased)?),
                down: self.linear(down, (hidden, inner), biased)?,
                activation,
            }),
            FeedForwardNames::Plain([up, down]) => FeedForward::Plain(PlainMlp {
                up: self.linear(up, (inner, hidden), biased)?,
                down: self.linear(down, (hidden, inner), biased)?,
                activation,
            }),
        })
    }

    fn gated<N: AsRef<str>>(
        &mut self,
        [gate, up, down]: [N; 3],
        inner: usize,
        biased: bool,
    ) -> Result<GatedMlp, Failure> {
        let hidden = self.plan.sizes.hidden_size;
        let gate = self.linear(gate.as_ref(), (inner, hidden), biased)?;
        let up = self.linear(up.as_ref(), (inner, hidden), biased)?;
        Ok(GatedMlp {
            inputs: GateAndUp::Separate([gate, up]),
            down: self.linear(down.as_ref(), (hidden, inner), biased)?,
            activation: self.plan.activation,
        })
    }

    fn experts(&mut self, plan: &ExpertsPlan, names: &ExpertNames) -> Result<Experts, Failure> {
        let (hidden, inner) = (self.plan.sizes.hidden_size, plan.intermediate_size);
        let biased = self.plan.biases == Biases::Stored;
        let router = self.linear(names.router, (plan.count, hidden), biased)?;
        let apart = names
            .apart
            .filter(|[gate, ..]| self.loader.has(&format!("{}{gate}.0.weight", self.prefix)));
        let numbers = 0..plan.count;
        let experts = match (names.each, apart) {
            (Some(each), _) => numbers
                .map(|index| {
                    self.gated(
                        names.parts.map(|part| format!("{each}.{index}.{part}")),
                        inner,
                        biased,
                    )
                })
                .collect::<Result<_, _>>()?,
            (None, Some(apart)) => numbers
                .map(|index| self.gated(apart.map(|part| format!("{part}.{index}")), inner, biased))
                .collect::<Result<_, _>>()?,
            (None, None) => self.stacked_experts(plan, names.parts)?,
        };
        Ok(Experts {
            router,
            experts,
            per_token: plan.per_token,
            normalize: plan.normalize,
        })
    }

    fn stacked_experts(
        &mut self,
        plan: &ExpertsPlan,
        names: [&str; 3],
    ) -> Result<Vec<GatedMlp>, Failure> {
        let (hidden, inner) = (self.plan.sizes.hidden_size, plan.intermediate_size);
        let [gate, up, down] = names.map(|name| format!("{}{name}", self.prefix));
        let into = (inner, hidden);
        let gates = self.loader.stacked_linears(&gate, plan.count, into)?;
        let ups = self.loader.stacked_linears(&up, plan.count, into)?;
        let downs = self
            .loader
            .stacked_linears(&down, plan.count, (hidden, inner))?;
        let layers = gates.into_iter().zip(ups).zip(downs);
        Ok(layers
            .map(|((gate, up), down)| GatedMlp {
                inputs: GateAndUp::Separate([gate, up]),
                down,
                activation: self.plan.activation,
            })
            .collect())
    }

    fn linear(
        &mut self,
        name: &str,
        shape: (usize, usize),
        biased: bool,
    ) -> Result<Linear, Failure> {
        let name = format!("{}{name}", self.prefix);
        match (self.turned, biased) {
            // Only GPT-2's are, which all have a bias.
            (true, _) => self.loader.turned_linear(&name, shape),
            (false, true) => self.loader.linear(&name, shape),
            (false, false) => self.loader.unbiased_linear(&name, shape),
        }
    }

    fn norm(&mut self, name: &str) -> Result<Norm, Failure> {
        load_norm(self.loader, self.plan, &format!("{}{name}", self.prefix))
    }

    fn head_norm(&mut self, name: &str) -> Result<RmsNorm, Failure> {
        let name = format!("{}{name}", self.prefix);
        let (size, epsilon) = (self.plan.attention.head_dim, self.plan.norm_epsilon);
        match self.plan.norm {
            NormKind::RmsPlusOne => self.loader.rms_norm_plus_one(&name, size, epsilon),
            _ => self.loader.rms_norm(&name, size, epsilon),
        }
    }
}
