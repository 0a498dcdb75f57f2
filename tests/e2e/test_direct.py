"""Cells that rustc compiles without cargo and without evcxr: what they leave behind, and how the two
ways share it."""

import time

from conftest import MODEL


def test_a_type_defined_anew_lets_go_of_the_variables_made_of_the_old_one(kernel):
    """evcxr reads their memory as the new type: undefined behaviour in safe code."""
    kernel.run("struct Pair { a: i32, b: i32 }\nstruct Holder(Vec<Pair>);").expect_ok()
    kernel.run("let pair = Pair { a: 1, b: 2 }; let holder = Holder(vec![]); let beside = 3;").expect_ok()
    anew = kernel.run("struct Pair { a: u64, b: String }").expect_ok()
    assert "the type of the variable `pair` was defined anew" in anew.stream("stderr")
    assert "the type of the variable `holder` was defined anew" in anew.stream("stderr")
    assert kernel.run("pair.a").reply["content"]["ename"] == "E0425"
    assert kernel.run("beside").expect_ok().result == "3"
    kernel.run('let pair = Pair { a: 7, b: "x".to_owned() };').expect_ok()
    assert kernel.run("pair.a + holder_len()").status == "error"
    assert kernel.run("(pair.a, pair.b.as_str())").expect_ok().result == '(7, "x")'


def test_a_cell_run_again_defines_the_same_type(kernel):
    kernel.run("struct Same { a: i32 }\nimpl Same { fn a(&self) -> i32 { self.a } }").expect_ok()
    kernel.run("let same = Same { a: 4 };").expect_ok()
    again = kernel.run("struct Same { a: i32 } // the same\nimpl Same { fn a(&self) -> i32 { self.a } }").expect_ok()
    assert again.stream("stderr") == ""
    assert kernel.run("same.a()").expect_ok().result == "4"


def test_types_that_have_only_long_names_are_kept(kernel):
    kernel.run(
        "use std::collections::BTreeMap;\n"
        "let map: BTreeMap<String, Vec<Option<char>>> = BTreeMap::from([(\"k\".to_owned(), vec![Some('v')])]);\n"
        "let boxed: Box<dyn Fn(&str) -> usize + Send> = Box::new(|text| text.len());\n"
        "let (channel, receiver) = std::sync::mpsc::channel::<i32>();\n"
        "let pointer: fn(i32) -> i32 = |x| x + 1;\n"
        "let chars = vec![1, 2, 3].into_iter();"
    ).expect_ok()
    # What a function returns as `impl Iterator` has a type that evcxr cannot name.
    kernel.run("fn squares() -> impl Iterator<Item = u32> { vec![1, 4].into_iter() }\nlet hidden = squares();").expect_ok()
    outcome = kernel.run(
        'channel.send(5)?;\n(map["k"][0], boxed("four"), receiver.recv()?, pointer(1), chars.len(), hidden.sum::<u32>())'
    ).expect_ok()
    assert outcome.result == "(Some('v'), 4, 5, 2, 3, 5)"


def test_what_cannot_be_kept_is_told_with_the_place_and_the_next_step(kernel):
    closure = kernel.run("let closure = |x: i32| x + 1;")
    assert closure.reply["content"]["ename"] == "VariableError"
    assert "`closure` is a closure" in closure.traceback and "Box<dyn Fn" in closure.traceback
    kernel.run("let owner = vec![1, 2];").expect_ok()
    reference = kernel.run("let borrowed = owner.iter();")
    assert reference.reply["content"]["ename"] == "VariableError"
    assert "`borrowed` holds a reference" in reference.traceback
    assert kernel.run("owner.len()").expect_ok().result == "2"
    kernel.run("{ let closure = |x: i32| x + 1; println!(\"{}\", closure(1)); }").expect_ok()


def test_a_variable_that_is_moved_and_set_again_stays(kernel):
    kernel.run('let mut chain = String::from("a"); let mut list = vec![1, 2];').expect_ok()
    kernel.run('chain = chain + "b"; list = list.into_iter().map(|x| x * 2).collect();').expect_ok()
    assert kernel.run("(chain, list)").expect_ok().result == '("ab", [2, 4])'


def test_variables_may_have_capital_names(kernel):
    kernel.run("let X = vec![1.0, 2.0]; let (Q, mut W) = (1, 0.5);").expect_ok()
    assert kernel.run("W += 1.0; (X.len(), Q, W)").expect_ok().result == "(2, 1, 1.5)"
    kernel.run("let Some(first) = X.first().copied() else { panic!() };").expect_ok()
    assert kernel.run("first").expect_ok().result == "1.0"


def test_a_variable_of_a_type_that_stable_rust_cannot_name_is_kept(kernel):
    kernel.run("let ticker = std::thread::spawn(|| loop { std::thread::park() });").expect_ok()
    assert kernel.run("ticker.is_finished()").expect_ok().result == "false"
    assert "JoinHandle<!>" in kernel.run(":vars").expect_ok().result
    # A cell that only evcxr compiles takes every variable.
    kernel.run("std::future::ready(1).await;", timeout=300).expect_ok()
    assert kernel.run("ticker.is_finished()").expect_ok().result == "false"


def test_a_type_in_a_module_that_is_defined_anew_lets_go_of_its_variables(kernel):
    kernel.run("mod inner { pub struct S { pub x: i32 } }").expect_ok()
    kernel.run("let of_inner = inner::S { x: 1 };").expect_ok()
    anew = kernel.run("mod inner { pub struct S { pub x: String } }\n1")
    assert "`of_inner` was defined anew" in anew.expect_ok().stream("stderr")
    assert kernel.run("of_inner.x").reply["content"]["ename"] == "E0425"


def test_a_type_defined_anew_in_evcxrs_way_lets_go_of_its_variables(kernel):
    kernel.run(":help\nstruct Config { a: i32 }", timeout=60).expect_ok()
    kernel.run("let config = Config { a: 1 };").expect_ok()
    anew = kernel.run(":help\nstruct Config { name: String, a: i32 }", timeout=60).expect_ok()
    assert "`config` was defined anew" in anew.stream("stderr")
    assert kernel.run("config.a").reply["content"]["ename"] == "E0425"


def test_a_later_implementation_takes_the_place_of_one_that_it_contradicts(kernel):
    kernel.run("struct Plain; trait Speak { fn speak(&self) -> i32; } impl Speak for Plain { fn speak(&self) -> i32 { 1 } }").expect_ok()
    kernel.run("impl<T> Speak for T { fn speak(&self) -> i32 { 2 } }").expect_ok()
    outcome = kernel.run("Plain.speak()").expect_ok()
    assert outcome.result == "2"


def test_an_implementation_run_again_is_one_to_evcxr_too(kernel):
    kernel.run("struct Twice { x: i32 }").expect_ok()
    kernel.run("impl Twice { fn get(&self) -> i32 { self.x } }").expect_ok()
    kernel.run("impl Twice { fn get(&self) -> i32 { self.x + 1 } }").expect_ok()
    assert kernel.run("std::future::ready(Twice { x: 1 }.get()).await", timeout=300).expect_ok().result == "2"


def test_a_glob_import_of_the_users_has_the_name_that_the_library_has_too(kernel):
    kernel.run("mod physics { #[derive(Debug)] pub struct Device; pub struct Image; }").expect_ok()
    kernel.run("use physics::*;").expect_ok()
    assert kernel.run("let device = Device; device").expect_ok().result == "Device"
    assert kernel.run("AutoTokenizer::from_pretrained(\"no such place\").is_err()").expect_ok().result == "true"


def test_a_function_takes_the_place_of_a_variable_of_its_name(kernel):
    kernel.run("let answer = 1;").expect_ok()
    outcome = kernel.run("fn answer() -> i32 { 42 }").expect_ok()
    assert "`answer`" in outcome.stream("stderr")
    assert kernel.run("answer()").expect_ok().result == "42"


def test_a_changed_associated_type_lets_go_of_the_variables_made_of_it(kernel):
    kernel.run("struct Count; impl Iterator for Count { type Item = u8; fn next(&mut self) -> Option<u8> { Some(1) } }").expect_ok()
    kernel.run("let mut peek = Count.peekable(); peek.peek();").expect_ok()
    outcome = kernel.run("impl Iterator for Count { type Item = String; fn next(&mut self) -> Option<String> { None } }").expect_ok()
    assert "`peek`" in outcome.stream("stderr")


def test_a_variable_that_panics_at_its_end_fails_no_other_cell(kernel):
    kernel.run('struct Sour { x: i32 } impl Drop for Sour { fn drop(&mut self) { panic!("sour") } } let sour = Sour { x: 1 };').expect_ok()
    kernel.run("struct Sour { x: i64 }").expect_ok()
    outcome = kernel.run("1 + 1").expect_ok()
    assert outcome.result == "2" and "panicked as it was let go: sour" in outcome.stream("stderr")
    assert not kernel.run("1 + 1").expect_ok().stream("stderr")


def test_a_moved_variable_is_gone_unless_its_cell_failed(kernel):
    kernel.run('let text = String::from("moved"); let other = String::from("stays");').expect_ok()
    kernel.run("let taken = text;").expect_ok()
    assert kernel.run("text").reply["content"]["ename"] == "E0425"
    failed = kernel.run('let again = taken; let n: i32 = "x".parse()?;')
    assert failed.status == "error"
    assert "as they were before the cell" in failed.traceback
    assert kernel.run("(taken, other)").expect_ok().result == '("moved", "stays")'


def test_an_error_in_an_earlier_definition_is_shown_there(kernel):
    first = kernel.run("fn half(x: i64) -> i64 { x / 2 }\nfn quarter(x: i64) -> i64 { half(half(x)) }")
    count = first.expect_ok().reply["content"]["execution_count"]
    broken = kernel.run("fn half(x: f32) -> f32 { x / 2.0 }\nquarter(8)")
    assert broken.status == "error"
    assert f"In [{count}]" in broken.traceback, broken.traceback
    assert kernel.run("quarter(8)").expect_ok().result == "2"


def test_a_failure_in_a_function_of_an_earlier_cell_points_there(kernel):
    count = kernel.run('fn fails() {\n    panic!("down here");\n}').expect_ok().reply["content"]["execution_count"]
    outcome = kernel.run("fails();")
    assert outcome.reply["content"]["ename"] == "panic"
    assert f"In [{count}]:2:5" in outcome.traceback, outcome.traceback


def test_a_value_that_cannot_be_shown_says_what_to_do(kernel):
    outcome = kernel.run("struct Plain;\nPlain")
    assert outcome.reply["content"]["ename"] == "E0599"
    assert "derive(Debug)" in outcome.traceback and "evcxr" not in outcome.traceback, outcome.traceback


def test_both_ways_share_variables_and_definitions(kernel):
    kernel.run("struct Shared { x: i32 }\nlet shared = Shared { x: 1 }; let mut list = vec![1];").expect_ok()
    # A command makes evcxr compile this cell.
    kernel.run(':dep itoa = "1"\nlist.push(shared.x); let more = itoa::Buffer::new().format(42).to_owned();').expect_ok()
    assert kernel.run("(list.len(), more.as_str(), shared.x)").expect_ok().result == '(2, "42", 1)'
    kernel.run("let gone = shared;").expect_ok()
    assert kernel.run(":dep itoa = \"1\"\nshared.x").status == "error"
    listed = kernel.run(":vars").expect_ok().result
    assert "gone: Shared" in listed and "shared:" not in listed


def test_completion_knows_what_cells_defined_directly(kernel):
    kernel.run("let directly_made = 5; fn directly_defined() {}").expect_ok()
    code = "directly_"
    deadline = time.monotonic() + 60
    while True:
        request = kernel.client.complete(code, len(code))
        reply = kernel.client.get_shell_msg(timeout=60)
        while reply["parent_header"].get("msg_id") != request:
            reply = kernel.client.get_shell_msg(timeout=60)
        matches = set(reply["content"]["matches"])
        if {"directly_made", "directly_defined"} <= {match.rstrip("()") for match in matches}:
            return
        assert time.monotonic() < deadline, matches
        time.sleep(1)


def test_an_interrupted_compilation_leaves_a_kernel_that_compiles(kernel):
    kernel.run("let kept = 9;").expect_ok()
    request = kernel.send("let mut sum = 0u64;" + "sum += 1;" * 20000)
    time.sleep(0.6)
    kernel.manager.interrupt_kernel()
    kernel.collect(request, timeout=60)
    assert kernel.run("kept").expect_ok().result == "9"


def test_values_of_json_are_kept(kernel):
    """They were gone in the next cell, of which nothing had been said."""
    made = kernel.run('let weather = tool! { /// The weather.\nfn weather(/// The city\ncity: String) -> f64 };\nlet all = vec![weather.clone()];')
    assert made.expect_ok().stream("stderr") == ""
    assert kernel.run('weather["function"]["name"].as_str()').expect_ok().result == 'Some("weather")'
    kernel.run("let options = TemplateOptions { tools: Some(all), ..Default::default() };").expect_ok()
    kernel.run('let named: serde_json::Value = json!({"a": [1, null]});\nlet map: serde_json::Map<String, serde_json::Value> = Default::default();').expect_ok()
    kernel.run("use serde_json::to_string;\nlet text = to_string(&named)?;").expect_ok()
    assert kernel.run("(text, map.len())").expect_ok().result == '("{\\"a\\":[1,null]}", 0)'
    # With the crate by its own name, too.
    kernel.run(':dep serde_json = "1"\nuse serde_json::from_str;\nlet read: serde_json::Value = from_str("[1]")?;', timeout=300).expect_ok()
    assert kernel.run("named == json!({\"a\": [1, null]}) && read == json!([1])").expect_ok().result == "true"
    assert kernel.run("let info = models()?.resident().to_vec();\ninfo.len()").expect_ok().stream("stderr") == ""
    kernel.run("info.len()").expect_ok()


def test_a_variable_whose_type_no_cell_can_write_is_told_at_once(new_kernel, tmp_path):
    (tmp_path / "hides/src").mkdir(parents=True)
    (tmp_path / "hides/Cargo.toml").write_text('[package]\nname = "hides"\nversion = "0.1.0"\nedition = "2024"\n')
    (tmp_path / "hides/src/lib.rs").write_text(
        "mod within { #[derive(Debug)] pub struct Hidden(pub u8); }\n"
        "pub fn hidden() -> within::Hidden { within::Hidden(1) }\n#[derive(Debug)] pub struct Open;\n"
    )
    kernel = new_kernel()
    kernel.run(f':dep hides = {{ path = "{tmp_path}/hides" }}', timeout=300).expect_ok()
    outcome = kernel.run("let hidden = hides::hidden(); let open = hides::Open;\nhidden.0").expect_ok()
    assert "`hidden` goes with this cell" in outcome.stream("stderr") and outcome.result == "1"
    listed = kernel.run(":vars").expect_ok().result
    assert "open: hides::Open" in listed and "hidden" not in listed
    assert kernel.run("open").expect_ok().result == "Open"
    assert kernel.run("hidden").reply["content"]["ename"] == "E0425"


def test_a_cell_with_a_new_crate_shows_its_value_as_any_other(new_kernel):
    kernel = new_kernel()
    code = f':dep itoa = "1"\nlet tokenizer = AutoTokenizer::from_pretrained("{MODEL}")?;\ntokenizer.encode("hi")?'
    shown = kernel.run(code, timeout=300).expect_ok().of("execute_result")[0]["data"]
    assert "<table" in shown["text/html"]
    plain = kernel.run(':dep itoa = "1"\nstruct Plain;\nPlain')
    assert "derive(Debug)" in plain.traceback and "evcxr" not in plain.traceback, plain.traceback


def test_charts_and_json_are_made_in_a_cell(kernel):
    chart = kernel.run('Vega(json!({"mark": "bar", "data": {"values": [{"a": 1}]}}))').expect_ok()
    assert chart.of("execute_result")[0]["data"]["application/vnd.vegalite.v5+json"]["mark"] == "bar"
    assert kernel.run('Vega::parse("{\\"mark\\": \\"bar\\"}")?').expect_ok().of("execute_result")
    assert "this text is no JSON" in kernel.run('Vega::parse("{mark: 1}")?').traceback
    assert "Vega::parse" in kernel.run('Vega("{}".into())').expect_ok().result
    assert kernel.run('Json(json!([1, {"a": null}]))').expect_ok().of("execute_result")[0]["data"]["application/json"] == [1, {"a": None}]


def test_a_panic_in_a_function_that_an_earlier_cell_left_points_there(kernel):
    """The caret stood wherever the line was in the cell that called it."""
    left = kernel.run('// first\nlet left: Box<dyn Fn(i32) -> i32 + Send> = Box::new(|n| {\n    if n > 1 { panic!("too many: {n}") }\n    n\n});').expect_ok()
    count = left.reply["content"]["execution_count"]
    outcome = kernel.run("let a = 1;\nlet b = 2;\nlet c = 3;\nlet d = 4;\nlet e = 5;\nleft(a + b + c + d + e)")
    assert "too many: 15" in outcome.reply["content"]["evalue"]
    assert f"In [{count}]:3:16" in outcome.traceback, outcome.traceback
    here = kernel.run('{ let own = || panic!("own"); own(); }')
    assert f"In [{here.reply['content']['execution_count']}]:1:16" in here.traceback, here.traceback
