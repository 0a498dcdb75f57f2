"""The stop button: by message as JupyterLab sends it, and by signal. Whatever a cell does, it ends soon,
in an error named like Python's, and the variables stay."""

import os
import random
import signal
import time
from queue import Empty

import pytest
from conftest import MODEL

LOAD = (
    f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
    f'let tokenizer = AutoTokenizer::from_pretrained("{MODEL}")?;'
)
LONG = 'model.generate("Once upon a time").max_new_tokens(4000).min_new_tokens(4000)'


def by_message(kernel):
    kernel.manager.interrupt_kernel()


def by_signal(kernel):
    os.kill(kernel.manager.provisioner.process.pid, signal.SIGINT)


WAYS = {"message": by_message, "signal": by_signal}


@pytest.fixture(params=WAYS)
def interrupt(request):
    return WAYS[request.param]


def interrupted(kernel, code, interrupt, after):
    """Interrupts a cell some time after its first output, or after it was sent. Gives its outcome, and
    how long it took to end from then on."""
    if isinstance(after, str):
        request, pressed = kernel.send(code), []
        seen = ""

        def press(message):
            nonlocal seen
            if message["msg_type"] == "stream":
                seen += message["content"]["text"]
            if after in seen and not pressed:
                interrupt(kernel)
                pressed.append(time.monotonic())

        outcome = kernel.collect(request, timeout=60, on_message=press)
    else:
        request = kernel.send(code)
        time.sleep(after)
        interrupt(kernel)
        pressed = [time.monotonic()]
        outcome = kernel.collect(request, timeout=60)
    return outcome, time.monotonic() - pressed[0]


def between_cells(kernel, interrupt):
    """Presses, and gives the press time to arrive before the next cell does."""
    interrupt(kernel)
    time.sleep(1)


def expect_interrupted(outcome):
    content = outcome.reply["content"]
    assert content["status"] == "error"
    assert content["ename"] == "KeyboardInterrupt", content


# Each says so when it has begun, since it is compiled first.
WAITING = {
    "loop": 'println!("begun"); loop { std::hint::spin_loop(); }',
    "sleep": 'println!("begun"); std::thread::sleep(std::time::Duration::from_secs(3600));',
    "program": 'println!("begun"); std::process::Command::new("sleep").arg("3600").status()?;',
    "lock": 'println!("begun"); { let lock = std::sync::Mutex::new(1); let _one = lock.lock(); let _two = lock.lock(); }',
    "input": 'println!("begun"); std::io::stdin().read_line(&mut String::new())?;',
}


# These notice that what they wait for has gone, and end by themselves.
LISTENING = {"program", "input"}


@pytest.mark.parametrize("name", WAITING)
def test_a_cell_that_does_not_end_is_ended(kernel, interrupt, name):
    kernel.run("let kept = vec![1, 2, 3]; let mut count = 1;").expect_ok()
    moves = "" if name in LISTENING else "let moved = kept;"
    outcome, seconds = interrupted(kernel, "count += 1;" + moves + WAITING[name], interrupt, "begun")
    assert outcome.stream().startswith("begun")
    expect_interrupted(outcome)
    # The target is one second.
    assert seconds < 10
    count = 2 if name in LISTENING else 1
    assert kernel.run("(kept.len(), count)").expect_ok().result == f"(3, {count})"


def test_a_generation_stops_and_its_text_stays(kernel, interrupt):
    kernel.run(LOAD).expect_ok()
    kernel.run("let kept = 5;").expect_ok()
    outcome, seconds = interrupted(
        kernel, f"let answer = {LONG}.streamer(TextStreamer::new(&tokenizer)).run()?;", interrupt, " "
    )
    expect_interrupted(outcome)
    assert outcome.stream(), "the text that had come is gone"
    # The target is 0.2 seconds.
    assert seconds < 2
    assert kernel.run("kept").expect_ok().result == "5"
    again = kernel.run('println!("{}", model.generate("Hello").max_new_tokens(2).run()?);').expect_ok()
    assert again.stream()


def test_a_compilation_stops_and_the_next_one_works(kernel, interrupt):
    kernel.run("let kept = 5;").expect_ok()
    slow = "const fn count(n: u64) -> u64 { let mut i = 0; while i < n { i += 1; } i }\n"
    slow += "#[allow(long_running_const_eval)] const LONG: u64 = count(20_000_000_000);\nLONG"
    outcome, seconds = interrupted(kernel, slow, interrupt, 4)
    expect_interrupted(outcome)
    # The target is one second.
    assert seconds < 10
    assert kernel.run("kept + 1").expect_ok().result == "6"


def test_a_dependency_stops_and_the_next_cell_compiles(kernel, interrupt, tmp_path):
    """A build script that takes an hour stands for a fetch or a long build."""
    crate = tmp_path / "slow"
    (crate / "src").mkdir(parents=True)
    (crate / "Cargo.toml").write_text('[package]\nname = "slow"\nversion = "0.1.0"\nedition = "2024"\n')
    (crate / "build.rs").write_text("fn main() { std::thread::sleep(std::time::Duration::from_secs(3600)) }")
    (crate / "src/lib.rs").write_text("")
    kernel.run("let kept = 5;").expect_ok()
    outcome, seconds = interrupted(kernel, f':dep slow = {{ path = "{crate}" }}\nkept', interrupt, 5)
    expect_interrupted(outcome)
    # The target is one second.
    assert seconds < 10
    assert kernel.run("kept + 1", timeout=60).expect_ok().result == "6"


def test_the_cells_behind_are_aborted(kernel, interrupt):
    first = kernel.send('println!("begun"); loop { std::thread::yield_now(); }')
    waiting = [kernel.send("let never = 1;") for _ in range(2)]
    time.sleep(3)
    interrupt(kernel)
    expect_interrupted(kernel.collect(first))
    for request in waiting:
        assert kernel.collect(request).status == "aborted"
    assert kernel.run("never").status == "error"


def test_a_second_press_makes_it_no_worse(kernel, interrupt):
    kernel.run("let kept = 5;").expect_ok()
    request = kernel.send('println!("begun"); loop { std::hint::spin_loop(); }')
    time.sleep(2)
    for _ in range(5):
        interrupt(kernel)
        time.sleep(0.1)
    expect_interrupted(kernel.collect(request))
    between_cells(kernel, interrupt)
    assert kernel.run("kept").expect_ok().result == "5"


def test_an_interrupt_between_cells_does_nothing(kernel, interrupt):
    kernel.run("let kept = 5;").expect_ok()
    between_cells(kernel, interrupt)
    assert kernel.run("kept").expect_ok().result == "5"


# In CI a few; WARMCELL_INTERRUPTS=200 for the whole number.
ROUNDS = int(os.environ.get("WARMCELL_INTERRUPTS", "12"))
CELLS = [
    "loop { std::hint::spin_loop(); }",
    "std::thread::sleep(std::time::Duration::from_secs(60));",
    'let text = "x".repeat(20); println!("{text}");',
    "let twice = kept * 2; twice",
    'for line in 0..100_000 { println!("{line}"); }',
    f"{LONG}.run()?;",
]


@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_interrupts_at_random_leave_a_kernel_that_works(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    kernel.run("let kept = 5;").expect_ok()
    choose = random.Random(7)
    for number in range(ROUNDS):
        code = choose.choice(CELLS)
        request = kernel.send(code)
        # A cell takes about half a second to be compiled: before, at, and after its start.
        time.sleep(choose.uniform(0, 1.5))
        WAYS[choose.choice(sorted(WAYS))](kernel)
        # One that had ended by then was not interrupted; one that began since is pressed again.
        while True:
            try:
                outcome = kernel.collect(request, timeout=5)
                break
            except (AssertionError, Empty):
                by_message(kernel)
        content = outcome.reply["content"]
        assert content["status"] == "ok" or content["ename"] == "KeyboardInterrupt", (number, code, content)
        # Its own iopub messages may have been read above.
        # A press that came after the cell had ended is not to meet the next one.
        time.sleep(0.5)
        assert kernel.run("kept", timeout=30).expect_ok().result == "5", f"after round {number}: {code}"
