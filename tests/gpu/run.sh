#!/usr/bin/env bash
# What a card computes, beside what the processor does of the same checkpoints; on a machine with a driver, where
# there need be no Rust, no compiler and no network. It builds nothing: the program is
#
#   kernel/cuda/build.sh build --release --locked -p warmcell-engine --features cuda --example on_device
#   tests/gpu/run.sh target/cuda-80/x86_64-unknown-linux-gnu/release/examples/on_device [DEVICE]
#
# with the checkpoints of the engine's tests, whose vocabularies are small: their tokenizers are made up here.
set -euo pipefail
cd "$(dirname "$0")/../.."

program=${1:?the program on_device}
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
"$program" "$device" "$folder"/* "$PWD"/lib/engine/tests/fixtures/families/gguf/*.gguf
