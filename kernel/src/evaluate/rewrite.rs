//! The last step before rustc: the source that evcxr generated for a cell is made to report how the
//! cell ended by calls, where evcxr has it print marker lines.
//!
//! Markers on standard output would be mixed with what the user prints; calls into the library are
//! not. Only lines that evcxr generates are touched, and never their number, so that every span in
//! a compiler message stays true.

use std::{fs, path::Path};

use super::direct::nameable;

const PANIC_LINE: &str = "    println!(\"EVCXR_PANIC_NOTIFICATION\");";
const ERROR_STRUCT: &str = "struct EvcxrUserCodeError {}";
const ERROR_PRINT: &str = "eprintln!(\"{}\", error);";
const ERROR_MARKER: &str = "println!(\"{}\", evcxr_internal_runtime::USER_ERROR_OCCURRED);";
const STORE_START: &str = "mod evcxr_internal_runtime {";
const STORE_LAST_ITEM: &str = "pub fn create_variable_store()";
const STORE: &str = "mod evcxr_internal_runtime { pub use ::warmcell::cell::variables::*; }";
const DISPLAY_LINE: &str = ").evcxr_display();";
/// What evcxr puts around a value in the place of that, once an error has named a line of it, whatever the error
/// was.
const FALLBACK_LINES: [&str; 2] = ["evcxr_send_text_plain(&format!(\"{:?}\",&(", ")));"];
const SHOWN_LINES: [&str; 2] = ["(", ").__warmcell_ref().evcxr_display();"];

/// Rewrites a cell's source in place.
pub fn rewrite_file(path: &Path) -> std::io::Result<()> {
    let source = fs::read_to_string(path)?;
    fs::write(path, rewrite(&source))
}

/// Replaces evcxr's marker lines and adds the hooks behind the last line.
fn rewrite(source: &str) -> String {
    let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
    // evcxr puts the panic's line and the display's behind the user's code: the last is its own.
    replace_last(
        &mut lines,
        |line| line == PANIC_LINE,
        PANIC_LINE,
        "::warmcell::cell::panicked();",
    );
    replace_last(
        &mut lines,
        |line| line == DISPLAY_LINE,
        DISPLAY_LINE,
        SHOWN_LINES[1],
    );
    show_fallback(&mut lines);
    // The error's conversion and the variable store stand before the user's code in one block each.
    if let Some(start) = lines.iter().rposition(|line| line.trim() == ERROR_STRUCT) {
        replace_first(
            &mut lines[start..],
            ERROR_PRINT,
            "::warmcell::cell::question_mark(&error);",
        );
        replace_first(&mut lines[start..], ERROR_MARKER, "");
    }
    share_variable_store(&mut lines);
    for line in &mut lines {
        name_type(line);
    }
    let mut rewritten = lines.join("\n");
    rewritten.push_str(HOOKS);
    rewritten
}

/// A value that evcxr would show by `Debug` alone is shown as any other.
fn show_fallback(lines: &mut [String]) {
    let [open, close] = FALLBACK_LINES;
    let Some(start) = lines.iter().rposition(|line| line == open) else {
        return;
    };
    let Some(end) = lines[start..].iter().rposition(|line| line == close) else {
        return;
    };
    SHOWN_LINES[0].clone_into(&mut lines[start]);
    SHOWN_LINES[1].clone_into(&mut lines[start + end]);
}

/// Brings the display of the last expression into scope, and keeps the linker from dropping the
/// library from a cell that uses none of it, since the runner calls its hooks.
const HOOKS: &str = "
#[allow(unused_imports)] use ::warmcell::cell::display_scope::*;
#[used] static WARMCELL_HOOK: extern \"C\" fn() = ::warmcell::cell::warmcell_cell_begin;
";

/// evcxr writes the store of variables into every cell; the library has it compiled. The lines stay,
/// empty.
fn share_variable_store(lines: &mut [String]) {
    let Some(start) = lines.iter().position(|line| line == STORE_START) else {
        return;
    };
    let is_last_item = |line: &String| line.starts_with(STORE_LAST_ITEM);
    let Some(last_item) = lines[start..].iter().position(is_last_item) else {
        return;
    };
    // The first closing brace at a line's start ends the last item, the second the module.
    let mut braces = (start + last_item..lines.len()).filter(|&index| lines[index] == "}");
    let Some(end) = braces.nth(1) else { return };
    STORE.clone_into(&mut lines[start]);
    lines[start + 1..=end].iter_mut().for_each(String::clear);
}

/// Writes the type in a line that looks at, takes or puts a variable so that the compiler takes it.
fn name_type(line: &mut String) {
    const CALLS: [&str; 3] = ["check_variable::<", "take_variable::<", "put_variable::<"];
    if !line.contains("evcxr_variable_store.") {
        return;
    }
    let call = CALLS
        .iter()
        .find_map(|call| Some(line.find(call)? + call.len()));
    let Some(start) = call else { return };
    let Some(end) = line[start..].rfind(">(stringify!(") else {
        return;
    };
    let type_name = nameable(&line[start..start + end]);
    line.replace_range(start..start + end, &type_name);
}

fn replace_first(lines: &mut [String], marker: &str, by: &str) {
    if let Some(line) = lines.iter_mut().find(|line| line.trim() == marker) {
        *line = line.replace(marker, by);
    }
}

fn replace_last(lines: &mut [String], is: impl Fn(&str) -> bool, marker: &str, by: &str) {
    if let Some(line) = lines.iter_mut().rfind(|line| is(line)) {
        *line = line.replace(marker, by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_prints_is_left_alone() {
        let source = "fn f() {\nprintln!(\"EVCXR_PANIC_NOTIFICATION\");\n}\n    println!(\"EVCXR_PANIC_NOTIFICATION\");\n    println!(\"EVCXR_PANIC_NOTIFICATION\");\n}";
        let rewritten = rewrite(source);
        assert_eq!(
            rewritten
                .matches("println!(\"EVCXR_PANIC_NOTIFICATION\");")
                .count(),
            2
        );
        assert_eq!(
            rewritten.matches("::warmcell::cell::panicked();").count(),
            1
        );
    }

    #[test]
    fn the_store_of_variables_is_the_librarys() {
        let source = "mod evcxr_internal_runtime {\npub struct VariableStore {\n}\npub fn create_variable_store() -> *mut VariableStore {\n    x\n}\n}\nfn after() {}";
        let rewritten = rewrite(source);
        let lines: Vec<&str> = rewritten.lines().collect();
        assert_eq!(lines[0], STORE);
        assert_eq!(lines[1..7], [""; 6]);
        assert_eq!(lines[7], "fn after() {}");
    }

    #[test]
    fn a_variable_of_a_type_that_never_ends_is_taken() {
        let line = "let t = evcxr_variable_store.take_variable::<JoinHandle<!>>(stringify!(t));";
        let rewritten = rewrite(line);
        let never =
            "take_variable::<JoinHandle<::warmcell::cell::variables::Never>>(stringify!(t));";
        assert!(rewritten.contains(never), "{rewritten}");
    }

    /// The first cell with `.await` at its end, and one with `:dep`, showed `[6004]` in the place of a table.
    #[test]
    fn a_value_is_shown_as_any_other_where_evcxr_falls_back() {
        let source = "fn evcxr_send_text_plain(text: &str) {}\nevcxr_send_text_plain(&format!(\"{:?}\",&(\nf(g((\n1\n)));\n)));\nOk(())})();";
        let rewritten = rewrite(source);
        let lines: Vec<&str> = rewritten.lines().collect();
        assert_eq!(lines[1..4], ["(", "f(g((", "1"]);
        assert_eq!(lines[4..6], [")));", ").__warmcell_ref().evcxr_display();"]);
        assert_eq!(lines[6], "Ok(())})();");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = "a\nstruct EvcxrUserCodeError {}\n    eprintln!(\"{}\", error);\n    println!(\"{}\", evcxr_internal_runtime::USER_ERROR_OCCURRED);\nlet user = 1;\n(\nuser\n).evcxr_display();";
        let rewritten = rewrite(source);
        let line = |n: usize| rewritten.lines().nth(n).unwrap_or_default();
        assert_eq!(line(2).trim(), "::warmcell::cell::question_mark(&error);");
        assert_eq!(line(3).trim(), "");
        assert_eq!(line(4), "let user = 1;");
        assert_eq!(line(7), ").__warmcell_ref().evcxr_display();");
    }
}
