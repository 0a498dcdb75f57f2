"""A model is quantised from a cell, measured, run, saved, and loaded again from what was saved."""

import json
import shutil

import pytest
from conftest import ROOT

ORIGIN = ROOT / "lib/engine/tests/fixtures/families/llama_long_prompt"
CASES = ROOT / "lib/engine/tests/fixtures/bitsandbytes/models.json"
PIPELINES = ROOT / "lib/engine/tests/fixtures/bitsandbytes/pipelines.json"
CONFIG = """BitsAndBytesConfig {
    load_in_4bit: true,
    bnb_4bit_use_double_quant: true,
    bnb_4bit_quant_type: Some(FourBitType::Nf4),
    ..Default::default()
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model of the engine's tests, with a tokenizer: each token is a number."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(ORIGIN / name, folder / name)
    vocab = {f"{number:02}": number for number in range(96)}
    tokenizer = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "00"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return folder


def quoted(path):
    return json.dumps(str(path))


def test_quantise_generate_save_and_load_again(kernel, folder):
    case = json.loads(CASES.read_text())["cases"]["llama_long_prompt/nf4_double"]
    prompt = " ".join(f"{token:02}" for token in case["prompt"])
    generate = (
        f'let answer = model.generate("{prompt}").do_sample(false).max_new_tokens(24).min_new_tokens(24).run()?;'
        " answer.ids().to_vec()"
    )
    load = (
        f"let model = AutoModelForCausalLM::from_pretrained({quoted(folder)}).dtype(DType::F32)"
        f".quantization_config({CONFIG}).load()?;"
    )
    outcome = kernel.run(load).expect_ok()
    assert "note:" not in outcome.stream("stderr"), "the type was named"
    assert json.loads(kernel.run(generate).expect_ok().result) == case["greedy"]

    half = load.replace("model", "half", 1).replace(".dtype(DType::F32)", "")
    kernel.run(half).expect_ok()
    assert kernel.run("half.get_memory_footprint()").expect_ok().result == str(case["footprint"])

    saved = folder.parent / "saved"
    outcome = kernel.run(
        f"let paths = model.save_pretrained({quoted(saved)})?;"
        f"model.tokenizer()?.save_pretrained({quoted(saved)})?; paths.len()"
    ).expect_ok()
    assert outcome.result == "2"
    section = json.loads((saved / "config.json").read_text())["quantization_config"]
    assert section["load_in_4bit"] and section["bnb_4bit_use_double_quant"]

    again = f"let model = AutoModelForCausalLM::from_pretrained({quoted(saved)}).dtype(DType::F32).load()?;"
    kernel.run(again).expect_ok()
    assert json.loads(kernel.run(generate).expect_ok().result) == case["greedy"]
    assert "nf4" in kernel.run("model").expect_ok().result


def test_pipelines_of_encoders_are_quantised_too(kernel):
    case = json.loads(PIPELINES.read_text())["cases"][0]
    folder, text = ROOT / "lib/engine/tests/fixtures" / case["checkpoint"], case["input"]
    named = f'pipeline_with("ner").model({quoted(folder)}).quantization_config({CONFIG})'
    kernel.run(f"let ner = {named}.load()?;").expect_ok()
    assert kernel.run("ner.model().get_memory_footprint()").expect_ok().result == str(case["footprint"])
    assert "nf4, double quantised, the rest in bf16" in kernel.run("ner.model().clone()").expect_ok().result
    found = kernel.run(f"ner.run({quoted(text)})?").expect_ok().of("execute_result")[0]["data"]
    options = "--load-in-4bit --quant-type nf4 --double-quant"
    command = kernel.run(f"%%pipeline ner {folder} {options}\n{text}\n").expect_ok()
    assert command.of("display_data")[-1]["data"] == found
    exact = f"{named}.dtype(DType::F32).load()?.run({quoted(text)})?.json().0"
    answer = json.loads(kernel.run(f'println!("{{}}", {exact});').expect_ok().stream("stdout"))
    assert [one["entity"] for one in answer] == [one["entity"] for one in case["output"]]
    for one, expected in zip(answer, case["output"]):
        assert abs(one["score"] - expected["score"]) < 1e-4


def test_who_names_no_type_is_told_once(kernel, folder):
    load = (
        f"AutoModelForCausalLM::from_pretrained({quoted(folder)}).quantization_config("
        "BitsAndBytesConfig { load_in_4bit: true, ..Default::default() }).load()?;"
    )
    first = kernel.run(load).expect_ok().stream("stderr")
    assert "fp4 and computes in f32" in first and "FourBitType::Nf4" in first
    assert kernel.run(load).expect_ok().stream("stderr") == ""


def test_what_contradicts_itself_is_refused(kernel, folder):
    outcome = kernel.run(
        f"AutoModelForCausalLM::from_pretrained({quoted(folder)}).quantization_config("
        "BitsAndBytesConfig { load_in_4bit: true, load_in_8bit: true, ..Default::default() }).load()?;"
    )
    assert outcome.status == "error" and "both set" in outcome.traceback


def load(path, options=""):
    return f"AutoModelForCausalLM::from_pretrained({quoted(path)}){options}.load()?"


EIGHT_BITS = '.quantize("q8_0")'


def test_blocks_of_ggml_and_a_device_map(kernel, folder):
    options = EIGHT_BITS + '.device_map([("", "cpu")])'
    outcome = kernel.run(f"let blocks = {load(folder, options)}; blocks").expect_ok()
    shown = outcome.of("execute_result")[0]["data"]
    assert "(q_proj): Linear(in_features=32, out_features=48, bias=False, Q8_0)" in shown["text/plain"]
    assert "<details" in shown["text/html"] and "LlamaDecoderLayer" in shown["text/html"]
    refused = kernel.run(load(folder, '.device_map("cuda:0")') + ";")
    assert refused.status == "error" and "`cuda:0`" in refused.traceback
    split = kernel.run(load(folder, '.device_map([("model.embed_tokens", "cpu"), ("lm_head", "cuda:0")])') + ";")
    assert split.status == "error" and "cannot use" in split.traceback


def test_a_model_shows_as_transformers_prints_it(kernel, folder):
    trees = json.loads((ROOT / "lib/engine/tests/fixtures/module_trees.json").read_text())["trees"]
    model = load(folder, f".quantization_config({CONFIG})")
    outcome = kernel.run(f"let nf4 = {model}; nf4").expect_ok()
    assert trees["families/llama_long_prompt/nf4"]["tree"] in outcome.result


def test_a_pinned_model_is_marked(kernel, folder):
    kernel.run(f"let pinned = {load(folder)}; pinned.pin()?;").expect_ok()
    assert "pinned" in kernel.run("models()?").expect_ok().result
    kernel.run("pinned.unpin()?;").expect_ok()
    assert "pinned" not in kernel.run("models()?").expect_ok().result


def test_two_models_answer_side_by_side(kernel, folder):
    kernel.run(f"let plain = {load(folder)}; let eight = {load(folder, EIGHT_BITS)};").expect_ok()
    outcome = kernel.run('compare_generations(&[&plain, &eight], "01 02 03")?').expect_ok()
    shown = outcome.of("execute_result")[0]["data"]
    assert shown["text/plain"].count("── ") == 2 and "Q8_0" in shown["text/plain"]
    assert "tokens/s" in shown["text/html"]


REPORT = ROOT / "lib/engine/tests/fixtures/quantization_report.json"


def test_a_report_says_what_quantisation_did(kernel, folder):
    expected = json.loads(REPORT.read_text())["cases"]["llama_long_prompt/nf4_double"]
    kernel.run(f"let reported = {load(folder, f'.quantization_config({CONFIG})')};").expect_ok()
    code = """
        let report = reported.quantization_report()?;
        let error = report.relative_rmse.expect("has originals");
        (report.layers.len(), (error * 1e6).round(), report.total().after == reported.info().bytes)
    """
    rounded = round(expected["rmse"] * 1e6)
    assert kernel.run(code).expect_ok().result == f"({len(expected['layers'])}, {rounded}.0, true)"

    [shown] = kernel.run("report").expect_ok().of("execute_result")
    text, html = shown["data"]["text/plain"], shown["data"]["text/html"]
    assert "in nf4, double quantised" in text and "model.layers.0.self_attn.q_proj" in text
    assert '<img alt="' in html and "data:image/svg+xml;base64," in html and "<script" not in html

    [chart] = kernel.run("report.histogram()").expect_ok().of("execute_result")
    assert chart["data"]["image/svg+xml"].startswith("<svg ") and "text/html" not in chart["data"]
    bars, stems, _ = chart["data"]["application/vnd.vegalite.v5+json"]["layer"]
    assert len(bars["data"]["values"]) == 80 and len(stems["data"]["values"]) == 16
    assert sum(value["share"] for value in stems["data"]["values"]) == pytest.approx(100)


def test_what_has_no_originals_is_reported_without_errors(kernel, folder):
    saved = folder.parent / "packed"
    kernel.run(
        f"let origin = {load(folder, f'.quantization_config({CONFIG})')};"
        f"origin.save_pretrained({quoted(saved)})?; origin.tokenizer()?.save_pretrained({quoted(saved)})?;"
        f"let packed = {load(saved)};"
    ).expect_ok()
    outcome = kernel.run("packed.quantization_report()?").expect_ok()
    assert "quantised weights only" in outcome.result and "relative RMSE" not in outcome.result
    plain = kernel.run(f"{load(folder)}.quantization_report()?;")
    assert plain.status == "error" and "is not quantised" in plain.traceback and "hint" in plain.traceback
