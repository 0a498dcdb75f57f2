//! Tokenizers of models that speak several languages: mBART, mBART-50, NLLB and M2M100. A token beside the
//! text says which language it is in; another one, which the decoder is made to begin with, which to write.

use serde_json::{Value, json};
use wire::{
    Failure,
    tokenize::{EncodeOptions, TextInput, Truncation},
};

use super::{Tokenizer, class::Class, language_codes, special::SpecialTokens};
use crate::failures;

/// How a tokenizer's class tells languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Languages {
    /// Whether the language stands before the text; else it stands after the end-of-sequence token.
    first: bool,
    /// Whether a code is written `__en__` in the vocabulary.
    underscored: bool,
    /// The language where none is named.
    default: &'static str,
    /// Codes of two languages, for messages.
    pub(super) examples: [&'static str; 2],
}

impl Languages {
    /// Of the class that a `tokenizer_config.json` names; `None` of one that knows no languages.
    pub fn of(class: &str, config: &Value) -> Option<Self> {
        let own = |first, default, examples| {
            Some(Self {
                first,
                underscored: false,
                default,
                examples,
            })
        };
        match class.strip_suffix("Fast").unwrap_or(class) {
            "MBartTokenizer" => own(false, "en_XX", ["en_XX", "ro_RO"]),
            "MBart50Tokenizer" => own(true, "en_XX", ["en_XX", "fr_XX"]),
            "NllbTokenizer" => {
                let is_old = config["legacy_behaviour"] == true;
                own(!is_old, "eng_Latn", ["eng_Latn", "fra_Latn"])
            }
            "M2M100Tokenizer" => Some(Self {
                first: true,
                underscored: true,
                default: "en",
                examples: ["en", "fr"],
            }),
            _ => None,
        }
    }

    /// The class of a `model_type` (`TOKENIZER_MAPPING_NAMES` in `tokenization_auto.py`).
    pub fn class_of_model(model_type: &str) -> Option<&'static str> {
        match model_type {
            "mbart" => Some("MBartTokenizer"),
            "mbart50" => Some("MBart50Tokenizer"),
            "m2m_100" => Some("M2M100Tokenizer"),
            "nllb" | "nllb-moe" => Some("NllbTokenizer"),
            _ => None,
        }
    }

    /// The language of texts where none is named.
    pub(super) fn default(self, config: &Value) -> &str {
        config["src_lang"].as_str().unwrap_or(self.default)
    }

    fn token(self, language: &str) -> String {
        if self.underscored {
            format!("__{language}__")
        } else {
            language.to_owned()
        }
    }

    /// The post-processor for texts in a language: `set_src_lang_special_tokens`. `None` where the
    /// vocabulary lacks one of its tokens.
    pub(super) fn post_processor(
        self,
        language: &str,
        special: &SpecialTokens,
        id_of: impl Fn(&str) -> Option<u64>,
    ) -> Option<Value> {
        let language = self.token(language);
        let end = special.get("eos_token")?;
        let token = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let around = |texts: Vec<Value>| -> Vec<Value> {
            let (before, after) = if self.first {
                (vec![token(&language)], vec![token(end)])
            } else {
                (Vec::new(), vec![token(end), token(&language)])
            };
            before.into_iter().chain(texts).chain(after).collect()
        };
        let entry =
            |token: &str| Some(json!({"id": token, "ids": [id_of(token)?], "tokens": [token]}));
        Some(json!({
            "type": "TemplateProcessing",
            "single": around(vec![text("A")]),
            "pair": around(vec![text("A"), text("B")]),
            "special_tokens": {language.clone(): entry(&language)?, end: entry(end)?},
        }))
    }
}

impl Tokenizer {
    /// How it tells languages, if it does.
    pub(crate) fn languages(&self) -> Option<Languages> {
        Languages::of(self.parts.class.as_deref()?, &self.parts.config)
    }

    /// The token that stands for a language. Fails on one that it does not have.
    pub(crate) fn language_id(&self, language: &str) -> Result<u32, Failure> {
        let languages = self.languages();
        let token = languages.map_or_else(|| language.to_owned(), |own| own.token(language));
        self.token_to_id(&token).ok_or_else(|| {
            failures::invalid(format!(
                "the tokenizer of `{}` knows no language `{language}`",
                self.info.name
            ))
            .hint(self.known_languages())
        })
    }

    /// Source and target where both are named. Fails where one is not.
    pub(crate) fn both_languages<'l>(
        &self,
        languages: Languages,
        (source, target): (Option<&'l str>, Option<&'l str>),
    ) -> Result<(&'l str, &'l str), Failure> {
        if let (Some(source), Some(target)) = (source, target) {
            return Ok((source, target));
        }
        let message = "translation requires a `src_lang` and a `tgt_lang` for this model";
        let [one, other] = languages.examples;
        Err(failures::invalid(message).hint(format!(
            "name both: `.src_lang(\"{one}\").tgt_lang(\"{other}\")`; {}",
            self.known_languages()
        )))
    }

    /// What it knows, for a hint.
    fn known_languages(&self) -> String {
        let class = self.parts.class.as_deref().map(Class::named);
        // The WMT21 models are of M2M100's class, and have other languages.
        let others: &[&str] = match class {
            Some(Class::M2M100) => &language_codes::WMT21,
            _ => &[],
        };
        let codes = class.map_or(&[][..], Class::language_codes).iter();
        let codes = codes.chain(others);
        let is_known = |code: &&&str| {
            let token = self.languages().map(|own| own.token(code));
            token.is_some_and(|token| self.token_to_id(&token).is_some())
        };
        let mut known: Vec<&str> = codes.filter(is_known).copied().collect();
        known.sort_unstable();
        known.dedup();
        format!("its languages: {}", known.join(", "))
    }

    /// The tokens of a text in a language, cut to a length where one is given.
    pub(crate) fn encode_in(
        &self,
        text: &str,
        language: &str,
        longest: Option<u32>,
    ) -> Result<Vec<u32>, Failure> {
        let language = self.language_id(language)?;
        let mut options = EncodeOptions {
            add_special_tokens: false,
            ..EncodeOptions::default()
        };
        if let Some(limit) = longest {
            options.truncation = Truncation::LongestFirst;
            options.max_length = Some(limit.saturating_sub(2));
        }
        let mut windows = self.windows(&TextInput::from(text), &options)?;
        let ids = windows.swap_remove(0).get_ids().to_vec();
        let end = self.named_id("eos_token");
        let ids = ids.into_iter();
        Ok(if self.languages().is_some_and(|own| own.first) {
            std::iter::once(language).chain(ids).chain(end).collect()
        } else {
            ids.chain(end).chain([language]).collect()
        })
    }
}
