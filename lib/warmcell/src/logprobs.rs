//! `generation.logprobs()`: how likely each token was.

use std::{fmt, ops::Deref};

use ::display::{Chart, RichDisplay};

use crate::rich::shows_as;

/// The tokens of a sequence with their probabilities. Shows as the text, each token shaded the more the
/// less likely it was, and a table of what else might have come.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    logprobs: wire::logprobs::Logprobs,
}

shows_as!(Logprobs, logprobs);

impl Logprobs {
    pub(crate) fn new(logprobs: wire::logprobs::Logprobs) -> Self {
        Self { logprobs }
    }

    /// The probabilities over the positions; `None` without a token.
    pub fn plot(&self) -> Option<Chart> {
        ::display::probability_plot(&[&self.logprobs])
    }
}

/// `tokens`, `total()`, `mean()`, `perplexity()`.
impl Deref for Logprobs {
    type Target = wire::logprobs::Logprobs;

    fn deref(&self) -> &Self::Target {
        &self.logprobs
    }
}

impl fmt::Display for Logprobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bundle = self.logprobs.bundle();
        f.write_str(bundle.get("text/plain").unwrap_or_default())
    }
}
