//! What the compiler would write, as lines to copy: the cell's own with its changes made in them.

use std::{borrow::Cow, ops::Range};

use super::direct::{Generated, Span};

/// Of several ways to mend a line so many are shown.
const MOST: usize = 3;

/// The lines as they would be, when the compiler is sure enough and all of it is in the cell.
pub fn corrected(code: &str, generated: &Generated, spans: &[Span]) -> Vec<String> {
    if spans.is_empty() || !spans.iter().all(is_likely) {
        return Vec::new();
    }
    if let Some(imports) = imports(spans) {
        return imports;
    }
    let change = |span: &Span| {
        Some(Change {
            range: generated.exact(&span.own_place()?)?,
            text: span.suggested_replacement.clone()?,
        })
    };
    let Some(mut changes) = spans.iter().map(change).collect::<Option<Vec<_>>>() else {
        return Vec::new();
    };
    changes.sort_by_key(|change| (change.range.start, change.range.end));
    let overlap = |pair: &[Change]| {
        let (first, second) = (&pair[0].range, &pair[1].range);
        first.end > second.start || first.start == second.start
    };
    let lines = if changes.windows(2).any(overlap) {
        // Each is a way of its own.
        let each = changes.iter().take(MOST);
        each.flat_map(|change| apply(code, std::slice::from_ref(change)))
            .collect()
    } else {
        apply(code, &changes)
    };
    let is_empty = lines.iter().all(|line: &String| line.trim().is_empty());
    if is_empty { Vec::new() } else { lines }
}

/// The compiler's words, where they speak of a package that a notebook has not.
pub fn for_a_cell(message: &str) -> Cow<'_, str> {
    let reworded = || {
        let (before, rest) = message.split_once("use `cargo add ")?;
        let (name, rest) = rest.split_once('`')?;
        let after = rest.strip_prefix(" to add it to your `Cargo.toml`")?;
        let line = adding(name);
        Some(Cow::Owned(format!("{before}{line}{after}")))
    };
    reworded().unwrap_or(Cow::Borrowed(message))
}

/// What to do about an `extern crate` of which the compiler only says that it is not there.
pub fn for_missing_crate(message: &str) -> Option<String> {
    let (name, _) = message
        .strip_prefix("can't find crate for `")?
        .split_once('`')?;
    Some(adding(name))
}

fn adding(name: &str) -> String {
    format!("`:dep {name} = \"…\"`, with its version, at the top of the cell adds it")
}

#[derive(Clone)]
struct Change {
    range: Range<usize>,
    text: String,
}

/// Others hold places for what the user has to fill in.
fn is_likely(span: &Span) -> bool {
    let applicability = span.suggestion_applicability.as_deref();
    matches!(applicability, Some("MachineApplicable" | "MaybeIncorrect"))
}

/// Names to bring into scope: they may stand anywhere, whatever place the compiler has for them.
fn imports(spans: &[Span]) -> Option<Vec<String>> {
    let import = |span: &Span| {
        let line = span.suggested_replacement.as_deref()?.trim();
        (line.starts_with("use ") && line.ends_with(';')).then(|| line.to_owned())
    };
    let lines: Vec<String> = spans.iter().map(import).collect::<Option<_>>()?;
    Some(lines.into_iter().take(MOST).collect())
}

/// The lines that the changes touch, with all of them made.
fn apply(code: &str, changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let start = code[..first.range.start]
            .rfind('\n')
            .map_or(0, |line| line + 1);
        let mut end = line_end(code, first.range.end);
        let mut count = 1;
        while let Some(next) = rest.get(count)
            && next.range.start <= end
        {
            end = line_end(code, next.range.end);
            count += 1;
        }
        let mut text = code[start..end].to_owned();
        for change in rest[..count].iter().rev() {
            let range = change.range.start - start..change.range.end - start;
            text.replace_range(range, &change.text);
        }
        lines.extend(text.lines().map(str::to_owned));
        rest = &rest[count..];
    }
    lines
}

fn line_end(code: &str, from: usize) -> usize {
    code[from..]
        .find('\n')
        .map_or(code.len(), |line| from + line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evaluate::direct::Origin;

    const CODE: &str = "let 값 = 1;\nlet a: Option<u8> = 값;\nlet b = 2;";

    fn suggestions(parts: &[(Range<usize>, &str)], applicability: &str) -> Vec<String> {
        let mut generated = Generated::default();
        generated.glue("fn run() {");
        generated.add(Origin::Cell { start: 0 }, CODE);
        let offset = generated.text.find("let").expect("there");
        let span = |(range, text): &(Range<usize>, &str)| {
            serde_json::from_value(json!({
                "file_name": "<anon>", "byte_start": offset + range.start,
                "byte_end": offset + range.end, "is_primary": true, "label": null,
                "suggested_replacement": text, "suggestion_applicability": applicability,
                "expansion": null,
            }))
            .expect("a span")
        };
        let spans: Vec<Span> = parts.iter().map(span).collect();
        corrected(CODE, &generated, &spans)
    }

    #[test]
    fn a_line_is_shown_whole_with_all_its_changes() {
        let value = CODE.rfind('값').expect("there");
        let after = value + '값'.len_utf8();
        let parts = [(value..value, "Some("), (after..after, ")")];
        let lines = suggestions(&parts, "MachineApplicable");
        assert_eq!(lines, ["let a: Option<u8> = Some(값);"]);
        assert!(suggestions(&parts, "HasPlaceholders").is_empty());
    }

    #[test]
    fn changes_of_several_lines_are_shown_with_theirs_alone() {
        let last = CODE.len() - 2..CODE.len() - 1;
        let lines = suggestions(&[(4..4, "mut "), (last, "3")], "MaybeIncorrect");
        assert_eq!(lines, ["let mut 값 = 1;", "let b = 3;"]);
    }

    #[test]
    fn several_ways_are_lines_of_their_own() {
        let last = CODE.len() - 2..CODE.len() - 1;
        let lines = suggestions(&[(last.clone(), "3"), (last, "4")], "MaybeIncorrect");
        assert_eq!(lines, ["let b = 3;", "let b = 4;"]);
        let uses = [(0..0, "use a::B;\n\n"), (0..0, "use c::B;\n\n")];
        assert_eq!(
            suggestions(&uses, "MaybeIncorrect"),
            ["use a::B;", "use c::B;"]
        );
    }

    #[test]
    fn a_crate_is_added_as_a_notebook_does() {
        let message = "if you wanted to use a crate named `rand`, use `cargo add rand` to add it to your `Cargo.toml`";
        let expected = "if you wanted to use a crate named `rand`, `:dep rand = \"…\"`, with its version, at the top of the cell adds it";
        assert_eq!(for_a_cell(message), expected);
        assert_eq!(for_a_cell("try `x`"), "try `x`");
        let hint = for_missing_crate("can't find crate for `syn`").expect("is known");
        assert!(hint.starts_with("`:dep syn = \"…\"`"), "{hint}");
        assert_eq!(for_missing_crate("cannot find value `x`"), None);
    }

    #[test]
    fn what_is_not_of_the_cell_is_not_shown() {
        let beyond = CODE.len()..CODE.len() + 2;
        assert!(suggestions(&[(beyond, "x")], "MachineApplicable").is_empty());
    }
}
