//! Whether a cell could be run as it is, for consoles that decide at Enter whether to run or to go
//! on. Read off rust-analyzer's parser: errors at the very end mean that more is needed.

use jupyter::Completeness;
use ra_ap_syntax::{AstNode, Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxToken};

use crate::commands::{Step, parse};

const BEFORE: &str = "fn cell() {\n";
const AFTER: &str = "\n}";
const INDENT: &str = "    ";

/// Judges the text of a cell. `knows` tells whether a name is one of the notebook's.
pub fn judge(code: &str, knows: &dyn Fn(&str) -> bool) -> Completeness {
    let script = parse(code, knows);
    if let Some(Step::Cell { body, .. }) = script.steps.last() {
        // Nothing else says where the text ends: a blank line does, as in IPython.
        return match body.lines().last() {
            Some(line) if line.trim().is_empty() => Completeness::Complete,
            _ => incomplete(0),
        };
    }
    if let Some(Step::Shell(command)) = script.steps.last()
        && script.rust.is_none()
        && command.ends_with('\\')
    {
        return incomplete(0);
    }
    let rust = script.rust.unwrap_or_default();
    let rust: String = rust.lines().map(without_command).collect();
    if rust.trim().is_empty() {
        return Completeness::Complete;
    }
    // Parsed alone for its brackets: inside a function a missing one would take the function's.
    let tokens = significant_tokens(&rust);
    if tokens.iter().any(is_unterminated) {
        return incomplete(0);
    }
    match open_brackets(&tokens) {
        None => Completeness::Invalid,
        Some(0) => judge_balanced(&rust),
        Some(depth) => incomplete(depth),
    }
}

/// evcxr's own commands (`:dep …`) are complete in themselves.
fn without_command(line: &str) -> String {
    if line.starts_with(':') && !line.starts_with("::") {
        "\n".to_owned()
    } else {
        format!("{line}\n")
    }
}

fn judge_balanced(rust: &str) -> Completeness {
    let rust = rust.trim_end();
    let parse = SourceFile::parse(&format!("{BEFORE}{rust}{AFTER}"), Edition::Edition2024);
    let end = BEFORE.len() + rust.len();
    let errors = parse.errors();
    match errors
        .iter()
        .map(|error| usize::from(error.range().start()))
        .min()
    {
        None => Completeness::Complete,
        Some(first) if first >= end => incomplete(0),
        Some(_) => Completeness::Invalid,
    }
}

fn incomplete(depth: usize) -> Completeness {
    Completeness::Incomplete {
        indent: INDENT.repeat(depth),
    }
}

fn significant_tokens(rust: &str) -> Vec<SyntaxToken> {
    let file = SourceFile::parse(rust, Edition::Edition2024).tree();
    file.syntax()
        .descendants_with_tokens()
        .filter_map(NodeOrToken::into_token)
        .collect()
}

/// How many brackets are open at the end; `None` when one closes that was not open.
fn open_brackets(tokens: &[SyntaxToken]) -> Option<usize> {
    let mut open = Vec::new();
    for token in tokens {
        match token.kind() {
            kind @ (SyntaxKind::L_PAREN | SyntaxKind::L_BRACK | SyntaxKind::L_CURLY) => {
                open.push(kind);
            }
            kind @ (SyntaxKind::R_PAREN | SyntaxKind::R_BRACK | SyntaxKind::R_CURLY) => {
                let opened = open.pop()?;
                let matches = matches!(
                    (opened, kind),
                    (SyntaxKind::L_PAREN, SyntaxKind::R_PAREN)
                        | (SyntaxKind::L_BRACK, SyntaxKind::R_BRACK)
                        | (SyntaxKind::L_CURLY, SyntaxKind::R_CURLY)
                );
                if !matches {
                    return None;
                }
            }
            _ => {}
        }
    }
    Some(open.len())
}

/// A string or a block comment that runs to the end of the text.
pub(super) fn is_unterminated(token: &SyntaxToken) -> bool {
    let text = token.text();
    match token.kind() {
        SyntaxKind::COMMENT => {
            text.starts_with("/*") && text.matches("/*").count() > text.matches("*/").count()
        }
        SyntaxKind::STRING | SyntaxKind::BYTE_STRING | SyntaxKind::C_STRING => {
            let body = text.trim_start_matches(['b', 'c', 'r']);
            let hashes = body.len() - body.trim_start_matches('#').len();
            let closing = format!("\"{}", "#".repeat(hashes));
            let open = body.len() > hashes + closing.len();
            !(open && body.ends_with(&closing))
                || (hashes == 0 && !text.contains('r') && ends_in_escape(body))
        }
        _ => false,
    }
}

/// Whether the last quote is escaped.
fn ends_in_escape(body: &str) -> bool {
    let before = &body[..body.len() - 1];
    (before.len() - before.trim_end_matches('\\').len()) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(code: &str) -> Completeness {
        super::judge(code, &|name| name == "ready")
    }

    #[test]
    fn whole_cells_are_complete() {
        for code in [
            "",
            "1 + 1",
            "let x = 5;",
            "fn f() -> i32 { 3 }",
            "for i in 0..3 { println!(\"{i}\") }",
            ":dep serde",
            ":dep serde\nlet x = 1;",
            "\"a \\\" b\"",
            "r#\"a\"b\"#",
            "// 안녕",
            "let s = \"한국어\";\ns",
            "\"\"",
            "/* a */ 1",
            "%help",
            "%limit memory 4G\nlet x = 1;",
            "!ls (",
            "!ready",
            "?Vec",
            "%%bash\nls (\n\n",
        ] {
            assert_eq!(judge(code), Completeness::Complete, "{code}");
        }
    }

    #[test]
    fn what_needs_more_is_incomplete() {
        for (code, depth) in [
            ("fn f() {", 1),
            ("let x = ", 0),
            ("f(1,", 1),
            ("println!(\"a", 0),
            ("/* a", 0),
            ("if true {\n  g(", 2),
            ("r#\"a\"", 0),
            ("\"a\\\"", 0),
            ("\"", 0),
            ("x.", 0),
            ("%limit\nfn f() {", 1),
            ("!ready && f(", 1),
            ("%%bash", 0),
            ("%%bash\nls", 0),
        ] {
            assert_eq!(judge(code), incomplete(depth), "{code}");
        }
    }

    #[test]
    fn what_more_would_not_help_is_invalid() {
        for code in ["}", "f(]", "let = 3; 1", "fn 3() {}"] {
            assert_eq!(judge(code), Completeness::Invalid, "{code}");
        }
    }
}
