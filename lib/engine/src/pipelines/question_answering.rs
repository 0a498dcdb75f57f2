//! `question-answering`: `question_answering.py` of transformers. A long context is read in windows;
//! answers are spans of tokens, widened to words, and equal ones count together.

use tokenizers::Encoding as Sequence;
use wire::{
    Failure,
    pipeline::{Answer, AnswerOptions, Question},
    tokenize::{EncodeOptions, Side, TextInput, Truncation},
};

use super::{At, Reader, scores};
use crate::{failures, tokenizer::Characters};

/// Tokens of a window, when not given.
const WINDOW: u32 = 384;
/// Tokens that windows share, when not given.
const STRIDE: u32 = 128;
/// The logit of a token that no answer may hold.
const HIDDEN: f32 = -10_000.0;

/// Of each question its answers, the likeliest first.
pub fn run(
    reader: &mut Reader,
    inputs: &[Question],
    options: &AnswerOptions,
) -> Result<Vec<Vec<Answer>>, Failure> {
    for (name, value) in [
        ("top_k", options.top_k),
        ("max_answer_len", options.max_answer_len),
    ] {
        if value == 0 {
            return Err(failures::invalid(format!("`{name}` is 0")).hint("it is 1 at least"));
        }
    }
    inputs
        .iter()
        .map(|input| answers(reader, input, options))
        .collect()
}

fn answers(
    reader: &mut Reader,
    input: &Question,
    options: &AnswerOptions,
) -> Result<Vec<Answer>, Failure> {
    for (name, text) in [("question", &input.question), ("context", &input.context)] {
        if text.is_empty() {
            return Err(failures::invalid(format!("the {name} is empty"))
                .hint("give a question and a text that may hold its answer"));
        }
    }
    let is_first = reader.tokenizer.info().padding_side == Side::Right;
    let windows = windows(reader, input, (options, is_first))?;
    let logits = reader.outputs(&windows, At::Each)?;
    let class = reader.tokenizer.named_id("cls_token");
    let mut found = Found {
        context: Context::new(&input.context),
        answers: Vec::new(),
        none: 1_000_000.0,
    };
    for (window, logits) in windows.iter().zip(logits) {
        let window = Window {
            tokens: window,
            sequence: usize::from(is_first),
            class,
        };
        found.add(&window, &logits, options);
    }
    let Found {
        mut answers, none, ..
    } = found;
    if options.handle_impossible_answer {
        answers.push(Answer {
            score: none,
            start: 0,
            end: 0,
            answer: String::new(),
        });
    }
    answers.sort_by(|a, b| b.score.total_cmp(&a.score));
    answers.truncate(options.top_k as usize);
    Ok(answers)
}

/// Question and context, cut into windows. The question comes first where padding comes last.
fn windows(
    reader: &Reader,
    input: &Question,
    (options, is_first): (&AnswerOptions, bool),
) -> Result<Vec<Sequence>, Failure> {
    let longest = reader.tokenizer.info().model_max_length;
    let window = options
        .max_seq_len
        .unwrap_or_else(|| longest.unwrap_or(WINDOW).min(WINDOW));
    let stride = options.doc_stride.unwrap_or_else(|| STRIDE.min(window / 2));
    if stride > window {
        return Err(failures::invalid(format!(
            "`doc_stride` ({stride}) is larger than `max_seq_len` ({window})"
        ))
        .hint("lower `doc_stride`"));
    }
    let (first, second, truncation) = if is_first {
        (&input.question, &input.context, Truncation::OnlySecond)
    } else {
        (&input.context, &input.question, Truncation::OnlyFirst)
    };
    let how = EncodeOptions {
        truncation,
        max_length: Some(window),
        stride,
        return_overflowing_tokens: true,
        ..EncodeOptions::default()
    };
    reader.cancel.check()?;
    let pair: TextInput = (first.as_str(), second.as_str()).into();
    let windows = reader.tokenizer.windows(&pair, &how);
    windows.map_err(|failure| in_own_arguments(failure, reader, (&pair, how)))
}

/// A failure to cut, with what to do by the pipeline's own arguments: either windows share more than the question
/// leaves of them, or it leaves nothing.
fn in_own_arguments(
    failure: Failure,
    reader: &Reader,
    (pair, how): (&TextInput, EncodeOptions),
) -> Failure {
    if failure.hint.is_none() {
        return failure;
    }
    let alone = EncodeOptions { stride: 0, ..how };
    failure.hint(match reader.tokenizer.windows(pair, &alone) {
        Ok(_) => "lower `doc_stride`, or raise `max_seq_len`",
        Err(_) => "shorten the question, or raise `max_seq_len`",
    })
}

/// The text that answers are of.
struct Context {
    characters: Vec<char>,
    before: Characters,
}

impl Context {
    fn new(text: &str) -> Self {
        Self {
            characters: text.chars().collect(),
            before: Characters::new(&TextInput::from(text)),
        }
    }
}

/// One window of it.
struct Window<'a> {
    tokens: &'a Sequence,
    /// Which of the two texts is the context.
    sequence: usize,
    class: Option<u32>,
}

impl Window<'_> {
    /// Tokens that an answer may hold: those of the context, and the first one, which some models point
    /// at when there is no answer. Where the context comes first, transformers masks nothing.
    fn allowed(&self) -> Vec<bool> {
        if self.sequence == 0 {
            return vec![true; self.tokens.len()];
        }
        let tokens = self.tokens.get_sequence_ids().into_iter();
        tokens
            .zip(self.tokens.get_ids())
            .map(|(sequence, id)| sequence == Some(self.sequence) || Some(*id) == self.class)
            .collect()
    }

    /// From the first token to the last, in bytes of the context.
    fn span(&self, first: usize, last: usize, to_words: bool) -> (usize, usize) {
        let offsets = self.tokens.get_offsets();
        let words = || {
            let (_, start) = self.tokens.token_to_word(first)?;
            let (_, end) = self.tokens.token_to_word(last)?;
            let (start, _) = self.tokens.word_to_chars(start, self.sequence)?;
            let (_, end) = self.tokens.word_to_chars(end, self.sequence)?;
            Some((start, end))
        };
        let words = if to_words { words() } else { None };
        words.unwrap_or((offsets[first].0, offsets[last].1))
    }
}

/// What was found in the windows so far.
struct Found {
    context: Context,
    answers: Vec<Answer>,
    /// How likely it is that there is no answer.
    none: f64,
}

impl Found {
    fn add(&mut self, window: &Window, logits: &[Vec<f32>], options: &AnswerOptions) {
        let allowed = window.allowed();
        let side = |side: usize| {
            let logits = logits.iter().zip(&allowed);
            let masked = logits.map(|(row, &allowed)| if allowed { row[side] } else { HIDDEN });
            scores::softmax(&masked.collect::<Vec<_>>())
        };
        let (mut starts, mut ends) = (side(0), side(1));
        if options.handle_impossible_answer {
            self.none = self.none.min(f64::from(starts[0] * ends[0]));
        }
        (starts[0], ends[0]) = (0.0, 0.0);
        // Some candidates fall together as they are widened to words.
        let count = match (options.align_to_words, options.top_k as usize) {
            (true, top_k) => top_k * 2 + 10,
            (false, top_k) => top_k,
        };
        let spans = best_spans(&starts, &ends, options.max_answer_len as usize, count);
        for (score, first, last) in spans {
            if allowed[first] && allowed[last] {
                let span = window.span(first, last, options.align_to_words);
                self.note(span, f64::from(score));
            }
        }
    }

    fn note(&mut self, (start, end): (usize, usize), score: f64) {
        let [start, end] = [start, end].map(|at| self.context.before.before(at, false));
        let characters = self.context.characters.get(start as usize..end as usize);
        let answer: String = characters.unwrap_or_default().iter().collect();
        let folded = answer.to_lowercase();
        let same = |other: &&mut Answer| other.answer.to_lowercase() == folded;
        match self.answers.iter_mut().find(same) {
            Some(known) => known.score += score,
            None => self.answers.push(Answer {
                score,
                start,
                end,
                answer,
            }),
        }
    }
}

/// `decode_spans`: the likeliest pairs of a start and an end that is not before it. Where these do not
/// suffice it fills up with pairs of no likelihood, those that are too long or end before they start among
/// them. Which of them come first, its sort leaves to the processor; here it is their order in the text.
fn best_spans(
    starts: &[f32],
    ends: &[f32],
    longest: usize,
    count: usize,
) -> Vec<(f32, usize, usize)> {
    let mut spans: Vec<(f32, usize, usize)> = Vec::new();
    for (first, start) in starts.iter().enumerate().filter(|(_, start)| **start > 0.0) {
        for (last, end) in ends.iter().enumerate().skip(first).take(longest) {
            let score = start * end;
            if score > 0.0 {
                spans.push((score, first, last));
            }
        }
    }
    spans.sort_by(|a, b| b.0.total_cmp(&a.0));
    spans.truncate(count);
    let missing = count - spans.len();
    let pairs = (0..starts.len()).flat_map(|first| (0..ends.len()).map(move |last| (first, last)));
    let unlikely = pairs.filter(|&(first, last)| {
        let is_span = (first..first + longest).contains(&last);
        !is_span || starts[first] * ends[last] <= 0.0
    });
    let unlikely = unlikely.map(|(first, last)| (0.0, first, last));
    spans.extend(unlikely.take(missing));
    spans
}
