//! What stands on an encoder: layers that make logits of hidden states, of one kind a task. Which one
//! a checkpoint has, its `architectures` say, as transformers' class names do, or its weights.

use candle_core::{Result, Tensor};

use super::plan::HeadActivation;
use crate::{
    kernels::Activation,
    layers::{self, LayerNorm, Linear},
};

/// Kinds of head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// `…ForSequenceClassification`.
    Sequence,
    /// `…ForTokenClassification`.
    Token,
    /// `…ForQuestionAnswering`.
    Question,
    /// `…ForMaskedLM`, and the `…ForPreTraining` that has it too.
    Masked,
}

impl HeadKind {
    /// The kind that a class of transformers has.
    pub fn of_class(class: &str) -> Option<Self> {
        let (_, kind) = class.rsplit_once("For")?;
        Some(match kind {
            "SequenceClassification" => Self::Sequence,
            "TokenClassification" => Self::Token,
            "QuestionAnswering" => Self::Question,
            "MaskedLM" | "PreTraining" => Self::Masked,
            _ => return None,
        })
    }

    /// The end of transformers' class name.
    pub fn class(self) -> &'static str {
        match self {
            Self::Sequence => "ForSequenceClassification",
            Self::Token => "ForTokenClassification",
            Self::Question => "ForQuestionAnswering",
            Self::Masked => "ForMaskedLM",
        }
    }
}

/// A head.
#[derive(Debug)]
pub struct Head {
    pub kind: HeadKind,
    /// What states go through first.
    pub transform: Option<Transform>,
    pub output: Linear,
    /// Of the output, where it has none of its own: `(outputs)`.
    pub bias: Option<Tensor>,
}

/// A layer, its activation and a norm.
#[derive(Debug)]
pub struct Transform {
    pub dense: Linear,
    pub activation: HeadActivation,
    /// The encoder's own activation.
    pub own: Activation,
    pub norm: Option<LayerNorm>,
}

impl Head {
    /// From states `(1, states, hidden)`, those that the head looks at, to `(1, states, outputs)`.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        let x = match &self.transform {
            Some(transform) => transform.forward(states)?,
            None => states.clone(),
        };
        let x = self.output.forward(&x)?;
        match &self.bias {
            Some(bias) => x.broadcast_add(bias),
            None => Ok(x),
        }
    }
}

impl Transform {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = activate(self.activation, self.own, &self.dense.forward(x)?)?;
        match &self.norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}

/// An activation of a head, in an encoder that has this one of its own.
pub fn activate(activation: HeadActivation, own: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        HeadActivation::Own => layers::activate(x, own),
        HeadActivation::Other(other) => layers::activate(x, other),
    }
}
