//! `CodeLlama`'s infilling (`tokenization_code_llama_fast.py`): a text around what is to be filled in, or a
//! pair of what stands before and behind, cut without the blank that begins a text and put between the
//! class's marks. As there, only an input that comes alone is read so, never one of a list.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::{
    Encoding as Raw, Model, OffsetType, PostProcessorWrapper, PreTokenizer, Result as Encoded,
    normalizers::Replace,
};
use wire::{
    Failure,
    tokenize::{EncodeOptions, TextInput},
};

use super::{
    Tokenizer,
    special::MARKS,
    word_files::{Part, template},
};
use crate::failures;

/// What the files say of it.
#[derive(Clone, Debug)]
pub(super) struct Infilling {
    /// Where to cut a text.
    fill: Option<String>,
    /// The marks of [`MARKS`], by their names.
    marks: Vec<(&'static str, Option<String>)>,
    adds_bos: bool,
    adds_eos: bool,
}

/// An input as the class reads it.
pub(super) enum Reading {
    /// One text, as Llama's.
    Text(TextInput),
    /// What stands before, a blank in front, and what stands behind.
    Gap(TextInput),
}

impl Infilling {
    /// By `tokenizer_config.json`; a mark of `null` is none.
    pub fn read(config: &Value) -> Self {
        let token = |name: &str, usual: &str| match config.get(name) {
            None => Some(usual.to_owned()),
            Some(value) => {
                let content = value.as_str().or_else(|| value["content"].as_str());
                content.map(str::to_owned)
            }
        };
        let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
        Self {
            fill: token("fill_token", "<FILL_ME>"),
            marks: MARKS.map(|(name, usual)| (name, token(name, usual))).into(),
            adds_bos: flag("add_bos_token", true),
            adds_eos: flag("add_eos_token", false),
        }
    }

    /// What an input asks for. Fails where a text has two places to fill in.
    pub fn reading(&self, input: &TextInput) -> Result<Reading, Failure> {
        let fill = self.fill.as_deref().filter(|fill| !fill.is_empty());
        let parts = match (&input.pair, fill) {
            (None, Some(fill)) => input.text.split_once(fill).map(|parts| (parts, fill)),
            _ => None,
        };
        let (before, behind) = match parts {
            Some(((_, behind), fill)) if behind.contains(fill) => {
                let count = input.text.matches(fill).count();
                return Err(failures::invalid(format!(
                    "the text has `{fill}` {count} times, and one place is filled in"
                ))
                .hint("leave one, or give what stands before and what stands behind as a pair"));
            }
            Some(((before, behind), _)) => (before, behind),
            None => (&*input.text, input.pair.as_deref().unwrap_or_default()),
        };
        Ok(if behind.is_empty() {
            Reading::Text(before.into())
        } else {
            Reading::Gap((format!(" {before}"), behind).into())
        })
    }

    fn mark(&self, name: &str) -> Option<&str> {
        let (_, mark) = self.marks.iter().find(|(of, _)| *of == name)?;
        mark.as_deref()
    }
}

impl Tokenizer {
    /// The sequence of what stands before a gap and behind it.
    pub(super) fn around(
        &self,
        infilling: &Infilling,
        gap: &TextInput,
        options: &EncodeOptions,
    ) -> Result<Raw, Failure> {
        let post_processor = self.around_steps(infilling, options)?;
        let cut = |text: &str| {
            let raw = self.cut_part(text, options);
            raw.map_err(|error| self.failed("encode", error.as_ref()))
        };
        let first = cut(&gap.text)?;
        let mut second = cut(gap.pair.as_deref().unwrap_or_default())?;
        second.set_type_ids(vec![1; second.len()]);
        // The marks come whatever is asked for; the steps have the others only where they are wanted.
        let options = EncodeOptions {
            add_special_tokens: true,
            ..options.clone()
        };
        self.finished((first, Some(second)), &options, Some(&post_processor))
    }

    /// Cuts a part with blanks as `SentencePiece` writes them, and none put in front. Added tokens are found
    /// as where one is, which is what transformers does by another normaliser put in for the call.
    fn cut_part(&self, text: &str, options: &EncodeOptions) -> Encoded<Raw> {
        let tokenizer = self.splitting_where_asked(options);
        let blanks = Replace::new(" ", "▁")?;
        let vocabulary = tokenizer.get_added_vocabulary();
        let mut parts = vocabulary.extract_and_normalize(Some(&blanks), text);
        if let Some(steps) = tokenizer.get_pre_tokenizer() {
            steps.pre_tokenize(&mut parts)?;
        }
        let model = tokenizer.get_model();
        parts.tokenize(|part| model.tokenize(part.get()))?;
        parts.into_encoding(None, 0, OffsetType::Byte)
    }

    /// The post-processor of a gap: `set_infilling_processor`.
    fn around_steps(
        &self,
        infilling: &Infilling,
        options: &EncodeOptions,
    ) -> Result<PostProcessorWrapper, Failure> {
        let mark = |name| Ok::<_, Failure>(Part::Token(self.mark(infilling, name)?, 0));
        let (prefix, middle) = (mark("prefix_token")?, mark("middle_token")?);
        let suffix = mark("suffix_token")?;
        let around = if options.suffix_first {
            [prefix, suffix, Part::Second(0), middle, Part::First]
        } else {
            [prefix, Part::First, suffix, Part::Second(0), middle]
        };
        let end = |name: &str, adds: bool| {
            let token = self.parts.special.get(name);
            let token = token.filter(|_| adds && options.add_special_tokens);
            token.map(|token| Part::Token(token, 0))
        };
        let bos = end("bos_token", infilling.adds_bos).into_iter();
        let eos = end("eos_token", infilling.adds_eos);
        let pair: Vec<Part> = bos.chain(around).chain(eos).collect();
        let mut ids = Map::new();
        for part in &pair {
            if let Part::Token(token, _) = part {
                let id = self.token_to_id(token);
                let id = id.or_else(|| self.named_id("unk_token"));
                ids.extend(id.map(|id| ((*token).to_owned(), id.into())));
            }
        }
        let steps = template(&ids, Path::new("the vocabulary"), &[Part::First], &pair)?;
        serde_json::from_value(steps).map_err(|error| self.failed("fill in", &error))
    }

    fn mark<'a>(&self, infilling: &'a Infilling, name: &str) -> Result<&'a str, Failure> {
        infilling.mark(name).ok_or_else(|| {
            failures::invalid(format!(
                "the tokenizer of `{}` cannot fill in: it has no `{name}`",
                self.info.name
            ))
            .hint("its `tokenizer_config.json` sets it to null: name one there")
        })
    }
}
