//! Results of pipelines beside what they are of: labels as bars, entities and answers in their text,
//! guesses in theirs, hidden states by their shape and how alike the texts are.

use std::fmt::Write;

use wire::{
    array::Array,
    mime::Bundle,
    pipeline::{Answer, Entity, LabelScore, MaskGuess, PipelineAnswer, PipelineCall, Ranking},
    text2text::Text2TextTask,
};

use crate::{
    RichDisplay,
    html::{self, BLUE, GREEN, ORANGE, VIOLET},
    rendered, text_generation, text2text, units, vectors,
};

/// Characters of a text that are shown around what was found in it, and of one that stands in a table.
const AROUND: usize = 300;
const SHORT: usize = 120;
/// Cells of a bar in text.
const BAR: usize = 20;

/// What a pipeline gave, beside the call it answers.
#[derive(Clone, Copy, Debug)]
pub struct PipelineResults<'a> {
    /// The call.
    pub call: &'a PipelineCall,
    /// Its answer.
    pub answer: &'a PipelineAnswer,
}

impl RichDisplay for PipelineResults<'_> {
    fn bundle(&self) -> Bundle {
        rendered(self.text(), self.html())
    }
}

impl PipelineResults<'_> {
    /// As text.
    pub fn text(&self) -> String {
        let parts: Vec<String> = match self.answer {
            PipelineAnswer::Labels(found) => each(found, |labels| scores_text(&pairs(labels))),
            PipelineAnswer::Entities(found) => each(found, |entities| entities_text(entities)),
            PipelineAnswer::Answers(found) => each(found, |answers| answers_text(answers)),
            PipelineAnswer::Rankings(found) => each(found, |ranking| scores_text(&ranked(ranking))),
            PipelineAnswer::Masks(found) => each(found, |masks| masks_text(masks)),
            PipelineAnswer::Features(found) => each(found, vectors::text),
            PipelineAnswer::Embeddings(found) => each(&rows(found), vectors::text),
            PipelineAnswer::Texts(found) => {
                return text2text::text(&self.inputs(), found);
            }
            PipelineAnswer::Generations(found) => {
                return text_generation::text(&self.inputs(), found);
            }
        };
        if let [one] = parts.as_slice() {
            return one.clone();
        }
        let texts = self.inputs().into_iter().zip(parts);
        let parts = texts.map(|(input, part)| {
            let part = part.replace('\n', "\n  ");
            format!("{}\n  {part}", one_line(&shortened(&input, SHORT)))
        });
        parts.collect::<Vec<_>>().join("\n")
    }

    fn html(&self) -> String {
        let inputs = self.inputs();
        let beside = |index: usize| inputs.get(index).map_or("", String::as_str);
        let mut parts: Vec<String> = Vec::new();
        match self.answer {
            PipelineAnswer::Labels(found) => {
                parts.extend(found.iter().map(|labels| bars(&pairs(labels))));
            }
            PipelineAnswer::Rankings(found) => {
                parts.extend(found.iter().map(|ranking| bars(&ranked(ranking))));
            }
            PipelineAnswer::Entities(found) => {
                for (index, entities) in found.iter().enumerate() {
                    parts.push(entities_html(beside(index), entities));
                }
            }
            PipelineAnswer::Answers(found) => {
                for (index, answers) in found.iter().enumerate() {
                    parts.push(answers_html(&self.context(index), answers));
                }
            }
            PipelineAnswer::Masks(found) => {
                for (index, masks) in found.iter().enumerate() {
                    parts.push(masks_html(beside(index), masks));
                }
            }
            PipelineAnswer::Features(found) => return vectors::html(&inputs, found),
            PipelineAnswer::Embeddings(found) => return vectors::html(&inputs, &rows(found)),
            PipelineAnswer::Texts(found) => {
                return text2text::html(&inputs, found, self.task());
            }
            PipelineAnswer::Generations(found) => return text_generation::html(&inputs, found),
        }
        if let [one] = parts.as_slice() {
            return format!("<div>{one}</div>");
        }
        let rows = parts.into_iter().enumerate();
        let rows: Vec<Vec<String>> = rows
            .map(|(index, part)| vec![text_cell(beside(index)), part])
            .collect();
        html::table("", &["input", "result"], &rows)
    }

    /// What each result is of, as one text.
    fn inputs(&self) -> Vec<String> {
        match self.call {
            PipelineCall::TextClassification { inputs, .. } => inputs
                .iter()
                .map(|input| match &input.pair {
                    Some(pair) => format!("{} / {pair}", input.text),
                    None => input.text.clone(),
                })
                .collect(),
            PipelineCall::QuestionAnswering { inputs, .. } => {
                inputs.iter().map(|input| input.question.clone()).collect()
            }
            PipelineCall::TextGeneration { inputs, .. } => {
                inputs.iter().map(text_generation::name).collect()
            }
            PipelineCall::TokenClassification { inputs, .. }
            | PipelineCall::ZeroShotClassification { inputs, .. }
            | PipelineCall::FillMask { inputs, .. }
            | PipelineCall::Text2Text { inputs, .. }
            | PipelineCall::FeatureExtraction { inputs, .. }
            | PipelineCall::Embeddings { inputs, .. } => inputs.clone(),
        }
    }

    /// What was written, where something was.
    fn task(&self) -> Text2TextTask {
        match self.call {
            PipelineCall::Text2Text { options, .. } => options.task,
            _ => Text2TextTask::Text2TextGeneration,
        }
    }

    fn context(&self, index: usize) -> String {
        match self.call {
            PipelineCall::QuestionAnswering { inputs, .. } => inputs
                .get(index)
                .map(|input| input.context.clone())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }
}

fn each<T>(found: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    found.iter().map(text).collect()
}

/// The beginning of a text.
fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A text on one line, its breaks marked.
fn one_line(text: &str) -> String {
    text.replace('\n', "↵").replace('\r', "␍")
}

pub(crate) fn text_cell(text: &str) -> String {
    format!(
        "<span dir=\"auto\">{}</span>",
        html::escape(&shortened(text, SHORT))
    )
}

fn percent(score: f64) -> String {
    format!("{:.1} %", score * 100.0)
}

fn pairs(labels: &[LabelScore]) -> Vec<(&str, f64)> {
    let labels = labels.iter();
    labels
        .map(|label| (label.label.as_str(), label.score))
        .collect()
}

fn ranked(ranking: &Ranking) -> Vec<(&str, f64)> {
    let labels = ranking.labels.iter().map(String::as_str);
    labels.zip(ranking.scores.iter().copied()).collect()
}

/// Whether scores are parts of 1, which a bar can show; logits are not.
fn are_shares(scores: &[(&str, f64)]) -> bool {
    scores.iter().all(|(_, score)| (0.0..=1.0).contains(score))
}

fn scores_text(scores: &[(&str, f64)]) -> String {
    let width = scores
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0);
    let shares = are_shares(scores);
    let lines = scores.iter().map(|(label, score)| {
        if !shares {
            return format!("{label:width$}  {score:.4}");
        }
        let cells = (score * BAR as f64).round() as usize;
        let bar = "█".repeat(cells) + &"·".repeat(BAR - cells.min(BAR));
        format!("{label:width$}  {score:.4}  {bar}  {}", percent(*score))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A table of labels with bars.
fn bars(scores: &[(&str, f64)]) -> String {
    let shares = are_shares(scores);
    let rows: Vec<Vec<String>> = scores
        .iter()
        .map(|(label, score)| {
            let bar = if shares {
                let width = score * 100.0;
                format!(
                    "<div style=\"width: 160px;\"><div style=\"width: {width:.1}%; background: {BLUE}; \
                     border-bottom: 3px solid rgba(66, 133, 244, 0.9);\">&nbsp;</div></div>"
                )
            } else {
                String::new()
            };
            let share = if shares { percent(*score) } else { String::new() };
            vec![html::escape(label), bar, share, format!("{score:.4}")]
        })
        .collect();
    html::table("", &["label", "", "share", "score"], &rows)
}

fn entities_text(entities: &[Entity]) -> String {
    if entities.is_empty() {
        return "no entities".to_owned();
    }
    let lines = entities.iter().map(|entity| {
        format!(
            "{}  {}  {:.4}  {}–{}",
            entity.label(),
            one_line(&entity.word),
            entity.score,
            entity.start,
            entity.end
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A background for each label, by its name without what says where it begins.
fn colour(label: &str) -> &'static str {
    const COLOURS: [&str; 4] = [BLUE, ORANGE, GREEN, VIOLET];
    let name = label.split_once('-').map_or(label, |(_, name)| name);
    let sum: usize = name.bytes().map(usize::from).sum();
    COLOURS[sum % COLOURS.len()]
}

/// A stretch of a text with a label on it.
struct Span<'a> {
    start: usize,
    end: usize,
    label: &'a str,
}

/// A text with stretches marked, their labels in visible text.
fn marked(text: &str, spans: &[Span]) -> String {
    let characters: Vec<char> = text.chars().collect();
    let plain = |start: usize, end: usize| -> String {
        html::escape(&characters[start..end].iter().collect::<String>())
    };
    let mut out = String::from(
        "<div dir=\"auto\" style=\"white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9;\">",
    );
    let mut done = 0;
    for span in spans {
        let end = span.end.min(characters.len());
        if span.start < done || span.start >= end {
            continue;
        }
        let _ = write!(
            out,
            "{}<span style=\"background: {}; border-radius: 3px; padding: 1px 3px;\">{} <small><b>{}</b></small></span>",
            plain(done, span.start),
            colour(span.label),
            plain(span.start, end),
            html::escape(span.label)
        );
        done = end;
    }
    out.push_str(&plain(done, characters.len()));
    out.push_str("</div>");
    out
}

fn entities_html(text: &str, entities: &[Entity]) -> String {
    let spans: Vec<Span> = entities
        .iter()
        .map(|entity| Span {
            start: entity.start as usize,
            end: entity.end as usize,
            label: entity.label(),
        })
        .collect();
    let rows: Vec<Vec<String>> = entities
        .iter()
        .map(|entity| {
            vec![
                html::escape(entity.label()),
                format!("<span dir=\"auto\">{}</span>", html::escape(&entity.word)),
                format!("{:.4}", entity.score),
                entity.start.to_string(),
                entity.end.to_string(),
            ]
        })
        .collect();
    let table = html::table("", &["entity", "word", "score", "start", "end"], &rows);
    let count = units::plural(entities.len(), "result");
    format!(
        "{}{}",
        marked(text, &spans),
        html::details(&count, entities.len() <= 30, &table)
    )
}

fn answers_text(answers: &[Answer]) -> String {
    let lines = answers.iter().map(|answer| {
        let text = if answer.answer.is_empty() {
            "no answer".to_owned()
        } else {
            one_line(&answer.answer)
        };
        format!(
            "{text}  {:.4}  {}–{}",
            answer.score, answer.start, answer.end
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The best answer in its context, and all as a table.
fn answers_html(context: &str, answers: &[Answer]) -> String {
    let mut html = String::new();
    if let Some(best) = answers.first().filter(|best| best.end > best.start) {
        let (start, end) = (best.start as usize, best.end as usize);
        let first = start.saturating_sub(AROUND);
        let around: Vec<char> = context
            .chars()
            .skip(first)
            .take(end - first + AROUND)
            .collect();
        let cut_after = context.chars().count() > first + around.len();
        let mut text: String = around.into_iter().collect();
        if cut_after {
            text.push('…');
        }
        let before = usize::from(first > 0);
        if before == 1 {
            text.insert(0, '…');
        }
        let span = Span {
            start: start - first + before,
            end: end - first + before,
            label: &format!("answer, {}", percent(best.score)),
        };
        html.push_str(&marked(&text, &[span]));
    }
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|answer| {
            let text = if answer.answer.is_empty() {
                "<i>no answer</i>".to_owned()
            } else {
                format!("<span dir=\"auto\">{}</span>", html::escape(&answer.answer))
            };
            vec![
                text,
                format!("{:.4}", answer.score),
                answer.start.to_string(),
                answer.end.to_string(),
            ]
        })
        .collect();
    html + &html::table("", &["answer", "score", "start", "end"], &rows)
}

fn masks_text(masks: &[Vec<MaskGuess>]) -> String {
    let masks = masks.iter().map(|guesses| {
        let lines = guesses.iter().map(|guess| {
            format!(
                "{:.4}  {}  {}",
                guess.score,
                one_line(&guess.token_str),
                one_line(&guess.sequence)
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    masks.collect::<Vec<_>>().join("\n\n")
}

/// How tokenizers write a mask, and how much of the text is shown on either side of one.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];
const BESIDE: usize = 60;

/// A guess in bold where its mask stood. Of a mask that is written otherwise, the text as it was decoded.
fn filled(text: &str, index: usize, guess: &MaskGuess) -> String {
    let places = MASKS.iter().find_map(|mask| {
        let place = text.match_indices(mask).nth(index);
        place.map(|(at, mask)| (&text[..at], &text[at + mask.len()..]))
    });
    let Some((before, after)) = places else {
        return text_cell(&guess.sequence);
    };
    let count = before.chars().count();
    let skipped = count.saturating_sub(BESIDE);
    let start: String = before.chars().skip(skipped).collect();
    let end: String = after.chars().take(BESIDE).collect();
    let dots = |is_cut: bool| if is_cut { "…" } else { "" };
    // The blank before a byte-level token is the text's own, and a piece that goes on is marked by `##`.
    let word = guess.token_str.trim_start();
    let word = word.strip_prefix("##").unwrap_or(word);
    format!(
        "<span dir=\"auto\">{}{}<b>{}</b>{}{}</span>",
        dots(skipped > 0),
        html::escape(&start),
        html::escape(word),
        html::escape(&end),
        dots(end.len() < after.len())
    )
}

fn masks_html(text: &str, masks: &[Vec<MaskGuess>]) -> String {
    let tables = masks.iter().enumerate().map(|(index, guesses)| {
        let rows: Vec<Vec<String>> = guesses
            .iter()
            .map(|guess| {
                vec![
                    format!("<b>{}</b>", html::escape(&guess.token_str)),
                    percent(guess.score),
                    guess.token.to_string(),
                    filled(text, index, guess),
                ]
            })
            .collect();
        let caption = if masks.len() > 1 {
            format!("mask {}", index + 1)
        } else {
            String::new()
        };
        html::table(&caption, &["guess", "share", "id", "text with it"], &rows)
    });
    tables.collect()
}

/// Each text's vector by itself.
fn rows(array: &Array) -> Vec<Array> {
    let count = array.shape().first().copied().unwrap_or(0);
    (0..count).filter_map(|row| array.part(&[row])).collect()
}
