//! Help while typing, for commands and Rust alike. It shares with the commands what they change, and is
//! asked on a thread of its own, so that a running cell keeps nobody waiting.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use display::html;
use jupyter::{Completion, Completions};
use ra_ap_syntax::{Edition, NodeOrToken, SourceFile, SyntaxKind};
use wire::mime::Bundle;

use super::{Analysis, Notebook, Patience, Variable, complete, env::Environment, help, parse};

/// Where a kernel works.
pub struct Place {
    /// The kernel's id, by which its requests to the model host are cancelled.
    pub session: String,
    /// The folder of its pipes and its socket; it is there once Rust is up.
    pub session_dir: PathBuf,
    /// The model host's socket.
    pub host_socket: PathBuf,
    /// The folder in which cells start.
    pub working_dir: PathBuf,
}

/// What completes and explains.
pub struct Assistant {
    pub(super) place: Arc<Place>,
    pub(super) environment: Arc<Environment>,
    known: Mutex<Known>,
    analysis: OnceLock<Weak<dyn Analysis>>,
}

/// What cells have defined.
#[derive(Default)]
struct Known {
    variables: BTreeMap<String, Variable>,
    items: HashSet<String>,
}

impl Assistant {
    /// One that knows of no cell yet.
    pub fn new(place: Place) -> Self {
        Self {
            place: Arc::new(place),
            environment: Arc::default(),
            known: Mutex::default(),
            analysis: OnceLock::new(),
        }
    }

    /// From now on this is asked about Rust, as long as somebody else keeps it.
    pub fn ask_about_rust(&self, analysis: &Arc<dyn Analysis>) {
        // A kernel has one notebook, which brings one.
        let _ = self.analysis.set(Arc::downgrade(analysis));
    }

    /// Whether cells have defined this name.
    pub fn knows(&self, name: &str) -> bool {
        let known = self.lock();
        known.variables.contains_key(name) || known.items.contains(name)
    }

    /// Names that cells have defined and that begin so, with the types of variables.
    pub(super) fn names(&self, typed: &str) -> Vec<Completion> {
        let known = self.lock();
        let variables = known.variables.values().map(|variable| Completion {
            text: variable.name.clone(),
            kind: Some("variable".to_owned()),
            signature: Some(format!("{}: {}", variable.name, variable.type_name)),
        });
        let mut items: Vec<&String> = known.items.iter().collect();
        items.sort();
        let items = items.into_iter().map(|name| Completion {
            text: name.clone(),
            ..Completion::default()
        });
        let all = variables.chain(items);
        all.filter(|name| name.text.starts_with(typed)).collect()
    }

    /// The variables that cells have left, by name.
    pub(super) fn variables(&self) -> Vec<Variable> {
        self.lock().variables.values().cloned().collect()
    }

    /// Takes over what is defined now.
    pub(super) fn update(&self, notebook: &dyn Notebook) {
        let by_name = |variable: Variable| (variable.name.clone(), variable);
        let known = Known {
            variables: notebook.variables().into_iter().map(by_name).collect(),
            items: notebook.items().into_iter().collect(),
        };
        *self.lock() = known;
    }

    /// What could stand at `cursor`, a byte of `code`.
    pub fn complete(&self, code: &str, cursor: usize) -> Completions {
        complete::complete(self, code, cursor)
    }

    /// What is known about the thing at `cursor`. Where the analysis of Rust is busy, it is waited for so
    /// long.
    pub fn inspect(&self, code: &str, cursor: usize, patience: Patience) -> Option<Bundle> {
        let script = parse(code, &|name| self.knows(name));
        if let Some(command) = complete::command_at(&script, code, cursor) {
            return Some(help::details(command));
        }
        let rust = script.rust.unwrap_or_else(|| code.to_owned());
        // What stands in a text is no name; the analyser takes it for half a literal.
        let is_name = !is_in_literal(&rust, cursor) && name_around(&rust, cursor).is_some();
        let cursor = if is_name {
            cursor
        } else {
            call_around(&rust, cursor)?
        };
        let variable = name_at(&rust, cursor).and_then(|name| {
            let known = self.lock();
            known.variables.get(name).map(explain)
        });
        // Type and value of a variable are not kept back for what its type's documentation adds.
        let patience = match variable {
            Some(_) if patience.begin <= Patience::TYPING.begin => Patience::SHORT,
            _ => patience,
        };
        let documented = self
            .analysis()
            .and_then(|analysis| analysis.inspect(&rust, cursor, patience));
        match (variable, documented) {
            (Some(first), Some(then)) => Some(joined(first, &then)),
            (first, then) => first.or(then),
        }
    }

    /// Rust's, once it is up.
    pub(super) fn analysis(&self) -> Option<Arc<dyn Analysis>> {
        self.analysis.get()?.upgrade()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of the name at the cursor, or right before it.
fn name_around(code: &str, cursor: usize) -> Option<Range<usize>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let start = code[..cursor]
        .char_indices()
        .rev()
        .take_while(|&(_, c)| is_part(c))
        .last()
        .map_or(cursor, |(at, _)| at);
    let end = code[cursor..]
        .find(|c| !is_part(c))
        .map_or(code.len(), |length| cursor + length);
    let is_name = !code[start..].starts_with(|c: char| c.is_ascii_digit());
    (start < end && is_name).then_some(start..end)
}

/// The beginning of a name that the cursor stands behind, when nothing says that it belongs to something else.
pub(super) fn name_before(code: &str, cursor: usize) -> Option<&str> {
    let whole = name_at(&code[..cursor], cursor)?;
    (!whole.is_empty()).then_some(whole)
}

/// The name at the cursor, when nothing around it says that it is not a variable's.
fn name_at(code: &str, cursor: usize) -> Option<&str> {
    let Range { start, end } = name_around(code, cursor)?;
    let before = code[..start].trim_end();
    let is_member = before.ends_with("::") || (before.ends_with('.') && !before.ends_with(".."));
    let is_macro = code[end..].starts_with('!') && !code[end..].starts_with("!=");
    (!is_member && !is_macro).then(|| &code[start..end])
}

/// Whether the cursor is within a text or a character, its quotes not counted; one that is not closed yet goes
/// on at its end.
fn is_in_literal(code: &str, cursor: usize) -> bool {
    let parse = SourceFile::parse(code, Edition::Edition2024);
    let tokens = parse.syntax_node().descendants_with_tokens();
    let mut tokens = tokens.filter_map(NodeOrToken::into_token);
    tokens.any(|token| {
        let quote = match token.kind() {
            SyntaxKind::STRING | SyntaxKind::BYTE_STRING | SyntaxKind::C_STRING => '"',
            SyntaxKind::CHAR | SyntaxKind::BYTE => '\'',
            _ => return false,
        };
        let range = token.text_range();
        let (start, end) = (usize::from(range.start()), usize::from(range.end()));
        let is_open = token.text().matches(quote).count() < 2;
        start < cursor && (cursor < end || is_open && cursor == end)
    })
}

/// The end of the name of the function or macro among whose arguments the cursor is.
fn call_around(code: &str, cursor: usize) -> Option<usize> {
    let parse = SourceFile::parse(code, Edition::Edition2024);
    let tokens = parse.syntax_node().descendants_with_tokens();
    let mut open = Vec::new();
    let mut before = None;
    for token in tokens.filter_map(NodeOrToken::into_token) {
        if usize::from(token.text_range().start()) >= cursor {
            break;
        }
        match token.kind() {
            SyntaxKind::WHITESPACE | SyntaxKind::COMMENT => continue,
            SyntaxKind::L_PAREN | SyntaxKind::L_BRACK | SyntaxKind::L_CURLY => open.push(before),
            SyntaxKind::R_PAREN | SyntaxKind::R_BRACK | SyntaxKind::R_CURLY => {
                open.pop();
            }
            _ => {}
        }
        before = match token.kind() {
            SyntaxKind::IDENT => Some(usize::from(token.text_range().end())),
            // `vec![…]` is documented at its name.
            SyntaxKind::BANG => before,
            _ => None,
        };
    }
    open.pop().flatten()
}

/// A variable as Shift-Tab shows it.
fn explain(variable: &Variable) -> Bundle {
    let Variable {
        name,
        type_name,
        value,
        ..
    } = variable;
    let mut line = format!("{name}: {type_name}");
    if let Some(value) = value {
        line.push_str(" = ");
        line.push_str(value);
    }
    let html = html::pre(&line);
    Bundle::text(line).with("text/html", html)
}

/// One rendering below the other.
fn joined(mut first: Bundle, then: &Bundle) -> Bundle {
    for (mime, content) in &mut first.data {
        let below = then.data.get(mime).and_then(|content| content.as_str());
        if let (Some(above), Some(below)) = (content.as_str(), below) {
            *content = format!("{above}\n\n{below}").into();
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_variables_unless_it_belongs_to_something() {
        let at = |code: &'static str| {
            let cursor = code.find('|').expect("a cursor");
            let code: &'static str = Box::leak(code.replace('|', "").into_boxed_str());
            name_at(code, cursor)
        };
        assert_eq!(at("let y = te|xt.len();"), Some("text"));
        assert_eq!(at("text|"), Some("text"));
        assert_eq!(at("0..te|xt"), Some("text"));
        assert_eq!(at("a != te|xt"), Some("text"));
        assert_eq!(at("te|xt != a"), Some("text"));
        assert_eq!(at("self.te|xt"), None);
        assert_eq!(at("std::te|xt"), None);
        assert_eq!(at("te|xt!(1)"), None);
        assert_eq!(at("( | )"), None);
        assert_eq!(at("변|수 + 1"), Some("변수"));
        assert_eq!(at("1|2"), None);
    }

    /// Shift-Tab there showed `invalid literal: LoneSlash`.
    #[test]
    fn within_a_text_there_are_no_names() {
        let is_in = |code: &str| {
            let cursor = code.find('|').expect("a cursor");
            is_in_literal(&code.replacen('|', "", 1), cursor)
        };
        for code in [
            "f(\"hello wo|rld\")",
            "let s = \"a|\";",
            "let s = r#\"a \" b|\"#;",
            "b\"|x\"",
            "'|x'",
            "f(\"hello wo|",
        ] {
            assert!(is_in(code), "{code}");
        }
        for code in ["f|(\"a\")", "f(\"a\"|)", "f(|\"a\")", "x|", "&'a| str"] {
            assert!(!is_in(code), "{code}");
        }
    }

    #[test]
    fn among_arguments_the_call_is_asked_about() {
        let called = |code: &str| {
            let cursor = code.find('|').expect("a cursor");
            let code = code.replacen('|', "", 1);
            call_around(&code, cursor).map(|end| code[..end].to_owned())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(called("let p = pipeline(|"), some("let p = pipeline"));
        assert_eq!(called("model.generate(\"a\", |)"), some("model.generate"));
        assert_eq!(called("f(g(1), |)"), some("f"));
        assert_eq!(called("vec![1, |]"), some("vec"));
        assert_eq!(called("f(\"a(|"), some("f"));
        assert_eq!(called("(1 + |)"), None);
        assert_eq!(called("1 + |"), None);
    }
}
