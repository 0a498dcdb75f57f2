#!/usr/bin/env python3
"""Measures a card: Warmcell and its peers, one after the other, on checkpoints of Llama 3 8B's shape with random weights,
which are made there. Prints a table for the record in tests/bench/README.md, with what bounds decoding: bytes that a
token reads by the bandwidth of a copy.

    kernel/cuda/build.sh build --release --locked -p warmcell-engine --features cuda --example measure
    kernel/cuda/build.sh build --release --locked --features cuda --manifest-path tests/bench/candle/Cargo.toml
    python3 tests/gpu/measure.py PROGRAM FOLDER [--candle PEER] [--only PART,…] [--layers N] [--contexts 128,512,4096]

PROGRAM is the example `measure` from that build, PEER candle's own model, `candle-peer`; FOLDER has room for 22 GB. It
needs PyTorch and numpy; the other peers need transformers and bitsandbytes 0.50 (wheels). Parts are `checkpoint`, `gguf`
and `copy`, which the others need, `nf4`, `blocks`, `bf16`, `int8` (only when asked for), `candle`, `transformers-nf4`,
`transformers-bf16`, and `cold`, loads of files that are not in the page cache. Each is a process, which ends after
`--timeout` seconds, and its figures are a line of FOLDER/results.jsonl (`--record`) as soon as they are there: what was
measured before stays, whatever becomes of the rest, and the table is of all that the file has. Without a card everything
runs on the processor, to try the script itself (with --layers 1 and short contexts).
"""

import argparse
import json
import os
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
        "llama.rope.dimension_count": HIDDEN // HEADS, "llama.rope.freq_base": 500000.0, "llama.vocab_size": VOCABULARY, "tokenizer.ggml.model": "gpt2",
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
    unfinished = file.with_suffix(".part")
    with open(unfinished, "wb") as out:
        out.write(header + b"\0" * (-len(header) % 32))
        for name, (kind, shape) in tensors.items():
            raw = numpy.ones(shape, numpy.float32).tobytes() if kind is F32 else blocks(kind, shape)
            out.write(raw + b"\0" * (-sizes[name] % 32))
    unfinished.rename(file)


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
        seconds(rows, 64, 2)
        first = seconds(rows, 64, 1)
        rest = seconds(rows, 64, 1 + STEPS) - first
        found["together"].append({"requests": rows, "tokens": rows * STEPS / rest})
    return found


def forget(paths):
    """Drops files from the page cache; says how."""
    try:
        subprocess.run(["sync"], check=False)
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        return "cold"
    except OSError:
        for path in paths:
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return "from files that were told to leave the page cache"


def remember(paths):
    """Reads files, so that what is loaded next is in the page cache."""
    for path in paths:
        with open(path, "rb") as file:
            while file.read(1 << 26):
                pass


def libraries():
    """The environment in which programs find cuBLAS and cuRAND where PyTorch's wheels have them, if nowhere else."""
    try:
        import nvidia
    except ImportError:
        return os.environ
    folders = [str(pathlib.Path(place) / "cu13/lib") for place in nvidia.__path__]
    known = os.environ.get("LD_LIBRARY_PATH")
    return os.environ | {"LD_LIBRARY_PATH": ":".join(([known] if known else []) + folders)}


def called(command, timeout):
    """The JSON that a program prints last; an error where it does not end well."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, env=libraries())
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {timeout} s"}
    except OSError as error:
        return {"error": str(error)}
    lines = run.stdout.splitlines()
    if run.returncode or not lines:
        last = (run.stderr.strip() or "no figures").splitlines()[-1]
        return {"error": f"ended with {run.returncode}: {last}"}
    return json.loads(lines[-1])


class Measured:
    """The parts, each of which gives figures."""

    def __init__(self, options):
        self.options = options
        self.device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        self.checkpoint, self.gguf = options.folder / "checkpoint", options.folder / "blocks.gguf"

    def files(self):
        return [self.gguf, *sorted(self.checkpoint.glob("*.safetensors"))]

    def part(self, name):
        options = self.options
        if name == "checkpoint":
            if not (self.checkpoint / "model.safetensors.index.json").exists():
                make_checkpoint(self.checkpoint, options.layers, self.device)
            return {}
        if name == "gguf":
            if not self.gguf.exists():
                make_gguf(self.gguf, options.layers)
            return {}
        if name == "copy":
            card = torch.cuda.get_device_name() if self.device.type == "cuda" else "the processor"
            return {"copy": bandwidth(self.device), "card": card, "layers": options.layers}
        if name == "cold":
            return self.cold()
        if name == "candle":
            # Its context ends at 4,096 tokens, those that are generated included.
            contexts = ",".join(str(min(length, 4096 - 64)) for length in options.contexts)
            remember([self.gguf])
            return called([options.candle, str(self.device), contexts, self.gguf], options.timeout)
        if name.startswith("transformers-"):
            remember(self.files()[1:])
            kind = name.removeprefix("transformers-")
            return peer(self.checkpoint, kind, options.contexts, options.together, self.device)
        remember(self.files())
        return self.ours(name, [",".join(map(str, all)) for all in (options.contexts, options.together)])

    def ours(self, form, shape):
        model = f"{self.gguf}=plain" if form == "blocks" else f"{self.checkpoint}={form}"
        return called([self.options.program, str(self.device), *shape, model], self.options.timeout)

    def cold(self):
        found = {}
        for form in ("nf4", "blocks", "bf16"):
            found["how"] = forget(self.files())
            one = self.ours(form, ["", ""])
            found[form] = one.get("first_load", one.get("error"))
        return found


def show(name, found, limit=None):
    if "error" in found:
        print(f"| {name} | {found['error'].splitlines()[0]} | | | | |")
        return
    contexts = found["contexts"]
    decode = ", ".join(f"{one['decode']:.1f}" for one in contexts)
    prefill = ", ".join(f"{one['prefill']:.0f}" for one in contexts)
    first = ", ".join(f"{one['first_token'] * 1e3:.0f}" for one in contexts)
    memory = found.get("bytes") or ({"": found["footprint"]} if "footprint" in found else {})
    memory = ", ".join(f"{place} {size / 1e9:.2f} GB".strip() for place, size in memory.items())
    load = f"{found['load']:.1f} s"
    if "first_load" in found:
        load = f"{found['first_load']:.1f} s with the card's start, {load}, {found['resident'] * 1e3:.2f} ms"
    print(f"| {name} | {decode} | {prefill} | {first} | {memory} | {load} |")
    if limit and contexts:
        share = contexts[0]["decode"] / limit
        print(f"| | {share:.0%} of the limit of {limit:.0f} | | | | |")
    alone = next((one["tokens"] for one in found.get("together", []) if one["requests"] == 1), None)
    for one in found.get("together", []):
        if alone and one["requests"] > 1:
            print(f"| | {one['requests']} at once: {one['tokens']:.0f}, {one['tokens'] / alone:.1f} times | | | | |")


def compare(mine, peer):
    """A line of how many times the peer's figures ours are, context by context."""
    both = list(zip(mine.get("contexts", []), peer.get("contexts", [])))
    if not both:
        return
    decode = ", ".join(f"{a['decode'] / b['decode']:.1f}" for a, b in both)
    prefill = ", ".join(f"{a['prefill'] / b['prefill']:.2f}" for a, b in both)
    print(f"| | Warmcell {decode} times | {prefill} times | | | |")


def table(results, contexts):
    """All that there is."""
    copy = results.get("copy", {})
    print(f"{copy.get('card', 'the card')}, a copy moves {copy.get('copy', 0) / 1e9:.0f} GB/s; Llama 3 8B's shape,")
    print(f"{copy.get('layers', '?')} layers, random weights; contexts of {contexts} tokens, batch 1\n")
    print("| | decode, tokens/s | prefill, tokens/s | first token, ms | memory | load, again, and resident |")
    print("|---|---|---|---|---|---|")
    for form, label in [("nf4", "nf4"), ("blocks", "GGUF, Q4_K_M-like"), ("bf16", "bf16"), ("int8", "int8")]:
        if form in results:
            weights = max(results[form].get("bytes", {"": 0}).values())
            limit = copy["copy"] / weights if weights and "copy" in copy else None
            show(f"Warmcell, {label}", results[form], limit)
    pairs = [("candle", "candle, the same file, 4,032 for 4,096", "blocks")]
    pairs += [(f"transformers-{kind}", f"transformers, {kind}", kind) for kind in ("nf4", "bf16")]
    for part, label, form in pairs:
        if part in results:
            show(label, results[part])
            compare(results.get(form, {}), results[part])
    if "cold" in results:
        cold = ", ".join(f"{key} {value}" if isinstance(value, str) else f"{key} {value:.1f} s" for key, value in results["cold"].items())
        print(f"\nLoads from disk, with the card's start: {cold}")


PARTS = "checkpoint,gguf,copy,nf4,blocks,bf16,candle,transformers-nf4,transformers-bf16,cold"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    # The engine takes absolute folders alone for local ones.
    parser.add_argument("folder", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--candle", metavar="PEER")
    parser.add_argument("--only", metavar="PART,…", default=PARTS)
    parser.add_argument("--layers", type=int, default=32)
    numbers = lambda text: [int(number) for number in text.split(",") if number]  # noqa: E731
    parser.add_argument("--contexts", type=numbers, default=[128, 512, 4096])
    parser.add_argument("--together", type=numbers, default=[1, 8, 32])
    parser.add_argument("--timeout", type=float, default=150)
    parser.add_argument("--record", type=pathlib.Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.part:
        print(json.dumps(Measured(options).part(options.part)))
        return
    record = options.record or options.folder / "results.jsonl"
    results = {}
    if record.exists():
        for line in record.read_text().splitlines():
            results |= json.loads(line)
    for part in options.only.split(","):
        if part == "candle" and not options.candle:
            continue
        # What makes or reads files may take longer than what computes.
        limit = 3 * options.timeout
        started = time.perf_counter()
        found = called([sys.executable, __file__, *sys.argv[1:], "--part", part], limit)
        results[part] = found
        with open(record, "a") as file:
            file.write(json.dumps({part: found}) + "\n")
        print(f"{part}: {time.perf_counter() - started:.0f} s {found.get('error', '')}", file=sys.stderr, flush=True)
    table(results, options.contexts)


if __name__ == "__main__":
    sys.exit(main())
