//! `zero-shot-classification`: `zero_shot_classification.py` of transformers. Each label becomes a
//! hypothesis, and a model for natural-language inference says whether the text entails it.

use tokenizers::Encoding as Sequence;
use wire::{
    Failure,
    pipeline::{Ranking, ZeroShotOptions},
    tokenize::{EncodeOptions, TextInput, Truncation},
};

use super::{At, Reader, scores};
use crate::failures;

/// Of each text the labels, the likeliest first.
pub fn run(
    reader: &mut Reader,
    inputs: &[String],
    options: &ZeroShotOptions,
) -> Result<Vec<Ranking>, Failure> {
    let hypotheses = hypotheses(options)?;
    if inputs.iter().any(String::is_empty) {
        return Err(failures::invalid("the text to classify is empty")
            .hint("give a text with at least one word"));
    }
    let labels = reader.encoder.labels();
    let outputs = labels.names.len();
    let entailment = labels.entailment;
    if entailment.is_none() {
        reader.notice(
            "Failed to determine 'entailment' label id from the label2id mapping in the model config: \
             the last label is taken for it."
                .to_owned(),
        );
    }
    // Python's -1 is the last.
    let entailment = entailment.unwrap_or(outputs.saturating_sub(1));
    let contradiction = if entailment == 0 {
        outputs.saturating_sub(1)
    } else {
        0
    };
    let mut sequences = Vec::with_capacity(inputs.len() * hypotheses.len());
    for input in inputs {
        for hypothesis in &hypotheses {
            sequences.push(pair(reader, input, hypothesis)?);
        }
    }
    let logits = reader.outputs(&sequences, At::Whole)?;
    let logits: Vec<&Vec<f32>> = logits.iter().flatten().collect();
    let each = options.multi_label || hypotheses.len() == 1;
    let rankings = inputs.iter().zip(logits.chunks(hypotheses.len()));
    Ok(rankings
        .map(|(sequence, logits)| {
            let scores = if each {
                let odds =
                    |row: &&Vec<f32>| scores::softmax(&[row[contradiction], row[entailment]])[1];
                logits.iter().map(odds).collect()
            } else {
                let entailed: Vec<f32> = logits.iter().map(|row| row[entailment]).collect();
                scores::softmax(&entailed)
            };
            ranked(sequence, &options.candidate_labels, &scores)
        })
        .collect())
}

/// The labels in the template.
fn hypotheses(options: &ZeroShotOptions) -> Result<Vec<String>, Failure> {
    let template = &options.hypothesis_template;
    if options.candidate_labels.is_empty() {
        return Err(failures::invalid("there is no candidate label")
            .hint("give at least one: `candidate_labels([\"technology\", \"sports\"])`"));
    }
    let labels = options.candidate_labels.iter();
    let hypotheses: Result<Vec<String>, Refused> =
        labels.map(|label| formatted(template, label)).collect();
    let refusal = match hypotheses {
        Ok(hypotheses) if hypotheses[0] != *template => return Ok(hypotheses),
        Err(Refused::Field(field)) => failures::invalid(format!(
            "the hypothesis template \"{template}\" has the field `{{{field}}}`, which is not for a label"
        )),
        Ok(_) | Err(Refused::Places) => failures::invalid(format!(
            "the hypothesis template \"{template}\" has no single place for a label"
        )),
    };
    Err(refusal.hint("write `{}` where the label is to stand, once"))
}

/// Why a template is none.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// This field is not a place for the label.
    Field(String),
    /// There are several places, or braces without their other.
    Places,
}

/// The template with the label, as `str.format` of Python writes it: at one `{}`, or at each `{0}`, in which `!s`
/// and `:s` may stand, as they change nothing; `{{` and `}}` stand for braces. What Python refuses is refused,
/// and what it formats otherwise.
fn formatted(template: &str, label: &str) -> Result<String, Refused> {
    let mut text = String::with_capacity(template.len() + label.len());
    let (mut counted, mut numbered) = (0, 0);
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        let field = after.split_once('}').filter(|_| brace == "{");
        let (field, after) = field.ok_or(Refused::Places)?;
        let place = field.strip_suffix(":s").or_else(|| field.strip_suffix(':'));
        let place = place.unwrap_or(field);
        match place.strip_suffix("!s").unwrap_or(place) {
            "" => counted += 1,
            "0" => numbered += 1,
            _ => return Err(Refused::Field(field.to_owned())),
        }
        text.push_str(label);
        rest = after;
    }
    text.push_str(rest);
    // Python counts places up, and there is one value.
    if counted == 0 || (counted == 1 && numbered == 0) {
        Ok(text)
    } else {
        Err(Refused::Places)
    }
}

/// Text and hypothesis; only the text is cut. Where it has less than what is too much, nothing is.
fn pair(reader: &Reader, text: &str, hypothesis: &str) -> Result<Sequence, Failure> {
    let input: TextInput = (text, hypothesis).into();
    let cut = EncodeOptions {
        truncation: Truncation::OnlyFirst,
        max_length: reader.longest(),
        ..EncodeOptions::default()
    };
    reader
        .encode(&input, &cut)
        .or_else(|_| reader.encode(&input, &EncodeOptions::default()))
}

fn ranked(sequence: &str, labels: &[String], scores: &[f32]) -> Ranking {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    order.reverse();
    Ranking {
        sequence: sequence.to_owned(),
        labels: order.iter().map(|&index| labels[index].clone()).collect(),
        scores: order
            .iter()
            .map(|&index| f64::from(scores[index]))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Refused, formatted};

    /// What `template.format("x")` gives in Python; `None` where it raises, or formats otherwise.
    #[test]
    fn templates() {
        for (template, expected) in [
            ("It is {}.", Some("It is x.")),
            ("{0} is {0}", Some("x is x")),
            ("{{{}}} }}{{", Some("{x} }{")),
            ("plain", Some("plain")),
            ("{} and {}", None),
            ("{} and {0}", None),
            ("{1}", None),
            ("{label}", None),
            ("{", None),
            ("}", None),
            ("{}}", None),
            ("It is {:s}.", Some("It is x.")),
            ("It is {!s}.", Some("It is x.")),
            ("{0!s:s} {0:} {0}", Some("x x x")),
            ("{!r}", None),
            ("{:>9}", None),
            ("{:s!s}", None),
        ] {
            let found = formatted(template, "x").ok();
            assert_eq!(found.as_deref(), expected, "{template}");
        }
        let field = |name: &str| Err(Refused::Field(name.to_owned()));
        assert_eq!(formatted("of {label}", "x"), field("label"));
        assert_eq!(formatted("{:>9}", "x"), field(":>9"));
        assert_eq!(formatted("{} {}", "x"), Err(Refused::Places));
    }
}
