//! `feature-extraction`: `feature_extraction.py` of transformers. What padding would give is left out.
//! Embeddings of texts are what sentence-transformers makes of the same states.

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

/// Of each text one vector, `(texts, hidden)`: the mean of its last hidden states, of length 1 if it is to be
/// `normalized`. What is longer than the tokenizer takes is cut, as `SentenceTransformer.encode` cuts.
pub fn embeddings(
    reader: &mut Reader,
    inputs: &[String],
    normalized: bool,
) -> Result<Array, Failure> {
    let sequences = reader.encode_all(inputs, true)?;
    let means = reader.outputs(&sequences, At::Mean)?;
    let mut means: Vec<Vec<f32>> = means.into_iter().flatten().collect();
    if normalized {
        for mean in &mut means {
            normalize(mean);
        }
    }
    Array::from_rows(&means)
        .ok_or_else(|| Failure::new(FailureKind::Internal, "embeddings differ in their width"))
}

/// As `torch.nn.functional.normalize`.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in vector {
        *value /= length.max(1e-12);
    }
}
