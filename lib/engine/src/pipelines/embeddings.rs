//! One vector a text: `SentenceTransformer.encode` of sentence-transformers 5.7, by what a repository's
//! `modules.json` says; where there is none the mean of the last hidden states, or a decoder's last one.

use tokenizers::Encoding as Sequence;
use wire::{
    Failure, FailureKind,
    array::Array,
    embedded::SENTENCE_ENCODER,
    pipeline::EmbeddingPrompt,
    tokenize::{EncodeOptions, Truncation},
};

use super::{At, Reader};
use crate::{sentences::Sentences, tokenizer::Tokenizer};

/// Of each text its vector. What is longer than the model takes is cut.
pub fn run(
    reader: &mut Reader,
    sentences: &Sentences,
    (inputs, prompt): (&[String], &EmbeddingPrompt),
) -> Result<Vec<Vec<f32>>, Failure> {
    if !sentences.is_stated && reader.name != SENTENCE_ENCODER.repo {
        let what = if sentences.pooling.is_last() {
            "the last hidden state of its last token"
        } else {
            "the mean of its last hidden states"
        };
        reader.notice(format!(
            "`{}` has no `modules.json`: a text's vector is {what}, as where sentence-transformers makes a \
             model of it.",
            reader.name
        ));
    }
    let prompt = sentences.prompt(prompt)?;
    let own = reader.tokenizer;
    let tokenizer = sentences.tokenizer(own)?;
    let options = EncodeOptions {
        truncation: Truncation::LongestFirst,
        max_length: longest(reader, sentences),
        ..EncodeOptions::default()
    };
    let encode = |text: String| -> Result<Sequence, Failure> {
        reader.cancel.check()?;
        Ok(tokenizer.windows(&text.into(), &options)?.swap_remove(0))
    };
    let sequences = inputs.iter().map(|text| encode(format!("{prompt}{text}")));
    let sequences: Vec<Sequence> = sequences.collect::<Result<_, _>>()?;
    let skipped = if sentences.pooling.includes_prompt || prompt.is_empty() {
        0
    } else {
        prompt_length(&encode(prompt.to_owned())?, &tokenizer)
    };
    let pooled = reader.outputs(&sequences, At::Pooled(&sentences.pooling, skipped))?;
    sentences.vectors(pooled.into_iter().flatten().collect())
}

/// Tokens of a text at most: what the model's own file says, else the tokenizer, and never more than the
/// model reads.
fn longest(reader: &Reader, sentences: &Sentences) -> Option<u32> {
    let stated = sentences
        .longest
        .or(reader.tokenizer.info().model_max_length);
    let encoder = reader.encoder;
    // Positions that no table ends are no limit of the model's, but one where nothing else is said.
    let limit = match (encoder.limit(), sentences.longest) {
        (None, None) => Some(encoder.sizes().context_length),
        (limit, _) => limit,
    };
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    stated.into_iter().chain(limit).min()
}

/// Tokens that a prompt takes before a text: all of its own but the last, where that is a special one.
fn prompt_length(prompt: &Sequence, tokenizer: &Tokenizer) -> usize {
    let last = prompt.get_ids().last();
    let is_special = last.is_some_and(|last| tokenizer.info().all_special_ids.contains(last));
    prompt.len() - usize::from(is_special)
}

/// The vectors as an array `(texts, width)`, each of length 1 if it is to be `normalized`.
pub fn array(mut vectors: Vec<Vec<f32>>, normalized: bool) -> Result<Array, Failure> {
    if normalized {
        for vector in &mut vectors {
            normalize(vector);
        }
    }
    Array::from_rows(&vectors)
        .ok_or_else(|| Failure::new(FailureKind::Internal, "embeddings differ in their width"))
}

/// As `torch.nn.functional.normalize`.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    for value in vector {
        *value /= length.max(1e-12);
    }
}
