"""What a cell may do: print, show, fail, and what then reaches the front end."""

import re
import time

import pytest


def seconds_of(outcome, text):
    """When a text had come, in seconds after the cell was sent."""
    seen = ""
    for seconds, message in outcome.messages:
        if message["msg_type"] == "stream":
            seen += message["content"]["text"]
            if text in seen:
                return seconds
    raise AssertionError(f"{text!r} is not in {seen!r}")


def test_a_print_without_newline_arrives_before_the_cell_ends(kernel):
    outcome = kernel.run(
        'print!("early"); std::thread::sleep(std::time::Duration::from_secs(3)); println!(" late");'
    ).expect_ok()
    assert outcome.stream() == "early late\n"
    assert outcome.seconds - seconds_of(outcome, "early") > 2


def test_a_carriage_return_is_kept(kernel):
    outcome = kernel.run('for step in 0..3 { print!("\\rstep {step}"); }').expect_ok()
    assert outcome.stream() == "\rstep 0\rstep 1\rstep 2"


def test_invalid_utf8_is_replaced_and_breaks_nothing(kernel):
    outcome = kernel.run(
        "use std::io::Write; std::io::stdout().write_all(b\"a\\xFF\\xFEb\\n\").unwrap();"
    ).expect_ok()
    assert outcome.stream().startswith("a\N{REPLACEMENT CHARACTER}") and outcome.stream().endswith("b\n")
    # evcxr_jupyter is off by one cell from here on.
    assert kernel.run("40 + 2").result == "42"


def test_text_like_the_compilers_protocol_is_only_text(kernel):
    code = 'println!("EVCXR_EXECUTION_COMPLETE"); println!("EVCXR_PANIC_NOTIFICATION"); let kept = 7;'
    outcome = kernel.run(code).expect_ok()
    assert outcome.stream() == "EVCXR_EXECUTION_COMPLETE\nEVCXR_PANIC_NOTIFICATION\n"
    assert kernel.run("kept").result == "7"


def test_a_background_threads_output_arrives_when_it_is_written(kernel):
    outcome = kernel.run(
        "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_secs(1));"
        ' println!("from behind"); }); std::thread::sleep(std::time::Duration::from_secs(4));'
    ).expect_ok()
    assert outcome.seconds - seconds_of(outcome, "from behind") > 2


def test_several_displays_and_a_value_keep_their_order(kernel):
    outcome = kernel.run(
        'display(Html("<b>1</b>")); println!("between"); display(Markdown("**2**")); 3'
    ).expect_ok()
    kinds = [m["msg_type"] for _, m in outcome.messages if m["msg_type"] not in {"status", "execute_input"}]
    assert kinds == ["display_data", "stream", "display_data", "execute_result"]
    first, second = outcome.of("display_data")
    assert first["data"]["text/html"] == "<b>1</b>"
    assert second["data"]["text/markdown"] == "**2**"
    assert outcome.result == "3"


def test_a_display_comes_before_the_cell_ends(kernel):
    outcome = kernel.run(
        'display(Html("<i>now</i>")); std::thread::sleep(std::time::Duration::from_secs(3));'
    ).expect_ok()
    shown = next(seconds for seconds, message in outcome.messages if message["msg_type"] == "display_data")
    assert outcome.seconds - shown > 2


def test_a_display_is_updated_in_place(kernel):
    first = kernel.run('let shown = display_with_id(Html("<b>0</b>")); shown.update(Html("<b>1</b>"));').expect_ok()
    [display] = first.of("display_data")
    updates = first.of("update_display_data")
    assert updates[-1]["data"]["text/html"] == "<b>1</b>"
    assert updates[-1]["transient"]["display_id"] == display["transient"]["display_id"]
    later = kernel.run('shown.update(Html("<b>2</b>"));').expect_ok()
    assert later.of("update_display_data")[-1]["transient"] == display["transient"]


def test_a_debug_value_and_a_types_own_display_show_as_before(kernel):
    assert kernel.run("#[derive(Debug)] struct Point { x: i32 }\nPoint { x: 1 }").result == "Point { x: 1 }"
    own = kernel.run(
        "struct Own; impl Own { fn evcxr_display(&self) {"
        ' println!("EVCXR_BEGIN_CONTENT text/html\\n<u>own</u>\\nEVCXR_END_CONTENT"); } }\nOwn'
    ).expect_ok()
    shown = own.of("execute_result") + own.of("display_data")
    assert shown[0]["data"]["text/html"].strip() == "<u>own</u>"


def test_a_panic_is_an_error_and_variables_survive(kernel):
    kernel.run("let before_panic = vec![1, 2, 3];").expect_ok()
    outcome = kernel.run('panic!("deliberate");')
    assert outcome.status == "error"
    assert outcome.reply["content"]["ename"] == "panic"
    assert "deliberate" in outcome.reply["content"]["evalue"]
    assert kernel.run("before_panic.len()").result == "3"


def test_a_question_mark_that_returns_an_error_is_an_error(kernel):
    kernel.run("let before_error = 11;").expect_ok()
    outcome = kernel.run('let number: i32 = "eleven".parse()?;')
    assert outcome.status == "error"
    assert "invalid digit" in outcome.reply["content"]["evalue"]
    assert kernel.run("before_error").result == "11"


def test_the_librarys_errors_say_what_failed_and_what_to_do(kernel):
    outcome = kernel.run('pipeline("sentiment-analysys")?;')
    assert outcome.status == "error"
    assert outcome.reply["content"]["ename"] == "InvalidArgument"
    assert "sentiment-analysys" in outcome.reply["content"]["evalue"]
    assert "text-generation" in outcome.traceback


def column_of_caret(traceback, source_line):
    """The columns, in terminal cells, of the marked code and of its mark below."""
    import unicodedata

    def width(text):
        return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

    lines = traceback.splitlines()
    index = next(i for i, line in enumerate(lines) if source_line in line)
    start = lines[index].index("missing_name")
    below = next(line for line in lines[index + 1 :] if "^" in line)
    return width(lines[index][:start]), width(below[: below.index("^")])


def test_the_caret_is_under_the_code_after_korean_and_emoji(kernel):
    line = 'let text = "한국어 🦀"; missing_name;'
    outcome = kernel.run(line)
    assert outcome.status == "error"
    code, caret = column_of_caret(outcome.traceback, line)
    assert code == caret, outcome.traceback


def test_the_count_starts_at_one_and_silent_cells_do_not_count(new_kernel):
    kernel = new_kernel()
    assert kernel.run("1").reply["content"]["execution_count"] == 1
    kernel.run("2", silent=True)
    assert kernel.run("3").reply["content"]["execution_count"] == 2


def test_an_error_aborts_the_cells_that_wait(kernel):
    first = kernel.send('panic!("stop here");')
    second = kernel.send("1 + 1")
    assert kernel.collect(first).status == "error"
    assert kernel.collect(second).status in {"aborted", "error"}
    assert kernel.run("2 + 2").result == "4"


def test_kernel_info_answers_soon_after_the_start(new_kernel):
    # The target is 0.3 s to the reply; wait_for_ready adds its own polling.
    assert new_kernel().start_seconds < 3


def test_kernel_info_answers_while_a_cell_runs(kernel):
    running = kernel.send("std::thread::sleep(std::time::Duration::from_secs(4));")
    # The cell compiles first; ask in the middle of its sleep.
    time.sleep(2)
    started = time.monotonic()
    request = kernel.client.kernel_info()
    while kernel.client.get_shell_msg(timeout=10)["parent_header"].get("msg_id") != request:
        pass
    assert time.monotonic() - started < 0.5
    # Its reply is still to come: the cell runs on.
    kernel.collect(running).expect_ok()


def test_a_static_in_the_library_exists_once(kernel):
    """Display ids end in a number that counts up from a static of the library: a second copy of it in
    the process would count anew."""
    first = kernel.run("let one = display_with_id(1); one.display_id().to_owned()").expect_ok().result
    second = kernel.run("let two = display_with_id(2); two.display_id().to_owned()").expect_ok().result
    number = lambda shown: int(shown.strip('"').rsplit("-", 1)[1])
    assert number(second) == number(first) + 1


def test_a_static_in_a_dependency_exists_once(kernel):
    kernel.run(':dep log = "0.4"\nlog::set_max_level(log::LevelFilter::Debug);').expect_ok()
    assert kernel.run("log::max_level()").expect_ok().result == "Debug"


def test_a_thread_that_prints_without_pause_does_not_keep_a_cell(kernel):
    kernel.run(
        "let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));"
        "let flag = stop.clone();"
        'std::thread::spawn(move || while !flag.load(std::sync::atomic::Ordering::Relaxed) { println!("x"); });',
        timeout=30,
    ).expect_ok()
    assert kernel.run("stop.store(true, std::sync::atomic::Ordering::Relaxed); 1", timeout=30).expect_ok().result == "1"


def test_a_cell_that_takes_its_process_along_takes_nothing_else(kernel):
    """The snapshot takes over: variables are as before the cell, moved ones included."""
    kernel.run("let kept = vec![1, 2, 3]; let mut count = 1;").expect_ok()
    for code, name in [
        ("let moved = kept; count += 1; std::process::abort();", "SIGABRT"),
        ("std::process::exit(3);", "ProcessExit"),
        ("fn deep(x: u64) -> u64 { 1 + deep(std::hint::black_box(x + 1)) } deep(1)", "SIGABRT"),
        ("let nowhere = std::hint::black_box(8) as *mut i32; unsafe { nowhere.write_volatile(1) }", "SIGSEGV"),
        ('std::process::Command::new("kill").arg("-9").arg(std::process::id().to_string()).status();'
         "std::thread::sleep(std::time::Duration::from_secs(9));", "SIGKILL"),
    ]:
        outcome = kernel.run(code)
        assert outcome.reply["content"]["ename"] == name, outcome.reply["content"]
        assert kernel.run("(kept.len(), count)").expect_ok().result == "(3, 1)"


def test_clear_leaves_the_library_in_scope(kernel):
    kernel.run("let gone = 1;").expect_ok()
    kernel.run(":clear").expect_ok()
    assert kernel.run("gone").status == "error"
    assert kernel.run('panic!("seen")').reply["content"]["ename"] == "panic"


def test_an_interrupt_keeps_the_variables(kernel):
    kernel.run("let before_interrupt = 5;").expect_ok()
    running = kernel.send("loop { std::thread::sleep(std::time::Duration::from_millis(20)); }")
    time.sleep(3)
    kernel.manager.interrupt_kernel()
    outcome = kernel.collect(running, timeout=60)
    assert outcome.status == "error"
    assert kernel.run("before_interrupt").result == "5"


def test_input_is_asked_of_the_front_end(kernel):
    request = kernel.send('let name = input("Name? ")?; println!("Hello {name}");', allow_stdin=True)
    asked = kernel.client.get_stdin_msg(timeout=60)
    assert asked["content"]["prompt"] == "Name? "
    kernel.client.input("세종")
    assert kernel.collect(request).expect_ok().stream() == "Hello 세종\n"


@pytest.mark.parametrize(
    "code, number, line",
    [
        ('let text: String =\n    "한국어";', "E0308", '    "한국어".to_string();'),
        ("let list = vec![1];\nlet other = list;\nlist.len()", "E0382", "let other = list.clone();"),
        ("let value = 1;\nprintln!(\"{}\", value + valeu);", "E0425", 'println!("{}", value + value);'),
        ("let map: HashSet<u8> = Default::default();", "E0412|E0425", "use std::collections::HashSet;"),
        ("let map = HashSet::<u8>::new();", "E0433", "use std::collections::HashSet;"),
        ("let maybe: Option<u8> = 1 + 1;", "E0308", "let maybe: Option<u8> = Some(1 + 1);"),
    ],
)
def test_the_compilers_suggestion_is_a_line_to_copy(kernel, code, number, line):
    outcome = kernel.run(code)
    assert re.fullmatch(number, outcome.reply["content"]["ename"]), outcome.traceback
    assert line in outcome.traceback.splitlines(), outcome.traceback


def test_a_question_mark_shows_its_line(kernel):
    outcome = kernel.run('let words = ["1", "x"];\nfor 값 in words {\n    값.parse::<i32>()?;\n}')
    assert outcome.reply["content"]["ename"] == "ParseIntError"
    lines = outcome.traceback.splitlines()
    [source] = [number for number, text in enumerate(lines) if "값.parse::<i32>()?" in text]
    assert "^" in lines[source + 1] and lines[source].lstrip().startswith("3 |"), outcome.traceback
    # The library's own errors too.
    outcome = kernel.run('let n = 1;\nAutoTokenizer::from_pretrained("no/where-at-all").map(|_| n)?;')
    assert 'from_pretrained("no/where-at-all")' in outcome.traceback and "hint" in outcome.traceback, outcome.traceback


def test_a_panic_in_a_library_shows_the_cells_line_and_folds_the_rest(kernel):
    outcome = kernel.run("let list = vec![1, 2];\nlet step = list.len() - 2;\nlist.iter().step_by(step).count()")
    lines = outcome.traceback.splitlines()
    [source] = [number for number, text in enumerate(lines) if "list.iter().step_by(step)" in text]
    assert "^" in lines[source + 1], outcome.traceback
    assert "raised at library/core/src/iter/adapters/step_by.rs" in outcome.traceback, outcome.traceback
    assert re.search("… [0-9]+ frames? further in", outcome.traceback), outcome.traceback
    assert len(lines) < 12, outcome.traceback
