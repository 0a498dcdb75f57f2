"""Executes a notebook through Jupyter's own client and shows in the terminal what its cells show.

Arguments: the notebook, the executed notebook to write, the HTML page to write, the time limit of a
cell in seconds (0: none). Ends with 1 when a cell failed or the file is no notebook, 2 when the kernel did.
"""

import copy
import json
import os
import re
import sys
import time

import nbformat
from jsonschema import ValidationError
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Terminal(NotebookClient):
    """A client that prints outputs as they come. Updated displays are printed when their cell ends:
    a terminal cannot change what scrolled by."""

    def start_cell(self, cell, cell_index):
        if cell.cell_type == "code":
            self.number = getattr(self, "number", 0) + 1
            self.shown_ids, self.updated = {}, {}
            first = next((line for line in cell.source.splitlines() if line.strip()), "")
            write(f"\n{dim(f'── cell {self.number} ── {first[:70]}')}\n")

    def end_cell(self, cell, cell_index):
        for display_id, text in self.updated.items():
            if text != self.shown_ids.get(display_id):
                write_line(text)
        self.updated = {}

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "update_display_data":
            content = msg["content"]
            self.updated[content.get("transient", {}).get("display_id")] = content["data"].get("text/plain", "")
        return super().process_message(msg, cell, cell_index)

    def output(self, outs, msg, display_id, cell_index):
        content = msg["content"]
        if msg["msg_type"] == "stream":
            write(content["text"] if COLOUR else ESCAPES.sub("", content["text"]))
        elif msg["msg_type"] == "error":
            write_line("\n".join(content["traceback"]) or f"{content['ename']}: {content['evalue']}")
        elif "data" in content:
            text = content["data"].get("text/plain", "")
            if display_id:
                self.shown_ids[display_id] = text
            write_line(text or f"[{', '.join(content['data'])}]")
        return super().output(outs, msg, display_id, cell_index)


at_line_start = True


def write(text):
    global at_line_start
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()
        at_line_start = text.endswith("\n")


def write_line(text):
    if not COLOUR:
        text = ESCAPES.sub("", text)
    write(("" if at_line_start else "\n") + text + "\n")


def dim(text):
    return f"\x1b[2m{text}\x1b[0m" if COLOUR else text


class NoNotebook(Exception):
    """Why a file is none."""


def parsed(text):
    """The notebook of a file's text. Of the schema only what running it needs is asked for: Jupyter opens more."""
    if not text.strip():
        raise NoNotebook("it is empty")
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise NoNotebook(f"it is no JSON, or not all of it: {error}") from None
    if not isinstance(fields, dict) or "nbformat" not in fields:
        raise NoNotebook("its JSON has no `nbformat`")
    try:
        notebook = nbformat.reads(text, as_version=4)
    except ValidationError as error:
        raise NoNotebook(error.message) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NoNotebook(f"nbformat cannot read it: {error}") from None
    if not isinstance(notebook.get("metadata"), dict) or not isinstance(notebook.get("cells"), list):
        raise NoNotebook("it has no `metadata` or no `cells`")
    if not isinstance(notebook.metadata.get("kernelspec", {}), dict):
        raise NoNotebook("its `kernelspec` is no object")
    for number, cell in enumerate(notebook.cells, 1):
        for key, kind in (("cell_type", str), ("metadata", dict), ("source", str)):
            if not isinstance(cell.get(key), kind):
                raise NoNotebook(f"its cell {number} has no `{key}`")
    return notebook


def read(source):
    try:
        with open(source, encoding="utf-8") as file:
            return parsed(file.read())
    except (NoNotebook, UnicodeDecodeError) as error:
        why = error if isinstance(error, NoNotebook) else "it is no text of UTF-8"
        hint = "open it in JupyterLab and save it again, or fetch it again where it was cut short"
        sys.exit(f"error: `{source}` is no notebook: {why}\nhint: {hint}")
    except OSError as error:
        sys.exit(f"error: cannot read `{source}`: {error.strerror}\nhint: name a file that you may read")


def execute(client):
    try:
        client.execute()
    except CellExecutionError as error:
        return 1, f"cell {client.number} failed: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        return 1, f"cell {client.number} took longer than {client.timeout} s (--timeout)"
    except DeadKernelError as error:
        return 2, f"the kernel ended: {error}"
    return 0, None


def main():
    source, executed, page, timeout = sys.argv[1:]
    notebook = read(source)
    folder = os.path.dirname(os.path.abspath(source))
    client = Terminal(
        notebook,
        timeout=int(timeout) or None,
        kernel_name=notebook.metadata.get("kernelspec", {}).get("name", "warmcell"),
        resources={"metadata": {"path": folder}},
        startup_timeout=60,
    )
    client.on_cell_start = client.start_cell
    client.on_cell_complete = client.end_cell
    started = time.monotonic()
    status, failure = execute(client)
    seconds = time.monotonic() - started
    # What was written word by word is as many outputs, which some pages show on lines of their own. The
    # client's own option for it moves text before displays that it came after.
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    nbformat.write(notebook, executed)
    title = os.path.splitext(os.path.basename(source))[0]
    # A page has no kernel behind its widgets: what stands beside them reads without one, and without scripts.
    config = HTMLExporter().default_config
    config.NbConvertBase.display_data_priority.remove("application/vnd.jupyter.widget-view+json")
    exporter = HTMLExporter(config=config)
    shown = copy.deepcopy(notebook)
    shown.metadata.pop("widgets", None)
    html, _ = exporter.from_notebook_node(shown, resources={"metadata": {"name": title}})
    with open(page, "w", encoding="utf-8") as target:
        target.write(html)
    if not at_line_start:
        write("\n")
    if failure:
        print(f"\nerror: {failure}", file=sys.stderr)
    print(f"\n{getattr(client, 'number', 0)} code cells in {seconds:.1f} s")
    print(f"notebook: {executed}\nHTML:     {page}")
    sys.exit(status)


main()
