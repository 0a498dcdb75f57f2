"""The bars of downloads and loads: how often they are drawn, what they tell, and how they end."""

import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
from conftest import BINARY, FIXTURES
from test_widgets import Page

# The weights have 100 kB: some four seconds.
BYTES_A_SECOND = 25_000
NAMES = ["loaded", "pinned", "chatted", "in-rust", "again"]


def forward(source, target, bytes_a_second):
    """Passes on what comes, in small pieces."""
    try:
        while piece := source.recv(max(1, int(bytes_a_second / 50)) if bytes_a_second else 65536):
            target.sendall(piece)
            if bytes_a_second:
                time.sleep(len(piece) / bytes_a_second)
    except OSError:
        pass
    finally:
        for side in (source, target):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture(scope="module")
def slow_hub(tmp_path_factory):
    """The address of a hub behind a slow line."""
    folder = tmp_path_factory.mktemp("hub")
    for name in NAMES:
        shutil.copytree(FIXTURES / "text_generation/llama", folder / "acme" / name)
    hub = subprocess.Popen([BINARY.parent / "standin-hub", folder], stdout=subprocess.PIPE, text=True)
    host, port = re.search(r"//(.*):(\d+)", hub.stdout.readline()).groups()
    line = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = line.accept()
            except OSError:
                return
            server = socket.create_connection((host, int(port)))
            threading.Thread(target=forward, args=(client, server, None), daemon=True).start()
            threading.Thread(target=forward, args=(server, client, BYTES_A_SECOND), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{line.getsockname()[1]}"
    line.close()
    hub.kill()
    hub.wait()


@pytest.fixture
def kernel(new_kernel, slow_hub, tmp_path):
    kernel = new_kernel()
    kernel.run(f"%env HF_ENDPOINT={slow_hub}\n%env HF_HOME={tmp_path}/home").expect_ok()
    return kernel


def frames(outcome):
    """What each of a cell's bars showed, by its name."""
    shown = {}
    for kind in ("display_data", "update_display_data"):
        for content in outcome.of(kind):
            shown.setdefault(content["transient"].get("display_id"), []).append(content["data"]["text/plain"])
    return {name: lines for name, lines in shown.items() if name}


def test_a_bar_tells_bytes_speed_and_time_and_ends_with_the_model(kernel):
    outcome = kernel.run("%load acme/loaded").expect_ok()
    assert outcome.seconds > 2
    [lines] = frames(outcome).values()
    assert len(lines) <= 15 * outcome.seconds + 3, f"{len(lines)} in {outcome.seconds} s"
    told = [line for line in lines if line.startswith("Downloading model.safetensors")]
    assert len(told) > 10 and any(re.search(r"\d+ % · [\d.]+ kB of [\d.]+ kB · [\d.]+ kB/s · [\d.]+ s left", line) for line in told), told
    assert lines[-1].startswith("Loaded acme/loaded on cpu"), lines[-3:]


def interrupted(kernel, code):
    """The bar's last line of a cell that is interrupted in the middle of the download."""
    request = kernel.send(code)

    def stop(message):
        text = str(message["content"].get("data", {}).get("text/plain"))
        if re.match(r"Downloading model.safetensors · [2-6]\d %", text) and not stopped:
            stopped.append(text)
            kernel.manager.interrupt_kernel()

    stopped = []
    outcome = kernel.collect(request, timeout=60, on_message=stop)
    assert stopped and outcome.reply["content"]["ename"] == "KeyboardInterrupt"
    return [lines for lines in frames(outcome).values() if "model.safetensors" in str(lines)][0][-1]


def test_an_interrupted_bar_says_where_it_stopped(kernel):
    for code in ["%pin acme/pinned", 'AutoModelForCausalLM::from_pretrained("acme/in-rust").load()?;']:
        last = interrupted(kernel, code)
        assert re.match(r"Downloading model.safetensors · stopped at [2-9]\d % · ", last), last


def test_a_chat_says_what_it_waits_for(kernel):
    page = Page(kernel)
    page.connect()
    outcome = page.run("%%chat acme/chatted --max 5\nHello").expect_ok()
    told = [state["value"] for _, state in page.updates if "<small>" in str(state.get("value", ""))]
    assert any(re.search(r"<small>downloading model.safetensors · \d+ %</small>", line) for line in told), told
    [lines] = [lines for lines in frames(outcome).values() if "model.safetensors" in str(lines)]
    assert lines[-1].startswith("Loaded acme/chatted · "), lines[-3:]


def test_a_handle_that_loads_its_model_again_ends_the_bar_as_loaded(kernel, tmp_path):
    kernel.run('let model = AutoModelForCausalLM::from_pretrained("acme/again").load()?;').expect_ok()
    kernel.run('unload("acme/again")?;').expect_ok()
    shutil.rmtree(tmp_path / "home")
    outcome = kernel.run('model.generate("Hello").max_new_tokens(3).run()?;').expect_ok()
    [lines] = frames(outcome).values()
    assert any(line.startswith("Downloading model.safetensors") for line in lines), lines
    # It stayed at "Loading … · 100 %".
    assert re.match(r"Loaded acme/again · [\d.]+ kB · [\d.]+ s$", lines[-1]), lines[-3:]
    assert sum(line.startswith("Loaded") for line in lines) == 1, lines[-3:]
