#!/usr/bin/env python3
"""Times prompts of a checkpoint here and by transformers, which take turns: on a shared machine a minute makes more
difference than either. For the record in README.md.

    pip install transformers==4.57.6 torch
    cargo build --release -p warmcell-engine --example speed
    python prompts.py FOLDER float32 bf16        # f32 there; bf16 weights and f32 activations here
    python prompts.py FOLDER bfloat16 bf16-all   # bf16 there; bf16 activations here

`dense_and_nf4.py make FOLDER` makes a checkpoint; put any tokenizer.json beside it.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from transformers import AutoModelForCausalLM

LENGTHS = (64, 512, 2048)
ROUNDS = 10
SPEED = pathlib.Path(__file__).resolve().parents[2] / "target/release/examples/speed"


def ours(folder, form, length):
    """Tokens a second, after a prompt of the same length."""
    run = subprocess.run([SPEED, folder, form, str(length)], capture_output=True, text=True, check=True)
    words = next(line for line in run.stdout.splitlines() if "prefill" in line).split()
    return float(words[words.index("prefill") + 1])


def theirs(model, length):
    ids = torch.tensor([[1000 + i * 7 for i in range(length)]])
    start = time.time()
    with torch.no_grad():
        model(ids, use_cache=True, logits_to_keep=1)
    return length / (time.time() - start)


def main(folder, dtype, form):
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    for length in LENGTHS:
        theirs(model, length)
    for length in LENGTHS:
        pairs = [(ours(folder, form, length), theirs(model, length)) for _ in range(ROUNDS)]
        ratios = sorted(one / other for one, other in pairs)
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}, median {statistics.median(ratios):.2f}"
        rates = (statistics.median(rate) for rate in zip(*pairs))
        print(f"{length:4} tokens: {form} here and {dtype} there", *(f"{rate:.0f}" for rate in rates), f"ratio {spread}")


if __name__ == "__main__":
    main(*sys.argv[1:])
