//! What a process of cells wrote to standard error before it aborted: Rust's own runtime says there why, which
//! the signal does not.

use wire::cell::CellFailure;

/// The end of a thread whose stack is full, in the words of Rust's standard library.
const OVERFLOW: &str = "has overflowed its stack";
/// The end of a process that gets no memory: between these two stands how many bytes it asked for.
const NO_MEMORY: [&str; 2] = ["memory allocation of ", " bytes failed"];

/// The failure; that of a process which aborted with what the last lines of its standard error say.
pub fn with_cause(mut failure: CellFailure, last_lines: &str) -> CellFailure {
    if failure.ename != "SIGABRT" {
        return failure;
    }
    let Some((cause, step)) = last_lines.lines().rev().find_map(cause) else {
        return failure;
    };
    failure.evalue = format!("the process of the cells was ended by SIGABRT: {cause}");
    failure.hint = Some(match failure.hint.take() {
        Some(fate) => format!("{step}; {fate}"),
        None => step.to_owned(),
    });
    failure
}

/// The cause that a line names, and what to do about it.
fn cause(line: &str) -> Option<(String, &'static str)> {
    if let Some((thread, _)) = line.split_once(OVERFLOW) {
        let thread = thread.split('\'').nth(1).unwrap_or("unnamed");
        let step = "a function that calls itself without end does this, and so does a large array: \
                    `vec![…]` is not on the stack, and `std::thread::Builder` has a `stack_size`";
        return Some((format!("a stack overflow of the thread `{thread}`"), step));
    }
    let (_, rest) = line.split_once(NO_MEMORY[0])?;
    let bytes: u64 = rest.strip_suffix(NO_MEMORY[1])?.parse().ok()?;
    let cause = format!(
        "it asked for {} of memory at once, which it did not get",
        display::units::bytes(bytes)
    );
    Some((cause, "ask for less, or for it in parts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ename: &str, lines: &str) -> CellFailure {
        let failure = CellFailure {
            ename: ename.to_owned(),
            evalue: "aborted".to_owned(),
            location: None,
            raised: None,
            hint: Some("all variables are kept".to_owned()),
        };
        with_cause(failure, lines)
    }

    #[test]
    fn what_the_runtime_said_last_is_the_cause() {
        let lines = "before\n\nthread 'main' (77) has overflowed its stack\nfatal runtime error: stack overflow, aborting\n";
        let failure = named("SIGABRT", lines);
        assert!(
            failure
                .evalue
                .ends_with("a stack overflow of the thread `main`"),
            "{failure:?}"
        );
        let hint = failure.hint.unwrap_or_default();
        assert!(
            hint.contains("stack_size") && hint.ends_with("all variables are kept"),
            "{hint}"
        );
        let failure = named("SIGABRT", "memory allocation of 64000000000 bytes failed\n");
        assert!(failure.evalue.contains("64.0 GB of memory"), "{failure:?}");
    }

    #[test]
    fn what_the_cell_printed_itself_is_no_cause_of_another_end() {
        let line = "thread 'main' has overflowed its stack\n";
        assert_eq!(named("SIGKILL", line).evalue, "aborted");
        assert_eq!(
            named("SIGABRT", "memory allocation of x bytes failed\nbye\n").evalue,
            "aborted"
        );
    }
}
