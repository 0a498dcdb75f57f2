//! What is composed against `kernels`, on the processor: encoders and encoder-decoders.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use super::composed;
use crate::{
    Cancel,
    encoders::{self, HeadKind, Row, TextEncoder},
    families::{CausalLm, Part},
    hub::Layout,
    layers::KvCache,
    seq2seq::{self, Classifier, Kind, SourceEncoder},
    weights::{Loader, Weights},
};

/// Sums are added up in another order.
const TOLERANCE: f32 = 1e-4;

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = fs::read_dir(root.join(folder)).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| folder.join("config.json").exists())
        .collect()
}

fn open(folder: &Path) -> Weights {
    let mut weights = Weights::open(&Layout::Folder(folder.to_owned())).unwrap();
    if encoders::knows(&weights) {
        encoders::rename(&mut weights);
    }
    weights
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, or what is no number, which a maximum would pass over.
pub(super) fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let both = one.iter().zip(other);
    both.fold(0.0, |largest, (one, other)| {
        let distance = (one - other).abs();
        if distance > largest || distance.is_nan() {
            distance
        } else {
            largest
        }
    })
}

/// Ids below a size that are never special ones.
fn ids(count: usize, seed: usize, vocabulary: usize) -> Vec<u32> {
    (0..count)
        .map(|at| (5 + (at * 31 + seed * 17) % (vocabulary - 5)) as u32)
        .collect()
}

/// States of rows of several lengths and of rows of one, of a long row, and what heads make of them.
fn read(model: &dyn TextEncoder) -> Vec<f32> {
    let vocabulary = model.sizes().vocab_size;
    let longest = model.limit().unwrap_or(40).min(40);
    let mut numbers = Vec::new();
    for lengths in [&[5, 17, 1, 9][..], &[8, 8], &[longest]] {
        let rows: Vec<Vec<u32>> = lengths
            .iter()
            .enumerate()
            .map(|(seed, &count)| ids(count.min(longest), seed, vocabulary))
            .collect();
        let types = [0; 40];
        let rows: Vec<Row> = rows
            .iter()
            .map(|ids| Row {
                ids,
                token_types: &types[..ids.len()],
            })
            .collect();
        let states = model.hidden_states(&rows).unwrap();
        numbers.extend(flat(&states));
        if let Some(kind) = model.head() {
            let states = match kind {
                HeadKind::Sequence => model.pooled(&states, &rows).unwrap(),
                _ => states,
            };
            numbers.extend(flat(&model.logits(kind, &states).unwrap()));
        }
    }
    numbers
}

#[test]
fn every_encoder_computes_the_same_either_way() {
    let mut count = 0;
    for folder in fixtures("encoders") {
        let weights = open(&folder);
        let numbers = || {
            let (cancel, mut sink) = (Cancel::new(), |_| {});
            let mut loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
            read(&encoders::build(&weights, &mut loader).unwrap())
        };
        let largest = largest_difference(&numbers(), &composed(numbers));
        assert!(largest < TOLERANCE, "{}: {largest}", folder.display());
        count += 1;
    }
    assert!(count > 50, "{count} checkpoints");
}

/// Logits of a decoder that reads by parts, about sources of several lengths, before and after rows change places.
fn write(model: &dyn CausalLm) -> Vec<f32> {
    let reader = model.source_reader().unwrap();
    let vocabulary = model.sizes().vocab_size;
    let sources = [7, 12, 3].map(|count| ids(count, count, reader.vocab_size()));
    let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    let memory = reader.memory(&sources).unwrap();
    let cache = model.new_batch_cache(&[0, 0, 0]);
    let mut cache = cache.about(memory).unwrap();
    let mut numbers = Vec::new();
    let mut step = |cache: &mut KvCache, tokens: usize, seed: usize| {
        let ids = ids(tokens * cache.batch(), seed, vocabulary);
        let mut parts = [Part { ids: &ids, cache }];
        let (states, _) = model.read(&mut parts).unwrap();
        numbers.extend(flat(&model.logits(&states).unwrap()));
    };
    step(&mut cache, 6, 1);
    step(&mut cache, 1, 2);
    // Beams of two sources, the third of which is done.
    cache.reorder(&[0, 0, 1, 1]).unwrap();
    step(&mut cache, 1, 3);
    step(&mut cache, 2, 4);
    numbers
}

#[test]
fn every_encoder_decoder_computes_the_same_either_way() {
    let mut count = 0;
    for folder in fixtures("seq2seq") {
        let weights = open(&folder);
        let numbers = || {
            let (cancel, mut sink) = (Cancel::new(), |_| {});
            let mut loader = Loader::new(&weights, "tiny", &cancel, &mut sink);
            match seq2seq::kind(&weights).unwrap() {
                Kind::Writer => write(&seq2seq::build(&weights, &mut loader).unwrap()),
                Kind::Classifier => read(&Classifier::build(&weights, &mut loader).unwrap()),
                Kind::Encoder => read(&SourceEncoder::build(&weights, &mut loader).unwrap()),
            }
        };
        let largest = largest_difference(&numbers(), &composed(numbers));
        assert!(largest < TOLERANCE, "{}: {largest}", folder.display());
        count += 1;
    }
    assert!(count > 8, "{count} checkpoints");
}
