#!/usr/bin/env python3
"""Measures a card: Warmcell and its peers, in turn, on checkpoints of Llama 3 8B's shape with random weights, which are
made there. Prints a table for the record in tests/bench/README.md, with what bounds decoding: bytes that a token reads
by the bandwidth of a copy.

    kernel/cuda/build.sh build --release --locked -p warmcell-engine --features cuda --example measure
    kernel/cuda/build.sh build --release --locked --features cuda --manifest-path tests/bench/candle/Cargo.toml
    python3 tests/gpu/measure.py PROGRAM FOLDER [--candle PEER] [--layers N] [--contexts 128,512,4096] [--skip-peers]

PROGRAM is the example `measure` from that build, PEER candle's own model, `candle-peer`; FOLDER has room for 22 GB. It
needs PyTorch and numpy; the other peers need transformers 4.57.6 and bitsandbytes 0.50.2 (wheels), and are left out,
with a line, where these are not. Without a card everything runs on the processor, to try the script itself (with
--layers 1 and short contexts).
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import time

import numpy
import torch

HIDDEN, INNER, VOCABULARY, HEADS, KV_HEADS = 4096, 14336, 128256, 32, 8
STEPS = 32


def shapes(layers):
    """Names and shapes of the checkpoint, by shards."""
    yield {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(layers):
        attention = {"q_proj": HIDDEN, "k_proj": HIDDEN // 4, "v_proj": HIDDEN // 4, "o_proj": HIDDEN}
        parts = {f"self_attn.{part}.weight": (rows, HIDDEN) for part, rows in attention.items()}
        parts |= {f"mlp.{part}.weight": (INNER, HIDDEN) for part in ("gate_proj", "up_proj")}
        parts |= {"mlp.down_proj.weight": (HIDDEN, INNER)}
        parts |= {f"{part}_layernorm.weight": (HIDDEN,) for part in ("input", "post_attention")}
        yield {f"model.layers.{layer}.{name}": shape for name, shape in parts.items()}
    yield {"lm_head.weight": (VOCABULARY, HIDDEN)}


def make_checkpoint(folder, layers, device):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": 8192, "rope_theta": 500000.0, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    index = {}
    for number, shard in enumerate(shapes(layers)):
        torch.manual_seed(number)
        name, entries, start = f"model-{number:05}.safetensors", {}, 0
        tensors = []
        for key, shape in shard.items():
            values = torch.ones(shape) if len(shape) == 1 else torch.randn(shape, device=device) * 0.02
            raw = values.bfloat16().contiguous().view(torch.uint8).cpu().numpy().tobytes()
            entries[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, start + len(raw)]}
            start += len(raw)
            tensors.append(raw)
            index[key] = name
        header = json.dumps(entries).encode()
        header += b" " * (-len(header) % 8)
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for raw in tensors:
                file.write(raw)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


# Number, values and bytes of a block, and where it has floats of two bytes.
Q4_K, Q6_K, F32 = (12, 256, 144, (0, 2)), (14, 256, 210, (208,)), (0, 1, 4, ())


def blocks(kind, shape):
    """Random blocks, whose scales are small."""
    _, values, size, halves = kind
    rows, columns = (1, *shape)[-2:]
    raw = numpy.random.default_rng(rows * columns).integers(0, 256, (rows * columns // values, size), dtype=numpy.uint8)
    for at in halves:
        raw[:, at : at + 2] = numpy.frombuffer(numpy.float16(0.0005).tobytes(), numpy.uint8)
    return raw.tobytes()


def make_gguf(file, layers):
    """A file of types as llama.cpp's Q4_K_M has them: most in Q4_K, the head, and of half of the layers values and the way
    out of the feed-forward layer, in Q6_K."""
    tensors = {"token_embd.weight": (Q4_K, (VOCABULARY, HIDDEN)), "output_norm.weight": (F32, (HIDDEN,))}
    tensors["output.weight"] = (Q6_K, (VOCABULARY, HIDDEN))
    for layer in range(layers):
        better = Q6_K if layer % 2 == 0 else Q4_K
        parts = {
            "attn_q": (Q4_K, (HIDDEN, HIDDEN)), "attn_k": (Q4_K, (HIDDEN // 4, HIDDEN)),
            "attn_v": (better, (HIDDEN // 4, HIDDEN)), "attn_output": (Q4_K, (HIDDEN, HIDDEN)),
            "ffn_gate": (Q4_K, (INNER, HIDDEN)), "ffn_up": (Q4_K, (INNER, HIDDEN)), "ffn_down": (better, (HIDDEN, INNER)),
            "attn_norm": (F32, (HIDDEN,)), "ffn_norm": (F32, (HIDDEN,)),
        }
        tensors |= {f"blk.{layer}.{name}.weight": part for name, part in parts.items()}

    def text(value):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    def entry(key, value):
        kinds = {int: (4, lambda v: struct.pack("<I", v)), float: (6, lambda v: struct.pack("<f", v)), str: (8, text)}
        if isinstance(value, list):
            number, pack = kinds[type(value[0])]
            body = struct.pack("<IQ", number, len(value)) + b"".join(map(pack, value))
            return text(key) + struct.pack("<I", 9) + body
        number, pack = kinds[type(value)]
        return text(key) + struct.pack("<I", number) + pack(value)

    tokens = [f"t{number}" for number in range(VOCABULARY)]
    metadata = {
        "general.architecture": "llama", "llama.context_length": 8192, "llama.embedding_length": HIDDEN,
        "llama.block_count": layers, "llama.feed_forward_length": INNER, "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS, "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 500000.0, "llama.vocab_size": VOCABULARY, "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": ["t 0"],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1,
    }
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(entry(key, value) for key, value in metadata.items())
    start = 0
    sizes = {}
    for name, ((number, values, size, _), shape) in tensors.items():
        count = int(numpy.prod(shape))
        header += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        header += struct.pack("<IQ", number, start)
        sizes[name] = count // values * size
        start += -(-sizes[name] // 32) * 32
    with open(file, "wb") as out:
        out.write(header + b"\0" * (-len(header) % 32))
        for name, (kind, shape) in tensors.items():
            raw = numpy.ones(shape, numpy.float32).tobytes() if kind is F32 else blocks(kind, shape)
            out.write(raw + b"\0" * (-sizes[name] % 32))


def bandwidth(device):
    """Bytes a second of a copy on the card, read and written."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10):
        settle(device)
        started = time.perf_counter()
        target.copy_(source)
        settle(device)
        best = max(best, 2 * source.numel() / (time.perf_counter() - started))
    return best


def settle(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def peer(folder, kind, contexts, together, device):
    """transformers, with bitsandbytes or without, as `measure` has its figures."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    options = {"device_map": {"": str(device)}, "dtype": torch.bfloat16}
    if kind == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    started = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    settle(device)
    found = {"load": time.perf_counter() - started, "contexts": [], "together": []}
    found["footprint"] = model.get_memory_footprint()

    def seconds(rows, length, count):
        ids = (3 + torch.arange(length, device=device) * 7 % 89).repeat(rows, 1)
        settle(device)
        started = time.perf_counter()
        model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False,
            pad_token_id=0,
        )
        settle(device)
        return time.perf_counter() - started

    for length in contexts:
        seconds(1, length, 2)
        first = seconds(1, length, 1)
        rest = seconds(1, length, 1 + STEPS) - first
        found["contexts"].append(
            {"context": length, "prefill": length / first, "first_token": first, "decode": STEPS / rest}
        )
    for rows in together:
        first = seconds(rows, 64, 1)
        rest = seconds(rows, 64, 1 + STEPS) - first
        found["together"].append({"requests": rows, "tokens": rows * STEPS / rest})
    del model
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def forget(paths):
    """Drops files from the page cache, where one may: what is loaded next is cold."""
    try:
        subprocess.run(["sync"], check=False)
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        return True
    except OSError:
        import os

        for path in paths:
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return False


def ours(program, device, arguments, models):
    run = subprocess.run([program, device, *arguments, *models], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def show(name, found, limit=None):
    if "error" in found:
        print(f"| {name} | {found['error'].splitlines()[0]} | | | | |")
        return
    contexts = found.get("contexts", [])
    decode = ", ".join(f"{one['decode']:.1f}" for one in contexts) or f"{found.get('decode', 0):.1f}"
    prefill = ", ".join(f"{one['prefill']:.0f}" for one in contexts)
    first = ", ".join(f"{one['first_token'] * 1e3:.0f}" for one in contexts)
    memory = found.get("bytes") or ({"": found["footprint"]} if "footprint" in found else {})
    memory = ", ".join(f"{place} {size / 1e9:.2f} GB".strip() for place, size in memory.items())
    load = f"{found['load']:.1f} s" if "load" in found else ""
    if "resident" in found:
        load += f", {found['resident'] * 1e3:.2f} ms"
    print(f"| {name} | {decode} | {prefill} | {first} | {memory} | {load} |")
    if limit and contexts:
        share = contexts[0]["decode"] / limit
        print(f"| | {share:.0%} of the limit of {limit:.0f} | | | | |")
    alone = next((one["tokens"] for one in found.get("together", []) if one["requests"] == 1), None)
    for one in found.get("together", []):
        if alone and one["requests"] > 1:
            print(f"| | {one['requests']} at once: {one['tokens']:.0f}, {one['tokens'] / alone:.1f} times | | | | |")


def compare(mine, peer):
    """A line of how many times the peer's figures ours are, of the contexts that both have."""
    theirs = {one["context"]: one for one in peer["contexts"]}
    both = [(one, theirs[one["context"]]) for one in mine.get("contexts", []) if one["context"] in theirs]
    if not both:
        return
    decode = ", ".join(f"{a['decode'] / b['decode']:.1f}" for a, b in both)
    prefill = ", ".join(f"{a['prefill'] / b['prefill']:.2f}" for a, b in both)
    print(f"| | Warmcell {decode} times | {prefill} times | | | |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--contexts", default="128,512,4096")
    parser.add_argument("--together", default="1,8,32")
    parser.add_argument("--candle", metavar="PEER")
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    checkpoint, gguf = options.folder / "checkpoint", options.folder / "blocks.gguf"
    if not (checkpoint / "model.safetensors.index.json").exists():
        make_checkpoint(checkpoint, options.layers, device)
    if not gguf.exists():
        make_gguf(gguf, options.layers)
    copy = bandwidth(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "the processor"
    print(f"{name}, a copy moves {copy / 1e9:.0f} GB/s; Llama 3 8B's shape, {options.layers} layers, random weights;")
    print(f"contexts of {options.contexts} tokens, batch 1\n")
    print("| | decode, tokens/s | prefill, tokens/s | first token, ms | memory | load, then resident |")
    print("|---|---|---|---|---|---|")
    shape = [options.contexts, options.together]
    results = {}
    for form, path in [("nf4", checkpoint), ("bf16", checkpoint), ("int8", checkpoint), ("plain", gguf)]:
        is_cold = forget([gguf, *checkpoint.glob("*.safetensors")])
        [cold] = ours(options.program, str(device), ["", ""], [f"{path}={form}"])
        [found] = ours(options.program, str(device), shape, [f"{path}={form}"])
        results[form] = found
        weights = max(found.get("bytes", {"": 0}).values())
        show(f"Warmcell, {'GGUF, Q4_K_M-like' if form == 'plain' else form}", found, copy / weights if weights else None)
        what = "cold" if is_cold else "from files that were told to leave the page cache"
        print(f"| | | | | | {cold.get('load', 0):.1f} s {what} |")
    for kind in ["q4_k"]:
        [found] = ours(options.program, str(device), ["", ""], [f"products={kind}"])
        results["products"] = found
        show(f"candle's products alone, {kind}", found)
    if options.candle:
        [found] = ours(options.candle, str(device), [options.contexts], [gguf])
        show("candle, the same file", found)
        compare(results["plain"], found)
    if options.skip_peers:
        return
    contexts = [int(number) for number in options.contexts.split(",")]
    together = [int(number) for number in options.together.split(",") if number]
    for kind in ["nf4", "bf16"]:
        try:
            found = peer(checkpoint, kind, contexts, together, device)
        except ImportError as error:
            print(f"| transformers, {kind} | left out: {error} | | | | |")
            continue
        show(f"transformers, {kind}", found)
        compare(results[kind], found)


if __name__ == "__main__":
    sys.exit(main())
