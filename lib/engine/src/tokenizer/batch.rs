//! Many sequences at once: padding, windows of what was cut off, and the columns that a model reads.

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use tokenizers::{Encoding as Raw, utils::padding::PaddingDirection};
use wire::{
    Failure,
    tokenize::{BatchEncoding, EncodeOptions, EncodedRow, Padding, Side, TextInput, Truncation},
};

use super::{Tokenizer, encode::Offsets};
use crate::{Cancel, failures};

/// Bytes of text from which a batch is worth several threads.
const PARALLEL_BYTES: usize = 32 << 10;

impl Tokenizer {
    /// Encodes inputs to rows: calling a tokenizer with a list in transformers, where none is filled in.
    pub fn encode_batch(
        &self,
        inputs: &[TextInput],
        options: &EncodeOptions,
        cancel: &Cancel,
    ) -> Result<BatchEncoding, Failure> {
        if options.suffix_first {
            return Err(failures::invalid(
                "`suffix_first` is for one text: in a list, as in transformers, none is filled in",
            )
            .hint("encode each by `encode_with`"));
        }
        let sequence = |input: &TextInput| -> Result<Raw, Failure> {
            cancel.check()?;
            self.sequence(input, options, Offsets::Trimmed)
        };
        let bytes: usize = inputs.iter().map(|input| input.text.len()).sum();
        let mut sequences: Vec<Raw> = if inputs.len() > 1 && bytes > PARALLEL_BYTES {
            inputs.par_iter().map(sequence).collect::<Result<_, _>>()?
        } else {
            inputs.iter().map(sequence).collect::<Result<_, _>>()?
        };
        self.rows(&mut sequences, inputs, options)
    }

    /// The row of one input that comes alone.
    pub(super) fn encode_alone(
        &self,
        input: &TextInput,
        options: &EncodeOptions,
    ) -> Result<BatchEncoding, Failure> {
        let alone = self.alone(input, options, Offsets::Trimmed)?;
        self.rows(&mut [alone.raw], &[alone.texts], options)
    }

    fn rows(
        &self,
        sequences: &mut [Raw],
        inputs: &[TextInput],
        options: &EncodeOptions,
    ) -> Result<BatchEncoding, Failure> {
        self.pad(sequences, options)?;
        let mut rows = Vec::with_capacity(sequences.len());
        for (sample, (raw, input)) in sequences.iter().zip(inputs).enumerate() {
            let characters = Characters::new(input);
            rows.push(row(raw, sample, &characters));
            if options.return_overflowing_tokens {
                let windows = raw.get_overflowing().iter();
                rows.extend(windows.map(|window| row(window, sample, &characters)));
            }
        }
        Ok(BatchEncoding {
            rows,
            fingerprint: self.info.fingerprint.clone(),
        })
    }

    fn pad(&self, sequences: &mut [Raw], options: &EncodeOptions) -> Result<(), Failure> {
        let longest = || sequences.iter().map(Raw::len).max().unwrap_or_default();
        let length = match options.padding {
            Padding::DoNotPad => return Ok(()),
            Padding::Longest => longest(),
            Padding::MaxLength => match self.limit(options) {
                Some(limit) => limit,
                // As in transformers, there is nothing to pad to.
                None => return Ok(()),
            },
        };
        let length = match options.pad_to_multiple_of {
            Some(multiple) if multiple > 0 => {
                self.check_multiple(multiple, options)?;
                length.next_multiple_of(multiple as usize)
            }
            _ => length,
        };
        let own = self.parts.special.get("pad_token");
        let Some(token) = options.pad_token.as_deref().or(own) else {
            return Err(failures::invalid(format!(
                "cannot pad: the tokenizer of `{}` has no padding token",
                self.info.name
            ))
            .hint("take one: `tokenizer.set_pad_token(tokenizer.eos_token().unwrap())`"));
        };
        let Some(id) = self.token_to_id(token) else {
            return Err(failures::invalid(format!(
                "cannot pad with `{token}`: it is not in the vocabulary of `{}`",
                self.info.name
            ))
            .hint("add it with `add_tokens`, or take a token that is there"));
        };
        let side = match options.padding_side.unwrap_or(self.parts.padding_side) {
            Side::Left => PaddingDirection::Left,
            Side::Right => PaddingDirection::Right,
        };
        for sequence in sequences {
            sequence.pad(length, id, self.parts.pad_token_type, token, side);
        }
        Ok(())
    }

    /// Fails where rows would be padded past the length that they are cut to, as in transformers.
    fn check_multiple(&self, multiple: u32, options: &EncodeOptions) -> Result<(), Failure> {
        let limit = self
            .limit(options)
            .filter(|_| options.truncation != Truncation::DoNotTruncate);
        match limit {
            Some(limit) if !limit.is_multiple_of(multiple as usize) => Err(failures::invalid(format!(
                "cannot cut to {limit} tokens and pad to a multiple of {multiple}, which {limit} is not"
            ))
            .hint("take a `max_length` that is a multiple of `pad_to_multiple_of`")),
            _ => Ok(()),
        }
    }
}

fn row(raw: &Raw, sample: usize, characters: &Characters) -> EncodedRow {
    let sequences = raw.get_sequence_ids();
    let spans = || raw.get_offsets().iter().zip(&sequences);
    let chars = |at: usize, sequence: &Option<usize>| characters.before(at, *sequence == Some(1));
    EncodedRow {
        sample: sample as u32,
        input_ids: raw.get_ids().to_vec(),
        token_type_ids: raw.get_type_ids().to_vec(),
        attention_mask: raw.get_attention_mask().to_vec(),
        special_tokens_mask: raw.get_special_tokens_mask().to_vec(),
        char_starts: spans().map(|(span, of)| chars(span.0, of)).collect(),
        char_ends: spans().map(|(span, of)| chars(span.1, of)).collect(),
        byte_starts: spans().map(|(span, _)| span.0 as u32).collect(),
        byte_ends: spans().map(|(span, _)| span.1 as u32).collect(),
    }
}

/// Characters before each byte of an input's texts; `None` for one of ASCII alone.
pub(crate) struct Characters(Option<Vec<u32>>, Option<Vec<u32>>);

impl Characters {
    pub(crate) fn new(input: &TextInput) -> Self {
        let table = |text: &str| {
            (!text.is_ascii()).then(|| {
                let mut count = 0;
                let bytes = text.bytes().map(|byte| {
                    let before = count;
                    // A byte that ends no character counts for none.
                    let ends = !(0x80..0xC0).contains(&byte);
                    count += u32::from(ends);
                    if ends { before } else { before - 1 }
                });
                let mut table: Vec<u32> = bytes.collect();
                table.push(count);
                table
            })
        };
        Self(table(&input.text), input.pair.as_deref().and_then(table))
    }

    pub(crate) fn before(&self, at: usize, in_second: bool) -> u32 {
        let table = if in_second { &self.1 } else { &self.0 };
        match table {
            Some(table) => table.get(at).copied().unwrap_or_default(),
            None => at as u32,
        }
    }
}
