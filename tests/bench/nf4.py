#!/usr/bin/env python3
"""Times transformers with bitsandbytes (nf4, double quantisation) on a checkpoint, for the record in README.md.

    pip install bitsandbytes==0.50.2 transformers==4.57.6 torch accelerate
    python nf4.py make FOLDER          # a checkpoint of SmolLM2-135M's shape with random weights
    python nf4.py make-8b FOLDER       # one of Llama-3.1-8B's shape, in shards, 16 GB
    python nf4.py time FOLDER [portable]

`portable` leaves bitsandbytes' AVX512-BF16 product out. Ours: `cargo run --release -p warmcell-engine --example
speed -- FOLDER nf4`, with any tokenizer.json in the folder.
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


def measure(folder, dtype, portable):
    torch.set_num_threads(2)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    start = time.time()
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu", dtype=dtype).eval()
    load = time.time() - start
    if portable:
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    ids = torch.tensor([[1000 + i * 7 for i in range(64)]])

    def generate(count):
        start = time.time()
        model.generate(
            ids, attention_mask=torch.ones_like(ids), min_new_tokens=count, max_new_tokens=count, do_sample=False,
            pad_token_id=0,
        )
        return time.time() - start

    generate(2)
    prefill = generate(1)
    decode = generate(17) - prefill
    print(f"{dtype}: load {load:.2f} s, prefill {64 / prefill:.1f}, decode {16 / decode:.1f} tokens/s,"
          f" footprint {model.get_memory_footprint()}")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    elif sys.argv[1] == "make-8b":
        make_8b(sys.argv[2])
    else:
        for dtype in (torch.float32, torch.bfloat16):
            measure(sys.argv[2], dtype, "portable" in sys.argv[3:])
