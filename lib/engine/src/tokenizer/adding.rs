//! `add_tokens`: a tokenizer with further tokens, made from the one before without reading its vocabulary
//! again. What it costs is the search for added tokens, which the crate `tokenizers` makes anew each time.

use std::collections::HashSet;

use tokenizers::AddedToken;
use wire::{Failure, tokenize::NewToken};

use super::Tokenizer;

impl Tokenizer {
    /// The same tokenizer with further tokens: transformers' `add_tokens`.
    pub fn with_added(&self, added: &[NewToken]) -> Result<Self, Failure> {
        let mut extended = self.with_inner(self.inner.clone());
        extended.info.added_tokens = self.info.added_tokens;
        extended.extend(added)?;
        Ok(extended)
    }

    /// Adds tokens to it.
    pub(super) fn extend(&mut self, added: &[NewToken]) -> Result<(), Failure> {
        let tokens: Vec<AddedToken> = added.iter().map(|new| self.token_of(new)).collect();
        let contents = tokens.iter().map(|token| token.content.clone());
        let new: HashSet<String> = contents
            .filter(|content| self.token_to_id(content).is_none())
            .collect();
        let size = self.info.vocab_size;
        let changed = self
            .inner
            .add_tokens(tokens.clone())
            .map_err(|error| self.failed("add tokens", error.as_ref()))?;
        self.splitting.take();
        self.byte_level.take();
        if self.parts.python.is_some() {
            for token in tokens.into_iter().filter(|token| token.special) {
                self.parts.special.push_additional(token);
            }
            // The Python classes count tokens that are new alone.
            let (name, before) = (self.info.name.clone(), self.info.added_tokens);
            self.describe(&name);
            self.info.added_tokens = before + self.info.vocab_size.saturating_sub(size);
            return Ok(());
        }
        self.take_note(&tokens, &new);
        self.info.added_tokens += changed as u32;
        Ok(())
    }

    /// A token as it is added; those of the Python classes are searched in the text as it is.
    fn token_of(&self, new: &NewToken) -> AddedToken {
        let token = AddedToken::from(new.content.as_str(), new.special)
            .single_word(new.single_word)
            .lstrip(new.lstrip)
            .rstrip(new.rstrip);
        match new.normalized {
            _ if self.parts.python.is_some() => token.normalized(false),
            Some(normalized) => token.normalized(normalized),
            None => token,
        }
    }

    /// What [`Self::describe`] would find of these tokens, of which some are new to the vocabulary.
    fn take_note(&mut self, tokens: &[AddedToken], new: &HashSet<String>) {
        let named: HashSet<&str> = self.parts.special.contents().collect();
        for token in tokens.iter().filter(|token| !token.content.is_empty()) {
            let Some(id) = self.inner.token_to_id(&token.content) else {
                continue;
            };
            let content = token.content.as_str();
            let known = self.inner.get_added_vocabulary();
            let is_special = known.is_special_token(content);
            let is_first = self
                .added
                .insert(id, (content.to_owned(), is_special))
                .is_none();
            if token.special || named.contains(content) {
                self.special_ids.insert(id);
            } else {
                self.special_ids.remove(&id);
            }
            if is_first && new.contains(content) {
                self.identity.push(content, id);
            }
        }
        self.info.vocab_size = self.inner.get_vocab_size(true) as u32;
        self.info.fingerprint = self.identity.fingerprint();
    }
}
