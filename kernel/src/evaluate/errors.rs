//! Errors as a notebook shows them: name, message, and the cell's lines with a caret under the
//! place, in terminal columns, so that it stands right under Korean and emoji too.

mod by_evcxr;

use std::{fmt::Write, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::Style};
use jupyter::CellError;
use wire::cell::CellFailure;

use super::{
    direct::{Binding, Diagnostic, Generated, Origin, Place, Span},
    suggestions,
    syntax::Fault,
};

pub use by_evcxr::{from_compiler, from_failure};

/// Bold, and of no colour: front ends show errors on a ground of their own, on which bright red and blue are
/// hard to read.
const BOLD: Style = Style::new().bold();
const RENDERER: Renderer = Renderer::styled()
    .error(BOLD)
    .line_num(BOLD)
    .context(BOLD)
    .note(BOLD)
    .help(BOLD)
    .info(BOLD);

/// What is said in the place of the compiler's words about how a value is shown.
const NOT_SHOWN: &str =
    "this value cannot be shown: its type has neither `Debug` nor a display of its own";
const HOW_TO_SHOW: &str = "`#[derive(Debug)]` on the type, or a `;` at the end of the line";

/// An error that has no place in the cell.
pub fn plain(ename: &str, evalue: &str) -> CellError {
    CellError {
        ename: ename.to_owned(),
        evalue: evalue.to_owned(),
        traceback: lines(&RENDERER.render(&[title(ename, evalue)])),
    }
}

/// The errors of rustc in a source of ours, as one error of the cell.
pub fn from_rustc(
    code: &str,
    count: u32,
    generated: &Generated,
    errors: &[Diagnostic],
) -> CellError {
    let in_cells = |error: &&Diagnostic| error.any_place(|range| generated.place(&range).is_some());
    let mut shown: Vec<&Diagnostic> = errors.iter().filter(in_cells).collect();
    if shown.is_empty() {
        shown = errors.iter().collect();
    }
    let first = shown.first();
    CellError {
        ename: first
            .map(|error| error.number())
            .filter(|number| !number.is_empty())
            .unwrap_or("CompileError")
            .to_owned(),
        evalue: first.map_or_else(
            || "the cell does not compile".to_owned(),
            |error| message(error, generated).to_owned(),
        ),
        traceback: shown
            .iter()
            .flat_map(|error| {
                Compiler {
                    code,
                    count,
                    generated,
                }
                .render(error)
            })
            .collect(),
    }
}

/// A cell that is no Rust.
pub fn from_syntax(code: &str, count: u32, fault: Fault) -> CellError {
    let failure = CellFailure {
        ename: "CompileError".to_owned(),
        evalue: fault.message,
        location: None,
        raised: None,
        hint: Some(fault.hint),
    };
    let mut error = at(code, count, Some(fault.place), &failure);
    error.traceback.extend(fault.corrected);
    error
}

/// A cell whose variable cannot outlive it.
pub fn unkept(code: &str, count: u32, binding: &Binding, message: &str, hint: &str) -> CellError {
    let failure = CellFailure {
        ename: "VariableError".to_owned(),
        evalue: message.to_owned(),
        location: None,
        raised: None,
        hint: Some(hint.to_owned()),
    };
    at(code, count, Some(binding.place.clone()), &failure)
}

/// A cell that failed while it ran, in a source of ours.
pub fn from_run(code: &str, count: u32, generated: &Generated, failure: &CellFailure) -> CellError {
    let place = failure.location.and_then(|(line, column)| {
        let byte = generated.byte_at(line, column)?;
        generated.place(&(byte..byte))
    });
    match place {
        Some(Place { cell: None, range }) => {
            let range = word_at(code, range.start);
            at(code, count, Some(range), failure)
        }
        Some(Place {
            cell: Some(earlier),
            range,
        }) => {
            let source = generated.earlier(earlier);
            let code = source.map_or("", |source| source.code.as_str());
            at(code, earlier, Some(word_at(code, range.start)), failure)
        }
        None => at(code, count, None, failure),
    }
}

fn at(code: &str, count: u32, place: Option<Range<usize>>, failure: &CellFailure) -> CellError {
    let path = path(count);
    let mut group = title(&failure.ename, &failure.evalue);
    if let Some(place) = place {
        let snippet = Snippet::source(code)
            .path(&path)
            .annotation(AnnotationKind::Primary.span(place));
        group = group.element(snippet);
    }
    if let Some(raised) = &failure.raised {
        group = group.element(Level::NOTE.message(raised.as_str()));
    }
    if let Some(hint) = &failure.hint {
        group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
    }
    CellError {
        ename: failure.ename.clone(),
        evalue: failure.evalue.clone(),
        traceback: lines(&RENDERER.render(&[group])),
    }
}

/// Adds what to do next to an error.
pub fn add_hint(error: &mut CellError, hint: &str) {
    let line = format!("\u{1b}[1mhint\u{1b}[0m: {hint}");
    error.traceback.push(line);
}

/// The compiler's message; but what it says of showing a value speaks of our own code.
fn message<'a>(error: &'a Diagnostic, generated: &Generated) -> &'a str {
    if concerns_display(error, generated) {
        NOT_SHOWN
    } else {
        &error.message
    }
}

fn concerns_display(error: &Diagnostic, generated: &Generated) -> bool {
    let mut places = error.primary();
    error.number() == "E0599"
        && places.any(|range| matches!(generated.origin(range.start), Origin::Show(_)))
}

fn concerns_display_span(span: &Span, generated: &Generated) -> bool {
    span.in_source()
        .is_some_and(|range| matches!(generated.origin(range.start), Origin::Show(_)))
}

/// What the places of a compiler's message are found in.
struct Compiler<'a> {
    code: &'a str,
    count: u32,
    generated: &'a Generated,
}

impl Compiler<'_> {
    fn render(&self, error: &Diagnostic) -> Vec<String> {
        let mut title = Level::ERROR.primary_title(message(error, self.generated));
        if !error.number().is_empty() {
            title = title.id(error.number());
        }
        let mut group = Group::with_title(title);
        for cell in self.cells(&error.spans) {
            group = group.element(self.snippet(cell, &error.spans));
        }
        if concerns_display(error, self.generated) {
            group = group.element(Level::HELP.message(HOW_TO_SHOW));
            return lines(&RENDERER.render(&[group]));
        }
        let mut rendered = RENDERER.render(&[group]);
        for child in &error.children {
            let level = child.level.as_str();
            if let Some(name) = self.would_make_mutable(child) {
                let _ = write!(
                    rendered,
                    "\n\u{1b}[1mhelp\u{1b}[0m: an earlier cell has made `{name}`: run it again with \
                     `let mut {name} = …`, or write `let mut {name} = {name};` first"
                );
                continue;
            }
            if child.speaks_of_a_place() {
                // Of one that no user sees, what is there says nothing.
                for line in self.snippets(child) {
                    let _ = write!(rendered, "\n{line}");
                }
                continue;
            }
            let corrected = suggestions::corrected(self.code, self.generated, &child.spans);
            let fragment = if corrected.is_empty() {
                suggestion(&child.spans)
            } else {
                String::new()
            };
            let _ = write!(
                rendered,
                "\n\u{1b}[1m{level}\u{1b}[0m: {}{fragment}",
                suggestions::for_a_cell(&child.message)
            );
            for line in corrected {
                let _ = write!(rendered, "\n{line}");
            }
        }
        lines(&rendered)
    }

    /// A note with the places in cells that it speaks of; nothing where there are none.
    fn snippets(&self, note: &Diagnostic) -> Vec<String> {
        let cells = self.cells(&note.spans);
        if cells.is_empty() {
            return Vec::new();
        }
        let title = Level::NOTE.secondary_title(note.message.as_str());
        let mut group = Group::with_title(title);
        for cell in cells {
            group = group.element(self.snippet(cell, &note.spans));
        }
        lines(&RENDERER.render(&[group]))
    }

    /// The variable of an earlier cell that the compiler would have mutable, where we take it over.
    fn would_make_mutable(&self, child: &Diagnostic) -> Option<&str> {
        child.spans.iter().find_map(|span| {
            let text = span.suggested_replacement.as_deref()?;
            match self.generated.origin(span.in_source()?.start) {
                Origin::Take(name) if text.trim_start().starts_with("mut") => Some(name.as_str()),
                _ => None,
            }
        })
    }

    /// The cells that the places are in, that of the first place first.
    fn cells(&self, spans: &[Span]) -> Vec<Option<u32>> {
        let mut cells = Vec::new();
        let primary_first = spans
            .iter()
            .filter(|span| span.is_primary)
            .chain(spans.iter().filter(|span| !span.is_primary));
        for place in primary_first.filter_map(|span| self.place(span)) {
            if !cells.contains(&place.cell) {
                cells.push(place.cell);
            }
        }
        cells
    }

    fn place(&self, span: &Span) -> Option<Place> {
        self.generated.place(&span.in_source()?)
    }

    fn snippet<'a>(
        &'a self,
        cell: Option<u32>,
        spans: &'a [Span],
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let (code, count) = match cell.and_then(|count| self.generated.earlier(count)) {
            Some(source) => (source.code.as_str(), source.count),
            None => (self.code, self.count),
        };
        let mut snippet = Snippet::source(code).path(path(count));
        for span in spans {
            let Some(place) = self.place(span).filter(|place| place.cell == cell) else {
                continue;
            };
            let kind = if span.is_primary {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let of_ours = concerns_display_span(span, self.generated);
            let label = span
                .label
                .as_deref()
                .filter(|label| !label.is_empty() && !of_ours);
            snippet = snippet.annotation(kind.span(place.range).label(label));
        }
        snippet
    }
}

/// What the compiler would write, when that is one thing in one place.
fn suggestion(spans: &[Span]) -> String {
    match spans {
        [span] => match span.suggested_replacement.as_deref().map(str::trim) {
            Some(text) if !text.is_empty() => format!(": `{text}`"),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

fn title<'a>(ename: &'a str, evalue: &'a str) -> Group<'a> {
    Group::with_title(Level::ERROR.with_name(ename).primary_title(evalue))
}

fn path(count: u32) -> String {
    format!("In [{count}]")
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The word, or the one character, that starts at this byte.
fn word_at(code: &str, start: usize) -> Range<usize> {
    let rest = code.get(start..).unwrap_or_default();
    let length = rest
        .find(|character: char| {
            !(character.is_alphanumeric() || character == '_' || character == '!')
        })
        .unwrap_or(rest.len());
    start..start + length.max(rest.chars().next().map_or(0, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place_behind_wide_characters() {
        let code = "let 값 = \"한국어 😀\"; boom();";
        let failure = CellFailure {
            ename: "panic".to_owned(),
            evalue: "boom".to_owned(),
            location: Some((2, 1)),
            raised: None,
            hint: Some("do this".to_owned()),
        };
        let generated = "let 값 = \"한국어 😀\";\nboom();\n";
        let error = from_failure(code, 3, generated, &failure);
        let text = error.traceback.join("\n");
        let plain: String = strip_ansi(&text);
        let carets = plain
            .lines()
            .find(|line| line.contains('^'))
            .expect("a caret");
        let source = plain
            .lines()
            .find(|line| line.contains("boom();"))
            .expect("the line");
        // Korean characters and the emoji take two columns each: 7 more than characters.
        let column = |line: &str, of: &str| line[..line.find(of).expect("there")].chars().count();
        assert_eq!(column(carets, "^"), column(source, "boom") + 5, "{plain}");
        assert!(
            plain.contains("In [3]") && plain.contains("hint: do this"),
            "{plain}"
        );
    }

    /// `note: tuple struct defined here` stood without a place.
    #[test]
    fn a_note_that_points_somewhere_has_its_place_or_is_left_out() {
        let code = "fn f(a: i32) {}\nf(\"b\")";
        let mut generated = Generated::default();
        generated.add(Origin::Cell { start: 0 }, code);
        let note = |file: &str| {
            let (at, error) = (
                code.find("f(a").expect("there"),
                code.find('"').expect("there"),
            );
            let span = |file: &str, start: usize, end: usize| {
                serde_json::json!({
                    "file_name": file, "byte_start": start, "byte_end": end, "is_primary": true,
                    "label": null, "suggested_replacement": null, "expansion": null,
                })
            };
            let child = serde_json::json!({
                "message": "function defined here", "code": null, "level": "note",
                "spans": [span(file, at, at + 1)], "children": [],
            });
            let error = serde_json::json!({
                "message": "mismatched types", "code": {"code": "E0308"}, "level": "error",
                "spans": [span("<anon>", error, error + 3)], "children": [child],
            });
            let error: Diagnostic = serde_json::from_value(error).expect("is one");
            strip_ansi(
                &from_rustc(code, 2, &generated, &[error])
                    .traceback
                    .join("\n"),
            )
        };
        let placed = note("<anon>");
        assert!(placed.contains("note: function defined here"), "{placed}");
        assert!(placed.contains("In [2]:1:4"), "{placed}");
        let elsewhere = note("/rust/library/core.rs");
        assert!(!elsewhere.contains("defined here"), "{elsewhere}");
    }

    fn strip_ansi(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('\u{1b}') {
            plain.push_str(&rest[..start]);
            rest = &rest[start..];
            rest = &rest[rest.find('m').map_or(rest.len(), |end| end + 1)..];
        }
        plain + rest
    }
}
