"""What comes often: the bar of a slow download, and updates by the thousand, also through a real Jupyter
server, which drops what it finds too much."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request

import pytest
from conftest import BINARY, FIXTURES, warmcell

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def slow_hub(tmp_path):
    """The address of a stand-in hub with a tiny model, which takes some four seconds to come."""
    repository = tmp_path / "hub" / "acme" / "slow"
    shutil.copytree(FIXTURES / "families/llama_long_prompt", repository)
    model = {"type": "WordLevel", "vocab": {f"{number:02}": number for number in range(96)}, "unk_token": "00"}
    tokenizer = {"version": "1.0", "model": model, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    (repository / "tokenizer.json").write_text(json.dumps(tokenizer))
    (repository / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    size = (repository / "model.safetensors").stat().st_size
    (repository / ".pace").write_text(str(size // 4))
    process = subprocess.Popen([BINARY.parent / "standin-hub", tmp_path / "hub"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    warmcell("models", "--unload", "acme/slow")


@pytest.mark.parametrize(
    "code", ['let model = AutoModelForCausalLM::from_pretrained("acme/slow").load()?;', "%load acme/slow"], ids=["cell", "command"]
)
def test_a_slow_download_shows_some_frames_and_the_last(new_kernel, slow_hub, tmp_path, code):
    kernel = new_kernel()
    kernel.run(f"%env HF_ENDPOINT={slow_hub}\n%env HF_HOME={tmp_path}/home").expect_ok()
    outcome = kernel.run(code).expect_ok()
    updates = [
        (seconds, message["content"]["data"]["text/plain"])
        for seconds, message in outcome.messages
        if message["msg_type"] == "update_display_data"
    ]
    [shown] = outcome.of("display_data")
    frames = [text for _, text in updates]
    seconds = updates[-1][0] - updates[0][0]
    assert seconds > 2, updates
    assert 5 * seconds < len(frames) <= 15 * seconds + 2, f"{len(frames)} frames in {seconds:.1f} s"
    # It tells how much, how fast, and how long, and at the end what was loaded.
    downloads = [text for text in frames if text.startswith("Downloading") and "kB of" in text and "/s" in text]
    done = [float(re.search(r"([0-9.]+) kB of", text)[1]) for text in downloads]
    assert len(done) > 10 and done == sorted(done), frames
    assert frames[-1].startswith("Loaded acme/slow"), frames[-1]
    assert "text/html" in shown["data"]
    # From the cache there is nothing to show for seconds.
    kernel.run("%unload acme/slow").expect_ok()
    again = kernel.run(code).expect_ok()
    assert len(again.of("update_display_data")) < 5


@pytest.fixture
def server(tmp_path):
    """A Jupyter server of the set-up's own environment, with its limits: its address and its log."""
    data = os.environ.get("WARMCELL_DATA_DIR")
    data = data or os.path.join(os.environ.get("XDG_DATA_HOME", os.path.expanduser("~/.local/share")), "warmcell")
    log = tmp_path / "server.log"
    options = ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--ServerApp.open_browser=False", "--IdentityProvider.token=secret", f"--ServerApp.root_dir={tmp_path}", "--allow-root"]
    with log.open("w") as out:
        process = subprocess.Popen([os.path.join(data, "python/bin/jupyter-server"), *options], stdout=out, stderr=out)
    deadline = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:([0-9]+)/", log.read_text())):
        assert time.monotonic() < deadline and process.poll() is None, log.read_text()
        time.sleep(0.1)
    yield f"127.0.0.1:{found[1]}", log
    process.terminate()
    process.wait(30)


def test_a_flood_through_a_server_loses_no_last_frame(server):
    """The server lets a thousand messages a second pass, and drops the rest."""
    from tornado.ioloop import IOLoop
    from tornado.websocket import websocket_connect

    address, log = server

    def ask(path, body=None):
        headers = {"Authorization": "token secret", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{address}/api/{path}", body and json.dumps(body).encode(), headers)
        return json.load(urllib.request.urlopen(request, timeout=60))

    kernel = ask("kernels", {"name": "warmcell"})["id"]

    async def run(codes):
        socket = await websocket_connect(f"ws://{address}/api/kernels/{kernel}/channels?token=secret", max_message_size=1 << 26)
        heard = []
        for number, code in enumerate(codes):
            id = f"request-{number}"
            header = {"msg_id": id, "msg_type": "execute_request", "session": "page", "username": "", "version": "5.4", "date": ""}
            content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
            await socket.write_message(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}))
            heard.append([])
            while True:
                message = json.loads(await socket.read_message())
                if message["parent_header"].get("msg_id") != id:
                    continue
                heard[-1].append((message["msg_type"], message["content"]))
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    break
        socket.close()
        return heard

    loop = IOLoop(make_current=False)
    started = time.monotonic()
    _, displays, widgets, both = loop.run_sync(
        lambda: run([
            "let bar = widgets::IntProgress::new(0).max(50_000); display(&bar);",
            'let shown = display_with_id("0"); for n in 1..=20_000 { shown.update(n); }',
            "for n in 1..=50_000 { bar.set_value(n); }",
            'let all: Vec<_> = (0..10).map(|n| display_with_id(n)).collect(); for n in 1..=5_000 { for one in &all { one.update(n); } bar.set_value(n); }',
        ]),
        timeout=200,
    )
    seconds = time.monotonic() - started
    texts = lambda heard: [content["data"]["text/plain"] for kind, content in heard if kind == "update_display_data"]
    values = lambda heard: [content["data"]["state"]["value"] for kind, content in heard if kind == "comm_msg" and content["data"]["method"] == "update"]
    assert texts(displays)[-1] == "20000" and len(texts(displays)) < 20 * seconds + 3
    assert values(widgets)[-1] == 50_000 and len(values(widgets)) < 20 * seconds + 3
    last = {content["transient"]["display_id"]: content["data"]["text/plain"] for kind, content in both if kind == "update_display_data" and VIEW not in content["data"]}
    assert len(last) == 10 and set(last.values()) == {"5000"}, last
    assert values(both)[-1] == 5_000
    for kind, content in displays + widgets + both:
        assert kind != "stream", content
    assert "rate exceeded" not in log.read_text()
    ask_delete = urllib.request.Request(f"http://{address}/api/kernels/{kernel}", headers={"Authorization": "token secret"}, method="DELETE")
    urllib.request.urlopen(ask_delete, timeout=60)
