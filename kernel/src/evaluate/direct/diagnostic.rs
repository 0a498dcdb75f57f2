//! What the compiler says of a source, as it writes it with `--error-format=json`
//! (<https://doc.rust-lang.org/rustc/json.html>): the fields that are used here.

use std::ops::Range;

use serde::Deserialize;

use super::results::is_result;

/// One message.
#[derive(Clone, Debug, Deserialize)]
pub struct Diagnostic {
    pub message: String,
    pub code: Option<Code>,
    pub level: String,
    #[serde(default)]
    pub spans: Vec<Span>,
    #[serde(default)]
    pub children: Vec<Diagnostic>,
}

/// The number of an error, such as `E0382`.
#[derive(Clone, Debug, Deserialize)]
pub struct Code {
    pub code: String,
}

/// A place that a message speaks of.
#[derive(Clone, Debug, Deserialize)]
pub struct Span {
    pub file_name: String,
    pub byte_start: usize,
    pub byte_end: usize,
    pub is_primary: bool,
    pub label: Option<String>,
    pub suggested_replacement: Option<String>,
    /// How sure the compiler is of that.
    #[serde(default)]
    pub suggestion_applicability: Option<String>,
    pub expansion: Option<Box<Expansion>>,
}

/// The macro call that a place comes from.
#[derive(Clone, Debug, Deserialize)]
pub struct Expansion {
    pub span: Span,
}

/// The name under which the compiler knows its standard input.
const SOURCE: &str = "<anon>";

impl Diagnostic {
    /// Whether it is an error of the source, and not the count of them.
    pub fn is_error(&self) -> bool {
        self.level.starts_with("error") && !self.message.starts_with("aborting due to")
    }

    /// The error's number, or nothing.
    pub fn number(&self) -> &str {
        self.code.as_ref().map_or("", |code| &code.code)
    }

    /// Whether it is a note that only points at a place, such as `function defined here`.
    pub fn speaks_of_a_place(&self) -> bool {
        self.level == "note" && !self.spans.is_empty() && self.message.ends_with(" here")
    }

    /// The value of a cell (`_`, `__`, `_5`) that is spoken of and not there.
    pub fn missing_value(&self) -> Option<&str> {
        if self.message.starts_with("in expressions, `_`") {
            return Some("_");
        }
        let name = self.message.split('`').nth(1)?;
        let is_value = name == "__" || is_result(name);
        (self.number() == "E0425" && is_value).then_some(name)
    }

    /// The variable that is spoken of and not there.
    pub fn missing_variable(&self) -> Option<&str> {
        let name = self.message.strip_prefix("cannot find value `")?;
        let (name, _) = name.split_once('`')?;
        (self.number() == "E0425").then_some(name)
    }

    /// Whether one of its places in the source satisfies this.
    pub fn any_place(&self, is: impl Fn(Range<usize>) -> bool) -> bool {
        self.spans.iter().filter_map(Span::in_source).any(is)
    }

    /// Where it says that the error is.
    pub fn primary(&self) -> impl Iterator<Item = Range<usize>> {
        self.spans
            .iter()
            .filter(|span| span.is_primary)
            .filter_map(Span::in_source)
    }
}

impl Span {
    /// The bytes of the source, of what no macro has made.
    pub fn own_place(&self) -> Option<Range<usize>> {
        let is_own = self.file_name == SOURCE && self.expansion.is_none();
        is_own.then_some(self.byte_start..self.byte_end)
    }

    /// The bytes of the source; for a place in a macro, those of its call.
    pub fn in_source(&self) -> Option<Range<usize>> {
        let mut span = self;
        while span.file_name != SOURCE {
            span = &span.expansion.as_ref()?.span;
        }
        // A macro of the source itself: the call says more than the macro's text.
        while let Some(expansion) = &span.expansion
            && expansion.span.file_name == SOURCE
        {
            span = &expansion.span;
        }
        Some(span.byte_start..span.byte_end)
    }
}
