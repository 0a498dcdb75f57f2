//! Guidance and guesses against transformers (fixtures by `make_generation.py`): `guidance_scale` with and
//! without negative prompts, and drafts that are wrong most of the time.

use wire::{generate::GenerationConfig, host::Request};

use crate::{
    generation::{Tiny, check_case, greedy, prompt, sequences},
    support::{ask, ids, json},
};

/// Drafts of other weights are wrong nearly always, and what is looked up is often: the text stays that of
/// transformers (fixture by `make_generation.py`), with each way to choose how far to guess.
#[test]
fn wrong_guesses_change_no_token() {
    let tiny = Tiny::new();
    let draft = Tiny::with("tiny_llama/llama3_rope", &[]);
    let (mut drafted, mut accepted) = (0, 0);
    for case in json("generation/assisted.json")["cases"]
        .as_array()
        .unwrap()
    {
        let mut options = case["config"].clone();
        let end = options.as_object_mut().unwrap().remove("eos").unwrap();
        let looks_up = options["prompt_lookup_num_tokens"].is_number();
        let config = GenerationConfig {
            eos_token_id: Some(ids(&end)),
            ..serde_json::from_value(options).unwrap()
        };
        let mut request = tiny.request(&[ids(&case["prompts"][0])], config);
        if let Request::Generate { assistant, .. } = &mut request {
            *assistant = (!looks_up).then(|| draft.spec());
        }
        let one = sequences(ask(&tiny.service, request).0.unwrap()).remove(0);
        assert_eq!(one.ids, ids(&case["rows"][0]["ids"]), "{}", case["config"]);
        if !looks_up {
            drafted += one.details.drafted;
            accepted += one.details.accepted;
        }
    }
    assert!(
        drafted > 100 && accepted * 4 < drafted,
        "{accepted} of {drafted}"
    );
}

/// With and without negative prompts, alone, in batches, by beams and where one token is left to draw.
#[test]
fn guided_sequences_are_those_of_transformers() {
    let tiny = Tiny::new();
    for case in json("generation/guided.json")["cases"].as_array().unwrap() {
        check_case(&tiny.service, &tiny.spec(), case);
    }
}

/// What transformers ends with a tensor's size in is refused by name; what it would spoil is left out.
#[test]
fn what_guidance_does_not_go_with_is_said() {
    let tiny = Tiny::new();
    let negative = |rows: &[&[u32]]| Some(rows.iter().map(|ids| prompt(ids)).collect());
    let guided = |rows| GenerationConfig {
        guidance_scale: Some(1.5),
        negative_prompts: negative(rows),
        ..greedy(4)
    };
    let one = || vec![vec![5, 6, 7]];
    let cases = [
        (
            guided(&[&[1], &[2]]),
            "there are 2 negative prompts for 1 prompts",
        ),
        (
            GenerationConfig {
                num_beams: Some(2),
                ..guided(&[&[1]])
            },
            "goes with one sequence, but `num_beams` is 2",
        ),
        (
            GenerationConfig {
                do_sample: Some(true),
                num_return_sequences: Some(3),
                ..guided(&[&[1]])
            },
            "goes with one sequence, but `num_return_sequences` is 3",
        ),
        (guided(&[&[500]]), "the model knows 128"),
    ];
    for (config, expected) in cases {
        let failure = tiny.fail(&one(), config);
        assert!(failure.message.contains(expected), "{failure}");
        assert!(failure.hint.is_some(), "{failure}");
    }
    let lookup = GenerationConfig {
        guidance_scale: Some(1.5),
        prompt_lookup_num_tokens: Some(3),
        ..greedy(8)
    };
    let told = tiny.notices(lookup.clone());
    assert!(told.contains("assisted generation is not used"), "{told}");
    let plain = GenerationConfig {
        prompt_lookup_num_tokens: None,
        ..lookup.clone()
    };
    let [looked_up, plain] = [lookup, plain].map(|config| tiny.generate(&one(), config).remove(0));
    assert_eq!(looked_up.ids, plain.ids);
    let alone = GenerationConfig {
        negative_prompts: negative(&[&[1]]),
        ..greedy(4)
    };
    assert!(
        tiny.notices(alone)
            .contains("no effect without a `guidance_scale`")
    );
    // Several draws, each guided.
    let drawn = GenerationConfig {
        do_sample: Some(true),
        seed: Some(4),
        num_return_sequences: Some(3),
        guidance_scale: Some(2.0),
        ..greedy(6)
    };
    assert_eq!(tiny.generate(&one(), drawn).len(), 3);
}
