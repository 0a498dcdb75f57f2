//! The source that a cell becomes: the definitions it needs, and a function that takes its variables out
//! of the store, runs its statements, and puts them back.

use std::{collections::HashSet, fmt::Write as _, ops::Range, sync::Arc};

use super::{
    cell::{Binding, Cell},
    item::Item,
    program::{Plan, Program},
    source::{Generated, Origin},
    statics::Statics,
    words::words,
};

/// The function that a cell becomes.
pub const FUNCTION: &str = "warmcell_cell";

const STORE: &str = "::warmcell::cell::variables::VariableStore";

/// What the library brings into scope.
const PRELUDE: &str = include_str!("../../../../lib/warmcell/src/prelude.rs");

/// What [`write`] writes from.
pub struct Parts<'a> {
    pub program: &'a Program,
    pub after: &'a Program,
    pub cell: &'a Cell,
    pub code: &'a str,
    pub plan: &'a Plan,
    /// Variables of earlier cells that the cell may speak of.
    pub used: &'a [String],
}

/// What was written.
pub struct Written {
    pub source: Generated,
    /// Whether definitions were left out of it.
    pub is_partial: bool,
    /// Whether earlier cells' statics are among the definitions.
    pub uses_statics: bool,
}

/// The source of a cell.
pub fn write(parts: &Parts<'_>) -> Written {
    let mut source = Generated::default();
    source.glue(&prelude(&parts.plan.hidden));
    let (items, is_partial) = chosen(parts);
    for item in &items {
        write_item(&mut source, item, parts.code);
    }
    source.glue(&format!(
        "#[unsafe(no_mangle)] pub extern \"C\" fn {FUNCTION}(mut __warmcell_store: *mut {STORE}) -> *mut {STORE} {{
if __warmcell_store.is_null() {{ __warmcell_store = ::warmcell::cell::variables::create_variable_store(); }}
let __warmcell = unsafe {{ &mut *__warmcell_store }};"
    ));
    write_taking(&mut source, parts);
    source.glue(&format!("::warmcell::cell::run(__warmcell, |__warmcell: &mut {STORE}| -> ::std::result::Result<(), ::warmcell::cell::CellError> {{"));
    write_statements(&mut source, parts);
    source.glue("::std::result::Result::Ok(())\n});");
    for name in parts.used {
        let replaced = parts.cell.variables.iter().any(|new| new.name == *name);
        if !replaced && !parts.plan.moved.contains(name) && !parts.plan.inside.contains(name) {
            put(&mut source, name, None);
        }
    }
    source.glue("__warmcell_store }");
    // Keeps the linker from dropping the library from a cell that uses none of it: the runner calls
    // its hooks.
    source.glue(
        "#[used] static WARMCELL_HOOK: extern \"C\" fn() = ::warmcell::cell::warmcell_cell_begin;",
    );
    let is_earlier = |item: &&Item| item.source.is_some() && item.statics.is_some();
    Written {
        source,
        is_partial,
        uses_statics: items.iter().any(is_earlier),
    }
}

/// What brings the library into scope. A name that the user's own `*` import has too is the user's.
fn prelude(hidden: &HashSet<String>) -> String {
    let names = if hidden.is_empty() {
        "*".to_owned()
    } else {
        let names: Vec<&str> = prelude_names()
            .filter(|name| !hidden.contains(*name))
            .collect();
        format!("{{{}}}", names.join(", "))
    };
    format!(
        "#![allow(warnings)]\nuse ::warmcell::prelude::{names};\nuse ::warmcell::cell::display_scope::*;"
    )
}

/// The names that the library's prelude has.
pub fn prelude_names() -> impl Iterator<Item = &'static str> {
    let list = PRELUDE
        .split_once("pub use crate::{")
        .map_or("", |(_, list)| list);
    words(list)
}

/// The definitions that the cell gets, and whether there are more.
fn chosen<'a>(parts: &Parts<'a>) -> (Vec<&'a Item>, bool) {
    let items = &parts.after.items;
    if parts.plan.all_items {
        return (items.all(), false);
    }
    let types = parts
        .used
        .iter()
        .filter_map(|name| parts.program.variables.get(name))
        .flat_map(|variable| words(&variable.type_name));
    let words = words(parts.code).chain(types);
    let needed = items.needed_by(&words.map(str::to_owned).collect());
    let is_partial = needed.len() < items.all().len();
    (needed, is_partial)
}

/// A definition, in pieces where it has statics: each gets its symbol.
fn write_item(source: &mut Generated, item: &Item, code: &str) {
    let is_cells = code.get(item.place.clone()) == Some(&item.text);
    let origin = |from: usize| match &item.source {
        Some(cell) => Origin::Earlier {
            source: Arc::clone(cell),
            start: item.place.start + from,
        },
        None if is_cells => Origin::Cell {
            start: item.place.start + from,
        },
        None => Origin::CellPart(item.place.clone()),
    };
    let mut from = 0;
    let attributes = item.statics.iter().flat_map(Statics::attributes);
    for (start, attribute) in attributes {
        if start > from {
            source.add(origin(from), &item.text[from..start]);
        }
        source.glue(&attribute);
        from = start;
    }
    source.add(origin(from), &item.text[from..]);
}

/// The variables are looked at first, all of them: a value that cannot be read is told, and no other
/// has left the store by then.
fn write_taking(source: &mut Generated, parts: &Parts<'_>) {
    let forgotten = &parts.after.forgotten;
    if !forgotten.is_empty() {
        source.glue(&format!("__warmcell.forget(&{forgotten:?});"));
    }
    if parts.used.is_empty() {
        return;
    }
    source.glue("if !__warmcell.check(&[");
    let variables = &parts.program.variables;
    for name in parts.used {
        let type_name = nameable(&variables[name].type_name);
        source.add(
            Origin::Take(name.clone()),
            &format!("({name:?}, ::std::any::TypeId::of::<{type_name}>()),"),
        );
    }
    source.glue("]) { return __warmcell_store; }");
    for name in parts.used {
        let variable = &variables[name];
        let type_name = nameable(&variable.type_name);
        let mutable = if variable.mutable { "mut " } else { "" };
        source.add(
            Origin::Take(name.clone()),
            &format!("let {mutable}{name} = __warmcell.take_variable::<{type_name}>({name:?});"),
        );
    }
}

/// A variable's type in words that stable Rust takes, which has none for `!`.
pub fn nameable(type_name: &str) -> String {
    type_name
        .replace("'!'", "'\\x21'")
        .replace('!', "::warmcell::cell::variables::Never")
}

fn write_statements(source: &mut Generated, parts: &Parts<'_>) {
    let Parts { cell, plan, .. } = parts;
    for statement in &cell.statements {
        write_code(source, parts, statement.clone());
    }
    if let Some(value) = &cell.value {
        let (before, after) = match &plan.result {
            Some(name) => (format!("let {name} ="), format!("; {name}")),
            None => (String::new(), String::new()),
        };
        source.glue(&before);
        // What the compiler says of an operation as a whole, it says of the parentheses around it.
        source.add(Origin::CellPart(value.clone()), "(");
        write_code(source, parts, value.clone());
        source.add(Origin::CellPart(value.clone()), ")");
        source.add(
            Origin::Show(value.clone()),
            &format!("{after}.__warmcell_ref().evcxr_display();"),
        );
    }
    for name in parts.used {
        if plan.inside.contains(name) && !plan.moved.contains(name) {
            put(source, name, None);
        }
    }
    let stays = |binding: &&Binding| !plan.moved.contains(&binding.name);
    let stay: Vec<&Binding> = cell.variables.iter().filter(stays).collect();
    if let Some(name) = &plan.result {
        // Before the variables, from which it may borrow.
        let call = format!(
            "__warmcell.put_new::<{}, _>({name:?}, None, {name});",
            stay.len()
        );
        source.add(Origin::Keep, &call);
    }
    for (index, binding) in stay.into_iter().enumerate() {
        put(source, &binding.name, Some(index));
    }
}

/// A part of the cell, with `_` and `__` in the names of the variables that they stand for.
fn write_code(source: &mut Generated, parts: &Parts<'_>, range: Range<usize>) {
    let mut start = range.start;
    for alias in &parts.cell.aliases {
        let Some(name) = parts.program.earlier_value(alias.back) else {
            continue;
        };
        if alias.place.start < start || alias.place.end > range.end {
            continue;
        }
        source.add(
            Origin::Cell { start },
            &parts.code[start..alias.place.start],
        );
        source.add(Origin::CellPart(alias.place.clone()), &name);
        start = alias.place.end;
    }
    source.add(Origin::Cell { start }, &parts.code[start..range.end]);
}

/// A new variable is put under a number too, by which its type is found in the compiled form.
fn put(source: &mut Generated, name: &str, new: Option<usize>) {
    let mut call = String::new();
    // Writing to a string cannot fail.
    let _ = match new {
        Some(index) => write!(
            call,
            "__warmcell.put_new::<{index}, _>({name:?}, {{ let __warmcell_probe = \
             &&::warmcell::cell::values::Probe(&{name}); ::warmcell::cell::values::form(\
             __warmcell_probe.shown(), __warmcell_probe.measured()) }}, {name});"
        ),
        None => write!(call, "__warmcell.put_variable({name:?}, {name});"),
    };
    source.add(Origin::Put(name.to_owned()), &call);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::direct::Variable;

    #[test]
    fn a_type_that_never_ends_has_a_name() {
        let never = "::warmcell::cell::variables::Never";
        assert_eq!(
            nameable("A<!, '!', fn() -> !>"),
            format!("A<{never}, '\\x21', fn() -> {never}>")
        );
        let mut program = Program::default();
        let variable = Variable {
            type_name: "JoinHandle<!>".to_owned(),
            mutable: false,
        };
        program.variables.insert("a".to_owned(), variable);
        let draft = program.draft(&Cell::parse("drop(a)"), "drop(a)", &Plan::default());
        let text = draft.source.text;
        assert!(!text.contains("<!>"), "{text}");
    }

    #[test]
    fn the_value_as_a_whole_has_a_place_in_the_cell() {
        let code = "let zero = 0; 1 / zero";
        let cell = Cell::parse(code);
        for result in [None, Some("_5".to_owned())] {
            let plan = Plan {
                result,
                ..Plan::default()
            };
            let source = Program::default().draft(&cell, code, &plan).source;
            let start = source.text.find("(\n1 / zero\n)").expect("is there");
            let place = source.place(&(start..start + 12)).expect("a place");
            assert_eq!((place.cell, &code[place.range]), (None, "1 / zero"));
        }
    }

    #[test]
    fn the_librarys_names_are_known() {
        let names: Vec<&str> = prelude_names().collect();
        assert!(
            names.contains(&"AutoTokenizer") && names.contains(&"unload"),
            "{names:?}"
        );
        assert!(
            !names.contains(&"use") && !names.contains(&"crate"),
            "{names:?}"
        );
        let text = prelude(&HashSet::from(["Device".to_owned()]));
        assert!(
            text.contains("DType") && !text.contains("Device,"),
            "{text}"
        );
    }
}
