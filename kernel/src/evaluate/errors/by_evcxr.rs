//! Errors of cells that evcxr runs: what it passes on of the compiler's messages, and where in a cell a place
//! of its generated source is.

use std::{fmt::Write, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Snippet};
use evcxr::CompilationError;
use jupyter::CellError;
use wire::cell::CellFailure;

use super::{RENDERER, at, lines, path, suggestions, word_at};

/// The errors of the compiler, as one error of the cell.
pub fn from_compiler(code: &str, count: u32, errors: &[CompilationError]) -> CellError {
    let mut shown: Vec<&CompilationError> = errors
        .iter()
        .filter(|error| error.level() == "error")
        .collect();
    if shown.is_empty() {
        shown = errors.iter().collect();
    }
    let first = shown.first();
    CellError {
        ename: first
            .and_then(|error| error.code())
            .unwrap_or("CompileError")
            .to_owned(),
        evalue: first.map_or_else(
            || "the cell does not compile".to_owned(),
            |error| message(error),
        ),
        traceback: shown
            .iter()
            .flat_map(|error| render(code, count, error))
            .collect(),
    }
}

/// A cell that failed while it ran, in the source that evcxr made of it.
pub fn from_failure(code: &str, count: u32, generated: &str, failure: &CellFailure) -> CellError {
    let place = failure
        .location
        .and_then(|(line, column)| locate(generated, line, column, code));
    at(code, count, place, failure)
}

/// The compiler's message; but what it says of showing a value speaks of code that is not the user's.
fn message(error: &CompilationError) -> String {
    let message = error.message();
    if message.contains("method `evcxr_display`")
        || message.contains("method named `evcxr_display`")
    {
        return super::NOT_SHOWN.to_owned();
    }
    message
}

fn render(code: &str, count: u32, error: &CompilationError) -> Vec<String> {
    let path = path(count);
    let message = message(error);
    let mut title = Level::ERROR.primary_title(&message);
    if let Some(code) = error.code() {
        title = title.id(code);
    }
    let mut snippet = Snippet::source(code).path(&path);
    let mut has_place = false;
    for spanned in error.spanned_messages() {
        let Some(place) = spanned.span.and_then(|span| {
            byte_range(
                code,
                (span.start_line, span.start_column),
                (span.end_line, span.end_column),
            )
        }) else {
            continue;
        };
        let kind = if spanned.is_primary {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let is_told = spanned.label.is_empty()
            || spanned.label == format!("error: {message}")
            || message == super::NOT_SHOWN;
        let label = (!is_told).then_some(spanned.label.as_str());
        snippet = snippet.annotation(kind.span(place).label(label));
        has_place = true;
    }
    let mut group = Group::with_title(title);
    if has_place {
        group = group.element(snippet);
    }
    if message == super::NOT_SHOWN {
        group = group.element(Level::HELP.message(super::HOW_TO_SHOW));
        return lines(&RENDERER.render(&[group]));
    }
    let mut rendered = RENDERER.render(&[group]);
    for help in error.help() {
        let help = suggestions::for_a_cell(&help);
        let _ = write!(rendered, "\n\u{1b}[1mhelp\u{1b}[0m: {help}");
    }
    if let Some(hint) = suggestions::for_missing_crate(&message) {
        let _ = write!(rendered, "\n\u{1b}[1mhint\u{1b}[0m: {hint}");
    }
    if let Some(hint) = error.evcxr_extra_hint() {
        let _ = write!(rendered, "\nhint: {hint}");
    }
    lines(&rendered)
}

/// The bytes between two places, each a line and a character counted from 1.
fn byte_range(code: &str, start: (usize, usize), end: (usize, usize)) -> Option<Range<usize>> {
    let start = offset(code, start)?;
    let end = offset(code, end)?;
    Some(start..end.max(start))
}

fn offset(code: &str, (line, column): (usize, usize)) -> Option<usize> {
    let start: usize = code
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let text = code.get(start..)?.split('\n').next()?;
    let within = text
        .char_indices()
        .map(|(index, _)| index)
        .nth(column.checked_sub(1)?)
        .unwrap_or(text.len());
    Some(start + within)
}

/// Finds a place of the generated source in the cell. evcxr puts every statement on lines of its
/// own, so the line there is a part of a line here; the same text twice is told apart by its order.
fn locate(generated: &str, line: u32, column: u32, code: &str) -> Option<Range<usize>> {
    let all: Vec<&str> = generated.lines().collect();
    let index = usize::try_from(line).ok()?.checked_sub(1)?;
    let text = all.get(index)?.trim_end();
    if text.trim().is_empty() {
        return None;
    }
    let earlier = all[..index]
        .iter()
        .filter(|other| other.trim_end() == text)
        .count();
    let found: Vec<usize> = code.match_indices(text).map(|(start, _)| start).collect();
    // Items of earlier cells stand in the generated source too; the last ones are this cell's.
    let here = all[index..]
        .iter()
        .filter(|other| other.trim_end() == text)
        .count();
    let start = *found.get(earlier.min(found.len().checked_sub(here)?))?;
    let within = text
        .char_indices()
        .map(|(index, _)| index)
        .nth(column.saturating_sub(1) as usize)?;
    Some(word_at(code, start + within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_generated_source_is_found_in_the_cell() {
        let code = "let a = 1; panic!(\"x\");\npanic!(\"x\");";
        let generated = "fn run() {\nlet a = 1;\npanic!(\"x\");\npanic!(\"x\");\n}";
        let at = |line| locate(generated, line, 1, code).map(|range| range.start);
        assert_eq!((at(3), at(4)), (Some(11), Some(24)));
        assert_eq!(at(1), None, "a generated line");
        assert_eq!(
            &code[locate(generated, 3, 1, code).expect("found")],
            "panic!"
        );
    }
}
