"""Commands that need no compile: what they show, that they answer at once, and that the rest of the
cell is Rust as before."""

import os
import subprocess
import time

import pytest
from conftest import FIXTURES, MODEL

# The target is milliseconds; a compile takes some hundreds of them.
AT_ONCE = 0.5


def shown(outcome, kind="text/plain"):
    """All that a cell displayed, as text."""
    return "\n".join(content["data"].get(kind, "") for content in outcome.of("display_data"))


def complete(kernel, code, cursor=None):
    request = kernel.client.complete(code, len(code) if cursor is None else cursor)
    while (reply := kernel.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != request:
        pass
    return reply["content"]


def is_complete(kernel, code):
    request = kernel.client.is_complete(code)
    while (reply := kernel.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != request:
        pass
    return reply["content"]["status"]


def test_commands_answer_before_rust_is_up(new_kernel):
    kernel = new_kernel()
    started = time.monotonic()
    assert "%models" in shown(kernel.run("%help").expect_ok())
    listed = kernel.run("%vars").expect_ok().of("display_data")[0]
    assert "no variables" in listed["data"]["text/plain"]
    assert kernel.run("!echo shell").expect_ok().stream() == "shell\n"
    assert time.monotonic() - started < AT_ONCE
    # And the analyser was not waited for by stealth: Rust works after them.
    assert kernel.run("1 + 1").expect_ok().result == "2"


def test_help_lists_all_commands_and_explains_each(kernel):
    text = shown(kernel.run("%help").expect_ok())
    names = [word[1:].strip("%,") for word in text.split() if word.startswith("%")]
    assert {"limit", "vars", "deps", "time", "timeit", "env", "bash", "writefile", "reset", "doctor"} <= set(names)
    for name in set(names) - {"NAME?`"}:
        details = shown(kernel.run(f"%{name}?").expect_ok())
        assert details.startswith("%") and name in details
        assert details == shown(kernel.run(f"%help {name}").expect_ok())


def test_an_unknown_command_suggests_the_nearest(kernel):
    outcome = kernel.run("%modles")
    assert outcome.reply["content"]["ename"] == "UnknownCommand"
    assert "%models" in outcome.traceback and "%help" in outcome.traceback


def test_a_command_of_ipython_leads_to_what_does_it_here(kernel):
    """`%pip` was answered by "did you mean `%pin`?"."""
    for code, instead in [("%pip install numpy", ":dep"), ("%who", "%vars"), ("%pwd", "!pwd"), ("?%pip", ":dep")]:
        outcome = kernel.run(code)
        assert outcome.reply["content"]["ename"] == "UnknownCommand", code
        assert instead in outcome.traceback and "did you mean" not in outcome.traceback, outcome.traceback


def test_bad_arguments_say_the_usage(kernel):
    for code in ["%limit disk 4G", "%limit memory lots", "%vars all", "%tokens", "%%writefile", "%bash", "%%vars", "%time"]:
        outcome = kernel.run(code)
        assert outcome.reply["content"]["ename"] == "UsageError", code
        assert "hint: %" in outcome.traceback, outcome.traceback


def test_commands_run_in_order_and_lines_keep_their_numbers(kernel):
    outcome = kernel.run('%env STEP=1\n!echo "step $STEP"\n\nprintln!("rust");\nlet wrong = missing;')
    assert outcome.status == "error"
    assert "[" in outcome.traceback and ":5:" in outcome.traceback, outcome.traceback
    assert outcome.stream() == "STEP=1\nstep 1\n"
    outcome = kernel.run('%env STEP=2\n!echo "step $STEP"\n\nprintln!("rust");').expect_ok()
    assert outcome.stream() == "STEP=2\nstep 2\nrust\n"


def test_a_failed_command_ends_the_cell(kernel):
    outcome = kernel.run('!false\nprintln!("not reached");')
    assert outcome.status == "error" and outcome.stream() == ""


def test_a_command_below_rust_is_told_from_an_operator(kernel):
    assert kernel.run("let seven = 7;\nseven\n% 4").expect_ok().result == "3"
    outcome = kernel.run("let eight = 8;\n%vars")
    assert outcome.reply["content"]["ename"] == "UsageError"
    assert "line 2" in outcome.reply["content"]["evalue"]
    for below in ["!ls -l", "?Vec"]:
        evalue = kernel.run(f"let nine = 9;\n{below}").reply["content"]["evalue"]
        assert f"line 2, `{below}`" in evalue, evalue
    assert kernel.run("::std::convert::identity(5)").expect_ok().result == "5"


def test_variables_are_listed_with_their_types(kernel):
    kernel.run('let listed = vec!["<b>"];').expect_ok()
    outcome = kernel.run("%vars").expect_ok()
    assert outcome.seconds < AT_ONCE
    line = next(line for line in shown(outcome).splitlines() if "listed" in line)
    assert "Vec<" in line
    assert "Vec&lt;" in shown(outcome, "text/html")


def test_the_shell_is_told_from_a_negation(kernel):
    kernel.run("let ready = false;").expect_ok()
    assert kernel.run("!ready").expect_ok().result == "true"
    assert kernel.run("! echo ready").expect_ok().stream() == "ready\n"
    assert kernel.run("!(1 == 2)").expect_ok().result == "true"


def test_a_question_is_told_from_the_operator(kernel):
    kernel.run('let parsed = "12".parse::<i32>();').expect_ok()
    assert kernel.run("parsed?").expect_ok().result == "12"
    for code in ["?Vec", "Vec?"]:
        assert "growable array" in shown(kernel.run(code).expect_ok()), code
    outcome = kernel.run("?no_such_thing_anywhere")
    assert outcome.reply["content"]["ename"] == "NotFound"


def test_output_of_the_shell_streams_and_its_exit_code_is_an_error(kernel):
    outcome = kernel.run("%%bash\necho one\necho two >&2\nsleep 2\necho three\nexit 7\n")
    assert outcome.reply["content"]["ename"] == "ShellError"
    assert "exit code 7" in outcome.reply["content"]["evalue"]
    assert (outcome.stream(), outcome.stream("stderr")) == ("one\nthree\n", "two\n")
    first = next(seconds for seconds, message in outcome.messages if message["msg_type"] == "stream")
    assert outcome.seconds - first > 1.5
    assert kernel.run("!printf 'a\\377b'").expect_ok().stream() == "a\N{REPLACEMENT CHARACTER}b"


def test_an_interrupt_ends_all_that_the_shell_started(kernel, tmp_path):
    marker = f"1234.{os.getpid()}"
    running = kernel.send(f"%%bash\necho started\n(trap '' INT; sleep {marker}) &\nsleep {marker}\n")
    time.sleep(1)
    kernel.manager.interrupt_kernel()
    outcome = kernel.collect(running, timeout=20)
    assert outcome.reply["content"]["ename"] == "KeyboardInterrupt"
    assert outcome.stream() == "started\n"
    time.sleep(0.3)
    left = subprocess.run(["pgrep", "-f", f"sleep {marker}"], capture_output=True, text=True)
    assert left.stdout == ""
    assert kernel.run("1 + 1").expect_ok().result == "2"


def test_the_environment_reaches_cells_and_commands(kernel):
    kernel.run("%env WARMCELL_SET=한국어").expect_ok()
    assert kernel.run('std::env::var("WARMCELL_SET")').expect_ok().result == 'Ok("한국어")'
    assert kernel.run("!echo $WARMCELL_SET").expect_ok().stream() == "한국어\n"
    assert kernel.run("%env WARMCELL_SET").expect_ok().stream() == "한국어\n"
    kernel.run("%env WARMCELL_SET=").expect_ok()
    assert "NotPresent" in kernel.run('std::env::var("WARMCELL_SET")').expect_ok().result
    kernel.run("%env MY_TOKEN=hunter2").expect_ok()
    assert "hunter2" not in kernel.run("%env MY_TOKEN").stream() + shown(kernel.run("%env"))


def test_a_file_is_written_and_appended_to(kernel):
    kernel.run("%%writefile written.txt\n%one\n  <two>\n").expect_ok()
    kernel.run("%%writefile -a written.txt\nthree").expect_ok()
    assert kernel.run("!cat written.txt").expect_ok().stream() == "%one\n  <two>\nthree\n"
    outcome = kernel.run("%%writefile no/such/folder/x\ntext")
    assert outcome.reply["content"]["ename"] == "IoError" and "mkdir" in outcome.traceback


def test_time_tells_compiling_from_running(kernel):
    code = "let slept = std::thread::sleep(std::time::Duration::from_millis(300));"
    for cell in [f"%time {code}", f"%%time\n{code}"]:
        line = kernel.run(cell).expect_ok().stream()
        assert "compiled in" in line and "in all" in line
        # At least the sleep, and not the compile with it.
        milliseconds = float(line.split("ran in ")[1].split(" ms")[0])
        assert 300 <= milliseconds < 3000
    kernel.run("slept").expect_ok()


def test_timeit_measures_single_runs(kernel):
    outcome = kernel.run("%timeit std::thread::sleep(std::time::Duration::from_millis(30))").expect_ok()
    assert " a run (7 samples of " in outcome.result
    assert 30 <= float(outcome.result.split(" ms")[0]) < 300
    outcome = kernel.run('%%timeit\nlet parsed: u32 = "12".parse()?;\nparsed + 1 // comment').expect_ok()
    assert "7 samples" in outcome.result
    assert "7 samples" in kernel.run("%timeit(1 + 1)").expect_ok().result
    failed = kernel.run('%timeit "x".parse::<u32>()?')
    assert failed.status == "error" and "invalid digit" in failed.reply["content"]["evalue"]


def test_reset_forgets_what_cells_defined(new_kernel):
    kernel = new_kernel()
    kernel.run("let gone = 1; fn gone_too() {}").expect_ok()
    kernel.run("%reset").expect_ok()
    listed = kernel.run("%vars").expect_ok().of("display_data")[0]
    assert "no variables" in listed["data"]["text/plain"]
    assert kernel.run("gone").status == "error"
    assert kernel.run("1 + 1").expect_ok().result == "2"


def test_dependencies_are_listed(new_kernel):
    kernel = new_kernel()
    assert "warmcell" in shown(kernel.run("%deps").expect_ok())
    outcome = kernel.run(':dep itoa = "1"').expect_ok()
    # It is one crate more, and the library stays as it was built.
    assert "compiling warmcell" not in str(outcome.messages)
    assert "itoa" in shown(kernel.run("%deps").expect_ok())


def test_models_are_loaded_listed_and_freed(kernel):
    kernel.run("%unload all").expect_ok()
    assert f"Loaded {MODEL}" in str(kernel.run(f"%load {MODEL}").expect_ok().messages)
    outcome = kernel.run("%models").expect_ok()
    assert outcome.seconds < AT_ONCE
    line = next(line for line in shown(outcome).splitlines() if MODEL in line)
    assert "cpu" in line and "MB" in line
    assert "<table>" in shown(outcome, "text/html")
    assert f"freed {MODEL}" in kernel.run(f"%unload {MODEL}").expect_ok().stream()
    assert kernel.run(f"%unload {MODEL}").status == "error"


def test_a_model_that_is_not_there_is_told_in_three_parts(kernel):
    outcome = kernel.run("%load /no/such/model")
    assert outcome.reply["content"]["ename"] == "NotFound"
    assert "/no/such/model" in outcome.reply["content"]["evalue"]


def test_a_chat_goes_on_from_cell_to_cell(kernel):
    first = kernel.run("%%chat --new --max 40\nWhat is the capital of France?").expect_ok()
    assert "Paris" in first.stream()
    second = kernel.run("%%chat --max 12\nWhich city did I ask about? One word.").expect_ok()
    assert "France" in second.stream() or "Paris" in second.stream()
    long = kernel.run("%%chat --new --max 5\nCount to one hundred.").expect_ok()
    assert "reached 5 tokens" in long.stream()
    assert kernel.run("%%chat --max x\nHello").reply["content"]["ename"] == "UsageError"
    assert "says nothing" in kernel.run("%%chat\n  ").reply["content"]["evalue"]
    request = kernel.send("%%chat --new --max 2000\nTell me a very long story.")
    time.sleep(1)
    kernel.manager.interrupt_kernel()
    assert kernel.collect(request).reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_pinned_model_says_so(kernel):
    assert "stays in memory" in kernel.run(f"%pin {MODEL}").expect_ok().stream()
    assert "pinned" in shown(kernel.run("%models").expect_ok())
    assert "may give way" in kernel.run(f"%pin {MODEL} off").expect_ok().stream()
    assert "pinned" not in shown(kernel.run("%models").expect_ok())


def test_a_token_is_asked_for_and_never_shown(kernel, tmp_path):
    kernel.run(f"%env HF_TOKEN_PATH={tmp_path}/token").expect_ok()
    secret = "hf_" + "s3cret" * 4
    request = kernel.send("%login", allow_stdin=True)
    asked = kernel.client.get_stdin_msg(timeout=30)
    assert asked["content"]["password"] is True
    kernel.client.input(secret)
    outcome = kernel.collect(request).expect_ok()
    assert (tmp_path / "token").read_text() == secret
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert secret not in str(outcome.messages) + str(kernel.run("%env").messages)
    assert "do not write one" in kernel.run(f"%login {secret}").reply["content"]["evalue"]
    kernel.run("%env HF_TOKEN_PATH=").expect_ok()


def test_an_interrupt_at_the_question_for_a_token_is_one(kernel):
    request = kernel.send("%login", allow_stdin=True)
    kernel.client.get_stdin_msg(timeout=30)
    kernel.manager.interrupt_kernel()
    assert kernel.collect(request).reply["content"]["ename"] == "KeyboardInterrupt"


def test_a_missing_card_is_told_with_what_runs_instead(kernel):
    said = str(kernel.run("%gpu").expect_ok().messages)
    assert "the feature `cuda`" in said
    if "no NVIDIA driver" in said:
        assert "models run on the CPU; install NVIDIA's driver" in said


def test_a_model_is_quantised_by_options(kernel):
    folder = FIXTURES / "text_generation/llama"
    options = "--load-in-4bit --quant-type nf4 --double-quant --compute-dtype bf16"
    loaded = str(kernel.run(f"%load {folder} {options}").expect_ok().messages)
    assert "nf4" in loaded.lower(), loaded
    assert "goes with `--load-in-4bit`" in kernel.run(f"%load {folder} --double-quant").reply["content"]["evalue"]
    kernel.run(f"%unload {folder}").expect_ok()


def test_a_name_alone_is_the_model_in_memory(kernel):
    # Of which no other test has said anything.
    folder = FIXTURES / "text_generation/llama_new"
    quantised = "BitsAndBytesConfig { load_in_4bit: true, bnb_4bit_quant_type: Some(FourBitType::Nf4), ..Default::default() }"
    rust = f'AutoModelForCausalLM::from_pretrained("{folder}").quantization_config({quantised}).load()?;'
    kernel.run(f"%unload all\n{rust}").expect_ok()
    line = f"{folder} as it is in memory: nf4 on cpu"
    assert line in kernel.run(f"%pin {folder}").expect_ok().stream()
    # Once it was named, it is known.
    for model in [folder, "", folder]:
        assert line not in kernel.run(f"%%chat {model} --max 3\nHi").expect_ok().stream()
    assert shown(kernel.run("%models").expect_ok()).count(str(folder)) == 1
    # The pinned one, though another was used since.
    kernel.run(f"%load {folder} --dtype bf16").expect_ok()
    assert "may give way" in kernel.run(f"%pin {folder} off").expect_ok().stream()
    assert "pinned" not in shown(kernel.run("%models").expect_ok())
    assert "is not pinned" in kernel.run(f"%pin {folder} off").expect_ok().stream()
    kernel.run(f"%unload {folder}\n%load {folder} --load-in-4bit --quant-type nf4").expect_ok()
    # Its options come back with it.
    kernel.run(f"%unload {folder}").expect_ok()
    kernel.run("%%chat --max 3\nHi").expect_ok()
    assert "nf4" in shown(kernel.run("%models").expect_ok())
    kernel.run(f"%%chat {folder} --dtype bf16 --max 3\nHi").expect_ok()
    assert shown(kernel.run("%models").expect_ok()).count(str(folder)) == 2
    kernel.run(f"%unload {folder}").expect_ok()


def test_a_folder_is_named_from_the_cells_folder(new_kernel, tmp_path):
    """Commands and `unload()` asked the hub for a folder that a cell loaded."""
    (tmp_path / "here").mkdir()
    for name, folder in [("m", "text_generation/llama"), ("masks", "pipelines/bert_masks")]:
        (tmp_path / "here" / name).symlink_to(FIXTURES / folder)
    kernel = new_kernel()
    kernel.run(f'std::env::set_current_dir("{tmp_path}")?;').expect_ok()
    for name in ["here/m", "./here/m"]:
        kernel.run(f"%load {name}").expect_ok()
        assert kernel.run(f'unload("{name}")?.len()').expect_ok().result == "1"
        kernel.run(f'AutoModelForCausalLM::from_pretrained("{name}").load()?').expect_ok()
        assert "freed" in kernel.run(f"%unload {name}").expect_ok().stream()
    kernel.run("%tokens here/m Hello").expect_ok()
    kernel.run("%%chat here/m --max 3\nHi").expect_ok()
    kernel.run("%pin here/m off").expect_ok()
    kernel.run("%%pipeline fill-mask here/masks tokenizer=here/masks\nParis is the [MASK].").expect_ok()
    # The cells' folder, as they have it now.
    kernel.run('std::env::set_current_dir("here")?;').expect_ok()
    kernel.run("%load m").expect_ok()
    assert kernel.run("%load here/m").status == "error"
    kernel.run("%unload m\n%unload masks").expect_ok()


def test_tokens_and_templates_look_as_in_rust(kernel):
    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert shown(kernel.run(f"%tokens {MODEL} --file {file} --revision main a b").expect_ok()) == shown(kernel.run(f"%tokens {MODEL} a b"))
    assert "`fast` is no option" in kernel.run(f"%template {MODEL} fast").reply["content"]["evalue"]
    command = kernel.run(f'%tokens {MODEL} "<img src=x> 한국어"').expect_ok()
    rust = kernel.run(f'AutoTokenizer::from_pretrained("{MODEL}")?.encode("<img src=x> 한국어")?').expect_ok()
    assert command.of("display_data")[0]["data"] == rust.of("execute_result")[0]["data"]
    assert "<img" not in shown(command, "text/html")
    body = kernel.run(f"%%tokens {MODEL}\n<img src=x> 한국어\n").expect_ok()
    assert shown(body) == shown(command)
    assert "<|im_start|>assistant" in shown(kernel.run(f"%template {MODEL}").expect_ok())


def test_doctor_says_what_the_terminal_says(kernel):
    text = shown(kernel.run("%doctor").expect_ok())
    assert "rustc" in text and "linker" in text and "sockets" in text


def test_names_and_words_are_completed(kernel):
    kernel.run("1").expect_ok()
    assert complete(kernel, "%lim")["matches"] == ["%limit"]
    found = complete(kernel, "%env A=1\n  %%writ")
    assert (found["matches"], found["cursor_start"]) == (["%%writefile"], 11)
    assert complete(kernel, "%limit me")["matches"] == ["memory"]
    assert complete(kernel, f"%load {MODEL[:12]}")["matches"] == [MODEL]
    assert "timeit" in complete(kernel, "%help time")["matches"]
    assert complete(kernel, "let x = 1;\n%lim")["matches"] == []


def test_models_tasks_and_files_are_completed_within_strings(kernel, tmp_path):
    cache = tmp_path / "models--acme--tiny/blobs"
    cache.mkdir(parents=True)
    (cache / "weights").write_bytes(bytes(5000))
    kernel.run(f"%env HF_HUB_CACHE={tmp_path}").expect_ok()
    kernel.run(f"%load {MODEL}").expect_ok()
    reply = complete(kernel, 'let model = AutoModelForCausalLM::from_pretrained("')
    assert reply["matches"][0] == MODEL and "acme/tiny" in reply["matches"]
    told = {one["text"]: one["signature"] for one in reply["metadata"]["_jupyter_types_experimental"]}
    assert told[MODEL].startswith("in memory") and told["acme/tiny"].startswith("downloaded")
    assert complete(kernel, 'pipeline_with("ner").model("tin')["matches"] == ["acme/tiny"]
    assert complete(kernel, 'pipeline("sent')["matches"] == ["sentiment-analysis"]
    reply = complete(kernel, f'std::fs::read_to_string("{tmp_path}/mod')
    assert reply["matches"] == [f"{tmp_path}/models--acme--tiny/"]
    kernel.run("%env HF_HUB_CACHE=").expect_ok()


def test_shells_are_offered_files_and_texts_nothing(kernel, tmp_path):
    (tmp_path / "notes.txt").touch()
    for code in [f"!cat {tmp_path}/no", f"%%bash\ncd / && cat {tmp_path}/no", f"%%writefile {tmp_path}/no", f"%load {tmp_path}/no"]:
        reply = complete(kernel, code)
        assert reply["matches"] == [f"{tmp_path}/notes.txt"], code
        assert reply["cursor_start"] == code.index(f"{tmp_path}")
    for code in ["%%chat\nWhat is a String", "%%writefile a.txt\nlet x = Str", "%%pipeline ner\nStr"]:
        assert complete(kernel, code)["matches"] == [], code


def test_all_models_and_tasks_are_offered(kernel):
    reply = complete(kernel, "%load all-Mini")
    told = {one["text"]: one["signature"] for one in reply["metadata"]["_jupyter_types_experimental"]}
    assert set(told) == {"sentence-transformers/all-MiniLM-L6-v2", "warmcell/all-MiniLM-L6-v2-sentiment"}
    assert all("MB" in signature for signature in told.values())
    assert {"translation", "translation_en_to_fr", "translation_en_to_ro"} <= set(complete(kernel, 'pipeline("trans')["matches"])


def test_rust_behind_a_command_is_completed(kernel):
    kernel.run("let completed = String::new();").expect_ok()
    kernel.run("?completed").expect_ok()
    for code in ["%time completed.push_st", "%%time\ncompleted.push_st", "%limit\ncompleted.push_st"]:
        assert any(found.startswith("push_str(") for found in complete(kernel, code)["matches"]), code


def test_shift_tab_explains_a_command(kernel):
    request = kernel.client.inspect("%limit memory 4G", 3)
    while (reply := kernel.client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != request:
        pass
    assert "4G" in reply["content"]["data"]["text/plain"]


@pytest.mark.parametrize(
    "code, status",
    [("%help", "complete"), ("%%bash", "incomplete"), ("%%bash\nls", "incomplete"), ("%%bash\nls\n\n", "complete"),
     ("!ls (", "complete"), ("!echo \\", "incomplete"), ("!echo \\\n a", "complete"), ("::std::mem::drop(", "incomplete"), ("?Vec", "complete"), ("%limit\nfn f() {", "incomplete"), ("%limit\n}", "invalid")],
)
def test_a_console_knows_when_a_command_is_complete(kernel, code, status):
    assert is_complete(kernel, code) == status


def test_evcxrs_own_commands_work_below_ours(kernel):
    outcome = kernel.run("%env A=1\n:vars\nlet behind = 1;").expect_ok()
    assert outcome.stream().startswith("A=1\n")
    assert kernel.run("behind").expect_ok().result == "1"


def test_a_long_compile_says_so_and_leaves_nothing(new_kernel):
    kernel = new_kernel()
    slow_crate(kernel)
    outcome = kernel.run(':dep slow = { path = "slow" }\nslow::answer()', timeout=300).expect_ok()
    assert outcome.result == "42"
    lines = shown(outcome)
    assert lines.startswith(("compiling ", "bringing up "))
    updates = outcome.of("update_display_data")
    assert any("compiling slow 7.7.7" in content["data"]["text/plain"] for content in updates)
    kinds = [m["msg_type"] for _, m in outcome.messages]
    # The line asks to be cleared at once, so that the value takes its place.
    assert kinds.index("clear_output") == kinds.index("display_data") + 1
    assert kinds.index("clear_output") < kinds.index("execute_result")


def slow_crate(kernel):
    """A crate that takes more than a second to compile, by its build script."""
    code = (
        "%%bash\nmkdir -p slow/src && cd slow\n"
        'printf \'[package]\\nname = "slow"\\nversion = "7.7.7"\\nedition = "2024"\\n\' > Cargo.toml\n'
        "echo 'fn main() { std::thread::sleep(std::time::Duration::from_secs(3)); }' > build.rs\n"
        "echo 'pub fn answer() -> u32 { 42 }' > src/lib.rs\n"
    )
    kernel.run(code).expect_ok()


def test_a_name_of_the_librarys_is_explained_before_the_command(kernel):
    kernel.run("1 + 1").expect_ok()
    function = kernel.run("?pipeline").expect_ok()
    assert "fn pipeline" in shown(function), shown(function)
    assert "`pipeline` is a command, too: `%help pipeline`" in function.stream()
    assert "%%pipeline TASK" in shown(kernel.run("?%pipeline").expect_ok())
    assert "%tokens MODEL" in shown(kernel.run("?tokens").expect_ok())


def test_timeit_says_that_it_takes_no_options(kernel):
    outcome = kernel.run("%timeit -n 3 1 + 1")
    assert outcome.status == "error" and "`-n` is no option" in outcome.traceback
    assert "timeit!(" not in outcome.traceback
