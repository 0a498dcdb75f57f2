//! Which tokens are special and which were added, from the four files that may say so, in the
//! precedence of `_from_pretrained` in transformers' `tokenization_utils_base.py`: the configuration,
//! over what its class names; `special_tokens_map.json` and `added_tokens.json` only where the
//! configuration lists no added tokens.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenizers::AddedToken;

use super::class::Class;

/// The named tokens, in the order in which transformers goes through them.
pub(super) const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// The marks of `CodeLlama`'s class, with what they are where the configuration is silent.
pub(super) const MARKS: [(&str, &str); 4] = [
    ("prefix_token", "▁<PRE>"),
    ("middle_token", "▁<MID>"),
    ("suffix_token", "▁<SUF>"),
    ("eot_token", "▁<EOT>"),
];

/// What the files say.
#[derive(Default)]
pub(super) struct Sources {
    /// `tokenizer_config.json`.
    pub config: Value,
    /// `special_tokens_map.json`.
    pub map: Value,
    /// `added_tokens.json`.
    pub added: Value,
    /// The list of that name in `tokenizer.json`.
    pub listed: Value,
}

/// A token as a file writes it.
#[derive(Clone, Debug)]
enum Written {
    /// Its text alone.
    Plain(String),
    /// With how it is found in a text.
    Whole(AddedToken),
}

impl Written {
    fn content(&self) -> &str {
        match self {
            Self::Plain(content) => content,
            Self::Whole(token) => &token.content,
        }
    }
}

/// The special tokens, and the tokens to add to a vocabulary.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecialTokens {
    named: Vec<(String, Written)>,
    additional: Vec<Written>,
    /// Tokens with the ids they are listed under.
    listed: BTreeMap<u32, AddedToken>,
    /// The class whose Python constructor completes plain ones; none for a `tokenizer.json`.
    completing: Option<Class>,
}

impl SpecialTokens {
    /// Tokens of a GGUF file: only names, the vocabulary has the rest.
    pub fn of_names(named: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let named = named.into_iter();
        Self {
            named: named
                .map(|(name, token)| (name.to_owned(), Written::Plain(token)))
                .collect(),
            ..Self::default()
        }
    }

    /// Reads them. `converted` says that the vocabulary comes from the files of a Python class.
    pub fn read(sources: &Sources, class: Class, converted: bool) -> Self {
        let config = &sources.config;
        let has_list = config.get("added_tokens_decoder").is_some();
        let map = if has_list { &Value::Null } else { &sources.map };
        let mut named = Vec::new();
        for name in NAMES {
            let default = class.defaults().token(name);
            let mut token = default.map(|content| Written::Plain(content.to_owned()));
            for (file, is_map) in [(config, false), (map, true)] {
                if let Some(value) = file.get(name) {
                    token = written(value, is_map);
                }
            }
            named.extend(token.map(|token| (name.to_owned(), token)));
        }
        if let Some(extra) = config["extra_special_tokens"].as_object() {
            let tokens = extra
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), written(value, true)?)));
            named.extend(tokens);
        }
        let mut tokens = Self {
            named,
            additional: additional(config, map, class),
            listed: BTreeMap::new(),
            completing: converted.then_some(class),
        };
        tokens.listed = if has_list {
            list_of(&config["added_tokens_decoder"])
        } else {
            tokens.legacy_list(sources)
        };
        tokens.complete(class, |name| {
            config.get(name).is_some() || map.get(name).is_some()
        });
        tokens
    }

    /// A named token is found as the list says; otherwise as the constructor makes it of its text, which
    /// never looks for its own default in the list.
    fn complete(&mut self, class: Class, is_given: impl Fn(&str) -> bool) {
        let is_json = self.completing.is_none();
        for (name, token) in &mut self.named {
            let looks = !is_json || is_given(name) || !NAMES.contains(&&**name);
            let mut known = self.listed.values().filter(|_| looks);
            let listed = known
                .find(|other| other.content == token.content())
                .cloned();
            let made = || match token {
                Written::Plain(content) if is_json => class.defaults().whole_token(name, content),
                _ => None,
            };
            if let Some(whole) = listed.or_else(made) {
                *token = Written::Whole(whole);
            }
        }
    }

    /// `added_tokens.json` and the list of `tokenizer.json`.
    fn legacy_list(&self, sources: &Sources) -> BTreeMap<u32, AddedToken> {
        let mut list = BTreeMap::new();
        let is_special = |content: &str| self.contents().any(|special| special == content);
        for (content, id) in sources.added.as_object().into_iter().flatten() {
            if let Some(id) = id.as_u64() {
                let token = AddedToken::from(content.as_str(), is_special(content));
                list.insert(id as u32, token);
            }
        }
        for entry in sources.listed.as_array().into_iter().flatten() {
            if let (Some(id), Some(token)) = (entry["id"].as_u64(), whole(entry)) {
                list.insert(id as u32, token);
            }
        }
        list
    }

    /// The text of a named token.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, token) = self.named.iter().find(|(of, _)| of == name)?;
        Some(token.content())
    }

    /// The named tokens beyond [`NAMES`], as of a multimodal model.
    pub fn extra(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_extra = |(name, _): &&(String, Written)| !NAMES.contains(&name.as_str());
        let extra = self.named.iter().filter(is_extra);
        extra.map(|(name, token)| (name.as_str(), token.content()))
    }

    /// `additional_special_tokens`.
    pub fn additional(&self) -> impl Iterator<Item = &str> {
        self.additional.iter().map(Written::content)
    }

    /// All special tokens; some may come twice.
    pub fn contents(&self) -> impl Iterator<Item = &str> {
        self.named().chain(self.additional())
    }

    fn named(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(_, token)| token.content())
    }

    /// `all_special_tokens`: each once, but for what the list of additional ones has twice.
    pub fn all(&self) -> Vec<&str> {
        let mut tokens: Vec<&str> = Vec::new();
        for token in self.named() {
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        let named = tokens.len();
        for token in self.additional() {
            if !tokens[..named].contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }

    /// Takes in a further one, as the Python classes do with special tokens that are added.
    pub fn push_additional(&mut self, token: AddedToken) {
        if !token.content.is_empty() && !self.contents().any(|known| known == token.content) {
            self.additional.push(Written::Whole(token));
        }
    }

    /// The tokens to add to a vocabulary that has the `known` ones already, in the order that gives
    /// them transformers' ids.
    pub fn to_add(&self, known: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let special = self
            .named
            .iter()
            .map(|(name, token)| (name.as_str(), token));
        let special = special.chain(self.additional.iter().map(|token| ("", token)));
        let is_known = |content: &str| {
            known(content) || self.listed.values().any(|token| token.content == content)
        };
        let special = special.filter_map(|(name, token)| match token {
            Written::Whole(token) => Some(token.clone().special(true)),
            Written::Plain(content) if self.completing.is_none() && is_known(content) => None,
            // A constructor completes named tokens alone; others that the vocabulary adds stay as it has them.
            Written::Plain(content) if name.is_empty() && known(content) => None,
            Written::Plain(content) => Some(self.completed(name, content)),
        });
        let listed = self.listed.values().map(|token| {
            let is_special = self.contents().any(|special| special == token.content);
            token.clone().special(token.special || is_special)
        });
        let mut tokens: Vec<AddedToken> = Vec::new();
        for token in listed.chain(special) {
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }

    /// A plain special token as the class's constructor completes it.
    fn completed(&self, name: &str, content: &str) -> AddedToken {
        let token = AddedToken::from(content, true);
        match (self.completing, name) {
            (Some(class), "mask_token") if class.mask_takes_blank() => {
                let normalized = matches!(
                    class,
                    Class::Bart | Class::Mvp | Class::MBart50 | Class::Nllb
                );
                token.lstrip(true).normalized(normalized)
            }
            (Some(Class::DebertaV2), "unk_token") => token.normalized(true),
            (Some(class), name) if class.normalizes_special_tokens() && !name.is_empty() => {
                token.normalized(true)
            }
            _ => token,
        }
    }
}

fn additional(config: &Value, map: &Value, class: Class) -> Vec<Written> {
    const KEY: &str = "additional_special_tokens";
    let list = |value: &Value, special: bool| -> Option<Vec<Written>> {
        let list = value.as_array()?.iter();
        Some(list.filter_map(|token| written(token, special)).collect())
    };
    let mut tokens = list(&config[KEY], false);
    if let Some(more) = list(&map[KEY], true) {
        let tokens = tokens.get_or_insert_default();
        for token in more {
            if !tokens
                .iter()
                .any(|known| known.content() == token.content())
            {
                tokens.push(token);
            }
        }
    }
    if class == Class::CodeLlama {
        tokens.get_or_insert_default().extend(infilling(config));
    }
    // T5 completes a list without its sentinels; Pegasus, mBART-50 and XGLM one that is too short. mBART puts its
    // languages before what is listed.
    let defaults = || {
        class
            .additional_special_tokens()
            .into_iter()
            .map(Written::Plain)
    };
    match tokens {
        None => defaults().collect(),
        Some(mut tokens) => {
            let has_sentinels = |tokens: &[Written]| {
                tokens
                    .iter()
                    .any(|token| token.content().contains("<extra_id_"))
            };
            if class == Class::T5 && !has_sentinels(&tokens) {
                tokens.extend(defaults());
            }
            if matches!(
                class,
                Class::Pegasus | Class::MBart50 | Class::Named("XGLMTokenizer")
            ) {
                let known: Vec<String> = tokens
                    .iter()
                    .map(|token| token.content().to_owned())
                    .collect();
                tokens
                    .extend(defaults().filter(|token| !known.iter().any(|k| k == token.content())));
            }
            if class == Class::MBart {
                let own: Vec<Written> = defaults().collect();
                let is_own = |token: &Written| own.iter().any(|o| o.content() == token.content());
                tokens.retain(|token| !is_own(token));
                tokens.splice(0..0, own);
            }
            tokens
        }
    }
}

/// The marks of `CodeLlama`'s class, which comes to have them twice when the list names them.
fn infilling(config: &Value) -> impl Iterator<Item = Written> {
    MARKS.into_iter().filter_map(|(name, usual)| {
        let usual = || Some(Written::Plain(usual.to_owned()));
        config
            .get(name)
            .map_or_else(usual, |token| written(token, false))
    })
}

fn list_of(value: &Value) -> BTreeMap<u32, AddedToken> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .filter_map(|(id, token)| Some((id.parse().ok()?, whole(token)?)))
        .collect()
}

/// A token is written as its text, or as an object.
fn written(value: &Value, special: bool) -> Option<Written> {
    match value {
        Value::String(content) => Some(Written::Plain(content.clone())),
        value => whole(value).map(|token| {
            let is_special = token.special || special;
            Written::Whole(token.special(is_special))
        }),
    }
}

/// A token with how it is found in a text.
fn whole(value: &Value) -> Option<AddedToken> {
    let flag = |name: &str| value[name].as_bool();
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(value["content"].as_str()?, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(match flag("normalized") {
        Some(normalized) => token.normalized(normalized),
        None => token,
    })
}
