"""What helps while typing, also while a cell runs: completion, Shift-Tab, and the list of variables."""

import time

import pytest
from conftest import MODEL
from test_commands import slow_crate


# An analysis that takes longer than 0.4 seconds is answered with nothing. Where the machine is busy with
# something else it may take that long: users type on, tests ask again.
PATIENCE = 30


def complete(kernel, code):
    """The texts that could stand at the code's end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        request = kernel.client.complete(code, len(code))
        found = kernel.next_for(request, "shell", 20)["content"]["matches"]
        if found or time.monotonic() > deadline:
            return found


def inspect(kernel, code, cursor):
    deadline = time.monotonic() + PATIENCE
    while True:
        request = kernel.client.inspect(code, cursor)
        content = kernel.next_for(request, "shell", 20)["content"]
        if content["found"]:
            return content["data"]["text/plain"]
        if time.monotonic() > deadline:
            return None


@pytest.fixture
def sleeping(kernel):
    """A kernel with variables, which a cell keeps busy for as long as the test runs."""
    kernel.run('let words = vec!["one".to_owned(), "둘".to_owned()];').expect_ok()
    kernel.run("?words").expect_ok()
    complete(kernel, "words.")
    request = kernel.send("loop { std::thread::sleep(std::time::Duration::from_millis(20)); }")
    while kernel.next_for(request, "iopub", 20)["msg_type"] != "execute_input":
        pass
    yield kernel
    kernel.manager.interrupt_kernel()
    assert kernel.collect(request).reply["content"]["ename"] == "KeyboardInterrupt"


def test_completion_answers_while_a_cell_runs(sleeping):
    found = complete(sleeping, "words.it")
    assert any(text.startswith("iter") for text in found), found
    assert complete(sleeping, "%lim") == ["%limit"]
    assert MODEL in complete(sleeping, 'AutoTokenizer::from_pretrained("Quant')


def test_shift_tab_shows_a_variables_type_and_value(sleeping):
    shown = inspect(sleeping, "words.len()", 2)
    assert shown.startswith('words: std::vec::Vec<std::string::String> = ["one", "둘"]'), shown
    assert "memory" in inspect(sleeping, "%limit memory 4G", 3)


def table(outcome, kind="display_data"):
    return outcome.of(kind)[-1]["data"]["text/plain"]


def test_the_list_of_variables_follows_the_cells(kernel):
    kernel.run("%reset").expect_ok()
    shown = kernel.run("%vars").expect_ok()
    assert "no variables" in table(shown)
    name = shown.of("display_data")[0]["transient"]["display_id"]
    made = kernel.run('let text = "hello".to_owned(); let mut numbers = vec![1u8; 1000]; let f: fn() = || ();').expect_ok()
    assert made.of("update_display_data")[-1]["transient"]["display_id"] == name
    listed = table(made, "update_display_data")
    assert "1000 items" in listed and '"hello"' in listed and "5 B" in listed, listed
    assert "[1, 1, 1" in listed and "…" in listed and "Vec<u8>" in listed
    changed = kernel.run("numbers.clear(); numbers.push(7); drop(text);").expect_ok()
    listed = table(changed, "update_display_data")
    assert "[7]" in listed and "1 item" in listed and "hello" not in listed, listed
    # Nothing changes: nothing is sent.
    assert kernel.run("numbers.len();").expect_ok().of("update_display_data") == []


def test_a_failed_cell_leaves_the_values_that_are_left(kernel):
    kernel.run("%reset").expect_ok()
    kernel.run("let mut kept = vec![1];").expect_ok()
    assert kernel.run('kept.push(2); panic!("on purpose")').status == "error"
    listed = table(kernel.run("%vars").expect_ok())
    assert "[1]" in listed, listed
    assert kernel.run('kept.push(2); Err("on purpose")?;').status == "error"
    listed = table(kernel.run("%vars").expect_ok())
    assert "[1, 2]" in listed, listed


def test_values_that_cannot_be_written_do_not_fail_the_cell(kernel):
    kernel.run(
        "struct Plain; struct Faulty; impl std::fmt::Debug for Faulty {"
        " fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { panic!(\"in Debug\") } }"
    ).expect_ok()
    made = kernel.run("let plain = Plain; let faulty = Faulty;").expect_ok()
    assert made.stream("stderr") == ""
    listed = table(kernel.run("%vars").expect_ok())
    assert "Plain" in listed and "panics" in listed, listed


def test_among_arguments_shift_tab_explains_the_call_with_an_example(kernel):
    kernel.run("?pipeline").expect_ok()
    code = "AutoModelForCausalLM::from_pretrained("
    shown = inspect(kernel, code, len(code))
    assert "pub fn from_pretrained" in shown and "load_in_4bit: true" in shown, shown
    assert "fn main" not in shown, shown


def test_fields_that_a_cell_cannot_use_are_not_offered(kernel):
    kernel.run("struct Own { inner: u8, pub open: u8 } let own = Own { inner: 1, open: 2 }; let words = vec![1];").expect_ok()
    kernel.run("?words").expect_ok()
    found = complete(kernel, "words.")
    assert "len()" in found and not {"buf", "len"} & set(found), found[:5]
    assert {"inner", "open"} <= set(complete(kernel, "own."))
    assert "start" in complete(kernel, "let range = 1..2; range.")


def test_shift_tab_knows_a_call_from_a_field_and_a_text_from_a_name(kernel):
    kernel.run("let words = vec![1];").expect_ok()
    kernel.run("?words").expect_ok()
    for code, cursor in [("words.len(", 10), ("words.len()", 8)]:
        assert "fn len(&self) -> usize" in inspect(kernel, code, cursor), code
    # It was taken for half a literal: "invalid literal: LoneSlash".
    assert "fn from" in inspect(kernel, 'String::from("hello world")', 16)


def test_headings_stand_apart_and_hidden_lines_are_hidden(kernel):
    kernel.run("?pipeline").expect_ok()
    shown = inspect(kernel, "Vec", 3)
    assert "\n\nExamples\n\nlet mut vec = Vec::new();\nvec.push(1);" in shown, shown
    request = kernel.client.inspect("AutoModelForCausalLM::from_pretrained", 37)
    content = kernel.next_for(request, "shell", 20)["content"]
    assert content["found"] and "# use" not in content["data"]["text/html"], content


# The analysis is waited for a quarter of a second where it has something else to do.
AT_ONCE = 0.8


def asked_once(kernel, kind, code):
    """The reply to one question, which must not wait for the analysis."""
    started = time.monotonic()
    request = getattr(kernel.client, kind)(code, len(code))
    content = kernel.next_for(request, "shell", 20)["content"]
    assert time.monotonic() - started < AT_ONCE, f"{code}: {time.monotonic() - started:.2f} s"
    return content


def answers_without_the_analysis(kernel):
    assert asked_once(kernel, "complete", "%lim")["matches"] == ["%limit"]
    assert MODEL in asked_once(kernel, "complete", 'AutoTokenizer::from_pretrained("Quant')["matches"]
    for _ in range(3):
        asked_once(kernel, "complete", "let x = String::new(); x.")
        asked_once(kernel, "inspect", "String::from")


@pytest.mark.parametrize(
    "cell",
    [
        "std::future::ready(1).await; std::thread::sleep(std::time::Duration::from_secs(12));",
        ':dep slow = { path = "slow" }\nslow::answer()',
    ],
    ids=["await", "dep"],
)
def test_nobody_waits_for_an_analysis_that_is_busy(new_kernel, cell):
    kernel = new_kernel()
    kernel.run('let held = vec!["one".to_owned()]; fn helper() {}').expect_ok()
    slow_crate(kernel)
    request = kernel.send(cell)
    while kernel.next_for(request, "iopub", 20)["msg_type"] != "execute_input":
        pass
    time.sleep(1)
    answers_without_the_analysis(kernel)
    reply = asked_once(kernel, "complete", "let x = hel")
    assert set(reply["matches"]) >= {"held", "helper"}, reply
    shown = asked_once(kernel, "inspect", "held")["data"]["text/plain"]
    assert shown == 'held: std::vec::Vec<std::string::String> = ["one"]', shown
    kernel.manager.interrupt_kernel()
    kernel.collect(request, timeout=120)


def test_nobody_waits_for_an_analysis_that_comes_up(new_kernel):
    kernel = new_kernel()
    answers_without_the_analysis(kernel)
