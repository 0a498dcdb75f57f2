//! Cells that evcxr runs: its commands, and what only it compiles. What it then knows of variables is
//! taken over into the record of the direct way.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use evcxr::{CommandContext, EvalOutputs};
use jupyter::CellError;

use super::super::{
    busy::Busy,
    context,
    direct::{self, Cell, Item, Program, Variable},
    errors,
    interrupt::Phase,
    last_words,
    sink::{Sink, Stream},
    syntax, versions,
};
use super::{Evaluation, Outputs, internal};

impl Evaluation {
    pub(super) fn run_by_evcxr(&mut self, code: &str, count: u32) -> Result<Outputs, CellError> {
        let (code, level) = take_optimisation(code)?;
        let clears = code.lines().any(|line| line.trim() == ":clear");
        self.let_go_of_outdated(&Cell::parse(&without_commands(&code)));
        let busy = self
            .outlet
            .publisher()
            .map(|out| Busy::following_cargo(out, &self.crate_dir, self.analyst.opened()));
        self.interrupter.enter(Phase::AtEvcxr);
        if clears {
            self.control.forget().map_err(|error| {
                internal(&format!("the cell runner cannot be reached: {error}"))
            })?;
            self.program = Program::default();
            self.loaded.clear();
        }
        let run = Run {
            text: code.clone(),
            optimisation: level.map(|level| context::optimisation(&level, &self.library)),
            clears,
            folder: self.crate_dir.clone(),
        };
        let evaluated = self.analyst.ask(move |context| run.within(context));
        drop(busy);
        let printed = self.pump.end_cell();
        if let Some(value) = printed.value.and_then(|value| self.inbox.keep(value)) {
            self.outlet.result(value);
        }
        let failure = self.inbox.take_failure();
        let (outputs, source, known) = match evaluated {
            Ok(Ok(evaluated)) => evaluated,
            Ok(Err(error)) => return Err(errors::plain("EvaluationError", &error.to_string())),
            Err(error) => return Err(internal(&format!("{error:#}"))),
        };
        self.take_over(&code, count, known, outputs.is_ok() && failure.is_none());
        // It describes no values: what is known of those that it had in its hands may be old.
        let words: HashSet<&str> = direct::words(&code).collect();
        self.values.retain(|name, _| !words.contains(name.as_str()));
        if let Some(failure) = failure {
            // It may have been the end of the process.
            self.end_texts();
            let failure = last_words::with_cause(failure, &printed.last_errors);
            return Err(errors::from_failure(&code, count, &source, &failure));
        }
        match outputs {
            Ok(outputs) => {
                self.times.measured(&outputs);
                Ok(outputs.content_by_mime_type)
            }
            Err(evcxr::Error::CompilationErrors(list)) => {
                let rust = without_commands(&code);
                Err(match syntax::fault(&rust) {
                    Some(fault) => errors::from_syntax(&rust, count, fault),
                    None => errors::from_compiler(&code, count, &list),
                })
            }
            Err(error) => Err(errors::plain("EvaluationError", &error.to_string())),
        }
    }

    /// Lets go of the variables whose types a cell is about to define anew: evcxr would read their
    /// memory as the new type.
    fn let_go_of_outdated(&mut self, cell: &Cell) {
        let changed = self.program.items.clone().define(&cell.items);
        self.begin_anew(&changed.statics);
        let outdated = self.program.outdated(&changed.types).into_iter();
        let outdated = outdated.map(|name| (direct::outdated(&name), name));
        let renamed = self.program.renamed_by(cell);
        let renamed = renamed.map(|name| (direct::renamed(&name), name));
        let lost: Vec<(String, String)> = outdated.chain(renamed).collect();
        if lost.is_empty() {
            return;
        }
        let mut after = self.program.clone();
        for (notice, name) in lost {
            let line = format!("{notice}\n");
            self.outlet.stream(Stream::Stderr, &line);
            after.variables.remove(&name);
            after.forgotten.push(name);
        }
        self.analyst.tell(&Cell::default(), &self.program, &after);
        self.program = after;
    }

    /// Has statics begin anew whose types are not what they were, and tells of it.
    fn begin_anew(&mut self, statics: &[String]) {
        if statics.is_empty() {
            return;
        }
        let mut after = self.program.clone();
        after.items.renew(statics);
        for name in statics {
            let line = format!("{}\n", direct::renewed(name));
            self.outlet.stream(Stream::Stderr, &line);
        }
        self.analyst.tell(&Cell::default(), &self.program, &after);
        self.program = after;
    }

    /// Tells evcxr of the statics of a cell that it has run itself as those that libraries share, and the user
    /// that they begin anew with that.
    fn share_statics(&mut self, items: &[Item]) {
        // Implementations have no name by which evcxr would replace them.
        let with = |item: &&Item| item.statics.is_some() && !item.is_impl();
        let shared: Vec<Item> = items.iter().filter(with).cloned().collect();
        for statics in shared.iter().filter_map(|item| item.statics.as_ref()) {
            let names = statics.names.join("`, `");
            let line = format!(
                "the static `{names}` begins anew after this cell, since it has `:dep` or `.await`; define it \
                 in a cell without them to keep its value\n"
            );
            self.outlet.stream(Stream::Stderr, &line);
        }
        let mut cell = Cell::default();
        cell.items.extend(shared);
        self.analyst.tell(&cell, &self.program, &self.program);
    }

    /// Takes over what evcxr knows of the variables after a cell of its own.
    fn take_over(&mut self, code: &str, count: u32, known: Known, succeeded: bool) {
        let rust = without_commands(code);
        let cell = Cell::parse(&rust);
        if succeeded {
            self.program.items.define(&cell.items);
            self.program.settle(count, code);
            self.program.miss_result(count, &cell);
            self.share_statics(&cell.items);
        }
        if self.rustc.take_other_crates() {
            let all = self.program.items.with_statics();
            let names: Vec<String> = all.flat_map(|(_, statics)| statics.names.clone()).collect();
            self.begin_anew(&names);
        }
        let mutable: HashSet<&str> = cell
            .variables
            .iter()
            .filter(|binding| binding.mutable)
            .map(|binding| binding.name.as_str())
            .collect();
        let is_new = |name: &str| cell.variables.iter().any(|binding| binding.name == name);
        // What it never knew, it has not taken either.
        self.program
            .variables
            .retain(|name, _| known.after.contains_key(name) || !known.before.contains_key(name));
        for (name, type_name) in known.after {
            if !is_new(&name) && self.program.variables.contains_key(&name) {
                continue;
            }
            if succeeded && is_new(&name) {
                let mutable = mutable.contains(name.as_str());
                self.program
                    .variables
                    .insert(name, Variable { type_name, mutable });
            }
        }
    }
}

/// The variables that evcxr knows around a cell of its own, with their types.
struct Known {
    before: HashMap<String, String>,
    after: HashMap<String, String>,
}

/// What evcxr is to run.
struct Run {
    text: String,
    /// Set before, where it is to change.
    optimisation: Option<String>,
    /// Whether it forgets everything.
    clears: bool,
    /// The cells' crate.
    folder: PathBuf,
}

impl Run {
    /// What came of it, its source as rustc saw it, and the variables before and after it.
    fn within(
        self,
        context: &mut CommandContext,
    ) -> Result<(Result<EvalOutputs, evcxr::Error>, String, Known), evcxr::Error> {
        if let Some(optimisation) = &self.optimisation {
            context.set_opt_level(optimisation)?;
            // rustc is called for direct cells as cargo last called it.
            context.execute(NOTHING)?;
        }
        let before = variables(context);
        let outputs = versions::run(&self.folder, || context.execute(&self.text));
        if self.clears {
            // It takes the library away along with the user's own.
            context.execute(&context::prelude())?;
        }
        let source = context.last_source().unwrap_or_default();
        let after = variables(context);
        Ok((outputs, source, Known { before, after }))
    }
}

/// A statement that leaves nothing.
const NOTHING: &str = "let _ = ();";

/// The variables that evcxr knows, but for those it only believes in.
fn variables(context: &CommandContext) -> HashMap<String, String> {
    context
        .variables_and_types()
        .filter(|(_, type_name)| !type_name.ends_with("variables::Gone"))
        .map(|(name, type_name)| (name.to_owned(), type_name.to_owned()))
        .collect()
}

/// Whether a line is one of evcxr's commands; `::std::…` is a path.
pub(super) fn is_command(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(':') && !line.starts_with("::")
}

/// The code with an empty line in the place of each command.
pub(super) fn without_commands(code: &str) -> String {
    let line = |line: &str| {
        if is_command(line) {
            String::new()
        } else {
            line.to_owned()
        }
    };
    code.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Takes `:opt` out of a cell, and gives its level: evcxr's own would put the bare number where
/// [`context::optimisation`] has more.
fn take_optimisation(code: &str) -> Result<(String, Option<String>), CellError> {
    let mut rest = String::with_capacity(code.len());
    let mut found = None;
    for line in code.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        if words.next() != Some(":opt") {
            rest.push_str(line);
            continue;
        }
        let level = words.next().unwrap_or("2");
        if !matches!(level, "0" | "1" | "2" | "3") {
            return Err(errors::plain(
                "InvalidArgument",
                &format!("`:opt {level}`: a level is 0, 1, 2 or 3"),
            ));
        }
        found = Some(level.to_owned());
        // The lines behind keep their numbers.
        rest.push('\n');
    }
    Ok((rest, found))
}
