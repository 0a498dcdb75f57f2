#!/usr/bin/env bash
# What a card computes, beside what the processor does of the same checkpoints, and how fast; on a machine with a
# driver, where there need be no Rust, no compiler and no network. It builds nothing: the programs are
#
#   kernel/cuda/build.sh build --release --locked -p warmcell-engine --features cuda --example on_device --example measure
#   tests/gpu/run.sh target/cuda-80/x86_64-unknown-linux-gnu/release/examples [DEVICE [FOLDER]]
#
# The checkpoints are those of the engine's tests, whose vocabularies are small: their tokenizers are made up here. With a
# folder that has room for 22 GB it measures, too, whatever was found before, by `measure.py`, which needs PyTorch; beside
# candle's own model where `candle-peer` lies in the folder above the programs. `TIMEOUT` is how many seconds eight
# checkpoints may take (300).
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
# One whose rows fill segments of a warp and end within the next, and whose heads are as wide as those of large models;
# rows of tests are narrower than a segment, and heads than half of these.
mkdir "$folder/wide"
echo "$tokenizer" >"$folder/wide/tokenizer.json"
python3 - "$folder/wide" <<'PYTHON'
import array, json, pathlib, random, struct, sys

folder, numbers = pathlib.Path(sys.argv[1]), random.Random(1)
hidden, inner, vocabulary = 1280, 2304, 300
folder.joinpath("config.json").write_text(json.dumps({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden,
    "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 10, "num_key_value_heads": 1,
    "max_position_embeddings": 512, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
}))
shapes = {"model.embed_tokens": (vocabulary, hidden), "model.norm": (hidden,), "lm_head": (vocabulary, hidden)}
layer = {"q_proj": (hidden, hidden), "k_proj": (128, hidden), "v_proj": (128, hidden), "o_proj": (hidden, hidden)}
layer = {f"self_attn.{name}": shape for name, shape in layer.items()}
layer |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
layer |= {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
shapes |= {f"model.layers.0.{name}": shape for name, shape in layer.items()}
header, body = {}, bytearray()
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    scale = 1e-3 if len(shape) > 1 else 0
    values = array.array("f", ((byte - 127.5) * scale + (0 if scale else 1) for byte in numbers.randbytes(count)))
    header[name + ".weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + 4 * count]}
    body += values.tobytes()
header = json.dumps(header).encode()
header += b" " * (-len(header) % 8)
folder.joinpath("model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + body)
PYTHON
# Where PyTorch's wheels have NVIDIA's libraries, if nobody else has.
wheels=$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0] + "/cu13/lib")' 2>/dev/null || true)
[ -z "$wheels" ] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$wheels
# Some by a process: after some errors a card computes nothing more for one.
status=0
printf '%s\0' "$folder"/* "$PWD"/lib/engine/tests/fixtures/families/gguf/*.gguf |
    xargs -0 -n 8 timeout "${TIMEOUT:-300}" "$programs/on_device" "$device" || status=1
peer=$programs/../candle-peer
[ -x "$peer" ] && peer=(--candle "$peer") || peer=()
[ -z "${3-}" ] || python3 tests/gpu/measure.py "$programs/measure" "$3" "${peer[@]}" || status=1
exit $status
