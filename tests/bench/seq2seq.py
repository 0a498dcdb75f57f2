#!/usr/bin/env python3
"""Times transformers' beam search by encoder-decoders of random weights, for the record in README.md.

    pip install transformers==4.57.6 torch
    python seq2seq.py make FOLDER t5       # a checkpoint of T5-small's shape
    python seq2seq.py make FOLDER bart     # one of BART-base's
    python seq2seq.py time FOLDER [SOURCE]

`time` writes 64 tokens by 4 beams from a source of SOURCE tokens (128), on two threads, and gives the median of
seven. Ours: `cargo run --release -p warmcell-engine --example rewrite -- FOLDER [SOURCE]`.
"""

import os
import statistics
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
import transformers
from tokenizers import Tokenizer, models

NEW = 64


def make(folder, shape):
    torch.manual_seed(0)
    if shape == "t5":
        config = transformers.T5Config(
            vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=0
        )
        model = transformers.T5ForConditionalGeneration(config)
    else:
        config = transformers.BartConfig(
            vocab_size=50265, d_model=768, encoder_layers=6, decoder_layers=6, encoder_attention_heads=12,
            decoder_attention_heads=12, encoder_ffn_dim=3072, decoder_ffn_dim=3072,
        )
        model = transformers.BartForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def measure(folder, length):
    torch.set_num_threads(2)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [[5 + (7 * index * index + index) % 30000 for index in range(length)]]
    source = torch.tensor(ids)
    arguments = {"num_beams": 4, "max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    seconds = []
    for turn in range(8):
        started = time.perf_counter()
        output = model.generate(source, attention_mask=torch.ones_like(source), **arguments)
        if turn:
            seconds.append(time.perf_counter() - started)
    encode = []
    for _ in range(5):
        started = time.perf_counter()
        with torch.no_grad():
            model.get_encoder()(source)
        encode.append(time.perf_counter() - started)
    print(f"{statistics.median(seconds):.3f} s ({min(seconds):.3f}–{max(seconds):.3f}), encoder {statistics.median(encode):.3f} s")
    print("ids", output[0].tolist()[1:9])


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3])
    else:
        measure(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 128)
