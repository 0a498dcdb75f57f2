"""The notebook of pipelines, end to end: with a stand-in hub that has tiny checkpoints under the names of
the course's models, and with no hub at all."""

import shutil
import subprocess

import nbformat
import pytest
from conftest import BINARY, ROOT, warmcell
from nbclient import NotebookClient

FIXTURES = ROOT / "lib/engine/tests/fixtures"
# Repository, the revision that transformers 4.57.6 asks for, and the checkpoint that stands for it.
REPOSITORIES = [
    ("distilbert/distilbert-base-uncased-finetuned-sst-2-english", "714eb0f", "pipelines/distilbert_labels"),
    ("nlptown/bert-base-multilingual-uncased-sentiment", None, "pipelines/bert_nli"),
    ("dbmdz/bert-large-cased-finetuned-conll03-english", "4c53496", "pipelines/bert_entities"),
    ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5", "pipelines/distilbert_answers"),
    # The tiny BART reads 300 tokens, and its vocabulary makes more of the course's text.
    ("sshleifer/distilbart-cnn-12-6", "a4f8f3e", "text2text/t5"),
    ("google-t5/t5-base", "a9723ea", "text2text/t5"),
    ("Helsinki-NLP/opus-mt-en-es", None, "text2text/marian"),
    ("facebook/bart-large-mnli", "d7645e1", "text2text/bart_nli"),
    ("distilbert/distilroberta-base", "fb53ab8", "pipelines/roberta_masks"),
    ("distilbert/distilbert-base-cased", "6ea8117", "pipelines/distilbert_features"),
]


def run(monkeypatch, home, endpoint):
    """The executed code cells of the notebook."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    folder = ROOT / "notebooks"
    notebook = nbformat.read(folder / "pipelines.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(cell, kind="text/plain"):
    return "\n".join(output.data.get(kind, "") for output in cell.outputs if "data" in output)


def streams(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def errors(cells):
    return [output for cell in cells for output in cell.outputs if output.output_type == "error"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    for name, revision, checkpoint in REPOSITORIES:
        shutil.copytree(FIXTURES / checkpoint, folder / name, ignore=shutil.ignore_patterns("cases.json"))
        (folder / name / ".revisions").write_text(revision or "")
    binary = BINARY.parent / "standin-hub"
    assert binary.exists(), f"{binary} is not built: cargo build --release --workspace --bin standin-hub"
    process = subprocess.Popen([binary, folder], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


def test_every_task_runs_from_a_hub(monkeypatch, tmp_path, hub):
    cells = run(monkeypatch, tmp_path / "home", hub)
    assert not errors(cells), [error.evalue for error in errors(cells)]
    find = lambda code: next(cell for cell in cells if code in cell.source)
    for name, revision, _ in REPOSITORIES:
        if revision:
            told = [cell for cell in cells if f"defaulted to {name} and revision {revision}" in streams(cell)]
            assert told, f"{name} is not announced"
        assert (tmp_path / "home/hub" / f"models--{name.replace('/', '--')}").exists()
    shown = find("super excited")
    assert "%" in text(shown) and "<table" in text(shown, "text/html")
    assert '"label"' in streams(find("result.labels"))
    for code in ["Barack Obama", "What are Hugging Face pipelines?", "opus-mt-en-es", "zero_shot.run", "fill.run"]:
        assert text(find(code)).strip(), code
    assert "Cosine" in text(find("features.run"), "text/html")
    assert "text-generation" in find("generator").source and len(text(find("generator.run"))) > 60


def test_without_a_hub_each_cell_says_what_it_needs(monkeypatch, tmp_path):
    # What other tests have loaded is found in memory, hub or not. Nobody listens on the discard port.
    warmcell("host", "stop")
    cells = run(monkeypatch, tmp_path / "home", "http://127.0.0.1:9")
    loads = [cell for cell in cells if 'pipeline("' in cell.source or "pipeline_with" in cell.source]
    for cell in loads:
        if 'pipeline("sentiment-analysis")' in cell.source or "text-generation" in cell.source:
            # They have a model that is installed.
            assert not errors([cell]), errors([cell])
            continue
        [error] = errors([cell])
        told = "\n".join(error.traceback)
        assert "hint" in told and ("hub" in told or "cache" in told), told
    assert "POSITIVE" in text(next(cell for cell in cells if "super excited" in cell.source))
