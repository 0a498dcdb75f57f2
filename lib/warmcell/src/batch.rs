//! Many encoded texts at once, as a model reads them: transformers' `BatchEncoding`.

use std::{collections::BTreeMap, fmt};

use ::display::{EncodedBatch, RichDisplay};
use serde::{Serialize, Serializer};
use wire::{
    mime::Bundle,
    model::TokenizerInfo,
    tokenize::{BatchEncoding as Encoded, EncodedRow, TextInput},
};

use crate::TokenIds;

/// Encoded texts, a row a text; with `return_overflowing_tokens` a row a window. Rows are equally
/// long when they were padded. Shows as a table of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEncoding {
    encoded: Encoded,
    seen: Seen,
}

/// What a table of the rows has beside them: of so many inputs as it can be of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    inputs: Vec<TextInput>,
    special: BTreeMap<u32, String>,
}

impl Seen {
    pub fn new(inputs: &[TextInput], info: &TokenizerInfo) -> Self {
        let inputs = inputs.iter().take(EncodedBatch::MOST_INPUTS);
        Self {
            inputs: inputs.cloned().collect(),
            special: special(info),
        }
    }
}

/// Spellings of special tokens. The ids of those without a name follow the others', as transformers has
/// them; where their number is another, some of them are not in the vocabulary, and none is told.
fn special(info: &TokenizerInfo) -> BTreeMap<u32, String> {
    let named = info.named_tokens().into_iter().filter_map(|(name, token)| {
        let id = info.special_token_ids.get(name)?;
        Some((*id, token.clone()?))
    });
    let mut special: BTreeMap<u32, String> = named.collect();
    // Either list may have one twice.
    let mut ids: Vec<u32> = Vec::new();
    for id in &info.all_special_ids {
        if !ids.contains(id) && !special.contains_key(id) {
            ids.push(*id);
        }
    }
    let mut others: Vec<&String> = Vec::new();
    for token in &info.additional_special_tokens {
        if !others.contains(&token) && !special.values().any(|known| known == token) {
            others.push(token);
        }
    }
    if ids.len() == others.len() {
        special.extend(ids.into_iter().zip(others.into_iter().cloned()));
    }
    special
}

impl BatchEncoding {
    pub(crate) fn new(encoded: Encoded, seen: Seen) -> Self {
        Self { encoded, seen }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.encoded.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.encoded.rows.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        let fingerprint = &self.encoded.fingerprint;
        self.encoded.rows.iter().map(|row| Row { row, fingerprint })
    }

    /// A row.
    pub fn get(&self, row: usize) -> Option<Row<'_>> {
        self.rows().nth(row)
    }

    /// Ids, row by row.
    pub fn input_ids(&self) -> Vec<&[u32]> {
        self.column(|row| &row.input_ids)
    }

    /// 1 for what is to be read, 0 for padding, row by row.
    pub fn attention_mask(&self) -> Vec<&[u32]> {
        self.column(|row| &row.attention_mask)
    }

    /// 0 for the first text, 1 for the second, row by row.
    pub fn token_type_ids(&self) -> Vec<&[u32]> {
        self.column(|row| &row.token_type_ids)
    }

    /// 1 for what the tokenizer added, row by row.
    pub fn special_tokens_mask(&self) -> Vec<&[u32]> {
        self.column(|row| &row.special_tokens_mask)
    }

    /// Which text each row is of.
    pub fn overflow_to_sample_mapping(&self) -> Vec<usize> {
        let rows = self.encoded.rows.iter();
        rows.map(|row| row.sample as usize).collect()
    }

    fn column<'a>(&'a self, of: impl Fn(&'a EncodedRow) -> &'a [u32]) -> Vec<&'a [u32]> {
        self.encoded.rows.iter().map(of).collect()
    }
}

impl fmt::Display for BatchEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.encoded.rows.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{:?}", row.input_ids)?;
        }
        Ok(())
    }
}

impl RichDisplay for BatchEncoding {
    fn bundle(&self) -> Bundle {
        let batch = EncodedBatch {
            encoded: &self.encoded,
            inputs: &self.seen.inputs,
            special: &self.seen.special,
        };
        batch.bundle()
    }
}

impl Serialize for BatchEncoding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encoded.serialize(serializer)
    }
}

/// A row of a [`BatchEncoding`]. Can be decoded.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    row: &'a EncodedRow,
    fingerprint: &'a str,
}

impl<'a> Row<'a> {
    /// Ids.
    pub fn ids(&self) -> &'a [u32] {
        &self.row.input_ids
    }

    /// 1 for what is to be read, 0 for padding.
    pub fn attention_mask(&self) -> &'a [u32] {
        &self.row.attention_mask
    }

    /// Where each token is in its text, in characters, end excluded; `(0, 0)` for one that stands for
    /// none of it.
    pub fn offset_mapping(&self) -> Vec<(usize, usize)> {
        pairs(&self.row.char_starts, &self.row.char_ends)
    }

    /// The same in bytes, to cut a `&str` with.
    pub fn byte_offsets(&self) -> Vec<(usize, usize)> {
        pairs(&self.row.byte_starts, &self.row.byte_ends)
    }
}

fn pairs(starts: &[u32], ends: &[u32]) -> Vec<(usize, usize)> {
    let pairs = starts.iter().zip(ends);
    pairs
        .map(|(start, end)| (*start as usize, *end as usize))
        .collect()
}

impl TokenIds for Row<'_> {
    fn token_ids(&self) -> &[u32] {
        &self.row.input_ids
    }

    fn fingerprint(&self) -> Option<&str> {
        Some(self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch as a cell's last line showed its `Debug`.
    #[test]
    fn a_batch_shows_its_tokens_padding_and_mask() {
        let info = serde_json::json!({
            "name": "a/b", "class": null, "model": "BPE", "vocab_size": 9, "own_vocab_size": 9,
            "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": null,
            "sep_token": null, "cls_token": null, "mask_token": null,
            "additional_special_tokens": ["</s>", "en_XX", "en_XX"],
            "special_token_ids": { "bos_token": 0, "eos_token": 1, "pad_token": 2 },
            "all_special_ids": [0, 1, 2, 8, 8], "padding_side": "Right", "model_max_length": null,
            "model_input_names": [], "clean_up_tokenization_spaces": false,
            "has_chat_template": false, "fingerprint": "f",
        });
        let info: TokenizerInfo = serde_json::from_value(info).expect("is what is known");
        let row = EncodedRow {
            input_ids: vec![8, 5, 1, 2, 2],
            attention_mask: vec![1, 1, 1, 0, 0],
            special_tokens_mask: vec![1, 0, 1, 1, 1],
            byte_starts: vec![0; 5],
            byte_ends: vec![0, 5, 0, 0, 0],
            ..Default::default()
        };
        let encoded = Encoded {
            rows: vec![row],
            fingerprint: "f".to_owned(),
        };
        let batch = BatchEncoding::new(encoded, Seen::new(&["Hello".into()], &info));
        assert_eq!(
            batch.bundle().get("text/plain"),
            Some(
                "1 row of 5 tokens · 2 of padding\n0  [en_XX]│Hello│[</s>]│[<pad>] × 2\n   \
                 input_ids       [8, 5, 1, 2, 2]\n   attention_mask  [1, 1, 1, 0, 0]"
            )
        );
    }
}
