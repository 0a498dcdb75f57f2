//! `_`, `__` and `_5`: the value of the last cell, of the one before, of cell 5. They are variables like
//! others, made of a cell's last expression where Rust lets it outlive the cell; why not is remembered.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Range,
};

use ra_ap_syntax::{
    AstNode, SyntaxKind, SyntaxNode, SyntaxToken,
    ast::{self, BinaryOp, UnaryOp},
};

/// How many values are kept: each may be large.
const KEPT: usize = 10;

/// For how many cells it is known why they left none.
const REMEMBERED: usize = 200;

/// Macros that show or check and give no value.
const WITHOUT_VALUE: [&str; 12] = [
    "println",
    "print",
    "eprintln",
    "eprint",
    "assert",
    "assert_eq",
    "assert_ne",
    "panic",
    "todo",
    "unimplemented",
    "unreachable",
    "display",
];

/// Macros whose arguments are expressions, so that a `_` among them is a value.
const OF_EXPRESSIONS: [&str; 15] = [
    "println",
    "print",
    "eprintln",
    "eprint",
    "format",
    "write",
    "writeln",
    "assert",
    "assert_eq",
    "assert_ne",
    "panic",
    "dbg",
    "vec",
    "display",
    "format_args",
];

/// Why a cell's value was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// It is what a name already stands for.
    Place,
    /// The compiler says that it borrows from what ends with the cell.
    Borrows,
    /// Only the cell itself can write its type.
    Unnameable,
    /// evcxr has run the cell.
    Elsewhere,
    /// There was none.
    Nothing,
}

impl fmt::Display for Unkept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Place => "its value has a name already, by which it can be used",
            Self::Borrows => {
                "its value borrows from what ended with the cell; an owned one is kept \
                 (`.to_owned()`, `.clone()`, `.collect::<Vec<_>>()`)"
            }
            Self::Unnameable => {
                "the type of its value has no name that a cell can write, as of a closure"
            }
            Self::Elsewhere => {
                "a cell with `:dep` or `.await` keeps none; a variable does: `let name = …`"
            }
            Self::Nothing => "it had no value: its last line is no expression, or it failed",
        })
    }
}

/// A `_` or `__` that stands for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Its bytes in the cell.
    pub place: Range<usize>,
    /// The last value, or the one before.
    pub back: usize,
}

/// The values that there are.
#[derive(Clone, Debug, Default)]
pub struct Results {
    kept: VecDeque<u32>,
    unkept: BTreeMap<u32, Unkept>,
    /// The last cells that had a value, kept or not: what `_` and `__` stand for.
    last: VecDeque<u32>,
}

impl Results {
    /// The variable that holds the value of so many values ago, 1 for the last; `None` where that one was
    /// not kept or has gone. An older one does not take its place: nobody would notice.
    pub fn back(&self, back: usize, is_there: impl Fn(&str) -> bool) -> Option<String> {
        let count = self.count_of(back)?;
        let name = name(count);
        (self.kept.contains(&count) && is_there(&name)).then_some(name)
    }

    /// A cell left its value. Gives the variable of the one that is too old now.
    pub fn keep(&mut self, count: u32) -> Option<String> {
        self.note(count);
        self.unkept.remove(&count);
        self.kept.retain(|&other| other != count);
        self.kept.push_back(count);
        let old = (self.kept.len() > KEPT).then(|| self.kept.pop_front())??;
        Some(name(old))
    }

    /// A cell left none.
    pub fn miss(&mut self, count: u32, why: Unkept) {
        if why != Unkept::Nothing {
            self.note(count);
        }
        self.unkept.insert(count, why);
        if self.unkept.len() > REMEMBERED {
            self.unkept.pop_first();
        }
    }

    /// What to tell somebody who asks for a value that is not there.
    pub fn why_not(&self, asked: &str) -> Option<String> {
        let count: u32 = match asked {
            "_" | "__" => match self.count_of(asked.len()) {
                Some(count) => count,
                None => return Some(self.too_few(asked)),
            },
            _ => asked.strip_prefix('_')?.parse().ok()?,
        };
        let why = match self.unkept.get(&count) {
            Some(why) => why.to_string(),
            None if self.kept.contains(&count) => {
                "it is not there any more: it was moved, or its type was defined anew".to_owned()
            }
            None => {
                format!("it is not there: the last {KEPT} values are kept, and no failed cell's")
            }
        };
        Some(format!("`{asked}` is the value of cell [{count}]; {why}"))
    }

    fn too_few(&self, asked: &str) -> String {
        let how_many = match self.last.len() {
            0 => "none has left one",
            _ => "only one has left one",
        };
        format!("`{asked}` is the value of an earlier cell; {how_many}")
    }

    /// The cell whose value it was so many values ago.
    fn count_of(&self, back: usize) -> Option<u32> {
        let at = self.last.len().checked_sub(back)?;
        self.last.get(at).copied()
    }

    fn note(&mut self, count: u32) {
        self.last.retain(|&other| other != count);
        self.last.push_back(count);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }
}

/// The variable of a cell's value.
pub fn name(count: u32) -> String {
    format!("_{count}")
}

/// Whether a variable is a cell's value.
pub fn is_result(name: &str) -> bool {
    let digits = name.strip_prefix('_').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Why the value of an expression is not worth a try; `None` for one that is.
pub fn obstacle(expression: &ast::Expr) -> Option<Unkept> {
    use ast::Expr;
    match expression {
        Expr::ParenExpr(inner) => obstacle(&inner.expr()?),
        Expr::PathExpr(_) | Expr::FieldExpr(_) | Expr::IndexExpr(_) | Expr::RefExpr(_) => {
            Some(Unkept::Place)
        }
        Expr::PrefixExpr(prefix) => {
            (prefix.op_kind() == Some(UnaryOp::Deref)).then_some(Unkept::Place)
        }
        Expr::BinExpr(binary) => {
            let assigns = matches!(binary.op_kind(), Some(BinaryOp::Assignment { .. }));
            assigns.then_some(Unkept::Nothing)
        }
        Expr::MacroExpr(call) => {
            let name = call.macro_call().and_then(|call| macro_name(&call));
            let name = name.unwrap_or_default();
            WITHOUT_VALUE
                .contains(&name.as_str())
                .then_some(Unkept::Nothing)
        }
        Expr::ClosureExpr(_) => Some(Unkept::Unnameable),
        Expr::ForExpr(_)
        | Expr::WhileExpr(_)
        | Expr::LoopExpr(_)
        | Expr::ReturnExpr(_)
        | Expr::BreakExpr(_)
        | Expr::ContinueExpr(_) => Some(Unkept::Nothing),
        _ => None,
    }
}

/// Every `_` and `__` of a statement that stands for a value. `offset` turns the syntax's bytes into
/// the cell's.
pub fn aliases(node: &SyntaxNode, range_of: impl Fn(&SyntaxToken) -> Range<usize>) -> Vec<Alias> {
    node.descendants_with_tokens()
        .filter_map(ra_ap_syntax::NodeOrToken::into_token)
        .filter_map(|token| {
            let back = match token.kind() {
                SyntaxKind::UNDERSCORE if is_value(&token) => 1,
                SyntaxKind::IDENT if token.text() == "__" && is_use(&token) => 2,
                _ => return None,
            };
            let place = range_of(&token);
            Some(Alias { place, back })
        })
        .collect()
}

/// Whether a `_` is an expression, and none that is assigned to.
fn is_value(token: &SyntaxToken) -> bool {
    let Some(parent) = token.parent() else {
        return false;
    };
    if parent.kind() == SyntaxKind::TOKEN_TREE {
        return is_argument(token, &parent);
    }
    let is_assigned = parent.ancestors().any(|node| {
        let assignment = node.parent().and_then(ast::BinExpr::cast);
        assignment.is_some_and(|binary| {
            matches!(binary.op_kind(), Some(BinaryOp::Assignment { op: None }))
                && binary.lhs().is_some_and(|left| *left.syntax() == node)
        })
    });
    parent.kind() == SyntaxKind::UNDERSCORE_EXPR && !is_assigned
}

/// Whether a `_` among the tokens of a macro's call is one of its arguments, or the beginning of one.
fn is_argument(token: &SyntaxToken, tree: &SyntaxNode) -> bool {
    let call = tree.parent().and_then(ast::MacroCall::cast);
    let name = call.and_then(|call| macro_name(&call));
    let is_known = name.is_some_and(|name| OF_EXPRESSIONS.contains(&name.as_str()));
    let beside = |next: fn(&SyntaxToken) -> Option<SyntaxToken>| {
        std::iter::successors(next(token), next)
            .find(|token| !token.kind().is_trivia())
            .map(|token| token.kind())
    };
    let begins = matches!(
        beside(SyntaxToken::prev_token),
        Some(
            SyntaxKind::L_PAREN
                | SyntaxKind::L_BRACK
                | SyntaxKind::L_CURLY
                | SyntaxKind::COMMA
                | SyntaxKind::EQ
                | SyntaxKind::AMP
                | SyntaxKind::STAR
                | SyntaxKind::MINUS
                | SyntaxKind::PLUS
                | SyntaxKind::SLASH
        )
    );
    let ends = matches!(
        beside(SyntaxToken::next_token),
        Some(
            SyntaxKind::R_PAREN
                | SyntaxKind::R_BRACK
                | SyntaxKind::R_CURLY
                | SyntaxKind::COMMA
                | SyntaxKind::SEMICOLON
                | SyntaxKind::DOT
                | SyntaxKind::QUESTION
                | SyntaxKind::STAR
                | SyntaxKind::MINUS
                | SyntaxKind::PLUS
                | SyntaxKind::SLASH
        )
    );
    is_known && begins && ends
}

/// Whether a `__` is spoken of rather than made: no pattern, no field, no part of a path.
fn is_use(token: &SyntaxToken) -> bool {
    token.parent().is_some_and(|parent| match parent.kind() {
        SyntaxKind::TOKEN_TREE => true,
        SyntaxKind::NAME_REF => parent
            .parent()
            .is_some_and(|segment| segment.kind() == SyntaxKind::PATH_SEGMENT),
        _ => false,
    })
}

fn macro_name(call: &ast::MacroCall) -> Option<String> {
    let segment = call.path()?.segment()?;
    Some(segment.name_ref()?.text().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::*;

    fn back(code: &str) -> Vec<(&str, usize)> {
        let aliases = Cell::parse(code).aliases;
        aliases
            .into_iter()
            .map(|alias| (&code[alias.place], alias.back))
            .collect()
    }

    #[test]
    fn underscores_that_are_values_are_told_from_all_others() {
        assert_eq!(back("_.len() + __"), [("_", 1), ("__", 2)]);
        assert_eq!(back("let x = f(_)?;"), [("_", 1)]);
        assert_eq!(back("println!(\"{} {}\", _, __.x)"), [("_", 1), ("__", 2)]);
        assert_eq!(back("vec![_; 3]"), [("_", 1)]);
        for code in [
            "let _ = 1;",
            "(_, a) = f();",
            "_ = f();",
            "let Some(_) = x else { panic!() };",
            "match x { _ => 1 }",
            "v.iter().map(|_| 1).collect::<Vec<_>>()",
            "println!(\"{:?}\", v.iter().map(|_| 1).collect::<Vec<_>>())",
            "assert!(matches!(x, Some(_)))",
            "let f: HashMap<_, _> = g();",
            "let __ = 1;",
            "fn f(x: i32) { let y = _; }",
        ] {
            assert_eq!(back(code), [], "{code}");
        }
    }

    #[test]
    fn a_value_is_kept_where_it_is_new() {
        let why = |code: &str| Cell::parse(code).result.map(Result::err);
        assert_eq!(why("1 + 1"), Some(None));
        assert_eq!(why("f(x)?"), Some(None));
        assert_eq!(why("if a { 1 } else { 2 }"), Some(None));
        assert_eq!(why("(v)"), Some(Some(Unkept::Place)));
        assert_eq!(why("&v[1..]"), Some(Some(Unkept::Place)));
        assert_eq!(why("*p"), Some(Some(Unkept::Place)));
        assert_eq!(why("-p"), Some(None));
        assert_eq!(why("x = 3"), Some(Some(Unkept::Nothing)));
        assert_eq!(why("println!()"), Some(Some(Unkept::Nothing)));
        assert_eq!(why("loop {}"), Some(Some(Unkept::Nothing)));
        assert_eq!(why("|x| x"), Some(Some(Unkept::Unnameable)));
        assert_eq!(why("let x = 1;"), None);
    }

    #[test]
    fn the_last_values_are_known_and_old_ones_go() {
        let mut results = Results::default();
        assert_eq!(results.back(1, |_| true), None);
        for count in 1..=10 {
            assert_eq!(results.keep(count), None);
        }
        assert_eq!(results.keep(12), Some("_1".to_owned()));
        assert_eq!(results.back(1, |_| true).as_deref(), Some("_12"));
        assert_eq!(results.back(2, |_| true).as_deref(), Some("_10"));
        assert_eq!(results.back(11, |_| true), None);
        assert_eq!(results.back(1, |name| name != "_12"), None, "it was moved");
    }

    /// An older value stood for it.
    #[test]
    fn the_last_value_is_no_other_where_it_was_not_kept() {
        let mut results = Results::default();
        results.keep(1);
        results.miss(2, Unkept::Nothing);
        assert_eq!(results.back(1, |_| true).as_deref(), Some("_1"));
        results.miss(3, Unkept::Place);
        assert_eq!(results.back(1, |_| true), None);
        assert_eq!(results.back(2, |_| true).as_deref(), Some("_1"));
        let why = results.why_not("_").unwrap_or_default();
        assert!(
            why.starts_with("`_` is the value of cell [3]; its value has a name"),
            "{why}"
        );
        let moved = results.why_not("__").unwrap_or_default();
        assert!(
            moved.contains("cell [1]; it is not there any more"),
            "{moved}"
        );
    }

    #[test]
    fn who_asks_for_a_value_that_is_not_there_is_told_why() {
        let mut results = Results::default();
        let none = results.why_not("_").unwrap_or_default();
        assert!(none.contains("none has left one"), "{none}");
        results.miss(3, Unkept::Borrows);
        let why = |asked: &str| results.why_not(asked).unwrap_or_default();
        assert!(why("_3").contains("borrows"), "{}", why("_3"));
        assert!(why("_4").contains("not there"), "{}", why("_4"));
        assert!(why("_").contains("borrows"), "{}", why("_"));
        assert_eq!(results.why_not("x"), None);
        assert!(is_result("_5") && !is_result("_") && !is_result("_a1"));
    }
}
