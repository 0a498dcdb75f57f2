//! `%timeit`: code measured over many runs. The measuring itself is `timeit!` of the library, which the
//! command becomes in place, so that every line and column stays.

use jupyter::CellError;

use super::{Call, Command, Commands, Form, error, nothing, time};

pub(super) const COMMAND: Command = Command {
    name: "timeit",
    form: Form::Both,
    arguments: "CODE",
    summary: "measures code over many runs",
    details:
        "Seven samples, each of as many runs as take a tenth of a second, at least one; shown are \
mean, deviation, median and extremes of one run. Compiling is not counted. Variables that the code \
makes do not stay. It is `timeit!(…)` of the library, whose value has the numbers:

    let measured = timeit!(text.len());

Cells are compiled without optimisation; `:opt 2` in a cell turns it on.",
    run,
    complete: nothing,
};

/// As long as `%timeit ` and as `%%timeit`.
const OPEN: &str = "timeit!(";

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if let Some(option) = option(call.arguments) {
        let complaint =
            format!("`{option}` is no option: how often code runs follows from how long it takes");
        return Err(error::usage(call.command, complaint));
    }
    let mut code = time::rust(call)?;
    let before = &call.cell.code[..call.start];
    let written = if call.body.is_some() {
        "%%timeit"
    } else {
        "%timeit"
    };
    let open = before
        .rfind(written)
        .ok_or_else(|| error::usage(call.command, "it needs code"))?;
    // `%timeit(1 + 1)` has no blank to give up: the rest of its line moves by one column.
    let written = open..call.start.min(open + OPEN.len());
    code.replace_range(written, OPEN);
    // On a line of its own: the code may end in a comment.
    let closed = format!("{}\n)", code.trim_end());
    commands.rust(closed, call.cell, call.out)
}

/// The first of the options that `IPython` has here, which stand before the code. In Rust a name or a number right
/// behind them is none.
fn option(arguments: &str) -> Option<&str> {
    let is_option = |word: &&str| {
        let letter = word
            .strip_prefix('-')
            .map(|rest| rest.trim_end_matches(char::is_numeric));
        letter.is_some_and(|letter| letter.len() == 1 && "nrtcpqov".contains(letter))
    };
    let mut words = arguments.split_whitespace();
    let first = words.clone().next().filter(is_option)?;
    let behind = words.find(|word| !is_option(word))?;
    let begins = behind.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    (begins && behind != "as").then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `%timeit -n 3 f()` was told of `timeit!(-n 3 …`, which nobody had written.
    #[test]
    fn options_of_ipython_are_told_from_what_is_negative() {
        for (arguments, expected) in [
            ("-n 3 f()", Some("-n")),
            ("-n3 f()", Some("-n3")),
            ("-r 2 -n 5 f()", Some("-r")),
            ("-q -o f()", Some("-q")),
            ("-n as f64", None),
            ("-n * 3", None),
            ("-n - 1", None),
            ("-q -o", None),
            ("-n", None),
            ("-number + 3", None),
            ("f(-n, 3)", None),
            ("", None),
        ] {
            assert_eq!(option(arguments), expected, "{arguments}");
        }
    }
}
