"""`_`, `__` and `_5`: the values of earlier cells."""


def number(outcome):
    return outcome.reply["content"]["execution_count"]


def test_the_last_values_are_there_by_their_names(kernel):
    first = kernel.run("vec![1_usize, 2, 3]").expect_ok()
    assert kernel.run("_.len()").expect_ok().result == "3"
    assert kernel.run("_ + __[2]").expect_ok().result == "6"
    assert kernel.run(f'println!("{{:?}} {{}}", _{number(first)}, _);').expect_ok().stream() == "[1, 2, 3] 6\n"
    # A cell without a value leaves the last one where it is.
    kernel.run("let twice = _ * 2;").expect_ok()
    assert kernel.run("_ + twice").expect_ok().result == "18"


def test_the_last_value_is_no_older_one(kernel):
    kernel.run("40 + 1").expect_ok()
    named = kernel.run("let shown = vec![7]; shown").expect_ok()
    missing = kernel.run("_")
    assert missing.status == "error"
    assert f"the value of cell [{number(named)}]" in missing.traceback and "has a name already" in missing.traceback
    assert kernel.run("__ + 1").expect_ok().result == "42"
    kernel.run("shown.first()").expect_ok()
    borrowed = kernel.run("_.is_some()")
    assert borrowed.status == "error" and "borrows" in borrowed.traceback


def test_values_are_used_like_variables(kernel):
    kernel.run('String::from("once")').expect_ok()
    assert kernel.run("_.push('!')").status == "error", "it is not mutable"
    kernel.run("let mut mine = _; mine.push('!');").expect_ok()
    gone = kernel.run('println!("{}", _.starts_with("once"))')
    assert gone.status == "error" and "it was moved" in gone.traceback
    assert kernel.run("mine").expect_ok().result == '"once!"'


def test_what_cannot_be_kept_is_shown_all_the_same_and_says_why(kernel):
    kernel.run("let names = vec![String::from(\"a\"), String::from(\"b\")];").expect_ok()
    for code, shown, why in [
        ("names.first()", 'Some("a")', "borrows"),
        ("names.iter().map(|name| name.len()).collect::<Vec<_>>().iter().max()", "Some(1)", "borrows"),
        ("names", '["a", "b"]', "has a name already"),
        ("let n = 1;", None, "no value"),
    ]:
        outcome = kernel.run(code).expect_ok()
        assert outcome.result == shown
        missing = kernel.run(f"_{number(outcome)}")
        assert missing.status == "error"
        assert why in missing.traceback, missing.traceback
    assert kernel.run("names.len()").expect_ok().result == "2"


def test_a_value_of_a_type_defined_anew_goes_quietly(kernel):
    kernel.run("#[derive(Debug)] struct Point { x: i32 }").expect_ok()
    made = kernel.run("Point { x: 1 }").expect_ok()
    anew = kernel.run("#[derive(Debug)] struct Point { x: i64 }\nPoint { x: 2 }.x").expect_ok()
    assert anew.stream("stderr") == ""
    assert kernel.run(f"_{number(made)}").status == "error"


def test_what_never_comes_to_a_value_runs_all_the_same(kernel):
    assert kernel.run('return Err("early".into());').reply["content"]["evalue"] == "early"
    assert kernel.run('if true { return Err("early".into()) } else { 3 }').reply["content"]["evalue"] == "early"
    assert kernel.run("loop { break 5 }").expect_ok().result == "5"
    assert kernel.run("std::process::exit(3)").status == "error"
    assert kernel.run("let after: Vec<u8> = Vec::new(); after.len()").expect_ok().result == "0"
    assert kernel.run("Vec::new()").reply["content"]["ename"] == "E0282"


def test_errors_of_the_user_are_the_users(kernel):
    refused = kernel.run("{ let text = String::from(\"a\"); let view = &text; drop(text); view.len() }")
    assert refused.reply["content"]["ename"] == "E0505"
    assert "_" + str(number(refused)) not in refused.traceback
    refused = kernel.run("no_such_thing(1)")
    assert refused.reply["content"]["ename"] == "E0425"
    closure = kernel.run("struct Hidden; Hidden")
    assert "cannot be shown" in closure.traceback


def test_values_are_not_listed_among_the_variables_and_old_ones_go(kernel):
    kernel.run("%reset").expect_ok()
    oldest = number(kernel.run("1000 + 1").expect_ok())
    assert "_" not in (kernel.run(":vars").result or "")
    for step in range(10):
        kernel.run(f"{step} + 1").expect_ok()
    missing = kernel.run(f"_{oldest}")
    assert missing.status == "error" and "the last 10 values are kept" in missing.traceback
    assert kernel.run("_ + 0").expect_ok().result == "10"
