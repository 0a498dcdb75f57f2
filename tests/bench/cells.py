#!/usr/bin/env python3
"""Times embeddings and a resident pipeline from a cell against the engine's own figures, for the record in
README.md.

    cargo run --release -- setup
    cargo build --release -p warmcell-engine --example embeddings
    target/tests/python/bin/python tests/bench/cells.py     # the environment that tests/run makes

The engine and the cell take turns, three times, the fastest of five rounds each: all sentences in one call by a
batch size, as the engine does, and a call for each sentence, where the difference is what a call costs beyond
the model's own time.
"""

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from conftest import Kernel  # noqa: E402

PROGRAM = ROOT / "target/release/examples/embeddings"
WORDS = (
    "the course shows how open language models read and write text while students try small examples in "
    "notebooks that run on their own laptops without a graphics card and learn what tokens attention and "
    "embeddings are before they compare answers of several models about cities rivers music and science"
).split()
LOAD = """let texts: Vec<String> = std::fs::read_to_string("FILE")?.lines().map(str::to_owned).collect();
let encoder = pipeline_with("feature-extraction").model("sentence-transformers/all-MiniLM-L6-v2").load()?;
encoder.embeddings("warm")?;"""
CELL = """{
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let started = std::time::Instant::now();
        RUN
        best = best.min(started.elapsed().as_secs_f64());
    }
    println!("{}", texts.len() as f64 / best);
}"""
# What runs in the cell, by what the engine's batch size is meanwhile.
RUNS = {
    "batch size 32": (32, "encoder.clone().batch_size(32).embeddings(texts.clone())?;"),
    "batch size 1": (1, "encoder.clone().batch_size(1).embeddings(texts.clone())?;"),
    "a call each": (1, "for text in &texts { encoder.embeddings(text.as_str())?; }"),
}


def sentences(count):
    chosen = random.Random(0)
    return [" ".join(chosen.choices(WORDS, k=chosen.randint(3, 40))) + "." for _ in range(count)]


def main():
    folder = Path(tempfile.mkdtemp())
    file = folder / "sentences.txt"
    file.write_text("\n".join(sentences(1000)))
    kernel = Kernel(folder)
    kernel.run(LOAD.replace("FILE", str(file))).expect_ok()
    for name, (size, run) in RUNS.items():
        host, cell = 0.0, 0.0
        for _ in range(3):
            printed = subprocess.run([PROGRAM, file, str(size)], check=True, capture_output=True, text=True).stdout
            host = max(host, float(re.search(r"[\d.]+", printed).group()))
            told = kernel.run(CELL.replace("RUN", run)).expect_ok().stream()
            cell = max(cell, float(told))
        print(f"{name}: engine {host:7.1f} sentences/s, cell {cell:7.1f}, {cell / host:.2f} of it; "
              f"{1000 * (1 / cell - 1 / host):.2f} ms a sentence more")
    kernel.close()


if __name__ == "__main__":
    main()
