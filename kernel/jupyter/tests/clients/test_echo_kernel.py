"""The echo kernel under real Jupyter clients: the public conformance suite, and what only a client
in another process can see (readiness, signals, restarts, the last messages before the end).

Run with pytest after `cargo build --release --workspace --example echo_kernel`; needs the
packages jupyter_client and jupyter_kernel_test.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty

import jupyter_kernel_test
import pytest
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[4]
ECHO = Path(os.environ.get("ECHO_KERNEL", ROOT / "target/release/examples/echo_kernel"))
TRANSPORTS = pytest.mark.parametrize("transport", ["tcp", "ipc"])
PATIENCE = 10


@pytest.fixture(scope="module", autouse=True)
def kernelspecs(tmp_path_factory):
    """Installs the kernel once for each way to interrupt it."""
    folder = tmp_path_factory.mktemp("jupyter")
    for mode in ["message", "signal"]:
        spec = folder / "kernels" / f"echo-{mode}"
        spec.mkdir(parents=True)
        argv = [str(ECHO), "{connection_file}", str(folder / f"history-{mode}.jsonl")]
        content = {"argv": argv, "display_name": "Echo", "language": "echo", "interrupt_mode": mode}
        (spec / "kernel.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        yield


class TestConformance(jupyter_kernel_test.KernelTests):
    kernel_name = "echo-message"
    language_name = "echo"
    file_extension = ".echo"
    code_hello_world = "print hello, world"
    code_stderr = "eprint oops"
    completion_samples = [
        {"text": "pri", "matches": {"print"}},
        {"text": "가 slee", "matches": {"sleep"}},
    ]
    complete_code_samples = ["print a", "1"]
    incomplete_code_samples = ["print a\\"]
    invalid_code_samples = ["\0"]
    code_generate_error = "fail on purpose"
    code_execute_result = [{"code": "1 + 1", "result": "1 + 1"}, {"code": "2", "result": "2"}]
    code_display_data = [{"code": "show b", "mime": "text/html"}]
    code_history_pattern = "1?+*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "print"
    code_clear_output = "clear"


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "echo-message"
    support_iopub_welcome = True


class Kernel:
    """A kernel and a client of it."""

    def __init__(self, name="echo-message", transport="tcp"):
        self.manager = KernelManager(kernel_name=name, transport=transport)
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def reply(self, request):
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == request:
                return reply["content"]

    def run(self, code):
        return self.client.execute_interactive(code, timeout=PATIENCE)["content"]

    def left(self):
        """Whether the process ends."""
        deadline = time.monotonic() + PATIENCE
        while self.manager.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.manager.is_alive()


@TRANSPORTS
@pytest.mark.parametrize("mode", ["message", "signal"])
def test_an_interrupt_ends_the_cell_and_keeps_the_kernel(mode, transport):
    with Kernel(f"echo-{mode}", transport) as kernel:
        request = kernel.client.execute("sleep 60000")
        time.sleep(0.5)
        kernel.manager.interrupt_kernel()
        assert kernel.reply(request)["ename"] == "KeyboardInterrupt"
        kernel.manager.interrupt_kernel()  # with nothing to interrupt
        # A signal and a message race each other: the press is to come before the cell.
        time.sleep(0.5)
        assert kernel.run("print on")["status"] == "ok"


@TRANSPORTS
def test_a_killed_kernel_starts_again_on_the_same_endpoints(transport):
    with Kernel(transport=transport) as kernel:
        for now in [True, False]:
            kernel.manager.restart_kernel(now=now)
            kernel.client.wait_for_ready(timeout=PATIENCE)
            assert kernel.run("print on")["execution_count"] == 1


@TRANSPORTS
def test_the_last_messages_arrive_before_the_kernel_is_gone(transport):
    with Kernel(transport=transport) as kernel:
        request = kernel.client.execute("bulk 30\nprint LAST")
        kernel.reply(request)
        kernel.client.shutdown()
        text = ""
        while not text.endswith("LAST\n"):
            message = kernel.client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "stream":
                text += message["content"]["text"]
        assert len(text) == 30 * 1024 * 1024 + len("LAST\n")
        reply = kernel.client.get_control_msg(timeout=PATIENCE)
        assert reply["msg_type"] == "shutdown_reply"
        assert reply["content"] == {"status": "ok", "restart": False}
        assert kernel.left()


def test_a_client_that_answers_without_a_parent_is_heard():
    with Kernel() as kernel:
        request = kernel.client.execute("ask Name?", allow_stdin=True)
        assert kernel.client.get_stdin_msg(timeout=PATIENCE)["content"]["prompt"] == "Name?"
        kernel.client.input("가")
        assert kernel.reply(request)["status"] == "ok"


def test_dates_are_ones_that_clients_read():
    with Kernel() as kernel:
        request = kernel.client.execute("print a")
        kernel.reply(request)
        message = kernel.client.get_iopub_msg(timeout=PATIENCE)
        assert not isinstance(message["header"]["date"], str), message["header"]["date"]


def test_a_termination_is_an_end_and_not_a_crash():
    with Kernel() as kernel:
        os.kill(kernel.manager.provisioner.pid, signal.SIGTERM)
        assert kernel.left()
        with pytest.raises(Empty):
            while True:
                assert kernel.client.get_iopub_msg(timeout=0.2)["msg_type"] != "error"


def test_the_kernel_leaves_with_who_started_it():
    code = (
        "import os\n"
        "from jupyter_client.manager import start_new_kernel\n"
        "manager, _ = start_new_kernel(kernel_name='echo-message')\n"
        "print(manager.provisioner.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    stat = Path(f"/proc/{int(started.stdout)}/stat")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the kernel is still there")
