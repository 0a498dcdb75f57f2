"""The notebook of pipelines, end to end: with a stand-in hub that has tiny checkpoints under the names of
the course's models, and with no hub at all."""

from conftest import REPOSITORIES, execute_by_hub, warmcell


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(cell, kind="text/plain"):
    return "\n".join(output.data.get(kind, "") for output in cell.outputs if "data" in output)


def streams(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def errors(cells):
    return [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_every_task_runs_from_a_hub(pipelines_from_hub):
    notebook, home = pipelines_from_hub
    cells = code_cells(notebook)
    assert not errors(cells), [error.evalue for error in errors(cells)]
    find = lambda code: next(cell for cell in cells if code in cell.source)
    for name, revision, _ in REPOSITORIES:
        if revision:
            told = [cell for cell in cells if f"defaulted to {name} and revision {revision}" in streams(cell)]
            assert told, f"{name} is not announced"
        assert (home / "hub" / f"models--{name.replace('/', '--')}").exists()
    shown = find("super excited")
    assert "%" in text(shown) and "<table" in text(shown, "text/html")
    assert '"label"' in streams(find("result.labels"))
    for code in ["Barack Obama", "What are Hugging Face pipelines?", "opus-mt-en-es", "zero_shot.run", "fill.run"]:
        assert text(find(code)).strip(), code
    assert "Cosine" in text(find("features.run"), "text/html")
    assert 'pipeline("text-generation")' in find("generator").source and len(text(find("generator.run"))) > 60
    assert text(find("writer.run")).strip()
    # A conversation comes back with its answer, and a stream is printed besides.
    assert "assistant" in text(find("capital of France?"))
    assert streams(find("generator.streamer")).strip()


def test_each_task_is_there_once(pipelines_from_hub):
    sources = "\n".join(cell.source for cell in code_cells(pipelines_from_hub[0]))
    for task in [
        "sentiment-analysis", "ner", "question-answering", "summarization", "translation_en_to_fr",
        "text2text-generation", "zero-shot-classification", "fill-mask", "feature-extraction", "text-generation",
    ]:
        assert sources.count(f'pipeline("{task}")') == 1, task


def test_without_a_hub_each_cell_says_what_it_needs(tmp_path):
    # What other tests have loaded is found in memory, hub or not. Nobody listens on the discard port.
    warmcell("host", "stop")
    cells = code_cells(execute_by_hub("pipelines.ipynb", "http://127.0.0.1:9", tmp_path / "home"))
    loads = [cell for cell in cells if 'pipeline("' in cell.source or "pipeline_with" in cell.source]
    for cell in loads:
        if 'pipeline("sentiment-analysis")' in cell.source or 'pipeline("text-generation")' in cell.source:
            # They have a model that is installed.
            assert not errors([cell]), errors([cell])
            continue
        [error] = errors([cell])
        told = "\n".join(error.traceback)
        assert "hint" in told and ("hub" in told or "cache" in told), told
    assert "POSITIVE" in text(next(cell for cell in cells if "super excited" in cell.source))
