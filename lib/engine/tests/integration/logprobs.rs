//! How likely generated tokens were, against transformers' own numbers (fixture by `make_logprobs.py`):
//! alone, in batches, drawn; their texts; and what cannot be asked for.

use engine::{Cancel, Service};
use serde_json::Value;
use wire::{
    generate::{Generated, GenerationConfig, Prompt, StreamOptions},
    host::{Event, Request, Response},
    logprobs::{Logprobs, ScoredToken, TokenLogprob},
};

use crate::{
    generation::Tiny,
    support::{ask, ask_until, embedded, ids, json, spec},
};

/// Largest difference of a log probability, where logits may differ by 1e-4.
const TOLERANCE: f32 = 1e-4;

fn logprobs(generated: &Generated) -> &Logprobs {
    generated.details.logprobs.as_ref().expect("was asked for")
}

fn close(value: f32, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap() as f32;
    assert!(
        (value - expected).abs() <= TOLERANCE,
        "{what}: {value}, not {expected}"
    );
}

#[test]
fn tokens_are_as_likely_as_transformers_holds_them() {
    let tiny = Tiny::new();
    let fixture = json("generation/logprobs.json");
    for case in fixture["cases"].as_array().unwrap() {
        let mut config = case["config"].clone();
        if let Some(ends) = config.get("eos").cloned() {
            config["eos_token_id"] = ends;
        }
        let config = GenerationConfig {
            logprobs: Some(fixture["count"].as_u64().unwrap() as u32),
            pad_token_id: Some(0),
            ..serde_json::from_value(config).unwrap()
        };
        let prompts: Vec<Vec<u32>> = case["prompts"]
            .as_array()
            .unwrap()
            .iter()
            .map(ids)
            .collect();
        let generated = tiny.generate(&prompts, config);
        let rows = case["rows"].as_array().unwrap();
        assert_eq!(generated.len(), rows.len());
        for (generated, row) in generated.iter().zip(rows) {
            assert_eq!(generated.ids, ids(&row["ids"]), "{case}");
            let tokens = &logprobs(generated).tokens;
            assert_eq!(tokens.len(), generated.ids.len());
            for (step, one) in tokens.iter().enumerate() {
                let what = format!("{} step {step}", case["config"]);
                assert_eq!(one.token.id, generated.ids[step], "{what}");
                close(one.token.logprob, &row["logprobs"][step], &what);
                check_likeliest(one, &row["likeliest"][step], &what);
            }
        }
    }
}

fn check_likeliest(one: &TokenLogprob, expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(one.alternatives.len(), expected.len(), "{what}");
    for (other, expected) in one.alternatives.iter().zip(expected) {
        assert_eq!(u64::from(other.id), expected[0].as_u64().unwrap(), "{what}");
        close(other.logprob, &expected[1], what);
    }
}

/// Its ids are of a stream of its own, so its scores, which other tests compare, say what is right.
#[test]
fn drawn_tokens_have_the_probability_they_were_drawn_by() {
    let tiny = Tiny::new();
    let config = GenerationConfig {
        do_sample: Some(true),
        temperature: Some(0.7),
        top_k: Some(6),
        num_return_sequences: Some(3),
        seed: Some(11),
        max_new_tokens: Some(10),
        output_scores: Some(true),
        logprobs: Some(8),
        ..Default::default()
    };
    for generated in tiny.generate(&[vec![5, 17, 99, 3]], config) {
        let scores = generated.details.scores.as_ref().unwrap();
        for (step, one) in logprobs(&generated).tokens.iter().enumerate() {
            let row = scores.at(&[step]).unwrap();
            let sum: f64 = row.iter().map(|&score| f64::from(score).exp()).sum();
            let expected = f64::from(row[generated.ids[step] as usize]) - sum.ln();
            assert!((f64::from(one.token.logprob) - expected).abs() < 1e-5);
            assert_eq!(one.alternatives.len(), 6, "top_k leaves six");
            let whole: f32 = one.alternatives.iter().map(ScoredToken::probability).sum();
            assert!((whole - 1.0).abs() < 1e-5, "{whole}");
        }
    }
}

#[test]
fn asking_changes_no_token_and_not_asking_costs_nothing() {
    let tiny = Tiny::new();
    let config = |logprobs| GenerationConfig {
        max_new_tokens: Some(12),
        prompt_lookup_num_tokens: Some(4),
        logprobs,
        ..Default::default()
    };
    let [plain] = &tiny.generate(&[vec![1, 2, 3]], config(None))[..] else {
        panic!("one prompt gives one sequence")
    };
    let [asked] = &tiny.generate(&[vec![1, 2, 3]], config(Some(0)))[..] else {
        panic!("one prompt gives one sequence")
    };
    assert!(plain.details.logprobs.is_none());
    assert_eq!(plain.ids, asked.ids);
    // Also where guesses are checked several at once.
    assert!(asked.details.drafted > 0);
    let tokens = &logprobs(asked).tokens;
    let told: Vec<u32> = tokens.iter().map(|one| one.token.id).collect();
    assert_eq!(told, asked.ids);
    assert!(tokens.iter().all(|one| one.alternatives.is_empty()));
}

#[test]
fn beams_and_too_many_are_refused() {
    let tiny = Tiny::new();
    let beams = GenerationConfig {
        num_beams: Some(2),
        logprobs: Some(1),
        ..Default::default()
    };
    let refusal = tiny.fail(&[vec![1, 2]], beams);
    assert!(refusal.message.contains("`logprobs`") && refusal.message.contains("beam"));
    assert!(refusal.hint.unwrap().contains("sequence_score"));
    let many = GenerationConfig {
        logprobs: Some(101),
        ..Default::default()
    };
    assert!(
        tiny.fail(&[vec![1, 2]], many)
            .message
            .contains("but is 101")
    );
}

/// On a real tokenizer: what tokens add is the answer's text, blanks included, and a token that is a part
/// of a character has its spelling.
#[test]
fn texts_are_what_tokens_add() {
    let request = |prompt: &str, count| Request::Generate {
        model: spec(embedded()),
        prompts: vec![Prompt::Text(prompt.to_owned())],
        config: GenerationConfig {
            max_new_tokens: Some(count),
            logprobs: Some(2),
            ..Default::default()
        },
        generation_config: None,
        stream: Some(StreamOptions {
            skip_prompt: true,
            ..Default::default()
        }),
        assistant: None,
    };
    let service = Service::new();
    let mut streamed = String::new();
    let look = |event: &Event, _: &Cancel| {
        if let Event::Token(token) = event {
            streamed.push_str(&token.text);
        }
    };
    let (answer, _) = ask_until(
        &service,
        request("The capital of France is", 8),
        &Cancel::new(),
        look,
    );
    let Response::Generated(generated) = answer.unwrap() else {
        panic!("no text")
    };
    let tokens = &logprobs(&generated[0]).tokens;
    let texts: Vec<&str> = tokens.iter().map(|one| one.token.text.as_str()).collect();
    assert_eq!(texts.concat(), generated[0].text);
    assert_eq!(streamed, generated[0].text);
    assert_eq!(texts[0], " Paris");
    assert_eq!(tokens[0].alternatives[0], tokens[0].token);
    assert!(tokens[0].token.probability() > 0.3);

    let (answer, _) = ask(&service, request("Smiles: 😀😀😀😀😀😀", 4));
    let Response::Generated(generated) = answer.unwrap() else {
        panic!("no text")
    };
    let tokens = &logprobs(&generated[0]).tokens;
    let all = tokens.iter().flat_map(|one| &one.alternatives);
    for one in all {
        assert!(
            !one.text.is_empty() && !one.text.contains('\u{FFFD}'),
            "{one:?}"
        );
    }
}
