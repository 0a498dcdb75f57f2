"""`%%pipeline`: tasks without a compile, shown as the library shows them."""

import pytest
from conftest import FIXTURES, MODEL
from test_commands import complete, shown
from test_widgets import Page

SENTIMENT = "warmcell/all-MiniLM-L6-v2-sentiment"


def in_rust(kernel, code):
    return kernel.run(code).expect_ok().of("execute_result")[0]["data"]


def test_a_sentiment_looks_as_in_rust(kernel):
    kernel.run("%env HF_HUB_OFFLINE=1").expect_ok()
    outcome = kernel.run("%%pipeline sentiment-analysis\nI love open-source LLMs!\n").expect_ok()
    assert "POSITIVE" in shown(outcome) and "defaulted to distilbert" in outcome.stream("stderr")
    assert "embedded model, in its place" in outcome.stream("stderr")
    assert outcome.of("display_data")[-1]["data"] == in_rust(
        kernel, 'pipeline("sentiment-analysis")?.run("I love open-source LLMs!")?'
    )
    several = kernel.run(f"%%pipeline sentiment-analysis {SENTIMENT} --lines top_k=None\nI love it.\n\nI hate it.\n").expect_ok()
    assert several.stream("stderr") == ""
    rust = f'pipeline_with("sentiment-analysis").model("{SENTIMENT}").load()?.top_k(None).run(["I love it.", "I hate it."])?'
    assert several.of("display_data")[-1]["data"] == in_rust(kernel, rust)
    kernel.run("%env HF_HUB_OFFLINE=").expect_ok()


def test_tasks_of_encoders_take_their_inputs_and_arguments(kernel):
    folder = FIXTURES / "pipelines"
    for cell, rust in [
        (
            f"question-answering {folder}/distilbert_answers top_k=2\nWhat is it?\nIt is a small cat.",
            f'pipeline_with("question-answering").model("{folder}/distilbert_answers").load()?.top_k(2)'
            '.run(("What is it?", "It is a small cat."))?',
        ),
        (
            f"zero-shot-classification {folder}/bert_nli candidate_labels='good news, sports' multi_label=True\nWe won.",
            f'pipeline_with("zero-shot-classification").model("{folder}/bert_nli").load()?.multi_label(true)'
            '.run(("We won.", ["good news", "sports"]))?',
        ),
        (
            f"ner {folder}/bert_entities aggregation_strategy=simple\nObama was born in Hawaii.",
            f'pipeline_with("ner").model("{folder}/bert_entities").load()?.aggregation_strategy(Aggregation::Simple)'
            '.run("Obama was born in Hawaii.")?',
        ),
    ]:
        outcome = kernel.run(f"%%pipeline {cell}\n").expect_ok()
        assert outcome.of("display_data")[-1]["data"] == in_rust(kernel, rust), cell


def test_default_models_come_from_the_hub(kernel, hub, tmp_path):
    kernel.run(f"%env HF_ENDPOINT={hub}\n%env HF_HOME={tmp_path}").expect_ok()
    outcome = kernel.run("%%pipeline translation_en_to_fr max_new_tokens=5 num_beams=2\nHow old are you?").expect_ok()
    assert "google-t5/t5-base" in outcome.stream("stderr")
    assert "How old are you?" in shown(outcome, "text/html")
    refused = kernel.run("%%pipeline translation_en_to_ko\nHow old are you?")
    assert "no default model" in refused.reply["content"]["evalue"] and "translation_en_to_de" in refused.traceback
    kernel.run("%env HF_ENDPOINT=\n%env HF_HOME=").expect_ok()


def test_a_text_is_printed_where_no_page_shows_widgets(kernel):
    cell = "%%pipeline text-generation do_sample=False max_new_tokens=12\nThe three primary colours are"
    outcome = kernel.run(cell).expect_ok()
    assert outcome.stream().startswith("The three primary colours are") and len(outcome.of("stream")) > 2
    rust = kernel.run(
        'println!("{}", pipeline("text-generation")?.do_sample(false).max_new_tokens(12).run("The three primary colours are")?);'
    )
    assert outcome.stream() == rust.expect_ok().stream()
    # What beams choose is there at its end alone.
    assert kernel.run(f"{cell.replace('max', 'num_beams=2 max')}").expect_ok().stream() == ""


@pytest.fixture
def page(new_kernel):
    page = Page(new_kernel())
    page.connect()
    return page


def test_a_text_grows_on_the_page_and_ends_as_in_rust(page):
    outcome = page.run("%%pipeline text-generation do_sample=False max_new_tokens=60\nOnce upon a time")
    texts = [state["value"] for _, state in page.updates if "Once upon a time" in str(state.get("value", ""))]
    assert len(texts) > 2 and len(texts[0]) < len(texts[-1])
    last = outcome.expect_ok().of("update_display_data")[-1]["data"]
    rust = page.run('pipeline("text-generation")?.do_sample(false).max_new_tokens(60).run("Once upon a time")?')
    assert last == rust.expect_ok().of("execute_result")[0]["data"]
    assert any("60 new tokens" in str(state) for state in page.states.values())


def test_a_text_that_is_stopped_stays(page):
    request = page.kernel.send("%%pipeline text-generation max_new_tokens=2000 min_new_tokens=2000\nOnce upon a time")
    pressed = []

    def press(message):
        page.hear(message)
        if len(page.updates) > 6 and not pressed:
            pressed.append(page.click(page.named("ButtonModel")[0]))

    outcome = page.kernel.collect(request, timeout=60, on_message=press).expect_ok()
    last = outcome.of("update_display_data")[-1]["data"]["text/plain"]
    assert last.startswith("Once upon a time") and "not finished" in last


def test_wrong_words_are_named(kernel):
    for line, name, complaint in [
        ("", "UsageError", "which task?"),
        ("sentiment-analysys", "InvalidArgument", "no pipeline for the task"),
        ("image-to-text", "Unsupported", "not built yet"),
        ("ner top_k=3", "UsageError", "no argument `top_k`"),
        (f"text-generation {MODEL} fast", "UsageError", "`fast` is no option"),
    ]:
        reply = kernel.run(f"%%pipeline {line}\ntext").reply["content"]
        assert (reply["ename"], complaint in reply["evalue"]) == (name, True), reply


def test_tab_knows_tasks_models_and_arguments(kernel):
    assert complete(kernel, "%%pipe")["matches"] == ["%%pipeline"]
    assert complete(kernel, "%%pipeline sent")["matches"] == ["sentiment-analysis"]
    assert complete(kernel, "%%pipeline text-generation Quant")["matches"] == [MODEL]
    assert complete(kernel, "%%pipeline qa max_a")["matches"] == ["max_answer_len="]
    assert complete(kernel, f"%%pipeline text-generation {MODEL} --load-in-4")["matches"] == ["--load-in-4bit"]
    assert "first line is the question" in shown(kernel.run("%help pipeline").expect_ok())
