"""What common mistakes are told as: in the cell's own lines, with what to do next. And commands and
values that would take the kernel or the page along."""

import pytest


@pytest.mark.parametrize(
    "code, message, marked, said",
    [
        ("let zero = 0; 1 / zero", "attempt to divide by zero", "1 / zero", ""),
        ("let z = vec![1]; let i = 7; z[i]", "index out of bounds", "z[i]", ""),
        ("let list = [1, 2, 3]; list[5]", "this operation will panic at runtime", "list[5]", "length is 3"),
        ("let x = 5", "a `;` is missing", "let x = 5", "let x = 5;"),
        ("let a = 1\nlet b = 2", "a `;` is missing", "let a = 1", "let b = 2;"),
        ("1 +", "the cell ends too early", "1 +", "write the rest"),
        ("(1 + 2", "this `(` is never closed", "(1 + 2", "`)` closes it"),
        ("let a = 1; }", "this `}` closes nothing", "let a = 1; }", ""),
        ('"unterminated', "this text never ends", '"unterminated', ""),
        ("println!(\"{}\", 'single');", "single quotes are around one letter", "'single'", 'println!("{}", "single");'),
    ],
)
def test_a_mistake_is_told_with_its_place(kernel, code, message, marked, said):
    outcome = kernel.run(code)
    assert outcome.status == "error"
    assert message in outcome.reply["content"]["evalue"], outcome.traceback
    lines = outcome.traceback.splitlines()
    number = next(i for i, line in enumerate(lines) if marked in line and "|" in line)
    assert "^" in lines[number + 1], outcome.traceback
    assert said in outcome.traceback
    assert "::std::result" not in outcome.traceback and "Cargo.toml" not in outcome.traceback


def test_a_crate_is_added_by_a_line_of_the_cell(kernel):
    outcome = kernel.run("use no_such_crate_at_all::Thing;\nThing::new()")
    assert ":dep no_such_crate_at_all" in outcome.traceback and "Cargo.toml" not in outcome.traceback


def test_a_variable_of_an_earlier_cell_is_made_mutable_there_or_here(kernel):
    kernel.run("let fixed = 5;").expect_ok()
    outcome = kernel.run("fixed = 6;")
    assert outcome.reply["content"]["ename"] == "E0594"
    assert "let mut fixed = fixed;" in outcome.traceback


def test_a_variable_that_was_moved_is_told_with_its_cell(kernel):
    kernel.run('let given = String::from("away");').expect_ok()
    moved = kernel.run("let taken = given;").expect_ok()
    count = moved.reply["content"]["execution_count"]
    outcome = kernel.run("given.len()")
    assert f"`given` was moved in cell [{count}]" in outcome.traceback
    kernel.run("let given = 1;").expect_ok()
    assert "was moved" not in kernel.run("given.nothing()").traceback


def test_a_field_of_the_name_of_a_new_type_lets_go_of_nothing(kernel):
    kernel.run("struct Run { config: u32 }\nlet run = Run { config: 1 };").expect_ok()
    kernel.run("type config = u32;").expect_ok()
    assert kernel.run("type config = u64;").expect_ok().stream("stderr") == ""
    assert kernel.run("run.config").expect_ok().result == "1"


def test_an_implementation_that_goes_with_its_trait_is_told(kernel):
    kernel.run("trait Loud { fn loud(&self) -> i32; }\nstruct Horn;\nimpl Loud for Horn { fn loud(&self) -> i32 { 1 } }").expect_ok()
    outcome = kernel.run("trait Loud { fn loud(&self) -> i64; }").expect_ok()
    assert "`impl Loud for Horn` of cell" in outcome.stream("stderr")


def test_a_thread_local_is_a_definition_whose_value_ends_with_the_cell_as_is_told_once(kernel):
    first = kernel.run("thread_local! { static HITS: std::cell::Cell<u32> = const { std::cell::Cell::new(7) }; }").expect_ok()
    assert "`HITS` of `thread_local!` begins anew in each cell" in first.stream("stderr")
    again = kernel.run("HITS.with(|hits| hits.get())").expect_ok()
    assert again.result == "7" and again.stream("stderr") == ""


@pytest.mark.parametrize("command", [":quit", ":restart", ":fmt {:#?}", ":env A=b", ":allow_static_linking 1"])
def test_a_command_of_the_compilers_that_does_no_good_is_refused(kernel, command):
    kernel.run("let kept = 3;").expect_ok()
    outcome = kernel.run(command)
    assert outcome.status == "error" and "hint" in outcome.traceback
    assert kernel.run("kept").expect_ok().result == "3"


def test_the_list_of_the_compilers_commands_has_those_that_work(kernel):
    listed = kernel.run(":help").expect_ok()
    text = str([message for message in listed.of("execute_result") + listed.of("display_data")])
    assert ":dep" in text and ":quit" not in text and ":fmt" not in text


def test_a_large_value_shows_its_two_ends(kernel):
    result = kernel.run("(0..3_000_000).collect::<Vec<i32>>()").expect_ok().result
    assert len(result) < 4_000
    assert result.startswith("[0, 1, 2") and result.endswith("2999999]")
    assert "3000000 numbers in all" in result
    result = kernel.run("(0..3_000_000).map(Some).collect::<Vec<_>>()").expect_ok().result
    assert len(result) < 80_000 and "MB in all" in result


def test_a_large_value_shows_its_two_ends_wherever_it_is_shown(kernel):
    kernel.run("let large: Vec<i32> = (0..3_000_000).collect();").expect_ok()
    show = 'let shown = display_with_id("small"); shown.update(large.clone()); display(large.clone()); display!(large); display("한".repeat(9_000_000));'
    outcome = kernel.run(show).expect_ok()
    texts = [content["data"]["text/plain"] for kind in ("update_display_data", "display_data") for content in outcome.of(kind)]
    assert len(texts) == 5 and all(len(text) < 80_000 for text in texts)
    assert sum("3000000 numbers in all" in text for text in texts) == 3


def test_a_crate_of_the_compilers_own_is_told_how_to_be_added_and_rusts_own_is_there(kernel):
    outcome = kernel.run("extern crate syn;")
    assert outcome.status == "error" and '`:dep syn = "…"`' in outcome.traceback
    kernel.run("extern crate alloc;").expect_ok()
    assert kernel.run("alloc::vec![7].len()").expect_ok().result == "1"
    assert "E0463" in kernel.run("extern crate syn;").traceback, "evcxr has not been led astray"


def test_a_panic_is_told_whatever_hook_a_cell_has_set(kernel):
    kernel.run("std::panic::set_hook(Box::new(|_| {}));").expect_ok()
    outcome = kernel.run('panic!("after a hook");')
    assert "after a hook" in outcome.reply["content"]["evalue"]
    assert "In [" in outcome.traceback


def test_a_child_that_returns_from_a_cell_and_a_closed_output_harm_no_later_cell(kernel):
    kernel.run("let mut steps = 0;").expect_ok()
    c = 'unsafe extern "C" { fn fork() -> i32; fn close(descriptor: i32) -> i32; }\n'
    kernel.run(c + "unsafe { fork() };").expect_ok()
    for _ in range(6):
        kernel.run("steps += 1;").expect_ok()
    assert kernel.run("steps").expect_ok().result == "6"
    kernel.run(c + "unsafe { close(1) };").expect_ok()
    assert kernel.run('println!("back"); steps').expect_ok().stream() == "back\n"


def test_an_allocation_that_fails_is_named(kernel):
    outcome = kernel.run("let much: Vec<u8> = Vec::with_capacity(1 << 50); much.capacity()")
    content = outcome.reply["content"]
    assert content["ename"] == "SIGABRT" and "of memory at once" in content["evalue"], content


def test_errors_have_no_colours_that_a_dark_page_swallows(kernel):
    """Bright red and blue had 2.1:1 on JupyterLab's dark ground for errors."""
    written = "\n".join(kernel.run("let a: i32 = true;").reply["content"]["traceback"])
    assert "\x1b[1m" in written
    assert not any(f"\x1b[{colour}m" in written for colour in range(90, 98))
