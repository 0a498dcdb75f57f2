//! Many encoded texts at once, as a model reads them: transformers' `BatchEncoding`.

use std::fmt;

use serde::{Serialize, Serializer};
use wire::tokenize::{BatchEncoding as Encoded, EncodedRow};

use crate::TokenIds;

/// Encoded texts, a row a text; with `return_overflowing_tokens` a row a window. Rows are equally
/// long when they were padded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEncoding {
    encoded: Encoded,
}

impl BatchEncoding {
    pub(crate) fn new(encoded: Encoded) -> Self {
        Self { encoded }
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
