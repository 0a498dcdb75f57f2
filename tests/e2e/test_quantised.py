"""A model is quantised from a cell, measured, run, saved, and loaded again from what was saved."""

import json
import shutil

import pytest
from conftest import ROOT

ORIGIN = ROOT / "lib/engine/tests/fixtures/families/llama_long_prompt"
CASES = ROOT / "lib/engine/tests/fixtures/bitsandbytes/models.json"
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
