"""Measures evcxr_jupyter and ipykernel by the faults of `kernel_faults.py`, and writes `peers.json`. Not part
of `tests/run`: it needs both kernels, and some ten minutes.

    cargo install evcxr_jupyter --version 0.22.0
    python -m pip install ipykernel==7.4.0 jupyter_client==8.10.0
    python tests/faults/peers.py --evcxr ~/.cargo/bin/evcxr_jupyter
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from kernel_faults import FAULTS, Subject, measure
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

RESULT = Path(__file__).parent / "peers.json"


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--evcxr", required=True, help="the program evcxr_jupyter 0.22.0")
    options.add_argument("--only", help="measure one fault, and print it")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
        write_spec(folder, "evcxr", [options.evcxr, "--control_file", "{connection_file}"], "message")
        write_spec(folder, "python", [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
        os.chdir(folder)
        subjects = {
            "evcxr_jupyter": ("evcxr", "rust", "0.22.0"),
            "ipykernel": ("python", "python", version("ipykernel")),
        }
        found = {"rustc": rustc()}
        for name, (spec, language, kernel_version) in subjects.items():
            faults = dict(measured(specs, spec, language, folder, options.only))
            found[name] = {"version": kernel_version, "faults": faults}
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if options.only:
        print(text)
    else:
        RESULT.write_text(text)


def measured(specs, spec, language, folder, only):
    subject = Subject(lambda: started(specs, spec, folder), language)
    for fault in FAULTS:
        if only not in (None, fault.name) or (language == "python" and fault.python is None):
            continue
        # A kernel of its own for each: what one fault leaves behind is not blamed on the next.
        subject.up()
        try:
            finding = measure(subject, fault, folder)
        finally:
            with contextlib.suppress(Exception):
                subject.down()
        print(spec, fault.name, finding, flush=True)
        yield fault.name, finding.as_json()


def started(specs, spec, folder):
    manager = KernelManager(kernel_name=spec, kernel_spec_manager=specs)
    with open(folder / "stderr.log", "a") as log:
        manager.start_kernel(cwd=str(folder), stderr=log, stdout=log)
    return manager


def write_spec(folder, name, argv, interrupt_mode="signal"):
    place = folder / "kernels" / name
    place.mkdir(parents=True)
    spec = {"argv": argv, "display_name": name, "language": name, "interrupt_mode": interrupt_mode}
    (place / "kernel.json").write_text(json.dumps(spec))


def rustc():
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
