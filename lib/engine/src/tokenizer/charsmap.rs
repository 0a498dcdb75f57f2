//! `SentencePiece`'s own normalisation (`normalizer.cc`), for the classes that transformers runs on
//! `SentencePiece` itself. The step of the crate `tokenizers` for converted models goes by graphemes and
//! gives other pieces for some; theirs is the reference for converted models, this one here.

use super::sentence_model::Model;

/// Replaces characters and blanks as a model's file says.
#[derive(Clone, Debug)]
pub(super) struct Charsmap {
    /// A double array of darts-clone; empty for no replacement.
    units: Vec<u32>,
    /// What replaces, each text ended by a zero byte.
    texts: Vec<u8>,
    adds_dummy_prefix: bool,
    removes_extra_whitespace: bool,
}

/// A normalised text.
pub(super) struct Normalized {
    /// The text, blanks written as `▁`.
    pub text: String,
    /// Where each of its bytes comes from: begin and end in the original.
    pub origins: Vec<(usize, usize)>,
}

const BLANK: &str = "▁";

impl Charsmap {
    /// Of a model; `None` when its table is broken.
    pub fn of(model: &Model) -> Option<Self> {
        let (units, texts) = match model.charsmap.split_first_chunk::<4>() {
            None => (Vec::new(), Vec::new()),
            Some((length, rest)) => {
                let (units, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                let (units, []) = units.as_chunks::<4>() else {
                    return None;
                };
                let units = units.iter().map(|unit| u32::from_le_bytes(*unit));
                (units.collect(), texts.to_vec())
            }
        };
        Some(Self {
            units,
            texts,
            adds_dummy_prefix: model.adds_dummy_prefix,
            removes_extra_whitespace: model.removes_extra_whitespace,
        })
    }

    /// `Normalizer::Normalize`.
    pub fn normalize(&self, text: &str) -> Normalized {
        let mut normalized = Normalized {
            text: String::new(),
            origins: Vec::new(),
        };
        let mut at = 0;
        while self.removes_extra_whitespace && at < text.len() {
            let (shown, length) = self.prefix(&text[at..]);
            if shown != " " {
                break;
            }
            at += length;
        }
        if at == text.len() {
            return normalized;
        }
        if self.adds_dummy_prefix {
            normalized.push(BLANK, (at, at));
        }
        let mut after_blank = self.removes_extra_whitespace;
        while at < text.len() {
            let (mut shown, length) = self.prefix(&text[at..]);
            if after_blank {
                shown = shown.trim_start_matches(' ');
            }
            if !shown.is_empty() {
                normalized.push(&shown.replace(' ', BLANK), (at, at + length));
                after_blank = shown.ends_with(' ');
            }
            after_blank &= self.removes_extra_whitespace;
            at += length;
        }
        while self.removes_extra_whitespace && normalized.text.ends_with(BLANK) {
            let length = normalized.text.len() - BLANK.len();
            normalized.text.truncate(length);
            normalized.origins.truncate(length);
        }
        normalized
    }

    /// What a text's first characters become, and how many bytes they are.
    fn prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some((at, length)) = self.longest(text.as_bytes()) {
            let replacement = self.texts.get(at..).unwrap_or_default();
            let end = replacement.iter().position(|byte| *byte == 0);
            let replacement = &replacement[..end.unwrap_or(replacement.len())];
            if let Ok(replacement) = std::str::from_utf8(replacement) {
                return (replacement, length);
            }
        }
        let length = text.chars().next().map_or(1, char::len_utf8);
        (&text[..length], length)
    }

    /// The longest entry that a text begins with: where its replacement is, and its length in bytes.
    fn longest(&self, text: &[u8]) -> Option<(usize, usize)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        for (index, &byte) in text.iter().enumerate() {
            node ^= byte as usize;
            let Some(&unit) = self.units.get(node) else {
                break;
            };
            if unit & (1 << 31 | 0xFF) != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if (unit >> 8) & 1 == 1 {
                let value = self.units.get(node)? & !(1 << 31);
                found = Some((value as usize, index + 1));
            }
        }
        found
    }
}

impl Normalized {
    fn push(&mut self, text: &str, origin: (usize, usize)) {
        self.text += text;
        self.origins.resize(self.text.len(), origin);
    }

    /// A span of this text in the original.
    pub fn origin(&self, (start, end): (usize, usize)) -> (usize, usize) {
        match (
            self.origins.get(start),
            end.checked_sub(1).and_then(|last| self.origins.get(last)),
        ) {
            (Some(first), Some(last)) => (first.0, last.1.max(first.0)),
            _ => (0, 0),
        }
    }
}
