//! Whether later cells can write the types of the variables that a cell makes. The compiled form has a path for
//! every type, also where no cell reaches what it leads to; only the compiler knows of those in other crates.

use std::collections::HashSet;

use anyhow::Result;

use super::{
    cell::Cell,
    diagnostic::Diagnostic,
    program::{Draft, Plan, Program, Variable},
    rustc::{self, Compiled, Rustc},
    source::Origin,
    words::{heads, words},
};

/// The type of a new variable.
#[derive(Debug, PartialEq, Eq)]
pub struct Type {
    pub name: String,
    /// Whether other cells can write it.
    pub is_nameable: bool,
}

/// Modules of the library that have types of their own.
const OF_THE_LIBRARY: [&str; 3] = ["crates", "serde_json", "widgets"];

/// Words of types that are no names.
const WORDS: [&str; 29] = [
    "_", "as", "bool", "char", "const", "dyn", "extern", "f32", "f64", "fn", "for", "i128", "i16",
    "i32", "i64", "i8", "isize", "mut", "static", "std", "str", "u128", "u16", "u32", "u64", "u8",
    "unsafe", "usize", "core",
];

/// The types of a draft's new variables, as the compiled form has them; `None` of what is never reached.
///
/// # Errors
/// The compiler cannot be run.
pub fn types(
    rustc: &mut Rustc,
    draft: &Draft,
    plan: &Plan,
    mir: &str,
) -> Result<Vec<Option<Type>>> {
    let names = rustc::variable_types(mir, draft.new.len());
    let items: HashSet<&str> = draft.after.items.names().collect();
    let mut asked = draft.after.clone();
    for (binding, name) in draft.new.iter().zip(&names) {
        let name = name.as_deref().filter(|name| !name.contains('{'));
        if let Some(type_name) = name.filter(|name| !is_surely_nameable(name, &items)) {
            let variable = Variable {
                type_name: type_name.to_owned(),
                mutable: false,
            };
            asked.variables.insert(binding.name.clone(), variable);
        }
    }
    let is_asked = |name: &&String| asked.variables.contains_key(*name);
    let new = draft.new.iter().map(|binding| &binding.name);
    let doubtful: Vec<String> = new.filter(is_asked).cloned().collect();
    let unnameable = unnameable(rustc, &asked, &doubtful, plan)?;
    let typed = draft.new.iter().zip(names).map(|(binding, name)| {
        Some(Type {
            name: name?,
            is_nameable: !unnameable.contains(&binding.name),
        })
    });
    Ok(typed.collect())
}

/// Those of the variables whose types the compiler does not take from a cell.
fn unnameable(
    rustc: &mut Rustc,
    program: &Program,
    doubtful: &[String],
    plan: &Plan,
) -> Result<HashSet<String>> {
    let mut types = doubtful
        .iter()
        .map(|name| program.variables[name].type_name.as_str());
    if types.all(|type_name| rustc.knows_type(type_name)) {
        return Ok(HashSet::new());
    }
    let code = format!("(&{});", doubtful.join(", &"));
    let plan = Plan {
        all_items: plan.all_items,
        left_out: plan.left_out.clone(),
        hidden: plan.hidden.clone(),
        ..Plan::default()
    };
    let draft = program.draft(&Cell::parse(&code), &code, &plan);
    let errors = match rustc.compile(&draft.source.text, true)? {
        Compiled::Refused(errors) => errors,
        Compiled::Library { .. } | Compiled::Checked => Vec::new(),
        Compiled::Ended => return Ok(HashSet::new()),
    };
    let origins = errors
        .iter()
        .flat_map(Diagnostic::primary)
        .map(|range| draft.source.origin(range.start));
    let found: HashSet<String> = origins
        .filter_map(|origin| match origin {
            Origin::Take(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    let nameable = doubtful.iter().filter(|name| !found.contains(*name));
    for name in nameable {
        rustc.note_type(&program.variables[name].type_name);
    }
    Ok(found)
}

/// Whether all that a type is made of is the standard library's, the library's or the notebook's own, so that nobody
/// has to be asked.
fn is_surely_nameable(type_name: &str, items: &HashSet<&str>) -> bool {
    heads(type_name).all(|(word, path)| match word {
        "warmcell" => {
            let second = words(path).nth(1).unwrap_or_default();
            second.starts_with(char::is_uppercase) || OF_THE_LIBRARY.contains(&second)
        }
        _ => WORDS.contains(&word) || items.contains(word),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_of_other_crates_are_asked_about() {
        let items = HashSet::from(["Trial", "m"]);
        let is_sure = |type_name: &str| is_surely_nameable(type_name, &items);
        for type_name in [
            "std::vec::Vec<i32>",
            "std::collections::HashMap<&'static str, [Trial; 3]>",
            "std::boxed::Box<dyn std::ops::Fn(&mut m::S) -> std::option::Option<u8>>",
            "warmcell::Tokenizer",
            "warmcell::serde_json::Value",
            "warmcell::crates::wire::model::ModelInfo",
            "warmcell::widgets::IntSlider",
            "(f64, *const u8, fn(!) -> ())",
        ] {
            assert!(is_sure(type_name), "{type_name}");
        }
        for type_name in [
            "serde_json::value::Value",
            "std::vec::Vec<rand_core::block::Rng>",
            "warmcell::pipeline::output::Rows",
            "impl std::iter::Iterator",
            "Other",
        ] {
            assert!(!is_sure(type_name), "{type_name}");
        }
    }
}
