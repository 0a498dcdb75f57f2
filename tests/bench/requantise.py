#!/usr/bin/env python3
"""Makes a Q4_0 or an F32 file of the embedded model for `llama.py`, by llama.cpp's own quantiser.

    pip install llama-cpp-python==0.3.36
    python requantise.py [F32]      # writes target/bench/SmolLM2-135M-Instruct.Q4_0.gguf, or .F32.gguf
    python llama.py ./target/bench/SmolLM2-135M-Instruct.Q4_0.gguf

From Q4_1, so that weights of Q4_0 are quantised twice: right for speed, not for answers. Those of F32 are the
same numbers.
"""

import ctypes
import sys
from pathlib import Path

import llama_cpp

EMBEDDED = Path.home() / ".local/share/warmcell/models/SmolLM2-135M-Instruct.Q4_1.gguf"
KIND = "F32" if "F32" in sys.argv[1:] else "Q4_0"
OUT = Path(__file__).resolve().parents[2] / f"target/bench/SmolLM2-135M-Instruct.{KIND}.gguf"

OUT.parent.mkdir(parents=True, exist_ok=True)
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = llama_cpp.LLAMA_FTYPE_ALL_F32 if KIND == "F32" else llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
params.allow_requantize = True
failed = llama_cpp.llama_model_quantize(str(EMBEDDED).encode(), str(OUT).encode(), ctypes.byref(params))
if failed:
    raise SystemExit(f"llama.cpp could not quantise {EMBEDDED} ({failed})")
print(OUT)
