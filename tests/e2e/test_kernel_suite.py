"""The whole of jupyter_kernel_test, which any kernel may be held to. Only the pager is left out: it is
a payload that the protocol has deprecated and that no Rust cell asks for."""

import time

# The module, not its classes: pytest would collect those with the kernel they name by default.
import jupyter_kernel_test as suite
import pytest


@pytest.mark.timeout(600)
class WarmcellTests(suite.KernelTests):
    kernel_name = "warmcell"
    language_name = "rust"
    file_extension = ".rs"

    code_hello_world = 'println!("hello, world")'
    code_stderr = 'eprintln!("to stderr")'
    completion_samples = [
        {"text": "let numbers: Vec<i32> = Vec::new(); numbers.is_emp", "matches": {"is_empty()"}},
    ]
    complete_code_samples = ["1 + 1", "let x = 5;", "fn one() -> i32 {\n    1\n}", 'let text = "여러 줄";']
    incomplete_code_samples = ["fn one() -> i32 {", "let x = (1 +", 'let text = "open', "/* open"]
    invalid_code_samples = ["let x = );", "fn one() -> i32 { 1 ]"]
    code_generate_error = "let x: i32 = \"text\";"
    code_execute_result = [
        {"code": "1 + 2 + 3", "result": "6"},
        {"code": "[2, 3, 5].iter().sum::<i32>()", "result": "10"},
        {"code": '"text".len()', "result": "4"},
    ]
    code_display_data = [
        {"code": 'display(Html("<b>bold</b>"))', "mime": "text/html"},
        {"code": 'display(Markdown("**bold**"))', "mime": "text/markdown"},
    ]
    supported_history_operations = ("tail", "range", "search")
    code_history_pattern = "1 ? 2 ? 3"
    code_inspect_sample = "String::from"
    code_clear_output = "clear_output(false)"

    def test_completion(self):
        """Once the analysis is up: some five seconds after the start, until which Tab answers at once with
        what needs none."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.flush_channels()
            self.kc.complete("String::new().is_emp")
            if self.get_non_kernel_info_reply()["content"]["matches"]:
                break
            time.sleep(0.5)
        super().test_completion()


class WelcomeTests(suite.IopubWelcomeTests):
    kernel_name = "warmcell"
    support_iopub_welcome = True
