//! Beam search, with or without drawing: `_beam_search` of transformers 4.57, in its arithmetic (f32) and
//! with its heuristics. Each prompt of a batch is searched for itself; the model reads all beams of all
//! prompts at once.

use std::time::Instant;

use wire::{
    Failure,
    generate::{Details, EarlyStopping, FinishReason},
};

use super::{
    Generator, Settings,
    batch::Batch,
    guidance::{Guide, Unguided},
    output::{Outcome, Record, Sequence},
    processors::{Prompted, log_softmax},
    reading::Reader,
    sampling::{Random, Sampler, draw_several},
    settings::Beams,
    stopping::Stopping,
};
use crate::{Cancel, failures};

/// What is as good as impossible, and still a number.
const IMPOSSIBLE: f32 = -1.0e9;

/// A sequence that is followed, or was.
#[derive(Clone)]
struct Beam {
    /// The prompt and what was added.
    ids: Vec<u32>,
    /// Sum of the logarithms of probabilities; of a finished one by its length.
    score: f32,
    /// The row of the batch that each added token continued.
    origins: Vec<u32>,
    /// Why it is finished, if it is.
    finish_reason: Option<FinishReason>,
}

/// The search for one prompt.
struct Search<'a> {
    settings: &'a Settings,
    stopping: &'a Stopping<'a>,
    beams: Beams,
    /// Which prompt of the batch.
    prompt: usize,
    /// What processors take for the prompts of the batch.
    prompts: &'a [&'a [u32]],
    /// As many as there are beams, the best first.
    running: Vec<Beam>,
    /// The same of finished ones; before that, places for them.
    finished: Vec<Beam>,
    /// Whether a running beam may become better than a finished one.
    may_improve: bool,
    random: Option<Random>,
    /// Each step's numbers of each running beam.
    records: Vec<Vec<(Vec<f32>, Vec<f32>)>>,
}

/// Continues a batch by beams, `num_return_sequences` for each prompt.
pub fn run(
    generator: Generator,
    batch: &Batch,
    (settings, beams): (&Settings, Beams),
    (cancel, started): (&Cancel, Instant),
) -> Result<Outcome, Failure> {
    let stopping = Stopping::new(settings, generator.tokenizer, started);
    let reader = Reader {
        seat: generator.seat,
        cancel,
    };
    let seen = generator.prompts(batch);
    let mut searches: Vec<Search> = (0..batch.rows.len())
        .map(|prompt| Search::new(batch, (prompt, &seen), (settings, beams), &stopping))
        .collect();
    let mut outcome = Outcome::default();
    let mut cache = generator.new_cache(&batch.padding)?;
    let prompts: Vec<&[u32]> = batch.rows.iter().map(Vec::as_slice).collect();
    let mut read = reader.read(&prompts, &mut cache, 1)?;
    outcome.prefill = started.elapsed().as_secs_f64();
    let places: Vec<usize> = (0..searches.len() * beams.count)
        .map(|row| row / beams.count)
        .collect();
    cache.reorder(&places).map_err(failures::internal)?;
    read = read.map(|logits| places.iter().map(|&at| logits[at].clone()).collect());
    let mut guide = Guide::new(generator, settings, cancel);
    let mut live: Vec<usize> = (0..searches.len()).collect();
    while let Some(logits) = read {
        // (live prompts * beams, vocabulary)
        let logits: Vec<Vec<f32>> = logits.into_iter().flatten().collect();
        let mut unguided = Vec::new();
        if let Some(guide) = &mut guide {
            let running = live.iter().flat_map(|&at| &searches[at].running);
            let sequences: Vec<&[u32]> = running.map(|beam| beam.ids.as_slice()).collect();
            let Some(read) = guide.read(&sequences)? else {
                break;
            };
            unguided = read;
        }
        let (mut order, mut staying, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (&at, rows)) in live.iter().zip(logits.chunks(beams.count)).enumerate() {
            let own = place * beams.count..(place + 1) * beams.count;
            let unguided = unguided.get(own.clone()).unwrap_or_default();
            let (parents, goes_on) = searches[at].step(rows, unguided)?;
            if goes_on {
                order.extend(parents.iter().map(|parent| place * beams.count + parent));
                staying.push(at);
                kept.extend(own);
            }
        }
        if let Some(guide) = &mut guide {
            // As in transformers each place goes on with what it read, whichever beam moves there.
            guide.keep(&kept)?;
        }
        if outcome.first_token == 0.0 {
            outcome.first_token = started.elapsed().as_secs_f64();
        }
        live = staying;
        if live.is_empty() {
            break;
        }
        cache.reorder(&order).map_err(failures::internal)?;
        let running = live.iter().flat_map(|&at| &searches[at].running);
        let sequences: Vec<&[u32]> = running.map(|beam| beam.ids.as_slice()).collect();
        read = reader.read(&sequences, &mut cache, 1)?;
    }
    // Only a request that is cancelled leaves searches that would go on.
    let best = |(at, search): (usize, Search)| search.best(live.contains(&at));
    outcome.sequences = searches.into_iter().enumerate().flat_map(best).collect();
    Ok(outcome)
}

impl<'a> Search<'a> {
    fn new(
        batch: &Batch,
        (prompt, prompts): (usize, &'a [&'a [u32]]),
        (settings, beams): (&'a Settings, Beams),
        stopping: &'a Stopping<'a>,
    ) -> Self {
        let beam = |score| Beam {
            ids: batch.rows[prompt].clone(),
            score,
            origins: Vec::new(),
            finish_reason: None,
        };
        // All beams begin alike: only the first counts, or all would choose the same.
        let score = |index| if index == 0 { 0.0 } else { IMPOSSIBLE };
        let random = match Sampler::new(settings.sampling, prompt) {
            Sampler::Greedy => None,
            Sampler::Draw(random) => Some(random),
        };
        Self {
            settings,
            stopping,
            beams,
            prompt,
            prompts,
            running: (0..beams.count).map(|index| beam(score(index))).collect(),
            finished: (0..beams.count).map(|_| beam(IMPOSSIBLE)).collect(),
            may_improve: true,
            random,
            records: Vec::new(),
        }
    }

    /// Adds a token to each beam, from the logits of each. Gives the beam that each of the new ones
    /// continues, and whether the search goes on.
    fn step(
        &mut self,
        logits: &[Vec<f32>],
        unguided: &[Unguided],
    ) -> Result<(Vec<usize>, bool), Failure> {
        let candidates = self.candidates(logits, unguided)?;
        let all_end = candidates
            .iter()
            .all(|candidate| candidate.finish_reason.is_some());
        let length = self.running[0].ids.len() + 1 - self.settings.prompt_length;
        self.finish(&candidates, length);
        let mut running: Vec<Beam> = candidates
            .into_iter()
            .map(|mut beam| {
                if beam.finish_reason.take().is_some() {
                    beam.score += IMPOSSIBLE;
                }
                beam
            })
            .collect();
        sort_by_score(&mut running);
        running.truncate(self.beams.count);
        self.running = running;
        self.may_improve &= self.could_improve(length);
        let is_full = self
            .finished
            .iter()
            .all(|beam| beam.finish_reason.is_some());
        let is_enough = is_full && self.beams.early_stopping == EarlyStopping::AsSoonAsFull;
        let parents = self.running.iter().map(|beam| {
            let origin = beam.origins.last().copied().unwrap_or(0) as usize;
            origin - self.prompt * self.beams.count
        });
        Ok((
            parents.collect(),
            self.may_improve && !is_enough && !all_end,
        ))
    }

    /// The best continuations of all beams, twice as many or more, so that enough are left to run when
    /// each beam's best ends.
    fn candidates(
        &mut self,
        logits: &[Vec<f32>],
        unguided: &[Unguided],
    ) -> Result<Vec<Beam>, Failure> {
        let settings = self.settings;
        let vocabulary = logits.first().map_or(0, Vec::len);
        let mut all = Vec::with_capacity(logits.len() * vocabulary);
        let mut record = Vec::new();
        for (place, (beam, row)) in self.running.iter().zip(logits).enumerate() {
            let mut scores = row.clone();
            log_softmax(&mut scores);
            if let Some(unguided) = unguided.get(place) {
                unguided.guide(&mut scores);
            }
            let count = self.beams.count;
            let at = self.prompt * count + place;
            let prompt = Prompted::of_row(self.prompts, at, count);
            settings.processors.process(&mut scores, &beam.ids, prompt);
            all.extend(scores.iter().map(|score| score + beam.score));
            if settings.output_scores || settings.output_logits {
                record.push((scores, row.clone()));
            }
        }
        self.records.push(record);
        let count = self.beams.count * (1 + settings.eos.len()).max(2);
        let places = match &mut self.random {
            Some(random) => draw_several(&all, count, random),
            None => largest(&all, count),
        };
        let beams = places.into_iter().map(|place| {
            let (parent, id) = (place / vocabulary, place % vocabulary);
            self.continued(parent, id as u32, all[place])
        });
        beams.collect()
    }

    fn continued(&self, parent: usize, id: u32, score: f32) -> Result<Beam, Failure> {
        let mut beam = self.running[parent].clone();
        beam.ids.push(id);
        beam.score = score;
        beam.origins
            .push((self.prompt * self.beams.count + parent) as u32);
        beam.finish_reason = self.stopping.check(&beam.ids)?;
        Ok(beam)
    }

    /// Takes those among the best candidates that end, as far as they are better than what is there.
    fn finish(&mut self, candidates: &[Beam], length: usize) {
        let is_full = self
            .finished
            .iter()
            .all(|beam| beam.finish_reason.is_some());
        let is_closed = is_full && self.beams.early_stopping == EarlyStopping::AsSoonAsFull;
        for candidate in candidates.iter().take(self.beams.count) {
            if candidate.finish_reason.is_some() && !is_closed && self.may_improve {
                let score = candidate.score / self.length_factor(length);
                self.finished.push(Beam {
                    score,
                    ..candidate.clone()
                });
            }
        }
        sort_by_score(&mut self.finished);
        self.finished.truncate(self.beams.count);
    }

    /// `_check_early_stop_heuristic`, after a step to `length` added tokens.
    fn could_improve(&self, length: usize) -> bool {
        let is_optimistic =
            self.beams.early_stopping == EarlyStopping::Never && self.beams.length_penalty > 0.0;
        let reach = if is_optimistic {
            self.settings.max_new_tokens()
        } else {
            length
        };
        let best = self.running[0].score / self.length_factor(reach);
        let worst = self
            .finished
            .iter()
            .map(|beam| beam.score)
            .fold(f32::INFINITY, f32::min);
        self.finished.iter().any(|beam| {
            let bound = if beam.finish_reason.is_some() {
                worst
            } else {
                IMPOSSIBLE
            };
            best > bound
        })
    }

    fn length_factor(&self, length: usize) -> f32 {
        (length as f64).powf(self.beams.length_penalty) as f32
    }

    /// The best sequences. Where too few have finished, those that are running follow of a cancelled search; of any
    /// other follow places that no sequence was good enough for, which have no tokens: transformers fills them with
    /// `pad_token_id`, an end, or -1.
    fn best(self, is_cancelled: bool) -> Vec<Sequence> {
        let settings = self.settings;
        let (finished, places): (Vec<Beam>, Vec<Beam>) = self
            .finished
            .into_iter()
            .partition(|beam| beam.finish_reason.is_some());
        let (unfinished, reason) = if is_cancelled {
            let running = self.running.into_iter().take(places.len());
            (running.collect(), FinishReason::Cancelled)
        } else {
            (places, FinishReason::Length)
        };
        let records = self.records;
        finished
            .into_iter()
            .chain(unfinished)
            .take(settings.num_return_sequences)
            .map(|mut beam| {
                let mut record = Record::new(settings);
                for (step, origin) in records.iter().zip(&beam.origins) {
                    let row = *origin as usize - self.prompt * self.beams.count;
                    if let Some((scores, logits)) = step.get(row) {
                        record.logits(logits);
                        record.scores(scores.clone());
                    }
                }
                Sequence {
                    prompt: self.prompt,
                    ids: beam.ids.split_off(settings.prompt_length),
                    finish_reason: beam.finish_reason.unwrap_or(reason),
                    details: Details {
                        score: Some(beam.score),
                        beam_indices: Some(beam.origins),
                        ..record.take()
                    },
                }
            })
            .collect()
    }
}

/// The best first; of equals the one that was there first.
fn sort_by_score(beams: &mut [Beam]) {
    beams.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// Places of the `count` largest values, the largest first, of equals the first.
pub(super) fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    for (place, value) in values.iter().enumerate() {
        let is_better =
            best.len() < count || best.last().is_some_and(|&last| *value > values[last]);
        if is_better {
            let at = best.partition_point(|&other| values[other] >= *value);
            best.insert(at, place);
            best.truncate(count);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::largest;

    #[test]
    fn the_largest_come_in_order_and_the_first_of_equals_first() {
        assert_eq!(largest(&[1.0, 3.0, 2.0, 3.0, 0.0], 3), [1, 3, 2]);
        assert_eq!(largest(&[1.0], 3), [0]);
    }
}
