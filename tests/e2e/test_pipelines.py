"""Pipelines from a cell, on the tiny checkpoints that the engine's tests hold to transformers: what a
cell gets, shows and writes as JSON, and what it is told when it asks for what is not there."""

import json

import pytest
from conftest import ROOT

FIXTURES = ROOT / "lib/engine/tests/fixtures/pipelines"


def expected(name, index=0):
    """A call of the fixture and what transformers gives for it."""
    case = json.loads((FIXTURES / name / "cases.json").read_text())["cases"][index]
    return case["call"], case["output"]


def pipe(variable, task, name):
    return f'let {variable} = pipeline_with("{task}").model("{FIXTURES / name}").load()?;'


def near(ours, theirs):
    """Equal, floats to the tolerance of the engine's tests."""
    if isinstance(theirs, float):
        return ours == pytest.approx(theirs, abs=1e-4)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(near, ours, theirs))
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(near(ours[key], value) for key, value in theirs.items())
    return ours == theirs


def written(kernel, expression):
    """What a cell writes of a value as JSON."""
    outcome = kernel.run(f'println!("{{}}", {expression}.json().0);')
    return json.loads(outcome.expect_ok().stream())


def html(outcome):
    return outcome.expect_ok().of("execute_result")[0]["data"]["text/html"]


def test_a_text_is_classified(kernel):
    kernel.run(pipe("sentiment", "sentiment-analysis", "distilbert_labels")).expect_ok()
    call, output = expected("distilbert_labels")
    text = call["TextClassification"]["inputs"][0]["text"]
    outcome = kernel.run(f"sentiment.run({json.dumps(text)})?")
    label = output[0][0]["label"]
    assert outcome.result.startswith(label) and "%" in outcome.result
    assert label in html(outcome) and "<table" in html(outcome)
    typed = kernel.run(f"sentiment.run({json.dumps(text)})?.labels().unwrap()[0][0].label.clone()")
    assert label in typed.result


def test_a_resident_model_is_not_loaded_again(kernel):
    again = pipe("again", "text-classification", "distilbert_labels") + " again.model().info().was_resident"
    kernel.run(again).expect_ok()
    assert kernel.run(again).result == "true"


def test_entities_show_in_their_text(kernel):
    kernel.run(pipe("ner", "ner", "bert_entities")).expect_ok()
    grouped = "ner.clone().aggregation_strategy(Aggregation::Simple)"
    outcome = kernel.run(f'{grouped}.run("Kim Minsu of Seoul\\nmet Ada Lovelace.")?')
    shown = html(outcome)
    assert "Minsu" in shown and "<details" in shown and "<script" not in shown


def test_a_question_is_answered_from_its_context(kernel):
    kernel.run(pipe("qa", "qa", "distilbert_answers")).expect_ok()
    call, output = expected("distilbert_answers")
    pair = call["QuestionAnswering"]["inputs"][0]
    outcome = kernel.run(f'qa.run(({json.dumps(pair["question"])}, {json.dumps(pair["context"])}))?')
    answer = output[0][0]["answer"]
    assert outcome.result.startswith(answer)
    assert "answer, " in html(outcome)


def test_labels_are_ranked_and_masks_filled(kernel):
    kernel.run(pipe("zero", "zero-shot-classification", "bert_nli")).expect_ok()
    call, output = expected("bert_nli")
    options = call["ZeroShotClassification"]
    labels = json.dumps(options["options"]["candidate_labels"])
    outcome = kernel.run(f'zero.run(({json.dumps(options["inputs"][0])}, {labels}))?')
    assert [line.split()[0] for line in outcome.result.splitlines()] == output[0]["labels"]
    kernel.run(pipe("fill", "fill-mask", "bert_masks")).expect_ok()
    call, output = expected("bert_masks")
    outcome = kernel.run(f'fill.run({json.dumps(call["FillMask"]["inputs"][0])})?')
    assert output[0][0][0]["token_str"] in outcome.result.splitlines()[0]


def test_json_has_transformers_shape(kernel):
    kernel.run(pipe("shaped", "sentiment-analysis", "distilbert_labels")).expect_ok()
    call, output = expected("distilbert_labels")
    texts = [entry["text"] for entry in call["TextClassification"]["inputs"]]
    list_of = "[" + ", ".join(json.dumps(text, ensure_ascii=False) for text in texts) + "]"
    assert near(written(kernel, f"shaped.run({list_of})?"), [labels[0] for labels in output])
    assert near(written(kernel, f"shaped.clone().top_k(1).run({list_of})?"), output)
    assert near(written(kernel, f"shaped.run({json.dumps(texts[0])})?"), output[0])


def test_features_show_how_alike_texts_are(kernel):
    kernel.run(pipe("features", "feature-extraction", "distilbert_features")).expect_ok()
    outcome = kernel.run('features.run(["one", "two"])?')
    assert "Cosine" in html(outcome) and "tokens × 32" in outcome.result


def test_what_is_not_there_is_told(kernel):
    later = kernel.run('pipeline("image-classification")?;')
    assert "not built yet" in later.reply["content"]["evalue"]
    head = kernel.run(pipe("wrong", "fill-mask", "bert_entities"))
    assert "ForTokenClassification" in head.reply["content"]["evalue"]
    kernel.run(pipe("labels", "sentiment-analysis", "distilbert_labels")).expect_ok()
    argument = kernel.run('labels.clone().stride(3).run("one")?;')
    assert "has no argument `stride`" in argument.reply["content"]["evalue"]
    long = kernel.run('labels.run("bridges ".repeat(900))?;')
    assert "reads 512 at most" in long.reply["content"]["evalue"]
    assert kernel.run('labels.clone().truncation(true).run("bridges ".repeat(900))?').status == "ok"


def test_a_default_model_is_announced(kernel):
    # Without a hub the load fails; what was chosen is told before.
    outcome = kernel.run('let _ = pipeline_with("sentiment-analysis").local_files_only().load();')
    assert "defaulted to distilbert/distilbert-base-uncased-finetuned-sst-2-english" in outcome.stream("stderr")
    assert "revision 714eb0f" in outcome.stream("stderr")


def test_the_embedded_models_need_no_hub(kernel):
    outcome = kernel.run('let stand_in = pipeline_with("sentiment-analysis").local_files_only().load()?;')
    told = outcome.expect_ok().stream("stderr")
    assert "defaulted to distilbert/distilbert-base-uncased-finetuned-sst-2-english" in told
    assert "using warmcell/all-MiniLM-L6-v2-sentiment, Warmcell's embedded model, in its place" in told
    (label,) = written(kernel, 'stand_in.run("I love open-source LLMs!")?')
    assert label["label"] == "POSITIVE" and label["score"] > 0.9
    # A revision is the default's: nothing stands in for it.
    kernel_error = kernel.run('pipeline_with("sentiment-analysis").revision("abc").local_files_only().load()?;')
    assert "warmcell/all-MiniLM-L6-v2-sentiment" in str(kernel_error.reply["content"])
    encoder = 'pipeline_with("feature-extraction").model("sentence-transformers/all-MiniLM-L6-v2").load()?'
    kernel.run(f"let encoder = {encoder};").expect_ok()
    outcome = kernel.run('encoder.embeddings(["The cat sits outside.", "A feline rests.", "Stocks fell."])?')
    assert "384 values" in outcome.result and "Cosine" in html(outcome)
    rows = written(kernel, 'encoder.embeddings(["The cat sits outside.", "A feline rests.", "Stocks fell."])?')
    cosine = lambda a, b: sum(x * y for x, y in zip(rows[a], rows[b]))
    assert cosine(0, 0) == pytest.approx(1, abs=1e-4) and cosine(0, 1) > cosine(0, 2) + 0.2


def test_texts_and_conversations_are_continued(kernel):
    folder = FIXTURES.parent / "text_generation/llama"
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    setup = f'pipeline_with("text-generation").model("{folder}").load()?.top_k(1).max_new_tokens(12)'
    kernel.run(f"let writer = {setup};").expect_ok()
    texts = [given["Text"] for given in cases[0]["call"]["TextGeneration"]["inputs"]]
    expected = [[{"generated_text": text} for text, _ in found] for found in cases[0]["output"]]
    # One text as ever, a list as a batch, each in transformers' shape.
    outcome = kernel.run(f"writer.run({json.dumps(texts[0])})?")
    assert outcome.result == expected[0][0]["generated_text"] and "<table" not in html(outcome)
    assert written(kernel, f"writer.run({json.dumps(texts[0])})?") == expected[0]
    listed = json.dumps(texts, ensure_ascii=False)
    assert html(kernel.run(f"writer.run({listed})?")).count("<table") == 1
    assert written(kernel, f"writer.run({listed})?") == expected
    ids = written(kernel, f"writer.clone().return_tensors(true).run({json.dumps(texts[0])})?")
    assert ids == [{"generated_token_ids": cases[0]["output"][0][0][1]}]
    # A conversation that ends with the assistant is continued.
    [[messages, _]] = cases[4]["output"][1]
    chat = 'messages![user: "Name a fruit.", assistant: "A fruit is"]'
    assert written(kernel, f"writer.run(&{chat})?") == [{"generated_text": messages}]
    [[answer, _]] = cases[5]["output"][1]
    given = written(kernel, f"writer.clone().return_full_text(false).run(&vec![{chat}])?")
    assert given == [[{"generated_text": answer}]]
    beams = setup.replace(".top_k(1).max_new_tokens(12)", ".do_sample(false).num_beams(3).num_return_sequences(2).max_new_tokens(8)")
    kernel.run(f"let beams = {beams};").expect_ok()
    expected = [{"generated_text": text} for text, _ in cases[3]["output"][0]]
    assert written(kernel, f"beams.run({json.dumps(texts[0])})?") == expected
    assert kernel.run(f"beams.run({json.dumps(texts[0])})?.generations().unwrap()[0].len()").result == "2"
    wrong = kernel.run('beams.clone().stride(3).run("one")?;').reply["content"]["evalue"]
    assert "has no argument `stride`" in wrong


def test_what_is_written_is_streamed(kernel):
    folder = FIXTURES.parent / "text_generation/llama"
    kernel.run(f'let told = pipeline_with("text-generation").model("{folder}").load()?.do_sample(false).max_new_tokens(8).clean_up_tokenization_spaces(false);').expect_ok()
    kernel.run("let streamer = TextStreamer::new(&told.model().tokenizer()?).skip_prompt(true).skip_special_tokens(true).clean_up_tokenization_spaces(false);").expect_ok()
    plain = written(kernel, 'told.clone().return_full_text(false).run("Hello world")?')
    outcome = kernel.run('let answer = told.streamer(streamer.clone()).run("Hello world")?;').expect_ok()
    assert plain[0]["generated_text"].strip() and plain[0]["generated_text"].strip() in outcome.stream()
    assert plain[0]["generated_text"] in kernel.run("answer").result
    count = '{ let n = std::rc::Rc::new(std::cell::Cell::new(0)); let m = n.clone(); '
    count += 'told.on_token(move |token| if token.id.is_some() { m.set(m.get() + 1) }).run("Hello world")?; n.get() }'
    assert kernel.run(count).result == "8"
    wrong = lambda code: kernel.run(code).reply["content"]["evalue"]
    assert "only supports batch size 1" in wrong('told.streamer(streamer.clone()).run(["a", "b"])?;')
    assert "beam search" in wrong('told.clone().num_beams(2).streamer(streamer.clone()).run("a")?;')
    kernel.run(pipe("bars", "sentiment-analysis", "distilbert_labels")).expect_ok()
    assert "has no argument `streamer`" in wrong('bars.streamer(streamer.clone()).run("a")?;')
    both = 'told.clone().return_full_text(true).return_tensors(true).run("a")?;'
    assert "mutually exclusive" in wrong(both)


def test_ordinary_values_are_inputs_and_arguments(kernel):
    kernel.run(pipe("asked", "qa", "distilbert_answers")).expect_ok()
    context = "Ada Lovelace wrote the first program in London."
    one = written(kernel, f'asked.run(("Who wrote it?", String::from("{context}")))?')
    several = written(kernel, f'asked.run((["Who wrote it?", "Where?"], "{context}"))?')
    assert near(several[0], one) and len(several) == 2
    assert near(written(kernel, f'asked.run([("Who wrote it?", "{context}"), ("Where?", "{context}")])?'), several)
    kernel.run(pipe("zeros", "zero-shot-classification", "bert_nli")).expect_ok()
    ranked = written(kernel, 'zeros.run((["Ada", "Seoul"], ["sports", "politics"]))?')
    assert [one["sequence"] for one in ranked] == ["Ada", "Seoul"]
    assert near(written(kernel, 'zeros.clone().candidate_labels("sports, politics").run(["Ada", "Seoul"])?'), ranked)
    kernel.run(pipe("fills", "fill-mask", "bert_masks")).expect_ok()
    assert len(written(kernel, 'fills.clone().targets("bridges").run("Under [MASK].")?')) == 1
    assert len(written(kernel, 'fills.clone().top_k(None).run("Under [MASK].")?')) == 5
    kernel.run(pipe("names", "ner", "bert_entities")).expect_ok()
    text = '.run("Kim Minsu of Seoul met Ada Lovelace.")?'
    kinds = 'names.clone().aggregation_strategy("simple")', "names.clone().aggregation_strategy(Aggregation::Simple)"
    assert written(kernel, kinds[0] + text) == written(kernel, kinds[1] + text)
    assert written(kernel, "names.clone().grouped_entities(true)" + text) == written(kernel, kinds[1] + text)
    wrong = kernel.run('names.clone().aggregation_strategy("simpel").run("a")?;').reply["content"]["evalue"]
    assert "simpel" in wrong
    folder = FIXTURES.parent / "text_generation/llama"
    kernel.run(f'let chats = pipeline_with("text-generation").model("{folder}").load()?.do_sample(false).max_new_tokens(4);').expect_ok()
    by_value = written(kernel, 'chats.run(messages![user: "Hello"])?')
    assert by_value[0]["generated_text"][0] == {"role": "user", "content": "Hello"}
    # A loaded model and a loaded tokenizer; a pair of texts; a GPU by its number.
    kernel.run(f'let loaded = AutoModelForCausalLM::from_pretrained("{folder}").load()?; let own = loaded.tokenizer()?;').expect_ok()
    again = 'pipeline_with("text-generation").model(&loaded).tokenizer(&own).load()?.do_sample(false).max_new_tokens(4)'
    assert written(kernel, again + '.run(messages![user: "Hello"])?') == by_value
    kernel.run(pipe("pairs", "sentiment-analysis", "distilbert_labels")).expect_ok()
    assert written(kernel, 'pairs.run(("one", "two"))?').keys() == {"label", "score"}
    gpu = kernel.run(f'pipeline_with("text-generation").model("{folder}").device(0).load()?;')
    assert "cuda" in str(gpu.reply["content"]).lower()
    missing = kernel.run(f'pipeline_with("text-generation").model("{folder}").tokenizer("/nowhere").load()?;')
    assert "nowhere" in str(missing.reply["content"])
