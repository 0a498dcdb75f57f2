//! What the cells so far have left behind, and what a new cell makes of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    cell::{Binding, Cell},
    item::{Item, Source},
    items::Items,
    results::{self, Results, Unkept},
    source::Generated,
    words::{heads, words},
    writing::{Parts, Written, write},
};

/// A variable of an earlier cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its type, in words that the compiler understands in any cell.
    pub type_name: String,
    pub mutable: bool,
}

/// The definitions and variables that cells find.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub items: Items,
    pub variables: BTreeMap<String, Variable>,
    /// Variables that are gone, and whose values the next cell that runs lets go.
    pub forgotten: Vec<String>,
    /// Values of cells, which are variables too.
    pub results: Results,
    /// Variables that are gone because a cell moved them, with its number.
    pub moved: BTreeMap<String, u32>,
}

/// What a cell's source is made of beside its own code.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Variables that the cell moved: they are not there any more when it ends.
    pub moved: HashSet<String>,
    /// Variables that the cell moved and set again: they are put back by its own code.
    pub inside: HashSet<String>,
    /// Variables whose type the compiler cannot be told.
    pub unnameable: HashSet<String>,
    /// Whether all definitions go in, rather than those the cell names.
    pub all_items: bool,
    /// Definitions of earlier cells that contradict this one, by cell and byte.
    pub left_out: HashSet<(u32, usize)>,
    /// Names of the library's that a `*` import of the user's has as well.
    pub hidden: HashSet<String>,
    /// The variable that keeps the cell's value; `None` when it is only shown.
    pub result: Option<String>,
}

/// A cell on its way to the compiler.
#[derive(Debug)]
pub struct Draft {
    pub source: Generated,
    /// What the cells find after this one, but for the new variables' types.
    pub after: Program,
    /// The new variables, by the number under which the compiled form names their types.
    pub new: Vec<Binding>,
    /// Variables whose type the cell defines anew, which therefore go.
    pub outdated: Vec<String>,
    /// Variables whose name the cell gives to something else, which go as well.
    pub renamed: Vec<String>,
    /// Definitions of earlier cells that contradict it, which also go.
    pub left_out: Vec<Item>,
    /// Implementations of a trait that go since the cell defines the trait anew, with its name.
    pub bereft: Vec<(Item, String)>,
    /// Variables whose values do not outlive the cell, whether it fails or not.
    pub consumed: Vec<String>,
    /// Statics of earlier cells whose types the cell defines anew, which therefore begin anew.
    pub renewed: Vec<String>,
    /// Whether it has variables or statics of earlier cells in its hands.
    pub uses_state: bool,
    /// Whether definitions were left out.
    pub is_partial: bool,
}

impl Program {
    /// Writes the source of a cell.
    pub fn draft(&self, cell: &Cell, code: &str, plan: &Plan) -> Draft {
        let mut after = self.clone();
        let left_out = after.items.leave_out(&plan.left_out);
        let bereft = after.items.bereft_by(&cell.items);
        let changed = after.items.define(&cell.items);
        after.items.renew(&changed.statics);
        let outdated = self.outdated(&changed.types);
        let renamed: Vec<String> = self.renamed_by(cell).collect();
        let lost: Vec<String> = [outdated.as_slice(), &renamed].concat();
        let used = self.used_by(cell, code, &lost, plan);
        after.forgotten.extend(lost.iter().cloned());
        after.forgotten.extend(plan.unnameable.iter().cloned());
        let Written {
            source,
            is_partial,
            uses_statics,
        } = write(&Parts {
            program: self,
            after: &after,
            cell,
            code,
            plan,
            used: &used,
        });
        let is_gone = |name: &String| {
            plan.moved.contains(name)
                || plan.unnameable.contains(name)
                || lost.contains(name)
                || cell.variables.iter().any(|binding| binding.name == *name)
        };
        // Made anew and moved: what it was is still in the store.
        let unused = |name: &&String| !used.contains(name) && self.variables.contains_key(*name);
        after
            .forgotten
            .extend(plan.moved.iter().filter(unused).cloned());
        after.variables.retain(|name, _| !is_gone(name));
        let consumed = |name: &&String| is_gone(name) || plan.inside.contains(*name);
        Draft {
            source,
            after,
            new: new_by(cell, plan),
            consumed: used
                .iter()
                .filter(consumed)
                .chain(&lost)
                .chain(&plan.unnameable)
                .cloned()
                .collect(),
            outdated,
            renamed,
            left_out,
            bereft,
            renewed: changed.statics,
            uses_state: uses_statics || !used.is_empty(),
            is_partial,
        }
    }

    /// The variables that the cell may speak of. One that it makes anew before it looks at it stays
    /// where it is until then.
    fn used_by(&self, cell: &Cell, code: &str, lost: &[String], plan: &Plan) -> Vec<String> {
        let spoken: Vec<String> = cell
            .aliases
            .iter()
            .filter_map(|alias| self.earlier_value(alias.back))
            .collect();
        let words: HashSet<&str> = words(code)
            .chain(spoken.iter().map(String::as_str))
            .collect();
        self.variables
            .keys()
            .filter(|name| words.contains(name.trim_start_matches("r#")))
            .filter(|name| !cell.makes_first(code, name))
            .filter(|name| !lost.contains(name) && !plan.unnameable.contains(*name))
            .cloned()
            .collect()
    }

    /// Variables whose type speaks of a changed one. A value behind `dyn Any` may be of any type.
    pub fn outdated(&self, changed: &HashSet<String>) -> Vec<String> {
        if changed.is_empty() {
            return Vec::new();
        }
        self.variables
            .iter()
            .filter(|(_, variable)| {
                variable.type_name.contains("std::any::Any")
                    || heads(&variable.type_name).any(|(word, _)| changed.contains(word))
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Variables whose name the cell gives to a function, a constant or a static: the later counts.
    pub fn renamed_by(&self, cell: &Cell) -> impl Iterator<Item = String> {
        cell.items
            .iter()
            .flat_map(Item::value_names)
            .filter(|name| self.variables.contains_key(*name))
            .cloned()
    }

    /// Takes over what a cell has left behind, when it has run.
    pub fn settle(&mut self, count: u32, code: &str) {
        let source = Arc::new(Source {
            count,
            code: code.to_owned(),
        });
        self.items.settle(&source);
    }

    /// The variable that holds the value of so many values ago; 1 for the last.
    pub fn earlier_value(&self, back: usize) -> Option<String> {
        self.results
            .back(back, |name| self.variables.contains_key(name))
    }

    /// Takes note of the value that a cell leaves, or of why it leaves none.
    pub fn take_result(&mut self, count: u32, otherwise: Unkept) {
        let Self {
            variables, results, ..
        } = self;
        if count == 0 {
            return;
        }
        if !variables.contains_key(&results::name(count)) {
            results.miss(count, otherwise);
            return;
        }
        if let Some(old) = results.keep(count) {
            variables.remove(&old);
            self.forgotten.push(old);
        }
    }

    /// Takes note of the variables that a cell has moved, and of those that are there again.
    pub fn note_moved(&mut self, moved: &HashSet<String>, count: u32) {
        if count > 0 {
            let moved = moved.iter().map(|name| (name.clone(), count));
            self.moved.extend(moved);
        }
        let Self {
            moved, variables, ..
        } = self;
        moved.retain(|name, _| !variables.contains_key(name));
    }

    /// Takes note that evcxr has run a cell, and kept no value.
    pub fn miss_result(&mut self, count: u32, cell: &Cell) {
        if let Some(result) = cell.result {
            let nothing = result == Err(Unkept::Nothing);
            let why = if nothing {
                Unkept::Nothing
            } else {
                Unkept::Elsewhere
            };
            self.results.miss(count, why);
        }
    }

    /// Whether a cell has to run, or is done when the compiler has accepted it.
    pub fn runs(cell: &Cell) -> bool {
        !(cell.statements.is_empty() && cell.value.is_none())
    }
}

/// The variables that a cell makes and leaves, its value among them.
fn new_by(cell: &Cell, plan: &Plan) -> Vec<Binding> {
    let kept = plan.result.iter().map(|name| Binding {
        name: name.clone(),
        mutable: false,
        place: cell.value.clone().unwrap_or_default(),
    });
    cell.variables
        .iter()
        .filter(|binding| !plan.moved.contains(&binding.name))
        .cloned()
        .chain(kept)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], items: &str) -> Program {
        let mut program = Program::default();
        program.items.define(&Cell::parse(items).items);
        program.settle(1, items);
        for (name, type_name) in variables {
            let variable = Variable {
                type_name: (*type_name).to_owned(),
                mutable: false,
            };
            program.variables.insert((*name).to_owned(), variable);
        }
        program
    }

    fn draft(program: &Program, code: &str, plan: &Plan) -> Draft {
        program.draft(&Cell::parse(code), code, plan)
    }

    #[test]
    fn a_cell_takes_the_variables_it_names_and_puts_them_back() {
        let program = with(&[("a", "i32"), ("b", "std::string::String")], "");
        let draft = draft(&program, "println!(\"{b}\");", &Plan::default());
        let text = &draft.source.text;
        assert!(text.contains("take_variable::<std::string::String>(\"b\")"));
        assert!(text.contains("put_variable(\"b\", b)"));
        assert!(!text.contains("\"a\""), "{text}");
        assert_eq!(draft.after.variables, program.variables);
    }

    #[test]
    fn a_variable_of_a_type_defined_anew_is_let_go() {
        let program = with(
            &[
                ("p", "std::vec::Vec<P>"),
                ("n", "i32"),
                ("any", "std::boxed::Box<dyn std::any::Any>"),
            ],
            "struct P { x: i32 }",
        );
        let other = with(&[("v", "warmcell::serde_json::Value")], "struct Value;");
        let mut value = other
            .outdated(&HashSet::from(["Value".to_owned()]))
            .into_iter();
        assert_eq!(value.next(), None, "another crate's");
        let draft = draft(&program, "struct P { x: i64 }\nn", &Plan::default());
        assert_eq!(draft.outdated, ["any", "p"]);
        assert!(draft.source.text.contains("forget(&[\"any\", \"p\"])"));
        assert_eq!(draft.after.variables.keys().collect::<Vec<_>>(), ["n"]);
    }

    #[test]
    fn a_static_has_one_symbol_in_all_cells_and_is_rolled_back_as_a_variable_is() {
        let program = with(
            &[],
            "struct P;\nstatic A: Mutex<P> = f();\nfn g() { static B: u8 = 1; }",
        );
        let symbols = |code: &str| -> Vec<String> {
            let source = draft(&program, code, &Plan::default()).source.text;
            let parts = source.split("#[unsafe(export_name = \"").skip(1);
            parts
                .map(|part| part.split('"').next().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(symbols("A; g();").len(), 2);
        assert_eq!(symbols("A; g();"), symbols("g(); A"));
        assert!(symbols("1 + 1").is_empty());
        assert_ne!(symbols("struct P(u8);\nA;"), symbols("A;"));
        assert!(draft(&program, "A;", &Plan::default()).uses_state);
        let own = draft(&program, "static C: u8 = 1;\nC", &Plan::default());
        assert!(!own.uses_state, "it is gone with the cell when that fails");
    }

    #[test]
    fn a_place_behind_a_static_within_is_found() {
        let code = "fn f() -> u8 { static A: u8 = 1; missing + A }\nf()";
        let source = draft(&Program::default(), code, &Plan::default()).source;
        let start = source.text.find("missing").expect("is there");
        let place = source.place(&(start..start + 7)).expect("a place");
        assert_eq!((place.cell, &code[place.range]), (None, "missing"));
    }

    #[test]
    fn a_moved_variable_is_not_put_back_and_gone() {
        let program = with(&[("a", "std::string::String")], "");
        let plan = Plan {
            moved: HashSet::from(["a".to_owned()]),
            ..Plan::default()
        };
        let draft = draft(&program, "drop(a);", &plan);
        assert!(!draft.source.text.contains("put_variable"));
        assert!(draft.after.variables.is_empty());
    }

    #[test]
    fn what_would_be_gone_is_known_before_the_cell_runs() {
        let program = with(&[("a", "i32"), ("b", "std::string::String")], "");
        let consumed = |code| draft(&program, code, &Plan::default()).consumed;
        assert_eq!(consumed("let b = b.len();"), ["b"]);
        assert_eq!(consumed("println!(\"{b}\"); let b = 1;"), ["b"]);
        assert!(consumed("b.len() + a").is_empty());
        // The old value is not touched before the new one is there.
        let anew = draft(&program, "let b = f()?; b", &Plan::default());
        assert!(anew.consumed.is_empty() && !anew.uses_state);
        assert!(!anew.source.text.contains("take_variable"));
    }

    #[test]
    fn a_variable_goes_when_what_its_type_is_made_of_changes() {
        let items = "mod m { pub struct S; }\nconst N: usize = 2;\nstruct A([u8; N]);\n\
                     use std::collections::HashMap as Map;\nstruct G { map: Map<i32, i32> }\n\
                     trait T { fn a(&self) -> A; }\nfn f() {}";
        let variables = [
            ("s", "m::S"),
            ("a", "A"),
            ("g", "std::vec::Vec<G>"),
            ("t", "std::boxed::Box<dyn T>"),
            ("map", "std::collections::HashMap<i32, i32>"),
        ];
        let program = with(&variables, items);
        let outdated = |code| draft(&program, code, &Plan::default()).outdated;
        assert_eq!(outdated("mod m { pub struct S { x: i32 } }"), ["s"]);
        assert_eq!(outdated("const N: usize = 3;"), ["a", "t"]);
        assert_eq!(outdated("use std::collections::BTreeMap as Map;"), ["g"]);
        assert!(outdated(items).is_empty());
        assert!(outdated("fn f() -> i32 { 1 }").is_empty());
    }

    #[test]
    fn what_was_moved_is_known_until_it_is_there_again() {
        let mut program = with(&[], "");
        program.note_moved(&HashSet::from(["a".to_owned()]), 8);
        assert_eq!(program.moved["a"], 8);
        let mut program = with(&[("a", "i32")], "");
        program.note_moved(&HashSet::from(["a".to_owned(), "b".to_owned()]), 9);
        assert_eq!(program.moved.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_function_takes_the_place_of_a_variable_of_its_name() {
        let program = with(&[("f", "i32"), ("g", "i32")], "");
        let draft = draft(&program, "fn f() {}\nf(); g", &Plan::default());
        assert_eq!(draft.renamed, ["f"]);
        assert!(!draft.source.text.contains("take_variable::<i32>(\"f\")"));
    }

    #[test]
    fn the_old_value_of_a_variable_made_anew_and_moved_is_let_go() {
        let program = with(&[("b", "i32")], "");
        let plan = Plan {
            moved: HashSet::from(["b".to_owned()]),
            ..Plan::default()
        };
        assert_eq!(
            draft(&program, "let b = f(); drop(b);", &plan)
                .after
                .forgotten,
            ["b"]
        );
    }

    #[test]
    fn a_new_variable_of_an_old_name_takes_its_place() {
        let program = with(&[("a", "i32")], "");
        let draft = draft(&program, "let a = a.to_string();", &Plan::default());
        assert!(draft.source.text.contains("put_new::<0, _>(\"a\", "));
        assert!(!draft.source.text.contains("put_variable"));
    }
}
