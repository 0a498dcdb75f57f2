"""Executes a notebook through Jupyter's own client and shows in the terminal what its cells show.

Arguments: the notebook, the executed notebook to write, the HTML page to write, the time limit of a
cell in seconds (0: none). Ends with 1 when anything failed: a cell, the kernel, a file. Ctrl-C and signals that ask
for the end stop it where it is: what there is by then is written, and it ends with 128 and the signal's number.
"""

import signal

# Until cells run there is nothing to write: the default ends it without a traceback, also while it imports.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import copy
import json
import os
import re
import sys
import time

import nbformat
from jsonschema import ValidationError
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbclient.util import ensure_async
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

STOPS = [signal.SIGINT, signal.SIGTERM]
if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    STOPS.append(signal.SIGHUP)
# Seconds that a kernel may take to end a cell. Ours ends one that does not listen after one second.
PATIENCE = 10
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Stopped(Exception):
    """A signal came before a cell."""


class Terminal(NotebookClient):
    """A client that prints outputs as they come, and that signals stop. Updated displays are printed when their cell
    ends: a terminal cannot change what scrolled by."""

    number = 0
    stopped_by = None

    async def async_start_new_kernel(self, **options):
        # Here nbclient's own handlers, which end the kernel under the cell, have just been set.
        for number in STOPS:
            asyncio.get_running_loop().add_signal_handler(number, self.stop, number)
        await super().async_start_new_kernel(**options)

    def stop(self, number):
        if self.stopped_by is None:
            self.stopped_by = number
            self.stopping = asyncio.ensure_future(self.interrupt())

    async def interrupt(self):
        """Ends the running cell, by force where the kernel does not."""
        try:
            await ensure_async(self.km.interrupt_kernel())
        except RuntimeError:
            pass  # It has ended meanwhile.
        await asyncio.sleep(PATIENCE)
        (self.task_poll_for_reply or self.whole).cancel()

    async def run(self):
        self.whole = asyncio.ensure_future(self.async_execute())
        try:
            await self.whole
        except asyncio.CancelledError:
            # A kernel that did not come up: the client ends those only that did.
            if self.km is not None:
                await self._async_cleanup_kernel()
            raise

    def start_cell(self, cell, cell_index):
        if self.stopped_by is not None:
            raise Stopped
        if cell.cell_type == "code":
            self.number += 1
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
    if not text:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Nobody reads any more, or there is no room: what is written to files is still to come.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            tell(f"warning: what cells show cannot be written to standard output: {error.strerror}")
    at_line_start = text.endswith("\n")


def tell(text):
    """Writes a line to standard error, where there is one."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


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
    if not isinstance(kernel_of(notebook), str):
        raise NoNotebook("its `kernelspec` has a `name` that is no text")
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


def kernel_of(notebook):
    return notebook.metadata.get("kernelspec", {}).get("name", "warmcell")


def check_kernel(notebook, source):
    name = kernel_of(notebook)
    try:
        KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        hint = (
            "Warmcell runs cells of Rust; where these are, open it by `warmcell lab`, choose the kernel "
            "Rust (Warmcell) and save it"
        )
        sys.exit(f"error: cannot run `{source}`: it is for the kernel `{name}`, which is not installed\nhint: {hint}")


def execute(client):
    """Runs the cells; what went wrong, if anything did."""
    try:
        asyncio.run(client.run())
        failure = None
    except CellExecutionError as error:
        failure = f"cell {client.number} failed: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        failure = f"cell {client.number} took longer than {client.timeout} s (--timeout)"
    except (OSError, RuntimeError) as error:
        failure = f"the kernel {'ended' if client.number else 'did not start'}: {error}"
    except (Stopped, asyncio.CancelledError):
        failure = None
    # From here on the end is near, and files that are half written are of no use.
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    if client.stopped_by is not None:
        place = f"at cell {client.number}" if client.number else "before the first cell"
        return f"stopped by {signal.Signals(client.stopped_by).name} {place}"
    return failure


def as_page(notebook, title):
    # A page has no kernel behind its widgets: what stands beside them reads without one, and without scripts.
    config = HTMLExporter().default_config
    config.NbConvertBase.display_data_priority.remove("application/vnd.jupyter.widget-view+json")
    shown = copy.deepcopy(notebook)
    shown.metadata.pop("widgets", None)
    html, _ = HTMLExporter(config=config).from_notebook_node(shown, resources={"metadata": {"name": title}})
    return html


def saved(path, text):
    try:
        with open(path, "w", encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        tell(f"error: cannot write `{path}`: {error.strerror}\nhint: make room there, or name another file by --output")
        return False
    return True


def main():
    source, executed, page, timeout = sys.argv[1:]
    # Names of files may be no text.
    sys.stdout.reconfigure(errors="backslashreplace")
    notebook = read(source)
    check_kernel(notebook, source)
    folder = os.path.dirname(os.path.abspath(source))
    client = Terminal(
        notebook,
        timeout=int(timeout) or None,
        kernel_name=kernel_of(notebook),
        resources={"metadata": {"path": folder}},
        startup_timeout=60,
    )
    client.on_cell_start = client.start_cell
    client.on_cell_complete = client.end_cell
    started = time.monotonic()
    failure = execute(client)
    seconds = time.monotonic() - started
    # What was written word by word is as many outputs, which some pages show on lines of their own. The
    # client's own option for it moves text before displays that it came after.
    CoalesceStreamsPreprocessor().preprocess(notebook, {})
    # The client does it where all cells ran; widgets without their state are refused by GitHub.
    client.set_widgets_metadata()
    if not at_line_start:
        write("\n")
    if failure:
        tell(f"\nerror: {failure}")
    title = os.path.splitext(os.path.basename(source))[0]
    files = [("notebook: ", executed, nbformat.writes(notebook) + "\n"), ("HTML:     ", page, as_page(notebook, title))]
    written = [f"\n{kind}{path}" for kind, path, text in files if saved(path, text)]
    count = f"{client.number} code cell{'' if client.number == 1 else 's'}"
    write(f"\n{count} in {seconds:.1f} s{''.join(written)}\n")
    if client.stopped_by is not None:
        sys.exit(128 + client.stopped_by)
    sys.exit(1 if failure or len(written) < len(files) else 0)


main()
