//! evcxr's commands that harm a kernel or do nothing in one, with what does: they are refused before evcxr
//! sees them, and its list leaves them out.

use jupyter::CellError;

use super::{super::errors, Outputs, by_evcxr::is_command};

/// Command, why it is refused, and what to do instead.
const REFUSED: [(&str, &str, &str); 16] = [
    (
        ":quit",
        "the front end ends its kernel",
        "`Shut Down Kernel` in its menu; `%reset` forgets the variables",
    ),
    (
        ":restart",
        "it would take the kernel's record of the variables away, and leave the variables",
        "`%reset` forgets the variables; `Restart Kernel` in the front end's menu starts anew",
    ),
    (
        ":fmt",
        "a value is shown by its own display, else by `{:?}`",
        "`println!(\"{:#?}\", value)` writes it in another way",
    ),
    (
        ":efmt",
        "an error is shown by its `Display` form, with its place",
        "`println!(\"{error:#?}\")` writes it in another way",
    ),
    (
        ":types",
        "values are shown without their types",
        "`%vars` lists the variables with theirs",
    ),
    (
        ":timing",
        "it does not see the cells that the compiler runs alone",
        "`%time` tells how long a cell takes",
    ),
    (
        ":time_passes",
        "it needs a nightly compiler, and does not see every cell",
        "`%time` tells how long a cell takes to compile and to run",
    ),
    (
        ":preserve_vars_on_panic",
        "variables are kept in any case, as they were before the cell",
        "there is nothing to set",
    ),
    (
        ":allow_static_linking",
        "a second copy of the library in a cell would break its connections",
        "crates that `:dep` adds are linked as the library is",
    ),
    (
        ":toolchain",
        "the library for cells is made with the compiler that the kernel began with",
        "set it by `rustup default`, and restart the kernel",
    ),
    (
        ":codegen_backend",
        "it needs a nightly compiler, and the library for cells is made without one",
        "`:opt` sets how far cells are optimised",
    ),
    (
        ":env",
        "it would reach the kernel's process and not that of the cells",
        "`%env NAME=VALUE` sets a variable of the environment",
    ),
    (
        ":load_config",
        "settings of another evcxr do not fit this one",
        "`:dep` and `use` in a cell do what a start-up file would",
    ),
    (
        ":explain",
        "it does not see the errors of the cells that the compiler runs alone",
        "`!rustc --explain E0382` explains an error by its number",
    ),
    (
        ":last_error_json",
        "it does not see the errors of the cells that the compiler runs alone",
        "the cell's own message has all of it",
    ),
    (
        ":internal_debug",
        "what it prints goes nowhere",
        "`WARMCELL_LOG=debug` in the kernel's environment makes it talk",
    ),
];

/// # Errors
/// A command at the head of the cell, where evcxr would carry it out, is one of those.
pub(super) fn check(code: &str) -> Result<(), CellError> {
    for line in head(code) {
        let name = line.split_whitespace().next().unwrap_or_default();
        if let Some((name, why, hint)) = REFUSED.iter().find(|(refused, ..)| *refused == name) {
            let mut error = errors::plain("UnknownCommand", &format!("no `{name}` here: {why}"));
            errors::add_hint(&mut error, hint);
            return Err(error);
        }
    }
    Ok(())
}

/// What a cell's commands answered, where `:help` lists those that work.
pub(super) fn answered(code: &str, outputs: Outputs) -> Outputs {
    if head(code).any(|line| line.trim() == ":help") {
        without_refused(outputs)
    } else {
        outputs
    }
}

/// A line is a command's, which comes first in it.
fn without_refused(mut outputs: Outputs) -> Outputs {
    for text in outputs.values_mut() {
        let is_refused = |line: &str| {
            let command = line.trim_start_matches("<tr><td>");
            let end = command.find([' ', '<']).unwrap_or(command.len());
            REFUSED.iter().any(|(name, ..)| *name == &command[..end])
        };
        let kept: Vec<&str> = text.lines().filter(|line| !is_refused(line)).collect();
        *text = kept.join("\n");
    }
    outputs
}

/// The commands before the first line of Rust, as evcxr finds them.
fn head(code: &str) -> impl Iterator<Item = &str> {
    let is_passed = |line: &&str| {
        let is_blank = line.trim().is_empty() || line.starts_with("//");
        is_blank || line.starts_with('!') || is_command(line)
    };
    let lines = code.lines().take_while(is_passed);
    lines.filter(|line| is_command(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_or_misleads_the_kernel_is_refused_at_the_head_of_a_cell() {
        let error = check(":dep a\n\n// why\n  :quit").expect_err("is refused");
        assert!(error.evalue.contains("`:quit`"), "{}", error.evalue);
        let text = error.traceback.join("\n");
        assert!(
            text.contains("hint") && text.contains("Shut Down"),
            "{text}"
        );
        for code in [":env A=b", ":fmt {:#?}", ":restart"] {
            assert!(check(code).is_err(), "{code}");
        }
        // A text may well have such a line, and what evcxr does not know it says itself.
        for code in ["let a = r#\"\n:quit\n\"#;", ":help", ":quite", "::quit()"] {
            assert!(check(code).is_ok(), "{code}");
        }
    }

    #[test]
    fn the_list_has_only_what_works() {
        let text = ":fmt              Set output formatter\n:opt              Set level";
        let html = "<table>\n<tr><td>:quit</td><td>Quit</td></tr>\n<tr><td>:dep</td><td>Add</td></tr>\n</table>";
        let outputs = [("text/plain", text), ("text/html", html)];
        let outputs = outputs.map(|(kind, text)| (kind.to_owned(), text.to_owned()));
        let kept = without_refused(Outputs::from(outputs));
        assert_eq!(kept["text/plain"], ":opt              Set level");
        let expected = "<table>\n<tr><td>:dep</td><td>Add</td></tr>\n</table>";
        assert_eq!(kept["text/html"], expected);
        let other = Outputs::from([("text/plain".to_owned(), ":quit is a text".to_owned())]);
        assert_eq!(answered(":version", other.clone()), other);
    }
}
