"""The model host is killed while it works for a cell: the cell ends in an error that says so, and the
same handle starts another host and loads again."""

import threading
import time

import pytest
from conftest import MODEL, warmcell
from host_process import host_pid, is_gone, kill, memory, processor_seconds, start_host, stop_host, wait_for

LOAD = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
ASK = (
    'println!("{}", model.generate(&messages![user: "What is the capital of France?"])'
    ".max_new_tokens(24).run()?);"
)
STORY = (
    'model.generate("Once upon a time").min_new_tokens(2000).max_new_tokens(2000)'
    '.on_token(|token| print!("{}", token.text)).run()?;'
)


@pytest.fixture(autouse=True)
def no_host():
    """Each test starts with no host and no model."""
    stop_host()
    yield
    stop_host()


def assert_says_that_the_host_ended(outcome):
    assert outcome.status == "error"
    assert "the model host ended" in outcome.traceback, outcome.traceback
    assert "hint: run the cell again" in outcome.traceback, outcome.traceback


def assert_works_again(kernel, dead):
    assert kernel.run("kept").result == "3", "a variable was lost"
    outcome = kernel.run(ASK).expect_ok()
    assert "Paris" in outcome.stream()
    assert host_pid() not in (None, dead)
    return outcome


def test_during_a_load(new_kernel):
    kernel = new_kernel()
    kernel.run("let kept = 3;").expect_ok()
    # Compiles what the load needs, so that the next cell is the load alone.
    kernel.run(LOAD.replace("let model", "let _")).expect_ok()
    warmcell("models", "--unload", "all")
    host = host_pid()
    empty = memory(host)
    reading = []

    def kill_when_it_reads():
        wait_for("a fifth of the weights is read", lambda: memory(host) > empty + (20 << 20))
        reading.append(memory(host))
        kill(host)

    killer = threading.Thread(target=kill_when_it_reads)
    killer.start()
    outcome = kernel.run(LOAD)
    killer.join()
    assert reading
    assert_says_that_the_host_ended(outcome)
    kernel.run(LOAD).expect_ok()
    assert_works_again(kernel, host)


def test_during_a_prefill(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD + "let kept = 3;").expect_ok()
    kernel.run(ASK).expect_ok()
    host = host_pid()
    before = processor_seconds(host)
    running = kernel.send('model.generate("one two three ".repeat(2000).as_str()).max_new_tokens(1).run()?;')
    # Reading six thousand tokens takes far longer than that.
    wait_for("the prompt is being read", lambda: processor_seconds(host) > before + 0.5, 120)
    kill(host)
    started = time.monotonic()
    assert_says_that_the_host_ended(kernel.collect(running))
    assert time.monotonic() - started < 5, "the cell went on waiting"
    assert_works_again(kernel, host)


def test_during_a_stream(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD + "let kept = 3;").expect_ok()
    host = host_pid()
    running = kernel.send(STORY)

    def kill_at_first_text(message):
        if message["content"].get("name") == "stdout" and not is_gone(host):
            kill(host)

    outcome = kernel.collect(running, on_message=kill_at_first_text)
    assert_says_that_the_host_ended(outcome)
    assert outcome.stream(), "the text that had come is gone"
    assert_works_again(kernel, host)


def test_a_load_again_shows_its_progress(new_kernel):
    """On a disk this slow the bar has time to show; a warm cache may be too fast for one."""
    kernel = new_kernel()
    kernel.run(LOAD + "let kept = 3;").expect_ok()
    kernel.run(ASK).expect_ok()
    kill(host_pid())
    # A host that is stopped now and then loads slowly.
    slow = start_host()
    outcome = []
    running = threading.Thread(target=lambda: outcome.append(kernel.run(ASK)))
    running.start()
    halt(slow, lambda: outcome)
    running.join()
    outcome[0].expect_ok()
    shown = [content["data"]["text/plain"] for content in outcome[0].of("display_data")]
    shown += [content["data"]["text/plain"] for content in outcome[0].of("update_display_data")]
    assert any(MODEL in text for text in shown), shown
    stop_host()
    slow.wait(10)


def halt(process, is_over):
    """Lets a process run for a tenth of the time only, for a second."""
    import signal

    limit = time.monotonic() + 3
    while time.monotonic() < limit and not is_over():
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.045)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.005)


def test_a_killed_client_stops_its_generation(new_kernel):
    """The process in which the cell runs is killed; nobody reads what the host would go on writing."""
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    host = host_pid()
    worker = int(kernel.run("std::process::id()").result)
    running = kernel.send(STORY)

    def kill_at_first_text(message):
        if message["content"].get("name") == "stdout" and not is_gone(worker):
            kill(worker)

    outcome = kernel.collect(running, on_message=kill_at_first_text)
    assert outcome.status == "error"
    time.sleep(1)
    before = processor_seconds(host)
    time.sleep(1)
    assert processor_seconds(host) - before < 0.1, "the host goes on for nobody"

