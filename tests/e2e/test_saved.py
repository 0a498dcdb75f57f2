"""What is left of a notebook's outputs where somebody else opens it: cleaned as GitHub does, every display
still has its texts and numbers, tables are tables, and pictures are described."""

import json
from html.parser import HTMLParser

import nbformat
import pytest
from conftest import FIXTURES, ROOT
from github import cleaned
from nbclient import NotebookClient

WIDGETS = "application/vnd.jupyter.widget-state+json"


class Page(HTMLParser):
    """A piece of HTML: its text, its tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join("".join(self.texts).split())

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    def images(self):
        return [attributes for name, attributes in self.tags if name == "img"]


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    """The notebook with every display, executed without a page."""
    folder = tmp_path_factory.mktemp("displays")
    (folder / "fixtures").symlink_to(FIXTURES)
    notebook = nbformat.read(ROOT / "tests/e2e/displays.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


@pytest.fixture(scope="module", params=["displays", "week3", "tokenizers", "generation", "pipelines"])
def saved(request):
    """A notebook with its outputs."""
    match request.param:
        case "displays":
            return request.getfixturevalue("displays")
        case "pipelines":
            return request.getfixturevalue("pipelines_from_hub")[0]
        case name:
            return request.getfixturevalue("executed")(f"{name}.ipynb")


def outputs(notebook):
    """Each output, with the first line of its cell."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield cell.source.splitlines()[0], output


def htmls(notebook):
    found = [(source, output["data"]["text/html"]) for source, output in outputs(notebook) if "text/html" in output.get("data", {})]
    assert found
    return found


def test_every_display_is_tried(displays):
    """What the notebook is for: no display of the library is missing, and none fails by mistake."""
    errors = [output["ename"] for _, output in outputs(displays) if output.output_type == "error"]
    assert errors == ["E0308", "InvalidArgument", "UnknownCommand"]
    # Cells, not displays: of a model that is there already no bar is drawn.
    assert len({source for source, _ in htmls(displays)}) >= 31
    kinds = {kind for _, output in outputs(displays) for kind in output.get("data", {})}
    assert kinds >= {"text/html", "text/markdown", "image/png", "image/svg+xml", "application/json"}


def test_a_saved_notebook_is_valid(saved):
    nbformat.validate(json.loads(json.dumps(saved)))
    # GitHub refuses a notebook that has widgets without their state.
    kept = saved.metadata.get("widgets", {}).get(WIDGETS, {"state": {}})
    assert "state" in kept


def test_every_output_has_a_text(saved):
    for source, output in outputs(saved):
        if output.output_type in {"display_data", "execute_result"}:
            assert output["data"].get("text/plain", "").strip(), source


def test_cleaned_as_github_does_it_reads_the_same(saved):
    for source, html in htmls(saved):
        before, after = Page(html), Page(cleaned(html))
        assert after.text == before.text, source
        for tag in ("table", "tr", "td", "th", "caption", "details", "summary", "pre", "code", "li"):
            assert after.count(tag) == before.count(tag), (source, tag)
        assert not [attributes for _, attributes in after.tags if "style" in attributes], source


def test_nothing_is_loaded_or_run(saved):
    for source, html in htmls(saved):
        for tag, attributes in Page(html).tags:
            assert tag not in {"script", "style", "link", "iframe", "object", "embed", "svg"}, source
            assert not [name for name in attributes if name.startswith("on")], source
            loaded = attributes.get("src")
            assert loaded is None or loaded.startswith("data:"), source
            assert "url(" not in attributes.get("style", ""), source


def test_pictures_are_described(saved):
    for source, output in outputs(saved):
        data, metadata = output.get("data", {}), output.get("metadata", {})
        for kind in data:
            if kind in {"image/png", "image/jpeg"}:
                assert metadata[kind]["alt"].strip(), source
        if "image/svg+xml" in data:
            assert "<title>" in data["image/svg+xml"], source
        for image in Page(data.get("text/html", "")).images():
            assert len(image["alt"]) > 10, source


def test_what_a_picture_shows_stands_beside_it_in_figures(displays):
    """GitHub drops pictures that are part of HTML."""
    pictured = [(source, html) for source, html in htmls(displays) if Page(html).images()]
    assert pictured
    for source, html in pictured:
        left = Page(cleaned(html))
        assert not [image for image in left.images() if image.get("src")], source
        assert left.count("td") >= 20, source
