//! `feature-extraction`: `feature_extraction.py` of transformers. What padding would give is left out.

use wire::{Failure, FailureKind, array::Array};

use super::{At, Reader};

/// Of each text its last hidden states, `(tokens, hidden)`.
pub fn run(
    reader: &mut Reader,
    inputs: &[String],
    truncation: bool,
) -> Result<Vec<Array>, Failure> {
    let sequences = reader.encode_all(inputs, truncation)?;
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
