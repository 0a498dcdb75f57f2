"""Summaries and translations from a cell, on the tiny checkpoints that the engine's tests hold to transformers:
what a cell gets, shows and writes as JSON, and what it is told."""

import json

from conftest import ROOT

FIXTURES = ROOT / "lib/engine/tests/fixtures/text2text"


def case(name, index=0):
    """Texts of the fixture, and what transformers writes about each: pairs of text and tokens."""
    case = json.loads((FIXTURES / name / "cases.json").read_text())["cases"][index]
    return case["call"]["Text2Text"]["inputs"], case["output"]


def pipe(variable, task, name, arguments=""):
    return f'let {variable} = pipeline_with("{task}").model("{FIXTURES / name}").load()?{arguments};'


def rust(value):
    return json.dumps(value, ensure_ascii=False)


def written(kernel, expression):
    """What a cell writes of a value as JSON."""
    outcome = kernel.run(f'println!("{{}}", {expression}.json().0);')
    return json.loads(outcome.expect_ok().stream())


def test_a_summary_stands_beside_its_source(kernel):
    kernel.run(pipe("summarize", "summarization", "bart")).expect_ok()
    texts, output = case("bart")
    outcome = kernel.run(f"summarize.run({rust(texts[0])})?").expect_ok()
    summary = output[0][0][0]
    assert summary.splitlines()[0] in outcome.result and "tokens" in outcome.result
    html = outcome.of("execute_result")[0]["data"]["text/html"]
    assert "summary" in html and "language models!" in html and "<script" not in html
    assert written(kernel, f"summarize.run({rust(texts[0])})?") == [{"summary_text": summary}]
    listed = [{"summary_text": texts[0][0]} for texts in output]
    assert written(kernel, f"summarize.run(vec!{rust(texts)})?") == listed
    ids = written(kernel, f"summarize.clone().return_tensors(true).run({rust(texts[0])})?")
    assert ids == [{"summary_token_ids": output[0][0][1]}]
    typed = kernel.run(f"summarize.run({rust(texts[0])})?.texts().unwrap()[0][0].source_tokens")
    assert int(typed.expect_ok().result) > 2


def test_translations_by_the_task_and_by_languages(kernel):
    texts, output = case("t5", 3 + 2)
    assert len(texts) == 4
    kernel.run(pipe("french", "translation_en_to_fr", "t5", ".max_new_tokens(16)")).expect_ok()
    translated = written(kernel, f"french.run(vec!{rust(texts)})?")
    assert translated == [{"translation_text": texts[0][0]} for texts in output]
    texts, output = case("nllb")
    languages = '.src_lang("eng_Latn").tgt_lang("kor_Hang").max_new_tokens(14)'
    kernel.run(pipe("many", "translation", "nllb", languages)).expect_ok()
    assert written(kernel, f"many.run({rust(texts[0])})?") == [{"translation_text": output[0][0][0]}]


def test_the_model_by_itself(kernel):
    folder = FIXTURES / "t5"
    kernel.run(f'let model = AutoModelForSeq2SeqLM::from_pretrained("{folder}").load()?;').expect_ok()
    outcome = kernel.run('model.generate("Ada wrote it.").num_beams(3).max_new_tokens(8).run()?.ids().len()')
    assert 1 <= int(outcome.expect_ok().result) <= 8


def test_zero_shot_by_a_bart(kernel):
    fixture = json.loads((FIXTURES / "bart_nli/cases.json").read_text())["cases"][0]
    call, expected = fixture["call"]["ZeroShotClassification"], fixture["output"][0]
    kernel.run(pipe("zero", "zero-shot-classification", "bart_nli")).expect_ok()
    labels = json.dumps(call["options"]["candidate_labels"])
    outcome = kernel.run(f"zero.run(({rust(call['inputs'][0])}, {labels}))?").expect_ok()
    assert [line.split()[0] for line in outcome.result.splitlines()] == expected["labels"]


def test_what_is_not_there_is_told(kernel):
    def failure(code):
        return kernel.run(code).reply["content"]["evalue"]

    assert "depends on the languages" in failure('pipeline("translation")?;')
    assert "from en to es" in failure('pipeline("translation_en_to_es")?;')
    kernel.run(pipe("long", "summarization", "bart")).expect_ok()
    assert "reads 300 at most" in failure('long.run("bridges ".repeat(900))?;')
    assert "has no argument `stride`" in failure('long.clone().stride(3).run("one")?;')
    encoder = ROOT / "lib/engine/tests/fixtures/pipelines/bert_masks"
    wrong = f'pipeline_with("summarization").model("{encoder}").load()?;'
    assert "is no encoder-decoder" in failure(wrong)


def test_a_default_model_is_announced(kernel):
    for task, name in [("summarization", "sshleifer/distilbart-cnn-12-6 and revision a4f8f3e"),
                       ("translation_en_to_fr", "google-t5/t5-base and revision a9723ea"),
                       ("zero-shot-classification", "facebook/bart-large-mnli and revision d7645e1")]:
        outcome = kernel.run(f'let _ = pipeline_with("{task}").local_files_only().load();')
        assert f"defaulted to {name}" in outcome.stream("stderr")
