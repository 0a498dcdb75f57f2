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
