//! Tab within a command: its name, and the words that it takes.

use std::collections::HashMap;

use jupyter::{Completion, Completions};

use super::{
    Assistant, Command, Form, Script, Step, TABLE, assistant::name_before, find, parse, script,
    strings,
};

/// Commands whose words are Rust.
const RUST: [&str; 2] = ["time", "timeit"];
/// Commands that take a file.
const PATHS: [&str; 1] = ["writefile"];

/// What could stand at the cursor. Rust's own completions where no command is, if Rust is up.
pub fn complete(assistant: &Assistant, code: &str, cursor: usize) -> Completions {
    let start = code[..cursor].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &code[start..cursor];
    let script = parse(code, &|name| assistant.knows(name));
    let rust = rust_part(&script, code);
    let in_rust = rust.as_ref().is_some_and(|rust| {
        // The cursor's own line: blanked out where it is a command's.
        line.trim().is_empty() || rust[start..cursor] == *line || in_arguments(&script, cursor)
    });
    if !in_rust && line.trim_start().starts_with('%') {
        return of_command(assistant, line, start);
    }
    if !in_rust && let Some(found) = of_other(assistant, &script, code, cursor) {
        return found;
    }
    // `?Ve` asks for a name like any other.
    let rust = rust.unwrap_or_else(|| code.replacen('?', " ", 1));
    if let Some(found) = strings::complete(assistant, &rust, cursor) {
        return found;
    }
    let found = assistant
        .analysis()
        .map(|analysis| analysis.complete(&rust, cursor));
    match found {
        Some(found) if !found.matches.is_empty() => found,
        _ => defined(assistant, &rust, cursor),
    }
}

/// Names that cells have defined, which are known also while the analysis is busy or still coming up.
fn defined(assistant: &Assistant, rust: &str, cursor: usize) -> Completions {
    let Some(typed) = name_before(rust, cursor) else {
        return Completions::none(cursor);
    };
    Completions {
        matches: assistant.names(typed),
        start: cursor - typed.len(),
        end: cursor,
    }
}

/// What is neither Rust nor a command's line: files for the shell, nothing for texts. `None` where it is
/// something to look up.
fn of_other(
    assistant: &Assistant,
    script: &Script<'_>,
    code: &str,
    cursor: usize,
) -> Option<Completions> {
    let is_shell = match script.steps.last()? {
        Step::Cell { written, body } if cursor >= code.len() - body.len() => {
            if RUST.contains(&written.name) {
                return None;
            }
            written.name == "bash"
        }
        _ => is_shell_line(code, cursor),
    };
    let before = code[..cursor].chars().rev();
    let is_word = |c: &char| !c.is_whitespace() && !"|&;<>()'\"`=!".contains(*c);
    let length: usize = before.take_while(is_word).map(char::len_utf8).sum();
    let typed = &code[cursor - length..cursor];
    if is_shell {
        return Some(Completions {
            matches: strings::files(typed, &assistant.place.working_dir),
            start: cursor - length,
            end: cursor,
        });
    }
    let line = line_before(code, cursor).trim_start();
    (!line.starts_with('?')).then(|| Completions::none(cursor))
}

/// Whether the cursor's line is a shell command's, or goes on with one.
fn is_shell_line(code: &str, cursor: usize) -> bool {
    let mut line = line_before(code, cursor);
    let mut end = cursor;
    loop {
        if line.trim_start().starts_with('!') {
            return true;
        }
        let Some(before) = (end - line.len()).checked_sub(1) else {
            return false;
        };
        end = before;
        line = line_before(code, end);
        if !line.ends_with('\\') {
            return false;
        }
    }
}

fn line_before(code: &str, cursor: usize) -> &str {
    let start = code[..cursor].rfind('\n').map_or(0, |newline| newline + 1);
    &code[start..cursor]
}

/// The command on whose line the cursor is.
pub fn command_at(script: &Script<'_>, code: &str, cursor: usize) -> Option<&'static Command> {
    let start = code[..cursor].rfind('\n').map_or(0, |newline| newline + 1);
    let end = code[cursor..]
        .find('\n')
        .map_or(code.len(), |length| cursor + length);
    script.steps.iter().find_map(|step| {
        let (Step::Line(written) | Step::Cell { written, .. }) = step else {
            return None;
        };
        let at = written.name.as_ptr() as usize - code.as_ptr() as usize;
        // Behind the name of a command that wraps Rust, it is Rust that is asked about.
        let is_here = (start..=end).contains(&at)
            && !(RUST.contains(&written.name) && cursor > at + written.name.len());
        is_here.then(|| find(written.name)).flatten()
    })
}

/// The code with what is not Rust blanked out; `None` when nothing of it is Rust.
fn rust_part(script: &Script<'_>, code: &str) -> Option<String> {
    match script.steps.last() {
        Some(Step::Line(written)) if RUST.contains(&written.name) && script.rust.is_none() => {
            let end = written.start + written.arguments.len();
            Some(script::keep(code, written.start, end))
        }
        Some(Step::Cell { written, .. }) if RUST.contains(&written.name) => {
            let body = code[written.start..]
                .find('\n')
                .map_or(code.len(), |n| written.start + n);
            Some(script::keep_from(code, body))
        }
        _ => script.rust.clone(),
    }
}

fn in_arguments(script: &Script<'_>, cursor: usize) -> bool {
    let Some(Step::Line(written)) = script.steps.last() else {
        return false;
    };
    let arguments = written.start..=written.start + written.arguments.len();
    RUST.contains(&written.name) && !written.arguments.is_empty() && arguments.contains(&cursor)
}

/// `line` is the cursor's, up to it, and begins at `start`.
fn of_command(assistant: &Assistant, line: &str, start: usize) -> Completions {
    let end = start + line.len();
    let indent = line.len() - line.trim_start().len();
    let (name, rest) = match line.trim_start().split_once(char::is_whitespace) {
        None => return names(line.trim_start(), start + indent, end),
        Some((name, rest)) => (name.trim_start_matches('%'), rest),
    };
    let Some(command) = find(name) else {
        return Completions::none(end);
    };
    let word_start = rest.rfind(char::is_whitespace).map_or(0, |space| space + 1);
    let (before, word) = rest.split_at(word_start);
    let is_path = PATHS.contains(&command.name) && !word.starts_with('-');
    if is_path || word.starts_with(['.', '/', '~']) {
        return Completions {
            matches: strings::files(word, &assistant.place.working_dir),
            start: end - word.len(),
            end,
        };
    }
    let before: Vec<&str> = before.split_whitespace().collect();
    let candidates = (command.complete)(assistant, &before).into_iter();
    let candidates: Vec<String> = candidates
        .filter(|text| text.starts_with(word) || text.contains('/') && strings::fits(text, word))
        .collect();
    let is_model = candidates.iter().any(|text| text.contains('/'));
    let models: HashMap<String, String> = if is_model {
        strings::known_models(assistant).into_iter().collect()
    } else {
        HashMap::new()
    };
    let matches = candidates.into_iter().map(|text| Completion {
        kind: models.contains_key(&text).then(|| "model".to_owned()),
        signature: models.get(&text).cloned(),
        text,
    });
    Completions {
        matches: matches.collect(),
        start: end - word.len(),
        end,
    }
}

/// Commands that begin like `typed`, which begins with a percent sign.
fn names(typed: &str, start: usize, end: usize) -> Completions {
    let name = typed.trim_start_matches('%');
    let is_cell = typed.starts_with("%%");
    let fits = |command: &&Command| {
        let form = if is_cell { Form::Cell } else { Form::Line };
        command.name.starts_with(name)
            && (command.form == Form::Both || command.form == form || !is_cell)
    };
    let matches = TABLE.iter().filter(fits).map(|command| {
        let marks = if is_cell || command.form == Form::Cell {
            "%%"
        } else {
            "%"
        };
        Completion {
            text: format!("{marks}{}", command.name),
            kind: Some("magic".to_owned()),
            signature: Some(command.summary.to_owned()),
        }
    });
    Completions {
        matches: matches.collect(),
        start,
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(completions: &Completions) -> Vec<&str> {
        completions
            .matches
            .iter()
            .map(|found| found.text.as_str())
            .collect()
    }

    #[test]
    fn names_complete_to_the_form_they_have() {
        assert_eq!(texts(&names("%tim", 2, 6)), ["%time", "%timeit"]);
        assert_eq!(texts(&names("%%ti", 0, 4)), ["%%time", "%%timeit"]);
        assert_eq!(texts(&names("%ba", 0, 3)), ["%%bash"]);
        assert_eq!(texts(&names("%%mod", 0, 5)), [""; 0]);
        let found = names("%he", 4, 7);
        assert_eq!((found.start, found.end), (4, 7));
    }

    #[test]
    fn the_shells_lines_are_told_from_others() {
        for (code, is_shell) in [
            ("!ls da", true),
            ("%env A=1\n  !ls \\\n  da", true),
            ("!ls\nda", false),
            ("// a \\\nda", false),
            ("da", false),
        ] {
            assert_eq!(is_shell_line(code, code.len()), is_shell, "{code}");
        }
    }

    #[test]
    fn the_command_under_the_cursor_is_found() {
        let code = "%env PLACE=here\n%time x.len()\nlet y = 1;";
        let at = |needle: &str| {
            let script = parse(code, &|_| false);
            let cursor = code.find(needle).expect("is there");
            command_at(&script, code, cursor).map(|command| command.name)
        };
        assert_eq!(at("PLACE"), Some("env"));
        assert_eq!(at("ime x"), Some("time"));
        assert_eq!(at("len"), None, "Rust");
        assert_eq!(at("y = 1"), None, "Rust");
    }
}
