"""Cells that take their process along, each in its own way: the reply names the cause, and every
variable has its value from before the cell, moved and half-changed ones included."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

# As a user would have them: owned, changeable, shared, and a thing that only this process has.
BEFORE = """
let kept = vec![1, 2, 3];
let mut count = 1;
let shared = std::rc::Rc::new(std::cell::RefCell::new(String::from("한국어")));
"""
STATE = "(kept.len(), count, shared.borrow().clone())"
UNCHANGED = '(3, 1, "한국어")'
# What each cell does before it dies.
DAMAGE = """
let moved = kept; count += 1; shared.borrow_mut().push('!');
struct Unborn; fn unborn() -> i32 { 1 }
"""

C = 'unsafe extern "C" { %s }\n'
FAULTS = {
    "abort": ("std::process::abort();", "SIGABRT", "abort"),
    "exit_0": ("std::process::exit(0);", "ProcessExit", "exit code 0"),
    "exit_3": ("std::process::exit(3);", "ProcessExit", "exit code 3"),
    "segmentation_fault": (
        "unsafe { (std::hint::black_box(8) as *mut i32).write_volatile(1) }",
        "SIGSEGV",
        "memory that is not there",
    ),
    # A file mapped into memory that is shorter than it was.
    "bus_error": (
        C % "fn mmap(a: usize, n: usize, p: i32, f: i32, fd: i32, o: i64) -> *mut u8;"
        + 'let file = std::fs::File::options().read(true).write(true).create(true).open("short")?;\n'
        "file.set_len(4096)?;\n"
        "let map = unsafe { mmap(0, 4096, 3, 1, std::os::fd::AsRawFd::as_raw_fd(&file), 0) };\n"
        "file.set_len(0)?;\nunsafe { map.write_volatile(1) };",
        "SIGBUS",
        "mapped file",
    ),
    "illegal_instruction": ('unsafe { std::arch::asm!("ud2") }', "SIGILL", "instruction"),
    "stack_overflow": (
        "fn deep(x: u64) -> u64 { 1 + deep(std::hint::black_box(x + 1)) }\ndeep(1);",
        "SIGABRT",
        "stack overflow",
    ),
    "kill_9": (
        C % "fn kill(process: i32, signal: i32) -> i32;"
        + "unsafe { kill(std::process::id() as i32, 9) };",
        "SIGKILL",
        "killed from outside",
    ),
    "panic_while_panicking": (
        "struct Bomb; impl Drop for Bomb { fn drop(&mut self) { panic!(\"second\") } }\n"
        'let _bomb = Bomb; panic!("first");',
        "SIGABRT",
        "panic",
    ),
    "panic_across_c": (
        'extern "C" fn no_unwinding() { panic!("through C") }\nno_unwinding();',
        "SIGABRT",
        "panic",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_death_is_told_and_undone(kernel, name):
    code, ename, cause = FAULTS[name]
    kernel.run(BEFORE).expect_ok()
    outcome = kernel.run(DAMAGE + code)
    content = outcome.reply["content"]
    assert content["status"] == "error", f"{name} was told as {content['status']}"
    assert content["ename"] == ename, content
    assert cause in content["evalue"], content
    assert "as they were before the cell" in outcome.traceback
    assert kernel.run(STATE).expect_ok().result == UNCHANGED
    for undefined in ["unborn()", "Unborn"]:
        assert kernel.run(undefined).status == "error", f"{undefined} is still defined"
    # The process is whole: it prints, defines and dies again.
    assert kernel.run('println!("here"); fn later() -> i32 { 7 }').expect_ok().stream() == "here\n"
    assert kernel.run("later()").expect_ok().result == "7"


@pytest.mark.parametrize("failure", ['panic!("oh");', '"x".parse::<i32>()?;'])
def test_a_failed_cell_that_moved_a_variable_is_undone(kernel, failure):
    kernel.run(BEFORE).expect_ok()
    outcome = kernel.run(DAMAGE + failure)
    assert outcome.reply["content"]["ename"] in {"panic", "ParseIntError"}
    assert "as they were before the cell" in outcome.traceback
    assert kernel.run(STATE).expect_ok().result == UNCHANGED
    for undefined in ["unborn()", "Unborn"]:
        assert kernel.run(undefined).status == "error", f"{undefined} is still defined"


def test_what_a_panic_left_half_changed_is_undone(kernel):
    kernel.run("let mut half = vec![1];").expect_ok()
    assert kernel.run('half.push(2); panic!("half way");').status == "error"
    assert kernel.run("half").expect_ok().result == "[1]"


def test_an_error_value_keeps_the_work_that_was_done(kernel):
    """As in Python; and a variable that the cell was to make anew has its old value, not the cell a
    reason to lose what runs beside it."""
    kernel.run(
        'let (beat, beats) = std::sync::mpsc::channel::<u32>(); let mut done = Vec::<u32>::new(); let answer = "old".to_owned();'
        " std::thread::spawn(move || (0..).try_for_each(|n| {"
        " std::thread::sleep(std::time::Duration::from_millis(20)); beat.send(n) }));"
    ).expect_ok()
    outcome = kernel.run('done.push(beats.recv()?); fn unborn() {} let answer = std::fs::read_to_string("nowhere")?;')
    assert outcome.status == "error"
    assert kernel.run("(done.len(), answer, beats.recv().is_ok())").expect_ok().result == '(1, "old", true)'
    assert kernel.run("unborn()").status == "error"


def test_a_panic_in_a_thread_ends_the_thread_alone(kernel):
    kernel.run(BEFORE).expect_ok()
    outcome = kernel.run(
        'let ended = std::thread::spawn(|| -> i32 { panic!("in a thread") }).join(); ended.is_err()'
    ).expect_ok()
    assert outcome.result == "true"
    assert "in a thread" in outcome.stream("stderr")
    assert kernel.run(STATE).expect_ok().result == UNCHANGED


def test_a_drop_that_panics_is_an_error_of_its_cell(kernel):
    kernel.run(BEFORE).expect_ok()
    kernel.run(
        "struct Sour; impl Drop for Sour { fn drop(&mut self) { panic!(\"at its end\") } } let sour = Sour;"
    ).expect_ok()
    outcome = kernel.run("drop(sour);")
    assert outcome.reply["content"]["ename"] == "panic"
    assert "at its end" in outcome.reply["content"]["evalue"]
    assert kernel.run(STATE).expect_ok().result == UNCHANGED


def worker(kernel):
    return int(kernel.run("std::process::id()").expect_ok().result)


def test_a_death_between_cells_is_told_and_undone(kernel):
    kernel.run(BEFORE).expect_ok()
    os.kill(worker(kernel), signal.SIGKILL)
    time.sleep(1)
    assert kernel.run(STATE).expect_ok().result == UNCHANGED


def test_a_background_threads_segmentation_fault_is_survived(kernel):
    kernel.run(BEFORE).expect_ok()
    kernel.run(
        "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(500));"
        " unsafe { (std::hint::black_box(8) as *mut i32).write_volatile(1) } });"
    ).expect_ok()
    time.sleep(2)
    assert kernel.run(STATE).expect_ok().result == UNCHANGED


def test_the_user_is_told_which_threads_are_lost(kernel):
    kernel.run(BEFORE).expect_ok()
    kernel.run(
        'let ticker = std::thread::Builder::new().name("ticker".into()).spawn(||'
        " loop { std::thread::sleep(std::time::Duration::from_millis(10)) })?;"
    ).expect_ok()
    outcome = kernel.run("std::process::abort();")
    assert "`ticker`" in outcome.traceback
    assert kernel.run(STATE).expect_ok().result == UNCHANGED
    # What refers to the lost thread errs or ends; it does not wait for ever.
    assert kernel.run("ticker.is_finished()", timeout=30).status in {"ok", "error"}
    kernel.run("ticker.join().is_ok()", timeout=30)
    assert kernel.run(STATE).expect_ok().result == UNCHANGED


def test_asynchronous_cells_work_after_their_runtime_was_lost(kernel):
    pause = "tokio::time::sleep(std::time::Duration::from_millis(5)).await;"
    kernel.run(BEFORE).expect_ok()
    kernel.run(
        ':dep tokio = { version = "1", features = ["rt-multi-thread", "time", "macros"] }\n' + pause, timeout=300
    ).expect_ok()
    kernel.run("let task = tokio::spawn(async { loop { " + pause + " } });", timeout=60).expect_ok()
    assert "`tokio-rt-worker`" in kernel.run("std::process::abort();", timeout=60).traceback
    assert kernel.run(pause + ' "slept"', timeout=60).expect_ok().result == '"slept"'
    # The task is gone with its runtime: its handle errs or ends, and takes nothing along.
    kernel.run("task.abort();", timeout=60)
    assert kernel.run(STATE, timeout=60).expect_ok().result == UNCHANGED


def test_output_works_after_a_thread_that_held_it_was_lost(kernel):
    kernel.run(BEFORE).expect_ok()
    kernel.run(
        "std::thread::spawn(|| loop {"
        ' let mut out = std::io::stdout().lock(); let _ = std::io::Write::write_all(&mut out, b"."); });'
    ).expect_ok()
    kernel.run("std::process::abort();")
    outcome = kernel.run('println!("after")', timeout=60).expect_ok()
    assert outcome.stream().endswith("after\n")


def test_a_thread_that_keeps_the_output_to_itself_keeps_no_cell(kernel):
    kernel.run(BEFORE).expect_ok()
    outcome = kernel.run(
        "let (let_go, held) = std::sync::mpsc::channel::<()>();"
        "std::thread::spawn(move || { let _out = std::io::stdout().lock(); let _ = held.recv(); });"
        "std::thread::sleep(std::time::Duration::from_millis(200));",
        timeout=60,
    ).expect_ok()
    assert outcome.seconds < 30
    time.sleep(1)
    told = kernel.run("drop(let_go); 1", timeout=60).expect_ok()
    assert told.result == "1"
    assert kernel.run(STATE).expect_ok().result == UNCHANGED


def test_text_that_waited_for_its_newline_is_printed_once(kernel):
    outcome = kernel.run('print!("half a line"); std::process::abort();')
    assert outcome.stream() in {"half a line", ""}
    assert "half a line" not in kernel.run('println!("next")').expect_ok().stream()


def test_a_dead_cells_request_is_cancelled_at_the_host(kernel):
    """Its connection closes with it: no snapshot holds it open."""
    from conftest import MODEL, warmcell

    warmcell("host", "start")
    clients = lambda: int(re.search(r"clients +(\d+)", warmcell("host", "status").stdout).group(1))
    before = clients()
    kernel.run(f'let model = AutoModelForCausalLM::from_pretrained("{MODEL}").load()?;').expect_ok()
    assert clients() == before + 1
    os.kill(worker(kernel), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while clients() > before:
        assert time.monotonic() < deadline, "the host still has the dead process's connection"
        time.sleep(0.1)
    # The restored handle opens a connection of its own.
    asked = kernel.run('println!("{}", model.generate("Hello").max_new_tokens(2).run()?);').expect_ok()
    assert asked.stream()


def descendants(pid):
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return children + [each for child in children for each in descendants(child)]


def test_no_zombie_and_no_orphan_is_left(kernel):
    kernel.run(BEFORE).expect_ok()
    kernel.run('std::process::Command::new("sh").args(["-c", "sleep 0.3 & exit 0"]).status()?;').expect_ok()
    kernel.run("std::process::abort();")
    time.sleep(1.5)
    kernel.run("1").expect_ok()
    time.sleep(0.5)
    states = {}
    for pid in descendants(kernel.manager.provisioner.process.pid):
        stat = Path(f"/proc/{pid}/stat").read_text()
        states[pid] = stat.rsplit(")", 1)[1].split()[0]
    assert "Z" not in states.values(), states
