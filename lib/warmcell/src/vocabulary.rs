//! A tokenizer's vocabulary: tokens and their ids, the special ones by name, and adding to it.

use std::collections::HashSet;

use wire::{
    host::Response,
    tokenize::{Ids, NewToken, Side, TokenizerAnswer, TokenizerCall},
};

use crate::{Result, TokenIds, Tokenizer, backend::unexpected};

impl Tokenizer {
    /// Spellings of ids, as in the vocabulary; `None` for an id that is not in it.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn convert_ids_to_tokens(
        &self,
        ids: &(impl TokenIds + ?Sized),
    ) -> Result<Vec<Option<String>>> {
        self.check_vocabulary(ids.fingerprint())?;
        let call = TokenizerCall::IdsToTokens {
            ids: Ids(ids.token_ids().to_vec()),
            skip_special_tokens: false,
        };
        match self.call(call)? {
            TokenizerAnswer::Pieces(pieces) => Ok(pieces),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// Ids of spellings; the unknown token's for what is not in the vocabulary, `None` where there is
    /// no unknown token.
    ///
    /// # Errors
    /// The model host ended.
    pub fn convert_tokens_to_ids<T: Into<String>>(
        &self,
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Option<u32>>> {
        let tokens = tokens.into_iter().map(Into::into);
        match self.call(TokenizerCall::TokensToIds(tokens.collect()))? {
            TokenizerAnswer::Ids(ids) => Ok(ids),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// All tokens with their ids, in the order of the ids.
    ///
    /// # Errors
    /// The model host ended.
    pub fn get_vocab(&self) -> Result<Vec<(String, u32)>> {
        self.vocabulary(false)
    }

    /// The tokens that were added to the model's own, with their ids.
    ///
    /// # Errors
    /// The model host ended.
    pub fn get_added_vocab(&self) -> Result<Vec<(String, u32)>> {
        self.vocabulary(true)
    }

    fn vocabulary(&self, added_only: bool) -> Result<Vec<(String, u32)>> {
        match self.call(TokenizerCall::Vocabulary { added_only })? {
            TokenizerAnswer::Vocabulary(tokens) => Ok(tokens),
            other => Err(unexpected(&Response::Tokenize(other))),
        }
    }

    /// Adds tokens that are found in a text before anything is cut: texts, or an [`crate::AddedToken`] that
    /// says how it is found. Gives how many were added, as transformers counts: those that were no added
    /// tokens before, or were found in another way. A model knows nothing of their ids until it is trained
    /// with them.
    ///
    /// # Errors
    /// The model host ended.
    pub fn add_tokens<T: Into<NewToken>>(
        &mut self,
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<usize> {
        let mut extended = self.clone();
        // As in transformers, what a list has twice is added once, whatever stands between.
        let mut seen = HashSet::new();
        let tokens = tokens.into_iter().map(Into::into);
        let once = tokens.filter(|token: &NewToken| seen.insert(token.clone()));
        extended.added.extend(once);
        match extended.call(TokenizerCall::Info)? {
            TokenizerAnswer::Info(info) => extended.info = *info,
            other => return Err(unexpected(&Response::Tokenize(other))),
        }
        let new = extended
            .info
            .added_tokens
            .saturating_sub(self.info.added_tokens);
        *self = extended;
        Ok(new as usize)
    }

    /// Number of tokens without added ones.
    pub fn vocab_size(&self) -> usize {
        self.info.own_vocab_size as usize
    }

    /// Number of tokens, added ones included.
    #[expect(
        clippy::len_without_is_empty,
        reason = "`len(tokenizer)` of transformers; none is empty"
    )]
    pub fn len(&self) -> usize {
        self.info.vocab_size as usize
    }

    /// The special tokens with their names, those of `extra_special_tokens` too; each further one is
    /// called `additional_special_tokens`, the key under which transformers has them as a list.
    pub fn special_tokens_map(&self) -> Vec<(&str, &str)> {
        let named = [
            ("bos_token", self.bos_token()),
            ("eos_token", self.eos_token()),
            ("unk_token", self.unk_token()),
            ("sep_token", self.info.sep_token.as_deref()),
            ("pad_token", self.pad_token()),
            ("cls_token", self.info.cls_token.as_deref()),
            ("mask_token", self.info.mask_token.as_deref()),
        ];
        let named = named
            .into_iter()
            .filter_map(|(name, token)| Some((name, token?)));
        let extra = self.info.extra_special_tokens.iter();
        let extra = extra.map(|(name, token)| (name.as_str(), token.as_str()));
        let additional = self.info.additional_special_tokens.iter();
        let additional = additional.map(|token| ("additional_special_tokens", token.as_str()));
        named.chain(extra).chain(additional).collect()
    }

    /// Beginning-of-sequence token.
    pub fn bos_token(&self) -> Option<&str> {
        self.info.bos_token.as_deref()
    }

    /// End-of-sequence token.
    pub fn eos_token(&self) -> Option<&str> {
        self.info.eos_token.as_deref()
    }

    /// Padding token.
    pub fn pad_token(&self) -> Option<&str> {
        self.pad_token.as_deref().or(self.info.pad_token.as_deref())
    }

    /// Token for what the vocabulary lacks.
    pub fn unk_token(&self) -> Option<&str> {
        self.info.unk_token.as_deref()
    }

    /// Id of the beginning-of-sequence token.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.named_id("bos_token")
    }

    /// Id of the end-of-sequence token.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.named_id("eos_token")
    }

    /// Id of the padding token, as long as it is the tokenizer's own or another named one.
    pub fn pad_token_id(&self) -> Option<u32> {
        match &self.pad_token {
            None => self.named_id("pad_token"),
            Some(chosen) => {
                let named = self.special_tokens_map();
                let mut named = named
                    .iter()
                    .filter(|(name, token)| *name != "pad_token" && *token == chosen.as_str());
                named.find_map(|(name, _)| self.named_id(name))
            }
        }
    }

    /// Id of the unknown token.
    pub fn unk_token_id(&self) -> Option<u32> {
        self.named_id("unk_token")
    }

    fn named_id(&self, name: &str) -> Option<u32> {
        self.info.special_token_ids.get(name).copied()
    }

    /// Pads with this token from now on: `tokenizer.pad_token = …` in transformers.
    pub fn set_pad_token(&mut self, token: impl Into<String>) {
        self.pad_token = Some(token.into());
    }

    /// Pads on this side from now on: `tokenizer.padding_side = …` in transformers.
    pub fn set_padding_side(&mut self, side: Side) {
        self.padding_side = Some(side);
    }
}

#[cfg(test)]
mod tests {
    use wire::model::{ModelSource, TokenizerInfo};

    use super::*;

    /// Those with names of their own, and those without one, were left out.
    #[test]
    fn the_map_has_all_special_tokens() {
        let info = TokenizerInfo {
            bos_token: Some("<s>".to_owned()),
            extra_special_tokens: vec![("image_token".to_owned(), "<image>".to_owned())],
            additional_special_tokens: vec!["<a>".to_owned(), "<b>".to_owned()],
            special_token_ids: [("bos_token", 0), ("image_token", 7)]
                .map(|(name, id)| (name.to_owned(), id))
                .into(),
            ..TokenizerInfo::default()
        };
        let mut tokenizer = Tokenizer {
            source: ModelSource::new("a/b"),
            own_fingerprint: String::new(),
            added: Vec::new(),
            pad_token: None,
            padding_side: None,
            info,
        };
        let own = [
            ("bos_token", "<s>"),
            ("image_token", "<image>"),
            ("additional_special_tokens", "<a>"),
            ("additional_special_tokens", "<b>"),
        ];
        assert_eq!(tokenizer.special_tokens_map(), own);
        tokenizer.set_pad_token("<image>");
        assert_eq!(tokenizer.pad_token_id(), Some(7));
    }
}
