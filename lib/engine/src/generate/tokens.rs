//! The iterator of a single sequence: reads the prompt, then chooses, checks and reads one token after
//! another, or several at once where something guesses them.

use std::time::Instant;

use wire::{
    Failure,
    generate::{Details, FinishReason},
};

use super::{
    Generator, Settings,
    deciding::{Logits, Wanted, choose_among, deciding},
    drafts::Drafter,
    guidance::{Guide, Unguided},
    output::Record,
    processors::Prompted,
    reading::Reader,
    sampling::Sampler,
    stopping::Stopping,
};
use crate::{Cancel, layers::KvCache};

/// The tokens that continue a prompt. Ends after the last one; a cancelled sequence ends early, without
/// an error. What it has read stays with the model when it is dropped.
pub struct Tokens<'a> {
    generator: Generator<'a>,
    settings: &'a Settings,
    stopping: Stopping<'a>,
    sampler: Sampler,
    drafter: Option<Drafter<'a>>,
    guide: Option<Guide<'a>>,
    cancel: &'a Cancel,
    cache: KvCache,
    /// Tokens that the cache had at the beginning.
    reused: usize,
    /// The prompt and what was added.
    ids: Vec<u32>,
    /// How many of these the iterator has given, the prompt's included.
    given: usize,
    finish_reason: Option<FinishReason>,
    /// How many of the largest logits decide, where no other does.
    deciding: Option<usize>,
    prefill_seconds: f64,
    record: Record,
    drafted: u32,
    accepted: u32,
}

impl<'a> Tokens<'a> {
    /// Prepares to continue `prompt`, whose ids the model knows; `started` is when it was asked for.
    /// Fails on an assistant that does not fit.
    pub fn new(
        generator: Generator<'a>,
        assistant: Option<Generator<'a>>,
        prompt: Vec<u32>,
        settings: &'a Settings,
        (cancel, started): (&'a Cancel, Instant),
    ) -> Result<Self, Failure> {
        let guide = Guide::new(generator, settings, cancel);
        let assistant = assistant.filter(|_| guide.is_none());
        let drafter = Drafter::new(settings, generator, assistant, cancel)?;
        let cache = if generator.about.is_some() {
            generator.new_cache(&[0])?
        } else if settings.use_cache {
            generator.prefixes.take(&prompt, generator.model())?
        } else {
            generator.model().new_cache()
        };
        let record = Record::new(settings);
        Ok(Self {
            stopping: Stopping::new(settings, generator.tokenizer, started),
            sampler: Sampler::new(settings.sampling, 0),
            deciding: deciding(settings, &record).filter(|_| guide.is_none()),
            record,
            reused: cache.len(),
            given: prompt.len(),
            ids: prompt,
            generator,
            settings,
            drafter,
            guide,
            cancel,
            cache,
            finish_reason: None,
            prefill_seconds: 0.0,
            drafted: 0,
            accepted: 0,
        })
    }

    /// The tokens that were given so far.
    pub fn added(&self) -> &[u32] {
        &self.ids[self.settings.prompt_length..self.given]
    }

    /// Why the sequence ended, once it has.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finish_reason
    }

    /// Seconds that reading the prompt took.
    pub fn prefill_seconds(&self) -> f64 {
        self.prefill_seconds
    }

    /// What was recorded on the way.
    pub fn take_details(&mut self) -> Details {
        Details {
            reused: self.reused as u32,
            drafted: self.drafted,
            accepted: self.accepted,
            ..self.record.take()
        }
    }

    /// Adds at least one token, unless cancelled.
    fn advance(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        let is_first = self.ids.len() == self.settings.prompt_length;
        let guesses = self.guess(is_first)?;
        self.ids.extend_from_slice(&guesses);
        let reader = Reader {
            seat: self.generator.seat,
            cancel: self.cancel,
        };
        let wanted = Wanted {
            positions: guesses.len() + 1,
            deciding: self.deciding,
        };
        let read = reader.read_deciding(&[self.ids.as_slice()], &mut self.cache, wanted);
        self.ids.truncate(self.ids.len() - guesses.len());
        let Some(rows) = read? else {
            self.finish_reason = Some(FinishReason::Cancelled);
            return Ok(());
        };
        if is_first {
            self.prefill_seconds = started.elapsed().as_secs_f64();
        }
        let mut unguided = None;
        if let Some(guide) = &mut self.guide {
            let Some(rows) = guide.read(&[self.ids.as_slice()])? else {
                self.finish_reason = Some(FinishReason::Cancelled);
                return Ok(());
            };
            unguided = rows.into_iter().next();
        }
        let mut right = 0;
        for (position, logits) in rows.into_iter().enumerate() {
            let id = match logits {
                Logits::All(logits) => self.choose(logits, unguided.as_ref()),
                Logits::Deciding(candidates) => {
                    choose_among(candidates, self.settings, &mut self.sampler)
                }
            };
            self.ids.push(id);
            self.finish_reason = self.stopping.check(&self.ids)?;
            let is_right = guesses.get(position) == Some(&id);
            right += usize::from(is_right);
            if self.finish_reason.is_some() || !is_right {
                break;
            }
        }
        self.accepted += right as u32;
        if let Some(drafter) = self.drafter.as_mut().filter(|_| !is_first) {
            drafter.learn(guesses.len(), right);
        }
        // What was read of wrong guesses.
        self.cache.truncate(self.ids.len() - 1);
        Ok(())
    }

    /// Tokens that may come next. The first is chosen without, so that it comes as soon as it can.
    fn guess(&mut self, is_first: bool) -> Result<Vec<u32>, Failure> {
        let Some(drafter) = self.drafter.as_mut().filter(|_| !is_first) else {
            return Ok(Vec::new());
        };
        let room = self.settings.max_length - self.ids.len() - 1;
        let guesses = drafter.draft(&self.ids, room)?;
        self.drafted += guesses.len() as u32;
        Ok(guesses)
    }

    fn choose(&mut self, mut logits: Vec<f32>, unguided: Option<&Unguided>) -> u32 {
        self.record.logits(&logits);
        if let Some(unguided) = unguided {
            unguided.guide(&mut logits);
        }
        let settings = self.settings;
        let source = self.generator.source(0);
        let prompt = source.unwrap_or(&self.ids[..settings.prompt_length]);
        settings
            .processors
            .process(&mut logits, &self.ids, Prompted::alone(prompt));
        let id = self.sampler.choose(&logits);
        self.record.choice(logits, id);
        id
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<u32, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let needs_more = self.given == self.ids.len() && self.finish_reason.is_none();
        if needs_more && let Err(failure) = self.advance() {
            return Some(Err(failure));
        }
        let id = *self.ids.get(self.given)?;
        self.given += 1;
        Some(Ok(id))
    }
}

impl Drop for Tokens<'_> {
    fn drop(&mut self) {
        if self.settings.use_cache && self.generator.about.is_none() {
            let model = self.generator.model();
            let cache = std::mem::replace(&mut self.cache, model.new_cache());
            self.generator.prefixes.put(cache, model);
        }
    }
}
