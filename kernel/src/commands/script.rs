//! Reads a cell: which of its lines are commands, and what is left for Rust. Knows no command.
//!
//! Commands stand at the head of a cell, where only blank lines, comments and evcxr's own `:dep` lines
//! may come between. There a line cannot be the rest of a Rust expression, so `%` and `?` never begin
//! Rust; `!` does, and [`is_shell`] tells a negation from a shell command.

/// One command of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// `%name arguments`.
    Line(Written<'a>),
    /// `%%name arguments`, and the rest of the cell as its body.
    Cell {
        /// Its first line.
        written: Written<'a>,
        /// The lines below, as they are.
        body: &'a str,
    },
    /// `!command`, lines that end in a backslash joined as the shell does it.
    Shell(String),
    /// `?name`, `name?`, `%name?`.
    Help(&'a str),
}

/// A command as it stands in the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// The word behind the percent signs.
    pub name: &'a str,
    /// The rest of the line, without the spaces around it.
    pub arguments: &'a str,
    /// The byte of the cell at which `arguments` starts.
    pub start: usize,
}

/// A cell, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// The commands, in order.
    pub steps: Vec<Step<'a>>,
    /// The cell with its commands blanked out: what is left keeps its lines and columns. `None` when
    /// nothing is left to run.
    pub rust: Option<String>,
}

/// Takes a cell apart. `knows` tells whether a name is a variable or an item of the notebook.
pub fn parse<'a>(code: &'a str, knows: &dyn Fn(&str) -> bool) -> Script<'a> {
    let mut steps = Vec::new();
    let mut rust = code.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let line = line_at(code, at);
        let text = line.trim();
        let next = next_line(code, at);
        let is_evcxrs = text.starts_with(':') && !text.starts_with("::");
        if text.is_empty() || text.starts_with("//") || is_evcxrs {
            at = next;
        } else if let Some(rest) = text.strip_prefix("%%") {
            let written = written(code, rest);
            if let Some(name) = asked_for(text, written) {
                steps.push(Step::Help(name));
                blank(&mut rust, at, next);
                at = next;
                continue;
            }
            steps.push(Step::Cell {
                written,
                body: &code[next..],
            });
            blank(&mut rust, at, code.len());
            at = code.len();
        } else if let Some(rest) = text.strip_prefix('%') {
            let written = written(code, rest);
            steps.push(asked_for(text, written).map_or(Step::Line(written), Step::Help));
            blank(&mut rust, at, next);
            at = next;
        } else if let Some(name) = text.strip_prefix('?') {
            steps.push(Step::Help(name.trim_matches(['?', ' '])));
            blank(&mut rust, at, next);
            at = next;
        } else if text.starts_with('!') && is_shell(text, knows) {
            let (command, end) = shell_command(code, at);
            steps.push(Step::Shell(command));
            blank(&mut rust, at, end);
            at = end;
        } else {
            if let Some(name) = question(&code[at..], knows) {
                steps.push(Step::Help(name));
                blank(&mut rust, at, code.len());
            }
            break;
        }
    }
    let is_rest = |line: &str| !line.is_empty() && !line.starts_with("//");
    let rust = String::from_utf8(rust).expect("whole lines were replaced by spaces");
    let has_rest = steps.is_empty() || rust.lines().any(|line| is_rest(line.trim()));
    Script {
        steps,
        rust: has_rest.then_some(rust),
    }
}

/// The code with everything before `start` blanked out, so that lines and columns stay.
pub fn keep_from(code: &str, start: usize) -> String {
    keep(code, start, code.len())
}

/// The code with everything outside `start..end` blanked out.
pub fn keep(code: &str, start: usize, end: usize) -> String {
    let mut bytes = code.as_bytes().to_vec();
    blank(&mut bytes, 0, start);
    blank(&mut bytes, end, code.len());
    String::from_utf8(bytes).expect("whole characters were replaced by spaces")
}

/// A command that stands behind Rust code at the beginning of a line, where it is taken for Rust and
/// fails with a message about operators: `let x = 1;` and below it `%vars`, `!ls` or `?Vec`. Gives its line,
/// from 1. `knows` is as in [`parse`].
pub fn misplaced<'a>(
    rust: &'a str,
    is_command: &dyn Fn(&str) -> bool,
    knows: &dyn Fn(&str) -> bool,
) -> Option<(usize, &'a str)> {
    let mut behind_statement = false;
    for (number, line) in rust.lines().enumerate() {
        let line = line.trim_end();
        let word = |marks: &str| {
            let name = line.trim_start_matches(|c| marks.contains(c));
            &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())]
        };
        let is_misplaced = match line.chars().next() {
            Some('%') => is_command(word("%")),
            Some('!') => is_shell(line, knows),
            Some('?') => !word("?").is_empty(),
            _ => false,
        };
        if behind_statement && is_misplaced {
            return Some((number + 1, line));
        }
        if !(line.is_empty() || line.trim_start().starts_with("//")) {
            behind_statement = line.ends_with([';', '}']);
        }
    }
    None
}

/// Whether a line that begins with `!` goes to the shell. With a space behind the `!` it does. Without
/// one it is Rust when what follows cannot begin a command, when its first word is a literal, a call,
/// a macro or a path (`!true`, `!ready()`, `!matches!(…)`, `!a::B`), or a name that the notebook knows.
fn is_shell(line: &str, knows: &dyn Fn(&str) -> bool) -> bool {
    let rest = &line[1..];
    let Some(first) = rest.chars().next() else {
        return false;
    };
    if first == ' ' {
        return true;
    }
    if !(first.is_alphabetic() || matches!(first, '_' | '.' | '/' | '~' | '$')) {
        return false;
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    let is_rust = ["true", "false", "self", "crate", "Self"].contains(&word)
        || !word.is_empty() && ["(", "!", "::"].iter().any(|mark| behind.starts_with(mark))
        || knows(word);
    !is_rust
}

/// A whole cell `name?`, a path or fields with a question mark and nothing else. It is Rust when the
/// name is one of the notebook's variables, whose error `?` would give out.
fn question<'a>(code: &'a str, knows: &dyn Fn(&str) -> bool) -> Option<&'a str> {
    let name = code.trim().strip_suffix('?')?.trim_end_matches('?');
    let first = name.split([':', '.']).next().unwrap_or_default();
    let is_path = !name.is_empty()
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| is_word(c) || matches!(c, ':' | '.' | '!'));
    (is_path && !knows(first)).then_some(name)
}

/// The name of a command that a line asks about, `%limit?`, with the signs that tell it from Rust's.
fn asked_for<'a>(text: &'a str, written: Written<'_>) -> Option<&'a str> {
    let marks = written.arguments;
    let is_question = marks.starts_with('?') && marks.trim_end_matches('?').is_empty();
    is_question.then(|| text.trim_end_matches('?').trim_end())
}

/// `rest` is the part of `code` behind the percent signs.
fn written<'a>(code: &str, rest: &'a str) -> Written<'a> {
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (name, arguments) = rest.split_at(end);
    let arguments = arguments.trim();
    Written {
        name,
        arguments,
        start: arguments.as_ptr() as usize - code.as_ptr() as usize,
    }
}

fn shell_command(code: &str, start: usize) -> (String, usize) {
    let mut command = String::new();
    let mut at = start;
    loop {
        let line = line_at(code, at);
        at = next_line(code, at);
        match line.strip_suffix('\\') {
            Some(part) if at < code.len() => {
                command.push_str(part);
                command.push_str("\\\n");
            }
            _ => {
                command.push_str(line);
                break;
            }
        }
    }
    let command = command.trim().trim_start_matches('!').trim();
    (command.to_owned(), at)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn line_at(code: &str, start: usize) -> &str {
    code[start..]
        .split('\n')
        .next()
        .unwrap_or_default()
        .trim_end_matches('\r')
}

fn next_line(code: &str, start: usize) -> usize {
    code[start..]
        .find('\n')
        .map_or(code.len(), |length| start + length + 1)
}

fn blank(bytes: &mut [u8], start: usize, end: usize) {
    for byte in &mut bytes[start..end] {
        if !matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_alone(code: &str) -> Script<'_> {
        parse(code, &|_| false)
    }

    fn line<'a>(code: &str, name: &'a str, arguments: &'a str) -> Step<'a> {
        Step::Line(Written {
            name,
            arguments,
            start: code.find(arguments).unwrap_or_default(),
        })
    }

    #[test]
    fn line_commands_run_and_the_rest_keeps_its_place() {
        let code = "%limit memory 4G\n\n// a comment\n:dep serde\n%env A=1\nlet x = 1;\nx % 2";
        let script = parse_alone(code);
        assert_eq!(
            script.steps,
            [line(code, "limit", "memory 4G"), line(code, "env", "A=1")]
        );
        let rust = script.rust.expect("there is Rust");
        assert_eq!(
            rust.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "",
                "",
                "// a comment",
                ":dep serde",
                "",
                "let x = 1;",
                "x % 2"
            ]
        );
        assert_eq!(rust.len(), code.len(), "offsets stay too");
    }

    #[test]
    fn a_percent_sign_within_rust_is_rust() {
        let code = "let a = 7\n%3;\na";
        let script = parse_alone(code);
        assert_eq!((script.steps, script.rust), (vec![], Some(code.to_owned())));
    }

    #[test]
    fn a_path_from_the_root_is_rust() {
        let code = "::std::mem::drop(1);\n%vars";
        let script = parse_alone(code);
        assert_eq!((script.steps, script.rust), (vec![], Some(code.to_owned())));
    }

    #[test]
    fn a_command_alone_leaves_nothing_to_compile() {
        for code in [
            "%help",
            "\n  %help  \n// done",
            "%%bash\nls",
            "?Vec",
            "!ls",
            "Vec::new?",
        ] {
            assert_eq!(parse_alone(code).rust, None, "{code}");
        }
        assert_eq!(parse_alone("").rust, Some(String::new()));
    }

    #[test]
    fn a_cell_command_takes_the_rest_as_it_is() {
        let code = "%env A=1\n%%writefile -a x.txt\n%not a command\n  한국어\n";
        let [_, Step::Cell { written, body }] = parse_alone(code).steps[..] else {
            panic!("two steps");
        };
        assert_eq!((written.name, written.arguments), ("writefile", "-a x.txt"));
        assert_eq!(body, "%not a command\n  한국어\n");
    }

    #[test]
    fn questions_are_told_from_the_operator() {
        for (code, name) in [
            ("?Vec", "Vec"),
            ("Vec?", "Vec"),
            ("Vec??", "Vec"),
            ("std::fs::read?", "std::fs::read"),
            ("println!?", "println!"),
            ("%limit?", "%limit"),
            ("%%bash?", "%%bash"),
            ("?%limit", "%limit"),
        ] {
            assert_eq!(parse_alone(code).steps, [Step::Help(name)], "{code}");
        }
        let known = |name: &str| name == "answer";
        for code in ["answer?", "answer.text?", "f()?", "let x = Vec?", "1?"] {
            assert_eq!(parse(code, &known).steps, [], "{code} is Rust");
        }
    }

    #[test]
    fn the_shell_is_told_from_a_negation() {
        let known = |name: &str| name == "ready";
        for (code, command) in [
            ("!ls -l", "ls -l"),
            ("! ready", "ready"),
            ("!./run.sh", "./run.sh"),
            ("!cargo --version", "cargo --version"),
            ("!echo a \\\n  b", "echo a \\\n  b"),
            ("!$SHELL -c ls", "$SHELL -c ls"),
        ] {
            let script = parse(code, &known);
            assert_eq!(script.steps, [Step::Shell(command.to_owned())], "{code}");
            assert_eq!(script.rust, None, "{code}");
        }
        for code in [
            "!ready",
            "!ready.then(|| 1)",
            "!true",
            "!check(1)",
            "!(a && b)",
            "!!x",
            "!0u8",
            "!matches!(x, 1)",
            "!Flag::A.is_set()",
            "!\"a\".is_empty()",
            "!&x",
        ] {
            assert_eq!(parse(code, &known).steps, [], "{code} is Rust");
        }
    }

    #[test]
    fn a_command_behind_rust_is_noticed() {
        let is_command = |name: &str| name == "vars";
        let knows = |name: &str| name == "ready";
        let found = |code| misplaced(code, &is_command, &knows).map(|(line, _)| line);
        assert_eq!(found("let x = 1;\n\n// now\n%vars"), Some(4));
        assert_eq!(found("fn f() {}\n%%vars"), Some(2));
        assert_eq!(found("let x = y\n%vars;"), None, "an operator");
        assert_eq!(found("let x = 1;\n%other"), None);
        assert_eq!(found("let x = 1;\n!ls -l"), Some(2));
        assert_eq!(found("let x = 1;\n?Vec\n"), Some(2));
        assert_eq!(found("let x = 1;\n!ready"), None, "a negation");
        assert_eq!(found("match f() {\n}\n?;"), None, "the operator");
        assert_eq!(found("f(\n!x)"), None);
    }

    #[test]
    fn what_is_kept_stays_where_it_was() {
        assert_eq!(keep_from("%time é + 1\nx", 6), "      é + 1\nx");
        assert_eq!(keep("%time f()\nx", 6, 9), "      f()\n ");
    }
}
