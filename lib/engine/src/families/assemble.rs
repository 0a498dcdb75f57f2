//! From a plan and the names of weights to a model: reads each weight, in the order data flows.

use wire::Failure;

use super::{
    decoder::{Decoder, DecoderLayer},
    names::{ExpertNames, FeedForwardNames, LayerNames, Names, ProjectionNames},
    plan::{ExpertsPlan, LayerPlan, NormKind, Plan},
};
use crate::{
    layers::{
        Attention, AttentionShape, Experts, FeedForward, GateAndUp, GatedMlp, Linear, Norm,
        PlainMlp, Projections, RmsNorm, Rotary,
    },
    weights::Loader,
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
        Some(head) => loader.linear(head, (vocab, hidden))?,
        None => loader.tied_head(&embed_tokens, (&name(names.embed_tokens), (vocab, hidden)))?,
    };
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
        let projections = match names.projections {
            ProjectionNames::Separate([q, k, v]) => Projections::Separate([
                self.linear(q, (queries, hidden))?,
                self.linear(k, (keys, hidden))?,
                self.linear(v, (keys, hidden))?,
            ]),
            ProjectionNames::Fused(qkv) => {
                Projections::Fused(self.linear(qkv, (queries + 2 * keys, hidden))?)
            }
        };
        let [q_norm, k_norm] = match names.head_norms {
            Some([q, k]) => [Some(self.head_norm(q)?), Some(self.head_norm(k)?)],
            None => [None, None],
        };
        Ok(Attention {
            projections,
            output: self.linear(names.output, (hidden, queries))?,
            q_norm,
            k_norm,
            shape: self.plan.attention,
            rotary: self.layer.rope,
            window: self.layer.window,
            scale: self.plan.scale,
            cap: self.plan.score_cap,
            rounds_to_brain: self.loader.rounds_to_brain(),
        })
    }

    fn feed_forward(&mut self, names: &LayerNames) -> Result<FeedForward, Failure> {
        let (hidden, inner) = (self.plan.sizes.hidden_size, self.plan.intermediate_size);
        let activation = self.plan.activation;
        if let (Some(plan), Some(names)) = (self.layer.experts, names.experts) {
            return Ok(FeedForward::Experts(self.experts(&plan, &names)?));
        }
        Ok(match names.feed_forward {
            FeedForwardNames::Gated(parts) => FeedForward::Gated(self.gated(parts, inner)?),
            FeedForwardNames::FusedGated([both, down]) => FeedForward::Gated(GatedMlp {
                inputs: GateAndUp::Fused(self.linear(both, (2 * inner, hidden))?),
                down: self.linear(down, (hidden, inner))?,
                activation,
            }),
            FeedForwardNames::Plain([up, down]) => FeedForward::Plain(PlainMlp {
                up: self.linear(up, (inner, hidden))?,
                down: self.linear(down, (hidden, inner))?,
                activation,
            }),
        })
    }

    fn gated<N: AsRef<str>>(
        &mut self,
        [gate, up, down]: [N; 3],
        inner: usize,
    ) -> Result<GatedMlp, Failure> {
        let hidden = self.plan.sizes.hidden_size;
        let gate = self.linear(gate.as_ref(), (inner, hidden))?;
        let up = self.linear(up.as_ref(), (inner, hidden))?;
        Ok(GatedMlp {
            inputs: GateAndUp::Separate([gate, up]),
            down: self.linear(down.as_ref(), (hidden, inner))?,
            activation: self.plan.activation,
        })
    }

    fn experts(&mut self, plan: &ExpertsPlan, names: &ExpertNames) -> Result<Experts, Failure> {
        let (hidden, inner) = (self.plan.sizes.hidden_size, plan.intermediate_size);
        let router = self.linear(names.router, (plan.count, hidden))?;
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
                    )
                })
                .collect::<Result<_, _>>()?,
            (None, Some(apart)) => numbers
                .map(|index| self.gated(apart.map(|part| format!("{part}.{index}")), inner))
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

    fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Linear, Failure> {
        let name = format!("{}{name}", self.prefix);
        if self.turned {
            self.loader.turned_linear(&name, shape)
        } else {
            self.loader.linear(&name, shape)
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
