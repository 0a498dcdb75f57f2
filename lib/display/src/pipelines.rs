//! Results of pipelines beside what they are of: labels as bars, entities and answers in their text,
//! guesses in theirs, hidden states by their shape and how alike the texts are.

mod limits;

use std::fmt::Write;

use wire::{
    array::Array,
    mime::Bundle,
    pipeline::{Answer, Entity, LabelScore, MaskGuess, PipelineAnswer, PipelineCall, Ranking},
    text_generation::GenerationInput,
    text2text::Text2TextTask,
};

use self::limits::{Limits, RESULTS, first, lines, more, more_html};
use crate::{
    RichDisplay,
    html::{self, BLUE, GREEN, ORANGE, TOGETHER, VIOLET},
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
        let limits = Limits::of(self.count());
        let parts: Vec<String> = match self.answer {
            PipelineAnswer::Labels(found) => {
                each(found, |labels| scores_text(&pairs(labels), limits))
            }
            PipelineAnswer::Entities(found) => {
                each(found, |entities| entities_text(entities, limits))
            }
            PipelineAnswer::Answers(found) => each(found, |answers| answers_text(answers, limits)),
            PipelineAnswer::Rankings(found) => {
                each(found, |ranking| scores_text(&ranked(ranking), limits))
            }
            PipelineAnswer::Masks(found) => each(found, |masks| masks_text(masks, limits)),
            PipelineAnswer::Features(found) => {
                return self.with_cosines(first(found, RESULTS).0);
            }
            PipelineAnswer::Embeddings(found) => return self.with_cosines(&rows(found)),
            PipelineAnswer::Texts(found) => {
                let text = text2text::text(&self.inputs(), first(found, RESULTS).0);
                return self.with_left(text);
            }
            PipelineAnswer::Generations(found) => {
                let text = text_generation::text(&self.inputs(), first(found, RESULTS).0);
                return self.with_left(text);
            }
        };
        self.beside_inputs(&parts)
    }

    /// Each part under the text that it is of; one by itself.
    fn beside_inputs(&self, parts: &[String]) -> String {
        if let [one] = parts {
            return one.clone();
        }
        let texts = self.inputs().into_iter().zip(parts);
        let parts = texts.map(|(input, part)| {
            let part = part.replace('\n', "\n  ");
            format!("{}\n  {part}", one_line(&shortened(&input, SHORT)))
        });
        self.with_left(parts.collect::<Vec<_>>().join("\n"))
    }

    /// Vectors, and how alike the texts are.
    fn with_cosines(&self, found: &[Array]) -> String {
        let text = self.beside_inputs(&each(found, vectors::text));
        match vectors::cosines_text(found, self.count()) {
            Some(cosines) => format!("{text}\n{cosines}"),
            None => text,
        }
    }

    fn html(&self) -> String {
        let inputs = self.inputs();
        let html = match self.answer {
            PipelineAnswer::Features(found) => {
                vectors::html(&inputs, first(found, RESULTS).0, self.count())
            }
            PipelineAnswer::Embeddings(found) => vectors::html(&inputs, &rows(found), self.count()),
            PipelineAnswer::Texts(found) => {
                text2text::html(&inputs, first(found, RESULTS).0, self.task())
            }
            PipelineAnswer::Generations(found) => {
                text_generation::html(self.generation_inputs(), first(found, RESULTS).0)
            }
            _ => {
                let parts = self.parts(&inputs);
                if let [one] = parts.as_slice() {
                    return format!("<div>{one}</div>");
                }
                let rows = inputs.iter().zip(parts);
                let rows: Vec<Vec<String>> = rows
                    .map(|(input, part)| vec![text_cell(input), part])
                    .collect();
                html::table("", &["input", "result"], &rows)
            }
        };
        match self.left() {
            0 => html,
            left => format!("<div>{html}{}</div>", more_html(left)),
        }
    }

    /// Each result by itself, as HTML.
    fn parts(&self, inputs: &[String]) -> Vec<String> {
        let limits = Limits::of(self.count());
        let beside = |index: usize| inputs.get(index).map_or("", String::as_str);
        match self.answer {
            PipelineAnswer::Labels(found) => each(found, |labels| bars(&pairs(labels), limits)),
            PipelineAnswer::Rankings(found) => {
                each(found, |ranking| bars(&ranked(ranking), limits))
            }
            PipelineAnswer::Entities(found) => {
                let found = first(found, RESULTS).0.iter().enumerate();
                found
                    .map(|(index, entities)| entities_html(beside(index), entities, limits))
                    .collect()
            }
            PipelineAnswer::Answers(found) => {
                let found = first(found, RESULTS).0.iter().enumerate();
                found
                    .map(|(index, answers)| answers_html(&self.context(index), answers, limits))
                    .collect()
            }
            PipelineAnswer::Masks(found) => {
                let found = first(found, RESULTS).0.iter().enumerate();
                found
                    .map(|(index, masks)| masks_html(beside(index), masks, limits))
                    .collect()
            }
            PipelineAnswer::Features(_)
            | PipelineAnswer::Embeddings(_)
            | PipelineAnswer::Texts(_)
            | PipelineAnswer::Generations(_) => Vec::new(),
        }
    }

    /// Results that there are.
    fn count(&self) -> usize {
        match self.answer {
            PipelineAnswer::Labels(found) => found.len(),
            PipelineAnswer::Entities(found) => found.len(),
            PipelineAnswer::Answers(found) => found.len(),
            PipelineAnswer::Rankings(found) => found.len(),
            PipelineAnswer::Masks(found) => found.len(),
            PipelineAnswer::Features(found) => found.len(),
            PipelineAnswer::Embeddings(found) => found.shape().first().copied().unwrap_or(0),
            PipelineAnswer::Texts(found) => found.len(),
            PipelineAnswer::Generations(found) => found.len(),
        }
    }

    /// Those that are not shown.
    fn left(&self) -> usize {
        self.count().saturating_sub(RESULTS)
    }

    fn with_left(&self, text: String) -> String {
        match self.left() {
            0 => text,
            left => format!("{text}\n{}", more(left)),
        }
    }

    /// What each result that is shown is of, as one text.
    fn inputs(&self) -> Vec<String> {
        match self.call {
            PipelineCall::TextClassification { inputs, .. } => {
                each(inputs, |input| match &input.pair {
                    Some(pair) => format!("{} / {pair}", input.text),
                    None => input.text.clone(),
                })
            }
            PipelineCall::QuestionAnswering { inputs, .. } => {
                each(inputs, |input| input.question.clone())
            }
            PipelineCall::TextGeneration { inputs, .. } => each(inputs, text_generation::name),
            PipelineCall::TokenClassification { inputs, .. }
            | PipelineCall::ZeroShotClassification { inputs, .. }
            | PipelineCall::FillMask { inputs, .. }
            | PipelineCall::Text2Text { inputs, .. }
            | PipelineCall::FeatureExtraction { inputs, .. }
            | PipelineCall::Embeddings { inputs, .. } => each(inputs, String::clone),
        }
    }

    /// What texts were generated from, as it was given.
    fn generation_inputs(&self) -> &[GenerationInput] {
        match self.call {
            PipelineCall::TextGeneration { inputs, .. } => inputs,
            _ => &[],
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

/// Of each that is shown.
fn each<T>(found: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    first(found, RESULTS).0.iter().map(text).collect()
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

fn scores_text(scores: &[(&str, f64)], limits: Limits) -> String {
    let width = scores
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0);
    let shares = are_shares(scores);
    lines(scores, limits.rows, |(label, score)| {
        if !shares {
            return format!("{label:width$}  {score:.4}");
        }
        let cells = (score * BAR as f64).round() as usize;
        let bar = "█".repeat(cells) + &"·".repeat(BAR - cells.min(BAR));
        format!("{label:width$}  {score:.4}  {bar}  {}", percent(*score))
    })
}

/// A table of labels with bars.
fn bars(scores: &[(&str, f64)], limits: Limits) -> String {
    let shares = are_shares(scores);
    let header = ["label", "", "share", "score"];
    limits::table(("", &header), (scores, limits.rows), |(label, score)| {
        let bar = if shares {
            let width = score * 100.0;
            format!(
                "<div style=\"width: 160px;\"><div style=\"width: {width:.1}%; background: {BLUE}; \
                 border-bottom: 3px solid rgba(66, 133, 244, 0.9);\">&nbsp;</div></div>"
            )
        } else {
            String::new()
        };
        let share = if shares {
            html::figures(&percent(*score))
        } else {
            String::new()
        };
        vec![html::escape(label), bar, share, format!("{score:.4}")]
    })
}

fn entities_text(entities: &[Entity], limits: Limits) -> String {
    if entities.is_empty() {
        return "no entities".to_owned();
    }
    lines(entities, limits.rows, |entity| {
        format!(
            "{}  {}  {:.4}  {}–{}",
            entity.label(),
            one_line(&entity.word),
            entity.score,
            entity.start,
            entity.end
        )
    })
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
        // Lines may end behind a hyphen: `B-LOC`.
        let whole = if span.label.contains(['-', ' ']) {
            " style=\"white-space: nowrap;\""
        } else {
            ""
        };
        let _ = write!(
            out,
            "{}<span style=\"background: {}; border-radius: 3px; padding: 1px 3px;\">{}{TOGETHER}\
             <small{whole}><b>{}</b></small></span>",
            plain(done, span.start),
            colour(span.label),
            plain(span.start, end),
            html::figures(span.label)
        );
        done = end;
    }
    out.push_str(&plain(done, characters.len()));
    out.push_str("</div>");
    out
}

fn entities_html(text: &str, entities: &[Entity], limits: Limits) -> String {
    let spans: Vec<Span> = entities
        .iter()
        .map(|entity| Span {
            start: entity.start as usize,
            end: entity.end as usize,
            label: entity.label(),
        })
        .take_while(|span| span.end <= limits.characters)
        .collect();
    let header = ["entity", "word", "score", "start", "end"];
    let table = limits::table(("", &header), (entities, limits.rows), |entity| {
        vec![
            html::escape(entity.label()),
            format!("<span dir=\"auto\">{}</span>", html::escape(&entity.word)),
            format!("{:.4}", entity.score),
            entity.start.to_string(),
            entity.end.to_string(),
        ]
    });
    let count = units::plural(entities.len(), "result");
    let left = text.chars().count().saturating_sub(limits.characters);
    let more = match left {
        0 => String::new(),
        left => format!("<p>… and {}</p>", units::plural(left, "more character")),
    };
    format!(
        "{}{more}{}",
        marked(&shortened(text, limits.characters), &spans),
        html::details(&count, entities.len() <= 30, &table)
    )
}

fn answers_text(answers: &[Answer], limits: Limits) -> String {
    lines(answers, limits.rows, |answer| {
        let text = if answer.answer.is_empty() {
            "no answer".to_owned()
        } else {
            one_line(&answer.answer)
        };
        format!(
            "{text}  {:.4}  {}–{}",
            answer.score, answer.start, answer.end
        )
    })
}

/// The best answer in its context, and all as a table.
fn answers_html(context: &str, answers: &[Answer], limits: Limits) -> String {
    let mut html = String::new();
    if let Some(best) = answers.first().filter(|best| best.end > best.start) {
        let (start, end) = (best.start as usize, best.end as usize);
        let skipped = start.saturating_sub(AROUND);
        let around: Vec<char> = context
            .chars()
            .skip(skipped)
            .take(end - skipped + AROUND)
            .collect();
        let cut_after = context.chars().count() > skipped + around.len();
        let mut text: String = around.into_iter().collect();
        if cut_after {
            text.push('…');
        }
        let before = usize::from(skipped > 0);
        if before == 1 {
            text.insert(0, '…');
        }
        let span = Span {
            start: start - skipped + before,
            end: end - skipped + before,
            label: &format!("answer, {}", percent(best.score)),
        };
        html.push_str(&marked(&text, &[span]));
    }
    let header = ["answer", "score", "start", "end"];
    html + &limits::table(("", &header), (answers, limits.rows), |answer| {
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
}

fn masks_text(masks: &[Vec<MaskGuess>], limits: Limits) -> String {
    let (masks, left) = first(masks, limits.masks);
    let masks = masks.iter().map(|guesses| {
        lines(guesses, limits.rows, |guess| {
            format!(
                "{:.4}  {}  {}",
                guess.score,
                one_line(&guess.token_str),
                one_line(&shortened(&guess.sequence, limits.characters))
            )
        })
    });
    let more = (left > 0).then(|| more(left));
    masks.chain(more).collect::<Vec<_>>().join("\n\n")
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

fn masks_html(text: &str, masks: &[Vec<MaskGuess>], limits: Limits) -> String {
    let (shown, left) = first(masks, limits.masks);
    let tables = shown.iter().enumerate().map(|(index, guesses)| {
        let caption = if masks.len() > 1 {
            format!("mask {index}")
        } else {
            String::new()
        };
        let header = ["guess", "share", "score", "id", "text with it"];
        limits::table((&caption, &header), (guesses, limits.rows), |guess| {
            vec![
                format!("<b>{}</b>", html::escape(&guess.token_str)),
                html::figures(&percent(guess.score)),
                format!("{:.4}", guess.score),
                guess.token.to_string(),
                filled(text, index, guess),
            ]
        })
    });
    tables.collect::<String>() + &more_html(left)
}

/// The vector of each text that is shown by itself.
fn rows(array: &Array) -> Vec<Array> {
    let count = array.shape().first().copied().unwrap_or(0);
    (0..count.min(RESULTS))
        .filter_map(|row| array.part(&[row]))
        .collect()
}
