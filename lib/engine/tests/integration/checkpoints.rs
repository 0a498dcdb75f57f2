//! Tiny random llamas: logits and greedy tokens of each variant. What breaks here is arithmetic:
//! grouped heads, a head width of its own, biases, tied weights in bf16, Llama 3's frequencies.

use engine::{
    Cancel,
    families::{self, CausalLm},
    hub::Layout,
    weights::Weights,
};

use crate::support::{fixture, ids, json};

/// Largest difference of a logit; both sides compute in f32, in another order of sums.
const TOLERANCE: f64 = 1e-4;

fn load(variant: &str) -> Box<dyn CausalLm> {
    let folder = fixture(&format!("tiny_llama/{variant}"));
    let weights = Weights::open(&Layout::Folder(folder)).unwrap();
    families::load(&weights, variant, &Cancel::new(), &mut |_| {}).unwrap()
}

fn check(variant: &str) {
    let model = load(variant);
    let expected = json(&format!("tiny_llama/{variant}/expected.json"));
    let prompt = ids(&expected["prompt"]);
    let logits = all_logits(model.as_ref(), &[&prompt]);
    let positions = ids(&expected["logit_positions"]);
    for (position, row) in positions.iter().zip(expected["logits"].as_array().unwrap()) {
        for (token, reference) in row.as_array().unwrap().iter().enumerate() {
            let (got, reference) = (
                logits[*position as usize][token],
                reference.as_f64().unwrap(),
            );
            assert!(
                (f64::from(got) - reference).abs() < TOLERANCE,
                "{variant}: logit of token {token} at {position} is {got}, not {reference}"
            );
        }
    }
    assert_eq!(
        greedy(model.as_ref(), &prompt, 64),
        ids(&expected["greedy"]),
        "{variant}"
    );
}

/// Logits at each position of the parts, read one after the other.
fn all_logits(model: &dyn CausalLm, parts: &[&[u32]]) -> Vec<Vec<f32>> {
    let mut cache = model.new_cache();
    let mut rows = Vec::new();
    for part in parts {
        let hidden = model.hidden_states(part, &mut cache).unwrap();
        rows.extend(
            model
                .logits(&hidden)
                .unwrap()
                .squeeze(0)
                .unwrap()
                .to_vec2()
                .unwrap(),
        );
    }
    rows
}

fn greedy(model: &dyn CausalLm, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut cache = model.new_cache();
    let mut next = prompt.to_vec();
    let mut added = Vec::new();
    while added.len() < count {
        let hidden = model.hidden_states(&next, &mut cache).unwrap();
        let logits: Vec<Vec<f32>> = model
            .logits(&hidden)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .to_vec2()
            .unwrap();
        let last = logits.last().unwrap();
        let best = (0..last.len())
            .max_by(|&a, &b| last[a].total_cmp(&last[b]))
            .unwrap() as u32;
        added.push(best);
        next = vec![best];
    }
    added
}

#[test]
fn grouped_heads() {
    check("grouped");
}

#[test]
fn tied_weights_in_bf16() {
    check("tied_bf16");
}

#[test]
fn llama3_frequencies() {
    check("llama3_rope");
}

#[test]
fn heads_of_their_own_width_and_biases() {
    check("wide_heads_bias");
}

/// A prompt read in parts must leave the model where the whole prompt does, across the growth of the
/// cache's buffers too.
#[test]
fn reading_in_parts_is_reading_at_once() {
    let model = load("grouped");
    let prompt: Vec<u32> = (0..600).map(|i| (i * 37 + i / 5) % 128).collect();
    let whole = all_logits(model.as_ref(), &[&prompt]);
    let parts = all_logits(
        model.as_ref(),
        &[&prompt[..1], &prompt[1..250], &prompt[250..]],
    );
    for (position, (a, b)) in whole.iter().zip(&parts).enumerate() {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-4, "position {position}: {a} {b}");
        }
    }
}
