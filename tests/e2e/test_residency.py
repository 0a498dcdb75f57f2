"""A model that was loaded stays: in the next cell, after a restart, for a second kernel, and once."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from conftest import MODEL, warmcell

LOAD = f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;'
ASK = (
    'println!("{}", model.generate(&messages![user: "What is the capital of France?"])'
    ".max_new_tokens(24).run()?);"
)


def was_resident(kernel):
    return kernel.run(f"{LOAD} model.info().was_resident").expect_ok().result == "true"


def host_process():
    """The host's process id, by its own word."""
    status = warmcell("host", "status")
    assert status.returncode == 0, status.stdout + status.stderr
    return int(re.search(r"process (\d+)", status.stdout).group(1))


def memory(pid):
    """Bytes of main memory that a process takes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def no_host():
    """Each test starts with no host and no model."""
    warmcell("host", "stop")


def test_a_model_stays_across_cells_restarts_and_kernels(new_kernel):
    first = new_kernel()
    assert not was_resident(first)
    host, alone = host_process(), memory(host_process())
    assert was_resident(first), "it left between two cells"
    first.restart()
    assert was_resident(first), "it left with the kernel's old process"
    second = new_kernel()
    assert was_resident(second), "the second kernel loaded a copy of its own"
    assert host_process() == host, "a second host was started"
    # The weights are 94 MiB in the file; a second copy would add at least that.
    assert memory(host) - alone < 60 << 20, "the host holds more than one copy"


def test_two_loads_at_once_end_in_one(new_kernel):
    kernels = [new_kernel(), new_kernel()]
    for kernel in kernels:
        # The first cell compiles what is new to the session; the race is between the loads.
        kernel.run("1").expect_ok()
    requests = [kernel.send(LOAD) for kernel in kernels]
    for kernel, request in zip(kernels, requests, strict=True):
        kernel.collect(request).expect_ok()
    # To the nanosecond: each load measures its own time.
    took = {kernel.run("model.info().load_seconds").expect_ok().result for kernel in kernels}
    assert len(took) == 1, f"it was loaded twice, in {took} seconds"


def test_two_notebooks_generate_at_once(new_kernel):
    writer, asker = new_kernel(), new_kernel()
    for kernel in (writer, asker):
        kernel.run(LOAD).expect_ok()
    alone = asker.run(ASK).expect_ok().stream()
    story = writer.send(
        'model.generate("A long story: ").max_new_tokens(1500).min_new_tokens(1500)'
        '.on_token(|token| print!("{}", token.text)).run()?;'
    )
    while writer.next_for(story, "iopub", 60)["msg_type"] != "stream":
        pass
    assert asker.run(ASK).expect_ok().stream() == alone
    # The story is still being told.
    writer.manager.interrupt_kernel()
    outcome = writer.collect(story)
    assert outcome.status == "error" and "interrupted" in outcome.traceback


def test_a_killed_host_takes_no_variable_and_the_handle_loads_again(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD + " let kept = 3;").expect_ok()
    host = host_process()
    os.kill(host, signal.SIGKILL)
    while Path(f"/proc/{host}").exists() and "Z" not in Path(f"/proc/{host}/stat").read_text().split()[2]:
        time.sleep(0.05)
    outcome = kernel.run(ASK).expect_ok()
    assert "Paris" in outcome.stream()
    assert kernel.run("kept").result == "3"
    assert host_process() != host


def test_a_model_outlives_its_last_handle(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    kernel.run("drop(model);").expect_ok()
    assert MODEL in warmcell("models").stdout


def test_the_command_line_shows_and_frees(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    listed = warmcell("models").stdout
    assert MODEL in listed and "MB" in listed and "ago" in listed, listed
    shown = kernel.run("models()?").expect_ok()
    assert MODEL in shown.result
    freed = warmcell("models", "--unload", MODEL)
    assert freed.returncode == 0 and f"freed {MODEL}" in freed.stdout, freed.stderr
    assert MODEL not in warmcell("models").stdout
    assert "Paris" in kernel.run(ASK).expect_ok().stream(), "the handle does not load its model again"


def test_a_cell_frees(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    # The notebook of the third week has it as a cell's last line, which showed 3.5 kB of `Debug`.
    freed = kernel.run(f'unload("{MODEL}")?').expect_ok()
    assert re.fullmatch(rf"Freed {MODEL} · [\d.]+ MB", freed.result), freed.result
    assert MODEL not in warmcell("models").stdout


def test_what_lacks_its_last_call_says_so(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    shown = kernel.run('model.generate("hi").max_new_tokens(5)').expect_ok().result
    assert shown == f"Would generate from 1 prompt with {MODEL} · max_new_tokens: 5\nnothing was generated yet: end with `.run()?`"
    for code in ['model.forward("hi")', f'AutoModelForCausalLM::from_pretrained("{MODEL}")', 'pipeline_with("fill-mask")']:
        assert re.search(r"nothing was .* yet: end with `\.(run|load)\(\)\?`$", kernel.run(code).expect_ok().result), code


def test_variables_of_this_library_are_listed_in_a_few_words(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    kernel.run('let answer = model.generate("Hi").max_new_tokens(3).run()?; let tokenizer = model.tokenizer()?;').expect_ok()
    listed = kernel.run("%vars").expect_ok().of("display_data")[-1]["data"]["text/plain"]
    assert "{" not in listed and f"{MODEL} (" in listed, listed


def test_a_batch_shows_its_tokens(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    kernel.run("let tokenizer = model.tokenizer()?;").expect_ok()
    options = "EncodeOptions { padding: Padding::Longest, ..Default::default() }"
    shown = kernel.run(f'tokenizer.encode_batch_with(["Hello there", "Hi"], {options})?').expect_ok().result
    assert shown.startswith("2 rows of ") and "Hello│" in shown and "attention_mask  [1, 1" in shown, shown
    assert "of padding" in shown and "× " in shown, shown


def test_an_interrupt_ends_a_generation_and_keeps_the_model(new_kernel):
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    running = kernel.send(
        'model.generate("Once upon a time").min_new_tokens(2000).max_new_tokens(2000)'
        '.on_token(|token| print!("{}", token.text)).run()?;'
    )
    streamed = []

    def interrupt_at_first_text(message):
        if message["msg_type"] == "stream" and not streamed:
            streamed.append(message)
            kernel.manager.interrupt_kernel()

    outcome = kernel.collect(running, timeout=120, on_message=interrupt_at_first_text)
    assert streamed and outcome.status == "error"
    assert was_resident(kernel)


def test_two_hard_interrupts_leave_the_host_alone(new_kernel):
    """The host was started by a cell; when that cell's process is killed, it becomes a child of the
    runner, next to the process that is killed at the second interrupt."""
    kernel = new_kernel()
    kernel.run(LOAD).expect_ok()
    before = host_process()
    for _ in range(2):
        running = kernel.send("loop {}")
        time.sleep(1.5)
        kernel.manager.interrupt_kernel()
        assert kernel.collect(running, timeout=60).reply["content"]["ename"] == "KeyboardInterrupt"
    assert host_process() == before
    assert was_resident(kernel)


def test_the_socket_is_the_users_alone(new_kernel, surroundings):
    new_kernel().run(LOAD).expect_ok()
    folder = surroundings / "warmcell"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "host.sock").is_socket()
