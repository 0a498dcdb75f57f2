#!/usr/bin/env bash
# What a card computes, beside what the processor does of the same checkpoints, and how fast; on a machine with a
# driver, where there need be no Rust, no compiler and no network. It builds nothing: the programs are
#
#   kernel/cuda/build.sh build --release --locked -p warmcell-engine --features cuda --example on_device --example measure
#   tests/gpu/run.sh target/cuda-80/x86_64-unknown-linux-gnu/release/examples [DEVICE [FOLDER]]
#
# The checkpoints are those of the engine's tests, whose vocabularies are small: their tokenizers are made up here. With a
# folder that has room for 22 GB it measures, too, by `measure.py`, which needs PyTorch.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=${1:?the folder of the programs on_device and measure}
device=${2:-cuda:0}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || true
tokenizer='{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
"model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}'
for checkpoint in lib/engine/tests/fixtures/{families,encoders,seq2seq}/*/; do
    [ -f "$checkpoint/model.safetensors" ] || continue
    copy=$folder/$(basename "$checkpoint")
    cp -r "$checkpoint" "$copy"
    rm -f "$copy"/{vocab.*,*.spm,spiece.model,sentencepiece*}
    echo "$tokenizer" >"$copy/tokenizer.json"
done
"$programs/on_device" "$device" "$folder"/* "$PWD"/lib/engine/tests/fixtures/families/gguf/*.gguf
[ -z "${3-}" ] || python3 tests/gpu/measure.py "$programs/measure" "$3"
