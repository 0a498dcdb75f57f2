//! What is in a vocabulary: tokens and ids, and the special ones among them. Its identity is in
//! `identity.rs`.

use wire::model::TokenizerInfo;

use super::{Tokenizer, identity::Identity, special::NAMES};

impl Tokenizer {
    /// Id of a token by its exact spelling.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        match &self.parts.python {
            Some(python) => python.token_to_id(token, &self.inner),
            None => self.inner.token_to_id(token),
        }
    }

    /// Spelling of an id.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        match &self.parts.python {
            Some(python) => python.id_to_token(id, &self.inner),
            None => match self.added.get(&id) {
                Some((token, _)) => Some(token.clone()),
                None => self.inner.id_to_token(id),
            },
        }
    }

    /// Spellings of ids; `None` for what is not in the vocabulary.
    pub fn convert_ids_to_tokens(
        &self,
        ids: &[u32],
        skip_special_tokens: bool,
    ) -> Vec<Option<String>> {
        let ids = ids.iter();
        let kept = ids.filter(|id| !skip_special_tokens || !self.info.all_special_ids.contains(id));
        kept.map(|&id| self.id_to_token(id)).collect()
    }

    /// Ids of spellings; the unknown token's for what is not in the vocabulary.
    pub fn convert_tokens_to_ids(&self, tokens: &[String]) -> Vec<Option<u32>> {
        let unknown = self.named_id("unk_token");
        let tokens = tokens.iter();
        tokens
            .map(|token| self.token_to_id(token).or(unknown))
            .collect()
    }

    /// Tokens with their ids, in the order of the ids; only those that were added to the model's own
    /// when `added_only`.
    pub fn vocabulary(&self, added_only: bool) -> Vec<(String, u32)> {
        let mut tokens: Vec<(String, u32)> = if added_only {
            self.added()
                .map(|(id, token)| (token.content, id))
                .collect()
        } else {
            let all = match &self.parts.python {
                Some(python) => python.vocabulary(&self.inner),
                None => self.inner.get_vocab(true),
            };
            all.into_iter().collect()
        };
        tokens.sort_unstable_by(|(a, id_a), (b, id_b)| id_a.cmp(id_b).then_with(|| a.cmp(b)));
        tokens
    }

    /// The added tokens with their ids.
    pub(super) fn added(&self) -> impl Iterator<Item = (u32, tokenizers::AddedToken)> {
        let added = self.inner.get_added_tokens_decoder().into_iter();
        added.map(|(inner_id, token)| match &self.parts.python {
            Some(python) => {
                let id = python.token_to_id(&token.content, &self.inner);
                (id.unwrap_or_default(), token)
            }
            None => (inner_id, token),
        })
    }

    /// Id of `pad_token` and the like.
    pub(crate) fn named_id(&self, name: &str) -> Option<u32> {
        self.token_to_id(self.parts.special.get(name)?)
    }

    /// Fills what is known from the vocabulary as it is now.
    pub(super) fn describe(&mut self, name: &str) {
        let added = self.added();
        let known = self.inner.get_added_vocabulary();
        self.added = added
            .map(|(id, token)| {
                // What was special once stays so for decoding, as in `tokenizers`.
                let is_special = known.is_special_token(&token.content);
                (id, (token.content, is_special))
            })
            .collect();
        let special = &self.parts.special;
        let listed = special
            .contents()
            .filter_map(|token| self.token_to_id(token));
        self.special_ids = listed
            .chain(
                self.added()
                    .filter(|(_, token)| token.special)
                    .map(|(id, _)| id),
            )
            .collect();
        let token = |name: &str| special.get(name).map(str::to_owned);
        let own = match &self.parts.python {
            Some(python) => python.size(),
            None => self.inner.get_vocab_size(false),
        };
        let vocabulary = self.vocabulary(false);
        let model = &self.parts.json["model"];
        self.identity = Identity::of(&vocabulary, &model["merges"]);
        let [bos, eos, unk, sep, pad, cls, mask] = NAMES.map(token);
        let extra = || special.extra();
        let names = NAMES.into_iter().chain(extra().map(|(name, _)| name));
        let ids = names.filter_map(|name| Some((name.to_owned(), self.named_id(name)?)));
        self.info = TokenizerInfo {
            name: name.to_owned(),
            class: self.parts.class.clone(),
            model: model["type"].as_str().unwrap_or("BPE").to_owned(),
            vocab_size: vocabulary.len() as u32,
            own_vocab_size: own as u32,
            bos_token: bos,
            eos_token: eos,
            pad_token: pad,
            unk_token: unk,
            sep_token: sep,
            cls_token: cls,
            mask_token: mask,
            extra_special_tokens: extra()
                .map(|(name, token)| (name.to_owned(), token.to_owned()))
                .collect(),
            additional_special_tokens: special.additional().map(str::to_owned).collect(),
            special_token_ids: ids.collect(),
            all_special_ids: self.all_special_ids(),
            padding_side: self.parts.padding_side,
            model_max_length: self.parts.max_length,
            model_input_names: self.parts.inputs.clone(),
            clean_up_tokenization_spaces: self.parts.clean_up_spaces,
            has_chat_template: !self.parts.chat_templates.is_empty(),
            fingerprint: self.identity.fingerprint(),
            added_tokens: 0,
        };
    }

    /// Ids of the named and additional special tokens, in transformers' order.
    fn all_special_ids(&self) -> Vec<u32> {
        let tokens = self.parts.special.all().into_iter();
        tokens.filter_map(|token| self.token_to_id(token)).collect()
    }
}
