//! The names in a text of Rust: all of them, those that may be another definition's, and whether two texts
//! are the same but for their layout.

use std::collections::HashSet;

use ra_ap_syntax::{Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode};

/// The identifiers in a text, those in strings and comments too: `"{name}"` uses a variable.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with(|first: char| !first.is_ascii_digit()))
}

/// The words at which the paths of a type begin, and what stands from there on. Those behind a `::` are names of
/// another crate or module, whatever the notebook has of that name.
pub fn heads(type_name: &str) -> impl Iterator<Item = (&str, &str)> {
    words(type_name).filter_map(|word| {
        let at = word.as_ptr() as usize - type_name.as_ptr() as usize;
        let (before, path) = type_name.split_at(at);
        let is_head = !before.ends_with("::") && !before.ends_with('\'');
        is_head.then_some((word, path))
    })
}

/// The names that a definition may use of others: those in paths, not those of its own fields, variants and
/// methods, nor what stands in texts and comments. What a macro makes of its arguments is not known: all count.
pub fn named(text: &str) -> HashSet<String> {
    let file = SourceFile::parse(text, Edition::Edition2024);
    let is_path = |node: &SyntaxNode| {
        let is_part = |parent: SyntaxNode| parent.kind() == SyntaxKind::PATH_SEGMENT;
        node.kind() == SyntaxKind::NAME_REF && node.parent().is_some_and(is_part)
    };
    let nodes = file.syntax_node().descendants();
    nodes
        .filter(|node| is_path(node) || node.kind() == SyntaxKind::TOKEN_TREE)
        .flat_map(|node| {
            let text = node.text().to_string();
            words(&text).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether two definitions differ by layout and comments at most.
pub fn same_tokens(one: &str, other: &str) -> bool {
    tokens(one) == tokens(other)
}

fn tokens(text: &str) -> Vec<String> {
    let file = SourceFile::parse(text, Edition::Edition2024);
    file.syntax_node()
        .descendants_with_tokens()
        .filter_map(NodeOrToken::into_token)
        .filter(|token| !token.kind().is_trivia())
        .map(|token| token.text().to_owned())
        .collect()
}
