//! `feature-extraction`: `feature_extraction.py` of transformers. What padding would give is left out.

use tokenizers::Encoding as Sequence;
use wire::{Failure, FailureKind, array::Array, pipeline::FeatureOptions, tokenize::Truncation};

use super::{At, Reader};

/// Of each text its last hidden states, `(tokens, hidden)`.
pub fn run(
    reader: &mut Reader,
    inputs: &[String],
    options: FeatureOptions,
) -> Result<Vec<Array>, Failure> {
    let sequences = sequences(reader, inputs, options)?;
    let states = reader.outputs(&sequences, At::States)?;
    states
        .iter()
        .map(|rows| {
            Array::from_rows(rows).ok_or_else(|| {
                Failure::new(FailureKind::Internal, "hidden states differ in their width")
            })
        })
        .collect()
}

fn sequences(
    reader: &Reader,
    inputs: &[String],
    options: FeatureOptions,
) -> Result<Vec<Sequence>, Failure> {
    let mut how = reader.options(options.truncation);
    how.add_special_tokens = options.add_special_tokens;
    if options.max_length.is_some() {
        how.truncation = Truncation::LongestFirst;
        how.max_length = options.max_length;
    }
    inputs
        .iter()
        .map(|text| reader.encode(&text.into(), &how))
        .collect()
}
