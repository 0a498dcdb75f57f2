//! The items that cells have defined: which replaces which when a name is defined anew, and which of
//! them a cell needs. A cell is compiled with these alone, so that the hundredth takes no longer
//! than the first.

use std::{collections::HashSet, ops::Range, sync::Arc};

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
    /// An `impl`: its first line, whether it is that of a trait, what it defines, and whether types or
    /// constants are among that, from which a layout may follow.
    Impl {
        header: String,
        of_trait: bool,
        members: Vec<String>,
        shapes: bool,
    },
    /// Anything else; the same text again is the same item.
    Other,
}

impl Item {
    /// A definition of the cell that is being read.
    pub fn new(kind: Kind, text: String, place: Range<usize>) -> Self {
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

    pub fn is_impl(&self) -> bool {
        matches!(self.kind, Kind::Impl { .. })
    }

    /// Its cell, and where it begins there.
    fn is_at(&self) -> Option<(u32, usize)> {
        let source = self.source.as_ref()?;
        Some((source.count, self.place.start))
    }

    /// The name, if it stands where a variable's may.
    pub fn value_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Constant { name } | Kind::Value { name } => Some(name),
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
                | Kind::Impl { shapes: true, .. }
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
                    ..
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
        let redefined: Vec<&Item> = new.iter().filter(is_new).collect();
        let of_types: HashSet<String> = redefined
            .iter()
            .filter_map(|item| item.name())
            .map(str::to_owned)
            .collect();
        self.all
            .retain(|old| !new.iter().any(|item| old.is_replaced_by(item)));
        self.all.extend(new.iter().cloned());
        self.drop_impls_of(&self.types_among(&of_types), &before, new.len());
        let mut changed = redefined
            .into_iter()
            .flat_map(|item| self.shaped_by(item))
            .collect();
        self.spread(&mut changed);
        self.types_among(&changed)
    }

    /// The names whose meaning a definition gives: its own, and for an `impl` those that it is for.
    fn shaped_by(&self, item: &Item) -> Vec<String> {
        let Kind::Impl { header, .. } = &item.kind else {
            return item.name().into_iter().map(str::to_owned).collect();
        };
        let header: HashSet<String> = words(header).map(str::to_owned).collect();
        self.types_among(&header).into_iter().collect()
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
                .filter(|item| changed.iter().any(|word| item.words.contains(word)))
                .flat_map(|item| self.shaped_by(item))
                .filter(|name| !changed.contains(name))
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

    /// Takes the definitions out that stand at these places of earlier cells, and gives them.
    pub fn leave_out(&mut self, places: &HashSet<(u32, usize)>) -> Vec<Item> {
        self.all
            .extract_if(.., |item| {
                item.is_at().is_some_and(|place| places.contains(&place))
            })
            .collect()
    }

    /// The definition of an earlier cell that begins at this byte of it.
    pub fn at(&self, place: (u32, usize)) -> Option<&Item> {
        self.all.iter().find(|item| item.is_at() == Some(place))
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
    fn a_changed_associated_type_changes_what_it_is_for() {
        let code = "struct C;\nimpl Iterator for C { type Item = i32; }\nstruct D(Peekable<C>);\nstruct E;\nimpl E { fn a() {} }";
        let mut items = after(&[code]);
        let mut define = |code: &str| {
            let mut names: Vec<String> =
                items.define(&Cell::parse(code).items).into_iter().collect();
            names.sort();
            names
        };
        assert_eq!(
            define("impl Iterator for C { type Item = i64; }"),
            ["C", "D"]
        );
        assert!(define("impl E { fn a() { 1; } }").is_empty());
        assert_eq!(items.all().len(), 5, "no implementation went");
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
