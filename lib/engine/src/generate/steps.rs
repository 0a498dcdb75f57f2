//! Steps of several requests on one model, run together: each request brings its next tokens, and those
//! that are there at once go through the weights in one pass, every sequence with a cache of its own.
//! Whichever request comes first runs the pass for all; there is no thread beside theirs.

use std::{
    collections::{HashMap, HashSet},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use candle_core::{Error, Result, Tensor};
use wire::model::Device;

use super::deciding::{self, Found, Wanted};
use crate::{
    cuda, failures,
    families::{CausalLm, Part},
    layers::KvCache,
};

/// Longest wait for the next tokens of the others.
const PATIENCE: Duration = Duration::from_millis(5);
/// The same as a part of the time that a pass takes.
const PATIENCE_PART: u32 = 4;

/// A model whose steps are shared.
pub struct Steps {
    model: Box<dyn CausalLm>,
    /// Whether one pass may hold tokens of several requests.
    joins: bool,
    state: Mutex<State>,
    changed: Condvar,
    reclaim: Option<Reclaim>,
}

/// Frees what others hold on a device, or on any card, for so many bytes that are missing; says whether it did.
pub type Reclaim = Box<dyn Fn(Option<Device>, u64) -> bool + Send + Sync>;

#[derive(Default)]
struct State {
    /// Seats that were ever taken.
    count: u64,
    /// Seats that are taken.
    taken: usize,
    /// Seats whose next step is worth waiting for: they took part in the last pass.
    expected: HashSet<u64>,
    waiting: Vec<Job>,
    done: HashMap<u64, Done>,
    /// A request collects steps or runs them.
    is_led: bool,
    /// How long the last pass took.
    pass: Duration,
}

/// A step that waits to be run.
struct Job {
    seat: u64,
    ids: Vec<u32>,
    cache: KvCache,
    wanted: Wanted,
}

/// A step that was run.
struct Done {
    cache: KvCache,
    logits: Result<Option<Found>>,
}

/// A request's place at a model.
pub struct Seat<'a> {
    steps: &'a Steps,
    number: u64,
}

impl Steps {
    /// Shares a model. It `joins` when a token's numbers do not depend on which others are in its pass, but
    /// for the order of sums: many tokens at once are added up in another order than few. On cards that is not so of
    /// blocks of ggml, unless f32 was asked for: up to eight tokens are computed in f32, more in 16 bits. Else requests
    /// take turns, step by step.
    pub fn new(model: Box<dyn CausalLm>, joins: bool) -> Self {
        Self {
            model,
            joins,
            state: Mutex::default(),
            changed: Condvar::new(),
            reclaim: None,
        }
    }

    /// The same, which runs a step again that lacked memory once some was freed.
    #[must_use]
    pub fn reclaiming(self, reclaim: Reclaim) -> Self {
        Self {
            reclaim: Some(reclaim),
            ..self
        }
    }

    /// The model itself.
    pub fn model(&self) -> &dyn CausalLm {
        self.model.as_ref()
    }

    /// Whether one pass may hold tokens of several requests.
    pub fn joins(&self) -> bool {
        self.joins
    }

    /// Takes a place.
    pub fn seat(&self) -> Seat<'_> {
        let mut state = self.lock();
        state.count += 1;
        state.taken += 1;
        Seat {
            steps: self,
            number: state.count,
        }
    }

    /// Waits a moment for those who are expected, then runs what is there.
    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.is_led = true;
        let patience = PATIENCE.min(state.pass / PATIENCE_PART);
        let started = Instant::now();
        while self.joins && state.waiting.len() < state.expected.len() {
            let Some(left) = patience.checked_sub(started.elapsed()) else {
                break;
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let count = if self.joins { state.waiting.len() } else { 1 };
        let mut jobs: Vec<Job> = state.waiting.drain(..count).collect();
        order(&mut jobs);
        if self.joins {
            state.expected = jobs.iter().map(|job| job.seat).collect();
        }
        drop(state);
        let started = Instant::now();
        let done = self.run(jobs);
        let mut state = self.lock();
        state.done.extend(done);
        state.is_led = false;
        state.pass = started.elapsed();
        self.changed.notify_all();
        state
    }

    /// Runs steps in one pass; when that fails each by itself, so that each gets its own failure. After a
    /// panic all fail: the requests of others must not wait for ever.
    fn run(&self, jobs: Vec<Job>) -> Vec<(u64, Done)> {
        self.run_again(jobs, 0)
    }

    fn run_again(&self, mut jobs: Vec<Job>, retries: usize) -> Vec<(u64, Done)> {
        let before: Vec<usize> = jobs.iter().map(|job| job.cache.len()).collect();
        let attempt = catch_unwind(AssertUnwindSafe(|| self.logits(&mut jobs)));
        let failure = match attempt {
            Ok(Ok(logits)) => {
                let done = jobs.into_iter().zip(logits);
                return done.map(|(job, logits)| job.done(Ok(logits))).collect();
            }
            Ok(Err(error)) => error,
            Err(panic) => {
                let message = format!("the engine panicked: {}", failures::panic_message(&*panic));
                let fail = |job: Job| Job {
                    // Nobody knows what is in it.
                    cache: KvCache::nothing(),
                    ..job
                };
                let failed = jobs.into_iter().map(fail);
                return failed
                    .map(|job| job.done(Err(Error::msg(message.clone()))))
                    .collect();
            }
        };
        for (job, before) in jobs.iter_mut().zip(before) {
            job.cache.truncate(before);
        }
        match <[Job; 1]>::try_from(jobs) {
            // Its cache is as long as before, though buffers may have grown.
            Ok([job]) if self.reclaims(&failure, retries) => self.run_again(vec![job], retries + 1),
            Ok([job]) => vec![job.done(Err(failure))],
            Err(jobs) => {
                let alone = jobs.into_iter().map(|job| self.run(vec![job]));
                alone.flatten().collect()
            }
        }
    }

    /// Whether to try again, once memory was freed that a step lacked. Where nobody knows how much that is, first what cards keep for later
    /// goes, then once what others hold: more might take everything and not suffice.
    fn reclaims(&self, failure: &Error, retries: usize) -> bool {
        let Some((device, bytes)) = failures::missing(failure) else {
            return false;
        };
        if device.is_none() && retries == 0 {
            cuda::return_memory();
            return true;
        }
        let Some(reclaim) = &self.reclaim else {
            return false;
        };
        (device.is_some() || retries == 1) && reclaim(device, bytes)
    }

    /// The logits that each step wants.
    fn logits(&self, jobs: &mut [Job]) -> Result<Vec<Option<Found>>> {
        let mut parts: Vec<Part> = jobs
            .iter_mut()
            .map(|job| Part {
                ids: &job.ids,
                cache: &mut job.cache,
            })
            .collect();
        let (states, sizes) = self.model.read(&mut parts)?;
        let (mut places, mut wanted) = (Vec::new(), Vec::new());
        let mut first = 0;
        for (job, (rows, tokens)) in jobs.iter().zip(sizes) {
            let positions = job.wanted.positions;
            if positions > tokens {
                candle_core::bail!("{positions} positions of {tokens} tokens");
            }
            for row in 0..rows {
                let end = first + (row + 1) * tokens;
                places.extend((end - positions..end).map(|at| at as u32));
            }
            first += rows * tokens;
            wanted.push((rows, job.wanted));
        }
        if places.is_empty() {
            self.wait(&states)?;
            return Ok(jobs.iter().map(|_| None).collect());
        }
        // (1, all tokens, hidden)
        let mut states = states.reshape((1, first, ()))?;
        if places.len() < first {
            let places = Tensor::new(places, states.device())?;
            states = states.index_select(&places, 1)?;
        }
        let logits = self.model.logits(&states)?;
        let found = deciding::share(&logits, &wanted)?;
        self.wait(&logits)?;
        Ok(found)
    }

    /// Waits for what a card has been asked for, where others may want to read on: what they bring in the meantime is
    /// the next pass, and not one each.
    fn wait(&self, made: &Tensor) -> Result<()> {
        if self.joins && self.lock().taken > 1 {
            made.device().synchronize()?;
        }
        Ok(())
    }

    /// Nothing under the lock panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts single tokens beside each other: cards compute them as one part, but for those behind padding.
fn order(jobs: &mut [Job]) {
    let is_padded = |job: &Job| job.cache.padding().iter().any(|&padding| padding > 0);
    jobs.sort_by_key(|job| (job.ids.len() > 1, is_padded(job)));
}

impl Job {
    fn done(self, logits: Result<Option<Found>>) -> (u64, Done) {
        let cache = self.cache;
        (self.seat, Done { cache, logits })
    }
}

impl Seat<'_> {
    /// The model.
    pub fn model(&self) -> &dyn CausalLm {
        self.steps.model()
    }

    /// Whether passes may hold tokens of others, too.
    pub fn has_company(&self) -> bool {
        self.steps.joins && self.steps.lock().taken > 1
    }

    /// Reads `ids` `(batch, tokens)` after what the cache holds, together with what others read. Gives the logits that
    /// are wanted; `None` where none are. A failure leaves the cache as it was, or empty.
    pub(crate) fn step(
        &self,
        ids: Vec<u32>,
        cache: &mut KvCache,
        wanted: Wanted,
    ) -> Result<Option<Found>> {
        let steps = self.steps;
        let mut state = steps.lock();
        state.expected.insert(self.number);
        state.waiting.push(Job {
            seat: self.number,
            ids,
            cache: mem::replace(cache, KvCache::nothing()),
            wanted,
        });
        // Whoever leads may wait for it.
        steps.changed.notify_all();
        loop {
            if let Some(done) = state.done.remove(&self.number) {
                *cache = done.cache;
                return done.logits;
            }
            state = if state.is_led {
                let state = steps.changed.wait(state);
                state.unwrap_or_else(PoisonError::into_inner)
            } else {
                steps.lead(state)
            };
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.steps.lock();
        state.taken -= 1;
        state.expected.remove(&self.number);
        self.steps.changed.notify_all();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails says where")]
mod tests;
