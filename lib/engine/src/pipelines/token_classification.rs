//! `token-classification`: `token_classification.py` of transformers. Tokens get labels; neighbours and
//! words become entities as the aggregation strategy says.

use tokenizers::Encoding as Sequence;
use wire::{
    Failure,
    pipeline::{Aggregation, Entity, EntityOptions},
    tokenize::{EncodeOptions, TextInput, Truncation},
};

use super::{At, Reader, scores};
use crate::{
    failures,
    tokenizer::{Characters, Tokenizer},
};

/// Of each text its entities, in their order.
pub fn run(
    reader: &mut Reader,
    inputs: &[String],
    options: &EntityOptions,
) -> Result<Vec<Vec<Entity>>, Failure> {
    let how = how(reader, options)?;
    let by_words = matches!(
        options.aggregation_strategy,
        Some(Aggregation::First | Aggregation::Average | Aggregation::Max)
    );
    if by_words && !reader.tokenizer.marks_continuations() {
        reader.notice("Tokenizer does not support real words, using fallback heuristic".to_owned());
    }
    let mut windows = Vec::new();
    let mut counts = Vec::with_capacity(inputs.len());
    let words = |index: usize| options.words.get(index).map(Vec::as_slice);
    for (index, input) in inputs.iter().enumerate() {
        reader.cancel.check()?;
        let own = match words(index) {
            Some(words) => {
                check_words(reader.tokenizer)?;
                reader.tokenizer.windows_of_words(words, &how)
            }
            None => reader.tokenizer.windows(&input.into(), &how),
        };
        // There is no `max_length` to raise here, as the tokenizer would advise.
        let own = own.map_err(|failure| match failure.hint {
            Some(_) if how.stride > 0 => failure.hint("lower `stride`"),
            _ => failure,
        })?;
        counts.push(own.len());
        windows.extend(own);
    }
    let logits = reader.outputs(&windows, At::Each)?;
    let mut pairs = windows.iter().zip(logits);
    let mut found = Vec::with_capacity(inputs.len());
    for ((index, input), count) in inputs.iter().enumerate().zip(counts) {
        let text = match words(index) {
            Some(words) => Text::of_words(reader, words, options),
            None => Text::new(reader, input, options),
        };
        let mut entities = Vec::new();
        for (window, logits) in pairs.by_ref().take(count) {
            let tokens = text.tokens(window, &logits);
            entities.extend(text.aggregate(tokens)?);
        }
        entities.retain(|entity| {
            !options
                .ignore_labels
                .iter()
                .any(|label| label == entity.label())
        });
        found.push(if count > 1 {
            without_overlaps(entities)
        } else {
            entities
        });
    }
    Ok(found)
}

fn how(reader: &Reader, options: &EntityOptions) -> Result<EncodeOptions, Failure> {
    let max_length = reader.longest();
    let mut how = EncodeOptions {
        truncation: Truncation::LongestFirst,
        max_length,
        ..EncodeOptions::default()
    };
    if let Some(stride) = options.stride {
        if let Some(max_length) = max_length.filter(|most| stride >= *most) {
            return Err(failures::invalid(format!(
                "the stride of {stride} is not less than the {max_length} tokens that the tokenizer takes"
            ))
            .hint("lower `stride`"));
        }
        // As in transformers, where it was named: left out, tokens are read in windows too.
        if options.aggregation_strategy == Some(Aggregation::None) {
            return Err(failures::invalid(
                "`stride` reads a long text in windows, which needs an aggregation strategy",
            )
            .hint("add `.aggregation_strategy(Aggregation::Simple)`"));
        }
        how.stride = stride;
        how.return_overflowing_tokens = true;
    }
    Ok(how)
}

/// Classes whose tokenizers take words with `add_prefix_space` alone: each word is the first of its text there, which
/// has no blank before it otherwise.
const WORDS_BY_PREFIX: [&str; 12] = [
    "BartTokenizer",
    "BlenderbotTokenizer",
    "BloomTokenizer",
    "CodeGenTokenizer",
    "CohereTokenizer",
    "DebertaTokenizer",
    "GPT2Tokenizer",
    "LEDTokenizer",
    "LongformerTokenizer",
    "MvpTokenizer",
    "RobertaTokenizer",
    "WhisperTokenizer",
];

/// Fails where transformers' tokenizer refuses words.
fn check_words(tokenizer: &Tokenizer) -> Result<(), Failure> {
    let class = tokenizer.info().class.as_deref().unwrap_or_default();
    let name = class.strip_suffix("Fast").unwrap_or(class);
    if !WORDS_BY_PREFIX.contains(&name) {
        return Ok(());
    }
    let tokens = tokenizer.tokenize("a")?;
    if tokens.first().is_none_or(|token| token != "a") {
        return Ok(());
    }
    Err(failures::invalid(format!(
        "a `{name}` takes words with `add_prefix_space` alone, which is not set"
    ))
    .hint("write `\"add_prefix_space\": true` into its `tokenizer_config.json`, or give the text as one"))
}

/// A token that is not special.
struct Token {
    word: String,
    scores: Vec<f32>,
    start: u32,
    end: u32,
    index: u32,
    continues: bool,
}

/// A token or a word with its label.
struct Labelled {
    label: usize,
    score: f32,
    index: u32,
    word: String,
    start: u32,
    end: u32,
}

/// One text being read.
struct Text<'a, 'b> {
    reader: &'a Reader<'b>,
    characters: Vec<char>,
    /// For the text, or for each of its words, where it starts in characters and its own characters.
    parts: Vec<(u32, Characters)>,
    /// Spans of tokens are of words, not of the text.
    is_split: bool,
    strategy: Aggregation,
}

impl<'a, 'b> Text<'a, 'b> {
    fn new(reader: &'a Reader<'b>, text: &str, options: &EntityOptions) -> Self {
        Self {
            reader,
            characters: text.chars().collect(),
            parts: vec![(0, Characters::new(&TextInput::from(text)))],
            is_split: false,
            strategy: options.aggregation_strategy.unwrap_or_default(),
        }
    }

    fn of_words(reader: &'a Reader<'b>, words: &[String], options: &EntityOptions) -> Self {
        let between = options.delimiter.chars().count();
        let mut start = 0;
        let parts = words.iter().map(|word| {
            let own = (start as u32, Characters::new(&TextInput::from(word)));
            start += word.chars().count() + between;
            own
        });
        Self {
            parts: parts.collect(),
            characters: words.join(&options.delimiter).chars().collect(),
            is_split: true,
            ..Self::new(reader, "", options)
        }
    }

    /// A token's span in characters of the text.
    fn span(&self, window: &Sequence, token: usize) -> [u32; 2] {
        let (start, end) = window.get_offsets()[token];
        let word = if self.is_split {
            window.get_word_ids()[token].unwrap_or(0) as usize
        } else {
            0
        };
        let part = self.parts.get(word);
        let in_text = |at: usize| {
            part.map_or(0, |(start, characters)| {
                start + characters.before(at, false)
            })
        };
        [in_text(start), in_text(end)]
    }

    /// `gather_pre_entities`.
    fn tokens(&self, window: &Sequence, logits: &[Vec<f32>]) -> Vec<Token> {
        let tokenizer = self.reader.tokenizer;
        let unknown = tokenizer.named_id("unk_token");
        let marks = tokenizer.marks_continuations();
        let mut tokens = Vec::new();
        for (index, logits) in logits.iter().enumerate() {
            if window.get_special_tokens_mask()[index] == 1 {
                continue;
            }
            let id = window.get_ids()[index];
            let mut word = tokenizer.id_to_token(id).unwrap_or_default();
            let [start, end] = self.span(window, index);
            let reference: String = self.characters[start as usize..end as usize]
                .iter()
                .collect();
            let mut continues = if marks {
                word.chars().count() != (end - start) as usize
            } else {
                start > 0 && !self.has_blank_around(start as usize)
            };
            if Some(id) == unknown {
                word = reference;
                continues = false;
            }
            tokens.push(Token {
                word,
                scores: scores::softmax(logits),
                start,
                end,
                index: index as u32,
                continues,
            });
        }
        tokens
    }

    /// Whether there is a blank right before this place, or at it.
    fn has_blank_around(&self, start: usize) -> bool {
        let end = (start + 1).min(self.characters.len());
        self.characters[start - 1..end].contains(&' ')
    }

    fn aggregate(&self, tokens: Vec<Token>) -> Result<Vec<Entity>, Failure> {
        let labelled = match self.strategy {
            Aggregation::None | Aggregation::Simple => {
                tokens.into_iter().map(Token::labelled).collect()
            }
            Aggregation::First | Aggregation::Average | Aggregation::Max => self.words(&tokens)?,
        };
        if self.strategy == Aggregation::None {
            let entities = labelled.into_iter().map(|token| Entity {
                entity: Some(self.name(token.label).to_owned()),
                entity_group: None,
                score: f64::from(token.score),
                index: Some(token.index),
                word: token.word,
                start: token.start,
                end: token.end,
            });
            return Ok(entities.collect());
        }
        self.groups(&labelled)
    }

    /// `aggregate_words`.
    fn words(&self, tokens: &[Token]) -> Result<Vec<Labelled>, Failure> {
        tokens
            .chunk_by(|_, next| next.continues)
            .map(|word| self.word(word))
            .collect()
    }

    /// `aggregate_word`.
    fn word(&self, tokens: &[Token]) -> Result<Labelled, Failure> {
        let (first, last) = (&tokens[0], &tokens[tokens.len() - 1]);
        let largest = |token: &Token| token.scores[scores::argmax(&token.scores)];
        let scores = match self.strategy {
            Aggregation::Average => {
                let mut mean = vec![0.0; first.scores.len()];
                for token in tokens {
                    for (sum, score) in mean.iter_mut().zip(&token.scores) {
                        *sum += score;
                    }
                }
                mean.iter().map(|sum| sum / tokens.len() as f32).collect()
            }
            Aggregation::Max => {
                let surest = tokens.iter().reduce(|best, token| {
                    if largest(token) > largest(best) {
                        token
                    } else {
                        best
                    }
                });
                surest.map_or_else(Vec::new, |token| token.scores.clone())
            }
            _ => first.scores.clone(),
        };
        let label = scores::argmax(&scores);
        let words = tokens.iter().map(|token| token.word.clone()).collect();
        Ok(Labelled {
            label,
            score: scores[label],
            index: first.index,
            word: self.reader.tokenizer.tokens_to_string(words)?,
            start: first.start,
            end: last.end,
        })
    }

    /// `group_entities`: neighbours of one tag, up to the next that begins one.
    fn groups(&self, entities: &[Labelled]) -> Result<Vec<Entity>, Failure> {
        let same = |last: &Labelled, next: &Labelled| {
            let (begins, tag) = tag(self.name(next.label));
            tag == self::tag(self.name(last.label)).1 && !begins
        };
        entities
            .chunk_by(same)
            .map(|group| self.group(group))
            .collect()
    }

    /// `group_sub_entities`.
    fn group(&self, group: &[Labelled]) -> Result<Entity, Failure> {
        let name = self.name(group[0].label);
        let sum: f32 = group.iter().map(|entity| entity.score).sum();
        let words = group.iter().map(|entity| entity.word.clone()).collect();
        Ok(Entity {
            entity: None,
            entity_group: Some(
                name.split_once('-')
                    .map_or(name, |(_, rest)| rest)
                    .to_owned(),
            ),
            score: f64::from(sum / group.len() as f32),
            index: None,
            word: self.reader.tokenizer.tokens_to_string(words)?,
            start: group[0].start,
            end: group[group.len() - 1].end,
        })
    }

    fn name(&self, label: usize) -> &str {
        &self.reader.encoder.labels().names[label]
    }
}

impl Token {
    fn labelled(self) -> Labelled {
        let label = scores::argmax(&self.scores);
        Labelled {
            label,
            score: self.scores[label],
            index: self.index,
            word: self.word,
            start: self.start,
            end: self.end,
        }
    }
}

/// `get_tag`: whether a label begins an entity, and what of it is left.
fn tag(label: &str) -> (bool, &str) {
    match label.strip_prefix("B-") {
        Some(tag) => (true, tag),
        None => (false, label.strip_prefix("I-").unwrap_or(label)),
    }
}

/// `aggregate_overlapping_entities`: of those that windows share, the longer, then the surer.
fn without_overlaps(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(|entity| entity.start);
    let mut kept: Vec<Entity> = Vec::with_capacity(entities.len());
    for entity in entities {
        let Some(last) = kept.last_mut().filter(|last| entity.start < last.end) else {
            kept.push(entity);
            continue;
        };
        let (length, before) = (entity.end - entity.start, last.end - last.start);
        if length > before || (length == before && entity.score > last.score) {
            *last = entity;
        }
    }
    kept
}
