"""What the snapshot after each cell costs: the time from the order to run an empty cell to its answer,
which is loading it, running it and forking, for a process of cells with more and more user data.

    python tests/bench/snapshot.py [--runs 50]"""

import argparse
import os
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("WARMCELL_TEST_BINARY", ROOT / "target/release/warmcell"))
CELLS = ROOT / "kernel/tests/fixtures/unsafe_cells.rs"


def text(value):
    encoded = value.encode()
    return b"\xda" + struct.pack(">H", len(encoded)) + encoded


def order(library, function):
    """`{"Run": {"library": …, "function": …}}` in MessagePack, framed."""
    fields = text("library") + text(str(library)) + text("function") + text(function)
    message = b"\x81" + text("Run") + b"\x82" + fields
    return struct.pack("<I", len(message)) + message


class Runner:
    """A supervisor in a session of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.held = []
        for pipe in ["stdout", "stderr"]:
            os.mkfifo(self.folder / pipe)
            self.held.append(os.open(self.folder / pipe, os.O_RDWR))
        self.library = self.folder / "libcells.so"
        subprocess.run(["rustc", "-O", "--edition=2024", "--crate-type=cdylib", "-o", self.library, CELLS], check=True)
        environment = os.environ | {"WARMCELL_SESSION_DIR": str(self.folder)}
        environment |= {"GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")}
        self.process = subprocess.Popen([BINARY, "runner"], stdin=subprocess.PIPE, env=environment)
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(str(self.folder / "control.sock")) != 0:
            time.sleep(0.01)

    def run(self, function):
        started = time.perf_counter()
        self.socket.sendall(order(self.library, function))
        (length,) = struct.unpack("<I", self.read(4))
        reply = self.read(length)
        seconds = time.perf_counter() - started
        assert b"Ended" in reply and b"\xa2ok" in reply, reply
        return seconds

    def read(self, length):
        parts = b""
        while len(parts) < length:
            part = self.socket.recv(length - len(parts))
            assert part, "the supervisor hung up"
            parts += part
        return parts

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=50)
    runs = arguments.parse_args().runs
    print("| user data | median | p95 |\n|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="wc-") as folder:
        runner = Runner(folder)
        for gigabytes in range(3):
            if gigabytes:
                runner.run("take_a_gigabyte")
            seconds = []
            for _ in range(runs):
                # As a user would: the process has come to rest before the next cell.
                time.sleep(0.02)
                seconds.append(runner.run("up") * 1000)
            p95 = statistics.quantiles(seconds, n=20)[-1]
            print(f"| {gigabytes} GB | {statistics.median(seconds):.1f} ms | {p95:.1f} ms |", flush=True)
        runner.close()


if __name__ == "__main__":
    main()
