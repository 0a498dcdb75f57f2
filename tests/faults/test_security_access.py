"""Who can reach what: nothing listens beyond this machine, all that a kernel makes is its user's
alone, folders that are not are refused, and a message without the right signature does nothing."""

import hashlib
import hmac
import json
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
import zmq
from conftest import BINARY, MODEL, warmcell
from host_process import children, host_pid, start_host, stop_host

LOAD = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'


def listening():
    """Sockets of this machine on which somebody listens for TCP: inode to address."""
    found = {}
    for name in ["tcp", "tcp6"]:
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A":
                continue
            address = bytes.fromhex(fields[1].split(":")[0])
            words = struct.unpack(f"<{len(address) // 4}I", address)
            raw = struct.pack(f">{len(words)}I", *words)
            family = socket.AF_INET if name == "tcp" else socket.AF_INET6
            found[fields[9]] = socket.inet_ntop(family, raw)
    return found


def sockets_of(pid):
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        # A compiler that was under way has ended.
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target.removeprefix("socket:[").removesuffix("]")


def test_nothing_listens_beyond_this_machine(kernel):
    kernel.run(LOAD).expect_ok()
    processes = children(kernel.manager.provisioner.process.pid) + [host_pid()]
    # What is shown: the kernel, its runner with the worker, and the host.
    assert len(set(processes)) >= 4, processes
    everyone = listening()
    ours = [everyone[inode] for pid in processes for inode in sockets_of(pid) if inode in everyone]
    assert len(ours) >= 5, "the kernel's own ports are not among them"
    assert set(ours) <= {"127.0.0.1", "::1"}, ours


def test_all_that_a_kernel_makes_is_its_users_alone(kernel, surroundings):
    kernel.run(LOAD).expect_ok()
    folder = surroundings / "warmcell"
    paths = [folder, *folder.rglob("*")]
    kinds = {"socket": [path for path in paths if path.is_socket()], "pipe": [p for p in paths if p.is_fifo()]}
    assert len(kinds["socket"]) >= 2 and len(kinds["pipe"]) >= 2, paths
    top = folder.stat()
    assert top.st_mode & 0o077 == 0 and top.st_uid == os.getuid()
    for path in kinds["socket"] + kinds["pipe"]:
        # What counts is the folder; a socket's own mode is the second lock.
        assert path.parent.stat().st_mode & 0o077 == 0, f"{path.parent} is open to others"
        assert path.stat().st_mode & 0o077 == 0, f"{path} is open to others"
    assert (folder / "host.sock").stat().st_mode & 0o077 == 0
    connection = Path(kernel.manager.connection_file)
    assert connection.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("fault", ["mode", "link"])
def test_a_runtime_folder_of_others_is_refused(new_kernel, tmp_path, fault, monkeypatch):
    runtime = tmp_path / "runtime"
    place = runtime / "warmcell"
    if fault == "mode":
        place.mkdir(parents=True)
        place.chmod(0o755)
        reason = "others may enter it (mode 755, must be 700)"
    else:
        runtime.mkdir()
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
        reason = "it is no folder"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    started = warmcell("host", "start")
    assert started.returncode != 0 and reason in started.stderr, started.stderr
    assert warmcell("host", "serve").returncode != 0
    # A kernel keeps its pipes there: it answers each cell with the reason.
    outcome = new_kernel().run("1 + 1")
    assert outcome.status == "error" and reason in outcome.traceback, outcome.traceback
    assert not list(place.rglob("*.sock")), "a socket was made there all the same"


def write_connection(path, **changes):
    ports = []
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    names = ["shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"]
    info = dict(zip(names, ports, strict=True)) | {
        "ip": "127.0.0.1",
        "transport": "tcp",
        "key": "a key of this test",
        "signature_scheme": "hmac-sha256",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(info | changes))
    return info | changes


@pytest.mark.parametrize(
    ("changes", "mode", "reason"),
    [
        ({"ip": "0.0.0.0"}, 0o600, "refused to listen on 0.0.0.0"),
        ({"key": ""}, 0o600, "it has no key"),
        ({}, 0o644, "other users of this machine can read the key"),
    ],
)
def test_an_unsafe_connection_file_is_refused(tmp_path, changes, mode, reason):
    tmp_path.chmod(0o755)
    path = tmp_path / "connection.json"
    write_connection(path, **changes)
    path.chmod(mode)
    refused = warmcell("kernel", "-f", path, timeout=30)
    assert refused.returncode != 0 and reason in refused.stderr, refused.stderr
    assert "hint:" in refused.stderr


class RawClient:
    """Sends frames as it likes, over a socket of ZeroMQ's own library."""

    def __init__(self, port, key):
        self.key = key
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def parts(self, kind, content):
        header = {"msg_id": os.urandom(8).hex(), "session": "s", "username": "u", "msg_type": kind, "version": "5.3"}
        return [json.dumps(part).encode() for part in (header, {}, {}, content)]

    def signature(self, parts):
        return hmac.new(self.key.encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()

    def send(self, signature, parts):
        self.socket.send_multipart([b"<IDS|MSG>", signature, *parts])

    def replies(self, milliseconds):
        found = []
        while self.socket.poll(milliseconds):
            found.append(self.socket.recv_multipart())
        return found


def test_a_message_without_the_right_signature_does_nothing(kernel, tmp_path):
    info = json.loads(Path(kernel.manager.connection_file).read_text())
    victim = tmp_path / "executed"
    content = {
        "code": f'std::fs::write("{victim}", "").unwrap();',
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    for port in [info["shell_port"], info["control_port"]]:
        client = RawClient(port, info["key"])
        parts = client.parts("execute_request", content)
        right = client.signature(parts)
        wrong = RawClient(port, "another key").signature(parts)
        other = client.signature(client.parts("execute_request", content))
        for signature in [b"", wrong, other, right[:-1], right.upper()[:10], b"0" * 64, right + b"0"]:
            client.send(signature, parts)
        shutdown = client.parts("shutdown_request", {"restart": False})
        client.send(b"", shutdown)
        client.send(wrong, shutdown)
        assert client.replies(500) == [], "a forged message was answered"
    assert kernel.run("1 + 1").expect_ok().result == "2"
    assert not victim.exists(), "a forged message was executed"
    # The same message, signed, does run: it was the signature that was refused.
    client = RawClient(info["shell_port"], info["key"])
    parts = client.parts("execute_request", content)
    client.send(client.signature(parts), parts)
    deadline = time.monotonic() + 60
    while not victim.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert victim.exists()


def test_an_ipc_kernel_lets_in_its_user_alone(tmp_path):
    tmp_path.chmod(0o755)
    path = tmp_path / "connection.json"
    info = write_connection(path, ip=str(tmp_path / "ipc"), transport="ipc")
    kernel = subprocess.Popen([BINARY, "kernel", "-f", path], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        sockets = []
        while len(sockets) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
            sockets = [p for p in tmp_path.glob("ipc-*") if p.is_socket()]
        time.sleep(0.2)
        assert len(sockets) == 5, info
        for found in sockets:
            assert found.stat().st_mode & 0o077 == 0, f"{found} is open to others"
    finally:
        kernel.terminate()
        kernel.wait(30)


def test_the_hosts_socket_answers_no_one_without_a_greeting():
    stop_host()
    host = start_host()
    path = Path(os.environ["XDG_RUNTIME_DIR"]) / "warmcell/host.sock"
    for garbage in [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, struct.pack("<I", 3) + b"\xc1\xc1\xc1"]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(garbage)
            assert client.recv(100) == b"", "it answered"
    assert host.poll() is None and host_pid() == host.pid
    stop_host()
    host.wait(10)
