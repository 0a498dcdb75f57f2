"""`jupyter console` in a terminal: a prompt that goes on while code is incomplete, a text that is printed as it is
generated, Ctrl-C, and an end that leaves no process."""

import os
import re
import sys
import time

import nbformat
import pexpect
import psutil
import pyte
import pytest
from conftest import MODEL, ROOT

LINES, COLUMNS = 120, 140


class Terminal(pyte.Screen):
    """What a terminal shows, and what it answers: where its cursor is, among others."""

    def __init__(self, child):
        super().__init__(COLUMNS, LINES)
        self.child = child

    def write_process_input(self, data):
        self.child.send(data)


class Console:
    """A console, and the keyboard before it."""

    def __init__(self, folder):
        arguments = ["-m", "jupyter_console", "--kernel", "warmcell"]
        environment = os.environ | {"TERM": "xterm"}
        self.child = pexpect.spawn(
            sys.executable, arguments, cwd=str(folder), env=environment, encoding="utf-8", dimensions=(LINES, COLUMNS)
        )
        self.terminal = Terminal(self.child)
        self.stream = pyte.Stream(self.terminal)
        self.prompts = 0
        self.prompt()

    def lines(self):
        """What the terminal shows, without the empty lines below."""
        return "\n".join(line.rstrip() for line in self.terminal.display).rstrip().splitlines()

    def until(self, pattern, timeout=60):
        """Waits until the terminal's last line is this."""
        deadline = time.monotonic() + timeout
        while not re.fullmatch(pattern, (self.lines() or [""])[-1]):
            assert time.monotonic() < deadline, f"no line {pattern!r} in {timeout} s:\n" + "\n".join(self.lines())
            try:
                self.stream.feed(self.child.read_nonblocking(4096, timeout=0.1))
            except pexpect.TIMEOUT:
                pass

    def prompt(self):
        """Waits for the next prompt; gives the lines between this and the one before."""
        self.prompts += 1
        self.until(rf"In \[{self.prompts}\]:")
        lines = self.lines()
        start = next((index for index, line in enumerate(lines) if line.startswith(f"In [{self.prompts - 1}]:")), 0)
        return lines[start + 1 : -1]

    def type(self, line):
        self.child.send(f"{line}\r")

    def run(self, line):
        self.type(line)
        return self.prompt()


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    console = Console(tmp_path_factory.mktemp("console"))
    yield console
    console.child.close(force=True)


def test_an_incomplete_line_is_continued(console):
    console.type("fn double(n: i64) -> i64 {")
    console.until(r" +\.\.\.:")
    console.type("n * 2")
    console.until(r" +\.\.\.:")
    console.run("}")
    assert any(re.fullmatch(r"Out\[2\]: ?42", line) for line in console.run("double(21)"))


def test_a_text_is_printed_as_it_comes(console):
    console.run(f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;')
    console.run("let streamer = TextStreamer::new(&model.tokenizer()?).skip_prompt(true);")
    console.type('model.generate("1, 2, 3, 4,").max_new_tokens(200).min_new_tokens(200).streamer(streamer).run()?;')
    console.until(r" ?5, 6, .*")
    early = console.lines()[-1]
    shown = console.prompt()
    assert shown[-1] != early, "it was there at once"
    assert any(line.startswith(early) for line in shown) and not any("<" in line for line in shown), shown


def test_ctrl_c_interrupts_and_the_next_cell_works(console):
    console.type('println!("turning"); loop {}')
    console.until("turning")
    console.child.sendintr()
    assert any("KeyboardInterrupt" in line for line in console.prompt())
    assert any(line.endswith("8") for line in console.run("double(4)"))


def test_tab_completes(console):
    console.run("let completed_by_tab = 20 + 1;")
    console.child.send("completed_by_t\t")
    console.until(r"In \[\d+\]: completed_by_tab", timeout=20)
    assert any(line.endswith("21") for line in console.run(""))
    console.child.send("%lim\t")
    console.until(r"In \[\d+\]: %limit", timeout=20)
    assert any("memory" in line for line in console.run(""))


def test_the_last_value_has_a_name(console):
    console.run("vec![1, 2, 3]")
    assert any(line.endswith("3") for line in console.run("_.len()"))
    console.run('let named = String::from("x"); named')
    assert any("has a name already" in line for line in console.run("_"))


def test_a_token_is_asked_for_unseen(console, tmp_path):
    console.run(f"%env HF_TOKEN_PATH={tmp_path}/token")
    console.type("%login")
    console.until(r"Access token \(not shown\):.*")
    console.child.send("hf_neverseen\r")
    shown = console.prompt()
    assert any("kept in" in line for line in shown), shown
    assert (tmp_path / "token").read_text() == "hf_neverseen"
    assert not any("neverseen" in line for line in console.lines())
    console.run("%env HF_TOKEN_PATH=")


def test_cells_of_the_course_run(console):
    notebook = nbformat.read(ROOT / "notebooks/week3.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:4]
    for source in cells:
        # A terminal takes a cell line by line, and runs it where it is complete.
        line = " ".join(line for line in source.splitlines() if not line.strip().startswith("//"))
        assert not any("Error" in shown or "error[" in shown for shown in console.run(line)), line


def test_a_new_kernel_finds_the_model_in_memory(console, tmp_path):
    other = Console(tmp_path)
    listed = other.run("%models")
    assert any(MODEL in line for line in listed), listed
    other.child.close(force=True)


def test_exit_leaves_no_process(console):
    started = psutil.Process(console.child.pid).children(recursive=True)
    # The models outlive their kernels.
    started = [process for process in started if "host" not in process.cmdline()]
    assert any("kernel" in process.cmdline() for process in started), started
    console.child.sendeof()
    console.until(r"Do you really want to exit .*")
    console.type("y")
    console.child.expect(pexpect.EOF, timeout=20)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
