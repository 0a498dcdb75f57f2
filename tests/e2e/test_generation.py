"""`generate` from a cell, through a kernel and its model host: batches, beams, drafts, arrays, seeds, and
what a turn reuses of the one before."""

import re

import pytest
from conftest import MODEL, warmcell

LOAD = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'


@pytest.fixture(scope="module")
def loaded(kernel):
    warmcell("host", "stop")
    kernel.run(LOAD).expect_ok()
    return kernel


def value(kernel, code):
    return kernel.run(code).expect_ok().result


def test_a_batch_gives_what_each_prompt_gives_alone(loaded):
    code = """
        let prompts = ["The capital of France is", "One, two, three, four, five,"];
        let batch = model.generate(&prompts).max_new_tokens(8).run()?;
        let alone: Vec<String> = prompts.iter()
            .map(|&prompt| Ok::<_, warmcell::Error>(model.generate(prompt).max_new_tokens(8).run()?.text().to_owned()))
            .collect::<Result<_, _>>()?;
        (batch.texts() == alone, batch.texts().join("|"))
    """
    result = value(loaded, code)
    assert result.startswith("(true") and "Paris" in result and "six" in result, result
    outcome = loaded.run("batch").expect_ok()
    html = outcome.of("execute_result")[0]["data"]["text/html"]
    assert "<table" in html and "2 sequences" in html


def test_beams_give_scores_in_order(loaded):
    code = """
        let beams = model.generate("The capital of France is")
            .num_beams(3).num_return_sequences(3).early_stopping(true).max_new_tokens(8).run()?;
        let scores: Vec<f32> = beams.sequences().filter_map(|one| one.details.score).collect();
        (scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), beams.text().contains("Paris"))
    """
    assert value(loaded, code) == "(true, true)"


def test_draws_repeat_by_seed_and_by_manual_seed(loaded):
    code = """{
        let draw = |seed: u64| -> warmcell::Result<Vec<String>> {
            let drawn = model.generate("Once upon a time").do_sample(true).temperature(1.2).seed(seed)
                .num_return_sequences(2).max_new_tokens(12).run()?;
            Ok(drawn.texts().into_iter().map(str::to_owned).collect())
        };
        let (first, again, other) = (draw(7)?, draw(7)?, draw(8)?);
        let by_hand = || -> warmcell::Result<String> {
            manual_seed(5);
            Ok(model.generate("Once upon a time").do_sample(true).max_new_tokens(12).run()?.text().to_owned())
        };
        (first == again, first != other, first[0] != first[1], by_hand()? == by_hand()?)
    }"""
    assert value(loaded, code) == "(true, true, true, true)"


def test_guessing_changes_no_text(loaded):
    code = """
        let text = "The cat sat on the mat. The cat sat on the mat. The cat sat";
        let plain = model.generate(text).max_new_tokens(24).run()?;
        let guessed = model.generate(text).prompt_lookup_num_tokens(5).max_new_tokens(24).run()?;
        let assisted = model.generate(text).assistant_model(&model).max_new_tokens(24).run()?;
        (plain.ids() == guessed.ids(), plain.ids() == assisted.ids(), guessed.details().accepted > 0)
    """
    assert value(loaded, code) == "(true, true, true)"


def test_logits_and_hidden_states_are_arrays(loaded):
    code = """
        let logits = model.logits("The capital of France is")?;
        let last = logits.at(&[0, logits.shape()[1] - 1]).expect("is there").to_vec();
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).expect("has tokens");
        let first = model.generate("The capital of France is").max_new_tokens(1).output_logits(true).run()?;
        let output = model.forward("Hello").output_hidden_states(true).run()?;
        (first.ids()[0] as usize == best, logits.shape().to_vec(), first.logits().expect("was asked for").shape().to_vec(),
         output.hidden_states.len(), output.hidden_states[30].shape().to_vec())
    """
    assert value(loaded, code) == "(true, [1, 5, 49152], [1, 49152], 31, [1, 1, 576])"
    outcome = loaded.run("logits").expect_ok()
    assert outcome.result.startswith("Array (1, 5, 49152) float32"), outcome.result


def test_the_next_turn_of_a_chat_reads_what_is_new(loaded):
    code = """
        let mut messages = messages![user: "Name three colours."];
        let first = model.generate(&messages).max_new_tokens(16).run()?;
        messages.push("assistant", first.text());
        messages.push("user", "And a fourth?");
        let second = model.generate(&messages).max_new_tokens(16).run()?;
        let fresh = model.generate(&messages).max_new_tokens(16).use_cache(false).run()?;
        (second.ids() == fresh.ids(), second.details().reused as usize > first.prompt_ids().len(), fresh.details().reused)
    """
    assert value(loaded, code) == "(true, true, 0)"


def test_a_configuration_of_ones_own_goes_behind_the_call(loaded):
    code = """
        let config = GenerationConfig { max_new_tokens: Some(3), ..Default::default() };
        let own = model.generate("One, two,").generation_config(config.clone()).run()?;
        let call = model.generate("One, two,").generation_config(config).max_new_tokens(5).run()?;
        (own.ids().len(), call.ids().len())
    """
    assert value(loaded, code) == "(3, 5)"


def test_what_cannot_be_is_an_error_and_what_is_unused_is_told_once(loaded):
    outcome = loaded.run('model.generate("a").num_return_sequences(2).run()?;')
    assert outcome.status == "error"
    assert "greedy methods without beam search" in outcome.traceback and "hint" in outcome.traceback
    unused = 'model.generate("One,").temperature(0.7).max_new_tokens(2).run()?;'
    assert re.search("`temperature` is set to `0.7`", loaded.run(unused).expect_ok().stream("stderr"))
    assert loaded.run(unused).expect_ok().stream("stderr") == ""
    streamed = (
        "let streamer = TextStreamer::new(&model.tokenizer()?);"
        'model.generate("a").num_beams(2).streamer(streamer).run()?;'
    )
    assert "cannot be used with beam search" in loaded.run(streamed).traceback


def test_logprobs_say_how_likely_each_token_was(loaded):
    code = """
        let told = model.generate("The capital of France is").logprobs(3).max_new_tokens(6).run()?;
        let logprobs = told.logprobs().expect("was asked for");
        let first = logprobs.tokens[0].clone();
        let texts: String = logprobs.tokens.iter().map(|one| one.token.text.as_str()).collect();
        (logprobs.tokens.len(), first.alternatives.len(), first.token == first.alternatives[0], texts == told.text(),
         logprobs.perplexity() >= 1.0)
    """
    assert value(loaded, code) == "(6, 3, true, true, true)"
    [shown] = loaded.run("told").expect_ok().of("execute_result")
    assert "·Paris" in shown["data"]["text/plain"] and "perplexity" in shown["data"]["text/plain"]
    assert "<span style=" in shown["data"]["text/html"] and "data:image/svg+xml;base64," in shown["data"]["text/html"]
    assert "·Paris" in loaded.run('println!("{logprobs}");').expect_ok().stream()
    [chart] = loaded.run("logprobs.plot()").expect_ok().of("execute_result")
    [layer] = chart["data"]["application/vnd.vegalite.v5+json"]["layer"]
    assert [one["position"] for one in layer["data"]["values"]] == [0, 1, 2, 3, 4, 5]
    assert chart["data"]["image/svg+xml"].startswith("<svg ")


def test_logprobs_come_with_batches_draws_and_streams_but_not_with_beams(loaded):
    code = """
        let prompts = ["The capital of France is", "One, two, three, four, five,"];
        let several = model.generate(&prompts).do_sample(true).seed(3).logprobs(2).max_new_tokens(5).run()?;
        let all_told = several.sequences()
            .all(|one| one.details.logprobs.as_ref().is_some_and(|logprobs| logprobs.tokens.len() == one.ids.len()));
        let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);
        let streamed = model.generate(prompts[0]).logprobs(1).max_new_tokens(5).streamer(streamer).run()?;
        (all_told, streamed.logprobs().is_some(), model.generate("a").max_new_tokens(2).run()?.logprobs().is_none())
    """
    outcome = loaded.run(code).expect_ok()
    assert outcome.result == "(true, true, true)" and "Paris" in outcome.stream()
    shown = loaded.run("several").expect_ok().of("execute_result")[0]["data"]["text/html"]
    assert "Probabilities of sequence 1" in shown
    refused = loaded.run('model.generate("a").num_beams(2).logprobs(1).run()?;')
    assert "cannot be used with beam search" in refused.traceback and "hint" in refused.traceback
