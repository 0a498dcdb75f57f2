//! Definitions, read off the syntax of a cell. What they then mean for one another is for
//! [`super::items`].

use std::ops::Range;

use ra_ap_syntax::{
    AstNode, NodeOrToken, SyntaxKind,
    ast::{self, HasName},
};

use super::{
    cell::range_of,
    item::{Item, Kind},
    statics::Statics,
};

/// The definition that a `thread_local!` is; `None` for another macro.
pub fn read_thread_local(call: &ast::MacroCall, code: &str, range: Range<usize>) -> Option<Item> {
    let names = thread_local_names(call)?;
    let text = code[range.clone()].to_owned();
    Some(Item::new(Kind::ThreadLocal { names }, text, range))
}

/// The statics of a `thread_local!`; `None` for another macro.
pub fn thread_local_names(call: &ast::MacroCall) -> Option<Vec<String>> {
    let path = call.path()?.syntax().text().to_string();
    if !matches!(path.as_str(), "thread_local" | "std::thread_local") {
        return None;
    }
    let tokens = call.token_tree()?;
    let words = tokens.syntax().children_with_tokens();
    let words: Vec<_> = words
        .filter_map(NodeOrToken::into_token)
        .filter(|token| !token.kind().is_trivia())
        .collect();
    let names = words
        .windows(2)
        .filter(|pair| pair[0].kind() == SyntaxKind::STATIC_KW)
        .map(|pair| pair[1].text().to_owned());
    Some(names.collect())
}

/// Reads a definition off the syntax; a `use` is one definition for each of its names.
pub fn read(item: &ast::Item, code: &str, range: Range<usize>) -> Vec<Item> {
    if let ast::Item::Use(import) = item {
        let mut imports = Vec::new();
        if let Some(tree) = import.use_tree() {
            read_imports(&tree, "", &mut imports);
        }
        return imports;
    }
    let mut read = Item::new(kind(item), code[range.clone()].to_owned(), range);
    read.statics = Statics::of(item.syntax());
    vec![read]
}

fn kind(item: &ast::Item) -> Kind {
    match item {
        ast::Item::ExternCrate(it) => {
            let rename = it.rename().and_then(|rename| rename.name());
            let own = it.name_ref().map(|name| name.text().to_string());
            let name = rename.map(|name| name.text().to_string()).or(own);
            Kind::Import {
                name: name.unwrap_or_default(),
            }
        }
        ast::Item::Struct(it) => Kind::Type { name: name(it) },
        ast::Item::Enum(it) => Kind::Type { name: name(it) },
        ast::Item::Union(it) => Kind::Type { name: name(it) },
        ast::Item::TypeAlias(it) => Kind::Type { name: name(it) },
        ast::Item::Trait(it) => Kind::Trait {
            name: name(it),
            methods: members(it.assoc_item_list()),
        },
        ast::Item::Fn(it) if it.const_token().is_some() => Kind::Constant { name: name(it) },
        ast::Item::Fn(it) => Kind::Value { name: name(it) },
        ast::Item::Const(it) if it.name().is_some() => Kind::Constant { name: name(it) },
        ast::Item::Static(it) => Kind::Value { name: name(it) },
        ast::Item::Module(it) => Kind::Module { name: name(it) },
        ast::Item::MacroRules(it) => Kind::Macro { name: name(it) },
        ast::Item::Impl(it) => read_impl(it),
        _ => Kind::Other,
    }
}

fn name(item: &impl HasName) -> String {
    let name = item.name().map(|name| name.text().to_string());
    name.unwrap_or_default()
}

fn read_impl(item: &ast::Impl) -> Kind {
    let text = item.syntax().text().to_string();
    let start = item.impl_token().map_or(0, |token| {
        usize::from(token.text_range().start() - item.syntax().text_range().start())
    });
    let end = item.assoc_item_list().map_or(text.len(), |list| {
        usize::from(list.syntax().text_range().start() - item.syntax().text_range().start())
    });
    let header: Vec<&str> = text[start..end].split_whitespace().collect();
    let list = item.assoc_item_list();
    let shapes = list
        .iter()
        .flat_map(ast::AssocItemList::assoc_items)
        .any(|item| {
            matches!(
                item,
                ast::AssocItem::TypeAlias(_) | ast::AssocItem::Const(_)
            )
        });
    Kind::Impl {
        header: header.join(" "),
        of_trait: item.trait_().is_some(),
        members: members(list),
        shapes,
    }
}

fn members(list: Option<ast::AssocItemList>) -> Vec<String> {
    let items = list.into_iter().flat_map(|list| list.assoc_items());
    items
        .filter_map(|item| match item {
            ast::AssocItem::Fn(it) => it.name(),
            ast::AssocItem::Const(it) => it.name(),
            ast::AssocItem::TypeAlias(it) => it.name(),
            ast::AssocItem::MacroCall(_) => None,
        })
        .map(|name| name.text().to_string())
        .collect()
}

/// One item for each name, so that a later definition of one leaves the others in place.
fn read_imports(tree: &ast::UseTree, prefix: &str, found: &mut Vec<Item>) {
    let own = tree
        .path()
        .map(|path| path.syntax().text().to_string())
        .unwrap_or_default();
    let leading = if prefix.is_empty() && tree.coloncolon_token().is_some() && own.is_empty() {
        "::"
    } else {
        ""
    };
    let path = match (prefix.is_empty(), own.is_empty()) {
        (_, true) => format!("{leading}{prefix}"),
        (true, false) => own.clone(),
        (false, false) => format!("{prefix}::{own}"),
    };
    if let Some(list) = tree.use_tree_list() {
        for inner in list.use_trees() {
            read_imports(&inner, &path, found);
        }
        return;
    }
    let place = range_of(tree.syntax());
    if tree.star_token().is_some() {
        found.push(Item::new(Kind::Glob, format!("use {path}::*;"), place));
        return;
    }
    // `a::{self}` imports `a`.
    let path = path.strip_suffix("::self").unwrap_or(&path);
    let last = path.rsplit("::").next().unwrap_or(path).trim().to_owned();
    let rename = tree.rename();
    let (kind, text) = match rename {
        Some(rename) => match rename.name() {
            Some(name) => (
                Kind::Import {
                    name: name.text().to_string(),
                },
                format!("use {path} as {};", name.text()),
            ),
            None => (Kind::Glob, format!("use {path} as _;")),
        },
        None => (Kind::Import { name: last }, format!("use {path};")),
    };
    found.push(Item::new(kind, text, place));
}
