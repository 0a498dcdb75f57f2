//! `text-classification`: `text_classification.py` of transformers.

use wire::{
    Failure,
    pipeline::{ClassificationOptions, LabelScore, ScoreFunction, TopK},
    tokenize::TextInput,
};

use super::{At, Reader, scores};
use crate::encoders::{Labels, ProblemType};

/// Of each text its labels, the likeliest first where their number is asked for.
pub fn run(
    reader: &mut Reader,
    inputs: &[TextInput],
    options: ClassificationOptions,
) -> Result<Vec<Vec<LabelScore>>, Failure> {
    let how = reader.options(options.truncation);
    let sequences = inputs
        .iter()
        .map(|input| {
            // An empty second text is none, as in `_encode_plus` of transformers.
            let pair = input.pair.clone().filter(|pair| !pair.is_empty());
            let text = input.text.clone();
            reader.encode(&TextInput { text, pair }, &how)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let logits = reader.outputs(&sequences, At::Whole)?;
    let labels = reader.encoder.labels();
    let function = options
        .function_to_apply
        .unwrap_or_else(|| function_of(labels));
    Ok(logits
        .iter()
        .flatten()
        .map(|logits| labelled(logits, labels, function, options))
        .collect())
}

/// What the configuration asks for.
fn function_of(labels: &Labels) -> ScoreFunction {
    match labels.problem {
        Some(ProblemType::Regression) => ScoreFunction::None,
        Some(ProblemType::MultiLabel) => ScoreFunction::Sigmoid,
        _ if labels.names.len() == 1 => ScoreFunction::Sigmoid,
        _ => ScoreFunction::Softmax,
    }
}

fn labelled(
    logits: &[f32],
    labels: &Labels,
    function: ScoreFunction,
    options: ClassificationOptions,
) -> Vec<LabelScore> {
    let scores = match function {
        ScoreFunction::Sigmoid => scores::sigmoid(logits),
        ScoreFunction::Softmax => scores::softmax(logits),
        ScoreFunction::None => logits.to_vec(),
    };
    let scores = labels.names.iter().zip(scores);
    let mut scores: Vec<LabelScore> = scores
        .map(|(label, score)| LabelScore {
            label: label.clone(),
            score: f64::from(score),
        })
        .collect();
    let returns_all = options.return_all_scores.unwrap_or(labels.returns_all);
    if options.top_k == TopK::Unset && returns_all {
        return scores;
    }
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    match options.top_k {
        TopK::All => {}
        TopK::Unset => scores.truncate(1),
        TopK::Some(count) => scores.truncate(count as usize),
    }
    scores
}
