//! The items that cells have defined: which replaces which when a name is defined anew, and which of
//! them a cell needs. A cell is compiled with these alone, so that the hundredth takes no longer
//! than the first.

use std::{collections::HashSet, ops::Range, sync::Arc};

use ra_ap_syntax::{
    AstNode,
    ast::{self, HasName},
};

use super::cell::range_of;

/// The text of a cell that was run, to show errors in.
#[derive(Debug)]
pub struct Source {
    pub count: u32,
    pub code: String,
}

/// One definition.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: Kind,
    /// What the compiler gets.
    pub text: String,
    /// Where in its cell it comes from.
    pub place: Range<usize>,
    /// Its cell; `None` until it has run.
    pub source: Option<Arc<Source>>,
    words: Arc<HashSet<String>>,
}

/// What a definition is, for being found and being replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One name of a `use`.
    Import { name: String },
    /// A `use` that gives no name of its own: `*` or `_`.
    Glob,
    /// A structure, enumeration, union or alias: what a variable's type may be made of.
    Type { name: String },
    /// A trait, with the names by which its methods are called.
    Trait { name: String, methods: Vec<String> },
    /// A module: types in it are named through it.
    Module { name: String },
    /// A constant, which an array's length may be.
    Constant { name: String },
    /// A function or static.
    Value { name: String },
    /// A macro.
    Macro { name: String },
    /// An `impl`: its first line, whether it is that of a trait, and what it defines.
    Impl {
        header: String,
        of_trait: bool,
        members: Vec<String>,
    },
    /// Anything else; the same text again is the same item.
    Other,
}

impl Item {
    fn new(kind: Kind, text: String, place: Range<usize>) -> Self {
        let words = Arc::new(words(&text).map(str::to_owned).collect());
        Self {
            kind,
            text,
            place,
            source: None,
            words,
        }
    }

    fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Import { name }
            | Kind::Type { name }
            | Kind::Trait { name, .. }
            | Kind::Module { name }
            | Kind::Constant { name }
            | Kind::Value { name } => Some(name),
            _ => None,
        }
    }

    /// Whether a type's layout, or what a trait object is called by, may follow from it.
    fn shapes_types(&self) -> bool {
        matches!(
            self.kind,
            Kind::Import { .. }
                | Kind::Type { .. }
                | Kind::Trait { .. }
                | Kind::Module { .. }
                | Kind::Constant { .. }
        )
    }

    fn is_replaced_by(&self, new: &Self) -> bool {
        match (&self.kind, &new.kind) {
            (Kind::Macro { name }, Kind::Macro { name: other }) => name == other,
            (
                Kind::Impl {
                    header,
                    of_trait,
                    members,
                },
                Kind::Impl {
                    header: other,
                    members: others,
                    ..
                },
            ) => {
                header == other
                    && (*of_trait
                        || members.is_empty()
                        || members.iter().any(|name| others.contains(name)))
            }
            (Kind::Glob | Kind::Other, Kind::Glob | Kind::Other) => self.text == new.text,
            _ => self.name().is_some() && self.name() == new.name(),
        }
    }

    /// Whether something that speaks of these words may need this item.
    fn is_wanted(&self, words: &HashSet<String>, local: &HashSet<&str>) -> bool {
        match &self.kind {
            Kind::Import { .. } | Kind::Glob | Kind::Other => true,
            Kind::Type { name }
            | Kind::Module { name }
            | Kind::Constant { name }
            | Kind::Value { name }
            | Kind::Macro { name } => words.contains(name),
            Kind::Trait { name, methods } => {
                words.contains(name) || methods.iter().any(|method| words.contains(method))
            }
            Kind::Impl { header, .. } => self::words(header)
                .filter(|word| local.contains(word))
                .all(|word| words.contains(word)),
        }
    }
}

/// Reads a definition off the syntax; a `use` is one definition for each of its names.
pub fn read(item: &ast::Item, code: &str, range: Range<usize>) -> Vec<Item> {
    let name = |named: Option<ast::Name>| {
        named
            .map(|name| name.text().to_string())
            .unwrap_or_default()
    };
    let kind = match item {
        ast::Item::Use(import) => {
            let mut imports = Vec::new();
            if let Some(tree) = import.use_tree() {
                read_imports(&tree, "", &mut imports);
            }
            return imports;
        }
        ast::Item::Struct(it) => Kind::Type {
            name: name(it.name()),
        },
        ast::Item::Enum(it) => Kind::Type {
            name: name(it.name()),
        },
        ast::Item::Union(it) => Kind::Type {
            name: name(it.name()),
        },
        ast::Item::TypeAlias(it) => Kind::Type {
            name: name(it.name()),
        },
        ast::Item::Trait(it) => Kind::Trait {
            name: name(it.name()),
            methods: members(it.assoc_item_list()),
        },
        ast::Item::Fn(it) => Kind::Value {
            name: name(it.name()),
        },
        ast::Item::Const(it) if it.name().is_some() => Kind::Constant {
            name: name(it.name()),
        },
        ast::Item::Static(it) => Kind::Value {
            name: name(it.name()),
        },
        ast::Item::Module(it) => Kind::Module {
            name: name(it.name()),
        },
        ast::Item::MacroRules(it) => Kind::Macro {
            name: name(it.name()),
        },
        ast::Item::Impl(it) => read_impl(it),
        _ => Kind::Other,
    };
    vec![Item::new(kind, code[range.clone()].to_owned(), range)]
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
    Kind::Impl {
        header: header.join(" "),
        of_trait: item.trait_().is_some(),
        members: members(item.assoc_item_list()),
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

/// Everything that cells have defined.
#[derive(Clone, Debug, Default)]
pub struct Items {
    all: Vec<Item>,
}

impl Items {
    /// Adds a cell's definitions, which replace those of the same names. Gives the names of types
    /// that are not what they were, and of modules with such types.
    pub fn define(&mut self, new: &[Item]) -> HashSet<String> {
        let before: Vec<Item> = self.all.clone();
        let is_new = |item: &&Item| {
            let old = before.iter().find(|old| old.is_replaced_by(item));
            item.shapes_types() && old.is_some_and(|old| !same_tokens(&old.text, &item.text))
        };
        let mut changed: HashSet<String> = new
            .iter()
            .filter(is_new)
            .filter_map(Item::name)
            .map(str::to_owned)
            .collect();
        self.all
            .retain(|old| !new.iter().any(|item| old.is_replaced_by(item)));
        self.all.extend(new.iter().cloned());
        self.drop_impls_of(&self.types_among(&changed), &before, new.len());
        self.spread(&mut changed);
        self.types_among(&changed)
    }

    /// Those of the names by which a variable's type is spelt.
    fn types_among(&self, names: &HashSet<String>) -> HashSet<String> {
        let is_spelt = |kind: &Kind| {
            matches!(
                kind,
                Kind::Type { .. } | Kind::Trait { .. } | Kind::Module { .. }
            )
        };
        self.all
            .iter()
            .filter(|item| is_spelt(&item.kind))
            .filter_map(Item::name)
            .filter(|name| names.contains(*name))
            .map(str::to_owned)
            .collect()
    }

    /// What a cell implemented for a type goes when another cell defines the type in another way.
    fn drop_impls_of(&mut self, changed: &HashSet<String>, before: &[Item], new: usize) {
        let kept = self.all.len() - new;
        let new = self.all.split_off(kept);
        for name in changed {
            let cells: Vec<u32> = before
                .iter()
                .filter(|item| item.name() == Some(name))
                .filter_map(|item| item.source.as_ref().map(|source| source.count))
                .collect();
            self.all.retain(|item| {
                let Kind::Impl { header, .. } = &item.kind else {
                    return true;
                };
                let same_cell = item
                    .source
                    .as_ref()
                    .is_some_and(|source| cells.contains(&source.count));
                !(same_cell && words(header).any(|word| word == name))
            });
        }
        self.all.extend(new);
    }

    /// A type that contains a changed one has changed.
    fn spread(&self, changed: &mut HashSet<String>) {
        if changed.is_empty() {
            return;
        }
        loop {
            let more: Vec<String> = self
                .all
                .iter()
                .filter(|item| item.shapes_types())
                .filter_map(|item| Some((item.name()?, item)))
                .filter(|(name, _)| !changed.contains(*name))
                .filter(|(_, item)| changed.iter().any(|word| item.words.contains(word)))
                .map(|(name, _)| name.to_owned())
                .collect();
            if more.is_empty() {
                return;
            }
            changed.extend(more);
        }
    }

    /// The definitions that code with these words may need, macros first, since a macro counts from
    /// its definition on.
    pub fn needed_by(&self, words: &HashSet<String>) -> Vec<&Item> {
        let local: HashSet<&str> = self.all.iter().filter_map(Item::name).collect();
        let mut words = words.clone();
        let mut taken = vec![false; self.all.len()];
        loop {
            let mut grown = false;
            for (index, item) in self.all.iter().enumerate() {
                if !taken[index] && item.is_wanted(&words, &local) {
                    taken[index] = true;
                    grown = true;
                    words.extend(item.words.iter().cloned());
                }
            }
            if !grown {
                break;
            }
        }
        let chosen = self.all.iter().zip(taken).filter(|(_, taken)| *taken);
        macros_first(chosen.map(|(item, _)| item).collect())
    }

    /// All definitions.
    pub fn all(&self) -> Vec<&Item> {
        macros_first(self.all.iter().collect())
    }

    /// The names by which cells call what is defined.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter_map(|item| match &item.kind {
            Kind::Import { name }
            | Kind::Type { name }
            | Kind::Trait { name, .. }
            | Kind::Module { name }
            | Kind::Constant { name }
            | Kind::Value { name }
            | Kind::Macro { name } => Some(name.as_str()),
            Kind::Glob | Kind::Impl { .. } | Kind::Other => None,
        })
    }

    /// Notes the cell that the definitions without one come from.
    pub fn settle(&mut self, source: &Arc<Source>) {
        for item in &mut self.all {
            item.source.get_or_insert_with(|| Arc::clone(source));
        }
    }
}

fn macros_first(mut items: Vec<&Item>) -> Vec<&Item> {
    items.sort_by_key(|item| !matches!(item.kind, Kind::Macro { .. }));
    items
}

/// The identifiers in a text, those in strings and comments too: `"{name}"` uses a variable.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with(|first: char| !first.is_ascii_digit()))
}

/// Whether two definitions differ by layout and comments at most.
fn same_tokens(one: &str, other: &str) -> bool {
    tokens(one) == tokens(other)
}

fn tokens(text: &str) -> Vec<String> {
    let file = ra_ap_syntax::SourceFile::parse(text, ra_ap_syntax::Edition::Edition2024);
    file.syntax_node()
        .descendants_with_tokens()
        .filter_map(ra_ap_syntax::NodeOrToken::into_token)
        .filter(|token| !token.kind().is_trivia())
        .map(|token| token.text().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::direct::Cell;

    /// The items after cells with this code, each its own.
    fn after(cells: &[&str]) -> Items {
        let mut items = Items::default();
        for (count, code) in (1..).zip(cells) {
            items.define(&Cell::parse(code).items);
            items.settle(&Arc::new(Source {
                count,
                code: (*code).to_owned(),
            }));
        }
        items
    }

    fn texts(items: &[&Item]) -> Vec<String> {
        items.iter().map(|item| item.text.clone()).collect()
    }

    fn needed(items: &Items, code: &str) -> Vec<String> {
        texts(&items.needed_by(&words(code).map(str::to_owned).collect()))
    }

    #[test]
    fn each_name_of_a_use_stands_for_itself() {
        let items = after(&["use a::{b, c::{self, d as e}, f::*, g as _}; use ::h::i;"]);
        let expected = [
            "use a::b;",
            "use a::c;",
            "use a::c::d as e;",
            "use a::f::*;",
            "use a::g as _;",
            "use ::h::i;",
        ];
        assert_eq!(texts(&items.all()), expected);
        let items = after(&["use a::{b, c};", "struct b;"]);
        assert_eq!(texts(&items.all()), ["use a::c;", "struct b;"]);
    }

    #[test]
    fn a_definition_replaces_that_of_its_name_and_no_other() {
        let items = after(&[
            "fn f() {}\nmacro_rules! f { () => {} }",
            "fn g() {}",
            "fn f() { 1; }",
        ]);
        assert_eq!(
            texts(&items.all()),
            ["macro_rules! f { () => {} }", "fn g() {}", "fn f() { 1; }"]
        );
    }

    #[test]
    fn an_impl_run_again_replaces_itself_and_one_beside_stays() {
        let items = after(&[
            "struct P;",
            "impl P { fn a() {} }",
            "impl P { fn b() {} }",
            "impl P { fn a() { 1; } fn c() {} }",
            "impl T for P { fn t() {} }",
            "impl T for P { fn t() { 1; } }",
        ]);
        assert_eq!(
            texts(&items.all())[1..],
            [
                "impl P { fn b() {} }",
                "impl P { fn a() { 1; } fn c() {} }",
                "impl T for P { fn t() { 1; } }"
            ]
        );
    }

    #[test]
    fn a_changed_type_changes_what_contains_it() {
        let mut items =
            after(&["struct A { x: i32 }\nstruct B(Vec<A>);\nstruct C;\nenum D { E(B) }"]);
        let mut define = |code: &str| {
            let mut names: Vec<String> =
                items.define(&Cell::parse(code).items).into_iter().collect();
            names.sort();
            names
        };
        assert_eq!(define("struct A { x: i64 }"), ["A", "B", "D"]);
        assert!(
            define("/* a comment */ struct C ;").is_empty(),
            "the same tokens are the same type"
        );
    }

    #[test]
    fn a_cell_gets_what_it_names_and_what_that_names() {
        let items = after(&[
            "fn unused() {}",
            "struct P;\nimpl P { fn get(&self) -> i32 { helper() } }",
            "fn helper() -> i32 { 1 }",
            "trait Area { fn area(&self) -> f32; }\nimpl Area for P { fn area(&self) -> f32 { 1.0 } }",
        ]);
        let names = |code: &str| needed(&items, code).len();
        assert_eq!(names("1 + 1"), 0);
        assert_eq!(names("helper()"), 1);
        // The structure, its methods, and what they call.
        assert_eq!(names("P.get()"), 3);
        assert_eq!(names("P.area()"), 5, "a trait is named by its methods");
        assert_eq!(names("format!(\"{P}\")"), 3, "a name in a string counts");
    }
}
