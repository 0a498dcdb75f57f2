//! How deeply a template is nested, before it is parsed. minijinja limits brackets within brackets and
//! blocks within blocks; chains (`not not …`, `a.b.c…`, `x + x + …`, `elif` after `elif`) it parses to
//! trees of any depth, which whoever walks them next walks by recursion.

use minijinja::{
    Error, ErrorKind,
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};

/// The deepest tree of an expression, the most open `elif`s, and the most macros. Real templates stay
/// below 40.
const DEEPEST: usize = 300;

/// Fails for a template with more than [`DEEPEST`] of something in something.
pub fn check(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let mut expression = Expression::default();
    // Branches of each open `if`.
    let mut branches: Vec<usize> = Vec::new();
    let mut macros = 0;
    let mut is_keyword = false;
    for token in tokenize(source, false, syntax.clone()) {
        // What is no token the parser says better.
        let Ok((token, span)) = token else {
            return Ok(());
        };
        match &token {
            Token::VariableStart | Token::BlockStart => expression = Expression::default(),
            Token::Ident(name) if is_keyword => match *name {
                "if" => branches.push(1),
                "elif" => branches
                    .last_mut()
                    .into_iter()
                    .for_each(|count| *count += 1),
                "endif" => drop(branches.pop()),
                // One holds those before it that it calls.
                "macro" | "call" => macros += 1,
                _ => {}
            },
            other => expression.take(other),
        }
        is_keyword = matches!(token, Token::BlockStart);
        if expression.deepest > DEEPEST || branches.iter().sum::<usize>().max(macros) > DEEPEST {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                format!("line {} is nested too deeply", span.start_line),
            ));
        }
    }
    Ok(())
}

/// An upper bound of the depth of the tree of one expression.
#[derive(Default)]
struct Expression {
    /// The brackets that are open, the outermost first, and the expression itself below them.
    levels: Vec<Level>,
    outermost: Level,
    /// The most it was.
    deepest: usize,
}

/// One of the items that commas separate within brackets.
#[derive(Default)]
struct Level {
    /// Operators of the item, each of which may hold what is left of it.
    operators: usize,
    /// The deepest brackets in the item.
    inner: usize,
    /// The deepest item before it.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.before.max(self.operators + self.inner)
    }
}

impl Expression {
    fn take(&mut self, token: &Token<'_>) {
        let open = self.levels.last_mut().unwrap_or(&mut self.outermost);
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                open.operators += 1;
                self.levels.push(Level::default());
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                let depth = self.levels.pop().map_or(0, |level| level.depth());
                let open = self.levels.last_mut().unwrap_or(&mut self.outermost);
                open.inner = open.inner.max(depth);
            }
            Token::Comma | Token::Colon => {
                *open = Level {
                    before: open.depth(),
                    ..Level::default()
                };
            }
            Token::Ident("not" | "and" | "or" | "if" | "else" | "is" | "in") => open.operators += 1,
            Token::TemplateData(_)
            | Token::VariableStart
            | Token::VariableEnd
            | Token::BlockStart
            | Token::BlockEnd
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::Assign => {}
            _ => open.operators += 1,
        }
        let open = self.levels.last().unwrap_or(&self.outermost);
        self.deepest = self.deepest.max(self.levels.len() + open.depth());
    }
}
