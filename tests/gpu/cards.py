"""What becomes of models where a card is full, small, lost, or one of two: by the kernel as its user meets it, on
stand-ins for cards (`card/src/lib.rs`). `host.sh` runs it with a program that has the
feature `cuda`; pytest does not find it by itself, since one without sees no card.
"""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from conftest import MODEL, new_kernel, surroundings, warmcell  # noqa: E402, F401

# What stays free on a card, what the model takes there, and a conversation of 2,048 tokens beside it.
HEADROOM = 512 << 20
WEIGHTS, CONVERSATION = 97_000_000, 95_000_000
QUESTION = "%%chat --max 4\nHi"
# The first test has the processor say it.
EXPECTED = "Hello! How can"


@pytest.fixture
def on(monkeypatch, new_kernel):  # noqa: F811
    """A kernel whose host finds such cards."""

    def start(**card):
        warmcell("host", "stop")
        for name, value in card.items():
            monkeypatch.setenv(f"STANDIN_{name}", str(value))
        return new_kernel()

    yield start
    warmcell("host", "stop")


def texts(outcome):
    """All that a cell showed."""
    shown = outcome.of("display_data") + outcome.of("execute_result") + outcome.of("update_display_data")
    plain = [content["data"].get("text/plain", "") for content in shown]
    return "\n".join([outcome.stream(), outcome.stream("stderr"), *plain])


def answer(kernel, question=QUESTION):
    """What the model says, without what is said of it."""
    return kernel.run(question).expect_ok().stream().split("the answer reached")[0].strip()


def test_a_card_takes_a_model_and_answers_as_the_processor(on):
    kernel = on()
    assert "cuda:0  Stand-in card  8.0" in texts(kernel.run("%gpu").expect_ok())
    said = texts(kernel.run(f"%load {MODEL}").expect_ok())
    assert f"Loaded {MODEL} on cuda:0" in said
    # The head is tied to the embedding, which stays on the processor.
    steps = re.findall(r"([\d.]+) MB of ([\d.]+) MB", said)
    assert steps and all(float(done) <= float(whole) for done, whole in steps), said
    assert answer(kernel) == EXPECTED
    assert answer(on(), f"%%chat {MODEL} --device cpu --max 4\nHi") == EXPECTED


def test_what_does_not_fit_is_split_between_card_and_processor(on):
    kernel = on(CARD_BYTES=HEADROOM + 93_000_000)
    said = texts(kernel.run(f"%load {MODEL}").expect_ok())
    layers, rest = re.search(r"(\d+) of 30 layers on `cuda:0`, (\d+) and the head on `cpu`", said).groups()
    assert int(layers) + int(rest) == 30, said
    assert answer(kernel) == EXPECTED


def test_two_cards_share_a_model_by_layers(on):
    kernel = on(CARDS=2, CARD_BYTES=HEADROOM + 123_000_000)
    said = texts(kernel.run(f"%load {MODEL}").expect_ok())
    layers, rest = re.search(r"(\d+) of 30 layers on `cuda:0`, (\d+) and the head on `cuda:1`", said).groups()
    assert int(layers) + int(rest) == 30, said
    assert answer(kernel) == EXPECTED
    where = texts(kernel.run("%models").expect_ok())
    assert re.search(r"MB on cpu, [\d.]+ MB on cuda:0, [\d.]+ MB on cuda:1", where), where


def test_a_named_card_that_has_no_room_is_an_error(on):
    kernel = on(CARD_BYTES=HEADROOM + WEIGHTS)
    failed = kernel.run(f"%load {MODEL} --device cuda:0")
    assert failed.status == "error" and "OutOfMemory" in failed.traceback
    assert "are free there" in failed.traceback and 'device_map("auto")' in failed.traceback
    assert "No model in memory" in texts(kernel.run("%models").expect_ok())


def test_a_model_that_nobody_uses_goes_for_another(on):
    kernel = on(CARD_BYTES=HEADROOM + WEIGHTS + CONVERSATION)
    kernel.run(f"%load {MODEL} --device cuda:0").expect_ok()
    # With a cache of another type it is another model.
    said = texts(kernel.run(f"%load {MODEL} --device cuda:0 --cache-dtype f16").expect_ok())
    assert f"freed `{MODEL}`" in said and "to make room" in said, said
    assert "1 model in memory" in texts(kernel.run("%models").expect_ok())
    assert answer(kernel, f"%%chat {MODEL} --device cuda:0 --cache-dtype f16 --max 4\nHi") == EXPECTED


@pytest.fixture
def halfway(on, tmp_path):
    """Allocations and launches until half of an answer is there."""
    log = tmp_path / "log"
    kernel = on(CARD_LOG=log)
    kernel.run(f"%load {MODEL}").expect_ok()
    loaded = log.read_text().splitlines()
    answer(kernel)
    lines = log.read_text().splitlines()
    lines = lines[: (len(loaded) + len(lines)) // 2]
    taken = sum(line.startswith("taken: ") for line in lines)
    launched = sum(re.fullmatch(r"\w+ \[\d+, \d+, \d+\] \d+", line) is not None for line in lines)
    assert taken > sum(line.startswith("taken: ") for line in loaded) and launched > 100
    return {"allocations": taken, "launches": launched}


def test_what_is_freed_goes_back_to_the_card(on, tmp_path):
    log = tmp_path / "log"
    kernel = on(CARD_LOG=log)

    def kept():
        """What the pool was told to keep at last."""
        lines = [line for line in log.read_text().splitlines() if line.startswith("kept: ")]
        return int(lines[-1].split()[1])

    kernel.run(f"%load {MODEL}").expect_ok()
    answer(kernel)
    assert kept() > (256 << 20) + 0.9 * WEIGHTS, "what is used, and some for the next answer"
    kernel.run(f"%unload {MODEL}").expect_ok()
    assert kept() < WEIGHTS / 10


def test_a_load_that_fails_gives_back_what_it_took(on, tmp_path):
    log = tmp_path / "log"
    kernel = on(CARD_LOG=log, CARD_FULL_AT=60)
    failed = kernel.run(f"%load {MODEL} --device cuda:0")
    assert failed.status == "error" and "OutOfMemory" in failed.traceback, failed.traceback
    lines = [line for line in log.read_text().splitlines() if line.startswith(("taken: ", "kept: "))]
    assert len(lines) > 60 and lines[-1] == "kept: 0 bytes", lines[-5:]
    kernel.run(f"%load {MODEL} --device cuda:0").expect_ok()


def test_an_allocation_that_fails_is_tried_again_without_what_the_pool_keeps(on, halfway):
    kernel = on(CARD_FULL_AT=halfway["allocations"])
    kernel.run(f"%load {MODEL}").expect_ok()
    assert answer(kernel) == EXPECTED


def test_allocations_that_fail_end_that_request_alone(on, halfway):
    kernel = on(CARD_FULL_AT=halfway["allocations"], CARD_FULL_COUNT=2)
    kernel.run(f"%load {MODEL}").expect_ok()
    failed = kernel.run(QUESTION)
    assert failed.status == "error" and "OutOfMemory" in failed.traceback, failed.traceback
    assert "no memory left" in failed.traceback and "hint" in failed.traceback
    assert f"{MODEL}" in texts(kernel.run("%models").expect_ok()), "it stays"
    assert answer(kernel) == EXPECTED


def test_a_lost_card_ends_the_host_and_not_the_notebook(on, halfway):
    kernel = on(CARD_LOST_AFTER=halfway["launches"])
    kernel.run(f"%load {MODEL}").expect_ok()
    failed = kernel.run(QUESTION)
    assert failed.status == "error" and "DeviceError" in failed.traceback
    assert "CUDA_ERROR_ECC_UNCORRECTABLE" in failed.traceback and "the next request starts another" in failed.traceback
    assert "candle_core::" not in failed.traceback, "calls of this program are not for its user"
    # At once, while the old host may still be going.
    assert f"Loaded {MODEL} on cuda:0" in texts(kernel.run(f"%load {MODEL}").expect_ok())
    # What the notebook knows is still there.
    assert "1 model in memory" in texts(kernel.run("%models").expect_ok())


def test_a_card_that_is_too_old_is_told_and_left(on):
    kernel = on(CARD_CAPABILITY="7.5")
    failed = kernel.run(f"%load {MODEL} --device cuda:0")
    assert "compute capability 7.5, this program's kernels need 8.0" in failed.traceback, failed.traceback
    said = texts(kernel.run(f"%load {MODEL}").expect_ok())
    assert f"Loaded {MODEL} on cpu" in said and "`auto` takes the CPU" in said, said
    assert answer(kernel) == EXPECTED


def test_a_card_that_another_program_has_is_told_and_left(on):
    kernel = on(CARD_TAKEN=1)
    failed = kernel.run(f"%load {MODEL} --device cuda:0")
    assert "`cuda:0` cannot be opened" in failed.traceback and "CUDA_ERROR_DEVICE_UNAVAILABLE" in failed.traceback
    said = texts(kernel.run(f"%load {MODEL}").expect_ok())
    assert f"Loaded {MODEL} on cpu" in said and "`auto` takes the CPU: `cuda:0` cannot be opened" in said, said
    # And what was loaded is still there: the host was not ended for it.
    assert answer(kernel) == EXPECTED
    assert "1 model in memory" in texts(kernel.run("%models").expect_ok())


def test_two_notebooks_ask_one_model_at_once(on, tmp_path):
    log = tmp_path / "log"
    # The host has long asked for the next token when the card is done with one.
    first = on(CARD_LOG=log, CARD_LAUNCH_MICROS=5000)
    first.run(f"%load {MODEL}").expect_ok()
    second = type(first)(tmp_path)
    try:
        requests = [kernel.send("%%chat --max 12\nHi") for kernel in (first, second)]
        outcomes = [kernel.collect(request) for kernel, request in zip((first, second), requests, strict=True)]
    finally:
        second.close()
    for outcome in outcomes:
        assert outcome.expect_ok().stream().startswith(EXPECTED), outcome.stream()
    steps = re.findall(r"^candidates \[(\d), ", log.read_text(), re.MULTILINE)
    assert steps.count("2") >= 9, f"tokens of both in a step: {steps}"
