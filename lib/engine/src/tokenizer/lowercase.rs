//! sentence-transformers' `do_lower_case`: a tokenizer that lowers its texts before all else it does to them.

use serde_json::{Value, json};
use tokenizers::NormalizerWrapper;
use wire::Failure;

use super::Tokenizer;
use crate::failures;

impl Tokenizer {
    /// The same tokenizer with a `Lowercase` before its normaliser, where that is none and has none.
    pub(crate) fn lowercasing(&self) -> Result<Self, Failure> {
        if self.parts.python.is_some() {
            return Err(failures::unsupported(format!(
                "the tokenizer of `{}` cannot lower its texts, as `do_lower_case` asks",
                self.info.name
            ))
            .hint("lower the texts, and take `do_lower_case` out of the model's `sentence_bert_config.json`"));
        }
        let failed = |error: serde_json::Error| self.failed("lower texts", &error);
        let own = self.inner.get_normalizer();
        let own = own.map(serde_json::to_value).transpose().map_err(failed)?;
        let lowers = |step: &Value| step["type"] == "Lowercase";
        let mut steps = vec![json!({"type": "Lowercase"})];
        match own {
            Some(own) if lowers(&own) => steps = vec![own],
            Some(own) => match own["normalizers"].as_array() {
                Some(inner) if inner.iter().any(lowers) => inner.clone_into(&mut steps),
                Some(inner) => steps.extend(inner.iter().cloned()),
                None => steps.push(own),
            },
            None => {}
        }
        let normalizer = json!({"type": "Sequence", "normalizers": steps});
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer).map_err(failed)?;
        let mut inner = self.inner.clone();
        inner
            .with_normalizer(Some(normalizer))
            .map_err(|error| self.failed("lower texts", error.as_ref()))?;
        Ok(self.with_inner(inner))
    }
}
