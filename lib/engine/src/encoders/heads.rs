//! What stands on an encoder: a layer that makes logits of hidden states, of one kind a task. Which one
//! a checkpoint has, its `architectures` say, as transformers' class names do.

use candle_core::{Result, Tensor};

use super::plan::SequenceActivation;
use crate::{
    kernels::{Activate, Activation},
    layers::{LayerNorm, Linear},
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
pub enum Head {
    /// Over the first token's state.
    Sequence(SequenceHead),
    /// Over each token's state: labels of tokens.
    Token(Linear),
    /// The same: where an answer starts and ends.
    Question(Linear),
    /// Over the states of masked tokens.
    Masked(MaskedHead),
}

/// Labels of sequences.
#[derive(Debug)]
pub struct SequenceHead {
    pub dense: Linear,
    pub activation: SequenceActivation,
    pub output: Linear,
}

/// Guesses of masked tokens.
#[derive(Debug)]
pub struct MaskedHead {
    pub dense: Linear,
    pub activation: Activation,
    pub norm: LayerNorm,
    pub output: Linear,
    /// `(vocabulary)`.
    pub bias: Option<Tensor>,
}

impl Head {
    /// Its kind.
    pub fn kind(&self) -> HeadKind {
        match self {
            Self::Sequence(_) => HeadKind::Sequence,
            Self::Token(_) => HeadKind::Token,
            Self::Question(_) => HeadKind::Question,
            Self::Masked(_) => HeadKind::Masked,
        }
    }

    /// From states `(1, states, hidden)`, those that the head looks at, to `(1, states, outputs)`.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor> {
        match self {
            Self::Sequence(head) => {
                let x = head.dense.forward(states)?;
                let x = match head.activation {
                    SequenceActivation::Tanh => x.tanh()?,
                    SequenceActivation::Relu => x.relu()?,
                    SequenceActivation::Gelu => x.apply_op1_no_bwd(&Activate(Activation::Gelu))?,
                };
                head.output.forward(&x)
            }
            Self::Token(layer) | Self::Question(layer) => layer.forward(states),
            Self::Masked(head) => {
                let x = head.dense.forward(states)?;
                let x = x.apply_op1_no_bwd(&Activate(head.activation))?;
                let x = head.output.forward(&head.norm.forward(&x)?)?;
                match &head.bias {
                    Some(bias) => x.broadcast_add(bias),
                    None => Ok(x),
                }
            }
        }
    }
}
