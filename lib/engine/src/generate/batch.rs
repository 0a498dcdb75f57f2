//! Several sequences at once, greedy or drawn: prompts padded on the left to one length, and each
//! sequence done when it ends, after which it is computed no further. As in transformers 4.57 processors
//! see the padding among a row's tokens.

use std::time::Instant;

use wire::{Failure, generate::FinishReason};

use super::{
    Generator, Settings,
    deciding::{Logits, Wanted, choose_among, deciding},
    guidance::{Guide, Unguided},
    output::{Outcome, Record, Sequence},
    processors::Prompted,
    reading::Reader,
    sampling::Sampler,
    stopping::Stopping,
};
use crate::{Cancel, failures, layers::KvCache};

/// Prompts of one length.
pub struct Batch {
    /// The prompts, padded on the left.
    pub rows: Vec<Vec<u32>>,
    /// How many of each row's first tokens are padding.
    pub padding: Vec<usize>,
}

impl Batch {
    /// Pads prompts with a token to the length of the longest.
    pub fn new(prompts: &[Vec<u32>], pad: u32) -> Self {
        let length = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let padding: Vec<usize> = prompts.iter().map(|ids| length - ids.len()).collect();
        let rows = prompts
            .iter()
            .zip(&padding)
            .map(|(ids, &padding)| [vec![pad; padding], ids.clone()].concat())
            .collect();
        Self { rows, padding }
    }

    /// Tokens of a row.
    pub fn length(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }
}

/// One sequence under way.
struct Row {
    prompt: usize,
    ids: Vec<u32>,
    sampler: Sampler,
    finish_reason: Option<FinishReason>,
    record: Record,
}

impl Row {
    fn advance(
        &mut self,
        (logits, unguided): (Logits, Option<&Unguided>),
        prompt: Prompted,
        settings: &Settings,
        stopping: &Stopping,
    ) -> Result<(), Failure> {
        let id = match logits {
            Logits::All(logits) => self.choose((logits, unguided), prompt, settings),
            Logits::Deciding(candidates) => choose_among(candidates, settings, &mut self.sampler),
        };
        self.ids.push(id);
        self.finish_reason = stopping.check(&self.ids)?;
        Ok(())
    }

    fn choose(
        &mut self,
        (mut logits, unguided): (Vec<f32>, Option<&Unguided>),
        prompt: Prompted,
        settings: &Settings,
    ) -> u32 {
        self.record.logits(&logits);
        if let Some(unguided) = unguided {
            unguided.guide(&mut logits);
        }
        settings.processors.process(&mut logits, &self.ids, prompt);
        let id = self.sampler.choose(&logits);
        self.record.choice(logits, id);
        id
    }
}

/// Continues a batch, `num_return_sequences` for each prompt.
pub fn run(
    generator: Generator,
    batch: &Batch,
    settings: &Settings,
    (cancel, started): (&Cancel, Instant),
) -> Result<Outcome, Failure> {
    let stopping = Stopping::new(settings, generator.tokenizer, started);
    let reader = Reader {
        seat: generator.seat,
        cancel,
    };
    let mut rows = rows(batch, settings);
    let seen = generator.prompts(batch);
    let mut guide = Guide::new(generator, settings, cancel);
    let deciding = deciding(settings, &Record::new(settings)).filter(|_| guide.is_none());
    let mut outcome = Outcome::default();
    let mut cache = generator.new_cache(&batch.padding)?;
    let prompts: Vec<&[u32]> = batch.rows.iter().map(Vec::as_slice).collect();
    // Each prompt is read once, whatever the number of its sequences.
    let mut read = read_last(reader, &prompts, &mut cache, deciding)?;
    outcome.prefill = started.elapsed().as_secs_f64();
    let places: Vec<usize> = rows.iter().map(|row| row.prompt).collect();
    cache.reorder(&places).map_err(failures::internal)?;
    read = read.map(|logits| places.iter().map(|&at| logits[at].clone()).collect());
    let mut live: Vec<usize> = (0..rows.len()).collect();
    while let Some(logits) = read {
        let mut unguided = Vec::new();
        if let Some(guide) = &mut guide {
            let sequences: Vec<&[u32]> = live.iter().map(|&at| rows[at].ids.as_slice()).collect();
            let Some(read) = guide.read(&sequences)? else {
                break;
            };
            unguided = read;
        }
        for (place, (&at, logits)) in live.iter().zip(logits).enumerate() {
            let prompt = Prompted::of_row(&seen, at, settings.num_return_sequences);
            let logits = (logits, unguided.get(place));
            rows[at].advance(logits, prompt, settings, &stopping)?;
        }
        if outcome.first_token == 0.0 {
            outcome.first_token = started.elapsed().as_secs_f64();
        }
        let goes_on = |place: &usize| rows[live[*place]].finish_reason.is_none();
        let staying: Vec<usize> = (0..live.len()).filter(goes_on).collect();
        if staying.is_empty() {
            break;
        }
        cache.reorder(&staying).map_err(failures::internal)?;
        if let Some(guide) = &mut guide {
            guide.keep(&staying)?;
        }
        live = staying.into_iter().map(|place| live[place]).collect();
        let sequences: Vec<&[u32]> = live.iter().map(|&at| rows[at].ids.as_slice()).collect();
        read = read_last(reader, &sequences, &mut cache, deciding)?;
    }
    outcome.sequences = rows
        .into_iter()
        .map(|row| finished(row, settings))
        .collect();
    Ok(outcome)
}

/// Logits after the last position of each sequence, as far as they decide; `None` when cancelled.
fn read_last(
    reader: Reader,
    sequences: &[&[u32]],
    cache: &mut KvCache,
    deciding: Option<usize>,
) -> Result<Option<Vec<Logits>>, Failure> {
    let wanted = Wanted {
        positions: 1,
        deciding,
    };
    reader.read_deciding(sequences, cache, wanted)
}

fn rows(batch: &Batch, settings: &Settings) -> Vec<Row> {
    let count = batch.rows.len() * settings.num_return_sequences;
    let row = |index: usize| {
        let prompt = index / settings.num_return_sequences;
        Row {
            prompt,
            ids: batch.rows[prompt].clone(),
            sampler: Sampler::new(settings.sampling, index),
            finish_reason: None,
            record: Record::new(settings),
        }
    };
    (0..count).map(row).collect()
}

fn finished(mut row: Row, settings: &Settings) -> Sequence {
    Sequence {
        prompt: row.prompt,
        ids: row.ids.split_off(settings.prompt_length),
        finish_reason: row.finish_reason.unwrap_or(FinishReason::Cancelled),
        details: row.record.take(),
    }
}
