"""Faults, and how a kernel takes them: the same measurement for Warmcell, evcxr_jupyter and ipykernel.

A fault is a cell (or something done to a process) in Rust and in Python. `measure` runs it in a kernel
that holds the variable `kept`, and says what became of the kernel, the variable and the next cell."""

import contextlib
import os
import resource
import signal
import time
from dataclasses import asdict, dataclass
from queue import Empty

GIGABYTE = 1 << 30


@dataclass(frozen=True)
class Fault:
    name: str
    title: str
    rust: str
    python: str | None
    # What is done beside running the cell: interrupt, kill, starve, limit.
    action: str = ""
    # What the cell's reply should be: a fault that the cell survives is no error.
    expected: str = "error"


NULL_WRITE = "unsafe { (std::hint::black_box(8) as *mut i32).write_volatile(1) }"
RECURSION = "fn deep(x: u64) -> u64 { 1 + deep(std::hint::black_box(x + 1)) }\ndeep(1)"
ALLOCATE = "let mut all = Vec::new(); loop { all.push(vec![1u8; 64 << 20]); }"
ACCEPT = 'std::os::unix::net::UnixListener::bind(format!("wait-{}", std::process::id()))?.accept()?;'
READ = "let mut line = String::new(); std::io::stdin().read_line(&mut line)?;"
BAD_BYTES = 'std::io::Write::write_all(&mut std::io::stdout(), b"\\xFF\\xFE\\n")?;'
WORDS = 'println!("EVCXR_EXECUTION_COMPLETE"); println!("EVCXR_PANIC_NOTIFICATION");'

FAULTS = [
    Fault("abort", "`abort`", "std::process::abort();", "import os; os.abort()"),
    Fault("exit", "`exit(3)`", "std::process::exit(3);", "import os; os._exit(3)"),
    Fault("segv", "null pointer", NULL_WRITE, "import ctypes; ctypes.string_at(0)"),
    Fault("overflow", "endless recursion", RECURSION, "def deep(x): return 1 + deep(x)\ndeep(1)"),
    Fault("kill", "`kill -9` of the cells' process", "std::process::id()", "import os; os.getpid()", "kill"),
    Fault("memory", "memory beyond a limit", ALLOCATE,
          "everything = []\nwhile True: everything.append(bytes(64 << 20))", "starve"),
    Fault("panic", "panic, a variable moved before", 'let moved = kept; panic!("oh");',
          "moved = kept; raise ValueError('oh')"),
    Fault("question", "`?` returns an error", 'let number: i32 = "x".parse()?;', "int('x')"),
    Fault("thread", "panic in a thread", 'std::thread::spawn(|| panic!("oh")).join().is_err()',
          "import threading\ndef oh(): raise ValueError\nt = threading.Thread(target=oh); t.start(); t.join()",
          expected="ok"),
    Fault("interrupt-loop", "stop button in `loop {}`", "loop { std::hint::spin_loop(); }", "while True: pass",
          "interrupt"),
    Fault("interrupt-sleep", "… in a sleep of an hour", "std::thread::sleep(std::time::Duration::from_secs(3600));",
          "import time; time.sleep(3600)", "interrupt"),
    Fault("interrupt-wait", "… in a wait for another process", ACCEPT,
          "import os, socket\ns = socket.socket(socket.AF_UNIX); s.bind(f'wait-{os.getpid()}'); s.listen(); s.accept()",
          "interrupt"),
    Fault("interrupt-compile", "… in a `:dep` that compiles", ':dep slow = { path = "slow" }\nslow::answer()', None,
          "interrupt"),
    Fault("stdin", "standard input is read", READ, "import sys; sys.stdin.readline()", expected="any"),
    Fault("bytes", "output that is no UTF-8", BAD_BYTES, "import os; os.write(1, b'\\xff\\xfe\\n')", expected="ok"),
    Fault("words", "output like the evaluator's protocol", WORDS,
          "print('EVCXR_EXECUTION_COMPLETE\\nEVCXR_PANIC_NOTIFICATION')", expected="ok"),
    Fault("struct", "a type defined anew under a variable",
          "#[derive(Debug)] struct Point { x: f64 }\n1", "class Point: pass\n1", "struct", expected="ok"),
]
BY_NAME = {fault.name: fault for fault in FAULTS}


@dataclass
class Finding:
    """What became of a kernel. `seconds` is from the end of the fault to the answer of a next cell."""

    kernel: str  # lives, dies, hangs
    status: str | None
    variables: bool
    in_step: bool
    value: str = ""
    seconds: float | None = None

    def as_json(self):
        return asdict(self)


class Subject:
    """A kernel under jupyter_client, and how it speaks."""

    def __init__(self, start, language, limit=None):
        self.start, self.language = start, language
        # Sets a memory limit where the kernel has one of its own.
        self.limit = limit
        self.manager = self.client = None

    def up(self):
        self.manager = self.start()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def down(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def python(self):
        return self.language == "python"

    def write(self, rust, python):
        return python if self.python() else rust

    def run(self, code, timeout=60):
        """Status, value and printed text of a cell; the status is `None` when no answer came."""
        return self.collect(self.client.execute(code), timeout)

    def collect(self, request, timeout):
        deadline = time.monotonic() + timeout
        value = printed = ""
        with contextlib.suppress(Empty):
            while True:
                message = self.receive(self.client.get_iopub_msg, request, deadline)
                content = message["content"]
                if message["msg_type"] == "execute_result":
                    value = content["data"]["text/plain"]
                elif message["msg_type"] == "stream" and content["name"] == "stdout":
                    printed += content["text"]
                elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                    break
            reply = self.receive(self.client.get_shell_msg, request, deadline)
            return reply["content"]["status"], value, printed
        return None, value, printed

    def receive(self, get, request, deadline):
        """The next message that answers a request. A kernel that is dead answers no more."""
        while time.monotonic() < deadline:
            alive = self.manager.is_alive()
            self.answer()
            with contextlib.suppress(Empty):
                message = get(timeout=0.5)
                if message["parent_header"].get("msg_id") == request:
                    return message
                continue
            if not alive:
                break
        raise Empty


    def answer(self):
        """Answers a cell that asks, as a user at the keyboard would."""
        with contextlib.suppress(Empty):
            if self.client.get_stdin_msg(timeout=0)["msg_type"] == "input_request":
                self.client.input("a line")


def measure(subject, fault, folder):
    """What a kernel makes of a fault. The kernel is up; it may be dead afterwards."""
    prepare(subject, fault, folder)
    code = subject.write(fault.rust, fault.python)
    status = act(subject, fault, code)
    ended = time.monotonic()
    if not subject.manager.is_alive():
        return Finding("dies", status, variables=False, in_step=False)
    if status is None:
        # A user's next move.
        subject.manager.interrupt_kernel()
        time.sleep(2)
    marker = subject.write('println!("marker"); 40 + 2', "print('marker')\n40 + 2")
    after, value, printed = subject.run(marker, 60)
    seconds = round(time.monotonic() - ended, 1)
    if after is None:
        return Finding("dies" if not subject.manager.is_alive() else "hangs", status, variables=False, in_step=False)
    in_step = after == "ok" and value == "42" and printed == "marker\n"
    _, length, _ = subject.run(subject.write("kept.len()", "len(kept)"), 60)
    kernel = "hangs" if status is None else "lives"
    finding = Finding(kernel, status, length == "3", in_step, seconds=seconds)
    if fault.action == "struct":
        _, finding.value, _ = subject.run(subject.write("point.x", "point.x"), 60)
    return finding


def prepare(subject, fault, folder):
    status, *_ = subject.run(subject.write("let kept = vec![1, 2, 3];", "kept = [1, 2, 3]"), 120)
    assert status == "ok", "the kernel does not even run a `let`"
    if fault.action == "struct":
        subject.run(subject.write("#[derive(Debug)] struct Point { x: u64 }\nlet point = Point { x: 1 };",
                                  "class Point: x = 1\npoint = Point()"))
    if fault.name == "interrupt-compile":
        write_slow_crate(folder)


def act(subject, fault, code):
    """Lets the fault happen, and gives the status of its cell."""
    if fault.action == "interrupt":
        request = subject.client.execute(code)
        time.sleep(4)
        subject.manager.interrupt_kernel()
        return subject.collect(request, 30)[0]
    if fault.action == "kill":
        _, pid, _ = subject.run(code)
        os.kill(int(pid), signal.SIGKILL)
        time.sleep(1)
        return "ok"
    if fault.action == "starve":
        starve(subject)
    return subject.run(code, 40)[0]


def starve(subject):
    """Two gigabytes for what the cells take: by the kernel's own limit, else by the system's."""
    if subject.limit:
        assert subject.run(subject.limit)[0] == "ok"
        return
    _, pid, _ = subject.run(subject.write("std::process::id()", "import os; os.getpid()"))
    resource.prlimit(int(pid), resource.RLIMIT_AS, (2 * GIGABYTE, 2 * GIGABYTE))


def write_slow_crate(folder):
    """A crate that compiles for a minute, by its build script."""
    source = folder / "slow" / "src"
    source.mkdir(parents=True, exist_ok=True)
    (source / "lib.rs").write_text("pub fn answer() -> u32 { 42 }\n")
    (folder / "slow" / "Cargo.toml").write_text('[package]\nname = "slow"\nversion = "1.0.0"\nedition = "2024"\n')
    (folder / "slow" / "build.rs").write_text(
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(60)); }\n"
    )
