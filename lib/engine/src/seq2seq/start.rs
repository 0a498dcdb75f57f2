//! What a decoder reads of a text that it is not to write but to read too: the text itself, moved on by a
//! token. `shift_tokens_right` of transformers' `modeling_bart.py` and `modeling_mbart.py`.

use super::special_ids;
use crate::{
    families::json::Json,
    weights::{Description, Weights},
};

/// What the decoder begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This token.
    Token(u32),
    /// mBART: the text's own last token, which names its language, by the count of those that are not this
    /// padding.
    Last {
        /// The padding token.
        padding: u32,
    },
}

impl Start {
    /// Of the architectures whose decoder reads its source when it is given nothing else: BART and mBART.
    /// `None` of the others.
    pub fn read(weights: &Weights) -> Option<Self> {
        let Description::Json(json) = &weights.description else {
            return None;
        };
        let defaults = special_ids(weights);
        let json = Json::new(json).with_defaults(&defaults);
        match json.text("model_type")? {
            "mbart" => {
                let padding = json.number("pad_token_id").unwrap_or(1) as u32;
                Some(Self::Last { padding })
            }
            "bart" => {
                let end = json.number("eos_token_id").unwrap_or(2);
                let start = json.number("decoder_start_token_id");
                Some(Self::Token(start.unwrap_or(end) as u32))
            }
            _ => None,
        }
    }

    /// A text's tokens, moved on.
    pub fn shifted(self, ids: &[u32]) -> Vec<u32> {
        let before = &ids[..ids.len().saturating_sub(1)];
        let first = std::iter::once(self.of(ids));
        first.chain(before.iter().copied()).collect()
    }

    fn of(self, ids: &[u32]) -> u32 {
        match self {
            Self::Token(id) => id,
            Self::Last { padding } => {
                let count = ids.iter().filter(|&&id| id != padding).count();
                ids.get(count.saturating_sub(1)).copied().unwrap_or(padding)
            }
        }
    }
}
