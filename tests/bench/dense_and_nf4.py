#!/usr/bin/env python3
"""Times transformers on a checkpoint, dense or with bitsandbytes (nf4 with double quantisation, LLM.int8()), for the
record in README.md.

    pip install bitsandbytes==0.50.2 transformers==4.57.6 torch accelerate
    python dense_and_nf4.py make FOLDER          # a checkpoint of SmolLM2-135M's shape with random weights
    python dense_and_nf4.py make-8b FOLDER       # one of Llama-3.1-8B's shape, in shards, 16 GB
    python dense_and_nf4.py nf4 FOLDER [portable]
    python dense_and_nf4.py int8 FOLDER
    python dense_and_nf4.py dense FOLDER

`portable` leaves bitsandbytes' AVX512-BF16 product out. Ours: `cargo run --release -p warmcell-engine --example
speed -- FOLDER nf4` (or `llm-int8`, `f32`, `bf16`), with any tokenizer.json in the folder.
"""

import json
import os
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM


def make(folder):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rope_theta=1e5, tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)


def make_8b(folder):
    """Layer by layer: the model as a whole need not fit in memory."""
    hidden, inner, layers, vocab = 4096, 14336, 32, 128256
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=131072, rope_theta=5e5,
        tie_word_embeddings=False, dtype="bfloat16",
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    weights = {}

    def shard(name, shapes):
        torch.manual_seed(len(weights))
        tensors = {key: (torch.randn(shape) * 0.02).bfloat16() for key, shape in shapes.items()}
        save_file(tensors, f"{folder}/{name}.safetensors", metadata={"format": "pt"})
        weights.update({key: f"{name}.safetensors" for key in shapes})

    shard("model-00000", {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)})
    for layer in range(layers):
        attention = {"q_proj": hidden, "k_proj": hidden // 4, "v_proj": hidden // 4, "o_proj": hidden}
        shapes = {f"self_attn.{part}.weight": (rows, hidden) for part, rows in attention.items()}
        shapes |= {f"mlp.{part}.weight": (inner, hidden) for part in ("gate_proj", "up_proj")}
        shapes |= {"mlp.down_proj.weight": (hidden, inner)}
        shapes |= {f"{part}_layernorm.weight": (hidden,) for part in ("input", "post_attention")}
        shard(f"model-{layer + 1:05}", {f"model.layers.{layer}.{key}": shape for key, shape in shapes.items()})
    shard(f"model-{layers + 1:05}", {"lm_head.weight": (vocab, hidden)})
    with open(f"{folder}/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {}, "weight_map": weights}, file)


def load_nf4(folder, dtype, portable):
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu", dtype=dtype)
    if portable:
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    return model


def load_int8(folder, dtype):
    config = BitsAndBytesConfig(load_in_8bit=True)
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu", dtype=dtype)


def load_dense(folder, dtype):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def measure(dtype, load, lengths):
    torch.set_num_threads(2)
    start = time.time()
    model = load().eval()
    print(f"{dtype}: load {time.time() - start:.2f} s, footprint {model.get_memory_footprint()}")

    def generate(ids, count):
        start = time.time()
        model.generate(
            ids, attention_mask=torch.ones_like(ids), min_new_tokens=count, max_new_tokens=count, do_sample=False,
            pad_token_id=0,
        )
        return time.time() - start

    for length in lengths:
        ids = torch.tensor([[1000 + i * 7 for i in range(length)]])
        generate(ids, 2)
        prefill = generate(ids, 1)
        decode = generate(ids, 17) - prefill
        print(f"{length:4} tokens: prefill {length / prefill:.1f}, decode {16 / decode:.1f} tokens/s")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    elif sys.argv[1] == "make-8b":
        make_8b(sys.argv[2])
    else:
        kind, folder, *options = sys.argv[1:]
        for dtype in (torch.float32, torch.bfloat16):
            if kind == "nf4":
                measure(dtype, lambda: load_nf4(folder, dtype, "portable" in options), [64])
            elif kind == "int8":
                measure(dtype, lambda: load_int8(folder, dtype), [64, 512])
            else:
                measure(dtype, lambda: load_dense(folder, dtype), [512, 64, 2048])
