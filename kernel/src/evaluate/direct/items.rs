//! The items that cells have defined: which replaces which when a name is defined anew, and which of
//! them a cell needs. A cell is compiled with these alone, so that the hundredth takes no longer
//! than the first.

use std::{collections::HashSet, sync::Arc};

use super::{
    item::{Item, Kind, Source},
    statics::Statics,
    words::{same_tokens, words},
};

/// What definitions change beside what they replace.
#[derive(Debug, Default)]
pub struct Changed {
    /// Types that are not what they were, and modules with such types.
    pub types: HashSet<String>,
    /// Statics of earlier cells whose types may not be what they were.
    pub statics: Vec<String>,
}

/// Everything that cells have defined.
#[derive(Clone, Debug, Default)]
pub struct Items {
    all: Vec<Item>,
}

impl Items {
    /// The implementations of a trait that would go with it when these definitions replace it alone, each
    /// with the trait's name.
    pub fn bereft_by(&self, new: &[Item]) -> Vec<(Item, String)> {
        let is_trait = |item: &&Item| matches!(item.kind, Kind::Trait { .. });
        let traits: Vec<&str> = new.iter().filter(is_trait).filter_map(Item::name).collect();
        if traits.is_empty() {
            return Vec::new();
        }
        let mut after = self.clone();
        after.define(new);
        let is_gone = |item: &&Item| {
            let is_there = |other: &Item| other.kind == item.kind || item.is_replaced_by(other);
            !after.all.iter().any(is_there)
        };
        let of_trait = |item: &Item| {
            let Kind::Impl { header, .. } = &item.kind else {
                return None;
            };
            let name = words(header).find(|word| traits.contains(word))?;
            Some((item.clone(), name.to_owned()))
        };
        self.all
            .iter()
            .filter(is_gone)
            .filter_map(of_trait)
            .collect()
    }

    /// Adds a cell's definitions, which replace those of the same names.
    pub fn define(&mut self, new: &[Item]) -> Changed {
        let before: Vec<Item> = self.all.clone();
        let old = |item: &Item| before.iter().find(|old| old.is_replaced_by(item));
        let is_redefined =
            |item: &&Item| old(item).is_some_and(|old| !same_tokens(&old.text, &item.text));
        let shaping = || new.iter().filter(|item| item.shapes_types());
        let redefined: Vec<&Item> = shaping().filter(is_redefined).collect();
        let first: HashSet<String> = shaping()
            .filter(|item| old(item).is_none())
            .filter_map(|item| item.name().map(str::to_owned))
            .collect();
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
        Changed {
            types: self.types_among(&changed),
            statics: self.statics_that_follow(&changed, &first, new.len()),
        }
    }

    /// The statics of earlier definitions, all but the last so many, whose types may follow from names that
    /// mean something else now, or from those that mean something of the notebook's for the first time.
    fn statics_that_follow(
        &self,
        changed: &HashSet<String>,
        first: &HashSet<String>,
        new: usize,
    ) -> Vec<String> {
        // What a `*` brings in is not known by name.
        let is_glob = |item: &Item| matches!(item.kind, Kind::Glob);
        let by_glob = |item: &Item| is_glob(item) && !item.words.is_disjoint(changed);
        let all_follow = self.all.iter().any(by_glob);
        let follows = |item: &&Item| {
            let statics = item.statics.as_ref();
            let of_changed = item.name().is_some_and(|name| changed.contains(name));
            let is_sure = !all_follow && !of_changed;
            statics.is_some_and(|statics| !is_sure || statics.follow_from(changed, first))
        };
        let old = &self.all[..self.all.len() - new];
        let statics = old
            .iter()
            .filter(follows)
            .filter_map(|item| item.statics.as_ref());
        statics.flat_map(|statics| statics.names.clone()).collect()
    }

    /// Has the statics of these names begin anew.
    pub fn renew(&mut self, names: &[String]) {
        let statics = self.all.iter_mut().filter_map(|item| item.statics.as_mut());
        statics
            .filter(|statics| statics.names.iter().any(|name| names.contains(name)))
            .for_each(Statics::renew);
    }

    /// The definitions that have statics, which libraries share.
    pub fn with_statics(&self) -> impl Iterator<Item = (&Item, &Statics)> {
        self.all
            .iter()
            .filter_map(|item| Some((item, item.statics.as_ref()?)))
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
                .filter(|item| changed.iter().any(|word| item.named.contains(word)))
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
        self.all.iter().flat_map(Item::names).map(String::as_str)
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
            let mut names: Vec<String> = items
                .define(&Cell::parse(code).items)
                .types
                .into_iter()
                .collect();
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
    fn a_name_of_a_field_or_in_a_text_is_no_use_of_a_type() {
        let mut items = after(&[
            "struct Run { config: u32 }\nenum Step { config(u8), Last }\n/// Like config.\nstruct Doc;\n\
             const TEXT: &str = \"config\";\nstruct Uses { run: Box<config> }\n\
             struct Made { list: [u8; len!(config)] }",
            "type config = u32;",
        ]);
        let mut names: Vec<String> = items
            .define(&Cell::parse("type config = u64;").items)
            .types
            .into_iter()
            .collect();
        names.sort();
        assert_eq!(names, ["Made", "Uses", "config"]);
    }

    #[test]
    fn an_implementation_that_goes_with_a_trait_is_told() {
        let mut items =
            after(&["trait T { fn t(&self); }\nstruct P;\nimpl T for P { fn t(&self) {} }"]);
        let again = Cell::parse("trait T { fn t(&self) -> i32; }").items;
        let told = items.bereft_by(&again);
        let headlines: Vec<&str> = told.iter().map(|(item, _)| item.headline()).collect();
        assert_eq!(headlines, ["impl T for P"]);
        assert_eq!(told[0].1, "T");
        items.define(&again);
        assert_eq!(items.all().len(), 2, "what is told is so");
        // With the trait and the type in one cell again, nothing is missing.
        let items = after(&["trait T {}\nstruct P;\nimpl T for P {}"]);
        let whole = Cell::parse("trait T { fn t(&self) {} }\nstruct P;\nimpl T for P {}").items;
        assert!(items.bereft_by(&whole).is_empty());
    }

    #[test]
    fn the_statics_of_a_thread_local_are_names() {
        let code = "thread_local! { static A: Cell<u8> = Cell::new(1); pub static B: u8 = 2; }";
        let items = after(&[code, "fn f() {}"]);
        assert_eq!(items.names().collect::<Vec<_>>(), ["A", "B", "f"]);
        assert_eq!(needed(&items, "B.with(f)").len(), 2);
        assert!(needed(&items, "1 + 1").is_empty());
        assert_eq!(
            texts(&after(&[code, "static A: u8 = 1;"]).all()),
            ["static A: u8 = 1;"]
        );
    }

    #[test]
    fn a_changed_associated_type_changes_what_it_is_for() {
        let code = "struct C;\nimpl Iterator for C { type Item = i32; }\nstruct D(Peekable<C>);\nstruct E;\nimpl E { fn a() {} }";
        let mut items = after(&[code]);
        let mut define = |code: &str| {
            let mut names: Vec<String> = items
                .define(&Cell::parse(code).items)
                .types
                .into_iter()
                .collect();
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
    fn a_static_begins_anew_when_its_type_may_have_changed() {
        let begins = |first: &str, then: &str| {
            let mut items = after(&[first]);
            items.define(&Cell::parse(then).items).statics
        };
        let log = "struct P;\nstatic LOG: Mutex<Vec<P>> = a();\nstatic COUNT: AtomicU8 = b();";
        assert_eq!(begins(log, "struct P { x: u8 }"), ["LOG"]);
        assert!(begins(log, "struct P;\nfn f() { LOG; }\nstruct Q;").is_empty());
        // What a path of its own says stays as it is.
        let whole = "static LOG: std::sync::Mutex<u8> = a();";
        assert!(begins(whole, "use std::sync::Mutex;").is_empty());
        assert_eq!(begins(log, "use other::Mutex;"), ["LOG"]);
        let array = "const fn size() -> usize { 1 }\nstatic A: [u8; size()] = a();";
        assert_eq!(begins(array, "const fn size() -> usize { 2 }"), ["A"]);
        let module = "mod m { pub struct P; }\nuse m::*;\nstatic A: Mutex<P> = a();";
        assert_eq!(begins(module, "mod m { pub struct P(u8); }"), ["A"]);
        let within = "mod m { use super::Q as P; static A: Mutex<P> = a(); }\nstruct Q;";
        assert_eq!(begins(within, "struct Q(u8);"), ["A"]);
    }

    #[test]
    fn a_static_that_begins_anew_is_another() {
        let mut items = after(&["static A: u8 = 1;", "static B: u8 = 2;"]);
        let exported = |items: &Items| -> Vec<String> {
            let all = items.with_statics();
            all.map(|(item, _)| item.exported()).collect()
        };
        let before = exported(&items);
        items.renew(&["B".to_owned()]);
        let after = exported(&items);
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
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
