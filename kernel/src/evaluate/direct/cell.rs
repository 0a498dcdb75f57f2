//! A cell, taken apart: what it defines, which variables it makes, what it shows. Read off
//! rust-analyzer's parser, so that a half-written cell gets as far as the compiler, which says what
//! is wrong with it.

use std::collections::HashMap;
use std::iter;
use std::ops::Range;

use ra_ap_syntax::{
    AstNode, Edition, SourceFile, SyntaxKind, SyntaxNode, TextRange,
    ast::{self, HasName},
};

use super::{
    item::Item,
    reading,
    results::{self, Alias, Unkept},
    statics,
    words::words,
};

const BEFORE: &str = "fn f(){";
const AFTER: &str = "\n}";

/// What a cell consists of. Ranges are bytes of its code.
#[derive(Debug, Default)]
pub struct Cell {
    /// Definitions, which outlive the cell.
    pub items: Vec<Item>,
    /// Statements in their order, but for the last expression.
    pub statements: Vec<Range<usize>>,
    /// The expression at the end, whose value is shown.
    pub value: Option<Range<usize>>,
    /// Whether that value is worth keeping; `None` when there is no such expression.
    pub result: Option<Result<(), Unkept>>,
    /// Where it speaks of the values of earlier cells by `_` and `__`.
    pub aliases: Vec<Alias>,
    /// Variables that a `let` of the cell makes, in their order.
    pub variables: Vec<Binding>,
    /// Where the first `let` of a name has it.
    first_binding: HashMap<String, usize>,
    /// Statics that each thread has for itself: with a cell's library they begin anew.
    pub thread_locals: Vec<String>,
    /// Why this cell is not for the direct way; `None` when it is.
    pub obstacle: Option<Obstacle>,
}

/// A variable that a `let` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub name: String,
    pub mutable: bool,
    /// Where its name stands.
    pub place: Range<usize>,
}

/// What only evcxr does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// `#![feature(…)]` and its like.
    CrateAttribute,
    /// `extern crate`, which evcxr may have to fetch.
    ExternCrate,
    /// `.await` outside of anything asynchronous: evcxr brings the runtime.
    Await,
}

impl Cell {
    /// Takes the code apart. Code that does not parse is one statement.
    pub fn parse(code: &str) -> Self {
        let parse = SourceFile::parse(&format!("{BEFORE}{code}{AFTER}"), Edition::Edition2024);
        let statements = parse
            .syntax_node()
            .children()
            .next()
            .and_then(ast::Fn::cast)
            .and_then(|function| function.body())
            .and_then(|body| body.stmt_list());
        let Some(statements) = statements.filter(|_| parse.errors().is_empty()) else {
            return Self {
                statements: iter::once(0..code.len()).collect(),
                ..Self::default()
            };
        };
        let mut cell = Self::default();
        let nodes: Vec<SyntaxNode> = statements.syntax().children().collect();
        for (index, node) in nodes.iter().enumerate() {
            cell.take(node, code, index + 1 == nodes.len());
        }
        cell
    }

    fn take(&mut self, node: &SyntaxNode, code: &str, last: bool) {
        let range = range_of(node);
        let thread_local = macro_call(node)
            .and_then(|call| reading::read_thread_local(&call, code, range.clone()));
        self.thread_locals.extend(statics::of_threads(node));
        if let Some(item) = thread_local {
            self.items.push(item);
            return;
        }
        if let Some(item) = ast::Item::cast(node.clone()) {
            self.take_item(&item, code, range);
            return;
        }
        if ast::Attr::can_cast(node.kind()) {
            self.obstacle = Some(Obstacle::CrateAttribute);
            return;
        }
        if awaits(node) {
            self.obstacle = Some(Obstacle::Await);
        }
        self.aliases
            .extend(results::aliases(node, |token| shifted(token.text_range())));
        if let Some(statement) = ast::LetStmt::cast(node.clone()) {
            if let Some(pattern) = statement.pat() {
                for binding in bindings(pattern.syntax(), statement.let_else().is_some()) {
                    self.first_binding
                        .entry(binding.name.clone())
                        .or_insert(binding.place.start);
                    // The last `let` of a name is the one that stays.
                    self.variables
                        .retain(|earlier| earlier.name != binding.name);
                    self.variables.push(binding);
                }
            }
        } else if last && ast::Expr::can_cast(node.kind()) {
            let expression = ast::Expr::cast(node.clone());
            let obstacle = expression.and_then(|expression| results::obstacle(&expression));
            self.result = Some(obstacle.map_or(Ok(()), Err));
            self.value = Some(range);
            return;
        }
        self.statements.push(range);
    }

    fn take_item(&mut self, item: &ast::Item, code: &str, range: Range<usize>) {
        match item {
            ast::Item::ExternCrate(it) if !is_of_rust(it) => {
                self.obstacle = Some(Obstacle::ExternCrate);
            }
            // It may stand for statements as well as for items.
            ast::Item::MacroCall(_) => self.statements.push(range),
            item => self.items.extend(reading::read(item, code, range)),
        }
    }

    /// Whether the first that the cell says of this name is a `let` that makes it.
    pub fn makes_first(&self, code: &str, name: &str) -> bool {
        let Some(first) = self.first_binding.get(name) else {
            return false;
        };
        let mentions = |range: &Range<usize>| {
            let word = name.trim_start_matches("r#");
            let words = words(&code[range.clone()]);
            words.filter(|other| *other == word).count()
        };
        let statement = self.statements.iter().find(|range| mentions(range) > 0);
        statement.is_some_and(|range| range.contains(first) && mentions(range) == 1)
    }

    /// Whether there is anything to run or to compile.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.statements.is_empty() && self.value.is_none()
    }
}

/// Whether a crate comes with the compiler, which has it at hand.
fn is_of_rust(item: &ast::ExternCrate) -> bool {
    let name = item.name_ref().map(|name| name.text().to_string());
    matches!(name.as_deref(), Some("alloc" | "core" | "std"))
}

/// The macro that a node calls and nothing else.
fn macro_call(node: &SyntaxNode) -> Option<ast::MacroCall> {
    let expression = |node: &SyntaxNode| ast::MacroExpr::cast(node.clone())?.macro_call();
    let statement =
        |node: &SyntaxNode| expression(ast::ExprStmt::cast(node.clone())?.expr()?.syntax());
    ast::MacroCall::cast(node.clone())
        .or_else(|| expression(node))
        .or_else(|| statement(node))
}

/// The bytes of the code at which a node stands.
pub fn range_of(node: &SyntaxNode) -> Range<usize> {
    shifted(node.text_range())
}

fn shifted(range: TextRange) -> Range<usize> {
    let start = usize::from(range.start()).saturating_sub(BEFORE.len());
    start..usize::from(range.end()).saturating_sub(BEFORE.len())
}

/// The names that a pattern binds. In one that may fail, a capitalised name without more is a
/// constant, as `None` is.
fn bindings(pattern: &SyntaxNode, may_fail: bool) -> impl Iterator<Item = Binding> {
    pattern.descendants().filter_map(move |node| {
        let binding = ast::IdentPat::cast(node)?;
        let name = binding.name()?;
        let text = name.text().to_string();
        let is_constant = may_fail
            && binding.at_token().is_none()
            && binding.mut_token().is_none()
            && text.starts_with(|first: char| first.is_uppercase());
        (!is_constant).then(|| Binding {
            name: text,
            mutable: binding.mut_token().is_some(),
            place: range_of(name.syntax()),
        })
    })
}

/// Whether something in here waits outside of an asynchronous block or function.
fn awaits(node: &SyntaxNode) -> bool {
    let asynchronous = |node: &SyntaxNode| match node.kind() {
        SyntaxKind::FN | SyntaxKind::CLOSURE_EXPR => true,
        SyntaxKind::BLOCK_EXPR => {
            ast::BlockExpr::cast(node.clone()).is_some_and(|block| block.async_token().is_some())
        }
        _ => false,
    };
    node.descendants()
        .filter(|inner| inner.kind() == SyntaxKind::AWAIT_EXPR)
        .any(|inner| {
            !inner
                .ancestors()
                .take_while(|ancestor| ancestor != node)
                .chain([node.clone()])
                .any(|ancestor| asynchronous(&ancestor))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<(String, bool)> {
        Cell::parse(code)
            .variables
            .into_iter()
            .map(|binding| (binding.name, binding.mutable))
            .collect()
    }

    #[test]
    fn every_name_of_a_pattern_is_a_variable_and_a_constant_is_none() {
        let code = "let (mut a, [b, ..], S { c, d: e, .. }) = x;\nlet Some(f) = g else { panic!() };\nlet None = h else { panic!() };\nlet k @ 1..=5 = l else { panic!() };";
        let expected = [
            ("a", true),
            ("b", false),
            ("c", false),
            ("e", false),
            ("f", false),
            ("k", false),
        ];
        let expected: Vec<_> = expected
            .map(|(name, mutable)| (name.to_owned(), mutable))
            .into();
        assert_eq!(names(code), expected);
    }

    #[test]
    fn a_name_bound_twice_is_one_variable_of_the_last_kind() {
        assert_eq!(
            names("let mut a = 1; let a = a.to_string();"),
            [("a".to_owned(), false)]
        );
    }

    #[test]
    fn the_last_expression_is_the_value_and_a_statement_is_not() {
        let value = |code: &str| Cell::parse(code).value.map(|range| code[range].to_owned());
        assert_eq!(value("let a = 1; a + 1 // why"), Some("a + 1".to_owned()));
        assert_eq!(value("a;"), None);
        assert_eq!(value("for x in y {}\nvec![1]"), Some("vec![1]".to_owned()));
    }

    #[test]
    fn code_that_does_not_parse_is_one_statement() {
        let code = "let a = ;";
        let cell = Cell::parse(code);
        let whole: Vec<_> = iter::once(0..code.len()).collect();
        assert_eq!(cell.statements, whole);
        assert_eq!(cell.variables, Vec::new());
    }

    #[test]
    fn what_only_evcxr_does_is_told() {
        let obstacle = |code: &str| Cell::parse(code).obstacle;
        assert_eq!(obstacle("go().await"), Some(Obstacle::Await));
        assert_eq!(obstacle("let f = async { go().await };"), None);
        assert_eq!(obstacle("async fn f() { go().await }"), None);
        assert_eq!(
            obstacle("#![feature(x)]\n1"),
            Some(Obstacle::CrateAttribute)
        );
        assert_eq!(obstacle("extern crate a;"), Some(Obstacle::ExternCrate));
        let own = Cell::parse("extern crate alloc as heap;");
        assert_eq!((own.obstacle, own.items[0].name()), (None, Some("heap")));
    }
}
