//! From a plan and the names of weights to an encoder: reads each weight, in the order data flows.

use wire::Failure;

use super::{
    encoder::{Encoder, EncoderLayer},
    heads::{Head, HeadKind, MaskedHead, SequenceHead},
    labels::Labels,
    plan::{LayerNames, MaskedNames, Names, Plan, SequenceNames},
};
use crate::{
    families::json::Json,
    layers::{Embedding, Linear, PlainMlp},
    weights::Loader,
};

/// Builds the encoder, with the head that its configuration names.
pub fn assemble(
    plan: Plan,
    names: &Names,
    json: Json,
    loader: &mut Loader,
) -> Result<Encoder, Failure> {
    let base = names
        .bases
        .iter()
        .find(|base| loader.has(&format!("{base}{}.weight", names.words)))
        .unwrap_or(&names.bases[0]);
    let name = |part: &str| format!("{base}{part}");
    let (hidden, embedding) = (plan.hidden, plan.embedding);
    let words = loader.embedding(&name(names.words), (plan.vocab_size, embedding))?;
    let positions = loader.embedding(&name(names.positions), (plan.positions, embedding))?;
    let token_types = match plan.token_types {
        0 => None,
        count => Some(loader.embedding(&name(names.token_types), (count, embedding))?),
    };
    let norm = loader.layer_norm(&name(names.norm), embedding, plan.epsilon)?;
    let projection =
        if embedding == hidden && !loader.has(&format!("{}.weight", name(names.projection))) {
            None
        } else {
            Some(loader.linear(&name(names.projection), (hidden, embedding))?)
        };
    let stored = if plan.shares_layers { 1 } else { plan.layers };
    let layers = (0..stored)
        .map(|index| {
            let prefix = format!("{base}{}.{index}.", names.layers);
            layer(loader, &plan, &names.layer, &prefix)
        })
        .collect::<Result<_, _>>()?;
    let labels = Labels::read(json);
    let kind = json
        .list("architectures")
        .into_iter()
        .flatten()
        .find_map(|class| HeadKind::of_class(class.as_str()?));
    let mut heads = Heads {
        plan: &plan,
        base,
        labels: labels.names.len(),
        loader,
    };
    let head = kind
        .map(|kind| heads.read(kind, names, &words))
        .transpose()?;
    Ok(Encoder {
        words,
        positions,
        token_types,
        norm,
        projection,
        layers,
        head,
        labels,
        bytes: loader.bytes(),
        plan,
    })
}

fn layer(
    loader: &mut Loader,
    plan: &Plan,
    names: &LayerNames,
    prefix: &str,
) -> Result<EncoderLayer, Failure> {
    let (hidden, inner) = (plan.hidden, plan.intermediate);
    let name = |part: &str| format!("{prefix}{part}");
    let [q, k, v] = names.projections;
    Ok(EncoderLayer {
        projections: [
            loader.linear(&name(q), (hidden, hidden))?,
            loader.linear(&name(k), (hidden, hidden))?,
            loader.linear(&name(v), (hidden, hidden))?,
        ],
        output: loader.linear(&name(names.output), (hidden, hidden))?,
        attention_norm: loader.layer_norm(&name(names.attention_norm), hidden, plan.epsilon)?,
        feed_forward: PlainMlp {
            up: loader.linear(&name(names.up), (inner, hidden))?,
            down: loader.linear(&name(names.down), (hidden, inner))?,
            activation: plan.activation,
        },
        norm: loader.layer_norm(&name(names.norm), hidden, plan.epsilon)?,
    })
}

/// Reads heads.
struct Heads<'a, 'b> {
    plan: &'a Plan,
    base: &'a str,
    /// Outputs of a head with labels.
    labels: usize,
    loader: &'a mut Loader<'b>,
}

impl Heads<'_, '_> {
    fn read(&mut self, kind: HeadKind, names: &Names, words: &Embedding) -> Result<Head, Failure> {
        let hidden = self.plan.hidden;
        Ok(match kind {
            HeadKind::Sequence => Head::Sequence(self.sequence(&names.heads.sequence)?),
            HeadKind::Token => {
                Head::Token(self.loader.linear("classifier", (self.labels, hidden))?)
            }
            HeadKind::Question => Head::Question(self.loader.linear("qa_outputs", (2, hidden))?),
            HeadKind::Masked => Head::Masked(self.masked(&names.heads.masked, words)?),
        })
    }

    fn sequence(&mut self, names: &SequenceNames) -> Result<SequenceHead, Failure> {
        let hidden = self.plan.hidden;
        let dense = match names.dense.strip_prefix('.') {
            Some(of_base) => format!("{}{of_base}", self.base),
            None => names.dense.to_owned(),
        };
        Ok(SequenceHead {
            dense: self.loader.linear(&dense, (hidden, hidden))?,
            activation: names.activation,
            output: self.loader.linear(names.output, (self.labels, hidden))?,
        })
    }

    fn masked(&mut self, names: &MaskedNames, words: &Embedding) -> Result<MaskedHead, Failure> {
        let Plan {
            hidden,
            embedding,
            vocab_size,
            ..
        } = *self.plan;
        let dense = self.loader.linear(names.dense, (embedding, hidden))?;
        let norm = self
            .loader
            .layer_norm(names.norm, embedding, self.plan.epsilon)?;
        let own = self.loader.has(&format!("{}.weight", names.output));
        let (output, bias): (Linear, _) = if own {
            let output = self.loader.linear(names.output, (vocab_size, embedding))?;
            let has_bias = output.has_bias();
            (output, !has_bias)
        } else {
            (words.tied_head(), true)
        };
        let bias = if bias && self.loader.has(names.bias) {
            Some(self.loader.vector(names.bias, vocab_size)?)
        } else {
            None
        };
        Ok(MaskedHead {
            dense,
            activation: names.activation.unwrap_or(self.plan.activation),
            norm,
            output,
            bias,
        })
    }
}
