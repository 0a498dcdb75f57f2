#!/usr/bin/env bash
# What becomes of models where a card is full, small, lost, or one of two (`cards.py`), by the program that
# `kernel/cuda/build.sh` made and stand-ins for cards. Needs what `tests/run` brings for Python's clients.
set -euo pipefail
cd "$(dirname "$0")/../.."

export WARMCELL_TEST_BINARY=${WARMCELL_TEST_BINARY:-$PWD/target/cuda-80/x86_64-unknown-linux-gnu/release/warmcell}
exec tests/gpu/standin.sh target/tests/python/bin/python -m pytest tests/gpu/cards.py "$@"
