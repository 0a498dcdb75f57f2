//! Steps shared by threads, on a model that answers each token with the token itself and notes who was
//! in its passes.

use std::{
    sync::{Arc, Barrier, Mutex},
    thread,
    time::Duration,
};

use candle_core::{DType, Device, Error, Result, Tensor};
use wire::model::ModuleInfo;

use super::{Job, Steps, order};
use crate::{
    families::{CausalLm, ModelSizes, Part},
    generate::deciding::Wanted,
    layers::{KvCache, Size, join},
};

/// A pass with it fails.
const BAD: u32 = 13;
/// A pass with it panics.
const WORSE: u32 = 14;

struct Echo {
    sizes: ModelSizes,
    /// Parts of each pass.
    passes: Arc<Mutex<Vec<usize>>>,
}

impl CausalLm for Echo {
    fn architecture(&self) -> &'static str {
        "echo"
    }

    fn sizes(&self) -> &ModelSizes {
        &self.sizes
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn modules(&self) -> Option<&ModuleInfo> {
        None
    }

    fn new_batch_cache(&self, padding: &[usize]) -> KvCache {
        KvCache::new(1, 1, 1, padding)
    }

    fn read(&self, parts: &mut [Part]) -> Result<(Tensor, Vec<Size>)> {
        self.passes.lock().expect("no panic").push(parts.len());
        thread::sleep(Duration::from_millis(4));
        assert!(
            parts.iter().all(|part| !part.ids.contains(&WORSE)),
            "far too bad"
        );
        if parts.iter().any(|part| part.ids.contains(&BAD)) {
            return Err(Error::msg("bad"));
        }
        let read = parts.iter_mut().map(|part| {
            part.cache.note(part.ids);
            let batch = part.cache.batch();
            let shape = (batch, part.ids.len() / batch, 1);
            Tensor::from_slice(part.ids, shape, &Device::Cpu)?.to_dtype(DType::F32)
        });
        join(read.collect::<Result<_>>()?)
    }

    fn layer_states(&self, _: &[u32], _: &mut KvCache) -> Result<Vec<Tensor>> {
        Err(Error::msg("has none"))
    }

    fn logits(&self, hidden_states: &Tensor) -> Result<Tensor> {
        Ok(hidden_states.clone())
    }
}

fn echo(joins: bool) -> (Steps, Arc<Mutex<Vec<usize>>>) {
    let passes = Arc::default();
    let model = Echo {
        sizes: ModelSizes {
            vocab_size: 1000,
            context_length: 1000,
            layers: 1,
            hidden_size: 1,
        },
        passes: Arc::clone(&passes),
    };
    (Steps::new(Box::new(model), joins), passes)
}

/// All logits of so many last tokens.
fn all(positions: usize) -> Wanted {
    Wanted {
        positions,
        deciding: None,
    }
}

/// Four requests of ten steps, the last of two rows; the parts of each pass.
fn run(joins: bool) -> Vec<usize> {
    let (steps, passes) = echo(joins);
    let barrier = Barrier::new(4);
    let request = |number: u32| {
        let seat = steps.seat();
        let rows = if number == 3 { 2 } else { 1 };
        let mut cache = seat.model().new_batch_cache(&vec![0; rows]);
        barrier.wait();
        for step in 0..10 {
            let id = 100 * number + step + 20;
            let ids: Vec<u32> = [id, id + 50].repeat(rows);
            let none = seat.step(ids.clone(), &mut cache, all(0)).unwrap();
            assert!(none.is_none());
            let found = seat.step(ids, &mut cache, all(1)).unwrap().unwrap();
            let logits = found.all().unwrap();
            assert_eq!(logits.dims(), [rows, 1, 1]);
            let values: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(values, vec![(id + 50) as f32; rows]);
        }
        assert_eq!((cache.len(), cache.batch()), (40, rows));
        assert!(
            cache.rows()[0]
                .iter()
                .all(|id| id / 100 == number || id % 100 < 80)
        );
    };
    thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || request(number));
        }
    });
    assert_eq!(steps.lock().taken, 0);
    assert!(steps.lock().done.is_empty() && steps.lock().waiting.is_empty());
    let passes = passes.lock().unwrap();
    passes.clone()
}

#[test]
fn steps_that_meet_are_one_pass() {
    let passes = run(true);
    assert_eq!(passes.iter().sum::<usize>(), 80);
    assert!(passes.contains(&4), "{passes:?}");
    // At best 20; a pass is missed now and then where a core is taken away.
    assert!(passes.len() < 50, "{} passes", passes.len());
}

#[test]
fn without_joining_each_has_its_own() {
    assert_eq!(run(false), vec![1; 80]);
}

/// A step with this token beside twenty of another request: how it failed, and whether they did not. What
/// comes after works.
fn beside(id: u32) -> (String, bool) {
    let (steps, _) = echo(true);
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let seat = steps.seat();
            let mut cache = seat.model().new_cache();
            barrier.wait();
            (0..20).all(|step| seat.step(vec![step + 20], &mut cache, all(1)).is_ok())
        });
        let seat = steps.seat();
        let mut cache = seat.model().new_cache();
        barrier.wait();
        seat.step(vec![7, 8], &mut cache, all(0)).unwrap();
        let failed = seat.step(vec![id], &mut cache, all(1)).err();
        let failure = failed.unwrap().to_string();
        assert!(matches!(cache.len(), 0 | 2), "what failed is not in it");
        seat.step(vec![20], &mut seat.model().new_cache(), all(1))
            .unwrap();
        (failure, other.join().unwrap())
    })
}

#[test]
fn a_failure_is_its_requests_own() {
    let (failure, other_succeeds) = beside(BAD);
    assert!(failure.contains("bad"), "{failure}");
    assert!(other_succeeds);
}

#[test]
fn a_panic_ends_what_is_in_its_pass_and_nothing_hangs() {
    let (failure, _) = beside(WORSE);
    assert!(failure.contains("far too bad"), "{failure}");
}

#[test]
fn single_tokens_without_padding_come_first() {
    let job = |(seat, ids, padding): (u64, usize, usize)| Job {
        seat,
        ids: vec![0; ids],
        cache: KvCache::new(1, 1, 1, &[padding]),
        wanted: all(1),
    };
    let jobs = [
        (1, 3, 0),
        (2, 1, 0),
        (3, 1, 2),
        (4, 1, 0),
        (5, 2, 1),
        (6, 1, 0),
    ];
    let mut jobs = jobs.map(job);
    order(&mut jobs);
    let seats = jobs.map(|job| job.seat);
    assert_eq!(seats, [2, 4, 6, 3, 1, 5]);
}

#[test]
fn each_step_gets_the_logits_of_its_own_last_tokens() {
    let (steps, _) = echo(true);
    let job = |seat: u32, (rows, tokens): (usize, usize), positions| Job {
        seat: u64::from(seat),
        ids: (0..rows * tokens)
            .map(|at| 100 * seat + at as u32)
            .collect(),
        cache: steps.model().new_batch_cache(&vec![0; rows]),
        wanted: all(positions),
    };
    let mut jobs = [
        job(1, (2, 3), 2),
        job(2, (1, 1), 0),
        job(3, (1, 4), 1),
        job(4, (1, 1), 1),
        job(5, (3, 2), 2),
    ];
    let found: Vec<Option<Vec<Vec<Vec<f32>>>>> = steps
        .logits(&mut jobs)
        .unwrap()
        .into_iter()
        .map(|found| found.map(|found| found.all().unwrap().to_vec3().unwrap()))
        .collect();
    let rows = |rows: &[&[f32]]| -> Option<Vec<Vec<Vec<f32>>>> {
        let row = |row: &&[f32]| row.iter().map(|&value| vec![value]).collect();
        Some(rows.iter().map(row).collect())
    };
    let expected = [
        rows(&[&[101.0, 102.0], &[104.0, 105.0]]),
        None,
        rows(&[&[303.0]]),
        rows(&[&[400.0]]),
        rows(&[&[500.0, 501.0], &[502.0, 503.0], &[504.0, 505.0]]),
    ];
    assert_eq!(found, expected);
    let too_many = steps.logits(&mut [job(1, (1, 1), 2)]).err();
    let message = too_many.unwrap().to_string();
    assert!(message.contains("2 positions of 1 tokens"), "{message}");
}
