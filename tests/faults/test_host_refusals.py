"""What the model host refuses, and what it says: a model without room, a full disk, a cache that
cannot be used, another user's folder, a host of another version."""

import contextlib
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import BINARY, MODEL, warmcell
from host_process import host_pid, memory, start_host, stop_host

LOAD = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
NOBODY = 65534


@pytest.fixture(autouse=True)
def no_host():
    """Each test starts with no host and no model."""
    stop_host()
    yield
    stop_host()


def load(name):
    return f'let other = AutoModelForCausalLM::from_pretrained("{name}").load()?;'


def sparse_gguf(path, values):
    """A GGUF file of one f32 tensor, which takes no space on the disk."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 32),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs)
    header += text("w") + struct.pack("<IQIQ", 1, values, 0, 0)
    path.write_bytes(header)
    with path.open("r+b") as file:
        file.truncate(len(header) + 32 + 4 * values)


def test_a_model_without_room_is_refused_with_sizes_and_residents(kernel, tmp_path):
    huge = tmp_path / "huge.gguf"
    sparse_gguf(huge, 1 << 40)
    kernel.run(LOAD).expect_ok()
    before = memory(host_pid())
    outcome = kernel.run(load(huge))
    assert outcome.status == "error"
    told = outcome.traceback
    assert "it takes 4398047 MB" in told and "of memory are available" in told, told
    assert f"resident: `{MODEL}` (97 MB)" in told and "hint: unload a model" in told, told
    assert memory(host_pid()) - before < 16 << 20, "it took memory for what it refused"
    kernel.run("model.generate(\"a\").max_new_tokens(1).run()?;").expect_ok()


def test_a_limit_of_the_hosts_own_counts(kernel):
    """`ulimit -v`, which a shared machine may set, leaves less than the machine has."""
    import resource

    gigabyte = 1 << 30
    # The program, its libraries and the stacks of its threads take address space too.
    limited = start_host(
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (gigabyte, gigabyte))
    )
    try:
        used = int(Path(f"/proc/{limited.pid}/statm").read_text().split()[0]) * 4096
        left = gigabyte - used
        told = kernel.run(load(MODEL))
        if left < 250_000_000:
            assert "of memory are available" in told.traceback
        else:
            told.expect_ok()
    finally:
        limited.kill()
        limited.wait()


@pytest.fixture
def hub(tmp_path_factory):
    """A stand-in hub with one repository of eight megabytes."""
    folder = tmp_path_factory.mktemp("hub")
    repository = folder / "acme" / "big"
    repository.mkdir(parents=True)
    sparse_gguf(repository / "big.gguf", 2 << 20)
    binary = BINARY.parent / "standin-hub"
    assert binary.exists(), f"{binary} is not built: cargo build --release --workspace --bin standin-hub"
    process = subprocess.Popen([binary, folder], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()


def with_hub(hub, home, code):
    """A cell that sets its own variables, long after the host was started."""
    return (
        f'unsafe {{ std::env::set_var("HF_ENDPOINT", "{hub}"); std::env::set_var("HF_HOME", "{home}"); }}'
        f"\n{code}"
    )


def test_a_full_disk_says_so_and_leaves_a_host_that_works(kernel, hub, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount; lib/engine's test writes to /dev/full instead")
    try:
        outcome = kernel.run(with_hub(hub, disk, load("acme/big")))
        assert outcome.status == "error"
        assert "the disk is full" in outcome.traceback, outcome.traceback
        assert "hint: free some space, or set HF_HOME" in outcome.traceback
        kernel.run(LOAD).expect_ok()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_cache_that_cannot_be_used_is_named(kernel, hub, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = kernel.run(with_hub(hub, tmp_path / "file", load("acme/big")))
    assert outcome.status == "error"
    assert f"cannot create `{tmp_path}/file/hub" in outcome.traceback, outcome.traceback
    assert "set HF_HOME to a folder that can be written" in outcome.traceback


def test_a_cells_own_variables_reach_a_host_that_runs(kernel, hub, tmp_path):
    """The host was started by the first cell, with an environment that has none of them."""
    kernel.run(LOAD).expect_ok()
    outcome = kernel.run(with_hub(hub, tmp_path / "home", load("acme/big")))
    # What it fetched is no model; that it fetched it is what counts.
    assert outcome.status == "error"
    assert (tmp_path / "home/hub/models--acme--big/blobs").exists(), outcome.traceback
    kernel.run('unsafe { std::env::set_var("HF_HUB_OFFLINE", "1"); }').expect_ok()
    outcome = kernel.run(load("acme/none"))
    assert "the hub must not be used" in outcome.traceback, outcome.traceback


as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs a second user")


@as_root
def test_another_users_folder_is_refused_by_both_ends(new_kernel, tmp_path):
    runtime = tmp_path / "runtime"
    place = runtime / "warmcell"
    place.mkdir(parents=True, mode=0o700)
    os.chown(place, NOBODY, NOBODY)
    environment = os.environ | {"XDG_RUNTIME_DIR": str(runtime)}
    started = warmcell("host", "start", env=environment)
    assert started.returncode != 0 and "it belongs to another user" in started.stderr, started.stderr
    socket_path = place / "host.sock"
    kernel = new_kernel()
    outcome = kernel.run(
        f'unsafe {{ std::env::set_var("WARMCELL_HOST_SOCKET", "{socket_path}"); }}\n' + load(MODEL)
    )
    assert outcome.status == "error"
    assert f"the model host's folder `{place}` cannot be used: it belongs to another user" in outcome.traceback


@as_root
def test_another_user_does_not_get_in(surroundings):
    """Not into the folder; and where the folder is open, the host looks at who it is."""
    host = start_host()
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    refused = warmcell("models", **other)
    assert refused.returncode != 0 and "ermission denied" in refused.stderr, refused.stderr
    folder = surroundings / "warmcell"
    opened = [surroundings, folder, folder / "host.sock"]
    before = [path.stat().st_mode for path in opened]
    try:
        for path in opened:
            path.chmod(0o777)
        refused = warmcell("models", **other)
        assert refused.returncode != 0 and MODEL not in refused.stdout, refused.stdout
        assert host.poll() is None
    finally:
        for path, mode in zip(opened, before, strict=True):
            path.chmod(mode)
    assert warmcell("models").returncode == 0
    stop_host()
    host.wait(10)


def pack(value):
    """MessagePack, as far as a greeting needs it."""
    if isinstance(value, dict):
        body = b"".join(pack(part) for pair in value.items() for part in pair)
        return bytes([0x80 | len(value)]) + body
    if isinstance(value, str):
        return bytes([0xA0 | len(value)]) + value.encode()
    return b"\xce" + struct.pack(">I", value)


def test_a_host_of_another_version_that_stays_is_told(kernel, surroundings):
    """It greets with another protocol and does not leave when it is asked to."""
    path = surroundings / "warmcell" / "host.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    greeting = pack({"Welcome": {"protocol": 1, "version": "0.0.1", "pid": 1}})
    clients = []

    def greet():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            clients.append(client)
            # Those that only look whether somebody listens have left again.
            with contextlib.suppress(OSError):
                client.sendall(struct.pack("<I", len(greeting)) + greeting)

    threading.Thread(target=greet, daemon=True).start()
    try:
        outcome = kernel.run(LOAD)
        assert outcome.status == "error"
        assert "a model host of another version runs and does not leave" in outcome.traceback
        assert "hint: `warmcell host stop`" in outcome.traceback
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        path.unlink(missing_ok=True)
    kernel.run(LOAD).expect_ok()
