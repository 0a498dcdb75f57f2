//! The direct way of a cell: taken apart, written to one source, compiled by rustc without cargo.
//! What the compiler finds out on the way (a type, a moved variable) is read off its answers, so no
//! analyser has to be there first.
//!
//! evcxr has the rest: `:dep` and its other commands, completion, and the cells that only it does.

mod cell;
mod diagnostic;
mod item;
mod items;
mod naming;
mod program;
mod reading;
mod results;
mod rustc;
mod source;
mod statics;
mod words;
mod writing;

use std::{ops::Range, path::PathBuf, sync::Arc};

use anyhow::Result;

pub use cell::{Binding, Cell, Obstacle};
pub use diagnostic::{Diagnostic, Span};
pub use item::Item;
pub use program::{Program, Variable};
pub use results::is_result;
pub use rustc::{MARK, Rustc};
pub use source::{Generated, Origin, Place};
pub use words::words;
pub use writing::{FUNCTION, nameable, prelude_names};

use crate::runner::messages::RollBack;
use item::Kind;
use naming::Type;
use program::{Draft, Plan};
use results::Unkept;
use rustc::Compiled;

/// How often a cell is compiled, at most: each time the compiler names what to leave out.
const ATTEMPTS: usize = 8;

/// A cell that is ready to run.
#[derive(Debug)]
pub struct Ready {
    /// What is to run; `None` when the cell only defines.
    pub library: Option<PathBuf>,
    pub source: Arc<Generated>,
    /// What the cells find when this one has run to its end.
    pub after: Program,
    /// Variables that a failed cell leaves gone, unless it is rolled back.
    pub consumed: Vec<String>,
    /// When it is rolled back.
    pub roll_back: RollBack,
    /// What the user is told of variables that are gone.
    pub notices: Vec<String>,
}

/// How compiling a cell ended.
#[derive(Debug)]
pub enum Outcome {
    Ready(Box<Ready>),
    /// It does not compile.
    Refused {
        source: Generated,
        errors: Vec<Diagnostic>,
    },
    /// It would compile, but a variable cannot be kept: the message, the next step, and the place.
    Unkept {
        message: String,
        hint: String,
        binding: Binding,
    },
    /// The compiler was ended.
    Ended,
}

/// Compiles a cell against what the cells before it left behind. Its value is kept under its number;
/// one that has no place in the notebook has the number 0, and leaves none.
///
/// # Errors
/// The compiler cannot be run.
pub fn compile(
    rustc: &mut Rustc,
    program: &Program,
    cell: &Cell,
    code: &str,
    count: u32,
) -> Result<Outcome> {
    let mut plan = Plan {
        result: (cell.result == Some(Ok(())) && count > 0).then(|| results::name(count)),
        ..Plan::default()
    };
    for _ in 0..ATTEMPTS {
        let draft = program.draft(cell, code, &plan);
        match rustc.compile(&draft.source.text, !Program::runs(cell))? {
            Compiled::Library { path, mir } => {
                let types = naming::types(rustc, &draft, &plan, &mir)?;
                let made = Made {
                    library: Some(path),
                    types,
                };
                return Ok(ready(made, draft, &plan, cell, count));
            }
            Compiled::Checked => return Ok(ready(Made::default(), draft, &plan, cell, count)),
            Compiled::Ended => return Ok(Outcome::Ended),
            Compiled::Refused(errors) => {
                let forbids = |error| forbids_result(&draft, error);
                if plan.result.is_some() && errors.iter().any(forbids) {
                    // Before anything else: no variable is to blame for it.
                    plan.result = None;
                    continue;
                }
                if let Some(unkept) = unkept(&draft, cell, &errors) {
                    return Ok(unkept);
                }
                if !adjust(&mut plan, &draft, &errors) {
                    let source = draft.source;
                    return Ok(Outcome::Refused { source, errors });
                }
            }
        }
    }
    anyhow::bail!("the compiler asks for changes to this cell without end")
}

/// What the compiler has made of a draft.
#[derive(Default)]
struct Made {
    library: Option<PathBuf>,
    types: Vec<Option<Type>>,
}

fn ready(made: Made, draft: Draft, plan: &Plan, cell: &Cell, count: u32) -> Outcome {
    let Made { library, types } = made;
    let mut notices = notices(&draft, plan);
    let mut after = draft.after;
    let mut unkept = match (&cell.result, &plan.result) {
        (Some(Ok(())), None) => Unkept::Borrows,
        (Some(Err(why)), _) => *why,
        (Some(Ok(())) | None, _) => Unkept::Nothing,
    };
    for (binding, type_name) in draft.new.into_iter().zip(types) {
        // The compiler leaves out what is never reached, as behind `abort()`.
        let Some(Type {
            name: type_name,
            is_nameable,
        }) = type_name
        else {
            continue;
        };
        let is_value = plan.result.as_ref() == Some(&binding.name);
        if is_value && matches!(type_name.as_str(), "()" | "!") {
            continue;
        }
        if type_name.contains('{') && !is_value {
            return no_name(binding, &type_name);
        }
        if type_name.contains('{') || !is_nameable {
            if is_value {
                unkept = Unkept::Unnameable;
            } else {
                notices.push(unwritable(&binding.name, &type_name));
            }
            after.forgotten.push(binding.name);
            continue;
        }
        let mutable = binding.mutable;
        after
            .variables
            .insert(binding.name, Variable { type_name, mutable });
    }
    after.take_result(count, unkept);
    after.note_moved(&plan.moved, count);
    Outcome::Ready(Box::new(Ready {
        library,
        source: Arc::new(draft.source),
        after,
        roll_back: match (draft.consumed.is_empty(), draft.uses_state) {
            (false, _) => RollBack::AfterFailure,
            (true, true) => RollBack::AfterPanic,
            (true, false) => RollBack::Never,
        },
        consumed: draft.consumed,
        notices,
    }))
}

/// What the user is told of what is gone or not what it was.
fn notices(draft: &Draft, plan: &Plan) -> Vec<String> {
    let by_users = draft.outdated.iter().filter(|name| !is_result(name));
    let outdated = by_users.map(|name| outdated(name));
    let renamed = draft.renamed.iter().map(|name| renamed(name));
    let renewed = draft.renewed.iter().map(|name| renewed(name));
    let left_out = draft.left_out.iter().map(left_out);
    let bereft = draft.bereft.iter().map(bereft);
    let unnameable = plan.unnameable.iter().map(|name| {
        format!("the type of the variable `{name}` has no name that a cell can use: the variable is gone")
    });
    outdated
        .chain(renamed)
        .chain(renewed)
        .chain(unnameable)
        .chain(left_out)
        .chain(bereft)
        .collect()
}

/// What the user is told of a variable whose type only its crate can write.
fn unwritable(name: &str, type_name: &str) -> String {
    format!(
        "the variable `{name}` goes with this cell: no cell can write its type, `{type_name}`; \
         what is made of it stays, and so does a `Box<dyn …>` of a trait that it has"
    )
}

/// What the user is told of a variable whose type is not what it was.
pub fn outdated(name: &str) -> String {
    format!("the type of the variable `{name}` was defined anew: the variable is gone")
}

/// What the user is told of a variable whose name stands for something else.
pub fn renamed(name: &str) -> String {
    format!("`{name}` is what this cell defines: the variable of that name is gone")
}

/// What the user is told of a static that has lost its value to a definition.
pub fn renewed(name: &str) -> String {
    format!("what the type of the static `{name}` is made of was defined anew: it begins anew")
}

/// What the user is told of an earlier definition that the cell contradicts.
fn left_out(item: &Item) -> String {
    let line = item.headline();
    let cell = item.source.as_ref().map_or(0, |source| source.count);
    format!("`{line}` of cell [{cell}] contradicts this cell, and is left out from now on")
}

/// What the user is told of an implementation that has gone with its trait.
pub fn bereft((item, name): &(Item, String)) -> String {
    let line = item.headline();
    let cell = item.source.as_ref().map_or(0, |source| source.count);
    format!("`{line}` of cell [{cell}] is gone: this cell defines the `{name}` of that cell anew")
}

/// A closure's type is known to the cell that wrote it alone.
fn no_name(binding: Binding, type_name: &str) -> Outcome {
    let what = if type_name.contains("{closure@") {
        "is a closure or contains one"
    } else {
        "has a type without a name"
    };
    Outcome::Unkept {
        message: format!(
            "the variable `{}` {what}, which no later cell could take over",
            binding.name
        ),
        hint: "box it with a type, as in `let f: Box<dyn Fn(i32) -> i32> = Box::new(…)`, or put the cell into braces to keep it inside".to_owned(),
        binding,
    }
}

/// A reference into the cell cannot outlive it. The compiler says so of a line that no user wrote.
fn unkept(draft: &Draft, cell: &Cell, errors: &[Diagnostic]) -> Option<Outcome> {
    errors.iter().find_map(|error| {
        if !matches!(error.number(), "E0597" | "E0716" | "E0521" | "E0515" | "E0506") {
            return None;
        }
        let name = error
            .spans
            .iter()
            .filter_map(Span::in_source)
            .find_map(|range| match draft.source.origin(range.start) {
                Origin::Put(name) => Some(name),
                _ => None,
            })?;
        let binding = cell
            .variables
            .iter()
            .find(|binding| binding.name == *name)?
            .clone();
        Some(Outcome::Unkept {
            message: format!(
                "the variable `{name}` holds a reference into this cell, and cannot outlive it"
            ),
            hint: "keep an owned value (`.to_owned()`, `.clone()`, `.collect::<Vec<_>>()`), or put the cell into braces to keep it inside".to_owned(),
            binding,
        })
    })
}

/// Leaves out what the compiler stumbles over in the lines that are not the user's. Says whether
/// that changed anything.
fn adjust(plan: &mut Plan, draft: &Draft, errors: &[Diagnostic]) -> bool {
    let size = |plan: &Plan| {
        let names = plan.moved.len() + plan.unnameable.len() + plan.inside.len();
        (
            names,
            plan.all_items,
            plan.left_out.len(),
            plan.hidden.len(),
        )
    };
    let before = size(plan);
    for error in errors {
        plan.left_out.extend(contradicted(draft, error));
        plan.hidden.extend(ambiguous(draft, error));
        for range in error.primary() {
            match (draft.source.origin(range.start), error.number()) {
                // Moved, and perhaps set again, which the cell's own code sees.
                (Origin::Put(name), "E0382")
                    if draft.new.iter().all(|new| new.name != *name)
                        && plan.inside.insert(name.clone()) => {}
                // Moved, never set, or gone out of scope.
                (Origin::Put(name), "E0382" | "E0381" | "E0425" | "E0505") => {
                    plan.moved.insert(name.clone());
                }
                (Origin::Take(name), _) => {
                    plan.unnameable.insert(name.clone());
                }
                _ => {}
            }
        }
    }
    let after = size(plan);
    if before == after && draft.is_partial {
        plan.all_items = true;
        return true;
    }
    before != after
}

/// Whether the cell may compile when its value is only shown. Of a borrow that lasts too long the
/// compiler names whichever end it likes; and an expression that never ends has no type of its own,
/// which a variable must have.
fn forbids_result(draft: &Draft, error: &Diagnostic) -> bool {
    let is_about_borrows = matches!(
        error.number(),
        "E0499" | "E0502" | "E0505" | "E0506" | "E0515" | "E0521" | "E0597" | "E0713" | "E0716"
    );
    is_about_borrows
        || error.number() == "E0282"
        || error.any_place(|range| matches!(draft.source.origin(range.start), Origin::Keep))
}

/// The definition of an earlier cell that is in this one's way: of two implementations the older,
/// and an import of what is not there any more.
fn contradicted(draft: &Draft, error: &Diagnostic) -> Option<(u32, usize)> {
    let items = &draft.after.items;
    let place = |range: Range<usize>| match draft.source.origin(range.start) {
        Origin::Earlier { source, start } => Some((source.count, *start)),
        _ => None,
    };
    let kind = |place| items.at(place).map(|item| &item.kind);
    match error.number() {
        "E0119" | "E0592" => {
            let places = error.spans.iter().filter_map(Span::in_source);
            places
                .filter_map(place)
                .filter(|place| matches!(kind(*place), Some(Kind::Impl { .. })))
                .min()
        }
        "E0432" => error
            .primary()
            .filter_map(place)
            .find(|place| matches!(kind(*place), Some(Kind::Import { .. } | Kind::Glob))),
        _ => None,
    }
}

/// The library's names that the error calls ambiguous, since a `*` import of the user's has them too.
fn ambiguous<'a>(draft: &'a Draft, error: &'a Diagnostic) -> impl Iterator<Item = String> + 'a {
    let named = (error.number() == "E0659").then(|| error.primary());
    named
        .into_iter()
        .flatten()
        .filter_map(|range| draft.source.text.get(range))
        .filter(|name| writing::prelude_names().any(|known| known == *name))
        .map(str::to_owned)
}

/// Whether code may need the asynchronous runtime that evcxr keeps, without waiting itself.
pub fn speaks_of_tasks(code: &str) -> bool {
    words(code).any(|word| word == "tokio" || word.starts_with("spawn"))
}
