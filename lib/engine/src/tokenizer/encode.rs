//! Text to tokens, up to the single sequence: cutting, truncation and what the post-processor adds,
//! in the order of the crate `tokenizers`. Padding and batches are in `batch.rs`.

use tokenizers::{
    Encoding as Raw, PostProcessor, PostProcessorWrapper, utils::truncation::TruncationDirection,
};
use wire::{
    Failure,
    text::{Encoding, Token},
    tokenize::{EncodeOptions, Side, TextInput, Truncation},
};

use super::{Tokenizer, byte_level::ByteLevelBpe, infilling::Reading};
use crate::failures;

/// Which offsets a token has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Offsets {
    /// As transformers gives them: without the blank before a word where the tokenizer says so.
    Trimmed,
    /// All that a token stands for.
    Whole,
}

/// The sequence of an input that came alone.
pub(super) struct Alone {
    pub raw: Raw,
    /// The texts that its spans are in.
    pub texts: TextInput,
    /// Bytes that were put in front of the first text.
    pub shift: usize,
}

impl Tokenizer {
    /// Encodes a text, with what the post-processor adds when `add_special_tokens`.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Encoding, Failure> {
        let options = EncodeOptions {
            add_special_tokens,
            ..Default::default()
        };
        self.encode_input(&TextInput::from(text), &options)
    }

    /// Encodes one input alone, for looking at it. Of two texts, the second's spans go on where the first
    /// ends; of a text around a gap, they are those of the text as it was given.
    pub fn encode_input(
        &self,
        input: &TextInput,
        options: &EncodeOptions,
    ) -> Result<Encoding, Failure> {
        let Alone { raw, texts, shift } = self.alone(input, options, Offsets::Whole)?;
        let pair = input.pair.as_deref().unwrap_or_default();
        let text = format!("{}{pair}", input.text);
        let second_starts = text.len() - texts.pair.map_or(0, |pair| pair.len());
        let sequences = raw.get_sequence_ids();
        let tokens = raw.get_ids().iter().zip(raw.get_tokens());
        let tokens = tokens.zip(raw.get_offsets()).zip(sequences);
        let tokens = tokens
            .map(|(((&id, piece), &(start, end)), sequence)| {
                let place = |at: usize| match sequence {
                    Some(1) => second_starts + at,
                    _ => at.saturating_sub(shift),
                };
                Token {
                    id,
                    piece: piece.clone(),
                    bytes: (place(start) as u32, place(end) as u32),
                    special: self.special_ids.contains(&id),
                }
            })
            .collect();
        Ok(Encoding {
            text,
            tokens,
            fingerprint: self.info.fingerprint.clone(),
        })
    }

    /// The tokens of a text, spelt as in the vocabulary: transformers' `tokenize`.
    pub fn tokenize(&self, text: &str) -> Result<Vec<String>, Failure> {
        let encoding = self.encode(text, false)?;
        Ok(encoding
            .tokens
            .into_iter()
            .map(|token| token.piece)
            .collect())
    }

    /// The sequence of an input that comes alone and not in a list, which in transformers differs for fast
    /// tokenizers: there an empty second text is none, and `CodeLlama`'s fill in.
    pub(super) fn alone(
        &self,
        input: &TextInput,
        options: &EncodeOptions,
        offsets: Offsets,
    ) -> Result<Alone, Failure> {
        let text = match &self.parts.infilling {
            Some(infilling) => match infilling.reading(input)? {
                Reading::Text(text) => text,
                Reading::Gap(gap) => {
                    return Ok(Alone {
                        raw: self.around(infilling, &gap, options)?,
                        texts: gap,
                        shift: 1,
                    });
                }
            },
            None if options.suffix_first => return Err(self.fills_nothing()),
            None if self.parts.python.is_some() => input.clone(),
            None => TextInput {
                text: input.text.clone(),
                pair: input.pair.clone().filter(|pair| !pair.is_empty()),
            },
        };
        Ok(Alone {
            raw: self.sequence(&text, options, offsets)?,
            texts: text,
            shift: 0,
        })
    }

    fn fills_nothing(&self) -> Failure {
        failures::invalid(format!(
            "`suffix_first` is for the infilling of CodeLlama, and the tokenizer of `{}` is a `{}`",
            self.info.name,
            self.info
                .class
                .as_deref()
                .unwrap_or("PreTrainedTokenizerFast"),
        ))
    }

    /// One sequence, truncated and with what the post-processor adds; what was cut off hangs on it.
    pub(super) fn sequence(
        &self,
        input: &TextInput,
        options: &EncodeOptions,
        offsets: Offsets,
    ) -> Result<Raw, Failure> {
        // As in transformers, an empty second text is one, where both come in a list.
        let first = self.cut(&input.text, options)?;
        let mut second = input
            .pair
            .as_deref()
            .map(|pair| self.cut(pair, options))
            .transpose()?;
        if let Some(second) = &mut second {
            // Before truncation, so that its windows know.
            second.set_type_ids(vec![1; second.len()]);
        }
        self.finished((first, second), options, self.steps_behind(offsets))
    }

    /// The post-processor that gives such offsets.
    pub(super) fn steps_behind(&self, offsets: Offsets) -> Option<&PostProcessorWrapper> {
        match offsets {
            Offsets::Trimmed => self.post_processor.as_ref(),
            Offsets::Whole => self.whole_offsets.as_ref(),
        }
    }

    /// Truncates what was cut, and adds what belongs around it.
    pub(super) fn finished(
        &self,
        (first, second): (Raw, Option<Raw>),
        options: &EncodeOptions,
        post_processor: Option<&PostProcessorWrapper>,
    ) -> Result<Raw, Failure> {
        let adds = post_processor
            .filter(|_| options.add_special_tokens)
            .map_or(0, |steps| steps.added_tokens(second.is_some()));
        let (first, second) = self.truncated(first, second, adds, options)?;
        let processed = process(post_processor, first, second, options.add_special_tokens);
        processed.map_err(|error| self.failed("encode", error.as_ref()))
    }

    /// Cuts one text, without anything around it.
    fn cut(&self, text: &str, options: &EncodeOptions) -> Result<Raw, Failure> {
        let splits = self.splits(options);
        if let Some(python) = &self.parts.python {
            return python.cut(text, &self.inner, options.text_target, splits);
        }
        let tokenizer = self.splitting_where_asked(options);
        let short = if splits { None } else { self.short_way() };
        let raw = short
            .and_then(|short| short.encode(text, tokenizer))
            .unwrap_or_else(|| tokenizer.encode(text, false));
        raw.map_err(|error| self.failed("encode", error.as_ref()))
    }

    /// Whether the text of special tokens is cut like any other.
    fn splits(&self, options: &EncodeOptions) -> bool {
        options.split_special_tokens || self.parts.split_special_tokens
    }

    /// What cuts a text, by that.
    pub(super) fn splitting_where_asked(&self, options: &EncodeOptions) -> &tokenizers::Tokenizer {
        if !self.splits(options) {
            return &self.inner;
        }
        self.splitting.get_or_init(|| {
            let mut splitting = self.inner.clone();
            splitting.set_encode_special_tokens(true);
            splitting
        })
    }

    fn short_way(&self) -> Option<&ByteLevelBpe> {
        let way = self
            .byte_level
            .get_or_init(|| ByteLevelBpe::new(&self.inner));
        way.as_ref()
    }

    /// The limit on a sequence's length, where one applies.
    pub(super) fn limit(&self, options: &EncodeOptions) -> Option<usize> {
        let limit = options.max_length.or(self.parts.max_length)?;
        Some(limit as usize)
    }

    /// Cuts what is too long, leaving room for `adds` special tokens. Nothing is cut where no limit is
    /// known, as in transformers.
    fn truncated(
        &self,
        mut first: Raw,
        mut second: Option<Raw>,
        adds: usize,
        options: &EncodeOptions,
    ) -> Result<(Raw, Option<Raw>), Failure> {
        use wire::tokenize::Padding;
        let strategy = match options.truncation {
            Truncation::DoNotTruncate
                if options.max_length.is_some() && options.padding == Padding::DoNotPad =>
            {
                Truncation::LongestFirst
            }
            strategy => strategy,
        };
        let (Some(limit), false) = (self.limit(options), strategy == Truncation::DoNotTruncate)
        else {
            return Ok((first, second));
        };
        let Some(room) = limit.checked_sub(adds) else {
            return Err(failures::invalid(format!(
                "cannot truncate to {limit} tokens: the tokenizer adds {adds} special tokens"
            ))
            .hint("raise `max_length`, or set `add_special_tokens: false`"));
        };
        self.check_stride(limit, options)?;
        let lengths = (first.len(), second.as_ref().map(Raw::len));
        let excess = (lengths.0 + lengths.1.unwrap_or(0)).saturating_sub(room);
        if excess == 0 {
            return Ok((first, second));
        }
        let (to_first, to_second) = match (strategy, lengths) {
            (Truncation::LongestFirst, (first, Some(second))) if self.parts.python.is_some() => {
                kept_by_python(first, second, room)
            }
            _ => kept(strategy, lengths, room, excess)?,
        };
        let cut = |raw: &mut Raw, length: usize| -> Result<(), Failure> {
            let stride = options.stride as usize;
            if length >= raw.len() {
                return Ok(());
            }
            if length > 0 && stride >= length {
                return Err(stride_too_large(stride, length));
            }
            let direction = match self.parts.truncation_side {
                Side::Left => TruncationDirection::Left,
                Side::Right => TruncationDirection::Right,
            };
            raw.truncate(length, stride, direction);
            Ok(())
        };
        cut(&mut first, to_first)?;
        if let Some(second) = &mut second {
            cut(second, to_second)?;
        }
        Ok((first, second))
    }

    /// Fails on a stride that no window of `limit` tokens has room for, whether or not anything is cut: so does
    /// `with_truncation` of the crate `tokenizers`, which counts the special tokens of one text each time.
    fn check_stride(&self, limit: usize, options: &EncodeOptions) -> Result<(), Failure> {
        if self.parts.python.is_some() {
            return Ok(());
        }
        let steps = self.post_processor.as_ref();
        let adds = steps.map_or(0, |steps| steps.added_tokens(false));
        let stride = options.stride as usize;
        match limit.checked_sub(adds) {
            Some(length) if length < stride => Err(stride_too_large(stride, length)),
            _ => Ok(()),
        }
    }
}

fn stride_too_large(stride: usize, length: usize) -> Failure {
    failures::invalid(format!(
        "the stride of {stride} is not less than the {length} tokens that a window has"
    ))
    .hint("lower `stride`, or raise `max_length`")
}

/// How much of each text is kept: `truncate_encodings` of the crate `tokenizers`.
fn kept(
    strategy: Truncation,
    (first, second): (usize, Option<usize>),
    room: usize,
    excess: usize,
) -> Result<(usize, usize), Failure> {
    let too_short = |which: &str| {
        failures::invalid(format!(
            "cannot truncate only the {which} text: it has fewer than the {excess} tokens too many"
        ))
        .hint("truncate `LongestFirst`")
    };
    match (strategy, second) {
        _ if room == 0 => Ok((0, 0)),
        (Truncation::OnlyFirst, _) if first > excess => {
            Ok((first - excess, second.unwrap_or_default()))
        }
        (Truncation::OnlyFirst, _) => Err(too_short("first")),
        (Truncation::OnlySecond, None) => Err(failures::invalid(
            "cannot truncate only the second text: there is none",
        )
        .hint("truncate `LongestFirst`, or give a pair of texts")),
        (Truncation::OnlySecond, Some(second)) if second > excess => Ok((first, second - excess)),
        (Truncation::OnlySecond, _) => Err(too_short("second")),
        (_, None) => Ok((room, 0)),
        (_, Some(second)) => {
            let shorter = first.min(second);
            let longer = if shorter > room {
                shorter
            } else {
                shorter.max(room - shorter)
            };
            let (shorter, longer) = if shorter + longer > room {
                (room / 2, room / 2 + room % 2)
            } else {
                (shorter, longer)
            };
            Ok(if first > second {
                (longer, shorter)
            } else {
                (shorter, longer)
            })
        }
    }
}

/// The same of the Python classes, which take token by token from the longer text, of equal ones from the second:
/// `truncate_sequences`.
fn kept_by_python(first: usize, second: usize, room: usize) -> (usize, usize) {
    let shorter = first.min(second);
    if 2 * shorter >= room {
        return (room.div_ceil(2), room / 2);
    }
    if first > second {
        (room - second, second)
    } else {
        (first, room - first)
    }
}

/// Adds what belongs around texts, and makes one sequence of them.
fn process(
    post_processor: Option<&PostProcessorWrapper>,
    first: Raw,
    second: Option<Raw>,
    add_special_tokens: bool,
) -> tokenizers::Result<Raw> {
    if let Some(steps) = post_processor {
        return steps.process(first, second, add_special_tokens);
    }
    let encodings = std::iter::once(first).chain(second).collect();
    let processed = <dyn PostProcessor>::default_process(encodings, add_special_tokens)?;
    Ok(Raw::merge(processed, false))
}
