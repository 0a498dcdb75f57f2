#!/usr/bin/env python3
"""Times embeddings of 1,000 sentences by all-MiniLM-L6-v2 against transformers, for the record in README.md.

    pip install transformers==4.57.6 torch
    cargo run --release -- setup
    cargo build --release -p warmcell-engine --example embeddings
    python embeddings.py PROGRAM FOLDER_OF_ENCODER [--sentence-transformers]

PROGRAM is the example. Two threads, the programs taking turns, three rounds, the fastest of each. Sentences have
3 to 40 words of the fixture's. transformers reads them sorted by length, which spares it padding, as
sentence-transformers does; ours reads them as they come.
"""

import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from transformers import AutoModel, AutoTokenizer

WORDS = (
    "the course shows how open language models read and write text while students try small examples in "
    "notebooks that run on their own laptops without a graphics card and learn what tokens attention and "
    "embeddings are before they compare answers of several models about cities rivers music and science"
).split()


def sentences():
    chosen = random.Random(0)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(3, 40))) + "." for _ in range(1000)]


def theirs(model, tokenizer, texts, batch_size):
    start = time.perf_counter()
    texts = sorted(texts, key=len)
    with torch.no_grad():
        for at in range(0, len(texts), batch_size):
            inputs = tokenizer(texts[at : at + batch_size], return_tensors="pt", padding=True, truncation=True)
            states = model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).float()
            torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    return len(texts) / (time.perf_counter() - start)


def ours(program, file, batch_size):
    environment = {**os.environ, "RAYON_NUM_THREADS": "2"}
    command = [program, file, str(batch_size)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main():
    program, folder = sys.argv[1:3]
    torch.set_num_threads(2)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = sentences()
    rivals = {"transformers": lambda size: theirs(model, tokenizer, texts, size)}
    if "--sentence-transformers" in sys.argv:
        from sentence_transformers import SentenceTransformer

        other = SentenceTransformer(folder, device="cpu")

        def encode(size):
            start = time.perf_counter()
            other.encode(texts, batch_size=size, normalize_embeddings=True)
            return len(texts) / (time.perf_counter() - start)

        rivals["sentence-transformers"] = encode
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(texts))
        file.flush()
        for size in [32, 1]:
            best = {}
            for _ in range(3):
                runs = {"Warmcell": lambda size: ours(program, file.name, size), **rivals}
                for name, run in runs.items():
                    best[name] = max(best.get(name, 0), run(size))
            for name, speed in best.items():
                print(f"batch {size:2}: {name:22} {speed:7.1f} sentences/s, Warmcell {best['Warmcell'] / speed:.2f} times", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
